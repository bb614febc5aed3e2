"""Open a case as users do, by the public functions alone, and keep all that was said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from label_fuzzing.case import Case
from napari_why.core.errors import WhyError
from napari_why.datasets import Dataset
from napari_why.datasets.plate_images import PlateMatch, match_plate
from napari_why.datasets.tables import list_images, notes_of


@dataclass
class Opened:
    """What came out: rows of the table, all sentences, and the pixels where they were read.

    ``left_out`` are paths that were named one by one, ``unlabelled`` wells whose class is empty in
    the map. ``numbers`` has the first pixel of every channel of every row. ``error`` is what was
    raised instead of all that.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    numbers: list[list[int]] | None = None
    channels: tuple[str, ...] = ()
    error: BaseException | None = None


Opener = Callable[[Case], Opened]


def open_names(case: Case) -> Opened:
    """List the images with their labels; no pixel is read."""
    return _caught(_list, case)


def open_pixels(case: Case) -> Opened:
    """Open the data set, pixels included."""
    return _caught(_open, case)


def _caught(how: Opener, case: Case) -> Opened:
    try:
        return how(case)
    # Whatever it is, it is judged: only the package's own errors are meant to be raised.
    except Exception as error:  # noqa: BLE001
        return Opened(error=error)


def _list(case: Case) -> Opened:
    match = None
    if case.map is not None:
        table, match = match_plate(case.folder, case.map)
    else:
        table = list_images(case.folder)
    opened = Opened(rows=_rows(table), notes=notes_of(table))
    return _with_match(opened, match)


def _open(case: Case) -> Opened:
    if case.map is not None:
        dataset = Dataset.from_plate(case.folder, case.map)
    else:
        dataset = Dataset.open(case.folder)
    opened = Opened(rows=_rows(dataset.table), notes=list(dataset.notes), channels=dataset.channels)
    opened.left_out = [item.path for item in dataset.unreadable]
    opened.numbers = [
        [int(pixels[0, 0]) for pixels in dataset.image(row).values] for row in range(len(dataset))
    ]
    return _with_match(opened, dataset.plate_match)


def _rows(table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in table.to_dict("records")]


def _with_match(opened: Opened, match: PlateMatch | None) -> Opened:
    if match is not None:
        opened.left_out += [item.path for item in match.images_without_wells]
        opened.unlabelled += list(match.wells_without_class)
        # That a well has no image is no word about images that lie there.
        said = PlateMatch(wells_without_images=match.wells_without_images).sentences
        opened.notes = [note for note in opened.notes if note not in said]
    return opened


def is_refusal(error: BaseException) -> bool:
    """Whether an error is one that users are meant to meet."""
    return isinstance(error, WhyError)


def mentions_of(case: Case) -> tuple[str, ...]:
    """Return what an error may name: folders, files, and the options that would help."""
    files = [path.name for picture in case.pictures for path in picture.files]
    beside = [Path(case.map).name] if case.map else []
    return (str(case.folder), *files, *beside)
