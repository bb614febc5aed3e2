"""Statistics of maps: means over wells with their errors, differences of classes, similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from napari_why.evaluation.map_alignment import pool_planes

# Blocks a side at which maps are compared: single pixels of gradients are mostly noise.
BLOCKS = 16
# Of the labels of wells; one in 200 is as rare as a test needs to be.
SHUFFLES = 199
# Without two wells there is no spread between wells, and nothing to compare within a class.
FEWEST = 2
# Of t: a difference of no classes passes it at one pixel in twenty.
CHANCE = 0.05
# Neighbouring pixels are alike, and so share their chance: of 200 pairs of classes without a difference,
# 8 wells each, maps smoothed with sigma 4 on 40 x 40 pixels, 95 % lie below this share.
SELDOM = 0.13


@dataclass(frozen=True, eq=False)
class ClassMean:
    """The mean over the wells of one class, and how well it is known.

    Parameters
    ----------
    label : str
        The class of the images.
    target : str
        The class whose evidence is mapped; empty of a mean image.
    mean, standard_error : ndarray, float64, shape (P, H, W)
        Of maps the channels and last the joint map. A well counts once, however many images or cells it
        has, as those of one well are not independent. The error is NaN with a single well.
    groups, images, cells : int
        Wells (images where none are known), images and cells behind it; 0 cells where none were cut out.
    """

    label: str
    target: str
    mean: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    groups: int
    images: int
    cells: int

    @property
    def title(self) -> str:
        """What it is, with its counts."""
        what = (
            f"evidence for {self.target} in {self.label}" if self.target else f"mean {self.label}"
        )
        cells = f", {self.cells} cells" if self.cells else ""
        return f"{what} ({self.groups} groups, {self.images} images{cells})"


# Had labels been shuffled before the images were explained, each for its label, maps would differ as much.
ONE_LOGIT = "to compare the classes take the name of one of them as explained, or all"


@dataclass(frozen=True, eq=False)
class ClassDifference:
    """One mean minus another, with what chance would make of it.

    Parameters
    ----------
    first, second : ClassMean
    difference, standard_error : ndarray, float64, shape (P, H, W)
        The errors of both, squared and added.
    beyond : float or None
        Share of pixels of the joint map beyond the t quantile that chance passes at 5 % of them
        (Welch); None with fewer than two wells of a class, and where the two means are evidence for
        different classes: two logits differ on any image, whatever its label.
    """

    first: ClassMean
    second: ClassMean
    difference: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    beyond: float | None

    @classmethod
    def of(cls, first: ClassMean, second: ClassMean) -> "ClassDifference":
        """Subtract the second from the first.

        Parameters
        ----------
        first, second : ClassMean
            Of maps of the same shape.

        Returns
        -------
        ClassDifference
        """
        difference = first.mean - second.mean
        error = np.sqrt(first.standard_error**2 + second.standard_error**2)
        joint, joint_error = difference[-1], error[-1]
        if first.target != second.target or min(first.groups, second.groups) < FEWEST:
            return cls(first, second, difference, error, None)
        squares = [item.standard_error[-1] ** 2 for item in (first, second)]
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = (squares[0] + squares[1]) ** 2 / (
                squares[0] ** 2 / (first.groups - 1) + squares[1] ** 2 / (second.groups - 1)
            )
            far = np.abs(joint) > stats.t.ppf(1 - CHANCE / 2, freedom) * joint_error
        known = np.isfinite(freedom)
        return cls(
            first, second, difference, error, float(far[known].mean()) if known.any() else None
        )

    @property
    def sentence(self) -> str:
        """How much of it is more than chance, and whether both sides explain the same class."""
        names = f"{self.first.label} minus {self.second.label}"
        if self.first.target != self.second.target:
            return (
                f"{names} (evidence for {self.first.target} and for {self.second.target}: two logits) tells "
                f"nothing of the images, for two logits differ on any of them; {ONE_LOGIT}"
            )
        if self.beyond is None:
            return f"{names}: too few wells to tell the difference from chance"
        return (
            f"{names}: the mean maps differ at {self.beyond:.0%} of the pixels by more than wells of one "
            f"class do (by chance {CHANCE:.0%} on average, seldom more than {SELDOM:.0%})"
        )


@dataclass
class Pool:
    """Sums of one well, put into the mean of its class when the next well begins."""

    group: int
    total: NDArray[np.float64]
    count: NDArray[np.float64]
    images: int
    cells: int


class WellMeans:
    """Means over the wells of one class, as their images go by (Welford 1962); a well in one piece."""

    def __init__(self) -> None:
        self.groups = self.images = self.cells = 0
        self._pool: Pool | None = None
        self._count = self._mean = self._squares = np.zeros(())

    def add(
        self, group: int, total: NDArray[np.float64], count: NDArray[np.float64], cells: int
    ) -> None:
        """Take an image: sums (P, H, W), how many values they have (H, W), and its cells.

        Parameters
        ----------
        group : int
            The well; images of one come one after another.
        total : ndarray, float64, shape (P, H, W)
            Sums of planes over the image's cells.
        count : ndarray, float64, shape (H, W)
            How many values are in each sum.
        cells : int
            Cut out of the image; 0 where none are.
        """
        if self._pool is not None and self._pool.group != group:
            self.close()
        if self._pool is None:
            self._pool = Pool(group, np.zeros_like(total), np.zeros_like(count), 0, 0)
        self._pool.total += total
        self._pool.count += count
        self._pool.images += 1
        self._pool.cells += cells

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of what is averaged."""
        return self._count.shape if self._pool is None else self._pool.count.shape

    def close(self) -> None:
        """Take the well under way into the mean; a pixel that none of its cells covers does not count."""
        pool, self._pool = self._pool, None
        if pool is None or not pool.count.any():
            return
        there = pool.count > 0
        value = np.where(there, pool.total / np.where(there, pool.count, 1), 0)
        if not self.groups:
            self._count = np.zeros(pool.count.shape)
            self._mean, self._squares = np.zeros_like(value), np.zeros_like(value)
        self.groups += 1
        self.images += pool.images
        self.cells += pool.cells
        self._count = self._count + there
        step = np.where(there, value - self._mean, 0)
        self._mean = self._mean + step / np.where(self._count > 0, self._count, 1)
        self._squares = self._squares + step * (value - self._mean)

    def finish(self, label: str, target: str) -> ClassMean | None:
        """Return the mean; None without any well that has a value.

        Parameters
        ----------
        label : str
            The class of the images.
        target : str
            The class whose evidence is mapped; empty of images.

        Returns
        -------
        ClassMean or None
        """
        self.close()
        if not self.groups:
            return None
        count = self._count
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(self._squares / (count - 1) / count)
        return ClassMean(
            label,
            target,
            np.where(count > 0, self._mean, np.nan),
            np.where(count >= FEWEST, error, np.nan),
            self.groups,
            self.images,
            self.cells,
        )


