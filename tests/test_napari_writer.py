"""Saved layers come back the same, the record included."""

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer
from npe2 import PluginManager

import napari_why as why
from napari_why.core.errors import ImageWriteError
from napari_why.core.record import Record
from napari_why.images import read
from napari_why.napari_reader import image_layers, read_layers
from napari_why.napari_writer import write_layers


def saved(layers: list[Image], path: Path) -> list[Layer]:
    write_layers(str(path), [layer.as_layer_data_tuple() for layer in layers])
    return [Layer.create(*item) for item in read_layers(path)]


def check_same(found: list[Layer], expected: list[Layer]) -> None:
    assert [layer.name for layer in found] == [layer.name for layer in expected]
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
        assert mine.data.dtype == theirs.data.dtype
        np.testing.assert_array_equal(mine.scale, theirs.scale)
        np.testing.assert_array_equal(mine.translate, theirs.translate)
        assert (mine.units, mine.axis_labels) == (theirs.units, theirs.axis_labels)
        assert mine.contrast_limits == pytest.approx(theirs.contrast_limits)
        np.testing.assert_allclose(mine.colormap.colors, theirs.colormap.colors)
        assert (mine.visible, mine.blending) == (theirs.visible, theirs.blending)


@pytest.fixture(scope="module")
def series() -> tuple[list[Image], list[Image]]:
    """The series and the differences of a counterfactual, as they come into the viewer."""
    dataset = why.simulate(16, size=32, wells=8).split(seed=1)
    tiny = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    options = {"size": 32, "epochs": 1, "threads": 1, "lock": "none", "pixel_maps": False}
    classifier = why.fit(dataset, "iresnet", network_parameters=tiny, **options)
    image = dataset.image(0)
    raw = [Layer.create(*item) for item in image_layers(image)]
    target = next(name for name in dataset.classes if name != classifier.predict(image).label)
    result = why.counterfactual(classifier, image, target, "mean_shift", steps=3)
    layers = why.to_layers(result, raw)
    return layers[:2], layers[2:]


@pytest.mark.parametrize("name", ["series.ome.tif", "series.ome.zarr"])
def test_a_counterfactual_series_comes_back(series, tmp_path: Path, name) -> None:
    shown, differences = series
    for number, layers in enumerate((shown, differences)):
        path = tmp_path / f"{number} {name}"
        found = saved(layers, path)
        check_same(found, layers)
        for mine, theirs in zip(found, layers, strict=True):
            facts = mine.metadata["napari_why"]
            assert facts == theirs.metadata["napari_why"]
            assert len(facts["alphas"]) == len(facts["probabilities"]) == len(mine.data)
            assert mine.axis_labels[0] == "alpha"


@pytest.mark.parametrize("name", ["raw.ome.tif", "raw.ome.zarr"])
def test_raw_layers_come_back(tmp_path: Path, name) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (2, 3, 20, 30)).astype("uint16")
    layers = [
        Image(
            plane,
            name=stain,
            scale=(2.0, 0.5, 0.5),
            translate=(0, 7, 9),
            units=("um", "um", "um"),
            axis_labels=("z", "y", "x"),
            colormap=colour,
        )
        for plane, stain, colour in zip(pixels, ("DAPI", "TMRM"), ("blue", "red"), strict=True)
    ]
    check_same(saved(layers, tmp_path / name), layers)
    image = read(tmp_path / name)
    assert image.dims == ("c", "z", "y", "x")
    assert image.attrs["pixel_size"] == {"z": 2.0, "y": 0.5, "x": 0.5}
    assert image.coords["c"].values.tolist() == ["DAPI", "TMRM"]


def test_napari_saves_through_the_writer_and_replaces_nothing(tmp_path: Path) -> None:
    PluginManager.instance().discover()
    viewer = ViewerModel()
    viewer.add_image(np.arange(600, dtype="uint16").reshape(20, 30), name="a")
    viewer.add_image(np.arange(600, dtype="uint16").reshape(20, 30), name="b")
    path = tmp_path / "saved.ome.tif"
    assert viewer.layers.save(str(path), plugin="napari-why")[0] == str(path)
    assert path.with_name("saved.json").is_file()
    before = path.read_bytes()
    with pytest.raises(ImageWriteError, match="the file exists"):
        write_layers(str(path), [layer.as_layer_data_tuple() for layer in viewer.layers])
    assert path.read_bytes() == before


