"""``napari-why attribute``: where the classifier looked."""

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


def attribute(
    model: Model,
    image: ImageFile,
    *,
    out: Annotated[Path, typer.Option(help="OME-TIFF to write; its record goes beside it.")],
    method: Annotated[str, typer.Option(help="The method; its options stand below.")] = "occlusion",
    target: Annotated[
        str | None, typer.Option(help="Class to explain; the predicted one when not given.")
    ] = None,
    time: Time = None,
    depth: Depth = None,
    axes: Axes = None,
    channels: Channels = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Write a signed map of the evidence for a class, per channel.

    The last channel of the file is the map of all channels together. Options of another method
    than the chosen one are refused.
    """
    from napari_why.attribution import attribute as attribute_image
    from napari_why.images import write
    from napari_why.model import load
    from napari_why.output.images import record_with_grid, result_image

    check_place(out, overwrite=overwrite, endings=IMAGE_ENDINGS)
    raw = read_plane(image, time=time, depth=depth, read_as=told(axes, channels))
    classifier = load(model, device=device)
    with LongWork() as work:
        result = attribute_image(
            classifier,
            raw,
            method,
            target,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **parameters,
        )
    record = record_with_grid(result.record, result.grid)
    write(result_image(result, raw), out, record=record, overwrite=overwrite)
    work.end_if_interrupted(f"the part of the map that was done is in {out}")
    work.say(f"{out}: evidence for {result.target} by {method}")


def further() -> Further:
    """Return the attribution methods and their parameters."""
    from napari_why.attribution import METHODS

    panels = {name: method.parameters for name, method in METHODS.items()}
    return Further(panels, choices={"method": tuple(METHODS)})


VERB = Verb("attribute", attribute, further)
