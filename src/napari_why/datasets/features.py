"""Cheap texture features, and how far images lie from real images of a class by them.

The 22 features of a channel ask for what classifiers of cells ask for: brightness, coarseness,
granules, objects. They know nothing of the truth, so the distance can be taken on real data too; and
nothing of any network, so that what they say of a counterfactual is no network's word.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# Of spatial frequency up to Nyquist: at 64 pixels a band is 4 frequencies wide, and none is empty.
BANDS = 8
# Radii in pixels, up to that of the smallest simulated nucleus: what is larger counts as a region.
GRANULE_STEPS = 5
REGION_PROPERTIES = ("area", "eccentricity", "perimeter", "extent", "intensity_mean")
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
# Lengths of borders as Benkrid & Crookes 2000 estimate them, and scikit-image does: a pixel of the border
# adds 1, half or all of a diagonal by where its neighbours in the border lie. In its code it counts 1, a
# neighbour beside it 2, one at a corner 10.
NEIGHBOUR_CODES = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.uint8)
BORDER_LENGTHS = np.select(
    [
        np.isin(np.arange(NEIGHBOUR_CODES.sum() + 1), codes)
        for codes in ([5, 7, 15, 17, 25, 27], [21, 33], [13, 23])
    ],
    [1.0, math.sqrt(2), (1 + math.sqrt(2)) / 2],
)
# The numbers of a channel, in their order.
TEXTURES = (
    *("mean", "deviation"),
    *(f"power in band {band}" for band in range(1, BANDS + 1)),
    *(f"granules of radius {radius}" for radius in range(1, GRANULE_STEPS + 1)),
    *("regions", "share of regions"),
    *(f"{name.replace('_', ' ')} of regions" for name in REGION_PROPERTIES),
)
# What is below is rounding, and no number to divide by.
TINY = 1e-12
# Described in one call: megabytes, however many images there are.
PIXELS_AT_ONCE = 2**20


def texture_features(channel: NDArray[Any]) -> NDArray[np.float64]:
    """Describe one channel (y, x) by 22 numbers.

    Mean and standard deviation; log power in eight radial bands of spatial frequency; the share of
    the intensity above the minimum that openings by discs of radius 1 to 5 remove, each in
    addition to the one before; of the regions above Otsu's threshold the number, the share of the
    area and the means of area, eccentricity, perimeter, extent and intensity.
    """
    return np.asarray(_describe_planes(np.asarray(channel, dtype=np.float64)[None])[0])


def _describe_planes(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Describe planes (P, H, W) by 22 numbers each."""
    return np.array(
        [
            [plane.mean(), plane.std(), *_measure_bands(plane), *granules, *_measure_regions(plane)]
            for plane, granules in zip(planes, _measure_granules(planes), strict=True)
        ]
    )


