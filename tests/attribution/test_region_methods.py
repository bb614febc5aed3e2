"""Regions: occlusion and Shapley values equal their definitions, by hand and by captum."""

from itertools import permutations

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, ShapleyValues
from torch import nn

from napari_why.attribution import METHODS, attribute
from napari_why.attribution.region_methods import all_combinations, random_orders
from napari_why.attribution.sampled_gradients import FEWEST_GROUPS
from napari_why.core.errors import MismatchError

occlusion = METHODS["region_occlusion"].function
shapley = METHODS["region_shapley"].function


def labels(size: int = 16) -> torch.Tensor:
    """Four regions of several sizes with numbers that have gaps, and background."""
    regions = torch.zeros(size, size, dtype=torch.int64)
    regions[1:5, 1:7] = 3
    regions[1:9, 9:15] = 7
    regions[9:12, 2:8] = 8
    regions[11:15, 11:14] = 40
    return regions


def covered(x, regions, hidden, channels, filling):
    image = x.clone()
    for label in hidden:
        for c in channels:
            image[0, c][regions == label] = filling[0, c][regions == label]
    return image


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("batch", [None, 3])
def test_occlusion_equals_the_naive_loop(residual, background: bool, batch) -> None:
    network, x, regions = residual.network, residual.x, labels()
    found = occlusion(network, x, 1, regions=regions, background=background, batch=batch)
    players = [0, 3, 7, 8, 40] if background else [3, 7, 8, 40]
    assert [item.label for item in found.regions] == players
    score = network(x)[0, 1].item()
    for item in found.regions:
        where = regions == item.label
        for channels, values in (([0, 1], found.joint), ([0], found.maps[0]), ([1], found.maps[1])):
            image = covered(x, regions, [item.label], channels, torch.zeros_like(x))
            loss = score - network(image)[0, 1].item()
            np.testing.assert_allclose(values[where], loss, atol=2e-6)
        assert item.value == pytest.approx(found.joint[where][0].item(), abs=1e-6)
        assert item.standard_error is None
    assert background or not found.joint[regions == 0].any()


def test_occlusion_equals_captum(shipped) -> None:
    network, x = shipped.network, shipped.x
    regions = labels(x.shape[-1])
    found = occlusion(network, x, 2, regions=regions, background=True)
    theirs = FeatureAblation(network).attribute(x, feature_mask=regions[None, None], target=2)
    torch.testing.assert_close(found.joint, theirs[0, 0], atol=1e-5, rtol=1e-4)


def test_exact_shapley_values_equal_captum(case) -> None:
    for kind in ("preactivation", "cam_net"):
        network, x = case(kind).network, case(kind).x
        regions = labels(x.shape[-1])
        regions[regions == 8] = 7  # a region need not hang together
        # numbers without gaps: captum counts up to the highest
        regions = torch.unique(regions, return_inverse=True)[1]
        found = shapley(network, x, 1, regions=regions, background=True)
        theirs = ShapleyValues(network).attribute(x, feature_mask=regions[None, None], target=1)
        torch.testing.assert_close(found.joint, theirs[0, 0], atol=1e-5, rtol=1e-4)


def test_exact_values_are_the_mean_over_all_orders(residual) -> None:
    network, x, regions = residual.network, residual.x, labels()
    found = shapley(network, x, 1, regions=regions)
    players = [3, 7, 8, 40]
    for channels, values in (([0, 1], found.joint), ([1], found.maps[1])):
        mean = dict.fromkeys(players, 0.0)
        for order in permutations(players):
            hidden = set(players)
            before = network(covered(x, regions, hidden, channels, torch.zeros_like(x)))[
                0, 1
            ].item()
            for label in order:
                hidden.discard(label)
                now = network(covered(x, regions, hidden, channels, torch.zeros_like(x)))[0, 1]
                mean[label] += (now.item() - before) / 24
                before = now.item()
        for label, value in mean.items():
            np.testing.assert_allclose(values[regions == label], value, atol=2e-6)
    assert found.details["exact"]
    assert {item.standard_error for item in found.regions} == {None}


