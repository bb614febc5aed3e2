"""Where the place of a grey level decides: what transport knows, and one factor or one curve cannot.

The network is not trained: the transport is learnt from the images of the classes, in the latent of whatever
network, so that nothing here hangs on what a short training reaches.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_why.benchmark.scores import (
    ChangeScores,
    change_scores,
    match_histograms,
    multiply,
    standardise,
)
from napari_why.datasets import Preprocessing
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import build_network
from napari_why.simulation import effect_scenes, simulate_effect
from napari_why.transport import Mass

AFFECTED = [1]  # TMRM; DAPI is locked


@dataclass(frozen=True)
class Compared:
    """Scores against the true change of unseen scenes."""

    transport: ChangeScores
    baselines: tuple[ChangeScores, ...]

    @property
    def correlation_gain(self) -> float:
        """Over the better of one factor and one curve."""
        return self.transport.correlation - max(one.correlation for one in self.baselines)

    @property
    def error_gain(self) -> float:
        """Over the better of one factor and one curve."""
        return min(one.relative_error for one in self.baselines) - self.transport.relative_error


def compare(
    effect: str, source: str, target: str, mass: Mass, *, size: int, images: int, seed: int = 0
) -> Compared:
    dataset = simulate_effect(images, effect, size=size, seed=0)
    preprocessing = Preprocessing.from_dataset(dataset, size=size)
    prepared = torch.stack([preprocessing(dataset.image(row)) for row in range(len(dataset))])
    raw = np.stack([dataset.image(row).to_numpy() for row in range(len(dataset))])
    labels = torch.tensor(np.asarray(dataset.labels)).long()
    network = build_network(
        "iresnet",
        input_channels=2,
        classes=2,
        size=size,
        seed=seed,
        locked="0",
        blocks="2,2",
        widths="16,16",
        downscaling="2,2",
    )
    network.freeze()
    batches = list(zip(prepared.split(16), labels.split(16), strict=True))
    statistics = LatentStatistics.collect(
        network, batches, tuple(dataset.classes), seed=seed, left_out=("pixel_maps",)
    )
    scenes = effect_scenes(8, effect, seed=1, size=size)
    before = np.stack([scene.image(source).to_numpy() for scene in scenes])
    true = np.stack([scene.true_change(source, target).to_numpy() for scene in scenes])

    def score(after: NDArray[np.float64]) -> ChangeScores:
        change, truth = (standardise(one, preprocessing.std) for one in (after - before, true))
        return change_scores(change, truth, AFFECTED)

    known = [raw[(labels == dataset.classes.index(name)).numpy()] for name in (source, target)]
    direction = [dataset.classes.index(name) for name in (source, target)]
    transport, stage = statistics.transport, network.stage_names[0]
    assert transport is not None
    with torch.no_grad():
        start = torch.stack([preprocessing(scene.image(source)) for scene in scenes])
        latent = network.encode_to(start, stage)
        moved = network.decode(latent + transport.displacement(latent, *direction, mass), stage)
    return Compared(
        score(preprocessing.inverse(moved)),
        tuple(score(change(before, *known, AFFECTED)) for change in (multiply, match_histograms)),
    )


@pytest.mark.parametrize(("source", "target"), [("healthy", "treated"), ("treated", "healthy")])
def test_dye_that_moves_is_followed_where_no_change_of_levels_can_follow(source, target) -> None:
    found = compare("translocation", source, target, "full", size=32, images=96)
    assert max(one.correlation for one in found.baselines) < 0.7  # figures of scenes alone
    assert min(one.relative_error for one in found.baselines) > 0.9
    assert found.correlation_gain > 0.2
    assert found.error_gain > 0.4


def test_cells_that_responded_are_found_where_no_change_of_levels_can_tell_them() -> None:
    found = compare("partial_response", "treated", "healthy", "excess", size=64, images=96)
    assert max(one.correlation for one in found.baselines) < 0.6  # figures of scenes alone
    assert min(one.relative_error for one in found.baselines) > 0.8
    assert found.correlation_gain > 0.15
    assert found.error_gain > 0.1
