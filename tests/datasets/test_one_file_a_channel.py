"""Data sets of files of one channel each: what belongs together, and what is asked and told."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import DatasetError, ImageReadError
from napari_why.datasets import Dataset
from napari_why.datasets.tables import list_images

# The second channel is brighter than the first, so that pixels tell which is which.
BRIGHTNESS = (10, 20)


def save(path: Path, channel: int, seed: int = 0, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, channel]).integers(0, 5, (8, 9))
    pixels = (noise + 10 * channel + BRIGHTNESS[0]).astype("uint16")
    tifffile.imwrite(path, pixels, **({"metadata": None} | options))


def make_classes(folder: Path, form: str, channels: tuple[str, ...]) -> Path:
    for number, label in enumerate(("healthy", "treated")):
        for field in range(3):
            for index, channel in enumerate(channels):
                number_of = 3 * number + field
                name = form.format(f=number_of, c=channel.format(f=number_of))
                save(folder / label / name, index, 3 * number + field)
    return folder


def check_channels(dataset: Dataset) -> None:
    for row in range(len(dataset)):
        first, second = np.asarray(dataset.image(row)).mean(axis=(1, 2))
        assert first < BRIGHTNESS[1] <= second


@pytest.mark.parametrize(
    ("form", "channels", "names"),
    [
        ("Series{f:03}_ch{c}.tif", ("00", "01"), ("ch00", "ch01")),
        ("Snap-{f}_c{c}.tif", ("1", "2"), ("c1", "c2")),
        ("{c}_ER-stress_f{f}.tif", ("DAPI", "TMRM"), ("DAPI", "TMRM")),
        ("a{f}_{c}.tif", ("grün", "rot"), ("grün", "rot")),
        ("p_B02_s{f}_w{c}.ome.tif", ("1", "2"), ("w1", "w2")),
        # A dose, batch or clone before the channel's number, be it spelled like one.
        ("C10_exp_XY0{f}_C{c}.tif", ("1", "2"), ("c1", "c2")),
        ("C10_exp_{f}_C{c}.tif", ("1", "2"), ("c1", "c2")),
        ("exp_C2_{f}_c{c}.tif", ("0", "1"), ("c0", "c1")),
        ("x_{f}_C{c}.tif", ("1", "2"), ("c1", "c2")),
        ("a_w{c}_s{f}.TIF", ("1405", "2561"), ("405", "561")),
        ("a{f}.nd2 - C={c}.tif", ("0", "1"), ("c0", "c1")),
        ("Mito_{f}_{c}.tif", ("DAPI", "TMRM"), ("DAPI", "TMRM")),
        ("Exp_s{f}_w{c}_z1_t1.tif", ("1", "2"), ("w1", "w2")),
        ("B2ROI{f}_02_{c}_001.tif", ("1_1Z0_DAPI", "2_1Z0_RFP"), ("DAPI", "RFP")),
        (
            "B2_{c}_001.tif",
            ("-1_1_{f}_Stitched[DAPI 377,447]", "-2_2_{f}_Stitched[RFP 531,593]"),
            ("Stitched[DAPI 377,447]", "Stitched[RFP 531,593]"),
        ),
    ],
)
def test_channels_are_joined_and_it_is_told_once(tmp_path, form, channels, names) -> None:
    told: list[str] = []
    dataset = Dataset.open(
        make_classes(tmp_path, form, channels),
        on_event=lambda event: told.append(getattr(event, "text", "")),
    )
    assert (len(dataset), dataset.channels) == (6, names)
    check_channels(dataset)
    (note,) = dataset.notes
    assert note.startswith(f"12 files were taken as 6 images of {names[0]} and {names[1]}, by ")
    assert told.count(note) == 1


@pytest.mark.parametrize(
    ("form", "channels"),
    [
        ("a{f}-{c}.tif", ("1", "2")),
        ("a{f}_{c}.tif", ("kern", "mito")),
        ("{c}/a{f}.tif", ("DAPI", "TMRM")),
        ("a{f}{c}.ome.tif", ("nuc", "mit")),
        ("{c}/a{f}.tif", ("C0001", "C0002")),
        ("{c}/a{f}.tif", ("Nuclei", "Mitochondria")),
        ("{c}/a{f}.tif", ("blau", "rot")),
        ("a{f}_C{c}.tif", ("1", "5")),
    ],
)
def test_names_that_cannot_tell_are_asked_about(tmp_path, form, channels) -> None:
    folder = make_classes(tmp_path, form, channels)
    with pytest.raises(DatasetError, match=r"channels of one image.*--pattern") as caught:
        Dataset.open(folder)
    assert "channels=['NAME']" in str(caught.value)
    one = Dataset.open(folder, channels=["DAPI"])
    assert (len(one), one.channels) == (12, ("DAPI",))
    # C1 and C5 may be wells too, which make no groups.
    assert all("which may be wells" in note for note in one.notes)


@pytest.mark.parametrize(
    ("form", "channels", "pattern"),
    [
        ("a{f}-{c}.tif", ("1", "2"), r"(?P<field>.+)-(?P<channel>\d)"),
        ("{c}/a{f}.tif", ("DAPI", "TMRM"), r"(?P<channel>[^/]+)/(?P<field>.+)"),
    ],
)
def test_a_pattern_answers(tmp_path, form, channels, pattern) -> None:
    dataset = Dataset.open(make_classes(tmp_path, form, channels), pattern=pattern)
    assert (len(dataset), dataset.channels) == (6, channels)
    check_channels(dataset)
    assert "your own pattern" in dataset.notes[0]


def test_two_words_that_vary_alike_are_asked_about(tmp_path) -> None:
    for label, wells in (("healthy", "BC"), ("treated", "DE")):
        (tmp_path / label).mkdir()
        for well in wells:
            for field in "12":
                for channel in "12":
                    level = len(list(tmp_path.rglob("*.tif")))
                    pixels = np.full((8, 8), 100 + level, np.uint16)
                    tifffile.imwrite(tmp_path / label / f"{well}02-{field}-{channel}.tif", pixels)
    with pytest.raises(DatasetError, match=r"16 files of one channel each.*1 and 2 only"):
        Dataset.open(tmp_path)
    pattern = r"(?P<well>\w+)-(?P<field>\d)-(?P<channel>\d)"
    assert len(Dataset.open(tmp_path, pattern=pattern)) == 8


def test_images_of_one_channel_are_told_to_be_so(tmp_path) -> None:
    dataset = Dataset.open(make_classes(tmp_path, "field_{f}.tif", ("",)))
    assert len(dataset) == 6
    (note,) = dataset.notes
    assert note.startswith("Every image has one channel (channel 1). ")


def test_a_missing_channel_is_told_before_it_is_refused(tmp_path) -> None:
    folder = make_classes(tmp_path, "{c}_f{f}.tif", ("DAPI", "TMRM"))
    (folder / "treated/TMRM_f4.tif").unlink()
    told: list[str] = []
    with pytest.raises(DatasetError, match="channels DAPI, TMRM but 1 with channels DAPI"):
        Dataset.open(folder, on_event=lambda event: told.append(getattr(event, "text", "")))
    assert any("DAPI_f4.tif has no TMRM beside it" in text for text in told)


def test_two_readings_are_asked_about(tmp_path) -> None:
    for label in ("healthy", "treated"):
        for number, first in enumerate(("DAPI", "TMRM")):
            for second in ("ER", "RNA"):
                save(tmp_path / label / f"{first}_{second}_1.tif", number)
    with pytest.raises(ImageReadError, match="can mean channel DAPI or ER"):
        Dataset.open(tmp_path)
    dataset = Dataset.open(tmp_path, pattern=r"(?P<channel>[^_]+)_(?P<field>.+)")
    assert (len(dataset), dataset.channels) == (4, ("DAPI", "TMRM"))


def test_a_table_and_a_plate_take_a_pattern(tmp_path) -> None:
    pattern = r"(?P<well>[A-H]\d+)x(?P<channel>k|m)"
    lines, wells = ["path,label"], ["well,treatment"]
    for number, well in enumerate(("A01", "A02", "B01", "B02")):
        for channel, letter in enumerate("km"):
            save(tmp_path / "images" / f"{well}x{letter}.tif", channel, number)
        lines.append(f"images/{well}xk.tif,{well[0]}")
        wells.append(f"{well},{well[0]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "map.csv").write_text("\n".join(wells))
    assert len(list_images(tmp_path, pattern=pattern)) == 4
    for dataset in (
        Dataset.open(tmp_path, pattern=pattern),
        Dataset.from_plate(tmp_path / "images", tmp_path / "map.csv", pattern=pattern),
    ):
        assert (len(dataset), dataset.channels) == (4, ("k", "m"))
        check_channels(dataset)
    assert list(dataset.table["well"]) == ["A01", "A02", "B01", "B02"]


def test_the_pixels_are_read_again_by_the_pattern(tmp_path) -> None:
    folder = make_classes(tmp_path, "a{f}-{c}.tif", ("1", "2"))
    dataset = Dataset.open(folder, pattern=r"(?P<field>.+)-(?P<channel>\d)")
    assert dataset.image(0).attrs["read_as"]["pattern"] == r"(?P<field>.+)-(?P<channel>\d)"


@pytest.mark.parametrize(
    "form", ["C{c}-P1_B02_f{f}.tif", "P1_C01_f{f}_w{c}.tif", "exp_XY0{f}_C{c}.tif", "a{f}_{c}.tif"]
)
def test_a_table_that_lists_every_file_is_asked_about(tmp_path, form) -> None:
    """Each image would count once for every channel."""
    channels = ("red", "green") if form == "a{f}_{c}.tif" else ("1", "2")
    folder = make_classes(tmp_path, form, channels)
    rows = [(path.relative_to(folder), path.parent.name) for path in sorted(folder.rglob("*.tif"))]
    table = folder / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    with pytest.raises(DatasetError, match=r"the channels of 6 images.*channels=\['NAME'\]"):
        Dataset.open(table)
    assert len(Dataset.open(table, channels=["x"])) == 12


@pytest.mark.parametrize("words", [("ctrl", "drug"), ("red", "green"), ("1", "2")])
def test_a_word_that_is_the_class_is_no_channel(tmp_path, words) -> None:
    lines = []
    for field in range(3):
        for index, word in enumerate(words):
            save(tmp_path / f"a{field}_{word}.tif", index, field)
            lines.append(f"a{field}_{word}.tif,class {word}\n")
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(lines))
    assert len(Dataset.open(tmp_path)) == 6


def test_classes_that_are_called_as_channels_are_asked_about(tmp_path) -> None:
    """``DAPI/healthy/a.tif`` and ``TMRM/healthy/a.tif``: the classes lie below the channels."""
    for index, stain in enumerate(("DAPI", "TMRM")):
        for field in range(3):
            save(tmp_path / stain / "healthy" / f"a{field}.tif", index, field)
            save(tmp_path / stain / "treated" / f"b{field}.tif", index, field)
    with pytest.raises(
        DatasetError, match="called as channels are; expected a folder for each class"
    ):
        Dataset.open(tmp_path)
    assert Dataset.open(tmp_path, channels=["x"]).classes == ("DAPI", "TMRM")
    # Other names of files: then they may be classes, of organelles for example.
    for path in sorted((tmp_path / "TMRM").rglob("*.tif")):
        path.rename(path.with_name(f"other_{path.name}"))
    assert Dataset.open(tmp_path).classes == ("DAPI", "TMRM")


@pytest.mark.parametrize(
    ("form", "wells", "label"),
    [
        # A row of wells behind a plate, a day or a clone is none of channels.
        ("P1_{w}_f{f}.tif", ("C04", "C05", "C06", "C07"), ""),
        ("D07_x_{w}_f{f}.tif", ("C04", "C05", "D04", "D05"), ""),
        ("P1_{w}_f{f}.tif", ("C01", "C02"), ""),
        ("x_{w}_{f}.tif", ("C1", "C2"), "can be two channels of one image or images of two wells"),
    ],
)
def test_a_row_of_wells_is_no_row_of_channels(tmp_path, form, wells, label) -> None:
    folder = tmp_path / "images"
    for well in wells:
        for field in (1, 2):
            save(folder / form.format(w=well, f=field), 0, field)
    plate_map = tmp_path / "map.csv"
    lines = [f"{well},{'xy'[number % 2]}\n" for number, well in enumerate(wells)]
    plate_map.write_text("well,treatment\n" + "".join(lines))
    if label:
        with pytest.raises(DatasetError, match=label):
            Dataset.from_plate(folder, plate_map)
        return
    table = Dataset.from_plate(folder, plate_map).table
    assert len(table) == 2 * len(wells)
    assert all(well in path for well, path in zip(table["well"], table["path"], strict=True))
