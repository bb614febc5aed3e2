"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real images, or skip with a reason."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_WHY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real images are needed: set NAPARI_WHY_DATA or place them at {default}")
    return folder
