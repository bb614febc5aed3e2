"""The images behind a data set's table: read when asked for, kept while memory allows."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.errors import DatasetError, ImageReadError
from napari_why.core.events import Advanced, Cancelled, Finished, OnEvent, Started
from napari_why.images import Source, channel_names, plane, read

if TYPE_CHECKING:
    import xarray as xr

# 1 GiB, 4096 images of 2 x 256 x 256 pixels of 16 bits: most sets whole, beside a network in training.
KEPT_BYTES = 2**30
# Kinds of notes on images that are told: as many as are read, and more than one folder usually has.
MOST_NOTES = 12
# What notes of one kind differ in: texts in quotation marks, names of files, identifiers, numbers.
VARYING = re.compile(
    r"'[^']*'|\"[^\"]*\"|\S+\.(?:tiff?|stk|png|xml|ome|zarr|flex)\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|(?<![A-Za-z])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?",
    re.IGNORECASE,
)
# Reasons that an error names: usually all files fail for the same one.
NAMED_REASONS = 3


@dataclass(frozen=True)
class PlaneDigest:
    """The identity of one channel's pixels.

    Parameters
    ----------
    text : str
        SHA-256 over type, shape and pixels: equal exactly when the planes are equal.
    constant : bool
        All pixels are equal, so that the plane tells nothing about which image it belongs to.
    """

    text: str
    constant: bool


@dataclass(frozen=True)
class ImageFormat:
    """What all images of a data set must have in common: channel names and pixel type."""

    channels: tuple[str, ...]
    dtype: str


class ImageStore:
    """Images by position, each a file or an array in memory.

    Files stay in memory once read, until ``kept_bytes`` are reached; the ones beyond are read each
    time. Nothing is ever evicted: training runs through all images in turn, where the usual
    least-recently-used rule would evict every image just before it is needed.

    What was opened is what is used: a file that is read again and holds other pixels than the first
    time is refused. Pixels are compared where the file system tells of any change.

    Parameters
    ----------
    sources : sequence of (tuple of Path) or DataArray
        One file, or one file per channel, for each image; or images with the dims (c, y, x).
    channels : sequence of str, optional
        Channel names given by the user instead of the files' own.
    pattern : str, optional
        How the files are named; see :func:`napari_why.images.read`.
    kept_bytes : int
        Bytes of file pixels to keep in memory.
    reuse : ImageStore, optional
        What it has read of the same files is taken over, and not read again, other names of
        channels included; files that changed since are read anew.
    """

    def __init__(
        self,
        sources: "Sequence[tuple[Path, ...] | xr.DataArray]",
        *,
        channels: Sequence[str] | None = None,
        pattern: str | None = None,
        kept_bytes: int = KEPT_BYTES,
        reuse: "ImageStore | None" = None,
    ) -> None:
        self._sources = tuple(sources)
        self._channels = None if channels is None else tuple(channels)
        self._pattern = pattern
        self._room = kept_bytes
        self._kept: dict[int, xr.DataArray] = {}
        self._digests: dict[int, dict[str, PlaneDigest]] = {}
        self._formats: dict[int, ImageFormat] = {}
        self._states: dict[int, FileState] = {}
        self._notes: dict[int, tuple[str, ...]] = {}
        self._origins: dict[int, str] = {}
        # Of images that were read without names given: what their files call the channels.
        self._own_names: dict[int, tuple[str, ...]] = {}
        if reuse is not None:
            self._take_over(reuse)

    def renamed(self, names: Sequence[str]) -> "ImageStore":
        """Return the same images with other names of channels, and nothing read again."""
        sources = [
            source if isinstance(source, tuple) else rename_image(_lock(source), names)
            for source in self._sources
        ]
        return ImageStore(sources, channels=names, pattern=self._pattern, reuse=self)

    def image(self, position: int) -> "xr.DataArray":
        """Return one image, dims (c, y, x), with pixels that cannot be written to.

        Raises
        ------
        ImageReadError
            The file cannot be read, it is a time series or a stack, or it has other pixels than
            when it was read first.
        """
        if position in self._kept:
            return self._kept[position]
        source = self._sources[position]
        if not isinstance(source, tuple):
            image = _lock(source)
            # It is in memory anyway, so that it takes none of the room for files.
            self._kept[position] = image
        else:
            # Looked at before reading: what changes meanwhile is then found the next time.
            state = _state_of(source)
            image = read(source, channels=self._channels, pattern=self._pattern)
            image = _lock(_require_plane(source[0], image))
            if position in self._states:
                self._require_same(position, source[0], image, state)
            self._keep(position, image)
            self._states[position] = state
            # At the first reading, for later it may be too late: the file may be another one by then.
            if position not in self._kept and position not in self._digests:
                self._digests[position] = _hash_planes(image)
            if self._channels is None:
                self._own_names[position] = channel_names(image)
        self._formats[position] = ImageFormat(channel_names(image), image.dtype.name)
        # Which file is which channel is noted for every image; Dataset.notes tell it once for all.
        files = SEVERAL.join(map(str, source)) if isinstance(source, tuple) else ""
        self._origins[position] = str(image.attrs.get("source", ""))
        self._notes[position] = tuple(drop_files(image.attrs.get("notes", ()), files))
        return image

    def source(self, position: int) -> tuple[Source, dict[str, Any]]:
        """Return what an image is read from, and the further arguments of :func:`~.images.read`.

        For whoever reads it elsewhere: another process, or later without this store.
        """
        source = self._sources[position]
        if not isinstance(source, tuple):
            return source, {}
        given = {
            "channels": None if self._channels is None else list(self._channels),
            "pattern": self._pattern,
        }
        read_as = {name: value for name, value in given.items() if value is not None}
        return (source if len(source) > 1 else source[0]), read_as

    def notes(self, position: int) -> tuple[str, ...]:
        """Return what the reader noted about an image, without reading it again."""
        if position not in self._notes:
            self.image(position)
        return self._notes[position]

    def format(self, position: int) -> ImageFormat:
        """Return channel names and pixel type, without reading the image again."""
        if position not in self._formats:
            self.image(position)
        return self._formats[position]

    def digests(self, position: int) -> dict[str, PlaneDigest]:
        """Return the identity of every channel's pixels, by channel name."""
        if position not in self._digests:
            self._digests[position] = _hash_planes(self.image(position))
        return self._digests[position]

    def origin(self, position: int) -> str:
        """Return which files an image was read from, without reading it again."""
        if position not in self._origins:
            self.image(position)
        return self._origins[position]

    def _take_over(self, other: "ImageStore") -> None:
        """Take what another store knows of the same files, under this store's names of channels."""
        if other._pattern != self._pattern:
            return
        places = {
            source: position
            for position, source in enumerate(other._sources)
            if isinstance(source, tuple) and position in other._formats
        }
        for position, source in enumerate(self._sources):
            if isinstance(source, tuple) and source in places:
                self._take_image(position, source, other, places[source])

    def _take_image(
        self, position: int, source: tuple[Path, ...], other: "ImageStore", place: int
    ) -> None:
        old = other._formats[place].channels
        names = self._channels or other._own_names.get(place)
        # Without names of its own this store wants those of the files, which may be unknown.
        if names is None or len(names) != len(old) or len(set(names)) != len(names):
            return
        kept, digests = other._kept.get(place), other._digests.get(place)
        if (kept is None and digests is None) or _state_of(source) != other._states[place]:
            return
        if kept is not None:
            self._keep(position, rename_image(kept, names))
        if digests is not None:
            self._digests[position] = {
                new: digests[name] for name, new in zip(old, names, strict=True)
            }
        self._states[position] = other._states[place]
        self._formats[position] = ImageFormat(tuple(names), other._formats[place].dtype)
        self._notes[position] = _rename_in_notes(other._notes[place], old, names)
        self._origins[position] = other._origins[place]
        if place in other._own_names:
            self._own_names[position] = other._own_names[place]

    def _require_same(
        self, position: int, path: Path, image: "xr.DataArray", state: "FileState"
    ) -> None:
        if state is not None and state == self._states[position]:
            return
        found = _hash_planes(image)
        if found != self._digests[position]:
            raise ImageReadError(
                path,
                f"{_describe(image)}: the file changed since it was opened",
                f"the pixels that were opened ({_describe_format(self._formats[position])})",
                "put the file back, or open the data set again",
            )

    def _keep(self, position: int, image: "xr.DataArray") -> None:
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._kept[position] = image


