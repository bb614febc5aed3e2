"""Regions as labels: they lie exactly on the raw layer and carry their table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual
from napari_why.images import Grid, make_image
from napari_why.measurement import measure
from napari_why.output.layers import region_centre, to_layers


def series(grid: Grid, seed: int = 0) -> Counterfactual:
    """A counterfactual on a grid, in which about a third of the pixels change."""
    random = np.random.default_rng(seed)
    before = np.full((2, *grid.shape), 500, np.float32)
    after = before.copy()
    after[1][random.random(grid.shape) < 0.3] += 200
    return Counterfactual(
        images=np.stack([before, after]),
        alphas=np.array([0.0, 1.0]),
        probabilities=np.array([[0.9, 0.1], [0.1, 0.9]], np.float32),
        reconstruction=before,
        special_alphas={"boundary": 0.5, "alpha0": 0.5, "alpha1": 1.0},
        special_images={"alpha1": after},
        special_probabilities={"alpha1": np.array([0.1, 0.9])},
        classes=("diseased", "treated"),
        channels=("DAPI", "TMRM"),
        source_class="diseased",
        target="treated",
        valid=True,
        round_trip_error=0.0,
        out_of_range=0.0,
        grid=grid,
        record=Record("counterfactual", "transport", source="field.tif"),
    )


def raw_layer(shape, scale, translate):
    return Image(
        np.zeros(shape, np.uint16),
        scale=scale,
        translate=translate,
        units=("um",) * len(shape),
        axis_labels=("z", "y", "x")[-len(shape) :],
        metadata={"napari_why": {"channel": "DAPI"}},
    )


def labels_of(found, raw, plane=None) -> Labels:
    return to_layers(found, raw, plane=plane)[-1]


@given(
    factors=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shape=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    corner=st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
@settings(max_examples=8, deadline=None)
def test_each_pixel_of_the_raw_layer_lies_under_the_label_that_is_its_own(
    factors, shape, corner, seed
):
    if corner is None:
        source = (shape[0] * factors[0], shape[1] * factors[1])
        grid = Grid.reduce(source, shape)
    else:
        source, grid = (shape[0] + 4, shape[1] + 5), Grid.crop(shape, corner)
    raw = raw_layer(source, (0.5, 0.25), (3.0, -7.0))
    found = measure(series(grid, seed), threshold="fixed", level=100, minimum_size=0)
    labels = labels_of(found, raw)
    expected = found.regions.on_source(source)
    for y, x in np.ndindex(source):
        world = raw.data_to_world((y, x))
        assert (labels.get_value(world, world=True) or 0) == expected[y, x]


def test_units_and_axes_are_those_of_the_raw_layer():
    raw = raw_layer((24, 32), (0.5, 0.5), (3.0, 3.0))
    layers = to_layers(measure(series(Grid.reduce((24, 32), (12, 16)))), raw)
    viewer = ViewerModel()
    for layer in (raw, *layers):
        viewer.add_layer(layer)
    assert viewer.layers.units is not None, "napari found the units consistent"
    outer = [raw.data_to_world((-0.5, -0.5)), raw.data_to_world((23.5, 31.5))]
    for layer in layers:
        last = np.array(layer.data.shape) - 0.5
        own = [layer.data_to_world((-0.5, -0.5)), layer.data_to_world(last)]
        np.testing.assert_allclose(own, outer)


def test_the_table_is_the_features_of_the_labels_and_the_record_is_kept():
    image = make_image(
        np.zeros((2, 12, 16), np.uint16),
        "cyx",
        ["DAPI", "TMRM"],
        unit="um",
        pixel_size={"y": 0.5, "x": 0.5},
    )
    found = measure(series(Grid((12, 16))), image, threshold="fixed", level=100, minimum_size=3)
    change, labels = to_layers(found, raw_layer((12, 16), (0.5, 0.5), (0, 0)))
    assert found.regions.count > 1
    assert labels.features["index"].tolist() == [0, *found.table["region"]]
    assert labels.features["area (um^2)"].tolist()[1:] == found.table["area (um^2)"].tolist()
    status = labels.get_status(labels.data_to_world(np.argwhere(labels.data == 2)[0]), world=True)
    assert "area (um^2)" in status["coordinates"]
    facts = labels.metadata["napari_why"]
    assert (facts["role"], facts["verdict"]) == ("regions", found.verdict.line)
    assert facts["details"]["counterfactual"]["method"] == "transport"
    assert not labels.editable, "the table would not follow"
    np.testing.assert_array_equal(change.data, found.plane)
    assert change.contrast_limits == [-200, 200]


def test_on_a_plane_of_a_stack_the_labels_lie_in_that_plane():
    raw = raw_layer((5, 12, 16), (2.0, 0.5, 0.5), (1.0, 0.0, 0.0))
    found = measure(series(Grid((12, 16))), threshold="fixed", level=100)
    labels = labels_of(found, raw, plane=(3,))
    assert labels.data.shape == (1, 12, 16)
    assert labels.data_to_world((0, 0, 0))[0] == pytest.approx(1.0 + 3 * 2.0)


def test_the_centre_of_a_region_is_in_world_coordinates():
    raw = raw_layer((24, 32), (0.5, 0.5), (10.0, 20.0))
    found = measure(series(Grid.reduce((24, 32), (12, 16))), threshold="fixed", level=100)
    labels = labels_of(found, raw)
    row = found.table.iloc[0]
    expected = raw.data_to_world((row["y (px)"], row["x (px)"]))
    assert region_centre(labels, int(row["region"])) == pytest.approx(expected)
    assert region_centre(labels, 10_000) is None


def test_without_a_source_the_regions_lie_on_the_source_s_pixels():
    grid = Grid.reduce((24, 32), (12, 16))
    labels = labels_of(measure(series(grid)), None)
    # each pixel of the result is laid out as those of the source, for outlines as thin as theirs
    assert labels.data.shape == (24, 32)
    np.testing.assert_allclose(labels.scale, (1, 1))
    np.testing.assert_allclose(labels.translate, (0, 0))
