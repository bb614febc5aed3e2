"""What names of files and a map tell of images, before any pixel is read: columns, classes, counts.

Whoever opens images step by step asks here which columns there are and what a column would give as
classes, looks at an image of each class, and then opens those that are meant. No file is read twice:
another column, another choice of classes or other names of channels take what was read before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_why.core.errors import DatasetError, ImageReadError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.datasets import tables
from napari_why.datasets.dataset import Dataset, describe_opening, find_rows
from napari_why.datasets.image_folders import ask_for_channels, find_images
from napari_why.datasets.image_store import ImageStore
from napari_why.datasets.plate_images import (
    LocatedImages,
    PlateMatch,
    label_images,
    locate_images,
    take_groups_from_names,
)
from napari_why.datasets.plate_map import read_plate_map
from napari_why.datasets.spellings import fold_text

if TYPE_CHECKING:
    import xarray as xr

# How people call the column of the classes, the likeliest first; in small letters.
CLASS_WORDS = (
    *("label", "class", "treatment", "condition", "genotype", "phenotype", "group", "klasse"),
    *("state", "status", "compound", "drug", "cell line", "cellline", "line", "strain", "control"),
)
# Columns that say where an image lies: nobody means them as classes, and they may still be chosen.
PLACE_WORDS = (
    "path",
    "file",
    "plate",
    "well",
    "row",
    "column",
    "col",
    "site",
    "field",
    "split",
    "x",
    "y",
)
# How columns are called that tell controls from other wells.
CONTROL_WORDS = ("control", "ctrl", "kontrolle", "sbs")
# A column of more values than this is a measure or a name of each image, no class.
MOST_CLASSES = 24
# Of a class whose first image cannot be read: then the folder as a whole is likely at fault.
MOST_TRIED = 3


@dataclass(frozen=True)
class Column:
    """A column that may tell the classes.

    Parameters
    ----------
    name : str
    distinct : tuple of str
        Its different values, without empty ones, in the order of a dictionary.
    """

    name: str
    distinct: tuple[str, ...]

    @property
    def is_place(self) -> bool:
        """Whether its name says that it tells where an image lies."""
        return fold_text(self.name) in PLACE_WORDS

    @property
    def tells_controls(self) -> bool:
        """Whether its name says that it tells controls from other images."""
        return any(word in fold_text(self.name) for word in CONTROL_WORDS)


@dataclass(frozen=True)
class Choices:
    """Which of the images are meant, and how.

    Parameters
    ----------
    label : str
        Column that is the class.
    classes : tuple of str or None
        Those to open; None for all.
    group : "auto", str, tuple of str or None
        See :meth:`Dataset.open`.
    channels : tuple of str or None
        Names of the channels; None for those of the files.
    only : tuple of (str, tuple of str) or None
        A column, and the values of it that images must have.
    """

    label: str = "label"
    classes: tuple[str, ...] | None = None
    group: str | tuple[str, ...] | None = "auto"
    channels: tuple[str, ...] | None = None
    only: tuple[str, tuple[str, ...]] | None = None


class Survey:
    """What is known of the images of a folder, a table or a plate before they are read.

    Parameters
    ----------
    location : path
        As for :meth:`Dataset.open`; with ``plate_map`` the folder of a plate. A plate map alone is
        taken for one of the folder that it lies in.
    plate_map : path, optional
        As for :meth:`Dataset.from_plate`.
    pattern, well_pattern, sheet
        See the same methods.

    Attributes
    ----------
    columns : tuple of Column
        Those that may tell the classes, the likeliest first; empty where ``wants_map``.
    wants_map : bool
        There are images, but nothing tells their classes: a plate map has to.

    Raises
    ------
    DatasetError
        There is nothing of the kind, or the names do not fit the map.
    """

    def __init__(
        self,
        location: str | Path,
        plate_map: str | Path | None = None,
        *,
        pattern: str | None = None,
        well_pattern: str | None = None,
        sheet: str | None = None,
    ) -> None:
        self.location = Path(location)
        self.plate_map = None if plate_map is None else Path(plate_map)
        self.pattern, self.well_pattern, self._sheet = pattern, well_pattern, sheet
        self.wants_map = False
        self._located: LocatedImages | None = None
        self._listed: dict[str, tuple[pd.DataFrame, PlateMatch | None]] = {}
        self._store: ImageStore | None = None
        self._opened: tuple[Choices, Dataset] | None = None
        found = self._find_columns(sheet)
        columns = [Column(str(name), _values_of(found[name])) for name in found.columns]
        self.columns = tuple(sorted(filter(_may_be_class, columns), key=_unlikeliness))

    @property
    def label(self) -> str:
        """The column that most likely is the class; empty where there is none."""
        return self.columns[0].name if self.columns else ""

    def listing(self, label: str) -> pd.DataFrame:
        """Return path, ``label`` and further columns of every image, with ``label`` as the class.

        Raises DatasetError where the column cannot be the class.
        """
        if label not in self._listed:
            match = None
            if self._located is not None:
                table, match = label_images(self._located, label)
                table.attrs["notes"] = [*match.sentences, *tables.notes_of(table)]
            else:
                table = tables.list_images(self.location, label=label, pattern=self.pattern)
            self._listed[label] = (table, match)
        return self._listed[label][0].copy()

    def count_classes(self, choices: Choices) -> dict[str, tuple[int, int]]:
        """Return how many images, and wells, of each class there are; 0 wells where none are known."""
        table = take_groups_from_names(self._chosen(replace(choices, classes=None)))
        groups = tables.resolve_groups(str(self.location), table, choices.group)
        counts = {}
        for name in sorted(set(table["label"])):
            mine = table[table["label"] == name]
            counts[str(name)] = (len(mine), mine.groupby(list(groups)).ngroups if groups else 0)
        return counts

    def group_columns(self, choices: Choices) -> tuple[str, ...]:
        """Return the columns that keep images together, which ``group="auto"`` finds."""
        table = take_groups_from_names(self._chosen(choices))
        return tables.resolve_groups(str(self.location), table, choices.group)

    def read_examples(self, choices: Choices) -> "dict[str, xr.DataArray]":
        """Read one image of each class, from the middle of its list.

        Raises
        ------
        DatasetError
            None of three images of a class can be read, or it has to be told which files are the
            channels of one image.
        """
        table = self._chosen(choices)
        files = tables.find_image_files(table, self.pattern)
        if choices.channels is None or len(choices.channels) > 1:
            ask_for_channels(str(self.location), table, files)
        store = ImageStore(
            files, channels=choices.channels, pattern=self.pattern, reuse=self._store
        )
        examples = {}
        for name in sorted(set(table["label"])):
            rows = [row for row, label in enumerate(table["label"]) if label == name]
            middle = len(rows) // 2
            examples[str(name)] = _read_first(store, [*rows[middle:], *rows[:middle]])
        # What an opened data set has read is more than these.
        if self._store is None:
            self._store = store
        return examples

    def open(
        self,
        choices: Choices,
        *,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> Dataset:
        """Open the images that are meant; errors are those of :meth:`Dataset.open`.

        Parameters
        ----------
        choices : Choices
            Which images are meant.
        on_event, cancelled : callable
            See :mod:`napari_why.core.events`; when cancelled, the images read so far are there.

        Returns
        -------
        Dataset
            The one opened last where only the names of channels changed.
        """
        if self._opened is not None:
            before, opened = self._opened
            if choices.channels and replace(before, channels=choices.channels) == choices:
                return opened.rename_channels(choices.channels)
        table = tables.select_classes(self._chosen(choices), choices.classes, str(self.location))
        dataset = Dataset.from_listing(
            table,
            str(self.location),
            group=choices.group,
            channels=choices.channels,
            pattern=self.pattern,
            reuse=self._store,
            on_event=on_event,
            cancelled=cancelled,
        )
        match = self._listed[choices.label][1]
        if match is not None:
            dataset = dataset.with_plate_match(match)
        dataset = replace(dataset, opened_as=self._describe(choices))
        if not cancelled():
            self._store, self._opened = dataset.store, (choices, dataset)
        return dataset

    @classmethod
    def of_opened(cls, opened_as: Mapping[str, Any]) -> "tuple[Survey, Choices]":
        """Survey again what a data set was opened from, with the answers that it was opened with.

        Parameters
        ----------
        opened_as : mapping
            :attr:`Dataset.opened_as` of a data set that comes from a place on disk.

        Returns
        -------
        survey : Survey
        choices : Choices
            Those with which :meth:`open` opens the same images.

        Raises
        ------
        DatasetError
            The place is gone, or holds nothing of the kind any more.
        """
        given = dict(opened_as)
        survey = cls(
            given["location"],
            given.get("plate_map"),
            pattern=given.get("pattern"),
            well_pattern=given.get("well_pattern"),
            sheet=given.get("sheet"),
        )
        group, only = given.get("group", "auto"), given.get("only")
        return survey, Choices(
            label=given.get("label", "label" if survey.plate_map is None else "treatment"),
            classes=_names_in(given.get("classes")),
            group=group if group is None or isinstance(group, str) else tuple(group),
            channels=_names_in(given.get("channels")),
            only=None if only is None else (only[0], tuple(only[1])),
        )

    def opens(self, opened_as: Mapping[str, Any], choices: Choices) -> bool:
        """Tell whether a data set is what is opened here with some answers, whatever its split.

        Parameters
        ----------
        opened_as : mapping
            :attr:`Dataset.opened_as` of the data set.
        choices : Choices

        Returns
        -------
        bool
        """
        unsplit = {name: value for name, value in opened_as.items() if name != "split_seed"}
        return unsplit == self._describe(choices)

    def _describe(self, choices: Choices) -> dict[str, Any]:
        """Return how the same images are opened in one call; see :attr:`Dataset.opened_as`."""
        given = {
            "label": choices.label,
            "classes": choices.classes,
            "channels": choices.channels,
            "pattern": self.pattern,
            # as Dataset.where writes it, and as it comes back from a file
            "only": None if choices.only is None else [choices.only[0], [*choices.only[1]]],
        }
        places = {"location": str(self.location)}
        if self.plate_map is None:
            return describe_opening(places, choices.group, given, {"label": "label"})
        given |= {"well_pattern": self.well_pattern, "sheet": self._sheet}
        places["plate_map"] = str(self.plate_map)
        return describe_opening(places, choices.group, given, {"label": "treatment"})

    def _chosen(self, choices: Choices) -> pd.DataFrame:
        table = self.listing(choices.label)
        notes = tables.notes_of(table)
        if choices.only is not None:
            column, values = choices.only
            rows = find_rows(table, column, values, str(self.location))
            table = table[rows].reset_index(drop=True)
        if choices.classes is not None:
            table = tables.select_classes(table, choices.classes, str(self.location))
        table.attrs["notes"] = notes
        return table

    def _find_columns(self, sheet: str | None) -> pd.DataFrame:
        if self.plate_map is None and self.location.is_file():
            found = tables.read_columns(self.location)
            if found is not None:
                return found
            # A map of wells, which names no files: those of its folder are meant.
            self.location, self.plate_map = self.location.parent, self.location
        if self.plate_map is not None:
            wells = read_plate_map(self.plate_map, sheet=sheet)
            self._located = locate_images(
                self.location, self.plate_map, wells, self.well_pattern, self.pattern
            )
            return wells
        beside = tables.find_tables(self.location) if self.location.is_dir() else []
        found = tables.read_columns(beside[0]) if beside else None
        if found is not None:
            return found
        try:
            return self.listing("label")[["label"]]
        except DatasetError:
            # Images without classes are those of a plate; any other fault is told as it is.
            if not self.location.is_dir() or not find_images(self.location):
                raise
            self.wants_map = True
            return pd.DataFrame()


def _names_in(given: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def _read_first(store: ImageStore, rows: Sequence[int]) -> "xr.DataArray":
    for row in rows[: MOST_TRIED - 1]:
        try:
            return store.image(row)
        except (ImageReadError, OSError):
            continue
    return store.image(rows[-1])


def _values_of(column: "pd.Series[str]") -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in column} - {"", "nan"}))


def _may_be_class(column: Column) -> bool:
    return column.name not in ("path", "well") and 2 <= len(column.distinct) <= MOST_CLASSES


def _unlikeliness(column: Column) -> tuple[int, int, int]:
    """Return what sorts columns: by their name, then words before numbers, then by few values."""
    name = fold_text(column.name)
    words = [rank for rank, word in enumerate(CLASS_WORDS) if word == name]
    words += [len(CLASS_WORDS) + rank for rank, word in enumerate(CLASS_WORDS) if word in name]
    named = words[0] if words else 2 * len(CLASS_WORDS)
    numbers = all(value.replace(".", "", 1).lstrip("-").isdecimal() for value in column.distinct)
    return (named + (1000 if column.is_place else 0), int(numbers), len(column.distinct))
