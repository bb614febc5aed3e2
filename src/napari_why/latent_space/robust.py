"""Where a class lies and how far it reaches, unmoved by the images that do not belong."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

Points = NDArray[np.float64]

# Share of the points that the covariance is made of: up to a quarter may be outliers. Half, the
# most that is possible, would make the estimate of few points more uncertain.
KEPT_SHARE = 0.75
# Points per dimension from which on the covariance is taken without shrinkage: n > 5 p, as it is
# recommended for the minimum covariance determinant (Hubert & Debruyne 2010).
LEAST_A_DIMENSION = 5
# Points per dimension from which on squared distances follow the chi-squared distribution; the
# table in docs/latent-space.md shows how far they do not below it.
MANY_A_DIMENSION = 100
# 16 fits of n points and 2000 new ones each: 32,000 distances, of which the 1 % quantile rests on
# 320. Each fit is what one real fit costs, so the search takes 16 times as long, once (cached).
SIMULATED_FITS = 16
SIMULATED_POINTS = 2000  # of which the farthest per cent are twenty
# Of the mean variance: far below any variance that matters, far above the rounding of float64.
RIDGE = 1e-6
# The standard deviation of a normal distribution in median absolute deviations: 1 / 0.6745.
DEVIATIONS = 1.4826
# Draws of robust z, of ``count`` values each: the 1 % quantile rests on 200 draws and more.
SIMULATED_SETS = 20_000
# A coordinate that hardly varies must not outweigh all others by being a million spreads away.
LARGEST_SCALED = 1e6


@dataclass(frozen=True, eq=False)
class RobustShape:
    """Centre and covariance of a class, and from which distance on a point is an outlier.

    Parameters
    ----------
    centre : ndarray, shape (p,)
    covariance : ndarray, shape (p, p)
    estimator : str
        ``minimum covariance determinant`` (Rousseeuw & Van Driessen 1999) or, for few points,
        ``shrunk covariance`` (Ledoit & Wolf 2004) of the central three quarters of the points.
    count : int
        Points it was made of.
    fitted_cutoff : float
        Distance that the wanted share of regular points among those exceeds.
    new_cutoff : float
        The same for points it was not made of, which lie farther out.
    """

    centre: Points
    covariance: Points
    estimator: str
    count: int
    fitted_cutoff: float
    new_cutoff: float

    def distances(self, points: Points) -> Points:
        """Return the Mahalanobis distance of points (n, p) from the centre, shape (n,)."""
        return _distances(points, self.centre, self.covariance)


def robust_shape(points: Points, *, rate: float, seed: int) -> RobustShape:
    """Estimate centre, covariance and cutoffs.

    For a handful of points a dimension, robust distances do not follow the chi-squared
    distribution that is commonly taken: of new normally distributed points, tens of per cent lie
    beyond its 99 % quantile. So the cutoffs come from simulation: the same estimator is fitted to
    normally distributed points of the same number and dimension, over and over.

    Parameters
    ----------
    points : ndarray, shape (n, p)
        At least four.
    rate : float
        Share (0 to 1) of regular points that may lie beyond the cutoff.
    seed : int
        Of the estimator and the simulation.

    Returns
    -------
    RobustShape

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(60, 2))
    >>> shape = robust_shape(points, rate=0.01, seed=0)
    >>> shape.distances(np.array([[0.0, 0.0], [9.0, 9.0]])) > shape.new_cutoff
    array([False,  True])
    """
    count, dimensions = points.shape
    centre, covariance = _fit(points, seed)
    enough = count >= LEAST_A_DIMENSION * dimensions
    if enough and count >= MANY_A_DIMENSION * dimensions:
        # chi2.isf of scipy.stats, which takes one and a half seconds to import
        fitted = new = float(np.sqrt(chdtri(dimensions, rate)))
    elif enough:
        fitted, new = _simulated_cutoffs(count, dimensions, rate, seed)
    else:
        # shrinkage depends on the covariance itself, so the simulated points have it
        fitted, new = _cutoffs(count, np.asarray(np.linalg.cholesky(covariance)), rate, seed)
    name = "minimum covariance determinant" if enough else "shrunk covariance"
    return RobustShape(centre, covariance, name, count, fitted, new)


def robust_z(values: Points) -> Points:
    """Return how far values lie above their median, in robust standard deviations.

    Of normally distributed values the standard deviation is 1.4826 times the median absolute
    deviation.

    Parameters
    ----------
    values : ndarray, shape (..., n)
        Along the last axis.

    Examples
    --------
    >>> robust_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0])).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 65.43]
    """
    centred = values - np.median(values, axis=-1, keepdims=True)
    spread = DEVIATIONS * np.median(np.abs(centred), axis=-1, keepdims=True)
    # equal values have no spread: 0 / tiny is 0, where 0 / 0 would be NaN
    return np.asarray(centred / np.maximum(spread, np.finfo(float).tiny))


# Simulated and not read from tables: with five to twenty wells the robust z has far heavier tails
# than the normal distribution. Cached, since every class of every view asks for the same ones.
@lru_cache(maxsize=256)
def robust_z_cutoff(count: int, rate: float, seed: int) -> float:
    """Return the robust z that the share ``rate`` of ``count`` normal values exceeds, simulated.

    Parameters
    ----------
    count : int
        Values in a set.
    rate : float
        Share that may exceed the cutoff, 0 to 1.
    seed : int
        Of the simulation.

    Returns
    -------
    float
        In robust standard deviations.
    """
    drawn = np.random.default_rng(seed).normal(size=(SIMULATED_SETS, count))
    return float(np.quantile(robust_z(drawn), 1 - rate))


def _fit(points: Points, seed: int) -> tuple[Points, Points]:
    from sklearn.covariance import LedoitWolf, MinCovDet  # two seconds: most of scipy

    count, dimensions = points.shape
    if count >= LEAST_A_DIMENSION * dimensions:
        found = MinCovDet(support_fraction=KEPT_SHARE, random_state=seed).fit(points)
        centre, covariance = found.location_, found.covariance_
    else:
        # shrinkage alone is not robust, so the outermost quarter is left out beforehand
        kept = _central(points)
        shrunk = LedoitWolf().fit(kept)
        centre, covariance = shrunk.location_, shrunk.covariance_
    # a direction without any variance would make every point in it infinitely far or not at all
    ridge = RIDGE * np.trace(covariance) / dimensions + np.finfo(float).tiny
    return np.asarray(centre), np.asarray(covariance + ridge * np.eye(dimensions))


def _central(points: Points) -> Points:
    centred = np.abs(points - np.median(points, axis=0))
    spread = np.maximum(np.median(centred, axis=0), np.finfo(float).tiny)
    order = np.argsort(
        (np.minimum(centred / spread, LARGEST_SCALED) ** 2).sum(axis=1), kind="stable"
    )
    return points[order[: max(2, int(np.ceil(KEPT_SHARE * len(points))))]]


def _distances(points: Points, centre: Points, covariance: Points) -> Points:
    centred = (points - centre).T
    squares = (centred * np.linalg.solve(covariance, centred)).sum(axis=0)
    # rounding can put a point at the centre a little below zero
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


@lru_cache(maxsize=256)
def _simulated_cutoffs(count: int, dimensions: int, rate: float, seed: int) -> tuple[float, float]:
    # the estimator follows every affine map of the points, so the unit covariance stands for all
    return _cutoffs(count, np.eye(dimensions), rate, seed)


def _cutoffs(count: int, root: Points, rate: float, seed: int) -> tuple[float, float]:
    """Simulate with covariance ``root @ root.T``; for the points fitted to, and for new ones."""
    rng = np.random.default_rng(seed)
    dimensions = len(root)
    fitted, new = [], []
    for _ in range(SIMULATED_FITS):
        points = rng.normal(size=(count, dimensions)) @ root.T
        centre, covariance = _fit(points, seed)
        others = rng.normal(size=(SIMULATED_POINTS, dimensions)) @ root.T
        fitted.append(_distances(points, centre, covariance))
        new.append(_distances(others, centre, covariance))
    within = float(np.quantile(np.concatenate(fitted), 1 - rate))
    return within, float(np.quantile(np.concatenate(new), 1 - rate))


# Share of the variance within classes that the components are to explain; the rest is noise of
# many small directions, which is looked at as one number.
EXPLAINED = 0.95
# Of the variance: with less left outside the components, its logarithm would be that of rounding.
NOTHING_LEFT = 1e-4
# Of the scale of the latents: an image exactly in the components then has a finite logarithm.
REST_FLOOR = 1e-3


@dataclass(frozen=True, eq=False)
class Subspace:
    """Principal components within classes, and the distance from them.

    Parameters
    ----------
    centres : dict of str to ndarray, shape (K,)
        Median latent of each class.
    directions : ndarray, shape (p, K)
        Orthonormal.
    with_rest : bool
        Whether a last coordinate tells the logarithm of the distance from the components: an
        image may be odd in a way in which no reference image varies (Hubert, Rousseeuw & Vanden
        Branden 2005). False where the components explain everything.
    rest_floor : float
        Added to that distance, so that an image without any has a logarithm.
    """

    centres: dict[str, Points]
    directions: Points
    with_rest: bool
    rest_floor: float

    @classmethod
    def fit(
        cls, latents: NDArray[np.float32], labels: NDArray[np.object_], components: int
    ) -> "Subspace":
        """Find the components of latents (n, K) about the medians of their classes.

        So many that 95 % of the variance is explained, at most ``components``, and at most half
        as many as the smallest class has images.

        Parameters
        ----------
        latents : ndarray, float32, shape (n, K)
        labels : ndarray of str, shape (n,)
            Class of each.
        components : int
            At most so many.

        Returns
        -------
        Subspace
        """
        from sklearn.decomposition import PCA  # two seconds: most of scipy

        values = latents.astype(np.float64)
        names = sorted(set(labels))
        centres = {name: np.median(values[labels == name], axis=0) for name in names}
        centred = values - np.stack([centres[name] for name in labels])
        smallest = min(int((labels == name).sum()) for name in names)
        # half as many as images: more directions than that and every image is far in one of them
        most = max(1, min(components, smallest // 2, *centred.shape))
        found = PCA(most, svd_solver="full").fit(centred)
        shares = np.cumsum(np.nan_to_num(found.explained_variance_ratio_))
        count = min(int(np.searchsorted(shares, EXPLAINED)) + 1, most)
        directions = np.asarray(found.components_[:count])
        rest = np.linalg.norm(centred - centred @ directions.T @ directions, axis=1)
        scale = float(np.sqrt((centred**2).sum(axis=1).mean()))
        with_rest = bool(np.median(rest) > np.sqrt(NOTHING_LEFT) * scale)
        return cls(centres, directions, with_rest, REST_FLOOR * scale)

    def coordinates(self, latents: NDArray[Any], name: str) -> Points:
        """Return the coordinates of latents (n, K) about a class, shape (n, p) or (n, p + 1).

        Parameters
        ----------
        latents : ndarray, shape (n, K)
        name : str
            Of the class whose median is the origin.

        Returns
        -------
        ndarray, float64
            ``p + 1`` where the distance from the components is told too.
        """
        centred = latents.astype(np.float64) - self.centres[name]
        scores = centred @ self.directions.T
        if not self.with_rest:
            return np.asarray(scores)
        rest = np.linalg.norm(centred - scores @ self.directions, axis=1) + self.rest_floor
        return np.column_stack([scores, np.log(rest)])
