"""``napari-why interpolate``: the images that a generative network sees between two images."""

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
from napari_why.cli.options import Further, Verb
from napari_why.cli.places import IMAGE_ENDINGS, check_place


def interpolate(
    model: Model,
    image: ImageFile,
    second: Annotated[Path, typer.Argument(help="The image to end at.", metavar="SECOND")],
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, steps along its time axis; record beside it.")
    ],
    time: Time = None,
    depth: Depth = None,
    axes: Axes = None,
    channels: Channels = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Write the decoded images on the straight line between the latents of two images."""
    from napari_why.generation import interpolate as go_between
    from napari_why.images import write
    from napari_why.model import load
    from napari_why.output.images import record_with_grid, result_image

    check_place(out, overwrite=overwrite, endings=IMAGE_ENDINGS)
    first, last = (
        read_plane(path, time=time, depth=depth, read_as=told(axes, channels))
        for path in (image, second)
    )
    result = go_between(load(model, device=device), first, last, **parameters)
    record = record_with_grid(result.record, result.grid)
    write(result_image(result, first), out, record=record, overwrite=overwrite)


def further() -> Further:
    """Return the parameters of an interpolation."""
    from napari_why.core.options import parameters_of
    from napari_why.generation import interpolate as go_between

    return Further({"the interpolation": parameters_of(go_between)})


VERB = Verb("interpolate", interpolate, further)
