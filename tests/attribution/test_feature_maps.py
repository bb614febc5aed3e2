"""Feature-map methods against their definitions, written out map by map and place by place."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_why.attribution import METHODS, attribute
from napari_why.attribution.class_activation_maps import spread_to_pixels
from napari_why.attribution.registry import baseline_image
from napari_why.attribution.targets import Readout, TargetNetwork
from napari_why.core.errors import ParameterError
from napari_why.model import Classifier
from napari_why.networks import build_network

multilayer_cam, score_cam = METHODS["multilayer_cam"].function, METHODS["score_cam"].function
plus_plus, layer_cam = METHODS["grad_cam_plus_plus"].function, METHODS["layer_cam"].function


def maps_and_gradients(network, x, target: int, layer: str):
    """Return a layer's feature maps (K, h, w) and the gradients of one logit."""
    maps = network.feature_maps(x.clone().requires_grad_())
    logit = network.head(maps[network.layer_names[-1]])[0, target]
    (gradient,) = torch.autograd.grad(logit, maps[layer])
    return maps[layer][0].detach(), gradient[0]


@pytest.mark.parametrize("layer", ["block2", "block4"])
def test_grad_cam_plus_plus_is_its_formula(case, layer: str) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    maps, gradient = maps_and_gradients(network, x, 1, layer)
    expected = torch.zeros(maps.shape[1:])
    for feature, slope in zip(maps, gradient, strict=True):
        weight = 0.0
        for place in slope.flatten().tolist():
            whole = 2 * place**2 + feature.sum().item() * place**3
            weight += place**2 / whole * max(place, 0) if place else 0.0
        expected += weight * feature
    size = x.shape[-2:]
    found = plus_plus(network, x, 1, layer=layer)
    torch.testing.assert_close(
        found.joint, spread_to_pixels(expected[None], size)[0], rtol=1e-3, atol=1e-6
    )
    cut = plus_plus(network, x, 1, layer=layer, relu=True)
    assert cut.joint.min() >= 0


def test_the_exponential_of_the_paper_multiplies_all_weights_alike(case) -> None:
    """exp(s) in place of s: the reason why it may be left out."""
    network, x = case("cam_net").network, case("cam_net").x
    maps, slope = maps_and_gradients(network, x, 1, "block4")

    def weights(first, second, third):
        whole = 2 * second + maps.sum((1, 2), keepdim=True) * third
        share = torch.where(whole == 0, torch.zeros(()), second / whole)
        return (share * first.relu()).sum((1, 2))

    ours = weights(slope, slope**2, slope**3)
    y = network(x)[0, 1].exp()
    papers = weights(y * slope, y * slope**2, y * slope**3)
    torch.testing.assert_close(papers, y * ours)


