from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.images import (
    channel_names,
    describe_grouping,
    find_likely_channels,
    group_channel_files,
    read,
)
from napari_why.images.channel_files import sibling_files
from napari_why.images.file_names import parse_name
from napari_why.images.read import read_again

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


@pytest.mark.parametrize(
    "name", ["DS_r01c03f01.tif", "field.tif", "a_w1.txt", "A01_f1.tif", "C01_f1.tif"]
)
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


def names_of(form: str, channels: str | list[str]) -> list[Path]:
    """Eight fields in two folders; digits are put for {c}, words for {w}, fields for {f}."""
    values = [{"c": int(c)} for c in channels] if isinstance(channels, str) else None
    values = values or [{"w": word} for word in channels]
    return [
        Path(folder) / form.format(f=field, **value)
        for number, folder in enumerate(("healthy", "treated"))
        for field in range(1 + 4 * number, 5 + 4 * number)
        for value in values
    ]


STAINS = ["DAPI", "TMRM"]
EXPORTERS = [
    ("Series{f:03}_ch{c:02}.tif", "01"),  # LAS X
    ("Project_Series{f:03}_z00_RAW_ch{c:02}_SV.tif", "012"),
    ("Position{f:03}--t00--ch{c:02}.tif", "01"),
    ("Snap-{f:03}_c{c}.tif", "12"),  # ZEN
    ("Exp_b0s{f}c{c}x0-1388y0-1040_ORG.tif", "01"),
    ("Exp_s{f}_t1_z1_c{c}_ORG.tif", "12"),
    ("Exp_s{f}t01z02c{c}m01_ORG.tif", "12"),
    ("t01xy{f:02}c{c}.tif", "12"),  # NIS
    ("Exp01T1XY{f}Z1C{c}.tif", "12"),
    ("sampleXY{f:02}C{c}.tif", "12"),
    ("Image_XY{f:02}_00001_CH{c}.tif", "13"),  # Keyence
    ("MFGTMP-PC_101025100001_B02f{f:02}d{c}.TIF", "01"),  # Cellomics
    ("scan_Plate_R_p00_z00_0_B02f{f:02}d{c}.TIF", "01"),  # EVOS
    ("img_channel{c:03}_position{f:03}_time000000000_z000.tif", "01"),  # Micro-Manager
    ("img_{f:09}_{w}_000.tif", ["DAPI", "Cy5-long"]),
    ("well_B02_F{f:03}C{c:03}.tif", "12"),  # Olympus
    ("Image{f:04}_C{c:03}Z001T001.tif", "12"),
    ("Process_{f}_C{c}.tif", "12"),
    ("{w}_B{f}_1_2021y03m04d_10h00m.tif", ["green", "phase"]),  # Incucyte
    ("VID123_{w}_B{f}_1_2021y03m04d_10h00m.tif", ["Green", "Red"]),
    ("image--L00--S00--U00--V00--J08--E00--X0{f}--Y00--T0000--Z00--C{c:02}.ome.tif", "01"),
    ("img_S{f}_C{c}_Z0_T0.tif", "01"),  # Bio-Formats
    ("img{f}_c{c}.ome.tiff", "01"),
    ("C{c}-field{f}.tif", "12"),  # ImageJ
    ("name{f}_t0001_z0001_c{c:04}.tif", "12"),
    ("p1_B02_s{f}_w{c}.ome.tif", "12"),
    ("field{f}_{w}.ome.tif", STAINS),
    ("C0{f}_f1_c{c}.tif", "12"),  # the well is C01, the channel c1
    ("B0{f}_C{c}.tif", "12"),
    ("C{c}-P1_C0{f}_f1.tif", "12"),  # the well is C01, on plate P1
    ("{w}_F{f}_1_2021y03m04d_10h00m.tif", ["green", "phase"]),
    ("Bild{f}-{w}.tif", ["grün", "rot"]),
    ("{w}_champ{f}.tif", ["bleu", "rouge"]),
    ("a{f}_{w}.tif", ["405", "561"]),
    ("Series{f:03}_{w}.tif", ["ch00_DAPI", "ch01_TMRM"]),
]
WORDS = [
    ("{w}_ER-stress_f{f}.tif", STAINS),
    ("{w}_ER_stress_f{f}.tif", STAINS),
    ("ER_{w}_{f}.tif", STAINS),
    ("BF_{w}_{f}.tif", STAINS),
    ("{w}_control-RNA_{f}.tif", STAINS),
    ("control-RNA_{f}_{w}.tif", STAINS),
    ("GFP-mutant_{f}-{w}.tif", ["Hoechst 33342", "MitoTracker Red"]),
    ("2024-05-01-{w}-Actin-KO-{f}.tif", STAINS),
    ("Actin_KO_{w}-{f}.tif", STAINS),
    ("{w}_c{f}.tif", STAINS),
    ("DAPI-free_{f}_{w}.tif", ["Far-Red", "Red"]),
]


