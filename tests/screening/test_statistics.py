"""Statistics of screens against their formulas, cases that are known, and properties that must hold."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from sklearn.metrics import average_precision_score

from napari_why.core.errors import ParameterError
from napari_why.measurement.statistics import correct_p
from napari_why.screening import ScreenOptions, analyse_screen
from napari_why.screening.statistics import (
    MEASURES,
    LargestChange,
    OffTarget,
    OnTarget,
    average_precision,
    explain_by_position,
    fit_dose_response,
    heed_samples,
    lie_at_edge,
    measure_activity,
    median_polish,
    normalise_plates,
    place_between_controls,
    plate_centres,
    plate_shape,
    rank_with_place,
    robust_ssmd,
    robust_z_prime,
    score_residuals,
    separate,
    separate_plates,
    shape_of,
    share_places,
    ssmd,
)
from napari_why.screening.statistics.scores import excess_kurtosis, tail_freedom
from napari_why.screening.tables import NEGATIVE as NEGATIVE_ROLE
from napari_why.screening.tables import PLATE, ROLE
from napari_why.screening.tables import POSITIVE as POSITIVE_ROLE
from napari_why.simulation.wells import SCORE, WellsDesign, simulate_wells

NEGATIVE = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
POSITIVE = np.array([21.0, 23.0, 25.0, 27.0, 29.0])
values = st.floats(-1e3, 1e3).map(lambda one: round(one, 3))


def wells_of(rows, columns):
    return [
        f"{'ABCDEFGHIJKLMNOP'[row]}{column + 1:02d}"
        for row in range(rows)
        for column in range(columns)
    ]


# assay


def test_ssmd_is_the_difference_over_both_deviations():
    expected = (25 - 3) / np.sqrt(NEGATIVE.var(ddof=1) + POSITIVE.var(ddof=1))
    assert ssmd(NEGATIVE, POSITIVE) == pytest.approx(expected)
    # median absolute deviations of 1 and 2
    assert robust_ssmd(NEGATIVE, POSITIVE) == pytest.approx(
        22 / (1.4826 * np.sqrt(1 + 4)), rel=1e-4
    )


def test_robust_z_prime_by_hand_and_one_outlier_hardly_moves_it():
    expected = 1 - 3 * 1.4826 * (1 + 2) / 22
    assert robust_z_prime(NEGATIVE, POSITIVE) == pytest.approx(expected, rel=1e-4)
    odd = np.append(NEGATIVE, 1000.0)
    assert robust_z_prime(odd, POSITIVE) > 0
    assert MEASURES["Z'"](odd, POSITIVE) < -5


@given(
    arrays.arrays(float, st.integers(3, 8), elements=values),
    arrays.arrays(float, st.integers(3, 8), elements=values),
    st.floats(0.1, 10),
    st.floats(-100, 100),
)
def test_measures_do_not_depend_on_the_unit(first, second, factor, offset):
    for name, statistic in MEASURES.items():
        before = statistic(first, second)
        after = statistic(factor * first + offset, factor * second + offset)
        # rounding decides whether there is any distance or spread at all
        assume(before is None or abs(before) < 1e6)
        if before is not None and after is not None:
            assert after == pytest.approx(before, rel=1e-4, abs=1e-4), name


def test_the_interval_holds_the_truth_as_often_as_it_says():
    truth = 6 / np.sqrt(2)
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        found = separate(rng.normal(0, 1, 40), rng.normal(6, 1, 40), draws=200, seed=seed)
        (one,) = (item for item in found if item.measure == "SSMD")
        held += one.low <= truth <= one.high
    # 95 % of 60 is 57; a percentile bootstrap of a ratio of 40 wells holds a few per cent less
    assert stats.binom.sf(held, 60, 0.8) < 0.5


def test_too_few_wells_have_no_interval_and_say_so():
    found = separate(NEGATIVE[:3], POSITIVE, draws=100)
    assert all(np.isnan(item.low) and "no interval: of 3 wells" in item.note for item in found)
    (rough, *_) = separate(NEGATIVE, POSITIVE, draws=500)
    assert (rough.note, rough.low < rough.value < rough.high) == ("rough: of 5 wells", True)
    assert all("not defined" in item.note for item in separate(NEGATIVE[:1], POSITIVE, draws=9))


def controls_on_plates(seed, negative, positive, plates=8):
    """Controls four deviations apart, which is a Z' of -0.5, of plates that lie elsewhere each."""
    rng = np.random.default_rng(seed)
    light = 3 * rng.normal(0, 1, plates)
    names = [
        np.repeat([f"P{one}" for one in range(plates)], count) for count in (negative, positive)
    ]
    groups = [
        middle + np.repeat(light, count) + rng.normal(0, 1, plates * count)
        for middle, count in ((0.0, negative), (4.0, positive))
    ]
    return *groups, tuple(names)