def map_vector(maps: NDArray[Any], count: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Return the blocks of maps (C, H, W) in one row; sums are divided by how many values they have.

    Parameters
    ----------
    maps : ndarray, shape (C, H, W)
        Means, or sums over cells.
    count : ndarray, shape (H, W), optional
        How many values are in each sum; by default ``maps`` are means.

    Returns
    -------
    ndarray, float64, shape (C * side**2,)
        Channel by channel; ``side`` blocks along each axis, fewer of maps with fewer pixels.
    """
    mean = maps if count is None else maps / np.where(count > 0, count, 1)
    side = min(BLOCKS, *mean.shape[1:])
    return pool_planes(mean, side).ravel()


@dataclass(frozen=True, eq=False)
class MapSimilarity:
    """Correlations of maps, and the tree that they make.

    Parameters
    ----------
    names, labels : tuple of str
        Of the maps.
    groups : tuple of int
        Their wells; each its own where none are known.
    matrix : ndarray, float64, shape (n, n)
        Pearson's correlation over blocks and channels; 0 with a map without any variation.
    linkage : ndarray, shape (n - 1, 4)
        Average linkage of 1 - correlation, as :func:`scipy.cluster.hierarchy.linkage` returns it.
    order : tuple of int
        Leaves of the tree such that neighbours are as alike as they can be (Bar-Joseph et al. 2001).
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[int, ...]
    matrix: NDArray[np.float64]
    linkage: NDArray[np.float64]
    order: tuple[int, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The matrix in the order of the tree, names and labels in front."""
        rows = list(self.order)
        names = [self.names[row] for row in rows]
        found = pd.DataFrame(self.matrix[np.ix_(rows, rows)], columns=names)
        found.insert(0, "label", [self.labels[row] for row in rows])
        found.insert(0, "name", names)
        return found

    def clusters(self, count: int) -> NDArray[np.int64]:
        """Return the cluster of every map, from 1, where the tree is cut into ``count``; shape (n,)."""
        return np.asarray(hierarchy.fcluster(self.linkage, count, "maxclust"), dtype=np.int64)


def correlate_maps(
    vectors: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[int] | None = None,
) -> MapSimilarity | None:
    """Correlate maps with each other; None of fewer than two, or of different sizes.

    Parameters
    ----------
    vectors : sequence of ndarray, each (D,)
        Of :func:`map_vector`.
    names, labels : sequence of str
        Of the maps, and the classes of their images.
    groups : sequence of int, optional
        Their wells; by default each is its own.

    Returns
    -------
    MapSimilarity or None
    """
    if len(vectors) < 2 or len({vector.shape for vector in vectors}) > 1:
        return None
    matrix = _correlations(np.stack(vectors))
    distances = squareform(np.clip(1 - matrix, 0, 2), checks=False)
    linkage = hierarchy.linkage(distances, method="average", optimal_ordering=True)
    return MapSimilarity(
        tuple(names),
        tuple(labels),
        tuple(range(len(names)) if groups is None else groups),
        matrix,
        linkage,
        tuple(int(leaf) for leaf in hierarchy.leaves_list(linkage)),
    )


def _correlations(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = centred / np.where(norms > 0, norms, 1)
    found = scaled @ scaled.T
    np.fill_diagonal(found, 1.0)
    return np.asarray((found + found.T) / 2)


def measure_separation(found: MapSimilarity, seed: int = 0) -> tuple[float, float, float] | None:
    """Return mean correlations within and between classes, of other wells, and how rare that is.

    The labels of whole wells are shuffled 199 times; the last number is the share of these, and of the
    true labels, in which maps of a class are as much more alike than those of different classes.

    Parameters
    ----------
    found : MapSimilarity
    seed : int
        Of the shuffles.

    Returns
    -------
    (float, float, float) or None
        None where two classes do not have two wells each.
    """
    codes = pd.Categorical(found.labels).codes
    groups = np.asarray(found.groups)
    wells, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    of_well = codes[first]
    counts = np.bincount(of_well)
    if len(counts) < 2 or counts.min() < FEWEST:
        return None
    members = np.eye(len(wells))[inverse]
    sizes = members.sum(axis=0)
    means = members.T @ found.matrix @ members / np.outer(sizes, sizes)
    others = ~np.eye(len(wells), dtype=bool)

    def both(labels: NDArray[Any]) -> tuple[float, float]:
        same = labels[:, None] == labels
        return float(means[same & others].mean()), float(means[~same].mean())

    within, between = both(of_well)
    rng = np.random.default_rng(seed)
    shuffled = [both(rng.permutation(of_well)) for _ in range(SHUFFLES)]
    rare = 1 + sum(one - other >= within - between for one, other in shuffled)
    return within, between, rare / (1 + SHUFFLES)


def describe_separation(found: MapSimilarity | None, *, one_logit: bool) -> str:
    """Say whether maps of a class are more alike than those of two; empty where that cannot be told.

    Parameters
    ----------
    found : MapSimilarity or None
    one_logit : bool
        Whether all maps are evidence for the same class; only then is the share of shuffles said.

    Returns
    -------
    str
    """
    measured = None if found is None else measure_separation(found)
    if measured is None:
        return ""
    within, between, p = measured
    said = (
        f"maps of two wells of one class correlate by {within:.2f}, of two classes by {between:.2f}"
    )
    if one_logit:
        return f"{said} (as far apart in {p:.1%} of {SHUFFLES} shuffles of the wells' labels)"
    return f"{said}, but each is of the logit of its own class; {ONE_LOGIT}"
