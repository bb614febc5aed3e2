import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_why.core.errors import ImageReadError
from napari_why.images import can_read, channel_names, read
from napari_why.images.ome_zarr_plate import plate_images

PIXELS = np.random.default_rng(0).integers(1, 60000, (2, 24, 32)).astype("uint16")
AXES = [{"name": "c", "type": "channel"}] + [
    {"name": name, "type": "space", "unit": "nanometer"} for name in "yx"
]


def save(folder: Path, version: str, pixels=PIXELS, **changes) -> Path:
    """Write an image of two resolutions with zarr alone, without this package's writer."""
    kind = 2 if version == "0.4" else 3
    group = zarr.open_group(folder, mode="w", zarr_format=kind)
    datasets = []
    for level, step in enumerate((1, 2)):
        small = pixels[:, ::step, ::step]
        array = group.create_array(
            str(level), shape=small.shape, chunks=(1, 16, 16), dtype="uint16"
        )
        array[...] = small
        scale = [1.0, 650.0 * step, 650.0 * step]
        steps = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    image = {"version": version, "axes": AXES, "datasets": datasets} | changes
    labels = {"channels": [{"label": "DAPI"}, {"label": "TMRM"}]}
    put(group, version, {"multiscales": [image], "omero": labels})
    return folder


def put(group: zarr.Group, version: str, metadata: dict) -> None:
    group.attrs.update(metadata if version == "0.4" else {"ome": {"version": version} | metadata})


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_pixels_names_and_micrometres(tmp_path: Path, version) -> None:
    folder = save(tmp_path / "field.ome.zarr", version)
    assert can_read(folder)
    image = read(folder)
    np.testing.assert_array_equal(image, PIXELS)
    assert channel_names(image) == ("DAPI", "TMRM")
    assert image.attrs["pixel_size"] == {"y": 0.65, "x": 0.65}
    assert image.attrs["unit"] == "um"
    assert image.attrs["notes"] == ()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_lists_its_fields_and_a_well_of_one_field_opens(tmp_path: Path, version) -> None:
    plate = tmp_path / "plate.zarr"
    group = zarr.open_group(plate, mode="w", zarr_format=2 if version == "0.4" else 3)
    put(group, version, {"plate": {"wells": [{"path": "B/3"}, {"path": "B/04"}]}})
    for place in ("B/3", "B/04"):
        well = zarr.open_group(plate / place, mode="w", zarr_format=group.metadata.zarr_format)
        put(well, version, {"well": {"images": [{"path": "0"}]}})
        save(plate / place / "0", version)
    assert [(item.well, item.field) for item in plate_images(plate)] == [("B03", "0"), ("B04", "0")]
    np.testing.assert_array_equal(read(plate / "B/3"), PIXELS)
    with pytest.raises(ImageReadError, match=r"plate of 2 fields .*name the folder of one field"):
        read(plate)


def test_absent_chunks_are_said_or_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "field.zarr", "0.5")
    (folder / "0/c/1/1/1").unlink()
    assert read(folder).attrs["notes"] == ("1 of 8 chunks are absent; their pixels are read as 0.",)
    for chunk in (folder / "0/c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    with pytest.raises(ImageReadError, match="none of the image's chunks"):
        read(folder)


def test_metadata_and_pixels_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "field.zarr", "0.5")
    described = json.loads((folder / "0/zarr.json").read_text())
    for shape, found in (
        ([2, 8, 32], "no chunk of the image"),
        ([10**4, 10**4, 10**4], "at most 200000 chunks"),
        ([24, 32], "metadata that cannot be understood|3 axes"),
    ):
        (folder / "0/zarr.json").write_text(json.dumps(described | {"shape": shape}))
        with pytest.raises(ImageReadError, match=found):
            read(folder)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"axes": ["c", "y", "x", "z"]}, "4 axes"),
        ({"axes": ["q", "y", "x"]}, "axes named 'q'"),
        ({"datasets": []}, "no array of pixels"),
        ({"datasets": [{"path": "../0"}]}, "folder of the image"),
        ({"datasets": [{"path": "7"}]}, "no array '7'"),
        ({"datasets": 3}, "no array of pixels"),
    ],
)
def test_wrong_metadata_are_named(tmp_path: Path, changes, found) -> None:
    folder = save(tmp_path / "field.zarr", "0.4", **changes)
    with pytest.raises(ImageReadError, match=found):
        read(folder)


@pytest.mark.parametrize(
    ("version", "found"), [("0.4", "40 bytes where"), ("0.5", "do not decode")]
)
def test_chunks_cut_short_are_refused(tmp_path: Path, version, found) -> None:
    folder = save(tmp_path / "field.zarr", version)
    chunk = folder / ("0/0.0.0" if version == "0.4" else "0/c/0/0/0")
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(ImageReadError, match=found):
        read(folder)


def test_a_folder_without_its_metadata_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "field.zarr", "0.4")
    (folder / ".zattrs").unlink()
    with pytest.raises(ImageReadError, match="without the metadata"):
        read(folder)
