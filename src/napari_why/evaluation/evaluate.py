"""How good a classifier is on labelled images, as figures and in sentences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import ImageReadError, MismatchError, reason_of
from napari_why.core.record import Record
from napari_why.datasets import Confounding, Dataset, identical_images
from napari_why.datasets.confounding import TELLING
from napari_why.datasets.tables import imbalance_sentence
from napari_why.evaluation.comparison import (
    RANDOM_LABELS,
    TRUE_CLASSES,
    NullComparison,
    compare_with_factors,
    compare_with_nulls,
    feature_tables,
    strata_sentences,
)
from napari_why.model import Classifier
from napari_why.model.familiarity import (
    KNOWN,
    NOT_KNOWN,
    UNKNOWN,
    describe_familiarity,
    describe_well_names,
    notes_seen_images,
    select_counted,
)
from napari_why.model.quality import KINDS, count_flagged
from napari_why.networks import GenerativeNetwork
from napari_why.training import metrics as measures
from napari_why.training.metrics import reconstruction_metrics, reconstruction_sentence

T = TypeVar("T")


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


@dataclass(frozen=True)
class Evaluation:
    """What came out of :func:`evaluate`.

    Parameters
    ----------
    metrics : dict
        Of the images that count
        (:func:`~napari_why.training.metrics.classification_metrics`): those of wells the network was
        not trained on; where there are none, those it has not seen of other wells; where there are
        none either, all. The sentences say which. Empty when cancelled before.
    group_metrics : dict or None
        The same over groups (wells) with averaged probabilities; None without groups.
    by_group, by_plate : DataFrame or None
        One row per group, and per plate where there are several
        (:func:`~napari_why.training.metrics.metrics_by`).
    predictions : DataFrame
        One row per image (:meth:`Classifier.predict_many`); ``seen`` and ``known_group``
        (:func:`~napari_why.model.familiarity.describe_familiarity`); ``counted``: whether it
        counts in the figures.
    duplicates : tuple of str
        Identical pixels in two splits, by name: the data set's own splits where it has them, else
        those the classifier was trained with.
    reconstruction : dict or None
        How well a generative network gives those images back
        (:func:`~napari_why.training.metrics.reconstruction_metrics`); None for others.
    nulls : NullComparison or None
        None where it was not asked for.
    sentences : tuple of str
        All of it in words; what cannot be told from the class comes first.
    record : Record
    by_familiarity : DataFrame or None
        Accuracy apart for images trained on (``seen``), images not seen of known groups, of groups of
        which it is not known, and of unknown groups (``known_group``).
    confounding : Confounding
        What else tells the class (:func:`~napari_why.datasets.find_confounding`).
    strata : DataFrame or None
        The classifier beside it (:func:`~napari_why.evaluation.comparison.compare_with_factors`).
    complete : bool
        False when the work was cancelled.
    images : int
        How many the data set has; as many have a prediction where it is complete.
    data_notes : tuple of str
        :attr:`Dataset.notes <napari_why.datasets.Dataset>`: what was left out, guessed or noticed.
    without_flagged : dict or None
        The figures without the images that show hardly any cells, are out of focus or saturated, by a
        rule that looks at the image alone: ``images`` and ``groups``
        (:func:`~napari_why.training.metrics.metrics_of_kept`), and ``flagged``, how many these are
        by class (:func:`~napari_why.model.quality.count_flagged`). None of a classifier that was saved
        before that was measured, or when cancelled before.
    """

    metrics: dict[str, Any]
    group_metrics: dict[str, Any] | None
    by_group: pd.DataFrame | None
    by_plate: pd.DataFrame | None
    predictions: pd.DataFrame
    duplicates: tuple[str, ...]
    reconstruction: dict[str, Any] | None
    nulls: NullComparison | None
    sentences: tuple[str, ...]
    record: Record = field(repr=False)
    by_familiarity: pd.DataFrame | None = None
    confounding: Confounding = field(default_factory=Confounding)
    strata: pd.DataFrame | None = None
    complete: bool = True
    images: int | None = None
    data_notes: tuple[str, ...] = ()
    without_flagged: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictions as JSON types."""
        return {
            "complete": self.complete,
            "images": {"done": len(self.predictions), "of": self.images},
            "sentences": list(self.sentences),
            "metrics": self.metrics,
            "group_metrics": self.group_metrics,
            "without_flagged": self.without_flagged,
            "by_group": _records(self.by_group),
            "by_plate": _records(self.by_plate),
            "duplicates": list(self.duplicates),
            "reconstruction": self.reconstruction,
            "nulls": _records(self.nulls.table) if self.nulls else None,
            "by_familiarity": _records(self.by_familiarity),
            "confounding": self.confounding.to_dict(),
            "data_notes": list(self.data_notes),
            "strata": _records(self.strata),
            "record": self.record.to_dict(),
        }


