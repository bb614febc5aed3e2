"""Files and folders that are written as a whole or not at all.

Everything is made under a hidden name beside its target and renamed when it is complete:
:func:`atomic_path` for any file or folder, :func:`atomic_folder` for what must survive a power cut
too, :func:`replace_own_files` for the files of a folder that may hold others, :func:`write_whole` for
content that is in memory, :func:`write_table` for a table with its record. What a killed program left
under such a name is removed, or put in its place, by the next that writes there.
"""

import csv
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_why.core.errors import WhyError
from napari_why.core.record import Record
from napari_why.core.targets import IsOwn, check_target, is_own, sources_of

if TYPE_CHECKING:
    import pandas as pd

# CSV for every program; Parquet keeps types and units.
TABLE_ENDINGS = (".csv", ".parquet")

# What a spreadsheet may take for the beginning of a formula (OWASP, "CSV injection"); the wide ones
# where the program is Japanese. An apostrophe in front makes text of it.
FORMULA_MARKS = "=+\\-@\t\r\n＝＋－＠"
_RUNS = re.compile(f"'*[{FORMULA_MARKS}]")
_PROTECTED = re.compile(f"'+[{FORMULA_MARKS}]")
# Text that is a number alone does no harm, and is one to whoever reads the table.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

# Hexadecimal digits that tell apart two writers of one name: they clash once in 4 billion times.
DIGITS = 8
# A hidden name says who writes: four digits of the computer's name, the process, and the digits above;
# version 0.1.0 had the latter alone.
HIDDEN = re.compile(
    r"\.(?P<stem>.+?)\.((?P<host>[0-9a-f]{4})-(?P<process>[0-9a-f]+)-)?[0-9a-f]{8}"
    r"\.(?P<what>part|former)(?P<suffix>\.[^.]*)?"
)
# Of another computer on a shared disk nobody here knows whether its program still runs: after a day
# without a change it does not, since the longest writing takes minutes.
STALE_SECONDS = 86_400
# Holds the new files of a folder from the moment they are complete until each is in its place.
REPLACING = ".replacing"


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a name for a new file or folder; what is made there becomes ``target`` at the end.

    When the block or the renaming fails (disk full, no permission), what was made is removed and
    what was at ``target`` before is still there. Several are put in place from the last entered to
    the first.

    Parameters
    ----------
    target : Path
        File or folder to come; what is there already is replaced. Of a link, what it leads to.

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
    # a link stays a link: its user wants the file to lie where it leads
    target = target.resolve() if target.is_symlink() else target
    _clear(target.parent)
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

    Yields
    ------
    Path
        The temporary folder, empty.

    Raises
    ------
    FileExistsError
        There is something at ``target`` and ``replace`` is False.
    OSError
        Whatever the file system refuses.
    """
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target) and not replace:
        raise FileExistsError(f"{target} exists")
    with atomic_path(target) as part:
        part.mkdir()
        yield part
        # Renaming may reach the disk before the content does; after a power cut the name would
        # then pass for a whole classifier, which took hours. A figure is drawn again.
        _flush(part)
    _flush_entry(target.parent)


def write_whole(
    target: Path, content: bytes, *, sources: Iterable[str] = (), own: IsOwn | None = None
) -> Path:
    """Write a file; when that fails, nothing half-written is left and an older one stays.

    Parameters
    ----------
    target : Path
        What is there is replaced where it was written by napari-why.
    content : bytes
        All of it.
    sources, own
        See :func:`~napari_why.core.targets.check_target`.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    WhyError
        It cannot be written (the disk is full, the folder is not there), or what is there must not
        be replaced.
    """
    check_target(target, sources, overwrite=True, own=own)
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
        Ends in .csv (UTF-8) or .parquet; an existing table is replaced where it has the same columns
        or a record beside it. Parquet keeps ``table.attrs``, the units.
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
            content = csv_text(table).encode("utf-8")
        else:
            content = table.to_parquet(index=False)
    except (ValueError, TypeError) as error:  # pyarrow's own are ValueErrors
        raise WhyError(
            f"{target}: found a column of mixed types ({error}); expected one type a column; "
            "write .csv"
        ) from error
    sources = sources_of(record)

    def own(path: Path) -> bool:
        names = [str(name) for name in table.columns]
        # as version 0.1.0 wrote them, too
        return is_own(path) or _columns_of(path) in (names, [*map(harmless_cell, names)])

    write_whole(target, content, sources=sources, own=own)
    if record is not None:
        beside = target.with_suffix(".json")
        write_whole(beside, (record.to_json() + "\n").encode("utf-8"), sources=sources)
    return target


def harmless_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet runs: text that could be a formula has an apostrophe in front.

    Numbers stay, negative ones too. :func:`plain_cell` gives the text back.

    Parameters
    ----------
    value : str, or anything else, which is returned as it is

    Examples
    --------
    >>> [harmless_cell(value) for value in ("=1+1", "-x", "-1.5", -1.5, "DMSO", "'=x")]
    ["'=1+1", "'-x", '-1.5', -1.5, 'DMSO', "''=x"]
    """
    if isinstance(value, str) and _RUNS.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def plain_cell(text: str) -> str:
    """Return the text that :func:`harmless_cell` was given.

    Examples
    --------
    >>> plain_cell("'=1+1"), plain_cell("'quoted'")
    ('=1+1', "'quoted'")
    """
    return text[1:] if _PROTECTED.match(text) else text


