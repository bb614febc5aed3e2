import csv
import math
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import DatasetError
from napari_why.datasets import read_plate_map
from napari_why.images.wells import well_name, well_place

# Letters that no reader takes for a number, a well or an empty cell.
VALUES = st.text("uvwxyzäµ ;,\"'", min_size=1, max_size=8).map(str.strip).filter(bool)
WELLS = st.tuples(st.integers(0, 15), st.integers(0, 23))
PLATES = st.dictionaries(WELLS, VALUES, min_size=1, max_size=12)
KEEP = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def named(place: tuple[int, int]) -> str:
    return f"{'ABCDEFGHIJKLMNOP'[place[0]]}{place[1] + 1:02d}"


def save(path: Path, *sheets: list[list[object]], separator: str = ",") -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=separator).writerows(sheets[0])
        return path
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"sheet {number + 1}")
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def drawn(wells: dict[tuple[int, int], object], title: str = "") -> list[list[object]]:
    rows = max(row for row, _ in wells) + 1
    columns = max(2, max(column for _, column in wells) + 1)
    header = [title, *range(1, columns + 1)]
    return [header] + [
        ["ABCDEFGHIJKLMNOP"[row], *(wells.get((row, column), "") for column in range(columns))]
        for row in range(rows)
    ]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@KEEP
@given(wells=PLATES, title=st.sampled_from(["", "drug", "dose in µM"]))
def test_a_grid_gives_every_well_its_value(tmp_path: Path, ending, wells, title) -> None:
    path = save(tmp_path / f"map.{ending}", drawn(wells, title))
    table = read_plate_map(path)
    found = dict(zip(table["well"], table[title or "treatment"], strict=True))
    assert found == {named(place): value for place, value in wells.items()}


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@KEEP
@given(wells=PLATES, separator=st.sampled_from([",", ";", "\t"]))
@example(wells={(0, 0): ";;"}, separator=",")
@example(wells={(0, 0): ",,", (1, 1): ",,,"}, separator="\t")
def test_a_list_and_a_grid_say_the_same(tmp_path: Path, ending, wells, separator) -> None:
    rows = [["Well ID", "drug"], *([named(place), value] for place, value in wells.items())]
    listed = read_plate_map(save(tmp_path / f"list.{ending}", rows, separator=separator))
    grid = read_plate_map(save(tmp_path / f"grid.{ending}", drawn(wells, "drug")))
    assert sorted(listed.itertuples(index=False, name=None)) == sorted(
        grid.itertuples(index=False, name=None)
    )


@given(row=st.integers(0, 31), column=st.integers(0, 47))
def test_every_spelling_is_one_well(row: int, column: int) -> None:
    letters = ("" if row < 26 else "A") + chr(ord("A") + row % 26)
    spelled = [
        f"{letters}{column + 1}",
        f"{letters.lower()}{column + 1:02d}",
        f"{letters}-{column + 1:03d}",
        f"r{row + 1:02d}c{column + 1:02d}",
    ]
    names = {well_name(text) for text in spelled}
    assert names == {f"{letters}{column + 1:02d}"}
    assert well_place(names.pop()) == (row, column)


def test_row_and_column_name_a_well(tmp_path: Path) -> None:
    rows = [["Row", "Col", "dose"], ["B", 3, 0.5], ["2", 11, 1.0]]
    table = read_plate_map(save(tmp_path / "map.xlsx", rows))
    assert table["well"].tolist() == ["B03", "B11"]
    assert table["dose"].tolist() == ["0.5", "1"]


def test_several_grids_become_columns(tmp_path: Path) -> None:
    rows = [
        ["Plate of Monday", "", "", ""],
        ["treatment", "1", "2", "3"],
        ["A", "DMSO", "FCCP", ""],
        ["", "", "", ""],
        ["dose", "", "", ""],
        ["", "1", "2", "3"],
        ["A", "", "0,5", ""],
    ]
    table = read_plate_map(save(tmp_path / "map.csv", rows, separator=";"))
    assert table.to_dict("list") == {
        "well": ["A01", "A02"],
        "treatment": ["DMSO", "FCCP"],
        "dose": ["", "0.5"],
    }


def test_sheets_name_their_grids(tmp_path: Path) -> None:
    path = save(tmp_path / "map.xlsx", drawn({(0, 0): "x"}), drawn({(0, 0): "y"}))
    assert read_plate_map(path).to_dict("list") == {
        "well": ["A01"],
        "sheet 1": ["x"],
        "sheet 2": ["y"],
    }
    assert list(read_plate_map(path, sheet="sheet 2")["treatment"]) == ["y"]
    with pytest.raises(DatasetError, match="expected one of sheet 1, sheet 2"):
        read_plate_map(path, sheet="sheet 3")


def test_lines_above_the_header_do_not_disturb(tmp_path: Path) -> None:
    rows = [["Experiment 7"], [], ["plate", "well", "drug"], ["p1", "A1", "x"], ["p2", "A1", "y"]]
    table = read_plate_map(save(tmp_path / "map.xlsx", rows))
    assert table["plate"].tolist() == ["p1", "p2"]


def test_text_of_other_encodings_is_read(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        (tmp_path / "map.csv").write_bytes("well;dose µM\r\nA1;0,5\r\n".encode(encoding))
        assert read_plate_map(tmp_path / "map.csv").to_dict("list") == {
            "well": ["A01"],
            "dose µM": ["0.5"],
        }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["well", "drug"], ["A1", "x"], ["a01", "y"]], "A01 in several lines that differ"),
        ([["well", "drug"], ["Q99", "x"]], "'Q99' for a well in line 2"),
        ([["well", "drug"]], "no well below the header"),
        ([["well", "drug", "drug"], ["A1", "x", "y"]], "several columns called drug"),
        ([["name", "drug"], ["x", "y"]], "begins with 'name', 'drug'"),
        ([["drug", "1", "2"], ["A", "", ""]], "grids without values"),
        ([[]], "an empty table"),
    ],
)
def test_what_is_no_plate_map_is_told(tmp_path: Path, rows, words) -> None:
    with pytest.raises(DatasetError, match=words):
        read_plate_map(save(tmp_path / "map.csv", rows))


def test_files_that_are_no_tables_are_named(tmp_path: Path) -> None:
    (tmp_path / "map.xlsx").write_bytes(b"PK\x03\x04 but no workbook")
    (tmp_path / "map.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    for name, words in (
        ("map.xlsx", "no readable workbook"),
        ("map.xls", r"ending '\.xls'"),
        ("none.csv", "no such file"),
    ):
        with pytest.raises(DatasetError, match=words):
            read_plate_map(tmp_path / name)


def test_an_empty_number_stays_empty(tmp_path: Path) -> None:
    from napari_why.datasets.plate_images import convert_numbers

    rows = [["well", "dose", "lot"], ["A1", "0.5", "x7"], ["A2", "", "7"]]
    table = convert_numbers(read_plate_map(save(tmp_path / "map.csv", rows)), keep=["well"])
    assert table["dose"][0] == 0.5
    assert math.isnan(table["dose"][1])
    assert table["lot"].tolist() == ["x7", "7"]


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_no_line_of_a_long_map_is_lost(tmp_path: Path, ending: str) -> None:
    wells = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
    rows = [["well", "treatment"], *([well, f"drug of {well}"] for well in wells)]
    path = tmp_path / f"map{ending}"
    if ending == ".csv":
        path.write_text("\n".join(",".join(row) for row in rows), encoding="utf-8")
    else:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    table = read_plate_map(path)
    assert list(table["well"]) == wells
    assert list(table["treatment"]) == [f"drug of {well}" for well in wells]
