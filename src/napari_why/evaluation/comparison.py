"""What accuracy is worth beside labels without meaning, and beside what else tells the class.

Fields of one well look alike, and so do neighbouring wells. Where a meaningless labelling of the
plate is learnt as well as the true classes, from cheap features, accuracy is no evidence that the
classes differ. Nor is it where the class is guessed as well from the plate alone.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import comb, factorial

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.datasets import Association, Confounding, Dataset, find_confounding
from napari_why.datasets.factors import list_factors
from napari_why.images.wells import well_name, well_place
from napari_why.model import Classifier
from napari_why.model.classifier import pooled_latents
from napari_why.training.metrics import mean_recall

# Dense at the bright end, where structures of few pixels stand above a dark background.
PERCENTILES = (1, 5, 25, 50, 75, 95, 99, 99.9)
# Standard deviations in pixels, doubling: octaves of spatial frequency, from the grain of single
# pixels to the size of a nucleus. The coarsest closes the last band and begins none.
BAND_WIDTHS = (1, 2, 4, 8)
COARSEST_WIDTH = 16  # pixels: twice the widest band
# Of the table in which a classifier stands beside what else tells the class.
FACTOR_COLUMNS = [
    "factor",
    "level",
    "guess",
    "classifier",
    "within",
    "within_chance",
    "within_images",
]


def intensity_features(image: xr.DataArray) -> NDArray[np.float64]:
    """Describe a two-dimensional image by its intensities and its coarseness.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)

    Returns
    -------
    ndarray, shape (C * 14 + C * (C - 1) / 2,)
        Per channel the mean, the standard deviation, eight percentiles and the standard deviation
        in four bands of spatial frequency (differences of Gaussians); then the correlation of
        every pair of channels (0 where a channel is constant).
    """
    # nothing of position or shape: if these features tell classes apart, brightness alone does
    pixels = np.asarray(image, dtype=np.float64)
    per_channel = [value for channel in pixels for value in _channel_features(channel)]
    pairs = [
        _correlation(pixels[first], pixels[second])
        for first in range(len(pixels))
        for second in range(first + 1, len(pixels))
    ]
    return np.array(per_channel + pairs)


def feature_tables(
    classifier: Classifier,
    dataset: Dataset,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> dict[str, NDArray[np.float64]]:
    """Compute both kinds of cheap features for every image of a data set, reading each once.

    Parameters
    ----------
    classifier : Classifier
        Its network makes the features of kind ``network``.
    dataset : Dataset
        With the classifier's channels.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    dict
        ``intensity``: :func:`intensity_features`; ``network``: the last feature maps of the
        frozen network, averaged over positions; left out of a network that can be asked for logits
        alone. Both (images, features); fewer rows than images when cancelled.
    """
    on_event(events.Started("cheap features, for comparison with the network", len(dataset)))
    intensity: list[NDArray[np.float64]] = []
    network: list[NDArray[np.float64]] = []
    has_maps = not classifier.network.black_box
    for done, image in enumerate(_images(dataset, cancelled), start=1):
        intensity.append(intensity_features(image))
        if has_maps:
            latents, _ = pooled_latents(classifier.network, classifier.prepare(image))
            network.append(to_float64(latents[0]).cpu().numpy())
        on_event(events.Advanced(done))
    found = {"intensity": np.array(intensity)}
    return found | ({"network": np.array(network)} if has_maps else {})


def _images(dataset: Dataset, cancelled: events.Cancelled) -> Iterator[xr.DataArray]:
    for index in range(len(dataset)):
        if cancelled():
            return
        yield dataset.image(index)


def _channel_features(channel: NDArray[np.float64]) -> list[float]:
    blurred = [ndimage.gaussian_filter(channel, width) for width in (*BAND_WIDTHS, COARSEST_WIDTH)]
    bands = [float((fine - coarse).std()) for fine, coarse in pairwise(blurred)]
    percentiles = [float(value) for value in np.percentile(channel, PERCENTILES)]
    return [float(channel.mean()), float(channel.std()), *percentiles, *bands]


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if first.std() == 0 or second.std() == 0:
        return 0.0  # numpy gives NaN, which logistic regression refuses
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


Labels = NDArray[np.int64]


def well_position(well: str) -> tuple[int, int] | None:
    """Return (row, column), counted from 1, of a well's name, or None where it tells none.

    Examples
    --------
    >>> well_position("B07"), well_position("r02c11"), well_position("left")
    ((2, 7), (2, 11), None)
    """
    name = well_name(well)
    if name is None:
        return None
    row, column = well_place(name)
    return row + 1, column + 1


def random_group_labels(groups: pd.Series, classes: int, rng: np.random.Generator) -> Labels:
    """Give every group one class at random, all classes to about as many groups.

    Parameters
    ----------
    groups : Series, length N
        The group (well) of each image.
    classes : int
        Number of classes.
    rng : numpy Generator

    Returns
    -------
    ndarray of int, length N
    """
    # by group and not by image: images of one well look alike, so single images are easy to refuse
    names = groups.unique()
    drawn = rng.permutation(np.arange(len(names)) % classes)
    return groups.map(dict(zip(names, drawn, strict=True))).to_numpy(dtype=np.int64)


def position_block_labels(table: pd.DataFrame, labels: Labels, axis: str) -> Labels | None:
    """Label the wells of each true class by where they lie on the plate, in contiguous blocks.

    Within every true class the well positions, in order along ``axis``, are cut into as many
    blocks as there are classes; block k gets label k. Each meaningless label thus holds about as
    many wells of every true class, so only the position on the plate can tell them apart. The
    same position has the same label on every plate.

    Parameters
    ----------
    table : DataFrame, length N
        With a column ``well`` of names that tell row and column.
    labels : ndarray of int, length N
        The true classes.
    axis : str
        ``"row"`` or ``"column"``: what the wells are ordered by first.

    Returns
    -------
    ndarray of int, length N, or None
        None where positions are not known, or where a class has fewer wells than labels.
    """
    positions = table["well"].astype(str).map(well_position) if "well" in table else None
    if positions is None or positions.isna().any():
        return None
    count = len(np.unique(labels))
    order = (0, 1) if axis == "row" else (1, 0)
    # within each class: were the plate cut as a whole, a layout with one class a column would make
    # the blocks the true classes again
    blocks = np.zeros(len(table), dtype=np.int64)
    for label in np.unique(labels):
        inside = labels == label
        wells = sorted(set(positions[inside]), key=lambda well: (well[order[0]], well[order[1]]))
        if len(wells) < count:
            return None  # a block without a well of this class would be told apart by the class
        block_of: dict[Hashable, int] = {
            well: index * count // len(wells) for index, well in enumerate(wells)
        }
        blocks[inside] = positions[inside].map(block_of).to_numpy(dtype=np.int64)
    return blocks


# Values of the column ``labels``; they are in the JSON of evaluations that were saved.
TRUE_CLASSES = "true classes"
RANDOM_LABELS = "random label per group"
BLOCK_LABELS = "block of plate {axis}s"
# Resampled accuracies are read at 2.5 and 97.5 %, a two-sided interval; of the advantage only the
# lower side matters, so all of the 5 % lies there.
INTERVAL, LOWER_SIDE = (2.5, 97.5), 5
# Draws of groups: the 2.5 % quantile then rests on 25 of them, and a matrix product takes them all.
RESAMPLES = 1000
# Five folds, the usual trade-off between size of the training part and number of fits.
FOLDS = 5
# Inverse strength of the L2 penalty on standardised features: stronger than scikit-learn's 1, since
# there are tens to hundreds of features and often fewer wells.
PENALTY = 0.1
# A ceiling, not a cost: scikit-learn's 100 can end in a warning before the fit has converged.
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class BalancedHits:
    """Which images were predicted right, and what each weighs so that every label weighs the same.

    Parameters
    ----------
    right : ndarray of float, length N
        1 where the image was predicted right while its group was held out, else 0.
    weights : ndarray of float, length N
        Inversely proportional to the number of images with the same label.
    """

    right: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, predicted: Labels, labels: Labels) -> "BalancedHits":
        """Compare predicted with given labels.

        Parameters
        ----------
        predicted, labels : ndarray of int, length N
            Indices of classes, 0 or more.

        Returns
        -------
        BalancedHits
            With each image weighing one over the number of images of its label.
        """
        counts = np.bincount(labels)
        return cls((predicted == labels).astype(float), 1 / counts[labels])

    @property
    def accuracy(self) -> float:
        """Mean over the labels of the share of their images that are predicted right."""
        return float(np.average(self.right, weights=self.weights))

    def resample(self, resamples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the accuracy (count,) for each of the weights of images (count, N)."""
        accuracies: NDArray[np.float64] = (resamples @ (self.right * self.weights)) / (
            resamples @ self.weights
        )
        return accuracies


