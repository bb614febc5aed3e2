"""What is said of how good a classifier is: figures with their limits, their baselines and doubts, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy.stats import fisher_exact

from napari_why.core import events
from napari_why.datasets import Dataset
from napari_why.datasets.confounding import TELLING
from napari_why.datasets.tables import imbalance_sentence
from napari_why.evaluation.comparison import (
    RANDOM_LABELS,
    TRUE_CLASSES,
    NullComparison,
)
from napari_why.model import Classifier
from napari_why.model.familiarity import (
    KNOWN,
    NOT_KNOWN,
    UNKNOWN,
    describe_well_names,
    notes_seen_images,
)
from napari_why.model.quality import KINDS
from napari_why.training import metrics as measures


def accuracy_sentence(
    metrics: dict[str, Any],
    groups: int,
    group_name: str,
    seen: bool,
    known_group: str = UNKNOWN,
    *,
    training_known: bool = True,
) -> str:
    """Say how well images, of how many groups, were told apart.

    Parameters
    ----------
    metrics : dict
        Of :func:`napari_why.training.metrics.classification_metrics`.
    groups : int
        Number of groups the images come from; 0 where the data set has none.
    group_name : str
        What a group is: the last of the group columns, such as ``well``.
    seen : bool
        Whether the network was trained on these images.
    known_group : str
        Whether it was trained on other images of their groups: ``yes``, ``no``, ``not known``.
    training_known : bool
        Whether the classifier says which images it was trained on.

    Returns
    -------
    str
    """
    kind = "that the network was trained on" if seen else "that the network has not seen"
    if not training_known:
        kind = "that the network may have been trained on (the classifier does not say)"
    wells = f" of {groups} {group_name}s" if groups else ""
    if known_group == KNOWN and not seen and training_known:
        all_of = f"{groups} {group_name}s" if groups else "wells"
        kind, wells = f"that the network has not seen, all of {all_of} it was trained on", ""
    # a class of one image has no spread, and two classes may share their mean
    z_prime = metrics["z_prime"]
    quality = "not defined" if z_prime is None else f"{z_prime:.2f} of the probability"
    odds = metrics.get("z_prime_log_odds")
    quality += "" if odds is None else f", {odds:.2f} of the log-odds"
    return (
        f"On the {metrics['images']} images{wells} {kind}: "
        f"{measures.describe_accuracy(metrics)}, F1 {metrics['f1']:.2f}, Z' {quality}."
    )


# The usual 5 %: fewer than 20 ways to give classes to wells cannot show less.
LARGEST_P = 0.05


def null_sentence(comparison: NullComparison, reached: float | None = None) -> str:
    """Say whether accuracy on this data set is evidence of a difference between the classes.

    Parameters
    ----------
    comparison : NullComparison
    reached : float or None
        The classifier's own balanced accuracy on this data set, where it is known.

    Returns
    -------
    str
        Empty where there was too little to compare. Never that it is, where something other than
        the class tells the class, or where there are too few wells for any comparison.
    """
    if _shown_nulls(comparison.table).empty and comparison.table["told_apart"].any():
        return ""  # no label without meaning could be learnt: nothing to compare with
    if comparison.table.empty:
        return ""
    if not comparison.table["told_apart"].any():
        return _not_told_apart(comparison.table)
    matched = comparison.matched_by
    if matched.empty:
        return _not_cleared(comparison, reached) or _clear(comparison)
    worst = matched.sort_values("accuracy").iloc[-1]
    true = _true_row(comparison.table, worst)
    return (
        f"Warning: labels without meaning ({worst['labels']}) are told apart as well "
        f"({worst['accuracy']:.0%}) as the true classes ({true['accuracy']:.0%}) by "
        f"{worst['features']} features with every {worst['by']} held together: accuracy on this "
        "data set is no evidence that the classes differ."
    )


def unlike_sentence(predictions: pd.DataFrame) -> str:
    """Say how many images are unlike the training images, and in what; empty where none is.

    Parameters
    ----------
    predictions : DataFrame
        Of :meth:`~napari_why.model.Classifier.predict_many`.
    """
    kinds = predictions["unlike"].str.split("; ").explode()
    kinds = kinds[kinds != ""]
    unknown = kinds[kinds == "unknown"].index.nunique()
    found = kinds[kinds != "unknown"]
    said = []
    if len(found):
        # an image can be constant in two channels
        pairs = found.reset_index().drop_duplicates()
        counts = pairs[found.name].value_counts().items()
        named = ", ".join(f"{kind} {count}" for kind, count in counts)
        said.append(
            f"{found.index.nunique()} of {len(predictions)} images are unlike the training images "
            f"({named}; see their notes): of such images the network was taught nothing."
        )
    if unknown:
        said.append(
            f"Of {unknown} images it is not known whether they are like the training images."
        )
    return " ".join(said)


# Usual: so large a difference between classes is found by chance in one data set of 20.
UNEVEN_P = 0.05


def flagged_sentences(
    without: Mapping[str, Any] | None, tables: Mapping[str, Any], group_columns: Sequence[str] = ()
) -> tuple[str, ...]:
    """Give the figures without images that show too little, beside those of all; and what that bends.

    Parameters
    ----------
    without : mapping or None
        :attr:`Evaluation.without_flagged`.
    tables : mapping
        ``metrics`` and ``group_metrics`` of all images that count.
    group_columns : sequence of str
        What names a group; the last one is what sentences call it.

    Returns
    -------
    tuple of str
        Empty where no image was looked at.
    """
    if without is None:
        return ()
    counts = without["flagged"]
    flagged = sum(item["flagged"] for item in counts.values())
    images = sum(item["images"] for item in counts.values())
    by_class = ", ".join(
        f"{name} {item['flagged']} of {item['images']}" for name, item in counts.items()
    )
    if not flagged:
        return (
            f"None of the {images} images shows hardly any cells, is out of focus or saturated (by "
            "the image alone).",
        )
    reasons = ", ".join(
        f"{kind} {count}"
        for kind in KINDS
        if (count := sum(item[kind] for item in counts.values()))
    )
    all_of = f"{flagged} of {images} images {'is' if flagged == 1 else 'are'} flagged"
    said = [f"{all_of} by a look at the image alone ({reasons}; {by_class})."]
    name = group_columns[-1] if group_columns else "group"
    for part, unit, usual in (
        ("images", "images", tables["metrics"]),
        ("groups", f"{name}s", tables["group_metrics"]),
    ):
        kept = without[part]
        if kept and usual:
            said.append(
                _figures(f"Without them, {kept[part]} of {usual[part]} {unit}", kept, usual)
            )
    if not without["images"]:
        said.append("Without them there is no image left.")
    return (" ".join(said), *_uneven_sentence(counts))


def _figures(of: str, kept: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    def number(metrics: Mapping[str, Any], key: str) -> str:
        return "not defined" if metrics[key] is None else f"{metrics[key]:.2f}"

    keys = {"F1": "f1", "Z'": "z_prime", "Z' of the log-odds": "z_prime_log_odds"}
    rest = "".join(
        f", {words} {number(kept, key)} (all: {number(usual, key)})" for words, key in keys.items()
    )
    return f"{of}: accuracy {kept['accuracy']:.1%} (all: {usual['accuracy']:.1%}){rest}."


def _uneven_sentence(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Warn where flagged images are not spread evenly over the classes (Fisher's exact test)."""
    total = sum(item["images"] for item in counts.values())
    flagged = sum(item["flagged"] for item in counts.values())
    found = []
    for name, item in counts.items():
        here, others = item["flagged"], flagged - item["flagged"]
        rest = total - item["images"]
        if not rest:
            continue
        # of every class against the others: as many tests as classes
        table = [[here, item["images"] - here], [others, rest - others]]
        p = min(1.0, float(fisher_exact(table).pvalue) * len(counts))
        found.append((p, here / item["images"], others / rest, name))
    if not found or min(found)[0] >= UNEVEN_P:
        return []
    _, share, elsewhere, name = min(found)
    return [
        f"Warning: {share:.1%} of the images of {name} are flagged and {elsewhere:.1%} of the others: to "
        "have few or blurred cells may belong to the class, and then the figures without flagged images "
        "are of a choice of images. Trust those of all."
    ]


