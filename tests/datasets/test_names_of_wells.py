"""Wells and plates that names tell: what is right, what is asked, and that nothing is guessed silently."""

import random
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.core.errors import DatasetError, LeakError, ParameterError
from napari_why.datasets import Dataset
from napari_why.datasets.plate_images import match_plate
from napari_why.images.wells_in_names import read_wells

# Neither a well nor a plate, though it looks like one; each is one value or several of an image.
BESIDE = (
    ("D3", "D7"),
    ("D03", "D07"),
    ("E18",),
    ("P5", "P6"),
    ("donor_D1", "donor_D2"),
    ("A549",),
    ("C2C12",),
    ("B16F10",),
    ("H2O2",),
    ("A4",),
    ("10uM", "5uM"),
    ("H24", "H48"),
    ("T01", "T02"),
    ("C1",),
    ("M2",),
    ("AF488",),
    ("Hoechst33342",),
    ("2024-09-02", "2024-09-09"),
    ("",),
)
SPELLINGS = ("{row}{column:02d}", "{row}{column}", "{row}-{column:02d}", "Well {row}{column}")
# What stands where: w the well, d what is beside it, f the field.
LAYOUTS = ("{d}_{w}_{f}", "{w}_{d}_{f}", "{w}_{f}_{d}", "{w}/{d}_{f}", "{d}x/{w}_{f}", "{w}/{f}")
FIELDS = ("s{0}", "f{0}", "f{0:02d}", "F{0:02d}", "{0}", "{0:03d}", "field {0}")


@st.composite
def folders(draw: st.DrawFn) -> tuple[dict[str, str], set[str]]:
    """Names and the well of each, and the wells that the map lists: these, or all of a plate."""
    rows = draw(st.lists(st.sampled_from("ABCDEFGH"), min_size=2, max_size=4, unique=True))
    columns = draw(st.lists(st.integers(1, 12), min_size=2, max_size=4, unique=True))
    spelling, layout = draw(st.sampled_from(SPELLINGS)), draw(st.sampled_from(LAYOUTS))
    field, beside = draw(st.sampled_from(FIELDS)), draw(st.sampled_from(BESIDE))
    names = {}
    for row in rows:
        for column in columns:
            for value in beside:
                for number in range(1, draw(st.integers(1, 3)) + 1):
                    spelled = spelling.format(row=row, column=column)
                    name = layout.format(w=spelled, d=value, f=field.format(number)).strip("_")
                    names[f"{name}.tif"] = f"{row}{column:02d}"
    whole = {f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)}
    return names, whole if draw(st.booleans()) else set(names.values())


@settings(max_examples=150, deadline=None)
@given(folders())
def test_a_well_is_the_right_one_or_asked(folder: tuple[dict[str, str], set[str]]) -> None:
    names, listed = folder
    readings = read_wells([PurePath(name) for name in names], listed)
    for (name, well), reading in zip(names.items(), readings, strict=True):
        assert reading.well in (well, None), name


def test_most_wells_are_read_and_not_asked() -> None:
    # Asking always would be right always; with capitals and two digits it is hardly ever needed.
    right = asked = 0
    for seed, (beside, layout) in enumerate((b, lay) for b in BESIDE for lay in LAYOUTS):
        draw = random.Random(seed)
        field = draw.choice(("s{0}", "f{0:02d}", "{0}", "{0:03d}"))
        names = {
            layout.format(w=well, d=value, f=field.format(number)).strip("_") + ".tif": well
            for well in ("B02", "C02", "B03", "C05", "E11")
            for value in beside
            for number in (1, 2)
        }
        for well, reading in zip(
            names.values(),
            read_wells([PurePath(n) for n in names], set(names.values())),
            strict=True,
        ):
            right += reading.well == well
            asked += reading.well is None
    assert asked < 0.05 * right


