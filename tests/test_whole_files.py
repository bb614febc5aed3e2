"""Files and folders appear as a whole or not at all."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_why.core.errors import WhyError
from napari_why.core.whole_files import (
    atomic_folder,
    atomic_path,
    csv_text,
    harmless_cell,
    plain_cell,
    write_table,
    write_whole,
)


def test_it_appears_at_the_end(tmp_path):
    target = tmp_path / "deep" / "model"
    with atomic_folder(target) as folder:
        (folder / "a.txt").write_text("new")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("old")
    with pytest.raises(OSError, match="full"), atomic_folder(target, replace=True) as folder:
        (folder / "a.txt").write_text("new")
        raise OSError("full")
    assert (target / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_rename_puts_the_former_back(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a.txt").write_text("old")
    rename = Path.rename

    def failing(path: Path, to: Path) -> Path:
        if path.suffix == ".part":
            raise PermissionError("in use")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError), atomic_folder(target, replace=True) as folder:
        (folder / "a.txt").write_text("new")
    assert (target / "a.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_is_replaced_unasked(tmp_path):
    with pytest.raises(FileExistsError), atomic_folder(tmp_path):
        pytest.fail("the block must not run")
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "b.txt").write_text("1")
    with atomic_folder(tmp_path / "model", replace=True) as folder:
        (folder / "c.txt").write_text("2")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["c.txt"]


def test_a_file_appears_at_the_end_and_keeps_its_ending_on_the_way(tmp_path):
    target = tmp_path / "film.mp4"
    target.write_text("old")
    with atomic_path(target) as part:
        part.write_text("new")
        assert part.suffix == ".mp4"
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_block_leaves_the_file_that_was_there(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(OSError, match="full"), atomic_path(target) as part:
        part.write_text("ne")
        raise OSError("full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_content_that_cannot_be_written_is_told_in_words(tmp_path):
    assert write_whole(tmp_path / "a.bin", b"12").read_bytes() == b"12"
    with pytest.raises(WhyError, match=r"cannot be written \(.*\); nothing was written"):
        write_whole(tmp_path / "missing" / "a.bin", b"12")


@given(st.text(st.sampled_from("=+-@\t\r\n＝'1.e ab"), max_size=8) | st.text(max_size=8))
@example("'=x")
@example("-1.5")
def test_a_name_survives_being_made_harmless(text):
    safe = harmless_cell(text)
    assert plain_cell(safe) == text
    if safe[:1] in "=+-@\t\r\n＝＋－＠":
        assert safe == "" or float(safe) == float(text)  # a number runs nowhere


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1",
        "-x",
        "--1",
        "=x\r=2",
    ],
)
def test_no_cell_of_a_table_is_a_formula(tmp_path, text):
    table = pd.DataFrame(
        {
            text: [text, "name"],
            "class": pd.Categorical(["name", text]),
            "change": [-1.5, 2.0],
            "mixed": [text, -3],
            "number": ["-4", "+5e-3"],
        }
    )
    write_table(table, tmp_path / "table.csv")
    write_table(table, tmp_path / "table.csv")  # its own columns are known again
    for separator, content in (
        (",", (tmp_path / "table.csv").read_bytes().decode()),
        ("\t", csv_text(table, separator="\t")),
    ):
        rows = list(csv.reader(io.StringIO(content, newline=""), delimiter=separator))
        protected = f"'{text}"
        assert rows[0] == [protected, "class", "change", "mixed", "number"]
        assert rows[1] == [protected, "name", "-1.5", protected, "-4"]
        assert rows[2] == ["name", protected, "2.0", "-3", "+5e-3"]
    assert table["mixed"][0] == text  # the table itself stays
