from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import ImageReadError, ParameterError
from napari_why.images import can_read, channel_names, read, spatial_scale

RANDOM = np.random.default_rng(0)
TWO = RANDOM.integers(0, 60000, (2, 30, 40)).astype("uint16")
STACK = RANDOM.integers(0, 60000, (5, 2, 20, 21)).astype("uint16")


def test_ome_tiff(tmp_path: Path) -> None:
    path = tmp_path / "field.ome.tif"
    metadata = {
        "axes": "ZCYX",
        "Channel": {"Name": ["DAPI", "TMRM"]},
        "PhysicalSizeX": 325,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.325,
        "PhysicalSizeZ": 2,
    }
    tifffile.imwrite(path, STACK, metadata=metadata)
    image = read(path)
    assert image.dims == ("c", "z", "y", "x")
    np.testing.assert_array_equal(image, STACK.transpose(1, 0, 2, 3))
    assert image.dtype == np.uint16
    assert channel_names(image) == ("DAPI", "TMRM")
    assert image.attrs["pixel_size"] == {"z": 2.0, "y": 0.325, "x": 0.325}
    assert image.attrs["unit"] == "um"
    assert image.attrs["source"] == str(path)


def test_imagej_hyperstack(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    labels = [name for _ in range(5) for name in ("nuclei", "mitochondria")]
    tifffile.imwrite(
        path,
        STACK,
        imagej=True,
        resolution=(4.0, 4.0),
        metadata={"axes": "ZCYX", "unit": "micron", "spacing": 0.5, "Labels": labels},
    )
    image = read(path)
    np.testing.assert_array_equal(image, STACK.transpose(1, 0, 2, 3))
    assert channel_names(image) == ("nuclei", "mitochondria")
    assert image.attrs["pixel_size"] == {"z": 0.5, "y": 0.25, "x": 0.25}


def test_imagej_slice_counters_are_no_channel_names(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    labels = ["c:1/2 - field.nd2", "c:2/2 - field.nd2"]
    tifffile.imwrite(path, TWO, imagej=True, metadata={"axes": "CYX", "Labels": labels})
    assert channel_names(read(path)) == ("channel 1", "channel 2")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_plain_pages(tmp_path: Path, byteorder, compression, tile) -> None:
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=tile is not None) as file:
        for plane in TWO:
            file.write(plane, compression=compression, tile=tile, metadata=None, contiguous=False)
    image = read(path)
    np.testing.assert_array_equal(image, TWO)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    assert "unnamed pages" in image.attrs["notes"][0]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["uint8", "uint16", "uint32", "int16", "float32", "float64"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    byteorder=st.sampled_from("<>"),
    flavour=st.sampled_from(["ome", "plain", "samples"]),
)
def test_any_type_shape_and_byte_order(tmp_path, dtype, shape, byteorder, flavour) -> None:
    pixels = RANDOM.integers(0, 100, shape).astype(dtype)
    path = tmp_path / ("any.ome.tif" if flavour == "ome" else "any.tif")
    if flavour == "samples":
        tifffile.imwrite(
            path,
            pixels,
            byteorder=byteorder,
            photometric="minisblack",
            planarconfig="separate" if shape[0] > 1 else None,
            metadata=None,
        )
    else:
        metadata = {"axes": "CYX"} if flavour == "ome" else None
        kind = {"photometric": "minisblack", "byteorder": byteorder}
        tifffile.imwrite(path, pixels, ome=flavour == "ome", metadata=metadata, **kind)
    image = read(path, axes="cyx") if shape[0] > 2 and flavour == "plain" else read(path)
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image, pixels)


def test_resolution_tags_count_where_a_microscope_could_have_such_pixels(tmp_path: Path) -> None:
    path = tmp_path / "one.tif"
    tifffile.imwrite(path, TWO[0], resolution=(20000, 20000), resolutionunit="CENTIMETER")
    assert spatial_scale(read(path)) == (0.5, 0.5)
    tifffile.imwrite(path, TWO[0], resolution=(72, 72), resolutionunit="INCH")
    assert read(path).attrs["unit"] == "pixel"


def test_interleaved_samples_are_channels(tmp_path: Path) -> None:
    path = tmp_path / "interleaved.tif"
    tifffile.imwrite(
        path, TWO.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig", metadata=None
    )
    np.testing.assert_array_equal(read(path), TWO)


def test_sixteen_bit_rgb_is_three_channels_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rgb16.tif"
    tifffile.imwrite(path, np.zeros((8, 9, 3), "uint16"), photometric="rgb", metadata=None)
    image = read(path)
    assert image.sizes == {"c": 3, "y": 8, "x": 9}
    assert "Red, green and blue" in image.attrs["notes"][0]


