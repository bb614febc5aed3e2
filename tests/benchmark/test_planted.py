"""The benchmark of changes planted into real images; scenes of a plate stand for these."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_why import Dataset
from napari_why.benchmark import PlantedData, PlantedProtocol, run_planted_benchmark
from napari_why.benchmark.planted import draw_parts
from napari_why.benchmark.scores import BASELINES
from napari_why.core.errors import DatasetError, ParameterError
from napari_why.simulation import PlantOptions, simulate

PROTOCOL = PlantedProtocol(
    options=PlantOptions(tile=32),
    training=24,
    held_out=8,
    scored=6,
    epochs=1,
    reference_epochs=1,
    paired_epochs=1,
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(36, size=64, seed=1, wells=9)


def data_of(dataset: Dataset, scenes: str = "test", seed: int = 0) -> PlantedData:
    protocol = PlantedProtocol(**{**PROTOCOL.__dict__, "scenes": scenes})
    return PlantedData(dataset, "dimming", seed, protocol)


def test_scored_groups_are_never_trained_on_and_the_reported_ones_never_tuned_on(
    dataset: Dataset,
) -> None:
    scored: dict[str, set[str]] = {"test": set(), "validation": set()}
    tuned = set()
    for scenes in ("validation", "test"):
        for seed in range(3):
            table = data_of(dataset, scenes, seed).planted.table
            groups = {name: set(part) for name, part in table.groupby("split")["group"]}
            assert not groups["test"] & (groups["train"] | groups["validation"])
            assert not groups["train"] & groups["validation"]
            assert (table.groupby("split")["label"].nunique() == 2).all()
            scored[scenes] |= groups["test"]
            tuned |= set.union(*groups.values()) if scenes == "validation" else set()
    assert not scored["test"] & tuned


def test_sets_and_seeds_plant_by_other_random_numbers(dataset: Dataset) -> None:
    seeds = {
        data_of(dataset, scenes, seed)._options.seed
        for scenes in ("validation", "test")
        for seed in (0, 1)
    }
    assert len(seeds) == 4
    with pytest.raises(ParameterError, match="expected 0 to 999"):
        data_of(dataset, seed=1000)


def test_directions_know_the_truth_and_share_no_group(dataset: Dataset) -> None:
    data = data_of(dataset)
    forth, back = data.directions
    assert (forth.name, back.name) == ("untouched to planted", "planted to untouched")
    assert data.affected == (1,)
    for direction in (forth, back):
        assert direction.truth is not None
        assert direction.paired is not None
        assert len(direction.images) == len(direction.truth) <= 6
        # the pairs differ by the truth, but for noise
        found = direction.paired.astype(float) - direction.images
        assert np.corrcoef(found.ravel(), direction.truth.ravel())[0, 1] > 0.9
    assert (forth.truth <= 0).all()
    assert (back.truth >= 0).all()
    pairs = data.training_pairs("planted", "untouched")
    assert len(pairs.images) == len(data.dataset.part("train")) == len(pairs.changes)
    assert (pairs.changes >= 0).all()


def test_tiles_in_which_nothing_changes_are_not_scored(dataset: Dataset) -> None:
    data = PlantedData(dataset, "partial_dimming", 0, PROTOCOL)
    for direction in data.directions:
        assert direction.truth is not None
        sizes = np.linalg.norm(direction.truth.reshape(len(direction.truth), -1), axis=1)
        assert sizes.min() > 0.05 * sizes.max() * 0 + 0.02 * np.median(sizes)


def test_too_few_groups_are_refused_in_words() -> None:
    table = pd.DataFrame({"group": list("abcd"), "source_label": "x"})
    with pytest.raises(DatasetError, match="expected at least 2: take more images"):
        draw_parts(table, "validation", 0)


def test_every_row_is_measured(dataset: Dataset, tmp_path: Path) -> None:
    methods = ("TRUTH", "do-nothing", "pixel-transport", "true-pairs", "transport")
    table = run_planted_benchmark(
        tmp_path, dataset, effects=("dimming",), methods=methods, seeds=(0,), protocol=PROTOCOL
    )
    assert set(table["method"]) == {*methods, *BASELINES}
    assert len(table) == 2 * (len(methods) + len(BASELINES))
    assert "refused" not in table or table["refused"].isna().all()
    truth = table[table["method"] == "TRUTH"]
    assert (truth["relative_error"] == 0).all()
    nothing = table[table["method"] == "do-nothing"]
    assert (nothing["relative_error"] == 1).all()
    assert table["reference_accuracy"].between(0, 1).all()
    assert table["balanced_accuracy"].between(0, 1).all()
    # one epoch shows nothing of the outside judge, and its agreement is not shown without that
    assert table["notes"].str.contains("agreement is with a network of which is to be said").all()
    again = run_planted_benchmark(
        tmp_path, dataset, effects=("dimming",), methods=methods, seeds=(0,), protocol=PROTOCOL
    )
    pd.testing.assert_frame_equal(again, table)