@shows_progress
def evaluate(
    classifier: Classifier,
    dataset: Dataset,
    *,
    nulls: bool = True,
    seed: int = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evaluation:
    """Classify a labelled data set and say what the figures are worth.

    Images whose pixels the network was trained on (training or validation split, wherever the
    files lie now) are recognised and kept out of the figures, and so are other images of the same
    wells as far as there are any of other wells. What else tells the class (a plate, a day, a place on
    the plate) is looked for in the table. Cheap features are cross-validated
    on the true classes and on labels without meaning
    (:func:`~napari_why.evaluation.comparison.compare_with_nulls`), over *all* images given, so
    give the whole data set, not one split.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
        With the classifier's channels and classes.
    nulls : bool
        Compare with labels without meaning.
    seed : int
        Of the random labels and of the bootstrap.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with what there was by then.
        Without ``on_event`` progress is shown in the console
        (``on_event=napari_why.quiet``: nothing is).

    Returns
    -------
    Evaluation

    Raises
    ------
    MismatchError
        The data set has a class that the classifier does not know, or no image of it can be
        classified.

    Examples
    --------
    >>> evaluation = why.evaluate(classifier, why.Dataset.open("plate/"))  # doctest: +SKIP
    >>> evaluation.sentences[0]  # doctest: +SKIP
    'On the 189 images of 54 wells that the network has not seen: accuracy 100.0 %, ...'
    """
    _check_classes(classifier, dataset)
    predictions = classifier.predict_many(dataset, on_event=on_event, cancelled=cancelled)
    familiarity = describe_familiarity(classifier.card, dataset)
    # cancelled, there are fewer predictions
    predictions[["seen", "known_group"]] = familiarity.iloc[: len(predictions)]
    counted = _select_counted(predictions)
    predictions["counted"] = predictions.index.isin(counted.index)
    seen = familiarity["seen"].to_numpy(dtype=bool)
    duplicates = tuple(
        str(found)
        for found in identical_images(_with_splits(classifier, dataset, seen))
        if found.leaks
    )
    tables = _tables(counted, classifier, dataset)
    without = _without_flagged(counted, classifier, dataset)
    strata = None if counted.empty else compare_with_factors(counted, dataset)
    lost: list[str] = []
    reconstruction = _attempt(
        "how well images are given back", lost, _reconstruction, counted, classifier, dataset
    )
    comparison = None
    if nulls and not cancelled():
        # an image that could not be classified cannot be read for this either
        readable = dataset.select(np.asarray(predictions["error"] == ""))
        comparison = _attempt(
            "the comparison with labels without meaning",
            lost,
            _null_comparison,
            classifier,
            readable,
            seed,
            on_event,
            cancelled,
        )
    if cancelled():
        comparison = None  # with labels that were not all tried, it would clear what they might not
    # a comparison that comes to nothing since it has too few images is complete all the same
    complete = len(predictions) == len(dataset) and not (nulls and cancelled())
    on_event(events.Finished(partial=not complete))
    return Evaluation(
        **tables,
        predictions=predictions,
        duplicates=duplicates,
        reconstruction=reconstruction,
        nulls=comparison,
        sentences=(
            *_partial_sentences(complete, len(predictions), len(dataset)),
            *lost,
            *_sentences(predictions, tables["metrics"], dataset, classifier, duplicates),
            *flagged_sentences(without, tables, dataset.group_columns),
            *(strata_sentences(strata, dataset.confounding.told) if strata is not None else []),
            *(item.sentence for item in dataset.confounding.told if item.level == "noted"),
            *([reconstruction_sentence(reconstruction)] if reconstruction else []),
            *_null_sentences(comparison, tables["metrics"]),
        ),
        record=Record(
            kind="evaluation",
            method="evaluate",
            parameters={"nulls": nulls},
            seed=seed,
            classifier=classifier.fingerprint,
            details={
                "dataset": dataset.fingerprint,
                "images": len(dataset),
                "done": len(predictions),
                "complete": complete,
            },
        ),
        by_familiarity=_by_familiarity(predictions, dataset),
        confounding=dataset.confounding,
        data_notes=dataset.notes,
        strata=strata,
        complete=complete,
        images=len(dataset),
        without_flagged=without,
    )


def _null_sentences(comparison: NullComparison | None, metrics: Mapping[str, Any]) -> list[str]:
    reached = metrics.get("balanced_accuracy")
    said = null_sentence(comparison, reached) if comparison else ""
    return [said] if said else []


def _partial_sentences(complete: bool, done: int, total: int) -> list[str]:
    if complete or not done:
        return []  # of no image at all the one sentence there is says so
    said = events.describe_partial(done, total, "images")
    compared = "" if done < total else "; the comparison with labels without meaning is left out"
    return [f"{said[0].upper()}{said[1:]}{compared}."]


def _check_classes(classifier: Classifier, dataset: Dataset) -> None:
    unknown = sorted(set(dataset.table["label"]) - set(classifier.classes))
    if unknown:
        raise MismatchError(
            f"data set: found the classes {', '.join(unknown)}; expected only "
            f"{', '.join(classifier.classes)}; open it with classes=... to leave others out"
        )


def _with_splits(classifier: Classifier, dataset: Dataset, seen: NDArray[np.bool_]) -> Dataset:
    """Put every image into the split the classifier had it in, where the data set has no splits."""
    if "split" in dataset.table.columns:
        return dataset
    splits = {
        path: split for split, paths in classifier.card.get("splits", {}).items() for path in paths
    }
    # seen under another path: which split it was in is not known, and training is the stricter guess
    names = [
        splits.get(path, "train") if known else "unseen"
        for path, known in zip(dataset.table["path"], seen, strict=True)
    ]
    return replace(dataset, table=dataset.table.assign(split=names))


def _select_counted(predictions: pd.DataFrame) -> pd.DataFrame:
    counted = select_counted(predictions)
    if counted.empty and not predictions.empty:
        raise MismatchError(f"no image could be classified; first: {predictions['error'].iloc[0]}")
    return counted


def _by_familiarity(predictions: pd.DataFrame, dataset: Dataset) -> pd.DataFrame | None:
    """Tell the accuracy of seen images, and of unseen ones by what is known of their groups."""
    if predictions.empty:
        return None
    readable = predictions[predictions["error"] == ""]
    columns, rows = list(dataset.group_columns), []
    for (seen, known), mine in readable.groupby(["seen", "known_group"], sort=True):
        right = mine["label"] == mine["predicted"]
        rows.append(
            {
                "seen": bool(seen),
                "known_group": str(known),
                "images": len(mine),
                "groups": len(mine[columns].drop_duplicates()) if columns else 0,
                "accuracy": float(right.mean()),
                "balanced_accuracy": measures.mean_recall(mine["label"], mine["predicted"]),
                "counted": bool(mine["counted"].all()),
            }
        )
    return pd.DataFrame(rows)


def _tables(counted: pd.DataFrame, classifier: Classifier, dataset: Dataset) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "metrics": {},
        "group_metrics": None,
        "by_group": None,
        "by_plate": None,
    }
    if counted.empty:
        return empty
    classes = classifier.classes
    labels = counted["label"].to_numpy()
    scores = counted[measures.probability_columns(classes)].to_numpy(dtype=float)
    tables = empty | {"metrics": measures.classification_metrics(labels, scores, classes)}
    if dataset.group_columns:
        by_group = measures.metrics_by(
            labels, scores, classes, counted[list(dataset.group_columns)]
        )
        tables["by_group"] = by_group
        tables["group_metrics"] = measures.group_metrics(by_group, classes)
    if "plate" in counted and len(counted["plate"].unique()) > 1:
        tables["by_plate"] = measures.metrics_by(labels, scores, classes, counted["plate"])
    return tables