@pytest.mark.parametrize(
    ("names", "wells"),
    [
        # As before: the small letter is a field, the nearest name counts where only it tells one.
        (["B02_f1", "B02_f2", "C02_f1"], ["B02", "B02", "C02"]),
        (["C5/field 1", "C6/field 1"], ["C05", "C06"]),
        (["b02/f1", "c02/f1"], ["B02", "C02"]),
        (["C/05/1", "D/05/1"], ["C05", "D05"]),
        (["WellB2_s1", "WellC2_s1"], ["B02", "C02"]),
        (["row B col 2", "row C col 12"], ["B02", "C12"]),
        (["Zeile 2 Spalte 2", "ligne C colonne 12"], ["B02", "C12"]),
        (["D3_puits B2", "D3_Kavität C12"], ["B02", "C12"]),
        (["P1_A01", "P1_B01", "P2_A01", "P2_B01"], ["A01", "B01", "A01", "B01"]),
        # What means a day beside a well is none where it stands alone.
        (["B02_D3", "C02_D3", "E05_D7", "overview_D7"], ["B02", "C02", "E05", None]),
        (["A02 and A03", "A04"], [None, "A04"]),
        # Folder and name say different wells, and both vary alike: nobody can tell.
        (["A01/x_B01", "A02/x_B02", "B01/x_A01"], [None] * 3),
        # The same well said twice is said once.
        (["D07/x_D7", "B02/x_B2"], ["D07", "B02"]),
    ],
)
def test_names(names: list[str], wells: list[str | None]) -> None:
    readings = read_wells([PurePath(f"{name}.tif") for name in names])
    assert [reading.well for reading in readings] == wells


@pytest.fixture
def make(tmp_path: Path, class_folder) -> Iterator:
    """Make images of names in a folder; each is the same small picture but for its first pixel."""
    picture = next((class_folder("made", x=1) / "x").iterdir())

    def make_images(names: list[str]) -> Path:
        folder = tmp_path / "images"
        for name in names:
            path = folder / f"{name}.ome.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.read_bytes())
        return folder

    return make_images


def _match(folder: Path, plate_map: str, **options: str):
    path = folder.parent / "map.csv"
    path.write_text(plate_map)
    table, match = match_plate(folder, path, **options)
    labels = {
        Path(row.path).relative_to(folder).as_posix().removesuffix(".ome.tif"): row.label
        for row in table.itertuples()
    }
    return labels, match, table


def test_labels_follow_the_well_and_not_the_day(make) -> None:
    folder = make(
        [f"{well}/culture_D{day}" for well in ("B02", "C02", "D03", "D07") for day in (3, 7)]
    )
    labels, _, table = _match(folder, "well,treatment\nB02,x\nC02,y\nD03,x\nD07,y\n")
    assert {name: label for name, label in labels.items() if name.startswith("D03")} == {
        "D03/culture_D3": "x",
        "D03/culture_D7": "x",
    }
    assert labels["B02/culture_D7"] == "x"
    assert "6 names hold more than one thing that looks like a well" in table.attrs["notes"][0]


def test_two_readings_are_asked_with_a_pattern_that_answers(make) -> None:
    folder = make(["A01/x_B01", "A02/x_B02", "B01/x_A01", "B02/x_A02"])
    wells = "well,treatment\nA1,x\nA2,x\nB1,y\nB2,y\n"
    with pytest.raises(DatasetError, match="can mean the wells B01 and A01; say which") as asked:
        _match(folder, wells)
    pattern = str(asked.value).partition("for example '")[2].partition("'")[0]
    # Word for word, as it is pasted into a shell or a dock.
    labels, _, _ = _match(folder, wells, well_pattern=pattern)
    assert labels == {"A01/x_B01": "y", "A02/x_B02": "y", "B01/x_A01": "x", "B02/x_A02": "x"}


PLATES = (
    ("1", "2"),
    ("P1", "P10"),
    ("Plate 1", "Plate 2"),
    ("BR1", "BR1_rep2"),
    ("AK00123", "AK00124"),
    ("siRNA-A", "siRNA-B"),
    ("007", "008"),
    ("2024-09-02", "2024-09-09"),
    ("Platte 1", "Platte 12"),
    ("板1", "板2"),
)
# p the plate, w the well, f the field, which is a number as plates may be.
PLATE_LAYOUTS = (
    "{p}/{w}_{f}",
    "{p}_{w}_{f}",
    "run/{p}/{w}/{f}",
    "scan_{p}_{w}_s{f}",
    "Plate{p}_{w}_{f}",
    "Plate {p}/{w}_f{f}",
    "HeLa_P12_{p}_{w}_f{f}",
)


