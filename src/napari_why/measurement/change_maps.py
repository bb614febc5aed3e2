"""Where and how much a counterfactual changes each channel, as maps to look at and to threshold."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.counterfactuals import Counterfactual
from napari_why.counterfactuals.change import measured_change, noise_limits
from napari_why.images import Grid

MapKind = Literal["change", "offset_free", "influence"]
OffsetRule = Literal["mean", "median"]
# The plane of all channels together, beside the channels' own names.
JOINT = "joint"
# Raw intensity units of the source, never standardised ones: a biologist compares them with the
# file, and they do not depend on the training set.
UNIT = "grey levels"


@dataclass(frozen=True)
class ChangeMap:
    """A map of change, one plane a channel, on the network's grid.

    Parameters
    ----------
    kind : {"change", "offset_free", "influence"}
        See :func:`change_map`.
    values : ndarray, float32, shape (C, H, W)
        Signed, in grey levels of the source (raw intensity units).
    offset : ndarray, float64, shape (C,)
        The global change of each channel, in grey levels: taken off the values of
        ``offset_free``, listed beside those of ``change`` and ``influence``.
    channels : tuple of str
        Names along C.
    grid : Grid
        Where the pixels lie on the source image.
    """

    kind: MapKind
    values: NDArray[np.float32]
    offset: NDArray[np.float64]
    channels: tuple[str, ...]
    grid: Grid

    @property
    def joint(self) -> NDArray[np.float32]:
        """All channels in one map (H, W), grey levels.

        The sum over the channels of the absolute change; of ``influence``, whose sign says whether
        the probability rose or fell, the signed sum.
        """
        # a decrease in one channel must not cancel an increase in another
        parts = self.values if self.kind == "influence" else np.abs(self.values)
        return np.asarray(parts.sum(axis=0), dtype=np.float32)

    def plane(self, channel: str) -> NDArray[np.float32]:
        """Return the map (H, W) of a channel by name, or the one named ``joint``.

        Raises
        ------
        ParameterError
            There is no such channel.
        """
        if channel in self.channels:
            plane: NDArray[np.float32] = self.values[self.channels.index(channel)]
            return plane
        if channel == JOINT:
            return self.joint
        raise ParameterError(
            f"channel: found {channel!r}; expected {JOINT} or one of {', '.join(self.channels)}"
        )

    def planes_of(self, channel: str) -> list[int]:
        """Return the indices of the channels that :meth:`plane` is made of."""
        if channel in self.channels:
            return [self.channels.index(channel)]
        return list(range(len(self.channels)))


def change_map(
    result: Counterfactual, kind: MapKind = "change", *, offset: OffsetRule = "mean"
) -> ChangeMap:
    """Make a map of what a counterfactual changes.

    Parameters
    ----------
    result : Counterfactual
    kind : {"change", "offset_free", "influence"}
        ``change``: the convincing image minus the reconstruction f^-1(f(x)), both as exported; 0 where
        the two differ by no more than rounding or the error of the inverse
        (:class:`~napari_why.counterfactuals.change.NoiseLimits`).
        ``offset_free``: the same without the global change of each channel, which brightens or
        darkens structures and background alike and would hide local changes.
        ``influence``: :func:`influence`, the steps of the series weighted by what each does to the
        probability of the target.
    offset : {"mean", "median"}
        What the global change of a channel is: the mean of its change over all pixels, or the
        median, which structures that cover less than half of the image do not move.

    Returns
    -------
    ChangeMap

    Raises
    ------
    ParameterError
        An unknown kind or offset.
    """
    if kind not in get_args(MapKind):
        raise ParameterError(f"map: found {kind!r}; expected {', '.join(get_args(MapKind))}")
    # From the reconstruction, exported, and not from the image, so that neither the error of the
    # inverse nor rounding poses as change.
    change = measured_change(result)
    offsets = global_offset(change, offset)
    values: NDArray[Any] = change
    if kind == "offset_free":
        values = change - offsets[:, None, None]
    elif kind == "influence":
        values = influence(result)
    return ChangeMap(kind, values.astype(np.float32), offsets, result.channels, result.grid)


def global_offset(change: NDArray[np.float64], rule: OffsetRule = "mean") -> NDArray[np.float64]:
    """Return the global change of each channel: mean or median over all pixels.

    Parameters
    ----------
    change : ndarray, shape (C, H, W)
        Raw grey levels.
    rule : {"mean", "median"}
        The median is not moved by structures that cover less than half of the image.

    Returns
    -------
    ndarray, float64, shape (C,)
    ndarray, float64, shape (C,)
        In the unit of the change.

    Raises
    ------
    ParameterError
        Another rule.

    Examples
    --------
    >>> change = np.zeros((1, 4, 4)); change[0, 0, 0] = 16
    >>> global_offset(change).tolist(), global_offset(change, "median").tolist()
    ([1.0], [0.0])
    """
    if rule not in get_args(OffsetRule):
        raise ParameterError(f"offset: found {rule!r}; expected {', '.join(get_args(OffsetRule))}")
    reduce = np.mean if rule == "mean" else np.median
    return np.asarray(reduce(change, axis=(1, 2)), dtype=np.float64)


def influence(result: Counterfactual) -> NDArray[np.float64]:
    """Weight every step of the series by its influence on the probability of the target.

    ``H_c = sum_t |x_{t+1,c} - x_{t,c}| (p_{t+1} - p_t)`` over the alphas of the series, p being
    the target's probability of exactly the exported image. A pixel that changes while the
    classifier changes its mind is high; one that changes before or after is not. Negative where
    a pixel changes while the probability falls.

    Returns
    -------
    ndarray, float64, shape (C, H, W)
        Grey levels (times probability).
    """
    gains = np.diff(result.probabilities[:, result.classes.index(result.target)].astype(float))
    total = np.zeros(result.reconstruction.shape)
    noise = noise_limits(result)
    # step by step and not as one difference of the stack, which would be a second series in float64
    for step, gain in enumerate(gains):
        moved = result.images[step + 1].astype(np.float64) - result.images[step]
        total += np.abs(noise.clear(moved)) * gain
    return total
