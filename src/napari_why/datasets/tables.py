"""Find labelled images: one sub-folder per class, or a table with path and label."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from napari_why.core.errors import DatasetError, LeakError, ParameterError
from napari_why.datasets.image_store import ImageFormat
from napari_why.images import (
    check_image,
    folder_notes,
    group_channel_files,
    image_places,
    is_image_folder,
    plates_of,
)

SPLITS = ("train", "validation", "test")
# What other tools call the same splits.
SPLIT_SYNONYMS = {"training": "train", "val": "validation", "valid": "validation"}
TABLE_NAME = "labels.csv"
# What microscopes, exports and systems (Thumbs.db) leave beside images. A list of what is no image,
# not of what is: a format unknown here is then reported as unreadable instead of being passed over.
COMPANION_SUFFIXES = {".json", ".csv", ".tsv", ".txt", ".md", ".xml", ".db", ".ini", ".log"}
# Of an error: enough to see whether it is a few lines or the whole column.
SHOWN_LINES = 5
# Names, even where they look like numbers: plate 007 is not plate 7.
TEXT_COLUMNS = ("path", "label", "plate", "well", "split")
# Times as many images as the smallest class: always naming the larger of two classes is then right for two
# thirds, and looks as if something had been learnt.
UNEVEN = 2.0


def imbalance_sentence(labels: "pd.Series[Any]") -> str:
    """Say that one class has more than twice the images of another; empty where none has.

    Examples
    --------
    >>> imbalance_sentence(pd.Series(["a", "a", "b"]))
    ''
    >>> imbalance_sentence(pd.Series(["a"] * 9 + ["b"]))[:50]
    'The classes are uneven: 9 images of a and 1 of b: '
    """
    counts = labels.value_counts()
    if len(counts) < 2 or counts.iloc[0] <= UNEVEN * counts.iloc[-1]:
        return ""
    most, fewest = counts.index[0], counts.index[-1]
    return (
        f"The classes are uneven: {counts.iloc[0]} images of {most} and {counts.iloc[-1]} of {fewest}: "
        f"always naming {most} would be right for {counts.iloc[0] / counts.sum():.0%}. Go by the "
        "balanced accuracy; class_weights='balanced' (--class-weights balanced) trains as if the "
        "classes were even."
    )


def list_images(location: str | Path, *, label: str = "label") -> pd.DataFrame:
    """List the labelled images of a folder or a table.

    Parameters
    ----------
    location : str or Path
        A folder with one sub-folder per class (or ``train``, ``validation`` and ``test`` with one
        sub-folder per class each), a folder that holds a ``labels.csv``, or a CSV file with the
        columns ``path`` (relative to the file) and ``label``.
    label : str
        Column of a table that holds the class.

    Returns
    -------
    DataFrame
        ``path`` (absolute), ``label`` and every further column; text in ``path``, ``label``,
        ``plate``, ``well`` and ``split``.

    Raises
    ------
    DatasetError
        There is nothing of the kind, or the table lacks a column or a value.
    """
    location = Path(location)
    if location.is_file():
        return read_table(location, label=label)
    if not location.is_dir():
        raise DatasetError(
            f"{location}: found no such file or folder; expected a folder with one sub-folder per "
            "class, or a CSV file with the columns path and label"
        )
    if (location / TABLE_NAME).is_file():
        return read_table(location / TABLE_NAME, label=label)
    if label != "label":
        raise DatasetError(
            f"{location}: found no {TABLE_NAME}; expected one, since the class is to be read from "
            f"column {label!r}"
        )
    return list_folder(location)


def notes_of(table: pd.DataFrame) -> list[str]:
    """Return what was left out, guessed or noticed when a table of images was made.

    Whoever lists images or reads a table puts the sentences into ``attrs["notes"]``.
    """
    return list(table.attrs.get("notes", ()))


def select_classes(table: pd.DataFrame, classes: Sequence[str] | None, source: str) -> pd.DataFrame:
    """Keep the rows of some classes only; None keeps all.

    Raises
    ------
    DatasetError
        A class is not in the table.
    """
    if classes is None:
        return table
    there = sorted(set(table["label"]))
    unknown = sorted(set(classes) - set(there))
    if unknown:
        raise DatasetError(
            f"{source}: found no class {', '.join(unknown)}; expected some of {', '.join(there)}"
        )
    kept = table[table["label"].isin(list(classes))].reset_index(drop=True)
    kept.attrs["notes"] = notes_of(table)
    return kept


def find_image_files(table: pd.DataFrame) -> list[tuple[Path, ...]]:
    """Return the files of every row: the file, or one file per channel where its name says so.

    A file whose siblings have rows of their own is taken alone.
    """
    paths = [Path(path) for path in table["path"]]
    # Whole folders are grouped at once; the names of the siblings tell what belongs together.
    listed = set(paths)
    groups: dict[Path, tuple[Path, ...]] = {}
    for folder in dict.fromkeys(path.parent for path in paths):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        for group in group_channel_files(p for p in files if _may_be_image(p.relative_to(folder))):
            groups.update(dict.fromkeys(group, group))
    found = [groups.get(path, (path,)) for path in paths]
    return [
        group if len(listed.intersection(group)) == 1 else (path,)
        for path, group in zip(paths, found, strict=True)
    ]


def find_images(folder: Path) -> list[tuple[Path, ...]]:
    """Return the files of every image in a folder and the folders within it.

    A folder that is an image (OME-Zarr) counts as a file. Hidden files and companions of images
    are left out; files of one channel each whose names belong together make one image.
    """
    places = image_places(folder)
    return group_channel_files(path for path in places if _may_be_image(path.relative_to(folder)))


def list_folder(folder: Path) -> pd.DataFrame:
    """List the images of a folder with one sub-folder per class, nested folders included.

    Hidden files and companions of images (JSON, CSV, text) are left out; whatever else lies there
    is taken for an image, so that nothing is lost without a word. Files of one channel each whose
    names belong together make one image.
    """
    if is_image_folder(folder):
        raise DatasetError(
            f"{folder}: found a single image or plate; expected one sub-folder of images per class; "
            "a plate is opened together with its plate map"
        )
    parts = _list_folders(folder)
    names = [_read_split_name(part.name) for part in parts]
    # All of them, or a class that happens to be called "test" would be taken for a split.
    if parts and all(name in SPLITS for name in names):
        rows = [
            (path, label, split)
            for part, split in zip(parts, names, strict=True)
            for path, label in _list_labelled(_list_folders(part))
        ]
        table = pd.DataFrame(rows, columns=["path", "label", "split"])
    else:
        table = pd.DataFrame(_list_labelled(parts), columns=["path", "label"])
    loose = _list_image_folders(folder)
    if table.empty:
        loose += [path for path in folder.iterdir() if path.is_file() and _may_be_image(path)]
        raise DatasetError(
            f"{folder}: found {len(parts)} sub-folders without images and {len(loose)} files beside "
            f"them; expected one sub-folder of images per class, or a {TABLE_NAME} with the "
            "columns path and label"
        )
    table = add_stored_wells(table)
    if loose:
        table.attrs["notes"] = [
            *notes_of(table),
            f"{len(loose)} images or plates lie beside the folders of the classes and are left out, "
            f"the first: {loose[0].name}.",
        ]
    return table


def add_stored_wells(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``plate`` and ``well`` to images that are fields of plates which tell them.

    Fields of a well are not independent, so their class folder is not all that counts. Only where
    all images are fields of plates: an empty well would be no group. Notes tell what plates lack.
    """
    stored = plates_of(map(Path, table["path"]))
    if not stored:
        return table
    notes = [*notes_of(table), *plate_sentences(stored)]
    if len(stored) == len(table):
        rows = [stored[Path(path)] for path in table["path"]]
        table = table.assign(
            plate=[plate_label(plate) for plate, _ in rows], well=[about.well for _, about in rows]
        )
    else:
        notes.append(
            f"{len(stored)} of {len(table)} images are fields of plates, the others are not: their "
            "wells are not used to keep images of one well in one split."
        )
    table.attrs["notes"] = notes
    return table


