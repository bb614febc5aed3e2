"""What every attribution method must hold to on every network: one list of methods, networks, properties."""

import copy
import gc

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.attribution import METHODS, Evidence, References, explaining
from napari_why.attribution.targets import Readout, TargetNetwork
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.events import Advanced, Started
from napari_why.networks import wrap
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network

SIZE = 32
# Few steps, large windows: properties hold for any, and the list is long.
QUICK = {
    "window": 16,
    "stride": 16,
    "steps": 4,
    "samples": 4,
    "masks": 8,
    "maps": 8,
    "points": 4,
    "pairs": 3,
    "exact": 0,  # else three regions are not sampled, and no seed matters
    "batch": 3,
}
# Of a network of 50 layers a pass costs as much as all of a small one's: the fewest that still sample.
QUICKEST = {**QUICK, "steps": 2, "samples": 2, "pairs": 2, "points": 2, "maps": 3, "window": 32}
# Methods whose joint map is the sum of the channels' maps.
ADDITIVE = {
    *("input_x_gradient", "integrated_gradients", "sensitivity", "simple_taylor", "smoothgrad"),
    *("expected_gradients", "counterfactual_gradients", "deconvolution", "guided_backprop"),
    *("deeplift", "lrp", "deep_taylor", "wavelet"),
}
# Relative error of the promised sum: float32 for rules that are exact, and of the quadrature at so few
# steps where a path is walked.
EXACT = {
    "lrp": 0.01,
    "cam": 1e-3,
    "deep_taylor": 0.01,
    "full_grad": 1e-4,
    "deeplift": 1e-3,
    "sensitivity": 1e-4,
}


