"""``napari-why latent-space``: where the network puts images, and which lie apart."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_why.cli.arguments import (
    Channels,
    Data,
    Device,
    Group,
    Label,
    Model,
    Overwrite,
    PlateMap,
)
from napari_why.cli.data_sets import open_data_set
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Further, Verb
from napari_why.cli.places import check_place

if TYPE_CHECKING:
    from napari_why.latent_space import LatentSpace, Outliers


def latent_space(
    model: Model,
    data: Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and a report.")],
    projection: Annotated[
        str, typer.Option(help="The plane of the figure; its options stand below.")
    ] = "pca",
    color_by: Annotated[
        str, typer.Option(help="Column that colours the points: class, prediction, plate, ...")
    ] = "class",
    group: Group = "auto",
    channels: Channels = None,
    plate_map: PlateMap = None,
    label: Label = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Place the images of a data set in the classifier's latent space, and list outliers.

    The folder then holds latent_space.parquet, images.csv, outlier_images.csv, wells.csv,
    shares.csv, the figure as PNG and SVG, and report.json.
    """
    from napari_why.latent_space import (
        PROJECTIONS,
        OutlierOptions,
        embed,
        project,
        write_latent_space,
    )
    from napari_why.model import load

    check_place(out, overwrite=overwrite)
    of_plane, of_search = _told_apart(
        parameters, PROJECTIONS.named(projection).function, OutlierOptions
    )
    classifier = load(model, device=device)
    with LongWork() as work:
        dataset = open_data_set(data, group, channels, work, plate_map=plate_map, label=label)
        space = embed(classifier, dataset, on_event=work.on_event, cancelled=work.cancelled)
    outliers = _report_outliers(space, of_search)
    plane = project(space, projection, **of_plane)
    write_latent_space(out, space, plane, outliers, color_by=color_by, overwrite=overwrite)
    for item in space.unreadable:
        typer.echo(f"left out: {item.reason}")
    work.end_if_interrupted(f"the {len(space)} images that were done are in {out}")
    work.say(f"{out}: {len(space)} images in {space.latents.shape[1]} dimensions")


def further() -> Further:
    """Return the projections, and the parameters of each and of the search for outliers."""
    from napari_why.core.options import parameters_of
    from napari_why.latent_space import PROJECTIONS, OutlierOptions

    projections = {name: method.parameters for name, method in PROJECTIONS.items()}
    panels = {"the outliers": parameters_of(OutlierOptions), **projections}
    return Further(panels, choices={"projection": tuple(PROJECTIONS)})


def _told_apart(parameters: dict[str, Any], *functions: Callable[..., Any]) -> list[dict[str, Any]]:
    """Return the parameters of each function, checked; the seed belongs to all that have one."""
    from napari_why.core.errors import ParameterError
    from napari_why.core.options import parameters_of, validated

    names = [{item.name for item in parameters_of(function)} for function in functions]
    unknown = sorted(set(parameters).difference(*names))
    if unknown:
        raise ParameterError(
            f"found the option {', '.join(unknown)}, which belongs to another projection"
        )
    found = [{name: value for name, value in parameters.items() if name in own} for own in names]
    for function, values in zip(functions, found, strict=True):
        validated(function, values)
    return found


def _report_outliers(space: "LatentSpace", parameters: dict[str, Any]) -> "Outliers | None":
    """Find outliers and say what was found; None where there are too few to judge by."""
    from napari_why.core.errors import DatasetError
    from napari_why.latent_space import find_outliers

    try:
        found = find_outliers(space, **parameters)
    except DatasetError as error:
        typer.echo(str(error))
        return None
    for sentence in found.sentences:
        typer.echo(sentence)
    return found


VERB = Verb("latent-space", latent_space, further)
