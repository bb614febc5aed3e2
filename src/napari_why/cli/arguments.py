"""What several verbs take in, from options to images and data sets, and where results go."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

import napari_why as why
from napari_why.cli.long_work import LongWork, tell
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.options import PresetName
from napari_why.core.targets import check_target, refuse_sources, save_somewhere, try_target

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray

    from napari_why.output.images import Result

# Attribution, Counterfactual, Reconstruction or GeneratedImages: whichever a verb computes.
ResultType = TypeVar("ResultType", bound="Result")

# What napari_why.images.write can write with a record: OME-TIFF, and OME-Zarr as a folder.
IMAGE_ENDINGS = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".ome.zarr", ".zarr")

# One spelling and one help for what several verbs take, so that it is learnt once.
Model = Annotated[Path, typer.Argument(help="A classifier saved by train.", metavar="MODEL")]
Through = Annotated[
    Path | None,
    typer.Option(
        help="The generator, a classifier saved by train, whose network makes the images; by default "
        "the one that was trained with MODEL, else MODEL itself.",
        metavar="GENERATOR",
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        help="A folder with one sub-folder a class, or a table (CSV, Excel) with path,label.",
        metavar="DATA",
    ),
]
Preset = Annotated[
    PresetName | None,
    typer.Option(
        help="How thorough: what it sets can be set by options of its own, which stand above it."
    ),
]
ImageFile = Annotated[Path, typer.Argument(help="An image file.", metavar="IMAGE")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
JsonEvents = Annotated[
    bool,
    typer.Option(
        "--json-events",
        help="Write progress to stdout, a line of JSON an event, for a program that follows; the work "
        "ends in good order once nobody reads.",
    ),
]
Time = Annotated[int | None, typer.Option(help="Time point of a series, from 0.", min=0)]
Depth = Annotated[int | None, typer.Option(help="z plane of a stack, from 0.", min=0)]
Axes = Annotated[
    str | None,
    typer.Option(
        help="What the image's axes are where its file does not tell, slowest first: zyx, cyx, yxc.",
        metavar="LETTERS",
    ),
]
Group = Annotated[
    str,
    typer.Option(
        help="Columns that name a group (well), with commas between; auto: plate and well where "
        "there are such columns, or the names of all images tell them; none: every image on its own."
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(help="Names for the channels, with commas between, instead of the files' own."),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        help="How files of one channel each are named, where no convention knows it: a regular "
        "expression with the named group channel, and any of plate, well, field, z, t, for whole "
        "names without suffix.",
        metavar="REGEX",
    ),
]
PlateMap = Annotated[
    Path | None,
    typer.Option(
        help="Plate map, CSV or Excel: DATA holds the images of its wells.", metavar="FILE"
    ),
]
WellPattern = Annotated[
    str | None,
    typer.Option(
        help="With a plate map: regular expression for where paths tell the well, with the group "
        "well (or row and column), and plate where there are several.",
        metavar="REGEX",
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Column of the table or plate map that holds the class; by default label or treatment.",
        metavar="COLUMN",
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        help="Split into training, validation and test images by this number, in place of a split that "
        "the table has; by default that one, else none until a training draws one.",
        min=0,
    ),
]


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What the images of a data set are called, and what belongs together."""

    group: Group = "auto"
    channels: Channels = None
    plate_map: PlateMap = None
    label: Label = None
    well_pattern: WellPattern = None
    pattern: Pattern = None
    split_seed: SplitSeed = None

    def open(self, location: Path, work: LongWork) -> "why.Dataset":
        """Open a folder or table, or the images of a plate.

        Parameters
        ----------
        location : Path
            A folder with one sub-folder a class, or a table; with a plate map the plate's images.
        work : LongWork
            Shows the progress; Ctrl-C leaves at once, for nothing is done yet.

        Returns
        -------
        Dataset

        Raises
        ------
        typer.Exit
            Ctrl-C was pressed while the images were opened.
        ParameterError
            There is a pattern for wells and no plate map.
        """
        if self.well_pattern and not self.plate_map:
            raise ParameterError(
                "--well-pattern: found no --plate-map; expected one, since the pattern finds the wells "
                "of a plate map in the names"
            )
        open_it: Callable[..., why.Dataset] = (
            partial(
                why.Dataset.from_plate, location, self.plate_map, well_pattern=self.well_pattern
            )
            if self.plate_map
            else partial(why.Dataset.open, location)
        )
        dataset = open_it(
            # Without a name, a table's column is called label and a plate map's treatment.
            **({"label": self.label} if self.label else {}),
            group={"auto": "auto", "none": None}.get(self.group, split_names(self.group)),
            channels=split_names(self.channels or "") or None,
            pattern=self.pattern,
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
        # A part of the images would pass for the whole data set.
        work.end_if_interrupted("nothing was done yet")
        if self.split_seed is None:
            return dataset
        return dataset.split(seed=self.split_seed, redraw=True)


@dataclass(frozen=True)
class ImageTask:
    """An image and the classifier that looks at it: what verbs that make images begin with."""

    model: Model
    image: ImageFile
    _: KW_ONLY
    time: Time = None
    depth: Depth = None
    axes: Axes = None
    channels: Channels = None
    device: Device = "auto"
    overwrite: Overwrite = False

    def read(self, path: Path) -> "DataArray":
        """Read the chosen plane of an image file, dims (c, y, x), as :func:`read_plane` does.

        What the reader guessed or noticed is told, to a script too.
        """
        read_as = make_read_arguments(self.axes, self.channels)
        image = read_plane(path, time=self.time, depth=self.depth, read_as=read_as)
        for note in image.attrs["notes"]:
            tell(f"{path}: {note}")
        return image

    def run(
        self, compute: Callable[..., ResultType], out: Path | None, *sources: Path
    ) -> "tuple[ResultType, DataArray, LongWork]":
        """Compute a result from the image, and write it with its record.

        Parameters
        ----------
        compute : callable
            ``compute(classifier, image, *, on_event, cancelled)`` returns the result.
        out : Path or None
            Image file to write; nothing is written when None.
        *sources : Path
            Further images that the result is made from.

        Returns
        -------
        result, image, work
            The result, the plane that was read, and the work that has ended, which knows whether
            it was interrupted.

        Raises
        ------
        WhyError
            The place for the result is taken or missing, the image cannot be read, or the
            computation refuses it.
        """
        if out is not None:
            made_from = (self.image, self.model, *sources)
            check_place(out, overwrite=self.overwrite, endings=IMAGE_ENDINGS, sources=made_from)
        raw = self.read(self.image)
        classifier = why.load(self.model, device=self.device)
        with LongWork() as work:
            result = compute(classifier, raw, on_event=work.on_event, cancelled=work.cancelled)
            # Within the work, so that whoever interrupts now does not lose it.
            if out is not None:
                save_image(result, raw, out, overwrite=self.overwrite)
        return result, raw, work


def save_image(result: Any, raw: "DataArray", out: Path, *, overwrite: bool) -> None:
    """Save what was made of an image, with its record; somewhere else where that fails.

    Parameters
    ----------
    result : Result
        With grid and record.
    raw : DataArray
        The image that it is about.
    out : Path
        Its ending says which format.
    overwrite : bool
        Replace what napari-why wrote there.

    Raises
    ------
    WhyError
        It failed; says where the result is instead.
    """
    from napari_why.output.images import record_with_grid, result_image

    record = record_with_grid(result.record, result.grid)
    image = result_image(result, raw)
    save_somewhere(out, lambda place: why.write(image, place, record=record, overwrite=overwrite))


def read_plane(
    path: Path,
    *,
    time: int | None,
    depth: int | None,
    read_as: Mapping[str, Any] | None = None,
) -> "DataArray":
    """Read one time point and z plane, dims (c, y, x).

    ``read_as`` are further arguments of :func:`napari_why.images.read`, as an image's ``attrs``
    keep them.

    Parameters
    ----------
    path : Path
    time, depth : int or None
        Indices from 0; None where the file has one alone.
    read_as : mapping, optional
        Further arguments of :func:`napari_why.images.read`.

    Returns
    -------
    DataArray, dims (c, y, x)

    Raises
    ------
    ParameterError
        The file has several of them and none was chosen, or there is no such one.
    ImageReadError
        The file cannot be read.
    """
    from napari_why.images import plane, read_again

    image = read_again(path, read_as)
    chosen = {"t": time, "z": depth}
    for (dim, index), option in zip(chosen.items(), ("--time", "--depth"), strict=True):
        size = image.sizes.get(dim, 1)
        # A result of a plane that nobody chose would pass for one of the whole stack.
        if size > 1 and index is None:
            raise ParameterError(
                f"{path}: found {size} along axis {dim}; choose one with {option} 0 to {size - 1}"
            )
    return plane(image, t=time or 0, z=depth or 0)


def read_labels(path: Path) -> "NDArray[Any]":
    """Read a label image (y, x) of whole numbers.

    Raises
    ------
    ParameterError
        It has several channels, planes or time points, or numbers with fractions.
    """
    import numpy as np

    image = read_plane(path, time=None, depth=None)
    if image.sizes["c"] != 1 or not np.issubdtype(image.dtype, np.integer):
        raise ParameterError(
            f"{path}: found {image.sizes['c']} channels of {image.dtype}; expected one image of "
            "whole numbers, the label of a region on each of its pixels and 0 elsewhere"
        )
    return np.asarray(image[0])


def make_read_arguments(
    axes: str | None, channels: str | None, pattern: str | None = None
) -> dict[str, Any]:
    """Return what the user says of an image, as arguments of :func:`napari_why.images.read`.

    Parameters
    ----------
    axes : str or None
        As of :func:`napari_why.images.read`.
    channels : str or None
        Names with commas between.
    pattern : str, optional
        As of :func:`napari_why.images.read`.

    Returns
    -------
    dict of str to object
        Without what was not said.

    Examples
    --------
    >>> make_read_arguments("zcyx", "DAPI, TMRM")
    {'axes': 'zcyx', 'channels': ['DAPI', 'TMRM']}
    """
    given = {
        "axes": axes,
        "channels": split_names(channels or "") or None,
        "pattern": pattern,
    }
    return {name: value for name, value in given.items() if value is not None}


def split_names(text: str) -> list[str]:
    """Return the names that stand in a text with commas between.

    Examples
    --------
    >>> split_names("DAPI, TMRM,")
    ['DAPI', 'TMRM']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def check_place(
    path: Path,
    *,
    overwrite: bool,
    endings: tuple[str, ...] = (),
    sources: Iterable[Path | None] = (),
) -> None:
    """Check that a result can be written there: before the work begins, not after it.

    A file that is there must be one of ours, and so must the record beside an image; folders are
    looked at by what writes them. ``sources`` are what the result is made from: none of them, and no
    record of them, is ever written over.

    Parameters
    ----------
    path : Path
        Where the result is to be.
    overwrite : bool
        Whether what napari-why wrote there may be replaced.
    endings : tuple of str
        What its name may end in, small letters; empty for a folder.
    sources : iterable of Path or None
        What the result is made from; None is passed over.

    Raises
    ------
    WhyError
        Something is there already and must not be overwritten, the folder around it is missing,
        the name has another ending, or nothing can be written there.
    """
    if endings and not path.name.lower().endswith(endings):
        raise WhyError(f"{path}: expected a name that ends in {' or '.join(endings)}")
    made_from = [source for source in sources if source is not None]
    refuse_sources(path, made_from)
    if os.path.lexists(path) and not overwrite:
        raise WhyError(f"{path}: found something there; choose another name or add --overwrite")
    if endings:
        check_target(path, made_from, overwrite=overwrite)
    if endings == IMAGE_ENDINGS:
        from napari_why.images import record_path  # takes longer than the shell's help may

        records = map(record_path, made_from)
        check_target(record_path(path), [*made_from, *records], overwrite=overwrite)
    # A folder that is made here would hide a slip of the pen in the path.
    if not path.absolute().parent.is_dir():
        raise WhyError(f"{path.parent}: found no such folder to write into; make it first")
    try_target(path)
