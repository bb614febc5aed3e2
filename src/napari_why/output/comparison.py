"""Results beside each other as one figure: rows are channels, columns before, after, change, or methods.

The same figure for a page and for a window that follows a slider: what moves with the strength of a
change is drawn anew alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from napari_why.images import channel_names, contrast_limits
from napari_why.images.display import NEGATIVE, POSITIVE, symmetric_limits
from napari_why.output.images import JOINT
from napari_why.output.layer_metadata import image_name

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.attribution import Attribution
    from napari_why.counterfactuals import Counterfactual

# Inches of a panel with its margins, of a title above a column and of a bar below it.
PANEL, TITLE_ROOM, BAR_ROOM = 2.1, 0.75, 0.75
# Letters of a title's line above a panel, and below a bar.
LETTERS = 22
# From here on three digits would be written with an exponent.
LARGE = 1000
# Points.
TITLE_SIZE, LABEL_SIZE = 9, 8


def change_colours() -> LinearSegmentedColormap:
    """Return the viewer's colours of changes and evidence: sky blue, black at zero, salmon."""
    return LinearSegmentedColormap.from_list("why_change_alone", [NEGATIVE, (0, 0, 0), POSITIVE])


@dataclass(frozen=True, eq=False)
class _Column:
    """One column: pixels of each row, how they are shown, and what it says."""

    title: str
    # by row; a function of the alpha for what moves
    pixels: Mapping[str, Callable[[float], NDArray[Any]]]
    limits: Mapping[str, tuple[float, float]]
    kind: Literal["grey", "signed"]
    bar: str = ""
    moves: bool = False


@dataclass(frozen=True, eq=False)
class _Moving:
    drawn: AxesImage
    pixels: Callable[[float], NDArray[Any]]
    axes: Axes = field(repr=False)


