"""A folder of a microscope: which file is which plane of which channel, field and well.

Only names are looked at, no file is opened: a plate of thousands of files takes a second or two.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from napari_why.core.errors import ImageReadError
from napari_why.core.folders import FolderWalk, is_folder, is_link, show
from napari_why.images.file_names import (
    ParsedName,
    conventions_of,
    parse_names,
)
from napari_why.images.formats import file_suffixes

# Folders that MetaXpress makes for time points and z planes; they are no part of a field's place.
_FOLDERS = {
    "t": re.compile(r"time_?point_?(\d+)", re.IGNORECASE),
    "z": re.compile(r"z_?step_?(\d+)", re.IGNORECASE),
}
# How much of a folder is looked at before it is said to hold nothing: entries of each folder, names
# of images, and folders. napari waits for the answer whenever a folder is dropped, maybe of a
# server; a plate has its first image among these, or it has none.
MOST_LOOKED_AT, MOST_NAMES, MOST_FOLDERS = 500, 50, 8
# Time point, z plane and channel.
Plane = tuple[int, int, str]


@dataclass(frozen=True)
class FieldFiles:
    """The files of one field.

    Parameters
    ----------
    plate, well, field : str
        As the names tell; empty where they do not. Wells are spelled "B03".
    files : mapping of (int, int, str) to Path
        By time point, z plane (numbers of the microscope) and channel name.
    channels : tuple of str
        Names in the order of the microscope.
    missing : tuple of str
        Channels that other fields of the folder have, by name.
    """

    plate: str
    well: str
    field: str
    files: Mapping[Plane, Path]
    channels: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return plate, well and field in words."""
        parts = (self.plate, self.well, self.field and f"field {self.field}")
        return " ".join(filter(None, parts)) or next(iter(self.files.values())).stem

    @property
    def missing_planes(self) -> tuple[str, ...]:
        """Return the planes that are missing though other planes or channels have them."""
        times = sorted({plane[0] for plane in self.files})
        depths = sorted({plane[1] for plane in self.files})
        wanted = [(t, z, name) for t in times for z in depths for name in self.channels]
        lost = [plane for plane in wanted if plane not in self.files]
        return tuple(f"{name} at t={t}, z={z}" for t, z, name in lost)

    @property
    def axes_of_a_file(self) -> str:
        """Return the axes that a file may have: one plane, where files are laid in stacks."""
        stacked = len({plane[:2] for plane in self.files}) > 1
        return "yx" if stacked else "tzyx"


@dataclass(frozen=True)
class PlateFolder:
    """What a folder holds.

    ``thumbnails`` and ``projections`` count the files that were skipped, ``repeated`` those that
    claim the place of another, ``others`` the image files whose names follow no convention;
    ``closed`` are folders that could not be opened, ``walk_notes`` sentences on links and litter.
    """

    folder: Path
    convention: str
    fields: tuple[FieldFiles, ...]
    thumbnails: int
    projections: int
    repeated: tuple[Path, ...]
    others: tuple[Path, ...]
    closed: tuple[Path, ...] = ()
    walk_notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the user should know, in sentences."""
        notes = [
            f"{count} {what} were left out."
            for count, what in (
                (self.thumbnails, "thumbnails"),
                (self.projections, "projections of z planes"),
                (len(self.others), "image files whose names follow no convention"),
            )
            if count
        ]
        notes += [f"{show(path.name)} is there twice; it was left out." for path in self.repeated]
        notes += [f"{show(path)} could not be opened; it was left out." for path in self.closed]
        notes += self.walk_notes
        for field in self.fields:
            if field.missing:
                notes.append(f"{field.name}: no file of channel {', '.join(field.missing)}.")
        return tuple(notes)


def holds_channel_files(folder: Path) -> bool:
    """Whether a folder, or one of its first sub-folders, has files that follow a convention.

    Looks at a few hundred names at most, so that it is quick in any folder.
    """
    walk = FolderWalk(folder, file_suffixes())
    files = islice((path for path, *_ in _image_files(walk, [], MOST_LOOKED_AT)), MOST_NAMES)
    return bool(parse_names(files))


def scan_plate(
    folder: str | os.PathLike[str], *, pattern: str | None = None, projections: bool = False
) -> PlateFolder:
    r"""Sort the files of a folder and its sub-folders by well, field, channel and plane.

    Parameters
    ----------
    folder : path
        A plate, or any folder of files that hold one channel each.
    pattern : str, optional
        A regular expression with named groups instead of the known conventions; see
        :func:`napari_why.images.file_names.own_convention`.
    projections : bool
        Take the projections of z stacks instead of their planes.

    Returns
    -------
    PlateFolder
        Fields in the order of wells; and what was left out, by its reason.

    Raises
    ------
    ImageReadError
        There is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageReadError(root, "no such folder", "a folder of images", "check the spelling")
    kinds: Counter[str] = Counter()
    used: Counter[str] = Counter()
    others: list[Path] = []
    repeated: list[Path] = []
    found: dict[object, dict[tuple[int, int | None, str], tuple[ParsedName, Path]]] = {}
    walk, closed = FolderWalk(root, file_suffixes()), list[Path]()
    files_there = list(_image_files(walk, closed))
    understood = parse_names((path for path, *_ in files_there), conventions_of(pattern))
    for path, time, depth, place in files_there:
        parsed = understood.get(path)
        if parsed is None:
            others.append(path)
            continue
        if parsed.kind == "thumbnail" or (parsed.kind == "projection" and not projections):
            kinds[parsed.kind] += 1
            continue
        used[parsed.convention] += 1
        # z and t are planes of one field, not different images as for a single file.
        own = tuple(pair for pair in parsed.image if pair[0] not in ("t", "z"))
        z = parsed.number("z") if depth is None else (depth or None)
        key = (parsed.number("t") or time, z, parsed.channel)
        files = found.setdefault((place, parsed.convention, own), {})
        if key in files:
            repeated.append(path)
        else:
            files[key] = (parsed, path)
    fields = []
    for files in found.values():
        kept = _planes(files, projections=projections)
        kinds["projection"] += len(files) - len(kept) if not projections else 0
        fields.append(_field(kept))
    return PlateFolder(
        folder=root,
        convention=", ".join(name for name, _ in used.most_common()),
        fields=_with_missing(sorted(fields, key=_place_order)),
        thumbnails=kinds["thumbnail"],
        projections=kinds["projection"],
        repeated=tuple(repeated),
        others=tuple(others),
        closed=tuple(closed),
        walk_notes=tuple(walk.notes),
    )


