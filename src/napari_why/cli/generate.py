"""``napari-why reconstruct``, ``sample``, ``traverse``, ``interpolate``: what a network makes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.core.options import parameters_of


def reconstruct(
    task: arguments.ImageTask,
    *,
    out: Annotated[
        Path | None, typer.Option(help="OME-TIFF to write; its record goes beside it.")
    ] = None,
) -> None:
    """Decode an image's latent, tell the error, and write the reconstruction.

    The file holds each channel's reconstruction and then each channel's error.
    """
    result, *_ = task.run(
        # One pass through the network ends before anybody could follow or interrupt it.
        lambda classifier, raw, **_listeners: why.reconstruct(classifier, raw),
        out,
    )
    _warn(task.image, result)
    typer.echo(result.sentence)


def sample(
    model: arguments.Model,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, samples along its time axis; record beside it.")
    ],
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    **parameters: Any,
) -> None:
    """Draw new images from a classifier of the network vae and write them."""
    from napari_why.output.images import result_image

    arguments.check_place(
        out, overwrite=overwrite, endings=arguments.IMAGE_ENDINGS, sources=[model]
    )
    result = why.sample(why.load(model, device=device), **parameters)
    # Drawn from the prior, the images lie on no grid of a source, and have no pixel size.
    why.write(result_image(result), out, record=result.record, overwrite=overwrite)


def traverse(
    task: arguments.ImageTask,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, values along its time axis; record beside it.")
    ],
    **parameters: Any,
) -> None:
    """Write the image as it would be with other values of one number of its latent."""
    result, *_ = task.run(
        lambda classifier, raw, **_listeners: why.traverse(classifier, raw, **parameters),
        out,
    )
    _warn(task.image, result)


def interpolate(
    task: arguments.ImageTask,
    second: Annotated[Path, typer.Argument(help="The image to end at.", metavar="SECOND")],
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, steps along its time axis; record beside it.")
    ],
    **parameters: Any,
) -> None:
    """Write the decoded images on the straight line between the latents of two images."""
    last = task.read(second)
    result, *_ = task.run(
        lambda classifier, first, **_listeners: why.interpolate(
            classifier, first, last, **parameters
        ),
        out,
        second,
    )
    _warn(out, result)


def _warn(about: Path, result: Any) -> None:
    # to a script too, as predict does: what is made of an image of nothing looks like any
    for note in result.unlike:
        sys.stderr.write(f"napari-why: {about}: {note}\n")


# Of the functions that are no methods of a registry, but have annotated parameters as those have.
def _list_parameters(of: str, function: str) -> Callable[[], Further]:
    def further() -> Further:
        return Further({of: parameters_of(getattr(why, function))})

    return further


RECONSTRUCT = Verb("reconstruct", reconstruct)
SAMPLE = Verb("sample", sample, _list_parameters("sampling", "sample"))
TRAVERSE = Verb("traverse", traverse, _list_parameters("the traversal", "traverse"))
INTERPOLATE = Verb("interpolate", interpolate, _list_parameters("the interpolation", "interpolate"))