@pytest.mark.parametrize(("negative", "positive"), [(2, 8), (2, 2), (4, 1), (8, 8)])
def test_the_interval_of_all_plates_holds_the_truth_as_often_as_it_says(negative, positive):
    found = []
    for seed in range(40):
        controls = controls_on_plates(seed, negative, positive)
        found.append(separate_plates(*controls, draws=150, seed=seed)[0])
    held = sum(one.low <= -0.5 <= one.high for one in found)
    # of so few wells a bootstrap holds a little less than the 95 % it says
    assert stats.binom.cdf(held, 40, 0.85) > 0.01
    # the errors of the centres make positive ones that are alone on their plates vary more
    alone = 3 * ((1 + 1 / negative) ** 0.5 - 1) / 4 if positive == 1 else 0.0
    assert np.mean([one.value for one in found]) == pytest.approx(-0.5 - alone, abs=0.12)


@pytest.mark.parametrize("draws", [0, 60])
def test_without_wells_nothing_is_defined(draws: int) -> None:
    for found in separate(np.empty(0), np.empty(0), draws=draws):
        assert np.isnan(found.value)
        assert found.note.startswith("not defined: 0 and 0 wells")


@pytest.mark.parametrize("at_once", [1, 500])
def test_draws_measured_a_few_at_a_time_are_those_measured_together(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    rng = np.random.default_rng(0)
    wells = rng.normal(0, 1, 16), rng.normal(5, 1, 12)
    plates = list("ab" * 8), list("aab" * 4)
    together = separate(*wells, draws=60), separate_plates(*wells, plates, draws=60)
    monkeypatch.setattr("napari_why.screening.statistics.assay.DRAWN_AT_ONCE", at_once)
    assert (separate(*wells, draws=60), separate_plates(*wells, plates, draws=60)) == together
    assert all(one.low < one.value < one.high for found in together for one in found)


def test_all_plates_by_hand():
    negative, positive = np.array([-1.0, 1, 9, 11, 30]), np.array([4.0, 6, 15, 32])
    found = separate_plates(negative, positive, (list("aabbc"), list("aabc")), draws=9)
    by_name = {one.measure: one for one in found}
    # two degrees of freedom of the negative ones; of the positive ones one, so about the mean of all
    way = np.array([4.0, 6, 5, 2])
    noise = np.sqrt(4 / 2 + way.var(ddof=1))
    assert by_name["SSMD"].value == pytest.approx(way.mean() / noise)
    assert "no interval: of 2 wells more than plates" in by_name["SSMD"].note


def test_of_controls_that_are_alone_on_their_plates_nothing_is_told():
    found = separate_plates(*controls_on_plates(0, 1, 8), draws=99)
    assert all(np.isnan([one.value, one.low, one.high]).all() for one in found)
    assert {one.note for one in found} == {"not defined: too few wells more than plates"}


# plates


def test_a_median_polish_of_a_known_table():
    # Mosteller & Tukey's procedure by hand: rows first
    grid = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0], [7.0, 8.0, 9.0]])
    found = median_polish(grid)
    np.testing.assert_allclose(found.rows, [-3, 0, 3])
    np.testing.assert_allclose(found.columns, [-1, 0, 1])
    assert found.overall == 5
    np.testing.assert_allclose(found.residuals, [[0, 0, 0], [0, 0, 3], [0, 0, 0]])


def test_a_median_polish_leaves_an_axis_alone_that_holds_what_is_looked_for():
    rows, columns = np.array([0.0, 4.0, 8.0]), np.array([0.0, 1.0, 3.0, 9.0])
    grid = np.add.outer(rows, columns)
    found = median_polish(grid, by_columns=False)
    np.testing.assert_allclose(found.columns, 0)
    np.testing.assert_allclose(found.rows, [-4, 0, 4])
    np.testing.assert_allclose(found.residuals, np.tile(columns - 2, (3, 1)))
    neither = median_polish(grid, by_rows=False, by_columns=False)
    assert neither.overall == np.median(grid)
    np.testing.assert_allclose(neither.residuals, grid - np.median(grid))
    # a plate whose doses go with columns keeps them in its B scores, the other one does not
    wells = wells_of(3, 4)
    scores = score_residuals(
        np.tile(grid.ravel() + np.resize([0.1, -0.1, 0.05, -0.2, 0.02], 12), 2),
        ["a"] * 12 + ["b"] * 12,
        wells * 2,
        free={"a": (True, False)},
    ).reshape(2, 3, 4)
    assert (np.diff(scores[0], axis=1) > 0).all()
    assert not (np.diff(scores[1], axis=1) > 0).all()


@given(arrays.arrays(float, st.tuples(st.integers(2, 6), st.integers(2, 6)), elements=values))
def test_the_parts_of_a_median_polish_add_up(grid):
    found = median_polish(grid)
    whole = found.overall + found.rows[:, None] + found.columns + found.residuals
    np.testing.assert_allclose(whole, grid, atol=1e-6)


@given(
    arrays.arrays(float, 5, elements=values),
    arrays.arrays(float, 7, elements=values),
    st.integers(0, 34),
)
def test_rows_and_columns_leave_nothing_also_where_a_well_is_empty(rows, columns, empty):
    grid = np.add.outer(rows, columns)
    grid.flat[empty] = np.nan
    found = median_polish(grid)
    size = max(1.0, np.nanmax(np.abs(grid)))
    np.testing.assert_allclose(found.residuals[~np.isnan(grid)], 0, atol=1e-4 * size)


