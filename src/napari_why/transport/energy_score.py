"""Energy score and energy distance of cells: how well draws of what could be hold what was.

Where nobody can predict which cells respond or where a network breaks, a single image can only be wrong,
and the best of them, the mean of all that could be, looks like none. The energy score (Gneiting &
Raftery 2007) is proper: what is expected of it is best for whoever draws with the true probabilities.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from napari_why.core.errors import CancellationError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.simulation.planted_effects import find_cells

# Pixels: noise of single pixels is gone at the first, structures of a few pixels at the second.
FINE, COARSE = 1.0, 2.0
# Of grey levels: a feature that varies less between real cells has no unit.
CONSTANT = 1e-9


def energy_score(draws: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``E|X - y| - E|X - X'| / 2`` of draws X, X' and what was, y; 0 is best.

    E|X - X'| is the mean over pairs of different draws, so that more draws make the score surer and not
    better (Ferro 2014, fair scores). A single draw has no pair, and gets the distance alone: so a change
    that claims to be the answer is judged.

    Parameters
    ----------
    draws : ndarray, shape (S, N, F)
        Of N cells, F features each.
    truth : ndarray, shape (N, F)

    Returns
    -------
    ndarray, shape (N,)

    Examples
    --------
    >>> energy_score(np.array([[[0.0]], [[1.0]]]), np.array([[1.0]])), energy_score(
    ...     np.array([[[0.5]]]), np.array([[1.0]])
    ... )
    (array([0.]), array([0.5]))
    """
    distance = np.linalg.norm(draws - truth, axis=2).mean(0)
    count = len(draws)
    apart = np.zeros(draws.shape[1])
    for shift in range(1, count):  # every ordered pair once, without a table of all
        apart += np.linalg.norm(draws - np.roll(draws, shift, axis=0), axis=2).sum(0)
    found: NDArray[np.float64] = distance - apart / max(1, 2 * count * (count - 1))
    return found


def describe_cells(
    image: NDArray[Any], number: NDArray[np.int32], channels: Sequence[int]
) -> NDArray[np.float64]:
    """Return mean and texture of channels over each cell.

    Parameters
    ----------
    image : ndarray, shape (C, H, W)
        Grey levels.
    number : ndarray of int, shape (H, W)
        Cell of every pixel, from 1.
    channels : sequence of int

    Returns
    -------
    ndarray, shape (cells, 2 * channels)
        Of each channel the mean and, as texture, the root mean square of the difference of two Gaussians
        (1 and 2 pixels), in which structures of a few pixels are left.
    """
    sizes = np.bincount(number.ravel())[1:]
    found = []
    for channel in channels:
        plane = image[channel].astype(np.float64)
        fine, coarse = (ndimage.gaussian_filter(plane, width) for width in (FINE, COARSE))
        mean, square = (
            np.bincount(number.ravel(), values.ravel())[1:] / sizes
            for values in (plane, (fine - coarse) ** 2)
        )
        found += [mean, np.sqrt(square)]
    return np.stack(found, axis=1)


def score_cells(
    draws: NDArray[Any],
    sources: NDArray[Any],
    truth: NDArray[Any],
    real: NDArray[Any],
    channels: Sequence[int],
) -> float:
    """Return the mean energy score of the cells of images, in standard deviations between real cells.

    Cells are found by their nuclei in the first channel that is not judged; an image without such a
    channel is one cell.

    Parameters
    ----------
    draws : ndarray, shape (N, S, C, H, W)
        S images that each source could become; S = 1 of a change that claims to be the answer.
    sources : ndarray, shape (N, C, H, W)
        In which the cells are found.
    truth : ndarray, shape (N, C, H, W)
        The same scenes as real images of the target class.
    real : ndarray, shape (M, C, H, W)
        Other images of the target class: their cells' standard deviations are the units.
    channels : sequence of int
        Those that the classes differ in.

    Returns
    -------
    float
        Mean over the cells of an image, then over images; NaN where no feature varies between cells.
    """
    others = [channel for channel in range(sources.shape[1]) if channel not in channels]
    nuclei = others[0] if others else None
    known = np.concatenate(
        [describe_cells(image, _number_cells(image, nuclei), channels) for image in real]
    )
    scale = known.std(0)
    used = scale > CONSTANT
    if not used.any():
        return float("nan")
    found = []
    for drawn, source, true in zip(draws, sources, truth, strict=True):
        number = _number_cells(source, nuclei)
        cells = [describe_cells(one, number, channels)[:, used] for one in (*drawn, true)]
        units = np.stack(cells) / scale[used]
        found.append(float(energy_score(units[:-1], units[-1]).mean()))
    return float(np.mean(found))


