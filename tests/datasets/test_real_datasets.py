from pathlib import Path

import numpy as np
import pytest

from napari_why.datasets import Dataset, Preprocessing, identical_images

pytestmark = pytest.mark.real_data


def test_leigh_ds_tt(real_data: Path) -> None:
    dataset = Dataset.open(real_data / "leigh-ds-tt")
    assert len(dataset) == 1260
    assert dataset.classes == ("DS", "TT")
    assert dataset.group_columns == ("plate", "well")
    assert dataset.unreadable == ()
    split = dataset.split(seed=0)
    summary = split.summary()
    totals = summary.groupby("label")["images"].transform("sum")
    shares = (summary["images"] / totals).to_numpy().reshape(3, 2)
    np.testing.assert_allclose(shares, [[0.7] * 2, [0.15] * 2, [0.15] * 2], atol=0.01)
    assert not any(item.leaks for item in identical_images(split))
    fitted = Preprocessing.from_dataset(split.part("validation"), channels=["channel 2"])
    image = dataset.image(0)
    assert (np.rint(fitted.inverse(fitted(image)))[0] == image.values[1]).all()


def test_leigh_ds_wt_by_well_and_by_plate(real_data: Path) -> None:
    dataset = Dataset.open(real_data / "leigh-ds-wt")
    assert dataset.summary()["images"].tolist() == [251, 251]
    folds = dataset.folds(by="plate")
    assert [set(fold.part("test").table["plate"]) for fold in folds] == [{"1"}, {"2"}]
    assert len(dataset.folds(5)) == 5


def test_bbbc013_by_another_column(real_data: Path) -> None:
    csv = real_data / "bbbc013-translocation" / "labels.csv"
    dataset = Dataset.open(csv, label="class3", classes=("inactive", "active"))
    assert dataset.summary()["images"].tolist() == [24, 20]
    assert dataset.channels == ("FKHR-EGFP", "DNA")
    assert set(dataset.split().part("test").table["label"]) == {"active", "inactive"}


def test_mitohcs_in_raw_units(real_data: Path) -> None:
    dataset = Dataset.open(real_data / "mitohcs-wt-ko")
    assert dataset.group_columns == ()
    assert dataset.channels == ("nuclei", "mitochondria")
    assert dataset.image(0).dtype == np.uint16
    fitted = Preprocessing.from_dataset(dataset.split(), size=216, intensity="asinh")
    for index in range(len(dataset)):
        image = dataset.image(index)
        assert (np.rint(fitted.inverse(fitted(image))) == image.values).all()