def plate_sentences(stored: Mapping[Path, tuple[Path, Any]]) -> list[str]:
    """Return what the plates of images say about themselves; see :func:`plates_of`."""
    plates = dict.fromkeys(plate for plate, _ in stored.values())
    return [note for plate in plates for note in folder_notes(plate)]


def plate_label(plate: Path) -> str:
    """Return the name of a plate by its folder ("P1.ome.zarr" is P1)."""
    name = plate.resolve().name
    return name.removesuffix(plate.suffix).removesuffix(".ome") or name


def read_table(csv: Path, *, label: str = "label") -> pd.DataFrame:
    """Read a table of images; paths are relative to the file.

    Commas, semicolons and tabs are understood as separators. Where the class stands in another
    column than ``label``, an existing column ``label`` is kept as ``original_label``.
    """
    table = _read_csv(csv, text=(*TEXT_COLUMNS, label))
    missing = [name for name in ("path", label) if name not in table.columns]
    if missing:
        raise DatasetError(
            f"{csv}: found the columns {', '.join(map(str, table.columns))}; expected also "
            f"{' and '.join(missing)}"
        )
    if table.empty:
        raise DatasetError(f"{csv}: found no row; expected one row per image")
    for name in ("path", label):
        _require_values(csv, table, name)
    if label != "label":
        table = table.rename(columns={"label": "original_label"}).rename(columns={label: "label"})
    table["path"] = [str(csv.parent / path) for path in table["path"]]
    _require_unique(csv, table)
    if "split" in table.columns:
        table["split"] = [_read_split_name(str(name)) for name in table["split"]]
    return table


