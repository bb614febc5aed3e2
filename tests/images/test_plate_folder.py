from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError, ParameterError
from napari_why.images import can_read, channel_names, read
from napari_why.images.plate_folder import scan_plate

GUID = "E94C24BD-45E4-450A-9919-257C714278F7"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def save(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((4, 5), value, "uint16")
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")


@pytest.mark.parametrize(
    ("name", "well", "field", "plane", "plate"),
    [
        ("p7_B02_s3_w2.TIF", "B02", "3", (0, 0, "w2"), "p7"),
        (f"p7_B02_s3_w2{GUID}.tif", "B02", "3", (0, 0, "w2"), "p7"),
        ("TimePoint_4/ZStep_2/p7_B02_s3_w1.TIF", "B02", "3", (4, 2, "w1"), "p7"),
        ("r02c11f03p05-ch4sk2fk1fl1.tiff", "B11", "03", (2, 5, "ch4"), ""),
        ("002011-3-005002004.tif", "B11", "3", (2, 5, "ch004"), ""),
        ("AS_09_B03_T0001F002L01A02Z05C03.tif", "B03", "002", (1, 5, "C03"), "AS_09"),
        ("B - 03(fld 2 wv 390 - Blue z 3).tif", "B03", "2", (0, 3, "390 - Blue"), ""),
        ("B - 3(fld 2 wv DAPI - DAPI).tif", "B03", "2", (0, 0, "DAPI - DAPI"), ""),
        ("Channel2-03-B-03.tif", "B03", "", (0, 0, "Channel2"), ""),
        ("B7_01_2_3_Texas Red_001.tif", "B07", "3", (1, 0, "Texas Red"), ""),
        ("series_w1DAPI_s2_t3.tif", "", "2", (3, 0, "DAPI"), ""),
        ("W00012--P00003--Z00001--T00002--GFP.tif", "W00012", "00003", (2, 1, "GFP"), ""),
    ],
)
def test_conventions(tmp_path: Path, name, well, field, plane, plate) -> None:
    (found,) = scan_plate(touch(tmp_path, name)).fields
    assert (found.well, found.field, found.plate) == (well, field, plate)
    assert list(found.files) == [plane]


def test_thumbnails_and_projections_are_skipped_or_chosen(tmp_path: Path) -> None:
    for step in ("", "ZStep_1/", "ZStep_2/"):
        touch(tmp_path, f"{step}p_B02_s1_w1.tif", f"{step}p_B02_s1_w1_thumb{GUID}.tif")
    plate = scan_plate(tmp_path)
    assert [list(field.files) for field in plate.fields] == [[(0, 1, "w1"), (0, 2, "w1")]]
    assert (plate.thumbnails, plate.projections) == (3, 1)
    (field,) = scan_plate(tmp_path, projections=True).fields
    assert [path.parent for path in field.files.values()] == [tmp_path]


def test_missing_channels_are_reported_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "p_A01_s1_w1.tif", "p_A01_s1_w2.tif", "p_A02_s1_w1.tif", "notes.tif")
    plate = scan_plate(tmp_path)
    assert [(field.well, field.missing) for field in plate.fields] == [
        ("A01", ()),
        ("A02", ("w2",)),
    ]
    assert "p A02 field 1: no file of channel w2." in plate.notes
    assert [path.name for path in plate.others] == ["notes.tif"]


def test_a_folder_of_one_field_is_one_image_with_its_planes(tmp_path: Path) -> None:
    for depth in (1, 2, 3):
        for channel in (1, 2):
            save(tmp_path / f"ZStep_{depth}" / f"p_B02_s1_w{channel}.tif", 10 * depth + channel)
    assert can_read(tmp_path)
    image = read(tmp_path)
    assert image.dims == ("c", "z", "y", "x")
    assert channel_names(image) == ("w1", "w2")
    np.testing.assert_array_equal(image[:, :, 0, 0], [[11, 21, 31], [12, 22, 32]])
    (tmp_path / "ZStep_2/p_B02_s1_w2.tif").unlink()
    with pytest.raises(ImageReadError, match="w2 at t=0, z=2"):
        read(tmp_path)


def test_a_folder_of_several_fields_is_named_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "p_B02_s1_w1.tif", "p_B02_s2_w1.tif")
    with pytest.raises(ImageReadError, match=r"2 fields .p B02 field 1; p B02 field 2"):
        read(tmp_path)


def test_own_pattern(tmp_path: Path) -> None:
    for number, name in enumerate(("red", "green")):
        save(tmp_path / f"7-c4-{name}x.tif", number)
    assert not can_read(tmp_path)
    image = read(tmp_path, pattern=r"\d+-(?P<well>\w\d)-(?P<channel>red|green)x")
    assert channel_names(image) == ("green", "red")
    with pytest.raises(ParameterError, match="expected channel"):
        scan_plate(tmp_path, pattern="(?P<colour>red)")
