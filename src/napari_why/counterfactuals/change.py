"""What changed in a counterfactual: after minus before, as exported, without what rounding makes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.images.image import export_pixels

if TYPE_CHECKING:
    from napari_why.counterfactuals.result import Counterfactual


def changed_image(result: "Counterfactual") -> NDArray[Any]:
    """Return the image that counts as "after", shape (C, H, W), raw units.

    The convincing image at ``alpha1``; where there is none, the last of the series.
    """
    found = result.special_images.get("alpha1")
    return result.images[-1] if found is None else found


def unchanged_image(result: "Counterfactual") -> NDArray[Any]:
    """Return the image that counts as "before", exported as that after is, shape (C, H, W).

    Against pixels that are not rounded, a channel that stays would seem to change.
    """
    return export_pixels(result.reconstruction, changed_image(result).dtype)


@dataclass(frozen=True)
class NoiseLimits:
    """Up to where a difference of two exported images is no change, in grey levels.

    Parameters
    ----------
    rounding : float
        Half a grey level of the exported dtype; 0 for floats.
    inverse : float
        The round-trip error of the inverse; 0 of a decoder, whose details left out are no noise: it
        decodes the same latent to the same pixels.
    """

    rounding: float
    inverse: float

    @property
    def smallest(self) -> float:
        """The larger of both: a mean, or a pixel, that differs by no more has not changed."""
        return max(self.rounding, self.inverse)

    def has_change(self, difference: NDArray[np.float64]) -> bool:
        """Whether the pixels of one channel, of an image or of a region, changed at all.

        They have where their mean differs by more than :attr:`smallest`, or a single one by more than
        rounding and inverse make together, both before and after. A few structures that change much
        so remain, however large the image; a shift by a part of a grey level, which rounding turns
        into pixels that differ by one, does not.
        """
        if not difference.size:
            return False
        largest = 2 * (self.rounding + self.inverse)
        by_mean = abs(float(difference.mean())) > self.smallest
        return by_mean or float(np.abs(difference).max()) > largest

    def clear(self, difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a difference (C, H, W) with 0 where it is none, by pixel and by channel."""
        cleared = np.where(np.abs(difference) > self.smallest, difference, 0.0)
        for index, plane in enumerate(difference):
            if not self.has_change(plane):
                cleared[index] = 0.0
        return cleared


def noise_limits(result: "Counterfactual") -> NoiseLimits:
    """Return up to where differences of a counterfactual's exported images are no change."""
    whole = np.issubdtype(changed_image(result).dtype, np.integer)
    # half a grey level: what rounding to whole ones adds or takes at most
    rounding = 0.5 if whole else 0.0
    approximate = result.circumstances.decoder is not None
    return NoiseLimits(rounding, 0.0 if approximate else float(result.round_trip_error))


def measured_change(result: "Counterfactual") -> NDArray[np.float64]:
    """Return after minus before, exported pixels both, 0 where that is no change; (C, H, W)."""
    # float64: images are unsigned integers, whose difference would wrap round below zero
    change = changed_image(result).astype(np.float64) - unchanged_image(result)
    return noise_limits(result).clear(change)
