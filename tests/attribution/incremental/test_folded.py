"""Folded passes give logits, gradients and maps of the network itself, and leave it alone."""

import copy

import pytest
import torch
from torch import Tensor, nn

from napari_why.attribution import METHODS, References, explaining
from napari_why.attribution.incremental import FoldedNetwork, fold, folded
from napari_why.attribution.input_gradients import input_gradient
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks import wrap

KINDS = ("cam_net", "iresnet", "iresnet, head elu", "resnext50", "small_cnn", "vae")


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> list[FoldedNetwork]:
    """Let networks be folded however small the work is; return those that were."""
    made: list[FoldedNetwork] = []

    class Noted(FoldedNetwork):
        def __init__(self, network, x) -> None:
            super().__init__(network, x)
            made.append(self)

    monkeypatch.setattr(folded, "FEWEST_PASSES", 0)
    monkeypatch.setattr(folded, "FEWEST_PIXELS", 0)
    monkeypatch.setattr(folded, "FoldedNetwork", Noted)
    return made


def batch_like(x: Tensor) -> Tensor:
    return torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_the_network(trained, kind: str) -> None:
    network, x = trained(kind)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = batch_like(x)
    with explaining(network):  # which checks that the network stays as it was
        quick = FoldedNetwork(network, x)
        with torch.no_grad():
            expected, found = network(images), quick(images)
        gradients = [input_gradient(each, images, 1)[1] for each in (network, quick)]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    scale = float(gradients[0].abs().max())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=2e-5 * scale)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_normalisations_are_gone(trained) -> None:
    network, x = trained("resnext50")
    norms = [item for item in network.modules() if isinstance(item, nn.BatchNorm2d)]
    calls = []
    handles = [item.register_forward_hook(lambda *_: calls.append(1)) for item in norms]
    try:
        quick = FoldedNetwork(network, x)
        asked = len(calls)
        with torch.no_grad():
            quick(x)
        assert len(calls) == asked  # the modules are not run
        assert not any(step.tail and len(step.tail) > 1 for step in quick._steps)
    finally:
        for handle in handles:
            handle.remove()


def test_activations_that_need_their_input_have_a_gradient(small_network) -> None:
    encoder = nn.Sequential(nn.Conv2d(2, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.Mish())
    network = small_network(encoder, 4)
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = input_gradient(network, x, 2)
    quick = input_gradient(FoldedNetwork(network, x), x, 2)
    for one, other in zip(plain, quick, strict=True):
        torch.testing.assert_close(one, other)


def test_small_work_and_strange_networks_are_left_to_the_network(trained, small_network) -> None:
    network, x = trained("cam_net")
    assert fold(network, x, folded.FEWEST_PASSES - 1) is network
    assert fold(network, x, 100) is network  # 100 x 48 x 64 pixels
    enough = -(-folded.FEWEST_PIXELS // x[0, 0].numel())
    assert isinstance(fold(network, x, enough), FoldedNetwork)

    class Centred(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(dim=0, keepdim=True) * (len(x) > 1)

    joining = small_network(nn.Sequential(nn.Conv2d(2, 4, 3), Centred()), 4)
    assert fold(joining, x, enough) is joining
    with pytest.raises(UnsupportedNetworkError):
        FoldedNetwork(joining, x)


def test_whole_fields_are_not_followed(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = trained("cam_net")
    monkeypatch.setattr(folded, "MOST_PIXELS", x[0, 0].numel() - 1)
    assert fold(network, x, 10**6) is network


def test_a_network_of_the_users_own_is_folded(folding) -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    network = wrap(encoder, head, input_channels=2, classes=3, layers=["2"])
    network.freeze()
    x = torch.randn(1, 2, 12, 12)
    quick = fold(network, x, 1)
    assert folding == [quick]
    torch.testing.assert_close(quick(x), network(x))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rise", {"samples": 6}),
        ("region_shapley", {"pairs": 2, "exact": 0}),
        ("region_shapley", {"exact": 4}),
        ("score_cam", {}),
        ("expected_gradients", {"samples": 4}),
        ("integrated_gradients", {"steps": 4}),
        ("smoothgrad", {"samples": 4}),
    ],
)
def test_maps_are_those_of_the_network(trained, folding, method: str, options) -> None:
    network, x = trained("cam_net")
    options = dict(options)
    if method == "region_shapley":
        options["regions"] = (
            torch.arange(4)
            .view(2, 2)
            .repeat_interleave(x.shape[2] // 2, 0)
            .repeat_interleave(x.shape[3] // 2, 1)
        )
    if method == "expected_gradients":
        options["references"] = References(batch_like(x), torch.tensor([0, 2, 1]))
    run = METHODS[method].function
    other = copy.deepcopy(network)
    with explaining(network):
        quick = run(network, x, 1, **options)
    assert len(folding) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded, "FEWEST_PASSES", 10**9)
        with explaining(other):
            plain = run(other, x, 1, **options)
    assert len(folding) == 1
    for one, theirs in ((quick.maps, plain.maps), (quick.joint, plain.joint)):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(one, theirs, rtol=0, atol=1e-4 * scale + 1e-6)
