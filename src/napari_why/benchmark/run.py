"""The benchmark, on simulated effects and on real images: each result is kept as soon as it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.benchmark.ceilings import (
    ChangedImages,
    change_by_network,
    do_nothing,
    learnt_from_pairs,
    transported_pixels,
    truth,
)
from napari_why.benchmark.data import BenchmarkData, Direction, EffectData, Protocol
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import (
    METHODS,
    NetworkMethod,
    Row,
    SharedParts,
    StoppedError,
    methods_named,
    watch_time,
)
from napari_why.benchmark.scores import BASELINES, FIGURES, change_trivially
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.events import (
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets import Dataset, Preprocessing
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model.chance import at_chance
from napari_why.simulation import EFFECTS


def run_truth_benchmark(
    folder: str | Path,
    *,
    effects: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    protocol: Protocol | None = None,
    final: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> pd.DataFrame:
    """Measure counterfactuals against changes that are known.

    Results that are in the folder already and were made the same way are not made again, and
    neither are classifiers, so a benchmark that was stopped goes on where it was.

    Parameters
    ----------
    folder : str or Path
        Where results and classifiers are kept.
    effects, methods : sequence of str
        Of :data:`napari_why.simulation.EFFECTS` and :data:`~.rows.METHODS`; all by default.
    seeds : sequence of int
        Each trains and scores on images of its own.
    protocol : Protocol, optional
        Sizes and numbers, and the set of scenes.
    final : bool
        Allows a protocol with the final scenes, which is refused otherwise.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    DataFrame
        One row for each effect, seed, direction and method in the folder that was made by this
        protocol; see :class:`~.scores.Scorer` for the columns. ``refused`` holds the reason where a method
        declined, and its figures are missing; ``notes`` says so where the classifier is at chance.

    Raises
    ------
    ParameterError
        An unknown effect or method, or scenes that are refused; see :class:`~.data.EffectData`.
    """
    unknown = [name for name in effects if name not in EFFECTS]
    if unknown:
        raise ParameterError(
            f"effects: found {', '.join(unknown)}; expected some of {', '.join(EFFECTS)}"
        )
    chosen = protocol or Protocol()
    return run_rows(
        [
            EffectData(chosen, effect, seed, final)
            for effect in (effects or tuple(EFFECTS))
            for seed in seeds
        ],
        methods_named(tuple(methods)),
        ResultFolder(Path(folder)),
        task="benchmark of known truth",
        on_event=on_event,
        cancelled=cancelled,
    )


def run_rows(
    units: Sequence[BenchmarkData],
    rows: Mapping[str, Row],
    results: ResultFolder,
    *,
    task: str,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> pd.DataFrame:
    """Make every row of every unit that is not in the folder yet; return the table of such units.

    Parameters
    ----------
    units : sequence of BenchmarkData
        Effects or data sets, each with a seed.
    rows : mapping of str to Row
    results : ResultFolder
    task : str
        What the work is called in events.
    on_event, cancelled
        See :mod:`napari_why.core.events`. When cancelled, the table holds what is there.

    Returns
    -------
    DataFrame
        One row a unit, row and direction.
    """
    results.claim()
    on_event(Started(task, len(units)))
    stopped = False
    for data in units:
        parts = SharedParts(data, results, on_event, cancelled)
        try:
            for name, row in rows.items():
                identity = {**data.identity, "row": row.to_dict()}
                if not results.has(data.name, data.seed, name, identity):
                    on_event(Message(f"{data.name}, seed {data.seed}: {name}"))
                    figures, images = _measure(parts, row)
                    results.keep(data.name, data.seed, name, identity, figures, images)
        except WhyError:  # a training that is cancelled before its first epoch raises, too
            if not cancelled():
                raise
            stopped = True
            break
    on_event(Finished(partial=stopped))
    return results.table([data.identity for data in units])


def _measure(
    parts: SharedParts, row: Row
) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]]:
    figures, images = {}, {}
    judged_by = (
        parts.classifier(row.asked) if isinstance(row, NetworkMethod) else parts.default_classifier
    )
    for scorer in parts.scorers:
        parts.stop_if_asked()
        name = scorer.direction.name
        try:
            made = _make(parts, row, scorer.direction)
        except WhyError as reason:
            parts.stop_if_asked()
            figures[name] = {**dict.fromkeys(FIGURES), "refused": str(reason)}
            continue
        chance = at_chance(judged_by.metrics)
        notes = "; ".join(filter(None, (*made.notes, chance, scorer.doubt)))
        figures[name] = {**scorer.scores(made, judged_by), "notes": notes}
        images[name] = made.images
    return figures, images


def _make(parts: SharedParts, row: Row, direction: Direction) -> ChangedImages:
    recipes = dict.fromkeys((row.recipe, row.asked)) if isinstance(row, NetworkMethod) else {}
    training = sum(map(parts.training_seconds, recipes))
    with watch_time() as watch:
        made = _by_kind(parts, row, direction)
    parts.stop_if_asked()
    if made is None:
        raise StoppedError("the benchmark was stopped; the results so far are kept")
    return replace(made, seconds=watch.seconds, training_seconds=training)


def _by_kind(parts: SharedParts, row: Row, direction: Direction) -> ChangedImages | None:
    data, on_event, cancelled = parts.data, parts.on_event, parts.cancelled
    if isinstance(row, NetworkMethod):
        return change_by_network(
            parts.classifier(row.asked),
            direction.images,
            direction.source,
            direction.target,
            row.method,
            row.parameters,
            through=parts.classifier(row.recipe),
            on_event=on_event,
            cancelled=cancelled,
        )
    match row.kind:
        case "truth":
            return truth(direction)
        case "do_nothing":
            return do_nothing(direction)
        case "one_factor" | "grey_level_curve":
            return change_trivially(parts.default_classifier, data, direction, row.kind)
        case "pixel_transport":
            return transported_pixels(parts.default_classifier, data, direction)
        case "true_pairs":
            return learnt_from_pairs(
                parts.default_classifier, data, direction, on_event=on_event, cancelled=cancelled
            )


NEED_TRUTH = ("TRUTH", "true-pairs")
REAL_METHODS = ("do-nothing", *BASELINES, "mean-shift", "pixel-transport", "transport", "vae")


@dataclass(frozen=True)
class RealData:
    """A real data set with one split; a :class:`~.data.BenchmarkData`.

    Parameters
    ----------
    name : str
        Names a folder.
    images : Dataset
        Split by group with ``seed`` where it is not split yet.
    seed : int
        Of split and networks, and of the test images that are drawn where there are more.
    size : int
        Height and width the networks see.
    intensity : str
        See :func:`napari_why.fit`.
    epochs : int
        Of the classifiers; 0: the network's own.
    reference_epochs : int
        Of the reference classifier.
    scored : int
        Largest number of test images per class.
    """

    name: str
    images: Dataset
    seed: int = 0
    size: int = 64
    intensity: Literal["linear", "log1p", "asinh"] = "linear"
    epochs: int = 0
    reference_epochs: int = 20
    scored: int = 50

    @property
    def identity(self) -> dict[str, Any]:
        """The images and all parameters."""
        names = ("seed", "size", "intensity", "epochs", "scored")
        parameters = {name: getattr(self, name) for name in names}
        # results on disk know the name that it had before
        parameters["judge_epochs"] = self.reference_epochs
        return {"data set": self.images.fingerprint, **parameters}

    @property
    def fit_settings(self) -> dict[str, Any]:
        """Size, intensity and length of the training."""
        return {"size": self.size, "intensity": self.intensity, "epochs": self.epochs}

    @cached_property
    def dataset(self) -> Dataset:
        """The images, split."""
        split = "split" in self.images.table.columns
        return self.images if split else self.images.split(seed=self.seed)

    def training_pairs(self, source: str, target: str) -> None:
        """Return None: no experiment knows them.

        Parameters
        ----------
        source, target : str
            Classes; not looked at.
        """

    @property
    def affected(self) -> tuple[int, ...]:
        """All channels."""
        return tuple(range(len(self.dataset.channels)))

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """Every class to every other, on the test images, which nothing was trained on."""
        test = self.dataset.part("test")
        sized = Preprocessing.from_dataset(self.dataset, size=self.size, intensity=self.intensity)
        by_class = {name: self._test_images(test, sized, name) for name in self.dataset.classes}
        there = {name: images for name, images in by_class.items() if len(images)}
        return tuple(
            Direction(source, target, there[source], there[target])
            for source, target in permutations(there, 2)
        )

    def _test_images(self, test: Dataset, sized: Preprocessing, label: str) -> NDArray[Any]:
        rows = np.flatnonzero(test.table["label"] == label)
        drawn = np.random.default_rng(self.seed).permutation(rows)[: self.scored]
        made = [
            export_pixels(sized.inverse(sized(image)), export_dtype(image.dtype))
            for image in map(test.image, sorted(drawn.tolist()))
        ]
        return np.stack(made) if made else np.empty(0)


def run_real_benchmark(
    folder: str | Path,
    name: str,
    dataset: Dataset,
    *,
    methods: Sequence[str] = REAL_METHODS,
    seeds: Sequence[int] = (0,),
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **parameters: Any,
) -> pd.DataFrame:
    """Measure counterfactuals of a real data set's test images.

    Parameters
    ----------
    folder : str or Path
        Where results and classifiers are kept; what is there is not made again.
    name : str
        Of the data set.
    dataset : Dataset
    methods : sequence of str
        Of :data:`~.rows.METHODS`, except those that need the truth.
    seeds : sequence of int
        Each splits (where the data set is not split) and trains anew.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    **parameters
        See :class:`RealData`.

    Returns
    -------
    DataFrame
        As :func:`~.run.run_truth_benchmark`; correlation, relative error and off-target ratio are
        missing.

    Raises
    ------
    ParameterError
        A row is unknown or needs the truth.
    """
    rows = methods_named(tuple(methods))
    impossible = [method for method in rows if method in NEED_TRUTH]
    if impossible:
        raise ParameterError(
            f"methods: found {', '.join(impossible)}, which need the true change; expected some "
            f"of {', '.join(method for method in METHODS if method not in NEED_TRUTH)}"
        )
    return run_rows(
        [RealData(name, dataset, seed, **parameters) for seed in seeds],
        rows,
        ResultFolder(Path(folder)),
        task="methods on real images",
        on_event=on_event,
        cancelled=cancelled,
    )
