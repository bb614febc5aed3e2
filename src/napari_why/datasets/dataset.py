"""A labelled data set, opened from folders, tables, plates or memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from napari_why.datasets.checks import (
    check_classes,
    check_groups,
    check_images_agree,
    check_in_memory,
    check_split_column,
    resolve_groups,
)
from napari_why.datasets.image_store import ImageStore
from napari_why.datasets.labelled_images import LabelledImages
from napari_why.datasets.opening import readable_rows, rows_of_classes
from napari_why.datasets.plate_images import plate_table
from napari_why.datasets.tables import image_files, image_table
from napari_why.events import Cancelled, Message, OnEvent, ignore_event, never_cancelled


@dataclass(frozen=True, eq=False)
class Dataset(LabelledImages):
    """Labelled images, opened from a folder or table, a plate, or images in memory.

    What it holds and what can be done with it is told by
    :class:`napari_why.datasets.labelled_images.LabelledImages`.

    Examples
    --------
    >>> from napari_why.datasets import simulate
    >>> dataset = simulate(24, size=32).split(seed=1)
    >>> dataset.classes, dataset.channels, len(dataset.part("train"))
    (('diseased', 'treated'), ('DAPI', 'TMRM'), 16)
    """

    @classmethod
    def open(
        cls,
        location: str | Path,
        *,
        group: str | Sequence[str] | None = "auto",
        channels: Sequence[str] | None = None,
        label: str = "label",
        classes: Sequence[str] | None = None,
        max_unreadable: float = 0.05,
        allow_leak: bool = False,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> "Dataset":
        """Open a folder with one sub-folder per class, or a table of images.

        Every file is read once, which finds the broken ones now and not in the midst of training.

        Parameters
        ----------
        location, label
            See :func:`napari_why.datasets.tables.image_table`.
        group : "auto", str, sequence of str or None
            Columns that name a group. ``auto`` takes plate and well, or well, where the table has
            them; None takes every image as independent.
        channels : sequence of str, optional
            Channel names to use instead of the files' own.
        classes : sequence of str, optional
            Open only the images of these classes.
        max_unreadable : float
            Share of files (0 to 1) that may be unreadable; they are listed in ``unreadable``.
        allow_leak : bool
            Accept a table's own ``split`` although it has a group in two splits.
        on_event, cancelled
            See :mod:`napari_why.events`; when cancelled, the images read so far are there.

        Raises
        ------
        DatasetError
            Nothing is there, a column is missing, too many files are unreadable, there is one
            class only, or the images differ in channels or pixel type.
        LeakError
            The table's own ``split`` column has a group in two splits.
        """
        table = rows_of_classes(image_table(location, label=label), classes, str(location))
        return cls._read(
            table, str(location), group, channels, max_unreadable, allow_leak, on_event, cancelled
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
        max_unreadable: float = 0.05,
        allow_leak: bool = False,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> "Dataset":
        """Open the images of a plate, whose classes stand in a plate map (CSV or Excel).

        Wells without images, images without wells and wells without a class are listed in
        ``plate_match`` and told as messages. Other options and errors are those of :meth:`open`.

        Parameters
        ----------
        folder, label, controls, control_column, well_pattern
            See :func:`napari_why.datasets.plate_images.plate_table`.
        plate_map, sheet
            See :func:`napari_why.datasets.plate_map.read_plate_map`.
        """
        table, match = plate_table(
            folder,
            plate_map,
            label=label,
            controls=controls,
            control_column=control_column,
            well_pattern=well_pattern,
            sheet=sheet,
        )
        for sentence in match.sentences:
            on_event(Message(sentence))
        table = rows_of_classes(table, classes, str(plate_map))
        made = cls._read(
            table, str(folder), group, channels, max_unreadable, allow_leak, on_event, cancelled
        )
        return replace(made, plate_match=match)

    @classmethod
    def from_images(
        cls,
        images: Sequence[xr.DataArray],
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
        **columns
            Further columns, one value per image (``plate``, ``well``, ``split``, ...).
        """
        named: dict[str, Any] = {"label": [str(label) for label in labels], **columns}
        check_in_memory(images, named)
        paths = [image.attrs.get("source") or f"image {row}" for row, image in enumerate(images)]
        table = pd.DataFrame({"path": paths, **named})
        groups = resolve_groups("images in memory", table, group)
        store, rows = ImageStore(images), tuple(range(len(images)))
        made = cls(table, _classes(table), (), groups, store, rows)
        return made._checked("images in memory", allow_leak=allow_leak)

    @classmethod
    def _read(
        cls,
        table: pd.DataFrame,
        source: str,
        group: str | Sequence[str] | None,
        channels: Sequence[str] | None,
        max_unreadable: float,
        allow_leak: bool,
        on_event: OnEvent,
        cancelled: Cancelled,
    ) -> "Dataset":
        store = ImageStore(image_files(table), channels=channels)
        found = readable_rows(store, table, source, max_unreadable, on_event, cancelled)
        table = table.iloc[list(found.rows)].reset_index(drop=True)
        columns = resolve_groups(source, table, group)
        made = cls(table, _classes(table), (), columns, store, found.rows, found.unreadable)
        return made._checked(source, allow_leak=allow_leak, partial=found.partial)

    def _checked(self, source: str, *, allow_leak: bool, partial: bool = False) -> "Dataset":
        if not partial:
            check_classes(source, self.classes)
        check_groups(source, self.table, self.group_columns)
        if "split" in self.table.columns:
            check_split_column(self.table, self.group_columns, allow_leak=allow_leak)
        facts = [self.store.facts(position) for position in self.positions]
        check_images_agree(source, list(self.table["path"]), facts)
        return replace(self, channels=facts[0].channels if facts else ())


def _classes(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(set(table["label"])))
