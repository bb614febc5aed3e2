"""CAM, Grad-CAM and HiRes-CAM: their definitions, and where they agree."""

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.nn import functional as F

from napari_why.attribution import METHODS
from napari_why.attribution.class_activation_maps import spread_to_pixels
from napari_why.core.errors import ParameterError
from napari_why.networks import build_network, wrap
from napari_why.networks.convolutional import CamNet

cam, grad_cam = METHODS["cam"].function, METHODS["grad_cam"].function
hires_cam = METHODS["hires_cam"].function


@pytest.mark.parametrize("target", [0, 1, 2])
def test_hires_cam_and_grad_cam_equal_cam_on_pooling_and_linear_head(shipped, target: int) -> None:
    reference = cam(shipped.network, shipped.x, target)
    for method in (hires_cam, grad_cam):
        evidence = method(shipped.network, shipped.x, target)
        scale = reference.joint.abs().max().item()
        torch.testing.assert_close(evidence.joint, reference.joint, atol=1e-5 * scale, rtol=1e-4)
        torch.testing.assert_close(evidence.maps, reference.maps, atol=1e-5 * scale, rtol=1e-4)


def test_cam_is_the_weighted_sum_of_the_last_maps_and_adds_up_to_the_logit(shipped) -> None:
    network, x = shipped.network, shipped.x
    maps, weights = network.encode(x)[0], network.linear_head_weights[1]
    on_grid = sum(w * m for w, m in zip(weights, maps, strict=True)) / maps[0].numel()
    evidence = cam(network, x, 1)
    torch.testing.assert_close(
        evidence.joint, spread_to_pixels(on_grid[None], x.shape[-2:])[0], atol=1e-7, rtol=1e-4
    )
    bias = network.head(torch.zeros_like(maps[None]))[0, 1]
    expected = (network(x)[0, 1] - bias).item()
    assert evidence.joint.sum().item() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert evidence.gap < 1e-3


@pytest.fixture
def joint() -> CamNet:
    """An untrained network with a classifier on every block."""
    network = build_network(
        "cam_net", input_channels=2, classes=3, size=32, seed=0, joint_loss=True
    )
    network.freeze()
    return network


@pytest.mark.parametrize("layer", ["block1", "block2", "block3", "block4", "last"])
def test_cam_at_a_block_is_weighted_by_that_blocks_own_classifier(joint, layer: str) -> None:
    x = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = joint.feature_maps(x)
    name = "block4" if layer == "last" else layer
    head = joint.classifier if name == "block4" else joint.block_classifiers[name]
    on_grid = torch.einsum("k,khw->hw", head.linear.weight[1], maps[name][0])
    expected = spread_to_pixels(on_grid[None] / on_grid.numel(), (32, 32))[0]
    evidence = cam(joint, x, 1, layer=layer)
    torch.testing.assert_close(evidence.joint, expected)
    logit = joint.block_logits(maps)[name][0, 1].item()
    assert evidence.explained == pytest.approx(logit)
    assert evidence.constants == pytest.approx(head.linear.bias[1].item(), abs=1e-6)
    total = evidence.joint.sum().item() + evidence.constants
    assert total == pytest.approx(logit, abs=1e-4)
    assert evidence.gap < 1e-3
    if name != "block4":
        assert not torch.allclose(evidence.joint, cam(joint, x, 1).joint)


@pytest.mark.parametrize(
    ("kind", "layer"), [("cam_net", "block1"), ("resnext50", "layer2"), ("iresnet", "stage1")]
)
def test_cam_of_a_layer_without_a_classifier_is_refused(case, kind: str, layer: str) -> None:
    network, x = case(kind).network, case(kind).x
    with pytest.raises(ParameterError, match=f"layer: found '{layer}'; expected 'last' or a layer"):
        cam(network, x, 1, layer=layer)


