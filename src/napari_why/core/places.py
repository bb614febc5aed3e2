"""Where results go, tried before the work: a place that cannot be written to, or that is taken, is told now.

:func:`try_target` writes a small file where the result will be, :func:`reserve` keeps another program
from writing to the same place meanwhile, :func:`rescue` finds another place when saving fails all the
same.
"""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from napari_why.core.errors import WhyError, reason_of

# Bytes that are written to try a place: a disk with less left could not take any result.
PROBE_BYTES = 2**20
# Seconds by which the start of a process may differ between two looks at it: systems round it.
START_TOLERANCE = 2.0
# Hexadecimal digits that tell apart two tries at the same time, and two rescued results.
DIGITS = 8


def try_target(target: str | Path, *, expected_bytes: int = PROBE_BYTES) -> None:
    """Check that something can be written to a place, by writing a small file there for a moment.

    Parameters
    ----------
    target : str or Path
        File or folder to come. Its parents may be missing: the nearest folder that is there is tried.
    expected_bytes : int
        About what the result will take.

    Raises
    ------
    WhyError
        There is no permission, the disk is full or read-only, or a file stands where a folder is
        needed.
    """
    path = Path(target).absolute()
    # A folder that is there is written into or replaced, both of which its parent has a say in.
    places = [_nearest(path.parent), *([path] if path.is_dir() else [])]
    for place in places:
        if not place.is_dir():
            raise WhyError(
                f"{target}: found the file {place} where a folder is needed; choose another place"
            )
        probe = place / f".napari-why.{uuid4().hex[:DIGITS]}.probe"
        try:
            with probe.open("wb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())  # some systems tell of a full disk only then
            free = shutil.disk_usage(place).free
        except OSError as error:
            raise WhyError(
                f"{target}: nothing can be written there ({error.strerror or error}); make room, "
                "change the permissions or choose another place"
            ) from error
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        if free < expected_bytes:
            raise WhyError(
                f"{target}: found {free / 1e6:.0f} MB left on that disk; expected about "
                f"{expected_bytes / 1e6:.0f} MB; make room or choose another place"
            )


def _nearest(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


@contextmanager
def reserve(target: str | Path) -> Iterator[None]:
    """Keep a place for this program inside the block, by a lock file beside it.

    A lock of a program that runs no more is cleared away: a process is known by its number and when it
    started. On another computer that cannot be seen, and the lock counts.

    Raises
    ------
    WhyError
        Another program writes there, or the lock cannot be written.
    """
    path = Path(target).absolute()
    lock = path.parent / f".{path.name}.napari-why.lock"
    try:
        # made now: were it made by the work, a second program would look for the lock elsewhere
        path.parent.mkdir(parents=True, exist_ok=True)
        _take(lock, path)
    except OSError as error:
        raise WhyError(
            f"{target}: nothing can be written there ({error.strerror or error}); choose another place"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)


def _take(lock: Path, target: Path) -> None:
    process = psutil.Process()
    holder = {
        "pid": process.pid,
        "started": process.create_time(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # twice: a stale lock is cleared away, and somebody else may be quicker to take its place
    for _ in range(2):
        try:
            with lock.open("x", encoding="utf-8") as file:
                json.dump(holder, file)
        except FileExistsError:
            _clear_stale(lock, target)
        else:
            return
    raise WhyError(f"{target}: another program began to write there just now; choose another place")


def _clear_stale(lock: Path, target: Path) -> None:
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
        running, host = _is_running(holder), str(holder["host"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, OSError):
        running, host = True, "unknown"  # of what cannot be read the worse is assumed
        holder = {}
    if not running:
        lock.unlink(missing_ok=True)
        return
    raise WhyError(
        f"{target}: another napari-why (process {holder.get('pid', 'unknown')} on {host}, since "
        f"{holder.get('since', 'an unknown time')}) writes there; wait for it or choose another place; "
        f"if it runs no more, delete {lock}"
    )


def _is_running(holder: dict[str, Any]) -> bool:
    if holder["host"] != platform.node():
        return True
    try:
        started = float(psutil.Process(int(holder["pid"])).create_time())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    # numbers of processes are used again
    return abs(started - float(holder["started"])) < START_TOLERANCE


def rescue(target: str | Path, save: Callable[[Path], object], failure: Exception) -> WhyError:
    """Save somewhere else what could not be saved where it was wanted; return the error to raise.

    :func:`save_somewhere` is the usual way to call it.

    Tried in order: beside the target, the current folder, the home folder, the folder for temporary
    files.

    Parameters
    ----------
    target : str or Path
        The place that failed.
    save : callable
        ``save(path)`` saves to a path where nothing is yet.
    failure : Exception
        Why it failed.

    Returns
    -------
    WhyError
        Says why it failed and where it is now, or that no place was found.
    """
    path = Path(target).absolute()
    # the endings stay last, for they say what kind of file it is
    stem, dot, endings = path.name.partition(".")
    name = f"{stem}-rescued-{uuid4().hex[:DIGITS]}{dot}{endings}"
    said = reason_of(failure).removeprefix(f"{target}: ")
    for folder in _other_folders(path):
        place = folder / name
        try:
            save(place)
        except Exception:  # noqa: BLE001, S112 - any other place will do
            continue
        return WhyError(f"{target}: {said}; it is saved as {place} instead: move it from there")
    return WhyError(f"{target}: {said}; no other place could be written to either, and it is lost")


def save_somewhere(target: Path, save: Callable[[Path], object]) -> None:
    """Save by ``save(target)``, and somewhere else where that fails, which is an error all the same.

    Raises
    ------
    WhyError
        Says why it failed and where the result is instead; see :func:`rescue`.
    """
    try:
        save(target)
    except Exception as error:
        raise rescue(target, save, error) from error


def _other_folders(path: Path) -> list[Path]:
    folders = [path.parent]
    for find in (Path.cwd, Path.home, lambda: Path(tempfile.gettempdir())):
        with suppress(OSError, RuntimeError):  # a current folder that was deleted, no home
            folders.append(find())
    return list(dict.fromkeys(folders))
