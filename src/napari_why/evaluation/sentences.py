"""What an evaluation comes to, in plain sentences for a dock or a report."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from napari_why.evaluation.comparison import RANDOM_LABELS, TRUE_CLASSES, NullComparison


def accuracy_sentence(metrics: dict[str, Any], groups: int, group_name: str, seen: bool) -> str:
    """Say how well images, of how many groups, were told apart.

    Parameters
    ----------
    metrics : dict
        Of :func:`napari_why.training.metrics.classification_metrics`.
    groups : int
        Number of groups the images come from; 0 where the data set has none.
    group_name : str
        What a group is called.
    seen : bool
        Whether the network was trained on these images.
    """
    kind = "that the network was trained on" if seen else "that the network has not seen"
    wells = f" of {groups} {group_name}s" if groups else ""
    z_prime = metrics["z_prime"]
    quality = "not defined" if z_prime is None else f"{z_prime:.2f}"
    return (
        f"On the {metrics['images']} images{wells} {kind}: "
        f"accuracy {metrics['accuracy']:.1%}, F1 {metrics['f1']:.2f}, Z' {quality}."
    )


def null_sentence(comparison: NullComparison) -> str:
    """Say whether accuracy on this data set is evidence of a difference between the classes.

    Returns
    -------
    str
        Empty where there was too little to compare.
    """
    if comparison.table.empty:
        return ""
    if not comparison.table["told_apart"].any():
        return _not_told_apart(comparison.table)
    matched = comparison.matched_by
    if matched.empty:
        return _cleared(comparison.table)
    worst = matched.sort_values("accuracy").iloc[-1]
    true = _true_row(comparison.table, worst)
    return (
        f"Warning: labels without meaning ({worst['labels']}) are told apart as well "
        f"({worst['accuracy']:.0%}) as the true classes ({true['accuracy']:.0%}) by "
        f"{worst['features']} features with every {worst['by']} held together: accuracy on this "
        "data set is no evidence that the classes differ."
    )


def duplicates_sentence(duplicates: Sequence[str]) -> str:
    """Name pixels that stand in two splits, or images the network was trained on."""
    if not duplicates:
        return ""
    more = f" and {len(duplicates) - 1} more" if len(duplicates) > 1 else ""
    return f"Warning: the same pixels stand in more than one split: {duplicates[0]}{more}."


def _cleared(table: pd.DataFrame) -> str:
    nulls = table[(table["labels"] != TRUE_CLASSES) & table["told_apart"]]
    # the network's features have seen the true classes of its training images; prefer the others
    if (nulls["features"] != "network").any():
        nulls = nulls[nulls["features"] != "network"]
    strongest = nulls.sort_values("accuracy").iloc[-1]
    true = _true_row(table, strongest)
    tried = "" if set(nulls["labels"]) != {RANDOM_LABELS} else " (positions on a plate not known)"
    return (
        f"Cheap features tell the true classes apart ({true['accuracy']:.0%}) better than any "
        f"labels without meaning (at best {strongest['accuracy']:.0%}, {strongest['labels']})"
        f"{tried}."
    )


def _not_told_apart(table: pd.DataFrame) -> str:
    best = table[table["labels"] == TRUE_CLASSES]["accuracy"].max()
    return (
        f"Cheap features do not tell the true classes apart ({best:.0%} at best): they cannot say "
        "what the classifier's accuracy is worth."
    )


def _true_row(table: pd.DataFrame, beside: "pd.Series[Any]") -> "pd.Series[Any]":
    mask = (
        (table["labels"] == TRUE_CLASSES)
        & (table["features"] == beside["features"])
        & (table["by"] == beside["by"])
    )
    first: pd.Series[Any] = table.loc[mask].iloc[0]
    return first
