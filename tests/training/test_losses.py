"""Losses on the latent: the log-determinant against the exact one, and what the others measure."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from napari_why.core.errors import ParameterError
from napari_why.networks import build_network
from napari_why.networks.invertible_stage import log_determinant
from napari_why.networks.iresnet import IResNet
from napari_why.training import TensorExamples
from napari_why.training.losses import (
    balanced_weights,
    class_distance,
    gaussian_negative_log_likelihood,
    latent_loss,
    weighted_cross_entropy,
)

TINY: dict[str, Any] = {"size": 4, "blocks": "2,1", "widths": "4,4", "downscaling": "2,2"}


def tiny(**parameters: Any) -> IResNet:
    """Return a tiny network whose ActNorms have seen a batch."""
    network = build_network(
        "iresnet", input_channels=2, classes=2, **({"coefficient": 0.7} | TINY | parameters)
    )
    assert isinstance(network, IResNet)
    network.train()
    network(noise(8))
    return network.eval()


def with_long_branches(network: IResNet) -> IResNet:
    """Let every kernel pass its channels through, so that the branches change volumes much."""
    generator = torch.Generator().manual_seed(4)
    for block in network.named_blocks().values():
        for _, convolution in block.convolutions():
            torch.nn.init.dirac_(convolution.weight)
            jitter = 0.1 * torch.randn(convolution.weight.shape, generator=generator)
            convolution.weight.data.add_(jitter)
            convolution.converge()
    return network


def noise(count: int, seed: int = 1) -> Tensor:
    return 2 * torch.randn(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def exact_log_determinant(network: IResNet, x: Tensor) -> float:
    """Return log|det| of the Jacobian of the free latent with respect to the free channels."""
    free = [channel for channel in range(2) if channel not in network.locked]

    def encode(part: Tensor) -> Tensor:
        whole = x.clone()
        whole[0, free] = part.view(len(free), 4, 4)
        return network.last_latent(whole)[0, network.locked_latent_channels() :].flatten()

    jacobian = torch.autograd.functional.jacobian(encode, x[0, free].flatten())
    return float(torch.linalg.slogdet(jacobian.double()).logabsdet)


@pytest.mark.parametrize("locked", ["", "0"])
def test_log_determinant_is_the_exact_one(locked: str) -> None:
    network, x = with_long_branches(tiny(locked=locked, widths="8,32")), noise(1, seed=5)
    exact = exact_log_determinant(network, x)
    many = x.repeat(2000, 1, 1, 1)  # random sign vectors to average over
    _, branches = network.training_maps(many)
    scales = sum(float(b.log_scale.detach().sum()) * b.branch[0, 0].numel() for b in branches)
    of_blocks = abs(exact - scales)
    assert of_blocks > 1  # nats; the ActNorms are exact anyway
    gaps = {}
    for terms in (1, 3, 8):
        generator = torch.Generator().manual_seed(0)
        estimate = log_determinant(branches, generator, terms=terms).detach()
        assert estimate.shape == (2000,)
        gaps[terms] = abs(float(estimate.mean()) - exact)
    noise_of_mean = float(estimate.std()) / math.sqrt(len(many))
    assert gaps[1] > gaps[3]
    assert gaps[3] < 0.05 * of_blocks + 4 * noise_of_mean
    assert gaps[8] < 0.002 * of_blocks + 4 * noise_of_mean
    assert noise_of_mean < 0.02 * of_blocks


def test_log_determinant_has_a_gradient_for_kernels_and_scales() -> None:
    network = tiny(locked="1").train()
    _, branches = network.training_maps(noise(4))
    log_determinant(branches, torch.Generator().manual_seed(0)).mean().backward()
    for name, parameter in network.named_parameters():
        if name.startswith("stages.stage1") and name.endswith(("log_scale", "conv1.weight")):
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_gaussian_likelihood_is_that_of_the_fitted_normal_distributions() -> None:
    latent, labels = torch.randn(6, 3, 2, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    total = 0.0
    for label in (0, 1):
        own = latent[labels == label].transpose(0, 1).flatten(1)
        normal = torch.distributions.Normal(own.mean(1), own.std(1, correction=0))
        total -= float(normal.log_prob(own.T).sum())
    found = gaussian_negative_log_likelihood(latent, labels)
    assert float(found) == pytest.approx(total / latent.numel(), rel=1e-4)


def test_the_likelihood_of_images_does_not_depend_on_the_scale_of_the_latent() -> None:
    """Shrinking the latent raises its density by as much as the log-determinant falls."""
    network, x, labels = tiny().train(), noise(6), torch.tensor([0, 1, 0, 1, 0, 1])
    last = list(network.named_blocks().values())[-1]

    def loss() -> float:
        generator = torch.Generator().manual_seed(0)
        found = latent_loss(
            "gaussian_likelihood", network, network.training_pass(x), labels, generator
        )
        return float(found["gaussian_likelihood"].detach())

    for name, convolution in last.convolutions():
        if name == "conv3":
            torch.nn.init.zeros_(convolution.weight)
    before = loss()
    last.actnorm.log_scale.data.sub_(2.0)
    assert loss() == pytest.approx(before, abs=1e-4)


def test_class_distance_does_not_depend_on_scale_or_place() -> None:
    latent, labels = torch.randn(8, 5, 2, 2), torch.arange(8) % 2
    distance = class_distance(latent, labels)
    assert 0 < float(distance) < 1
    torch.testing.assert_close(
        class_distance(0.01 * latent + 3, labels), distance, rtol=1e-2, atol=0
    )
    apart = latent + 10 * labels.view(-1, 1, 1, 1)
    assert float(class_distance(apart, labels)) < 0.1 * float(distance)


def test_locked_channels_have_no_part_in_the_losses() -> None:
    network, x, labels = tiny(locked="0"), noise(6), torch.arange(6) % 2
    plain = network.training_pass(x)
    other = {name: values.clone() for name, values in plain.maps.items()}
    other["stage2"][:, : network.locked_latent_channels()] = 7
    for loss in ("class_distance", "gaussian_likelihood"):
        one, two = (
            latent_loss(loss, network, each, labels, torch.Generator().manual_seed(0))
            for each in (plain, replace(plain, maps=other))
        )
        assert one == two


def test_a_density_is_that_of_the_latent_and_class_distance_that_of_the_features() -> None:
    """Behind a convolutional head the two are not the same maps."""
    network, x, labels = tiny(head="convolutional"), noise(6), torch.arange(6) % 2
    plain = network.training_pass(x)
    assert set(plain.maps) == {*network.stage_names, "head1", "head2", "head3"}
    for loss, looked_at in (("class_distance", "head3"), ("gaussian_likelihood", "stage2")):
        for name in plain.maps:
            # the images unalike, or means and variances would stay as they are
            other = {**plain.maps, name: plain.maps[name] * torch.arange(1.0, 7).view(6, 1, 1, 1)}
            one, two = (
                float(
                    latent_loss(loss, network, each, labels, torch.Generator().manual_seed(0))[loss]
                )
                for each in (plain, replace(plain, maps=other))
            )
            assert (one != two) == (name == looked_at), (loss, name)


def examples(count: int = 24) -> TensorExamples:
    labels = torch.arange(count) % 2
    return TensorExamples(noise(count) + labels.view(-1, 1, 1, 1), labels)


@pytest.mark.parametrize("loss", ["class_distance", "gaussian_likelihood"])
def test_training_lowers_the_loss_it_is_told_to(train_steadily, loss: str) -> None:
    network = build_network("iresnet", input_channels=2, classes=2, isometry="1", **TINY)
    result = train_steadily(
        network, examples(), examples(), epochs=20, batch_size=12, learning_rate=0.02,
        loss=loss, device="cpu", threads=1,
    )  # fmt: skip
    first, last = result.history[0], result.history[-1]
    # over eleven seeds, 0.27 to 0.50 of the class distance is left and 0.88 to 0.94 of the other
    assert last[f"train_{loss}"] < first[f"train_{loss}"]
    assert last["train_near_isometry"] > 0
    assert f"validation_{loss}" not in last


def test_a_resumed_training_draws_the_same_signs(train_steadily, tmp_path: Path) -> None:
    def trained(epochs: int, folder: Path, *, resume: bool = False) -> dict[str, Tensor]:
        network = build_network("iresnet", input_channels=2, classes=2, **TINY)
        train_steadily(
            network, examples(), None, epochs=epochs, batch_size=12, loss="gaussian_likelihood",
            device="cpu", threads=1, checkpoint_folder=folder, resume=resume,
        )  # fmt: skip
        return network.state_dict()

    straight = trained(3, tmp_path / "straight")
    trained(1, tmp_path / "resumed")
    resumed = trained(3, tmp_path / "resumed", resume=True)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_losses_that_cannot_be_are_refused(train_steadily) -> None:
    plain = build_network("small_cnn", input_channels=2, classes=2, size=16)
    with pytest.raises(ParameterError, match="invertible"):
        train_steadily(plain, examples(), None, epochs=1, loss="gaussian_likelihood")
    with pytest.raises(ParameterError, match="expected one of cross_entropy, class_distance"):
        train_steadily(plain, examples(), None, epochs=1, loss="hinge")


def test_balanced_weights_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 2, 2])
    # n / (K n_k) with n = 8 and K = 2: nothing is of class 1
    assert balanced_weights(labels, 4).tolist() == pytest.approx([8 / 12, 0.0, 8 / 4, 0.0])


def test_a_weighted_loss_is_what_the_formula_says():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(12, 3, generator=generator), torch.tensor([0] * 8 + [1] * 3 + [2])
    losses = -logits.log_softmax(1)[torch.arange(12), labels]
    found = weighted_cross_entropy(logits, labels, balanced_weights(labels, 3))
    by_hand = sum(
        float(12 / (3 * n) * losses[labels == k].sum()) for k, n in ((0, 8), (1, 3), (2, 1))
    )
    assert float(found) == pytest.approx(by_hand / 12, rel=1e-5)
    of_classes = [losses[labels == k].mean() for k in range(3)]
    assert float(found) == pytest.approx(float(torch.stack(of_classes).mean()), rel=1e-5)
    plain = weighted_cross_entropy(logits, labels, None)
    assert float(plain) == pytest.approx(float(losses.mean()), rel=1e-5)