def _list_labelled(folders: Iterable[Path]) -> list[tuple[str, str]]:
    rows = []
    for folder in folders:
        rows += [(str(image[0]), folder.name) for image in find_images(folder)]
    return rows


def _list_folders(folder: Path) -> list[Path]:
    folders = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(p for p in folders if not is_image_folder(p))


def _list_image_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and is_image_folder(p))


def _may_be_image(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.suffix.lower() not in COMPANION_SUFFIXES


def _read_split_name(name: str) -> str:
    lower = name.strip().lower()
    return SPLIT_SYNONYMS.get(lower, lower)


def _read_csv(csv: Path, text: tuple[str, ...]) -> pd.DataFrame:
    # A class may be called "NA" or "None", so only an empty cell counts as missing.
    try:
        with csv.open(encoding="utf-8-sig") as lines:
            header = lines.readline()
        # The header tells best: it has no decimal commas and no free text.
        separator = max(",;\t", key=header.count)
        return pd.read_csv(
            csv,
            sep=separator,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DatasetError(
            f"{csv}: found no readable table ({error}); expected a CSV file with the columns path "
            "and label"
        ) from error


def _require_values(csv: Path, table: pd.DataFrame, name: str) -> None:
    # Counted from 1 behind the header, as editors and spreadsheets do.
    lines = [str(row + 2) for row in table.index[table[name].isna()]]
    if lines:
        raise DatasetError(
            f"{csv}: found no value of {name} in line {', '.join(lines[:SHOWN_LINES])}"
            f"{' and further ones' if len(lines) > SHOWN_LINES else ''}; expected one in every line"
        )


def _require_unique(csv: Path, table: pd.DataFrame) -> None:
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise DatasetError(
            f"{csv}: found {twice.iloc[0]} in more than one line; expected every image once, or "
            "it could be in two splits"
        )


def resolve_groups(
    source: str, table: pd.DataFrame, group: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns that name a group.

    ``auto`` takes plate and well where both are there (a well's name repeats on every plate), well
    where only that is there, else none.

    Raises
    ------
    DatasetError
        A column is not there.
    """
    if group == "auto":
        if "well" not in table.columns:
            return ()
        return ("plate", "well") if "plate" in table.columns else ("well",)
    columns = (group,) if isinstance(group, str) else tuple(group or ())
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DatasetError(
            f"{source}: found no column {', '.join(missing)} to group by; expected some of "
            f"{', '.join(map(str, table.columns))}"
        )
    return columns


def check_classes(source: str, classes: Sequence[str]) -> None:
    """Raise DatasetError unless there are at least two classes."""
    if len(classes) < 2:
        found = f"one class only ({classes[0]})" if classes else "no image"
        raise DatasetError(
            f"{source}: found {found}; expected images of at least two classes to tell apart"
        )


def check_groups(source: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise DatasetError where a group's name is missing: nobody knows where it belongs."""
    for name in columns:
        empty = table["path"][table[name].isna()]
        if len(empty):
            raise DatasetError(
                f"{source}: found no {name} for {len(empty)} images (first: {empty.iloc[0]}); "
                "expected one for every image, since splits keep the images of a group together"
            )


def check_images_agree(source: str, paths: Sequence[str], formats: Sequence[ImageFormat]) -> None:
    """Raise DatasetError where images differ in channels or pixel type.

    Grey levels of 8-bit and 16-bit images cannot be compared, so a mixture would teach a network
    the file format.
    """
    channels = [f"channels {', '.join(form.channels)}" for form in formats]
    for kind in (channels, [f"pixel type {form.dtype}" for form in formats]):
        counts = Counter(kind).most_common()
        if len(counts) > 1:
            (usual, usual_count), (other, other_count) = counts[0], counts[1]
            raise DatasetError(
                f"{source}: found {usual_count} images with {usual} but {other_count} with "
                f"{other} (first: {paths[kind.index(other)]}); expected the same in all images; "
                "take out the odd ones, or name the channels where only their names differ"
            )


def check_in_memory(images: Sequence[xr.DataArray], columns: Mapping[str, Any]) -> None:
    """Raise DatasetError unless all are planes with channels and every column fits them."""
    for index, image in enumerate(images):
        try:
            dims = check_image(image).dims
        except ParameterError as error:
            raise DatasetError(f"image {index}: {error}; see make_image") from error
        if dims != ("c", "y", "x"):
            raise DatasetError(
                f"image {index}: found the axes {', '.join(map(str, dims))}; expected c, y, x"
            )
    for name, values in columns.items():
        if len(values) != len(images):
            raise DatasetError(
                f"{name}: found {len(values)} values; expected one for each of the "
                f"{len(images)} images"
            )


def check_split_column(
    table: pd.DataFrame, group_columns: Sequence[str], *, allow_leak: bool
) -> None:
    """Check a split that came with the table.

    Raises
    ------
    DatasetError
        A name other than train, validation or test.
    LeakError
        A group is in two splits, unless ``allow_leak``.
    """
    unknown = sorted(set(map(str, table["split"])) - set(SPLITS))
    if unknown:
        raise DatasetError(
            f"column split: found {', '.join(map(repr, unknown))}; expected {', '.join(SPLITS)}"
        )
    if allow_leak or not group_columns:
        return
    splits = table.groupby(list(group_columns), sort=False)["split"].agg(
        lambda names: " and ".join(sorted(set(names)))
    )
    leaking = splits[splits.str.contains(" and ")]
    if len(leaking):
        first = leaking.index[0]
        name = " ".join(map(str, first)) if isinstance(first, tuple) else str(first)
        raise LeakError(
            f"{len(leaking)} of {len(splits)} groups by {' and '.join(group_columns)} are in more "
            f"than one split (first: {name} in {leaking.iloc[0]}); expected each in one, since its "
            "images are not independent; draw a new split, or allow it with allow_leak=True"
        )