def test_layers_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    small, large = Image(np.zeros((4, 4))), Image(np.zeros((5, 4)))
    with pytest.raises(ImageWriteError, match=r"found shape \(5, 4\); expected \(4, 4\)"):
        saved([small, large], tmp_path / "a.tif")
    with pytest.raises(ImageWriteError, match="no plain image layer"):
        saved([Image(np.zeros((4, 4, 3)), rgb=True)], tmp_path / "a.tif")
    with pytest.raises(ImageWriteError, match="found the axes q, y, x"):
        saved([Image(np.zeros((2, 4, 4)), axis_labels=("q", "y", "x"))], tmp_path / "a.tif")
    assert not list(tmp_path.iterdir())


def test_an_altered_record_hides_no_pixels(tmp_path: Path) -> None:
    layer = Image(np.arange(12, dtype="uint8").reshape(3, 4), name="a")
    path = tmp_path / "a.ome.tif"
    write_layers(str(path), [layer.as_layer_data_tuple()])
    plain = read(path).attrs["record"]
    for number, look in enumerate(({}, {"scale": 3}, {"axis_labels": ["y"]}, "text")):
        looks = [
            look if isinstance(look, str) or not look else plain["details"]["layers"][0] | look
        ]
        record = Record.from_dict({**plain, "details": {"layers": looks}})
        altered = why.write(read(path), tmp_path / f"{number}.ome.tif", record=record)
        ((data, _, _),) = read_layers(altered)
        np.testing.assert_array_equal(data, layer.data)


TURNED = np.eye(3)
TURNED[:2] = [[0.9, -0.3, 5], [0.3, 0.9, -2]]


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize(
    "place",
    [
        {"rotate": 30.0},
        {"shear": [0.2]},
        {"affine": TURNED},
        {"translate": (7, -3)},
        {"scale": (-0.5, 0.5)},
        {"scale": (0.5, 0.25), "translate": (3, 4), "rotate": 90.0, "shear": [0.1]},
        {"scale": (650, 325), "units": ("nm", "nm"), "affine": TURNED},
    ],
    ids=lambda place: "-".join(place),
)
def test_a_place_in_the_world_comes_back(tmp_path: Path, name: str, place) -> None:
    layers = [Image(np.zeros((20, 30), "uint16"), name=stain, **place) for stain in "ab"]
    for mine, theirs in zip(saved(layers, tmp_path / name), layers, strict=True):
        for corner in ((0, 0), (19, 0), (0, 29)):
            assert mine.data_to_world(corner) == pytest.approx(theirs.data_to_world(corner))
        assert mine.units == theirs.units


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ({"rotate": 30.0}, "rotate"),
        ({"shear": [0.2]}, "shear"),
        ({"affine": TURNED}, "affine"),
        ({"translate": (7, -3)}, "translate"),
        ({"scale": (-1, 1)}, "scale"),
        ({"units": ("um", "um")}, "units"),
    ],
)
def test_layers_that_lie_differently_are_no_one_image(tmp_path: Path, place, what: str) -> None:
    layers = [Image(np.zeros((20, 30)), name="a"), Image(np.zeros((20, 30)), name="b", **place)]
    with pytest.raises(ImageWriteError, match=f"layer 'b': found {what} .*save layers that differ"):
        saved(layers, tmp_path / "a.ome.tif")


def test_other_programs_find_the_length_that_a_pixel_has_in_the_world(tmp_path: Path) -> None:
    twice = np.diag([2.0, 2.0, 1.0])
    path = tmp_path / "a.ome.tif"
    saved([Image(np.zeros((20, 30)), scale=(500, 250), units=("nm", "nm"), affine=twice)], path)
    assert read(path).attrs["pixel_size"] == pytest.approx({"y": 1.0, "x": 0.5})


@pytest.mark.parametrize("name", ["raw.ome.tif", "raw.ome.zarr"])
def test_planes_without_a_distance_lose_no_other_size(tmp_path: Path, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (2, 3, 20, 30)).astype("uint16")
    place = {"scale": (1, 0.5, 0.25), "units": ("pixel", "um", "um")}
    layers = [Image(plane, name=str(i), **place) for i, plane in enumerate(pixels)]
    check_same(saved(layers, tmp_path / name), layers)
    image = read(tmp_path / name)
    assert (image.attrs["unit"], image.attrs["pixel_size"]) == ("um", {"y": 0.5, "x": 0.25})
