"""Fixtures that every test may use, threads, and what becomes of tests without their data."""

import doctest
import gc
import importlib
import linecache
import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

PROJECT = Path(__file__).parents[1]

# One thread a process: pytest-xdist starts a process for each core, and threads that share a core
# slow torch down many times over. OpenMP reads the variable once, when torch is loaded; the
# processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# numba, which napari draws labels with, would give OpenMP a thread for each core when it starts its
# own, and torch with it: all further tests of the process took up to ten times their time.
os.environ["NUMBA_NUM_THREADS"] = "1"
# What a test sets in a form must not become what its user, or the next run, begins with; napari reads
# the variable when it is imported.
_settings = TemporaryDirectory(prefix="napari-why-settings-")
os.environ["XDG_CONFIG_HOME"] = _settings.name
if "torch" in sys.modules:  # a plugin was quicker
    sys.modules["torch"].set_num_threads(1)

# How long an example takes depends on the machine and on what else it does; a test that hangs is
# ended by pytest-timeout.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def no_trace_of_workers() -> None:
    """Keep the processes that tests start from taking themselves for workers of pytest-xdist."""
    for name in ("WORKER", "WORKER_COUNT", "TESTRUNUID"):
        os.environ.pop(f"PYTEST_XDIST_{name}", None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real images, or skip with a reason."""
    default = PROJECT.parent / "shared" / "data"
    folder = Path(os.environ.get("NAPARI_WHY_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real images are needed: set NAPARI_WHY_DATA or place them at {default}")
    return folder


@pytest.fixture
def run_examples() -> Callable[[str], doctest.TestResults]:
    """Return what runs the examples in the docstrings of a module, by its name."""

    def run(name: str) -> doctest.TestResults:
        module = importlib.import_module(name)
        # Before each docstring doctest looks whether any of the files that are kept there has changed. By
        # now these are thousands, torch's and others', and it took four fifths of the time.
        linecache.clearcache()
        return doctest.testmod(module)

    return run


# New objects, of which Python's own 700 are few: an export to ONNX makes a million of them, and a twelfth
# of its time went into looking for garbage among them.
BETWEEN_COLLECTIONS = 10_000


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while the tests are imported, and never again among what they imported.

    Libraries are a million objects that stay. Looking through them took half of the time of importing
    them, and more than most tests in each collection of a test.
    """
    _, *older = gc.get_threshold()
    # not gc.disable(): dask.array notes when it is imported whether the collector is on, and leaves it so after
    # each slice of an array
    gc.set_threshold(0)
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(BETWEEN_COLLECTIONS, *older)


def pytest_runtest_setup() -> None:
    """Give torch its one thread again, should a library of the test before have left it more."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


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


# Folders whose files share what takes long to make: trained classifiers, a benchmark.
TOGETHER = (
    "benchmark",
    "classifier",
    "counterfactuals",
    "generation",
    "latent_space",
    "sessions",
    "transport",
)


class ByFileOrFolder(LoadFileScheduling):
    """Give all tests of a file to one process, and all of a folder that shares what is trained."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = Path(file).parent
        return folder.as_posix() if folder.name in TOGETHER else file


# Optional, since tests of this file run without xdist.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFileOrFolder | None:
    """Return the scheduler for ``--dist loadfile``, of which each process makes a folder's fixtures."""
    return ByFileOrFolder(config, log) if config.getvalue("dist") == "loadfile" else None