def test_b_scores_find_a_hit_under_a_gradient():
    rng = np.random.default_rng(0)
    wells = wells_of(8, 12)
    rows, columns = np.divmod(np.arange(96), 12)
    scores = 3.0 * rows - 2.0 * columns + rng.normal(0, 1, 96)
    scores[41] += 12
    found = score_residuals(scores, ["p"] * 96, wells)
    assert int(np.abs(found).argmax()) == 41
    assert int(np.abs(normalise_plates(scores, ["p"] * 96, np.zeros(96, bool))).argmax()) != 41
    rest = np.delete(found, 41)
    assert np.median(rest) == pytest.approx(0, abs=0.2)
    assert 1.4826 * np.median(np.abs(rest - np.median(rest))) == pytest.approx(1, abs=0.1)


def test_b_scores_of_controls_are_by_rows_and_columns_of_the_samples():
    wells = wells_of(8, 12)
    rng = np.random.default_rng(1)
    scores, control = rng.normal(0, 1, 96), np.arange(96) % 12 == 0
    scores[control] += 50
    alone = score_residuals(scores, ["p"] * 96, wells, ~control)
    together = score_residuals(scores, ["p"] * 96, wells)
    assert np.nanmin(alone[control]) > 20
    assert np.abs(together[control]).max() < 10  # their column has taken the effect for its own


def test_plates_are_normalised_each_by_its_own_controls():
    rng = np.random.default_rng(2)
    base = rng.normal(0, 1, 40)
    both = np.concatenate([base, 7 + 3 * base])
    controls = np.tile(np.arange(40) < 10, 2)
    found = normalise_plates(both, ["a"] * 40 + ["b"] * 40, controls)
    np.testing.assert_allclose(found[:40], found[40:])
    assert np.median(found[:10]) == pytest.approx(0)


@pytest.mark.parametrize(
    ("well", "edge"), [("A05", True), ("H05", True), ("D01", True), ("D12", True), ("B02", False)]
)
def test_edges_of_a_plate(well, edge):
    assert lie_at_edge([well], (8, 12)).tolist() == [edge]
    assert lie_at_edge([well], plate_shape(["P24", well])).tolist() == [well in ("A05", "D01")]


def test_position_explains_a_gradient_and_no_noise():
    wells = wells_of(8, 12)
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 1, 96)
    gradient = noise + np.arange(96) % 12
    found = explain_by_position(gradient, wells, draws=300)
    assert (found.share > 0.8, found.p) == (True, 1 / 301)
    # rows and columns are 18 numbers of 95: so much of noise is explained by chance
    assert found.expected == pytest.approx(18 / 95, abs=0.02)
    p = [explain_by_position(rng.normal(0, 1, 96), wells, draws=99).p for _ in range(100)]
    assert stats.binom.sf(sum(one <= 0.1 for one in p), 100, 0.1) > 1e-4


def test_the_share_is_that_of_a_linear_model():
    wells = wells_of(4, 6)
    scores = np.random.default_rng(4).normal(0, 1, 24)
    rows, columns = np.divmod(np.arange(24), 6)
    design = np.hstack([rows[:, None] == np.arange(4), columns[:, None] == np.arange(6)]).astype(
        float
    )
    fitted = design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    expected = 1 - ((scores - fitted) ** 2).sum() / ((scores - scores.mean()) ** 2).sum()
    assert explain_by_position(scores, wells, draws=9).share == pytest.approx(expected)


def test_few_wells_have_no_positional_share():
    assert np.isnan(explain_by_position(np.arange(3.0), ["A01", "A02", "B01"], draws=9).share)
    with pytest.raises(ParameterError, match="found 2 for 1 wells"):
        explain_by_position(np.arange(2.0), ["A01"])


def test_plates_of_some_wells():
    assert [shape_of(count) for count in (6, 96, 1536)] == [(2, 3), (8, 12), (32, 48)]
    with pytest.raises(ParameterError, match="plate_wells: found 100; expected one of 6, 12, 24"):
        shape_of(100)


def test_pairs_of_a_label_in_a_row_are_counted():
    labels, rows = ["a", "a", "a", "b", "b", 7], np.array([0, 0, 1, 2, 2, 0])
    share, _ = share_places(labels, rows, draws=99)
    assert share == 2 / 4  # of the pairs aa, aa, aa, bb
    # against every order of the labels
    expected = np.mean(
        [
            sum(
                labels[one] == labels[other] and order[one] == order[other]
                for one, other in combinations(range(6), 2)
            )
            >= 2
            for order in set(permutations(rows.tolist()))
        ]
    )
    assert share_places(labels, rows, draws=5000)[1] == pytest.approx(expected, abs=0.03)
    assert np.isnan(share_places(["a", "b"], np.array([0, 1]), draws=9)[0])
    assert share_places(["a", "a"], np.array([3, 3]), draws=9)[1] == 1  # one row tells nothing


