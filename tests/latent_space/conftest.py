"""A small classifier with its data set, and latent spaces made of drawn numbers."""

import numpy as np
import pandas as pd
import pytest

from napari_why.core.record import Record
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.latent_space import LatentSpace, embed
from napari_why.model import Classifier
from napari_why.simulation import simulate

TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
SIZE = 32


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return simulate(40, size=SIZE, wells=5, plates=2, seed=4).split(seed=1)


@pytest.fixture(scope="session")
def classifier(dataset: Dataset) -> Classifier:
    return fit(
        dataset,
        "iresnet",
        size=SIZE,
        epochs=2,
        network_parameters=TINY,
        threads=1,
        lock="none",
        pixel_maps=False,
    )


@pytest.fixture(scope="session")
def space(classifier: Classifier, dataset: Dataset) -> LatentSpace:
    return embed(classifier, dataset)


@pytest.fixture
def drawn():
    """Make a latent space of normally distributed latents: two classes in wells of ten images."""

    def make(count: int = 200, wells: int = 20, dimensions: int = 4, seed: int = 0) -> LatentSpace:
        rng = np.random.default_rng(seed)
        well = np.arange(count) % wells
        labels = np.where(well % 2 == 0, "healthy", "diseased")
        mixing = rng.normal(size=(dimensions, dimensions))
        latents = rng.normal(size=(count, dimensions)) @ mixing
        latents[labels == "healthy"] += 5
        table = pd.DataFrame(
            {
                "image": range(count),
                "path": [f"image {row}" for row in range(count)],
                "class": labels,
                "prediction": labels,
                "probability": 1.0,
                "used_for": "nothing",
                "plate": np.where(well < wells // 2, "P1", "P2"),
                "well": [f"W{number:02d}" for number in well],
            }
        )
        return LatentSpace(
            table,
            latents.astype(np.float32),
            ("diseased", "healthy"),
            ("plate", "well"),
            Record(kind="latent space", method="mean over positions", classifier="none"),
        )

    return make
