"""Files of one channel each: which are of one image, what was taken for what, and what has to be asked."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeAlias

from napari_why.core.errors import AmbiguousAxesError, ImageReadError
from napari_why.core.folders import is_folder, pictures_beside
from napari_why.images.axes import name_axes
from napari_why.images.file_names import (
    CONVENTIONS,
    ParsedName,
    conventions_of,
    may_tell_channel,
    parse_names,
)
from napari_why.images.formats import SourceFile, find_format

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Siblings:
    """The files of one image, by channel, and the channels that it lacks.

    ``missing`` names the channels that other images of the plate in the same folder have;
    ``others`` the channels that the file's name can as well mean.
    """

    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def sibling_files(path: Path, pattern: str | None = None) -> Siblings:
    """Return the files of one image that ``path`` belongs to, ``path`` among them.

    Only files in the same folder count. One file alone is returned where the name follows no
    convention or no other file of the image is there.

    Parameters
    ----------
    path : Path
    pattern : str, optional
        A user's own, see :func:`~napari_why.images.file_names.own_convention`; by default the known
        conventions.

    Returns
    -------
    Siblings
        Files in the order of their channels, and the channels that other images of the plate have.

    Raises
    ------
    ImageReadError
        The folder cannot be listed.
    """
    # Folders of thousands of images are searched only where there can be something to find.
    if pattern is None and not may_tell_channel(path.name):
        return Siblings((path,))
    # A folder may hold a plate: scandir tells files from folders without asking for each.
    try:
        with os.scandir(path.parent) as entries:
            # Links to nothing too: the channel is missing, which reading it says.
            names = [entry.name for entry in entries if not is_folder(entry)]
    except OSError as error:
        closed = f"a folder that cannot be listed ({error.strerror})"
        expected = "one whose files tell which other channels the image has"
        raise ImageReadError(path.parent, closed, expected, "ask for permission") from error
    pictures = pictures_beside(names)
    if path.name in pictures:
        return Siblings((path,))
    others = (name for name in names if name != path.name and name not in pictures)
    there = [path, *map(path.with_name, others)]
    understood = parse_names(there, conventions_of(pattern))
    own = understood.get(path)
    if own is None:
        return Siblings((path,))
    found: list[tuple[ParsedName, Path]] = []
    known: dict[str, tuple[int, str]] = {}
    for file in there:
        parsed = understood.get(file)
        if parsed is None or (parsed.convention, parsed.plate) != (own.convention, own.plate):
            continue
        # Only of a plate can be said that other images have more channels.
        if parsed.kind == own.kind and (parsed.well or parsed.number("field") is not None):
            known[parsed.channel] = parsed.order
        if parsed.image == own.image:
            found.append((parsed, file))
    found.sort(key=lambda item: (item[0].order, item[1].name))
    here = {parsed.channel for parsed, _ in found}
    missing = [name for name in sorted(known, key=lambda name: known[name]) if name not in here]
    return Siblings(tuple(file for _, file in found), tuple(missing), own.others)


def group_channel_files(
    paths: Iterable[Path], pattern: str | None = None
) -> list[tuple[Path, ...]]:
    """Put files of one image together, channels in order; other files stand alone.

    Parameters
    ----------
    paths : iterable of Path
        Files of any folders.
    pattern : str, optional
        How they are named, instead of the known conventions; see
        :func:`napari_why.images.file_names.own_convention`.

    Returns
    -------
    list of tuple of Path
        In the order in which each image's first file comes.

    Raises
    ------
    ImageReadError
        Names can be read in two ways that put different files together.

    Examples
    --------
    >>> names = ["a_w1.tif", "b.tif", "a_w2.tif"]
    >>> [[path.name for path in group] for group in group_channel_files(map(Path, names))]
    [['a_w1.tif', 'a_w2.tif'], ['b.tif']]
    """
    return [files for files, _ in _group(list(paths), pattern)]


# What stands for one image in a list: itself, a file or folder, or the files of its channels.
Source: TypeAlias = "xr.DataArray | str | Path | tuple[str | Path, ...]"


def group_sources(images: Sequence[Source], pattern: str | None = None) -> list[Source]:
    """Put files of one image together in a list of images and files, so that it comes once.

    Parameters
    ----------
    images : sequence of DataArray, path or tuple of paths
        Tuples are the files of one image already.
    pattern : str, optional
        As for :func:`group_channel_files`.

    Returns
    -------
    list of DataArray, path or tuple of Path
        Tuples of the files that belong together; everything else as it came.
    """
    given = {Path(item): item for item in images if isinstance(item, str | Path)}
    groups = {path: group for group in group_channel_files(given, pattern) for path in group}
    found: list[Source] = []
    done: set[Path] = set()
    for item in images:
        if not isinstance(item, str | Path):
            found.append(item)
            continue
        path = Path(item)
        group = groups[path]
        if len(group) == 1:
            found.append(item)
        elif path not in done:
            done.update(group)
            found.append(group)
    return found


def name_source(item: Source) -> str:
    """Return the file of an image, or all of its files with semicolons between."""
    if isinstance(item, str | Path):
        return str(item)
    if isinstance(item, tuple):
        return "; ".join(map(str, item))
    return str(item.attrs.get("source", ""))


def _group(
    paths: Sequence[Path], pattern: str | None
) -> list[tuple[tuple[Path, ...], tuple[ParsedName, ...]]]:
    """Return the files of every image, and what their names tell; nothing of files without."""
    conventions = conventions_of(pattern)
    levels = 0 if pattern is None else conventions[0].levels
    understood = parse_names(paths, conventions)
    groups: dict[object, list[Path]] = {}
    for path in paths:
        parsed = understood.get(path)
        folder = path.parents[levels] if levels < len(path.parents) else path.parent
        key = (folder, parsed.convention, parsed.image) if parsed else path
        groups.setdefault(key, []).append(path)
    found: list[tuple[tuple[Path, ...], tuple[ParsedName, ...]]] = []
    single: set[object] = set()
    for files in groups.values():
        first = understood.get(files[0])
        if first is None:
            found.append(((files[0],), ()))
            continue
        alone: list[Path] = []
        if len(files) > 1 and (files[0].parent, first.convention) not in single:
            alone = _with_several_channels(files)
            # An instrument names all files of a folder for the same reason; people do not.
            if not alone and any(item.name == first.convention for item in CONVENTIONS):
                single.add((files[0].parent, first.convention))
        joined = [path for path in files if path not in alone]
        joined.sort(key=lambda path: (understood[path].order, path.name))
        if len(joined) > 1 and first.others:
            raise ambiguous_names(joined, understood[joined[0]])
        found += [((path,), ()) for path in alone]
        if joined:
            found.append((tuple(joined), tuple(understood[path] for path in joined)))
    place = {path: number for number, path in enumerate(paths)}
    return sorted(found, key=lambda item: min(place[path] for path in item[0]))


def _with_several_channels(files: Sequence[Path]) -> list[Path]:
    """Return the files that are images on their own: their names tell no channel."""
    # Headers only, and of the others only where the first is one: they are asked on a server too.
    if not holds_channels(files[0]):
        return []
    return [path for path in files if holds_channels(path)]


def holds_channels(path: Path) -> bool:
    """Whether a file holds several channels, by its header; never raises."""
    try:
        with SourceFile(path) as source, source.understanding():
            form = find_format(source)
            if form is None:
                return False
            letters, shape = name_axes(form.describe(source))
    except AmbiguousAxesError as error:
        return not any("c" not in choice.axes for choice in error.choices)
    except (ImageReadError, OSError):
        return False  # said when it is read
    return "c" in letters and shape[letters.index("c")] > 1


def ambiguous_names(files: Sequence[Path], parsed: ParsedName) -> ImageReadError:
    """Return the question of which of several words in the files' names is the channel.

    Parameters
    ----------
    files : sequence of Path
        One at least; the first is named.
    parsed : ParsedName
        Of that file, with ``others``.

    Returns
    -------
    ImageReadError
    """
    return ImageReadError(
        files[0],
        f"a name that can mean channel {parsed.channel} or {' or '.join(parsed.others)}, of which "
        "either would put other files together",
        "names that tell the channel in one way",
        r"say where it stands: pattern=..., such as '(?P<channel>[^_]+)_(?P<field>.+)' where it "
        "comes first, which in the shell is --pattern",
    )


def describe_grouping(images: Sequence[Sequence[Path]], pattern: str | None = None) -> list[str]:
    """Say what was taken: how many files as how many images of which channels, and by what.

    Parameters
    ----------
    images : sequence of sequence of Path
        The files of each image, as :func:`group_channel_files` returns them.
    pattern : str, optional
        As there.

    Returns
    -------
    list of str
        A sentence for each convention, one for images that lack a channel, and one for files that
        do not fit the user's own pattern.
    """
    by_name: dict[str, list[tuple[tuple[Path, ...], tuple[str, ...]]]] = {}
    strange: list[Path] = []
    understood = parse_names((path for files in images for path in files), conventions_of(pattern))
    for files in map(tuple, images):
        if files[0] in understood:
            names = tuple(understood[path].channel for path in files if path in understood)
            by_name.setdefault(understood[files[0]].convention, []).append((files, names))
        else:
            strange += files
    sentences = []
    for convention, named in by_name.items():
        several = [(files, names) for files, names in named if len(files) > 1]
        if not several:
            continue
        usual, _ = Counter(names for _, names in several).most_common(1)[0]
        count = sum(len(files) for files, _ in several)
        taken = "1 image" if len(several) == 1 else f"{len(several)} images"
        sentences.append(
            f"{count} files were taken as {taken} of {_join(usual)}, by their names ({convention})."
        )
        less = [(files, set(usual) - set(names)) for files, names in named]
        lacking = [
            (f, lost) for f, lost in less if lost and not (len(f) == 1 and holds_channels(f[0]))
        ]
        if lacking:
            files, lost = lacking[0]
            sentences.append(
                f"{len(lacking)} of {len(named)} images lack a channel that the others have, the "
                f"first: {files[0].name} has no {_join(sorted(lost))} beside it."
            )
    if pattern is not None and strange:
        sentences.append(
            f"{len(strange)} files do not fit your own pattern for names and were taken as images "
            f"of their own, the first: {strange[0].name}."
        )
    return sentences


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


# Channels of one image in names that no convention knows: more values are fields or wells.
_FEW_CHANNELS = 4
_WORD = re.compile(r"[^\W\d_]+|\d+")
# What numbers count in names, when it is not channels; letters only where nothing is between.
_COUNTED = re.compile(
    r"(?<![^\W\d_])(?:[ABD-Z]|XY|(?:fld|fields?|fov|sites?|series|pos|position|time|day|hr|hour|plate|"
    r"well|row|col|column|rep|replicate|img|image|scan|tile|run|cell|mouse|animal|donor|patient|"
    r"sample)[ _-]?)$",
    re.IGNORECASE,
)


def find_likely_channels(
    paths: Iterable[PurePath], wells: Collection[str] = (), labels: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return what may be channels in names of no known convention: who opened them has to say.

    One word or number of the names takes the same two to four values for all images of every
    folder, as ``a_left``, ``a_right``, ``b_left``, ``b_right``. ``wells`` are known to be none;
    nor are words by which the classes of the images differ (``labels``, where they are known).

    Parameters
    ----------
    paths : iterable of PurePath
        Images of all folders that were opened.
    wells : collection of str
        Words that are wells.
    labels : sequence of str
        The class of each path; empty where none are known.

    Returns
    -------
    tuple of str
        In alphabetical order; empty where nothing may be a channel.

    Examples
    --------
    >>> find_likely_channels(map(PurePath, ["a-1.tif", "a-2.tif", "b-1.tif", "b-2.tif"]))
    ('1', '2')
    >>> find_likely_channels(map(PurePath, ["a.tif", "b.tif", "c.tif", "d.tif"]))
    ()
    >>> find_likely_channels([PurePath(f"{n}-{f}-{c}.tif") for n in "ab" for f in "12" for c in "12"])
    ('1', '2')
    """
    several = list(paths)
    values: dict[tuple[PurePath, str, str], set[str]] = {}
    classes: dict[tuple[PurePath, str, str], set[str]] = {}
    positions: dict[tuple[PurePath, str, str], int] = {}
    for path, label in zip(several, labels or [""] * len(several), strict=True):
        for position, (before, word, after) in enumerate(_words(path)):
            if not _counts_or_well(before, word, after, wells):
                place = (path.parent, before, after)
                values.setdefault(place, set()).add(word.lower())
                classes.setdefault(place, set()).add(label)
                positions[place] = position
    places: dict[tuple[int, tuple[str, ...]], list[tuple[PurePath, str, str]]] = {}
    for place, words in values.items():
        if 1 < len(words) <= _FEW_CHANNELS and len(classes[place]) == 1:
            # Fields and channels may both be called 1 and 2, and names have a word more than others.
            for position in (-1, positions[place]):
                places.setdefault((position, tuple(sorted(words))), []).append(place)
    likely: list[tuple[str, ...]] = []
    for (_, channels), found in places.items():
        in_folder = Counter(folder for folder, _, _ in found)
        # A folder of four files that count from 1 to 4 has one image in each of them.
        if len(found) * len(channels) == len(several) and min(in_folder.values()) > 1:
            likely.append(channels)
    # Fewer channels than fields, and at the end of names rather than at the beginning.
    return min(reversed(likely), key=len, default=())