@pytest.mark.parametrize(("form", "channels"), EXPORTERS + WORDS)
def test_files_of_one_channel_each_make_images(form, channels) -> None:
    paths = names_of(form, channels)
    groups = group_channel_files(paths)
    count = len(channels)
    assert groups == [tuple(sorted(paths[i : i + count])) for i in range(0, len(paths), count)]
    (sentence,) = describe_grouping(groups)
    assert sentence.startswith(f"{8 * count} files were taken as 8 images of ")


@pytest.mark.parametrize(
    "names",
    [
        [f"{row}0{column}_f1.tif" for row in "ABCD" for column in (1, 2)],
        [f"C{column:02}_f{field}.tif" for column in (1, 2) for field in (1, 2)],
        [f"{row}{column}_f{field}.tif" for row in "CD" for column in (1, 2) for field in (1, 2)],
        [f"f{field}_{row}{column}.tif" for row in "CD" for column in (1, 2) for field in (1, 2)],
        [f"r0{row}c0{column}f01.tif" for row in (1, 2) for column in (1, 2)],
        [f"mouse_c{clone}.tif" for clone in range(1, 13)],
        [f"{word}-stress_f{field}.tif" for word in ("ER", "DNA") for field in (1, 2)],
        ["a_c1.tif", "b_c2.tif", "c_c3.tif"],
        ["3f9c12ab.tif", "3f9c13ab.tif", "77c1.tif"],
    ],
)
def test_wells_clones_and_conditions_are_no_channels(names) -> None:
    paths = [Path(folder) / name for folder in ("healthy", "treated") for name in names]
    assert group_channel_files(paths) == [(path,) for path in paths]


def test_two_stains_that_both_differ_are_asked_about() -> None:
    names = [f"{a}_{b}_f{f}.tif" for a in STAINS for b in ("ER", "RNA") for f in (1, 2)]
    with pytest.raises(ImageReadError, match=r"can mean channel DAPI or ER.*pattern=") as caught:
        group_channel_files(map(Path, names))
    assert "(?P<channel>" in str(caught.value)
    pattern = r"(?P<channel>[^_]+)_(?P<field>.+)"
    assert len(group_channel_files(map(Path, names), pattern)) == 4
    assert parse_name("DAPI_ER_f0.tif").others == ("ER",)


@pytest.mark.parametrize(
    ("names", "likely"),
    [
        ([f"{x}-{c}" for x in "xyz" for c in (1, 2)], ("1", "2")),
        ([f"{x}_{c}" for x in "uvw" for c in ("left", "right")], ("left", "right")),
        ([f"s{x}_{c}" for x in (1, 2, 3) for c in "AB"], ("a", "b")),
        ([f"{c}{x}" for x in (1, 2, 3) for c in ("nuc", "mit")], ("mit", "nuc")),
        ([f"bild {x} {c}" for x in (1, 2, 3) for c in ("kern", "mito")], ("kern", "mito")),
        ([f"{x}_day{d}" for x in "uvwxy" for d in (1, 2)], ()),
        ([f"m{x}_rep{r}" for x in (1, 2) for r in (1, 2)], ()),
        ([f"{w}_s{s}" for w in ("A01", "A02", "B01") for s in (1, 2)], ()),
        ([f"field_{x}" for x in range(4)], ()),
        ([f"{x}" for x in range(4)], ()),
    ],
)
def test_what_looks_like_channels_is_found_to_ask_about(names, likely) -> None:
    paths = [Path(folder) / f"{name}.tif" for folder in ("healthy", "treated") for name in names]
    assert find_likely_channels(paths) == likely