@dataclass(frozen=True)
class NullComparison:
    """Accuracy of a plain linear classifier on cheap features, for true and meaningless labels.

    Parameters
    ----------
    table : DataFrame
        One row per labels, features and scheme: ``labels``, ``features`` (intensity, network),
        ``by`` (the columns whose values stay together), ``accuracy`` (balanced: the mean over
        the labels of the share of their images predicted right; for random labels the mean
        over the draws), ``low`` and ``high`` (95 % interval: over draws for random labels, else
        over groups by bootstrap), ``advantage_low`` (5 % quantile over groups of the true
        classes' accuracy minus this row's), ``told_apart`` (with the same features and scheme the
        true classes are told apart at all: their ``low`` is above chance).
    confounding : Confounding
        What else tells the class, of which no labels without meaning can say anything.
    wells : int or None
        Groups (wells, or images where there are none) that were compared.
    labellings : int or None
        In how many ways classes can be given to those groups, as many groups to each, that no names of
        classes make the same (:func:`count_labellings`). None where it was not counted.

    Notes
    -----
    The network has seen the true classes of its training images, so its features favour the truth:
    a match there weighs more, an advantage less, than with intensity features.
    """

    table: pd.DataFrame
    confounding: Confounding = field(default_factory=Confounding)
    wells: int | None = None
    labellings: int | None = None

    @property
    def smallest_p(self) -> float:
        """The smallest p that labels given to groups at random can show; 0 where not counted."""
        return 1 / self.labellings if self.labellings else 0.0

    @property
    def matched_by(self) -> pd.DataFrame:
        """Rows of meaningless labels that are learnt as well as true classes that are learnt."""
        # where even the true classes are not learnt, that others are not either says nothing
        rows = self.table[(self.table["labels"] != TRUE_CLASSES) & self.table["told_apart"]]
        return rows[rows["advantage_low"] <= 0]


