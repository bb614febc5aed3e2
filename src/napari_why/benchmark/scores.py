"""The figures of the benchmark: how close a change comes to the true one, and how little is enough.

How little is enough is told by the curve of QuAC (Adjavon et al. 2024, Quantitative Attributions with
Counterfactuals): the largest changes are pasted into the source, more and more of them.

What is gained without any network stands beside them: one factor per channel, and one curve of grey
levels. Where all cells lose most of their dye, multiplying every pixel by one number comes close to the
truth. So a figure of the benchmark counts by what it gains over the better of these two.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_why.benchmark.ceilings import (
    ChangedImages,
    classify_images,
    find_predicted,
    share_predicted,
    training_images,
)
from napari_why.benchmark.data import BenchmarkData, Direction
from napari_why.counterfactuals.spread import Spread
from napari_why.datasets.features import (
    TINY,
    feature_distance,
    frechet_distance,
    image_features,
)
from napari_why.evaluation.mask_size_curve import MASK_SIZES, MaskCurve
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model import Classifier
from napari_why.model.chance import at_chance
from napari_why.transport.energy_score import score_cells


def mask_curve(
    classifier: Classifier,
    sources: NDArray[Any],
    counterfactuals: NDArray[Any],
    target: str,
) -> MaskCurve:
    """Paste the most changed pixels of counterfactuals into their sources and classify.

    A pixel counts by its largest change over channels, in standard deviations of the channel, and
    is pasted in all channels.

    Parameters
    ----------
    classifier : Classifier
        Judges.
    sources, counterfactuals : ndarray, shape (N, C, H, W)
        As exported, raw units.
    target : str
        The class.

    Returns
    -------
    MaskCurve
    """
    std = np.asarray(classifier.preprocessing.std)[:, None, None]
    change = (np.abs(counterfactuals.astype(float) - sources.astype(float)) / std).max(axis=1)
    order = change.reshape(len(change), -1).argsort(axis=1)[:, ::-1]
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    rank = rank.reshape(change.shape)
    column = classifier.classes.index(target)
    reached = []
    for size in MASK_SIZES:
        mask = rank < round(size * order.shape[1])
        pasted = np.where(mask[:, None], counterfactuals, sources)
        reached.append(classify_images(classifier, pasted)[:, column].mean())
    return MaskCurve(MASK_SIZES, tuple(float(value - reached[0]) for value in reached))


# Pixels over which a change is averaged before it is compared, so that noise counts less.
SMOOTHING = 3
# Of a standard deviation: a change below it is rounding, and has no direction to compare.
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


def standardise(change: ArrayLike, std: Sequence[float]) -> NDArray[np.float64]:
    """Return changes (N, C, H, W) in units of each channel's standard deviation.

    Parameters
    ----------
    change : array, shape (N, C, H, W)
        Raw units.
    std : sequence of float
        Standard deviation of each channel, raw units.

    Returns
    -------
    ndarray, float64, shape (N, C, H, W)
    """
    return np.asarray(change, dtype=np.float64) / np.asarray(std, dtype=np.float64)[:, None, None]


def smooth(change: NDArray[np.float64]) -> NDArray[np.float64]:
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

    Returns
    -------
    ChangeScores
        NaN for what needs a truth, where there is none.

    Examples
    --------
    >>> truth = np.zeros((1, 2, 8, 8))
    >>> truth[0, 1, 2:5, 2:5] = 1.0
    >>> change_scores(truth, truth, [1])  # doctest: +ELLIPSIS
    ChangeScores(correlation=1.0, relative_error=0.0, off_target=0.0, size=0.186...)
    >>> change_scores(0 * truth, truth, [1]).relative_error
    1.0
    """
    found = smooth(change)
    correlation = error = math.nan
    if truth is not None and len(affected):
        true, channels = smooth(truth), list(affected)
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
    """Return Pearson's r of two arrays of one shape; 0 where one of them is constant.

    Parameters
    ----------
    first, second : ndarray, float64

    Returns
    -------
    float
        -1 to 1.
    """
    one, other = first.ravel() - first.mean(), second.ravel() - second.mean()
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / scale, -1, 1)) if scale > STILL else 0.0