def test_images_that_lack_a_channel_are_named() -> None:
    names = ["f0_DAPI.tif", "f0_TMRM.tif", "f1_DAPI.tif", "f1_TMRM.tif", "f2_DAPI.tif"]
    assert describe_grouping(group_channel_files(map(Path, names))) == [
        "4 files were taken as 2 images of DAPI and TMRM, by their names (stain in the name).",
        "1 of 3 images lack a channel that the others have, the first: f2_DAPI.tif has no TMRM "
        "beside it.",
    ]


def test_a_pattern_tells_the_channel_also_by_the_folder() -> None:
    paths = [Path("data") / stain / f"f{f}.tif" for stain in ("nuc", "mito") for f in (0, 1)]
    groups = group_channel_files(paths, r"(?P<channel>nuc|mito)/(?P<field>.+)")
    assert groups == [(paths[2], paths[0]), (paths[3], paths[1])]
    (said,) = describe_grouping([(path,) for path in paths], "(?P<channel>w)(?P<field>.+)")
    assert said.startswith("4 files do not fit your own pattern")


@pytest.mark.parametrize("form", ["a{f}_w{c}.ome.tif", "a{f}_c{c}.tif", "a{f}_ch0{c}.tif"])
def test_files_that_hold_channels_are_images_of_their_own(tmp_path, form) -> None:
    paths = [tmp_path / form.format(f=f, c=c) for f in (0, 1) for c in (1, 2)]
    for path in paths:
        tifffile.imwrite(path, np.zeros((2, 8, 8), "uint16"), metadata={"axes": "CYX"})
    assert group_channel_files(paths) == [(path,) for path in paths]
    assert read(paths[0]).sizes == {"c": 2, "y": 8, "x": 8}


def test_an_ome_tiff_names_its_channel_better_than_its_name(tmp_path) -> None:
    for number, name in enumerate(STAINS):
        metadata = {"axes": "YX", "Channel": {"Name": [name]}}
        pixels = np.full((8, 8), number, "uint16")
        tifffile.imwrite(tmp_path / f"a_w{number}.ome.tif", pixels, metadata=metadata)
    image = read(tmp_path / "a_w0.ome.tif")
    assert channel_names(image) == ("DAPI", "TMRM")
    np.testing.assert_array_equal(image[:, 0, 0], [0, 1])


def test_one_file_is_read_by_a_pattern(tmp_path) -> None:
    for number, name in enumerate(("mito", "nuc")):
        pixels = np.full((8, 8), number, "uint16")
        tifffile.imwrite(tmp_path / f"a{name}.tif", pixels, metadata=None)
    pattern = "(?P<field>a)(?P<channel>nuc|mito)"
    image = read(tmp_path / "anuc.tif", pattern=pattern)
    assert channel_names(image) == ("mito", "nuc")
    again = read_again(image.attrs["source"].split("; ")[0], image.attrs["read_as"])
    np.testing.assert_array_equal(image, again)
    alone = read([tmp_path / "anuc.tif"], pattern=pattern)
    assert channel_names(alone) == ("nuc",)


def test_the_matrix_screener_counts_wells_from_zero() -> None:
    name = "image--L0000--S00--U02--V01--J08--E00--O00--X00--Y00--T0000--Z00--C01.ome.tif"
    parsed = parse_name(name)
    assert (parsed.well, parsed.channel) == ("B03", "C01")
