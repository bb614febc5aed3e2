"""A small data set and a classifier trained on it through the command line itself."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_why.cli import main
from napari_why.simulation import simulate_to_folder

TINY_IRESNET = ["--blocks=1,1", "--widths=4,8", "--downscaling=2,2"]


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was written to the two streams."""

    code: int
    out: str
    err: str


Shell = Callable[..., Outcome]


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        streams = capfd.readouterr()
        assert isinstance(left.value.code, int)
        return Outcome(left.value.code, streams.out, streams.err)

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of simulated images of two classes, 32 x 32 pixels, with a table of wells."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    simulate_to_folder(folder, 24, size=32, wells=12)
    return folder


@pytest.fixture(scope="session")
def image(data: Path) -> Path:
    """One of the images."""
    return min(data.rglob("*.ome.tif"))


@pytest.fixture(scope="session")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny i-ResNet, trained by ``napari-why train``."""
    folder = tmp_path_factory.mktemp("models") / "model"
    options = ["--network=iresnet", "--size=32", "--epochs=1", "--batch-size=8", "--seed=3"]
    # What the test for locks finds on so few images is no matter here, and takes half of the time.
    options += ["--lock=none"]
    with pytest.raises(SystemExit) as left:
        main(["train", str(data), "--out", str(folder), *options, *TINY_IRESNET])
    assert left.value.code == 0
    return folder


@pytest.fixture(autouse=True)
def heard_hangups() -> Iterator[None]:
    """Let a hangup be heard, also by programs that are started, where the tests run under nohup."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None:  # Windows
        yield
        return
    before = signal.signal(hangup, signal.SIG_DFL)
    yield
    signal.signal(hangup, before)
