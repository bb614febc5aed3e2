from pathlib import Path

import pytest

from napari_why.core.errors import DatasetError
from napari_why.datasets import Dataset
from napari_why.datasets.tables import list_images
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
        ("file,label\nx.tif,a\n", "columns file, label; expected also path"),
        ("path,class\nx.tif,a\n", "expected also label"),
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
