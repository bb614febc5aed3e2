"""The benchmark of changes planted into real images; scenes of a plate stand for these."""

import numpy as np
import pandas as pd
import pytest

from napari_why import Dataset
from napari_why.benchmark import PlantedData, PlantedProtocol
from napari_why.benchmark.planted import draw_parts
from napari_why.core.errors import DatasetError, ParameterError
from napari_why.simulation import PlantOptions, simulate
from napari_why.simulation.planting import Sources, lay_out_tiles

PROTOCOL = PlantedProtocol(
    options=PlantOptions(tile=16),
    training=24,
    held_out=8,
    scored=6,
    epochs=1,
    reference_epochs=1,
    paired_epochs=1,
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return simulate(36, size=32, seed=1, wells=9)


def data_of(dataset: Dataset, scenes: str = "test", seed: int = 0) -> PlantedData:
    protocol = PlantedProtocol(**{**PROTOCOL.__dict__, "scenes": scenes})
    return PlantedData(dataset, "dimming", seed, protocol)


def test_scored_groups_are_never_trained_on_and_the_reported_ones_never_tuned_on(
    dataset: Dataset,
) -> None:
    table = lay_out_tiles(Sources.of(dataset), PROTOCOL.options)
    scored, tuned = set(), set()
    for scenes in ("validation", "test"):
        for seed in range(5):
            parts = pd.Series(draw_parts(table, scenes, seed))
            groups = {name: set(part) for name, part in table["group"].groupby(parts)}
            assert not groups["test"] & (groups["train"] | groups["validation"])
            assert not groups["train"] & groups["validation"]
            if scenes == "test":
                scored |= groups["test"]
            else:
                tuned |= groups["test"] | groups["train"] | groups["validation"]
            assert all(len(groups[name]) >= 2 for name in ("train", "validation", "test"))
    assert scored
    assert not scored & tuned


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
        assert sizes.min() > 0.02 * np.median(sizes)


def test_too_few_groups_are_refused_in_words() -> None:
    table = pd.DataFrame({"group": list("abcd"), "source_label": "x"})
    with pytest.raises(DatasetError, match="expected at least 2 for each: take more images"):
        draw_parts(table, "validation", 0)
