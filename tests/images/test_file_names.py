from pathlib import Path

import pytest

from napari_why.images.file_names import group_channel_files, parse_name, sibling_files

GUID = "E94C24BD-45E4-450A-9919-257C714278F7"
OTHER_GUID = "17654C10-92F1-4DFD-98AA-6A01BBD77557"


@pytest.mark.parametrize(
    ("first", "second", "channels"),
    [
        ("p_B02_s1_w1.TIF", "p_B02_s1_w2.TIF", ("w1", "w2")),
        (f"Mix_E07_s1_w1{GUID}.tif", f"Mix_E07_s1_w2{OTHER_GUID}.tif", ("w1", "w2")),
        ("r03c03f03p01-ch4sk1fk1fl1.tiff", "r03c03f03p01-ch5sk1fk1fl1.tiff", ("ch4", "ch5")),
        ("Channel1-01-A-01.tif", "Channel2-01-A-01.tif", ("Channel1", "Channel2")),
        ("B7_01_1_3_DAPI_001.tif", "B7_01_2_3_GFP_001.tif", ("DAPI", "GFP")),
        ("well_A1_DAPI.tif", "well_A1_TMRM.tif", ("DAPI", "TMRM")),
        ("DAPI_f01.tif", "MitoTracker_f01.tif", ("DAPI", "MitoTracker")),
    ],
)
def test_files_of_one_image_find_each_other(tmp_path, first, second, channels) -> None:
    for name in (first, second, "unrelated.tif", "notes.txt"):
        (tmp_path / name).touch()
    for name in (first, second):
        found = sibling_files(tmp_path / name).files
        assert [path.name for path in found] == [first, second]
    parsed = [parse_name(path.name) for path in found]
    assert tuple(item.channel for item in parsed if item) == channels


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("p_B02_s1_w1.tif", "p_B02_s2_w2.tif"),
        ("r03c03f03p01-ch4sk1fk1fl1.tiff", "r03c03f04p01-ch5sk1fk1fl1.tiff"),
        ("r03c03f03p01-ch4sk1fk1fl1.tiff", "r03c03f03p02-ch5sk1fk1fl1.tiff"),
        ("r03c03f03p01-ch4sk1fk1fl1.tiff", "r03c03f03p01-ch5sk2fk1fl1.tiff"),
        ("Channel1-01-A-01.tif", "Channel2-02-A-02.tif"),
        ("B7_01_1_3_DAPI_001.tif", "B7_01_2_4_GFP_001.tif"),
        (f"Mix_E07_s1_w1{GUID}.tif", f"Mix_E07_s1_w2_thumb{OTHER_GUID}.tif"),
        ("field_DAPI.tif", "other_TMRM.tif"),
    ],
)
def test_other_fields_planes_times_and_thumbnails_stay_apart(first, second) -> None:
    assert len(group_channel_files([Path(first), Path(second)])) == 2


@pytest.mark.parametrize("name", ["DS_r01c03f01.tif", "field.tif", "a_DAPI.ome.tif", "a_w1.pdf"])
def test_other_names_follow_no_convention(name) -> None:
    assert parse_name(name) is None


def test_groups_keep_the_order_of_files_and_channels() -> None:
    names = ["b_w2.tif", "single.tif", "a_w1.tif", "b_w1.tif"]
    groups = group_channel_files([Path(name) for name in names])
    assert [[path.name for path in group] for group in groups] == [
        ["b_w1.tif", "b_w2.tif"],
        ["single.tif"],
        ["a_w1.tif"],
    ]


def test_channel_ten_comes_after_channel_nine() -> None:
    names = [f"r01c01f01p01-ch{n}sk1fk1fl1.tif" for n in (10, 9, 1)]
    (group,) = group_channel_files(Path(name) for name in names)
    assert [path.name for path in group] == [names[2], names[1], names[0]]


def test_channels_that_only_other_fields_have_are_named(tmp_path) -> None:
    for name in ("p_B02_s1_w1.tif", "p_B02_s1_w2.tif", "p_B02_s2_w1.tif", "q_B02_s1_w3.tif"):
        (tmp_path / name).touch()
    assert sibling_files(tmp_path / "p_B02_s1_w1.tif").missing == ()
    assert sibling_files(tmp_path / "p_B02_s2_w1.tif").missing == ("w2",)
    for name in ("field_DAPI.tif", "other_TMRM.tif"):  # no fields of one plate
        (tmp_path / name).touch()
    assert sibling_files(tmp_path / "field_DAPI.tif").missing == ()
