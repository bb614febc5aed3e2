"""Sampled gradients are means of their samples, and say how far another seed would be off."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch import Tensor, nn

from napari_why.attribution import (
    METHODS,
    Contrast,
    EmbeddingCoordinate,
    References,
    attribute,
    sampled_gradients,
)
from napari_why.attribution.sampled_gradients import (
    FEWEST_GROUPS,
    GROUP,
    SampleMean,
    draw_places,
    relative_error,
)
from napari_why.core.errors import MismatchError

smoothgrad = METHODS["smoothgrad"].function
expected_gradients = METHODS["expected_gradients"].function


def draw_positions(images: Tensor, samples: int, seed: int) -> list[tuple[Tensor, float]]:
    """Return the baselines themselves with the positions on the ways from them."""
    places = draw_places(len(images), samples, seed)
    return [(images[index : index + 1], position) for index, position in places]


def test_smoothgrad_is_the_mean_gradient_of_its_noisy_images(case) -> None:
    network, x = case("iresnet").network, case("iresnet").x.clone()
    x[:, 1] = 3 * x[:, 1]
    generator = torch.Generator().manual_seed(7)
    spread = torch.stack([x[0, 0].std(correction=0), x[0, 1].std(correction=0)])
    maps = []
    for _ in range(5):
        noisy = x + 0.4 * spread.view(1, 2, 1, 1) * torch.randn(x.shape, generator=generator)
        maps.append(Saliency(network).attribute(noisy.requires_grad_(), target=1, abs=False)[0])
    found = smoothgrad(network, x, 1, samples=5, noise=0.4, seed=7)
    joint = torch.stack(maps).sum(dim=1)
    torch.testing.assert_close(found.maps, torch.stack(maps).mean(dim=0), atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(
        found.standard_error, joint.std(dim=0) / 5**0.5, atol=1e-7, rtol=1e-3
    )


def test_a_channel_without_contrast_gets_no_noise(small_network) -> None:
    class Squares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square()

    network = small_network(Squares(), 2)
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 2.0
    found = smoothgrad(network, x, 0, samples=4).maps
    gradient = METHODS["saliency"].function(network, x, 0).maps
    torch.testing.assert_close(found[1], gradient[1])
    assert not torch.allclose(found[0], gradient[0])


def references_of(x: Tensor, count: int = 5, classes: int = 3) -> References:
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(count * classes, *x.shape[1:], generator=generator)
    return References(images, torch.arange(len(images)) % classes)


@pytest.fixture
def tiny(small_network):
    """A network that bends, and an image of few pixels: many samples in little time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = small_network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ELU()), 4)
        return network, torch.randn(1, 2, 6, 6)


@pytest.mark.parametrize("name", ["smoothgrad", "expected_gradients"])
def test_the_standard_error_is_the_spread_over_seeds(tiny, name: str) -> None:
    """From 16 seeds and 36 pixels that spread itself is known to some 6 %."""
    network, x = tiny
    options = {"samples": 8, "noise": 1.0}
    if name == "expected_gradients":
        options = {"samples": 5 * GROUP, "references": references_of(x)}
    found = [METHODS[name].function(network, x, 1, seed=seed, **options) for seed in range(16)]
    spread = torch.stack([one.joint for one in found]).var(dim=0).mean()
    told = torch.stack([one.standard_error.square() for one in found]).mean()
    assert 0.75 < (told / spread).item() < 1.33


def test_expected_gradients_are_integrated_gradients_of_all_baselines_in_the_mean(tiny) -> None:
    network, x = tiny
    references = references_of(x)
    others = references.images[references.labels != 1]
    exact = torch.stack(
        [
            METHODS["integrated_gradients"].function(
                network, x, 1, baseline="zero", raw_zero=baseline[None]
            ).joint
            for baseline in others
        ]
    ).mean(dim=0)  # fmt: skip
    found = expected_gradients(network, x, 1, samples=40 * GROUP, references=references)
    off = (found.joint - exact) / found.standard_error
    assert 0.6 < off.square().mean().sqrt().item() < 1.4
    # and the sum of all is known far better than by a single position
    assert found.gap < 0.05


def test_the_gap_compares_with_the_baselines_that_were_drawn(case) -> None:
    network, x = case("iresnet").network, case("iresnet").x
    references = references_of(x)
    found = expected_gradients(network, x, 1, samples=11, seed=4, references=references)
    others = references.images[references.labels != 1]
    drawn = list(draw_positions(others, 11, 4))
    assert len(drawn) == 11
    mean = torch.cat([network(baseline)[:, 1] for baseline, _ in drawn]).mean().item()
    assert found.constants == pytest.approx(mean, rel=1e-5)
    difference = network(x)[0, 1].item() - mean
    missing = abs(found.maps.double().sum().item() - difference)
    assert found.gap == pytest.approx(missing / abs(difference), rel=1e-3)
    by_hand = torch.zeros_like(x)
    for baseline, position in drawn:
        point = (baseline + position * (x - baseline)).requires_grad_()
        (gradient,) = torch.autograd.grad(network(point)[0, 1], point)
        by_hand += (x - baseline) * gradient / 11
    torch.testing.assert_close(found.maps, by_hand[0], atol=1e-6, rtol=1e-4)


def test_positions_are_one_in_each_part_of_the_way_and_baselines_differ() -> None:
    images = torch.arange(20.0).view(20, 1, 1, 1)
    drawn = list(draw_positions(images, 3 * GROUP, 0))
    for group in range(3):
        part = drawn[group * GROUP : (group + 1) * GROUP]
        assert sorted(int(position * GROUP) for _, position in part) == list(range(GROUP))
        assert len({baseline.item() for baseline, _ in part}) == GROUP
    assert len(list(draw_positions(images[:2], GROUP, 0))) == GROUP  # fewer images than positions
    assert [p for _, p in draw_positions(images, 4, 1)] != [p for _, p in drawn[:4]]


