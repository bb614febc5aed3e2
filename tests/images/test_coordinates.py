"""Images say where their pixels lie, napari places them by it, and arithmetic drops none."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from napari.components import ViewerModel

from napari_why.core.pictures import Picture
from napari_why.images import Grid, first_centre, make_image, plane, read, write
from napari_why.napari_reader import image_layers, read_layers
from napari_why.output.images import result_image

SIZE = {"z": 2.0, "y": 0.65, "x": 0.325}
STACK = np.random.default_rng(0).integers(0, 60000, (2, 3, 6, 8)).astype("uint16")


def stack(**options) -> xr.DataArray:
    options = {"pixel_size": SIZE, "unit": "um"} | options
    return make_image(STACK, "czyx", ["DAPI", "TMRM"], **options)


def place(layer) -> tuple[list[float], list[float], list[str]]:
    return [*layer.scale], [*layer.translate], [str(unit) for unit in layer.units]


@pytest.mark.parametrize("name", ["stack.ome.tif", "stack.ome.zarr"])
def test_napari_places_what_was_read_by_itself(tmp_path: Path, name: str) -> None:
    path = write(stack(), tmp_path / name)
    image = read(path)
    by_itself = ViewerModel().add_image(image, channel_axis=0)
    for layer, (data, keywords, _) in zip(by_itself, read_layers(path), strict=True):
        scale, translate, units = place(layer)
        assert scale == pytest.approx(keywords["scale"])
        assert translate == pytest.approx([0, 0, 0])
        assert units == ["micrometer"] * 3
        assert layer.axis_labels == ("z", "y", "x")
        np.testing.assert_array_equal(layer.data, data)


def test_a_crop_lies_where_it_was_cut_out() -> None:
    cut = stack().isel(c=0, z=1, y=slice(2, None), x=slice(4, None, 2))
    layer = ViewerModel().add_image(cut)
    scale, translate, _ = place(layer)
    assert translate == pytest.approx([2 * 0.65, 4 * 0.325])
    assert scale == pytest.approx([0.65, 2 * 0.325])
    (data, keywords, _), _ = image_layers(plane(stack(), z=1).isel(y=slice(2, None)))
    assert keywords["translate"] == pytest.approx((2 * 0.65, 0))
    assert data.shape == (4, 8)


def test_an_origin_is_kept() -> None:
    image = stack(origin={"y": 100.0, "x": -7.5})
    assert [first_centre(image, dim) for dim in "zyx"] == [0, 100, -7.5]
    assert first_centre(xr.DataArray(np.zeros(3), dims="y"), "y") == 0
    assert place(ViewerModel().add_image(image))[1] == [0, 0, 100, -7.5]
    assert image_layers(image)[1][1]["translate"] == (0, 100, -7.5)


@pytest.mark.parametrize(
    ("options", "units"),
    [
        ({"pixel_size": None, "unit": "pixel"}, ["pixel", "pixel", "pixel"]),
        # a unit without any size is no size
        ({"pixel_size": None, "unit": "um"}, ["pixel", "pixel", "pixel"]),
        ({"pixel_size": {"y": 0.5, "x": 0.5}}, ["pixel", "um", "um"]),
        ({}, ["um", "um", "um"]),
    ],
)
def test_no_length_is_made_up(options, units) -> None:
    image = stack(**options)
    assert [image.coords[dim].attrs["units"] for dim in "zyx"] == units
    assert "t" not in image.coords
    read_by_plugin = image_layers(image)[0][1]["units"]
    assert read_by_plugin == tuple(units)


def test_arithmetic_drops_no_pixel() -> None:
    here, there = stack(), stack(origin={"y": 0.3, "x": 50.0})
    assert (here + there).shape == here.shape
    np.testing.assert_array_equal((here - there).values, 0)
    assert xr.where(here > there, 1, 0).shape == here.shape
    assert not here.identical(there)
    # a shift by whole pixels, which an index would have cut down to the overlap
    np.testing.assert_array_equal(
        here.isel(x=slice(1, None)) * 1 - here.isel(x=slice(0, -1)),
        np.diff(STACK.astype(np.uint16), axis=-1),
    )
    with pytest.raises(ValueError, match="conflicting dimension sizes"):
        here + here.isel(y=slice(0, 4))


def test_a_lazy_image_stays_lazy() -> None:
    import dask.array as da

    def never(block: np.ndarray) -> np.ndarray:
        raise AssertionError("the pixels were read")

    pixels = da.zeros((2, 6, 8), dtype="uint16").map_blocks(never, dtype="uint16")
    image = make_image(pixels, "cyx", None, pixel_size=SIZE, unit="um")
    cut = image.isel(x=slice(2, 5))
    assert cut.coords["x"].values.tolist() == pytest.approx([0.65, 0.975, 1.3])
    assert (cut.data.shape, type(cut.data)) == ((2, 6, 3), type(pixels))


def test_a_result_lies_on_its_image() -> None:
    """Half a step of a coarse grid, and the corner of a crop."""
    source = stack(origin={"y": 100.0}).isel(z=0)
    maps = np.zeros((2, 3, 4), np.float32)
    for grid, corner in (
        (Grid.reduce((6, 8), (3, 4)), (100 + 0.5 * 0.65, 0.5 * 0.325)),
        (Grid.crop((3, 4), (2, 1)), (100 + 2 * 0.65, 0.325)),
    ):
        shown = Picture(
            compute=lambda: maps,
            channels=("DAPI", "TMRM"),
            titles=("a", "b"),
            role="map",
            kind="signed",
            unit="",
        )
        result = SimpleNamespace(pictures=lambda shown=shown: {"": shown}, grid=grid)
        made = result_image(result, source)
        assert [first_centre(made, dim) for dim in "yx"] == pytest.approx(corner)
        assert made.attrs["unit"] == "um"