def test_doses_in_the_order_of_their_places():
    axis = np.array([1, 2, 3, 4, 9, 7, 5, 3])
    doses = np.array([1.0, 2, 4, 8, 1, 10, 100, 1000])
    compounds = ["a"] * 4 + ["b"] * 4
    assert rank_with_place(doses, compounds, axis) == 1
    mixed = np.array([1.0, 8, 2, 4])
    expected = abs(stats.spearmanr(mixed, [1, 2, 3, 4]).statistic)
    assert rank_with_place(mixed, ["a"] * 4, axis[:4]) == pytest.approx(expected)
    assert rank_with_place(doses[:3], ["a"] * 3, axis[:3]) == 0


# dose-response


@pytest.mark.parametrize(
    ("ec50", "slope", "top"), [(0.5, 1.0, 4.0), (3.0, 2.5, -2.0), (10.0, 0.7, 1.5)]
)
def test_a_curve_without_noise_is_found_exactly(ec50, slope, top):
    doses = np.concatenate([np.zeros(4), np.repeat(np.geomspace(0.03, 300, 10), 2)])
    with np.errstate(divide="ignore"):
        responses = 1 + (top - 1) / (1 + (ec50 / doses) ** slope)
    found = fit_dose_response(doses, responses)
    assert (found.ec50, found.slope) == pytest.approx((ec50, slope), rel=1e-4)
    assert (found.bottom, found.top, found.determination) == pytest.approx((1, top, 1), abs=1e-4)
    np.testing.assert_allclose(found.response(doses), responses, atol=1e-4)


def test_the_interval_of_the_half_way_dose_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(5)
    doses = np.repeat([0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0], 3)
    truth = 1 + 4 / (1 + 2 / np.maximum(doses, 1e-12))
    held = 0
    for _ in range(20):
        found = fit_dose_response(doses, truth + rng.normal(0, 0.4, len(doses)))
        held += found.low <= 2 <= found.high
    assert stats.binom.cdf(held, 20, 0.95) > 1e-3


def test_a_curve_follows_the_unit_of_the_doses():
    rng = np.random.default_rng(6)
    doses = np.repeat(np.geomspace(0.1, 100, 7), 2)
    responses = 3 / (1 + 4 / doses) + rng.normal(0, 0.1, 14)
    one, other = (fit_dose_response(factor * doses, responses) for factor in (1, 1000))
    assert (other.ec50, other.low, other.high) == pytest.approx(
        (1000 * one.ec50, 1000 * one.low, 1000 * one.high), rel=1e-3
    )


def test_what_a_curve_cannot_say_it_does_not():
    doses = np.repeat(np.geomspace(0.1, 10, 6), 3)
    flat = fit_dose_response(doses, np.random.default_rng(7).normal(0, 1, 18))
    assert flat.note == "no effect of the dose is shown"
    rising = fit_dose_response(doses, np.log(doses + 0.05))
    assert np.isinf(rising.high) or rising.ec50 > 1
    few = fit_dose_response(doses[:6], np.arange(6.0))
    assert (np.isnan(few.ec50), few.note) == (True, "2 doses in 6 wells: a curve needs 4 in 6")
    with pytest.raises(ParameterError, match="the least -1"):
        fit_dose_response(np.array([-1.0]), np.array([0.0]))


# activity


@given(arrays.arrays(bool, st.integers(1, 12)))
def test_average_precision_is_that_of_scikit_learn(found):
    assume(found.any())
    expected = average_precision_score(found, -np.arange(len(found)))
    assert average_precision(found[None])[0] == pytest.approx(expected)


def test_p_of_few_wells_is_exact():
    rng = np.random.default_rng(8)
    profiles, controls = rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (4, 3))
    found = measure_activity(profiles, controls, draws=1000)
    pool = np.vstack([profiles, controls])

    def precision(chosen):
        unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
        alike = unit @ unit.T
        each = []
        for query in chosen:
            others = [one for one in range(6) if one != query]
            others.sort(key=lambda one: -alike[query, one])
            each.append(average_precision(np.array([[one in chosen for one in others]]))[0])
        return np.mean(each)

    null = [precision(chosen) for chosen in combinations(range(6), 2)]
    observed = precision((0, 1))
    assert found.precision == pytest.approx(observed)
    assert found.expected == pytest.approx(np.mean(null))
    assert found.p == pytest.approx(np.mean([one >= observed - 1e-12 for one in null]))


def test_activity_of_nothing_is_called_so_as_often_as_p_says():
    rng = np.random.default_rng(9)
    p = []
    for seed in range(100):
        pool = rng.normal(0, 1, (15, 4))
        p.append(measure_activity(pool[:3], pool[3:], draws=99, seed=seed).p)
    assert stats.binom.sf(sum(one <= 0.1 for one in p), 100, 0.1) > 1e-4
    far = np.array([5.0, 5, 5, 5]) + rng.normal(0, 0.1, (3, 4))
    assert measure_activity(far, rng.normal(0, 1, (12, 4)), draws=199).p == 1 / 200
    assert np.isnan(measure_activity(far[:1], far).precision)