def _image_files(
    walk: FolderWalk, closed: list[Path], most: int | None = None
) -> Iterator[tuple[Path, int, int | None, str]]:
    """Yield image files with time point and z step of their folders, and the place without them.

    Folders that cannot be opened are added to ``closed``.
    """
    stack: list[tuple[Path, int, int | None, str]] = [(walk.root, 0, None, "")]
    visited, links = 0, list[tuple[Path, int, int | None, str]]()
    while stack and (most is None or visited < MOST_FOLDERS):
        visited += 1
        folder, time, depth, place = stack.pop()
        try:
            entries = walk.enter(folder, most)
        except OSError:
            closed.append(folder)
            continue
        for entry in entries:
            path, link = Path(entry.path), is_link(entry)
            if is_folder(entry):
                t, z = (form.fullmatch(entry.name) for form in _FOLDERS.values())
                below = place if t or z else f"{place}/{entry.name}"
                now, deep = int(t[1]) if t else time, int(z[1]) if z else depth
                # Links last: what lies here under a name of its own is found under that one.
                stack.insert(0 if link else len(stack), (path, now, deep, below))
            elif entry.name.lower().endswith(walk.endings):
                if link:
                    links.append((path, time, depth, place))
                else:
                    yield path, time, depth, place
    yield from (found for found in links if walk.take_link(found[0]))


def _planes(
    files: Mapping[tuple[int, int | None, str], tuple[ParsedName, Path]], *, projections: bool
) -> dict[Plane, tuple[ParsedName, Path]]:
    """Keep z planes, or projections where these are wanted or are all there is.

    ImageXpress puts projections above the folders of the z steps, MetaXpress into ZStep_0.
    """
    stacked = any(z is not None for _, z, _ in files) and any(z is None for _, z, _ in files)
    return {
        (t, z or 0, channel): item
        for (t, z, channel), item in files.items()
        if not stacked or (z is None) == projections
    }


def _field(files: Mapping[Plane, tuple[ParsedName, Path]]) -> FieldFiles:
    first = next(iter(files.values()))[0]
    orders = {parsed.channel: parsed.order for parsed, _ in files.values()}
    return FieldFiles(
        plate=first.groups.get("plate", ""),
        well=first.well,
        field=first.groups.get("field", ""),
        files={plane: path for plane, (_, path) in sorted(files.items())},
        channels=tuple(sorted(orders, key=lambda name: orders[name])),
    )


def _with_missing(fields: list[FieldFiles]) -> tuple[FieldFiles, ...]:
    known: dict[str, dict[str, None]] = {}
    for field in fields:
        known.setdefault(field.plate, {}).update(dict.fromkeys(field.channels))
    return tuple(
        FieldFiles(
            field.plate,
            field.well,
            field.field,
            field.files,
            field.channels,
            tuple(name for name in known[field.plate] if name not in field.channels),
        )
        for field in fields
    )


def _place_order(field: FieldFiles) -> tuple[str, int, str, int, str, str]:
    # By length first: wells of AA and further come after Z.
    number = int(field.field) if field.field.isdecimal() else 0
    first = next(iter(field.files.values()))
    return (field.plate, len(field.well), field.well, number, field.field, first.name)
