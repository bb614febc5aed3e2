"""The mean over shifts: its formula written out, its sums, and the grid that it takes away."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from napari_why.attribution import WRAPPERS, Evidence
from napari_why.attribution.registry import RegionValue
from napari_why.attribution.shift_averaged import grid_power, weighted_shifts
from napari_why.core.errors import ParameterError
from napari_why.networks.modules import ActNorm
from napari_why.networks.registry import build_network

shift_averaged = WRAPPERS["shift_averaged"].function


def mirror(index: int, length: int) -> int:
    """Return the pixel that is seen at a place, by going back and forth."""
    while not 0 <= index < length:
        index = -1 - index if index < 0 else 2 * length - 1 - index
    return index


def literal_mean(x, explain, reach: int):
    """Return the mean over shifts pixel by pixel, and that of the sums of the maps."""
    _, channels, height, width = x.shape
    total, sums = np.zeros((channels, height, width)), 0.0
    for down, right in product(range(-reach, reach + 1), repeat=2):
        weight = (reach + 1 - abs(down)) * (reach + 1 - abs(right)) / (reach + 1) ** 4
        shifted = torch.zeros_like(x)
        for row, column in product(range(height), range(width)):
            shifted[..., row, column] = x[
                ..., mirror(row - down, height), mirror(column - right, width)
            ]
        maps = explain(shifted).maps
        sums += weight * maps.sum().item()
        for row, column in product(range(height), range(width)):
            back = mirror(row - down, height), mirror(column - right, width)
            total[:, back[0], back[1]] += weight * maps[:, row, column].numpy()
    return total, sums


def gridded(pixels: torch.Tensor) -> Evidence:
    """A method that leaves a grid: every second row counts three times as much."""
    maps = pixels[0].square()
    maps[:, ::2] *= 3
    return Evidence(maps, maps.sum(dim=0), "unit", standard_error=maps.sum(dim=0) / 10)


@pytest.mark.parametrize("reach", [1, 2])
def test_mean_is_the_formula_written_out(wrap_function, reach: int) -> None:
    x = torch.randn(1, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    found = shift_averaged(wrap_function(x, gridded), reach=reach)
    expected, sums = literal_mean(x, gridded, reach)
    np.testing.assert_allclose(found.maps, expected, rtol=1e-5)
    assert found.joint.sum().item() == pytest.approx(sums, rel=1e-5)
    np.testing.assert_allclose(found.joint, found.maps.sum(dim=0), rtol=1e-5)
    # the same noise in all runs: the errors add up as the maps do, an upper bound
    np.testing.assert_allclose(found.standard_error, found.joint / 10, rtol=1e-5)


def test_every_pixel_weighs_the_same_and_every_place_of_a_period_too(wrap_function) -> None:
    ones = Evidence(torch.ones(1, 6, 5), torch.ones(6, 5), "unit")
    found = shift_averaged(wrap_function(torch.zeros(1, 1, 6, 5), lambda _pixels: ones), reach=3)
    np.testing.assert_allclose(found.joint, 1, rtol=1e-6)
    for reach in (1, 3, 6):
        places = np.zeros((reach + 1, reach + 1))
        for (down, right), weight in weighted_shifts(reach):
            places[down % (reach + 1), right % (reach + 1)] += weight
        np.testing.assert_allclose(places, 1 / (reach + 1) ** 2, rtol=1e-12)


def test_a_planted_grid_is_gone_and_what_is_true_is_left(wrap_function) -> None:
    x = torch.ones(1, 1, 12, 12)
    found = shift_averaged(wrap_function(x, gridded), reach=1)
    assert grid_power(gridded(x).joint, 2) == pytest.approx(0.25)
    # in the mirror at the border the rows of the grid lie the other way round
    np.testing.assert_allclose(found.joint[1:-1], 2.0, rtol=1e-6)
    assert found.details["grid_before"] == pytest.approx(0.25)
    assert found.details["grid_after"] < 0.25 / 100


def unshuffling_network(downscaling: str):
    """An untrained i-ResNet whose normalisations have scales, as training gives them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(
            "iresnet", input_channels=2, classes=2, size=32, blocks="1", widths="8",
            downscaling=downscaling, head="linear",
        )  # fmt: skip
        network.freeze()
        for module in network.modules():
            if isinstance(module, ActNorm):
                module.log_scale.normal_(0, 0.3)
    return network


