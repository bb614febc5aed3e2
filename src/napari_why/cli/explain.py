"""``napari-why attribute`` and ``counterfactual``: why an image is classified as it is."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import tell
from napari_why.core.errors import reason_of


def attribute(
    task: arguments.ImageTask,
    *,
    out: Annotated[Path, typer.Option(help="OME-TIFF to write; its record goes beside it.")],
    method: Annotated[str, typer.Option(help="The method; its options stand below.")] = "occlusion",
    target: Annotated[
        str | None, typer.Option(help="Class to explain; the predicted one when not given.")
    ] = None,
    **parameters: Any,
) -> None:
    """Write a signed map of the evidence for a class, per channel.

    The last channel of the file is the map of all channels together. Options of another method
    than the chosen one are refused.
    """
    result, _, work = task.run(
        lambda classifier, raw, **listeners: why.attribute(
            classifier, raw, method, target, **listeners, **parameters
        ),
        out,
    )
    # The file is written first: an interrupted map is worth having, and says that it is partial.
    work.end_if_interrupted(f"the part of the map that was done is in {out}")
    work.say(f"{out}: evidence for {result.target} by {method}")


def list_attribution_methods() -> Further:
    """Return the attribution methods and their parameters."""
    from napari_why.attribution import METHODS

    return Further.of_registry("method", METHODS)


def counterfactual(
    task: arguments.ImageTask,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, alpha along its time axis; record beside it.")
    ],
    target: Annotated[
        str | None, typer.Option(help="Class to reach; the other one, or the runner-up.")
    ] = None,
    method: Annotated[str, typer.Option(help="The method; its options stand below.")] = "transport",
    goal: Annotated[
        Path | None, typer.Option(help="An image to go towards, for latent_interpolation.")
    ] = None,
    animation: Annotated[
        Path | None, typer.Option(help="Animation to write too: .gif or .mp4.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Figure of before, after, change and probability: .png or .svg."),
    ] = None,
    **parameters: Any,
) -> None:
    """Write the series of images that leads from the predicted class to another."""
    from napari_why.measurement import verdict
    from napari_why.output import figures

    # Before the work: it may take minutes, after which a wrong ending would cost them all.
    if animation:
        arguments.check_place(animation, overwrite=task.overwrite, endings=figures.ANIMATIONS)
    if figure:
        arguments.check_place(figure, overwrite=task.overwrite, endings=figures.FIGURES)
    aim = None if goal is None else task.read(goal)
    result, raw, work = task.run(
        lambda classifier, raw, **listeners: why.counterfactual(
            classifier, raw, target, method, goal=aim, **listeners, **parameters
        ),
        out,
    )
    pictures: dict[Path | None, Callable[[Path], object]] = {
        animation: partial(figures.animate_counterfactual, result),
        figure: lambda path: figures.draw_counterfactual(result, path, raw),
    }
    for path, draw in pictures.items():
        if path is None:
            continue
        try:
            draw(path)
        except Exception as error:  # noqa: BLE001 - the series is there, a picture is an extra
            tell(f"{path}: could not be drawn ({reason_of(error)}); the series is in {out}")
    work.end_if_interrupted(f"the {len(result.alphas)} steps that were done are in {out}")
    # To a person at a terminal: the verdict says how far the series is to be believed.
    for note in (verdict(result).line, *result.notes):
        work.say(note)
    work.say(f"{out}: {result.source_class} to {result.target} in {len(result.alphas)} steps")


def list_counterfactual_methods() -> Further:
    """Return the methods, and the parameters of the series and of every method."""
    from napari_why.core.options import parameters_of
    from napari_why.counterfactuals import METHODS, CounterfactualOptions

    return Further.of_registry(
        "method", METHODS, {"the series": parameters_of(CounterfactualOptions)}
    )


ATTRIBUTE = Verb("attribute", attribute, list_attribution_methods)
COUNTERFACTUAL = Verb("counterfactual", counterfactual, list_counterfactual_methods)
