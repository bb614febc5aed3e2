"""``napari-why evaluate`` and ``predict``: which class images belong to, and how well that is known."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Verb

if TYPE_CHECKING:
    from napari_why.evaluation import Evaluation


def evaluate(
    model: arguments.Model,
    data: arguments.Data,
    *,
    as_json: arguments.AsJson = False,
    nulls: Annotated[
        bool, typer.Option(help="Compare with labels that have no meaning; takes longer.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the meaningless labels.", min=0)] = 0,
    device: arguments.Device = "auto",
    options: arguments.DatasetOptions,
) -> None:
    """Classify labelled images and say what the figures are worth."""
    classifier = why.load(model, device=device)
    with LongWork() as work:
        dataset = options.open(data, work)
        evaluation = why.evaluate(
            classifier,
            dataset,
            nulls=nulls,
            seed=seed,
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
    # NaN is no JSON: other programs would refuse the whole of it.
    if as_json:
        typer.echo(json.dumps(evaluation.to_dict(), indent=2, allow_nan=False))
    else:
        for line in _evaluation_lines(evaluation, classifier.classes):
            typer.echo(line)
    work.end_if_interrupted(
        f"{len(evaluation.predictions)} of {len(dataset)} images were looked at"
    )


def _evaluation_lines(evaluation: "Evaluation", classes: tuple[str, ...]) -> Iterator[str]:
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


def predict(
    model: arguments.Model,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE...")],
    *,
    axes: arguments.Axes = None,
    channels: arguments.Channels = None,
    as_json: arguments.AsJson = False,
    device: arguments.Device = "auto",
) -> None:
    """Classify images; one that cannot be classified is named with the reason.

    Without --json, one line an image with tabs between: file, class, probability of each class.
    """
    classifier = why.load(model, device=device)
    with LongWork() as work:
        table = classifier.predict_many(
            images,
            read_as=arguments.make_read_arguments(axes, channels),
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
    rows = [_prediction_row(row, classifier.classes) for row in table.to_dict("records")]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _write_predictions(rows, classifier.classes)
    work.end_if_interrupted(f"{len(rows)} of {len(images)} images were classified")
    # The others are classified all the same; a script has to see that one was not.
    if any("error" in row for row in rows):
        raise typer.Exit(1)


def _prediction_row(row: dict[Any, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    if row["error"]:
        return {"image": row["source"], "error": row["error"]}
    from napari_why.training.metrics import probability_columns  # imports torch

    columns = zip(classes, probability_columns(classes), strict=True)
    found = {
        "image": row["source"],
        "class": row["predicted"],
        "probabilities": {name: row[column] for name, column in columns},
    }
    return {**found, "notes": row["notes"]} if row["notes"] else found


def _write_predictions(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> None:
    typer.echo("\t".join(("image", "class", *(f"p({name})" for name in classes))))
    for row in rows:
        if "error" in row:
            # One line, as of every failure, and apart from the table that a program may read.
            sys.stderr.write(f"napari-why: {' '.join(row['error'].split())}\n")
            continue
        values = (f"{value:.4f}" for value in row["probabilities"].values())
        typer.echo("\t".join((row["image"], row["class"], *values)))
        if "notes" in row:
            sys.stderr.write(f"napari-why: {row['image']}: {row['notes']}\n")


EVALUATE = Verb("evaluate", evaluate)
PREDICT = Verb("predict", predict)
