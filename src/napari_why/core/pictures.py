"""What every result shows of itself: stacks of pixels by name, with channels, unit and meaning."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

PictureKind = Literal["intensity", "signed", "labels"]
# Endings of animations and figures that are written, the first the one that every program opens.
ANIMATIONS = (".gif", ".mp4")
FIGURES = (".png", ".svg")
# Of classes and other names. Told apart with every common colour blindness (Okabe & Ito 2008); without
# their black, which is not seen on napari's dark ground.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")

# Of curves and classes. Most have two: blue and orange, which colour-blind eyes tell apart too. All are
# seen on the dark theme, on the light one and on paper.
CLASS_COLOURS = ("#58a6ff", "#f0883e", "#56d364", "#d2a8ff", "#ffd33d", "#ff7b72")
# Of channels below a result, beside whose colours they have none.
GREY = "why_grey"
# What the bar lies on in both themes, so that zero is the same in it as over the black of an image.
BAR_GROUND, BAR_TEXT = "black", "white"
# Where it covers least: images are looked at from the top left.
BAR_PLACE = "bottom_right"
# Roles of pictures that speak for and against a class; other signed ones are of more and less.
EVIDENCE_ROLES = frozenset({"attribution", "attribution part", "class map", "standard error"})


@dataclass(frozen=True, eq=False)
class Axis:
    """A series axis in front of the channels (``alpha``): evenly spaced positions.

    Parameters
    ----------
    label : str
        What the positions are.
    values : ndarray, float64, shape (A,)
        Evenly spaced, at least one.
    width : float
        What one position stands for where there is only one.

    Examples
    --------
    >>> axis = Axis("alpha", np.array([0.5, 1.0, 1.5]))
    >>> axis.start, axis.step
    (0.5, 0.5)
    """

    label: str
    values: NDArray[np.float64]
    width: float = 1.0

    @property
    def start(self) -> float:
        """The first position."""
        return float(self.values[0])

    @property
    def step(self) -> float:
        """The distance between two positions; the width where there is only one."""
        # From the ends, not from the first two: so the rounding error of one value does not add
        # up over a long series, and the slider's last position is the last value.
        intervals = len(self.values) - 1
        return float((self.values[-1] - self.values[0]) / intervals) if intervals else self.width


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One stack of pixels of a result, on the result's grid.

    Layers and images to write are made of this alone, so a new kind of result only has to say
    which pictures it has.

    Parameters
    ----------
    compute : callable
        Returns the pixels: shape (C, H, W), or (A, C, H, W) with ``axis``, (A, B, C, H, W) with
        ``second_axis`` too.
    channels : tuple of str or None
        Names along C; None for the map of all channels together.
    titles : tuple of str
        What a layer of each channel is called.
    role : str
        What the pixels are, as it is kept with each layer ("series", "difference", ...).
    kind : {"intensity", "signed", "labels"}
        Grey levels that look as the raw channel does; values around zero, in a diverging colormap
        with limits shared by all channels; or integers that number regions.
    unit : str
        Of the values ("grey levels", "logit", ...); empty for labels.
    axis : Axis, optional
        What lies along A.
    second_axis : Axis, optional
        What lies along B: where on the axis of the result's series these pixels are.
    visible : bool
        Whether the layers are shown at first.
    over_raw : bool
        The values are seen through, together with the raw image below them.
    in_file : bool
        The pixels belong into the image file of the result.
    table : DataFrame, optional
        For labels: one row a region, its label in the column ``region``.
    """

    # A function and no array: the differences of a whole field are as large as the series in
    # float32, and a file of the series does not hold them.
    compute: Callable[[], NDArray[Any]]
    channels: tuple[str | None, ...]
    titles: tuple[str, ...]
    role: str
    kind: PictureKind
    unit: str
    axis: Axis | None = None
    visible: bool = True
    over_raw: bool = False
    in_file: bool = True
    table: "pd.DataFrame | None" = None
    second_axis: Axis | None = None

    @property
    def leading(self) -> tuple[Axis, ...]:
        """The axes in front of the channels."""
        return tuple(axis for axis in (self.axis, self.second_axis) if axis is not None)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of the pixels: ``("alpha", "c", "y", "x")``."""
        return (*(axis.label for axis in self.leading), "c", "y", "x")
