"""``napari-why traverse``: what one number of a generative network's latent stands for."""

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


def traverse(
    model: Model,
    image: ImageFile,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, values along its time axis; record beside it.")
    ],
    time: Time = None,
    depth: Depth = None,
    axes: Axes = None,
    channels: Channels = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Write the image as it would be with other values of one number of its latent."""
    from napari_why.generation import traverse as change_one
    from napari_why.images import write
    from napari_why.model import load
    from napari_why.output.images import record_with_grid, result_image

    check_place(out, overwrite=overwrite, endings=IMAGE_ENDINGS)
    raw = read_plane(image, time=time, depth=depth, read_as=told(axes, channels))
    result = change_one(load(model, device=device), raw, **parameters)
    record = record_with_grid(result.record, result.grid)
    write(result_image(result, raw), out, record=record, overwrite=overwrite)


def further() -> Further:
    """Return the parameters of a traversal."""
    from napari_why.core.options import parameters_of
    from napari_why.generation import traverse as change_one

    return Further({"the traversal": parameters_of(change_one)})


VERB = Verb("traverse", traverse, further)
