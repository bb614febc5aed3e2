"""``napari-why evaluate``: how good a classifier is, and how far that is to be believed."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from napari_why.cli.arguments import AsJson, Channels, Data, Device, Group, Label, Model, PlateMap
from napari_why.cli.data_sets import open_data_set
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_why.evaluation import Evaluation


def evaluate(
    model: Model,
    data: Data,
    *,
    as_json: AsJson = False,
    group: Group = "auto",
    channels: Channels = None,
    plate_map: PlateMap = None,
    label: Label = None,
    nulls: Annotated[
        bool, typer.Option(help="Compare with labels that have no meaning; takes longer.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the meaningless labels.", min=0)] = 0,
    device: Device = "auto",
) -> None:
    """Classify labelled images and say what the figures are worth."""
    from napari_why.evaluation import evaluate as evaluate_classifier
    from napari_why.model import load

    classifier = load(model, device=device)
    with LongWork() as work:
        dataset = open_data_set(data, group, channels, work, plate_map=plate_map, label=label)
        evaluation = evaluate_classifier(
            classifier,
            dataset,
            nulls=nulls,
            seed=seed,
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
    if as_json:
        typer.echo(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        for line in _lines(evaluation, classifier.classes):
            typer.echo(line)
    work.end_if_interrupted(
        f"{len(evaluation.predictions)} of {len(dataset)} images were looked at"
    )


def _lines(evaluation: "Evaluation", classes: tuple[str, ...]) -> "Iterator[str]":
    yield from evaluation.sentences
    matrix = evaluation.metrics.get("confusion_matrix")
    if matrix:
        yield "\t".join(("true \\ predicted", *classes))
        for name, counts in zip(classes, matrix, strict=True):
            yield "\t".join((name, *map(str, counts)))
    for table in (evaluation.by_plate, evaluation.by_group):
        if table is not None:
            yield ""
            yield table.to_csv(sep="\t", index=False, float_format="%.4f").rstrip("\n")


VERB = Verb("evaluate", evaluate)