def csv_text(
    table: "pd.DataFrame", *, separator: str = ",", float_format: str | None = None
) -> str:
    """Return a table as CSV that cannot carry a formula into a spreadsheet, without row numbers.

    Parameters
    ----------
    table : DataFrame
        Texts that could be formulas are written so that they are none.
    separator : str
        One letter, between cells.
    float_format : str, optional
        As in ``DataFrame.to_csv``.

    Returns
    -------
    str
    """
    safe = table.copy()
    for place, dtype in enumerate(table.dtypes):
        # Numbers, truth values and times hold no text.
        if dtype.kind == "O":
            safe.isetitem(place, [harmless_cell(value) for value in table.iloc[:, place]])
    header = [harmless_cell(str(name)) for name in table.columns]
    written: str = safe.to_csv(index=False, sep=separator, float_format=float_format, header=header)
    if "\r" in written:
        # The csv module puts only letters of the line's end into quotes: a lone CR would end the row,
        # and what follows it could be a formula.
        written = safe.to_csv(
            index=False,
            sep=separator,
            float_format=float_format,
            header=header,
            lineterminator="\r\n",
        )
    return written


def _columns_of(path: Path) -> list[str] | None:
    """Return the names of a table's columns; None of what is no table."""
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                return next(csv.reader(file), None)
        import pyarrow.parquet as pq

        return list(pq.read_schema(path).names)
    except (OSError, ValueError, csv.Error):  # pyarrow's own are ValueErrors
        return None


def _hidden_name(target: Path, what: str) -> Path:
    # In the target's folder, because only within one file system is renaming atomic; with its
    # ending, because some writers choose the format by it.
    writer = f"{_computer()}-{os.getpid():x}-{uuid4().hex[:DIGITS]}"
    return target.with_name(f".{target.stem}.{writer}.{what}{target.suffix}")


def _computer() -> str:
    # containers of one name count their processes each from 1
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return sha256(f"{platform.node()} {space}".encode()).hexdigest()[:4]


def _clear(folder: Path) -> None:
    """Remove what killed programs left half-written; what they had set aside returns to its place."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.path for entry in entries if entry.name.startswith(".")]
    except OSError:  # no such folder, or not to be listed: writing there says so
        return
    for path in map(Path, found):
        name = HIDDEN.fullmatch(path.name)
        if name is None or not _is_stale(path, name):
            continue
        target = path.with_name(f"{name['stem']}{name['suffix'] or ''}")
        if name["what"] == "part" or os.path.lexists(target):
            _remove(path)
        else:
            with suppress(OSError):
                path.rename(target)


def _is_stale(path: Path, name: re.Match[str]) -> bool:
    if name["host"] != _computer():
        try:
            return time.time() - path.lstat().st_mtime > STALE_SECONDS
        except OSError:
            return False
    import psutil  # when it is needed: most folders hold nothing of the kind

    return not psutil.pid_exists(int(name["process"], 16))


def find_former(target: Path) -> Path | None:
    """Return the folder that a killed program had set aside for ``target``; None without one."""
    stem, suffix = target.stem, target.suffix
    names = ((path, HIDDEN.fullmatch(path.name)) for path in target.parent.glob(".*"))
    found = [
        path
        for path, name in names
        if name and (name["what"], name["stem"], name["suffix"] or "") == ("former", stem, suffix)
    ]
    there = [path for path in found if path.is_dir() and not path.is_symlink()]
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def replace_own_files(folder: Path, contents: Mapping[str, bytes], *, replace: bool) -> None:
    """Write files as the whole content of a new folder, or into one that is there, all or none.

    In a folder that is there all other files stay. The new ones are complete in a hidden folder
    within before the first takes its place, and :func:`saved_file` finds them there, so that at every
    moment either all old or all new files are to be read, also when the program is killed.

    Parameters
    ----------
    folder : Path
        Missing parents are made.
    contents : mapping of str to bytes
        By file name.
    replace : bool
        Whether the folder may be there already.

    Raises
    ------
    FileExistsError
        It is there and ``replace`` is False.
    OSError
        Whatever the file system refuses; nothing was replaced then.
    """
    with own_folder(folder, replace=replace) as part:
        for name, content in contents.items():
            (part / name).write_bytes(content)


@contextmanager
def own_folder(folder: Path, *, replace: bool) -> Iterator[Path]:
    """Give a temporary folder for the files of :func:`replace_own_files`, to write into.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    replace : bool
        Whether it may be there already.

    Yields
    ------
    Path
        The temporary folder, empty.

    Raises
    ------
    FileExistsError
        It is there and ``replace`` is False.
    """
    folder = folder.absolute()
    if not folder.exists():
        with atomic_folder(folder) as part:
            yield part
        return
    if not replace:
        raise FileExistsError(f"{folder} exists")
    _finish_replacing(folder)
    _clear(folder)
    part = _hidden_name(folder / "files", "part")
    try:
        part.mkdir()
        yield part
        _flush(part)
        part.rename(folder / REPLACING)
    finally:
        _remove(part)
    _flush_entry(folder)
    _finish_replacing(folder)


def saved_file(folder: Path, name: str) -> Path:
    """Return where a file of :func:`replace_own_files` is to be read.

    Parameters
    ----------
    folder : Path
    name : str
        Of the file.

    Returns
    -------
    Path
        In the folder, or where files wait that could not be moved yet; it need not exist.
    """
    waiting = folder / REPLACING
    inside = waiting.is_dir() and not waiting.is_symlink() and os.path.lexists(waiting / name)
    return waiting / name if inside else folder / name


def _finish_replacing(folder: Path) -> None:
    waiting = folder / REPLACING
    if not waiting.is_dir() or waiting.is_symlink():
        return
    # what cannot be moved (a file held open elsewhere) is read where it waits
    with suppress(OSError):
        for path in list(waiting.iterdir()):
            path.replace(folder / path.name)
        waiting.rmdir()


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
