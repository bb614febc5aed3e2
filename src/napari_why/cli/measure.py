"""``napari-why measure``, ``class-maps``, ``latent-space``: verbs that write a folder about many images."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import INCOMPLETE, LongWork, tell
from napari_why.core.errors import DatasetError, ParameterError, WhyError, reason_of
from napari_why.core.options import parameters_of, validated
from napari_why.core.targets import check_own_folder, is_own, reserve, save_somewhere
from napari_why.core.whole_files import harmless_cell, write_whole

if TYPE_CHECKING:
    import pandas as pd

    from napari_why.evaluation import ClassMaps
    from napari_why.latent_space import Outliers
    from napari_why.measurement import DatasetMeasurement, MeasuredImage

# The tables of a measurement, which are attributes of it and names of files.
TABLES = ("images", "regions", "statistics")
RECORD = "record.json"
# All that a measurement leaves in its folder.
WRITTEN = (
    *(f"{name}.{ending}" for name in TABLES for ending in ("csv", "parquet")),
    *("summary.txt", "figures/[0-9][0-9][0-9][0-9][0-9]_*.png"),
    RECORD,  # the last to go, for the others are known by it
)


def measure(
    model: arguments.Model,
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files; or one folder with a sub-folder a class, or one table (CSV, Excel) with "
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
    through: arguments.Through = None,
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
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Measure what the counterfactual of every image changes.

    Writes three tables: images (does it flip, who agrees, where is the change), regions (area and
    intensity before and after) and statistics (by well), with a record and the figures.
    """
    from napari_why.datasets.image_store import drop_files
    from napari_why.images import group_sources
    from napari_why.measurement import MeasurementOptions

    sources = (*images, model, options.plate_map, through)
    arguments.check_place(out, overwrite=overwrite, sources=sources)
    if not (out / INCOMPLETE).is_file():  # of a measurement that was cut short, before its record
        check_own_folder(out, RECORD)
    classifier = why.load(model, device=device)
    maker = None if through is None else why.load(through, device=device)
    names = {item.name for item in parameters_of(MeasurementOptions)}
    measuring = {name: parameters.pop(name) for name in names & set(parameters)}

    undrawn: list[str] = []
    noted: dict[str, list[str]] = {}

    def look_at(measured: "MeasuredImage") -> None:
        about = measured.image.attrs
        source = str(about.get("source"))
        noted[source] = drop_files(about.get("notes", ()), source)
        if figures:
            draw(measured)

    def draw(measured: "MeasuredImage") -> None:
        from napari_why.output.figures import draw_counterfactual  # takes a second to import

        name = Path(str(measured.image.attrs.get("source") or "image")).name.partition(".")[0]
        path = out / "figures" / f"{measured.row + 1:05d}_{name}.png"
        try:
            draw_counterfactual(measured.counterfactual, path, measured.image)
        except Exception as error:  # noqa: BLE001 - a picture is no reason to lose the numbers
            undrawn.append(f"{path.name}: {reason_of(error)}")

    with LongWork() as work, reserve(out):
        several: Any = images
        if _is_set(images):
            several = options.open(images[0], work)
        elif options.channels is not None or options.pattern is not None:
            name = "pattern" if options.channels is None else "channels"
            raise ParameterError(f"{name}: found image files; expected a folder or table with it")
        else:
            several = group_sources(images)
        _clear(out)
        # Made before the work: the figures are drawn while it goes on.
        (out / "figures" if figures else out).mkdir(parents=True, exist_ok=True)
        growing = GrowingTables(out, len(several))
        result = why.measure_dataset(
            classifier,
            several,
            target,
            method,
            options=measuring,
            test=test,
            through=maker,
            on_measured=look_at,
            on_rows=growing.add,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **parameters,
        )
        sentences = [
            *result.sentences,
            *_describe_undrawn(undrawn),
            *_tell_notes(several, noted),
        ]
        # Within the work, so that whoever interrupts now does not lose what was measured.
        save_somewhere(out, lambda place: _write(result, sentences, place, tables))
        growing.close(keep=tables == "csv", complete=result.complete)
    for sentence in sentences:
        typer.echo(sentence)
    work.end_if_interrupted(f"{len(result.images)} of {len(several)} images are in {out}")
    _refuse_nothing(result, out)


