"""What a data set's table tells beside the class: plates, days, folders, places on the plate."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import pandas as pd

from napari_why.datasets.spellings import SPLITS
from napari_why.datasets.tables import resolve_groups
from napari_why.images.wells import well_name, well_place

FactorKind = Literal["batch", "position", "folder", "other", "treatment"]
# Words in the name of a column that tells by what an image was made; their numbers are settings.
DEVICE_WORDS = frozenset(
    (
        "camera",
        "detector",
        "device",
        "exposure",
        "filter",
        "gain",
        "lamp",
        "laser",
        "lens",
        "objective",
    )
)
# Words in the name of a column that stands for images made together.
BATCH_WORDS = DEVICE_WORDS | frozenset(
    (
        "coverslip",
        "dish",
        "plate",
        "batch",
        "day",
        "date",
        "week",
        "month",
        "run",
        "session",
        "experiment",
        "operator",
        "person",
        "user",
        "scanner",
        "microscope",
        "instrument",
        "slide",
        "chip",
        "donor",
        "patient",
        "replicate",
        "passage",
        "time",
        "hour",
        "acquired",
        "acquisition",
        "timestamp",
        "barcode",
        "lot",
        "lab",
    )
)
# Of these, such as have a value for every image, and are cut into stretches of time.
TIME_WORDS = frozenset(("date", "time", "hour", "acquired", "acquisition", "timestamp"))
# Words in the name of a column that says what was done to a well: that it tells the class is the
# design of the experiment.
TREATMENT_WORDS = frozenset(
    (
        "treatment",
        "treated",
        "compound",
        "drug",
        "dose",
        "concentration",
        "conc",
        "control",
        "label",
        "class",
        "genotype",
        "gene",
        "sirna",
        "shrna",
        "grna",
        "moa",
        "condition",
        "phenotype",
        "perturbation",
        "target",
        "category",
        "type",
        "role",
    )
)
# More numbers of a column of unknown meaning are measured, not named, and are cut into stretches.
MOST_VALUES = 12
# Stretches of a column of numbers or times that are compared: few enough to hold several wells each.
STRETCHES = 8
MISSING = "(none)"
# Begins the names of factors that are stretches of a column of numbers or times.
STRETCH = "stretch of "
# Ends the names of factors that are halves of each plate.
HALF = " half of a plate"


@dataclass(frozen=True, eq=False)
class Factor:
    """Something that may tell the class although it is not the class.

    Parameters
    ----------
    name : str
        In words: ``plate``, ``column of the plate``, ``operator``.
    kind : {"batch", "position", "folder", "other", "treatment"}
        Images made together; a place on the plate; a folder; a column of unknown meaning; a column
        that says what was done to the well.
    by_image : Series of str, length N
        The value of every image.
    ordered : tuple of str
        All values in their order on the plate, for rows and columns; else empty.
    on_each_plate : bool
        A place of one plate, not the same place of all.
    is_cut : bool
        Made of a column of many values by cutting it into stretches or days.
    """

    name: str
    kind: FactorKind
    by_image: "pd.Series[str]"
    ordered: tuple[str, ...] = ()
    on_each_plate: bool = False
    is_cut: bool = False


# Batches that have one class each by nature, as a patient is ill or not.
LIVING_WORDS = frozenset(("donor", "patient"))


def is_made_once(factor: Factor) -> bool:
    """Tell a batch that images of all classes could have been made in: a plate or a day, no donor."""
    return factor.kind == "batch" and not _words(factor.name) & LIVING_WORDS


def is_name_of_wells(factor: Factor) -> bool:
    """Tell a barcode or a moment, which where it differs from well to well names the well alone."""
    return bool(_words(factor.name) & {"barcode", *TIME_WORDS - {"date"}})


def natural_groups(table: pd.DataFrame, group_columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that name a well, also where the data set was opened without groups.

    Parameters
    ----------
    table : DataFrame
        Of a data set.
    group_columns : sequence of str
        Those it was opened with.

    Returns
    -------
    tuple of str
        Empty where the table tells no wells either.
    """
    return tuple(group_columns) or resolve_groups("data set", table, "auto")


def list_factors(table: pd.DataFrame, labels: "pd.Series[str]") -> Iterator[Factor]:
    """Yield what the table tells of each image beside its class.

    Parameters
    ----------
    table : DataFrame, length N
        Of a data set.
    labels : Series of str, length N
        The classes, whose names do not count in the names of folders.

    Yields
    ------
    Factor
        Each with a value for every image.
    """
    positions = list(_positions(table))
    # The well is what is counted; that its name goes with a class is the layout, seen by position.
    skipped = {"path", "label", "split", "well", *(factor.name for factor in positions)}
    for name in table.columns:
        if str(name) in skipped:
            continue
        kind = _kind_of(str(name))
        values = table[name]
        numbers = values.nunique()
        # Numbers of plates and donors are names.
        measured = kind == "other" or bool(_words(str(name)) & DEVICE_WORDS)
        amounts = _as_numbers(values) if measured and numbers > MOST_VALUES else None
        if kind == "batch" and _words(str(name)) & TIME_WORDS and numbers > MOST_VALUES:
            yield from _stretches(str(name), values)
        elif amounts is None:
            yield Factor(str(name), kind, _as_text(values))
        elif not _is_numbering(amounts):
            yield _cut(str(name), kind, amounts)
    if "path" in table.columns:
        yield Factor("folder", "folder", _folders(table["path"], labels))
    yield from positions