def compare_with_nulls(
    features: dict[str, NDArray[np.float64]],
    table: pd.DataFrame,
    labels: Labels,
    group_columns: tuple[str, ...],
    *,
    draws: int = 10,
    seed: int = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> NullComparison:
    """Cross-validate cheap features on the true classes and on labels without meaning.

    Every accuracy comes from logistic regression on standardised features, cross-validated so
    that no group is on both sides: by the group columns (wells), and by plate where there are
    several. Every label weighs the same, in the regression and in the accuracy, however many
    images it has: always naming the larger class would otherwise beat meaningless labels, which
    are even. Those are random per group, and blocks of plate positions where wells have positions
    (:func:`position_block_labels`).

    Parameters
    ----------
    features : dict of str to ndarray, each (N, features)
    table : DataFrame, length N
        The data set's table.
    labels : ndarray of int, length N
        True classes.
    group_columns : tuple of str
        Columns that make a group; every image is a group of its own when empty.
    draws : int
        Random labellings to average over.
    seed : int
        Of random labels, folds and resampling.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    NullComparison
        With the rows done so far when cancelled.
    """
    groups = _groups(table, group_columns)
    schemes = {" and ".join(group_columns) or "image": groups}
    # wells of one plate share staining and focus, so a plate held out is the harder question
    if "plate" in table and len(table["plate"].unique()) > 1:
        schemes["plate"] = table["plate"].astype(str)
    nulls = list(_null_labellings(table, labels, groups, draws, seed))
    total = len(features) * len(schemes) * (1 + len(nulls))
    on_event(events.Started("labels without meaning", total))
    rows: list[dict[str, object]] = []
    done = 0
    for kind, values in features.items():
        for scheme, held_together in schemes.items():
            hits: dict[str, list[BalancedHits]] = {}
            for name, meaningless in [(TRUE_CLASSES, labels), *nulls]:
                if cancelled():
                    break
                hit = _cross_validated_hits(values, meaningless, held_together, seed)
                if hit is not None:  # too few groups for folds: no row rather than a guess
                    hits.setdefault(name, []).append(hit)
                done += 1
                on_event(events.Advanced(done))
            rows += _rows(hits, groups, (kind, scheme), 1 / len(np.unique(labels)), seed)
    names = table["label"] if "label" in table else pd.Series(labels).astype(str)
    confounding = find_confounding(table, list(names), group_columns, seed=seed)
    return NullComparison(
        pd.DataFrame(rows, columns=list(_COLUMNS)),
        confounding,
        int(groups.nunique()),
        count_labellings([groups[labels == label].nunique() for label in np.unique(labels)]),
    )


def count_labellings(sizes: Sequence[int]) -> int:
    """Count the ways to part groups into classes of given sizes, whatever the classes are called.

    Examples
    --------
    >>> count_labellings([3, 3]), count_labellings([4, 4]), count_labellings([2, 2, 2])
    (10, 35, 15)
    """
    left, ways = sum(sizes), 1
    for size in sizes:
        ways *= comb(left, size)
        left -= size
    for size in set(sizes):
        # classes of one size change names without another way to tell the groups apart
        ways //= factorial(list(sizes).count(size))
    return ways


_COLUMNS = ("labels", "features", "by", "accuracy", "low", "high", "advantage_low", "told_apart")


def _groups(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    if not columns:  # then every image is a group of its own, and the interval is over images
        return pd.Series([str(index) for index in range(len(table))], index=table.index)
    return table[list(columns)].astype(str).agg(" ".join, axis=1)


def _null_labellings(
    table: pd.DataFrame, labels: Labels, groups: pd.Series, draws: int, seed: int
) -> Iterator[tuple[str, Labels]]:
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield RANDOM_LABELS, random_group_labels(groups, len(np.unique(labels)), rng)
    for axis in ("row", "column"):
        blocks = position_block_labels(table, labels, axis)
        if blocks is not None:
            yield BLOCK_LABELS.format(axis=axis), blocks


def _cross_validated_hits(
    features: NDArray[np.float64], labels: Labels, groups: pd.Series, seed: int
) -> BalancedHits | None:
    """Tell for each image whether it was predicted right while its group was held out."""
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups_per_class = [groups[labels == label].nunique() for label in np.unique(labels)]
    folds = min(FOLDS, groups.nunique(), *groups_per_class)
    if folds < 2 or len(groups_per_class) < 2:
        return None
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(features, labels, groups))
    # groups of unequal size can leave a fold with one class, on which the regression raises
    if any(len(np.unique(labels[train])) < 2 for train, _ in splits):
        return None
    regression = LogisticRegression(C=PENALTY, max_iter=MOST_ITERATIONS, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression)
    predicted = np.empty_like(labels)
    # a hundred small fits, for each of which scikit-learn would look at parameters that are given above
    with config_context(skip_parameter_validation=True):
        for train, test in splits:
            predicted[test] = model.fit(features[train], labels[train]).predict(features[test])
    return BalancedHits.of(predicted, labels)


def _rows(
    hits: dict[str, list[BalancedHits]],
    groups: pd.Series,
    features_and_scheme: tuple[str, str],
    chance: float,
    seed: int,
) -> list[dict[str, object]]:
    if TRUE_CLASSES not in hits:
        return []
    resamples = _group_resamples(groups, seed)
    truth = hits[TRUE_CLASSES][0].resample(resamples)
    told_apart = bool(np.percentile(truth, INTERVAL[0]) > chance)
    rows: list[dict[str, object]] = []
    for name, repeats in hits.items():
        accuracies = np.array([repeat.accuracy for repeat in repeats])
        resampled = np.mean([repeat.resample(resamples) for repeat in repeats], axis=0)
        spread = accuracies if len(repeats) > 1 else resampled
        low, high = np.percentile(spread, INTERVAL)
        # paired, on the same draws of groups: what both owe to easy wells cancels
        advantage = float(np.percentile(truth - resampled, LOWER_SIDE))
        figures = (accuracies.mean(), low, high, advantage, told_apart)
        values = (name, *features_and_scheme, *figures)
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    return rows


def _group_resamples(groups: pd.Series, seed: int) -> NDArray[np.float64]:
    """Weights (draws, N) of images when whole groups are drawn with replacement."""
    codes = pd.factorize(groups)[0]
    number = codes.max() + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=RESAMPLES)
    weights: NDArray[np.float64] = drawn[:, codes].astype(np.float64)
    return weights


