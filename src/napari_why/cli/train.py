"""``napari-why train``: from labelled images to a classifier."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_why.cli.arguments import Channels, Data, Group, Label, Overwrite, PlateMap
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Further, Verb
from napari_why.cli.places import check_place


def train(
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the classifier.", metavar="MODEL")],
    network: Annotated[str, typer.Option(help="The network; its options stand below.")] = "iresnet",
    group: Group = "auto",
    channels: Channels = None,
    plate_map: PlateMap = None,
    label: Label = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder to keep a checkpoint of each epoch in.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Train a classifier on labelled images and save it.

    Training, validation and test images are told apart by group (well). Ctrl-C stops after the
    current step and keeps the best epoch so far.
    """
    from napari_why.cli.data_sets import open_data_set
    from napari_why.core.errors import ParameterError
    from napari_why.core.options import parameters_of
    from napari_why.fitting import FitOptions, FittingError, fit

    if resume and checkpoints is None:
        raise ParameterError("resume: found no checkpoints; say where they are with --checkpoints")
    check_place(out, overwrite=overwrite)
    of_fit = {item.name for item in parameters_of(FitOptions)}
    with LongWork() as work:
        dataset = open_data_set(data, group, channels, work, plate_map=plate_map, label=label)
        try:
            classifier = fit(
                dataset,
                network,
                **{name: value for name, value in parameters.items() if name in of_fit},
                network_parameters={
                    name: value for name, value in parameters.items() if name not in of_fit
                },
                folder=checkpoints,
                resume=resume,
                on_event=work.on_event,
                cancelled=work.cancelled,
            )
        except FittingError as error:
            error.classifier.save(out, overwrite=overwrite)
            raise FittingError(
                f"{error}; saved as {out}", error.result, error.classifier
            ) from error
    classifier.save(out, overwrite=overwrite)
    work.end_if_interrupted(f"the best epoch so far is saved as {out}{_left_out(classifier.card)}")
    work.say(f"{out}: {_result(classifier.metrics)}")


def further() -> Further:
    """Return the networks, and the parameters of the training and of every network."""
    from napari_why.core.options import parameters_of
    from napari_why.fitting import FitOptions
    from napari_why.networks import NETWORKS

    networks = {name: entry.parameters for name, entry in NETWORKS.items()}
    panels = {"the training": parameters_of(FitOptions), **networks}
    return Further(panels, choices={"network": tuple(NETWORKS)})


def _left_out(card: Any) -> str:
    left_out = ", ".join(card["left_out"])
    return f"; left out: {left_out}" if left_out else ""


def _result(metrics: Any) -> str:
    test = metrics.get("test")
    if not test:
        return "no test images, so nothing is known about images the network has not seen"
    images = test["images"]
    accuracy = f"accuracy {images['accuracy']:.1%} on {images['images']} test images"
    if "reconstruction" not in test:
        return accuracy
    from napari_why.model.reconstruction import reconstruction_sentence

    return f"{accuracy}. {reconstruction_sentence(test['reconstruction'])}"


VERB = Verb("train", train, further)