def duplicates_sentence(duplicates: Sequence[str]) -> str:
    """Name pixels that stand in two splits, or images the network was trained on."""
    if not duplicates:
        return ""
    more = f" and {len(duplicates) - 1} more" if len(duplicates) > 1 else ""
    return f"Warning: the same pixels stand in more than one split: {duplicates[0]}{more}."


def _not_cleared(comparison: NullComparison, reached: float | None) -> str:
    """Say why labels without meaning prove nothing here; empty where they may."""
    # the figure that would stand in the sentence that clears, not the best of others
    true = float(_true_row(comparison.table, _strongest_null(comparison.table))["accuracy"])
    found = comparison.confounding
    if found.confounded:
        names = " and ".join(dict.fromkeys(item.factor for item in found.told_confounded))
        return (
            f"Cheap features tell the true classes apart ({true:.0%}), and it is not known by what: "
            f"class goes with {names}, which labels without meaning cannot show. Accuracy on this "
            "data set is no evidence that the classes differ."
        )
    if found.single:
        names = " and ".join(item.factor for item in found.single)
        return (
            f"Cheap features tell the true classes apart ({true:.0%}), and it is not known by what: "
            f"hardly more than one well has the same {names}. Accuracy on this data set is no "
            "evidence that the classes differ."
        )
    limit = min(true, TELLING if reached is None else min(reached, TELLING))
    for item in found.unbalanced:
        if item.guess >= limit:
            return (
                f"Cheap features tell the true classes apart ({true:.0%}), and it is not known by what: "
                f"the {item.factor} alone tells the class of {item.guess:.0%} of the wells (mean over the "
                "classes), which labels without meaning cannot show. Accuracy on this data set is no "
                "evidence that the classes differ."
            )
    if comparison.smallest_p > LARGEST_P:
        return (
            f"Too few wells to tell: cheap features tell the true classes apart ({true:.0%}), but "
            f"{comparison.wells} wells can be given to the classes in {comparison.labellings} ways only, "
            f"so that no p below {comparison.smallest_p:.2f} can be found. This is no evidence that the "
            "classes differ."
        )
    return ""


