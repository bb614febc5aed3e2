"""BBBC013: half of a real plate with controls, opened by its table and by its plate map."""

from pathlib import Path

import pandas as pd
import pytest

from napari_why.cli import main
from napari_why.datasets import Dataset
from napari_why.evaluation import evaluate
from napari_why.model import load

pytestmark = pytest.mark.real_data

CONTROLS = {"negative": "negative_control", "positive": "positive_control"}


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "bbbc013-translocation"


def test_table_and_plate_map_give_the_same_data_set(folder: Path) -> None:
    by_table = Dataset.open(folder / "labels.csv", label="class3")
    by_map = Dataset.from_plate(folder / "images", folder / "labels.csv", label="class3")
    assert by_map.classes == by_table.classes == ("active", "inactive", "intermediate")
    assert by_map.group_columns == by_table.group_columns == ("plate", "well")
    assert by_map.plate_match is not None
    assert by_map.plate_match.sentences == ()
    columns = ["well", "label", "dose", "compound"]
    pd.testing.assert_frame_equal(by_map.table[columns], by_table.table[columns])
    for row in (0, 20, 47):
        assert by_map.image(row).identical(by_table.image(row))
    split = by_map.split(seed=0)
    assert split.summary()["images"].sum() == 48
    assert split.table.groupby("well")["split"].nunique().max() == 1


def test_controls_are_named_and_may_be_the_classes(folder: Path) -> None:
    named = Dataset.from_plate(
        folder / "images",
        folder / "labels.csv",
        label="class3",
        controls=CONTROLS,
        control_column="label",
        classes=("active", "inactive"),
    )
    counts = named.table.groupby(["control", "label"]).size().to_dict()
    assert counts == {
        ("", "active"): 20,
        ("", "inactive"): 12,
        ("negative", "inactive"): 8,
        ("positive", "active"): 4,
    }
    alone = Dataset.from_plate(
        folder / "images",
        folder / "labels.csv",
        label="control",
        controls=CONTROLS,
        control_column="label",
    )
    assert alone.classes == ("negative", "positive")
    assert len(alone) == 12
    assert alone.plate_match is not None
    assert len(alone.plate_match.wells_without_class) == 36
    assert set(alone.split(seed=0).part("test").table["label"]) == {"negative", "positive"}


def test_the_half_that_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    wells = [",".join(["dose", *map(str, range(1, 13))])]
    wells += [f"{row}{',low' * 6}{',high' * 6}" for row in "ABCDEFGH"]
    (tmp_path / "drawn.csv").write_text("\n".join(wells))
    dataset = Dataset.from_plate(folder / "images", tmp_path / "drawn.csv", label="dose")
    assert dataset.summary()["images"].tolist() == [24, 24]
    assert dataset.plate_match is not None
    absent = dataset.plate_match.wells_without_images
    assert {well[0] for well in absent} == set("CDGH")
    assert len(absent) == 48
    assert "No image was found of C01" in dataset.plate_match.sentences[0]


def test_the_shell_trains_by_the_plate_map(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(SystemExit) as left:
        main(
            [
                *("train", str(folder / "images"), "--plate-map", str(folder / "labels.csv")),
                *("--label", "class3", "--network", "cam_net", "--size", "64", "--epochs", "3"),
                *("--lock", "none", "--no-second-network", "--out", str(out)),
            ]
        )
    assert left.value.code == 0
    classifier = load(out)
    assert classifier.classes == ("active", "inactive", "intermediate")
    dataset = Dataset.from_plate(folder / "images", folder / "labels.csv", label="class3")
    evaluation = evaluate(classifier, dataset, nulls=False)
    assert evaluation.predictions["seen"].sum() == 41
    assert evaluation.by_group is not None
    assert len(evaluation.by_group) == 7
