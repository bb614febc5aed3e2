"""Data sets of OME-Zarr: images in class folders, and plates with their plate map."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_why.core.errors import DatasetError
from napari_why.datasets import Dataset

RANDOM = np.random.default_rng(0)
AXES = [{"name": "c", "type": "channel"}] + [
    {"name": name, "type": "space", "unit": "micrometer"} for name in "yx"
]


def put(group: zarr.Group, **metadata) -> None:
    old = group.metadata.zarr_format == 2
    group.attrs.update(metadata if old else {"ome": {"version": "0.5"} | metadata})


def save(folder: Path, kind=3, *, level=1000, levels=1, **layout) -> Path:
    """Write an image of two channels with zarr alone; its mean tells which it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    group = zarr.open_group(folder, mode="w", zarr_format=kind)
    pixels = RANDOM.integers(level, level + 50, (2, 32, 32)).astype("uint16")
    for number in range(levels):
        small = pixels[:, :: 2**number, :: 2**number]
        group.create_array(str(number), data=small, **{"chunks": (1, 16, 16)} | layout)
    scales = [[1.0, 0.5 * 2**number, 0.5 * 2**number] for number in range(levels)]
    steps = [[{"type": "scale", "scale": scale}] for scale in scales]
    datasets = [{"path": str(n), "coordinateTransformations": s} for n, s in enumerate(steps)]
    labels = {"channels": [{"label": "DAPI"}, {"label": "TMRM"}]}
    put(group, multiscales=[{"axes": AXES, "datasets": datasets}], omero=labels)
    return folder


def save_plate(folder: Path, wells: dict[str, int], kind=2, fields=1, lost=()) -> Path:
    """Write a plate; ``wells`` gives the grey level of each well's images."""
    put(
        zarr.open_group(folder, mode="w", zarr_format=kind),
        plate={"wells": [{"path": well} for well in wells]},
    )
    for well, level in wells.items():
        if well in lost:
            continue
        images = {"images": [{"path": str(number)} for number in range(fields)]}
        put(zarr.open_group(folder / well, mode="w", zarr_format=kind), well=images)
        for number in range(fields):
            save(folder / well / str(number), kind, level=level)
    return folder


