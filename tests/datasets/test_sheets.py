"""Cells of CSV files and workbooks: what is read, and what is refused before it is taken in."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import DatasetError
from napari_why.datasets import read_plate_map, sheets, workbook
from napari_why.datasets.sheets import read_sheets
from napari_why.datasets.tables import list_images
from napari_why.datasets.workbook import Sheet, cell_name

KEEP = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
MILLION = 2**20


def text_cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def pack(
    path: Path,
    pieces: Sequence[str],
    *,
    before: str = "",
    names: Sequence[str] = ("map",),
    **options,
) -> Path:
    """Write a workbook by hand, whose sheets all hold these pieces of XML."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(
            "_rels/.rels",
            f'<Relationships {PACKAGE}><Relationship Id="r" Type="{OFFICE}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        listed = "".join(
            f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>'
            for number, name in enumerate(names)
        )
        book.writestr(
            "xl/workbook.xml",
            f'<workbook {MAIN} xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>',
        )
        related = "".join(
            f'<Relationship Id="r{number}" Type="{OFFICE}/worksheet" Target="sheet{number}.xml"/>'
            for number in range(len(names))
        )
        book.writestr(
            "xl/_rels/workbook.xml.rels", f"<Relationships {PACKAGE}>{related}</Relationships>"
        )
        for number in range(len(names)):
            part = zipfile.ZipInfo(f"xl/sheet{number}.xml")
            part.compress_type = options.get("packing", zipfile.ZIP_DEFLATED)
            with book.open(part, "w") as file:
                file.write(f"{before}<worksheet {MAIN}><sheetData>".encode())
                for piece in pieces:
                    file.write(piece.encode())
                file.write(b"</sheetData></worksheet>")
    return path


