"""Pictures to look at: source, counterfactual, its change and the true change, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_why.benchmark.data import BenchmarkData
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import METHODS
from napari_why.benchmark.scores import smooth
from napari_why.core.targets import MARK
from napari_why.core.whole_files import write_whole
from napari_why.images import contrast_limits

# Inches: eight columns fit the width of a page, and a cell can still be seen.
PANEL = 1.7


@dataclass(frozen=True)
class Shown:
    """One row of pictures.

    Parameters
    ----------
    title : str
        Of the row.
    source, counterfactual : ndarray, shape (C, H, W)
        Raw units.
    truth : ndarray, shape (C, H, W), or None
        True change where it is known.
    """

    title: str
    source: NDArray[Any]
    counterfactual: NDArray[Any]
    truth: NDArray[Any] | None = None

    @property
    def change(self) -> NDArray[np.float64]:
        """Counterfactual minus source."""
        return self.counterfactual.astype(np.float64) - self.source.astype(np.float64)


def draw_side_by_side(rows: Sequence[Shown], channels: Sequence[str], title: str = "") -> Figure:
    """Draw source, counterfactual, change and true change of every channel.

    All images of a channel have one contrast: that of the sources, widened to what the truth
    asks for where it is known (what a counterfactual has beyond is black or white), else to what
    the counterfactuals ask for. All changes,
    of all channels and rows, have one symmetric scale that nothing exceeds, drawn beside them;
    they are shown as averages over 3 x 3 pixels, as they are scored.

    Parameters
    ----------
    rows : sequence of Shown
        At least one; all with or all without a truth.
    channels : sequence of str
        Names of the channels.
    title : str
        Above all.

    Returns
    -------
    Figure
    """
    known = all(row.truth is not None for row in rows)
    columns = ("source", "counterfactual", "change", *(["true change"] if known else []))
    wide = len(columns) * len(channels)
    picture = Figure(figsize=(PANEL * wide + 1, PANEL * len(rows) + 0.9), layout="constrained")
    grid = picture.subplots(len(rows), wide, squeeze=False)
    limit = _largest(rows, len(channels))
    for channel, name in enumerate(channels):
        contrast = _contrast(rows, channel)
        first = channel * len(columns)
        for row, panels in zip(rows, grid, strict=True):
            _draw_row(panels[first : first + len(columns)], row, channel, contrast, limit)
        for panel, column in zip(grid[0][first:], columns, strict=False):
            panel.set_title(f"{name}\n{column}", fontsize=8)
    bar = picture.colorbar(grid[0][2].images[0], ax=grid, shrink=0.8, pad=0.01)
    bar.set_label("change, grey levels", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    for row, panels in zip(rows, grid, strict=True):
        panels[0].set_ylabel(row.title, fontsize=8)
    picture.suptitle(title, fontsize=10)
    return picture


def shown_rows(
    sources: NDArray[Any],
    truth: NDArray[Any] | None,
    made: Mapping[str, NDArray[Any]],
    index: int,
) -> list[Shown]:
    """Return one row per method for image ``index`` of (N, C, H, W) images.

    Parameters
    ----------
    sources : ndarray, shape (N, C, H, W)
    truth : ndarray, shape (N, C, H, W), or None
        True changes.
    made : mapping of str to ndarray, shape (N, C, H, W)
        Counterfactuals by method.
    index : int
        Which image.

    Returns
    -------
    list of Shown
    """
    return [
        Shown(name, sources[index], images[index], None if truth is None else truth[index])
        for name, images in made.items()
    ]


def _draw_row(
    panels: Sequence[Axes],
    row: Shown,
    channel: int,
    contrast: tuple[float, float],
    limit: float,
) -> None:
    for panel, image in zip(panels, (row.source, row.counterfactual), strict=False):
        panel.imshow(image[channel], cmap="gray", vmin=contrast[0], vmax=contrast[1])
    changes = [row.change] if row.truth is None else [row.change, row.truth]
    for panel, change in zip(panels[2:], changes, strict=True):
        panel.imshow(_show_as_seen(change, channel), cmap="RdBu_r", vmin=-limit, vmax=limit)
    for panel in panels:
        panel.set_xticks([])
        panel.set_yticks([])


def _contrast(rows: Sequence[Shown], channel: int) -> tuple[float, float]:
    images = [row.source[channel] for row in rows]
    images += [
        row.counterfactual[channel]
        if row.truth is None
        else row.source[channel] + row.truth[channel]
        for row in rows
    ]
    limits = [contrast_limits(image) for image in images]
    return min(low for low, _ in limits), max(high for _, high in limits)


def _largest(rows: Sequence[Shown], channels: int) -> float:
    changes = [change for row in rows for change in (row.change, row.truth) if change is not None]
    seen = [
        np.abs(_show_as_seen(change, channel)) for change in changes for channel in range(channels)
    ]
    return max(float(one.max()) for one in seen) or 1.0


def _show_as_seen(change: NDArray[Any], channel: int) -> NDArray[np.float64]:
    return np.asarray(smooth(np.asarray(change, dtype=np.float64)[None])[0, channel])


def write_pictures(
    data: BenchmarkData, results: ResultFolder, folder: str | Path, methods: Sequence[str] = ()
) -> list[Path]:
    """Write one picture per direction: the first image, one row per method of the results.

    Parameters
    ----------
    data : BenchmarkData
        The images.
    results : ResultFolder
        With counterfactuals of them.
    folder : str or Path
        Where the pictures go, as ``NAME_seed-N_SOURCE to TARGET.png`` with underscores for blanks.
    methods : sequence of str
        Rows to draw; all that there are by default.

    Returns
    -------
    list of Path
    """
    wanted = methods or METHODS
    stored = {name: results.images(data.name, data.seed, name) for name in wanted}
    written = []
    for direction in data.directions:
        made = {
            name: kept[direction.name] for name, kept in stored.items() if direction.name in kept
        }
        if not made:
            continue
        picture = draw_side_by_side(
            shown_rows(direction.images, direction.truth, made, 0),
            data.dataset.channels,
            f"{data.name.replace('_', ' ')}: {direction.name}",
        )
        name = f"{data.name}_seed-{data.seed}_{direction.name}.png".replace(" ", "_")
        written.append(Path(folder) / name)
        buffer = BytesIO()
        picture.savefig(buffer, format="png", dpi=110, metadata={"Software": MARK})
        write_whole(written[-1], buffer.getvalue())
    return written