def image_features(images: NDArray[Any], channels: Sequence[int]) -> NDArray[np.float64]:
    """Describe images (N, C, H, W) by their chosen channels; (N, 22 * channels).

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
    channels : sequence of int
        Indices along C.

    Returns
    -------
    ndarray, float64, shape (N, 22 * len(channels))
        See :func:`texture_features`.
    """
    if not len(images) or not len(channels):
        return np.zeros((len(images), len(TEXTURES) * len(channels)))
    height, width = images.shape[2:]
    at_once = max(1, PIXELS_AT_ONCE // (height * width * len(channels)))
    rows = []
    for start in range(0, len(images), at_once):
        chosen = np.asarray(images[start : start + at_once, list(channels)], dtype=np.float64)
        rows.append(_describe_planes(chosen.reshape(-1, height, width)).reshape(len(chosen), -1))
    return np.concatenate(rows)


def feature_distance(
    found: NDArray[np.float64], target: NDArray[np.float64], source: NDArray[np.float64]
) -> float:
    """Return the distance of features to the target class, relative to that of the source class.

    The distance is the root mean square, over features, of the differences of mean and of standard
    deviation, both in units of the standard deviation within the target class.

    Parameters
    ----------
    found, target, source : ndarray, shape (images, features)
        Of the counterfactuals, of real images of the target class and of those that the
        counterfactuals were made from.

    Returns
    -------
    float
        0: like the target class; 1: no nearer than the source. NaN where the classes do not
        differ.
    """
    nothing_done = _distance(source, target)
    return _distance(found, target) / nothing_done if nothing_done > TINY else math.nan


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the squared Fréchet distance between Gaussians with the features' means and covariances.

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)`` (Dowson & Landau 1982; of images: Heusel et al.
    2017, arXiv:1706.08500). Of few images it is biased upwards: two halves of one set are apart, too, and the
    further the fewer they are. So it is to be compared with that of as many images of one kind, and says
    little where images are fewer than features.

    Parameters
    ----------
    first, second : ndarray, shape (images, features)
        At least two images each, in units that make features comparable.

    Returns
    -------
    float
        In squares of the features' units; 0 or more, but for rounding.

    Raises
    ------
    ValueError
        One has a single image, whose covariance nobody knows.

    Examples
    --------
    >>> one = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -2.0], [0.0, 2.0]])
    >>> frechet_distance(one, one + [3.0, 4.0])
    25.0
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"features: found {len(first)} and {len(second)} images; expected at least two each"
        )
    apart = first.mean(axis=0) - second.mean(axis=0)
    roots = [_covariance_root(features) for features in (first, second)]
    # tr((C1^1/2 C2 C1^1/2)^1/2) is the nuclear norm of the product of any roots: no square root of a
    # matrix is needed that rounding makes complex
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    spreads = sum(float((root**2).sum()) for root in roots) - 2 * float(shared)
    # of equal covariances it is rounding, of either sign
    return float(apart @ apart + max(spreads, 0.0))