def test_many_unnamed_pages_have_to_be_named(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    pixels = STACK.reshape(10, 20, 21)
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    with pytest.raises(ImageReadError, match=r"10 pages .* channels, z or time.*axes='zyx'"):
        read(path)
    assert read(path, axes="zyx").sizes == {"c": 1, "z": 10, "y": 20, "x": 21}
    assert read(path, channels=list("abcdefghij")).sizes["c"] == 10
    both = read(path, axes="zcyx", channels=["DAPI", "TMRM"])
    np.testing.assert_array_equal(both, STACK.transpose(1, 0, 2, 3))
    with pytest.raises(ImageReadError, match="do not fit"):
        read(path, axes="zcyx", channels=["a", "b", "c"])
    with pytest.raises(ImageReadError, match="each at most once, y and x among them"):
        read(path, axes="zzx")


def test_given_channel_names_replace_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "field.ome.tif"
    tifffile.imwrite(path, TWO, metadata={"axes": "CYX", "Channel": {"Name": ["a", "a"]}})
    assert channel_names(read(path)) == ("a", "a (2)")
    assert channel_names(read(path, channels=["DAPI", "TMRM"])) == ("DAPI", "TMRM")
    with pytest.raises(ImageReadError, match="found 2 channels; expected 3"):
        read(path, channels=["a", "b", "c"])


def test_a_pair_of_files_is_one_image(tmp_path: Path) -> None:
    paths = [tmp_path / "f_w1.tif", tmp_path / "f_w2.tif"]
    for path, plane in zip(paths, TWO, strict=True):
        tifffile.imwrite(path, plane)
    for image in (read(paths[0]), read(paths[1]), read(paths)):
        np.testing.assert_array_equal(image, TWO)
        assert channel_names(image) == ("w1", "w2")
    assert "w2 is f_w2.tif." in image.attrs["notes"]
    alone = read([paths[1]])
    np.testing.assert_array_equal(alone[0], TWO[1])
    assert channel_names(alone) == ("w2",)
    assert channel_names(read(paths[0], channels=["DAPI", "TMRM"])) == ("DAPI", "TMRM")


def test_a_file_with_several_channels_has_no_siblings(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "f_w1.tif", TWO, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "f_w2.tif", TWO[1])
    np.testing.assert_array_equal(read(tmp_path / "f_w1.tif"), TWO)
    with pytest.raises(ImageReadError, match=r"f_w1\.tif: found 2 channels"):
        read(tmp_path / "f_w2.tif")


@pytest.mark.parametrize(
    ("second", "options", "what"),
    [
        (TWO[1][:-1], {}, "axes and size"),
        (TWO[1].astype("uint8"), {}, "pixel type"),
        (TWO[1], {"resolution": (1e5, 1e5), "resolutionunit": "CENTIMETER"}, "unit"),
    ],
)
def test_a_pair_that_does_not_match_names_both_files(tmp_path, second, options, what) -> None:
    tifffile.imwrite(tmp_path / "f_w1.tif", TWO[0])
    tifffile.imwrite(tmp_path / "f_w2.tif", second, **options)
    with pytest.raises(ImageReadError, match=rf"f_w2\.tif: found {what}.*f_w1\.tif"):
        read(tmp_path / "f_w1.tif")


def test_two_files_for_one_channel_are_not_guessed_between(tmp_path: Path) -> None:
    for guid in ("E94C24BD-45E4-450A-9919-257C714278F7", "17654C10-92F1-4DFD-98AA-6A01BBD77557"):
        tifffile.imwrite(tmp_path / f"f_w1{guid}.tif", TWO[0])
    with pytest.raises(ImageReadError, match="several files for one channel"):
        read(tmp_path / f"f_w1{guid}.tif")


def test_files_without_a_convention_are_named_after_themselves(tmp_path: Path) -> None:
    for name, plane in zip(("red.tif", "blue.tif"), TWO, strict=True):
        tifffile.imwrite(tmp_path / name, plane)
    image = read([tmp_path / "red.tif", tmp_path / "blue.tif"])
    assert channel_names(image) == ("red", "blue")
    with pytest.raises(ParameterError, match="same file twice"):
        read([tmp_path / "red.tif", tmp_path / "red.tif"])
    with pytest.raises(ParameterError, match="found no file"):
        read([])


def test_can_read_is_no_more_than_a_look(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", TWO[0])
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((8, 8, 3), "uint8"), photometric="rgb")
    (tmp_path / "text.tif").write_text("not an image")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "damaged.tif").write_bytes((tmp_path / "good.tif").read_bytes()[:150])
    assert can_read(tmp_path / "good.tif")
    assert can_read(tmp_path / "damaged.tif")
    for name in ("colour.tif", "text.tif", "empty.tif", "missing.tif", ".", "nul\0byte.tif"):
        assert not can_read(tmp_path / name)