def _best_true(table: pd.DataFrame) -> float:
    return float(table[table["labels"] == TRUE_CLASSES]["accuracy"].max())


def _clear(comparison: NullComparison) -> str:
    table = comparison.table
    nulls = _shown_nulls(table)
    strongest = _strongest_null(table)
    true = _true_row(table, strongest)
    tried = "" if set(nulls["labels"]) != {RANDOM_LABELS} else " (positions on a plate not known)"
    return (
        f"Cheap features tell the true classes apart ({true['accuracy']:.0%}) better than any "
        f"labels without meaning (at best {strongest['accuracy']:.0%}, {strongest['labels']})"
        f"{tried}{_given(comparison)}."
    )


def _given(comparison: NullComparison) -> str:
    """Name what goes with the class in every well and is taken for the class in other words."""
    names = [item.factor for item in comparison.confounding.taken_for_granted]
    if not names:
        return ""
    verb = "goes" if len(names) == 1 else "go"
    return (
        f"; {' and '.join(names)} {verb} with the class in every well, so that this holds only if that "
        "is the class in other words"
    )


def _shown_nulls(table: pd.DataFrame) -> pd.DataFrame:
    nulls = table[(table["labels"] != TRUE_CLASSES) & table["told_apart"]]
    # the network's features have seen the true classes of its training images; prefer the others
    by_others = nulls["features"] != "network"
    return nulls[by_others] if by_others.any() else nulls


def _strongest_null(table: pd.DataFrame) -> "pd.Series[Any]":
    strongest: pd.Series[Any] = _shown_nulls(table).sort_values("accuracy").iloc[-1]
    return strongest


