"""Folders as people have them: links, places without permission, litter, names that are no UTF-8."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_why.core.errors import DatasetError, ImageReadError
from napari_why.core.folders import find_shown, is_companion, show
from napari_why.core.whole_files import write_table
from napari_why.datasets import Dataset
from napari_why.datasets.tables import list_images, notes_of
from napari_why.images import read, write
from napari_why.images.plate_folder import holds_channel_files, scan_plate

from .conftest import FolderMaker, image_of

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
# Windows and macOS keep names as text, so that others cannot be made.
bytes_in_names = pytest.mark.skipif(sys.platform != "linux", reason="names are text here")


def names_of(dataset: Dataset) -> list[str]:
    return sorted("/".join(Path(path).parts[-2:]) for path in dataset.table["path"])


@pytest.fixture
def folder(class_folder: FolderMaker) -> Path:
    made = class_folder(a=3, b=3)
    for path in sorted(made.glob("*/*.tif")):
        # "a_00" could be a well
        path.rename(path.with_name(path.name.replace("_0", "_img")))
    return made


def make_store(tmp_path: Path, count: int = 2, seed: int = 500) -> Path:
    store = tmp_path / "elsewhere" / "scan"
    store.mkdir(parents=True)
    for index in range(count):
        write(image_of(seed + index), store / f"far_{index}.ome.tif")
    return store


def close_folder(monkeypatch: pytest.MonkeyPatch, closed: Path) -> None:
    """Refuse to list a folder: the tests may run as somebody who may open all."""
    scandir = os.scandir

    def refuse(path: object = ".") -> object:
        if Path(str(path)) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)


# ------------------------------------------------------------------------------------------ links


@links
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("depth", ["plate2", "day 1/plate2"])
def test_linked_folders_are_followed_and_told(
    folder: Path, tmp_path: Path, depth: str, relative: bool
) -> None:
    store = make_store(tmp_path)
    link = folder / "a" / depth
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(os.path.relpath(store, link.parent) if relative else store)
    dataset = Dataset.open(folder)
    assert len(dataset) == 8
    assert (dataset.table["label"] == "a").sum() == 5
    (note,) = dataset.notes
    assert note.startswith(f"1 linked folder was followed, the first: {Path('a') / depth}")
    assert str(store) in note


@links
def test_a_class_that_is_a_link_is_a_class(folder: Path, tmp_path: Path) -> None:
    (folder / "c").symlink_to(make_store(tmp_path))
    dataset = Dataset.open(folder)
    assert dataset.classes == ("a", "b", "c")
    assert "1 linked folder was followed, the first: c," in dataset.notes[0]


def link_to_itself(folder: Path) -> None:
    (folder / "a" / "again").symlink_to(folder / "a")


def link_to_all(folder: Path) -> None:
    (folder / "a" / "up").symlink_to("..")


def link_in_a_ring(folder: Path) -> None:
    for here, there in (("x", "y"), ("y", "x")):
        (folder / "a" / here).mkdir()
        (folder / "a" / here / "on").symlink_to(folder / "a" / there)


def link_to_a_sibling(folder: Path) -> None:
    (folder / "a" / "real").mkdir()
    (folder / "a" / "a_img0.ome.tif").rename(folder / "a" / "real" / "a_img0.ome.tif")
    # "latest" comes before "real", which is to be kept under its own name
    (folder / "a" / "latest").symlink_to("real")


def link_to_a_file(folder: Path) -> None:
    (folder / "a" / "a_img0 again.ome.tif").symlink_to("a_img0.ome.tif")


@links
@pytest.mark.parametrize(
    "tangle", [link_to_itself, link_to_all, link_in_a_ring, link_to_a_sibling, link_to_a_file]
)
def test_every_image_is_there_once(folder: Path, tangle: Callable[[Path], None]) -> None:
    tangle(folder)
    dataset = Dataset.open(folder)
    assert len(dataset) == 6
    assert not any("latest" in path or "again" in path for path in dataset.table["path"])
    assert any("passed over, leading to what was found already" in note for note in dataset.notes)


@links
def test_a_link_into_another_class_is_refused(folder: Path) -> None:
    (folder / "a" / "more").symlink_to("../b")
    with pytest.raises(DatasetError, match=r"the same image as .*\(class a\).*\(class b\)"):
        Dataset.open(folder)


@links
def test_a_folder_of_links_keeps_its_names(folder: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    (folder / "c").mkdir()
    for index in range(3):
        (folder / "c" / f"c_B0{index}.ome.tif").symlink_to(store / f"far_{index}.ome.tif")
    dataset = Dataset.open(folder)
    assert [name for name in names_of(dataset) if name[0] == "c"] == [
        f"c/c_B0{index}.ome.tif" for index in range(3)
    ]
    assert dataset.notes[0].startswith("3 linked files were followed")


@links
@pytest.mark.parametrize("name", ["a_img9.ome.tif", "plate2", "self.tif"])
def test_links_to_nothing_count_as_unreadable(folder: Path, name: str) -> None:
    target = name if name == "self.tif" else "../gone/away"
    (folder / "a" / name).symlink_to(target)
    with pytest.raises(DatasetError, match=r"1 of 7 files unreadable.*a link to .*, which is not"):
        Dataset.open(folder)
    dataset = Dataset.open(folder, max_unreadable=0.2)
    assert [Path(lost.path).name for lost in dataset.unreadable] == [name]
    assert name in dataset.notes[0]


@links
def test_a_link_to_nothing_that_is_no_image_is_passed_over(folder: Path) -> None:
    (folder / "a" / "notes.txt").symlink_to("gone.txt")
    assert Dataset.open(folder).notes == ()


@links
@pytest.mark.parametrize("name", ["c", "labels.csv"])
def test_a_class_or_table_that_is_a_link_to_nothing_is_refused(folder: Path, name: str) -> None:
    (folder / name).symlink_to("/no/such/place")
    with pytest.raises(DatasetError, match="link to"):
        Dataset.open(folder)


@links
def test_links_in_a_plate(tmp_path: Path) -> None:
    plate, other = tmp_path / "plate", tmp_path / "other"
    for place, wells in ((plate / "B", ("B02", "B03")), (other, ("C02", "C03"))):
        place.mkdir(parents=True)
        for number, well in enumerate(wells):
            write(image_of(number + 10 * len(str(place))), place / f"p_{well}_f1.ome.tif")
    (plate / "C").symlink_to(other)
    (plate / "C" / "back").symlink_to(plate)
    (plate / "lost_D02_f1.ome.tif").symlink_to("nothing")
    (plate / "lost.ome.tif").symlink_to("nothing")
    (tmp_path / "map.csv").write_text(
        "well,treatment\nB02,x\nB03,y\nC02,x\nC03,y\nD02,y\n", encoding="utf-8"
    )
    dataset = Dataset.from_plate(plate, tmp_path / "map.csv", max_unreadable=0.5)
    assert dataset.table["well"].tolist() == ["B02", "B03", "C02", "C03"]
    assert [Path(lost.path).name for lost in dataset.unreadable] == ["lost_D02_f1.ome.tif"]
    told = " ".join(dataset.notes)
    assert "1 linked folder was followed" in told
    assert "back" in told
    assert "lost.ome.tif" in told


@links
def test_links_between_the_files_of_a_microscope(tmp_path: Path) -> None:
    plate, other = tmp_path / "plate", tmp_path / "other"
    for place, well in ((plate, "B02"), (other, "B03")):
        place.mkdir()
        for channel in (1, 2):
            write(image_of(channel, ["x"]), place / f"p_{well}_s1_w{channel}.tif")
    (plate / "far").symlink_to(other)
    (other / "round").symlink_to(plate)
    (plate / "#recycle").mkdir()
    (plate / "#recycle" / "p_B04_s1_w1.tif").write_bytes(b"II")
    scanned = scan_plate(plate)
    assert [field.well for field in scanned.fields] == ["B02", "B03"]
    told = " ".join(scanned.notes)
    assert "linked folder" in told
    assert "recycle bins" in told
    assert holds_channel_files(plate)


# ------------------------------------------------------------------------------------- permission


def test_a_folder_without_permission_is_counted_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a" / "secret").mkdir()
    close_folder(monkeypatch, folder / "a" / "secret")
    with pytest.raises(DatasetError, match=r"1 of 7 files unreadable .*secret.*cannot be opened"):
        Dataset.open(folder)
    dataset = Dataset.open(folder, max_unreadable=0.2)
    assert len(dataset) == 6
    assert "secret" in dataset.notes[0]


def test_a_class_without_permission_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_folder(monkeypatch, folder / "b")
    with pytest.raises(DatasetError, match=r"b: found a folder that cannot be opened \(Permission"):
        Dataset.open(folder)


def test_a_folder_of_a_plate_without_permission_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for channel in (1, 2):
        write(image_of(channel, ["x"]), tmp_path / f"p_B02_s1_w{channel}.tif")
    (tmp_path / "TimePoint_2").mkdir()
    close_folder(monkeypatch, tmp_path / "TimePoint_2")
    scanned = scan_plate(tmp_path)
    assert len(scanned.fields) == 1
    assert "TimePoint_2 could not be opened" in scanned.notes[0]


def test_the_whole_folder_without_permission_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(image_of(1, ["x"]), folder / "p_B02_s1_w1.tif")
    close_folder(monkeypatch, folder)
    with pytest.raises(DatasetError, match="cannot be opened"):
        Dataset.open(folder)
    with pytest.raises(ImageReadError, match="cannot be listed"):
        read(folder / "p_B02_s1_w1.tif")


@links
def test_a_channel_that_is_a_link_to_nothing_is_missed(tmp_path: Path) -> None:
    write(image_of(1, ["x"]), tmp_path / "p_B02_s1_w1.tif")
    (tmp_path / "p_B02_s1_w2.tif").symlink_to("gone")
    with pytest.raises(ImageReadError, match="which is not there"):
        read(tmp_path / "p_B02_s1_w1.tif")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="this user may open everything"
)
def test_a_file_without_permission_is_counted(folder: Path) -> None:
    (folder / "a" / "a_img0.ome.tif").chmod(0)
    with pytest.raises(DatasetError, match=r"1 of 6 files unreadable .*cannot be opened"):
        Dataset.open(folder)


# ----------------------------------------------------------------------------------------- litter

SILENT = (
    "@eaDir/a_img0.ome.tif/SYNOPHOTO_THUMB_M.jpg",
    "@eaDir/a_img0.ome.tif@SynoEAStream",
    ".@__thumb/s100a_img0.ome.tif",
    "__MACOSX/._a_img0.ome.tif",
    "._a_img0.ome.tif",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "System Volume Information/IndexerVolumeGuid",
    ".stfolder/marker",
    "plate.HTD",
    "MeasurementData.mlf",
    "MeasurementDetail.mrf",
    "scan.mes",
    "experiment.nd",
    "plate.xdce",
    "Series001.lifext",
    "MetaData/Series001_Properties.xml",
    "AdditionalData/{ScanningTemplate}x.lrp",
    "0042-0133.roi",
    "RoiSet.zip",
    "a_img0_ROIs.zip",
    "Protokoll.docx",
    "figure.pdf",
    "~$plan.xlsx",
    ".~lock.plan.ods#",
    "a_img0.ome.tif.md5",
    "a_img0.ome.tif.xml",
    "README",
    "analysis.cppipe",
)
TOLD = {
    "#recycle/old.ome.tif": "recycle bins",
    "@Recycle/deep/old.tif": "recycle bins",
    "$RECYCLE.BIN/S-1-5-21/$R1.tif": "recycle bins",
    ".Trash-1000/files/old.tif": "recycle bins",
    "lost+found/#123.tif": "lost+found",
    "#snapshot/daily/a_img0.ome.tif": "snapshots",
    ".stversions/a_img0~2024.tif": "snapshots",
    "@tmp/a_img7.ome.tif": "unfinished",
    "Thumbnails/a_img0.tif": "thumbnails",
    ".hidden/a_img0.tif": "hidden folders",
    ".a_img7.ome.tif": "hidden files",
    ".a_img7.ome.tif.Xy12aB": "hidden files",
    "a_img7.ome.tif.part": "unfinished copies",
    "a_img7.tif.crdownload": "unfinished copies",
    "a_img7.ome.tif.filepart": "unfinished copies",
    "a_img7.ome.tif.tmp": "temporary files",
    "a_img7.ome.tif.bak": "temporary files",
    "a_img7.tif~": "temporary files",
    "a_img7.tif - Shortcut.lnk": "shortcuts",
}


def leave(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"II*\0 no image")


def test_litter_that_is_no_image_is_passed_over_in_silence(folder: Path) -> None:
    for name in SILENT:
        leave(folder / "a", name)
        leave(folder, name)
    dataset = Dataset.open(folder)
    assert len(dataset) == 6
    assert dataset.classes == ("a", "b")
    assert dataset.unreadable == ()
    assert dataset.notes == ()


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not allow")
@pytest.mark.parametrize("name", TOLD)
def test_litter_that_may_be_images_is_passed_over_and_told(folder: Path, name: str) -> None:
    leave(folder / "a", name)
    table = list_images(folder)
    assert len(table) == 6
    (note,) = notes_of(table)
    assert note.startswith("Passed over, though they may be images: 1 ")
    assert TOLD[name] in note


def test_a_recycle_bin_beside_the_classes_is_no_class(folder: Path) -> None:
    for index in range(3):
        leave(folder, f"#recycle/{index}.tif")
    dataset = Dataset.open(folder)
    assert dataset.classes == ("a", "b")
    assert "3 in recycle bins (the first: #recycle)" in dataset.notes[0]


@pytest.mark.parametrize(
    "name",
    ["a_img7.tif", "a_img7.nd2", "a_img7.jpg", "a_img7.zip", "a_img7.czi", "a_img7", "erosion.zip"],
)
def test_what_may_be_a_broken_image_still_counts(folder: Path, name: str) -> None:
    leave(folder / "a", name)
    with pytest.raises(DatasetError, match="1 of 7 files unreadable"):
        Dataset.open(folder)


@pytest.mark.parametrize(
    "name", ["ER.tif", "roi_1.tif", "metadata.tif", "thumbs.tif", "readme.tif", "m.tif", "tmp.tif"]
)
def test_images_called_like_litter_stay_images(folder: Path, name: str) -> None:
    write(image_of(77), folder / "a" / name)
    assert len(Dataset.open(folder)) == 7
    assert not is_companion(name)


def test_what_lies_beside_the_classes_is_told(folder: Path) -> None:
    write(image_of(78), folder / "loose.ome.tif")
    (folder / "figures").mkdir()
    notes = Dataset.open(folder).notes
    assert notes[0].startswith("Files beside the folders of the classes have no class")
    assert notes[1].startswith("Folders without an image make no class: 1, the first: ")


# ------------------------------------------------------------------------------ names in old bytes

NAMES = (b"F\xe4rbung", b"\x89\xe6\x91\x9c 1", b"\xcf\xe0\xf0\xe0", b"M\xfcll\xe9r")


def rename(path: Path, name: bytes) -> Path:
    there = os.fsencode(path.parent) + b"/" + name
    path.rename(os.fsdecode(there))
    return Path(os.fsdecode(there))


@bytes_in_names
@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_that_is_no_utf8(folder: Path, tmp_path: Path, name: bytes) -> None:
    path = rename(folder / "a" / "a_img0.ome.tif", name + b".ome.tif")
    dataset = Dataset.open(folder)
    assert len(dataset) == 6
    shown = next(text for text in dataset.table["path"] if "\ufffd" in text)
    assert find_shown(shown) == path
    assert Dataset.open(folder).fingerprint == dataset.fingerprint
    row = dataset.table["path"].tolist().index(shown)
    assert (dataset.image(row) == image_of(0)).all()
    for ending in ("csv", "parquet"):
        write_table(dataset.table, tmp_path / f"table.{ending}")
    assert "\ufffd" in (tmp_path / "table.csv").read_text(encoding="utf-8")
    image = read(path)
    assert image.attrs["source"] == shown
    assert (read(shown) == image).all()
    json.dumps(image.attrs["source"], ensure_ascii=False).encode()


@bytes_in_names
@pytest.mark.parametrize("name", NAMES)
def test_a_class_name_that_is_no_utf8(folder: Path, name: bytes) -> None:
    rename(folder / "a", name)
    dataset = Dataset.open(folder)
    assert set(dataset.classes) == {"b", show(os.fsdecode(name))}
    assert len(dataset) == 6


@bytes_in_names
def test_names_that_would_be_shown_alike_stay_apart(folder: Path) -> None:
    rename(folder / "a" / "a_img0.ome.tif", b"\xe4.ome.tif")
    rename(folder / "a" / "a_img1.ome.tif", b"\xf6.ome.tif")
    rename(folder / "a", b"K\xe4")
    rename(folder / "b", b"K\xf6")
    dataset = Dataset.open(folder)
    assert dataset.classes == (r"K\xe4", r"K\xf6")
    assert dataset.table["path"].is_unique
    assert len(dataset) == 6
    assert dataset.labels.tolist() == [0] * 3 + [1] * 3


@bytes_in_names
def test_errors_name_such_files_in_words_that_can_be_written(folder: Path) -> None:
    path = rename(folder / "a" / "a_img0.ome.tif", b"\xe4.tif")
    path.write_bytes(b"II*\0")
    with pytest.raises(ImageReadError, match="\ufffd\\.tif") as caught:
        read(path)
    str(caught.value).encode()
    with pytest.raises(DatasetError) as refused:
        Dataset.open(folder)
    str(refused.value).encode()


@bytes_in_names
def test_plates_and_tables_with_such_names(folder: Path, tmp_path: Path) -> None:
    plate = tmp_path / "plate"
    plate.mkdir()
    for number, well in enumerate(("B02", "B03")):
        write(image_of(number), plate / f"x_{well}.ome.tif")
        rename(plate / f"x_{well}.ome.tif", b"\xe4_" + well.encode() + b".ome.tif")
    (tmp_path / "map.csv").write_text("well,treatment\nB02,x\nB03,y\n", encoding="utf-8")
    assert len(Dataset.from_plate(plate, tmp_path / "map.csv")) == 2
    path = rename(folder / "a" / "a_img0.ome.tif", b"\xe4.ome.tif")
    text = f"path,label\n{show(path)},a\nb/b_img0.ome.tif,b\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    assert len(list_images(folder)) == 2
    assert len(Dataset.open(folder)) == 2
