"""Lines to be copied that grow: what all snippets have in common, and how their values are written.

Only what differs from the defaults is written. Names come from files and tables of anybody: in Python
they are literals, in the shell they are quoted, in comments both.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.folders import find_shown
from napari_why.core.options import Parameter

if TYPE_CHECKING:
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier

IMPORT = "import napari_why as why"
# Stands for what has no place on the disk yet; a comment says so.
MODEL, IMAGE, DATA = "model", "image.ome.tif", "data"
UNSAVED_MODEL = "the classifier is in no folder yet: save it as 'model' first"
UNSAVED_IMAGE = "the image is in no file: save its layers as image.ome.tif first"
UNSAVED_DATA = "the data set was made in memory, or is a part of one: give the folder that holds it"
# Arguments of Dataset.open and Dataset.from_plate that the shell has under the same name.
SHELL_DATA = ("label", "pattern", "plate_map", "well_pattern")


@dataclass(frozen=True)
class Snippet:
    """The same work in two languages.

    Parameters
    ----------
    python : str
        Lines that run as they are, in a script or in napari's console.
    shell : str
        One line for a POSIX shell, with comments above it where there is something to do first.
    """

    python: str
    shell: str


@dataclass
class Lines:
    """Two snippets that grow: lines of Python, comments and words of the shell's line."""

    python: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Put a comment above both."""
        self.python.append(f"# {_plain(text)}")
        self.comments.append(f"# {_plain(text)}")

    def finish(self) -> Snippet:
        """Return both as text."""
        shell = " ".join(map(shlex.quote, ("napari-why", *self.words)))
        lines = [IMPORT, "", *self.python]
        return Snippet("\n".join(lines) + "\n", "\n".join([*self.comments, shell]) + "\n")


def add_model(lines: Lines, classifier: "Classifier") -> str:
    """Load the classifier in Python; return where it is.

    Parameters
    ----------
    lines : Lines
    classifier : Classifier

    Returns
    -------
    str
        Path of the classifier's folder; a usual name of one that is not saved, which is said.
    """
    place = MODEL if classifier.folder is None else whole_path(classifier.folder)
    if classifier.folder is None:
        lines.say(UNSAVED_MODEL)
    lines.python.append(f"classifier = why.load({place!r})")
    return place


def add_dataset(lines: Lines, dataset: "Dataset", name: str = "dataset") -> str:
    """Open the data set in Python as a variable of that name; return where it is.

    Parameters
    ----------
    lines : Lines
    dataset : Dataset
    name : str
        Of the variable.

    Returns
    -------
    str
        Path of the folder or table; a usual name of one that is in memory, which is said.
    """
    opened = dict(dataset.opened_as)
    if "location" not in opened:
        lines.say(UNSAVED_DATA)
        lines.python.append(f"{name} = why.Dataset.open({DATA!r})")
        return DATA
    location = whole_path(opened.pop("location"))
    plate_map, seed = opened.pop("plate_map", None), opened.pop("split_seed", None)
    only = opened.pop("only", None)
    positional = [repr(location), *([] if plate_map is None else [repr(whole_path(plate_map))])]
    opener = "open" if plate_map is None else "from_plate"
    call = f"{name} = why.Dataset.{opener}({write_arguments(positional, opened)})"
    if only is not None:
        column, values = only
        call += f".where({column!r}, {list(values)!r})"
    if seed is not None:
        # redrawn, as it was: a split that came with the table is another one
        drawn = {**without_defaults({"seed": seed}, {"seed": 0}), "redraw": True}
        call += f".split({write_arguments([], drawn)})"
    lines.python.append(call)
    return location


def data_words(lines: Lines, dataset: "Dataset", *, of_train: bool = True) -> list[str]:
    """Return the options by which the shell opens the same data set; what it has not, it says.

    Parameters
    ----------
    lines : Lines
        Take the comments about what the shell has no option for.
    dataset : Dataset
    of_train : bool
        Include options that only verbs which train have: channels, groups, the split.

    Returns
    -------
    list of str
        ``--name=value`` each, not yet quoted.
    """
    opened = dataset.opened_as
    words = [
        f"--{name.replace('_', '-')}={whole_path(opened[name]) if name == 'plate_map' else opened[name]}"
        for name in SHELL_DATA
        if opened.get(name) is not None
    ]
    missing = [
        name
        for name in ("classes", "only", "controls", "control_column", "sheet")
        if opened.get(name)
    ]
    strict = [name for name in ("max_unreadable", "allow_leak") if opened.get(name) is not None]
    if of_train:
        words += channel_words(dataset)
        group = opened.get("group", "auto")
        if group != "auto":
            columns = [group] if isinstance(group, str) else group
            words.append(f"--group={'none' if group is None else ','.join(columns)}")
        # one that the table has is kept by the shell too; one that was drawn is drawn again
        if opened.get("split_seed") is not None:
            words.append(f"--split-seed={opened['split_seed']}")
    if missing:
        lines.comments.append(
            f"# the shell opens all images: it has no option for {' and '.join(missing)}"
        )
    if strict:
        lines.comments.append(f"# the shell has no option for {' and '.join(strict)}")
    return words


def channel_words(dataset: "Dataset") -> list[str]:
    """Return the option by which the shell takes the same channels, where some were chosen."""
    channels = dataset.opened_as.get("channels")
    return [f"--channels={','.join(channels)}"] if channels else []


def add_image(
    lines: Lines,
    source: str,
    known: Mapping[str, Any],
    name: str = "image",
    unsaved: tuple[str, str] | None = None,
) -> tuple[str, list[str]]:
    """Read an image in Python; return its path and the options by which the shell reads it.

    What is in no file is taken from the viewer in Python; where that is not possible, ``unsaved`` are
    the name that it is to be saved under first, and the sentence that says so.

    Parameters
    ----------
    lines : Lines
    source : str
        Path of the image; empty for one of layers that tell none.
    known : mapping
        ``read_as`` and ``plane`` of the image, where they are known.
    name : str
        Of the variable.
    unsaved : (str, str), optional
        File name and sentence.

    Returns
    -------
    (str, list of str)
        Path, and options not yet quoted.
    """
    read_as = dict(known.get("read_as") or {})
    given = read_as.pop("path", source)
    several = [given] if isinstance(given, str | Path) else list(given)
    if not several or not all(str(item) and find_shown(item).exists() for item in several):
        if unsaved is not None:
            lines.say(unsaved[1])
            lines.python.append(f"{name} = why.read({unsaved[0]!r})")
            return unsaved[0], []
        lines.comments.append(f"# {UNSAVED_IMAGE}")
        lines.python += [
            "# the image is in no file: in napari's console it is taken from the viewer's layers",
            "image = why.AttributionSession(viewer, classifier).subject().image",
        ]
        return IMAGE, []
    paths = [whole_path(item) for item in several]
    read = repr(paths[0]) if len(paths) == 1 else repr(paths)
    lines.python.append(f"{name} = why.read({write_arguments([read], read_as)})")
    words = []
    if read_as.get("axes"):
        words.append(f"--axes={read_as['axes']}")
    if read_as.get("channels"):
        words.append(f"--channels={','.join(read_as['channels'])}")
    if read_as.get("pattern") or len(paths) > 1:
        lines.comments.append(
            "# the shell takes one file here: save the channels as one OME-TIFF where it does not "
            "find them by their names"
        )
    chosen = known.get("plane") or {}
    if chosen:
        lines.python.insert(0, "from napari_why.images import plane\n")
        lines.python.append(f"{name} = plane({write_arguments([name], chosen)})")
        names = {"t": "time", "z": "depth"}
        words += [f"--{names[axis]}={index}" for axis, index in chosen.items()]
    return paths[0], words


def changed_values(values: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values of parameters that differ from their defaults.

    Parameters
    ----------
    values : mapping
        By name.
    parameters : sequence of Parameter
        Have the defaults; a value that is none of theirs is left out.

    Returns
    -------
    dict
    """
    defaults = {item.name: item.default for item in parameters}
    return {
        name: value
        for name, value in values.items()
        if name in defaults and value != defaults[name]
    }


def without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not those of the defaults.

    Parameters
    ----------
    values, defaults : mapping
        By name; ``defaults`` has all names of ``values``.

    Returns
    -------
    dict
    """
    return {name: value for name, value in values.items() if value != defaults[name]}


def write_arguments(positional: Sequence[str], named: Mapping[str, Any]) -> str:
    """Return what stands between the brackets of a call; positional ones are Python already.

    Parameters
    ----------
    positional : sequence of str
        Python expressions.
    named : mapping
        Values, written by their ``repr``.

    Returns
    -------
    str
    """
    return ", ".join([*positional, *(f"{name}={value!r}" for name, value in named.items())])


def write_options(values: Mapping[str, Any]) -> list[str]:
    """Return options of the shell; with "=", so that no value is taken for an option."""
    words = []
    for name, value in values.items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        elif value is not None:  # None is no value that the shell could be given
            words.append(f"--{dashed}={value}")
    return words


def whole_path(path: Any) -> str:
    """Return a path as it is found from any folder."""
    # absolute: it runs in any folder, and none begins with a dash
    return str(find_shown(path).absolute())


def _plain(text: str) -> str:
    # a line break in a foreign name would end the comment
    return " ".join(text.split())
