"""Where results may be written: never on a source, and over nothing but what was written here before.

A user who asks for overwriting means an older result. Images that were measured, tables and notes
cannot be made again, so that they are refused in words however they are named: by another path, a
link or a hard link, or in a folder that would be replaced as a whole.

Before the work :func:`try_target` writes a small file where the result will be; :func:`reserve` keeps
another program from writing to the same place meanwhile; :func:`save_somewhere` finds another place
when saving fails all the same.
"""

import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from napari_why.core.errors import WhyError, reason_of
from napari_why.core.folders import find_shown
from napari_why.core.record import Record

# Written into every file as its program (PNG, SVG, HTML, GIF, MP4, OME-TIFF, OME-Zarr).
MARK = "napari-why"
# Descriptions stand at the beginning of a file or at its end: this much of both is looked at.
LOOKED_AT = 2**20
# A record with the alphas of a long series has some 100 kB.
LARGEST_RECORD = 2**26
# How each format says which program wrote it. Of a TIFF also the record of a result, which older
# versions wrote without naming themselves.
MARKS: Mapping[str, tuple[bytes, ...]] = {
    ".tif": (b'Creator="napari-why"', b'Namespace="napari-why/record"'),
    ".png": (b"Software\0napari-why",),
    ".svg": (b"<dc:title>napari-why</dc:title>",),
    ".html": (b'<meta name="generator" content="napari-why">',),
    # a comment of ten letters, and nothing else in it
    ".gif": (b"!\xfe\x0anapari-why\0",),
    # the text of a tag, after type and locale; one of another length in bytes is another text
    ".mp4": (b"\0\0\0\x1adata\0\0\0\1\0\0\0\0napari-why",),
    # the second field of a model, its producer: ten letters
    ".onnx": (b"\x12\x0anapari-why",),
    # the comment of an archive, with its length
    ".zip": (b"\x0a\x00napari-why",),
}
SAME = {".tiff": ".tif"}
# Key in the schema of a latent space's Parquet file.
PARQUET_KEY = b"napari_why"
# Known by the record beside them: they have no place for a mark.
TABLES = (".csv", ".parquet")
# An image of the same name is what a record beside it is about, and not the table.
IMAGES = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".ome.zarr")
# Of a measurement, a latent space, a demo and a benchmark: each stands for the files of its folder ...
RECORDS = ("record.json", "report.json", "evaluation.json", "benchmark.json")
# ... of these names alone, which had no mark in older versions; a user's notes may lie among them.
OF_FOLDERS = re.compile(
    r"(images|regions|statistics|results|summary|similarity|attribution(-summary)?)\.(csv|parquet)"
    r"|(fields|wells|controls|positions|hits|doses)\.(csv|parquet)"
    r"|(summary|attribution)\.(txt|md)"
    r"|counterfactual\.gif|(figures|mask_curves)\.png|\d{5}_.+\.png"
)
FIGURE_FOLDER = "figures"  # within a measurement
# What a folder is an image by (OME-Zarr 0.5, and 0.4).
IMAGE_FOLDERS = ("zarr.json", ".zattrs", ".zgroup")

# Bytes that are written to try a place: a disk with less left could not take any result.
PROBE_BYTES = 2**20
# Seconds by which the start of a process may differ between two looks at it: systems round it.
START_TOLERANCE = 2.0
# Hexadecimal digits that tell apart two tries at the same time, and two rescued results.
DIGITS = 8

IsOwn = Callable[[Path], bool]


def check_target(
    target: Path,
    sources: Iterable[str | os.PathLike[str]] = (),
    *,
    overwrite: bool,
    own: IsOwn | None = None,
) -> None:
    """Check that a file or folder may be written there.

    Parameters
    ----------
    target : Path
        It may be a link; what it leads to is what is written.
    sources : iterable of paths
        What the result is made from. Names that are no files (of simulated scenes) do no harm.
    overwrite : bool
        Whether something of our own may be replaced.
    own : callable, optional
        Tells whether what is there was written here; :func:`is_own` by default.

    Raises
    ------
    WhyError
        It is a source, a folder that holds one, something that is not to be overwritten, something
        that was not written by napari-why, or a link to nothing.
    """
    refuse_sources(target, sources)
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise WhyError(f"{target}: the file exists; choose another name, or ask for overwriting")
    if not target.exists():
        raise WhyError(f"{target}: found a link to nothing; remove it or choose another name")
    if not (own or is_own)(target):
        raise WhyError(
            f"{target}: found something that napari-why did not write; it is not overwritten; "
            "choose another name"
        )


