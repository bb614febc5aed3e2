"""How far a change agrees with the true one.

Changes are standardised (grey levels over the training images' standard deviation of the channel)
and smoothed by a 3 x 3 mean, since no method can know the noise of the image it did not see.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

SMOOTHING = 3
STILL = 1e-9


@dataclass(frozen=True)
class ChangeScores:
    """Means over images; NaN where a score is not defined.

    Parameters
    ----------
    correlation : float
        Pearson's r, per image, between change and true change in the channels with an effect; 0
        for a change that is the same everywhere.
    relative_error : float
        Norm of change minus true change over norm of the true change, per image, all channels:
        0 for the truth, 1 for no change.
    off_target : float
        Mean absolute change of the channels without an effect over that of those with one, not
        smoothed; 0 where nothing changes, infinite where all change is off target. Not defined
        where every channel has an effect, or none.
    size : float
        Root mean square of the change over all channels, in standard deviations.
    """

    correlation: float
    relative_error: float
    off_target: float
    size: float


def standardised(change: ArrayLike, std: Sequence[float]) -> NDArray[np.float64]:
    """Return changes (N, C, H, W) in units of each channel's standard deviation."""
    return np.asarray(change, dtype=np.float64) / np.asarray(std, dtype=np.float64)[:, None, None]


def smoothed(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average changes (N, C, H, W) over 3 x 3 pixels."""
    return np.asarray(ndimage.uniform_filter(change, (0, 0, SMOOTHING, SMOOTHING)))


def change_scores(
    change: NDArray[np.float64], truth: NDArray[np.float64] | None, affected: Sequence[int]
) -> ChangeScores:
    """Compare changes with the true ones.

    Parameters
    ----------
    change, truth : ndarray, shape (N, C, H, W)
        Standardised; no truth where it is not known.
    affected : sequence of int
        Channels that the effect changes.

    Examples
    --------
    >>> truth = np.zeros((1, 2, 8, 8))
    >>> truth[0, 1, 2:5, 2:5] = 1.0
    >>> change_scores(truth, truth, [1])
    ChangeScores(correlation=1.0, relative_error=0.0, off_target=0.0, size=0.265...)
    >>> change_scores(0 * truth, truth, [1]).relative_error
    1.0
    """
    found = smoothed(change)
    correlation = error = math.nan
    if truth is not None and len(affected):
        true, channels = smoothed(truth), list(affected)
        pairs = zip(found[:, channels], true[:, channels], strict=True)
        correlation = float(np.mean([correlation_of(first, second) for first, second in pairs]))
        error = float(np.mean(_norms(found - true) / np.maximum(_norms(true), STILL)))
    return ChangeScores(
        correlation,
        error,
        off_target_ratio(change, affected),
        float(np.sqrt(np.mean(found**2))),
    )


def correlation_of(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Pearson's r of two arrays of one shape; 0 where one of them is constant."""
    one, other = first.ravel() - first.mean(), second.ravel() - second.mean()
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / scale, -1, 1)) if scale > STILL else 0.0


def off_target_ratio(change: NDArray[np.float64], affected: Sequence[int]) -> float:
    """Return mean |change| of the other channels over that of the affected ones; (N, C, H, W)."""
    others = [channel for channel in range(change.shape[1]) if channel not in affected]
    if not others or not len(affected):
        return math.nan
    off, on = (float(np.abs(change[:, list(part)]).mean()) for part in (others, affected))
    if on > STILL:
        return off / on
    return math.inf if off > STILL else 0.0


def _norms(changes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(changes.reshape(len(changes), -1), axis=1))
