"""What a file tells of its pixel size: in part, in units that differ by axis, or of its camera."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_why.images import read, write
from napari_why.images.formats import to_micrometres
from napari_why.napari_reader import image_layers

PLANE = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype("uint16")


def ome(path: Path, sizes: str, planes: int = 1) -> Any:
    text = (
        '<OME><Image ID="I"><Pixels ID="P" DimensionOrder="XYCZT" Type="uint16" SizeX="30" SizeY="20" '
        f'SizeC="1" SizeZ="{planes}" SizeT="1" {sizes}><Channel ID="C"/><TiffData/></Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(path) as file:
        for index in range(planes):
            description = text.encode() if index == 0 else None
            file.write(PLANE, description=description, metadata=None, photometric="minisblack")
    return read(path).attrs


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ('PhysicalSizeX="0.325"', "along x (0.325 um) only"),
        ('PhysicalSizeY="0.325"', "along y (0.325 um) only"),
        ('PhysicalSizeZ="2"', "along z (2 um) only"),
        ('PhysicalSizeX="0.3" PhysicalSizeZ="2"', "along z (2 um) and x (0.3 um) only"),
        ('PhysicalSizeX="0.3" PhysicalSizeY="0"', "PhysicalSizeY as '0' um, which is no length"),
        ('PhysicalSizeX="NaN" PhysicalSizeY="NaN"', "PhysicalSizeX as 'NaN'"),
        ('PhysicalSizeX="-0.3" PhysicalSizeY="-0.3"', "PhysicalSizeY as '-0.3'"),
        ('PhysicalSizeX="INF" PhysicalSizeY="0.3"', "along y (0.3 um) only"),
        ('PhysicalSizeX="0,65" PhysicalSizeY="0,65"', "PhysicalSizeX as '0,65'"),
        ('PhysicalSizeX="1_0" PhysicalSizeY="1_0"', "PhysicalSizeX as '1_0'"),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"', "'1' pixel"),
        (
            'PhysicalSizeX="1" PhysicalSizeXUnit="reference frame" PhysicalSizeY="1" '
            'PhysicalSizeYUnit="reference frame"',
            "'1' reference frame",
        ),
    ],
)
def test_what_ome_xml_tells_in_part_is_unknown_and_said(tmp_path: Path, sizes, told) -> None:
    attrs = ome(tmp_path / "a.ome.tif", sizes)
    assert (attrs["unit"], attrs["pixel_size"]) == ("pixel", {"y": 1.0, "x": 1.0})
    assert told in " ".join(attrs["notes"])


def test_each_axis_of_ome_xml_has_its_own_unit(tmp_path: Path) -> None:
    sizes = (
        'PhysicalSizeX="325" PhysicalSizeXUnit="nm" PhysicalSizeY="0.000325" PhysicalSizeYUnit="mm" '
        'PhysicalSizeZ="3000" PhysicalSizeZUnit="\u00c5"'
    )
    attrs = ome(tmp_path / "a.ome.tif", sizes, planes=3)
    assert attrs["pixel_size"] == {"z": 0.3, "y": 0.325, "x": 0.325}
    assert attrs["notes"] == ()


@pytest.mark.parametrize(
    "depth", ["", "0", "-2", "NaN", "INF", "1_0", '1" PhysicalSizeZUnit="pixel']
)
def test_a_distance_of_planes_that_is_not_told_is_no_micrometre(tmp_path: Path, depth) -> None:
    """Neither in the image, nor in napari's layers, nor in what is written and read again."""
    path = tmp_path / "a.ome.tif"
    sizes = f'PhysicalSizeX="0.5" PhysicalSizeY="0.5" PhysicalSizeZ="{depth}"'
    attrs = ome(path, sizes, planes=3)
    assert (attrs["unit"], attrs["pixel_size"]) == ("um", {"y": 0.5, "x": 0.5})
    assert "distance of z planes; it counts as unknown" in " ".join(attrs["notes"])
    image = read(path)
    assert [image[dim].attrs["units"] for dim in "zyx"] == ["pixel", "um", "um"]
    (_, keywords, _), *_ = image_layers(image)
    assert (keywords["units"], keywords["scale"]) == (("pixel", "um", "um"), (1.0, 0.5, 0.5))
    for name in ("b.ome.tif", "b.ome.zarr"):
        again = read(write(image, tmp_path / name, overwrite=True))
        assert (again.attrs["unit"], again.attrs["pixel_size"]) == ("um", attrs["pixel_size"])
        np.testing.assert_array_equal(again, image)


