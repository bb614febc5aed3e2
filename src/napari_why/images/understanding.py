"""What the reader understands of a file or folder, without opening more of it than it must."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_why.core.errors import AmbiguousAxesError, AxesChoice, ImageReadError
from napari_why.core.folders import find_shown, show
from napari_why.images.axes import restrict_answers
from napari_why.images.decoded_image import DecodedImage
from napari_why.images.formats import Format, PlateImage, SourceFile, find_format
from napari_why.images.plate_folder import FieldFiles, PlateFolder, scan_plate
from napari_why.images.read import FilePath, decode, open_image


@dataclass(frozen=True)
class Understanding:
    """What a path holds.

    Parameters
    ----------
    path : str
        The file or folder.
    format : str
        Format, or convention of the file names.
    files : tuple of str
        The files that make the image, or the first of a folder of many.
    stored_axes : str
        Axes as stored, slowest first: ``tczyx``, "s" for samples, "?" where the file names none.
    axes, shape, dtype : str, tuple of int, str
        Of the image as it is read; empty where it has to be asked for.
    channels : tuple of str
        Names.
    pixel_size : dict of str to float
        Along z, y, x, in ``unit``.
    unit : str
        "um" or "pixel".
    wells : tuple of str
        Of a plate.
    fields : int
        Number of images.
    notes : tuple of str
        What the user should know.
    question : str
        Why the image cannot be read as it is, and what to say; empty where it can.
    choices : tuple of AxesChoice
        The answers to that question, where it is what the axes are.
    """

    path: str
    format: str
    files: tuple[str, ...]
    stored_axes: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[str, ...]
    pixel_size: dict[str, float]
    unit: str
    wells: tuple[str, ...]
    fields: int
    notes: tuple[str, ...]
    question: str
    choices: tuple[AxesChoice, ...] = ()


def understand(path: FilePath, *, pattern: str | None = None) -> Understanding:
    """Say what :func:`napari_why.images.read` makes of a path.

    Parameters
    ----------
    path : path
        A file, an OME-Zarr image or plate, or a folder of files that hold one channel each.
    pattern : str, optional
        How the files of a folder are named; see :func:`napari_why.images.read`.

    Returns
    -------
    Understanding

    Raises
    ------
    ImageReadError
        There is nothing of a supported format, or it is damaged.
    """
    place = find_shown(path)
    if place.is_dir():
        with SourceFile(place) as source:
            form = find_format(source)
            if form is None:
                return _folder(scan_plate(place, pattern=pattern), pattern)
            fields = form.fields(source) if form.fields else None
            if fields is not None:
                notes = form.field_notes(source) if form.field_notes else ()
                return _plate(place, form, fields, notes)
    return _image(place, lambda: decode(place))


def _image(path: Path, decode_image: Callable[[], DecodedImage]) -> Understanding:
    # Taken from the description, since the image may have a question instead of pixels.
    with open_image(path) as stored:
        about = (stored.format, stored.axes, stored.shape, str(stored.dtype), stored.notes)
    try:
        # Not as an image: to make one takes longer than to read most files.
        image = decode_image().with_intensity_notes().arrange()
    except ImageReadError as error:
        return Understanding(
            path=show(path),
            format=about[0],
            files=(show(path),),
            stored_axes=about[1],
            axes="",
            shape=about[2],
            dtype=about[3],
            channels=(),
            pixel_size={},
            unit="",
            wells=(),
            fields=1,
            notes=about[4],
            question=str(error),
            choices=error.choices if isinstance(error, AmbiguousAxesError) else (),
        )
    return Understanding(
        path=show(path),
        format=about[0],
        files=tuple(image.attrs["source"].split("; ")),
        stored_axes=about[1],
        axes="".join(map(str, image.dims)),
        shape=image.data.shape,
        dtype=str(image.data.dtype),
        channels=image.channels,
        pixel_size=dict(image.attrs["pixel_size"]),
        unit=image.attrs["unit"],
        wells=(),
        fields=1,
        notes=image.attrs["notes"],
        question="",
    )


def _folder(plate: PlateFolder, pattern: str | None) -> Understanding:
    if not plate.fields:
        # Raises: the reader says best why it makes nothing of the folder.
        decode(plate.folder, pattern=pattern)
    field = plate.fields[0]
    first = next(iter(field.files.values()))
    sample = _image(first, lambda: _first_channel(field, first))
    several = f"{len(plate.fields)} fields; the first is described" if len(plate.fields) > 1 else ""
    channels = len(field.channels)
    sizes = zip(sample.axes, sample.shape, strict=True) if sample.axes else ()
    return replace(
        sample,
        path=show(plate.folder),
        format=plate.convention,
        files=tuple(map(show, field.files.values())),
        shape=tuple(channels if axis == "c" else size for axis, size in sizes) or sample.shape,
        channels=field.channels,
        wells=tuple(dict.fromkeys(field.well for field in plate.fields if field.well)),
        fields=len(plate.fields),
        notes=plate.notes,
        question="; ".join(filter(None, [several, sample.question])),
    )


def _first_channel(field: FieldFiles, path: Path) -> DecodedImage:
    """Read one file of a field; a question has only the answers that the field is read with."""
    try:
        return decode([path])
    except AmbiguousAxesError as error:
        raise restrict_answers(error, field.axes_of_a_file) from error


def _plate(
    path: Path, form: Format, fields: Sequence[PlateImage], notes: Sequence[str]
) -> Understanding:
    sample = _image(fields[0].path, lambda: decode(fields[0].path))
    wells = tuple(dict.fromkeys(field.well for field in fields if field.well))
    return Understanding(
        path=show(path),
        format=f"{form.name} plate" if wells else f"{form.name}, several images",
        files=sample.files,
        stored_axes=sample.stored_axes,
        axes=sample.axes,
        shape=sample.shape,
        dtype=sample.dtype,
        channels=sample.channels,
        pixel_size=sample.pixel_size,
        unit=sample.unit,
        wells=wells,
        fields=len(fields),
        notes=(*notes, *sample.notes),
        question=f"{len(fields)} fields; the first is described" if len(fields) > 1 else "",
    )
