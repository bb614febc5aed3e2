"""The animated series: forth and back, whole or not there."""

import errno
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from napari_why.counterfactuals import Counterfactual
from napari_why.errors import ImageWriteError
from napari_why.figures import animate_counterfactual
from napari_why.images import Grid
from napari_why.record import Record


@pytest.fixture
def series() -> Counterfactual:
    """Return three images, the second channel of which gets brighter."""
    images = np.full((3, 2, 16, 16), 500, np.uint16)
    images[:, 1, 4:12, 4:12] += np.array([0, 200, 400], np.uint16)[:, None, None]
    treated = np.array([0.1, 0.5, 0.9], np.float32)
    return Counterfactual(
        images=images,
        alphas=np.array([0.0, 0.5, 1.0]),
        probabilities=np.stack([1 - treated, treated], axis=1),
        reconstruction=images[0].astype(np.float32),
        special_alphas={"boundary": 0.5, "alpha0": None, "alpha1": 1.0},
        special_images={},
        special_probabilities={},
        classes=("diseased", "treated"),
        channels=("DAPI", "TMRM"),
        source_class="diseased",
        target="treated",
        valid=True,
        round_trip_error=0.0,
        out_of_range=0.0,
        grid=Grid((16, 16)),
        record=Record("counterfactual", "transport"),
    )


def test_the_series_runs_forth_and_back(series: Counterfactual, tmp_path: Path) -> None:
    path = animate_counterfactual(series, tmp_path / "series.gif")
    frames = imageio.imread(path, index=None)
    assert len(frames) == 4
    assert np.array_equal(frames[1], frames[3])
    assert not np.array_equal(frames[0], frames[2])
    assert [file.name for file in tmp_path.iterdir()] == ["series.gif"]


def test_a_full_disk_leaves_the_old_animation(
    series: Counterfactual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "series.gif"
    path.write_bytes(b"the old one")

    def full(part: Path, content: bytes) -> int:
        with part.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ImageWriteError, match="No space left on device"):
        animate_counterfactual(series, path)
    monkeypatch.undo()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the old one"]
