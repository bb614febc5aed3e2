"""``napari-why measure``: what counterfactuals change, in numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_why.cli.arguments import Channels, Device, Group, Label, Model, Overwrite, PlateMap
from napari_why.cli.data_sets import open_data_set
from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Further, Verb
from napari_why.cli.places import check_place
from napari_why.core.errors import ParameterError, WhyError

if TYPE_CHECKING:
    from napari_why.measurement import DatasetMeasurement, MeasuredImage

TABLES = ("images", "regions", "statistics")


def measure(
    model: Model,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files; or one folder with a sub-folder a class, or one table (CSV) with "
            "path,label, which know the wells.",
            metavar="IMAGES_OR_FOLDER...",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write tables and figures to.")],
    target: Annotated[
        str | None, typer.Option(help="Class to reach; the other one, or the runner-up.")
    ] = None,
    method: Annotated[str, typer.Option(help="The method; its options stand below.")] = "transport",
    test: Annotated[
        Literal["wilcoxon", "paired_t"],
        typer.Option(help="Of before against after, paired by well; paired_t for 3 to 5 wells."),
    ] = "wilcoxon",
    tables: Annotated[
        Literal["csv", "parquet"], typer.Option(help="In which format to write the tables.")
    ] = "csv",
    figures: Annotated[
        bool, typer.Option(help="Draw before, after, change and probability of every image.")
    ] = True,
    group: Group = "auto",
    channels: Channels = None,
    plate_map: PlateMap = None,
    label: Label = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    **parameters: Any,
) -> None:
    """Measure what the counterfactual of every image changes.

    Writes three tables: images (does it flip, who agrees, where is the change), regions (area and
    intensity before and after) and statistics (by well), with a record and the figures.
    """
    from napari_why.core.options import parameters_of
    from napari_why.measurement import MeasurementOptions, measure_dataset, write_table
    from napari_why.model import load
    from napari_why.output.figures import draw_counterfactual

    check_place(out, overwrite=overwrite)
    classifier = load(model, device=device)
    names = {item.name for item in parameters_of(MeasurementOptions)}
    options = {name: parameters.pop(name) for name in names & set(parameters)}

    def draw(made: "MeasuredImage") -> None:
        name = Path(str(made.image.attrs.get("source") or "image")).name.partition(".")[0]
        path = out / "figures" / f"{made.row + 1:05d}_{name}.png"
        draw_counterfactual(made.counterfactual, path, made.image)

    with LongWork() as work:
        several: Any = images
        if _is_set(images):
            several = open_data_set(
                images[0], group, channels, work, plate_map=plate_map, label=label
            )
        elif channels is not None:
            raise ParameterError("channels: found image files; expected a folder or table with it")
        (out / "figures" if figures else out).mkdir(parents=True, exist_ok=True)
        found = measure_dataset(
            classifier,
            several,
            target,
            method,
            options=options,
            test=test,
            on_measured=draw if figures else None,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **parameters,
        )
    for name in TABLES:
        write_table(getattr(found, name), out / f"{name}.{tables}")
    (out / "record.json").write_text(found.record.to_json() + "\n", encoding="utf-8")
    (out / "summary.txt").write_text("\n".join(found.sentences) + "\n", encoding="utf-8")
    for sentence in found.sentences:
        typer.echo(sentence)
    work.end_if_interrupted(f"{len(found.images)} of {len(several)} images are in {out}")
    _refuse_nothing(found, out)


def further() -> Further:
    """Return the options of the measurement, of the series and of every method."""
    from napari_why.core.options import parameters_of
    from napari_why.counterfactuals import METHODS, CounterfactualOptions
    from napari_why.measurement import MeasurementOptions

    methods = {name: method.parameters for name, method in METHODS.items()}
    panels = {
        "the measurement": parameters_of(MeasurementOptions),
        "the series": parameters_of(CounterfactualOptions),
        **methods,
    }
    return Further(panels, choices={"method": tuple(METHODS)})


def _is_set(images: list[Path]) -> bool:
    sets = [path for path in images if path.is_dir() or path.suffix.lower() == ".csv"]
    if sets and len(images) > 1:
        raise ParameterError(
            f"images: found {sets[0]} among {len(images)} arguments; expected one folder or table "
            "alone, or image files"
        )
    return bool(sets)


def _refuse_nothing(found: "DatasetMeasurement", out: Path) -> None:
    if not (found.images["error"] == "").any():
        raise WhyError(f"no image could be measured; the reasons are in {out}")


VERB = Verb("measure", measure, further)
