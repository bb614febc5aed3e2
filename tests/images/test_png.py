"""PNG of grey values is read exactly; colours, palettes, transparency and JPEG are refused in words."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_why as why
from napari_why.core.errors import ImageReadError
from napari_why.images import can_read, understand
from napari_why.napari_reader import get_reader

RANDOM = np.random.default_rng(0)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, *extra: tuple[bytes, bytes], colour: int = 0, bits: int = 0) -> bytes:
    """Build a PNG without any library."""
    length, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    header = struct.pack(">2I5B", width, length, bits or pixels.dtype.itemsize * 8, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(20, 30), (1, 7), (300, 1)])
def test_grey_values_are_exact(tmp_path: Path, dtype, shape) -> None:
    pixels = RANDOM.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    path = tmp_path / "field.png"
    path.write_bytes(png(pixels, (b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Comment\0x")))
    assert can_read(path)
    assert get_reader(str(path)) is not None
    image = why.read(path)
    assert (image.dims, image.dtype, image.attrs["unit"]) == (("c", "y", "x"), dtype, "pixel")
    np.testing.assert_array_equal(image[0], pixels)
    assert understand(path).format == "PNG"


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_files_of_another_writer(tmp_path: Path, mode) -> None:
    pixels = RANDOM.integers(0, 65536, (33, 21)).astype("uint8" if mode == "L" else "uint16")
    Image.fromarray(pixels).save(tmp_path / "a.png", optimize=True)
    np.testing.assert_array_equal(why.read(tmp_path / "a.png")[0], pixels)


def test_files_of_one_channel_each_are_one_image(tmp_path: Path) -> None:
    two = RANDOM.integers(0, 65536, (2, 12, 15)).astype("uint16")
    for name, plane in zip(("DAPI", "TMRM"), two, strict=True):
        (tmp_path / f"{name}.png").write_bytes(png(plane))
    image = why.read([tmp_path / "DAPI.png", tmp_path / "TMRM.png"])
    assert list(image.c.values) == ["DAPI", "TMRM"]
    np.testing.assert_array_equal(image, two)


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("RGB", "an RGB colour picture"),
        ("RGBA", "an RGB colour picture with transparency"),
        ("LA", "grey values with transparency"),
        ("P", "a picture of indexed colours"),
        ("1", "a PNG of 1 bits"),
    ],
)
def test_other_kinds_are_refused_with_the_reason_and_left_to_napari(
    tmp_path: Path, mode, found
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RANDOM.integers(0, 255, (9, 8), "uint8")).convert(mode).save(path)
    assert not can_read(path)
    assert get_reader(str(path)) is None
    with pytest.raises(ImageReadError, match=found):
        why.read(path)


def test_one_grey_value_may_be_transparency(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 65536, (9, 8)).astype("uint16")
    (tmp_path / "a.png").write_bytes(png(pixels, (b"tRNS", b"\0\0")))
    with pytest.raises(ImageReadError, match="with transparency"):
        why.read(tmp_path / "a.png")


def test_an_animation_is_told(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 65536, (9, 8)).astype("uint16")
    (tmp_path / "a.png").write_bytes(png(pixels, (b"acTL", struct.pack(">2I", 1, 0))))
    image = why.read(tmp_path / "a.png")
    assert "animation" in image.attrs["notes"][0]
    np.testing.assert_array_equal(image[0], pixels)


@pytest.mark.parametrize("at", [10, 18, 22, 30, 0.5, 0.8, -5])
@pytest.mark.parametrize("cut", [False, True])
def test_damaged_files_are_refused_or_right(tmp_path: Path, at, cut) -> None:
    pixels = RANDOM.integers(0, 65536, (40, 50)).astype("uint16")
    data = bytearray(png(pixels))
    place = int(at * len(data)) if isinstance(at, float) else at % len(data)
    if cut:
        del data[place:]
    else:
        data[place] ^= 0x10
    (tmp_path / "a.png").write_bytes(data)
    try:
        image = why.read(tmp_path / "a.png")
    except ImageReadError as error:
        assert "a.png" in str(error)
    else:
        np.testing.assert_array_equal(image[0], pixels)


def test_a_jpeg_is_refused_with_the_reason(tmp_path: Path) -> None:
    Image.fromarray(RANDOM.integers(0, 255, (9, 8), "uint8")).save(tmp_path / "a.jpg")
    assert not can_read(tmp_path / "a.jpg")
    with pytest.raises(ImageReadError, match=r"JPEG picture .*compression changes intensities"):
        why.read(tmp_path / "a.jpg")
