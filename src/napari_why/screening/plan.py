"""Which fields of which wells of which plates: known before the first is opened, and known again."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_why.batch import ImageReference
from napari_why.core.errors import DatasetError, ParameterError
from napari_why.core.folders import find_shown, show
from napari_why.datasets.plate_images import match_plate
from napari_why.datasets.tables import find_image_files, notes_of
from napari_why.images import plates_of
from napari_why.images.file_names import parse_names
from napari_why.images.wells import well_name, well_place
from napari_why.output.layer_metadata import plain_json
from napari_why.screening.options import ScreenOptions
from napari_why.screening.statistics.plate_effects import plate_shape, shape_of

# Columns of a map or of names that may tell which field of a well an image is.
SITE_COLUMNS = ("site", "field", "fov")
# Options of the statistics of all wells.
OF_THE_WHOLE = ("plate_wells", "false_discovery_rate", "most_inactive", "draws", "seed")
# What stands for no dose in a plate map, in small letters.
NO_DOSE = ("", "nan", "na", "n/a", "none", "-")
# What the table of a plate's images has beside the columns of the map.
OWN_COLUMNS = ("path", "label", "plate", "well")


@dataclass(frozen=True)
class FieldTask:
    """One field that is to be looked at.

    Parameters
    ----------
    site : str
        Which field of the well, as the names or the map tell; else numbered from 1.
    reference : ImageReference
        Its files.
    place : str
        Its files below the folder of the plate: the same wherever that lies.
    """

    site: str
    reference: ImageReference
    place: str


@dataclass(frozen=True)
class WellTask:
    """One well: the unit of work, and of statistics.

    Parameters
    ----------
    plate, well : str
        The well as :func:`~napari_why.images.wells.well_name` spells it.
    fields : tuple of FieldTask
    about : mapping
        What the plate map says of it.
    """

    plate: str
    well: str
    fields: tuple[FieldTask, ...]
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Plate and well in words."""
        return f"{self.plate} {self.well}"


def work_key(classifier: str, options: ScreenOptions, task: WellTask) -> str:
    """Return what the results of a well are known by: all that decides about them but its pixels.

    Statistics of the whole screen decide about no well: with another false-discovery rate, or more
    plates, wells that are done stay done.

    Parameters
    ----------
    classifier : str
        Its fingerprint.
    options : ScreenOptions
    task : WellTask

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    decisive = {
        name: value
        for name, value in plain_json(asdict(options)).items()
        if name not in OF_THE_WHOLE
    }
    fields = [[item.site, item.place] for item in task.fields]
    about = sorted((name, str(value)) for name, value in task.about.items())
    told = json.dumps([classifier, decisive, task.plate, task.well, fields, about], sort_keys=True)
    return sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class Shard:
    """One of several parts of a plan, for batch systems without a scheduler of ours.

    Parameters
    ----------
    index, count : int
        Which, from 1, of how many.

    Examples
    --------
    >>> Shard.of("2/8")
    Shard(index=2, count=8)
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ParameterError(
                f"shard: found {self.index}/{self.count}; expected i/n with i from 1 to n"
            )

    @classmethod
    def of(cls, text: str) -> "Shard":
        """Read i/n.

        Raises
        ------
        ParameterError
            It is none.
        """
        first, _, second = text.partition("/")
        if not (first.isdecimal() and second.isdecimal()):
            raise ParameterError(f"shard: found {text!r}; expected i/n, such as 2/8")
        return cls(int(first), int(second))

    @property
    def is_all(self) -> bool:
        """Whether it is the whole plan."""
        return self.count == 1


