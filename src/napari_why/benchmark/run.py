"""The benchmark: every effect, seed and row, each result kept as soon as it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    Method,
    NetworkMethod,
    StoppedError,
    Workshop,
    methods_named,
    timed,
)
from napari_why.benchmark.scores import FIGURES
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
from napari_why.model.image_facts import at_chance
from napari_why.simulation import EFFECTS


def run_truth_benchmark(
    folder: str | Path,
    *,
    effects: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    protocol: Protocol | None = None,
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
        Of :data:`napari_why.simulation.EFFECTS` and :data:`~.methods.METHODS`; all by default.
    seeds : sequence of int
        Each trains and scores on images of its own.
    protocol : Protocol, optional
        Sizes and numbers.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    DataFrame
        One row for each effect, seed, direction and method in the folder; see
        :class:`~.scoring.Scorer` for the columns. ``refused`` holds the reason where a method
        declined, and its figures are missing; ``notes`` says so where the classifier is at chance.

    Raises
    ------
    ParameterError
        An unknown effect or method.
    """
    unknown = [name for name in effects if name not in EFFECTS]
    if unknown:
        raise ParameterError(
            f"effects: found {', '.join(unknown)}; expected some of {', '.join(EFFECTS)}"
        )
    chosen = protocol or Protocol()
    return run_rows(
        [
            EffectData(chosen, effect, seed)
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
    rows: Mapping[str, Method],
    results: ResultFolder,
    *,
    task: str,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> pd.DataFrame:
    """Make every row of every unit that is not in the folder yet; return the folder's table."""
    on_event(Started(task, len(units)))
    stopped = False
    for data in units:
        workshop = Workshop(data, results, on_event, cancelled)
        try:
            for name, row in rows.items():
                identity = {**data.identity, "row": row.to_dict()}
                if not results.has(data.name, data.seed, name, identity):
                    on_event(Message(f"{data.name}, seed {data.seed}: {name}"))
                    figures, images = _measured(workshop, row)
                    results.keep(data.name, data.seed, name, identity, figures, images)
        except WhyError:  # a training that is cancelled before its first epoch raises, too
            if not cancelled():
                raise
            stopped = True
            break
    on_event(Finished(partial=stopped))
    return results.table()


def _measured(
    workshop: Workshop, row: Method
) -> tuple[dict[str, dict[str, Any]], dict[str, NDArray[Any]]]:
    figures, images = {}, {}
    judged_by = (
        workshop.classifier(row.recipe) if isinstance(row, NetworkMethod) else workshop.reference
    )
    for scorer in workshop.scorers:
        workshop.stop_if_asked()
        name = scorer.direction.name
        try:
            made = _made(workshop, row, scorer.direction)
        except WhyError as reason:
            workshop.stop_if_asked()
            figures[name] = {**dict.fromkeys(FIGURES), "refused": str(reason)}
            continue
        chance = at_chance(judged_by.metrics)
        notes = "; ".join(filter(None, (*made.notes, chance)))
        figures[name] = {**scorer.scores(made, judged_by), "notes": notes}
        images[name] = made.images
    return figures, images


def _made(workshop: Workshop, row: Method, direction: Direction) -> ChangedImages:
    training = workshop.training_seconds(row.recipe) if isinstance(row, NetworkMethod) else 0.0
    with timed() as watch:
        made = _by_kind(workshop, row, direction)
    workshop.stop_if_asked()
    if made is None:
        raise StoppedError("the benchmark was stopped; the results so far are kept")
    return replace(made, seconds=watch.seconds, training_seconds=training)


def _by_kind(workshop: Workshop, row: Method, direction: Direction) -> ChangedImages | None:
    data, on_event, cancelled = workshop.data, workshop.on_event, workshop.cancelled
    if isinstance(row, NetworkMethod):
        return change_by_network(
            workshop.classifier(row.recipe),
            direction.images,
            direction.source,
            direction.target,
            row.method,
            row.parameters,
            on_event=on_event,
            cancelled=cancelled,
        )
    match row.kind:
        case "truth":
            return truth(direction)
        case "do_nothing":
            return do_nothing(direction)
        case "pixel_transport":
            return transported_pixels(workshop.reference, data, direction)
        case "true_pairs":
            return learnt_from_pairs(
                workshop.reference, data, direction, on_event=on_event, cancelled=cancelled
            )