# each place of a block of 2 x 2 or 4 x 4 pixels is a channel of its own, with its own scale
@pytest.mark.parametrize("downscaling", ["2", "4"])
def test_the_grid_of_unshuffling_in_saliency_falls_to_a_tenth(wrap, downscaling: str) -> None:
    network, period = unshuffling_network(downscaling), int(downscaling)
    plain, mean = [], []
    for seed in range(2):
        x = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(seed))
        wrapped = wrap(network, x, "saliency")
        plain.append(wrapped.run().maps)
        mean.append(shift_averaged(wrapped, reach=period - 1).maps)
    before, after = (grid_power(torch.stack(maps), period) for maps in (plain, mean))
    assert before > 10 * after


def test_the_mean_moves_with_the_image_pixel_by_pixel(case, wrap) -> None:
    network = case("preactivation").network  # an unshuffling by 2 and convolutions of stride 1
    x = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    moved = torch.roll(x, (1, 1), (2, 3))
    # a gradient sees as far as its convolutions reach forth and back: 8 pixels each, and the shifts
    far = slice(20, -20)

    def largest_difference(explain) -> float:
        one, other = explain(x), torch.roll(explain(moved), (-1, -1), (1, 2))
        return ((one - other)[:, far, far].abs().max() / one.abs().max()).item()

    plain = largest_difference(lambda image: wrap(network, image, "saliency").run().maps)
    mean = largest_difference(
        lambda image: shift_averaged(wrap(network, image, "saliency"), reach=1).maps
    )
    assert plain > 0.5
    assert mean < 1e-5


@pytest.mark.parametrize("name", ["integrated_gradients", "lrp", "cam"])
def test_a_complete_method_divides_up_the_mean_score_of_the_shifted_images(
    case, wrap, name: str
) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    values = {"steps": 8} if name == "integrated_gradients" else {}
    found = shift_averaged(wrap(network, x, name, **values), reach=1)
    score = 0.0
    for (down, right), weight in weighted_shifts(1):
        rows = [mirror(row - down, 16) for row in range(16)]
        columns = [mirror(column - right, 16) for column in range(16)]
        score += weight * network(x[..., rows, :][..., columns])[0, 1].item()
    assert found.explained == pytest.approx(score, rel=1e-4)
    assert found.joint.sum().item() + found.constants == pytest.approx(score, rel=1e-3)
    assert found.gap < 1e-3
    assert "shifted images" in found.gap_meaning


def test_regions_shift_with_the_image(wrap_function) -> None:
    regions = torch.zeros(6, 6, dtype=torch.int64)
    regions[2, 3] = 7
    seen = []

    def explain(pixels, regions, **_context) -> Evidence:
        seen.append((pixels[0, 0] == 1, regions == 7))
        value = RegionValue(7, float(len(seen)), 1.0)
        return Evidence(pixels[0], pixels[0, 0], "unit", regions=(value,))

    x = regions.clamp(max=1)[None, None].float()
    wrapped = replace(wrap_function(x, None), explain=explain, context={"regions": regions})
    found = shift_averaged(wrapped, reach=1)
    assert len(seen) == 9
    assert all(torch.equal(image, labels) for image, labels in seen)
    weights = [weight for _, weight in weighted_shifts(1)]
    expected = sum(weight * value for value, weight in enumerate(weights, 1))
    assert found.regions == (RegionValue(7, pytest.approx(expected), pytest.approx(1.0)),)


def test_cancelled_work_is_the_mean_of_what_was_done(wrap_function) -> None:
    x = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    done = []

    def explain(pixels):
        done.append(pixels)
        return gridded(pixels)

    found = shift_averaged(wrap_function(x, explain), reach=1, cancelled=lambda: len(done) >= 1)
    assert (len(done), found.partial, found.details["shifts"]) == (1, True, 1)
    np.testing.assert_allclose(found.maps, gridded(x).maps, rtol=1e-6)  # the image itself first


def test_an_image_smaller_than_the_shift_is_refused(wrap_function) -> None:
    with pytest.raises(ParameterError, match="found 4 px; expected less than the image's 4 px"):
        shift_averaged(wrap_function(torch.zeros(1, 1, 4, 9), gridded), reach=4)
