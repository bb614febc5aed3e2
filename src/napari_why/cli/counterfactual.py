"""``napari-why counterfactual``: what would have to change."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_why.cli.arguments import (
    Axes,
    Channels,
    Depth,
    Device,
    ImageFile,
    Model,
    Overwrite,
    Time,
)
from napari_why.cli.input_images import read_plane, told
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Further, Verb
from napari_why.cli.places import IMAGE_ENDINGS, check_place


def counterfactual(
    model: Model,
    image: ImageFile,
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
    time: Time = None,
    depth: Depth = None,
    axes: Axes = None,
    channels: Channels = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Write the series of images that leads from the predicted class to another."""
    from napari_why.counterfactuals import counterfactual as change_image
    from napari_why.images import write
    from napari_why.measurement import verdict
    from napari_why.model import load
    from napari_why.output.figures import (
        ANIMATIONS,
        FIGURES,
        animate_counterfactual,
        draw_counterfactual,
    )
    from napari_why.output.images import record_with_grid, result_image

    check_place(out, overwrite=overwrite, endings=IMAGE_ENDINGS)
    if animation:
        check_place(animation, overwrite=overwrite, endings=ANIMATIONS)
    if figure:
        check_place(figure, overwrite=overwrite, endings=FIGURES)
    raw = read_plane(image, time=time, depth=depth, read_as=told(axes, channels))
    aim = (
        None
        if goal is None
        else read_plane(goal, time=time, depth=depth, read_as=told(axes, channels))
    )
    classifier = load(model, device=device)
    with LongWork() as work:
        result = change_image(
            classifier,
            raw,
            target,
            method,
            goal=aim,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **parameters,
        )
    record = record_with_grid(result.record, result.grid)
    write(result_image(result, raw), out, record=record, overwrite=overwrite)
    if animation:
        animate_counterfactual(result, animation)
    if figure:
        draw_counterfactual(result, figure, raw)
    work.end_if_interrupted(f"the {len(result.alphas)} steps that were done are in {out}")
    for note in (verdict(result).line, *result.notes):
        work.say(note)
    work.say(f"{out}: {result.source_class} to {result.target} in {len(result.alphas)} steps")


def further() -> Further:
    """Return the methods, and the parameters of the series and of every method."""
    from napari_why.core.options import parameters_of
    from napari_why.counterfactuals import METHODS, CounterfactualOptions

    methods = {name: method.parameters for name, method in METHODS.items()}
    panels = {"the series": parameters_of(CounterfactualOptions), **methods}
    return Further(panels, choices={"method": tuple(METHODS)})


VERB = Verb("counterfactual", counterfactual, further)
