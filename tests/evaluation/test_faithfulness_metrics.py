"""Faithfulness on linear networks, whose true map is known: values by hand and by slow loops."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.attribution import Evidence
from napari_why.attribution.registry import References, RegionValue
from napari_why.core.errors import ParameterError
from napari_why.core.events import Advanced, Started
from napari_why.evaluation import METRICS
from napari_why.evaluation.mask_size_curve import MASK_SIZES
from napari_why.evaluation.pixel_removal import removal_ranks
from napari_why.evaluation.remove_and_retrain import retrain_anew
from napari_why.evaluation.road import impute
from napari_why.networks import build_network

CURVES = ("pixel_flipping", "pixel_flipping_least_relevant", "deletion", "insertion")


def with_map(case, joint: Tensor):
    return replace(case, evidence=Evidence(joint[None], joint, "logit per pixel"))


def random_map(case, seed: int = 3):
    return with_map(
        case, torch.randn(case.joint.shape, generator=torch.Generator().manual_seed(seed))
    )


def literal_curve(case, order, start: Tensor, end: Tensor) -> list[Tensor]:
    """Logits while pixels of ``start`` become those of ``end``, one after another."""
    image = start.clone()
    logits = [case.network(image)[0]]
    for row, column in order:
        image[:, :, row, column] = end[:, :, row, column]
        logits.append(case.network(image)[0])
    return logits


def trapezium(values: list[float]) -> float:
    return sum((a + b) / 2 for a, b in pairwise(values)) / (len(values) - 1)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_curves_are_those_of_a_loop_over_pixels(linear_case, channels: int) -> None:
    case = linear_case(channels)
    pixels = [(row, column) for row in range(6) for column in range(8)]
    order = sorted(pixels, key=lambda place: -case.joint[place])
    grey = torch.zeros_like(case.x)
    with torch.no_grad():
        falling = literal_curve(case, order, case.x, grey)
        last_first = literal_curve(case, order[::-1], case.x, grey)
        rising = literal_curve(case, order, grey, case.x)
    score = falling[0][1].item()
    expected = {
        "pixel_flipping": trapezium([score - logits[1].item() for logits in falling]),
        "pixel_flipping_least_relevant": trapezium(
            [score - logits[1].item() for logits in last_first]
        ),
        "deletion": trapezium([logits.softmax(0)[1].item() for logits in falling]),
        "insertion": trapezium([logits.softmax(0)[1].item() for logits in rising]),
    }
    for name, value in expected.items():
        measured = METRICS[name].measure(case, removal="mean", side=1, steps=48)
        assert measured.value == pytest.approx(value, abs=1e-5)
    # of a linear network the fall is the running sum of the map's own values
    drops = np.cumsum([0.0, *(case.joint[place] for place in order)])
    assert expected["pixel_flipping"] == pytest.approx(trapezium(list(drops)), abs=1e-5)


@pytest.mark.parametrize("name", CURVES)
def test_no_map_of_a_linear_network_beats_the_true_one(linear_case, name: str) -> None:
    case = linear_case()
    metric = METRICS[name]
    if name in ("deletion", "insertion"):  # two classes: no third one that takes the probability
        case.network.weights.data[2] = case.network.weights[0]
        case.network.weights.data[0] = -case.network.weights[1]
        case.network.weights.data[2] = -case.network.weights[1]
    sign = 1 if metric.better == "higher" else -1
    best = metric.measure(case, removal="mean").value
    others = [metric.measure(random_map(case, seed), removal="mean").value for seed in range(20)]
    assert all(sign * best > sign * other for other in others)
    turned = metric.measure(with_map(case, -case.evidence.joint), removal="mean").value
    assert all(sign * turned < sign * other for other in others)


def test_squares_go_together_and_ties_in_random_order(linear_case) -> None:
    values = np.zeros((4, 6))
    values[2:, :2] = 1  # the lower left square alone
    ranks = removal_ranks(values, 2, np.random.default_rng(0))
    assert (ranks[2:, :2] == 0).all()
    assert sorted(np.unique(ranks)) == list(range(6))
    assert all(len(np.unique(ranks[y : y + 2, x : x + 2])) == 1 for y in (0, 2) for x in (0, 2, 4))
    first = [removal_ranks(0 * values, 2, np.random.default_rng(seed))[0, 0] for seed in range(200)]
    # uniform over 6 places: mean 2.5, whose standard error is 0.12
    assert abs(np.mean(first) - 2.5) < 0.5
    cut = removal_ranks(np.arange(15.0).reshape(3, 5), 2, np.random.default_rng(0))
    assert (cut[:2, 4] == cut[0, 4]).all()  # what is left over at the border is a square of its own
    assert cut.max() == 5


def test_random_orders_give_chance_and_its_spread(linear_case) -> None:
    case = linear_case()
    measured = METRICS["pixel_flipping"].measure(case, random_orders=400, steps=48)
    # a random order takes, on average, half of everything away
    half = case.joint.sum() / 2
    error = measured.details["random_spread"] / 20
    assert abs(measured.chance - half) < 4 * error
    assert len(measured.details["random"]) == 400


def test_deletion_against_random_tells_the_true_map_from_a_wrong_one(linear_case) -> None:
    metric = METRICS["deletion_against_random"]
    case = linear_case()
    assert metric.measure(case).value == 1
    assert metric.measure(with_map(case, -case.evidence.joint)).value == 0
    shares = [
        metric.measure(replace(random_map(case, seed), seed=seed)).value for seed in range(60)
    ]
    assert abs(np.mean(shares) - 0.5) < 4 * np.std(shares) / np.sqrt(60)
    flat = metric.measure(replace(case, x=0 * case.x))  # nothing to take away: draws throughout
    assert flat.value == 0.5


def test_the_same_seed_gives_the_same(linear_case) -> None:
    for name in ("deletion_against_random", "infidelity", "sensitivity_n", "road_most_relevant"):
        case = random_map(linear_case())
        one, again = (METRICS[name].measure(case) for _ in range(2))
        assert one == again
        other = METRICS[name].measure(replace(case, seed=1))
        assert other.details != one.details


@pytest.mark.parametrize("removal", ["mean", "blur", "local"])
def test_a_baseline_is_what_stands_there_afterwards(linear_case, removal: str) -> None:
    case = replace(linear_case(), x=torch.full((1, 2, 6, 8), 1.5))
    measured = METRICS["pixel_flipping"].measure(case, removal=removal)
    if removal == "mean":
        assert measured.value != 0
    else:  # a constant image is its own blur and its own background
        assert measured.value == pytest.approx(0, abs=1e-5)


def test_imputation_solves_the_equations_of_its_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 5, 6, generator=generator)
    missing = np.zeros((5, 6), dtype=bool)
    missing[0, 0] = missing[1:4, 2:5] = missing[4, 5] = True
    filled = impute(x, missing, torch.zeros_like(x))
    known = torch.from_numpy(~missing)
    assert torch.equal(filled[..., known], x[..., known])
    for row, column in np.argwhere(missing):
        total, weights = torch.zeros(3), 0.0
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                there = 0 <= row + down < 5 and 0 <= column + across < 6
                if there and (down or across):
                    weight = 1 / 12 if down and across else 1 / 6
                    total += weight * filled[0, :, row + down, column + across]
                    weights += weight
        torch.testing.assert_close(filled[0, :, row, column], total / weights)


def test_imputation_continues_a_gradient_and_adds_noise_where_it_fills() -> None:
    ramp = torch.arange(63.0).reshape(1, 1, 7, 9)
    missing = np.zeros((7, 9), dtype=bool)
    missing[2:5, 3:6] = True
    torch.testing.assert_close(impute(ramp, missing, torch.zeros_like(ramp)), ramp)
    noisy = impute(ramp, missing, torch.ones_like(ramp))
    torch.testing.assert_close(noisy - ramp, torch.from_numpy(missing)[None, None].float())
    everything = impute(ramp, np.ones((7, 9), dtype=bool), torch.zeros_like(ramp))
    assert not everything.any()


def test_road_tells_the_true_map_from_its_reverse(linear_case) -> None:
    case = linear_case(3, (16, 16))
    case.network.weights.data.mul_(0.1)
    reverse = with_map(case, -case.evidence.joint)
    for name, sign in (("road_most_relevant", -1), ("road_least_relevant", 1)):
        true, wrong, random = (
            METRICS[name].measure(one).value for one in (case, reverse, random_map(case))
        )
        assert sign * true > sign * random > sign * wrong
        assert METRICS[name].better == ("higher" if sign > 0 else "lower")


def test_infidelity_is_0_for_the_truth_and_1_for_an_empty_map(linear_case) -> None:
    metric, case = METRICS["infidelity"], linear_case()
    assert metric.measure(case).value == pytest.approx(0, abs=1e-9)
    assert metric.measure(with_map(case, 0 * case.evidence.joint)).value == 1
    assert metric.measure(with_map(case, -case.evidence.joint)).value == 1  # not scaled by -1
    double = with_map(case, 2 * case.evidence.joint)
    assert metric.measure(double).value == pytest.approx(0, abs=1e-9)
    # unscaled, twice the truth is off by as much as there is
    unscaled = metric.measure(double, scaled=False)
    assert unscaled.value == pytest.approx(1)
    assert 0.3 < metric.measure(random_map(case)).value <= 1
    found = [metric.measure(random_map(case, seed)) for seed in range(60)]
    values, chances = ([getattr(one, name) for one in found] for name in ("value", "chance"))
    assert abs(np.mean(values) - np.mean(chances)) < 4 * np.std(values) / np.sqrt(60)


def test_infidelity_of_a_map_that_is_the_same_everywhere_is_its_chance(linear_case) -> None:
    case = linear_case(1)
    case.network.weights.data[1] = (
        1 / case.x[0] * (1 + 0.1 * torch.arange(48).reshape(1, 6, 8) / 48)
    )
    measured = METRICS["infidelity"].measure(with_map(case, torch.ones(6, 8)))
    # every pixel loses 1 to 1.1: to say 1 everywhere is nearly right, and says nothing of places
    assert measured.value == measured.chance < 0.01


def test_a_map_of_slopes_counts_times_the_distance_that_is_taken_away(linear_case) -> None:
    case = linear_case()
    slopes = case.network.weights[1].detach()
    saliency = Evidence(slopes, slopes.abs().amax(dim=0), "logit per standard deviation")
    case = replace(case, evidence=saliency)
    for removal in ("mean", "blur"):
        assert METRICS["infidelity"].measure(case, removal=removal).value == pytest.approx(
            0, abs=1e-9
        )
        measured = METRICS["sensitivity_n"].measure(case, removal=removal)
        assert measured.value == pytest.approx(1, abs=1e-6)


def test_sensitivity_n_is_1_for_the_truth_and_0_by_chance(linear_case) -> None:
    metric, case = METRICS["sensitivity_n"], linear_case()
    assert metric.measure(case).value == pytest.approx(1, abs=1e-6)
    assert metric.measure(with_map(case, -case.evidence.joint)).value == pytest.approx(-1, abs=1e-6)
    found = [metric.measure(random_map(case, seed)).value for seed in range(40)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(40)
    empty = metric.measure(with_map(case, 0 * case.evidence.joint))
    assert (empty.value, empty.note) == (0, "the map's sums do not differ")


def test_single_deletion_orders_regions_as_the_network_does(linear_case) -> None:
    labels = torch.zeros(6, 8, dtype=torch.int64)
    labels[:2, :2], labels[:2, 4:6], labels[4:, :3], labels[4:, 5:] = 3, 7, 1, 4
    case = linear_case(regions=labels)
    metric = METRICS["single_deletion"]
    measured = metric.measure(case, removal="mean")
    assert measured.value == pytest.approx(1)
    for number, lost in zip(measured.details["regions"], measured.details["lost"], strict=True):
        assert lost == pytest.approx(case.joint[labels == number].sum(), abs=1e-5)
    wrong = with_map(case, -case.evidence.joint)
    assert metric.measure(wrong, removal="mean").value == pytest.approx(-1)
    # the method's own values of regions come before sums of its map
    own = tuple(
        RegionValue(number, lost)
        for number, lost in zip(measured.details["regions"], measured.details["lost"], strict=True)
    )
    told = replace(wrong, evidence=replace(wrong.evidence, regions=own))
    assert metric.measure(told, removal="mean").value == pytest.approx(1)
    assert np.isnan(metric.measure(replace(case, regions=(labels > 3).long())).value)


def test_single_deletion_fills_a_region_with_the_background_round_it(linear_case) -> None:
    labels = torch.zeros(12, 12, dtype=torch.int64)
    labels[2:4, 2:4], labels[2:4, 8:10], labels[8:10, 2:4] = 1, 2, 3
    x = torch.full((1, 2, 12, 12), 0.5)
    x[:, :, labels > 0] = 2.0
    case = replace(linear_case(2, (12, 12), regions=labels), x=x)
    weights = case.network.weights[1].detach()
    measured = METRICS["single_deletion"].measure(case, margin=1)
    expected = [1.5 * weights[:, labels == number].sum().item() for number in (1, 2, 3)]
    assert measured.details["lost"] == pytest.approx(expected, abs=1e-4)


def test_mask_size_curve_pastes_the_counterfactual_pixel_by_pixel(linear_case) -> None:
    case = linear_case(1, (20, 20))
    case.network.weights.data.mul_(0.05)
    case.network.weights.data[0] = -case.network.weights[1]
    case.network.weights.data[2] = -case.network.weights[1]
    # where the class is made less: pixels that lose most first
    other = case.x - case.network.weights[1].sign() * torch.rand(
        20, 20, generator=torch.Generator()
    )
    change = (case.network.weights[1].detach() * (case.x - other))[0]
    case = replace(with_map(case, change.sum(dim=0)), counterfactual=other)
    measured = METRICS["mask_size_curve"].measure(case)
    order = np.argsort(-case.joint.ravel())
    gains = []
    for size in MASK_SIZES:
        image = case.x.clone().flatten(2)
        image[..., order[: round(size * 400)]] = other.flatten(2)[..., order[: round(size * 400)]]
        with torch.no_grad():
            gains.append(case.network(image.reshape(case.x.shape)).softmax(1)[0, 1].item())
    expected = np.trapezoid([gains[0] - gain for gain in gains], MASK_SIZES)
    assert measured.value == pytest.approx(expected, abs=1e-6)
    assert measured.value > METRICS["mask_size_curve"].measure(random_map(case)).value
    # from the other side the class is gained, and the same map explains what speaks against it
    back = replace(with_map(case, -change.sum(dim=0)), x=other, counterfactual=case.x)
    assert METRICS["mask_size_curve"].measure(back).value > 0


def by_class_means(references: References, seed: int):
    """A classifier in closed form: the nearest of the classes' mean images."""
    del seed
    means = torch.stack([references.images[references.labels == label].mean(0) for label in (0, 1)])
    return lambda images: -(images[:, None] - means).square().flatten(2).sum(dim=2)