class Together(nn.Module):
    """Gives one map that is the product of the sums of a few areas, and so needs all of them."""

    def __init__(self, areas: list[tuple[slice, slice]], extra: tuple[slice, slice]) -> None:
        super().__init__()
        self.areas, self.extra = areas, extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = torch.ones(len(x))
        for area in self.areas:
            product = product * x[:, 0][(slice(None), *area)].mean(dim=(1, 2))
        return (product + 2 * x[:, 0][(slice(None), *self.extra)].mean(dim=(1, 2))).view(
            -1, 1, 1, 1
        )


@pytest.fixture
def three_together(small_network):
    """s = product over three regions of their means + 2 * mean of a fourth; region 5 is ignored."""
    areas = [(slice(0, 4), slice(4 * k, 4 * k + 4)) for k in range(3)]
    network = small_network(Together(areas, (slice(8, 12), slice(0, 4))), 1, 1)
    with torch.no_grad():
        network.linear.weight.fill_(1.0)
        network.linear.bias.zero_()
    regions = torch.zeros(16, 16, dtype=torch.int64)
    for number, area in enumerate(
        [*areas, (slice(8, 12), slice(0, 4)), (slice(8, 12), slice(8, 12))]
    ):
        regions[area] = number + 1
    return network, torch.ones(1, 1, 16, 16), regions


def test_what_needs_each_other_shares_and_what_is_ignored_gets_nothing(three_together) -> None:
    network, x, regions = three_together
    alone = [item.value for item in occlusion(network, x, 0, regions=regions).regions]
    np.testing.assert_allclose(alone, [1, 1, 1, 2, 0], atol=1e-6)  # three times the same loss
    fair = shapley(network, x, 0, regions=regions)
    values = [item.value for item in fair.regions]
    np.testing.assert_allclose(values, [1 / 3, 1 / 3, 1 / 3, 2, 0], atol=1e-6)
    assert fair.gap < 1e-6
    assert fair.details["score_all_covered"] == pytest.approx(0)


