"""Fixtures that every test may use, and what becomes of tests without their data."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real images, or skip with a reason."""
    default = PROJECT.parent / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_WHY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real images are needed: set NAPARI_WHY_DATA or place them at {default}")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test of real images where NAPARI_WHY_REQUIRE_DATA=1 (set by .ci/run)."""
    report = yield
    of_real_data = item.get_closest_marker("real_data") or "real_data" in getattr(
        item, "fixturenames", ()
    )
    required = os.environ.get("NAPARI_WHY_REQUIRE_DATA") == "1"
    if required and of_real_data and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"NAPARI_WHY_REQUIRE_DATA=1 allows no skipping here: {reason}"
    return report
