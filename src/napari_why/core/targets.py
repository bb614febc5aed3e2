"""Where results may be written: never on a source, and over nothing but what was written here before.

A user who asks for overwriting means an older result. Images that were measured, tables and notes
cannot be made again, so that they are refused in words however they are named: by another path, a
link or a hard link, or in a folder that would be replaced as a whole.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_why.core.errors import WhyError
from napari_why.core.record import Record

# Written into every file as its program (PNG, SVG, GIF, MP4, OME-TIFF, OME-Zarr).
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
    ".gif": (b"napari-why",),
    ".mp4": (b"napari-why",),
    ".parquet": (b"napari-why",),
}
SAME = {".tiff": ".tif"}
# Known by the record that stands beside them, too: some have no place for a mark, and older versions
# wrote none. Not so images: one may lie beside the record of a result made from it.
WITH_RECORD = (".csv", ".parquet", ".txt", ".md", ".png", ".svg", ".gif", ".mp4")
# Of a measurement, a latent space, a demo and a benchmark: each stands for the files of its folder.
RECORDS = ("record.json", "report.json", "evaluation.json", "benchmark.json")
# What a folder is an image by (OME-Zarr 0.5, and 0.4).
IMAGE_FOLDERS = ("zarr.json", ".zattrs")

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

    Raises
    ------
    WhyError
        Names the source.
    """
    there = target.resolve()
    for source in sources:
        given = Path(source)
        if not str(source) or not _exists(given):
            continue
        found = given.resolve()
        if _is_same(target, given) or found.is_relative_to(there):
            raise WhyError(
                f"{target}: found the source {given} there; a source is never overwritten; choose "
                "another name"
            )
        # an image in a folder: what is written into it would damage it
        if there.is_relative_to(found) and any((found / name).exists() for name in IMAGE_FOLDERS):
            raise WhyError(f"{target}: lies inside the source {given}; choose another place")


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
            entry = path / "zarr.json"
            return not any(path.iterdir()) or (
                suffix == ".zarr" and MARK.encode() in _read_ends(entry)
            )
        if path.stat().st_size == 0:
            return True  # nothing is lost
        if suffix == ".json":
            return is_own_json(path)
        content = _read_ends(path)
        if any(mark in content for mark in MARKS.get(suffix, ())):
            return True
        beside = (path.with_suffix(".json"), *(path.with_name(name) for name in RECORDS))
        return suffix in WITH_RECORD and any(map(is_own_json, beside))
    except OSError:
        return False


def is_own_json(path: Path) -> bool:
    """Tell whether a JSON file is a record, or a description that names its format."""
    try:
        if path.stat().st_size > LARGEST_RECORD:
            return False
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(plain, dict):
        return False
    records = (plain, plain.get("record"))
    return str(plain.get("format", "")).startswith(MARK) or any(
        isinstance(record, dict) and MARK in (record.get("versions") or {}) for record in records
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


def _is_same(target: Path, source: Path) -> bool:
    # by the file itself: another path, a link and a hard link all lead to it
    try:
        return target.exists() and target.samefile(source)
    except OSError:
        return False
