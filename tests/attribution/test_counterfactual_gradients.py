"""Gradients along a counterfactual divide up what it changes of the logit."""

from itertools import pairwise

import pytest
import torch

from napari_why.attribution import METHODS
from napari_why.core.errors import MismatchError

counterfactual_gradients = METHODS["counterfactual_gradients"].function


def bent_path(x, images: int = 5):
    """A way that leaves the straight line, and changes the left half of the first channel alone."""
    generator = torch.Generator().manual_seed(5)
    change, bend = torch.randn(2, *x.shape, generator=generator)
    mask = torch.zeros_like(x)
    mask[:, 0, :, : x.shape[3] // 2] = 1
    shares = torch.linspace(0, 1, images).view(-1, 1, 1, 1)
    return x + mask * (shares * change + shares * (1 - shares) * 4 * bend)


@pytest.mark.parametrize("way", ["path", "straight"])
def test_adds_up_to_the_difference_of_last_and_first(shipped, way: str) -> None:
    network, x = shipped.network, shipped.x
    path = bent_path(x, images=3)
    found = counterfactual_gradients(network, x, 1, way=way, steps=2, alpha_path=path)
    difference = (network(path[-1:]) - network(x))[0, 1].item()
    missing = abs(found.maps.double().sum().item() - difference)
    assert found.gap == pytest.approx(missing / abs(difference), rel=1e-3)
    assert found.explained - found.constants == pytest.approx(difference, rel=1e-4)
    assert found.maps[0, :, : x.shape[3] // 2].any()
    assert not found.maps[0, :, x.shape[3] // 2 :].any()  # nothing was changed there
    assert not found.maps[1].any()


@pytest.mark.parametrize("way", ["path", "straight"])
def test_complete_on_smooth_networks(case, way: str) -> None:
    for kind in ("preactivation", "linear_iresnet"):
        x = case(kind).x
        found = counterfactual_gradients(case(kind).network, x, 1, way=way, alpha_path=bent_path(x))
        assert found.gap < 1e-3


def test_straight_is_integrated_gradients_with_the_sign_turned(case) -> None:
    """From the counterfactual to the image these say what speaks for it; here, what the change wins."""
    network, x = case("preactivation").network, case("preactivation").x
    path = bent_path(x)
    back = METHODS["integrated_gradients"].function(
        network, x, 1, steps=8, baseline="zero", raw_zero=path[-1:]
    )
    found = counterfactual_gradients(network, x, 1, way="straight", steps=8, alpha_path=path)
    torch.testing.assert_close(found.maps, -back.maps, atol=1e-6, rtol=1e-4)


def test_along_the_path_equals_its_pieces_written_out(case) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    path = bent_path(x)
    found = counterfactual_gradients(network, x, 2, steps=8, alpha_path=path).maps
    expected = torch.zeros_like(x)
    for start, end in pairwise(path):
        # two points of Gauss-Legendre on each of four pieces: 1/2 -+ 1/sqrt(12), half of each
        for share in (0.5 - 12**-0.5, 0.5 + 12**-0.5):
            point = (start + share * (end - start))[None].requires_grad_()
            (gradient,) = torch.autograd.grad(network(point)[0, 2], point)
            expected += 0.5 * (end - start) * gradient
    torch.testing.assert_close(found, expected[0], atol=1e-6, rtol=1e-4)
    straight = counterfactual_gradients(network, x, 2, way="straight", alpha_path=path).maps
    assert not torch.allclose(found, straight, atol=1e-4)


def test_the_other_class_gains_where_this_one_loses(small_network) -> None:
    """Known truth: the score is the mean of channel 0, with either sign; channel 1 is not looked at."""
    network = small_network(torch.nn.Identity(), 2)
    with torch.no_grad():
        network.linear.weight[:2] = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    x = torch.zeros(1, 2, 4, 4)
    path = torch.stack([x[0], x[0] + 0.5, x[0] + 1.0])
    won = counterfactual_gradients(network, x, 0, alpha_path=path)
    lost = counterfactual_gradients(network, x, 1, alpha_path=path)
    torch.testing.assert_close(won.maps[0], torch.full((4, 4), 1 / 16))
    torch.testing.assert_close(lost.maps, -won.maps)
    assert not won.maps[1].any()


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (3, 2, 8, 16), (2, 16, 16)])
def test_a_way_that_is_none_is_refused(case, shape) -> None:
    with pytest.raises(MismatchError, match="alpha_path: found shape"):
        counterfactual_gradients(
            case("preactivation").network,
            case("preactivation").x,
            0,
            alpha_path=torch.zeros(shape),
        )


def test_cancelled_sum_shows_in_the_gap(case) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    events: list[object] = []
    part = counterfactual_gradients(
        network, x, 1, alpha_path=bent_path(x),
        on_event=events.append, cancelled=lambda: len(events) > 4,
    )  # fmt: skip
    assert part.partial
    assert part.details["steps_done"] == 4
    assert part.gap > 0.1
