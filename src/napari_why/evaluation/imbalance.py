"""How metrics and maps move when one class has fewer training images: networks trained on purpose so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core import events
from napari_why.core.errors import ParameterError
from napari_why.core.record import Record
from napari_why.datasets import Dataset
from napari_why.evaluation.class_maps import PER_PIXEL, ClassMapOptions, ClassMaps, class_maps
from napari_why.evaluation.map_statistics import map_vector
from napari_why.fitting.fit import fit
from napari_why.model import Classifier
from napari_why.model.classifier import find_class
from napari_why.training.train import TrainingError

# Of a fit: what follows a training takes longer than the training itself, and nobody asks these networks
# for a counterfactual.
BARE: Mapping[str, Any] = {"second_network": False, "pixel_maps": False, "lock": "none"}
# Column names of the table.
RATIO, SEED, LIKENESS = "ratio", "seed", "correlation of maps with those of all images"


@dataclass(frozen=True, eq=False)
class ImbalanceStudy:
    """What :func:`study_imbalance` found.

    Parameters
    ----------
    table : DataFrame
        One row a network: ``ratio``, ``seed``, ``training images of`` each class, ``balanced accuracy``,
        ``f1`` and ``recall of`` each class on the images held out, ``mean probability of`` the reduced
        class in its own images, and ``correlation of maps with those of all images``: of the mean maps of
        all classes, for the reduced class, with the mean of those of the networks at the highest ratio of
        the *other* seeds. At the highest ratio that is the spread of seeds alone.
    reduced : str
        The class whose images were taken away.
    sentences : tuple of str
    record : Record
    complete : bool
    """

    table: pd.DataFrame
    reduced: str
    sentences: tuple[str, ...]
    record: Record
    complete: bool = True


def study_imbalance(
    dataset: Dataset,
    ratios: Sequence[float] = (1.0, 0.5, 0.25, 0.1),
    seeds: Sequence[int] = (0, 1, 2),
    *,
    reduced: str | int | None = None,
    network: str = "cam_net",
    method: str = "integrated_gradients",
    options: ClassMapOptions | Mapping[str, Any] | None = None,
    fit_options: Mapping[str, Any] | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **parameters: Any,
) -> ImbalanceStudy:
    """Train networks with fewer and fewer images of one class, and see what metrics and maps do.

    Validation and test images stay the same; images are taken away well by well, so that a rare class
    comes from few wells, as it does in a screen. As many trainings as ratios times seeds: hours for a
    plate.

    Parameters
    ----------
    dataset : Dataset
        Split here if it is not; maps are of its test images.
    ratios : sequence of float
        Shares of the reduced class's training images that are kept, above 0 and up to 1.
    seeds : sequence of int
        Of the wells that are kept and of the training. Fewer than two say nothing of chance.
    reduced : str or int, optional
        The class that loses images; by default the last one.
    network : str
        See :func:`napari_why.fit`.
    method, options
        See :func:`class_maps`; ``explained`` is always the reduced class.
    fit_options : mapping, optional
        See :func:`napari_why.fit`; without second network, pixel maps and locks unless asked for.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with the networks done by then.
    **parameters
        The method's own.

    Returns
    -------
    ImbalanceStudy
        One row a network that was trained.

    Raises
    ------
    ParameterError
        A ratio out of range, no seed, or no such class.
    """
    wanted = sorted(set(map(float, ratios)), reverse=True)
    if not wanted or not all(0 < ratio <= 1 for ratio in wanted) or not len(seeds):
        raise ParameterError(
            f"ratios, seeds: found {list(ratios)}, {list(seeds)}; expected ratios above 0 and up to 1, and "
            "at least one seed"
        )
    split = dataset if "split" in dataset.table else dataset.split(seed=0)
    name = find_class(
        dataset.classes, len(dataset.classes) - 1 if reduced is None else reduced
    ).name
    chosen = ClassMapOptions.of(options, {"explained": name})
    held_out = split.part("test" if (split.table["split"] == "test").any() else "validation")
    rows: list[dict[str, Any]] = []
    vectors: list[NDArray[np.float64]] = []
    runs = [(ratio, int(seed)) for ratio in wanted for seed in seeds]
    on_event(events.Started("trainings", len(runs)))
    for done, (ratio, seed) in enumerate(runs, start=1):
        if cancelled():
            break
        fewer = reduce_class(split, name, ratio, seed)
        try:
            classifier = fit(
                fewer, network, cancelled=cancelled, **{**BARE, **(fit_options or {}), "seed": seed}
            )
        except TrainingError:
            if cancelled():
                break
            raise
        found = class_maps(
            classifier, held_out, method, options=chosen, cancelled=cancelled, **parameters
        )
        if not found.complete or classifier.card["training"]["status"] == "cancelled":
            break  # half a training would pass for what few images do
        rows.append({RATIO: ratio, SEED: seed, **_figures(classifier, fewer, found, name)})
        vectors.append(_vector_of_classes(found))
        on_event(events.Advanced(done))
    complete = len(rows) == len(runs)
    on_event(events.Finished(partial=not complete))
    table = pd.DataFrame(rows)
    if rows:
        table[LIKENESS] = _compare_with_all(table, vectors)
    return ImbalanceStudy(
        table,
        name,
        _sentences(table, name, len(runs)),
        Record(
            kind="imbalance study",
            method=method,
            parameters={
                **parameters,
                **chosen.to_dict(),
                "ratios": wanted,
                "seeds": list(map(int, seeds)),
                "network": network,
                "fit_options": dict(fit_options or {}),
            },
            details={"reduced": name, "images": len(held_out), "complete": complete},
        ),
        complete,
    )


def reduce_class(dataset: Dataset, name: str, ratio: float, seed: int) -> Dataset:
    """Keep a share of the training images of a class, well by well; at least one.

    Parameters
    ----------
    dataset : Dataset
        Split.
    name : str
        The class that loses images.
    ratio : float
        Share of its training images that stays, above 0 and up to 1.
    seed : int
        Which wells stay.

    Returns
    -------
    Dataset
        All other images are kept.
    """
    table = dataset.table
    rows = np.flatnonzero((table["split"] == "train") & (table["label"] == name))
    wells = np.unique(dataset.groups[rows])
    order = np.random.default_rng(seed).permutation(wells)
    by_well = np.concatenate([rows[dataset.groups[rows] == well] for well in order])
    kept = max(1, round(ratio * len(rows)))
    left_out = set(by_well[kept:].tolist())
    return dataset.select([row for row in range(len(dataset)) if row not in left_out])


def _figures(
    classifier: Classifier, trained_on: Dataset, found: ClassMaps, name: str
) -> dict[str, Any]:
    part = "test" if classifier.metrics.get("test") else "validation"
    metrics = classifier.metrics[part]["images"]
    matrix = np.asarray(metrics["confusion_matrix"], dtype=float)
    recalls = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    counts = trained_on.part("train").table["label"].value_counts()
    counted = found.images[found.images["error"] == ""]
    own = counted[counted["label"] == name]["probability of the label"]
    return {
        **{
            f"training images of {label}": int(counts.get(label, 0)) for label in classifier.classes
        },
        "balanced accuracy": metrics["balanced_accuracy"],
        "f1": metrics["f1"],
        **{
            f"recall of {label}": float(recall)
            for label, recall in zip(classifier.classes, recalls, strict=True)
        },
        f"mean probability of {name}": float(own.mean()),
    }


def _vector_of_classes(found: ClassMaps) -> NDArray[np.float64]:
    """Return the mean maps of all classes, or what their regions hold, in one row."""
    if found.maps:
        return np.concatenate([map_vector(item.mean[:-1]) for item in found.maps])
    ordered = found.regions.sort_values(["label", "channel", "region"])
    return np.asarray(np.nan_to_num(ordered[PER_PIXEL].to_numpy(dtype=float)))


def _compare_with_all(table: pd.DataFrame, vectors: Sequence[NDArray[np.float64]]) -> list[float]:
    highest = table[RATIO].max()
    found = []
    for seed, vector in zip(table[SEED], vectors, strict=True):
        # a network is no witness for itself, nor for one that began with its weights
        others = [
            other
            for other, ratio, its in zip(vectors, table[RATIO], table[SEED], strict=True)
            if ratio == highest and its != seed and other.shape == vector.shape
        ]
        alike = np.corrcoef(vector, np.mean(others, axis=0))[0, 1] if others else np.nan
        found.append(float(alike))
    return found


def _sentences(table: pd.DataFrame, name: str, runs: int) -> tuple[str, ...]:
    if table.empty:
        return ("cancelled before any network was trained",)
    said = [] if len(table) == runs else [events.describe_partial(len(table), runs, "networks")]
    highest = float(table[RATIO].max())
    for ratio, part in table.groupby(RATIO, sort=False):
        row = part.mean(numeric_only=True)
        alike = (
            "how far maps differ between seeds alone is not known: take two seeds"
            if np.isnan(row[LIKENESS])
            else f"maps correlate by {row[LIKENESS]:.2f} ({part[LIKENESS].min():.2f} to "
            f"{part[LIKENESS].max():.2f}) with those of other seeds at ratio {highest:g}"
        )
        said.append(
            f"{row[f'training images of {name}']:.0f} training images of {name} (ratio {ratio}): "
            f"balanced accuracy {row['balanced accuracy']:.2f}, recall of {name} "
            f"{row[f'recall of {name}']:.2f}, {alike}"
        )
    return tuple(said)
