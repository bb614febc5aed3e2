"""``napari-why predict``: which class an image belongs to."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_why.cli.arguments import AsJson, Axes, Channels, Device, Model
from napari_why.cli.input_images import told
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Verb


def predict(
    model: Model,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE...")],
    *,
    axes: Axes = None,
    channels: Channels = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Classify images; one that cannot be classified is named with the reason.

    Without --json, one line an image with tabs between: file, class, probability of each class.
    """
    from napari_why.model import load

    classifier = load(model, device=device)
    with LongWork() as work:
        table = classifier.predict_many(
            images,
            read_as=told(axes, channels),
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
    rows = [_row(row, classifier.classes) for row in table.to_dict("records")]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _write_lines(rows, classifier.classes)
    work.end_if_interrupted(f"{len(rows)} of {len(images)} images were classified")
    if any("error" in row for row in rows):
        raise typer.Exit(1)


def _row(row: dict[Any, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    if row["error"]:
        return {"image": row["source"], "error": row["error"]}
    from napari_why.training.metrics import probability_columns

    columns = zip(classes, probability_columns(classes), strict=True)
    found = {
        "image": row["source"],
        "class": row["predicted"],
        "probabilities": {name: row[column] for name, column in columns},
    }
    return {**found, "notes": row["notes"]} if row["notes"] else found


def _write_lines(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> None:
    typer.echo("\t".join(("image", "class", *(f"p({name})" for name in classes))))
    for row in rows:
        if "error" in row:
            sys.stderr.write(f"napari-why: {' '.join(row['error'].split())}\n")
            continue
        values = (f"{value:.4f}" for value in row["probabilities"].values())
        typer.echo("\t".join((row["image"], row["class"], *values)))
        if "notes" in row:
            sys.stderr.write(f"napari-why: {row['image']}: {row['notes']}\n")


VERB = Verb("predict", predict)
