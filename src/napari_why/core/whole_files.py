"""Folders, files and tables that are there as a whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from napari_why.core.errors import WhyError
from napari_why.core.record import Record

if TYPE_CHECKING:
    import pandas as pd

# CSV for every program; Parquet keeps types and units.
TABLE_ENDINGS = (".csv", ".parquet")


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to write into; it becomes ``target`` when the block ends well.

    The files are flushed to the disk before the folder gets its name. When the block or the
    renaming fails (disk full, no permission) the temporary folder is removed and what was at
    ``target`` before is still there.

    Parameters
    ----------
    target : Path
        Folder to come; missing parents are made.
    replace : bool
        Put it in place of a folder that is there already.

    Raises
    ------
    FileExistsError
        There is something at ``target`` and ``replace`` is False.
    OSError
        Whatever the file system refuses.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not replace:
        raise FileExistsError(f"{target} exists")
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        temporary.mkdir()
        yield temporary
        _flush(temporary)
        _put_in_place(temporary, target)
        _flush_entry(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    former = target.with_name(f".{target.name}.{uuid4().hex[:8]}.former")
    target.rename(former)
    try:
        temporary.rename(target)
    except OSError:
        former.rename(target)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_entry(folder)


def _flush_entry(folder: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(target: Path, content: bytes) -> Path:
    """Write a file; when that fails, nothing half-written is left and an older one stays.

    Raises
    ------
    WhyError
        It cannot be written (the disk is full, the folder is not there).
    """
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise WhyError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was written; make "
            "room or choose another place"
        ) from error
    return target


def write_table(table: "pd.DataFrame", path: str | Path, *, record: Record | None = None) -> Path:
    """Write a table whole or not at all.

    Parameters
    ----------
    table : DataFrame
        Numbers keep all their digits; missing ones are empty cells in CSV.
    path : str or Path
        Ends in .csv (UTF-8) or .parquet; an existing file is replaced. Parquet keeps
        ``table.attrs``, the units.
    record : Record, optional
        How the table was made; written beside it as JSON.

    Returns
    -------
    Path

    Raises
    ------
    WhyError
        Another ending, no such folder, a full disk, or a column that Parquet cannot hold.
    """
    target = Path(path)
    if target.suffix.lower() not in TABLE_ENDINGS:
        raise WhyError(
            f"{target}: found the ending {target.suffix or 'none'!r}; expected "
            f"{' or '.join(TABLE_ENDINGS)}"
        )
    try:
        if target.suffix.lower() == ".csv":
            content = table.to_csv(index=False).encode("utf-8")
        else:
            content = table.to_parquet(index=False)
    except (ValueError, TypeError) as error:  # pyarrow's own are ValueErrors
        raise WhyError(
            f"{target}: found a column of mixed types ({error}); expected one type a column; "
            "write .csv"
        ) from error
    write_whole(target, content)
    if record is not None:
        write_whole(target.with_suffix(".json"), (record.to_json() + "\n").encode("utf-8"))
    return target
