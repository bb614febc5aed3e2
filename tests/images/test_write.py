import errno
import json
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import ImageWriteError
from napari_why.core.record import Record
from napari_why.images import channel_names, make_image, read, record_path, write

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12
)
TYPES = st.sampled_from(["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"])
SIZES = st.floats(1e-3, 1e3)
IMAGE = make_image(
    np.random.default_rng(0).integers(0, 60000, (2, 30, 40)).astype("uint16"),
    "cyx",
    ["DAPI", "TMRM"],
    pixel_size={"y": 0.3, "x": 0.3},
    unit="um",
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=TYPES, unit=st.sampled_from(["um", "pixel"]))
def test_what_is_written_is_read(tmp_path: Path, data, dtype, unit) -> None:
    dims = "".join(dim for dim in "tczyx" if dim in "cyx" or data.draw(st.booleans()))
    smallest = {"t": 2, "z": 2}
    shape = [data.draw(st.integers(smallest.get(dim, 1), 4)) for dim in dims]
    names = data.draw(
        st.lists(NAMES, min_size=shape[dims.index("c")], max_size=4, unique=True).filter(
            lambda names: len(names) == shape[dims.index("c")]
        )
    )
    pixels = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    spatial = [dim for dim in dims if dim in "zyx"]
    pixel_size = {dim: data.draw(SIZES) if unit == "um" else 1.0 for dim in spatial}
    image = make_image(pixels, dims, names, pixel_size=pixel_size, unit=unit)
    again = read(write(image, tmp_path / "any.ome.tif", overwrite=True))
    assert again.dims == image.dims
    assert again.dtype == image.dtype
    np.testing.assert_array_equal(again, image)
    assert channel_names(again) == channel_names(image)
    assert again.attrs["unit"] == unit
    assert again.attrs["pixel_size"] == pytest.approx(pixel_size)


def test_the_record_stands_in_the_file_and_beside_it(tmp_path: Path) -> None:
    record = Record("counterfactual", "transport", {"steps": 11}, source="Zelle/ä & <b>.tif")
    path = write(IMAGE, tmp_path / "field.ome.tif", record=record)
    assert record_path(path) == tmp_path / "field.json"
    assert json.loads(record_path(path).read_text(encoding="utf-8")) == record.to_dict()
    assert Record.from_dict(read(path).attrs["record"]) == Record.from_dict(record.to_dict())


def test_others_may_read_it_as_any_file_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "usual.txt").write_text("text")
    path = write(IMAGE, tmp_path / "field.ome.tif", record=Record("attribution", "cam"))
    usual = (tmp_path / "usual.txt").stat().st_mode
    assert path.stat().st_mode == record_path(path).stat().st_mode == usual


def test_a_dask_image_is_written_plane_by_plane(tmp_path: Path) -> None:
    lazy = IMAGE.copy(data=da.from_array(IMAGE.values, chunks=(1, 30, 40)))
    np.testing.assert_array_equal(read(write(lazy, tmp_path / "lazy.ome.tif")), IMAGE)


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    record = Record("attribution", "cam")
    path = write(IMAGE, tmp_path / "field.ome.tif", record=record)
    before = path.read_bytes()
    with pytest.raises(ImageWriteError, match="the file exists"):
        write(IMAGE + 1, path)
    path.unlink()
    with pytest.raises(ImageWriteError, match=r"field\.json: the file exists"):
        write(IMAGE, path, record=record)
    path.write_bytes(before)
    brighter = IMAGE.copy(data=IMAGE.values + 1)
    write(brighter, path, record=record, overwrite=True)
    np.testing.assert_array_equal(read(path), brighter)


@pytest.mark.parametrize("failing", ["image", "record"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing
) -> None:
    record = Record("attribution", "cam")
    path = write(IMAGE, tmp_path / "field.ome.tif", record=record)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "image":
        monkeypatch.setattr(tifffile.FileHandle, "write", full)
    else:
        monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ImageWriteError, match=r"disk is full.*MB are needed.*MB are free"):
        write(IMAGE.copy(data=IMAGE.values + 1), path, record=record, overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), dtype=TYPES, unit=st.sampled_from(["um", "pixel"]))
def test_what_is_written_as_zarr_is_read(tmp_path: Path, data, dtype, unit) -> None:
    dims = "".join(dim for dim in "tczyx" if dim in "cyx" or data.draw(st.booleans()))
    shape = [data.draw(st.integers(2, 4)) for _ in dims]
    names = [f"stain {number}" for number in range(shape[dims.index("c")])]
    pixels = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    spatial = [dim for dim in dims if dim in "zyx"]
    pixel_size = {dim: data.draw(SIZES) if unit == "um" else 1.0 for dim in spatial}
    image = make_image(pixels, dims, names, pixel_size=pixel_size, unit=unit)
    record = Record("counterfactual", "transport", details={"alphas": [0.0, 0.5]})
    again = read(write(image, tmp_path / "any.ome.zarr", record=record, overwrite=True))
    assert (again.dims, again.dtype) == (image.dims, image.dtype)
    np.testing.assert_array_equal(again, image)
    assert channel_names(again) == channel_names(image)
    assert again.attrs["unit"] == unit
    assert again.attrs["pixel_size"] == pytest.approx(pixel_size)
    assert again.attrs["record"] == record.to_dict()
    assert json.loads((tmp_path / "any.json").read_text(encoding="utf-8")) == record.to_dict()