def test_remove_and_retrain_loses_what_told_the_classes_apart(linear_case) -> None:
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(120) % 2
    images = 0.3 * torch.randn(120, 2, 6, 8, generator=generator)
    images[labels == 1, 0, 1:4, 2:6] += 3.0
    told = torch.zeros(6, 8)
    told[1:4, 2:6] = 1.0

    def explain(_network, _x, _target):
        return Evidence(told[None], told, "logit")

    case = linear_case(references=References(images, labels), explain=explain)
    metric = METRICS["remove_and_retrain"]
    right = metric.function(case, retrain=by_class_means)
    assert right.details["accuracy"][0] == 1  # 10 % of the pixels are not yet all of the place
    # then nothing tells the classes apart: 40 held-out images, within four standard errors of 1/2
    assert all(abs(share - 0.5) < 4 * 0.5 / np.sqrt(40) for share in right.details["accuracy"][1:])
    assert right.chance > 0.85
    assert right.details["random"][2] == 1
    wrong = replace(case, explain=lambda *_: Evidence(-told[None], -told, "logit"))
    assert metric.function(wrong, retrain=by_class_means).value > right.chance


def test_images_of_no_class_are_not_retrained_on(linear_case) -> None:
    asked: list[int] = []

    def explain(_network, x, target):
        asked.append(target)
        return Evidence(x[0], x[0].sum(dim=0), "logit")

    labels = torch.tensor([0, -1, 1, 0, -1, 1])
    images = torch.randn(6, 2, 6, 8, generator=torch.Generator().manual_seed(4))
    case = linear_case(references=References(images, labels), explain=explain)
    METRICS["remove_and_retrain"].function(case, retrain=by_class_means)
    assert asked == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["cam_net", "iresnet"])
