"""``napari-why sample``: new images drawn from a variational autoencoder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_why.cli.arguments import Device, Model, Overwrite
from napari_why.cli.options import Further, Verb
from napari_why.cli.places import IMAGE_ENDINGS, check_place


def sample(
    model: Model,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, samples along its time axis; record beside it.")
    ],
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Draw new images from a classifier of the network vae and write them."""
    from napari_why.generation import sample as draw
    from napari_why.images import write
    from napari_why.model import load
    from napari_why.output.images import result_image

    check_place(out, overwrite=overwrite, endings=IMAGE_ENDINGS)
    result = draw(load(model, device=device), **parameters)
    write(result_image(result), out, record=result.record, overwrite=overwrite)


def further() -> Further:
    """Return the parameters of sampling."""
    from napari_why.core.options import parameters_of
    from napari_why.generation import sample as draw

    return Further({"sampling": parameters_of(draw)})


VERB = Verb("sample", sample, further)