def _clear(out: Path) -> None:
    """Remove an earlier measurement, whose files would pass for part of this one."""
    # one that was cut short has no record yet, and its folder was looked at when it began
    cut_short = (out / INCOMPLETE).is_file()
    for pattern in WRITTEN:
        for path in out.glob(pattern):
            if cut_short or is_own(path):
                path.unlink()


def _describe_undrawn(undrawn: list[str]) -> list[str]:
    if not undrawn:
        return []
    return [f"{len(undrawn)} figures could not be drawn; first: {undrawn[0]}"]


def _tell_notes(images: Any, noted: dict[str, list[str]]) -> list[str]:
    """Return what was noted about the images, each sentence once; of single ones, tell it too."""
    if isinstance(images, why.Dataset):
        return list(images.notes)  # told when it was opened
    from napari_why.datasets.image_store import fold_notes

    sentences = fold_notes(noted.items(), len(images))
    for sentence in sentences:
        tell(sentence)
    return sentences


def _write(result: "DatasetMeasurement", sentences: list[str], out: Path, tables: str) -> None:
    from napari_why.measurement import write_table

    out.mkdir(parents=True, exist_ok=True)
    # the first, for by it the tables are known as ours to replace
    write_whole(out / RECORD, (result.record.to_json() + "\n").encode())
    for name in TABLES:
        write_table(getattr(result, name), out / f"{name}.{tables}")
    write_whole(out / "summary.txt", ("\n".join(sentences) + "\n").encode())


def list_measurement_options() -> Further:
    """Return the options of the measurement, of the series and of every method."""
    from napari_why.counterfactuals import METHODS, CounterfactualOptions
    from napari_why.measurement import MeasurementOptions

    panels = {
        "the measurement": parameters_of(MeasurementOptions),
        "the series": parameters_of(CounterfactualOptions),
    }
    return Further.of_registry("method", METHODS, panels)


def _is_set(images: list[Path]) -> bool:
    from napari_why.datasets.sheets import EXCEL_SUFFIXES, TEXT_SUFFIXES

    tables = TEXT_SUFFIXES + EXCEL_SUFFIXES
    # Only a folder or table knows wells: beside single files they would be lost without a word.
    sets = [path for path in images if path.is_dir() or path.suffix.lower() in tables]
    if sets and len(images) > 1:
        raise ParameterError(
            f"images: found {sets[0]} among {len(images)} arguments; expected one folder or table "
            "alone, or image files"
        )
    return bool(sets)


def _refuse_nothing(result: "DatasetMeasurement | ClassMaps", out: Path) -> None:
    # Every image has an error of its own; a script has to see that none went well.
    if not (result.images["error"] == "").any():
        raise WhyError(f"no image could be measured; the reasons are in {out}")