def test_a_size_that_is_not_told_is_no_note(tmp_path: Path) -> None:
    attrs = ome(tmp_path / "a.ome.tif", "")
    assert (attrs["unit"], attrs["notes"]) == ("pixel", ())


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"unit": "micron", "zunit": "nm"}, {"z": 0.3, "y": 0.1, "x": 0.1}),
        ({"unit": "micron", "yunit": "\\u00B5m", "zunit": "nm"}, {"z": 0.3, "y": 0.1, "x": 0.1}),
        ({"unit": "mm", "yunit": "micron", "zunit": "nm"}, {"z": 0.3, "y": 0.1, "x": 100.0}),
        ({"unit": "um", "zunit": "pixel"}, {"y": 0.1, "x": 0.1}),
        ({"unit": "um", "yunit": "pixel", "zunit": "nm"}, None),
        ({"unit": "pixel", "zunit": "nm"}, None),
        ({"unit": "um", "zunit": "sec"}, {"y": 0.1, "x": 0.1}),
        ({"unit": "um", "zunit": "nm", "spacing": 0.0}, {"y": 0.1, "x": 0.1}),
        ({"unit": "um", "spacing": float("nan")}, {"y": 0.1, "x": 0.1}),
        ({"unit": "sec"}, None),
        ({"unit": "km"}, None),
    ],
)
def test_each_axis_of_imagej_has_its_own_unit(tmp_path: Path, units, expected) -> None:
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZYX", "spacing": 300.0, **units}
    stack = np.stack([PLANE] * 3)
    tifffile.imwrite(path, stack, imagej=True, resolution=(10, 10), metadata=metadata)
    attrs = read(path).attrs
    assert attrs["unit"] == ("um" if expected else "pixel")
    assert attrs["pixel_size"] == pytest.approx(expected or {"z": 1.0, "y": 1.0, "x": 1.0})
    told = " ".join(attrs["notes"])
    partly = expected is None and set(units.values()) & {"um", "nm"}
    assert ("only; it counts as unknown" in told) == bool(partly)
    odd = set(units.values()) & {"sec", "km"}
    assert ("which is no length known here" in told) == bool(odd)
    assert ("distance of z planes; it counts as unknown" in told) == (
        expected is not None and "z" not in expected
    )


@pytest.mark.parametrize(
    "unit",
    [
        "um", "UM", "\u00b5m", "\u03bcm", "\\u00B5m", "\u00c2\u00b5m", "\u00ce\u00bcm", "\u339b", "micron",
        "Microns", "micrometer", "microm\u00e8tre", "micr\u00f3metros"[:-1], "Mikrometer", "um/pixel",
        "\u00b5m per px", "um.", "[um]", "(\u00b5m)", "&micro;m", "um\0",
    ],
)  # fmt: skip
def test_spellings_of_the_micrometre(unit) -> None:
    assert to_micrometres(0.5, unit) == 0.5


@pytest.mark.parametrize(
    "unit", ["", "pixel", "px/um", "1/um", "Mm", "sec", "reference frame", "u2"]
)
def test_what_is_no_unit_of_length(unit) -> None:
    assert to_micrometres(0.5, unit) is None


@pytest.mark.parametrize(
    ("size", "unit", "known", "told"),
    [
        (0.65, 3, True, False),
        (0.65, 2, True, False),
        (1.625, 3, True, False),  # 6.5 um behind an objective of 4x
        (3.45, 2, False, True),
        (5.86, 3, False, True),
        (6.45, 3, False, True),
        (6.5, 2, False, True),
        (6.5, 3, False, True),
        (13.0, 3, False, True),
        (16.0, 2, False, True),
        (25400 / 72, 2, False, False),
        (25400 / 96, 2, False, False),
        (25400 / 300, 2, False, False),
        (10000.0, 3, False, False),
    ],
)
def test_cameras_and_paper_are_no_specimens(tmp_path: Path, size, unit, known, told) -> None:
    path, per_unit = tmp_path / "a.tif", 25400 if unit == 2 else 10000
    options: Any = {"resolution": (per_unit / size,) * 2, "resolutionunit": unit}
    tifffile.imwrite(path, PLANE, metadata=None, photometric="minisblack", **options)
    attrs = read(path).attrs
    assert attrs["unit"] == ("um" if known else "pixel")
    assert attrs["pixel_size"]["x"] == pytest.approx(size if known else 1.0)
    assert ("as of a camera without a microscope" in " ".join(attrs["notes"])) == told


@pytest.mark.parametrize("size", [1.85, 2.4, 3.25])
def test_small_cameras_and_weak_objectives_are_told(tmp_path: Path, size) -> None:
    """Of 3.25 um nobody knows whether a camera has them or 6.5 um behind an objective of 2x."""
    path = tmp_path / "a.tif"
    options: Any = {"resolution": (10000 / size,) * 2, "resolutionunit": 3}
    tifffile.imwrite(path, PLANE, metadata=None, photometric="minisblack", **options)
    attrs = read(path).attrs
    assert attrs["pixel_size"]["x"] == pytest.approx(size)
    assert "it may be that of a camera" in " ".join(attrs["notes"])


def test_a_resolution_along_one_axis_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    options: Any = {"resolution": (10000 / 0.65, 1), "resolutionunit": 3}
    tifffile.imwrite(path, PLANE, metadata=None, photometric="minisblack", **options)
    attrs = read(path).attrs
    assert (attrs["unit"], attrs["pixel_size"]) == ("pixel", {"y": 1.0, "x": 1.0})
    assert "along x (0.65 um) only" in " ".join(attrs["notes"])
