"""Tests of real images are skipped without them, and fail where they are required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OWN_CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest

@pytest.mark.real_data
def test_with_the_fixture(real_data):
    assert real_data.is_dir()

@pytest.mark.real_data
def test_that_skips_itself():
    pytest.skip("part of the data is missing")

def test_without_data():
    pytest.skip("another reason")
"""


@pytest.fixture
def outcome(tmp_path: Path):
    """Run the three tests above in a project of their own and return what pytest counted."""
    tests = tmp_path / "project" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(OWN_CONFTEST, tests)
    (tests / "test_of_images.py").write_text(TESTS)
    (tmp_path / "project" / "pytest.ini").write_text("[pytest]\nmarkers = real_data: real images\n")

    def run(**variables: str) -> str:
        others = ("NAPARI_WHY", "PYTEST_")  # the options and workers of the run around this one
        given = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            cwd=tmp_path / "project",
            env={**given, **variables, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.splitlines()[-1]

    return run


def test_without_the_data_they_are_skipped(outcome) -> None:
    assert outcome().startswith("3 skipped")


def test_required_data_that_is_missing_is_a_failure(outcome) -> None:
    counted = outcome(NAPARI_WHY_REQUIRE_DATA="1")
    assert counted.startswith("1 failed, 1 skipped, 1 error")  # an error: in its fixture


def test_with_the_data_the_fixture_gives_the_folder(outcome, tmp_path: Path) -> None:
    counted = outcome(NAPARI_WHY_REQUIRE_DATA="1", NAPARI_WHY_DATA=str(tmp_path))
    assert counted.startswith("1 failed, 1 passed, 1 skipped")
