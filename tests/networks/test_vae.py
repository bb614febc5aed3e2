"""The losses of the variational autoencoder."""

import math

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.networks import GenerativeNetwork, build_network
from napari_why.networks.autoencoder import draw_sample, kl_divergence

SMALL = {"widths": "4,4", "latent_dimensions": 5}


@pytest.fixture
def network():
    return build_network("vae", input_channels=2, classes=2, size=16, beta=2.0, **SMALL)


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_divergence_is_that_of_the_distributions() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, log_variance = torch.randn(2, 7, 5, 1, 1, generator=generator)
    expected = torch_kl(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_samples_have_the_mean_and_variance_asked_for() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = draw_sample(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), math.log(0.25)))
    assert drawn.mean().item() == pytest.approx(3, abs=0.02)
    assert drawn.var().item() == pytest.approx(0.25, rel=0.03)


def test_the_losses_are_the_evidence_lower_bound_per_value(network, batch) -> None:
    network.eval()
    maps = network.feature_maps(batch)
    losses = network.training_losses(batch, maps)
    mean, log_variance = maps["latent"], network.log_variance(maps[network.located_layer])
    error = ((network.decode(mean) - batch) ** 2).mean()
    assert losses["reconstruction"].item() == pytest.approx(10 * error.item())
    divergence = kl_divergence(mean, log_variance).mean() / (2 * 16 * 16)
    assert losses["kl"].item() == pytest.approx(10 * 2 * divergence.item())


def test_in_training_the_decoder_gets_a_sample(network, batch) -> None:
    maps = network.feature_maps(batch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = (network.training_losses(batch, maps) for _ in range(2))
    assert one["reconstruction"] != other["reconstruction"]
    assert one["kl"] == other["kl"]
    network.eval()
    one, other = (network.training_losses(batch, maps) for _ in range(2))
    assert one["reconstruction"] == other["reconstruction"]


def test_noise_is_added_in_training_only(batch) -> None:
    network = build_network(
        "denoising_autoencoder", input_channels=2, classes=2, size=16, noise=3.0, **SMALL
    ).eval()
    maps = network.feature_maps(batch)
    clean = network.training_losses(batch, maps)["reconstruction"]
    assert clean == network.reconstruction_loss(batch, maps["latent"])
    network.train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = (network.training_losses(batch, maps)["reconstruction"] for _ in range(2))
    assert one != other


@pytest.mark.parametrize("name", ["vae", "autoencoder", "denoising_autoencoder"])
def test_the_latent_is_a_vector_and_decodes_to_the_size_of_the_image(name) -> None:
    network = build_network(name, input_channels=3, classes=2, size=(18, 33), **SMALL)
    x = torch.randn(2, 3, 18, 33, generator=torch.Generator().manual_seed(0))
    latent = network.encode(x)
    assert isinstance(network, GenerativeNetwork)
    assert latent.shape == (2, 5, 1, 1)
    assert network.decode(latent).shape == x.shape
    assert torch.equal(network.encode_from(network.encode_to(x, "latent"), "latent"), latent)


def test_the_thesis_has_twelve_blocks_and_a_latent_of_98() -> None:
    network = build_network("autoencoder", input_channels=2, classes=2, size=64)
    blocks = [
        name for name, _ in network.named_modules() if name.split(".")[-1].startswith("block")
    ]
    assert len(blocks) == 12
    assert network.latent_dimensions == 98


def test_images_of_another_size_are_refused(network) -> None:
    with pytest.raises(MismatchError, match="expected 16 x 16"):
        network(torch.zeros(1, 2, 32, 32))


def test_there_is_no_other_stage_than_the_latent(network, batch) -> None:
    with pytest.raises(ParameterError, match="expected latent"):
        network.encode_to(batch, "stage1")