class Functional(nn.Module):
    """Operations without modules: rectifier, pooling and a sum, as users write them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(x)), 2)
        return F.relu(self.second(x) + x)


def functional_network(channels: int, classes: int) -> Network:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
    return wrap(Functional(channels), head, input_channels=channels, classes=classes)


SMALL_STAGES = {"blocks": "1,1", "widths": "6,6", "downscaling": "2,2"}
NETWORKS = {
    "iresnet": {"name": "iresnet", "size": SIZE, **SMALL_STAGES},
    "linear iresnet": {"name": "iresnet", "size": SIZE, "head": "linear", **SMALL_STAGES},
    "resnext50": {"name": "resnext50", "size": SIZE, "weights": "random", "head": "linear"},
    "cam_net": {"name": "cam_net", "size": SIZE},
    "cam_net, joint loss": {"name": "cam_net", "size": SIZE, "joint_loss": True},
    "functional": None,
}
# Of two unlike networks every combination, of the others one: the rest would say the same again.
SHAPES = [(2, 2), (1, 5), (5, 2)]
CASES = [
    (kind, channels, classes)
    for kind in NETWORKS
    for channels, classes in (SHAPES if kind in ("iresnet", "functional") else SHAPES[:1])
]


@pytest.fixture(scope="module")
def networks(randomise):
    made: dict[tuple[str, int, int], Network] = {}

    def make(kind: str, channels: int, classes: int) -> Network:
        key = (kind, channels, classes)
        if key not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                named = NETWORKS[kind]
                network = (
                    functional_network(channels, classes)
                    if named is None
                    else build_network(input_channels=channels, classes=classes, **named)
                )
            network.freeze()
            made[key] = randomise(network, bias_free=False).eval()
        return made[key]

    return make


def image_of(channels: int, seed: int = 1) -> Tensor:
    return torch.randn(1, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def explain(network: Network, x: Tensor, name: str, target: int = 1, **given: object) -> Evidence:
    """Run a method with quick parameters and everything that it may ask for."""
    method = METHODS[name]
    quadrants = torch.arange(4).view(2, 2).repeat_interleave(SIZE // 2, 0)
    context = {
        "references": References(
            torch.cat([image_of(x.shape[1], seed) for seed in range(2, 6)]).to(x.dtype),
            torch.tensor([0, 0, 1, 1]),
        ),
        "regions": quadrants.repeat_interleave(SIZE // 2, 1),
        "alpha_path": torch.stack(
            [
                x[0] + share * (image_of(x.shape[1], 9)[0].to(x.dtype) - x[0])
                for share in (0, 0.5, 1)
            ]
        ),
        "raw_zero": torch.full_like(x, -2.0),
        **given,
    }
    values = QUICKEST if network.name == "resnext50" else QUICK
    quick = {item.name: values[item.name] for item in method.parameters if item.name in values}
    known = {item.name for item in method.parameters}
    named = {k: v for k, v in context.items() if method.takes(k) or k in known}
    return method.function(network, x, target, **(quick | named))


def suits(name: str, network: Network) -> bool:
    """Whether a method is defined for a network; where it is not, it must say so in words."""
    if METHODS[name].unsuitable(network) is None:
        return True
    with pytest.raises(UnsupportedNetworkError, match="cannot explain"):
        METHODS[name].check(network)
    return False


def is_rounding(found: Evidence) -> bool:
    """Whether what is missing of a sum is that of two float32 logits which are nearly the same."""
    if found.explained is None or found.constants is None:
        return False
    missing = found.maps.sum().item() + found.constants - found.explained
    return abs(missing) < 1e-6 * abs(found.explained)


def having(what: str, parameter: bool = False) -> list[str]:
    """Return the methods that name a keyword, or have a parameter of that name."""
    return [
        name
        for name, method in sorted(METHODS.items())
        if (any(p.name == what for p in method.parameters) if parameter else method.takes(what))
    ]


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize(("kind", "channels", "classes"), CASES)
def test_maps_are_whole_and_the_network_is_left_alone(
    networks, name: str, kind: str, channels: int, classes: int
) -> None:
    network, x = networks(kind, channels, classes), image_of(channels)
    if not suits(name, network):
        return
    given = x.clone()
    # the guard compares every bit, hook and flag, and raises where one is not as it was
    with explaining(network, x) as before:
        found = explain(network, x, name)
    assert torch.equal(network(x), before)
    assert torch.equal(x, given)
    assert found.maps.shape == x.shape[1:]
    assert found.joint.shape == x.shape[2:]
    assert torch.isfinite(found.maps).all()
    assert torch.isfinite(found.joint).all()
    assert found.joint.any()
    assert found.maps.flatten(1).any(dim=1).all(), "every channel has evidence"
    if name in ADDITIVE:
        torch.testing.assert_close(found.joint, found.maps.sum(dim=0))
    if name in EXACT:
        assert found.gap is not None
        assert found.gap <= EXACT[name] or is_rounding(found)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_maps_are_the_same_where_gradients_are_turned_off(networks, name: str) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    if not suits(name, network):
        return
    with explaining(network):
        found = explain(network, x, name)
    with torch.no_grad(), explaining(network):
        again = explain(network, x, name)
    torch.testing.assert_close(again.maps, found.maps)
    torch.testing.assert_close(again.joint, found.joint)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_other_classes_have_other_evidence(networks, name: str) -> None:
    network, x = networks("functional", 1, 5), image_of(1)
    if not suits(name, network):
        return
    with explaining(network):
        one, other = (explain(network, x, name, target).joint for target in (1, 3))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("kind", ["iresnet", "functional"])
def test_the_same_seed_gives_the_same_map(networks, name: str, kind: str) -> None:
    network, x = networks(kind, 2, 2), image_of(2)
    if not suits(name, network):
        return
    state = torch.random.get_rng_state()
    with explaining(network):
        one, again = explain(network, x, name), explain(network, x, name)
    assert torch.equal(one.maps, again.maps)
    assert torch.equal(one.joint, again.joint)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", having("seed", parameter=True))
def test_another_seed_gives_another_map(networks, name: str) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    # so many that their Shapley values are sampled
    regions = torch.arange(16).view(4, 4).repeat_interleave(SIZE // 4, 0)
    regions = regions.repeat_interleave(SIZE // 4, 1)
    with explaining(network):
        one, other = (explain(network, x, name, seed=seed, regions=regions) for seed in (0, 1))
    assert not torch.equal(one.joint, other.joint)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("kind", ["iresnet", "functional"])
def test_double_precision_gives_nearly_the_same(networks, name: str, kind: str) -> None:
    network, x = networks(kind, 2, 2), image_of(2)
    if not suits(name, network):
        return
    precise = copy.deepcopy(network).to(torch.float64)
    with explaining(network), explaining(precise):
        single, double = explain(network, x, name), explain(precise, x.to(torch.float64), name)
    scale = double.joint.abs().max()
    assert (single.joint - double.joint).abs().max() <= 0.01 * scale


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_constant_images_give_finite_maps(networks, name: str, value: float) -> None:
    for kind in ("iresnet", "functional"):
        network = networks(kind, 2, 2)
        if METHODS[name].unsuitable(network) is None:
            with explaining(network):
                found = explain(network, torch.full((1, 2, SIZE, SIZE), value), name)
            assert torch.isfinite(found.maps).all()
            assert torch.isfinite(found.joint).all()


@pytest.mark.parametrize("name", having("batch", parameter=True))
def test_images_alone_or_together_give_the_same(networks, name: str) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    with explaining(network):
        alone, together = (explain(network, x, name, batch=batch) for batch in (1, 5))
    torch.testing.assert_close(alone.maps, together.maps, rtol=1e-4, atol=1e-6)


def test_memory_is_given_back(networks) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    names = [name for name in METHODS if METHODS[name].unsuitable(network) is None]

    def count_after_all() -> int:
        for name in names:
            explain(network, x, name)
        gc.collect()
        return sum(issubclass(type(item), Tensor) for item in gc.get_objects())

    with explaining(network):
        # the first time something may be made once for all, such as constants
        count_after_all()
        second = count_after_all()
        assert count_after_all() <= second


@pytest.mark.parametrize("name", having("cancelled"))
def test_what_is_cancelled_stops_and_says_so(networks, name: str) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    if not suits(name, network):
        return
    with explaining(network):
        found = explain(network, x, name, cancelled=lambda: True)
    assert found.partial
    assert torch.isfinite(found.joint).all()


@pytest.mark.parametrize("name", having("on_event"))
def test_progress_counts_up_to_what_was_announced(networks, name: str) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    if not suits(name, network):
        return
    events: list[object] = []
    with explaining(network):
        explain(network, x, name, on_event=events.append)
    started = [event for event in events if isinstance(event, Started)]
    done = [event.done for event in events if isinstance(event, Advanced)]
    assert started
    assert done
    assert done[-1] == started[-1].total


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_contrast_is_explained_as_a_class_is(networks, name: str) -> None:
    network, x = networks("functional", 2, 2), image_of(2)
    weights = torch.tensor([-1.0, 1.0])
    contrast = TargetNetwork(network, Readout(weights, embedded=False))
    if not suits(name, contrast):
        return
    with explaining(network):
        found = explain(contrast, x, name, target=0)
    assert torch.isfinite(found.joint).all()
    assert found.joint.any()
    if name in EXACT:
        assert found.gap is not None
        assert found.gap <= EXACT[name] or is_rounding(found)
