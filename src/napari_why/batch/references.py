"""The images of a batch, by reference: a worker anywhere opens one when its turn comes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from napari_why.core.errors import DatasetError
from napari_why.core.folders import find_shown, show
from napari_why.datasets import Dataset
from napari_why.datasets.dataset import pixels_digest
from napari_why.datasets.image_folders import find_images
from napari_why.datasets.plate_images import match_plate, take_groups_from_names
from napari_why.datasets.sheets import EXCEL_SUFFIXES, TEXT_SUFFIXES
from napari_why.datasets.tables import find_image_files, list_images, notes_of
from napari_why.images import (
    Source,
    describe_grouping,
    group_sources,
    is_image_folder,
    name_source,
    read,
)
from napari_why.images.channel_files import sibling_files
from napari_why.images.image import plane
from napari_why.model.image_facts import single_plane

# Of folders without classes: their column says nothing, and is left out.
NO_CLASS = ""
# Columns that a batch fills itself, and what those end or begin with that name a channel or class:
# what a data set calls so is put under another name.
RESULTS = frozenset(
    (
        *("trained on", "predicted", "notes", "unlike", "quality", "explained", "score"),
        *("map adds up", "direction", "valid", "second agrees", "second called it before"),
        *("second had a say", "trustworthy", "p of the target", "distance", "regions"),
        *("area of regions (px)", "reservations", "kinds of reservations", "verdict", "error"),
    )
)
RESULTS_OF = (
    *("probability of ", "share of evidence in ", "of it for the class in "),
    *("share of change in ", "change in the regions ("),
)
GLOBAL_CHANGE = " global change ("
# In front of such a name.
ORIGINAL = "original_"


@dataclass(frozen=True)
class ImageReference:
    """One image that is not read yet, and what is known of it.

    Parameters
    ----------
    source : path, tuple of paths or DataArray
        A file or folder, the files of its channels, or an image in memory.
    about : mapping
        Columns of the table: ``image``, ``label``, ``well``, ``plate`` and so on. One that a batch
        fills itself (``notes``, ``score``) is ``original_NAME`` in the results.
    read_as : mapping
        Further arguments of :func:`napari_why.images.read`; for a stack ``plane``, the indices on t
        and z that were chosen.
    """

    source: Source
    about: Mapping[str, Any] = field(default_factory=dict)
    read_as: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file, or all files; of an image in memory what it is called."""
        return str(self.about.get("image") or show(name_source(self.source)))

    def open(self) -> xr.DataArray:
        """Read the image, dims (c, y, x) where it is one plane.

        Raises
        ------
        ImageReadError
            It cannot be read.
        """
        if isinstance(self.source, xr.DataArray):
            return single_plane(self.source)
        given = dict(self.read_as)
        chosen = given.pop("plane", None)
        image = read(self.source, **given)
        return single_plane(image if chosen is None else plane(image, **chosen))

    def state(self) -> str:
        """Tell one state of the files, or of the pixels in memory, from another.

        Of files size and time of writing are told, of one that is read with its siblings theirs
        too; of an image that is a folder those of all files in it.
        """
        if isinstance(self.source, xr.DataArray):
            return pixels_digest(single_plane(self.source))
        found = [
            (file.name, about.st_size, about.st_mtime_ns)
            for place in self._files_read()
            for file in _files_of(place)
            if (about := _stat(file)) is not None
        ]
        told = json.dumps([self.name, sorted(found), dict(self.read_as)], default=str)
        return sha256(told.encode()).hexdigest()

    def files(self) -> tuple[Path, ...]:
        """Return the files, none of an image in memory."""
        if isinstance(self.source, xr.DataArray):
            return ()
        several = self.source if isinstance(self.source, tuple) else (self.source,)
        return tuple(find_shown(item) for item in several)

    def _files_read(self) -> tuple[Path, ...]:
        files = self.files()
        if isinstance(self.source, tuple) or not files[0].is_file():
            return files
        return sibling_files(files[0], self.read_as.get("pattern")).files


def find_references(
    location: str | Path,
    classes: Sequence[str] = (),
    *,
    plate_map: str | Path | None = None,
    label: str | None = None,
    channels: Sequence[str] | None = None,
    pattern: str | None = None,
    well_pattern: str | None = None,
) -> tuple[list[ImageReference], list[str]]:
    """List the images of a file, folder, table or plate, without reading any.

    Parameters
    ----------
    location : path
        An image; a folder of images, in folders within it too, of which those of the first level are
        classes where the classifier knows one of that name; a table with a column ``path``; with
        ``plate_map`` the folder of a plate.
    classes : sequence of str
        Of the classifier.
    plate_map, well_pattern
        See :func:`napari_why.datasets.plate_images.match_plate`.
    label : str, optional
        Column that holds the class; by default ``label``, of a plate map ``treatment``.
    channels, pattern
        See :func:`napari_why.images.read`.

    Returns
    -------
    references : list of ImageReference
        ``well`` and ``plate`` are there where the names of all images tell them.
    notes : list of str
        What was guessed, in sentences.

    Raises
    ------
    DatasetError
        There is no image.
    """
    place = find_shown(location)
    read_as = _without_none(channels=None if channels is None else list(channels), pattern=pattern)
    if plate_map is not None:
        table, match = match_plate(
            place,
            plate_map,
            label=label or "treatment",
            well_pattern=well_pattern,
            pattern=pattern,
        )
        return _of_table(table, pattern, read_as, match.sentences)
    if place.suffix.lower() in (*TEXT_SUFFIXES, *EXCEL_SUFFIXES):
        return _of_table(list_images(place, label=label or "label"), pattern, read_as)
    if place.is_dir() and not is_image_folder(place):
        return _of_folder(place, classes, label, pattern, read_as)
    if not place.exists():
        raise DatasetError(f"{place}: found no such file or folder; expected images")
    several = group_sources([place], pattern)
    return list_references(several, read_as), []