def off_target_ratio(change: NDArray[np.float64], affected: Sequence[int]) -> float:
    """Return mean |change| of the other channels over that of the affected ones; (N, C, H, W).

    Parameters
    ----------
    change : ndarray, float64, shape (N, C, H, W)
        Standardised.
    affected : sequence of int
        Channels that the effect changes.

    Returns
    -------
    float
        NaN where all channels or none are affected; inf where only the others change.
    """
    others = [channel for channel in range(change.shape[1]) if channel not in affected]
    if not others or not len(affected):
        return math.nan
    off, on = (float(np.abs(change[:, list(part)]).mean()) for part in (others, affected))
    if on > STILL:
        return off / on
    return math.inf if off > STILL else 0.0


# Of a standard deviation of the channel: below it a true change is next to nothing, and has no sign.
NEXT_TO_NOTHING = 0.1


@dataclass(frozen=True)
class SpreadScores:
    """How well it is known how sure changes are; means over images, NaN where that is not known.

    Parameters
    ----------
    coverage : float
        Share (0 to 1) of the pixels in which something changes whose true change lies between the 5 and
        the 95 % limit: limits and true change in the channels with an effect, averaged over 3 x 3 pixels each.
        Something changes where the true change exceeds a tenth of the channel's standard deviation.
        .9 is wanted: less, and a change is called surer than it is; more, and the limits say too little.
    sure_share : float
        Share of the change that is claimed: whose sign 90 % of the versions share.
    right_signs : float
        Of the same pixels as in ``coverage``, but claimed ones: share whose change has the sign of the true one.
    """

    coverage: float = math.nan
    sure_share: float = math.nan
    right_signs: float = math.nan


def spread_scores(
    spreads: Sequence[Spread],
    truth: NDArray[np.float64] | None,
    std: Sequence[float],
    affected: Sequence[int],
) -> SpreadScores:
    """Compare the limits of changes with the true ones.

    Parameters
    ----------
    spreads : sequence of Spread
        Of the first images.
    truth : ndarray, float64, shape (N, C, H, W), or None
        True changes, raw units.
    std : sequence of float
        Standard deviation of each channel, raw units.
    affected : sequence of int
        Channels that the effect changes.

    Returns
    -------
    SpreadScores
        NaN where nothing was measured, or the truth is not known.
    """
    if not spreads:
        return SpreadScores()
    sure = float(np.mean([one.sure_share for one in spreads]))
    if truth is None or not len(affected):
        return SpreadScores(sure_share=sure)
    channels = list(affected)
    low, high, found, true = (
        smooth(standardise(values, std))[:, channels]
        for values in (
            np.stack([one.low for one in spreads]),
            np.stack([one.high for one in spreads]),
            np.stack([one.change for one in spreads]),
            truth[: len(spreads)],
        )
    )
    there = np.abs(true) > NEXT_TO_NOTHING
    claimed = there & ~np.stack([one.uncertain for one in spreads])[:, channels]
    return SpreadScores(
        _mean_share((low <= true) & (true <= high), there),
        sure,
        _mean_share(np.sign(found) == np.sign(true), claimed),
    )


def _mean_share(right: NDArray[np.bool_], of: NDArray[np.bool_]) -> float:
    """Return the mean over images of the share of pixels that are right; NaN where there are none."""
    shares = [float(one[part].mean()) for one, part in zip(right, of, strict=True) if part.any()]
    return float(np.mean(shares)) if shares else math.nan


def _norms(changes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(changes.reshape(len(changes), -1), axis=1))


# Halves that are drawn: their mean moves little between so many.
FRECHET_DRAWS = 8


