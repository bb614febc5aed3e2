"""Paired statistics against scipy and against numbers by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_why.core.errors import ParameterError
from napari_why.measurement import compare_paired, paired_statistics
from napari_why.measurement.statistics import correct_p, rank_biserial

BEFORE = np.array([10.0, 12.0, 9.0, 11.0, 10.5, 13.0, 12.5])
AFTER = np.array([12.0, 15.0, 10.0, 15.0, 10.0, 18.0, 18.5])


def test_wilcoxon_and_effect_sizes_are_those_of_scipy_and_of_the_definitions():
    found = compare_paired(BEFORE, AFTER)
    change = AFTER - BEFORE
    assert found.n == 7
    assert found.test == "wilcoxon"
    assert found.p == pytest.approx(stats.wilcoxon(AFTER, BEFORE, method="exact").pvalue)
    assert found.change == pytest.approx(change.mean())
    assert found.cohen_d == pytest.approx(change.mean() / change.std(ddof=1))
    # ranks of 2, 3, 1, 4, -0.5, 5, 6: the decrease has rank 1 of 28
    assert found.rank_biserial == pytest.approx((27 - 1) / 28)
    low, high = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_paired_t_test_is_taken_when_it_is_asked_for():
    found = compare_paired(BEFORE[:3], AFTER[:3], "paired_t")
    assert found.p == pytest.approx(stats.ttest_rel(AFTER[:3], BEFORE[:3]).pvalue)
    assert "which needs 3" in compare_paired([1, 2], [2, 4], "paired_t").note
    with pytest.raises(ParameterError, match="expected wilcoxon, paired_t"):
        compare_paired([1, 2], [2, 4], "welch")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_too_few_wells_are_not_tested_and_the_note_says_so(n):
    found = compare_paired(BEFORE[:n], AFTER[:n])
    assert np.isnan(found.p)
    assert found.note.startswith(f"n = {n}: too few for a Wilcoxon test")
    assert found.change == pytest.approx((AFTER - BEFORE)[:n].mean())


def test_six_wells_that_all_rise_are_the_fewest_that_reach_the_five_percent():
    assert compare_paired(np.zeros(6), np.arange(1.0, 7)).p == pytest.approx(2 / 2**6)


def test_no_change_at_all_is_no_test():
    found = compare_paired(BEFORE, BEFORE)
    assert (found.note, found.rank_biserial) == ("nothing changes", 0.0)
    assert np.isnan(found.cohen_d)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_rank_biserial_correlation_turns_with_the_sign_and_stays_within_one(values):
    change = np.array(values)
    assert -1 <= rank_biserial(change) <= 1
    assert rank_biserial(-change) == pytest.approx(-rank_biserial(change))


def table_of(wells: int, fields: int, change: float, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    rows = []
    for well in range(wells):
        shift = random.normal(change, 5)
        for _ in range(fields):
            before = random.normal(100, 10)
            pair = {"before": before, "after": before + shift + random.normal(0, 1)}
            about = {"direction": "a to b", "measure": "mean", "channel": "TMRM"}
            rows.append({**about, "plate": "1", "well": f"A{well:02d}", **pair})
    return pd.DataFrame(rows)


def test_wells_are_counted_not_fields():
    values = table_of(wells=7, fields=9, change=20)
    (row,) = paired_statistics(values, ["plate", "well"]).to_dict("records")
    means = values.groupby("well")[["before", "after"]].mean()
    assert (row["images"], row["units tested"], row["unit"]) == (63, 7, "plate and well")
    assert row["p"] == pytest.approx(stats.wilcoxon(means["after"] - means["before"]).pvalue)
    assert row["change"] == pytest.approx((means["after"] - means["before"]).mean())
    assert row["note"] == ""


def test_many_fields_of_few_wells_are_still_too_few():
    (row,) = paired_statistics(table_of(3, 40, 50), ["plate", "well"]).to_dict("records")
    assert np.isnan(row["p"])
    assert "n = 3: too few" in row["note"]


def test_without_wells_the_images_count_and_the_note_says_so():
    (row,) = paired_statistics(table_of(4, 5, 20), []).to_dict("records")
    assert (row["unit"], row["units tested"]) == ("image", 20)
    assert row["note"] == "no wells are known: images count as independent"


def test_all_p_of_a_table_are_corrected_together():
    parts = []
    for number, change in enumerate((0.0, 8.0, 30.0)):
        part = table_of(10, 2, change, seed=number)
        parts.append(part.assign(channel=f"channel {number}"))
    found = paired_statistics(pd.concat(parts), ["plate", "well"])
    expected = stats.false_discovery_control(found["p"], method="bh")
    np.testing.assert_allclose(found["p corrected"], expected)
    assert (found["p corrected"] >= found["p"]).all()


def test_benjamini_and_hochberg_by_hand():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.2])
    expected = [0.04, 0.04 * 4 / 3, np.nan, 0.04 * 4 / 3, 0.2]
    np.testing.assert_allclose(correct_p(p), expected)
    assert np.isnan(correct_p(np.array([np.nan]))).all()


def test_no_difference_is_called_one_in_a_table_of_nulls():
    random = np.random.default_rng(5)
    parts = [table_of(12, 2, 0.0, seed=int(seed)) for seed in random.integers(0, 10**6, 20)]
    many = pd.concat([part.assign(channel=str(n)) for n, part in enumerate(parts)])
    assert (paired_statistics(many, ["plate", "well"])["p corrected"] > 0.05).all()
