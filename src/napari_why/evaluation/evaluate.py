"""How good a classifier is on labelled images, as figures and in sentences."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import ImageReadError, MismatchError, reason_of
from napari_why.core.randomness import Rng, choose_seed
from napari_why.core.record import Record
from napari_why.datasets import Confounding, Dataset, identical_images
from napari_why.evaluation.comparison import (
    NullComparison,
    compare_with_factors,
    compare_with_nulls,
    feature_tables,
    strata_sentences,
)
from napari_why.evaluation.sentences import (
    flagged_sentences,
    null_sentences,
    partial_sentences,
    summary_sentences,
)
from napari_why.model import Classifier
from napari_why.model.familiarity import (
    describe_familiarity,
    select_counted,
)
from napari_why.model.quality import count_flagged
from napari_why.networks import GenerativeNetwork
from napari_why.training import metrics as measures
from napari_why.training.metrics import reconstruction_metrics, reconstruction_sentence

T = TypeVar("T")


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
    rng: Rng = None,
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
    rng : int or numpy.random.Generator, optional
        In place of the seed; see :mod:`napari_why.core.randomness`.
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
    seed = choose_seed(seed, rng)
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
            *partial_sentences(complete, len(predictions), len(dataset)),
            *lost,
            *summary_sentences(predictions, tables["metrics"], dataset, classifier, duplicates),
            *flagged_sentences(without, tables, dataset.group_columns),
            *(strata_sentences(strata, dataset.confounding.told) if strata is not None else []),
            *(item.sentence for item in dataset.confounding.told if item.level == "noted"),
            *([reconstruction_sentence(reconstruction)] if reconstruction else []),
            *null_sentences(comparison, tables["metrics"]),
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


def _records(table: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    if table is None:
        return None
    # as objects, since None in a column of numbers becomes NaN again, which is no JSON
    plain = table.astype(object).where(table.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