def _not_told_apart(table: pd.DataFrame) -> str:
    return (
        f"Cheap features do not tell the true classes apart ({_best_true(table):.0%} at best): they cannot say "
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


def summary_sentences(
    predictions: pd.DataFrame,
    metrics: Mapping[str, Any],
    dataset: Dataset,
    classifier: Classifier,
    duplicates: tuple[str, ...],
) -> tuple[str, ...]:
    """Say what an evaluation found, warnings first.

    Parameters
    ----------
    predictions : DataFrame
        One row an image, as :attr:`~napari_why.evaluation.Evaluation.predictions`.
    metrics : mapping
        Figures of the images that count; empty where there is none.
    dataset : Dataset
        Its confounding and group columns are told.
    classifier : Classifier
        Its card tells what it was trained on.
    duplicates : tuple of str
        Images that are pixel for pixel those of the training.

    Returns
    -------
    tuple of str
    """
    warnings = dataset.confounding.warnings
    if not metrics:
        return (*warnings, "Cancelled before any image was classified.")
    counted = predictions[predictions["counted"]]
    columns = list(dataset.group_columns)
    groups = len(counted[columns].drop_duplicates()) if columns else 0
    name = columns[-1] if columns else ""
    only_seen = bool(counted["seen"].any())
    kind = str(counted["known_group"].iloc[0])
    failed = int((predictions["error"] != "").sum())
    # where all were trained on, all count, and the first sentence says so
    left_out = 0 if only_seen else int(predictions["seen"].sum())
    found = [
        *warnings,
        accuracy_sentence(
            dict(metrics),
            groups,
            name,
            only_seen,
            kind,
            training_known=notes_seen_images(classifier.card),
        ),
        "" if only_seen else _known_sentence(kind, classifier, name or "well"),
        _seen_sentence(left_out, classifier.card),
        *([] if only_seen else _others(predictions, kind, name or "well")),
        f"{failed} images could not be classified; they are listed with the reason."
        if failed
        else "",
        imbalance_sentence(counted["label"]),
        unlike_sentence(counted),
        *metrics["notes"],
        duplicates_sentence(duplicates),
    ]
    return tuple(sentence for sentence in found if sentence)


def _seen_sentence(seen: int, card: Mapping[str, Any]) -> str:
    """Say how many images are left out since the network was trained on them or they chose its epoch."""
    if not seen:
        return ""
    splits = card.get("splits", {})
    trained, chose = (len(splits.get(name, ())) for name in ("train", "validation"))
    if trained + chose != seen:  # of other data, which have some of them
        return (
            f"{seen} images that the network was trained on, or that chose its epoch (validation), are "
            "left out of this."
        )
    also = f", and {chose} that chose its epoch (validation)," if chose else ""
    return f"{trained} images that the network was trained on{also} are left out of this."


def _known_sentence(kind: str, classifier: Classifier, name: str) -> str:
    """Say what is known of the groups of the images that count."""
    known_by = describe_well_names(classifier.card)
    if kind == KNOWN:
        same = f" (they have the same {known_by})" if known_by else ""
        return (
            f"Other images of these {name}s were trained on{same}: the figures say nothing about "
            f"{name}s that the network has not seen."
        )
    if kind == UNKNOWN:
        return ""
    if not known_by:
        why = f"the classifier does not say which {name}s it was trained on"
    elif known_by == "well":
        why = "without plates a well's name may be that of another well"
    else:
        why = f"the classifier knows them by {known_by}, which are not all in this table"
    return f"Whether the network was trained on other images of their {name}s is not known: {why}."


def _others(predictions: pd.DataFrame, kind: str, name: str) -> list[str]:
    """Tell the accuracy on unseen images that do not count since their groups are known."""
    unseen = predictions[~predictions["seen"].astype(bool) & (predictions["error"] == "")]
    said = []
    for other, words in ((NOT_KNOWN, "that may be known"), (KNOWN, "it was trained on")):
        mine = unseen[unseen["known_group"] == other]
        if other != kind and len(mine):
            right = mine["label"] == mine["predicted"]
            balanced = measures.mean_recall(mine["label"], mine["predicted"])
            said.append(
                f"{len(mine)} unseen images of {name}s {words} are left out as well (accuracy "
                f"{right.mean():.1%}, balanced {balanced:.1%})."
            )
    return said


def null_sentences(comparison: NullComparison | None, metrics: Mapping[str, Any]) -> list[str]:
    """Say how the classes are told beside labels without meaning; nothing where that was not compared.

    Parameters
    ----------
    comparison : NullComparison or None
    metrics : mapping
        Its ``balanced_accuracy``, 0 to 1, is what is set beside.

    Returns
    -------
    list of str
        One, or none.
    """
    reached = metrics.get("balanced_accuracy")
    said = null_sentence(comparison, reached) if comparison else ""
    return [said] if said else []


def partial_sentences(complete: bool, done: int, total: int) -> list[str]:
    """Say how far an evaluation came that was stopped.

    Parameters
    ----------
    complete : bool
        Whether all of it was done.
    done, total : int
        Images.

    Returns
    -------
    list of str
        One, or none where it is complete or no image was done.
    """
    if complete or not done:
        return []  # of no image at all the one sentence there is says so
    said = events.describe_partial(done, total, "images")
    compared = "" if done < total else "; the comparison with labels without meaning is left out"
    return [f"{said[0].upper()}{said[1:]}{compared}."]
