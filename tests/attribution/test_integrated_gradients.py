"""Integrated gradients are complete, also on pre-activation residual networks."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from napari_why.attribution import METHODS

integrated_gradients = METHODS["integrated_gradients"].function


def test_complete_on_pre_activation_residuals(case) -> None:
    for kind in ("preactivation", "linear_iresnet"):
        evidence = integrated_gradients(case(kind).network, case(kind).x, 1)
        assert evidence.gap < 1e-3
        assert torch.equal(evidence.joint, evidence.maps.sum(0))


def test_gap_is_the_error_of_the_sum_and_falls_with_more_steps(shipped) -> None:
    network, x = shipped.network, shipped.x
    gaps = []
    for steps in (2, 12):
        evidence = integrated_gradients(network, x, 1, steps=steps)
        difference = (network(x) - network(torch.zeros_like(x)))[0, 1].item()
        missing = abs(evidence.maps.double().sum().item() - difference)
        assert evidence.gap == pytest.approx(missing / abs(difference), rel=1e-3)
        gaps.append(evidence.gap)
    assert gaps[1] < gaps[0]
    assert gaps[1] < 0.1


@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_equals_captum(case, baseline: str) -> None:
    network, x = case("iresnet").network, case("iresnet").x
    black = torch.full_like(x, -1.5)
    ours = integrated_gradients(network, x, 2, steps=8, baseline=baseline, raw_zero=black)
    start = black if baseline == "zero" else torch.zeros_like(x)
    theirs = IntegratedGradients(network).attribute(x, start, target=2, n_steps=8)
    torch.testing.assert_close(ours.maps, theirs[0].float(), atol=1e-6, rtol=1e-4)


def test_equals_the_quadrature_written_out(case) -> None:
    network, x = case("iresnet").network, case("iresnet").x
    nodes, weights = np.polynomial.legendre.leggauss(8)
    expected = torch.zeros_like(x)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = (float(node) * x).requires_grad_()
        (gradient,) = torch.autograd.grad(network(point)[0, 2], point)
        expected += float(weight) * gradient * x
    maps = integrated_gradients(network, x, 2, steps=8).maps
    torch.testing.assert_close(maps, expected[0], atol=1e-6, rtol=1e-4)


def test_cancelled_sum_shows_in_the_gap(case) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    events: list[object] = []
    part = integrated_gradients(
        network, x, 1, steps=8, on_event=events.append, cancelled=lambda: len(events) > 4
    )
    assert part.partial
    assert part.details["steps_done"] == 4
    assert part.gap > 0.1


def test_image_equal_to_the_baseline_gives_zero(case) -> None:
    evidence = integrated_gradients(case("cam_net").network, torch.zeros(1, 2, 32, 32), 0)
    assert not evidence.maps.any()
    assert evidence.gap == 0