@pytest.mark.parametrize(
    ("plates", "negative", "wells", "together"),
    [(4, 4, 2, True), (4, 8, 2, True), (4, 4, 3, True), (4, 4, 2, False), (6, 2, 3, False)],
)
def test_activity_of_wells_with_a_centre_in_common_is_no_more_often_found_than_p_says(
    plates, negative, wells, together
):
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        names = np.repeat([f"P{one}" for one in range(plates)], negative)
        own = np.full(wells, "P0") if together else np.array([f"P{one}" for one in range(wells)])
        every, control = np.r_[own, names], np.arange(wells + len(names)) >= wells
        points = rng.normal(0, 1, (len(every), 8))
        points -= plate_centres(points, every.tolist(), control)
        found = measure_activity(
            points[:wells], points[wells:], (own.tolist(), names.tolist()), draws=99, seed=seed
        )
        p.append(found.p)
    for level in (0.05, 0.1, 0.2):
        assert stats.binom.sf(sum(one <= level for one in p) - 1, 300, level) > 0.001


def test_p_of_activity_on_plates_counts_the_choices_of_each():
    rng = np.random.default_rng(3)
    far = np.array([9.0, 0, 0]) + rng.normal(0, 0.1, (3, 3))
    controls = rng.normal(0, 1, (9, 3))
    # 5 * 4 / 2 choices on a, 6 on b
    shared = measure_activity(far, controls, (list("aab"), list("aaabbbbbc")), draws=1000)
    assert shared.p == 1 / 60
    # one well of each of two plates that keep a control: 4 and 3 wells, or 4 or 3 and 3 on c
    apart = measure_activity(far[:2], controls, (list("ab"), list("aaabbcccd")), draws=1000)
    assert apart.p == pytest.approx(1 / (4 * 3 + 4 * 3 + 3 * 3))
    # a plate without controls has nothing to be exchanged with
    alone = measure_activity(far[:2], controls, (list("xx"), ["a"] * 9), draws=99)
    assert (alone.precision, alone.p) == (1, 1)


def test_ties_speak_against_the_compound():
    same = np.ones((6, 3))
    found = measure_activity(same[:2], same[2:])
    assert found.precision == pytest.approx(1 / 5)  # the other well comes after the four controls
    assert found.p == 1


# scores


def screen_of(rng, controls, samples, dimensions=6):
    """Latents of a plate: noise of one covariance; positive controls lie 4 further along the first axis."""
    mixed = np.eye(dimensions) + 0.3 * rng.normal(0, 1, (dimensions, dimensions))
    total = 2 * controls + samples
    points = rng.normal(0, 1, (total, dimensions))
    negative = np.arange(total) < controls
    positive = (np.arange(total) >= controls) & (np.arange(total) < 2 * controls)
    points[positive, 0] += 4
    return points, mixed, negative, positive


def test_places_between_controls_are_those_of_the_own_plate():
    scores = np.array([0.0, 1, 10, 11, 5, 100, 101, 110, 111, 105])
    plates = ["a"] * 5 + ["b"] * 5
    negative, positive = np.tile([1, 1, 0, 0, 0], 2) == 1, np.tile([0, 0, 1, 1, 0], 2) == 1
    found = place_between_controls(scores, plates, negative, positive)
    np.testing.assert_allclose(found[:5], found[5:])
    np.testing.assert_allclose(found[:5], [-0.05, 0.05, 0.95, 1.05, 0.45])
    assert np.isnan(
        place_between_controls(scores, plates, negative, ~negative & ~positive & positive)
    ).all()


def test_the_p_of_a_score_is_that_of_a_pooled_t_test():
    rng = np.random.default_rng(10)
    places = rng.normal(0, 1, 30)
    negative = np.arange(30) < 20
    places[:20] -= places[:20].mean()
    score = OnTarget(places, ["p"] * 30, negative)
    found = score.score(np.arange(20, 23))
    deviation = np.sqrt((places[:20] ** 2).sum() / 19)
    t = places[20:23].mean() / (deviation * np.sqrt(1 / 3 + 1 / 20))
    assert found.p == pytest.approx(stats.t.sf(t, 19))
    assert found.value == pytest.approx(places[20:23].mean())
    assert found.high - found.value == pytest.approx(
        stats.t.ppf(0.975, 19) * deviation * np.sqrt(1 / 3 + 1 / 20)
    )


def test_the_centre_of_a_plate_is_as_uncertain_as_its_controls_are_few():
    rng = np.random.default_rng(15)
    plates = ["a"] * 10 + ["b"] * 22 + ["c"] * 2
    negative = np.r_[np.arange(10) < 4, np.arange(22) < 16, np.zeros(2, bool)]
    places = rng.normal(0, 1, 34)
    places -= plate_centres(places[:, None], plates, negative)[:, 0]
    score = OnTarget(places, plates, negative)
    for wells, centres in (
        ([4, 5, 6], 1 / 4),
        ([26, 27, 28], 1 / 16),
        ([4, 26, 27], (1 / 3) ** 2 / 4 + (2 / 3) ** 2 / 16),
        ([32, 33], 1 / 20),  # by the mean of all controls
    ):
        found = score.score(np.array(wells))
        error = score.deviation * np.sqrt(1 / len(wells) + centres)
        assert found.p == pytest.approx(stats.t.sf(places[wells].mean() / error, 18))


