import csv
import datetime
import math
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import DatasetError
from napari_why.core.whole_files import harmless_cell
from napari_why.datasets import read_plate_map
from napari_why.datasets.spellings import unite_classes
from napari_why.images.wells import well_name, well_place

# Letters that no reader takes for a number, a well or an empty cell.
VALUES = (
    st.text("uvwxyzäµ ;,\"'", min_size=1, max_size=8)
    .map(lambda text: " ".join(text.split()))
    .filter(bool)
)
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


@pytest.mark.parametrize(
    ("header", "plate"),
    [
        (["Metadata_Plate", "Metadata_Well"], True),
        (["Assay_Plate_Barcode", "well_position"], True),
        (["Platte", "Vertiefung"], True),
        (["Plaque", "Puits"], True),
        (["Placa", "Pocillo"], True),
        (["Destination Plate Name", "Destination Well"], True),
        (["Source Well", "Destination Well"], False),
        (["Kommentar", "Kavit\u00e4t"], False),
        (["Position", "Wells"], False),
    ],
)
def test_wells_and_plates_have_many_names(tmp_path: Path, header: list[str], plate: bool) -> None:
    lines = [";".join([*header, "drug"]), "C7;A1;x", "C8;A2;y"]
    (tmp_path / "map.csv").write_text("\n".join(lines), encoding="cp1252")
    table = read_plate_map(tmp_path / "map.csv")
    assert table["well"].tolist() == ["A01", "A02"]
    assert table["plate" if plate else header[0]].tolist() == ["C7", "C8"]


@pytest.mark.parametrize(
    "header", ["Zeile;Spalte", "Ligne;Colonne", "Fila;Columna", "Riga;Colonna"]
)
def test_rows_and_columns_in_other_languages(tmp_path: Path, header: str) -> None:
    (tmp_path / "map.csv").write_text(f"{header};x\nB;3;1\n2;04;2\n")
    assert read_plate_map(tmp_path / "map.csv")["well"].tolist() == ["B03", "B04"]


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


