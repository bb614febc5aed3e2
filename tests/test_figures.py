"""Animations and figures: what they show, whole or not there."""

import errno
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import AxesImage

from napari_why.core.errors import ImageWriteError
from napari_why.core.record import Record
from napari_why.core.targets import is_own
from napari_why.counterfactuals import Counterfactual
from napari_why.images import Grid, make_image
from napari_why.output.figures import (
    animate_counterfactual,
    animation_frame,
    change_limit,
    counterfactual_figure,
    draw_counterfactual,
)


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


def test_an_mp4_shows_every_step_for_its_time(series: Counterfactual, tmp_path: Path) -> None:
    path = animate_counterfactual(series, tmp_path / "series.mp4", seconds_per_step=0.3)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(path)
    assert frames == 4 * 3, "four steps forth and back, three frames each"
    assert seconds == pytest.approx(1.2)
    gif = imageio.imread(animate_counterfactual(series, tmp_path / "series.gif"), index=None)
    height, width = gif.shape[1:3]
    for step in range(4):
        shown = imageio.imread(path, plugin="FFMPEG", index=3 * step + 1).astype(float)
        assert shown.shape[0] % 2 == shown.shape[1] % 2 == 0
        shown = shown[:height, :width]
        assert np.abs(shown - gif[step]).mean() < 4, "the same picture but for compression"
    assert {file.name for file in tmp_path.iterdir()} == {"series.mp4", "series.gif"}


def texts_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_figure_says_in_words_what_it_shows(series: Counterfactual, tmp_path: Path) -> None:
    source = make_image(
        series.images[0], "cyx", series.channels, unit="um", pixel_size={"y": 0.5, "x": 0.5}
    )
    svg = texts_of(draw_counterfactual(series, tmp_path / "figure.svg", source))
    for said in ("before", "after", "change, grey levels", "DAPI", "TMRM", "2 µm"):
        assert said in svg
    # the title is broken into lines
    title = " ".join(svg.replace("</text>", " ").split())
    for said in ("not known whether", "1 more in the notes", "100 % of the change in TMRM"):
        assert said in title
    assert "probability of treated" in svg


LONG = "depolarised, then treated with a kinase inhibitor at 10 uM"


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["figure", "frame"])
def test_no_text_is_cut_off_or_lies_on_another(
    series: Counterfactual, channels: int, kind: str
) -> None:
    crowded = replace(
        series,
        images=np.repeat(series.images[:, 1:], channels, axis=1),
        reconstruction=np.repeat(series.reconstruction[1:], channels, axis=0),
        channels=tuple(f"MitoTracker Red {index}" for index in range(channels)),
        classes=("diseased", LONG),
        target=LONG,
        distance=0.98,
    )
    made = (
        counterfactual_figure(crowded)
        if kind == "figure"
        else animation_frame(crowded, crowded.differences, 2)
    )
    FigureCanvasAgg(made).draw()
    titles = [axes.title for axes in made.axes if axes.title.get_text()]
    texts = [text for axes in made.axes for text in axes.texts]
    (above,) = (text for text in made.texts if LONG[:11] in text.get_text())
    boxes = [text.get_window_extent() for text in (above, *titles, *texts)]
    for index, box in enumerate(boxes):
        assert made.bbox.x0 <= box.x0 < box.x1 <= made.bbox.x1
        assert made.bbox.y0 <= box.y0 < box.y1 <= made.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_the_colours_of_the_change_are_symmetric_and_one_scale_for_all_channels(
    series: Counterfactual, tmp_path: Path
) -> None:
    figure = counterfactual_figure(series)
    drawn = [image for axes in figure.axes for image in axes.get_children()]
    images = [image for image in drawn if isinstance(image, AxesImage)]
    limits = [image.get_clim() for image in images]
    changes = [clim for clim in limits if clim[0] < 0]
    assert changes == [(-400, 400)] * 2
    before, after = limits[3:5]
    assert before == after, "TMRM has one black and one white before and after"
    draw_counterfactual(series, tmp_path / "figure.png")
    assert imageio.imread(tmp_path / "figure.png").ndim == 3


def test_a_series_without_a_convincing_image_is_drawn_with_its_last(
    series: Counterfactual, tmp_path: Path
) -> None:
    unfinished = replace(
        series, valid=False, special_alphas=dict.fromkeys(series.special_alphas), special_images={}
    )
    svg = texts_of(draw_counterfactual(unfinished, tmp_path / "figure.svg"))
    assert "does not flip" in svg


def test_another_ending_is_refused(series: Counterfactual, tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match=r"expected \.gif or \.mp4"):
        animate_counterfactual(series, tmp_path / "series.avi")
    with pytest.raises(ImageWriteError, match=r"expected \.png or \.svg"):
        draw_counterfactual(series, tmp_path / "figure.jpg")
    with pytest.raises(ImageWriteError, match="cannot be written"):
        draw_counterfactual(series, tmp_path / "none" / "figure.png")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_animation(
    series: Counterfactual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = animate_counterfactual(series, tmp_path / "series.gif")
    before = path.read_bytes()

    def full(part: Path, content: bytes) -> int:
        with part.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ImageWriteError, match="No space left on device"):
        animate_counterfactual(series, path)
    monkeypatch.undo()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("name", ["a.gif", "a.mp4", "b.png", "b.svg"])
def test_what_was_drawn_here_is_known_again_and_replaced(
    series: Counterfactual, tmp_path: Path, name: str
) -> None:
    draw = animate_counterfactual if name.startswith("a") else draw_counterfactual
    for _ in range(2):
        assert is_own(draw(series, tmp_path / name))


def test_the_brightest_pixel_does_not_set_the_colours_of_an_animation() -> None:
    changes = np.zeros((3, 2, 20, 20), np.float32)
    changes[2, 1, :10] = 40
    assert change_limit(changes) == 40
    changes[2, 1, 0, 0] = 9000
    assert change_limit(changes) == 40


def test_a_change_of_a_few_pixels_is_seen_all_the_same() -> None:
    changes = np.zeros((3, 2, 40, 40), np.float32)
    assert change_limit(changes) == 1
    changes[2, 1, 0, 0] = -7
    assert change_limit(changes) == 7