@pytest.mark.parametrize(
    ("layout", "plates"),
    [
        (layout, plates)
        for layout in PLATE_LAYOUTS
        for plates in PLATES
        # The word stands before numbers only.
        if "Plate" not in layout or plates[0].isdecimal()
    ],
)
def test_each_image_is_of_its_plate(layout: str, plates: tuple[str, str]) -> None:
    from napari_why.images.plates_in_names import read_plates

    names = {
        layout.format(p=plate, w=well, f=field) + ".tif": plate
        for plate in plates
        for well in ("B02", "B03", "C02")
        for field in (1, 2)
    }
    paths = [PurePath(name) for name in names]
    wells = [reading.candidate for reading in read_wells(paths, {"B02", "B03", "C02"}, plates)]
    assert [reading.plate for reading in read_plates(paths, wells, plates)] == list(names.values())
    # In other letters and with other separators, and of one plate that the map does not list.
    loose = [PurePath(name.lower().replace("-", "_")) for name in names]
    found = read_plates(loose, wells, plates)
    assert [reading.plate for reading in found] == list(names.values())


@pytest.mark.parametrize(
    ("names", "listed", "stranger"),
    [
        (["P1_{}_s1", "P2_{}_s1"], "P1", "P2_"),
        (["Plate1_{}_2", "Plate2_{}_1"], "1", "Plate2_"),
        (["plate 1/{}_s1", "plate 3/{}_s1"], "plate 1", "plate 3"),
        (["BR1_{}_s1", "BR1_rep2_{}_s1"], "BR1", "BR1_rep2"),
        (["exp1/{}_1", "exp1_2/{}_1"], "exp1", "exp1_2"),
        (["{}_BR1_s1", "{}_BR1_rep2_s1"], "BR1", "rep2"),
        (["{}_007_001", "{}_008_001"], "007", "_008_"),
        # Another word for a plate, where the plate is there under its own name.
        (["plate9/{}_s1", "P9/{}_s1"], "plate9", "P9"),
        (["P1/{}/P00001", "P1b/{}/P00001"], "P1", "P1b"),
        (["P2_{}_s1", "Plate2_{}_s1"], "P2", "Plate2"),
    ],
)
def test_a_plate_that_the_map_does_not_list_is_left_out(
    make, names: list[str], listed: str, stranger: str
) -> None:
    folder = make([name.format(well) for name in names for well in ("A01", "A02", "B01", "B02")])
    lines = [f"{listed},{well},{label}" for well, label in zip(("A1", "B2"), "xy", strict=True)]
    labels, match, _ = _match(folder, "\n".join(["plate,well,treatment", *lines]))
    assert len(labels) == 2
    assert not any(stranger in name for name in labels)
    left_out = [item.reason for item in match.images_without_wells if stranger in item.path]
    assert len(left_out) == 4
    told = ("list", "none of the plates", "another number")
    assert all(any(words in reason for words in told) for reason in left_out)
    assert any("4 since" in sentence for sentence in match.sentences)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("P1_{}_s1", "P2_{}_s1"),
        ("rep1/{}_1", "rep2/{}_1"),
        ("1/{}_1", "2/{}_1"),
        ("AK01_{}_1", "AK02_{}_1"),
        ("BR1_{}_s1", "BR1_rep2_{}_s1"),
        ("01-{}-1", "02-{}-1"),
        ("{}_plate1_s1", "{}_plate2_s2"),
        ("2024-09-02/{}", "2024-09-09/{}"),
        # The folder and the files in it are called alike.
        ("exp1-a/exp1-a_{}_s1", "exp1-b/exp1-b_{}_s1"),
        ("007/007_{}_F001", "7/7_{}_F001"),
        # Below the folders of the wells too.
        ("1/{}/DAPI_1_L929_f1", "2/{}/DAPI_2_L929_f1"),
        ("exp-a/{}/exp-a_s1", "exp-b/{}/exp-b_s1"),
        ("Ann's plate/{}", "Bob's plate/{}"),
        # Called like fields, but the field stands in the name.
        ("f1/x_{}f00d0", "f2/x_{}f00d0"),
        ("site 1/{}_f01", "site 2/{}_f01"),
    ],
)
def test_several_plates_and_a_map_of_one_are_asked(make, first: str, second: str) -> None:
    wells = ("A01", "A02", "B01", "B02")
    folder = make([name.format(well) for name in (first, second) for well in wells])
    plate_map = "well,treatment\nA1,x\nA2,x\nB1,y\nB2,y\n"
    with pytest.raises(
        DatasetError, match=r"same wells under .*expected a column 'plate'"
    ) as asked:
        _match(folder, plate_map)
    # Replicates: the pattern of the question says that each plate has the layout of the map.
    pattern = str(asked.value).partition("for example '")[2][:-1]
    labels, _, table = _match(folder, plate_map, well_pattern=pattern)
    assert len(labels) == 8
    assert table["plate"].nunique() == 2
    assert "its layout was taken for each of" in table.attrs["notes"][-1]