def _without_flagged(
    counted: pd.DataFrame, classifier: Classifier, dataset: Dataset
) -> dict[str, Any] | None:
    if counted.empty or not classifier.judges_quality:
        return None
    flags = [tuple(filter(None, kinds.split("; "))) for kinds in counted["quality"]]
    groups = counted[list(dataset.group_columns)] if dataset.group_columns else None
    return {
        "flagged": count_flagged(counted["label"].to_numpy(), flags),
        **measures.metrics_of_kept(
            counted["label"].to_numpy(),
            counted[measures.probability_columns(classifier.classes)].to_numpy(dtype=float),
            classifier.classes,
            np.array([not reasons for reasons in flags]),
            groups,
        ),
    }


def _attempt(what: str, lost: list[str], step: Callable[..., T], *arguments: Any) -> T | None:
    """Take a step that reads images again: one that is gone by then must not cost the rest."""
    try:
        return step(*arguments)
    except (ImageReadError, OSError, MemoryError) as error:
        lost.append(f"Left out: {what} ({reason_of(error)}).")
        return None


def _reconstruction(
    counted: pd.DataFrame, classifier: Classifier, dataset: Dataset
) -> dict[str, Any] | None:
    network = classifier.network
    if counted.empty or not isinstance(network, GenerativeNetwork):
        return None
    # the rows of predictions are those of the data set; a generator, so that one image is in memory
    images = (classifier.prepare(dataset.image(int(row))) for row in counted.index)
    return reconstruction_metrics(network, images, classifier.preprocessing)


def _null_comparison(
    classifier: Classifier,
    dataset: Dataset,
    seed: int,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> NullComparison | None:
    features = feature_tables(classifier, dataset, on_event=on_event, cancelled=cancelled)
    if any(len(values) < len(dataset) for values in features.values()):
        return None  # cancelled: some classes may be missing altogether
    return compare_with_nulls(
        features,
        dataset.table,
        dataset.labels,
        dataset.group_columns,
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )


def _sentences(
    predictions: pd.DataFrame,
    metrics: Mapping[str, Any],
    dataset: Dataset,
    classifier: Classifier,
    duplicates: tuple[str, ...],
) -> tuple[str, ...]:
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


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    if table is None:
        return None
    # as objects, since None in a column of numbers becomes NaN again, which is no JSON
    plain = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