def test_wells_of_one_plate_of_few_controls_are_hits_by_chance_as_often_as_p_says():
    p = []
    for seed in range(300):
        values = np.random.default_rng(seed).normal(0, 1, 28)
        plates, negative = list("abcd" * 7), np.arange(28) < 16
        places = values - plate_centres(values[:, None], plates, negative)[:, 0]
        p.append(OnTarget(places, plates, negative).score(np.array([16, 20, 24])).p)
    hits = int(np.sum(np.array(p) <= 0.05))
    assert stats.binom.sf(hits - 1, 300, 0.05) > 0.01


@pytest.mark.parametrize("controls", [16, 48])
def test_other_change_is_found_by_chance_as_often_as_p_says(controls):
    p = []
    for seed in range(6):
        points, mixed, negative, positive = screen_of(np.random.default_rng(seed), controls, 120)
        off = OffTarget(points @ mixed, ["p"] * len(points), negative, positive)
        p += [
            off.score(np.array([one, one + 1])).p
            for one in range(2 * controls, 2 * controls + 120, 2)
        ]
    # the 60 of a plate share its controls, so that they are not independent: a bound, and no exact test
    assert np.mean(np.array(p) <= 0.05) < 0.12
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.25)


def nothing_on_plates(rng, plates, negative, positive=0, samples=4, dimensions=6):
    """Latents of wells that do nothing: of each plate controls, then samples; a plate has light of its own."""
    roles = np.repeat(["negative", "positive", "sample"], [negative, positive, samples])
    role, plate = np.tile(roles, plates), np.repeat(np.arange(plates), len(roles))
    points = rng.normal(0, 1, (len(role), dimensions)) + 3 * rng.normal(0, 1, plates)[plate, None]
    points[role == "positive", 0] += 6
    return points, [f"P{one}" for one in plate], role


@pytest.mark.parametrize(
    ("plates", "negative", "positive"),
    [(10, 4, 0), (20, 2, 0), (3, 16, 0), (10, 4, 1), (10, 4, 3), (5, 8, 3)],
)
def test_other_change_by_chance_is_no_rarer_with_few_controls_on_many_plates(
    plates, negative, positive
):
    p = []
    for seed in range(12):
        points, names, role = nothing_on_plates(
            np.random.default_rng(seed), plates, negative, positive
        )
        off = OffTarget(points, names, role == "negative", role == "positive")
        samples = np.flatnonzero(role == "sample")
        # two wells of one plate
        p += [off.score(samples[one : one + 2]).p for one in range(0, len(samples), 2)]
    # those of a plate share its controls: a bound, and no exact test
    assert np.mean(np.array(p) <= 0.05) < 0.09


def test_other_change_is_not_judged_where_controls_are_alone_on_their_plates():
    points, names, role = nothing_on_plates(np.random.default_rng(0), 12, 1, 2)
    off = OffTarget(points, names, role == "negative", role == "positive")
    assert not off.fine
    assert np.isnan(off.score(np.flatnonzero(role == "sample")[:2]).p)


def test_change_along_the_line_of_the_controls_is_no_other_change():
    points, mixed, negative, positive = screen_of(np.random.default_rng(11), 40, 6)
    along, across = np.arange(80, 83), np.arange(83, 86)
    points[along, 0] += 4
    points[across, 3] += 5
    off = OffTarget(points @ mixed, ["p"] * len(points), negative, positive)
    assert off.score(along).p > 0.001
    assert off.along(along) == pytest.approx(1, abs=0.5)
    found = off.score(across)
    assert found.p < 1e-4
    assert found.low < 5 < found.high
    assert off.along(across) == pytest.approx(0, abs=0.5)


def test_healthy_cells_that_vary_more_are_no_other_change():
    p = []
    for seed in range(6):
        points, mixed, negative, positive = screen_of(np.random.default_rng(seed), 40, 60)
        rescued = np.arange(80, 140)
        points[rescued, 0] += 4
        points[positive | (np.arange(140) >= 80), 2] *= 3
        off = OffTarget(points @ mixed, ["p"] * len(points), negative, positive)
        p += [off.score(np.array([one, one + 1])).p for one in rescued[::2]]
    assert np.mean(np.array(p) <= 0.05) < 0.12


def test_scores_do_not_depend_on_the_units_of_numbers():
    points, mixed, negative, positive = screen_of(np.random.default_rng(12), 40, 6)
    plates, wells = ["p"] * len(points), np.arange(80, 86)
    units = np.array([1e-3, 1.0, 10.0, 1e4, 0.5, 2.0])
    numbers = points @ mixed
    one, other = (
        OffTarget(numbers * unit + unit, plates, negative, positive).score(wells)
        for unit in (np.ones(6), units)
    )
    assert (one.value, one.p) == pytest.approx((other.value, other.p))
    constant = np.column_stack([numbers, np.full(len(numbers), 7.0)])
    assert OffTarget(constant, plates, negative, positive).score(wells).p == pytest.approx(one.p)


