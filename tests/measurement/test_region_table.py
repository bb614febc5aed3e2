"""The table of known changes: exact areas, places, means and sums."""

import math

import numpy as np
import pytest

from napari_why.core.errors import MismatchError
from napari_why.images import Grid, make_image
from napari_why.measurement import change_map, find_regions, measure, region_table
from napari_why.measurement.regions import effect_size
from napari_why.simulation import SimulatedScene


@pytest.fixture
def source():
    return make_image(
        np.zeros((2, 16, 20), np.uint16),
        "cyx",
        ["DAPI", "TMRM"],
        unit="um",
        pixel_size={"y": 0.5, "x": 0.25},
    )


def test_two_squares_are_measured_exactly(squares, source):
    table = measure(squares, source, threshold="fixed", level=50, minimum_size=0).table
    assert table["region"].tolist() == [1, 2]
    assert table["area (px)"].tolist() == [16, 6]
    assert table["area (um^2)"].tolist() == [2.0, 0.75]
    assert table["y (px)"].tolist() == [3.5, 10.5]
    assert table["x (px)"].tolist() == [4.5, 13.0]
    assert table["TMRM mean before (grey levels)"].tolist() == [500, 500]
    assert table["TMRM mean after (grey levels)"].tolist() == [700, 400]
    assert table["TMRM mean change (grey levels)"].tolist() == [200, -100]
    assert table["TMRM integrated after (grey levels x px)"].tolist() == [700 * 16, 400 * 6]
    assert table["TMRM integrated change (grey levels x px)"].tolist() == [3200, -600]
    assert table["DAPI mean change (grey levels)"].tolist() == [0, 0]
    assert table["TMRM effect size (d)"].isna().all(), "nothing varies inside the squares"
    assert table.attrs["units"]["area (um^2)"] == "um^2"
    assert table.attrs["units"]["TMRM integrated after (grey levels x px)"] == "grey levels x px"
    assert table.attrs["units"]["TMRM effect size (d)"] == ""


def test_sizes_and_places_are_those_of_the_source_s_pixels(make_counterfactual, squares):
    grid = Grid.reduce((32, 60), (16, 20))
    result = make_counterfactual(squares.reconstruction, squares.images[-1], grid=grid)
    table = measure(result, None, threshold="fixed", level=150).table
    assert table["area (px)"].tolist() == [16 * 2 * 3]
    assert table["y (px)"].tolist() == [3.5 * 2 + 0.5]
    assert table["x (px)"].tolist() == [4.5 * 3 + 1]
    assert table["TMRM integrated change (grey levels x px)"].tolist() == [200 * 96]
    assert "area (um^2)" not in table, "no micrometres without a calibrated source"


def test_the_effect_size_is_the_change_beside_the_spread_inside_the_region(make_counterfactual):
    random = np.random.default_rng(0)
    before = random.normal(500, 20, (1, 12, 12))
    after = before + random.normal(100, 5, before.shape)
    result = make_counterfactual(before, after, channels=["TMRM"])
    (found,) = measure(result, threshold="fixed", level=1).table["TMRM effect size (d)"]
    old, new = result.reconstruction.astype(float), result.images[-1].astype(float)
    # Lakens 2013, eq. 10: the mean of both standard deviations, n - 1
    expected = (new.mean() - old.mean()) / ((old.std(ddof=1) + new.std(ddof=1)) / 2)
    assert found == pytest.approx(expected, rel=1e-9)


def test_d_av_by_hand():
    # deviations: sqrt(20 / 3) and 2; means 3 and 11
    before, after = np.array([0.0, 2, 4, 6]), np.array([10.0, 10, 10, 14])
    assert effect_size(before, after) == pytest.approx(8 / ((math.sqrt(20 / 3) + 2) / 2))
    assert math.isnan(effect_size(before[:1], after[:1])), "a single value has no deviation"
    alike = np.full(7, 0.1)
    assert math.isnan(effect_size(alike, alike + 3)), "rounding is no deviation"


def test_the_true_change_of_a_simulated_scene_is_measured_pixel_for_pixel(make_counterfactual):
    scene = SimulatedScene(4, seed=2, size=64)
    before, after = scene.noise_free("diseased"), scene.noise_free("treated")
    result = make_counterfactual(before, after)
    level = 300.0
    found = measure(result, before, threshold="fixed", level=level, minimum_size=0)
    truth = scene.true_change("diseased", "treated").sel(c="TMRM").values
    inside = np.abs(truth) >= level
    assert inside.sum() > 50
    np.testing.assert_array_equal(found.regions.labels > 0, inside)
    assert found.table["area (px)"].sum() == inside.sum()
    pixel = scene.pixel_size
    assert found.table["area (um^2)"].sum() == pytest.approx(inside.sum() * pixel**2)
    total = found.table["TMRM integrated change (grey levels x px)"].sum()
    assert total == pytest.approx(truth[inside].sum(), rel=1e-5)
    assert not found.table["DAPI integrated change (grey levels x px)"].any()
    assert found.verdict.shares == {"DAPI": 0.0, "TMRM": 1.0}


def test_without_a_region_the_table_has_its_columns_and_no_row(squares, source):
    table = measure(squares, source, threshold="fixed", level=1e6).table
    assert len(table) == 0
    assert {"region", "area (um^2)", "TMRM mean after (grey levels)"} <= set(table)


def test_regions_of_another_grid_are_refused(squares):
    regions = find_regions(change_map(squares).plane("TMRM")[:8], rule="fixed", level=50)
    with pytest.raises(MismatchError, match=r"found a map of \(8, 20\) pixels"):
        region_table(squares, regions)
