"""A simulated screen of two small plates and a tiny classifier of other simulated cells, once for all."""

from pathlib import Path

import pytest

from napari_why.screening import ScreenResult, screen
from napari_why.simulation import simulate
from napari_why.simulation.compounds import ScreenDesign, simulate_screen

SIZE = 32


@pytest.fixture(scope="session")
def design() -> ScreenDesign:
    """Eight compounds, one of each kind, in 16 wells of two plates, two fields each."""
    return ScreenDesign(compounds=8, actives=1, plates=2, fields=2, shape=(4, 6), size=SIZE)


@pytest.fixture(scope="session")
def plates(design: ScreenDesign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both plates; the plate map lies beside it."""
    return simulate_screen(tmp_path_factory.mktemp("screen") / "data", design).parent / "plates"


@pytest.fixture(scope="session")
def plate_map(plates: Path) -> Path:
    return plates.parent / "plate_map.csv"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier with an invertible network."""
    from napari_why.fitting import fit

    network = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    classifier = fit(
        simulate(24, size=SIZE, wells=8, classes=("diseased", "healthy")).split(seed=1),
        "iresnet",
        size=SIZE,
        epochs=1,
        network_parameters=network,
        threads=1,
        pixel_maps=False,
        lock="none",
        second_network=False,
    )
    return classifier.save(tmp_path_factory.mktemp("screen") / "model")


@pytest.fixture(scope="session")
def whole(
    model: Path, plates: Path, plate_map: Path, tmp_path_factory: pytest.TempPathFactory
) -> ScreenResult:
    """All wells, one after the other."""
    out = tmp_path_factory.mktemp("out") / "whole"
    controls = {"negative": "DMSO", "positive": "healthy", "draws": 100}
    return screen(model, plates, out, plate_map=plate_map, **controls)
