"""Wavelet attribution is complete, and puts structures of a known size where they belong."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.attribution.wavelet import haar, spread_over_squares
from napari_why.core.errors import ParameterError

wavelet = METHODS["wavelet"].function
input_x_gradient = METHODS["input_x_gradient"].function


def matrix(size: int, levels: int) -> torch.Tensor:
    """Return the transform of images (size, size) as a matrix, a column for each pixel."""
    pixels = torch.eye(size * size, dtype=torch.float64).view(-1, size, size)
    scales = haar(pixels, levels)
    return torch.cat([scale.transpose(0, 1).flatten(1) for scale in scales], dim=1).T


def test_the_transform_is_orthogonal_and_made_of_haar_wavelets() -> None:
    transform = matrix(8, 3)
    torch.testing.assert_close(transform @ transform.T, torch.eye(64, dtype=torch.float64))
    # the first coefficient of the second level: left half of 4 x 4 pixels against the right half
    wave = transform[48].view(8, 8)
    expected = torch.zeros(8, 8, dtype=torch.float64)
    expected[:4, :2], expected[:4, 2:4] = 0.25, -0.25
    torch.testing.assert_close(wave, expected)


def test_evidence_is_coefficients_times_the_gradients_to_them(residual) -> None:
    network, x = residual.network, residual.x
    transform = matrix(16, 4).float()
    coefficients = (x.flatten(2) @ transform.T).requires_grad_()
    network((coefficients @ transform).view_as(x))[0, 1].backward()
    evidence = (coefficients * coefficients.grad)[0].detach()
    found = wavelet(network, x, 1)
    place = 0
    for entry in found.details["by_size"]:
        count = 3 * (16 // (2 * entry["size_px"])) ** 2
        part = evidence[:, place : place + count]
        assert entry["signed"] == pytest.approx(part.sum().item(), abs=1e-5)
        absolute = part.abs().sum().item() / evidence.abs().sum().item()
        assert entry["share_of_absolute"] == pytest.approx(absolute, rel=1e-3)
        place += count
    brightness = evidence[:, place:].sum().item()
    assert found.details["brightness"]["signed"] == pytest.approx(brightness, abs=1e-5)


@pytest.mark.parametrize("levels", [None, 1, 3])
def test_the_sum_is_that_of_input_x_gradient(shipped, levels) -> None:
    found = wavelet(shipped.network, shipped.x, 1, levels=levels)
    expected = input_x_gradient(shipped.network, shipped.x, 1)
    torch.testing.assert_close(
        found.maps.sum(dim=(1, 2)), expected.maps.sum(dim=(1, 2)), atol=2e-5, rtol=1e-4
    )
    signed = sum(entry["signed"] for entry in found.details["by_size"])
    signed += found.details["brightness"]["signed"]
    assert signed == pytest.approx(found.joint.sum().item(), abs=2e-5)


@pytest.mark.parametrize("size", [(15, 14), (5, 23), (1, 1)])
def test_sides_that_are_no_power_of_two_keep_the_sum_inside(small_network, size) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = small_network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ELU()), 4)
    x = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(2)) + 1
    found, expected = wavelet(network, x, 1), input_x_gradient(network, x, 1)
    assert found.maps.shape == x.shape[1:]
    torch.testing.assert_close(found.maps.sum(), expected.maps.sum(), atol=1e-6, rtol=1e-4)


class Weighted(nn.Module):
    """One map: the first channel times fixed weights."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :1] * self.weights).sum(dim=(2, 3), keepdim=True)


def linear(small_network, weights: torch.Tensor):
    network = small_network(Weighted(weights), 1)
    with torch.no_grad():
        network.linear.weight.fill_(1.0)
        network.linear.bias.zero_()
    return network


@pytest.mark.parametrize("pattern", ["board", "stripes"])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_pattern_of_one_size_is_evidence_of_that_size_alone(small_network, pattern, size) -> None:
    places = torch.arange(32) // size
    rows = places[:, None] if pattern == "board" else 0
    weights = 1.0 - 2.0 * ((rows + places[None]) % 2).expand(32, 32)
    x = torch.zeros(1, 2, 32, 32)
    x[0, 0] = 0.5 * weights + 3.0  # a bright image of weak texture: only the texture counts
    found = wavelet(linear(small_network, weights), x, 0)
    assert found.joint.sum().item() == pytest.approx(512, rel=1e-4)
    for entry in found.details["by_size"]:
        share = 1.0 if entry["size_px"] == size else 0.0
        assert entry["share_of_absolute"] == pytest.approx(share, abs=1e-4)
        assert entry["share_of_signed"] == pytest.approx(share, abs=1e-4)
    only = wavelet(linear(small_network, weights), x, 0, size=size)
    torch.testing.assert_close(only.joint, found.joint, atol=1e-5, rtol=1e-4)


def test_brightness_is_no_texture(small_network) -> None:
    x = torch.full((1, 2, 32, 32), 2.0)
    found = wavelet(linear(small_network, torch.ones(32, 32)), x, 0, levels=3)
    assert found.details["brightness"]["share_of_absolute"] == pytest.approx(1)
    assert found.details["brightness_px"] == 8
    torch.testing.assert_close(found.joint, torch.full((32, 32), 2.0))


def test_a_size_shows_what_is_counted_for_it(residual) -> None:
    network, x = residual.network, residual.x
    entries = wavelet(network, x, 1).details["by_size"]
    assert [entry["size_px"] for entry in entries] == [1, 2, 4, 8]
    for entry in entries:
        alone = wavelet(network, x, 1, size=entry["size_px"])
        assert alone.joint.sum().item() == pytest.approx(entry["signed"], abs=1e-5)
    shares = sum(entry["share_of_absolute"] for entry in entries)
    assert 0 < shares < 1  # the rest is brightness


def test_values_are_spread_over_the_pixels_inside() -> None:
    values = torch.tensor([[[4.0, 2.0], [6.0, 1.0]]])
    found = spread_over_squares(values, 2, torch.Size([3, 3]))
    expected = [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [3.0, 3.0, 1.0]]
    np.testing.assert_allclose(found[0], expected)


def test_an_image_without_evidence_has_no_shares(case) -> None:
    found = wavelet(case("cam_net").network, torch.zeros(1, 2, 32, 32), 1)
    assert {entry["share_of_absolute"] for entry in found.details["by_size"]} == {None}
    assert not found.maps.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"levels": 6}, "expected at most 5"), ({"size": 3}, "expected one of 1, 2, 4, 8, 16")],
)
def test_sizes_that_do_not_fit_are_refused(case, options, words) -> None:
    with pytest.raises(ParameterError, match=words):
        wavelet(case("cam_net").network, case("cam_net").x, 1, **options)