def test_tails_of_a_mean_have_the_kurtosis_of_the_wells_over_their_number():
    # the moments of Student's t: excess kurtosis 6 / (v - 4)
    for excess, wells in ((3.0, 1), (6.0, 2), (1.5, 4)):
        free = float(tail_freedom(excess, wells, 10**9))
        assert stats.t(free).stats("k") == pytest.approx(excess / wells, rel=1e-4)
    assert float(tail_freedom(-1.0, 2, 30)) == 30
    residuals = np.random.default_rng(0).standard_t(6, (400, 1))
    assert excess_kurtosis(residuals)[0] == pytest.approx(
        stats.kurtosis(residuals[:, 0], bias=False)
    )
    assert excess_kurtosis(np.ones((9, 2))).tolist() == [0, 0]
    assert excess_kurtosis(residuals[:3]).tolist() == [0]


def test_p_of_samples_that_vary_more_than_controls_are_widened_and_never_made_smaller():
    rng = np.random.default_rng(1)
    z = 1.5 * rng.normal(0, 1, 400) + 0.4
    z[:20] += 8
    p = stats.norm.sf(z)
    found = heed_samples(p)
    assert (found.spread, found.centre) == pytest.approx((1.5, 0.4), abs=0.5)
    assert (found.p >= p).all()
    assert np.mean(p[20:] <= 0.05) > 0.1
    assert np.mean(found.p[20:] <= 0.05) < 0.09
    drawn = rng.normal(0, 1, 400)
    narrow = heed_samples(stats.norm.sf(0.3 * drawn - 1))
    assert narrow.tests == 400
    assert narrow.spread < 1
    np.testing.assert_allclose(narrow.p, stats.norm.sf(0.3 * drawn - 1), rtol=1e-6)


def test_few_tests_say_nothing_of_chance_and_missing_ones_stay():
    p = np.array([0.2, np.nan, 1e-9])
    found = heed_samples(p)
    np.testing.assert_array_equal(found.p, p)
    assert (found.tests, found.spread) == (0, 1)
    many = np.append(np.linspace(0.01, 0.99, 110), [np.nan, 0.0, 1.0])
    found = heed_samples(many)
    assert np.isnan(found.p[110])
    assert found.p[111] < 1e-15
    assert found.tests == 112


def test_the_largest_change_is_that_of_a_bonferroni_corrected_t_test():
    rng = np.random.default_rng(2)
    numbers = rng.uniform(-1, 1, (50, 4))  # lighter tails than normal
    negative, positive = np.arange(50) < 20, (np.arange(50) >= 20) & (np.arange(50) < 40)
    numbers[positive, 0] += 5
    own = np.array([40, 41])
    numbers[own, 2] -= 6
    numbers[own, 0] += 3  # between the controls: on the way
    found = LargestChange(numbers, ["p"] * 50, negative, positive).score(own)
    assert found.place == 2
    centred = numbers[:, 2] - numbers[negative, 2].mean()
    end, mean = centred[positive].mean(), centred[own].mean()
    beyond = mean - min(0.0, end)
    deviation = max(numbers[mask, 2].std(ddof=1) for mask in (negative, positive))
    assert found.size == pytest.approx(beyond / deviation)
    error = deviation * np.sqrt(1 / 2 + 1 / 20 + (1 / 20 if end < 0 else 0))
    assert found.p == pytest.approx(4 * 2 * stats.t.sf(-beyond / error, 19))


@pytest.mark.parametrize(("negative", "positive"), [(8, 1), (1, 8), (4, 0)])
def test_a_kind_of_controls_that_tells_of_no_deviation_leaves_the_test_to_the_other(
    negative, positive
):
    p = []
    for seed in range(6):
        points, names, role = nothing_on_plates(
            np.random.default_rng(seed), 8, negative, positive, samples=8
        )
        samples = np.flatnonzero(role == "sample")
        points[samples[-1], 3] += 12
        change = LargestChange(points, names, role == "negative", role == "positive")
        assert change.score(samples[-1:]).place == 3
        assert change.score(samples[-1:]).p < 1e-3
        p += [change.score(samples[one : one + 2]).p for one in range(0, len(samples) - 2, 2)]
    assert np.mean(np.array(p) <= 0.05) < 0.08
    points, names, role = nothing_on_plates(np.random.default_rng(0), 8, 1, 1)
    none = LargestChange(points, names, role == "negative", role == "positive")
    assert not none.fine
    assert none.score(np.flatnonzero(role == "sample")[:2]).place == -1


@pytest.mark.parametrize("heavy", [False, True])
def test_a_largest_change_of_nothing_is_found_as_often_as_p_says(heavy):
    p = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        numbers = rng.standard_t(5, (80, 30)) if heavy else rng.normal(0, 1, (80, 30))
        negative, positive = np.arange(80) < 32, (np.arange(80) >= 32) & (np.arange(80) < 64)
        change = LargestChange(numbers, ["p"] * 80, negative, positive)
        p += [change.score(np.array([one, one + 1])).p for one in range(64, 80, 2)]
    assert np.mean(np.array(p) <= 0.05) < 0.08


