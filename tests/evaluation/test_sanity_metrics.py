"""Sanity and robustness: networks whose weights hide, maps that know nothing of the network."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from napari_why.attribution import METHODS, Evidence
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.events import Advanced, Started
from napari_why.evaluation import METRICS, ExplanationCase
from napari_why.evaluation.map_similarity import compare_maps
from napari_why.evaluation.parameter_randomisation import (
    parameter_groups,
    randomise_network,
    weights_in_use,
)
from napari_why.networks import build_network
from napari_why.networks.modules import ActNorm
from napari_why.networks.network import Network


class Chain(Network):
    """A module of some kind before a linear head on all positions."""

    name = "chain"

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.input_channels, self.classes, self.first = 2, 2, first
        generator = torch.Generator().manual_seed(2)
        self.linear = nn.Parameter(torch.randn(2, 4, 8, 8, generator=generator))
        self.bias = nn.Parameter(torch.full((2,), 0.3))

    def encode(self, x: Tensor) -> Tensor:
        return self.first(x)

    def head(self, features: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", features, self.linear) + self.bias

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": self.first(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("first",)

    def configuration(self) -> dict[str, object]:
        return {}


class Custom(nn.Module):
    """A weight of one's own, without ``reset_parameters``."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(4, 2))
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * torch.einsum("nchw,kc->nkhw", x, self.kernel)


