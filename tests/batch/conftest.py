"""Simulated scenes in a folder and a tiny classifier trained on others of their kind, once for all."""

from pathlib import Path

import pytest

from napari_why.simulation import simulate, simulate_to_folder

SIZE = 32


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six images of two classes, with a table of wells."""
    folder = tmp_path_factory.mktemp("batch") / "scenes"
    simulate_to_folder(folder, 6, size=SIZE, wells=6)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier with an invertible network."""
    from napari_why.fitting import fit

    network = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    classifier = fit(
        simulate(16, size=SIZE, wells=8).split(seed=1),
        "iresnet",
        size=SIZE,
        epochs=1,
        network_parameters=network,
        threads=1,
        pixel_maps=False,
        lock="none",
    )
    return classifier.save(tmp_path_factory.mktemp("batch") / "model")


@pytest.fixture(scope="session")
def classifier(model: Path):
    """The same, loaded."""
    from napari_why.model import load

    return load(model)
