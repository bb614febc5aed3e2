from pathlib import Path

import pytest

from napari_why.core.errors import DatasetError
from napari_why.core.events import Message
from napari_why.datasets import Dataset
from napari_why.images import write

MAP = (
    "well,treatment,dose,replicate\n"
    "A1,DMSO,0,1\nA2,DMSO,0,2\nA3,FCCP,1,1\nA4,FCCP,5,2\nB1,empty,,\n"
)


@pytest.fixture
def plate(tmp_path: Path, class_folder) -> Path:
    """A folder with two fields of each well of a row, and its plate map beside it."""
    made = class_folder("made", x=8)
    folder = tmp_path / "plate 7"
    folder.mkdir()
    for number, path in enumerate(sorted((made / "x").iterdir())):
        path.rename(folder / f"scan_A{number // 2 + 1:02d}_f{number % 2 + 1}.ome.tif")
    (tmp_path / "map.csv").write_text(MAP)
    return folder


def test_wells_give_images_their_class(plate: Path) -> None:
    said: list[str] = []
    dataset = Dataset.from_plate(
        plate,
        plate.parent / "map.csv",
        on_event=lambda event: said.append(event.text) if isinstance(event, Message) else None,
    )
    assert dataset.classes == ("DMSO", "FCCP")
    assert dataset.table["well"].tolist() == [w for n in "1234" for w in (f"A0{n}",) * 2]
    assert dataset.table["dose"].tolist() == [0, 0, 0, 0, 1, 1, 5, 5]
    assert dataset.group_columns == ("well",)
    assert dataset.plate_match is not None
    assert dataset.plate_match.wells_without_images == ("B01",)
    assert said == ["No image was found of B01."]


def test_the_class_is_any_column_and_controls_have_names(plate: Path) -> None:
    plate_map = plate.parent / "map.csv"
    by_dose = Dataset.from_plate(plate, plate_map, label="dose")
    assert by_dose.classes == ("0", "1", "5")
    controls = {"negative": "DMSO", "positive": ["FCCP"]}
    named = Dataset.from_plate(
        plate, plate_map, label="replicate", controls=controls, control_column="treatment"
    )
    assert named.table.groupby("control")["treatment"].unique().map(list).to_dict() == {
        "negative": ["DMSO"],
        "positive": ["FCCP"],
    }
    by_control = Dataset.from_plate(
        plate, plate_map, label="control", controls=controls, control_column="treatment"
    )
    assert by_control.classes == ("negative", "positive")
    with pytest.raises(
        DatasetError, match=r"negative control: found no well with treatment 'dmso'"
    ):
        Dataset.from_plate(plate, plate_map, controls={"negative": "dmso"})
    with pytest.raises(DatasetError, match="is the a control already"):
        Dataset.from_plate(plate, plate_map, controls={"a": "DMSO", "b": "DMSO"})
    with pytest.raises(DatasetError, match=r"no column 'drug'; expected one of well, treatment"):
        Dataset.from_plate(plate, plate_map, label="drug")


def test_what_does_not_fit_is_reported(plate: Path) -> None:
    (plate / "scan_A01_f1.ome.tif").rename(plate / "scan_H12_f1.ome.tif")
    (plate / "scan_A01_f2.ome.tif").rename(plate / "overview.ome.tif")
    (plate / "scan_A03_f1.ome.tif").rename(plate / "A02 and A03.ome.tif")
    (plate / "notes.docx").write_bytes(b"PK\x03\x04")
    (plate.parent / "map.csv").write_text(MAP.replace("A4,FCCP", "A4,"))
    match = Dataset.from_plate(plate, plate.parent / "map.csv").plate_match
    assert match is not None
    assert match.wells_without_images == ("A01", "B01")
    assert match.wells_without_class == ("A04",)
    reasons = {
        Path(item.path).name: item.reason.partition(";")[0] for item in match.images_without_wells
    }
    assert reasons == {
        "A02 and A03.ome.tif": "its name can mean the wells A02 and A03",
        "overview.ome.tif": "its name tells no well",
        "scan_H12_f1.ome.tif": "the plate map lists no well H12",
    }
    assert len(match.sentences) == 3