@dataclass(frozen=True)
class ScreenPlan:
    """All wells of a screen in the order of the plates.

    Parameters
    ----------
    wells : tuple of WellTask
    classifier : str
        Fingerprint of the classifier.
    options : ScreenOptions
    notes : tuple of str
        What did not fit between images and plate map, in sentences.
    shape : (int, int), optional
        Rows and columns of the plates: those that were asked for, or of the smallest that has all wells of
        the map and the images.
    sources : mapping
        What :func:`plan_screen` was given to find the images: ``plates``, ``plate_map`` and how names are
        read. It decides about no result.
    """

    wells: tuple[WellTask, ...]
    classifier: str
    options: ScreenOptions
    notes: tuple[str, ...] = ()
    sources: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, int] | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the options and of what every well is made with; see :func:`work_key`.

        Not of where the plates lie: a copy on another computer makes the same results, and shards
        of several computers are merged by it.
        """
        keys = [work_key(self.classifier, self.options, task) for task in self.wells]
        told = json.dumps([plain_json(asdict(self.options)), keys], sort_keys=True)
        return sha256(told.encode()).hexdigest()

    @property
    def field_count(self) -> int:
        """How many fields there are."""
        return sum(len(task.fields) for task in self.wells)

    def part(self, shard: Shard) -> tuple[WellTask, ...]:
        """Return the wells of a shard: every n-th, so that all shards have wells of all plates."""
        return self.wells[shard.index - 1 :: shard.count]

    def to_dict(self) -> dict[str, Any]:
        """Return what a merge has to know of the plan, as JSON types."""
        return {
            "fingerprint": self.fingerprint,
            "classifier": self.classifier,
            "options": plain_json(asdict(self.options)),
            "wells": [
                [
                    task.plate,
                    task.well,
                    len(task.fields),
                    work_key(self.classifier, self.options, task),
                ]
                for task in self.wells
            ],
            "notes": list(self.notes),
            "sources": dict(self.sources),
            "shape": None if self.shape is None else list(self.shape),
        }


def plan_screen(
    plates: Sequence[str | Path],
    plate_map: str | Path,
    options: ScreenOptions,
    classifier: str = "",
    *,
    channels: Sequence[str] | None = None,
    pattern: str | None = None,
    well_pattern: str | None = None,
) -> ScreenPlan:
    """List the fields of all wells that the plate map names, without opening any.

    Parameters
    ----------
    plates : sequence of path
        Folders of plates; one folder may hold several where the map has a column ``plate``.
    plate_map : path
        See :func:`~napari_why.datasets.plate_map.read_plate_map`.
    options : ScreenOptions
    classifier : str
        Fingerprint.
    channels, pattern, well_pattern
        See :func:`~napari_why.batch.find_references`.

    Returns
    -------
    ScreenPlan

    Raises
    ------
    DatasetError
        There is no image, map or column, or a well comes twice.
    ParameterError
        A control's value is in no well.
    """
    read_as = {
        name: value
        for name, value in (("channels", list(channels or ())), ("pattern", pattern))
        if value
    }
    wells: dict[tuple[str, str], WellTask] = {}
    absent: Counter[str] = Counter()
    notes: list[str] = []
    for folder in map(Path, plates):
        table, match = match_plate(
            folder,
            plate_map,
            label=options.compound,
            well_pattern=well_pattern,
            pattern=pattern,
        )
        absent.update(match.wells_without_images)
        images = find_image_files(table, pattern)
        found = _list_wells(folder, table, images, options.compound, read_as)
        twice = next((key for key in found if key in wells), None)
        if twice is not None:
            raise DatasetError(
                f"{folder}: found well {' '.join(twice)} in two of the folders; expected each plate once; "
                "name the plates in a column 'plate' of the map"
            )
        wells |= found
        # said of each folder alone, that a well is not in it is no news
        others = match.sentences[1:] if match.wells_without_images else match.sentences
        notes += [*others, *notes_of(table)]
    nowhere = [name for name, times in absent.items() if times == len(plates)]
    if nowhere:
        notes.insert(
            0, f"No image was found of {len(nowhere)} wells of the map (the first: {nowhere[0]})."
        )
    # the map's own wells too: of a plate whose rim is not imaged the rest looks like a smaller one
    shape, doubt = _find_shape(
        [well for _, well in wells] + [name.split()[-1] for name in absent], options
    )
    notes += doubt
    ordered = sorted(wells.values(), key=lambda task: (task.plate, well_place(task.well)))
    _check_controls(ordered, options)
    dose = options.dose_column(sorted({name for task in ordered for name in task.about}))
    if dose is not None:
        _check_doses(ordered, dose)
    sources = {
        "plates": [_whole(folder) for folder in plates],
        "plate_map": _whole(plate_map),
        **read_as,
        **({"well_pattern": well_pattern} if well_pattern else {}),
    }
    return ScreenPlan(
        tuple(ordered), classifier, options, tuple(dict.fromkeys(notes)), sources, shape
    )


def _find_shape(
    wells: Sequence[str], options: ScreenOptions
) -> tuple[tuple[int, int] | None, list[str]]:
    """Return rows and columns of the plates, and a sentence where that is a guess.

    Raises
    ------
    ParameterError
        No plate has as many wells as were asked for, or these do not lie on it.
    """
    if not wells:
        return None, []
    least = plate_shape(wells)
    if options.plate_wells is not None:
        asked = shape_of(options.plate_wells)
        if asked[0] < least[0] or asked[1] < least[1]:
            outside = max(wells, key=lambda well: max(well_place(well)))
            raise ParameterError(
                f"plate_wells: found {options.plate_wells}, but well {outside}; expected "
                f"{least[0] * least[1]} or more"
            )
        return asked, []
    rows, columns = (max(numbers) + 1 for numbers in zip(*map(well_place, wells), strict=True))
    if rows == least[0] or columns == least[1]:
        return least, []
    return least, [
        f"The plates are taken for those of {least[0] * least[1]} wells, of which the last row and column are in "
        "neither map nor images; which wells lie at the edge depends on that: say plate_wells if they are others."
    ]


def _whole(path: str | Path) -> str:
    return show(find_shown(path).absolute())


def _list_wells(
    folder: Path,
    table: pd.DataFrame,
    images: Sequence[tuple[Path, ...]],
    compound: str,
    read_as: Mapping[str, Any],
) -> dict[tuple[str, str], WellTask]:
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    sites = _list_sites(rows, images)
    grouped: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(rows):
        plate = str(row.get("plate") or show(find_shown(folder).resolve().name))
        grouped.setdefault((plate, well_name(row["well"]) or row["well"]), []).append(number)
    found = {}
    for (plate, well), numbers in grouped.items():
        tasks = [
            FieldTask(
                site,
                ImageReference(images[number], {"image": show(images[number][0])}, dict(read_as)),
                _place(folder, images[number]),
            )
            for number, site in zip(numbers, _own_sites([sites[n] for n in numbers]), strict=True)
        ]
        about = {
            name: value
            for name, value in rows[numbers[0]].items()
            if name not in (*OWN_COLUMNS, *SITE_COLUMNS)
        }
        # as text and in one spelling: a compound may be called by a number
        about[compound] = rows[numbers[0]]["label"]
        tasks.sort(key=lambda task: (len(task.site), task.site))
        found[plate, well] = WellTask(plate, well, tuple(tasks), about)
    return found


def _place(folder: Path, files: Iterable[Path]) -> str:
    below = [
        path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        for path in files
    ]
    return "; ".join(show(path.as_posix()) for path in below)


def _list_sites(rows: Sequence[Mapping[str, Any]], images: Sequence[tuple[Path, ...]]) -> list[str]:
    """Return which field of its well each image is; empty where nothing tells."""
    column = next((name for name in SITE_COLUMNS if rows and name in rows[0]), None)
    if column is not None:
        # a map's numbers are floats where a cell is empty
        return [
            f"{row[column]:g}" if isinstance(row[column], float) else str(row[column])
            for row in rows
        ]
    firsts = [files[0] for files in images]
    named, stored = parse_names(firsts), plates_of(firsts)
    return [
        stored[path][1].field
        if path in stored
        else (named[path].groups.get("field", "") if path in named else "")
        for path in firsts
    ]


def _own_sites(sites: Sequence[str]) -> list[str]:
    """Return a name for each field of a well: the numbers in order where names tell none, or one twice."""
    if all(sites) and len(set(sites)) == len(sites):
        return list(sites)
    return [str(number) for number in range(1, len(sites) + 1)]


def read_dose(value: Any) -> float:
    """Return a dose of a plate map; NaN where the cell is empty or holds no number.

    Examples
    --------
    >>> read_dose("0.5"), read_dose(""), read_dose("1 uM")
    (0.5, nan, nan)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _check_doses(wells: Sequence[WellTask], column: str) -> None:
    """Refuse doses that no curve has, and words, of which all would pass for one unknown dose."""
    for task in wells:
        value = task.about.get(column)
        dose = read_dose(value)
        if dose < 0 or np.isinf(dose):
            raise ParameterError(
                f"dose: found {value!r} of well {task.name} in the column {column!r}; expected amounts of "
                "0 and more; write the doses themselves in place of their logarithms"
            )
        empty = value is None or (isinstance(value, float) and np.isnan(value))
        if np.isnan(dose) and not empty and str(value).strip().lower() not in NO_DOSE:
            raise ParameterError(
                f"dose: found {value!r} of well {task.name} in the column {column!r}; expected numbers, "
                "all in one unit, without its name; leave the cell empty where there is no dose, or "
                "give the column another name where it holds none"
            )


def _check_controls(wells: Sequence[WellTask], options: ScreenOptions) -> None:
    values = {str(task.about[options.compound]) for task in wells}
    for name, wanted in (("negative", options.negatives), ("positive", options.positives)):
        missing = [value for value in wanted if value not in values]
        if missing:
            some = ", ".join(sorted(values)[:10])
            raise ParameterError(
                f"{name}: found no well with {options.compound} {missing[0]!r}; expected one of {some}"
            )
