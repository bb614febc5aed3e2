"""The information bottleneck equals its definition, and holds bits where the class needs them."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from napari_why.attribution import METHODS, References
from napari_why.attribution.class_activation_maps import spread_to_pixels
from napari_why.attribution.information_bottleneck import (
    LEAST_SPREAD,
    Bottleneck,
    continued_from,
    noise_like,
)
from napari_why.attribution.targets import Readout, TargetNetwork
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.networks import wrap

bottleneck = METHODS["information_bottleneck"].function


def noise(*shape: int, seed: int = 4) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def references() -> References:
    return References(noise(6, 2, 16, 16), torch.arange(6) % 3)


def test_bits_are_the_divergence_of_two_normal_distributions() -> None:
    maps, mean, spread = noise(2, 3, 4, 4), noise(1, 3, 1, 1, seed=5), torch.full((1, 3, 1, 1), 0.7)
    mask = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(6)) * 0.98
    passed = Normal(mask * maps + (1 - mask) * mean, (1 - mask) * spread)
    expected = kl_divergence(passed, Normal(mean, spread))
    found = Bottleneck(maps, mean, spread, 0.0).nats(mask)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0])
def test_the_mask_is_blurred_map_by_map_and_a_flat_one_stays(sigma: float) -> None:
    alpha = noise(2, 3, 5, 6)
    found = Bottleneck(alpha, alpha, alpha, sigma).mask(alpha)
    passed, radius = alpha.sigmoid().numpy(), max(1, round(2 * sigma))
    if sigma:
        places = np.arange(-radius, radius + 1)
        weights = np.exp(-0.5 * (places / sigma) ** 2)
        weights /= weights.sum()
        wide = np.pad(passed, ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode="edge")
        passed = sum(
            a * b * wide[:, :, i : i + 5, j : j + 6]
            for i, a in enumerate(weights)
            for j, b in enumerate(weights)
        )
    np.testing.assert_allclose(found, passed, atol=1e-6)
    flat = Bottleneck(alpha, alpha, alpha, sigma).mask(torch.full_like(alpha, 100.0))
    assert (flat < 1).all()  # else the bits are endless
    torch.testing.assert_close(flat, torch.ones_like(flat))


@pytest.mark.parametrize(("statistics", "over"), [("feature_map", (0, 2, 3)), ("neuron", (0,))])
def test_noise_has_mean_and_spread_of_the_references(case, references, statistics, over) -> None:
    network = case("bottleneck").network
    maps = network.encode(references.images).double().numpy()
    mean, spread = noise_like(network, references, "encoder", references.images[:1], statistics)
    np.testing.assert_allclose(mean, maps.mean(over, keepdims=True), atol=1e-6)
    least = LEAST_SPREAD * maps.std()
    np.testing.assert_allclose(spread, maps.std(over, keepdims=True).clip(least), rtol=1e-4)
    assert (spread >= least * 0.999).all()


def literal(network, x, target, references, *, beta, steps, samples, sigma, seed):
    """The method sample by sample, with the steps of Adam written out."""
    usual = network.encode(references.images)
    mean = usual.mean((0, 2, 3), keepdim=True)
    spread = usual.std((0, 2, 3), keepdim=True, correction=0)
    spread = spread.clamp(min=LEAST_SPREAD * usual.std(correction=0))
    variants = [x, *(x.clone().index_fill_(1, torch.tensor([c]), 0.0) for c in range(x.shape[1]))]
    bits = []
    for image in variants:
        generator = torch.Generator().manual_seed(seed)
        maps = network.encode(image).detach()
        alpha = torch.full_like(maps, 5.0)
        first, second = torch.zeros_like(maps), torch.zeros_like(maps)
        blurred = Bottleneck(maps, mean, spread, sigma)
        for step in range(1, steps + 1):
            alpha.requires_grad_()
            mask = blurred.mask(alpha)
            drawn = torch.randn(samples, *maps.shape[1:], generator=generator)
            loss = 0.0
            for sample in drawn:
                z = mask * maps + (1 - mask) * (mean + spread * sample)
                loss = loss + F.cross_entropy(network.head(z), torch.tensor([target])) / samples
            passed = Normal(mask * maps + (1 - mask) * mean, (1 - mask) * spread)
            loss = loss + beta * kl_divergence(passed, Normal(mean, spread)).mean()
            (slope,) = torch.autograd.grad(loss, alpha)
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            corrected = (first / (1 - 0.9**step), (second / (1 - 0.999**step)).sqrt())
            alpha = (alpha - corrected[0] / (corrected[1] + 1e-8)).detach()
        mask = blurred.mask(alpha)
        passed = Normal(mask * maps + (1 - mask) * mean, (1 - mask) * spread)
        bits.append(kl_divergence(passed, Normal(mean, spread)).sum(1)[0] / math.log(2))
    return spread_to_pixels(torch.stack(bits), x.shape[-2:])


def test_equals_the_method_written_out(residual, references) -> None:
    network, x = residual.network, residual.x
    found = bottleneck(network, x, 1, references=references, steps=4, samples=3, beta=2.0, seed=8)
    joint, *others = literal(
        network, x, 1, references, beta=2.0, steps=4, samples=3, sigma=1.0, seed=8
    )
    torch.testing.assert_close(found.joint, joint, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.maps, joint - torch.stack(others), atol=1e-5, rtol=1e-3)
    assert found.details["bits"] == pytest.approx(found.joint.sum().item(), rel=1e-4)
    assert (found.joint >= 0).all()


@pytest.fixture
def first_map_decides(small_network):
    """A network of two feature maps, the channels; the class hangs on the first alone."""
    network = small_network(nn.Identity(), 2)
    with torch.no_grad():
        network.linear.weight.copy_(torch.tensor([[0.0, 0.0], [40.0, 0.0], [0.0, 0.0]]))
        network.linear.bias.zero_()
    return network


def test_bits_are_where_the_class_is_and_not_where_the_image_is_strange(first_map_decides) -> None:
    x = 0.1 * noise(1, 2, 12, 12)
    x[0, 0, 1:4, 1:4] += 3  # what the class hangs on
    x[0, 1, 8:11, 8:11] += 3  # as strange, and irrelevant
    references = References(noise(8, 2, 12, 12), torch.zeros(8, dtype=torch.int64))
    found = bottleneck(first_map_decides, x, 1, references=references, steps=30, beta=1.0)
    assert found.joint[:5, :5].sum() > 0.8 * found.joint.sum()
    # and they are lost where the first channel is taken away, not where the second is
    assert found.maps[0][:5, :5].sum() > 10 * found.maps[1][:5, :5].sum().abs()


def test_a_higher_price_lets_fewer_bits_pass(residual, references) -> None:
    bits = [
        bottleneck(residual.network, residual.x, 1, references=references, beta=beta).details[
            "bits"
        ]
        for beta in (0.1, 10.0, 1000.0)
    ]
    assert bits[0] > 2 * bits[1]
    assert bits[1] > bits[2]


def test_the_contrast_of_two_classes_is_the_class_of_a_network_with_these_two(references) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU())
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    network = wrap(encoder, head, input_channels=2, classes=2)
    network.freeze()
    contrast = TargetNetwork(network, Readout(torch.tensor([1.0, -1.0]), embedded=False))
    x = noise(1, 2, 16, 16, seed=9)
    of_class = bottleneck(network, x, 0, references=references)
    of_contrast = bottleneck(contrast, x, 0, references=references)
    torch.testing.assert_close(of_contrast.joint, of_class.joint, atol=1e-6, rtol=1e-4)


def test_from_an_earlier_layer_the_rest_of_the_network_goes_on(case) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    names = list(network.layer_names)
    images = torch.cat([x, 0 * x])
    for name in names:
        maps = network.feature_maps(images)[name]
        changed = torch.cat([0.5 * maps[:1], maps[1:] + 1]).repeat_interleave(2, dim=0)
        expected = changed
        for layer in list(network.chain)[names.index(name) + 1 :]:
            expected = layer(expected)
        with continued_from(network, name, images) as outputs:
            torch.testing.assert_close(outputs(changed), network.classifier(expected))
            torch.testing.assert_close(outputs(maps), network(images))


class Twice(nn.Module):
    """Runs one convolution two times, and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(x)) + 1