def refuse_sources(target: Path, sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse a target that is a source, holds one, or lies inside an image that is a folder.

    Files are compared by what they are and not by name: another spelling, a link or a hard link all
    lead to the same one, and so does another case on a disk that does not tell them apart.

    Parameters
    ----------
    target : Path
        Need not be there.
    sources : iterable of path
        Empty text is none.

    Raises
    ------
    WhyError
        Names the source.
    """
    there = target.resolve()
    for source in sources:
        given = find_shown(source)
        if str(source) and _exists(given) and _holds(there, given.resolve()):
            raise WhyError(
                f"{target}: found the source {given} there; a source is never overwritten; choose "
                "another name"
            )
    for folder in there.parents:
        if any((folder / name).is_file() for name in IMAGE_FOLDERS):
            raise WhyError(
                f"{target}: lies inside the image {folder}, which may be a source and would be "
                "damaged; choose another place"
            )


def sources_of(record: Record | None) -> list[str]:
    """Return the files that a record says its result was made from."""
    if record is None:
        return []
    details = record.details
    read_as = [details.get("read_as"), (details.get("goal_read") or {}).get("read_as")]
    paths = [(item or {}).get("path", ()) for item in read_as]
    several = [[item] if isinstance(item, str) else [*map(str, item)] for item in paths]
    named = [record.source, str(details.get("goal") or "")]
    return [path for path in (*named, *(path for item in several for path in item)) if path]


def check_own_folder(folder: Path, *records: str) -> None:
    """Refuse a folder that is not empty and holds none of these records of ours.

    Parameters
    ----------
    folder : Path
        It need not exist.
    *records : str
        Names of JSON files within it.

    Raises
    ------
    WhyError
        It holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise WhyError(f"{folder}: found a file; expected the name of a folder to make")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not any(is_own_json(folder / name) for name in records):
        raise WhyError(
            f"{folder}: found a folder with something else; it is not overwritten; choose another"
        )


def is_own(path: Path) -> bool:
    """Tell whether a file or folder was written by napari-why, by what it says of itself."""
    suffix = path.suffix.lower()
    suffix = SAME.get(suffix, suffix)
    try:
        if path.is_dir():
            return not any(path.iterdir()) or (suffix == ".zarr" and _is_own_zarr(path))
        if path.stat().st_size == 0:
            return True  # nothing is lost
        if suffix == ".json":
            return _is_record(_read_json(path))
        if suffix in TABLES and _has_record(path):
            return True
        if suffix == ".parquet" and _names_facts(path):
            return True
        content = _read_ends(path)
        return any(mark in content for mark in MARKS.get(suffix, ())) or _is_of_folder(path)
    except OSError:
        return False


def _is_own_zarr(path: Path) -> bool:
    try:
        attributes = _read_json(path / "zarr.json")["attributes"]
        # earlier versions left their name with a record alone
        return MARK in attributes or attributes["ome"]["_creator"]["name"] == MARK
    except (LookupError, TypeError):
        return False


def is_own_json(path: Path) -> bool:
    """Tell whether a JSON file is a record, or a description that names its format."""
    plain = _read_json(path)
    return _is_record(plain) or str(plain.get("format", "")).startswith(f"{MARK} ")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > LARGEST_RECORD:
            return {}
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _is_record(plain: Mapping[str, Any]) -> bool:
    # also one within a report; a saved classifier, which names versions elsewhere, is none
    for record in (plain, plain.get("record")):
        versions = record.get("versions") if isinstance(record, dict) else None
        if isinstance(versions, dict) and MARK in versions and "kind" in (record or {}):
            return True
    return False


def _has_record(path: Path) -> bool:
    of_an_image = any(path.with_suffix(suffix).exists() for suffix in IMAGES)
    return not of_an_image and _is_record(_read_json(path.with_suffix(".json")))


def _names_facts(path: Path) -> bool:
    import pyarrow.parquet as pq  # when it is needed: it takes a tenth of a second

    try:
        return PARQUET_KEY in (pq.read_schema(path).metadata or {})
    except ValueError:  # pyarrow's own are ValueErrors
        return False


def _is_of_folder(path: Path) -> bool:
    folder = path.parent.parent if path.parent.name == FIGURE_FOLDER else path.parent
    return OF_FOLDERS.fullmatch(path.name) is not None and any(
        is_own_json(folder / name) for name in RECORDS
    )


def _read_ends(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
        file.seek(max(LOOKED_AT, path.stat().st_size - LOOKED_AT))
        return head + file.read(LOOKED_AT)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a sentence that is no path
        return False


def _holds(target: Path, source: Path) -> bool:
    try:
        return target.exists() and any(target.samefile(path) for path in (source, *source.parents))
    except OSError:
        return False


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
    import psutil  # takes longer than all else that is imported here, and help locks nothing

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
    import psutil

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

    Parameters
    ----------
    target : Path
        Where the result is wanted.
    save : callable
        ``(place) -> object``; writes there.

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