def _require_plane(path: Path, image: "xr.DataArray") -> "xr.DataArray":
    if any(image.sizes.get(dim, 1) > 1 for dim in ("t", "z")):
        sizes = ", ".join(f"{dim} {size}" for dim, size in image.sizes.items())
        raise ImageReadError(
            path,
            f"a stack or time series (axes {sizes})",
            "one plane per channel (axes c, y, x)",
            "project it or save the plane to be classified",
        )
    return image if image.dims == ("c", "y", "x") else plane(image)


def rename_image(image: "xr.DataArray", names: Sequence[str]) -> "xr.DataArray":
    """Return the image with other names of channels, as its file gives it when read with them.

    Parameters
    ----------
    image : DataArray
    names : sequence of str
        One a channel.

    Returns
    -------
    DataArray
        Of the same pixels; the image itself where it has these names.
    """
    old = channel_names(image)
    if tuple(names) == old:
        return image
    renamed = image.assign_coords(c=list(names))
    # Records of results are made of read_as: with the names in it, the image is read alike again.
    read_as = {**image.attrs.get("read_as", {}), "channels": list(names)}
    notes = _rename_in_notes(image.attrs.get("notes", ()), old, names)
    renamed.attrs = {**image.attrs, "read_as": read_as, "notes": notes}
    return renamed