def test_retraining_starts_anew_and_leaves_the_network_alone(name: str) -> None:
    options = {"blocks": "1", "widths": "8", "downscaling": "2"} if name == "iresnet" else {}
    network = build_network(name, input_channels=1, classes=2, size=32, **options)
    network.freeze()
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    references = References(images, torch.tensor([0, 1, 0, 1]))
    logits = [retrain_anew(network, 1)(references, seed)(images).detach() for seed in (0, 0, 1)]
    assert logits[0].shape == (4, 2)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
    assert not torch.equal(logits[0], network(images))
    assert all(torch.equal(state[key], tensor) for key, tensor in network.state_dict().items())


def test_remove_and_retrain_needs_two_images_of_a_class(linear_case) -> None:
    references = References(torch.zeros(3, 2, 6, 8), torch.tensor([0, 0, 1]))
    with pytest.raises(ParameterError, match="1 image of class 1"):
        METRICS["remove_and_retrain"].measure(linear_case(references=references))


@pytest.mark.parametrize(
    "name",
    [name for name, metric in METRICS.items() if not metric.needs and name != "single_deletion"],
)
def test_work_is_reported_and_stops(linear_case, name: str) -> None:
    events: list[object] = []
    measured = METRICS[name].measure(linear_case(), on_event=events.append)
    started = next(event for event in events if isinstance(event, Started))
    assert [event for event in events if isinstance(event, Advanced)][-1].done == started.total
    assert not measured.partial
    stopped = METRICS[name].measure(linear_case(), cancelled=lambda: True)
    assert stopped.partial
    assert np.isnan(stopped.value)
    assert "stopped" in stopped.note
