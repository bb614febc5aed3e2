"""Results as layers: they lie exactly on the raw layer, and napari agrees about axes and units."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image

from napari_why.attribution.explain import Attribution
from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.counterfactuals.result import Counterfactual
from napari_why.images import Grid, contrast_limits, make_image
from napari_why.images.display import symmetric_limits
from napari_why.output.images import result_image
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.layers import to_layers
from napari_why.output.raw_layers import image_from_layers

PIXEL = 0.325


def attribution(grid: Grid, seed: int = 0) -> Attribution:
    random = np.random.default_rng(seed)
    maps = random.normal(size=(2, *grid.shape)).astype(np.float32)
    record = Record("attribution", "cam", {"layer": "last"}, source="field.tif")
    return Attribution(
        maps, maps.sum(0), ("DAPI", "TMRM"), "treated", 1.5, "logit", 0.01, "sum", grid, record
    )


def counterfactual(grid: Grid, alphas: np.ndarray, dtype: str = "uint16") -> Counterfactual:
    random = np.random.default_rng(1)
    images = random.integers(100, 4000, (len(alphas), 2, *grid.shape)).astype(dtype)
    treated = np.linspace(0.1, 0.9, len(alphas)).astype(np.float32)
    return Counterfactual(
        images=images,
        alphas=alphas,
        probabilities=np.stack([1 - treated, treated], axis=1),
        reconstruction=images[0].astype(np.float32),
        special_alphas={"boundary": float(alphas[-1]) / 2, "alpha0": None, "alpha1": 1.0},
        special_images={},
        special_probabilities={},
        classes=("diseased", "treated"),
        channels=("DAPI", "TMRM"),
        source_class="diseased",
        target="treated",
        valid=True,
        round_trip_error=0.0,
        out_of_range=0.0,
        grid=grid,
        record=Record("counterfactual", "transport"),
    )


def raw_layer(shape: tuple[int, ...], channel: str = "DAPI", **options: object) -> Image:
    return Image(
        np.zeros(shape, np.uint16),
        name=channel,
        units=("um",) * len(shape),
        axis_labels=("z", "y", "x")[-len(shape) :],
        metadata={"napari_why": {"channel": channel}},
        **({"scale": (PIXEL,) * len(shape), "translate": (3.0,) * len(shape)} | options),
    )


def corners(layer: Image) -> np.ndarray:
    """World positions of the outer edges of the first and the last pixel, y and x."""
    last = np.array(layer.data.shape) - 0.5
    first = np.full(layer.ndim, -0.5)
    return np.array([layer.data_to_world(first)[-2:], layer.data_to_world(last)[-2:]])


@given(
    factors=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    pixel=st.tuples(st.floats(0.01, 5), st.floats(0.01, 5)),
    origin=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
@settings(max_examples=25, deadline=None)
def test_a_map_on_a_reduced_grid_covers_exactly_the_raw_layer(factors, size, pixel, origin):
    shape = (size[0] * factors[0], size[1] * factors[1])
    raw = raw_layer(shape, scale=pixel, translate=origin)
    for layer in to_layers(attribution(Grid.reduce(shape, size)), raw):
        np.testing.assert_allclose(corners(layer), corners(raw), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    "turn", [{"rotate": 30.0}, {"shear": [0.3]}, {"affine": np.diag([2, 3, 1])}]
)
def test_a_rotated_sheared_or_affinely_placed_raw_layer_is_followed(turn):
    raw = raw_layer((32, 24), **turn)
    for result in (
        attribution(Grid.reduce((32, 24), (8, 8))),
        counterfactual(Grid.reduce((32, 24), (8, 8)), np.linspace(0, 1, 3)),
    ):
        for layer in to_layers(result, raw):
            np.testing.assert_allclose(corners(layer), corners(raw), atol=1e-9)


SHEARED = np.eye(4)
SHEARED[2, 3] = 0.2
MOVED = np.array([[2, 0, 0, 1], [0, 0.9, -0.3, 5], [0, 0.3, 0.9, -2], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (2, 0.5, 0.25)},
        {"scale": (2, -0.5, 0.25), "translate": (7, 3, -2)},
        {"rotate": (0, 0, 30)},
        {"rotate": (20, 10, 30)},
        {"shear": (0.1, 0.2, 0.3)},
        {"affine": MOVED},
        {"scale": (2, 0.5, 0.25), "translate": (7, 3, -2), "rotate": (0, 0, 30), "affine": MOVED},
        {"scale": (2000, 650, 650), "units": ("nm", "nm", "nm")},
    ],
)
def test_on_a_plane_of_a_stack_a_result_lies_where_the_pixels_are(place):
    units = place.pop("units", ("um", "um", "um"))
    raw = raw_layer((4, 32, 24), **place)
    raw.units = units
    grid = Grid.reduce((32, 24), (8, 8))
    for result, axes in ((attribution(grid), 0), (counterfactual(grid, np.linspace(0, 1, 3)), 1)):
        for layer in to_layers(result, raw, plane=(2,)):
            assert layer.units[axes:] == raw.units
            for mine, theirs in (((-0.5, -0.5), (-0.5, -0.5)), ((7.5, -0.5), (31.5, -0.5))):
                found = layer.data_to_world((*(0,) * axes, 0, *mine))[axes:]
                np.testing.assert_allclose(found, raw.data_to_world((2, *theirs)), atol=1e-9)


def test_a_cropped_map_lies_on_the_pixels_it_was_cut_from():
    raw = raw_layer((40, 40))
    layer = to_layers(attribution(Grid.crop((16, 16), (10, 20))), raw)[-1]
    np.testing.assert_allclose(layer.data_to_world((0, 0)), raw.data_to_world((10, 20)), atol=1e-9)


def test_overlays_show_the_joint_map_and_keep_the_channels_hidden():
    raw = raw_layer((32, 32))
    result = attribution(Grid.reduce((32, 32), (8, 8)))
    dapi, tmrm, joint = to_layers(result, raw)
    assert [dapi.visible, tmrm.visible, joint.visible] == [False, False, True]
    assert joint.colorbar.visible
    assert dapi.contrast_limits == tmrm.contrast_limits
    low, high = joint.contrast_limits
    assert low == -high
    assert high == 4.0, "the round number above its 99.5 % quantile"
    assert joint.contrast_limits_range[1] >= float(np.abs(result.joint).max())
    np.testing.assert_array_equal(joint.data, result.joint)
    assert joint.colormap.map(np.array([0.5]))[0, 3] < 0.02, "zero is transparent"
    facts = joint.metadata["napari_why"]
    assert (
        Record.from_dict({name: facts[name] for name in result.record.to_dict()}) == result.record
    )
    assert len({layer.metadata["napari_why"]["id"] for layer in (dapi, tmrm, joint)}) == 1


def test_a_constant_map_has_limits_too():
    flat = attribution(Grid((4, 4)))
    empty = Attribution(**{**vars(flat), "joint": np.zeros((4, 4), np.float32)})
    assert tuple(to_layers(empty)[-1].contrast_limits) == (-1.0, 1.0)


def test_a_series_gets_an_alpha_slider_that_starts_at_alpha_zero():
    viewer = ViewerModel()
    raw = [raw_layer((32, 32), name) for name in ("DAPI", "TMRM")]
    raw[1].colormap, raw[1].contrast_limits = "green", (10, 900)
    for layer in raw:
        viewer.add_layer(layer)
    alphas = np.linspace(0, 2, 11)
    layers = to_layers(counterfactual(Grid.reduce((32, 32), (16, 16)), alphas), raw)
    for layer in layers:
        viewer.add_layer(layer)
    viewer.dims.set_current_step(0, 0)
    assert viewer.dims.axis_labels == ("alpha", "y", "x")
    assert tuple(viewer.dims.range[0]) == pytest.approx((0.0, 2.0, 0.2))
    assert viewer.dims.nsteps[0] == 11
    assert viewer.dims.point[0] == 0.0
    assert [str(unit) for unit in viewer.layers.units] == [
        "dimensionless",
        "micrometer",
        "micrometer",
    ]
    tmrm = layers[1]
    assert tmrm.colormap.name == "green"
    assert tuple(tmrm.contrast_limits) == contrast_limits(tmrm.data[0]), "those of the figure"
    assert tmrm.data.dtype == np.uint16
    viewer.dims.set_point(0, 1.39)
    assert viewer.dims.current_step[0] == 7, "the slider goes in steps"
    for layer in layers:
        np.testing.assert_allclose(corners(layer), corners(raw[0]), atol=1e-9)


def test_the_change_of_a_series_is_in_raw_units_and_hidden():
    result = counterfactual(Grid((8, 8)), np.linspace(0, 1, 3))
    dapi, _tmrm, change, other_change = to_layers(result)
    assert [dapi.visible, change.visible] == [True, False]
    np.testing.assert_array_equal(change.data, result.differences[:, 0])
    largest = float(np.quantile(np.abs(result.differences), 0.995))
    assert 0.85 * largest <= change.contrast_limits[1] <= 2 * largest
    assert change.contrast_limits == other_change.contrast_limits
    assert change.colormap.map(np.array([0.5])).tolist() == [[0, 0, 0, 1]], "zero is black"


def test_one_bright_pixel_does_not_turn_a_map_dark_and_is_told():
    flat = attribution(Grid((40, 40)))
    joint = np.where(np.arange(1600).reshape(40, 40) < 5, 1e4, flat.joint).astype(np.float32)
    layer = to_layers(Attribution(**{**vars(flat), "joint": joint}))[-1]
    assert layer.contrast_limits[1] < 10
    assert 5 / 1600 <= LayerFacts.of(layer).further["clipped"] < 0.02
    assert LayerFacts.of(layer).further["unit"] == "logit"


def test_evidence_is_for_and_against_a_change_more_and_less():
    joint = to_layers(attribution(Grid((8, 8))))[-1]
    assert joint.colormap._display_name == "against (-) / for (+)"
    change = to_layers(counterfactual(Grid((8, 8)), np.linspace(0, 1, 3)))[-1]
    assert change.colormap._display_name == "less (-) / more (+)"


@pytest.mark.parametrize("largest", [0.0123, 0.4, 0.496, 2.1, 4.96, 7.3, 61.0, 1630.0, 9.9e6])
def test_a_colour_bar_has_numbers_at_both_ends(largest):
    """napari writes its own numbers; at ends of these first digits it does."""
    from vispy.visuals.axis import _get_ticks_talbot

    low, high = symmetric_limits(np.linspace(-largest, largest, 999))
    assert 0.85 * largest <= high <= 2 * largest
    ticks = _get_ticks_talbot(low, high, 150 / 96, 2)
    assert {low, high} <= {float(f"{tick:.6g}") for tick in ticks}


def test_beside_a_stack_the_series_has_an_axis_of_its_own_for_alpha():
    viewer = ViewerModel()
    raw = raw_layer((5, 32, 32), scale=(2.0, PIXEL, PIXEL), translate=(10.0, 0, 0))
    viewer.add_layer(raw)
    result = counterfactual(Grid((32, 32)), np.linspace(0, 1, 6))
    series = to_layers(result, raw, plane=(3,))[0]
    viewer.add_layer(series)
    assert series.data.shape == (6, 1, 32, 32)
    assert viewer.dims.axis_labels == ("alpha", "z", "y", "x")
    assert tuple(viewer.dims.range[1]) == pytest.approx((10.0, 18.0, 2.0)), "z is as it was"
    assert series.data_to_world((0, 0, 0, 0))[1] == pytest.approx(16.0)
    everywhere = to_layers(result, raw)[0]
    assert everywhere.data.shape == (6, 5, 32, 32)
    assert everywhere.data.base is not None, "showing it at every z copies no pixel"
    assert str(viewer.layers.units[0]) == "dimensionless"


def test_a_plane_outside_the_stack_is_refused():
    raw = raw_layer((5, 32, 32))
    with pytest.raises(ParameterError, match=r"plane: found \(7,\)"):
        to_layers(attribution(Grid((32, 32))), raw, plane=(7,))


def test_without_a_source_coordinates_are_pixels_of_the_source():
    layer = to_layers(attribution(Grid.reduce((32, 32), (8, 8))))[-1]
    assert tuple(layer.scale) == (4.0, 4.0)
    assert tuple(layer.translate) == (1.5, 1.5)


@dataclass(frozen=True)
class Depth:
    """A kind of result that the package does not have."""

    values: np.ndarray
    grid: Grid
    record: Record
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, object]:
        return {"deepest": float(self.values.max())}

    def pictures(self) -> dict[str, Picture]:
        return {
            "depth": Picture(
                compute=lambda: self.values[None],
                channels=("TMRM",),
                titles=("TMRM: depth",),
                role="depth",
                kind="signed",
                unit="um",
            )
        }


def test_a_new_kind_of_result_needs_no_line_in_the_package():
    depth = Depth(np.ones((4, 5), np.float32), Grid((4, 5)), Record("depth", "focus"))
    (layer,) = to_layers(depth, raw_layer((4, 5)))
    assert (layer.name, layer.colorbar.visible) == ("TMRM: depth", True)
    facts = LayerFacts.of(layer)
    assert (facts.role, facts.channel, facts.record) == ("depth", "TMRM", depth.record)
    assert facts.further == {"deepest": 1.0, "unit": "um", "clipped": 0.0}
    source = make_image(
        np.zeros((1, 4, 5), np.uint16), "cyx", ["TMRM"], unit="um", pixel_size={"y": 0.5, "x": 0.5}
    )
    image = result_image(depth, source)
    np.testing.assert_array_equal(image.values[0], depth.values)
    assert (image.dims, image.attrs["unit"]) == (("c", "y", "x"), "um")


def test_before_and_after_have_the_limits_of_what_was_before():
    raw = raw_layer((4, 4), gamma=0.5, contrast_limits=(5, 70), colormap="green")
    result = counterfactual(Grid((4, 4)), np.linspace(0, 1, 3))
    series = to_layers(result, raw)[0]
    assert tuple(series.contrast_limits) == contrast_limits(result.images[0, 0])
    assert (series.gamma, series.colormap.name) == (0.5, "green")


def test_what_has_no_picture_is_refused_in_words():
    with pytest.raises(
        ParameterError, match="found dict; expected a result that has a picture: Attribution"
    ):
        to_layers({})


def test_layers_make_the_image_that_they_came_from():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 60000, (2, 3, 8, 9)).astype(np.uint16)
    layers = [raw_layer((3, 8, 9), name) for name in ("DAPI", "TMRM")]
    for layer, data in zip(layers, pixels, strict=True):
        layer.data = data
    image = image_from_layers(layers, plane=(2,))
    np.testing.assert_array_equal(image.values, pixels[:, 2])
    assert image.dtype == np.uint16
    assert list(image.coords["c"].values) == ["DAPI", "TMRM"]
    assert image.attrs["unit"] == "um"
    assert image.attrs["pixel_size"] == {"y": PIXEL, "x": PIXEL}


def test_pixel_sizes_in_other_units_of_length_become_micrometres():
    layer = raw_layer((8, 8), scale=(325.0, 325.0))
    layer.units = ("nm", "nm")
    assert image_from_layers([layer]).attrs["pixel_size"]["x"] == pytest.approx(PIXEL)
    layer.units = ("pixel", "pixel")
    assert image_from_layers([layer]).attrs["unit"] == "pixel"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "No image layer is chosen"),
        ([raw_layer((8, 8)), raw_layer((8, 9), "TMRM")], r"found shape \(8, 9\)"),
        ([raw_layer((8, 8))], "Found 1 image layers; expected 2"),
        ([Image(np.zeros((8, 8, 3), np.uint8), rgb=True)] * 2, "found an RGB picture"),
    ],
)
def test_layers_that_make_no_image_are_refused_in_words(layers, message):
    with pytest.raises(MismatchError, match=message):
        image_from_layers(layers, ["DAPI", "TMRM"])