@pytest.mark.parametrize("name", ["Plate3/HeLa_P1_{}_s1", "HeLa_P12_P1_{}_s1", "P3_P1_{}_s1"])
def test_a_plate_and_a_passage_of_which_neither_varies_are_asked(make, name: str) -> None:
    folder = make([name.format(well) for well in ("A01", "B01")])
    lines = ["P1,A1,x", "P1,B1,y", "P2,A1,y", "P2,B1,x"]
    with pytest.raises(DatasetError, match=r"can mean the plates|lists no plate"):
        _match(folder, "\n".join(["plate,well,treatment", *lines]))


def test_wells_of_a_plate_under_two_names_are_told(make) -> None:
    """Two experiments whose plates are called alike, or two days of one plate: nobody can tell."""
    runs = ("HEPG2-01", "HUVEC-02")
    folder = make([f"{run}/Plate1/{well}_s1" for run in runs for well in ("A01", "B01")])
    labels, _, table = _match(folder, "plate,well,treatment\n1,A1,x\n1,B1,y\n")
    assert len(labels) == 4
    (note,) = table.attrs["notes"]
    assert note.startswith(
        "Wells of plate 1 stand under HEPG2-01, HUVEC-02 (as HEPG2-01/Plate1/A01"
    )


@pytest.mark.parametrize(
    "name",
    [
        "{}_s{}",
        "TimePoint_{1}/{0}",
        "t{1}/{0}",
        "{}_t{}",
        "field {1}/{0}",
        "day {1}/{0}_1",
        "z{1}_{0}",
    ],
)
def test_fields_and_times_are_no_plates(make, name: str) -> None:
    folder = make([name.format(well, n) for well in ("A01", "B01") for n in (1, 2, 3)])
    labels, match, table = _match(folder, "well,treatment\nA1,x\nB1,y\n")
    assert len(labels) == 6
    assert match.sentences == ()
    assert table.attrs["notes"] == []


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("A", "B"), ""),
        (("rep1", "rep2"), ""),
        (("AK00123", "AK00124"), ""),
        # Where fields are called so, a number is something else.
        (("1", "2"), "s"),
        (("01", "02"), "fov"),
    ],
)
def test_words_behind_the_well_are_told(make, words: tuple[str, str], field: str) -> None:
    wells, fields = ("A01", "B01"), (f"{field}1", f"{field}2")
    folder = make([f"{w}_{word}_{n}" for w in wells for word in words for n in fields])
    labels, _, table = _match(folder, "well,treatment\nA1,x\nB1,y\n")
    assert len(labels) == 8
    said = f"The same wells stand under {words[0]}, {words[1]} .*taken for one plate.*well_pattern"
    assert re.match(said, table.attrs["notes"][-1])


@pytest.mark.parametrize(
    ("pattern", "reasons"),
    [
        (r"run(?P<well>[A-P]\d)", {"well_pattern stops within the number of B02": 2}),
        (r"_(?P<well>[a-z]+)\d", {"well_pattern finds 's', which is no well": 2}),
        (r"runB(?P<row>\d)(?P<column>\d)", {"well_pattern finds '02', which is no well": 2}),
        (r"(?P<well>[A-P]\d+)", {"well_pattern finds B02 and D03; make it longer": 1}),
        (r"run(?P<well>[A-P]\d+)_D", {"well_pattern matches nothing in its path": 1}),
    ],
)
def test_a_pattern_that_does_not_fit_is_told_with_counts(
    make, pattern: str, reasons: dict[str, int]
) -> None:
    folder = make(["runB02_D3_s1", "runB02_s1", "_A01_s2", "runA01_D_s3"])
    (folder / "_A01_s2.ome.tif").unlink()
    (folder / "runA01_D_s3.ome.tif").unlink()
    options = {"well_pattern": pattern}
    try:
        _, match, _ = _match(folder, "well,treatment\nA1,x\nB2,y\n", **options)
    except DatasetError as error:
        assert all(reason in str(error) for reason in reasons)
    else:
        found = [item.reason for item in match.images_without_wells]
        assert {reason: found.count(reason) for reason in found} == reasons