class Either(nn.Module):
    """Gives one map that is the brightest of two areas, so that one of them suffices."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[:, 0, :4, :4].mean(dim=(1, 2)), x[:, 0, :4, 8:12].mean(dim=(1, 2))
        return torch.maximum(left, right).view(-1, 1, 1, 1)


def test_what_another_region_can_do_as_well_shows_in_shapley_values_alone(small_network) -> None:
    network = small_network(Either(), 1, 1)
    with torch.no_grad():
        network.linear.weight.fill_(1.0)
        network.linear.bias.zero_()
    regions = torch.zeros(16, 16, dtype=torch.int64)
    regions[:4, :4], regions[:4, 8:12] = 1, 2
    x = torch.ones(1, 1, 16, 16)
    assert [item.value for item in occlusion(network, x, 0, regions=regions).regions] == [0, 0]
    fair = [item.value for item in shapley(network, x, 0, regions=regions).regions]
    np.testing.assert_allclose(fair, [0.5, 0.5])


def test_sampled_values_come_near_the_exact_ones_and_add_up(three_together) -> None:
    network, x, regions = three_together
    found = [
        shapley(network, x, 0, regions=regions, exact=0, pairs=25, seed=seed) for seed in range(40)
    ]
    values = np.array([[item.value for item in run.regions] for run in found])
    told = np.array([[item.standard_error for item in run.regions] for run in found])
    np.testing.assert_allclose(values.sum(axis=1), 3, atol=1e-5)
    assert max(run.gap for run in found) < 1e-5
    spread = values.std(axis=0, ddof=1)
    # what joins no other has the same value in every order
    np.testing.assert_allclose(spread[3:], 0, atol=1e-6)
    np.testing.assert_allclose(told[:, 3:], 0, atol=1e-6)
    ratio = told[:, :3].mean(axis=0) / spread[:3]
    assert (np.abs(ratio - 1) < 0.35).all()  # 40 runs know a spread to 11 %
    off = np.abs(values[:, :3].mean(axis=0) - 1 / 3)
    assert (off < 3 * spread[:3] / 40**0.5).all()


def test_an_order_and_its_reverse_are_exact_where_regions_act_in_twos(small_network) -> None:
    areas = [(slice(0, 4), slice(0, 4)), (slice(0, 4), slice(8, 12))]
    network = small_network(Together(areas, (slice(8, 12), slice(0, 4))), 1, 1)
    regions = torch.zeros(16, 16, dtype=torch.int64)
    for number, area in enumerate([*areas, (slice(8, 12), slice(0, 4))]):
        regions[area] = number + 1
    x = torch.ones(1, 1, 16, 16)
    exact = shapley(network, x, 0, regions=regions)
    one = shapley(network, x, 0, regions=regions, exact=0, pairs=1)
    torch.testing.assert_close(one.joint, exact.joint, atol=1e-6, rtol=1e-5)
    assert one.standard_error is None  # one pair has no spread


def test_plans_have_the_weights_of_shapley() -> None:
    plan = all_combinations(3)
    for row, shown in zip(plan.weights.T, plan.shown, strict=True):
        # what all regions are worth together is shared: only the ends count in the sum
        expected = 1.0 if shown.all() else -1.0 if not shown.any() else 0.0
        assert row.sum().item() == pytest.approx(expected, abs=1e-12)
    (pair,) = random_orders(5, 1, 3)
    assert torch.equal(pair.shown.sum(dim=1), torch.arange(6).repeat(2))
    assert torch.equal(pair.shown[:6], ~pair.shown[6:].flip(0))


@pytest.mark.parametrize("method", [occlusion, shapley])
def test_local_background_is_the_median_round_a_region_and_of_no_other(case, method) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    regions = torch.zeros(16, 16, dtype=torch.int64)
    regions[4:8, 4:8], regions[4:8, 8:12] = 1, 2
    found = method(network, x, 1, regions=regions, baseline="local_background", margin=2)
    filling = torch.zeros_like(x)
    for label, columns in ((1, slice(2, 10)), (2, slice(6, 14))):
        near = torch.zeros(16, 16, dtype=torch.bool)
        near[2:10, columns] = True
        for c in range(2):
            filling[0, c][regions == label] = x[0, c][near & (regions == 0)].median()
    every = [network(covered(x, regions, hidden, [0, 1], filling))[0, 1].item() for hidden in ([], [1], [2], [1, 2])]  # fmt: skip
    whole, one, two, none = every
    losses = [whole - one, whole - two]
    fair = [(whole - one + two - none) / 2, (whole - two + one - none) / 2]
    expected = losses if method is occlusion else fair
    np.testing.assert_allclose([item.value for item in found.regions], expected, atol=2e-6)


def test_a_region_that_fills_the_image_and_the_background_have_their_own_median(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    median = x.flatten(2).median(dim=2).values[:, :, None, None].expand_as(x)
    loss = (network(x) - network(median))[0, 1].item()
    everything = torch.ones(16, 16, dtype=torch.int64)
    found = occlusion(network, x, 1, regions=everything, baseline="local_background")
    assert found.regions[0].value == pytest.approx(loss, abs=2e-6)


def test_regions_that_look_like_the_baseline_are_worth_exactly_nothing(case) -> None:
    network, x, regions = case("bottleneck").network, case("bottleneck").x.clone(), labels()
    x[:, :, regions == 7] = 0  # the training mean
    found = occlusion(network, x, 1, regions=regions)
    assert [item.value == 0 for item in found.regions] == [False, True, False, False]


def test_stopped_occlusion_has_the_regions_so_far(case) -> None:
    network, x, regions, events = case("bottleneck").network, case("bottleneck").x, labels(), []
    whole = occlusion(network, x, 1, regions=regions, batch=4)
    part = occlusion(
        network, x, 1, regions=regions, batch=4, on_event=events.append,
        cancelled=lambda: len(events) > 2,
    )  # fmt: skip
    assert part.partial
    assert [item.label for item in part.regions] == [3, 7]  # 8 of the images of 3 variants
    assert [item.value for item in part.regions] == [item.value for item in whole.regions][:2]
    assert not part.joint[regions == 8].any()


def test_stopped_shapley_values_are_those_of_the_pairs_so_far(case) -> None:
    network, x, regions, events = case("bottleneck").network, case("bottleneck").x, labels(), []
    options = {"regions": regions, "exact": 0, "batch": 10}
    part = shapley(
        network, x, 1, **options, pairs=6, on_event=events.append,
        cancelled=lambda: len(events) > 8,
    )  # fmt: skip
    fewer = shapley(network, x, 1, **options, pairs=part.details["pairs"])
    assert (part.partial, part.details["pairs"]) == (True, 2)  # 80 images, 30 a pair
    torch.testing.assert_close(part.joint, fewer.joint, atol=1e-6, rtol=1e-5)
    nothing = shapley(network, x, 1, regions=regions, cancelled=lambda: True)
    assert (nothing.partial, nothing.regions, nothing.gap) == (True, (), None)


def test_shapley_values_end_once_their_error_is_small_enough(case) -> None:
    network, x, regions = case("bottleneck").network, case("bottleneck").x, labels()
    options = {"regions": regions, "exact": 0, "batch": 10}
    every = {pairs: shapley(network, x, 1, **options, pairs=pairs) for pairs in range(1, 41)}
    errors = {pairs: found.details["relative_error"] for pairs, found in every.items()}
    assert errors.pop(1) is None  # one pair has no spread
    wanted = 1.01 * errors[20]
    first = min(p for p, error in errors.items() if p >= FEWEST_GROUPS and error <= wanted)
    found = shapley(network, x, 1, **options, pairs=40, stop_error=wanted)
    # 30 images a pair and 10 at once: it stops at the end of the pair
    assert found.details["pairs"] == first
    assert found.details["relative_error"] <= wanted
    assert not found.partial
    torch.testing.assert_close(found.joint, every[first].joint)
    assert found.gap < 1e-4
    out_of_reach = shapley(network, x, 1, **options, pairs=8, stop_error=1e-9)
    assert out_of_reach.details["pairs"] == 8
    assert torch.equal(out_of_reach.joint, every[8].joint)


def test_exact_values_have_no_error_to_stop_at(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    found = shapley(network, x, 1, regions=labels(), stop_error=0.5)
    assert found.details["exact"]
    assert "relative_error" not in found.details
    assert not found.partial


@pytest.mark.parametrize(
    "regions",
    [
        torch.zeros(16, 16, dtype=torch.int64),
        torch.ones(8, 16, dtype=torch.int64),
        torch.ones(16, 16),
    ],
)
@pytest.mark.parametrize("method", [occlusion, shapley])
def test_regions_that_do_not_fit_are_refused(case, method, regions) -> None:
    with pytest.raises(MismatchError, match="regions: found"):
        method(case("bottleneck").network, case("bottleneck").x, 1, regions=regions)


def test_labels_of_a_raw_image_get_values_with_errors_in_the_record(classifier, image) -> None:
    given = labels().numpy().astype(np.uint16)
    found = attribute(
        classifier, image, "region_shapley", "treated", regions=given, exact=0, pairs=4
    )
    assert [item.label for item in found.regions] == [3, 7, 8, 40]
    recorded = found.record.details["regions"]
    assert [entry["value"] for entry in recorded] == [item.value for item in found.regions]
    assert all(item.standard_error is not None for item in found.regions)
    assert np.array(found.record.details["values_by_channel"]).shape == (2, 4)
    assert found.record.details["score"] == found.score
    for item in found.regions:
        np.testing.assert_allclose(found.joint[given == item.label], item.value, rtol=1e-5)
    assert "The values of the map add up" in found.completeness
