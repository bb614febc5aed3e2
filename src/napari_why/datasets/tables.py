"""Find labelled images: one sub-folder per class, or a table with path and label."""

import csv
import io
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_why.core.errors import DatasetError, LeakError, ParameterError
from napari_why.core.folders import find_shown, is_companion, pictures_beside, show
from napari_why.datasets.image_folders import TABLE_NAME, list_folder
from napari_why.datasets.image_store import ImageFormat
from napari_why.datasets.sheets import EXCEL_SUFFIXES, read_sheets
from napari_why.datasets.spellings import (
    SPLITS,
    clean_text,
    fold_text,
    read_split_name,
    spell_numbers,
    unite_classes,
    unite_spellings,
)
from napari_why.datasets.workbook import Sheet, cell_name
from napari_why.images import check_image, describe_grouping, group_channel_files, image_places
from napari_why.images.file_names import own_convention
from napari_why.images.wells import well_name

if TYPE_CHECKING:
    import xarray as xr

# Endings of such a table; .txt is left out, for a list of the classes is often called labels.txt.
TABLE_ENDINGS = (".csv", ".tsv", *EXCEL_SUFFIXES)
# How people call the columns, in lower case and without what is no letter or digit. Only what can mean
# nothing else: a position may be a field, a treatment one of several columns.
COLUMN_SPELLINGS = {
    "path": (
        "path",
        *("file", "filename", "filepath", "imagefile", "imagepath", "imagename", "imagefilename"),
        *("image", "datei", "dateiname", "pfad", "bild", "fichier", "chemin", "archivo", "ruta"),
    ),
    "label": ("label", "labels", "class", "classname", "classlabel", "klasse", "classe", "clase"),
    "plate": ("plate", "platename", "plateid"),
    "well": ("well", "wellname", "wellid"),
    "split": ("split",),
}
# Lines among which the header is: titles and blank lines stand above some, and looking takes time.
HEADER_LINES = 50
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


def list_images(
    location: str | Path, *, label: str = "label", pattern: str | None = None
) -> pd.DataFrame:
    """List the labelled images of a folder or a table.

    Parameters
    ----------
    location : str or Path
        A folder with one sub-folder per class (or ``train``, ``validation`` and ``test`` with one
        sub-folder per class each), a folder that holds a ``labels.csv`` (or .tsv, .xlsx), or such a
        file with the columns ``path`` (relative to the file) and ``label``.
    label : str
        Column of a table that holds the class.
    pattern : str, optional
        How files of one channel each are named, where no convention knows it; see
        :func:`napari_why.images.file_names.own_convention`.

    Returns
    -------
    DataFrame
        ``path`` (absolute), ``label`` and every further column; text in ``path``, ``label``,
        ``plate``, ``well`` and ``split``. ``attrs["notes"]``: what was left out, guessed or taken
        for the same, in sentences.

    Raises
    ------
    DatasetError
        There is nothing of the kind, or the table lacks a column or a value.
    """
    location = find_shown(location)
    try:
        if location.is_dir():
            os.scandir(location).close()
    except OSError as error:
        raise DatasetError(
            f"{location}: found a folder that cannot be opened ({error.strerror}); expected images; ask "
            "for permission"
        ) from error
    if location.is_file():
        return read_table(location, label=label)
    if not location.is_dir():
        raise DatasetError(
            f"{location}: found no such file or folder; expected a folder with one sub-folder per "
            "class, or a CSV file with the columns path and label"
        )
    tables = find_tables(location)
    if tables:
        table = read_table(tables[0], label=label)
        if len(tables) > 1:
            others = " and ".join(path.name for path in tables[1:])
            note = f"{location}: {tables[0].name} was read, and not {others} beside it."
            table.attrs["notes"] = [note, *notes_of(table)]
        return table
    if (location / TABLE_NAME).is_symlink():
        # Without it the folders would be taken for the classes, which the table may tell otherwise.
        raise DatasetError(
            f"{location / TABLE_NAME}: found a link to what is not there; expected the table of the "
            "images; connect the drive, or remove the link to take the sub-folders for classes"
        )
    if label != "label":
        raise DatasetError(
            f"{location}: found no {TABLE_NAME}; expected one, since the class is to be read from "
            f"column {label!r}"
        )
    listed = list_folder(location, pattern)
    # Beside what is said of the folder already.
    return unite_classes(str(location), listed, "label")


def find_tables(folder: Path) -> list[Path]:
    """Return the tables of images in a folder, the CSV file first."""
    found = [
        path
        for path in folder.iterdir()
        if path.stem.lower() == Path(TABLE_NAME).stem
        and path.suffix.lower() in TABLE_ENDINGS
        and path.is_file()
    ]
    return sorted(
        found, key=lambda p: (p.name != TABLE_NAME, TABLE_ENDINGS.index(p.suffix.lower()), p.name)
    )


