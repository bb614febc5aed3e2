"""Whether samples vary as real images do: a generator that collapsed makes a few images again and again.

Measured by texture features, which know nothing of any network of the game.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy
from numpy.typing import NDArray

from napari_why.core.events import COVERAGE_OF, SPREAD

# Of the neighbours that tell how far apart real images lie (Naeem et al. 2020).
NEIGHBOURS = 5
# Half as varied as real images, in the middle of the features: of two halves of real images none was.
LITTLE_VARIETY = 0.5
# Samples of the very distribution cover 1 - 2^-5 of the images, where there are as many of both.
LITTLE_COVERAGE = 0.5
# What is below is rounding, and no number to divide by.
TINY = 1e-12


@dataclass(frozen=True)
class Variety:
    """How varied samples are, and how much of each class they cover.

    Parameters
    ----------
    spread : float
        Standard deviation of a feature over samples divided by that over real images, the median over
        the features; 1 is as varied as real images, 0 is one image only.
    coverage : dict of str to float
        Share (0 to 1) of the real images of each class near which there is a sample: nearer than the
        fifth nearest other image of the class (Naeem et al. 2020, arXiv:2002.09797).
    """

    spread: float
    coverage: Mapping[str, float]

    @property
    def findings(self) -> dict[str, str]:
        """What speaks of a collapse, in words, by the figure that it is about; mostly nothing."""
        found = {}
        if self.spread < LITTLE_VARIETY:
            found["spread"] = (
                f"the samples vary little ({self.spread:.2f} times as much as real images): the generator "
                "makes much the same image again and again"
            )
        missing = [
            f"{name} ({share:.0%})"
            for name, share in self.coverage.items()
            if share < LITTLE_COVERAGE
        ]
        if missing:
            found["coverage"] = (
                f"no sample is like most images of {', '.join(missing)}, the share that some are like"
            )
        return found

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the user should know; empty where nothing speaks of a collapse."""
        return tuple(self.findings.values())

    def to_dict(self) -> dict[str, float]:
        """Return numbers by name, for a history."""
        shares = {f"{COVERAGE_OF}{name}": share for name, share in self.coverage.items()}
        return {SPREAD: self.spread, **shares}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> Self | None:
        """Return what :meth:`to_dict` wrote into the metrics of an epoch; None where nobody looked."""
        if SPREAD not in metrics:
            return None
        shares = {
            name.removeprefix(COVERAGE_OF): share
            for name, share in metrics.items()
            if name.startswith(COVERAGE_OF)
        }
        return cls(metrics[SPREAD], shares)


def measure_variety(
    samples: NDArray[np.float64],
    drawn_as: Sequence[str] | None,
    real: NDArray[np.float64],
    labels: Sequence[str],
) -> Variety:
    """Compare features of samples with those of real images.

    Parameters
    ----------
    samples : ndarray, shape (samples, features)
        See :func:`napari_why.datasets.features.image_features`.
    drawn_as : sequence of str or None
        Class of each sample; None where the generator knows none, and any may stand for each.
    real : ndarray, shape (images, features)
    labels : sequence of str
        Class of each real image.

    Returns
    -------
    Variety
        A class of fewer than seven images, whose neighbours tell nothing, has no coverage.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(2, 60, 3))
    >>> found = measure_variety(draws[0], None, draws[1], ["treated"] * 60)
    >>> found.spread > 0.8, found.coverage["treated"] > 0.8, found.sentences
    (True, True, ())
    >>> alike = np.repeat(draws[0][:1], 60, axis=0)
    >>> measure_variety(alike, None, draws[1], ["treated"] * 60).spread
    0.0
    """
    whole = real.std(axis=0)
    used = whole > TINY
    if not used.any():
        return Variety(1.0, {})
    spread = float(np.median(samples.std(axis=0)[used] / whole[used]))
    coverage = {}
    for name in dict.fromkeys(labels):
        chosen = real[np.asarray(labels) == name]
        own = samples if drawn_as is None else samples[np.asarray(drawn_as) == name]
        if len(chosen) >= NEIGHBOURS + 2:
            # in units of how the class itself varies: how far others lie must not make it look small
            scale = np.where(chosen.std(axis=0) > TINY, chosen.std(axis=0), whole)[used]
            coverage[name] = _cover(own[:, used] / scale, chosen[:, used] / scale)
    return Variety(spread, coverage)


def _cover(samples: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    if not len(samples):
        return 0.0
    # the nearest of all is the image itself
    cdist = scipy.spatial.distance.cdist
    reach = np.sort(cdist(real, real), axis=1)[:, NEIGHBOURS]
    return float((cdist(real, samples).min(axis=1) <= reach).mean())
