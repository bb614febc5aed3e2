"""``napari-why export`` and ``import``: classifiers for other programs, and those of other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import LongWork, tell
from napari_why.core.options import parameters_of
from napari_why.core.targets import save_somewhere


def export(
    model: arguments.Model,
    *,
    to: Annotated[
        Literal["onnx", "bioimageio", "huggingface"],
        typer.Option(
            help="onnx: the prediction as one file; bioimageio: a package with card, cover and test; "
            "huggingface: the classifier itself as a folder with a card."
        ),
    ] = "onnx",
    out: Annotated[Path, typer.Option(help="File (.onnx, .zip) or folder to write.")],
    image: Annotated[
        Path | None,
        typer.Option(
            help="Image to compare with, for the test and the cover of a package; else noise.",
            metavar="IMAGE",
        ),
    ] = None,
    push_to: Annotated[
        str,
        typer.Option(
            help="Upload the folder to this repository of the Hugging Face Hub, with the token in "
            "HF_TOKEN; private if it is new.",
            metavar="OWNER/NAME",
        ),
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="A new repository can be seen by everybody.")
    ] = False,
    overwrite: arguments.Overwrite = False,
    **parameters: Any,
) -> None:
    """Write a classifier for other programs: ONNX, BioImage.IO or Hugging Face.

    Of ONNX and BioImage.IO, raw grey levels go in and probabilities come out; they are compared with the
    classifier before the file is kept. Needs the extra exchange.
    """
    arguments.check_place(out, overwrite=overwrite, sources=(model, image))
    shown = None if image is None else arguments.read_plane(image, time=None, depth=None)
    classifier = why.load(model)
    with LongWork() as work:
        written = why.export_model(
            classifier,
            out,
            to,
            parameters,
            image=shown,
            push_to=push_to,
            public=public,
            overwrite=overwrite,
            on_event=work.on_event,
        )
    typer.echo(written.sentence)


def import_classifier(
    file: Annotated[
        Path,
        typer.Argument(
            help="An ONNX file, a BioImage.IO package, or a state dict (.safetensors, .pt, .pth).",
            metavar="FILE",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the classifier.", metavar="MODEL")],
    overwrite: arguments.Overwrite = False,
    **parameters: Any,
) -> None:
    """Make a classifier of a file of another program, to be explained.

    The file is data: no code of it runs, and nothing is downloaded. An ONNX classifier is explained by
    methods that need no gradients. Needs the extra exchange.
    """
    from napari_why.model.storage import check_place

    arguments.check_place(out, overwrite=overwrite, sources=(file,))
    check_place(out, overwrite=overwrite)
    classifier = why.import_model(file, parameters)
    save_somewhere(out, lambda place: classifier.save(place, overwrite=overwrite))
    for note in classifier.notes:
        tell(note)
    typer.echo(
        f"{out}: {', '.join(classifier.classes)} by {', '.join(classifier.channels)}, "
        f"{classifier.network.name}"
    )


def list_export_options() -> Further:
    """Return what only the user can say of a model."""
    from napari_why.exchange import ExportOptions

    return Further({"the package": parameters_of(ExportOptions)})


def list_import_options() -> Further:
    """Return what a file leaves open."""
    from napari_why.exchange import ImportOptions

    return Further({"the file": parameters_of(ImportOptions)})


EXPORT = Verb("export", export, list_export_options)
IMPORT = Verb("import", import_classifier, list_import_options)