def labels_by_level(dataset: Dataset) -> dict[int, str]:
    """Class by grey level, which says of which well an image really is."""
    return {
        int(dataset.image(row).mean()) // 100 * 100: label
        for row, label in enumerate(dataset.table["label"])
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (3, "f{}.ome.zarr"),
        (2, "f{}"),
        (3, "day 1/f{}.zarr"),
        (2, "a/b/f{}"),
        (3, "{}"),
        (2, "f.ZARR/{}"),
    ],
)
def test_images_in_class_folders_count_once(tmp_path: Path, kind, name) -> None:
    for label, level in (("healthy", 1000), ("treated", 5000)):
        for number in range(3):
            save(tmp_path / label / name.format(number), kind, level=level)
    dataset = Dataset.open(tmp_path)
    assert (len(dataset), dataset.channels) == (6, ("DAPI", "TMRM"))
    assert labels_by_level(dataset) == {1000: "healthy", 5000: "treated"}
    assert dataset.unreadable == ()
    assert not any("left out" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (3, {"shards": (2, 32, 32)}),
        (3, {"chunk_key_encoding": {"name": "default", "separator": "."}}),
        (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        (2, {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
        (2, {"compressors": None}),
        (3, {"levels": 2}),
    ],
)
def test_however_the_chunks_are_stored(tmp_path: Path, kind, layout) -> None:
    for label, level in (("healthy", 1000), ("treated", 5000)):
        for number in range(2):
            save(tmp_path / label / f"f{number}.zarr", kind, level=level, **layout)
    assert labels_by_level(Dataset.open(tmp_path, group=None)) == {1000: "healthy", 5000: "treated"}


def test_links_to_images_count(tmp_path: Path) -> None:
    for label, level in (("healthy", 1000), ("treated", 5000)):
        for number in range(2):
            real = save(tmp_path / f"store/{label}{number}.zarr", level=level)
            link = tmp_path / f"set/{label}/f{number}.zarr"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real, target_is_directory=True)
    dataset = Dataset.open(tmp_path / "set")
    assert len(dataset) == 4
    assert labels_by_level(dataset) == {1000: "healthy", 5000: "treated"}


def test_images_beside_the_class_folders_are_no_classes(tmp_path: Path) -> None:
    for label in ("healthy", "treated"):
        for number in range(2):
            save(tmp_path / label / f"f{number}.zarr")
    with pytest.raises(DatasetError, match="0 sub-folders without images and 2 files beside"):
        Dataset.open(tmp_path / "healthy")
    with pytest.raises(DatasetError, match="a single image or plate"):
        Dataset.open(tmp_path / "healthy/f0.zarr")
    save(tmp_path / "loose.zarr")
    dataset = Dataset.open(tmp_path)
    assert dataset.classes == ("healthy", "treated")
    assert (
        "beside the folders of the classes have no class and were left out: 1" in dataset.notes[0]
    )


def test_series_of_images_in_class_folders(tmp_path: Path) -> None:
    for label, level in (("healthy", 1000), ("treated", 5000)):
        root = tmp_path / label / "slide.zarr"
        zarr.open_group(root, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
        zarr.open_group(root / "OME", mode="w", zarr_format=2).attrs["series"] = ["0", "1"]
        for number in range(2):
            save(root / str(number), 2, level=level)
    dataset = Dataset.open(tmp_path)
    assert len(dataset) == 4
    assert labels_by_level(dataset) == {1000: "healthy", 5000: "treated"}


WELLS = {"A/1": 1000, "A/02": 3000, "B/1": 5000, "H/12": 7000}
MAP = "well,treatment\nA1,DMSO\nA2,DMSO\nB1,FCCP\nH12,FCCP\n"
RIGHT = {1000: "DMSO", 3000: "DMSO", 5000: "FCCP", 7000: "FCCP"}


def test_images_that_a_series_lacks_are_told(tmp_path: Path) -> None:
    for label, there in (("healthy", "013"), ("treated", "0123")):
        folder = tmp_path / label / "slide.zarr"
        put(zarr.open_group(folder, mode="w", zarr_format=2), **{"bioformats2raw.layout": 3})
        put(zarr.open_group(folder / "OME", mode="w", zarr_format=2), series=list("0123"))
        for number in there:
            save(folder / number, 2)
    dataset = Dataset.open(tmp_path)
    assert len(dataset) == 7
    told = "Of the 4 images that slide.zarr names, 1 are missing and left out: 2."
    assert told in dataset.notes


@pytest.mark.parametrize(
    ("kind", "name"), [(2, "P1.zarr"), (3, "plate"), (3, "my plate C3.ome.zarr")]
)
def test_a_plate_with_its_plate_map(tmp_path: Path, kind, name) -> None:
    plate = save_plate(tmp_path / name, WELLS, kind)
    (tmp_path / "map.csv").write_text(MAP)
    for folder in (plate, tmp_path):
        dataset = Dataset.from_plate(folder, tmp_path / "map.csv")
        assert labels_by_level(dataset) == RIGHT
        assert list(dataset.table["well"]) == ["A01", "A02", "B01", "H12"]
        assert dataset.group_columns == ("well",)


def test_a_plate_that_lacks_a_well_says_so(tmp_path: Path) -> None:
    plate = save_plate(tmp_path / "P1.zarr", WELLS, lost=("A/02",))
    (tmp_path / "map.csv").write_text(MAP)
    dataset = Dataset.from_plate(plate, tmp_path / "map.csv")
    assert labels_by_level(dataset) == {k: v for k, v in RIGHT.items() if k != 3000}
    assert any("Of the 4 wells that the plate P1.zarr names, 1 are" in n for n in dataset.notes)
    assert "No image was found of A02." in dataset.notes
    assert set(dataset.notes) <= set(dataset.summary().attrs["sentences"])


@pytest.mark.parametrize("names", [("1", "2"), ("BR1", "BR1_rep2")])
def test_a_folder_of_several_plates(tmp_path: Path, names) -> None:
    for shift, name in enumerate(names):
        levels = {well: level + 1000 * shift for well, level in WELLS.items()}
        save_plate(tmp_path / f"{name}.ome.zarr", levels)
    lines = [f"{names[0]},A1,DMSO", f"{names[0]},B1,FCCP", f"{names[1]},A1,FCCP"]
    (tmp_path / "map.csv").write_text("\n".join(["plate,well,treatment", *lines]))
    dataset = Dataset.from_plate(tmp_path, tmp_path / "map.csv")
    assert labels_by_level(dataset) == {1000: "DMSO", 5000: "FCCP", 2000: "FCCP"}
    assert dataset.group_columns == ("plate", "well")
    assert "5 images belong to no well of the plate map" in " ".join(dataset.notes)


def test_one_map_for_several_plates_is_asked_about(tmp_path: Path) -> None:
    for name in ("P1.zarr", "P2.ome.zarr"):
        save_plate(tmp_path / name, WELLS)
    (tmp_path / "map.csv").write_text(MAP)
    with pytest.raises(DatasetError, match=r"2 plates \(P1, P2\), but a plate map of one") as asked:
        Dataset.from_plate(tmp_path, tmp_path / "map.csv")
    pattern = str(asked.value).split("'")[-2]
    dataset = Dataset.from_plate(tmp_path, tmp_path / "map.csv", well_pattern=pattern)
    assert labels_by_level(dataset) == RIGHT
    assert set(dataset.table["plate"]) == {"P1", "P2"}
    assert any("taken for each of P1, P2" in note for note in dataset.notes)


def test_a_plate_that_the_map_does_not_list_is_left_out(tmp_path: Path) -> None:
    save_plate(tmp_path / "P1.zarr", WELLS)
    save_plate(tmp_path / "P2.zarr", {well: level + 1000 for well, level in WELLS.items()})
    rows = [f"P1,{line}" for line in MAP.splitlines()[1:]]
    (tmp_path / "map.csv").write_text("\n".join(["plate,well,treatment", *rows]))
    dataset = Dataset.from_plate(tmp_path, tmp_path / "map.csv")
    assert labels_by_level(dataset) == RIGHT
    assert "4 images belong to no well of the plate map" in " ".join(dataset.notes)


def test_plates_in_class_folders_keep_their_wells_together(tmp_path: Path) -> None:
    for label, level in (("healthy", 1000), ("treated", 5000)):
        wells = dict.fromkeys(["A/1", "A/2", "B/1"], level)
        save_plate(tmp_path / label / f"{label}.zarr", wells, fields=2, lost=("B/1",))
    dataset = Dataset.open(tmp_path)
    assert labels_by_level(dataset) == {1000: "healthy", 5000: "treated"}
    assert dataset.group_columns == ("plate", "well")
    assert len(set(dataset.groups)) == 4
    assert sum("1 are missing and left out: B01" in note for note in dataset.notes) == 2
    save(tmp_path / "treated/single.zarr", level=5000)
    mixed = Dataset.open(tmp_path)
    assert any("8 of 9 images are fields of plates" in note for note in mixed.notes)