def test_layer_cam_is_hires_cam_without_gradients_against_the_class(case) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    for layer in ("block1", "block3"):
        maps, gradient = maps_and_gradients(network, x, 2, layer)
        expected = sum(g.clamp(min=0) * a for g, a in zip(gradient, maps, strict=True))
        found = layer_cam(network, x, 2, layer=layer).joint
        torch.testing.assert_close(found, spread_to_pixels(expected[None], x.shape[-2:])[0])
        against = sum(g.clamp(max=0) * a for g, a in zip(gradient, maps, strict=True))
        hires = METHODS["hires_cam"].function(network, x, 2, layer=layer).joint
        torch.testing.assert_close(
            found + spread_to_pixels(against[None], x.shape[-2:])[0], hires, rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("baseline", ["mean", "zero", "blur"])
def test_score_cam_is_its_formula(case, baseline: str) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    zero = torch.full_like(x, -1.5)
    absent = baseline_image(x, baseline, zero, 7.5)
    maps = network.encode(x)[0]
    expected = torch.zeros(maps.shape[1:])
    for feature in maps:
        if not feature.any():  # silent: whatever its weight, it adds nothing
            continue
        mask = (feature - feature.min()) / (feature.max() - feature.min())
        mask = F.interpolate(mask[None, None], size=x.shape[-2:], mode="bilinear")
        seen = absent + mask * (x - absent)
        expected += (network(seen) - network(absent))[0, 1] * feature
    given = {"baseline": baseline, "raw_zero": zero}
    found = score_cam(network, x, 1, **given)
    on_pixels = spread_to_pixels(expected[None], x.shape[-2:])[0]
    torch.testing.assert_close(found.joint, on_pixels, rtol=1e-4, atol=1e-6)
    cut = score_cam(network, x, 1, relu=True, **given).joint
    cut_expected = spread_to_pixels(expected.relu()[None], x.shape[-2:])[0]
    torch.testing.assert_close(cut, cut_expected, rtol=1e-4, atol=1e-6)


def test_score_cam_takes_the_maps_that_vary_most_and_stops_when_told(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x
    spread = network.encode(x)[0].flatten(1).std(dim=1, correction=0)
    two = score_cam(network, x, 1, maps=2)
    assert (two.details["maps"], two.partial) == (2, False)
    stopped = []
    early = score_cam(
        network, x, 1, batch=1, on_event=stopped.append, cancelled=lambda: len(stopped) >= 4
    )
    assert early.partial
    assert early.details["maps_done"] == 2
    torch.testing.assert_close(early.joint, two.joint, rtol=1e-4, atol=1e-6)
    # by hand: nothing but the two maps that vary most
    maps = network.encode(x)[0]
    expected = torch.zeros(maps.shape[1:])
    for index in spread.argsort(descending=True)[:2]:
        mask = (maps[index] - maps[index].min()) / (maps[index].max() - maps[index].min())
        seen = F.interpolate(mask[None, None], size=x.shape[-2:], mode="bilinear") * x
        expected += (network(seen) - network(0 * x))[0, 1] * maps[index]
    on_pixels = spread_to_pixels(expected[None], x.shape[-2:])[0]
    torch.testing.assert_close(two.joint, on_pixels, rtol=1e-4, atol=1e-6)


def test_score_cam_of_a_layer_with_one_position_hides_nothing(small_network) -> None:
    torch.manual_seed(0)
    network = small_network(nn.Sequential(nn.Conv2d(2, 4, 8), nn.ELU()), 4)
    x = torch.randn(1, 2, 8, 8)
    found = score_cam(network, x, 1)
    whole = (network(x) - network(0 * x))[0, 1] * network.encode(x).sum()
    torch.testing.assert_close(found.joint, torch.full((8, 8), whole.item() / 64))


class OneImageAtATime(nn.Module):
    """Notes the largest batch that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.seen = nn.Conv2d(2, 40, 3), [0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen[0] = max(self.seen[0], len(x))
        return self.conv(x).relu()


def test_score_cam_never_holds_more_masked_images_than_a_batch(small_network) -> None:
    network = small_network(OneImageAtATime(), 40)
    score_cam(network, torch.randn(1, 2, 12, 12), 0, batch=5)
    assert network.encoder.seen[0] == 5


@pytest.fixture(scope="module")
def joint():
    """A network with a classifier on every block."""
    network = build_network(
        "cam_net", input_channels=2, classes=3, size=32, seed=0, joint_loss=True
    )
    network.freeze()
    return network


def test_multilayer_cam_takes_the_classifiers_that_blocks_have(joint) -> None:
    x = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    found = multilayer_cam(joint, x, 1)
    each = {name: METHODS["cam"].function(joint, x, 1, layer=name) for name in joint.layer_names}
    assert list(found.layers) == list(joint.layer_names)
    for name, evidence in each.items():
        torch.testing.assert_close(found.layers[name], evidence.joint)
    torch.testing.assert_close(found.joint, sum(item.joint for item in each.values()) / 4)
    torch.testing.assert_close(found.maps, sum(item.maps for item in each.values()) / 4)
    logits = joint.block_logits(joint.feature_maps(x))
    assert found.explained == pytest.approx(sum(v[0, 1].item() for v in logits.values()) / 4)
    assert found.joint.sum().item() + found.constants == pytest.approx(found.explained, abs=1e-4)
    assert found.gap < 1e-3


def test_multilayer_cam_of_other_networks_is_grad_cam_layer_by_layer(case) -> None:
    for kind in ("cam_net", "iresnet", "vae"):
        network, x = case(kind).network, case(kind).x
        found = multilayer_cam(network, x, 2)
        last = network.layer_names.index(network.located_layer)
        assert list(found.layers) == list(network.layer_names[: last + 1])
        for name, values in found.layers.items():
            grad_cam = METHODS["grad_cam"].function(network, x, 2, layer=name)
            torch.testing.assert_close(values, grad_cam.joint, rtol=1e-4, atol=1e-7)
        assert found.gap is None
        with pytest.raises(ParameterError, match="no linear classifier on"):
            multilayer_cam(network, x, 2, weighting="classifiers")


def test_the_mean_feature_map_tells_of_no_class(case) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    one, other = (multilayer_cam(network, x, k, weighting="channel_mean") for k in (0, 1))
    assert torch.equal(one.joint, other.joint)
    maps = network.feature_maps(x)["block3"][0]
    expected = spread_to_pixels(maps.mean(0)[None] / maps[0].numel(), x.shape[-2:])[0]
    torch.testing.assert_close(one.layers["block3"], expected)
    assert one.unit == "activation per pixel"


def test_maps_of_layers_reach_who_asks(classifier, image, joint) -> None:
    deep = Classifier(joint, classifier.preprocessing, classifier.classes)
    found = attribute(deep, image, "multilayer_cam", "treated")
    assert list(found.layers) == ["block1", "block2", "block3", "block4"]
    assert all(values.shape == (16, 16) for values in found.layers.values())
    assert "of the score that the layers' classifiers together gives" in found.completeness
    assert attribute(deep, image, "grad_cam").layers == {}


@pytest.mark.parametrize("name", ["grad_cam_plus_plus", "layer_cam", "multilayer_cam"])
def test_channel_maps_are_the_change_when_a_channel_is_at_its_mean(case, name: str) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    method = METHODS[name].function
    whole = method(network, x, 1)
    for channel in range(2):
        without = x.clone()
        without[:, channel] = 0
        change = whole.joint - method(network, without, 1).joint
        scale = whole.joint.abs().max().item()
        torch.testing.assert_close(whole.maps[channel], change, atol=1e-4 * scale, rtol=1e-3)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("name", "detail"),
    [("guided_grad_cam", "guided_backprop"), ("guided_deconvolution_cam", "deconvolution")],
)
def test_guided_maps_are_a_product_pixel_by_pixel(case, name: str, detail: str, relu: bool) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    place = METHODS["grad_cam"].function(network, x, 1, layer="block2", relu=relu).joint
    gradient = METHODS[detail].function(network, x, 1).maps
    found = METHODS[name].function(network, x, 1, layer="block2", relu=relu)
    torch.testing.assert_close(found.maps, gradient * place)
    torch.testing.assert_close(found.joint, (gradient * place).sum(0))
    assert found.gap is None
    stopped = METHODS[name].function(network, x, 1, cancelled=lambda: True)
    assert stopped.partial
    assert not stopped.maps.any()


def test_a_contrast_of_classes_has_no_classifiers_on_blocks(joint) -> None:
    """Those have logits of classes; the row of another class must not be taken for a contrast's."""
    contrast = TargetNetwork(joint, Readout(torch.tensor([-1.0, 0.0, 1.0]), embedded=False))
    x = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    found = multilayer_cam(contrast, x, 0)
    assert found.details["weighting"] == "gradients"
    one, other = (multilayer_cam(joint, x, k, weighting="gradients").joint for k in (2, 0))
    torch.testing.assert_close(found.joint, one - other, rtol=1e-3, atol=1e-6)


def test_three_methods_that_are_one_for_a_linear_head_say_so(classifier, image, joint) -> None:
    """Three equal maps would else be counted as three methods that agree."""
    owner = Classifier(joint, replace(classifier.preprocessing, size=32), classifier.classes)
    methods = ("cam", "grad_cam", "hires_cam")
    found = [attribute(owner, image, method) for method in methods]
    for other in found[1:]:
        torch.testing.assert_close(
            torch.from_numpy(other.joint), torch.from_numpy(found[0].joint), atol=1e-6, rtol=1e-4
        )
    for result in found:
        assert any("the same map for this network" in note for note in result.notes)
    earlier = [attribute(owner, image, method, layer="block1") for method in methods[1:]]
    assert not (earlier[0].joint == earlier[1].joint).all()
    for result in earlier:
        assert not any("the same map for this network" in note for note in result.notes)
