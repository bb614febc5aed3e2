import tracemalloc
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.images import read, tiff

STACK = np.random.default_rng(0).integers(0, 60000, (4, 2, 20, 21)).astype("uint16")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_large_images_are_read_plane_by_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, byteorder, compression
) -> None:
    path = tmp_path / "large.ome.tif"
    options = {"byteorder": byteorder, "compression": compression, "bigtiff": True}
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZCYX"}, **options)
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    image = read(path)
    assert isinstance(image.data, da.Array)
    assert image.data.chunksize[-2:] == (20, 21)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, STACK.transpose(1, 0, 2, 3))


def test_a_file_that_is_damaged_later_says_so_when_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.ome.tif"
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZCYX"}, compression="zlib")
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    image = read(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ImageReadError, match="do not decode"):
        image.compute()


def test_float_stacks_are_checked_for_nan_without_loading_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "float.ome.tif"
    pixels = STACK.astype("float32")
    pixels[3, 1, 2, 3] = np.nan
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "ZCYX"})
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    with pytest.raises(ImageReadError, match=r"first at \(3, 1, 2, 3\)"):
        read(path)


def save_lazily(path: Path, kind: str) -> tuple[int, ...]:
    """Write a file of 320 MB that holds next to nothing: the disk stores no zeros of such files."""
    shape = (40, 2, 1024, 2048)
    kinds = {
        "imagej": {"imagej": True, "metadata": {"axes": "TCYX"}},
        "ome": {"ome": True, "metadata": {"axes": "TCYX"}},
        "plain": {"metadata": {"axes": "TCYX"}},
        "foreign": {"metadata": {"axes": "TCYX"}, "byteorder": ">"},
        "two planes": {"metadata": {"axes": "CYX"}},
        "one plane": {"metadata": None},
    }
    shape = {"two planes": (2, 8192, 10240), "one plane": (12000, 14000)}.get(kind, shape)
    tifffile.imwrite(path, shape=shape, dtype="uint16", photometric="minisblack", **kinds[kind])
    return shape


@pytest.mark.parametrize("kind", ["imagej", "ome", "plain", "foreign", "two planes", "one plane"])
def test_opening_a_large_uncompressed_image_takes_little_memory(tmp_path: Path, kind) -> None:
    path = tmp_path / ("large.ome.tif" if kind == "ome" else "large.tif")
    shape = save_lazily(path, kind)
    with path.open("r+b") as file:  # the last pixel, which says whether the place is right
        with tifffile.TiffFile(path) as written:
            offset = written.series[0].dataoffset
        file.seek(offset + 2 * int(np.prod(shape)) - 2)
        file.write(b"\x01\x01")
    tracemalloc.start()
    try:
        image = read(path)
        last = image[-1, ..., -1] if image.ndim == 3 else image[-1, -1, -1, -9:]
        values = np.asarray(last)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert values.flat[-1] == 0x0101
    # The file has 320 MB or more; what is looked at has 2048 x 2048 pixels of two channels.
    assert peak < 100e6
    assert isinstance(image.data, da.Array)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    "layout",
    [
        {"tile": (16, 32)},
        {"tile": (16, 32), "compression": "zlib", "predictor": True},
        {"rowsperstrip": 7, "compression": "lzw"},
        {"rowsperstrip": 50, "compression": "zstd"},
        {"rowsperstrip": 7},
        {},
    ],
)
def test_large_pages_are_read_by_strips_and_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, byteorder, samples, layout
) -> None:
    pixels = np.random.default_rng(1).integers(0, 60000, (3, 101, 83, samples)).astype("uint16")
    pixels = pixels if samples > 1 else pixels[..., 0]
    path = tmp_path / "large.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder) as file:
        for plane in pixels:
            options = {"photometric": "minisblack", "metadata": None, "contiguous": False}
            file.write(
                plane, **options | ({"planarconfig": "contig"} if samples > 1 else {}), **layout
            )
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    monkeypatch.setattr(tiff, "WHOLE_PAGE_BYTES", 4000)
    monkeypatch.setattr(tiff, "BLOCK_BYTES", 4000)
    image = read(path, axes="tyxc" if samples > 1 else "tyx")
    expected = np.moveaxis(pixels, -1, 1) if samples > 1 else pixels[:, None]
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(image[1, :, 40:60, 20:70], expected[1, :, 40:60, 20:70])
    whole = layout.get("rowsperstrip") == 50
    assert image.data.chunksize[2] * image.data.chunksize[3] < 101 * 83 or whole
