"""Classifiers of a moment's training on simulated scenes."""

from typing import Any

import pytest

from napari_why.core.events import Event
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.model import Classifier
from napari_why.simulation import simulate

SMALL = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    """Return 48 scenes of 12 wells, not split."""
    return simulate(48, size=32)


@pytest.fixture(scope="session")
def told_by_a_fit() -> list[Event]:
    """Return the events of the fit of :func:`invertible`, once that is there."""
    return []


@pytest.fixture(scope="session")
def invertible(scenes: Dataset, told_by_a_fit: list[Event]) -> Classifier:
    """Return a classifier that can be inverted, of a fit that leaves nothing out."""
    return small_fit(
        scenes,
        "iresnet",
        network_parameters=SMALL,
        lock="auto",
        pixel_maps=True,
        on_event=told_by_a_fit.append,
    )


@pytest.fixture(scope="session")
def plain(scenes: Dataset) -> Classifier:
    """Return a classifier without an inverse."""
    return small_fit(scenes, "cam_net")


def small_fit(dataset: Dataset, network: str, **further: Any) -> Classifier:
    return fit(
        dataset,
        network,
        **(
            {"size": 16, "epochs": 2, "device": "cpu", "lock": "none", "pixel_maps": False}
            | further
        ),
    )
