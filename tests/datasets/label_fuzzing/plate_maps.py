"""Write plate maps and tables of images, as spreadsheets and people write them."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from openpyxl import Workbook

from label_fuzzing.plan import MapPlan, Plan, Well

Cells = list[list[Any]]
# Excel writes a date so into CSV files of German and English systems.
DATE_IN_TEXT = "%d.%m.%Y"


def write_map(plan: Plan, path: Path) -> None:
    """Write the plate map of a plan."""
    if plan.map.kind == "long":
        tables = {"Sheet1": long_cells(plan)}
    elif plan.map.kind == "sheets":
        tables = {name: grid_cells(plan, (name,)) for name in ("treatment", "dose")}
    else:
        names = ("treatment", "dose") if plan.map.kind == "grids" else ("treatment",)
        tables = {"Sheet1": grid_cells(plan, names)}
    if plan.map.suffix == ".xlsx":
        _write_workbook(plan.map, tables, path)
    else:
        write_text(plan.map, tables["Sheet1"], path)


def long_cells(plan: Plan) -> Cells:
    """Return a line for each listed well, the header first."""
    names = ["plate"] * plan.map.plates + [*plan.map.well_columns, "treatment", "dose"]
    lines: Cells = [spell_header(plan.map, names)]
    for well in plan.wells:
        if not well.listed:
            continue
        plate = [well.plate] * plan.map.plates
        value = well.label if well.cell is None else well.cell
        lines.append([*plate, *_well_cells(plan.map, well, plan.map.short_wells), value, well.dose])
    first = next(well for well in plan.wells if well.listed)
    if plan.map.twice:
        plate = [first.plate] * plan.map.plates
        other = _well_cells(plan.map, first, not plan.map.short_wells)
        same = first.label if first.cell is None else first.cell
        value = same if plan.map.twice == "agreeing" else "something else"
        lines.append([*plate, *other, value, first.dose])
    return lines


def _well_cells(plan: MapPlan, well: Well, short: bool) -> list[Any]:
    if len(plan.well_columns) == 2:
        return [well.name[0], well.column + 1]
    return [spell_well(well, short)]


def grid_cells(plan: Plan, names: Sequence[str]) -> Cells:
    """Return grids of treatments, doses or both, one below the other."""
    listed = [well for well in plan.wells if well.listed]
    columns = range(min(w.column for w in listed), max(w.column for w in listed) + 1)
    # A grid of one column is no grid to anybody; plates have more.
    columns = range(columns.start, max(columns.stop, columns.start + 2))
    rows = range(min(w.row for w in listed), max(w.row for w in listed) + 1)
    cells: Cells = []
    for name in names:
        by_place = {(well.row, well.column): _value(well, name) for well in listed}
        cells.append([name, *(column + 1 for column in columns)])
        for row in rows:
            letter = chr(ord("A") + row)
            cells.append([letter, *(by_place.get((row, column), "") for column in columns)])
        cells.append([""] * (len(columns) + 1))
    return cells


def _value(well: Well, name: str) -> Any:
    if name == "dose":
        return well.dose
    return well.label if well.cell is None else well.cell


def spell_well(well: Well, short: bool) -> str:
    """Spell a well as A1 or as A01."""
    return f"{well.name[0]}{well.column + 1}" if short else well.name


def spell_header(plan: MapPlan, names: Sequence[str]) -> list[str]:
    """Spell the names of columns as they are, with a capital, or in capitals."""
    spell = {"title": str.title, "upper": str.upper}.get(plan.header, str)
    return [spell(name) for name in names]


def write_text(plan: MapPlan, cells: Cells, path: Path) -> None:
    """Write cells as text with the plan's separator, encoding and lines above."""
    stream = io.StringIO()
    stream.write("".join(f"{line}\n" for line in plan.above))
    writer = csv.writer(stream, delimiter=plan.separator, lineterminator="\r\n")
    writer.writerows([[_as_text(plan, cell) for cell in line] for line in cells])
    path.write_bytes(stream.getvalue().encode(plan.encoding))


def _as_text(plan: MapPlan, cell: Any) -> str:
    if isinstance(cell, datetime):
        return cell.strftime(DATE_IN_TEXT)
    if isinstance(cell, float):
        text = f"{cell:g}"
        return text.replace(".", ",") if plan.decimal_comma else text
    return str(cell)


def _write_workbook(plan: MapPlan, tables: dict[str, Cells], path: Path) -> None:
    book = Workbook()
    book.remove(book.active)
    for title, cells in tables.items():
        sheet = book.create_sheet(title)
        for line in [[text] for text in plan.above] + cells:
            sheet.append([None if cell == "" else cell for cell in line])
        if plan.merged and title != "dose":
            _merge(sheet, len(plan.above), cells, across=plan.kind != "long")
    book.save(path)


def _merge(sheet: Any, above: int, cells: Cells, across: bool) -> None:
    """Merge neighbours of one treatment: along the rows of a grid, down the column of a list."""
    if across:
        for line, row in enumerate(cells[1:], start=above + 2):
            if not row[0] or row[0] == "dose":
                break
            for start, stop in _runs(row[1:]):
                sheet.merge_cells(None, line, start + 2, line, stop + 1)
    else:
        at = next(i for i, name in enumerate(cells[0]) if str(name).lower() == "treatment")
        for start, stop in _runs([row[at] for row in cells[1:]]):
            sheet.merge_cells(None, above + start + 2, at + 1, above + stop + 1, at + 1)


def _runs(values: Sequence[Any]) -> list[tuple[int, int]]:
    """Return where at least two equal values follow one another."""
    runs, start = [], 0
    for index in range(1, len(values) + 1):
        if index == len(values) or values[index] != values[start]:
            if index - start > 1 and values[start] != "":
                runs.append((start, index))
            start = index
    return runs