def notes_of(table: pd.DataFrame) -> list[str]:
    """Return what was left out, guessed or noticed when a table of images was made.

    Whoever lists images or reads a table puts the sentences into ``attrs["notes"]``.
    """
    return list(table.attrs.get("notes", ()))


def select_classes(table: pd.DataFrame, classes: Sequence[str] | None, source: str) -> pd.DataFrame:
    """Keep the rows of some classes only; None keeps all.

    Parameters
    ----------
    table : DataFrame
        As of :func:`list_images`.
    classes : sequence of str or None
    source : str
        Begins the sentence of the error.

    Returns
    -------
    DataFrame

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


def find_image_files(table: pd.DataFrame, pattern: str | None = None) -> list[tuple[Path, ...]]:
    """Return the files of every row: the file, or one file per channel where its name says so.

    A file whose siblings have rows of their own is taken alone. What was put together, and what
    lacks a channel, is added to the notes of the table. ``pattern`` as for :func:`list_images`.

    Parameters
    ----------
    table : DataFrame
        As of :func:`list_images`; its notes are changed.
    pattern : str, optional
        As for :func:`list_images`.

    Returns
    -------
    list of tuple of Path
        One tuple a row, with its channels in order.
    """
    paths = [find_shown(path) for path in table["path"]]
    # All folders are grouped at once; the names of the siblings tell what belongs together.
    listed = set(paths)
    levels = 0 if pattern is None else own_convention(pattern).levels
    files: dict[Path, None] = {}
    for folder in dict.fromkeys(path.parents[levels] for path in paths):
        there = _list_files(folder) if levels == 0 else image_places(folder)
        files |= dict.fromkeys(path for path in there if not is_companion(path.name))
    groups = {path: group for group in group_channel_files(files, pattern) for path in group}
    found = [groups.get(path, (path,)) for path in paths]
    chosen = [
        group if len(listed.intersection(group)) == 1 else (path,)
        for path, group in zip(paths, found, strict=True)
    ]
    table.attrs["notes"] = [*notes_of(table), *describe_grouping(chosen, pattern)]
    return chosen


def _list_files(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise DatasetError(
            f"{show(folder)}: found a folder that cannot be listed ({error.strerror}); expected to see "
            "which other channels an image has; ask for permission"
        ) from error
    pictures = pictures_beside(file.name for file in files)
    return [file for file in files if file.name not in pictures]


def read_table(path: Path, *, label: str = "label") -> pd.DataFrame:
    """Read a table of images, CSV or Excel; paths are relative to the file.

    It is read as plate maps are (:func:`napari_why.datasets.sheets.read_sheets`). Columns may have
    other usual names (``File``, ``Class``), which is told. Spellings of a class, plate or well that
    differ in spaces, width, accents or (of a class) capitals are one. Where the class stands in another
    column than ``label``, an existing column ``label`` is kept as ``original_label``.

    Parameters
    ----------
    path : Path
    label : str
        Column that holds the class.

    Returns
    -------
    DataFrame
        As of :func:`list_images`.

    Raises
    ------
    DatasetError
        It cannot be read, a column or value is missing, an image is listed twice, or a class is a
        date that was a name.
    """
    source = str(path)
    sheet, top = _choose_sheet(path, label)
    header, notes = _name_columns(path, sheet.rows[top], label)
    lines = [
        (number, row)
        for number, row in enumerate(sheet.rows[top + 1 :], start=top + 2)
        if any(cell.strip() for cell in row)
    ]
    if not lines:
        raise DatasetError(f"{path}: found no row; expected one row per image")
    for name in ("path", label):
        _require_values(path, lines, header.index(name), name)
    _require_names(path, header, lines)
    kept = [
        index
        for index, name in enumerate(header)
        if name or any(row[index].strip() for _, row in lines)
    ]
    columns = [[row[index].strip() for _, row in lines] for index in kept]
    text = {*TEXT_COLUMNS, label}
    for index, column in zip(kept, columns, strict=True):
        if header[index] == "path" or header[index] == label:
            column[:] = [row[index] for _, row in lines]
        elif header[index] not in text:
            column[:], told = spell_numbers(column, decimal_commas=sheet.decimal_commas)
            notes += [f"{path.name}: column {header[index]}: {told}"] if told else []
    table = _infer_types([header[index] for index in kept], columns, text)
    table.attrs["dates"] = sheet.dates
    table.attrs["notes"] = [*sheet.notes, *notes]
    table = unite_classes(source, table, label)
    if label != "label":
        table = table.rename(columns={"label": "original_label"}).rename(columns={label: "label"})
    for name in ("plate", "well"):
        if name in table.columns:
            table = _unite_places(source, table, name)
    table["path"] = [_find_file(path.parent, name) for name in table["path"]]
    _require_unique(path, table)
    if "split" in table.columns:
        table["split"] = [read_split_name(str(name)) for name in table["split"]]
    del table.attrs["dates"]
    return table


def read_columns(path: Path) -> pd.DataFrame | None:
    """Return every column of a table of images as text, None where no column names files.

    Which column is the class is not asked: any may be chosen then, with :func:`read_table`. Names are
    those that columns have after reading.

    Raises
    ------
    DatasetError
        It cannot be read.
    """
    for sheet in read_sheets(path):
        for top, row in enumerate(sheet.rows[:HEADER_LINES]):
            if not _find_column(row, "path"):
                continue
            header, _ = _name_columns(path, row, "label")
            lines = [cells for cells in sheet.rows[top + 1 :] if any(map(str.strip, cells))]
            return pd.DataFrame(
                {
                    name: [clean_text(cells[index]) for cells in lines]
                    for index, name in enumerate(header)
                    if name
                }
            )
    return None


def _choose_sheet(path: Path, label: str) -> tuple[Sheet, int]:
    """Return the sheet that holds the table, and where its header is."""
    sheets = read_sheets(path)
    found = [
        (sheet, number)
        for sheet in sheets
        for number, row in enumerate(sheet.rows[:HEADER_LINES])
        if _find_column(row, "path") and _find_column(row, label)
    ]
    names = list(dict.fromkeys(sheet.name for sheet, _ in found))
    if len(names) > 1:
        raise DatasetError(
            f"{path}: found tables of images on several sheets ({', '.join(names)}); expected one; "
            "save the one that is meant as a file of its own"
        )
    if found:
        return found[0]
    first = next((row for sheet in sheets for row in sheet.rows if any(map(str.strip, row))), None)
    if first is None:
        raise DatasetError(
            f"{path}: found no readable table (it is empty); expected the columns path and label"
        )
    missing = [name for name in ("path", label) if not _find_column(first, name)]
    raise DatasetError(
        f"{path}: found the columns {', '.join(filter(None, map(clean_text, first)))}; expected also "
        f"{' and '.join(missing)}"
    )


def _find_column(header: Sequence[str], name: str) -> list[int]:
    """Return where a column stands: by its name, else by the name in other letters, else by a synonym."""
    cleaned = [clean_text(cell) for cell in header]
    plain = ["".join(letter for letter in fold_text(cell) if letter.isalnum()) for cell in header]
    wanted = "".join(letter for letter in fold_text(name) if letter.isalnum())
    for names, spellings in (
        (cleaned, (name,)),
        (plain, (wanted,)),
        (plain, COLUMN_SPELLINGS.get(name, ())),
    ):
        found = [index for index, cell in enumerate(names) if cell and cell in spellings]
        if found:
            return found
    return []


def _name_columns(path: Path, header: Sequence[str], label: str) -> tuple[list[str], list[str]]:
    """Return the columns' names as they are used from here on, and what was taken for what."""
    names = [clean_text(cell) for cell in header]
    notes = []
    for wanted in dict.fromkeys((label, *TEXT_COLUMNS)):
        found = _find_column(header, wanted)
        # Only for a class asked for by name may the column label be another.
        if wanted == "label" != label:
            found = [index for index in found if names[index] == wanted]
        if len(found) > 1:
            several = ", ".join(repr(names[index]) for index in found)
            raise DatasetError(
                f"{path}: found the columns {several}, each of which can be {wanted}; expected one; "
                f"call that one {wanted}"
            )
        if found and names[found[0]] != wanted:
            notes.append(f"{path.name}: the column {names[found[0]]!r} was taken for {wanted}.")
            names[found[0]] = wanted
    return names, notes