def test_groups_are_taken_from_names_in_class_folders(make) -> None:
    wells = {"healthy": ("A01", "A02", "A03", "A04"), "treated": ("B01", "B02", "B03", "B04")}
    folder = make(
        [f"{c}/run_{w}_s{f}" for c, names in wells.items() for w in names for f in (1, 2)]
    )
    dataset = Dataset.open(folder)
    assert dataset.group_columns == ("well",)
    assert dataset.notes[0].startswith("Groups were taken from the names: 16 images of 8 wells")
    split = dataset.split(seed=0)
    assert split.table.groupby("well")["split"].nunique().max() == 1
    alone = Dataset.open(folder, group=None)
    assert alone.group_columns == ()
    assert alone.notes == ()


def test_plates_in_class_folders_are_groups_too(make) -> None:
    folder = make(
        [
            f"{c}/plate {p}/{w}_{f}"
            for c in "xy"
            for p in (1, 2)
            for w in ("A01", "C05")
            for f in (1, 2)
        ]
    )
    dataset = Dataset.open(folder)
    assert dataset.group_columns == ("plate", "well")
    assert "8 wells" in dataset.notes[0] or "4 wells on 2 plates" in dataset.notes[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["img_D3_1", "img_D7_1"], "may be wells, or days or fields"),
        (["run_A01_1", "run_A02_1", "overview"], "of 6 images tell a well"),
        (["img_f1", "img_f2"], ""),
        (["i0", "i1"], ""),
        (["E18_1", "E18_2"], ""),
    ],
)
def test_names_that_tell_no_wells_make_no_groups(make, names: list[str], said: str) -> None:
    dataset = Dataset.open(make([f"{c}/{name}" for c in ("x", "y") for name in names]))
    assert dataset.group_columns == ()
    assert any(said in note for note in dataset.notes) if said else dataset.notes == ()


def test_the_shell_takes_a_pattern(make, tmp_path: Path) -> None:
    from napari_why.cli.arguments import DatasetOptions

    folder = make(["A01/x_B01", "A02/x_B02", "B01/x_A01", "B02/x_A02"])
    (tmp_path / "map.csv").write_text("well,treatment\nA1,x\nA2,x\nB1,y\nB2,y\n")
    work = SimpleNamespace(
        on_event=lambda event: None, cancelled=lambda: False, end_if_interrupted=lambda text: None
    )
    options = DatasetOptions(plate_map=tmp_path / "map.csv", well_pattern=r"^(?P<well>[A-P]\d+)/")
    dataset = options.open(folder, work)
    assert dataset.table["label"].tolist() == ["x", "x", "y", "y"]
    assert dataset.table["well"].tolist() == ["A01", "A02", "B01", "B02"]
    with pytest.raises(ParameterError, match="no --plate-map"):
        DatasetOptions(well_pattern="(?P<well>.)").open(folder, work)


@pytest.mark.parametrize("field", ["s{n}", "s1"])
def test_wells_in_splits_by_folders_are_a_leak(make, field: str) -> None:
    folder = make(
        [
            f"{s}/{c}/{c}_{w}_{field.format(n=n)}"
            for n, s in enumerate(("train", "test"))
            for c in "xy"
            for w in ("G01", "H02")
        ]
    )
    with pytest.raises(LeakError, match="more than one split"):
        Dataset.open(folder)
    assert len(Dataset.open(folder, allow_leak=True)) == 8
    assert len(Dataset.open(folder, group=None)) == 8


@pytest.mark.parametrize("litter", ["thumb.jpg", "overview.tif", "notes of D7.tif"])
def test_an_unreadable_file_keeps_no_groups_from_being_taken(make, litter: str) -> None:
    wells = {"sick": "B", "well": "C"}
    folder = make([f"{c}/{row}{n:02d}_f1" for c, row in wells.items() for n in range(2, 14)])
    (folder / "sick" / litter).write_text("no image")
    dataset = Dataset.open(folder)
    assert dataset.group_columns == ("well",)
    assert len(dataset.unreadable) == 1
    assert not any("no groups" in note for note in dataset.notes)
    # The path is told once: the error of the reader begins with it.
    (told,) = (note for note in dataset.notes if "1 of 25 files was left out" in note)
    assert told.count(litter) == 1