def suggest_pattern(path: PurePath, channels: Sequence[str]) -> str:
    """Return a pattern for names that differ in these words only, as of :func:`~napari_why.images.file_names.own_convention`.

    Parameters
    ----------
    path : PurePath
        One of the files.
    channels : sequence of str
        Small letters, as :func:`find_likely_channels` returns them.

    Returns
    -------
    str
        A regular expression with the group ``channel`` and others for the rest of the name.

    Examples
    --------
    >>> suggest_pattern(PurePath("a-1.tif"), ("1", "2"))
    '(?P<field>.+)(?P<channel>1|2)'
    >>> suggest_pattern(PurePath("nuc_a.tif"), ("mit", "nuc"))
    '(?P<channel>mit|nuc)(?P<field>.+)'
    """
    channel = f"(?P<channel>{'|'.join(channels)})"
    # The last such word: a number stands for the field before it stands for the channel.
    for before, word, after in reversed(list(_words(path))):
        if word.lower() in channels and not _counts_or_well(before, word, after):
            if not after:
                return f"(?P<field>.+){channel}"
            return f"(?P<before>.+){channel}(?P<after>.+)" if before else f"{channel}(?P<field>.+)"
    return f"(?P<field>.+){channel}"


def _words(path: PurePath) -> Iterator[tuple[str, str, str]]:
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    for match in _WORD.finditer(stem):
        yield stem[: match.start()], match[0], stem[match.end() :]


def _counts_or_well(before: str, word: str, after: str, wells: Collection[str] = ()) -> bool:
    if word.isdecimal():
        # Channels are counted behind a C, unless it is the row of a well.
        row_c = re.search(r"(?<![^\W\d_])C$", before, re.IGNORECASE)
        well = bool(row_c) and len(word) < 3 and f"C{int(word):02d}" in wells
        return well or _COUNTED.search(before) is not None
    # The row of a well, or the letter of a dimension.
    return len(word) == 1 and after[:1].isdecimal()