def _infer_types(
    header: Sequence[str], columns: Sequence[Sequence[str]], text: Iterable[str]
) -> pd.DataFrame:
    # By pandas from CSV, so that a table read here has the types that it has everywhere.
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    stream.seek(0)
    # A class may be called "NA" or "None", so only an empty cell counts as missing.
    return pd.read_csv(
        stream, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""]
    )


def _find_file(folder: Path, name: str) -> str:
    """Return the file that a table names, in the spelling that the disk has."""
    bare = clean_text(name)
    # Spaces may be part of a name, accents be written in two ways, and Windows has other slashes.
    spellings = [name, name.strip(), bare, unicodedata.normalize("NFD", bare)]
    spellings += [spelling.replace("\\", "/") for spelling in spellings]
    there = (folder / spelling for spelling in spellings if os.path.lexists(folder / spelling))
    return str(next(there, folder / bare.replace("\\", "/")))


def _unite_places(source: str, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Make one group of the spellings of a plate or well: its images must not be in two splits."""
    given = list(table[name].dropna())
    spelled = unite_spellings(given, case=True)
    names = {value: spelled.names[value] for value in given}
    sentence = spelled.sentence
    if name == "well":
        wells = {value: well_name(fold_text(value, case=False)) or names[value] for value in given}
        # One spelling each, whatever it is, stays: the data set is the same as before.
        if len(set(wells.values())) < len(set(names.values())):
            first = next(value for value in given if wells[value] != value)
            sentence = f"{first!r} was taken for {wells[first]!r}, another spelling of the well."
            names = wells
    united = table.assign(**{name: table[name].map(names)})
    united.attrs = dict(table.attrs)
    if sentence:
        told = f"{Path(source).name}: column {name}: {sentence}"
        united.attrs["notes"] = [*notes_of(table), told]
    return united


def _require_values(
    path: Path, lines: Sequence[tuple[int, Sequence[str]]], index: int, name: str
) -> None:
    empty = [str(number) for number, row in lines if not clean_text(row[index])]
    if empty:
        raise DatasetError(
            f"{path}: found no value of {name} in line {', '.join(empty[:SHOWN_LINES])}"
            f"{' and further ones' if len(empty) > SHOWN_LINES else ''}; expected one in every line, "
            "and no error (#N/A) or formula without a value"
        )


def _require_names(
    path: Path, header: Sequence[str], lines: Sequence[tuple[int, Sequence[str]]]
) -> None:
    """Refuse values beside the columns: a comma in a name has cut it in two."""
    # The first column has no name where row numbers were written with the table.
    unnamed = [index for index, name in enumerate(header) if not name and index > 0]
    for number, row in lines:
        for index in unnamed:
            if row[index].strip():
                raise DatasetError(
                    f"{path}: found no readable table: {row[index]!r} in {cell_name(number - 1, index)} "
                    "stands in a column without a name; expected quotation marks around text that "
                    "holds the separator, or a name above the column"
                )


def _require_unique(path: Path, table: pd.DataFrame) -> None:
    # ./a.tif is a.tif
    paths = table["path"].map(os.path.normpath)
    twice = paths[paths.duplicated()]
    if len(twice):
        raise DatasetError(
            f"{path}: found {twice.iloc[0]} in more than one line; expected every image once, or "
            "it could be in two splits"
        )


def resolve_groups(
    source: str, table: pd.DataFrame, group: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns that name a group.

    ``auto`` takes plate and well where both are there (a well's name repeats on every plate), well
    where only that is there, else none.

    Parameters
    ----------
    source : str
        Begins the sentence of the error.
    table : DataFrame
    group : "auto", str, sequence of str or None
        As of :meth:`napari_why.Dataset.open`.

    Returns
    -------
    tuple of str
        Empty where every image is independent.

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
    """Raise DatasetError unless there are at least two classes.

    Parameters
    ----------
    source : str
        Begins the sentence of the error.
    classes : sequence of str
        Each once.

    Raises
    ------
    DatasetError
        There is one, or none.
    """
    if len(classes) < 2:
        found = f"one class only ({classes[0]})" if classes else "no image"
        raise DatasetError(
            f"{source}: found {found}; expected images of at least two classes to tell apart"
        )


def check_groups(source: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise DatasetError where a group's name is missing: nobody knows where it belongs.

    Parameters
    ----------
    source : str
        Begins the sentence of the error.
    table : DataFrame
    columns : sequence of str
        Those that name a group.

    Raises
    ------
    DatasetError
        A cell of them is empty.
    """
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

    Parameters
    ----------
    source : str
        Begins the sentence of the error.
    paths : sequence of str
        One an image, for the error.
    formats : sequence of ImageFormat
        Channels and pixel type of each.

    Raises
    ------
    DatasetError
        They differ.
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


def check_in_memory(images: "Sequence[xr.DataArray]", columns: Mapping[str, Any]) -> None:
    """Raise DatasetError unless all are planes with channels and every column fits them.

    Parameters
    ----------
    images : sequence of DataArray, dims (c, y, x)
    columns : mapping of str to sequence
        One value an image in each.

    Raises
    ------
    DatasetError
        Names the image, or the column.
    """
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

    Parameters
    ----------
    table : DataFrame
        With ``split``.
    group_columns : sequence of str
        Without any, no group can leak.
    allow_leak : bool
        Accept a group in two splits.

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
