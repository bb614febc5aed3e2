"""What is there of a screen by now: its wells as they are done, and the findings once all are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.utils.colormaps import ensure_colormap
from numpy.typing import NDArray

from napari_why.core.errors import WhyError
from napari_why.core.whole_files import plain_cell
from napari_why.images.wells import well_place
from napari_why.screening.hits import is_hit
from napari_why.screening.merge import RECORD, SUMMARY, options_of
from napari_why.screening.options import ScreenOptions
from napari_why.screening.parts import part_path, read_facts, read_part, read_plan
from napari_why.screening.statistics import lie_at_edge, plate_shape
from napari_why.screening.tables import (
    COMPOUND,
    DOSE,
    FAILED,
    FIELDS,
    METADATA,
    ON_THE_WAY,
    PLATE,
    QUALITY,
    ROLE,
    SAMPLE,
    WELL,
    gather_wells,
    is_feature,
    log_odds_column,
    names_of,
    without_latents,
)

# Equal steps of the values look like equal steps of the colour, also in grey and to the colour-blind.
COLORMAP = "viridis"
# Of the values of all wells: a single odd well would leave the others one colour.
ENDS = (0.01, 0.99)
# What a well is, beside its value.
WAITING, UNREADABLE, NO_VALUE = "not done yet", "no field could be read", "no value"
# What the table of hits shows, where it is there.
HIT_COLUMNS = ("compound", "dose", "on-target", "off-target", "finding")


@dataclass(frozen=True)
class Scale:
    """The values at both ends of a colour bar, and whether there are values beyond them."""

    low: float
    high: float
    below: bool = False
    above: bool = False

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Scale | None":
        """Return the scale of some values; None where none of them is a number.

        Examples
        --------
        >>> Scale.of(np.array([1.0, 2.0, np.nan]))
        Scale(low=1.01, high=1.99, below=True, above=True)
        >>> Scale.of(np.array([3.0, 3.0])), Scale.of(np.array([np.nan]))
        (Scale(low=2.5, high=3.5, below=False, above=False), None)
        """
        known = values[np.isfinite(values)]
        if not known.size:
            return None
        low, high = (float(end) for end in np.quantile(known, ENDS))
        if high <= low:
            return cls(low - 0.5, low + 0.5)
        return cls(low, high, bool(known.min() < low), bool(known.max() > high))

    def colours(self, values: NDArray[np.float64]) -> list[str]:
        """Return the colour of each value, those beyond the ends as the ends.

        Examples
        --------
        >>> Scale(0, 1).colours(np.array([0.0, 2.0]))
        ['#440154', '#fde724']
        """
        places = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        mapped = (ensure_colormap(COLORMAP).map(places)[:, :3] * 255).astype(int)
        return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in mapped]


@dataclass(frozen=True)
class ShownWell:
    """What is known of a well, for whoever draws it.

    Parameters
    ----------
    plate, well : str
    value : float
        Of the chosen column; NaN without one.
    colour : str
        Of the value; empty without one.
    state : str
        Why there is no value: :data:`WAITING`, :data:`UNREADABLE` or :data:`NO_VALUE`; empty with one.
    role : str
        Which control it is, or a sample; empty as long as it is not done.
    flagged, edge : bool
        Whether some of its fields failed or are of poor quality, and whether it lies at the edge.
    facts : tuple of str
        What there is to say, the name first.
    """

    plate: str
    well: str
    value: float
    colour: str
    state: str
    role: str
    flagged: bool
    edge: bool
    facts: tuple[str, ...]

    @property
    def is_waiting(self) -> bool:
        """Whether it is not done yet."""
        return self.state == WAITING

    @property
    def is_unreadable(self) -> bool:
        """Whether not one of its fields could be read."""
        return self.state == UNREADABLE

    @property
    def place(self) -> tuple[int, int]:
        """Row and column, from 0."""
        return well_place(self.well)


@dataclass(frozen=True, eq=False)
class ScreenState:
    """A screen as it is on the disk at one time.

    Parameters
    ----------
    folder : Path
    plan : mapping
        As :func:`~napari_why.screening.parts.read_plan` returns it.
    wells : DataFrame
        Those that are done, see :func:`~napari_why.screening.tables.gather_wells`; with scores of plates
        once all are.
    hits : DataFrame
        Compounds, hits first; empty as long as not all wells are done.
    complete : bool
    sentences : tuple of str
        What there is to say of the whole.
    parts : mapping
        The fields of each well that was read, for the next look.
    """

    folder: Path
    plan: Mapping[str, Any]
    wells: pd.DataFrame
    hits: pd.DataFrame
    complete: bool
    sentences: tuple[str, ...]
    parts: Mapping[tuple[str, str], pd.DataFrame] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Of the plan."""
        return str(self.plan["fingerprint"])

    @cached_property
    def options(self) -> ScreenOptions:
        """What the screen asks."""
        return options_of(self.plan)

    @cached_property
    def plates(self) -> tuple[str, ...]:
        """The plates in their order."""
        return tuple(dict.fromkeys(str(plate) for plate, *_ in self.plan["wells"]))

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """What people call each column with numbers, but for latents; what tells most stands first."""
        table = without_latents(self.wells)
        numeric = [
            name
            for name in names_of(table)
            if pd.api.types.is_numeric_dtype(table[name])
            and not pd.api.types.is_bool_dtype(table[name])
        ]
        first = [ON_THE_WAY, log_odds_column(self.options.healthy)]
        ordered = sorted(
            numeric,
            key=lambda name: (first.index(name) if name in first else len(first), _is_about(name)),
        )
        return {name: plain_name(name) for name in ordered}

    @property
    def done(self) -> int:
        """How many wells are done."""
        return len(self.wells)

    def scale(self, column: str) -> Scale | None:
        """Return the scale of a column over all plates, so that plates can be compared."""
        if column not in self.wells:
            return None
        return Scale.of(self.wells[column].to_numpy(np.float64))

    def show_plate(self, plate: str, column: str) -> list[ShownWell]:
        """Return every well of a plate that the plan names, done or not.

        Parameters
        ----------
        plate : str
        column : str
            Of :attr:`wells`, whose values colour them.

        Returns
        -------
        list of ShownWell
            In the order of the plan.
        """
        names = [str(well) for name, well, *_ in self.plan["wells"] if name == plate]
        told = self.plan.get("shape")  # plans of older versions have none
        shape = (int(told[0]), int(told[1])) if told else plate_shape(names)
        edges = lie_at_edge(names, shape)
        rows = self._rows_by_well.get(plate, {})
        scale = self.scale(column)
        return [
            self._show(plate, name, rows.get(name), column, scale, edge=bool(edge))
            for name, edge in zip(names, edges, strict=True)
        ]

    def hit_rows(self) -> tuple[list[str], list[list[str]]]:
        """Return header and cells of what is shown of hits."""
        header = [name for name in HIT_COLUMNS if name in self.hits]
        rows = [[_number(row[name]) for name in header] for row in self.hits.to_dict("records")]
        return header, rows

    def wells_of_hit(self, number: int) -> list[tuple[str, str]]:
        """Return plate and well of a row of :attr:`hits`."""
        wells = self.wells[self._is_of(self.hits.iloc[number])]
        return list(zip(wells[PLATE].astype(str), wells[WELL].astype(str), strict=True))

    def hit_of_well(self, plate: str, well: str) -> int | None:
        """Return the row of :attr:`hits` that a well belongs to; None of controls.

        Parameters
        ----------
        plate, well : str

        Returns
        -------
        int or None
            From 0; None also of a well that is not done, and before there are hits.
        """
        row = self._rows_by_well.get(plate, {}).get(well)
        if row is None or self.hits.empty or row[ROLE] != SAMPLE:
            return None
        same = (self.hits["compound"] == str(row[COMPOUND])).to_numpy()
        if "dose" in self.hits and DOSE in row:
            same = same & _same_numbers(self.hits["dose"], row[DOSE])
        return int(np.flatnonzero(same)[0]) if same.any() else None

    def describe_well(self, plate: str, well: str, column: str = "") -> tuple[str, ...]:
        """Say what is known of a well, its name first.

        Parameters
        ----------
        plate, well : str
        column : str
            Of :attr:`wells`, whose value is said too; empty for none.

        Returns
        -------
        tuple of str
        """
        row = self._rows_by_well.get(plate, {}).get(well)
        name = f"{plate} {well}"
        if row is None:
            return (name, WAITING)
        facts = [f"{row[COMPOUND]}{_dose_of(row)}"]
        if row[ROLE] != SAMPLE:
            facts.append(str(row[ROLE]))
        if column in row:
            facts.append(f"{plain_name(column)}: {_number(row[column])}")
        read, failed = int(row[FIELDS]), int(row[FAILED])
        counted = "1 field" if read == 1 else f"{read} fields"
        facts.append(f"{counted}, {failed} failed" if failed else counted)
        if row[QUALITY]:
            facts.append(str(row[QUALITY]))
        number = self.hit_of_well(plate, well)
        if number is not None:
            facts.append(str(self.hits["finding"].iloc[number]))
        return (name, *facts)

    def _show(
        self,
        plate: str,
        well: str,
        row: Mapping[str, Any] | None,
        column: str,
        scale: Scale | None,
        *,
        edge: bool,
    ) -> ShownWell:
        value = float("nan") if row is None or column not in row else float(row[column])
        state = ""
        if row is None:
            state = WAITING
        elif not row[FIELDS]:
            state = UNREADABLE
        elif not np.isfinite(value):
            state = NO_VALUE
        facts = [*self.describe_well(plate, well, column)]
        if state == UNREADABLE:
            facts.append(state)
        if edge:
            facts.append("at the edge of the plate")
        colour = scale.colours(np.array([value]))[0] if scale is not None and not state else ""
        return ShownWell(
            plate,
            well,
            value,
            colour,
            state,
            role="" if row is None else str(row[ROLE]),
            flagged=row is not None and bool(row[FAILED] or row[QUALITY]),
            edge=edge,
            facts=tuple(facts),
        )

    @cached_property
    def _rows_by_well(self) -> dict[str, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        shown = without_latents(self.wells)
        for row in shown.to_dict("records"):
            plain = {str(name): value for name, value in row.items()}
            found.setdefault(str(plain[PLATE]), {})[str(plain[WELL])] = plain
        return found

    def _is_of(self, hit: "pd.Series[Any]") -> NDArray[np.bool_]:
        same = (self.wells[COMPOUND].astype(str) == str(hit["compound"])).to_numpy(bool)
        same = same & (self.wells[ROLE] == SAMPLE).to_numpy(bool)
        if "dose" in hit and DOSE in self.wells:
            same = same & _same_numbers(self.wells[DOSE], hit["dose"])
        return same


def read_screen(folder: str | Path, before: ScreenState | None = None) -> ScreenState:
    """Read what is there of a screen: its parts, or its tables once all is done.

    Parameters
    ----------
    folder : path
        Of its results.
    before : ScreenState, optional
        Of an earlier look: only wells that came since are read.

    Returns
    -------
    ScreenState

    Raises
    ------
    WhyError
        There is no plan of a screen, or something cannot be read.
    """
    place = Path(folder)
    plan = read_plan(place)
    if _is_complete(place, plan):
        try:
            wells = pd.read_parquet(place / "wells.parquet")
            text = (place / SUMMARY).read_text(encoding="utf-8")
            hits = _read_hits(place)
        except (OSError, ValueError) as error:  # pyarrow's and pandas' own are ValueErrors
            raise WhyError(
                f"{place}: found a complete screen whose tables cannot be read ({error}); put its parts "
                "together again with merge"
            ) from error
        return ScreenState(place, plan, wells, hits, True, tuple(text.splitlines()))
    same = before is not None and before.fingerprint == plan["fingerprint"]
    parts = dict(before.parts) if before is not None and same else {}
    for plate, well, _count, key in plan["wells"]:
        path = part_path(place, plate, well)
        # of another classifier or other options: it will be done anew
        if (plate, well) not in parts and (read_facts(path) or {}).get("key") == key:
            parts[plate, well] = read_part(path)[0]
    wells = pd.DataFrame()
    if parts:
        wells = gather_wells(pd.concat(parts.values(), ignore_index=True))
    said = (f"{len(parts)} of {len(plan['wells'])} wells are done", *plan["notes"])
    return ScreenState(place, plan, wells, pd.DataFrame(), False, said, parts)


def plain_name(column: str) -> str:
    """Return what people call a column.

    Examples
    --------
    >>> plain_name("Metadata_spread of flagged"), plain_name("way to healthy")
    ('spread of flagged', 'way to healthy')
    """
    return column.removeprefix(METADATA)


def _is_about(name: str) -> bool:
    return not is_feature(name)


def _is_complete(folder: Path, plan: Mapping[str, Any]) -> bool:
    try:
        details = json.loads((folder / RECORD).read_text(encoding="utf-8"))["details"]
        return bool(details["complete"]) and details["plan"] == plan["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


# Columns of hits.csv that hold text.
WORDS_OF_HITS = ("compound", "finding", "quality", "largest change", "other change")


def _read_hits(folder: Path) -> pd.DataFrame:
    path = folder / "hits.csv"
    if not path.exists():  # a plate of controls alone
        return pd.DataFrame()
    names = list(pd.read_csv(path, nrows=0).columns)
    words = [name for name in names if name in WORDS_OF_HITS]
    # a compound may be called NA, or by a number: cells of text are what they are, and only numbers are missing
    missing = {name: [""] for name in names if name not in words}
    hits = pd.read_csv(
        path, dtype=dict.fromkeys(words, str), keep_default_na=False, na_values=missing
    )
    for name in words:  # or begin as a formula does, against which tables are protected
        hits[name] = [plain_cell(value) for value in hits[name]]
    return hits.loc[(~is_hit(hits)).sort_values(kind="stable").index].reset_index(drop=True)


def _same_numbers(values: "pd.Series[Any]", wanted: Any) -> NDArray[np.bool_]:
    numbers = values.to_numpy(np.float64)
    # doses are read from text twice, and 0 is one of them
    same: NDArray[np.bool_] = np.isclose(numbers, float(wanted), rtol=1e-9, atol=0, equal_nan=True)
    return same


def _dose_of(row: Mapping[str, Any]) -> str:
    dose = row.get(DOSE)
    return "" if dose is None or np.isnan(dose) else f", dose {dose:g}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)
