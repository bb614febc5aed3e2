"""Folders as people have them: links, litter, places without permission, names that are no text.

:class:`FolderWalk` looks through a folder and remembers what it did not go into; whoever walks tells
it. Nothing here knows what an image is but by the endings it is given.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

# What takes the place of bytes that are no UTF-8 (a name from a share in Latin-1 or Shift-JIS).
REPLACEMENT = "\ufffd"
# Entries below a folder of litter that are looked at for images: a recycle bin of a server may hold
# millions, and "at least 2000" says what has to be said.
MOST_COUNTED = 2000

# Folders that servers, systems and programs make, by name in small letters, and what they are called
# in a sentence. A class is never called so.
LITTER_FOLDERS = {
    "#recycle": "in recycle bins",  # Synology
    "@recycle": "in recycle bins",  # QNAP
    ".recycle": "in recycle bins",  # Samba
    "$recycle.bin": "in recycle bins",
    "recycler": "in recycle bins",
    ".trash": "in recycle bins",
    ".trashes": "in recycle bins",
    "network trash folder": "in recycle bins",
    "#snapshot": "in snapshots and old versions",
    "@recently-snapshot": "in snapshots and old versions",
    ".snapshot": "in snapshots and old versions",
    ".snapshots": "in snapshots and old versions",
    "~snapshot": "in snapshots and old versions",
    ".zfs": "in snapshots and old versions",
    ".stversions": "in snapshots and old versions",  # Syncthing
    "lost+found": "in lost+found",
    "found.000": "in lost+found",
    "@tmp": "in folders of unfinished copies",
    "#tmp": "in folders of unfinished copies",
    "temporary items": "in folders of unfinished copies",
    ".temporaryitems": "in folders of unfinished copies",
    "thumbnails": "in folders of thumbnails",
    "thumbnail": "in folders of thumbnails",
    "thumbs": "in folders of thumbnails",
    "metadata": "in folders of metadata",  # LAS X
    "additionaldata": "in folders of metadata",  # Leica matrix screener
}
# Folders that never hold an image, though names in them may say so.
NEVER_IMAGES = {
    "@eadir",  # Synology: a folder of thumbnails for each file, called like the file
    ".@__thumb",  # QNAP
    "__macosx",
    ".appledouble",
    ".ds_store",
    ".git",
    ".svn",
    ".ipynb_checkpoints",
    "__pycache__",
    "system volume information",
    ".stfolder",
    ".fseventsd",
    ".spotlight-v100",
    ".documentrevisions-v100",
}
# As the notes call what an export writes beside images.
PICTURES = "PNG pictures beside a TIFF file of the same name"
# What microscopes, programs and systems leave beside images, by ending. A list of what is no image,
# not of what is: a format unknown here is then reported as unreadable instead of being passed over.
COMPANION_SUFFIXES = {
    # text, tables and documents
    ".json", ".csv", ".tsv", ".txt", ".md", ".rst", ".xml", ".ome", ".xsl", ".xslt", ".log", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".conf", ".htm", ".html", ".css", ".pdf", ".rtf", ".doc", ".docx", ".odt",
    ".xls", ".xlsx", ".xlsm", ".ods", ".ppt", ".pptx", ".odp", ".pzf", ".pzfx", ".prism", ".msg",
    ".eml", ".db", ".db-journal", ".sqlite", ".mdb", ".ldb", ".accdb", ".url", ".webloc",
    # checksums and locks
    ".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".par2", ".lock", ".lck",
    # MetaXpress, MetaMorph, CellVoyager, IN Cell
    ".htd", ".nd", ".scan", ".stg", ".mlf", ".mes", ".mrf", ".wpi", ".wpp", ".icr", ".ppf", ".xdce",
    # LAS X, ZEN, Olympus, ImageJ: descriptions, look-up tables, regions, macros
    ".xlef", ".xlif", ".xllf", ".xlcf", ".lifext", ".lrp", ".rgn", ".cal", ".lut", ".icc", ".icm",
    ".pty", ".czmbi", ".czexp", ".roi", ".ijm", ".bsh", ".groovy",
    # analysis beside the data
    ".py", ".pyc", ".ipynb", ".m", ".r", ".rmd", ".rdata", ".rds", ".sh", ".bat", ".ps1", ".cppipe",
    ".cpproj", ".cpipe", ".qpproj", ".ilp", ".aux", ".props", ".properties",
}  # fmt: skip
# Whole names, in small letters, without an ending or with one that says nothing.
COMPANION_NAMES = {
    "readme", "license", "licence", "copying", "changelog", "makefile", "dockerfile", "icon\r",
    "md5sum", "md5sums", "sha256sums", "checksums", "manifest",
}  # fmt: skip
# What a program that copies or downloads calls a file that is not whole yet.
UNFINISHED = {
    ".part", ".partial", ".crdownload", ".filepart", ".download", ".opdownload", ".!sync", ".!ut",
    ".aria2",
}  # fmt: skip
# Copies and temporary files; only told of where the rest of the name is that of an image.
COPIES = {".tmp", ".temp", ".bak", ".old", ".orig", ".save", ".swp", ".sav"}
# Region sets of ImageJ are archives; others may hold images, and are reported as unreadable.
ROI_SET = re.compile(r"(?:.*[^a-z])?rois?(?:[^a-z].*)?\.zip|.*roiset.*\.zip", re.IGNORECASE)


def show(path: "str | os.PathLike[str]") -> str:
    r"""Return a path or name as text that can be written everywhere.

    Bytes that are no UTF-8 become U+FFFD; :func:`find_shown` finds the file again.

    Examples
    --------
    >>> show("F\udce4rbung.tif") == "F\ufffdrbung.tif", show("plain.tif")
    (True, 'plain.tif')
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        # In UTF-16 a lone half of a pair, which stands for such a byte, is one replaced character.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def show_each(paths: Iterable["str | os.PathLike[str]"]) -> list[str]:
    r"""Return paths or names as text, each different where they are.

    Of those that would be shown alike, the bytes are spelled out.

    Examples
    --------
    >>> show_each(["a", "\udce4", "\udcf6"])
    ['a', '\\xe4', '\\xf6']
    """
    given = [os.fspath(path) for path in paths]
    meant: dict[str, set[str]] = {}
    for text in given:
        meant.setdefault(show(text), set()).add(text)
    return [_spell(text) if len(meant[show(text)]) > 1 else show(text) for text in given]