def _covariance_root(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix R with R^T R the covariance; of no more rows than there are features."""
    centred = (features - features.mean(axis=0)) / math.sqrt(len(features) - 1)
    # the triangle has the covariance of all rows
    return np.asarray(np.linalg.qr(centred, mode="r"))


class AppearanceJudge:
    """Tells two classes apart by the features of single images, without any network.

    A linear discriminant on standardised features with a covariance that is shrunk after Ledoit &
    Wolf 2004: few images are enough, and nothing has to be chosen.

    Parameters
    ----------
    source, target : ndarray, shape (images, features)
        Of real images of the two classes.

    Raises
    ------
    ValueError
        A class has no image.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(size=(2, 50, 3))
    >>> judge = AppearanceJudge(draws[0], draws[1] + 4)
    >>> judge.share_like_target(np.full((5, 3), 4.0)), judge.share_like_target(np.zeros((5, 3)))
    (1.0, 0.0)
    """

    def __init__(self, source: NDArray[np.float64], target: NDArray[np.float64]) -> None:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # two seconds

        if not (len(source) and len(target)):
            raise ValueError(
                f"appearance: found {len(source)} and {len(target)} images; expected some"
            )
        both = np.concatenate([source, target])
        self._mean, scale = both.mean(axis=0), both.std(axis=0)
        # A feature that never differs tells nothing, and has no unit.
        self._used = scale > TINY
        self._scale = scale[self._used]
        self._model = None
        if self._used.any():
            labels = np.repeat([0, 1], [len(source), len(target)])
            self._model = LinearDiscriminantAnalysis(
                solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]
            ).fit(self._standardise(both), labels)

    def share_like_target(self, features: NDArray[np.float64]) -> float:
        """Return the share of images (images, features) that look like the target class."""
        if self._model is None:
            return 0.0
        return float(np.mean(self._model.predict(self._standardise(features)) == 1))

    def _standardise(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        kept: NDArray[np.float64] = (features - self._mean)[:, self._used] / self._scale
        return kept


def _distance(found: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    # In units of how much real images differ, or the feature of the largest numbers would decide.
    scale = target.std(axis=0)
    used = scale > TINY
    if not used.any():
        return 0.0
    means = (found.mean(axis=0) - target.mean(axis=0))[used] / scale[used]
    spreads = (found.std(axis=0) - target.std(axis=0))[used] / scale[used]
    return float(np.sqrt(np.mean(np.concatenate([means, spreads]) ** 2)))


def _measure_bands(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    power = np.abs(np.fft.rfft2(plane - plane.mean())) ** 2 / plane.size
    # Cycles per pixel, 0.5 at most along an axis; the corners beyond count to the last band.
    radius = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.rfftfreq(plane.shape[1]))
    band = np.minimum((radius / 0.5 * BANDS).astype(int), BANDS - 1)
    sums, counts = (np.bincount(band.ravel(), item, BANDS) for item in (power.ravel(), None))
    return np.asarray(np.log(sums / np.maximum(counts, 1) + 1.0))


def _measure_granules(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what openings remove of each plane (P, H, W): (P, GRANULE_STEPS)."""

    def sums(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(of.reshape(len(of), -1).sum(axis=1))

    # Above the minimum, so that offset and background do not drown the granules.
    above = planes - planes.min(axis=(1, 2), keepdims=True)
    total = np.maximum(sums(above), TINY)
    left = [total]
    for radius in range(1, GRANULE_STEPS + 1):
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        # all planes in one call, which costs more than opening a small one
        disc = (np.hypot(y, x) <= radius)[None]
        left.append(sums(ndimage.grey_opening(above, footprint=disc)))
    return np.asarray(-np.diff(left, axis=0).T / total[:, None])


def _measure_regions(plane: NDArray[np.float64]) -> list[float]:
    # A constant plane has no threshold and no regions.
    if plane.max() <= plane.min():
        return [0.0] * (2 + len(REGION_PROPERTIES))
    from skimage.filters import threshold_otsu  # slow to import, and every verb imports this room

    above = np.asarray(plane > threshold_otsu(plane))
    labels, count = ndimage.label(above, EIGHT_NEIGHBOURS)
    properties = region_properties(labels, count, plane)
    means = [float(properties[name].mean()) for name in REGION_PROPERTIES]
    return [float(count), float(above.mean()), *means]


def region_properties(
    labels: NDArray[Any], count: int, plane: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Measure all regions at once, as ``skimage.measure.regionprops_table`` does one after the other.

    Parameters
    ----------
    labels : ndarray, shape (H, W)
        1 to ``count``, and 0 where no region is. No two regions touch, not at a corner either.
    count : int
        How many, at least one.
    plane : ndarray, shape (H, W)
        Intensities.

    Returns
    -------
    dict of str to ndarray, shape (count,)
        By the names in :data:`REGION_PROPERTIES`; lengths in pixels.
    """
    y, x = np.nonzero(labels)
    region = labels[y, x] - 1

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(region, values, count))

    area = total(np.ones(region.size))
    boxes = [
        (rows.stop - rows.start) * (columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    dy, dx = (along - (total(along) / area)[region] for along in (y, x))
    yy, xx, yx = (total(product) / area for product in (dy * dy, dx * dx, dy * dx))
    # half of the sum, and of the difference, of the variances along the two axes of an ellipse
    middle, half = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    longer = middle + half
    # 1 - shorter / longer; a single pixel has no axes
    squared = np.divide(2 * half, longer, out=np.zeros(count), where=longer > 0)
    return {
        "area": area,
        "eccentricity": np.sqrt(squared),
        "perimeter": total(_border_lengths(labels > 0)[y, x]),
        "extent": area / np.array(boxes),
        "intensity_mean": total(plane[y, x]) / area,
    }


def _border_lengths(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what each pixel of a mask adds to the length of its border."""
    border = (mask & ~ndimage.binary_erosion(mask)).astype(np.uint8)
    codes = ndimage.convolve(border, NEIGHBOUR_CODES, mode="constant")
    return np.asarray(BORDER_LENGTHS[codes])