def test_channel_maps_are_the_change_when_a_channel_is_set_to_its_mean(shipped) -> None:
    for method in (cam, hires_cam, grad_cam):
        whole = method(shipped.network, shipped.x, 1)
        for channel in range(2):
            without = shipped.x.clone()
            without[:, channel] = 0
            change = whole.joint - method(shipped.network, without, 1).joint
            scale = whole.joint.abs().max().item()
            torch.testing.assert_close(whole.maps[channel], change, atol=1e-4 * scale, rtol=1e-3)


def test_inner_layers_equal_their_definition(case) -> None:
    network, x = case("cam_net").network, case("cam_net").x
    leaf = x.clone().requires_grad_()
    maps = network.feature_maps(leaf)
    (gradient,) = torch.autograd.grad(network.head(maps["block4"])[0, 1], maps["block2"])
    feature = maps["block2"][0].detach()
    fine = (gradient[0] * feature).sum(0)
    coarse = (gradient[0].mean((1, 2))[:, None, None] * feature).sum(0)
    size = x.shape[-2:]
    for method, expected in ((hires_cam, fine), (grad_cam, coarse)):
        evidence = method(network, x, 1, layer="block2")
        torch.testing.assert_close(evidence.joint, spread_to_pixels(expected[None], size)[0])
        assert evidence.gap is None
    positive = grad_cam(network, x, 1, layer="block2", relu=True).joint
    assert positive.min() >= 0
    torch.testing.assert_close(positive, spread_to_pixels(coarse.relu()[None], size)[0])


def test_grad_cam_equals_captum(case) -> None:
    network, x = case("resnext50").network, case("resnext50").x
    theirs = LayerGradCam(network, network.backbone.layer3).attribute(x, target=2)
    ours = grad_cam(network, x, 2, layer="layer3")
    torch.testing.assert_close(
        ours.joint, spread_to_pixels(theirs[0].detach(), x.shape[-2:])[0], atol=1e-7, rtol=1e-3
    )


@pytest.mark.parametrize("layer", ["0", "encoder"])
def test_the_encoder_remembers_a_pass_where_a_gradient_goes_through_it(layer: str) -> None:
    class Watching(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((len(x), torch.is_grad_enabled()))
            return super().forward(x)

    seen: list[tuple[int, bool]] = []
    encoder = nn.Sequential(nn.Conv2d(2, 4, 3), Watching(4, 4, 3))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network = wrap(encoder, head, input_channels=2, classes=2, layers=["0"], size=8)
    network.freeze()
    seen.clear()
    found = grad_cam(network, torch.ones(1, 2, 8, 8), 1, layer=layer)
    assert found.joint.any()
    # the image with and without each channel, and the image alone once more, to see whether logits differ
    assert seen == [(3, layer == "0"), (1, False)]


def test_layers_are_asked_for_by_name(shipped) -> None:
    last = shipped.network.layer_names[-1]
    named = hires_cam(shipped.network, shipped.x, 0, layer=last)
    assert torch.equal(named.joint, hires_cam(shipped.network, shipped.x, 0).joint)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 4)])
def test_interpolation_keeps_the_sum_and_the_place(shape: tuple[int, int]) -> None:
    coarse = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    fine = spread_to_pixels(coarse, (shape[0] * 8, shape[1] * 8))
    torch.testing.assert_close(fine.sum(), coarse.sum())
    back = F.avg_pool2d(fine, 8)[0] * 64
    assert nn.CosineSimilarity(0)(back.flatten(), coarse.flatten()) > 0.85


def test_the_last_layer_of_an_autoencoder_is_the_one_with_positions(case) -> None:
    network, x = case("vae").network, case("vae").x
    for name in ("grad_cam", "hires_cam"):
        assert METHODS[name].function(network, x, 1).details["layer_grid"] == [4, 4]
    assert "linear head" in METHODS["cam"].unsuitable(network)
    # from the last block on the network is affine, so HiResCAM adds up
    evidence = METHODS["hires_cam"].function(network, x, 1)
    nothing = network.head(network.to_latent(0 * network.feature_maps(x)["block3"]))
    expected = (network(x) - nothing)[0, 1].item()
    assert evidence.joint.sum().item() == pytest.approx(expected, rel=1e-3)