class GrowingTables:
    """``images.csv`` and ``regions.csv`` of a measurement that goes on, and a mark that it does.

    Parameters
    ----------
    folder : Path
        There already, without such tables.
    total : int
        How many images are to come.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self._folder, self._total, self._done = folder, total, 0
        self._rows: dict[str, list[dict[str, Any]]] = {"images": [], "regions": []}
        self._columns: dict[str, list[str]] = {"images": [], "regions": []}
        self._mark()

    def add(self, image: dict[str, Any], regions: "pd.DataFrame | None") -> None:
        """Write the rows of one image, and put them where no crash of this program reaches them.

        Where that fails (a full disk) the measurement goes on: it is tried again with the next image,
        and what is written at the end tells of it.

        Parameters
        ----------
        image : dict
            The row of the image.
        regions : DataFrame or None
            The rows of its regions; None where there are none to list.
        """
        several = [] if regions is None else regions.to_dict("records")
        plain = {
            "images": [dict(image)],
            "regions": [{str(key): value for key, value in row.items()} for row in several],
        }
        for name, rows in plain.items():
            self._rows[name] += rows
        self._done += 1
        try:
            for name, rows in plain.items():
                if rows:
                    self._append(name, rows)
            self._mark()
        except (WhyError, OSError):
            # without known columns all rows are written anew
            self._columns = {name: [] for name in self._columns}

    def close(self, *, keep: bool, complete: bool) -> None:
        """Take the mark away if all is done, and the tables if they stand there in another format.

        Parameters
        ----------
        keep : bool
            Whether the tables stay.
        complete : bool
            Whether all images are done.
        """
        if not keep:
            for name in self._rows:
                self._path(name).unlink(missing_ok=True)
        if complete:
            (self._folder / INCOMPLETE).unlink(missing_ok=True)

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        known = self._columns[name]
        new = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in known]
        if new:  # an image that failed has fewer columns than those after it
            known[:] = dict.fromkeys(key for row in self._rows[name] for key in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, known)
        if new:
            writer.writerow({key: harmless_cell(key) for key in known})
            writer.writerows(map(_harmless_row, self._rows[name]))
            write_whole(self._path(name), text.getvalue().encode(), own=_is_ours)
            return
        writer.writerows(map(_harmless_row, rows))
        with self._path(name).open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())

    def _mark(self) -> None:
        said = f"incomplete: {self._done} of {self._total} images are in these tables"
        write_whole(self._folder / INCOMPLETE, f"{said}\n".encode(), own=_is_ours)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.csv"


def _harmless_row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: harmless_cell(value) for key, value in row.items()}


def _is_ours(_: Path) -> bool:
    return True  # the folder was cleared, or is new: what is there now was written here


# All that maps of classes leave in their folder.
MAPS_FILE = "class_maps.ome.tif"
CLASS_FILES = ("images.csv", "regions.csv", "similarity.csv", "summary.txt", "figures.png")


def class_maps(
    model: arguments.Model,
    data: arguments.Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for images, tables and the figure.")],
    method: Annotated[
        str, typer.Option(help="The attribution method; its options stand below.")
    ] = "integrated_gradients",
    figure: Annotated[bool, typer.Option(help="Draw the means and how alike maps are.")] = True,
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Average the evidence maps and the images of every class over wells.

    Writes class_maps.ome.tif (mean images, mean maps, their standard errors and differences), tables of
    images, of regions (nucleus, cytoplasm, background) and of how alike maps are, the figure and a record.
    """
    from napari_why.evaluation import ClassMapOptions

    sources = (data, model, options.plate_map)
    arguments.check_place(out, overwrite=overwrite, sources=sources)
    check_own_folder(out, RECORD)
    classifier = why.load(model, device=device)
    names = {item.name for item in parameters_of(ClassMapOptions)}
    chosen = {name: parameters.pop(name) for name in names & set(parameters)}
    with LongWork() as work, reserve(out):
        dataset = options.open(data, work)
        result = why.class_maps(
            classifier,
            dataset,
            method,
            options=chosen,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **parameters,
        )
        # Within the work, so that whoever interrupts now does not lose it.
        save_somewhere(out, lambda place: _write_class_maps(result, dataset, place, figure=figure))
    for sentence in (*result.notes, *dataset.notes):
        typer.echo(sentence)
    work.end_if_interrupted(f"{len(result.images)} of {len(dataset)} images are in {out}")
    _refuse_nothing(result, out)


def _write_class_maps(
    result: "ClassMaps", dataset: "why.Dataset", out: Path, *, figure: bool
) -> None:
    from napari_why.measurement import write_table
    from napari_why.output.figures import draw_class_maps

    for path in (*(out / name for name in CLASS_FILES), out / MAPS_FILE):
        if is_own(path):  # of an earlier run, and not made by every alignment
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    # the first, for by it the tables are known as ours to replace
    write_whole(out / RECORD, (result.record.to_json() + "\n").encode())
    write_table(result.images, out / "images.csv")
    if len(result.regions):
        write_table(result.regions, out / "regions.csv")
    if result.similarity is not None:
        write_table(result.similarity.table, out / "similarity.csv")
    write_whole(out / "summary.txt", ("\n".join(result.notes) + "\n").encode())
    if result.maps:
        image = _join_class_maps(result, dataset)
        why.write(image, out / MAPS_FILE, record=result.record, overwrite=True)
    if figure and (result.maps or result.similarity is not None):
        draw_class_maps(result, out / "figures.png")


def _join_class_maps(result: "ClassMaps", dataset: "why.Dataset") -> Any:
    """Return all pictures as channels, each named by what it is of."""
    import numpy as np

    from napari_why.images import make_image, spatial_scale

    pictures = {name: item for name, item in result.pictures().items() if item.in_file}
    pixels = [picture.compute() for picture in pictures.values()]
    names = [
        name if channel is None else f"{channel}, {name}"
        for name, picture in pictures.items()
        for channel in picture.channels
    ]
    # one that counts stands for all: what has another size was refused or resized
    path = result.images.loc[result.images["error"] == "", "path"].iloc[0]
    source = dataset.image(list(dataset.table["path"]).index(path))
    sizes = [
        size * step for size, step in zip(spatial_scale(source), result.grid.step, strict=True)
    ]
    return make_image(
        np.concatenate(pixels),
        "cyx",
        names,
        pixel_size=dict(zip("yx", sizes, strict=True)),
        unit=source.attrs["unit"],
    )


