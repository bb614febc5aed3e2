"""``napari-why train``, ``evaluate``, ``predict``: a classifier, what it is worth, and its answers."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import LongWork, tell, write_json
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.events import describe_partial
from napari_why.core.options import parameters_of
from napari_why.core.targets import reserve, save_somewhere, try_target
from napari_why.core.whole_files import csv_text, harmless_cell

if TYPE_CHECKING:
    from napari_why.evaluation import Evaluation

# Between the sentences on an image, in the table of predictions; a sentence has semicolons too.
BETWEEN_NOTES = re.compile(r"(?<=\.); ")


def train(
    data: arguments.Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the classifier.", metavar="MODEL")],
    network: Annotated[str, typer.Option(help="The network; its options stand below.")] = "iresnet",
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder to keep a checkpoint of each epoch in.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    preset: arguments.Preset = None,
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Train a classifier on labelled images and save it.

    Training, validation and test images are told apart by group (well). Ctrl-C stops after the
    current step and keeps the best epoch so far.
    """
    from napari_why.fitting import FitOptions, FittingError
    from napari_why.model.storage import check_place

    if resume and checkpoints is None:
        raise ParameterError("resume: found no checkpoints; say where they are with --checkpoints")
    arguments.check_place(out, overwrite=overwrite, sources=(data, options.plate_map))
    check_place(out, overwrite=overwrite)
    reserve_also: Any = nullcontext if checkpoints is None else reserve
    if checkpoints is not None:
        try_target(checkpoints)
    # The shell has one list of options: what the fit does not know is the network's, which refuses
    # what is neither's.
    of_fit = {item.name for item in parameters_of(FitOptions)}
    further = {name: value for name, value in parameters.items() if name not in of_fit}
    chosen: dict[str, Any] = {} if preset is None else {"preset": preset}
    of_generator = _take_generators(further, network, parameters.get("generator"))
    with LongWork() as work, reserve(out), reserve_also(checkpoints):
        dataset = options.open(data, work)
        try:
            classifier = why.fit(
                dataset,
                network,
                **{name: value for name, value in parameters.items() if name in of_fit},
                **chosen,
                network_parameters=further,
                generator_parameters=of_generator,
                folder=checkpoints,
                resume=resume,
                on_event=work.on_event,
                cancelled=work.cancelled,
            )
        except FittingError as error:
            # What was trained before the failure has taken the time, and may be what was wanted.
            save_somewhere(out, partial(error.classifier.save, overwrite=overwrite))
            raise FittingError(
                f"{error}; saved as {out}{_describe_left_out(error.classifier)}",
                error.result,
                error.classifier,
            ) from error
        # Within the work, so that whoever interrupts now does not lose what was trained.
        save_somewhere(out, partial(classifier.save, overwrite=overwrite))
    work.end_if_interrupted(
        f"the best epoch so far is saved as {out}{_describe_left_out(classifier)}"
    )
    from napari_why.model.familiarity import describe_confounding

    for sentence in describe_confounding(classifier.card):
        typer.echo(sentence)
    if classifier.left_out:
        # Not a success: a script has to see that something is missing.
        raise WhyError(f"the classifier is saved as {out}{_describe_left_out(classifier)}")
    work.say(f"{out}: {_describe_test(classifier.metrics)}")


def _take_generators(
    further: dict[str, Any], network: str, generator: str | None
) -> dict[str, Any]:
    """Take out the parameters that the generator has and the network does not."""
    from napari_why.networks import NETWORKS

    entries = [NETWORKS.get(name) for name in (network, generator or "")]
    known, wanted = (
        {item.name for item in parameters_of(entry.builder)} if entry else set()
        for entry in entries
    )
    return {name: further.pop(name) for name in list(further) if name in wanted - known}


def list_networks() -> Further:
    """Return the networks, and the parameters of the training and of every network."""
    from napari_why.fitting import FitOptions
    from napari_why.networks import NETWORKS

    panels = {"the training": parameters_of(FitOptions)}
    return Further.of_registry("network", NETWORKS, panels)


def _describe_left_out(classifier: "why.Classifier") -> str:
    left_out = "; ".join(classifier.left_out)
    return f"; left out: {left_out}" if left_out else ""