WELL = f"<row>{text_cell('A1', 'well')}{text_cell('B1', 'drug')}</row>"
LAUGHS = "<!DOCTYPE l [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {new} '{f'&{old};' * 10}'>" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of XML that were given to the parser."""
    given: list[int] = []
    create = workbook.expat.ParserCreate

    class Counting:
        def __init__(self, **arguments: str) -> None:
            object.__setattr__(self, "inner", create(**arguments))

        def __setattr__(self, name: str, value: object) -> None:
            setattr(self.inner, name, value)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def Parse(self, data: bytes, last: bool) -> None:  # noqa: N802 - as expat calls it
            given.append(len(data))
            self.inner.Parse(data, last)

    monkeypatch.setattr(workbook.expat, "ParserCreate", Counting)
    return given


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (
            ["<row><c t='inlineStr'><is><t>", *["a" * MILLION] * 80, "</t></is></c></row>"],
            "80 MB when unpacked; expected at most 64",
        ),
        (
            ["<row><c t='inlineStr'><is><t>", *["a" * MILLION] * 8, "</t></is></c></row>"],
            "a cell of more than 32767 characters",
        ),
        (["<row><c r='", *["A" * MILLION] * 4, "'/></row>"], "element of more than"),
        (["<row><c><v>1</v></c></row>" * 10_000] * 110, "elements on a sheet"),
        (["<row/>" * MILLION] * 4, "elements on a sheet"),
        (["<row>" + "<c><v>1</v></c>" * 501 + "</row>"], "a value in SG1"),
        ([WELL, f"<row>{text_cell('A200001', 'x')}</row>"], "a value in A200001"),
        *(
            ([WELL, f"<row>{text_cell(place, 'x')}</row>"], "no readable workbook")
            for place in ("A99999999", "A1048577", "XFE1", "ZZZ2", "A-1", "A0", "AAAA1", "7", "")
        ),
        (["<row r='-4'><c><v>1</v></c></row>"], "cells outside the sheet"),
        (["<row r='x'/>"], "no readable workbook"),
        ([WELL, "<row><c></row>"], "mismatched tag"),
        ([WELL, "<row><c><v>1e</v></c></row>"], "no readable workbook"),
        ([WELL, "<row><c><v>" + "9" * 9999 + "</v></c></row>"], "no readable workbook"),
        ([WELL, "<row><c t='s'><v>5</v></c></row>"], "refers to what it does not hold"),
        ([WELL, "<row><c t='s'><v>-1</v></c></row>"], "no readable workbook"),
        ([WELL, "</sheetData><mergeCells><mergeCell ref='B2:A0'/>"], "no readable workbook"),
        ([WELL, "\ud7ff&boom;"], "undefined entity"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_workbooks_that_bite_are_refused_in_words(tmp_path: Path, parsed, pieces, words) -> None:
    path = pack(tmp_path / "map.xlsx", pieces)
    assert path.stat().st_size < MILLION
    for read in (read_plate_map, list_images):
        with pytest.raises(DatasetError, match=words):
            read(path)
        assert sum(parsed) < MILLION
        parsed.clear()


def test_formats_of_cells_are_bounded(tmp_path: Path, parsed: list[int]) -> None:
    path = tmp_path / "map.xlsx"
    openpyxl.Workbook().save(path)
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            few = content.replace(
                b"<cellXfs", b"<cellXfs>" + b"<xf/>" * 10**6 + b"</cellXfs><cellXfs"
            )
            book.writestr(name, few)
    with pytest.raises(DatasetError, match=r"elements in xl/styles.xml; expected at most 200000"):
        read_plate_map(path)
    assert sum(parsed) < MILLION


def test_what_is_too_much_is_named_alone(tmp_path: Path) -> None:
    for content, found in (
        ("a," * 600, "found 601 columns;"),
        ("well\n" * 200_001, "found more than 200000 rows;"),
        (("a," * 400 + "\n") * 5_000, "found more than 2000000 cells;"),
    ):
        (tmp_path / "map.csv").write_text(content)
        with pytest.raises(DatasetError, match=found):
            read_plate_map(tmp_path / "map.csv")


def test_entities_sheets_parts_and_packings_are_bounded(tmp_path: Path) -> None:
    for name, words, options in (
        ("laughs", "defines entities", {"before": f"{LAUGHS}]>"}),
        ("outer", "defines entities", {"before": '<!DOCTYPE w SYSTEM "file:///etc/passwd">'}),
        ("sheets", "300 sheets; expected at most 255", {"names": [f"s{n}" for n in range(300)]}),
        ("parts", "5[0-9]+ parts", {"names": [f"s{n}" for n in range(5001)]}),
        ("packing", "packed in a way", {"packing": zipfile.ZIP_BZIP2}),
    ):
        with pytest.raises(DatasetError, match=words):
            read_plate_map(pack(tmp_path / f"{name}.xlsx", [WELL], **options))


def test_broken_archives_and_other_files_are_refused(tmp_path: Path) -> None:
    whole = pack(
        tmp_path / "whole.xlsx", [WELL, f"<row>{text_cell('A2', 'A1')}</row>"]
    ).read_bytes()
    assert len(read_plate_map(tmp_path / "whole.xlsx")) == 1
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le")
    for content, words in (
        (whole[: len(whole) // 2], "no readable workbook"),
        (whole[:60] + bytes(byte ^ 0x55 for byte in whole[60:90]) + whole[90:], "no readable"),
        (b"", "no readable workbook"),
        (b"<html><table/></html>", "no readable workbook"),
        (b"well,drug\nA1,x\n", "no readable workbook"),
        (old, "with a password"),
    ):
        (tmp_path / "map.xlsx").write_bytes(content)
        with pytest.raises(DatasetError, match=words):
            read_plate_map(tmp_path / "map.xlsx")


@given(place=st.integers(0, 5000), byte=st.integers(0, 255))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_changed_byte_is_read_or_refused(tmp_path: Path, place: int, byte: int) -> None:
    raw = bytearray(
        pack(tmp_path / "map.xlsx", [WELL, f"<row>{text_cell('A2', 'A1')}</row>"]).read_bytes()
    )
    raw[place % len(raw)] = byte
    (tmp_path / "map.xlsx").write_bytes(raw)
    try:
        table = read_plate_map(tmp_path / "map.xlsx")
    except DatasetError:
        return
    assert list(table["well"]) == ["A01"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"well,drug\n" + b"\n" * 200_001, "more than 200000 rows"),
        (b"well,drug\nA1," + b"x" * 40_000, "a cell of 40000 characters"),
        (b"well,drug\nA1," + b"x" * 2 * MILLION, "a line of"),
        (b"well,drug\n" + b"," * 501, "502 columns"),
        (b"well,drug\n" + b"," * 2 * MILLION, "a line of"),
        (b"well,drug\nA1,\0x\n", "zero bytes"),
        (b"\x89PNG\r\n\x1a\n\x00\x81", "neither UTF-8"),
        (b"\xff\xfew\0e\0l", "broken as UTF-16"),
        (b"PK\x03\x04", "found a workbook"),
        (b'well,drug\nA1,"x\nA2,y\nA3,z\n', "quotation mark that is not closed"),
        (b'well,drug\nA1,"x\nA2,"y"\nA3,z\n', "quotation mark that is not closed"),
    ],
    ids=range(11),
)
def test_text_that_bites_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "map.csv").write_bytes(content)
    for read in (read_plate_map, list_images):
        with pytest.raises(DatasetError, match=words):
            read(tmp_path / "map.csv")


def test_large_files_are_not_read_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for name in ("map.csv", "map.xlsx"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(150 * MILLION)
        with pytest.raises(DatasetError, match="150 MB; expected at most 32 MB"):
            read_plate_map(tmp_path / name)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
@pytest.mark.parametrize("before", ["", "sep={}\r\n", '"sep={}"\r\n', "\r\n\r\n", ";;\r\n"])
def test_what_spreadsheet_programs_save_is_read(
    tmp_path: Path, separator: str, encoding: str, before: str
) -> None:
    lines = ["path|label", "a.tif|Kälte 10 µM", '"b, c; d.tif"|"x,y;z"']
    text = before.format(separator) + "\r\n".join(line.replace("|", separator) for line in lines)
    (tmp_path / "labels.csv").write_bytes(f"{text}\r\n".encode(encoding))
    table = list_images(tmp_path)
    assert table["label"].tolist() == ["Kälte 10 µM", "x,y;z"]
    assert Path(table["path"][1]).name == "b, c; d.tif"
    guessed = [note for note in table.attrs["notes"] if "'Kälte' right?" in note]
    assert len(guessed) == (encoding == "cp1252")


# What XML can hold, but no escapes of Excel's own (_x000D_), and no line ends of other systems.
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="_")
    | st.sampled_from("\n,;\"'=+-@\t"),
    max_size=12,
)


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@KEEP
@given(rows=st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=6))
@example(rows=[["=1+1", "'-x"], ['a"b', "x\ny"], ["", "\u3000"]])
def test_cells_are_read_as_they_were_written(tmp_path: Path, ending: str, rows) -> None:
    from napari_why.core.whole_files import harmless_cell

    rows = [["a,b", "c,d"], *rows]
    path = tmp_path / f"map.{ending}"
    if ending == "csv":
        stream = io.StringIO(newline="")
        csv.writer(stream).writerows([list(map(harmless_cell, row)) for row in rows])
        path.write_bytes(stream.getvalue().encode())
    else:
        book = openpyxl.Workbook()
        for number, row in enumerate(rows, start=1):
            for column, text in enumerate(row, start=1):
                book.active.cell(number, column, text).data_type = "s"
        book.save(path)
    sheet = read_sheets(path)[0]
    # A cell over several lines leaves empty rows behind, so that lines keep their numbers.
    expected = [row for row in rows if any(row)]
    assert [row for row in sheet.rows if any(row)] == expected


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@pytest.mark.parametrize("count", [1, sheets.COUNTED_LINES - 1, sheets.COUNTED_LINES, 300])
def test_no_line_of_a_long_table_is_lost(tmp_path: Path, ending: str, count: int) -> None:
    rows = [["a", "b"], *([str(number), f"x{number}"] for number in range(count))]
    path = tmp_path / f"map.{ending}"
    if ending == "csv":
        path.write_text("\n".join(map(",".join, rows)))
    else:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    assert read_sheets(path)[0].rows == rows


def test_numbers_truth_values_and_styles_of_workbooks(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append([1, 1.0, 0.5, 1e-6, -2, True, "1.0", "x"])
    book.active["C1"].number_format = '0.00 "µM daily"'
    book.save(tmp_path / "map.xlsx")
    (sheet,) = read_sheets(tmp_path / "map.xlsx")
    assert sheet == Sheet("Sheet", [["1", "1", "0.5", "1e-06", "-2", "True", "1.0", "x"]])


def test_cells_are_called_as_spreadsheets_do() -> None:
    for row, column in ((0, 0), (9, 25), (0, 26), (7, 701), (2, 702), (1_048_575, 16_383)):
        assert cell_name(row, column) == openpyxl.utils.get_column_letter(column + 1) + str(row + 1)