class ComparisonFigure:
    """Results beside each other.

    Channels are grey, in limits that before and after have in common; each map and each change has one
    scale for all channels, symmetric about zero, with numbers at its ends and its unit.

    Parameters
    ----------
    results : sequence of Attribution or Counterfactual
    images : sequence of DataArray
        What each is about (c, y, x); shown once where several are about the same.
    background, foreground : str
        Colours of paper and text, as matplotlib takes them.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
    """

    def __init__(
        self,
        results: Sequence["Attribution | Counterfactual"],
        images: Sequence["DataArray"],
        *,
        background: str = "white",
        foreground: str = "black",
    ) -> None:
        columns = _columns(results, images)
        rows = list(dict.fromkeys(row for column in columns for row in column.pixels))
        rows = [row for row in rows if row != JOINT] + [JOINT] * (JOINT in rows)
        size = (PANEL * max(1, len(columns)), PANEL * max(1, len(rows)) + TITLE_ROOM + BAR_ROOM)
        self.figure = Figure(figsize=size, layout="constrained", facecolor=background)
        self._moving: list[_Moving] = []
        if columns:
            grid = self.figure.add_gridspec(len(rows), len(columns))
            for across, column in enumerate(columns):
                panels = [self.figure.add_subplot(grid[down, across]) for down in range(len(rows))]
                self._draw(column, rows, panels, first=across == 0, colour=foreground)

    @property
    def moves(self) -> bool:
        """Whether anything depends on the strength of a change."""
        return bool(self._moving)

    def show(self, alpha: float) -> list[tuple[Axes, AxesImage]]:
        """Show the images nearest to an alpha; return what has to be drawn anew."""
        for moving in self._moving:
            moving.drawn.set_data(moving.pixels(alpha))
        return [(moving.axes, moving.drawn) for moving in self._moving]

    def _draw(
        self, column: _Column, rows: Sequence[str], panels: list[Axes], *, first: bool, colour: str
    ) -> None:
        drawn: AxesImage | None = None
        for row, axes in zip(rows, panels, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            if first:
                axes.text(
                    -0.06,  # just outside: axes coordinates run from 0 to 1
                    0.5,
                    row,
                    transform=axes.transAxes,
                    rotation=90,
                    ha="right",
                    va="center",
                    fontsize=TITLE_SIZE,
                    color=colour,
                )
            if row not in column.pixels:
                axes.set_axis_off()
                continue
            low, high = column.limits[row]
            drawn = axes.imshow(
                column.pixels[row](0.0),
                cmap="gray" if column.kind == "grey" else change_colours(),
                vmin=low,
                vmax=high,
                interpolation="nearest",
            )
            if column.kind == "grey":
                said = f"black {_write(low)}, white {_write(high)}"
                axes.set_xlabel(said, fontsize=LABEL_SIZE, color=colour)
            if column.moves:
                self._moving.append(_Moving(drawn, column.pixels[row], axes))
        panels[0].set_title(fill(column.title, LETTERS), fontsize=TITLE_SIZE, color=colour)
        if column.kind == "signed" and drawn is not None:
            low, high = next(iter(column.limits.values()))  # one scale for all rows
            bar = self.figure.colorbar(
                drawn, ax=panels, orientation="horizontal", ticks=[low, 0, high], pad=0.02
            )
            bar.set_ticklabels([f"{end:.4g}" for end in (low, 0, high)])
            bar.ax.tick_params(labelsize=LABEL_SIZE, colors=colour)
            bar.set_label(fill(column.bar, LETTERS), fontsize=LABEL_SIZE, color=colour)


def _columns(
    results: Sequence["Attribution | Counterfactual"], images: Sequence["DataArray"]
) -> list[_Column]:
    columns: list[_Column] = []
    seen: list[str] = []
    several = len({str(image.attrs.get("source", "")) for image in images}) > 1
    for result, image in zip(results, images, strict=True):
        source = str(image.attrs.get("source", ""))
        name = f"{image_name(source)}: " if several and image_name(source) else ""
        # torch, which both kinds of result need, is not imported for a plot of one
        if hasattr(result, "alphas"):
            columns += _columns_of_change(cast("Counterfactual", result), name)
            continue
        if source not in seen:
            seen.append(source)
            columns.append(_column_of_image(image, image_name(source) or "image"))
        columns.append(_column_of_map(result, name))
    return columns


def _column_of_image(image: "DataArray", title: str) -> _Column:
    planes = {
        name: np.asarray(image.isel(c=index).values)
        for index, name in enumerate(channel_names(image))
    }
    return _Column(
        title,
        {name: _still(plane) for name, plane in planes.items()},
        {name: contrast_limits(plane) for name, plane in planes.items()},
        "grey",
    )


def _column_of_map(result: "Attribution", name: str) -> _Column:
    maps = dict(zip(result.channels, result.maps, strict=True))
    # the joint map may be far larger than a channel's, and is what methods are compared by
    channels, joint = symmetric_limits(result.maps), symmetric_limits(result.joint)
    end = max(channels[1], joint[1])
    return _Column(
        f"{name}{result.method_title}: {result.target}",
        {row: _still(values) for row, values in {**maps, JOINT: result.joint}.items()},
        dict.fromkeys([*maps, JOINT], (-end, end)),
        "signed",
        f"against (-) / for (+) {result.target}, {result.unit}",
    )


def _columns_of_change(result: "Counterfactual", name: str) -> list[_Column]:
    limits = {
        channel: contrast_limits(result.reconstruction[index])
        for index, channel in enumerate(result.channels)
    }
    changes = result.differences
    indices = dict(enumerate(result.channels))

    def at(stack: NDArray[Any], index: int) -> Callable[[float], NDArray[Any]]:
        return lambda alpha: np.asarray(
            stack[int(np.abs(result.alphas - alpha).argmin()), index], dtype=np.float32
        )

    title = f"{name}{result.title}"
    ends = symmetric_limits(changes)
    return [
        _Column(
            f"{title}: before",
            {channel: _still(result.reconstruction[index]) for index, channel in indices.items()},
            limits,
            "grey",
        ),
        _Column(
            "after",
            {channel: at(result.images, index) for index, channel in indices.items()},
            limits,
            "grey",
            moves=True,
        ),
        _Column(
            "change",
            {channel: at(changes, index) for index, channel in indices.items()},
            dict.fromkeys(result.channels, ends),
            "signed",
            "less (-) / more (+), grey levels",
            moves=True,
        ),
    ]


def _still(plane: NDArray[Any]) -> Callable[[float], NDArray[Any]]:
    return lambda _alpha: plane


def _write(level: float) -> str:
    """Write a grey level as people do: 8,900 and not 8.9e+03.

    Examples
    --------
    >>> _write(8900.2), _write(0.01234)
    ('8,900', '0.0123')
    """
    return f"{level:.3g}" if abs(level) < LARGE else f"{level:,.0f}"
