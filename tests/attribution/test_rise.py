"""RISE equals its definition; its standard error is the spread that other seeds bring."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_why.attribution import METHODS
from napari_why.attribution.rise import Masks
from napari_why.core.errors import ParameterError

rise = METHODS["rise"].function


def test_masks_are_a_shifted_grid_enlarged_bilinearly() -> None:
    size, grid = (9, 10), 3
    generator = torch.Generator().manual_seed(5)
    for mask in Masks(size, 4, grid, 0.5, 5):
        squares = (torch.rand(1, 1, grid, grid, generator=generator) < 0.5)[0, 0].numpy() * 1.0
        step = (3, 4)  # the sides over the grid, rounded up
        shift = [int(torch.randint(each, (), generator=generator)) for each in step]
        places = [
            ((np.arange((grid + 1) * each) + 0.5) * grid / ((grid + 1) * each) - 0.5)
            for each in step
        ]
        rows = np.array([np.interp(places[0], range(grid), column) for column in squares.T]).T
        whole = np.array([np.interp(places[1], range(grid), row) for row in rows])
        expected = whole[shift[0] : shift[0] + 9, shift[1] : shift[1] + 10]
        np.testing.assert_allclose(mask, expected, atol=1e-6)


def test_masks_show_as_much_as_they_are_to() -> None:
    stack = torch.stack(list(Masks((30, 20), 2000, 5, 0.3, 0)))
    assert stack.min() >= 0
    assert stack.max() <= 1 + 1e-6  # of the interpolation's rounding
    # every pixel, also at the border; three standard errors of a share of 0.3
    assert (stack.mean(dim=0) - 0.3).abs().max() < 3 * (0.3 * 0.7 / 2000) ** 0.5 + 0.01


@pytest.mark.parametrize("baseline", ["mean", "zero", "blur"])
def test_equals_the_definition_mask_by_mask(residual, baseline: str) -> None:
    network, x = residual.network, residual.x
    raw_zero = torch.full_like(x, -1.3)
    found = rise(network, x, 1, samples=12, grid=3, baseline=baseline, seed=4, raw_zero=raw_zero)
    masks = list(Masks((16, 16), 12, 3, 0.5, 4))
    from napari_why.attribution.registry import baseline_image

    start = baseline_image(x, baseline, raw_zero, 7.5)
    for channels, values in (
        ([0, 1], found.joint),
        ([0], found.maps[0]),
        ([1], found.maps[1]),
    ):
        scores = []
        for mask in masks:
            image = x.clone()
            for c in channels:
                image[0, c] = mask * x[0, c] + (1 - mask) * start[0, c]
            scores.append(network(image)[0, 1].item())
        shown = sum(mask * score for mask, score in zip(masks, scores, strict=True)) / sum(masks)
        torch.testing.assert_close(values, shown - np.mean(scores), atol=2e-6, rtol=1e-4)


def test_evidence_for_and_against_has_its_sign_and_its_channel(small_network) -> None:
    network = small_network(nn.Identity(), 2)
    with torch.no_grad():
        network.linear.weight.copy_(torch.tensor([[0.0, 5.0], [0.0, -5.0], [1.0, 1.0]]))
    x = torch.zeros(1, 2, 24, 24)
    x[0, 1, 2:9, 2:9] = 2.0
    for target, sign in ((0, 1), (1, -1)):
        found = rise(network, x, target, samples=300, grid=6)
        top = (sign * found.joint).argmax().item()
        assert 2 <= top // 24 < 9
        assert 2 <= top % 24 < 9
        assert (sign * found.joint).max() > 5 * found.standard_error.max()
        torch.testing.assert_close(found.maps[1], found.joint, atol=1e-6, rtol=1e-4)
        assert found.maps[0].abs().max() < 1e-6  # it is empty, so masking it changes nothing


def test_the_standard_error_is_the_spread_between_seeds(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    runs = [rise(network, x, 1, samples=100, grid=4, seed=seed) for seed in range(25)]
    spread = torch.stack([run.joint for run in runs]).std(dim=0)
    told = torch.stack([run.standard_error for run in runs]).mean(dim=0)
    ratio = (told / spread).median().item()
    assert 0.85 < ratio < 1.18  # 25 runs know a spread to 14 %, the median of 256 pixels better


def test_more_masks_halve_the_standard_error(residual) -> None:
    few, many = (rise(residual.network, residual.x, 1, samples=n) for n in (100, 400))
    assert (many.standard_error.mean() / few.standard_error.mean()).item() == pytest.approx(0.5, abs=0.08)  # fmt: skip


def test_stopped_work_is_the_map_of_the_masks_so_far(case) -> None:
    network, x, events = case("cam_net").network, case("cam_net").x, []
    part = rise(
        network, x, 1, samples=120, on_event=events.append, cancelled=lambda: len(events) > 2
    )
    whole = rise(network, x, 1, samples=part.details["masks"])
    assert part.partial
    assert 0 < part.details["masks"] < 120
    torch.testing.assert_close(part.joint, whole.joint, atol=1e-6, rtol=1e-5)
    nothing = rise(network, x, 1, samples=120, cancelled=lambda: True)
    assert nothing.partial
    assert not nothing.joint.any()


def test_zero_needs_the_raw_zero(case) -> None:
    with pytest.raises(ParameterError, match="raw intensity 0"):
        rise(case("bottleneck").network, case("bottleneck").x, 0, baseline="zero")