def _rename_in_notes(
    notes: Iterable[str], old: Sequence[str], new: Sequence[str]
) -> tuple[str, ...]:
    # Notes of a channel begin with its name and a colon.
    names = dict(zip(old, new, strict=True))
    parts = [note.partition(": ") for note in notes]
    return tuple(f"{names.get(subject, subject)}{colon}{rest}" for subject, colon, rest in parts)


def _lock(image: "xr.DataArray") -> "xr.DataArray":
    # Images are shared by everybody who asks for them; a view costs nothing, a copy memory.
    pixels = np.asarray(image).view()
    pixels.flags.writeable = False
    return image.copy(data=pixels)


# Size, times of writing and of any change (nanoseconds) and number of each file; None for what cannot
# be told so cheaply, which a folder of chunks is.
FileState = tuple[tuple[int, int, int, int], ...] | None


def _state_of(paths: Sequence[Path]) -> FileState:
    if not all(path.is_file() for path in paths):
        return None
    found = [path.stat() for path in paths]
    # The time of any change too: the time of writing is kept by programs that copy.
    return tuple((of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino) for of in found)


def _describe(image: "xr.DataArray") -> str:
    height, width = image.sizes["y"], image.sizes["x"]
    about = _describe_format(ImageFormat(channel_names(image), image.dtype.name))
    return f"{height} x {width} pixels, {about}"


def _describe_format(about: ImageFormat) -> str:
    return f"{about.dtype}, {' and '.join(about.channels)}"


def _hash_planes(image: "xr.DataArray") -> dict[str, PlaneDigest]:
    planes = zip(channel_names(image), np.asarray(image), strict=True)
    return {name: _hash(plane) for name, plane in planes}


def _hash(plane: NDArray[Any]) -> PlaneDigest:
    shape = f"{plane.dtype.name} {plane.shape}".encode()
    # The same pixels have the same digest on every machine and from every file.
    little_endian = np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("<"))
    return PlaneDigest(
        sha256(shape + little_endian.tobytes()).hexdigest(), bool((plane == plane.flat[0]).all())
    )


