"""Read every file of a table once, and list the ones that cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from napari_why.datasets.image_store import ImageStore
from napari_why.errors import DatasetError, ImageReadError
from napari_why.events import Advanced, Cancelled, Finished, Message, OnEvent, Started


@dataclass(frozen=True)
class Unreadable:
    """A file that was left out of a data set, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ReadableRows:
    """Rows of a table whose files could be read; ``partial`` when reading was cancelled."""

    rows: tuple[int, ...]
    unreadable: tuple[Unreadable, ...]
    partial: bool


def readable_rows(
    store: ImageStore,
    table: pd.DataFrame,
    source: str,
    max_unreadable: float,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> ReadableRows:
    """Read the image of every row once.

    Raises
    ------
    DatasetError
        More than the share ``max_unreadable`` of the files cannot be read.
    """
    on_event(Started("opening images", len(table)))
    rows, unreadable = [], []
    for row, path in enumerate(table["path"]):
        if cancelled():
            break
        try:
            store.image(row)
            rows.append(row)
        except (ImageReadError, OSError) as error:
            unreadable.append(Unreadable(path, str(error)))
        on_event(Advanced(row + 1))
    partial = len(rows) + len(unreadable) < len(table)
    if not partial and len(unreadable) > max_unreadable * len(table):
        raise DatasetError(_too_many(source, len(table), unreadable, max_unreadable))
    if unreadable:
        on_event(Message(f"{len(unreadable)} of {len(table)} files were left out as unreadable"))
    on_event(Finished(partial))
    return ReadableRows(tuple(rows), tuple(unreadable), partial)


def rows_of_classes(
    table: pd.DataFrame, classes: Sequence[str] | None, source: str
) -> pd.DataFrame:
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
    return table[table["label"].isin(list(classes))].reset_index(drop=True)


def _too_many(source: str, count: int, unreadable: list[Unreadable], share: float) -> str:
    first = "; ".join(item.reason for item in unreadable[:3])
    return (
        f"{source}: found {len(unreadable)} of {count} files unreadable ({first}"
        f"{'; ...' if len(unreadable) > 3 else ''}); expected at most {share:.0%}; repair or "
        "remove them, or allow more with max_unreadable"
    )
