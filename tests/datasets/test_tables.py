from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from napari_why.core.errors import DatasetError
from napari_why.datasets import Dataset
from napari_why.datasets.tables import list_images, notes_of
from napari_why.images import write

from .conftest import FolderMaker, image_of


def csv_of(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    csv = folder / "labels.csv"
    csv.write_text(text, encoding=encoding)
    return csv


def test_a_table_with_further_columns(class_folder: FolderMaker) -> None:
    folder = class_folder(a=1, b=1)
    csv_of(
        folder,
        "path,label,plate,well,dose\na/a_00.ome.tif,None,01,A1,0.5\nb/b_00.ome.tif,NA,01,A2,\n",
    )
    dataset = Dataset.open(folder)
    assert dataset.classes == ("NA", "None")
    assert dataset.table["plate"].tolist() == ["01", "01"]
    assert dataset.table["dose"].isna().tolist() == [False, True]
    assert dataset.group_columns == ("plate", "well")
    assert Path(dataset.table["path"][0]) == folder / "a" / "a_00.ome.tif"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_the_mark_that_spreadsheets_write(tmp_path: Path, separator: str) -> None:
    rows = [["path", "label"], ["x.tif", "a"], ["y.tif", "b"]]
    text = "\n".join(separator.join(row) for row in rows)
    table = list_images(csv_of(tmp_path, text, encoding="utf-8-sig"))
    assert table["label"].tolist() == ["a", "b"]


def test_the_class_in_another_column(tmp_path: Path) -> None:
    csv = csv_of(tmp_path, "path,label,class3\nx.tif,dose,active\ny.tif,control,inactive\n")
    table = list_images(csv, label="class3")
    assert table["label"].tolist() == ["active", "inactive"]
    assert table["original_label"].tolist() == ["dose", "control"]


def test_only_some_classes(class_folder: FolderMaker) -> None:
    folder = class_folder(a=1, b=1, c=2)
    assert Dataset.open(folder, classes=["c", "a"]).classes == ("a", "c")
    with pytest.raises(DatasetError, match="no class d; expected some of a, b, c"):
        Dataset.open(folder, classes=["a", "d"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\nx.tif,a\n", "columns name, label; expected also path"),
        ("path,condition\nx.tif,a\n", "expected also label"),
        ("file,image,label\nx.tif,y.tif,a\n", "columns 'file', 'image', each of which can be path"),
        ("path,class,label \nx.tif,a,b\n", "2 of 2|1 of 1 files unreadable"),
        ("path,Class,klasse\nx.tif,a,b\n", "'Class', 'klasse', each of which can be label"),
        ("path,label\nx.tif,a,b\n", "'b' in C2 stands in a column without a name"),
        ("path,label\n./x.tif,a\nx.tif,b\n", "in more than one line"),
        ("path,label\nx.tif,a\ny.tif,#N/A\n", "no value of label in line 3.*no error"),
        ("path,label\nx.tif,a\ny.tif,2-Sep\n", "'2-Sep' for a class"),
        ("path,label\n", "no row"),
        ("", "no readable table"),
        ("path,label\nx.tif,a\ny.tif,\n", "no value of label in line 3"),
        ("path,label\nx.tif,a\nx.tif,b\n", "in more than one line"),
        ("path,label\nx.tif,a\ny.tif,b\n", "2 of 2 files unreadable"),
    ],
)
def test_tables_that_are_no_data_set(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset.open(csv_of(tmp_path, text))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        Dataset.open(tmp_path / "nowhere")


def test_companions_are_no_images_and_nested_folders_are_searched(
    class_folder: FolderMaker,
) -> None:
    folder = class_folder(a=1, b=1)
    (folder / "a" / "day 2").mkdir()
    write(image_of(5), folder / "a" / "day 2" / "x.ome.tif")
    for name in ("notes.txt", "x.json", ".hidden.tif"):
        (folder / "a" / name).write_text("text")
    assert list_images(folder)["label"].tolist() == ["a", "a", "b"]


@pytest.mark.parametrize(
    "names", [("Training", "Testing"), ("train_set", "test_set"), ("train", "dev")]
)
def test_other_names_of_splits(class_folder: FolderMaker, tmp_path: Path, names) -> None:
    for name in names:
        class_folder(f"made {name}", a=1, b=1).rename(_below(tmp_path / "root", name))
    dataset = Dataset.open(tmp_path / "root")
    assert dataset.classes == ("a", "b")
    assert set(dataset.table["split"]) <= {"train", "test", "validation"}


def test_splits_beside_another_folder_are_refused(
    class_folder: FolderMaker, tmp_path: Path
) -> None:
    """They would be classes, and a network learns which image was in which split."""
    for name in ("train", "test", "holdout"):
        class_folder(f"made {name}", a=1, b=1).rename(_below(tmp_path / "root", name))
    with pytest.raises(DatasetError, match="splits test and train beside the folder 'holdout'"):
        Dataset.open(tmp_path / "root")


def _below(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / name


def test_folders_named_for_splits_hold_classes(class_folder: FolderMaker) -> None:
    inner = class_folder("train", a=1, b=1)
    root = inner.parent / "root"
    root.mkdir()
    inner.rename(root / "train")
    class_folder("val", a=1, b=1).rename(root / "val")
    dataset = Dataset.open(root)
    assert dataset.classes == ("a", "b")
    assert dataset.table["split"].tolist() == ["train", "train", "validation", "validation"]


@pytest.mark.parametrize("listed", [False, True])
def test_one_file_per_channel_makes_one_image(tmp_path: Path, listed: bool) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for field in (1, 2):
            image = image_of(field)
            for channel in ("DAPI", "TMRM"):
                single = image.sel(c=[channel])
                single.attrs = image.attrs
                write(single, tmp_path / label / f"f{field}_{channel}.tif")
    if listed:
        rows = [f"{label}/f{n}_TMRM.tif,{label}" for label in "ab" for n in (1, 2)]
        csv_of(tmp_path, "\n".join(["path,label", *rows]))
    dataset = Dataset.open(tmp_path)
    assert len(dataset) == 4
    assert dataset.channels == ("DAPI", "TMRM")
    assert dataset.image(1).equals(image_of(2))


@pytest.mark.parametrize("ending", ["csv", "tsv", "xlsx"])
@pytest.mark.parametrize(
    ("path", "label", "told"),
    [
        ("path", "label", 0),
        ("Path", "Label", 2),
        ("File", "Class", 2),
        ("file_name", "label", 1),
        ("Image File", "CLASS NAME", 2),
        ("Filename", "Klasse", 2),
        ("PATH ", " label", 1),
        ("Pfad", "\u00a0label", 1),
    ],
)
def test_columns_and_endings_that_people_use(tmp_path: Path, ending, path, label, told) -> None:
    rows = [[path, label, "Well", "dose"], ["x.tif", "a", "A1", 0.5], ["y.tif", "b", "B1", -1]]
    if ending == "xlsx":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.create_sheet("notes").append(["nothing here"])
        book.save(tmp_path / "labels.xlsx")
    else:
        separator = "\t" if ending == "tsv" else ","
        text = "\n".join(separator.join(map(str, row)) for row in rows)
        (tmp_path / f"labels.{ending}").write_text(text)
    table = list_images(tmp_path)
    assert list(table.columns) == ["path", "label", "well", "dose"]
    assert table["label"].tolist() == ["a", "b"]
    assert table["dose"].tolist() == [0.5, -1]
    assert len([note for note in notes_of(table) if "was taken for" in note]) == told + 1


def test_types_are_those_of_pandas(tmp_path: Path) -> None:
    text = "path,label,plate,field,dose,seen,day\nx.tif,NA,01,7,0.50,True,2024-01-02\ny.tif,None,02,8,,False,\n"
    table = list_images(csv_of(tmp_path, text))
    options = {"dtype": {"label": str, "plate": str}, "keep_default_na": False, "na_values": [""]}
    expected = pd.read_csv(tmp_path / "labels.csv", **options)
    pd.testing.assert_frame_equal(table.drop(columns="path"), expected.drop(columns="path"))


def test_decimal_commas_make_numbers_and_names_keep_theirs(tmp_path: Path) -> None:
    text = "path;label;dose;lot\na,1.tif;0,5;0,5;1,5 b\nb.tif;1,5;1,5;7\n"
    table = list_images(csv_of(tmp_path, text))
    assert table["dose"].tolist() == [0.5, 1.5]
    assert table["label"].tolist() == ["0,5", "1,5"]
    assert Path(table["path"][0]).name == "a,1.tif"


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        (r"sub\x.tif", "sub/x.tif"),
        (r".\sub\x.tif", "sub/x.tif"),
        ("Ka\u0308lte.tif", "K\u00e4lte.tif"),
        ("K\u00e4lte.tif", "Ka\u0308lte.tif"),
        (" x.tif\u00a0", "x.tif"),
        (r"odd\name.tif", r"odd\name.tif"),
        ("space .tif ", "space .tif "),
        ("'-x.tif", "-x.tif"),
    ],
)
def test_a_path_is_the_file_that_is_meant(tmp_path: Path, listed: str, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("an image")
    table = list_images(csv_of(tmp_path, f"path,label\n{listed},a\n"))
    assert Path(table["path"][0]) == tmp_path / there
    assert Path(table["path"][0]).is_file()


def test_spellings_of_classes_plates_and_wells_are_one(tmp_path: Path) -> None:
    rows = [
        "w.tif,treated ,P1,A1",
        "x.tif,Treated,p1,A01",
        "y.tif,treated ,P1,B2",
        "z.tif,other,P2,B2",
    ]
    table = list_images(csv_of(tmp_path, "\n".join(["path,label,plate,well", *rows])))
    assert table["label"].tolist() == ["treated"] * 3 + ["other"]
    assert table["plate"].tolist() == ["P1", "P1", "P1", "P2"]
    assert table["well"].tolist() == ["A01", "A01", "B02", "B02"]
    assert len(notes_of(table)) == 3


def test_class_folders_that_differ_by_case_or_spaces_are_one_class(
    class_folder: FolderMaker,
) -> None:
    folder = class_folder(treated=2, **{"Treated ": 1, "1": 1, "1.0": 1, "007": 1, "2-Sep": 1})
    (folder / "2-Sep").rename(folder / "other")
    table = list_images(folder)
    assert sorted(set(table["label"])) == ["007", "1", "other", "treated"]
    (note,) = notes_of(table)
    assert "'Treated ' (1) was taken for 'treated' (2)" in note
    assert "'1.0' (1) was taken for '1' (1)" in note


def test_the_other_table_in_a_folder_is_told(tmp_path: Path) -> None:
    csv_of(tmp_path, "path,label\nx.tif,a\n")
    (tmp_path / "Labels.TSV").write_text("path\tlabel\nx.tif\tb\n")
    table = list_images(tmp_path)
    assert table["label"].tolist() == ["a"]
    assert notes_of(table) == [f"{tmp_path}: labels.csv was read, and not Labels.TSV beside it."]


def test_tables_on_several_sheets_are_a_question(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("later")):
        for row in (["path", "label"], ["x.tif", sheet.title]):
            sheet.append(row)
    book.save(tmp_path / "labels.xlsx")
    with pytest.raises(DatasetError, match=r"on several sheets \(Sheet, later\)"):
        list_images(tmp_path)
