"""Paired statistics against scipy and against numbers by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_why.core.errors import ParameterError
from napari_why.measurement import compare_paired, paired_statistics
from napari_why.measurement.statistics import (
    correct_p,
    describe_statistics,
    hedges_correction,
    rank_biserial,
    signed_rank_p,
)

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
    assert (found.note, found.rank_biserial) == ("nothing changes beyond rounding", 0.0)
    assert np.isnan(found.cohen_d)


def test_units_without_change_are_left_out_of_the_signed_ranks():
    """As the docs say: scipy's zero_method wilcox, and the zeros do not count towards the fewest."""
    before = np.full(9, 10.0)
    after = before + np.array([0, 0, 1, 2, -3, 4, 5, 6, 7])
    found = compare_paired(before, after)
    assert (found.n, found.changed) == (9, 7)
    assert found.p == pytest.approx(stats.wilcoxon([1, 2, -3, 4, 5, 6, 7]).pvalue)
    few = compare_paired(before, before + np.array([0, 0, 0, 0, 1, 2, 3, 4, 5]))
    assert np.isnan(few.p)
    assert few.note.startswith("n = 9, of which 5 change: too few for a Wilcoxon test")


def test_ties_give_no_smaller_p_than_there_is():
    """Six pairs that rise alike have p = 2 / 64; the normal distribution would make it 0.014."""
    assert compare_paired(np.zeros(6), np.ones(6)).p == pytest.approx(2 / 2**6)


@given(st.lists(st.integers(-4, 4).filter(bool), min_size=6, max_size=10))
@settings(max_examples=25, deadline=None)
def test_the_exact_p_is_that_of_all_signs(values):
    change = np.array(values, dtype=float)
    ranks = stats.rankdata(np.abs(change))
    signs = np.array(list(product([0, 1], repeat=len(change))))
    sums, found = signs @ ranks, ranks[change > 0].sum()
    expected = min(1.0, 2 * min((sums <= found).mean(), (sums >= found).mean()))
    assert signed_rank_p(change) == pytest.approx(expected)


@pytest.mark.parametrize("n", [2, 7, 40])
def test_hedges_g_does_not_overstate_on_the_average(n):
    # Hedges 1981: nearly 1 - 3 / (4 m - 1) with m = n - 1 degrees of freedom
    near = 1 - 3 / (4 * (n - 1) - 1) if n > 2 else np.nan
    assert hedges_correction(n - 1) == pytest.approx(near, rel=0.01, nan_ok=True)
    if n == 7:
        found = compare_paired(BEFORE, AFTER)
        assert found.hedges_g == pytest.approx(found.cohen_d * 0.8686, rel=1e-4)


@pytest.mark.parametrize("test", ["wilcoxon", "paired_t"])
@pytest.mark.parametrize("level", [1.0, 3e4])
def test_rounding_is_neither_change_nor_spread(test, level):
    random = np.random.default_rng(3)
    before = np.full(8, level)
    # what float32 leaves of a value that stays, all to one side
    after = before - np.abs(random.normal(0, 1e-9, 8)) * level
    found = compare_paired(before, after, test)
    assert (found.note, found.changed) == ("nothing changes beyond rounding", 0)
    assert np.isnan(found.p)
    raised = compare_paired(random.normal(level, level / 9, 8), np.zeros(8), test)
    assert np.isfinite(raised.p)
    # the same change of all, whose deviation is rounding alone, has no paired effect size
    same = np.linspace(1, 2, 8) * level
    assert np.isnan(compare_paired(same, same + level / 3, test).cohen_d)


def test_a_difference_below_the_smallest_is_none():
    found = compare_paired(np.zeros(8), np.full(8, 0.4), smallest=0.5)
    assert (found.change, found.note) == (0.0, "nothing changes beyond rounding")


def test_rows_that_cannot_be_tested_do_not_weigh_on_the_others():
    tested = table_of(8, 2, 8.0).assign(channel="TMRM")
    still = tested.assign(channel="DAPI", after=tested["before"])
    few = tested[tested["well"] < "A03"].assign(channel="GFP")
    alone = paired_statistics(tested, ["plate", "well"])
    found = paired_statistics(pd.concat([still, tested, few]), ["plate", "well"])
    rows = found.set_index("channel")
    assert rows["p corrected"]["TMRM"] == alone["p corrected"][0] == alone["p"][0]
    assert rows.loc[["DAPI", "GFP"], ["p", "p corrected"]].isna().all(axis=None)
    assert rows["note"]["DAPI"] == "nothing changes beyond rounding"
    assert "too few" in rows["note"]["GFP"]


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


@pytest.mark.parametrize("channels", [("DAPI", "TMRM"), ("a", "b", "c")])
@pytest.mark.parametrize("unit", [(), ("well",)])
def test_no_sentence_says_of_a_direction_what_is_true_of_some_rows(channels, unit):
    """In one channel nothing changes, in the last everything, of which regions are too few."""
    rows = [
        {
            "direction": direction,
            "measure": measure,
            "channel": channel,
            "well": f"W{row}",
            "before": 100.0,
            "after": 100.0 + (row + 1) * (channel == channels[-1]) * (direction != "still"),
        }
        for direction in ("p to q", "q to p", "still")
        for measure, wells in (("mean of the image (grey levels)", 8), ("of regions (px)", 2))
        for channel in channels
        for row in range(8 if direction == "p to q" else wells)
    ]
    table = paired_statistics(pd.DataFrame(rows), unit)
    sentences = dict(zip(("p to q", "q to p", "still"), describe_statistics(table), strict=True))
    nothing = "nothing changes beyond rounding"
    still = f"{' and '.join(channels[:-1])}: {nothing}"
    for direction, part in table.groupby("direction", sort=False):
        assert sentences[direction].startswith(f"{direction}: ")
        if part["p"].notna().any():
            named = sentences[direction].replace(still, "")
            assert (named != sentences[direction], nothing in named) == (True, False)
    assert f"; {channels[-1]}, of regions: n = 2: too few for a Wilcoxon" in sentences["q to p"]
    assert "too few" not in sentences["p to q"]
    # of which all rows say it, it is said of the whole
    assert f", not tested; {nothing}" in sentences["still"]
    assert ("; no wells are known" in sentences["still"]) is not bool(unit)
    wells = "wells (well)" if unit else "images"
    assert sentences["q to p"].startswith(f"q to p: up to 8 {wells}, tested")
    assert sentences["p to q"].startswith(f"p to q: 8 {wells}, tested")