def list_class_map_options() -> Further:
    """Return the options of maps of classes, and the parameters of every attribution method."""
    from napari_why.attribution import METHODS
    from napari_why.evaluation.class_maps import ClassMapOptions

    return Further.of_registry("method", METHODS, {"the maps": parameters_of(ClassMapOptions)})


def latent_space(
    model: arguments.Model,
    data: arguments.Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and a report.")],
    projection: Annotated[
        str, typer.Option(help="The plane of the figure; its options stand below.")
    ] = "pca",
    color_by: Annotated[
        str, typer.Option(help="Column that colours the points: class, prediction, plate, ...")
    ] = "class",
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Place the images of a data set in the classifier's latent space, and list outliers.

    The folder then holds latent_space.parquet, images.csv, outlier_images.csv, wells.csv,
    shares.csv, the figure as PNG and SVG, and report.json.
    """
    from napari_why import latent_space as latents

    sources = (data, model, options.plate_map)
    arguments.check_place(out, overwrite=overwrite, sources=sources)
    latents.check_target(out, overwrite=overwrite)
    of_plane, of_search = _split_parameters(
        parameters, latents.PROJECTIONS.named(projection).function, latents.OutlierOptions
    )
    classifier = why.load(model, device=device)
    with LongWork() as work, reserve(out):
        dataset = options.open(data, work)
        space = why.embed(classifier, dataset, on_event=work.on_event, cancelled=work.cancelled)
        # Within the work, so that whoever interrupts now does not lose what was embedded.
        outliers, sentences = _find_outliers(space, of_search)
        # not cancelled: whoever interrupts has a picture of what was embedded all the same
        plane = latents.project(space, projection, on_event=work.on_event, **of_plane)
        save_somewhere(
            out,
            lambda place: latents.write_latent_space(
                place, space, plane, outliers, color_by=color_by, overwrite=overwrite
            ),
        )
    for sentence in (*space.notes, *sentences):
        typer.echo(sentence)
    for item in space.unreadable:
        typer.echo(f"left out: {item.reason}")
    work.end_if_interrupted(f"the {len(space)} images that were done are in {out}")
    work.say(f"{out}: {len(space)} images in {space.latents.shape[1]} dimensions")


def list_projections() -> Further:
    """Return the projections, and the parameters of each and of the search for outliers."""
    from napari_why.latent_space import PROJECTIONS, OutlierOptions

    panels = {"the outliers": parameters_of(OutlierOptions)}
    return Further.of_registry("projection", PROJECTIONS, panels)


def _split_parameters(
    parameters: dict[str, Any], *functions: Callable[..., Any]
) -> list[dict[str, Any]]:
    """Return the parameters of each function, checked; the seed belongs to all that have one."""
    # Two functions may share a name (seed): it goes to both, so that one seed repeats the whole.
    names = [{item.name for item in parameters_of(function)} for function in functions]
    unknown = sorted(set(parameters).difference(*names))
    if unknown:
        raise ParameterError(
            f"found the option {', '.join(unknown)}, which belongs to another projection"
        )
    found = [{name: value for name, value in parameters.items() if name in own} for own in names]
    for function, values in zip(functions, found, strict=True):
        # Here and not where they are used, which is after minutes of embedding images.
        validated(function, values)
    return found


def _find_outliers(
    space: "why.LatentSpace", parameters: dict[str, Any]
) -> "tuple[Outliers | None, tuple[str, ...]]":
    """Find outliers, and say what was found; None where there are too few to judge by."""
    from napari_why.latent_space import find_outliers

    try:
        found = find_outliers(space, **parameters)
    except DatasetError as error:
        return None, (str(error),)
    return found, tuple(found.sentences)


MEASURE = Verb("measure", measure, list_measurement_options)
CLASS_MAPS = Verb("class-maps", class_maps, list_class_map_options)
LATENT_SPACE = Verb("latent-space", latent_space, list_projections)