def measure_frechet(found: NDArray[np.float64], real: NDArray[np.float64]) -> tuple[float, float]:
    """Return the Fréchet distance of features to half of the real ones, and between the halves.

    Of equally many images, for the distance depends on their number; in units of the standard deviation
    over real images. Images of a well are alike and stand beside each other in tables, so halves are drawn:
    the mean over :data:`FRECHET_DRAWS` of them. NaN of fewer than two images on a side.

    Parameters
    ----------
    found : ndarray, float64, shape (n, F)
        Features of made images.
    real : ndarray, float64, shape (m, F)
        Of real images.

    Returns
    -------
    distance, floor : float
        Squared Fréchet distances.
    """
    count = min(len(found), len(real) // 2)
    if count < 2:
        return math.nan, math.nan
    scale = real.std(axis=0)
    used = scale > TINY
    made, true = (part[:, used] / scale[used] for part in (found, real))
    rng = np.random.default_rng(0)
    distances = []
    for _ in range(FRECHET_DRAWS):
        halves = true[rng.permutation(len(true))[: 2 * count]]
        target, others = halves[:count], halves[count:]
        some = made[rng.permutation(len(made))[:count]]
        distances.append((frechet_distance(some, target), frechet_distance(others, target)))
    distance, floor = np.mean(distances, axis=0)
    return float(distance), float(floor)


FIGURES = (
    "validity",
    "agreement",
    "agreement_of_flipped",
    "correlation",
    "relative_error",
    "off_target",
    "feature_distance",
    "frechet_distance",
    "frechet_floor",
    "energy_score",
    "mask_area",
    "change_size",
    "coverage",
    "sure_share",
    "right_signs",
    "accuracy",
    "balanced_accuracy",
    "reference_accuracy",
    "training_seconds",
    "seconds",
)
"""The columns of a table of results, see :class:`Scorer`."""


@dataclass(frozen=True)
class Scorer:
    """Scores whatever is made of the images of one direction.

    Parameters
    ----------
    direction : Direction
        The images.
    reference : Classifier
        A network that no method looks at; see :func:`~.rows.train_reference_classifier`.
    affected : tuple of int
        Channels that the classes differ in.
    """

    direction: Direction
    reference: Classifier
    affected: tuple[int, ...]

    def scores(self, made: ChangedImages, classifier: Classifier) -> dict[str, Any]:
        """Return the figures.

        Parameters
        ----------
        made : ChangedImages
            What a row made.
        classifier : Classifier
            The network that is explained.

        Returns
        -------
        dict
            ``validity`` and ``agreement``: share of the exported images that the classifier and
            the reference classifier call the target; ``agreement_of_flipped``: of those that the
            classifier calls the target, the share that the reference classifier does too, NaN where
            there are none; ``correlation``, ``relative_error``,
            ``off_target``, ``change_size``: see :class:`~.scores.ChangeScores`;
            ``feature_distance`` to other real images of the target, in the affected channels;
            ``frechet_distance`` of the same features, to as many of these images, and ``frechet_floor``,
            that of as many of them to as many others: of few images it is far from 0;
            ``energy_score`` of all draws, else of the image as a single draw: see
            :mod:`napari_why.transport.energy_score`;
            ``mask_area``, ``mask_sizes``, ``mask_gains``: see :class:`MaskCurve`;
            ``coverage``, ``sure_share``, ``right_signs``: see :class:`SpreadScores`;
            ``accuracy``: share of the sources that the classifier predicts as their class;
            ``balanced_accuracy`` and ``reference_accuracy``: mean of that share and of the same of real
            images of the target, by the classifier and by the reference classifier, whose agreement is
            worth what it knows;
            ``training_seconds`` and ``seconds``.
        """
        direction, std = self.direction, classifier.preprocessing.std
        truth = None if direction.truth is None else standardise(direction.truth, std)
        change = change_scores(standardise(made.change, std), truth, self.affected)
        curve = mask_curve(classifier, direction.images, made.images, direction.target)
        found = asdict(change)
        flipped, agreed = (
            find_predicted(asked, made.images, direction.target)
            for asked in (classifier, self.reference)
        )
        return {
            "validity": float(flipped.mean()),
            "agreement": float(agreed.mean()),
            "agreement_of_flipped": float(agreed[flipped].mean()) if flipped.any() else math.nan,
            "change_size": found.pop("size"),
            **found,
            **self._feature_distances(made.images),
            "energy_score": self.score_draws(made),
            "mask_area": curve.area,
            **asdict(spread_scores(made.spreads, direction.truth, std, self.affected)),
            "accuracy": share_predicted(classifier, direction.images, direction.source),
            "balanced_accuracy": self._accuracy_of(classifier),
            "reference_accuracy": self._accuracy_of(self.reference),
            "training_seconds": made.training_seconds,
            "seconds": made.seconds,
            "mask_sizes": list(curve.sizes),
            "mask_gains": list(curve.gains),
        }

    @cached_property
    def doubt(self) -> str:
        """Say so where the reference classifier is not shown to know the classes, else nothing."""
        recalls = zip(self._recalls(self.reference), map(len, self._known), strict=True)
        right = [(round(share * count), count) for share, count in recalls]
        matrix = [
            [right[0][0], right[0][1] - right[0][0]],
            [right[1][1] - right[1][0], right[1][0]],
        ]
        chance = at_chance({"test": {"images": {"confusion_matrix": matrix}}})
        return f"agreement is with a network of which is to be said: {chance}" if chance else ""

    @property
    def _known(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.direction.images, self.direction.real

    def _recalls(self, classifier: Classifier) -> tuple[float, float]:
        """Return the share that a classifier gets right, of the sources and of the real targets."""
        first, second = self._known
        direction = self.direction
        return (
            share_predicted(classifier, first, direction.source),
            share_predicted(classifier, second, direction.target),
        )

    def _accuracy_of(self, classifier: Classifier) -> float:
        return float(np.mean(self._recalls(classifier)))

    def _feature_distances(self, images: NDArray[Any]) -> dict[str, float]:
        """Return how far images are from real ones of the target; NaN where nothing differs."""
        names = ("feature_distance", "frechet_distance", "frechet_floor")
        if not self.affected:
            return dict.fromkeys(names, math.nan)
        found, real = image_features(images, self.affected), self._target_features
        apart, floor = measure_frechet(found, real)
        return dict(
            zip(
                names,
                (feature_distance(found, real, self._source_features), apart, floor),
                strict=True,
            )
        )

    def score_draws(self, made: ChangedImages) -> float:
        """Return the energy score of cells; NaN where nobody knows what these scenes would be, or nothing differs."""
        direction = self.direction
        if direction.paired is None or not self.affected:
            return math.nan
        draws = made.images[:, None] if made.draws is None else made.draws
        return score_cells(draws, direction.images, direction.paired, direction.real, self.affected)

    @cached_property
    def _target_features(self) -> NDArray[np.float64]:
        return image_features(self.direction.real, self.affected)

    @cached_property
    def _source_features(self) -> NDArray[np.float64]:
        return image_features(self.direction.images, self.affected)


Trivial = Literal["one_factor", "grey_level_curve"]
BASELINES = ("one-factor", "grey-level-curve")
"""The rows of these two, which are always made: a figure counts by what it gains over the better."""


def multiply(
    images: NDArray[Any], source: NDArray[Any], target: NDArray[Any], channels: Sequence[int]
) -> NDArray[np.float64]:
    """Multiply each channel by the ratio of the classes' means over all pixels.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        What is changed, grey levels.
    source, target : ndarray, shape (M, C, H, W)
        Training images of the two classes, grey levels, not paired.
    channels : sequence of int
        Those that are changed.

    Returns
    -------
    ndarray, float64, shape (N, C, H, W)
        Not rounded. A channel that is black throughout the source class stays.
    """
    changed = images.astype(np.float64)
    for channel in channels:
        before, after = (float(part[:, channel].mean()) for part in (source, target))
        if before:
            changed[:, channel] *= after / before
    return changed


def match_histograms(
    images: NDArray[Any], source: NDArray[Any], target: NDArray[Any], channels: Sequence[int]
) -> NDArray[np.float64]:
    """Map grey levels by the one rising curve that turns a class's histogram into the other's.

    The curve of a channel takes each grey level of all pixels of the source class, by its middle rank,
    to the level of that rank in the target class (Gonzalez & Woods, Digital Image Processing:
    histogram specification). Of all maps of single grey levels it is the one of least cost (optimal
    transport in one dimension). Levels beyond those of the source class go where its extremes go.

    Parameters
    ----------
    images, source, target, channels
        See :func:`multiply`.

    Returns
    -------
    ndarray, float64, shape (N, C, H, W)
        Not rounded.
    """
    changed = images.astype(np.float64)
    for channel in channels:
        levels, counts = np.unique(source[:, channel], return_counts=True)
        ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
        reached = np.quantile(target[:, channel], ranks)
        changed[:, channel] = np.interp(changed[:, channel], levels, reached)
    return changed


def change_trivially(
    classifier: Classifier, data: BenchmarkData, direction: Direction, kind: Trivial
) -> ChangedImages:
    """Change images by one factor or one curve per channel, learnt from the training images.

    Parameters
    ----------
    classifier : Classifier
        Lends its grid of pixels and its decision which channels carry no class evidence: these stay,
        so that what is gained over these rows is not gained by locking.
    data : BenchmarkData
        With the training images.
    direction : Direction
        What to change.
    kind : {"one_factor", "grey_level_curve"}

    Returns
    -------
    ChangedImages
    """
    dtype = export_dtype(direction.images.dtype)
    source, target = (
        export_pixels(
            classifier.preprocessing.inverse(training_images(classifier, data, label)), dtype
        )
        for label in (direction.source, direction.target)
    )
    locked = classifier.locked_channels
    free = [place for place, name in enumerate(classifier.channels) if name not in locked]
    change = multiply if kind == "one_factor" else match_histograms
    images = export_pixels(change(direction.images, source, target, free), dtype)
    return ChangedImages(images, images.astype(float) - direction.images.astype(float))
