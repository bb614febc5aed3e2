"""Points of a latent space and the path of a counterfactual, drawn into matplotlib axes."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.errors import ParameterError
from napari_why.latent_space.colouring import COLOUR_MAP, Colouring, colouring_of
from napari_why.latent_space.irregular_result import Irregular
from napari_why.latent_space.projection import Projection
from napari_why.latent_space.space import LatentSpace
from napari_why.latent_space.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 14
POINT, RING = 22.0, 70.0
EDGE, EDGE_COLOUR = 0.5, "#888888"  # dark points on dark ground, and light ones on light
ENDINGS = (".png", ".svg")


def draw_points(
    axes: "Axes",
    coordinates: NDArray[np.float64],
    colouring: Colouring,
    *,
    ringed: NDArray[np.bool_] | None = None,
    ring_colour: str = "black",
) -> Any:
    """Draw one point an image.

    Parameters
    ----------
    axes : Axes
    coordinates : ndarray, shape (n, 2)
    colouring : Colouring
        Categories are named for a legend, the first 14 of them.
    ringed : ndarray of bool, shape (n,), optional
        Points with a ring around them: irregular images.
    ring_colour : str

    Returns
    -------
    ScalarMappable or None
        For a colour bar, where the column is continuous.
    """
    mappable = None
    if colouring.continuous:
        mappable = axes.scatter(
            coordinates[:, 0],
            coordinates[:, 1],
            c=colouring.values,
            cmap=COLOUR_MAP,
            s=POINT,
            linewidths=EDGE,
            edgecolors=EDGE_COLOUR,
            plotnonfinite=True,
        )
    for code, name in enumerate(colouring.names):
        mask = colouring.codes == code
        axes.scatter(
            coordinates[mask, 0],
            coordinates[mask, 1],
            facecolors=colouring.colour(code),
            marker=colouring.marker(code),
            s=POINT,
            linewidths=EDGE,
            edgecolors=EDGE_COLOUR,
            label=_label(colouring, code, name),
        )
    if ringed is not None and ringed.any():
        axes.scatter(
            coordinates[ringed, 0],
            coordinates[ringed, 1],
            s=RING,
            facecolors="none",
            edgecolors=ring_colour,
            linewidths=1.0,
            label="irregular",
        )
    return mappable


def draw_path(axes: "Axes", points: NDArray[np.float64], colour: str) -> Any:
    """Draw the path of a counterfactual, from its first alpha to an arrow head at its last.

    Returns
    -------
    Line2D
        A mark at the first point, to be moved along.
    """
    axes.plot(*points.T, color=colour, lw=1.5, marker=".", ms=5, label="_path", zorder=4)
    if len(points) > 1:
        axes.annotate(
            "",
            xy=tuple(points[-1]),
            xytext=tuple(points[-2]),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5},
            zorder=4,
        )
    (mark,) = axes.plot(
        *points[:1].T,
        marker="o",
        ms=11,
        mfc="none",
        mec="#ff3030",
        mew=2.2,
        ls="none",
        label="_alpha",
        zorder=5,
    )
    return mark


def save_figure(
    space: LatentSpace,
    projection: Projection,
    path: str | Path,
    *,
    color_by: str = "class",
    irregular: Irregular | None = None,
) -> Path:
    """Write the points of a latent space as PNG or SVG; an existing file is replaced.

    Parameters
    ----------
    space : LatentSpace
    projection : Projection
        Of that space.
    path : str or Path
        Ends in .png or .svg.
    color_by : str
        A column of the space's table, or of the irregular images' (``distance``).
    irregular : Irregular, optional
        Rings around the irregular images.

    Raises
    ------
    ParameterError
        Unknown column or ending.
    WhyError
        The file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise ParameterError(f"{target}: expected a name that ends in {' or '.join(ENDINGS)}")
    from matplotlib.figure import Figure

    table = space.table if irregular is None else irregular.images
    colouring = colouring_of(table, color_by)
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    ringed = None if irregular is None else irregular.images["irregular"].to_numpy(dtype=bool)
    mappable = draw_points(axes, projection.coordinates, colouring, ringed=ringed)
    axes.set(xlabel=projection.axis_labels[0], ylabel=projection.axis_labels[1])
    if mappable is not None:
        figure.colorbar(mappable, ax=axes, label=color_by)
    elif axes.get_legend_handles_labels()[1]:
        axes.legend(
            title=color_by, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False
        )
    axes.set_title(projection.note, fontsize=7, wrap=True)
    buffer = BytesIO()
    figure.savefig(buffer, format=target.suffix.lower().removeprefix("."))
    return write_whole(target, buffer.getvalue())


def _label(colouring: Colouring, code: int, name: str) -> str:
    count = len(colouring.names)
    if count <= MOST_NAMED or code < MOST_NAMED - 1:
        return name
    return f"and {count - code} more" if code == MOST_NAMED - 1 else "_unnamed"
