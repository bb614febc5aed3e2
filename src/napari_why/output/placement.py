"""Where a result's pixels lie in the world of the raw layer it is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.core.pictures import Axis
from napari_why.images import Grid

if TYPE_CHECKING:
    from napari.layers import Image

Source: TypeAlias = Union["Image", Sequence["Image"], None]


@dataclass(frozen=True)
class Placement:
    """How a result's data are shaped and placed to lie on the raw layer.

    Parameters
    ----------
    extra : tuple of int
        Lengths of the raw layer's axes before y and x, in the result: 1 at a plane, else the
        raw layer's own.
    options : dict
        ``scale``, ``translate``, ``units``, ``axis_labels`` for a napari layer, and ``rotate``,
        ``shear``, ``affine`` where the raw layer has them.
    """

    extra: tuple[int, ...]
    options: dict[str, Any]

    def reshape(self, values: NDArray[Any]) -> NDArray[Any]:
        """Put the raw layer's further axes between the leading axes and y, x; copies nothing."""
        height, width = values.shape[-2:]
        leading = values.shape[:-2]
        # views: the same plane at each z of a stack must not take the memory of the stack
        opened = values.reshape(*leading, *(1 for _ in self.extra), height, width)
        return np.broadcast_to(opened, (*leading, *self.extra, height, width))


def source_layers(source: Source) -> "list[Image]":
    """Return the source's layers as a list, empty without a source."""
    if source is None:
        return []
    return list(source) if isinstance(source, Sequence) else [source]


def place(
    grid: Grid,
    source: "Image | None",
    plane: tuple[int, ...] | None = None,
    leading: tuple[Axis, ...] = (),
) -> Placement:
    """Place a grid on a raw layer, half-pixel shift included.

    Parameters
    ----------
    grid : Grid
        Where the result's pixels lie on the source's pixels.
    source : Image layer or None
        The raw layer.
    plane : tuple of int, optional
        Index on each of the raw layer's axes before y and x.
    leading : tuple of Axis, optional
        Axes that the result has in front of them all.

    Raises
    ------
    ParameterError
        ``plane`` has not one index for each such axis, or one outside the layer.
    """
    if source is None:
        return _in_pixels(grid, leading)
    further = source.ndim - 2  # all but y and x
    extra = _extra(source, plane)
    offset = np.array([*(plane or (0,) * further), *grid.offset], dtype=float)
    # napari adds the translation after it has scaled, sheared and turned the data; the way from the
    # raw layer's first pixel to the result's has to be scaled, sheared and turned alike.
    shift = _linear_part(source) @ offset
    options = {
        "scale": (
            *(axis.step for axis in leading),
            *source.scale[:-2],
            *(source.scale[-2:] * grid.step),
        ),
        "translate": (*(axis.start for axis in leading), *(source.translate + shift)),
        # An empty unit is napari's "dimensionless"; alpha has none.
        "units": (*("" for _ in leading), *(str(unit) for unit in source.units)),
        "axis_labels": (*(axis.label for axis in leading), *_labels(source)),
        **_orientation(source, len(leading)),
    }
    return Placement(extra, options)


def _extra(source: "Image", plane: tuple[int, ...] | None) -> tuple[int, ...]:
    lengths = tuple(int(length) for length in source.data.shape[: source.ndim - 2])
    if plane is None:
        return lengths
    fits = len(plane) == len(lengths)
    if not fits or any(not 0 <= i < n for i, n in zip(plane, lengths, strict=True)):
        raise ParameterError(
            f"plane: found {plane}; expected one index for each of the {len(lengths)} axes "
            f"before y and x of layer {source.name!r}, within {lengths}"
        )
    return (1,) * len(lengths)


def _in_pixels(grid: Grid, leading: tuple[Axis, ...]) -> Placement:
    options = {
        "scale": (*(axis.step for axis in leading), *grid.step),
        "translate": (*(axis.start for axis in leading), *grid.offset),
        "units": (*("" for _ in leading), "pixel", "pixel"),
        "axis_labels": (*(axis.label for axis in leading), "y", "x"),
    }
    return Placement((), options)


def _labels(source: "Image") -> tuple[str, ...]:
    # napari's stand-ins ("-2", "-1") would win over the names of other layers.
    names = ("t", "z", "y", "x")[-source.ndim :]
    if len(names) < source.ndim:
        return tuple(source.axis_labels)
    return tuple(
        name if label.startswith("-") else label
        for label, name in zip(source.axis_labels, names, strict=True)
    )


def _linear_part(source: "Image") -> NDArray[np.float64]:
    from napari.utils.transforms import Affine

    transform = Affine(scale=source.scale, rotate=source.rotate, shear=source.shear)
    return np.asarray(transform.linear_matrix, dtype=np.float64)


def _orientation(source: "Image", leading: int) -> dict[str, Any]:
    """Return rotation, shear and affine of a layer that has them, for more axes in front."""
    size = source.ndim
    orientation: dict[str, Any] = {}
    if not np.allclose(source.rotate, np.eye(size)):
        orientation["rotate"] = _with_axes(source.rotate, leading)
    if np.any(source.shear):
        # napari gives the shear as the numbers above the diagonal, row by row
        shear = np.eye(size)
        shear[np.triu_indices(size, 1)] = source.shear
        orientation["shear"] = _with_axes(shear, leading)
    affine = np.asarray(source.affine)
    if not np.allclose(affine, np.eye(size + 1)):
        orientation["affine"] = _with_axes(affine, leading)
    return orientation


def _with_axes(matrix: NDArray[Any], leading: int) -> NDArray[np.float64]:
    size = len(matrix)
    # the axes in front stay as they are, and keep to themselves
    larger = np.eye(size + leading)
    larger[leading:, leading:] = matrix
    return larger