def test_a_layer_that_nothing_can_be_put_in_place_of_is_refused(references) -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    network = wrap(Twice(), head, input_channels=2, classes=3, layers=["conv"])
    network.freeze()
    with pytest.raises(UnsupportedNetworkError, match=r"runs once.*take layer='last'"):
        bottleneck(network, noise(1, 2, 16, 16), 0, references=references, layer="conv")
    last = bottleneck(network, noise(1, 2, 16, 16), 0, references=references, layer="last")
    assert last.details["layer"] == "encoder"
    assert last.joint.any()


def test_trainable_parameters_get_no_gradient(residual, references) -> None:
    network = residual.network
    network.requires_grad_(True)
    try:
        bottleneck(network, residual.x, 1, references=references, steps=2)
        assert all(parameter.grad is None for parameter in network.parameters())
    finally:
        network.requires_grad_(False)


def test_stopped_work_is_the_mask_so_far(residual, references) -> None:
    network, x, events = residual.network, residual.x, []
    part = bottleneck(
        network, x, 1, references=references, on_event=events.append,
        cancelled=lambda: len(events) > 3,
    )  # fmt: skip
    whole = bottleneck(network, x, 1, references=references, steps=3)
    assert (part.partial, whole.partial, part.details["steps_done"]) == (True, False, 3)
    assert torch.equal(part.joint, whole.joint)


@pytest.mark.parametrize("where", ["image", "references"])
def test_what_is_not_finite_is_refused(residual, references, where: str) -> None:
    x = residual.x.clone()
    (x if where == "image" else references.images)[0, 0, 3, 3] = float("nan")
    with pytest.raises(MismatchError, match="not finite"):
        bottleneck(residual.network, x, 1, references=references)


def test_one_reference_has_no_spread(residual) -> None:
    with pytest.raises(ParameterError, match=r"found 1 images; expected at least 2"):
        bottleneck(
            residual.network, residual.x, 1, references=References(residual.x, torch.zeros(1))
        )
