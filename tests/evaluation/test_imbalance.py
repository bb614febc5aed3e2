"""Networks trained with fewer images of one class: who is left out, and what is compared with what."""

import numpy as np
import pytest

import napari_why as why
from napari_why.core.errors import ParameterError
from napari_why.evaluation.imbalance import LIKENESS, reduce_class, study_imbalance
from napari_why.simulation import simulate

TINY = {"size": 16, "epochs": 1, "device": "cpu", "threads": 1, "batch_size": 8, "augment": False}


@pytest.fixture(scope="module")
def scenes() -> why.Dataset:
    return simulate(24, size=32, wells=6).split(seed=0)


def test_images_are_taken_from_one_class_well_by_well(scenes) -> None:
    for ratio in (1.0, 0.5, 0.01):
        fewer = reduce_class(scenes, "treated", ratio, seed=4)
        before, after = (
            item.part("train").table["label"].value_counts() for item in (scenes, fewer)
        )
        assert after["diseased"] == before["diseased"]
        assert after["treated"] == max(1, round(ratio * before["treated"]))
        for split in ("validation", "test"):
            assert list(fewer.part(split).table["path"]) == list(scenes.part(split).table["path"])
    half = reduce_class(scenes, "treated", 0.5, seed=4).part("train").table
    wells = half[half["label"] == "treated"].groupby("well").size()
    all_wells = scenes.part("train").table.groupby("well").size()
    # whole wells but for the last one
    assert (wells < all_wells[wells.index]).sum() <= 1
    others = reduce_class(scenes, "treated", 0.5, seed=5).part("train").table
    assert set(half["path"]) != set(others["path"])


def test_networks_are_compared_with_those_of_other_seeds(scenes) -> None:
    found = study_imbalance(
        scenes,
        [0.3, 1.0],
        [0, 1],
        method="saliency",
        options={"alignment": "regions"},
        fit_options=TINY,
    )
    assert found.complete
    assert found.reduced == "treated"
    table = found.table
    assert list(table["ratio"]) == [1.0, 1.0, 0.3, 0.3]
    assert (table["training images of diseased"] == table["training images of diseased"][0]).all()
    assert table["training images of treated"][2] < table["training images of treated"][0]
    # of the two at the highest ratio each is compared with the other one
    assert table[LIKENESS][0] == pytest.approx(table[LIKENESS][1])
    assert table[LIKENESS].between(-1, 1).all()
    assert len(found.sentences) == 2
    assert found.record.parameters["explained"] == "treated"


def test_a_cancelled_study_keeps_whole_networks(scenes) -> None:
    answers = []

    def stop_after_the_first(event: object) -> None:
        answers.append(type(event).__name__ == "Advanced")

    found = study_imbalance(
        scenes,
        [1.0, 0.5],
        [0],
        method="saliency",
        options={"alignment": "regions"},
        fit_options=TINY,
        on_event=stop_after_the_first,
        cancelled=lambda: any(answers),
    )
    assert not found.complete
    assert len(found.table) == 1
    assert np.isnan(found.table[LIKENESS][0])
    assert found.sentences[0] == "incomplete: the work was stopped after 1 of 2 networks"
    assert "take two seeds" in found.sentences[1]


@pytest.mark.parametrize("ratios", [[], [0.0], [1.5]])
def test_ratios_are_shares(scenes, ratios) -> None:
    with pytest.raises(ParameterError, match="expected ratios above 0 and up to 1"):
        study_imbalance(scenes, ratios)
