"""A latent statistic is one class: registered, it is collected, saved, loaded and found by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import napari_why as why
from napari_why.model.latent_statistics import (
    STATISTICS,
    LatentBatch,
    StatisticKind,
    latent_statistic,
)
from napari_why.simulation import simulate

TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}


@dataclass(frozen=True)
class LargestLatent:
    """The largest value of every latent channel over the training images."""

    values: Tensor
    images: int

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values}

    def to_dict(self) -> dict[str, int]:
        return {"images": self.images}

    def fits(self, classes: int, channels: int) -> bool:
        return self.values.shape == (channels,)


class LargestCollector:
    def __init__(self) -> None:
        self.rows: list[Tensor] = []

    def add(self, batch: LatentBatch) -> None:
        self.rows.append(batch.last.amax((2, 3)).cpu())

    def finish(self, on_event: Any, cancelled: Any) -> LargestLatent:
        rows = torch.cat(self.rows)
        return LargestLatent(rows.amax(0), len(rows))


class LargestKind(StatisticKind):
    name = "largest"

    def start(self, network: Any, classes: int, seed: int) -> LargestCollector:
        return LargestCollector()

    def load(self, tensors: Mapping[str, Tensor], plain: Any) -> LargestLatent | None:
        return None if plain is None else LargestLatent(tensors["values"], plain["images"])


@pytest.fixture
def registered() -> Any:
    latent_statistic(LargestKind)
    yield
    del STATISTICS["largest"]


def test_a_new_statistic_is_found_by_its_name_and_saved(registered: Any, tmp_path: Path) -> None:
    dataset = simulate(12, size=16, wells=4).split(seed=0)
    classifier = why.fit(
        dataset, "iresnet", size=16, epochs=1, second_network=False, lock="none", pixel_maps=False, threads=1,
        network_parameters=TINY,
    )  # fmt: skip
    assert classifier.latent_statistics is not None
    found = classifier.latent_statistics.parts["largest"]
    assert found.images == int((dataset.table["split"] == "train").sum())
    classifier.save(tmp_path / "model")
    again = why.load(tmp_path / "model")
    assert again.latent_statistics is not None
    assert torch.equal(again.latent_statistics.parts["largest"].values, found.values)


def test_without_it_a_classifier_that_was_saved_with_it_still_loads(tmp_path: Path) -> None:
    latent_statistic(LargestKind)
    try:
        dataset = simulate(12, size=16, wells=4).split(seed=0)
        why.fit(
            dataset, "iresnet", size=16, epochs=1, second_network=False, lock="none", pixel_maps=False, threads=1,
            network_parameters=TINY,
        ).save(tmp_path / "model")  # fmt: skip
    finally:
        del STATISTICS["largest"]
    with pytest.warns(UserWarning, match="largest left out"):
        again = why.load(tmp_path / "model")
    assert again.latent_statistics is not None
    assert "largest" not in again.latent_statistics.parts


def test_a_classifier_that_was_saved_without_it_loads_where_it_is_registered(
    registered: Any,
) -> None:
    saved = Path(__file__).parent / "saved_by_0.1.0"
    again = why.load(saved)
    assert again.latent_statistics is not None
    assert "largest" not in again.latent_statistics.parts