def _spell(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def find_shown(path: "str | os.PathLike[str]") -> Path:
    """Return the path that :func:`show` or :func:`show_each` gave as text.

    The path itself where it is there, where no byte was replaced, or where several files would be
    shown so.
    """
    given = Path(path)
    if not any(mark in str(given) for mark in (REPLACEMENT, r"\x")) or os.path.lexists(given):
        return given
    parts = given.parts[1:] if given.anchor else given.parts
    meant = list(islice(_places_shown(Path(given.anchor), parts), 2))
    return meant[0] if len(meant) == 1 else given


def _places_shown(here: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    if not parts:
        yield here
        return
    part, rest = parts[0], parts[1:]
    if os.path.lexists(here / part):
        yield from _places_shown(here / part, rest)
        return
    try:
        names = [path.name for path in here.iterdir()]
    except OSError:
        return
    for name in names:
        # Several folders may be shown alike, of which one has what is looked for.
        if part in (show(name), _spell(name)):
            yield from _places_shown(here / name, rest)


def is_companion(name: str) -> bool:
    """Whether a file's name says that it is no image but lies beside images; hidden files are.

    Examples
    --------
    >>> [is_companion(name) for name in ("plate.HTD", "Thumbs.db", "._a.tif", "a.tif", "a.nd2")]
    [True, True, True, False, False]
    """
    lower = name.lower()
    ending = _ending(lower)
    return (
        lower.startswith((".", "~"))
        or lower.endswith(("~", ".lnk"))
        or ending in COMPANION_SUFFIXES
        or ending in UNFINISHED
        or ending in COPIES
        or lower in COMPANION_NAMES
        or ROI_SET.fullmatch(lower) is not None
    )


def pictures_beside(names: Iterable[str]) -> frozenset[str]:
    """Return the PNG files among the files of a folder that have the name of a TIFF file there.

    Programs export a picture for looking at beside each image; it is no image of its own.

    Examples
    --------
    >>> sorted(pictures_beside(["a.ome.tif", "a.png", "b.TIF", "b.PNG", "c.png"]))
    ['a.png', 'b.PNG']
    """
    pictures, stems = [], set()
    for name in names:
        stem, _, ending = name.lower().rpartition(".")
        if ending == "png":
            pictures.append((name, stem))
        elif ending in ("tif", "tiff", "stk"):
            stems |= {stem, stem.removesuffix(".ome")}
    return frozenset(name for name, stem in pictures if stem in stems)


def is_litter_folder(name: str) -> bool:
    """Whether a folder is one that servers or systems make, or a hidden one.

    Examples
    --------
    >>> is_litter_folder("@eaDir"), is_litter_folder("#recycle"), is_litter_folder("treated")
    (True, True, False)
    """
    lower = name.lower()
    return lower.startswith(".") or lower in LITTER_FOLDERS or lower in NEVER_IMAGES


@dataclass
class FolderWalk:
    """One look through a folder: each file once, links followed, litter passed over.

    Parameters
    ----------
    root : Path
        Where the walk begins; names in sentences are relative to it.
    endings : tuple of str
        Endings of images in small letters: of what is passed over, only what could be one is told.

    Attributes
    ----------
    linked, linked_files : list of Path
        Linked folders and files that were followed.
    twice : list of Path
        Links to what was found already, or to a folder around this one.
    passed_over : dict of str to list of Path
        By kind and folder, how many files could be images.
    cut_short : bool
        Whether there was more than is counted.
    """

    root: Path
    endings: tuple[str, ...]
    linked: list[Path] = field(default_factory=list)
    linked_files: list[Path] = field(default_factory=list)
    twice: list[Path] = field(default_factory=list)
    passed_over: dict[str, Counter[Path]] = field(default_factory=dict)
    cut_short: bool = False

    def __post_init__(self) -> None:
        # A link to a folder around this one would lead back here, and into the other classes. What is
        # around it differs where the folder itself is a link.
        around = (*self.root.absolute().parents, *Path(os.path.realpath(self.root)).parents)
        self._entered: set[str] = {os.path.realpath(folder) for folder in around}
        self._files: set[str] = set()

    def enter(self, folder: Path, most: int | None = None) -> list[os.DirEntry[str]]:
        """Return what is worth looking at in a folder, in the order of names; nothing the second time.

        Parameters
        ----------
        folder : Path
            However it is reached; a link to one that was entered is entered no more.
        most : int, optional
            Entries that are looked at.

        Returns
        -------
        list of DirEntry

        Raises
        ------
        OSError
            It cannot be listed.
        """
        real = os.path.realpath(folder)
        if real in self._entered:
            self.twice.append(folder)
            return []
        self._entered.add(real)
        with os.scandir(folder) as entries:
            found = sorted(islice(entries, most), key=lambda entry: entry.name)
        if is_link(folder):
            self.linked.append(folder)
        pictures = pictures_beside(entry.name for entry in found)
        if pictures:
            self.passed_over.setdefault(PICTURES, Counter())[folder] += len(pictures)
        kept = [e for e in found if e.name not in pictures and not self._pass_over(e)]
        # Of what is no link the real path is known; to ask for each would take longest of all.
        self._files.update(f"{real}{os.sep}{entry.name}" for entry in kept if not is_link(entry))
        return kept

    def take_link(self, link: Path) -> bool:
        """Whether what a link leads to, a file or a folder that is an image, is not there already."""
        real = os.path.realpath(link)
        if not os.access(real, os.F_OK):
            return True  # each is a missing image of its own, wherever it was to lead
        if real in self._files:
            self.twice.append(link)
            return False
        self._files.add(real)
        self.linked_files.append(link)
        return True

    @property
    def notes(self) -> list[str]:
        """What the user should know of links and of what was passed over, in sentences."""
        return [*self._describe_links(), *self._describe_litter()]

    def _pass_over(self, entry: os.DirEntry[str]) -> bool:
        folder = is_folder(entry)
        if not (is_litter_folder(entry.name) if folder else is_companion(entry.name)):
            return False
        kind, count = self._could_be_images(entry, folder=folder)
        if count:
            # The folder, not each file in it, is what has to be looked at.
            path = Path(entry.path)
            self.passed_over.setdefault(kind, Counter())[path if folder else path.parent] += count
        return True

    def _could_be_images(self, entry: os.DirEntry[str], *, folder: bool) -> tuple[str, int]:
        lower = entry.name.lower()
        if folder:
            if lower in NEVER_IMAGES or entry.is_symlink():
                return "", 0
            trash = lower.startswith(".trash-")  # .Trash-1000, by the number of the user
            kind = "in recycle bins" if trash else LITTER_FOLDERS.get(lower, "in hidden folders")
            names = list(islice(_names_below(Path(entry.path)), MOST_COUNTED + 1))
            self.cut_short |= len(names) > MOST_COUNTED
            return kind, sum(name.lower().endswith(self.endings) for name in names)
        ending = _ending(lower)
        if lower.startswith("._"):
            return "", 0  # macOS keeps attributes there, never pixels
        if ending in UNFINISHED:
            return "unfinished copies", 1
        if ending == ".lnk":
            return "shortcuts of Windows, which cannot be followed", 1
        # "a.tif~" is a copy that an editor keeps; "a.tif.bak" has the ending inside.
        if not any(f"{end}." in f"{lower.rstrip('~')}." for end in self.endings):
            return "", 0
        if ending in COPIES or lower.endswith("~") or lower.startswith("~"):
            return "temporary files and copies", 1
        # "a.tif.xml" lies beside an image; ".a.tif", and ".a.tif.Xy12ab" of rsync, may be one.
        hidden = lower.startswith(".") and ending not in COMPANION_SUFFIXES
        return "hidden files", int(hidden)

    def _describe_links(self) -> Iterator[str]:
        if self.linked:
            first = self.linked[0]
            yield (
                f"{_number(self.linked, 'linked folder')} followed, the first: {self._name(first)}, "
                f"which is {show(os.path.realpath(first))}."
            )
        if self.linked_files:
            first = self.linked_files[0]
            yield (
                f"{_number(self.linked_files, 'linked file')} followed, the first: "
                f"{self._name(first)}, which is {show(os.path.realpath(first))}."
            )
        if self.twice:
            yield (
                f"{_number(self.twice, 'link')} passed over, leading to what was found already or "
                f"back to a folder around it; the first: {self._name(self.twice[0])}."
            )

    def _describe_litter(self) -> Iterator[str]:
        kinds = []
        for kind, places in sorted(self.passed_over.items()):
            first, count = next(iter(places)), sum(places.values())
            some = f"at least {count}" if self.cut_short else str(count)
            kinds.append(f"{some} {kind} (the first: {self._name(first)})")
        if kinds:
            yield (
                "Passed over, though they may be images: "
                f"{'; '.join(kinds)}; move or rename what belongs to the images."
            )

    def _name(self, path: Path) -> str:
        return show(path.relative_to(self.root) if path.is_relative_to(self.root) else path)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, a linked one too; not where that cannot be found out."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or a place without permission
        return False


def is_link(place: "os.DirEntry[str] | Path") -> bool:
    """Whether a place is a link, or a junction of Windows."""
    path = Path(place)
    # Junctions are known since Python 3.12.
    return place.is_symlink() or bool(getattr(path, "is_junction", bool)())


def merge_notes(walks: Sequence[FolderWalk], root: Path) -> list[str]:
    """Return the notes of several walks below a folder as if they had been one.

    Parameters
    ----------
    walks : sequence of FolderWalk
    root : Path
        The folder below which all of them began.

    Returns
    -------
    list of str
    """
    whole = FolderWalk(root, ())
    for walk in walks:
        whole.linked += walk.linked
        whole.linked_files += walk.linked_files
        whole.twice += walk.twice
        whole.cut_short |= walk.cut_short
        for kind, places in walk.passed_over.items():
            whole.passed_over.setdefault(kind, Counter()).update(places)
    return whole.notes


def _number(found: Sequence[Path], what: str) -> str:
    return f"{len(found)} {what} was" if len(found) == 1 else f"{len(found)} {what}s were"


def _ending(name: str) -> str:
    stem, dot, last = name.rpartition(".")
    return dot + last if stem else ""


def _names_below(folder: Path) -> Iterator[str]:
    # os.walk follows no link, and passes over what cannot be opened.
    for _, _, names in os.walk(folder):
        # macOS keeps attributes under such names, never pixels.
        yield from (name for name in names if not name.startswith("._"))