def _words(name: str) -> set[str]:
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return {
        singular
        for word in re.findall("[a-z]+", spaced.lower())
        for singular in (word, word.removesuffix("s"))
    }


def _kind_of(name: str) -> FactorKind:
    words = _words(name)
    # "plate type", "treatment day": what the images have in common weighs more than what was done.
    if words & BATCH_WORDS:
        return "batch"
    return "treatment" if words & TREATMENT_WORDS else "other"


def _as_text(values: "pd.Series[Any]") -> "pd.Series[str]":
    return values.astype(object).where(values.notna(), MISSING).astype(str)


def _stretches(name: str, values: "pd.Series[str]") -> Iterator[Factor]:
    """Cut times that differ from image to image into days, and into stretches of equal count."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():
        times = pd.to_datetime(values, errors="coerce", format="mixed")
        if times.isna().all():
            yield Factor(name, "batch", _as_text(values))
            return
        yield Factor(f"day of {name}", "batch", _as_text(times.dt.date), is_cut=True)
        numbers = times.astype("int64")
    yield _cut(name, "batch", numbers)


def _cut(name: str, kind: FactorKind, numbers: "pd.Series[float]") -> Factor:
    ranks = numbers.rank(method="dense")
    parts = pd.qcut(ranks, STRETCHES, labels=False, duplicates="drop")
    return Factor(f"{STRETCH}{name}", kind, _as_text(parts), is_cut=True)


def _as_numbers(values: "pd.Series[Any]") -> "pd.Series[float] | None":
    """Return numbers, also such as stand there as text; None where one value is none."""
    numbers = pd.to_numeric(values, errors="coerce")
    return None if numbers[values.notna()].isna().any() else numbers


def _is_numbering(numbers: "pd.Series[float]") -> bool:
    """Tell numbers that count the images, as of rows of a table, from measured ones."""
    if numbers.isna().any() or numbers.nunique() < len(numbers):
        return False
    return bool(numbers.max() - numbers.min() == len(numbers) - 1 and (numbers % 1 == 0).all())


def _folders(paths: "pd.Series[str]", labels: "pd.Series[str]") -> "pd.Series[str]":
    """Return the folder of each image without the names of its class and of splits."""
    found = []
    for path, label in zip(paths, labels, strict=True):
        left_out = {str(label).lower(), *SPLITS}
        parts = PurePath(str(path)).parent.parts
        kept = [part for part in parts if part.lower() not in left_out]
        # Joined as a path, for the first part of an absolute one is a "/" itself.
        found.append(PurePath(*kept).as_posix() if kept else "")
    return pd.Series(found, index=paths.index, dtype=object)


def _positions(table: pd.DataFrame) -> Iterator[Factor]:
    names = table["well"].astype(str).map(well_name) if "well" in table.columns else None
    if names is None or names.isna().any() or names.empty:
        return
    places = [well_place(str(name)) for name in names]
    row = pd.Series([place[0] for place in places], index=table.index)
    column = pd.Series([place[1] for place in places], index=table.index)
    letters = pd.Series([str(name).rstrip("0123456789") for name in names], index=table.index)
    order = tuple(dict.fromkeys(letters[row.sort_values(kind="stable").index]))
    yield Factor("row", "position", letters, order)
    counted = tuple(str(number + 1) for number in sorted(set(column)))
    yield Factor("column", "position", (column + 1).astype(str), counted)
    # Of the part of the plate that has images: a plate is often used in part.
    upper, left = row <= _middle(row), column <= _middle(column)
    quadrants = upper.map({True: "upper ", False: "lower "}) + left.map(
        {True: "left", False: "right"}
    )
    yield Factor("quadrant", "position", quadrants)
    outer = row.isin([row.min(), row.max()]) | column.isin([column.min(), column.max()])
    yield Factor("edge", "position", outer.map({True: "edge", False: "inside"}))
    if "plate" in table.columns and len(table["plate"].unique()) > 1:
        # classes that change sides from plate to plate share every row and column, and no half
        plates = table["plate"].astype(str)
        for sides, first in ((("left", "right"), left), (("upper", "lower"), upper)):
            halves = plates + " " + first.map({True: sides[0], False: sides[1]})
            yield Factor(f"{' or '.join(sides)}{HALF}", "position", halves, on_each_plate=True)


def _middle(numbers: "pd.Series[int]") -> float:
    return (int(numbers.min()) + int(numbers.max())) / 2