def test_baselines_are_of_the_other_classes_or_of_all(case) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    references = references_of(x)
    references.images[references.labels == 1] = torch.nan  # not to be touched
    found = expected_gradients(network, x, 1, references=references)
    assert torch.isfinite(found.maps).all()
    every = expected_gradients(network, x, 1, references=references, drawn_from="all")
    assert not torch.isfinite(every.maps).all()


def test_a_contrast_is_compared_with_images_of_the_class_it_is_held_against(
    classifier, image
) -> None:
    x = classifier.prepare(image)
    given = references_of(x)
    given.images[given.labels == 2] = torch.nan  # healthy: neither
    contrast = Contrast("treated", "diseased")
    found = attribute(classifier, image, "expected_gradients", contrast, references=given)
    assert np.isfinite(found.maps).all()
    drawn = torch.cat([one for one, _ in draw_positions(given.images[given.labels == 0], 64, 0)])
    logits = classifier.logits(drawn)
    assert found.constants == pytest.approx((logits[:, 1] - logits[:, 0]).mean().item(), rel=1e-4)
    # of what is no class, any image is another
    with pytest.raises(MismatchError, match="values of the map that are not finite"):
        attribute(classifier, image, "expected_gradients", EmbeddingCoordinate(0), references=given)


def test_references_that_do_not_serve_are_refused(case) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    alike = References(torch.zeros(3, *x.shape[1:]), torch.ones(3, dtype=torch.int64))
    with pytest.raises(MismatchError, match="drawn_from='all'"):
        expected_gradients(network, x, 1, references=alike)
    assert expected_gradients(network, x, 0, references=alike).maps.any()
    smaller = References(torch.zeros(3, 2, 8, 8), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(MismatchError, match=r"expected images of \(2, 16, 16\)"):
        expected_gradients(network, x, 1, references=smaller)


@pytest.mark.parametrize("method", [smoothgrad, expected_gradients])
def test_cancelled_means_are_those_of_the_samples_so_far(case, method) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    given = {"references": references_of(x)} if method is expected_gradients else {}
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(1)
        return len(calls) > 20

    part = method(network, x, 1, seed=3, samples=64, cancelled=cancelled, **given)
    assert part.partial
    assert part.details["samples_done"] == 20
    torch.testing.assert_close(part.maps, method(network, x, 1, seed=3, samples=20, **given).maps)
    none = method(network, x, 1, cancelled=lambda: True, **given)
    assert not none.maps.any()
    assert none.standard_error is None


def test_groups_of_dependent_samples_count_as_one() -> None:
    mean = SampleMean(torch.zeros(2, 1, 1), group=2)
    for value in (1.0, 3.0, 5.0, 7.0, 9.0):
        mean.add(torch.full((2, 1, 1), value))
    assert mean.maps.flatten().tolist() == [5.0, 5.0]
    # the groups' joint means are 4 and 12, the fifth sample is of no whole group
    assert mean.standard_error.item() == pytest.approx(4.0)


def test_work_ends_once_the_error_is_small_enough(tiny) -> None:
    """No group more than is needed, and the map is that of so many samples."""
    network, x = tiny
    given = references_of(x)
    options = {"references": given, "seed": 3}
    every = {
        count: expected_gradients(network, x, 1, samples=count, **options)
        for count in range(GROUP, 24 * GROUP + 1, GROUP)
    }
    errors = {count: found.details["relative_error"] for count, found in every.items()}
    wanted = 1.01 * errors[12 * GROUP]
    first = min(
        count
        for count, error in errors.items()
        if count >= FEWEST_GROUPS * GROUP and error <= wanted
    )
    stopped = expected_gradients(network, x, 1, samples=24 * GROUP, stop_error=wanted, **options)
    assert stopped.details["samples_done"] == first
    assert not stopped.partial
    assert stopped.details["relative_error"] == errors[first] <= wanted
    assert torch.equal(stopped.maps, every[first].maps)
    again = expected_gradients(network, x, 1, samples=24 * GROUP, stop_error=wanted, **options)
    assert torch.equal(stopped.maps, again.maps)


def test_an_error_out_of_reach_takes_all_samples(tiny) -> None:
    network, x = tiny
    options = {"references": references_of(x), "samples": 6 * GROUP}
    all_of_them = expected_gradients(network, x, 1, **options)
    for stop_error in (0.0, 1e-9):
        found = expected_gradients(network, x, 1, stop_error=stop_error, **options)
        assert found.details["samples_done"] == 6 * GROUP
        assert torch.equal(found.maps, all_of_them.maps)
        assert not found.partial


def test_the_relative_error_is_that_of_root_mean_squares() -> None:
    values, error = torch.tensor([[3.0, -4.0]]), torch.tensor([[0.6, 0.8]])
    assert relative_error(values, error) == pytest.approx(0.2)
    assert relative_error(values, None) is None
    assert relative_error(0 * values, error) is None  # of nothing there is no share


def test_a_baseline_that_is_drawn_again_is_asked_for_once(tiny, monkeypatch) -> None:
    network, x = tiny
    asked = []
    score = sampled_gradients.input_score
    monkeypatch.setattr(
        sampled_gradients, "input_score", lambda *given: asked.append(1) or score(*given)
    )
    given = references_of(x, count=3)
    found = expected_gradients(network, x, 1, samples=40, references=given)
    assert len(asked) == 6 + 1  # of two other classes, and the image itself
    drawn = draw_positions(given.images[given.labels != 1], 40, 0)
    mean = network(torch.cat([one for one, _ in drawn]))[:, 1].mean().item()
    assert found.constants == pytest.approx(mean, abs=1e-6)
