"""Mean and variance of many images, one image at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ChannelStatistics:
    """Pixel count, mean and sum of squared deviations per channel, in float64.

    Parts are merged with the update of Chan, Golub and LeVeque (1979, "Updating formulae and a
    pairwise algorithm for computing sample variances"), which stays exact for a constant channel
    where the difference of two large sums of squares would not.

    Examples
    --------
    >>> first = ChannelStatistics.of(np.array([[[1.0, 3.0]]]))
    >>> both = first.merged(ChannelStatistics.of(np.array([[[5.0, 7.0]]])))
    >>> both.mean.tolist(), both.std.round(3).tolist()
    ([4.0], [2.236])
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, pixels: NDArray[np.float64]) -> "ChannelStatistics":
        """Measure one image, shape (C, H, W)."""
        mean = pixels.mean(axis=(1, 2))
        squares = ((pixels - mean[:, None, None]) ** 2).sum(axis=(1, 2))
        return cls(pixels[0].size, mean, squares)

    def merged(self, other: "ChannelStatistics") -> "ChannelStatistics":
        """Return the statistics of both parts together."""
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        squares = self.squares + other.squares + shift**2 * (self.count * other.count / count)
        return ChannelStatistics(count, mean, squares)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of all pixels (the population's) per channel."""
        return np.asarray(np.sqrt(self.squares / self.count))
