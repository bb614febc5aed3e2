"""How well cheap features tell the true classes apart, beside labels without meaning."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.evaluation.nulls import Labels, position_block_labels, random_group_labels
from napari_why.events import (
    Advanced,
    Cancelled,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)

TRUE_CLASSES = "true classes"
RANDOM_LABELS = "random label per group"
BLOCK_LABELS = "block of plate {axis}s"


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
        """Compare predicted with given labels."""
        counts = np.bincount(labels)
        return cls((predicted == labels).astype(float), 1 / counts[labels])

    @property
    def accuracy(self) -> float:
        """Mean over the labels of the share of their images that are predicted right."""
        return float(np.average(self.right, weights=self.weights))

    def resampled(self, resamples: NDArray[np.float64]) -> NDArray[np.float64]:
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
        the labels of the share of their images that are told right; for random labels the mean
        over the draws), ``low`` and ``high`` (95 % interval: over draws for random labels, else
        over groups by bootstrap), ``advantage_low`` (5 % quantile over groups of the true
        classes' accuracy minus this row's), ``told_apart`` (with the same features and scheme the
        true classes are told apart at all: their ``low`` is above chance).

    Notes
    -----
    The network has seen the true classes of its training images, so its features favour the truth:
    a match there weighs more, an advantage less, than with intensity features.
    """

    table: pd.DataFrame

    @property
    def matched_by(self) -> pd.DataFrame:
        """Rows of meaningless labels that are learnt as well as true classes that are learnt."""
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
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
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

    Returns
    -------
    NullComparison
        With the rows done so far when cancelled.
    """
    groups = _groups(table, group_columns)
    schemes = {" and ".join(group_columns) or "image": groups}
    if "plate" in table and len(table["plate"].unique()) > 1:
        schemes["plate"] = table["plate"].astype(str)
    nulls = list(_null_labellings(table, labels, groups, draws, seed))
    total = len(features) * len(schemes) * (1 + len(nulls))
    on_event(Started("labels without meaning", total))
    rows: list[dict[str, object]] = []
    done = 0
    for kind, values in features.items():
        for scheme, held_together in schemes.items():
            hits: dict[str, list[BalancedHits]] = {}
            for name, meaningless in [(TRUE_CLASSES, labels), *nulls]:
                if cancelled():
                    break
                hit = _cross_validated_hits(values, meaningless, held_together, seed)
                if hit is not None:
                    hits.setdefault(name, []).append(hit)
                done += 1
                on_event(Advanced(done))
            rows += _rows(hits, groups, (kind, scheme), 1 / len(np.unique(labels)), seed)
    return NullComparison(pd.DataFrame(rows, columns=list(_COLUMNS)))


_COLUMNS = ("labels", "features", "by", "accuracy", "low", "high", "advantage_low", "told_apart")


def _groups(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series:
    if not columns:
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
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    groups_per_class = [groups[labels == label].nunique() for label in np.unique(labels)]
    folds = min(5, groups.nunique(), *groups_per_class)
    if folds < 2 or len(groups_per_class) < 2:
        return None
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    if any(
        len(np.unique(labels[train])) < 2 for train, _ in splitter.split(features, labels, groups)
    ):
        return None
    regression = LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression)
    predicted = cross_val_predict(model, features, labels, groups=groups, cv=splitter)
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
    truth = hits[TRUE_CLASSES][0].resampled(resamples)
    told_apart = bool(np.percentile(truth, 2.5) > chance)
    rows: list[dict[str, object]] = []
    for name, repeats in hits.items():
        accuracies = np.array([repeat.accuracy for repeat in repeats])
        resampled = np.mean([repeat.resampled(resamples) for repeat in repeats], axis=0)
        spread = accuracies if len(repeats) > 1 else resampled
        low, high = np.percentile(spread, [2.5, 97.5])
        advantage = float(np.percentile(truth - resampled, 5))
        figures = (accuracies.mean(), low, high, advantage, told_apart)
        values = (name, *features_and_scheme, *figures)
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    return rows


def _group_resamples(groups: pd.Series, seed: int, count: int = 1000) -> NDArray[np.float64]:
    """Weights (count, N) of images when whole groups are drawn with replacement."""
    codes = pd.factorize(groups)[0]
    number = codes.max() + 1
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=count)
    weights: NDArray[np.float64] = drawn[:, codes].astype(np.float64)
    return weights