def list_references(
    images: "Dataset | Iterable[Source | ImageReference]", read_as: Mapping[str, Any] | None = None
) -> list[ImageReference]:
    """Return images as references, with what a data set's table says of them.

    Parameters
    ----------
    images : Dataset, or iterable of DataArray, path, tuple of paths or ImageReference
        Paths that are files of one image are put together; a tuple of one is that file alone.
    read_as : mapping, optional
        Further arguments of :func:`napari_why.images.read` for paths.

    Returns
    -------
    list of ImageReference
        Each with a name of its own.

    Raises
    ------
    DatasetError
        An image comes twice.
    """
    if isinstance(images, Dataset):
        rows = images.table.to_dict("records")
        found = [
            _of_store(*images.store.source(position), _named(row))
            for position, row in zip(images.positions, rows, strict=True)
        ]
    else:
        # references are left as they are, in their places
        several: list[Any] = group_sources(list[Any](images), (read_as or {}).get("pattern"))
        found = [
            item if isinstance(item, ImageReference) else _reference(item, read_as or {}, {})
            for item in several
        ]
    return _with_own_names(found)


def _reference(
    source: Source, read_as: Mapping[str, Any], about: Mapping[str, Any]
) -> ImageReference:
    known = {name: value for name, value in about.items() if name not in ("path", "image")}
    name = show(name_source(source)) or str(about.get("path", ""))
    return ImageReference(source, _without_results({"image": name, **known}), dict(read_as))


def _of_store(
    source: Source, read_as: Mapping[str, Any], about: Mapping[str, Any]
) -> ImageReference:
    # a data set has put together what belongs together: one file is that file alone
    files = (source,) if isinstance(source, str | Path) else source
    return _reference(files, read_as, about)


def is_result(column: str) -> bool:
    """Tell whether a batch fills a column of this name itself."""
    return column in RESULTS or column.startswith(RESULTS_OF) or GLOBAL_CHANGE in column


def _without_results(about: Mapping[str, Any]) -> dict[str, Any]:
    """Rename what would stand in the place of results, or be lost to them."""
    found: dict[str, Any] = {}
    for name, value in about.items():
        own = f"{ORIGINAL}{name}" if is_result(name) else name
        while own != name and (own in about or own in found):
            own = f"{ORIGINAL}{own}"
        found[own] = value
    return found


def _with_own_names(references: list[ImageReference]) -> list[ImageReference]:
    """Give every image a name of its own: by its name an image is known in the results."""
    taken: dict[str, list[ImageReference]] = {}
    found = []
    for number, given in enumerate(references):
        name = given.name
        item = replace(given, about=_without_results(given.about))
        in_memory = isinstance(item.source, xr.DataArray)
        if not in_memory and any(_is_same(item, other) for other in taken.get(name, ())):
            raise DatasetError(f"{name}: found twice among the images; expected each image once")
        taken.setdefault(name, []).append(item)
        if (in_memory and not name) or len(taken[name]) > 1:
            name = f"{name or 'image'} ({_describe_choice(item) or number + 1})"
            if name in taken:
                name = f"{name} ({number + 1})"
            item = replace(item, about={**item.about, "image": name})
            taken.setdefault(name, []).append(item)
        found.append(item)
    return found


def _is_same(one: ImageReference, other: ImageReference) -> bool:
    return one.files() == other.files() and dict(one.read_as) == dict(other.read_as)


def _describe_choice(item: ImageReference) -> str:
    """Say which plane of a stack was chosen; nothing where none was."""
    plane_of = item.read_as.get("plane") or {}
    return ", ".join(f"{dim} {index}" for dim, index in plane_of.items())


def _of_folder(
    folder: Path,
    classes: Sequence[str],
    label: str | None,
    pattern: str | None,
    read_as: Mapping[str, Any],
) -> tuple[list[ImageReference], list[str]]:
    try:
        table = list_images(folder, label=label or "label", pattern=pattern)
    except DatasetError:
        if label is not None:  # which column is the class was said, so that there has to be one
            raise
    else:
        # Folders called otherwise are days or plates, and no classes.
        if set(table["label"]) & set(classes):
            return _of_table(table, pattern, read_as)
    images = find_images(folder, pattern=pattern)
    if not images:
        raise DatasetError(f"{folder}: found no image; expected some, in folders within it too")
    paths = pd.DataFrame({"path": [show(files[0]) for files in images], "label": NO_CLASS})
    table = take_groups_from_names(paths)
    known = [name for name in ("plate", "well") if name in table]
    about = table[known].to_dict("records") if known else [{} for _ in images]
    references = [
        _reference(tuple(files), read_as, _named(row))
        for files, row in zip(images, about, strict=True)
    ]
    return _with_own_names(references), [*notes_of(table), *describe_grouping(images, pattern)]


def _of_table(
    table: pd.DataFrame,
    pattern: str | None,
    read_as: Mapping[str, Any],
    notes: Iterable[str] = (),
) -> tuple[list[ImageReference], list[str]]:
    images = find_image_files(table, pattern)
    if "well" not in table:
        table = take_groups_from_names(table)
    references = [
        _reference(tuple(files), read_as, _named(row))
        for files, row in zip(images, table.to_dict("records"), strict=True)
    ]
    return _with_own_names(references), [*notes, *notes_of(table)]


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _files_of(place: Path) -> Iterable[Path]:
    return (file for file in place.rglob("*") if file.is_file()) if place.is_dir() else (place,)


def _stat(file: Path) -> Any:
    try:
        return file.stat()
    except OSError:  # gone; reading it says so
        return None