def test_numbers_in_which_samples_vary_more_than_controls_tell_less():
    rng = np.random.default_rng(4)
    numbers = rng.normal(0, 1, (252, 3))
    negative, positive = np.arange(252) < 16, (np.arange(252) >= 16) & (np.arange(252) < 32)
    numbers[32:, 1] = 3 * numbers[32:, 1] + 4  # of all samples: their place, say
    samples = [np.array([one, one + 1]) for one in range(32, 252, 2)]
    change = LargestChange(numbers, ["p"] * 252, negative, positive)
    before = np.array([change.score(own).p for own in samples])
    change.heed_samples(samples[:10])  # too few to be asked
    assert [change.score(own).p for own in samples[:3]] == before[:3].tolist()
    change.heed_samples(samples)
    after = np.array([change.score(own).p for own in samples])
    assert np.mean(before < 0.05) > 0.5
    assert np.mean(after < 0.05) < 0.1
    assert (
        LargestChange(numbers[:, :0], ["p"] * 252, negative, positive).score(samples[0]).place == -1
    )


RATES = [
    {},
    {"active": 0.0},
    {"active": 0.4},
    {"controls": 2},
    {"controls": 4, "plates": 3},
    {"plates": 1},
    {"place": 1.0},
    {"place": 1.0, "same_places": False},
    {"heavy": True},
    {"wider": 0.4},
]


@pytest.mark.parametrize("changes", RATES, ids=str)
def test_hits_hold_the_rate_of_false_ones_that_is_asked_for(changes):
    shares = []
    for seed in range(40):
        table = simulate_wells(WellsDesign(compounds=120, seed=seed, **changes))
        plates, role = list(table[PLATE]), table[ROLE].to_numpy()
        negative, positive = role == NEGATIVE_ROLE, role == POSITIVE_ROLE
        way = place_between_controls(table[SCORE].to_numpy(), plates, negative, positive)
        on = OnTarget(way, plates, negative)
        samples = table[role == "sample"].groupby("Metadata_Compound")
        p = np.array([on.score(own.to_numpy()).p for own in samples.groups.values()])
        active = samples["Metadata_active"].first().to_numpy()
        chosen = correct_p(heed_samples(p).p) <= 0.05
        shares.append((chosen & ~active).sum() / max(chosen.sum(), 1))
    # 5 % and what chance of 40 screens adds to it: two standard errors, and none that is 0
    assert np.mean(shares) <= 0.05 + 2 * np.std(shares) / 40**0.5
    # that grows with the faults, and this does not: shares of 0 to 1 vary no more than screens with and without any
    assert np.sum(shares) <= stats.binom.ppf(0.95, 40, 0.05)


def wells_of_one_plate(design, positive):
    """A screen whose compounds have their wells side by side on one plate, with so many positive ones a plate."""
    table = simulate_wells(design)
    own = table[table[ROLE] == POSITIVE_ROLE]
    table = table.drop(index=own.index.difference(own.groupby(PLATE).head(positive).index))
    sample = (table[ROLE] == "sample").to_numpy()
    number = np.arange(sample.sum()) // 2
    table.loc[sample, "Metadata_Compound"] = [f"C{one}" for one in number]
    return table.reset_index(drop=True)


@pytest.mark.parametrize(
    ("positive", "changes"),
    [
        (0, {"controls": 4, "plates": 10}),
        (1, {"controls": 4, "plates": 10}),
        (4, {"controls": 4, "plates": 10}),
        (0, {"controls": 2, "plates": 16}),
        (16, {"controls": 16, "plates": 3}),
    ],
    ids=str,
)
def test_p_of_a_screen_hold_where_wells_of_compounds_share_a_plate(positive, changes):
    towards, other = [], []
    options = ScreenOptions(negative="DMSO", positive="healthy", draws=100, most_inactive=False)
    for seed in range(2):
        design = WellsDesign(compounds=20, active=0, other=0, seed=seed, **changes)
        hits = analyse_screen(wells_of_one_plate(design, positive), options).hits
        assert hits["on-target p"].notna().all() == bool(positive)
        towards += hits["on-target p"].dropna().tolist()
        other += hits["off-target p"].tolist()
    assert len(other) >= 60
    # compounds share their plate's controls, some ten of them: chance of a third as many as there are
    for p in filter(len, (towards, other)):
        most = stats.binom.ppf(0.99, len(p) // 3, 0.05) / (len(p) // 3)
        assert np.mean(np.array(p) <= 0.05) <= most


def test_few_controls_give_no_score():
    points, mixed, negative, positive = screen_of(np.random.default_rng(13), 3, 4)
    off = OffTarget(points @ mixed, ["p"] * len(points), negative, positive)
    assert not off.fine
    assert np.isnan(off.score(np.arange(6, 8)).p)
    assert np.isnan(OnTarget(points[:, 0], ["p"] * len(points), negative).score(np.arange(6, 8)).p)
