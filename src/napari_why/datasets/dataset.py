"""A data set: labelled images, one row of a table each, and the images behind it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_why.core.errors import DatasetError, WhyError
from napari_why.core.events import Cancelled, Message, OnEvent, ignore_event, never_cancelled
from napari_why.core.randomness import Rng, choose_seed
from napari_why.datasets import tables
from napari_why.datasets.confounding import Confounding, find_confounding
from napari_why.datasets.image_folders import ask_for_channels
from napari_why.datasets.image_store import (
    ImageStore,
    PlaneDigest,
    Unreadable,
    describe_one_channel,
    describe_reading,
    read_rows,
)
from napari_why.datasets.plate_images import PlateMatch, match_plate, take_groups_from_names
from napari_why.datasets.spellings import SPLITS
from napari_why.datasets.splits import draw_folds, draw_split
from napari_why.images import common_contrast

if TYPE_CHECKING:
    import xarray as xr

# Nine images are read quickly, and their median withstands a few odd ones.
SAMPLED = 9


# Leaves small sets enough to learn from; splits of whole wells only come near.
USUAL_FRACTIONS = (0.7, 0.15, 0.15)
# A few broken files are usual in a screen; more than 5 % are a wrong folder or format.
MOST_UNREADABLE = 0.05


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, opened from a folder or table, a plate, or images in memory.

    Parameters
    ----------
    table : DataFrame
        ``path``, ``label``, every further column of the source and, once split, ``split`` with
        ``train``, ``validation`` or ``test``. Rows are numbered from 0.
    classes : tuple of str
        Sorted; a part or selection keeps all of them, so that class numbers stay the same.
    channels : tuple of str
        Channel names, the same for every image.
    group_columns : tuple of str
        Columns whose values together name a group (a well). Images of a group are not
        independent, so a group never stands in two splits. Empty: every image on its own.
    store : ImageStore
        The pixels.
    positions : tuple of int
        Where in the store the image of each row is.
    unreadable : tuple of Unreadable
        Files that were left out, with the reason.
    plate_match : PlateMatch or None
        What did not fit between images and plate map; None where there was no plate map.
    notes : tuple of str
        What was left out, guessed or noticed when the images were opened, a sentence each.
    opened_as : mapping
        How it was opened, to be opened so again: ``location``, of a plate ``plate_map``, what was
        given beside them, ``only`` (column and values of :meth:`where`) and ``split_seed`` once it was
        split. Empty of images in memory, and of some rows of a data set.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> dataset = simulate(24, size=32).split(seed=1)
    >>> dataset.classes, dataset.channels, len(dataset.part("train"))
    (('diseased', 'treated'), ('DAPI', 'TMRM'), 16)
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    group_columns: tuple[str, ...]
    store: ImageStore
    positions: tuple[int, ...]
    unreadable: tuple[Unreadable, ...] = ()
    plate_match: PlateMatch | None = None
    notes: tuple[str, ...] = ()
    opened_as: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        location: str | Path,
        *,
        group: str | Sequence[str] | None = "auto",
        channels: Sequence[str] | None = None,
        label: str = "label",
        classes: Sequence[str] | None = None,
        pattern: str | None = None,
        max_unreadable: float = MOST_UNREADABLE,
        allow_leak: bool = False,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> "Dataset":
        """Open a folder with one sub-folder per class, or a table of images.

        Every file is read once, which finds the broken ones now and not in the midst of training.

        Parameters
        ----------
        location : path
            See :func:`napari_why.datasets.tables.list_images`.
        group : "auto", str, sequence of str or None
            Columns that name a group. ``auto`` takes plate and well, or well, where the table has
            them or the names of all images tell them; None takes every image as independent.
        channels : sequence of str, optional
            Channel names to use instead of the files' own.
        label : str
            See :func:`napari_why.datasets.tables.list_images`.
        classes : sequence of str, optional
            Open only the images of these classes.
        pattern : str, optional
            How files of one channel each are named, where no convention knows it: a regular
            expression such as ``(?P<field>.+)_(?P<channel>green|red)`` for whole names without
            suffix; see :func:`napari_why.images.file_names.own_convention`.
        max_unreadable : float
            Share of files (0 to 1) that may be unreadable; they are listed in ``unreadable``.
        allow_leak : bool
            Accept a table's own ``split`` although it has a group in two splits.
        on_event, cancelled
            See :mod:`napari_why.core.events`; when cancelled, the images read so far are there.

        Returns
        -------
        Dataset

        Raises
        ------
        DatasetError
            Nothing is there, a column is missing, too many files are unreadable, there is one
            class only, the images differ in channels or pixel type, or files of one channel each
            look as if they belonged together, without their names telling how.
        LeakError
            The table's own ``split`` column has a group in two splits.
        """
        table = tables.select_classes(
            tables.list_images(location, label=label, pattern=pattern), classes, str(location)
        )
        dataset = cls.from_listing(
            table,
            str(location),
            group=group,
            channels=channels,
            pattern=pattern,
            max_unreadable=max_unreadable,
            allow_leak=allow_leak,
            on_event=on_event,
            cancelled=cancelled,
        )
        given = {
            "label": label,
            "classes": classes,
            "channels": channels,
            "pattern": pattern,
            "max_unreadable": max_unreadable,
            "allow_leak": allow_leak,
        }
        usual = {"label": "label", "max_unreadable": MOST_UNREADABLE, "allow_leak": False}
        return replace(
            dataset, opened_as=describe_opening({"location": str(location)}, group, given, usual)
        )

    @classmethod
    def from_plate(
        cls,
        folder: str | Path,
        plate_map: str | Path,
        *,
        label: str = "treatment",
        controls: Mapping[str, str | Sequence[str]] | None = None,
        control_column: str | None = None,
        well_pattern: str | None = None,
        sheet: str | None = None,
        group: str | Sequence[str] | None = "auto",
        channels: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        pattern: str | None = None,
        max_unreadable: float = MOST_UNREADABLE,
        allow_leak: bool = False,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> "Dataset":
        """Open the images of a plate, whose classes stand in a plate map (CSV or Excel).

        Wells without images, images without wells and wells without a class are listed in
        ``plate_match`` and reported as messages. Other options and errors are those of :meth:`open`.

        Parameters
        ----------
        folder : path
            See :func:`napari_why.datasets.plate_images.match_plate`.
        plate_map : path
            See :func:`napari_why.datasets.plate_map.read_plate_map`.
        label, controls, control_column, well_pattern
            See :func:`napari_why.datasets.plate_images.match_plate`.
        sheet : str, optional
            See :func:`napari_why.datasets.plate_map.read_plate_map`.
        group, channels, classes, pattern, max_unreadable, allow_leak, on_event, cancelled
            See :meth:`open`.

        Returns
        -------
        Dataset
            With ``plate_match``.
        """
        table, match = match_plate(
            folder,
            plate_map,
            label=label,
            controls=controls,
            control_column=control_column,
            well_pattern=well_pattern,
            sheet=sheet,
            pattern=pattern,
        )
        table = tables.select_classes(table, classes, str(plate_map))
        table.attrs["notes"] = [*match.sentences, *tables.notes_of(table)]
        dataset = cls.from_listing(
            table,
            str(folder),
            group=group,
            channels=channels,
            pattern=pattern,
            max_unreadable=max_unreadable,
            allow_leak=allow_leak,
            on_event=on_event,
            cancelled=cancelled,
        )
        given = {
            "label": label,
            "controls": controls,
            "control_column": control_column,
            "well_pattern": well_pattern,
            "sheet": sheet,
            "channels": channels,
            "classes": classes,
            "pattern": pattern,
            "max_unreadable": max_unreadable,
            "allow_leak": allow_leak,
        }
        places = {"location": str(folder), "plate_map": str(plate_map)}
        usual = {"label": "treatment", "max_unreadable": MOST_UNREADABLE, "allow_leak": False}
        opened_as = describe_opening(places, group, given, usual)
        return replace(dataset.with_plate_match(match), opened_as=opened_as)

    @classmethod
    def from_images(
        cls,
        images: "Sequence[xr.DataArray]",
        labels: Sequence[str],
        *,
        group: str | Sequence[str] | None = "auto",
        allow_leak: bool = False,
        **columns: ArrayLike,
    ) -> "Dataset":
        """Make a data set of images in memory; errors and options are those of :meth:`open`.

        Parameters
        ----------
        images : sequence of DataArray, dims (c, y, x)
            As :func:`napari_why.images.make_image` makes them.
        labels : sequence of str
            One class per image.
        group, allow_leak
            See :meth:`open`.
        **columns
            Further columns, one value per image (``plate``, ``well``, ``split``, ...).

        Returns
        -------
        Dataset
        """
        named: dict[str, Any] = {"label": [str(label) for label in labels], **columns}
        tables.check_in_memory(images, named)
        paths = [image.attrs.get("source") or f"image {row}" for row, image in enumerate(images)]
        table = pd.DataFrame({"path": paths, **named})
        groups = tables.resolve_groups("images in memory", table, group)
        store, rows = ImageStore(images), tuple(range(len(images)))
        dataset = cls(table, _list_classes(table), (), groups, store, rows)
        return dataset._validate("images in memory", allow_leak=allow_leak)

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class number of every image: its index in ``classes``; shape (N,)."""
        codes = pd.Categorical(self.table["label"], categories=list(self.classes)).codes
        return np.asarray(codes, dtype=np.int64)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Group number of every image, by first appearance; shape (N,)."""
        return _number_groups(self.table, self.group_columns)

    def image(self, index: int) -> "xr.DataArray":
        """Return the image of a row: dims (c, y, x), raw units, not to be written to."""
        return self.store.image(self.positions[index])

    def select(self, rows: ArrayLike) -> "Dataset":
        """Return the data set of some rows, given as a mask or as row numbers."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise DatasetError(f"found a mask of shape {chosen.shape}; expected ({len(self)},)")
        # An empty list makes an array of floats, which cannot select.
        numbers = np.arange(len(self))[chosen if chosen.size else []]
        return replace(
            self,
            table=self.table.iloc[numbers].reset_index(drop=True),
            positions=tuple(self.positions[number] for number in numbers),
            opened_as={},
        )

    def where(self, column: str, values: Sequence[str]) -> "Dataset":
        """Return the images that have one of some values in a column, and their classes alone.

        Parameters
        ----------
        column : str
            Of :attr:`table`.
        values : sequence of str
            As text; numbers are compared as numbers, so that ``"1.0"`` means 1 too.

        Returns
        -------
        Dataset

        Raises
        ------
        DatasetError
            There is no such column or image, or fewer than two classes are left.

        Examples
        --------
        >>> from napari_why.simulation import simulate
        >>> dataset = simulate(8, size=32)
        >>> wells = list(dataset.table["well"])[:6]
        >>> len(dataset.where("well", wells)) < len(dataset)
        True
        """
        rows = find_rows(self.table, column, values, "the data set")
        chosen = self.select(rows)
        kept = tuple(name for name in self.classes if name in set(chosen.table["label"]))
        tables.check_classes("the data set", kept)
        # only one such choice is written down, and a split of all is not drawn again from some
        known = bool(self.opened_as) and not {"only", "split_seed"} & set(self.opened_as)
        only = {"only": [column, [*values]]}
        return replace(chosen, classes=kept, opened_as={**self.opened_as, **only} if known else {})

    def rename_channels(self, names: Sequence[str]) -> "Dataset":
        """Return the same images with other names of channels; no file is read again.

        Raises DatasetError unless there is one name for each channel, each once.

        Examples
        --------
        >>> from napari_why.simulation import simulate
        >>> simulate(4, size=32).rename_channels(["nuclei", "mitochondria"]).channels
        ('nuclei', 'mitochondria')
        """
        given = [str(name).strip() for name in names]
        if len(given) != len(self.channels) or len(set(given)) != len(given) or not all(given):
            raise DatasetError(
                f"channels: found the names {', '.join(map(repr, given)) or 'none'}; expected "
                f"{len(self.channels)}, each once, for {', '.join(self.channels)}"
            )
        return self._keep_confounding(
            replace(
                self,
                channels=tuple(given),
                store=self.store.renamed(given),
                opened_as={**self.opened_as, "channels": given} if self.opened_as else {},
            )
        )

    def part(self, name: str) -> "Dataset":
        """Return the images of one split: ``train``, ``validation`` or ``test``.

        Raises DatasetError where the data set is not split or has no such image.
        """
        if "split" not in self.table.columns:
            raise DatasetError("found a data set that is not split; call split() or folds() first")
        mask = np.asarray(self.table["split"] == name)
        if not mask.any():
            there = ", ".join(sorted(set(self.table["split"])))
            raise DatasetError(f"split {name!r}: found no image; expected one of {there}")
        return self.select(mask)

    def split(
        self,
        *,
        fractions: Sequence[float] = USUAL_FRACTIONS,
        seed: int = 0,
        rng: Rng = None,
        allow_leak: bool = False,
        redraw: bool = False,
        on_event: OnEvent = ignore_event,
    ) -> "Dataset":
        """Split into train, validation and test with whole groups and even classes.

        A ``split`` column that came with the table is checked and kept.

        Parameters
        ----------
        fractions : three floats
            Shares of images, summing to 1; a split with share 0 stays empty.
        seed : int
            Which of the possible splits.
        rng : int or numpy.random.Generator, optional
            In place of the seed; see :mod:`napari_why.core.randomness`.
        allow_leak : bool
            Accept a table's own split although it has a group in two splits.
        redraw : bool
            Draw a new split although there is one.
        on_event : callable
            Told what cannot be told from the class (:attr:`confounding`): no split mends that.

        Returns
        -------
        Dataset
            With the column ``split`` in its table.

        Raises
        ------
        LeakError
            The table's own split has a group in two splits.
        DatasetError
            A class has fewer groups than there are splits.
        """
        self._report_confounding(on_event)
        if "split" in self.table.columns and not redraw:
            tables.check_split_column(self.table, self.group_columns, allow_leak=allow_leak)
            return self
        seed = choose_seed(seed, rng)
        drawn = draw_split(self.labels, self.groups, self.classes, fractions, seed)
        split = self._set_split(drawn)
        # shares other than the usual ones are not kept: such a split is not drawn again from here
        known = bool(self.opened_as) and tuple(fractions) == USUAL_FRACTIONS
        return replace(split, opened_as={**self.opened_as, "split_seed": seed} if known else {})

    def folds(
        self,
        count: int | None = None,
        *,
        by: str | Sequence[str] | None = None,
        seed: int = 0,
        rng: Rng = None,
    ) -> list["Dataset"]:
        """Return cross-validation folds, each with its own ``split`` column.

        Every image is in the test split of exactly one fold; of the others, 15 % of each class
        are for validation, in whole groups.

        Parameters
        ----------
        count : int, optional
            Number of folds; by default one for every value of ``by``, or 5.
        by : str or sequence of str, optional
            Columns of which each value is left out as a whole (``"plate"``). By default the test
            splits are made of whole groups with even classes.
        seed : int
            Which of the possible folds.
        rng : int or numpy.random.Generator, optional
            In place of the seed; see :mod:`napari_why.core.randomness`.

        Returns
        -------
        list of Dataset
            One a fold, of the same images.

        Raises
        ------
        DatasetError
            There are fewer values of ``by``, or fewer groups of a class, than needed.
        """
        left_out = None
        if by is not None:
            columns = tables.resolve_groups("folds", self.table, by)
            left_out = _number_groups(self.table, columns)
        chosen = choose_seed(seed, rng)
        drawn = draw_folds(self.labels, self.groups, self.classes, count, left_out, chosen)
        return [self._set_split(column) for column in drawn]

    def summary(self) -> pd.DataFrame:
        """Count groups and images per split and class.

        Returns
        -------
        DataFrame
            ``split`` (``all`` where there is none), ``label``, ``groups``, ``images``; in the
            order of training, validation and test. Where there are plates also ``plates`` and
            ``shared_plates``: how many hold the class, and how many of these hold another class
            too. ``attrs["sentences"]``: :attr:`notes`, what else tells the class
            (:attr:`confounding`), and :attr:`imbalance`.
        """
        counted = pd.DataFrame({"label": self.table["label"], "group": self.groups})
        counted["split"] = self.table["split"] if "split" in self.table.columns else "all"
        present = set(counted["split"])
        plates = self.table["plate"] if "plate" in self.table.columns else None
        classes_on = None if plates is None else self.table["label"].groupby(plates).nunique()
        # Every class in every split, those of no image too: a gap is what the table is read for.
        rows = []
        for split in (name for name in (*SPLITS, "all") if name in present):
            for label in self.classes:
                mine = counted[(counted["split"] == split) & (counted["label"] == label)]
                row = [split, label, mine["group"].nunique(), len(mine)]
                if plates is not None and classes_on is not None:
                    here = plates[mine.index].dropna().unique()
                    row += [len(here), int((classes_on[here] > 1).sum())]
                rows.append(row)
        columns = ["split", "label", "groups", "images", "plates", "shared_plates"]
        counts = pd.DataFrame(rows, columns=columns if plates is not None else columns[:4])
        uneven = [self.imbalance] if self.imbalance else []
        counts.attrs["sentences"] = [*self.notes, *self.confounding.sentences, *uneven]
        return counts

    @cached_property
    def confounding(self) -> Confounding:
        """What else than the class tells the class: plates, days, places on the plate."""
        return find_confounding(self.table, list(self.table["label"]), self.group_columns)

    @property
    def imbalance(self) -> str:
        """Sentence on a class that has many more images than another; empty where none has."""
        return tables.imbalance_sentence(self.table["label"])

    def _report_confounding(self, on_event: OnEvent) -> None:
        for sentence in (*self.confounding.warnings, self.imbalance):
            if sentence:
                on_event(Message(sentence, finding=True))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every column but ``path`` and over all pixels, computed when asked for.

        The same data in another folder has the same fingerprint.
        """
        # Without the path, so that a copy in another folder is the same data set.
        columns = sorted(str(column) for column in self.table.columns if column != "path")
        digest = sha256(self.table[columns].to_csv(index=False).encode())
        digest.update("\0".join(self.channels).encode())
        for position in self.positions:
            for plane in self.store.digests(position).values():
                digest.update(plane.text.encode())
        return digest.hexdigest()

    def _set_split(self, names: Iterable[str]) -> "Dataset":
        return self._keep_confounding(replace(self, table=self.table.assign(split=list(names))))

    def with_plate_match(self, match: PlateMatch) -> "Dataset":
        """Return the data set with what did not fit between its images and a plate map."""
        return self._keep_confounding(replace(self, plate_match=match))

    def _keep_confounding(self, other: "Dataset") -> "Dataset":
        """Hand on what was found of the same images and classes, which takes seconds to find."""
        if "confounding" in self.__dict__:
            other.__dict__["confounding"] = self.confounding
        return other

    @classmethod
    def from_listing(
        cls,
        table: pd.DataFrame,
        source: str,
        *,
        group: str | Sequence[str] | None = "auto",
        channels: Sequence[str] | None = None,
        pattern: str | None = None,
        max_unreadable: float = MOST_UNREADABLE,
        allow_leak: bool = False,
        reuse: ImageStore | None = None,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> "Dataset":
        """Open images that are listed already; other options and errors are those of :meth:`open`.

        Parameters
        ----------
        table : DataFrame
            As :func:`~napari_why.datasets.tables.list_images` and
            :func:`~napari_why.datasets.plate_images.match_plate` return it.
        source : str
            What was listed; begins the sentences of errors.
        group, channels, pattern, max_unreadable, allow_leak
            See :meth:`open`.
        reuse : ImageStore, optional
            The ``store`` of a data set of the same files, whose pixels are not read again.
        on_event, cancelled
            See :meth:`open`.

        Returns
        -------
        Dataset
            Of the images that could be read.
        """
        files = tables.find_image_files(table, pattern)
        # Whoever names one channel means that every file is an image.
        one_meant = channels is not None and len(channels) == 1
        if not one_meant:
            ask_for_channels(source, table, files)
        store = ImageStore(files, channels=channels, pattern=pattern, reuse=reuse)
        read = read_rows(store, table, source, max_unreadable, on_event, cancelled)
        notes = [
            *tables.notes_of(table),
            *describe_reading(store, table, read.rows, read.unreadable, read.repeated),
        ]
        if not one_meant:
            notes += describe_one_channel([store.format(row).channels for row in read.rows])
        table = table.iloc[list(read.rows)].reset_index(drop=True)
        if group == "auto":
            # Of the images that were read: litter among them tells no well, and decides nothing.
            table.attrs["notes"] = []
            table = take_groups_from_names(table)
            notes += tables.notes_of(table)
        for note in notes:
            on_event(Message(note, finding=True))
        columns = tables.resolve_groups(source, table, group)
        dataset = cls(table, _list_classes(table), (), columns, store, read.rows, read.unreadable)
        dataset = replace(
            dataset._validate(source, allow_leak=allow_leak, partial=read.partial),
            notes=tuple(notes),
        )
        dataset._report_confounding(on_event)
        return dataset

    def _validate(self, source: str, *, allow_leak: bool, partial: bool = False) -> "Dataset":
        """Check that the images make a data set, and take the names of the channels from them."""
        # Whoever cancels gets the images so far, be they of one class only, as they are sorted.
        if not partial:
            tables.check_classes(source, self.classes)
        tables.check_groups(source, self.table, self.group_columns)
        if "split" in self.table.columns:
            tables.check_split_column(self.table, self.group_columns, allow_leak=allow_leak)
        formats = [self.store.format(position) for position in self.positions]
        tables.check_images_agree(source, list(self.table["path"]), formats)
        return replace(self, channels=formats[0].channels if formats else ())


def describe_opening(
    places: Mapping[str, str],
    group: str | Sequence[str] | None,
    given: Mapping[str, Any],
    usual: Mapping[str, Any],
) -> dict[str, Any]:
    """Return how a data set was opened, without what is the default.

    Parameters
    ----------
    places : mapping of str to str
        Paths, by the names of their parameters.
    group : "auto", str, sequence of str or None
        As of :meth:`Dataset.open`.
    given, usual : mapping of str to object
        Values of further parameters, and their defaults; None is always one.

    Returns
    -------
    dict of str to object
        JSON types, by the names of parameters.
    """
    said = {name: value for name, value in given.items() if value not in (None, usual.get(name))}
    plain = {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in said.items()
    }
    return {**places, **plain, **({} if group == "auto" else {"group": group})}


def find_rows(
    table: pd.DataFrame, column: str, values: Sequence[str], source: str
) -> NDArray[np.bool_]:
    """Return which rows have one of some values, given as text, in a column; see :meth:`Dataset.where`.

    Parameters
    ----------
    table : DataFrame, length N
    column : str
    values : sequence of str
        Numbers are compared as numbers where the column holds numbers.
    source : str
        What the table is, for the error.

    Returns
    -------
    ndarray of bool, shape (N,)

    Raises
    ------
    DatasetError
        There is no such column, or no such row; begins with ``source``.
    """
    if column not in table.columns:
        raise DatasetError(
            f"{source}: found no column {column!r}; expected one of "
            f"{', '.join(map(str, table.columns))}"
        )
    cells, numbers = table[column], {value: _read_number(value) for value in values}
    if pd.api.types.is_bool_dtype(cells):  # of cells like TRUE and false
        meant = cells.astype(str).str.casefold().isin([value.casefold() for value in values])
    elif pd.api.types.is_numeric_dtype(cells):
        meant = cells.isin([number for number in numbers.values() if number is not None])
    else:
        # where some cells are names, numbers among them stand with a decimal point
        points = [value.replace(",", ".") for value in values if numbers[value] is not None]
        meant = cells.astype(str).isin([*values, *points])
    if not meant.any():
        there = sorted({str(cell) for cell in cells.dropna()} - {""})
        raise DatasetError(
            f"{source}: found no image with {column} {' or '.join(values)}; expected some of "
            f"{', '.join(there)}"
        )
    return np.asarray(meant, dtype=bool)


def _read_number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _list_classes(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(set(table["label"])))


def typical_contrast(dataset: Dataset) -> dict[str, tuple[float, float]]:
    """Return the contrast limits of each channel: the median of those of nine images.

    Each image's own limits would make all look alike, the odd ones among them too.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict of str to (float, float)
        By channel name, raw units; empty where none of the nine images can be read.
    """
    # Evenly over the table: it is sorted, and its first images would be of one class.
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(SAMPLED, len(dataset))).astype(int))
    images = []
    for row in rows:
        try:
            images.append(dataset.image(int(row)))
        except (WhyError, OSError):
            continue
    return common_contrast(images)


def image_digest(dataset: Dataset, row: int) -> str:
    """Return the identity of an image's pixels: SHA-256 over the planes of all its channels.

    The same wherever the file lies and whatever it is called; channel names count.

    Parameters
    ----------
    dataset : Dataset
    row : int
        Of its table, from 0.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return _join_digests(dataset.store.digests(dataset.positions[row]))


def pixels_digest(image: "xr.DataArray") -> str:
    """Return the identity of an image (c, y, x) that is in no data set, as :func:`image_digest`."""
    return _join_digests(ImageStore([image]).digests(0))


def _join_digests(planes: Mapping[str, PlaneDigest]) -> str:
    # Sorted: the order of the channels is no part of what an image shows.
    text = "\0".join(f"{name} {plane.text}" for name, plane in sorted(planes.items()))
    return sha256(text.encode()).hexdigest()


def _number_groups(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return every row's group number, by first appearance; without columns each row is one."""
    if not columns:
        return np.arange(len(table), dtype=np.int64)
    # A missing name is a group too; whoever must not have one asks check_groups.
    numbers = table.groupby(list(columns), sort=False, dropna=False).ngroup()
    return np.asarray(numbers, dtype=np.int64)
