"""The layers that the reader makes of large OME-Zarr: several resolutions, read part by part."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_why.images import Grid, make_image, write, zarr_pixels
from napari_why.napari_reader import read_layers
from napari_why.output.layers import place
from napari_why.output.raw_layers import image_from_layers, pixels_of
from napari_why.sessions import find_raw_layers, shown_plane
from napari_why.sessions.image_opener import move_beside

PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 3, 300, 520)).astype("uint16")


@pytest.fixture(params=["cyx", "czyx"])
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request) -> list[Layer]:
    pixels = PIXELS if request.param == "czyx" else PIXELS[:, 1]
    options = {"pixel_size": {"z": 2.0, "y": 0.5, "x": 0.5}, "unit": "um"}
    sizes = {dim: options["pixel_size"][dim] for dim in request.param if dim != "c"}
    image = make_image(pixels, request.param, ["DAPI", "TMRM"], pixel_size=sizes, unit="um")
    write(image, tmp_path / "large.ome.zarr")
    monkeypatch.setattr(zarr_pixels, "LAZY_BYTES", 100_000)
    made = [Layer.create(*data) for data in read_layers(tmp_path / "large.ome.zarr")]
    assert all(layer.multiscale and len(layer.data) > 1 for layer in made)
    return made


def test_an_image_is_made_of_the_finest_resolution(layers: list[Image]) -> None:
    viewer = ViewerModel()
    for layer in layers:
        viewer.add_layer(layer)
    assert find_raw_layers(viewer) == layers
    stack = layers[0].ndim == 3
    if stack:
        viewer.dims.set_point(0, 2.0)
    plane = shown_plane(viewer, layers[0])
    assert plane == ((1,) if stack else ())
    image = image_from_layers(layers, ("DAPI", "TMRM"), plane)
    np.testing.assert_array_equal(image, PIXELS[:, 1])
    assert image.attrs["pixel_size"] == {"y": 0.5, "x": 0.5}


def test_results_and_further_images_are_placed_by_it(layers: list[Image]) -> None:
    plane = (1,) * (layers[0].ndim - 2)
    placed = place(Grid.reduce((300, 520), (150, 260)), layers[0], plane).options
    assert tuple(placed["scale"][-2:]) == (1.0, 1.0)
    assert tuple(placed["translate"][-2:]) == (0.25, 0.25)
    others = [Image(np.zeros((8, 8))) for _ in layers]
    move_beside(others, layers)
    assert others[0].translate[-1] > layers[0].extent.world[1][-1]


def test_only_the_plane_that_is_shown_is_read() -> None:
    read = []

    def load(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.zeros((1, 10, 10), "uint16")

    fine = da.map_blocks(
        load,
        chunks=((1,) * 4, (10, 10), (10, 10)),
        dtype="uint16",
        meta=np.empty((0, 0, 0), "uint16"),
    )
    layer = Image([fine, fine[:, ::2, ::2]], multiscale=True, contrast_limits=(0, 1))
    read.clear()
    assert pixels_of(layer, (2,)).shape == (20, 20)
    assert sorted(read) == [(2, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1)]


def test_contrast_comes_from_the_coarsest_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.zeros((1, 600, 600), "uint16")
    pixels[:, :, 300:] = 50000
    write(make_image(pixels, "cyx", ["DAPI"]), tmp_path / "large.ome.zarr")
    monkeypatch.setattr(zarr_pixels, "LAZY_BYTES", 100_000)
    ((data, words, _),) = read_layers(tmp_path / "large.ome.zarr")
    assert data[-1].shape < data[0].shape
    assert words["contrast_limits"] == (0.0, 50000.0)
