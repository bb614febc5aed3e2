"""The parts that the pictures of a counterfactual are put together from."""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray

from napari_why.counterfactuals import Counterfactual
from napari_why.images import Grid, contrast_limits, spatial_scale

if TYPE_CHECKING:
    from xarray import DataArray

CHANGE_COLORMAP = "RdBu_r"
ROUND_LENGTHS = (1, 2, 5)
LETTERS_PER_INCH = 11
"""That fit at the size of titles; a wide letter takes more, so this is on the safe side."""
PANEL_TITLE = 24


def draw_image(
    axes: Axes, pixels: NDArray[Any], contrast_of: NDArray[Any], title: str
) -> tuple[float, float]:
    """Draw one channel in grey.

    Parameters
    ----------
    pixels : ndarray, shape (H, W)
    contrast_of : ndarray, shape (H, W)
        The pixels that settle black and white: those of the source, for before and after alike.

    Returns
    -------
    low, high : float
        Black and white, in grey levels.
    """
    low, high = contrast_limits(contrast_of)
    axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return low, high


def draw_change(axes: Axes, change: NDArray[Any], limit: float, title: str) -> AxesImage:
    """Draw a change (H, W) from -limit (blue) over zero (white) to limit (red)."""
    drawn = axes.imshow(
        change, cmap=CHANGE_COLORMAP, vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return drawn


def write_title(figure: Figure, text: str, size: float) -> None:
    """Write above the whole figure, in as many lines as its width asks for."""
    letters = int(LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle(fill(text, letters), fontsize=size)


def label_beside(axes: Axes, text: str) -> None:
    """Write on the left of an image, upwards."""
    axes.text(
        -0.04,
        0.5,
        text,
        transform=axes.transAxes,
        rotation=90,
        ha="right",
        va="center",
        fontsize=9,
    )


def draw_probability(axes: Axes, result: Counterfactual, alpha: float) -> None:
    """Draw the target's probability over alpha, with one alpha marked on it."""
    target = result.classes.index(result.target)
    probability = result.probabilities[:, target]
    axes.plot(result.alphas, probability, color="0.4", marker=".")
    axes.plot(alpha, _probability_at(result, alpha), "o", color="crimson")
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    boundary = result.special_alphas.get("boundary")
    if boundary is not None:
        axes.axvline(boundary, color="0.7", linewidth=0.8, linestyle="--")
    axes.set(ylim=(-0.03, 1.03), xlabel="alpha")
    axes.set_title(fill(f"probability of {result.target}", PANEL_TITLE))
    axes.title.set_fontsize(10)


def draw_scale_bar(axes: Axes, grid: Grid, source: "DataArray") -> None:
    """Draw a bar of a round length, about a quarter of the width, where the unit is known."""
    if source.attrs.get("unit") != "um":
        return
    pixel = spatial_scale(source)[1] * grid.step[1]
    length = round_length(grid.shape[1] * pixel / 4)
    bar = AnchoredSizeBar(
        axes.transData,
        length / pixel,
        f"{length:g} µm",
        "lower right",
        pad=0.3,
        color="white",
        frameon=False,
        size_vertical=max(1.0, grid.shape[0] / 80),
    )
    axes.add_artist(bar)


def round_length(length: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not longer.

    Examples
    --------
    >>> round_length(7.3), round_length(48.0), round_length(0.3)
    (5.0, 20.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in ROUND_LENGTHS if step * power <= length * (1 + 1e-9)))


def _probability_at(result: Counterfactual, alpha: float) -> float:
    target = result.classes.index(result.target)
    for name, place in result.special_alphas.items():
        if place == alpha and name in result.special_probabilities:
            return float(result.special_probabilities[name][target])
    nearest = int(np.abs(result.alphas - alpha).argmin())
    return float(result.probabilities[nearest, target])
