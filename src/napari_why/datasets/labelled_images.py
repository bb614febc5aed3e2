"""A table of labelled images: its classes, groups, splits and fingerprint."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from napari_why.datasets.checks import check_split_column, group_numbers, resolve_groups
from napari_why.datasets.image_store import ImageStore
from napari_why.datasets.opening import Unreadable
from napari_why.datasets.plate_images import PlateMatch
from napari_why.datasets.splits import fold_columns, split_column
from napari_why.datasets.summary import fingerprint_of, summary_of
from napari_why.errors import DatasetError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Labelled images, one row of a table each.

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
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    group_columns: tuple[str, ...]
    store: ImageStore
    positions: tuple[int, ...]
    unreadable: tuple[Unreadable, ...] = ()
    plate_match: PlateMatch | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class number of every image: its place in ``classes``; shape (N,)."""
        codes = pd.Categorical(self.table["label"], categories=list(self.classes)).codes
        return np.asarray(codes, dtype=np.int64)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Group number of every image, by first appearance; shape (N,)."""
        return group_numbers(self.table, self.group_columns)

    def image(self, index: int) -> xr.DataArray:
        """Return the image of a row: dims (c, y, x), raw units, not to be written to."""
        return self.store.image(self.positions[index])

    def select(self, rows: ArrayLike) -> Self:
        """Return the data set of some rows, given as a mask or as row numbers."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise DatasetError(f"found a mask of shape {chosen.shape}; expected ({len(self)},)")
        numbers = np.arange(len(self))[chosen if chosen.size else []]
        return replace(
            self,
            table=self.table.iloc[numbers].reset_index(drop=True),
            positions=tuple(self.positions[number] for number in numbers),
        )

    def part(self, name: str) -> Self:
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
        fractions: Sequence[float] = (0.7, 0.15, 0.15),
        seed: int = 0,
        allow_leak: bool = False,
        redraw: bool = False,
    ) -> Self:
        """Split into train, validation and test with whole groups and even classes.

        A ``split`` column that came with the table is checked and kept.

        Parameters
        ----------
        fractions : three floats
            Shares of images, summing to 1; a split with share 0 stays empty.
        seed : int
            Which of the possible splits.
        allow_leak : bool
            Accept a table's own split although it has a group in two splits.
        redraw : bool
            Draw a new split although there is one.

        Raises
        ------
        LeakError
            The table's own split has a group in two splits.
        DatasetError
            A class has fewer groups than there are splits.
        """
        if "split" in self.table.columns and not redraw:
            check_split_column(self.table, self.group_columns, allow_leak=allow_leak)
            return self
        drawn = split_column(self.labels, self.groups, self.classes, fractions, seed)
        return self._with_split(drawn)

    def folds(
        self, count: int | None = None, *, by: str | Sequence[str] | None = None, seed: int = 0
    ) -> list[Self]:
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

        Raises
        ------
        DatasetError
            There are fewer values of ``by``, or fewer groups of a class, than needed.
        """
        left_out = None
        if by is not None:
            columns = resolve_groups("folds", self.table, by)
            left_out = group_numbers(self.table, columns)
        drawn = fold_columns(self.labels, self.groups, self.classes, count, left_out, seed)
        return [self._with_split(column) for column in drawn]

    def summary(self) -> pd.DataFrame:
        """Count groups and images per split and class.

        Returns
        -------
        DataFrame
            ``split`` (``all`` where there is none), ``label``, ``groups``, ``images``; in the
            order of training, validation and test.
        """
        return summary_of(self.table, self.classes, self.groups)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every column but ``path`` and over all pixels, computed when asked for.

        The same data in another folder has the same fingerprint.
        """
        digests = (self.store.digests(position) for position in self.positions)
        return fingerprint_of(self.table, self.channels, digests)

    def _with_split(self, names: Iterable[str]) -> Self:
        return replace(self, table=self.table.assign(split=list(names)))