def merge(path: Path, rows: list[list[object]], *areas: str) -> Path:
    """Write a workbook in which areas are merged; what their other cells held is lost, as in Excel."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for area in areas:
        book.active.merge_cells(area)
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("rows", "areas", "wells"),
    [
        # across columns, across rows, and a block of both, of a grid
        ([["", 1, 2, 3], ["A", "x"], ["B", "y"]], ["B2:D2", "B3:D3"], "xxxyyy"),
        ([["", 1, 2, 3], ["A", "x", "y", "z"], ["B"]], ["B2:B3", "C2:C3", "D2:D3"], "xyzxyz"),
        ([["", 1, 2, 3], ["A", "x", "", "y"], ["B"]], ["B2:C3", "D2:D3"], "xxyxxy"),
        # the same of a list, also with what stands in the middle
        ([["well", "treatment"], ["A1", "x"], ["A2"], ["A3"]], ["B2:B4"], "xxx"),
        ([["well", "treatment"], ["A1", "x"], ["A2"], ["B1", "y"]], ["B2:B3"], "xxy"),
        ([["treatment", "", "well"], ["x", "", "A1"], ["", "", "A2"]], ["A1:B1", "A2:B3"], "xx"),
        # headers: a title over all, one of two rows, a name over two columns
        ([["treatment"], ["", 1, 2], ["A", "x"]], ["A1:C1", "B3:C3"], "xx"),
        (
            [["well", "of interest"], ["", "treatment", "dose"], ["A1", "x", 1]],
            ["A1:A2", "B1:C1"],
            "x",
        ),
        ([["well", "treatment", ""], ["A1", "x"], ["A2", "y"]], ["B1:C1"], "xy"),
        ([["", "dose", ""], ["treatment", 1, 2], ["A", "x", "y"]], ["A1:C1"], "xy"),
        # letters and numbers over two rows and columns that say the same
        (
            [["", 1, 2], ["A", "x", "y"], ["", "", ""], ["B", "z", ""]],
            ["A2:A3", "B2:B3", "C2:C3"],
            "xyz",
        ),
    ],
)
def test_merged_cells_hold_their_value(tmp_path: Path, rows, areas, wells) -> None:
    table = read_plate_map(merge(tmp_path / "map.xlsx", rows, *areas))
    assert "".join(table["treatment"]) == wells
    told = [note for note in table.attrs["notes"] if "merged cells" in note]
    titles = [area for area in areas if area in ("A1:C1",)]
    assert len(told) == (len(areas) > len(titles))


def test_merged_letters_with_different_values_are_refused(tmp_path: Path) -> None:
    rows = [["", 1, 2], ["A", "x", "y"], ["", "z", "y"], ["B", "u", "v"]]
    with pytest.raises(DatasetError, match="the row A twice in a grid"):
        read_plate_map(merge(tmp_path / "map.xlsx", rows, "A2:A3"))
    rows = [["well", "drug"], ["A1", "x"], ["", "y"]]
    with pytest.raises(DatasetError, match="A01 in several lines that differ"):
        read_plate_map(merge(tmp_path / "map.xlsx", rows, "A2:A3"))
    rows = [["well", "drug", ""], ["A1", "x", "y"]]
    with pytest.raises(DatasetError, match="several columns called drug"):
        read_plate_map(merge(tmp_path / "map.xlsx", rows, "B1:C1"))


ERRORS = [
    *("#N/A", "#REF!", "#DIV/0!", "#NAME?", "#VALUE!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!"),
    *("#NV", "#BEZUG!", "#WERT!", "#¡VALOR!", "#¿NOMBRE?", "#N/D", "#NOM?", "#SAKNAS!", "#I/T"),
    *("#####", "Err:502", " #N/A"),
]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_no_class(tmp_path: Path, ending: str, error: str) -> None:
    for rows in (
        [["well", "drug"], ["A1", "x"], ["A2", error]],
        drawn({(0, 0): "x", (0, 1): error}, "drug"),
    ):
        table = read_plate_map(save(tmp_path / f"map.{ending}", rows))
        assert dict(zip(table["well"], table["drug"], strict=True)).get("A02", "") == ""
        (note,) = table.attrs["notes"]
        assert f"the first: {error.strip()} in " in note


@pytest.mark.parametrize(
    "name", ["#1", "# 3", "drug #2", "Errol:502", "N/A", "NA", "#a", "C#", "None"]
)
def test_names_that_look_like_errors_stay(tmp_path: Path, name: str) -> None:
    table = read_plate_map(
        save(tmp_path / "map.xlsx", [["well", "drug"], ["A1", name], ["A2", "x"]])
    )
    assert table["drug"].tolist() == [name, "x"]
    assert table.attrs["notes"] == []


def test_formulas_without_a_value_are_told(tmp_path: Path) -> None:
    rows = [["well", "drug"], ["A1", "x"], ["A2", "=B2"], ["A3", "=VLOOKUP(A3;D1:E9;2)"]]
    for ending, first in (("xlsx", "B3"), ("csv", "=B2 in B3")):
        table = read_plate_map(save(tmp_path / f"map.{ending}", rows))
        assert table["drug"].tolist() == ["x", "", ""]
        (note,) = table.attrs["notes"]
        assert note.startswith(f"map.{ending}: 2 cells of")
        assert f"no value counted as empty (the first: {first})" in note
    with pytest.raises(
        DatasetError, match=r"without values.*2 cells of Sheet|without values.*2 cells"
    ):
        read_plate_map(save(tmp_path / "grid.xlsx", drawn({(0, 0): "=A1", (0, 1): "=A2"})))


def test_text_that_excel_users_protect_is_that_text(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text('well;drug\n="A1";="007"\nA2;-5\n')
    assert read_plate_map(tmp_path / "map.csv").to_dict("list") == {
        "well": ["A01", "A02"],
        "drug": ["007", "-5"],
    }


DAY = datetime.datetime(2024, 9, 2)


@pytest.mark.parametrize(
    ("ending", "column", "values", "words"),
    [
        ("xlsx", "treatment", ["control", DAY], "date 2024-09-02 00:00:00 in B3"),
        ("xlsx", "treatment", [DAY, datetime.datetime(2024, 3, 1)], "in B2 for a class"),
        ("xlsx", "treatment", ["control", datetime.date(2024, 9, 2)], "in B3 for a class"),
        ("xlsx", "treatment", ["control", datetime.time(10, 2)], "the date 10:02:00 in B3"),
        ("xlsx", "day", ["control", DAY], "in B3 for a class"),
        ("csv", "treatment", ["control", "2-Sep"], "'2-Sep' for a class"),
        ("csv", "treatment", ["control", "Mar-01"], "looks like a date"),
        ("csv", "treatment", ["1. Mrz", "2. Sep"], "looks like a date"),
        ("csv", "treatment", ["control", "02.09.2024"], "looks like a date"),
        ("csv", "treatment", ["control", "2024-09-02"], "looks like a date"),
        ("xlsx", "day", [DAY, datetime.datetime(2024, 3, 1)], ""),
        ("csv", "day", ["2024-09-02", "2024-09-03"], ""),
        ("csv", "treatment", ["SEPT2", "MARCH1"], ""),
        ("csv", "treatment", ["Sep", "May"], ""),
        ("csv", "treatment", ["mar 3-1 inhibitor", "2-deoxyglucose"], ""),
        ("csv", "treatment", ["3-MA", "2-DG"], ""),
    ],
)
def test_a_name_made_a_date_is_no_class(tmp_path: Path, ending, column, values, words) -> None:
    rows = [["well", column], *([f"A{number}", value] for number, value in enumerate(values, 1))]
    table = read_plate_map(save(tmp_path / f"map.{ending}", rows))
    if words:
        with pytest.raises(DatasetError, match=words):
            unite_classes("map", table, column)
    else:
        assert list(unite_classes("map", table, column)[column]) == [str(value) for value in values]


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (["treated", "treated ", " treated", "treated"], "treated"),
        (["treated", "Treated", "TREATED", "treated"], "treated"),
        (
            [
                "treated",
                "treated\u00a0",
                "trea\u200bted",
                "\ufefftreated",
                "trea\u00adted",
                "treated",
            ],
            "treated",
        ),
        (["treated", "ｔｒｅａｔｅｄ", "treated"], "treated"),
        (["K\u00e4lte", "Ka\u0308lte", "K\u00e4lte"], "K\u00e4lte"),
        (
            ["10 \u00b5M", "10 \u03bcM", "10\u202f\u00b5M", "10  \u00b5M", "10 \u00b5M"],
            "10 \u00b5M",
        ),
        (["FCCP-1", "FCCP\u20111", "FCCP\u20131", "FCCP-1"], "FCCP-1"),
        (["1", "1.0", "1.00", "1"], "1"),
        (["0.5", "0.50", "5e-1", "0.5"], "0.5"),
        (["Don't", "Don’t", "Don't"], "Don't"),
    ],
)
def test_spellings_of_a_name_are_one_class(tmp_path: Path, spellings, name) -> None:
    rows = [
        ["well", "drug"],
        *([f"A{n}", text] for n, text in enumerate(spellings, 1)),
        ["B1", "other"],
    ]
    for ending in ("csv", "xlsx"):
        table = read_plate_map(save(tmp_path / f"map.{ending}", rows))
        table = unite_classes("map", table, "drug")
        assert set(table["drug"]) == {name, "other"}
        assert any("taken for" in note for note in table.attrs["notes"])


@pytest.mark.parametrize(
    "names",
    [["10²", "102"], ["007", "7"], ["DMSO", "DMSO2"], ["x y", "xy"], ["½", "1/2"], ["é", "e"]],
)
def test_different_names_stay_apart(tmp_path: Path, names) -> None:
    rows = [["well", "drug"], *([f"A{n}", text] for n, text in enumerate(names, 1))]
    table = unite_classes("map", read_plate_map(save(tmp_path / "map.csv", rows)), "drug")
    assert table["drug"].tolist() == names
    assert table.attrs["notes"] == []


def test_a1_and_a01_are_one_well(tmp_path: Path) -> None:
    rows = [
        ["well", "drug"],
        ["A1", "x"],
        ["A01", "x "],
        ["a-001", "x"],
        ["Ａ１", "x"],
        ["r01c02", "y"],
    ]
    table = read_plate_map(save(tmp_path / "map.xlsx", rows))
    assert table.to_dict("list") == {"well": ["A01", "A02"], "drug": ["x", "y"]}


@pytest.mark.parametrize(
    ("column", "separator", "numbers", "told"),
    [
        (["0,5", "1,25", "-3", ""], ";", ["0.5", "1.25", "-3", ""], ""),
        (["0,5", "1,25"], ",", ["0.5", "1.25"], "'0,5' was read as the number 0.5"),
        (["1.234,5", "0,5"], ";", ["1234.5", "0.5"], "1234.5"),
        (["1,234.5", "0.5"], ",", ["1234.5", "0.5"], "1234.5"),
        (["1 234,5", "12 345"], ";", ["1234.5", "12345"], "1234.5"),
        (["1'234.5", "12’345"], ",", ["1234.5", "12345"], "1234.5"),
        (["1\u202f234", "5"], ",", ["1234", "5"], "1234"),
        (["1.234.567", "5"], ",", ["1234567", "5"], "1234567"),
        (["0,5", "0.5"], ";", ["0.5", "0.5"], "0.5"),
        (["1,234", "5,678"], ";", ["1.234", "5.678"], "1.234"),
        (["1,234", "5,678"], ",", ["1,234", "5,678"], "left as text"),
        (["1,234", "1.234", "0,5", "0.5"], ";", ["1,234", "1.234", "0,5", "0.5"], "left as text"),
        (["1.234", "2.500"], ";", ["1.234", "2.500"], ""),
        (["1e-6", "2,5E-7"], ";", ["1e-6", "2.5E-7"], ""),
        (["lot 1,5", "2,5"], ",", ["lot 1,5", "2,5"], ""),
        (["1,2,3", "4"], ",", ["1,2,3", "4"], ""),
    ],
)
def test_numbers_have_one_way_to_be_read(tmp_path: Path, column, separator, numbers, told) -> None:
    rows = [["well", "dose"], *([f"A{n}", text] for n, text in enumerate(column, 1))]
    table = read_plate_map(save(tmp_path / "map.csv", rows, separator=separator))
    assert table["dose"].tolist() == numbers
    assert (
        any(told in note for note in table.attrs["notes"]) if told else table.attrs["notes"] == []
    )


def test_values_without_a_name_above_are_told(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("well,drug\nA1,DMSO, 5 uM\nA2,FCCP\n")
    (note,) = read_plate_map(tmp_path / "map.csv").attrs["notes"]
    assert "1 values in columns without a name were not read (the first: ' 5 uM' in C2)" in note


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@KEEP
@given(
    wells=st.dictionaries(
        WELLS, st.text("=+-@'xyz", min_size=1, max_size=6), min_size=1, max_size=12
    )
)
def test_a_map_that_was_made_harmless_is_the_same(tmp_path: Path, ending: str, wells) -> None:
    rows = [["well", "drug"], *([named(place), f"{value}."] for place, value in wells.items())]
    safe = [[harmless_cell(cell) for cell in row] for row in rows] if ending == "csv" else rows
    path = save(tmp_path / f"map.{ending}", safe)
    if ending == "xlsx":
        book = openpyxl.load_workbook(path)
        for row in book.active.iter_rows():
            for cell in row:
                cell.data_type = "s"
        book.save(path)
    table = read_plate_map(path)
    assert list(table.itertuples(index=False, name=None)) == [tuple(row) for row in rows[1:]]
