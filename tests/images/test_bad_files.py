"""Every damaged or foreign file ends in one error that names it, never in a wrong picture."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.images import can_read, read

PIXELS = np.random.default_rng(0).integers(1, 60000, (3, 24, 31)).astype("uint16")
OME = {"ome": True, "metadata": {"axes": "CYX"}}
IMAGEJ = {"imagej": True, "metadata": {"axes": "CYX"}}
PLAIN = {"metadata": None, "photometric": "minisblack"}


@pytest.mark.parametrize("options", [OME, IMAGEJ, PLAIN, PLAIN | {"compression": "zlib"}])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, options) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, PIXELS, **options)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read(path, axes="cyx"), PIXELS)
    padding = 64  # zeros at the very end belong to no page
    for length in [*range(0, 700, 23), *range(700, len(whole) - padding, 397)]:
        path.write_bytes(whole[:length])
        with pytest.raises(ImageReadError, match=re.escape(str(path))):
            read(path, axes="cyx")


def test_a_file_cut_near_its_end_is_right_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, PIXELS, **OME)
    whole = path.read_bytes()
    refused = 0
    for length in range(len(whole) - 1000, len(whole), 29):
        path.write_bytes(whole[:length])
        try:
            image = read(path)
        except ImageReadError:
            refused += 1
        else:
            np.testing.assert_array_equal(image, PIXELS)
    assert refused > 10


def test_a_file_whose_last_page_is_lost_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as file:
        for plane in PIXELS[:2]:
            file.write(plane, metadata=None, contiguous=False)
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    path.write_bytes(path.read_bytes()[: second + 10])
    with pytest.raises(ImageReadError, match="page 2 cut off"):
        read(path)


def test_pages_that_run_in_a_circle_end(tmp_path: Path) -> None:
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, PIXELS[0], metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].offset
        end = start + 2 + 12 * len(file.pages[0].tags)
    data[end : end + 4] = start.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match="circle"):
        read(path)


def test_ome_xml_that_names_more_planes_than_there_are(tmp_path: Path) -> None:
    path = tmp_path / "field.ome.tif"
    tifffile.imwrite(path, PIXELS, **OME)
    path.write_bytes(path.read_bytes().replace(b'SizeC="3"', b'SizeC="9"'))
    with pytest.raises(ImageReadError, match="6 of 9 planes missing"):
        read(path)


def test_an_absurd_size_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "absurd.tif"
    tifffile.imwrite(path, PIXELS[0], compression="zlib", metadata=None, rowsperstrip=24)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(2_000_000, dtype="I")
    with pytest.raises(
        ImageReadError, match=r"bytes for an image that takes 8000000000000 once decoded"
    ):
        read(path)


def test_damaged_pixels_do_not_decode(tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, PIXELS[0], compression="zlib", metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    data[start : start + count] = b"\0" * count
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match="pixels that do not decode"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("missing.tif", None, "no such file"),
        ("empty.tif", b"", "empty file"),
        ("text.tif", b"well,label\nA01,DS\n", "text file that begins with 'well,label"),
        ("picture.tif", b"\x89PNG\r\n\x1a\n....", "PNG picture"),
        ("archive.tif", b"PK\x03\x04....", "ZIP archive"),
        ("bytes.tif", bytes(range(200)), "unknown format"),
        ("header.tif", b"II*\0", "cut off"),
        ("nopage.tif", b"II*\0\0\0\0\0", "without any page"),
        ("beyond.tif", b"II*\0\xff\xff\xff\x7f", "cut off"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path, name, content, found) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=found) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert can_read(path) == bool(content and content.startswith(b"II*"))


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="found a folder"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(__import__("os"), "mkfifo"), reason="this system has no pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(ImageReadError, match="not a regular file"):
        read(tmp_path / "pipe.tif")


def test_a_colour_picture_is_refused_until_it_is_said_to_be_channels(tmp_path: Path) -> None:
    path = tmp_path / "rgb.tif"
    picture = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype("uint8")
    tifffile.imwrite(path, picture, photometric="rgb")
    with pytest.raises(ImageReadError, match=r"RGB colour picture .*8 x 9 x 3.*axes='yxc'"):
        read(path)
    np.testing.assert_array_equal(read(path, axes="yxc"), picture.transpose(2, 0, 1))
    assert read(path, channels=["DAPI", "TMRM", "sum"]).sizes["c"] == 3


def test_indexed_colours_are_no_intensities_but_a_ramp_is(tmp_path: Path) -> None:
    path = tmp_path / "indexed.tif"
    values = np.arange(64, dtype="uint8").reshape(8, 8)
    ramp = np.stack([np.arange(256) * 257] * 3).astype("uint16")
    tifffile.imwrite(path, values, photometric="palette", colormap=ramp)
    np.testing.assert_array_equal(read(path)[0], values)
    mixed = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype("uint16")
    tifffile.imwrite(path, values, photometric="palette", colormap=mixed)
    with pytest.raises(ImageReadError, match="indexed colours"):
        read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_counted_and_placed(tmp_path: Path, value) -> None:
    path = tmp_path / "float.ome.tif"
    pixels = PIXELS.astype("float32")
    pixels[1, 2, 3] = pixels[2, 0, 0] = value
    tifffile.imwrite(path, pixels, **OME)
    with pytest.raises(ImageReadError, match=r"2 values .* the first at \(1, 2, 3\)"):
        read(path)


def test_complex_numbers_are_no_intensities(tmp_path: Path) -> None:
    path = tmp_path / "complex.tif"
    tifffile.imwrite(path, PIXELS[0].astype("complex64"))
    with pytest.raises(ImageReadError, match="complex64"):
        read(path)


@pytest.mark.parametrize("value", [0, 7])
def test_black_and_constant_images_are_images(tmp_path: Path, value) -> None:
    path = tmp_path / "constant.tif"
    tifffile.imwrite(path, np.full((8, 8), value, "uint16"))
    assert (read(path).values == value).all()
