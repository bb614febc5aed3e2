"""Smooth random planes and per-cell sums: what simulated cells are drawn with."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float64]


def noise(size: int, width: float, rng: np.random.Generator) -> Plane:
    """Return white noise blurred by a Gaussian of ``width`` pixels; shape (size, size)."""
    return blurred(rng.standard_normal((size, size)), width)


def blurred(plane: Plane, width: float) -> Plane:
    """Blur by a Gaussian of ``width`` pixels."""
    return np.asarray(ndimage.gaussian_filter(plane, width))


def unit(plane: Plane) -> Plane:
    """Shift and scale to mean 0 and standard deviation 1."""
    return np.asarray((plane - plane.mean()) / plane.std())


def step(x: Plane) -> Plane:
    """Return the logistic function."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))))


def with_totals_of(plane: Plane, reference: Plane, cell: NDArray[np.int32]) -> Plane:
    """Rescale ``plane`` within every cell such that it sums to what ``reference`` sums to there.

    Parameters
    ----------
    plane, reference : ndarray, shape (y, x)
        Not negative. A cell in which ``plane`` is empty stays empty.
    cell : ndarray of int, shape (y, x)
        Number of the cell every pixel belongs to; 0 outside, where the result is 0.
    """
    before = np.bincount(cell.ravel(), reference.ravel())
    after = np.bincount(cell.ravel(), plane.ravel())
    factor = np.divide(before, after, out=np.zeros_like(before), where=after > 1e-6 * before)
    factor[0] = 0.0
    return np.asarray(plane * factor[cell])
