"""``napari-why reconstruct``: what of an image passes through the network's latent and back."""

from pathlib import Path
from typing import Annotated

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
from napari_why.cli.options import Verb
from napari_why.cli.places import IMAGE_ENDINGS, check_place


def reconstruct(
    model: Model,
    image: ImageFile,
    *,
    out: Annotated[
        Path | None, typer.Option(help="OME-TIFF to write; its record goes beside it.")
    ] = None,
    time: Time = None,
    depth: Depth = None,
    axes: Axes = None,
    channels: Channels = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Decode an image's latent, tell the error, and write the reconstruction.

    The file holds each channel's reconstruction and then each channel's error.
    """
    from napari_why.generation import reconstruct as reconstruct_image
    from napari_why.images import write
    from napari_why.model import load
    from napari_why.output.images import record_with_grid, result_image

    if out is not None:
        check_place(out, overwrite=overwrite, endings=IMAGE_ENDINGS)
    raw = read_plane(image, time=time, depth=depth, read_as=told(axes, channels))
    result = reconstruct_image(load(model, device=device), raw)
    if out is not None:
        record = record_with_grid(result.record, result.grid)
        write(result_image(result, raw), out, record=record, overwrite=overwrite)
    typer.echo(result.sentence)


VERB = Verb("reconstruct", reconstruct)
