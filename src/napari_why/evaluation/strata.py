"""A classifier beside what else tells the class: the guess from a plate, and accuracy within plates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from napari_why.datasets import Association, Dataset
from napari_why.datasets.factors import list_factors
from napari_why.training.metrics import mean_recall

COLUMNS = [
    "factor",
    "level",
    "guess",
    "classifier",
    "within",
    "within_chance",
    "within_images",
]


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
    return pd.DataFrame(rows, columns=COLUMNS)


def strata_sentences(table: pd.DataFrame, told: Sequence[Association]) -> list[str]:
    """Say how far a guess gets, and the classifier within plates, where classes go with them.

    Parameters
    ----------
    table : DataFrame
        Of :func:`compare_with_factors`.
    told : sequence of Association
        Which factors are worth saying.
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