# Between the paths of an image of several files, as the reader writes them.
SEVERAL = "; "


@dataclass(frozen=True)
class Unreadable:
    """A file that was left out of a data set, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ReadRows:
    """Rows of a table whose files could be read; ``partial`` when reading was cancelled.

    ``repeated`` are files of images that other rows have given already.
    """

    rows: tuple[int, ...]
    unreadable: tuple[Unreadable, ...]
    partial: bool
    repeated: tuple[str, ...] = ()


def read_rows(
    store: ImageStore,
    table: pd.DataFrame,
    source: str,
    max_unreadable: float,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> ReadRows:
    """Read the image of every row once.

    Parameters
    ----------
    store : ImageStore
        Of the files of every row.
    table : DataFrame
        Its ``path`` names the rows in messages, its ``label`` their classes.
    source : str
        Begins the sentences of errors.
    max_unreadable : float
        Share of files, 0 to 1, that may be unreadable.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ReadRows

    Raises
    ------
    DatasetError
        More than the share ``max_unreadable`` of the files cannot be read, or files of one image
        have different classes.
    """
    on_event(Started("opening images", len(table)))
    rows, unreadable, repeated = [], [], []
    given: dict[str, int] = {}
    for row, path in enumerate(table["path"]):
        if cancelled():
            break
        try:
            files = store.origin(row)
            # Every file of a set of OME-TIFF gives the whole image, which counts once.
            first = given.setdefault(files, row) if SEVERAL in files else row
            if first == row:
                rows.append(row)
            else:
                _check_same_class(source, table, first, row)
                repeated.append(path)
        # Only what a file can be blamed for; anything else is a fault of this program.
        except (ImageReadError, OSError) as error:
            unreadable.append(Unreadable(path, str(error)))
        on_event(Advanced(row + 1))
    # The share is that of all files; of a part that was read it would say little.
    partial = len(rows) + len(unreadable) + len(repeated) < len(table)
    if not partial and len(unreadable) > max_unreadable * len(table):
        raise DatasetError(_describe_failures(source, len(table), unreadable, max_unreadable))
    on_event(Finished(partial))
    return ReadRows(tuple(rows), tuple(unreadable), partial, tuple(repeated))


def _check_same_class(source: str, table: pd.DataFrame, first: int, row: int) -> None:
    labels = table.get("label")
    if labels is not None and labels.iloc[first] != labels.iloc[row]:
        raise DatasetError(
            f"{source}: found {table['path'].iloc[first]} as {labels.iloc[first]} and "
            f"{table['path'].iloc[row]} as {labels.iloc[row]}, two files of one image; expected one "
            "class for both"
        )


def describe_reading(
    store: ImageStore,
    table: pd.DataFrame,
    rows: Sequence[int],
    unreadable: Sequence[Unreadable],
    repeated: Sequence[str] = (),
) -> list[str]:
    """Say which files were left out, and what the reader noted about the others.

    Parameters
    ----------
    store : ImageStore
    table : DataFrame
        ``path`` of every image that was listed.
    rows : sequence of int
        Rows of the table, positions in the store, that were read.
    unreadable : sequence of Unreadable
        The others.
    repeated : sequence of str
        Files of images that other rows have given already.

    Returns
    -------
    list of str
        A sentence for the files left out, and one for each note, with how many images it is of.
    """
    sentences = []
    if unreadable:
        first = unreadable[0]
        verb = "was" if len(unreadable) == 1 else "were"
        # Errors of the reader begin with the path, as a rule.
        reason = first.reason.removeprefix(f"{first.path}: ")
        sentences.append(
            f"{len(unreadable)} of {len(table)} files {verb} left out as unreadable, the first: "
            f"{first.path} ({reason})."
        )
    if repeated:
        sentences.append(
            f"{len(repeated)} of {len(table)} files belong to images that other files have given "
            f"already, and count once, the first: {repeated[0]}."
        )
    notes = ((table["path"].iloc[row], store.notes(row)) for row in rows)
    return sentences + fold_notes(notes, len(rows))


def fold_notes(notes: Iterable[tuple[str, Sequence[str]]], count: int) -> list[str]:
    """Say once what is noted of many images, also where it differs in numbers or names only.

    What stands before the first colon tells kinds apart: it mostly is the channel.

    Parameters
    ----------
    notes : iterable of (str, sequence of str)
        An image's name, and the notes on it.
    count : int
        Number of all images, those without a note too.

    Returns
    -------
    list of str
        A sentence a kind, the most frequent first, with how many images it is of.

    Examples
    --------
    >>> fold_notes([("a.tif", ["DAPI: 3 hot pixels."]), ("b.tif", ["DAPI: 7 hot pixels."])], 4)
    ['DAPI: 3 hot pixels. (2 of 4 images; numbers and names are those of the first, a.tif)']
    """
    kinds: dict[str, dict[str, None]] = {}
    firsts: dict[str, str] = {}
    alike: dict[str, set[str]] = {}
    for image, of_image in notes:
        for note in of_image:
            kind = _kind_of(note, image)
            firsts.setdefault(kind, note)
            kinds.setdefault(kind, {})[image] = None
            alike.setdefault(kind, set()).add(note)
    # What most images have in common first: it decides most.
    common = sorted(kinds, key=lambda kind: -len(kinds[kind]))
    sentences = []
    for kind in common[:MOST_NOTES]:
        first, of = next(iter(kinds[kind])), len(kinds[kind])
        where = f"{of} of {count} images, the first {first}"
        if len(alike[kind]) > 1:
            where = f"{of} of {count} images; numbers and names are those of the first, {first}"
        sentences.append(f"{firsts[kind]} ({where})")
    if len(common) > MOST_NOTES:
        sentences.append(
            f"{len(common) - MOST_NOTES} further kinds of notes on images; napari-why inspect FILE "
            "shows those of a file."
        )
    return sentences


def drop_files(notes: Iterable[str], image: str) -> list[str]:
    """Leave out which file is which channel, which an image's own files and channels show.

    Parameters
    ----------
    notes : iterable of str
    image : str
        The image's files, as its ``source`` lists them.

    Returns
    -------
    list of str
        The other notes, in their order.

    Examples
    --------
    >>> drop_files(["w1 is a_w1.TIF.", "odd"], "x/a_w1.TIF; x/a_w2.TIF")
    ['odd']
    """
    ends = tuple(f" is {name}." for file in image.split(SEVERAL) if (name := Path(file).name))
    return [note for note in notes if not note.endswith(ends)]


def _kind_of(note: str, image: str) -> str:
    """Return a note without what differs between images: their names, other names, numbers."""
    for file in image.split(SEVERAL):
        name = Path(file).name
        note = note.replace(file, "'").replace(name, "'") if name else note
    subject, colon, rest = note.partition(": ")
    if not colon:
        subject, rest = "", note
    return f"{subject}{colon}{VARYING.sub('#', rest)}"


def describe_one_channel(channels: Sequence[tuple[str, ...]]) -> list[str]:
    """Say that every image has one channel only, which is right for few; empty where some have more."""
    if not channels or any(len(names) > 1 for names in channels):
        return []
    return [
        f"Every image has one channel ({', '.join(dict.fromkeys(name for (name,) in channels))}). Where "
        "an image has more, each in a file of its own, their names do not tell what belongs "
        "together: say it with pattern (--pattern)."
    ]


def _describe_failures(source: str, count: int, unreadable: list[Unreadable], share: float) -> str:
    first = "; ".join(item.reason for item in unreadable[:NAMED_REASONS])
    return (
        f"{source}: found {len(unreadable)} of {count} files unreadable ({first}"
        f"{'; ...' if len(unreadable) > NAMED_REASONS else ''}); expected at most {share:.0%}; repair or "
        "remove them, or allow more with max_unreadable"
    )
