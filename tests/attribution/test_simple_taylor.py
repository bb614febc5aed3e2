"""Simple Taylor decomposition: roots by hand, and what is said where there is none."""

import pytest
import torch
from torch import Tensor, nn

from napari_why.attribution import METHODS
from napari_why.attribution.simple_taylor import RootSearch
from napari_why.core.events import ignore_event, never_cancelled

simple_taylor = METHODS["simple_taylor"].function


@pytest.fixture
def score(small_network):
    """Return a function that makes a network whose first score is f(x) of two channels, 1 pixel."""

    def make(function):
        class Encoder(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return function(x)

        network = small_network(Encoder(), 1)
        with torch.no_grad():
            network.linear.weight.fill_(1.0)
            network.linear.bias.zero_()
        return network

    return make


def pixel(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def weighted(x: Tensor) -> Tensor:
    """3 x0 + 4 x1 - 5: slope of length 5."""
    return 3 * x[:, :1] + 4 * x[:, 1:] - 5


def test_root_of_a_linear_score_along_the_gradient(score) -> None:
    """By hand: s = 6, so that the root lies 6 / 5 away and R_i = w_i^2 s / |w|^2."""
    found = simple_taylor(score(weighted), pixel(1.0, 2.0), 0)
    torch.testing.assert_close(
        found.maps.flatten(), torch.tensor([9.0, 16.0]) * 6 / 25, atol=1e-5, rtol=1e-5
    )
    assert found.details["root_found"]
    assert found.details["line"] == "gradient"
    assert found.details["distance"] == pytest.approx(1.2, rel=1e-5)
    assert found.details["baseline_distance"] == pytest.approx(5**0.5)
    assert found.constants == pytest.approx(0, abs=1e-5)
    assert found.gap < 1e-5


def test_root_of_a_linear_score_on_the_line_to_the_baseline(score) -> None:
    """By hand: on the way from (1, 2), score 6, to 0, score -5, the root is 6 / 11 of it away."""
    found = simple_taylor(score(weighted), pixel(1.0, 2.0), 0, line="baseline")
    torch.testing.assert_close(
        found.maps.flatten(), torch.tensor([3.0, 8.0]) * 6 / 11, atol=1e-5, rtol=1e-5
    )
    assert found.details["line"] == "baseline"
    assert found.details["distance"] == pytest.approx(5**0.5 * 6 / 11, rel=1e-5)
    # another baseline, a nearer root
    found = simple_taylor(
        score(weighted), pixel(1.0, 2.0), 0, line="baseline", baseline="zero",
        raw_zero=pixel(-5.0, 2.0),
    )  # fmt: skip
    assert found.maps.flatten().tolist() == pytest.approx([6.0, 0.0], abs=1e-5)


def test_the_residual_is_what_the_linear_term_misses(score) -> None:
    """By hand: s = x0^2 - 1 at x0 = 3 has its root at 1, slope 2: R = 2 * 2 = 4 of 8."""
    network = score(lambda x: x[:, :1].square() - 1 + 0 * x[:, 1:])
    found = simple_taylor(network, pixel(3.0, 1.0), 0)
    assert found.maps.flatten().tolist() == pytest.approx([4.0, 0.0], abs=1e-4)
    assert found.details["residual"] == pytest.approx(4.0, abs=1e-4)
    assert found.gap == pytest.approx(0.5, abs=1e-4)
    assert found.explained == pytest.approx(8.0)


def test_without_a_root_the_score_nearest_to_0_is_taken_and_said(score) -> None:
    """s = x0^2 + x1^2 / 4 + 1 is 1 at least, which is at the baseline."""
    network = score(lambda x: x[:, :1].square() + x[:, 1:].square() / 4 + 1)
    found = simple_taylor(network, pixel(2.0, 2.0), 0)
    assert not found.details["root_found"]
    assert "no root was found" in found.constants_meaning
    assert found.constants == pytest.approx(1.0, abs=0.1)
    assert found.explained == pytest.approx(6.0)
    missing = found.explained - found.constants - found.maps.sum().item()
    assert found.gap == pytest.approx(missing / (found.explained - found.constants), rel=1e-4)


def test_the_gradient_is_followed_no_farther_than_the_baseline_is_away(score) -> None:
    """s falls from 6 along the gradient ever slower, to 0 only beyond the baseline: no root nearby."""
    network = score(lambda x: 6 * (x[:, :1] - 1).exp() - 0.01 + 0 * x[:, 1:])
    found = simple_taylor(network, pixel(1.0, 0.0), 0, line="gradient")
    assert not found.details["root_found"]
    assert found.details["distance"] == pytest.approx(1.0)
    found = simple_taylor(
        network, pixel(1.0, 0.0), 0, line="gradient", baseline="zero", raw_zero=pixel(-9.0, 0.0)
    )
    assert not found.details["root_found"]
    assert found.details["distance"] == pytest.approx(4 * 5.99 / 6, rel=1e-4)  # the reach


def test_an_image_at_a_root_needs_no_explanation(score) -> None:
    found = simple_taylor(score(weighted), pixel(-1.0, 2.0), 0)
    assert not found.maps.any()
    assert found.gap == 0


def search(score, x: float, points: int = 10) -> RootSearch:
    return RootSearch(
        lambda image: score(image.item()), pixel(x), points, ignore_event, never_cancelled
    )


def test_the_nearer_of_two_roots_is_taken() -> None:
    """Those of (t - 1)(t - 4): from 0 on that at 1 comes first, from 3 on that at 4 is nearer."""
    bent = search(lambda t: (t - 1) * (t - 4), 0.0)
    assert bent.nearest({"a": pixel(5.0)}).image.item() == pytest.approx(1.0, abs=1e-5)
    bent = search(lambda t: (t - 1) * (t - 4), 3.0)
    found = bent.nearest({"left": pixel(-2.5), "right": pixel(2.5)})
    assert (found.line, found.is_root) == ("right", True)
    assert found.distance == pytest.approx(1.0, abs=1e-5)


def test_a_root_far_away_is_better_than_none_nearby() -> None:
    found = search(lambda t: 0.1 if t < 50 else 50.05 - t, 0.0).nearest(
        {"none": pixel(-1.0), "far": pixel(100.0)}
    )
    assert (found.line, found.is_root) == ("far", True)
    assert found.image.item() == pytest.approx(50.05, abs=1e-4)


@pytest.mark.parametrize("kind", ["iresnet", "linear_iresnet", "cam_net"])
def test_what_is_called_a_root_is_one(case, kind: str) -> None:
    network, x = case(kind).network, case(kind).x
    found = simple_taylor(network, x, 1, points=8)
    logit = network(x)[0, 1].item()
    assert found.details["root_found"] == (kind != "iresnet")
    assert abs(found.constants) < (1e-4 if found.details["root_found"] else abs(logit))


def test_cancelled_searches_take_the_best_point_so_far(score) -> None:
    events: list[object] = []
    found = simple_taylor(
        score(weighted), pixel(1.0, 2.0), 0,
        on_event=events.append, cancelled=lambda: len(events) > 3,
    )  # fmt: skip
    assert found.partial
    assert not found.details["root_found"]
    assert 0 < found.constants < 6
