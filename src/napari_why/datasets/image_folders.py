"""Labelled images by their folders: one for each class, and whether files are of one channel each."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from napari_why.core.errors import DatasetError
from napari_why.core.folders import FolderWalk, is_folder, merge_notes, show, show_each
from napari_why.datasets.spellings import SPLITS, read_split_name
from napari_why.images import (
    file_suffixes,
    find_likely_channels,
    folder_notes,
    group_channel_files,
    holds_channels,
    image_places,
    is_image_folder,
    plates_of,
    suggest_pattern,
)
from napari_why.images.channel_marks import is_channel_folder

TABLE_NAME = "labels.csv"


def find_images(
    folder: Path, walk: FolderWalk | None = None, pattern: str | None = None
) -> list[tuple[Path, ...]]:
    """Return the files of every image in a folder and the folders within it.

    A folder that is an image (OME-Zarr) counts as a file. Links are followed. Hidden files,
    companions of images and litter of servers are left out, which ``walk`` is told; files of one
    channel each whose names belong together make one image.

    Parameters
    ----------
    folder : Path
    walk : FolderWalk, optional
        Told what was passed over.
    pattern : str, optional
        How files of one channel each are named; see
        :func:`napari_why.images.file_names.own_convention`.

    Returns
    -------
    list of tuple of Path
        One tuple an image, with its channels in order.
    """
    return group_channel_files(image_places(folder, walk), pattern)


def ask_for_channels(source: str, table: pd.DataFrame, images: Sequence[Sequence[Path]]) -> None:
    """Ask how files belong together that hold one channel each, where their names look like it.

    Parameters
    ----------
    source : str
        What was opened.
    table : DataFrame
        ``label`` of every image.
    images : sequence of sequence of Path
        Its files, as :func:`~napari_why.datasets.tables.find_image_files` returns them.

    Raises
    ------
    DatasetError
        All files stand alone and hold one channel, and one word of their names, or the name of
        their folder, takes the same few values for all of them.
    """
    paths = [files[0] for files in images]
    if not paths or any(len(files) > 1 for files in images) or holds_channels(paths[0]):
        return
    labels = list(table["label"])
    _refuse_channels_as_classes(source, paths, labels)
    _refuse_channels_as_images(source, paths, labels)
    words = find_likely_channels(paths, set(table["well"]) if "well" in table else (), labels)
    example, where = suggest_pattern(paths[0], words), "differ in"
    if not words:
        words = _find_channel_folders(paths, labels)
        example, where = r"(?P<channel>[^/]+)/(?P<field>.+)", "lie in folders called"
    if words:
        raise DatasetError(
            f"{source}: found {len(paths)} files of one channel each, which {where} "
            f"{', '.join(words[:-1])} and {words[-1]} only (first: {paths[0].name}); expected to "
            "know whether these are the channels of one image; if so, say where the channel stands "
            f"in the names (without the suffix): pattern='{example}', --pattern in the shell; if "
            "every file is an image of its own, name its one channel: channels=['NAME'], "
            "--channels NAME"
        )


def _refuse_channels_as_classes(source: str, paths: Sequence[Path], labels: Sequence[str]) -> None:
    """Ask where the folders of the classes are called as channels and hold files of the same names."""
    below: dict[str, set[tuple[str, ...]]] = {label: set() for label in labels}
    if len(below) < 2 or not all(map(is_channel_folder, below)):
        return
    for path, label in zip(paths, labels, strict=True):
        if label in path.parts:
            below[label].add(path.parts[path.parts.index(label) + 1 :])
    first, *others = below.values()
    if first and all(names == first for names in others):
        raise DatasetError(
            f"{source}: found files of the same names in {' and '.join(sorted(below))}, which are called "
            "as channels are; expected a folder for each class; put the folders of the channels into "
            "those of the classes and name them with pattern, or list the images in a labels.csv; if "
            "these are the classes, name the one channel of the images: channels=['NAME'], "
            "--channels NAME"
        )


def _refuse_channels_as_images(source: str, paths: Sequence[Path], labels: Sequence[str]) -> None:
    """Ask where a table lists all files of an image, which by their names are its channels."""
    label_of = dict(zip(paths, labels, strict=True))
    images = [files for files in group_channel_files(paths) if len(files) > 1]
    # Files of different classes are no channels of one image, whatever they are called.
    if images and all(len({label_of[path] for path in files}) == 1 for files in images):
        names = " and ".join(path.name for path in images[0])
        raise DatasetError(
            f"{source}: found a row for each of {sum(map(len, images))} files that by their names are "
            f"the channels of {len(images)} images (the first: {names}); expected a row for each image, "
            "with any one of its files, or it would count several times; if every file is an image of "
            "its own, name its one channel: channels=['NAME'], --channels NAME"
        )


def _find_channel_folders(paths: Sequence[Path], labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the folders in which files of the same names lie, if they are channels."""
    folders: dict[tuple[str, Path, str], set[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        folders.setdefault((label, path.parent.parent, path.name), set()).add(path.parent.name)
    sets = {tuple(sorted(names)) for names in folders.values()}
    # Plates and days are folders as well; only a stain's or a channel's name asks.
    if len(sets) == 1 and len(names := sets.pop()) > 1:
        return names if all(map(is_channel_folder, names)) else ()
    return ()


def list_folder(folder: Path, pattern: str | None = None) -> pd.DataFrame:
    """List the images of a folder with one sub-folder per class, nested folders included.

    Hidden files, companions of images (JSON, CSV, text) and litter of servers are left out; whatever
    else lies there is taken for an image, so that nothing is lost without a word. Links are followed.
    Files of one channel each whose names belong together make one image; ``pattern`` as for
    :func:`~napari_why.datasets.tables.list_images`.

    Parameters
    ----------
    folder : Path
    pattern : str, optional
        As for :func:`~napari_why.datasets.tables.list_images`.

    Returns
    -------
    DataFrame
        As of :func:`~napari_why.datasets.tables.list_images`.

    Raises
    ------
    DatasetError
        There is no image in a sub-folder, a sub-folder cannot be opened, or links show an image under
        two classes.
    """
    if is_image_folder(folder):
        raise DatasetError(
            f"{folder}: found a single image or plate; expected one sub-folder of images per class; "
            "a plate is opened together with its plate map"
        )
    walks = [FolderWalk(folder, file_suffixes())]
    parts, loose = _list_folders(folder, walks[0])
    names = [read_split_name(part.name) for part in parts]
    # All of them, or a class that happens to be called "test" would be taken for a split.
    has_splits = bool(parts) and all(name in SPLITS for name in names)
    _refuse_some_splits(folder, names)
    inside: dict[Path, tuple[Path, str]] = {}
    places: list[Path] = []
    for part, split in zip(parts, names, strict=True):
        classes = [part]
        if has_splits:
            walks.append(FolderWalk(part, file_suffixes()))
            classes, beside = _list_folders(part, walks[-1])
            loose += beside
        places += classes
        for of_class in classes:
            walks.append(FolderWalk(of_class, file_suffixes()))
            there = image_places(of_class, walks[-1])
            inside |= dict.fromkeys(there, (of_class, split))
    # Of all classes at once: a well or a condition is told from a channel by all names.
    grouped = group_channel_files(inside, pattern)
    rows = [(files[0], *inside[files[0]]) for files in grouped]
    if not rows:
        raise DatasetError(
            f"{folder}: found {len(parts)} sub-folders without images and {len(loose)} files beside "
            f"them; expected one sub-folder of images per class, or a {TABLE_NAME} with the "
            "columns path and label"
        )
    # The same class stands in several splits: only names are made different, not places.
    names = list(dict.fromkeys(place.name for _, place, _ in rows))
    labels = dict(zip(names, show_each(names), strict=True))
    table = pd.DataFrame(
        {
            "path": show_each(path for path, _, _ in rows),
            "label": [labels[place.name] for _, place, _ in rows],
        }
    )
    if has_splits:
        table["split"] = [split for *_, split in rows]
    if any(walk.linked or walk.linked_files for walk in walks):
        _require_one_class([path for path, *_ in rows], table)
    empty = [place for place in places if place not in {place for _, place, _ in rows}]
    notes = [*merge_notes(walks, folder), *_describe_left_out(loose, empty)]
    table, told = _add_stored_wells(table, [path for path, *_ in rows])
    table.attrs["notes"] = [*notes, *told]
    return table


def _refuse_some_splits(folder: Path, names: Sequence[str]) -> None:
    """Refuse splits beside other folders: as classes they would be learnt as such."""
    there = sorted({name for name in names if name in SPLITS})
    others = [name for name in names if name not in SPLITS]
    if "train" in there and len(there) > 1 and others:
        raise DatasetError(
            f"{folder}: found the splits {' and '.join(there)} beside the folder {others[0]!r}; expected "
            "splits alone (train, validation, test), each with one sub-folder per class, or one "
            "sub-folder per class; take the folder out, or rename it"
        )


def _add_stored_wells(table: pd.DataFrame, paths: Sequence[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Add ``plate`` and ``well`` to images that are fields of plates which tell them; and notes.

    Fields of a well are not independent, so their class folder is not all that counts. Only where
    all images are fields of plates: an empty well would be no group. Notes tell what plates lack.
    """
    stored = plates_of(paths)
    notes = plate_sentences(stored, paths)
    if stored and len(stored) == len(table):
        plates = [plate_label(stored[path][0]) for path in paths]
        return table.assign(plate=plates, well=[stored[path][1].well for path in paths]), notes
    if stored:
        notes.append(
            f"{len(stored)} of {len(table)} images are fields of plates, the others are not: their "
            "wells are not used to keep images of one well in one split."
        )
    return table, notes


def plate_sentences(
    stored: Mapping[Path, tuple[Path, Any]], paths: Sequence[Path] = ()
) -> list[str]:
    """Return what the folders of several images say about themselves: plates, and series of images.

    Parameters
    ----------
    stored : mapping
        The plates of images; see :func:`~napari_why.images.plates_of`.
    paths : sequence of Path
        All images, of which those in no plate may be of a series.

    Returns
    -------
    list of str
        Each folder's once.
    """
    plates = [plate for plate, _ in stored.values()]
    series = [path.parent for path in paths if path not in stored and path.is_dir()]
    return [note for folder in dict.fromkeys(plates + series) for note in folder_notes(folder)]


def plate_label(plate: Path) -> str:
    """Return the name of a plate by its folder ("P1.ome.zarr" is P1)."""
    name = plate.resolve().name
    return show(name.removesuffix(plate.resolve().suffix).removesuffix(".ome") or name)


def _require_one_class(paths: Sequence[Path], table: pd.DataFrame) -> None:
    """Raise DatasetError where links show the same file under two classes."""
    labels: dict[str, tuple[str, str]] = {}
    for path, shown, label in zip(paths, table["path"], table["label"], strict=True):
        other, known = labels.setdefault(os.path.realpath(path), (shown, label))
        if known != label:
            raise DatasetError(
                f"found one and the same image as {other} (class {known}) and, by a link, as {shown} "
                f"(class {label}); expected every image in one class; remove one of the two"
            )


def _describe_left_out(loose: Sequence[Path], empty: Sequence[Path]) -> list[str]:
    sentences = []
    if loose:
        sentences.append(
            f"Files beside the folders of the classes have no class and were left out: {len(loose)}, "
            f"the first: {show(loose[0])}."
        )
    if empty:
        sentences.append(
            f"Folders without an image make no class: {len(empty)}, the first: {show(empty[0])}."
        )
    return sentences


def _list_folders(folder: Path, walk: FolderWalk) -> tuple[list[Path], list[Path]]:
    """Return the sub-folders, and the files beside them that may be images.

    Raises
    ------
    DatasetError
        The folder or a sub-folder cannot be opened, or is a link to nothing: a class would be missing.
    """
    folders: list[Path] = []
    files: list[Path] = []
    try:
        entries = walk.enter(folder)
        for entry in entries:
            path = Path(entry.path)
            if is_folder(entry):
                os.scandir(path).close()
                (files if is_image_folder(path) else folders).append(path)
            elif entry.is_symlink() and not path.exists() and not path.suffix:
                raise DatasetError(
                    f"{show(path)}: found a link to {show(path.readlink())}, which is not there; "
                    "expected the folder of a class; connect the drive, or remove the link"
                )
            else:
                files.append(path)
    except OSError as error:
        raise DatasetError(
            f"{show(error.filename or folder)}: found a folder that cannot be opened "
            f"({error.strerror}); expected the images of a class; ask for permission, or take the "
            "folder out"
        ) from error
    return folders, files