class FromBuffer(nn.Module):
    """A kernel that is a buffer."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        kernel = torch.ones(4, 2, 1, 1)
        if registered:
            self.register_buffer("kernel", kernel)
        else:
            self.kept = [kernel]

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.kept[0] if hasattr(self, "kept") else self.kernel)


def convolution() -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Conv2d(2, 4, 3, padding=1)


FIRST = {
    "plain": convolution,
    "spectral parametrisation": lambda: parametrizations.spectral_norm(convolution()),
    "spectral hook": lambda: nn.utils.spectral_norm(convolution()),
    "weight normalisation": lambda: parametrizations.weight_norm(convolution()),
    "ActNorm": lambda: nn.Sequential(ActNorm(2), convolution(), ActNorm(4)),
    "batch normalisation": lambda: nn.Sequential(convolution(), nn.BatchNorm2d(4), nn.ReLU()),
    "custom": Custom,
    "buffer": lambda: FromBuffer(registered=True),
    "zeros": lambda: nn.Sequential(convolution(), zeros()),
}


def zeros() -> nn.Conv2d:
    module = nn.Conv2d(4, 4, 1)
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def image(seed: int = 0, channels: int = 2, side: int = 8) -> Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(seed))


def frozen(first: nn.Module) -> Chain:
    network = Chain(first)
    network(image())  # old spectral normalisation makes its weight in a pass
    network.freeze()
    return network


@pytest.mark.parametrize("kind", FIRST)
def test_every_weight_that_is_used_is_drawn_anew(kind: str) -> None:
    network = frozen(FIRST[kind]())
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = image()
    drawn = randomise_network(network, x, seed=3)
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module.training for module in drawn.modules())
    used = [
        [weight.tensor.detach() for weight in weights_in_use(one.requires_grad_(True), x)]
        for one in (network, drawn)
    ]
    assert len(used[0]) == len(used[1]) >= 3  # kernel, head and its bias
    for before, after in zip(*used, strict=True):
        assert (before - after).norm() > 1e-3 * before.norm()
        assert torch.isfinite(after).all()
    drawn.requires_grad_(False)
    again, other = (randomise_network(network, x, seed=seed) for seed in (3, 4))
    assert torch.equal(drawn(x), again(x))
    assert not torch.equal(drawn(x), other(x))


@pytest.mark.parametrize("kind", ["spectral parametrisation", "spectral hook"])
def test_norms_are_estimated_anew(kind: str) -> None:
    drawn = randomise_network(frozen(FIRST[kind]()), image(), seed=3)
    with torch.no_grad():
        drawn(image())
    norm = torch.linalg.matrix_norm(drawn.first.weight.detach().flatten(1), ord=2)
    # an estimate of the old weights would be off by tens of percent
    assert norm.item() == pytest.approx(1, abs=0.02)


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(UnsupportedNetworkError, match=r"left 1 of 3 weights .*conv2d"):
        randomise_network(frozen(FromBuffer(registered=False)), image(), seed=0)
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU()))
    with pytest.raises(UnsupportedNetworkError, match="cannot be watched"):
        randomise_network(frozen(scripted), image(), seed=0)
    with pytest.raises(UnsupportedNetworkError, match="left 4 of 4 weights"):
        randomise_network(frozen(convolution()), image(), seed=0, only=["nothing"])


@pytest.mark.parametrize("name", ["iresnet", "resnext50", "cam_net"])
def test_weights_of_shipped_networks_are_drawn_anew(name: str) -> None:
    options = {"weights": "random"} if name == "resnext50" else {}
    network = build_network(name, input_channels=2, classes=2, size=32, **options)
    network.freeze()
    x = image(side=32)
    drawn = randomise_network(network, x, seed=0)
    assert torch.isfinite(drawn(x)).all()
    assert not torch.allclose(drawn(x), network(x), atol=1e-3)


def test_groups_go_from_the_output_to_the_input_and_hold_every_parameter() -> None:
    network = build_network("cam_net", input_channels=2, classes=2, size=32)
    groups = parameter_groups(network, image(side=32), 4)
    assert sorted(chain(*groups)) == sorted(name for name, _ in network.named_parameters())
    assert any(name.startswith("classifier") for name in groups[0])
    first_layer = next(name for name, _ in network.named_parameters())
    assert first_layer in groups[-1]


def explain_input(_network, x: Tensor, _target: int) -> Evidence:
    """Show the image, whatever the network."""
    return Evidence(x[0], x[0].sum(dim=0), "logit per pixel")


def conv_case(name: str = "input_x_gradient") -> ExplanationCase:
    network = frozen(nn.Sequential(convolution(), nn.ReLU()))

    def explain(network, x, target):
        return METHODS[name].function(network, x, target)

    return ExplanationCase(network, image(), 1, explain(network, image(), 1), explain)


@pytest.mark.parametrize("mode", ["all", "cascading", "independent"])
def test_a_map_of_the_image_alone_survives_random_weights(mode: str) -> None:
    case = conv_case()
    x = case.x
    same = replace(case, explain=explain_input, evidence=explain_input(None, x, 1))
    metric = METRICS["parameter_randomisation"]
    measured = metric.measure(same, mode=mode)
    assert measured.value == pytest.approx(1)
    assert measured.details["ssim"] == pytest.approx([1] * len(measured.details["ssim"]))
    assert measured.chance < 0.5
    own = metric.measure(replace(case, explain=case.explain), mode=mode)
    assert own.value < 0.9
    assert len(own.details["values"]) == (1 if mode == "all" else 2)


def test_random_weights_turn_the_true_map_of_a_linear_network(linear_case) -> None:
    case = linear_case(1, (24, 24))
    measured = METRICS["parameter_randomisation"].measure(case, random_networks=3)
    # signs are as good as drawn anew: 576 pixels leave a correlation of 0.04 by chance
    assert np.abs(measured.details["rank"]).max() < 0.2
    # the magnitude of the image stays in w x, and is what is left of it
    assert 0.2 < measured.value < 0.8
    assert len(measured.details["values"]) == 3


def test_similarity_sees_through_a_turned_sign() -> None:
    values = np.random.default_rng(0).normal(size=(12, 12))
    turned = compare_maps(values, -values)
    assert (turned.rank, turned.value) == (pytest.approx(-1), pytest.approx(1))
    signs = np.random.default_rng(1).choice([-1, 1], size=(12, 12))
    drawn = compare_maps(values, signs * values)
    assert abs(drawn.rank) < 0.3
    assert drawn.value == drawn.magnitude_rank == pytest.approx(1)
    assert drawn.ssim == pytest.approx(1)
    assert compare_maps(values, 0 * values).value == 0
    assert np.isnan(compare_maps(values[:5], values[:5]).ssim)


def test_other_classes_have_other_maps(linear_case) -> None:
    case = linear_case(1, (24, 24))
    case.network.weights.data[0] = -case.network.weights[1]
    measured = METRICS["target_sensitivity"].measure(case)
    assert measured.details["classes"] == [0, 2]
    assert measured.details["rank"][0] == pytest.approx(-1)
    assert abs(measured.details["rank"][1]) < 0.2
    blind = replace(case, explain=explain_input, evidence=explain_input(None, case.x, 1))
    assert METRICS["target_sensitivity"].measure(blind).value == pytest.approx(1)


def test_model_contrast_tells_networks_of_two_effects_apart(linear_network, explain_linear) -> None:
    truth = torch.zeros(2, 6, 8)
    truth[1, 1:3, 2:6] = 1
    mine, others = torch.full((2, 2, 6, 8), 0.0), torch.full((2, 2, 6, 8), 0.0)
    mine[1, 1, 1:3, 2:6], others[1, 0, 4:, :] = 1.0, 1.0
    x = torch.ones(1, 2, 6, 8)
    network, other = linear_network(mine), linear_network(others)
    case = ExplanationCase(
        network, x, 1, explain_linear(network, x, 1), explain_linear, truth, other_network=other
    )
    assert METRICS["model_contrast"].measure(case).value == 1
    blind = replace(case, explain=explain_input, evidence=explain_input(None, x, 1))
    assert METRICS["model_contrast"].measure(blind).value == 0
    turned = replace(case, network=other, other_network=network)
    turned = replace(turned, evidence=explain_linear(other, x, 1))
    assert METRICS["model_contrast"].measure(turned).value == -1


def test_the_level_of_the_background_does_not_move_a_linear_map(
    linear_case, explain_linear
) -> None:
    background = torch.zeros(6, 8, dtype=torch.bool)
    background[:, 4:] = True
    case = linear_case(background=background)
    measured = METRICS["background_shift"].measure(case, shift=0.5)
    assert measured.value == 0
    expected = 0.5 * case.network.weights[1][:, :, 4:].sum().item()
    assert measured.details["score_moves"] == pytest.approx(expected, abs=1e-4)

    def normalised(network, x, target):
        maps = explain_linear(network, x, target).maps / x.mean()
        return Evidence(maps, maps.sum(dim=0), "logit")

    leaking = replace(case, explain=normalised, evidence=normalised(case.network, case.x, 1))
    factor = case.x.mean() / (case.x.mean() + 0.25)  # half of the pixels, by 0.5
    found = METRICS["background_shift"].measure(leaking, shift=0.5).value
    assert found == pytest.approx(abs(factor.item() - 1), abs=1e-4)


def test_evidence_on_an_added_empty_area_is_counted() -> None:
    network = build_network("cam_net", input_channels=2, classes=2, size=32)
    network.freeze()
    x = torch.zeros(1, 2, 32, 32)
    x[:, :, 8:20, 8:20] = 2.0
    background = (x == 0).all(dim=1)[0]
    bare = ExplanationCase(
        network, x, 1, explain_input(network, x, 1), explain_input, background=background
    )
    assert METRICS["empty_area"].measure(bare).value == 0  # nothing there is drawn from nothing

    def everywhere(_network, x, _target):
        return Evidence(torch.ones_like(x[0]), torch.ones_like(x[0, 0]), "logit")

    same = replace(bare, explain=everywhere, evidence=everywhere(network, x, 1))
    assert METRICS["empty_area"].measure(same).value == 0.5


def test_a_network_of_one_size_has_no_empty_area(linear_case) -> None:
    case = linear_case(background=torch.ones(6, 8, dtype=torch.bool))
    measured = METRICS["empty_area"].measure(case)
    assert np.isnan(measured.value)
    assert "takes no wider image" in measured.note


def test_suppressor_share(linear_case) -> None:
    case = linear_case(5, suppressor=2)
    size = case.evidence.maps.abs().sum(dim=(1, 2))
    measured = METRICS["suppressor_share"].measure(case)
    assert measured.value == pytest.approx((size[2] / size.sum()).item(), abs=1e-6)
    assert measured.chance == 0.2


def test_noise_moves_a_linear_map_by_the_noise(linear_case) -> None:
    case = linear_case(1, (40, 40))
    measured = METRICS["noise_change"].measure(case, noise=0.1, draws=4)
    # |w n| / |w x| with x and n independent of w: 0.1, to a few percent on 1600 pixels
    assert measured.value == pytest.approx(0.1, rel=0.15)
    assert measured.value == max(measured.details["changes"])
    assert len(set(measured.details["changes"])) == 4


def test_a_shift_moves_the_map_along_or_is_found_out(linear_case) -> None:
    case = linear_case(1, (20, 24))
    along = replace(case, explain=explain_input, evidence=explain_input(None, case.x, 1))
    assert METRICS["shift_change"].measure(along, distance=2).value == 0
    # weights that stay in their places: another map altogether
    assert METRICS["shift_change"].measure(case).value > 1


@pytest.mark.parametrize(
    "name", [name for name, metric in METRICS.items() if metric.needs == ("explain",)]
)
def test_work_is_reported_and_stops(linear_case, name: str) -> None:
    case = linear_case(1, (16, 16))
    events: list[object] = []
    measured = METRICS[name].measure(case, on_event=events.append)
    assert np.isfinite(measured.value)
    started = next(event for event in events if isinstance(event, Started))
    assert [event for event in events if isinstance(event, Advanced)][-1].done == started.total
    stopped = METRICS[name].measure(case, cancelled=lambda: True)
    assert stopped.partial
    assert np.isnan(stopped.value)