def compare_with_factors(counted: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Compare a classifier with the guess from each factor alone, on the same images.

    Parameters
    ----------
    counted : DataFrame
        ``label`` and ``predicted`` of the images that figures count; its index are their rows in
        the data set.
    dataset : Dataset

    Returns
    -------
    DataFrame
        One row for each factor that could be judged: ``factor``, ``level``; ``guess`` and
        ``classifier``, the mean over the classes of the share of images that are right;
        ``within``, the classifier's within values of the factor that hold several classes (the
        mean of those values, weighted by images; NaN where there are none), ``within_chance`` and
        ``within_images``.
    """
    judged = {item.factor: item for item in dataset.confounding.associations}
    rows = []
    for factor in list_factors(dataset.table, dataset.table["label"]):
        item = judged.get(factor.name)
        if item is None or item.level == "not judged":
            continue
        rule = _best_guess(dataset.table["label"], factor.by_image)
        values = factor.by_image.loc[counted.index]
        labels, predicted = counted["label"], counted["predicted"]
        figures = (
            mean_recall(labels, values.map(rule)),
            mean_recall(labels, predicted),
            *_within(labels, predicted, values),
        )
        rows.append((item.factor, item.level, *figures))
    return pd.DataFrame(rows, columns=FACTOR_COLUMNS)


def strata_sentences(table: pd.DataFrame, told: Sequence[Association]) -> list[str]:
    """Say how far a guess gets, and the classifier within plates, where classes go with them.

    Parameters
    ----------
    table : DataFrame
        Of :func:`compare_with_factors`.
    told : sequence of Association
        Which factors are worth saying.

    Returns
    -------
    list of str
        One for each factor of the table that is more than noted.
    """
    rows = {str(row["factor"]): row for _, row in table.iterrows()}
    worth = [item for item in told if item.level != "noted" and item.factor in rows]
    return [_sentence(item, rows[item.factor]) for item in worth]


def _sentence(item: Association, row: "pd.Series[float]") -> str:
    place = f"{item.factor} on the plate" if item.kind == "position" else item.factor
    said = (
        f"From the {place} alone the class of these images is guessed right in {row['guess']:.0%} "
        f"(mean over the classes); the classifier reaches {row['classifier']:.0%}."
    )
    if np.isnan(row["within"]):
        return f"{said} No {item.factor} holds images of two classes: accuracy within one is not known."
    return (
        f"{said} Within one {item.factor}, where that holds several classes, it reaches "
        f"{row['within']:.0%} on {int(row['within_images'])} images ({row['within_chance']:.0%} by "
        "chance)."
    )


def _best_guess(labels: "pd.Series[str]", values: "pd.Series[str]") -> dict[str, str]:
    # Shares of each class, or the largest class would be guessed everywhere.
    shares = pd.crosstab(labels, values, normalize="index")
    return {str(value): str(name) for value, name in shares.idxmax(axis=0).items()}


def _within(
    labels: "pd.Series[str]", predicted: "pd.Series[str]", values: "pd.Series[str]"
) -> tuple[float, float, int]:
    counted = ((mine, len(mine.unique())) for _, mine in labels.groupby(values))
    parts = [
        (mean_recall(mine, predicted.loc[mine.index]), 1 / classes, len(mine))
        for mine, classes in counted
        if classes > 1
    ]
    if not parts:
        return float("nan"), float("nan"), 0
    found, chance, images = map(np.array, zip(*parts, strict=True))
    weights = images / images.sum()
    return float(found @ weights), float(chance @ weights), int(images.sum())
