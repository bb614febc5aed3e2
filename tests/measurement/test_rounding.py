"""Rounding and the error of the inverse are no change, wherever a difference is taken."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_why.counterfactuals import verdict
from napari_why.counterfactuals.remarks import DecoderError
from napari_why.images.image import export_pixels
from napari_why.measurement import change_map, measure, paired_statistics
from napari_why.measurement.measure_dataset import paired_rows

SHAPE = (2, 24, 24)


@pytest.fixture
def exported(make_counterfactual):
    """A maker of counterfactuals whose exact images are exported, as those of a network are."""

    def make(before, after, dtype, error):
        exact = np.asarray(before, np.float32)
        series = [export_pixels(np.asarray(image), np.dtype(dtype)) for image in (before, after)]
        return make_counterfactual(
            exact,
            after,
            images=np.stack(series),
            special_images={"alpha1": series[1]},
            round_trip_error=error,
        )

    return make


def scene(seed: int) -> tuple[np.random.Generator, np.ndarray]:
    random = np.random.default_rng(seed)
    return random, np.rint(random.gamma(2.0, 400.0, SHAPE) + 200)


def compare_by_well(results) -> pd.DataFrame:
    rows = [
        {"direction": "a to b", "well": f"A{well:02d}", **pair}
        for well, result in enumerate(results)
        for pair in paired_rows(result, measure(result, threshold="top", top_share=0.2).table)
    ]
    return paired_statistics(pd.DataFrame(rows), ["well"])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_a_channel_that_only_the_inverse_touches_is_not_tested(exported, dtype):
    """TMRM grows by 100; DAPI stays, but for an error of the inverse, all to one side."""
    results = []
    for seed in range(8):
        random, source = scene(seed)
        before = source + 0.02 + random.normal(0, 0.01, SHAPE)
        after = source + random.normal(0, 0.01, SHAPE)
        after[1] += 100 + seed
        results.append(exported(before, after, dtype, 0.1))
    found = compare_by_well(results).set_index("channel")
    still, moved = found.loc[["DAPI"]], found.loc[["TMRM"]]
    assert still["p"].isna().all()
    assert (still["change"] == 0).all()
    assert still["cohen_d"].isna().all()
    assert (still["note"] == "nothing changes beyond rounding").all()
    assert (moved["p"] == 2 / 2**8).all()
    # all that is tested has one and the same p, and what is not tested does not raise it
    assert (moved["p corrected"] == moved["p"]).all()


@pytest.mark.parametrize(
    ("shift", "error"),
    [(0.3, 0.05), (-0.4, 0.05), (2.0, 3.0), (-1.4, 1.5)],
    ids=["dithered up", "dithered down", "below the inverse", "down, below the inverse"],
)
def test_a_shift_below_half_a_grey_level_or_the_inverse_is_none(exported, shift, error):
    """Rounding turns a third of a grey level into pixels that differ by one, in every image."""
    results = []
    for seed in range(8):
        random, source = scene(seed)
        before = source + random.uniform(-0.5, 0.5, SHAPE)
        after = before.copy()
        after[0] += shift
        after[1] += 50
        results.append(exported(before, after, "uint16", error))
    assert (results[0].special_images["alpha1"][0] != source[0]).any()
    assert compare_by_well(results).set_index("channel").loc[["DAPI"], "p"].isna().all()
    for result in results:
        mapped = change_map(result)
        assert not mapped.plane("DAPI").any()
        assert mapped.offset[0] == 0
        assert verdict(result).shares == {"DAPI": 0.0, "TMRM": 1.0}
        table = measure(result, threshold="top", top_share=0.2).table
        assert not table["DAPI mean change (grey levels)"].any()


def test_few_pixels_that_change_much_are_change(exported):
    """A part of a grey level in the mean, but 300 where it is: no rounding makes that."""
    results = []
    for seed in range(8):
        random, source = scene(seed)
        before = source + random.uniform(-0.5, 0.5, SHAPE)
        after = before.copy()
        after[0, 3, 5 + seed % 3] += 200 + seed
        results.append(exported(before, after, "uint16", 0.1))
    found = compare_by_well(results)
    whole = found[found["measure"].str.startswith("mean of the image")].set_index("channel")
    assert 0.3 < whole["change"]["DAPI"] < 0.5
    assert whole["p"]["DAPI"] == 2 / 2**8
    assert np.isnan(whole["p"]["TMRM"])


def test_all_the_differences_are_of_exported_pixels(exported):
    random, source = scene(0)
    before = source + random.uniform(-0.5, 0.5, SHAPE)
    result = exported(before, before, "uint16", 0.2)
    assert not result.differences.any()
    assert not change_map(result, "influence").joint.any()
    assert verdict(result).line.endswith("nothing changes")


def test_what_a_decoder_leaves_out_is_no_limit(exported, make_counterfactual):
    """It misses the source by much, yet gives the same latent the same pixels."""
    _, source = scene(0)
    result = exported(source, source + 40, "uint16", 500.0)
    assert not change_map(result).joint.any()
    known = replace(result.circumstances, decoder=DecoderError({}, "diseased", kept=False))
    decoded = change_map(replace(result, circumstances=known))
    np.testing.assert_array_equal(decoded.plane("DAPI"), 40)