def test_a_pattern_of_the_user_finds_the_wells(plate: Path) -> None:
    for path in plate.iterdir():
        path.rename(plate / path.name.replace("scan_A0", "run1-").replace("_f", "-"))
    plate_map = plate.parent / "map.csv"
    with pytest.raises(DatasetError, match=r"none of a well.*well_pattern"):
        Dataset.from_plate(plate, plate_map)
    (plate.parent / "rows.csv").write_text(MAP)
    pattern = r"(?P<row>r)un1-(?P<column>\d)-"
    with pytest.raises(DatasetError, match="none of a well"):
        Dataset.from_plate(plate, plate_map, well_pattern=pattern)
    (plate.parent / "map.csv").write_text(MAP.replace("A", "R").replace("B1", "S1"))
    assert len(Dataset.from_plate(plate, plate_map, well_pattern=pattern, label="dose")) == 8
    for wrong in ("(", "(?P<name>.)"):
        with pytest.raises(DatasetError, match="well_pattern"):
            Dataset.from_plate(plate, plate_map, well_pattern=wrong)


def test_several_plates_are_told_apart_by_their_folders(plate: Path) -> None:
    other = plate.parent / "plate 8"
    other.mkdir()
    for path in sorted(plate.iterdir())[:4]:
        (other / path.name).write_bytes(path.read_bytes())
    lines = [f"plate 7,A{n},x" for n in range(1, 5)] + ["plate 8,A1,y", "plate 8,A2,y"]
    (plate.parent / "map.csv").write_text("\n".join(["plate,well,treatment", *lines]))
    dataset = Dataset.from_plate(plate.parent, plate.parent / "map.csv")
    assert dataset.group_columns == ("plate", "well")
    assert dataset.table.groupby("plate")["label"].unique().map(list).to_dict() == {
        "plate 7": ["x"],
        "plate 8": ["y"],
    }
    assert dataset.plate_match is not None
    strangers = dataset.plate_match.images_without_wells
    assert [Path(item.path).parent.name for item in strangers] == ["x"] * len(strangers)


def test_files_of_one_channel_each_are_one_image_and_thumbnails_none(
    tmp_path: Path, plate: Path
) -> None:
    from napari_why.images import read

    singles = tmp_path / "singles"
    singles.mkdir()
    for path in sorted(plate.iterdir()):
        image = read(path)
        for number in (1, 2):
            name = path.name.removesuffix(".ome.tif").replace("f", "s")
            write(image.isel(c=[number - 1]), singles / f"{name}_w{number}.tif")
            thumbnail = image.isel(c=[number - 1], y=slice(4), x=slice(4))
            write(thumbnail, singles / f"{name}_w{number}_thumb.tif")
    dataset = Dataset.from_plate(singles, plate.parent / "map.csv")
    assert len(dataset) == 8
    assert len(dataset.channels) == 2


@pytest.mark.real_data
def test_bbbc013_by_plate_map(real_data: Path) -> None:
    folder = real_data / "bbbc013-translocation"
    dataset = Dataset.from_plate(
        folder / "images",
        folder / "labels.csv",
        label="class3",
        classes=("active", "inactive"),
        controls={"negative": "negative_control", "positive": "positive_control"},
        control_column="label",
    )
    assert dataset.summary()["images"].tolist() == [24, 20]
    assert dataset.table["control"].value_counts().to_dict() == {
        "": 32,
        "negative": 8,
        "positive": 4,
    }
    assert dataset.group_columns == ("plate", "well")
    assert dataset.plate_match is not None
    assert dataset.plate_match.sentences == ()
    split = dataset.split(seed=0)
    assert split.table.groupby("well")["split"].nunique().max() == 1
    listed = Dataset.open(folder / "labels.csv", label="class3", classes=("active", "inactive"))
    assert [Path(path).name for path in dataset.table["path"]] == [
        Path(path).name for path in listed.table["path"]
    ]
    assert dataset.table["label"].tolist() == listed.table["label"].tolist()