def _describe_test(metrics: Any) -> str:
    test = metrics.get("test")
    if not test:
        return "no test images, so nothing is known about images the network has not seen"
    images = test["images"]
    from napari_why.training.metrics import describe_accuracy, reconstruction_sentence

    accuracy = f"{describe_accuracy(images)} on {images['images']} test images"
    if "reconstruction" not in test:
        return accuracy

    return f"{accuracy}. {reconstruction_sentence(test['reconstruction'])}"


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
    if as_json:
        write_json(evaluation.to_dict())
    else:
        for line in _evaluation_lines(evaluation, classifier.classes):
            typer.echo(line)
    work.end_if_interrupted(
        f"{len(evaluation.predictions)} of {len(dataset)} images were looked at"
    )


def _evaluation_lines(evaluation: "Evaluation", classes: tuple[str, ...]) -> Iterator[str]:
    yield from evaluation.sentences
    yield from evaluation.data_notes
    matrix = evaluation.metrics.get("confusion_matrix")
    if matrix:
        yield "\t".join(map(harmless_cell, ("true \\ predicted", *classes)))
        for name, counts in zip(classes, matrix, strict=True):
            yield "\t".join((harmless_cell(name), *map(str, counts)))
    for table in (evaluation.by_plate, evaluation.by_group):
        if table is not None:
            yield ""
            yield csv_text(table, separator="\t", float_format="%.4f").rstrip("\n")


def predict(
    model: arguments.Model,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE...")],
    *,
    axes: arguments.Axes = None,
    channels: arguments.Channels = None,
    pattern: arguments.Pattern = None,
    as_json: arguments.AsJson = False,
    device: arguments.Device = "auto",
) -> None:
    """Classify images; one that cannot be classified is named with the reason.

    Files of one channel each of one field, told by their names, are one image. Without --json, one line an image with tabs between: file, class, probability of each class.
    """
    classifier = why.load(model, device=device)
    from napari_why.images import group_sources, name_source

    several = group_sources(images, pattern)
    with LongWork() as work:
        table = classifier.predict_many(
            several,
            read_as=arguments.make_read_arguments(axes, channels, pattern),
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
    rows = [_prediction_row(row, classifier.classes) for row in table.to_dict("records")]
    stopped = describe_partial(len(rows), len(several), "images")
    from napari_why.model.familiarity import describe_confounding

    for sentence in describe_confounding(classifier.card):
        tell(f"of the training: {sentence}")
    _tell_of_images(rows, as_json=as_json)
    if as_json:
        # The list has all images in any case: one that ends early would pass for the whole.
        left = several[len(rows) :]
        write_json([*rows, *({"image": name_source(item), "error": stopped} for item in left)])
    else:
        _write_predictions(rows, classifier.classes)
        if len(rows) < len(several):
            typer.echo(stopped)
    work.end_if_interrupted(f"{len(rows)} of {len(several)} images were classified")
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
    if row["quality"]:
        found["quality"] = row["quality"].split("; ")
    return {**found, "notes": row["notes"]} if row["notes"] else found


def _tell_of_images(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Tell apart from the table, a line each: what failed, and every kind of note once."""
    from napari_why.datasets.image_store import drop_files, fold_notes

    for row in rows:
        if "error" in row:
            tell(row["error"])
    noted = {
        row["image"]: told
        for row in rows
        if "notes" in row and (told := drop_files(BETWEEN_NOTES.split(row["notes"]), row["image"]))
    }
    for sentence in fold_notes(noted.items(), len(rows)):
        tell(sentence)
    if len(noted) > 1 and not as_json:
        tell("--json tells what is noted of each image.")


def _write_predictions(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> None:
    typer.echo("\t".join(("image", "class", *(f"p({name})" for name in classes))))
    for row in rows:
        if "error" in row:
            continue
        values = (f"{value:.4f}" for value in row["probabilities"].values())
        typer.echo("\t".join(map(harmless_cell, (row["image"], row["class"], *values))))


TRAIN = Verb("train", train, list_networks)
EVALUATE = Verb("evaluate", evaluate)
PREDICT = Verb("predict", predict)
