"""Steps in bfloat16: only convolutions and products are, and what rests upon weights is as after float32."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.devices import (
    DeviceChoice,
    at_least_float32,
    autocast_to,
    check_precision,
    without_autocast,
)
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.fitting import fit
from napari_why.networks import NETWORKS, Network, build_network, invert
from napari_why.networks.iresnet import IResNet
from napari_why.networks.modules import ActNorm
from napari_why.networks.spectral import SpectralConv2d
from napari_why.simulation import simulate
from napari_why.training import TrainingOptions
from napari_why.training import train as train_module

SIZE = 32
QUICK: dict[str, dict[str, Any]] = {
    "resnext50": {"weights": "random"},
    "iresnet": {"widths": "4", "isometry": "0.1"},
    "cam_net": {"joint_loss": True},
    **{
        name: {"widths": "4,4", "latent_dimensions": 5}
        for name in ("vae", "autoencoder", "denoising_autoencoder")
    },
}
# one epoch of two steps
TWO_STEPS = {"epochs": 1, "batch_size": 4, "auxiliary_weight": 1.0, "device": "cpu"}
CPU = torch.device("cpu")


def build(name: str) -> Network:
    return build_network(name, input_channels=2, classes=2, size=SIZE, **QUICK.get(name, {}))


def dtypes_while(network: Network, run: Callable[[], Any]) -> dict[bool, set[torch.dtype]]:
    """Return the types of what convolutions gave, in training and in evaluation mode."""
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    handles = [
        module.register_forward_hook(
            lambda module, _, output: seen[module.training].add(output.dtype)
        )
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def dense_norm(kernel: Tensor, resolution: tuple[int, int]) -> float:
    """Largest singular value of the zero-padded convolution written as a matrix, in float64."""
    count = kernel.shape[1] * resolution[0] * resolution[1]
    basis = torch.eye(count, dtype=torch.float64).view(count, kernel.shape[1], *resolution)
    columns = F.conv2d(basis, kernel.double(), padding=kernel.shape[-1] // 2)
    return float(torch.linalg.svdvals(columns.flatten(1))[0])


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_shipped_network_trains_in_bfloat16_and_stays_float32(
    name, train_steadily, bright_and_dark
):
    images, watched = bright_and_dark(8, size=SIZE), bright_and_dark(5, seed=1, size=SIZE)
    results = {}
    for precision in ("float32", "bfloat16"):
        network = build(name)

        def run(network: Network = network, precision: str = precision) -> None:
            results[precision] = train_steadily(
                network, images, watched, precision=precision, averaging=0.5, **TWO_STEPS
            )

        seen = dtypes_while(network, run)
        assert seen == {True: {getattr(torch, precision)}, False: {torch.float32}}
    exact, rounded = (results[name].network.state_dict() for name in ("float32", "bfloat16"))
    assert {key: value.dtype for key, value in rounded.items()} == {
        key: value.dtype for key, value in exact.items()
    }
    assert all(
        value.dtype is torch.float32 for value in rounded.values() if value.is_floating_point()
    )
    assert not all(torch.equal(value, exact[key]) for key, value in rounded.items())
    # what is validated is the kept network, in float32
    network = results["bfloat16"].network
    with torch.no_grad():
        maps = network.feature_maps(watched.stack)
        loss = F.cross_entropy(network.head(maps[network.layer_names[-1]]), watched.labels)
        loss = loss + sum(network.training_losses(watched.stack, maps).values())
    found = results["bfloat16"].history[0]["validation_loss"]
    assert found == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("locked", ["", "0"])
def test_the_certificate_and_the_inverse_are_those_of_float32(
    train_steadily, bright_and_dark, locked
):
    images, watched = bright_and_dark(8, size=16), bright_and_dark(4, seed=1, size=16)
    errors = []
    for precision in ("float32", "bfloat16"):
        network = build_network(
            "iresnet", input_channels=2, classes=2, size=16, blocks="2", widths="6", locked=locked
        )
        assert isinstance(network, IResNet)
        for block in network.named_blocks().values():
            for _, convolution in block.convolutions():
                convolution.weight.data.mul_(4)  # so that every norm is above what is allowed
        train_steadily(network, images, None, precision=precision, **TWO_STEPS)
        network.freeze()
        for block in network.named_blocks().values():
            kernels = [module.weight for module in block.branch if isinstance(module, nn.Conv2d)]
            norms = [dense_norm(kernel, block.resolution) for kernel in kernels]
            assert norms == pytest.approx([0.8] * 3, rel=1e-3), "they decide"
            for norm, certified in zip(norms, block.certified_norms.tolist(), strict=True):
                assert norm <= certified * (1 + 1e-6)
            assert block.lipschitz_bound < 1
        inversion = invert(network, network.last_latent(watched.stack))
        assert inversion.converged
        errors.append(float((inversion.x - watched.stack).abs().max()))
    # that of every invertible network of float32 (tests/networks/test_inverse.py)
    assert max(errors) < 5e-5


def test_norms_are_computed_in_float32_in_the_middle_of_a_pass():
    inside, outside = (
        SpectralConv2d(3, 4, 3, (8, 8), 0.8, 2),
        SpectralConv2d(3, 4, 3, (8, 8), 0.8, 2),
    )
    outside.load_state_dict(inside.state_dict())
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with autocast_to("bfloat16", CPU):
        made = inside(x)
        norm, kernel = inside.norm(), inside.normalised_weight()
    exact = outside(x)
    assert (made.dtype, norm.dtype, kernel.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert torch.equal(inside.right_vector, outside.right_vector)
    assert torch.equal(norm, outside.norm())
    assert torch.equal(kernel, outside.normalised_weight())
    torch.testing.assert_close(made.float(), exact, rtol=0.02, atol=0.02)
    # the gradient reaches the weights through the norm, too
    torch.autograd.backward(made.float().square().sum())
    torch.autograd.backward(exact.square().sum())
    assert inside.weight.grad is not None and outside.weight.grad is not None
    assert inside.weight.grad.dtype is torch.float32
    difference = (inside.weight.grad - outside.weight.grad).norm() / outside.weight.grad.norm()
    assert 0 < difference < 0.02


def test_statistics_of_maps_are_taken_in_float32():
    """In bfloat16 a mean near 1 would be off by up to 0.002 of it."""
    maps = (1 + torch.randn(8, 3, 9, 9, generator=torch.Generator().manual_seed(0))).bfloat16()
    mean = maps.float().mean((0, 2, 3))
    variance = maps.float().var((0, 2, 3))
    norm, actnorm = nn.BatchNorm2d(3, momentum=1.0), ActNorm(3)
    with autocast_to("bfloat16", CPU):
        norm(maps)
        made = actnorm(maps)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    assert made.dtype is torch.float32


@pytest.mark.parametrize("name", ["iresnet", "vae", "autoencoder", "denoising_autoencoder"])
def test_losses_of_a_network_are_float32(name, bright_and_dark):
    network, x = build(name).train(), bright_and_dark(4, size=SIZE).stack
    with autocast_to("bfloat16", CPU):
        done = network.training_pass(x)
        losses = {**network.training_losses(x, done.maps), **done.penalties}
    assert losses
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@pytest.mark.parametrize("loss", ["cross_entropy", "class_distance"])
def test_a_training_in_bfloat16_is_resumed_to_the_same_weights(
    train_steadily, tiny_network, train, validation, tmp_path, loss
):
    settings = {"precision": "bfloat16", "loss": loss, "batch_size": 5, "averaging": 1.5}

    def run(epochs: int, **further: Any) -> Any:
        return train_steadily(
            tiny_network(), train, validation, epochs=epochs, **settings, **further
        )

    whole = run(3)
    run(2, checkpoint_folder=tmp_path)
    resumed = run(3, checkpoint_folder=tmp_path, resume=True)
    assert resumed.history == whole.history
    weights = whole.network.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in resumed.network.state_dict().items())
    settings["precision"] = "float32"
    with pytest.raises(ModelFileError, match="precision was bfloat16 and is now None"):
        run(4, checkpoint_folder=tmp_path, resume=True)


def test_checkpoints_of_float32_are_those_of_before_there_was_a_choice(tiny_network):
    assert "precision" not in TrainingOptions(epochs=1).identity(tiny_network())
    asked = TrainingOptions(epochs=1, precision="bfloat16").identity(tiny_network())
    assert asked["precision"] == "bfloat16"


def test_a_device_without_bfloat16_is_refused(
    monkeypatch, train_steadily, tiny_network, train, validation
):
    check_precision("float32", "meta")
    with pytest.raises(ParameterError, match="precision: found bfloat16 on meta"):
        check_precision("bfloat16", "meta")  # for which torch knows no autocast
    monkeypatch.setattr(train_module, "choose_device", lambda wanted: DeviceChoice("meta", wanted))
    with pytest.raises(ParameterError, match="found bfloat16 on meta, which cannot"):
        train_steadily(tiny_network(), train, validation, epochs=1, precision="bfloat16")


def test_a_likelihood_is_not_trained_on_derivatives_of_bfloat16(train_steadily, bright_and_dark):
    network, images = build("iresnet"), bright_and_dark(4, size=SIZE)
    settings = {"loss": "gaussian_likelihood", "precision": "bfloat16"}
    with pytest.raises(ParameterError, match=r"found bfloat16 with the loss gaussian_likelihood"):
        train_steadily(network, images, None, epochs=1, **settings)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ParameterError, match="precision: found 'float16'; expected one of float32"):
        TrainingOptions(precision="float16")


def test_nothing_is_cast_outside_or_where_it_must_not_be():
    x = torch.ones(1, 1, 3, 3)
    with autocast_to("float32", CPU):
        assert F.conv2d(x, x).dtype is torch.float32
    with autocast_to("bfloat16", CPU):
        assert F.conv2d(x, x).dtype is torch.bfloat16
        with without_autocast(CPU):
            assert F.conv2d(x, x).dtype is torch.float32
        assert F.conv2d(x, x).dtype is torch.bfloat16
    assert F.conv2d(x, x).dtype is torch.float32
    assert at_least_float32(x.double()).dtype is torch.float64


def test_norms_are_exact_on_devices_without_autocast_too():
    with without_autocast(torch.device("meta")):
        assert F.conv2d(
            torch.ones(1, 1, 3, 3, device="meta"), torch.ones(1, 1, 3, 3, device="meta")
        ).is_meta


def test_what_cannot_be_trained_is_refused_before_any_work():
    heard = []
    dataset = simulate(8, size=SIZE, wells=8)
    with pytest.raises(ParameterError, match="found bfloat16 with the loss gaussian_likelihood"):
        fit(
            dataset,
            size=SIZE,
            loss="gaussian_likelihood",
            precision="bfloat16",
            on_event=heard.append,
        )
    assert heard == []
