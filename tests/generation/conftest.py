"""A variational autoencoder trained for seconds on simulated scenes, and one without a prior."""

from typing import Any

import pytest

from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.model import Classifier
from napari_why.simulation import simulate

SMALL = {"widths": "16,32,32", "latent_dimensions": 24}
SETTINGS = {"size": 32, "device": "cpu", "threads": 1, "augment": False, "batch_size": 8}


@pytest.fixture(scope="session")
def scenes() -> Dataset:
    """Return 96 scenes of 32 x 32 pixels, split."""
    return simulate(96, size=32).split(seed=0)


@pytest.fixture(scope="session")
def vae_classifier(scenes: Dataset) -> Classifier:
    """Return a classifier with a variational autoencoder."""
    return small_fit(scenes, "vae", epochs=8, learning_rate=3e-3)


@pytest.fixture(scope="session", params=["autoencoder", "denoising_autoencoder"])
def plain_classifier(request: pytest.FixtureRequest, scenes: Dataset) -> Classifier:
    """Return a classifier with each autoencoder that has no prior, barely trained."""
    return small_fit(scenes, request.param, epochs=1)


def small_fit(dataset: Dataset, network: str, **further: Any) -> Classifier:
    return fit(dataset, network, network_parameters=SMALL, **(SETTINGS | further))