class CellDistance:
    """How far the cells of some images are from those of real images, as crowds (energy distance).

    ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` (Székely & Rizzo 2013) is 0 where both crowds have the same
    distribution: cells of which one half responded are not like cells that all responded by half, though
    their means are alike.

    Parameters
    ----------
    real : ndarray, shape (M, C, H, W)
        Real images, raw units; such that nothing was fitted on.
    for_real, for_found : ndarray, shape (B, M), (B, N)
        How much each of these, and of N images that are compared with them, counts in each of B draws.
    nuclei : int
        Channel that cells are found by.
    channels : sequence of int
        Those that are compared.
    cancelled
        See :mod:`napari_why.core.events`; asked at every image, here and when measuring.
    """

    def __init__(
        self,
        real: NDArray[Any],
        for_real: NDArray[np.float64],
        for_found: NDArray[np.float64],
        nuclei: int,
        channels: Sequence[int],
        *,
        cancelled: Cancelled = never_cancelled,
    ) -> None:
        self._nuclei, self._channels, self._cancelled = nuclei, channels, cancelled
        cells = self._describe(real)
        scale = np.concatenate(cells).std(0)
        self._used = scale > CONSTANT
        self._scale = scale[self._used]
        self._real = self._standardise(cells)
        self._for_real, self._for_found = for_real, for_found
        self._within_real = self._mean_distance(self._real, self._real, for_real, for_real)

    def measure(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Return the distance of images (N, C, H, W) in each draw, shape (B,).

        Raises
        ------
        CancellationError
            It was cancelled.
        """
        found = self._standardise(self._describe(images))
        across = self._mean_distance(found, self._real, self._for_found, self._for_real)
        within = self._mean_distance(found, found, self._for_found, self._for_found)
        distances: NDArray[np.float64] = 2 * across - within - self._within_real
        return distances

    def _describe(self, images: NDArray[Any]) -> list[NDArray[np.float64]]:
        return [
            describe_cells(image, _number_cells(image, self._nuclei), self._channels)
            for image in self._until_cancelled(images)
        ]

    def _standardise(self, cells: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        return [each[:, self._used] / self._scale for each in cells]

    def _mean_distance(
        self,
        first: list[NDArray[np.float64]],
        second: list[NDArray[np.float64]],
        for_first: NDArray[np.float64],
        for_second: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the mean over all pairs of cells of images that count so much, (B,)."""
        sizes = [np.array([len(each) for each in crowd]) for crowd in (first, second)]
        # image by image: the table of all cells of 32 whole fields would take gigabytes
        sums = np.array(
            [[cdist(one, other).sum() for other in second] for one in self._until_cancelled(first)]
        )
        pairs = (for_first @ sizes[0]) * (for_second @ sizes[1])
        mean: NDArray[np.float64] = np.einsum("bi,ij,bj->b", for_first, sums, for_second) / pairs
        return mean

    def _until_cancelled(self, images: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        for image in images:
            if self._cancelled():
                raise CancellationError("distance of cells: found that it was cancelled")
            yield image


def _number_cells(image: NDArray[Any], nuclei: int | None) -> NDArray[np.int32]:
    plane = None if nuclei is None else image[nuclei].astype(np.float64)
    return find_cells(plane, image.shape[-2:]).number