def test_zarr_has_smaller_resolutions_in_their_place(tmp_path: Path) -> None:
    ome_zarr_image = make_image(
        np.arange(2 * 600 * 520, dtype="uint32").reshape(2, 600, 520), "cyx", ["a", "b"],
        unit="um", pixel_size={"y": 0.5, "x": 0.5},
    )  # fmt: skip
    import zarr

    group = zarr.open_group(write(ome_zarr_image, tmp_path / "field.ome.zarr"), mode="r")
    assert [group[name].shape for name in "012"] == [(2, 600, 520), (2, 300, 260), (2, 150, 130)]
    first = ome_zarr_image.values[0, :2, :2]
    assert group["1"][0, 0, 0] == np.rint(first.mean())
    (multiscale,) = group.attrs["ome"]["multiscales"]
    assert multiscale["datasets"][2]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 2.0, 2.0]},
        {"type": "translation", "translation": [0.0, 0.75, 0.75]},
    ]


def test_zarr_tells_viewers_how_to_show_each_channel(tmp_path: Path) -> None:
    pixels = np.stack([np.arange(400), np.full(400, 9)]).reshape(2, 20, 20).astype("uint16")
    image = make_image(pixels, "cyx", ["DAPI", "TMRM"])
    import zarr

    group = zarr.open_group(write(image, tmp_path / "field.ome.zarr"), mode="r")
    first, second = group.attrs["ome"]["omero"]["channels"]
    # obligatory in https://ngff.openmicroscopy.org/0.5/#omero-md
    assert (first["color"], second["color"]) == ("0000FF", "F8AD20")
    assert (first["window"]["min"], first["window"]["max"]) == (0, 65535)
    assert 0 <= first["window"]["start"] < first["window"]["end"] <= 399
    assert second["window"]["start"] < second["window"]["end"] == 9


def test_zarr_is_replaced_whole_and_only_when_asked(tmp_path: Path) -> None:
    path = write(IMAGE, tmp_path / "field.ome.zarr")
    brighter = IMAGE.copy(data=IMAGE.values + 1)
    with pytest.raises(ImageWriteError, match="the file exists"):
        write(brighter, path)
    with pytest.raises(ImageWriteError, match="no finite numbers"):
        write(IMAGE.astype("float32") * np.nan, path, overwrite=True)
    np.testing.assert_array_equal(read(path), IMAGE)
    write(brighter, path, overwrite=True)
    np.testing.assert_array_equal(read(path), brighter)
    assert [entry.name for entry in tmp_path.iterdir()] == ["field.ome.zarr"]


@pytest.mark.parametrize("name", ["field.ome.tif", "field.ome.zarr"])
def test_too_little_room_is_said_before_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        ImageWriteError, match=r"0\.0 MB free.*expected 0\.0 MB.*nothing was written"
    ):
        write(IMAGE, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile.FileHandle, "write", full)
    with pytest.raises(ImageWriteError, match="nothing was written"):
        write(IMAGE, tmp_path / "field.ome.tif")
    assert not list(tmp_path.iterdir())


def test_float64_is_written_only_where_no_value_changes(tmp_path: Path) -> None:
    exact = IMAGE.astype("float64").assign_attrs(IMAGE.attrs)
    path = write(exact, tmp_path / "exact.ome.tif")
    assert read(path).dtype == np.float32
    np.testing.assert_array_equal(read(path), IMAGE)
    with pytest.raises(ImageWriteError, match="does not hold exactly"):
        write(exact + 1e-9, tmp_path / "inexact.ome.tif")
    assert not (tmp_path / "inexact.ome.tif").exists()


def test_what_has_no_place_in_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match="pixels of type int64"):
        write(IMAGE.astype("int64"), tmp_path / "a.ome.tif")
    with pytest.raises(ImageWriteError, match="no finite numbers"):
        write(IMAGE.astype("float32") * np.nan, tmp_path / "a.ome.tif")
    with pytest.raises(ImageWriteError, match=r"ending '\.png'"):
        write(IMAGE, tmp_path / "a.png")
    with pytest.raises(ImageWriteError, match="folder does not exist"):
        write(IMAGE, tmp_path / "no" / "a.ome.tif")
    assert not list(tmp_path.iterdir())
