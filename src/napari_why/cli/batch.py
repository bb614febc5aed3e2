"""``napari-why explain-many``: predict, explain, change and measure every image of a folder."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import LongWork, tell
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.options import Parameter, parameters_of

if TYPE_CHECKING:
    from napari_why.batch import ImageReference


def explain_many(
    model: arguments.Model,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files; or one folder, in whose sub-folders images are looked for too, or one "
            "table (CSV, Excel) with path.",
            metavar="IMAGES_OR_FOLDER...",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the tables and pictures.")],
    attribution: Annotated[
        str | None,
        typer.Option(help="Method that tells where the network looks; its options below."),
    ] = None,
    counterfactual: Annotated[
        str | None, typer.Option(help="Method that changes images; its options stand below.")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Training images, as for train, for attribution methods that compare with them.",
            metavar="DATA",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on in OUT: what was done by the same options is kept."),
    ] = False,
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    axes: arguments.Axes = None,
    channels: arguments.Channels = None,
    pattern: arguments.Pattern = None,
    plate_map: arguments.PlateMap = None,
    well_pattern: arguments.WellPattern = None,
    label: arguments.Label = None,
    **parameters: Any,
) -> None:
    """Predict every image, and explain, change and measure it where asked for, to one table.

    The folder then holds images.csv (a row an image), regions.csv, the pictures, a summary and a
    record. Ctrl-C stops after the image in work; --resume goes on there, after a crash too.
    """
    from napari_why.batch import BatchOptions

    options = BatchOptions.of_flat(
        {"attribution": attribution, "counterfactual": counterfactual, **parameters}
    )
    sources = (*images, model, plate_map, references)
    arguments.check_place(out, overwrite=overwrite or resume, sources=sources)
    classifier = why.load(model, device=device)
    read_as = arguments.make_read_arguments(axes, channels, pattern)
    found, notes = _list(images, classifier, read_as, plate_map, label, well_pattern)
    for note in notes:
        tell(note)
    others = None if references is None else why.Dataset.open(references)
    with LongWork() as work:
        result = why.explain_many(
            classifier,
            found,
            out,
            options,
            resume=resume,
            overwrite=overwrite,
            references=others,
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
    for sentence in result.sentences:
        typer.echo(sentence)
    work.end_if_interrupted(f"{len(result.images)} of {len(found)} images are in {out}")
    # each image has an error of its own; a script has to see that one of them failed
    if (result.images["error"] != "").any():
        raise WhyError(f"not all was done of every image; the reasons are in {out / 'images.csv'}")


def _list(
    images: list[Path],
    classifier: "why.Classifier",
    read_as: dict[str, Any],
    plate_map: Path | None,
    label: str | None,
    well_pattern: str | None,
) -> "tuple[list[ImageReference], list[str]]":
    from napari_why.batch import find_references, list_references
    from napari_why.images import group_sources

    if len(images) > 1:
        if plate_map or label or well_pattern:
            raise ParameterError(
                f"images: found {len(images)} beside an option that is of a folder or table; expected "
                "one folder or table"
            )
        folders = [path for path in images if path.is_dir() and not path.suffix]
        if folders:
            raise ParameterError(
                f"images: found {folders[0]} among {len(images)} arguments; expected one folder or "
                "table alone, or image files"
            )
        several = group_sources(images, read_as.get("pattern"))
        return list_references(several, read_as), []
    found, notes = find_references(
        images[0],
        classifier.classes,
        plate_map=plate_map,
        label=label,
        channels=read_as.get("channels"),
        pattern=read_as.get("pattern"),
        well_pattern=well_pattern,
    )
    if "axes" in read_as:
        axes = {"axes": read_as["axes"]}
        found = [replace(item, read_as={**item.read_as, **axes}) for item in found]
    return found, notes


def list_batch_options() -> Further:
    """Return what is done with every image, and the options of every method, by its kind."""
    from napari_why.attribution import METHODS as ATTRIBUTIONS
    from napari_why.batch import BatchOptions
    from napari_why.batch.options import ATTRIBUTION, CHANGE, MEASURE
    from napari_why.counterfactuals import METHODS as COUNTERFACTUALS
    from napari_why.counterfactuals import CounterfactualOptions
    from napari_why.measurement import MeasurementOptions

    own = [
        item
        for item in parameters_of(BatchOptions)
        if item.name not in ("attribution", "counterfactual")
    ]
    panels = {
        "every image": own,
        "the series": _with_prefix(CHANGE, parameters_of(CounterfactualOptions)),
        "the measurement": _with_prefix(MEASURE, parameters_of(MeasurementOptions)),
        **{name: _with_prefix(ATTRIBUTION, item.parameters) for name, item in ATTRIBUTIONS.items()},
        **{name: _with_prefix(CHANGE, item.parameters) for name, item in COUNTERFACTUALS.items()},
    }
    choices = {"attribution": tuple(ATTRIBUTIONS), "counterfactual": tuple(COUNTERFACTUALS)}
    return Further(panels, choices)


def _with_prefix(prefix: str, parameters: tuple[Parameter, ...]) -> list[Parameter]:
    # both kinds of methods have "steps" and "seed": one option would set both
    return [replace(item, name=f"{prefix}{item.name}") for item in parameters]


EXPLAIN_MANY = Verb("explain-many", explain_many, list_batch_options)
