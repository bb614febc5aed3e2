"""Files and folders that are written as a whole or not at all.

Everything is made under a hidden name beside its target and renamed when it is complete:
:func:`atomic_path` for any file or folder, :func:`atomic_folder` for what must survive a power cut
too, :func:`write_whole` for content that is in memory, :func:`write_table` for a table with its record.
"""

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

# Hexadecimal digits that tell apart two writers of one name: they clash once in 4 billion times.
DIGITS = 8


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a name for a new file or folder; what is made there becomes ``target`` at the end.

    When the block or the renaming fails (disk full, no permission), what was made is removed and
    what was at ``target`` before is still there. Several are put in place from the last entered to
    the first.

    Parameters
    ----------
    target : Path
        File or folder to come; what is there already is replaced.

    Yields
    ------
    Path
        A hidden name in the same folder, with the ending of ``target``; nothing is there yet.

    Raises
    ------
    OSError
        Whatever the file system refuses.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder, "a.txt")) as part:
    ...         _ = part.write_text("whole")
    ...     [path.name for path in Path(folder).iterdir()]
    ['a.txt']
    """
    part = _hidden_name(target, "part")
    try:
        yield part
        _put_in_place(part, target)
    finally:
        _remove(part)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to write into; it becomes ``target`` when the block ends well.

    As :func:`atomic_path`, but the folder is there already, and its files are flushed to the disk
    before it gets its name.

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
    with atomic_path(target) as part:
        part.mkdir()
        yield part
        # Renaming may reach the disk before the content does; after a power cut the name would
        # then pass for a whole classifier, which took hours. A figure is drawn again.
        _flush(part)
    _flush_entry(target.parent)


def write_whole(target: Path, content: bytes) -> Path:
    """Write a file; when that fails, nothing half-written is left and an older one stays.

    Raises
    ------
    WhyError
        It cannot be written (the disk is full, the folder is not there).
    """
    try:
        with atomic_path(target) as part:
            part.write_bytes(content)
    except OSError as error:
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


def _hidden_name(target: Path, what: str) -> Path:
    # In the target's folder, because only within one file system is renaming atomic; with its
    # ending, because some writers choose the format by it.
    return target.with_name(f".{target.stem}.{uuid4().hex[:DIGITS]}.{what}{target.suffix}")


def _put_in_place(part: Path, target: Path) -> None:
    if not target.is_dir():
        if part.is_dir() and target.exists():
            target.unlink()  # a folder does not replace a file
        part.replace(target)
        return
    # No system replaces a folder that is not empty: it is moved aside, and back if need be.
    former = _hidden_name(target, "former")
    target.rename(former)
    try:
        part.rename(target)
    except OSError:
        former.rename(target)
        raise
    _remove(former)


def _remove(path: Path) -> None:
    """Remove a file or folder that may be there; leaving it is no reason to fail."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


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
