"""What is known of images before they are read, and that nothing is read twice after."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import DatasetError
from napari_why.datasets import Choices, Dataset, Survey, image_store
from napari_why.datasets.survey import CLASS_WORDS, Column


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Eight wells; the map knows a drug of three kinds, a dose and which wells are controls."""
    lines = ["well,batch,drug,dose,control"]
    for number in range(8):
        well, drug = f"A{number + 1:02d}", ("DMSO", "FCCP", "intermediate")[min(2, number // 3)]
        control = "yes" if number < 6 else "no"
        lines.append(f"{well},{number % 2},{drug},{number / 2},{control}")
        pixels = np.random.default_rng(number).integers(0, 900, (2, 12, 10)).astype("uint16")
        path = tmp_path / "images" / f"{well}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    (tmp_path / "map.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, one entry each time."""
    found: list[str] = []
    read = image_store.read

    def watched(path, **options):
        found.extend(Path(item).name for item in path)
        return read(path, **options)

    monkeypatch.setattr(image_store, "read", watched)
    return found


def test_columns_and_classes_come_from_names_and_the_map_alone(plate: Path, reads) -> None:
    survey = Survey(plate / "images", plate / "map.csv")
    assert survey.label == "drug"
    assert {column.name for column in survey.columns} == {"batch", "drug", "dose", "control"}
    drug = Choices("drug")
    assert survey.count_classes(drug) == {"DMSO": (3, 3), "FCCP": (3, 3), "intermediate": (2, 2)}
    assert survey.group_columns(drug) == ("well",)
    controls = Choices("drug", only=("control", ("yes",)))
    assert survey.count_classes(controls) == {"DMSO": (3, 3), "FCCP": (3, 3)}
    assert reads == []
    with pytest.raises(DatasetError, match="found no column 'nothing'"):
        survey.listing("nothing")


def test_no_file_is_read_twice(plate: Path, reads) -> None:
    survey = Survey(plate / "images", plate / "map.csv")
    choices = Choices("drug", classes=("DMSO", "FCCP"))
    examples = survey.read_examples(choices)
    assert list(examples) == ["DMSO", "FCCP"]
    assert len(reads) == 2
    dataset = survey.open(choices)
    assert sorted(reads) == [f"A{number:02d}.tif" for number in range(1, 7)]
    named = survey.open(Choices("drug", ("DMSO", "FCCP"), channels=("DNA", "TMRM")))
    assert named.channels == ("DNA", "TMRM")
    other = survey.open(Choices("batch", channels=("DNA", "TMRM")))
    assert sorted(reads) == [f"A{number:02d}.tif" for number in range(1, 9)]
    fresh = Dataset.from_plate(
        plate / "images", plate / "map.csv", label="batch", channels=["DNA", "TMRM"]
    )
    assert other.table.equals(fresh.table)
    assert other.fingerprint == fresh.fingerprint
    for row in range(len(fresh)):
        np.testing.assert_array_equal(other.image(row), fresh.image(row))
        assert other.image(row).attrs == fresh.image(row).attrs
    np.testing.assert_array_equal(named.image(0), dataset.image(0))


def test_a_file_that_changed_is_read_anew(plate: Path, reads) -> None:
    survey = Survey(plate / "images", plate / "map.csv")
    survey.open(Choices("drug"))
    del reads[:]
    pixels = np.full((2, 12, 10), 7, "uint16")
    tifffile.imwrite(plate / "images" / "A02.tif", pixels, imagej=True, metadata={"axes": "CYX"})
    again = survey.open(Choices("batch"))
    assert reads == ["A02.tif"]
    assert (np.asarray(again.image(1)) == 7).all()


def test_images_without_classes_ask_for_a_map(plate: Path) -> None:
    assert Survey(plate / "images").wants_map
    assert Survey(plate / "map.csv").plate_map == plate / "map.csv"
    with pytest.raises(DatasetError, match="no such file or folder"):
        Survey(plate / "nothing")


def test_a_table_of_images_offers_its_other_columns(plate: Path) -> None:
    lines = ["file,genotype,day"]
    lines += [f"images/A{n:02d}.tif,{'WT' if n % 2 else 'KO'},{n}" for n in range(1, 9)]
    (plate / "images.csv").write_text("\n".join(lines))
    survey = Survey(plate / "images.csv")
    assert survey.label == "genotype"
    assert survey.count_classes(Choices("genotype")) == {"KO": (4, 4), "WT": (4, 4)}


def test_classes_can_be_left_out_and_channels_renamed_of_an_open_data_set(plate: Path) -> None:
    dataset = Dataset.from_plate(plate / "images", plate / "map.csv", label="drug")
    two = dataset.where("label", ["FCCP", "DMSO"])
    assert two.classes == ("DMSO", "FCCP")
    assert set(two.labels) == {0, 1}
    with pytest.raises(DatasetError, match="one class only"):
        dataset.where("label", ["DMSO"])
    with pytest.raises(DatasetError, match="expected 2, each once"):
        dataset.rename_channels(["DNA"])
    assert list(dataset.rename_channels(["a", "b"]).image(0).coords["c"].values) == ["a", "b"]


def test_the_likeliest_column_is_called_like_a_class() -> None:
    assert CLASS_WORDS[0] == "label"
    assert Column("Well", ("a",)).is_place
    assert Column("SBS_Controls", ("a",)).tells_controls


def test_values_are_chosen_as_numbers_and_written_down(plate: Path) -> None:
    places = plate / "images", plate / "map.csv"
    values = ("0.0", "0,5", "1.5", "2.0")
    dataset = Survey(*places).open(Choices("drug", only=("dose", values)))
    assert list(dataset.table["dose"]) == [0, 0.5, 1.5, 2]
    every = Dataset.from_plate(*places, label="drug", allow_leak=True, max_unreadable=0.5)
    assert every.opened_as["allow_leak"] is True
    assert every.opened_as["max_unreadable"] == 0.5
    some = every.where("dose", values)
    assert some.fingerprint == dataset.fingerprint
    assert some.classes == dataset.classes == ("DMSO", "FCCP")
    assert some.opened_as["only"] == ["dose", [*values]]
    assert some.where("control", ["yes"]).opened_as == {}
    with pytest.raises(DatasetError, match="found no image with dose 9"):
        every.where("dose", ["9"])
    with pytest.raises(DatasetError, match="found no column 'doses'"):
        every.where("doses", ["9"])
    with pytest.raises(DatasetError, match="one class only"):
        every.where("drug", ["FCCP"])


def test_a_split_is_not_drawn_again_from_other_classes_or_images(plate: Path) -> None:
    dataset = Dataset.from_plate(plate / "images", plate / "map.csv", label="drug")
    two = dataset.where("label", ["DMSO", "FCCP"])
    assert two.opened_as["only"] == ["label", ["DMSO", "FCCP"]]
    split = two.split(seed=1)
    assert split.opened_as["split_seed"] == 1
    assert split.where("drug", ["DMSO", "FCCP"]).opened_as == {}
