"""Locked channels pass through bit for bit and condition the others; all can be undone."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import ParameterError
from napari_why.networks import build_network, invert
from napari_why.networks.inverse import encode_float64

function_scoped = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def bits(x: torch.Tensor) -> torch.Tensor:
    """Return the bit patterns: -0.0 differs from 0.0."""
    return x.view(torch.int32 if x.dtype == torch.float32 else torch.int64)


@function_scoped
@given(data=st.data(), channels=st.integers(2, 4), gain=st.sampled_from([1.0, 10.0]))
def test_decode_undoes_encode_after_every_stage(
    small_iresnet, images, data, channels: int, gain: float
) -> None:
    locked = data.draw(st.sets(st.integers(0, channels - 1), min_size=1, max_size=channels - 1))
    network = small_iresnet(
        input_channels=channels,
        size=(8, 12),
        gain=gain,
        locked=",".join(map(str, sorted(locked))),
        head=data.draw(st.sampled_from(["convolutional", "linear", "thesis", "elu"])),
        seed=data.draw(st.integers(0, 100)),
    )
    network.freeze()
    x = images(2, channels, 8, 12, seed=data.draw(st.integers(0, 100)))
    x[:, :, 0] = -0.0
    x[:, :, 1, 0] = 1e-42  # subnormal
    for stage in network.stage_names:
        inversion = invert(network, network.encode_to(x, stage), stage)
        assert inversion.converged
        assert (inversion.x - x).abs().max() < 2e-4
        for channel in network.locked:
            assert torch.equal(bits(inversion.x[:, channel]), bits(x[:, channel]))


@given(
    seed=st.integers(0, 1000),
    low=st.integers(0, 60_000),
    contrast=st.sampled_from([20, 800, 65_535]),
)
@settings(max_examples=15, deadline=None)
def test_uint16_pixels_come_back_equal(seed: int, low: int, contrast: int) -> None:
    """In standardised units and back, in 2 channels of 16-bit grey levels."""
    generator = torch.Generator().manual_seed(seed)
    high = min(low + contrast, 65_535)
    raw = torch.randint(low, high + 1, (2, 2, 16, 16), generator=generator).double()
    mean = raw.mean((0, 2, 3), keepdim=True)
    deviation = raw.std((0, 2, 3), keepdim=True).clamp(min=1)
    x = ((raw - mean) / deviation).float()
    network = build_network(
        "iresnet", input_channels=2, classes=2, size=16, blocks="2,2", widths="8,8",
        downscaling="2,2", locked="0", head="elu", isometry="1,0.3", seed=seed,
    )  # fmt: skip
    network.train()
    network(x)
    network.eval()
    back = network.decode(network.last_latent(x)).double() * deviation + mean
    assert torch.equal(back.round(), raw)


def test_the_latent_is_the_locked_part_first_then_the_free_one(small_iresnet, images) -> None:
    network, x = small_iresnet(input_channels=3, locked="1"), images(2, 3, 16, 16)
    assert network.locked == (1,)
    assert [network.locked_latent_channels(s) for s in ("stage1", "stage2", None)] == [4, 16, 16]
    locked = x[:, 1:2]
    maps_of = network.feature_maps(x)
    for maps in (maps_of[stage] for stage in network.stage_names):
        locked = torch.nn.functional.pixel_unshuffle(locked, 2)
        assert torch.equal(bits(maps[:, : locked.shape[1]]), bits(locked))
        assert maps[0].numel() == x[0].numel()


def test_locked_channels_condition_the_free_ones(small_iresnet, images) -> None:
    network, x = small_iresnet(locked="0"), images(2, 2, 16, 16)
    other = x.clone()
    other[:, 0] = images(2, 16, 16, seed=9)
    changed = (network.last_latent(x) - network.last_latent(other))[
        :, network.locked_latent_channels() :
    ]
    assert changed.abs().max() > 1e-3
    assert (network(x) - network(other)).abs().max() > 1e-5


def test_a_condition_of_any_size_does_not_hurt_the_inverse(small_iresnet, images) -> None:
    network, x = small_iresnet(gain=10, locked="0"), images(2, 2, 16, 16)
    for block in network.named_blocks().values():
        block.condition.weight.data.mul_(100)
    network.freeze()
    inversion = invert(network, network.last_latent(x))
    assert inversion.converged
    assert (inversion.x - x).abs().max() < 1e-3
    assert all(bound < 1 for bound in network.certified_bounds.values())


def test_the_condition_of_long_branches_is_that_of_their_own_image(images) -> None:
    """Broyden steps go image by image, and each image stops on its own."""
    network = build_network(
        "iresnet", input_channels=2, classes=2, size=16, blocks="1", widths="8",
        downscaling="2", coefficient=0.97, locked="0",
    )  # fmt: skip
    for block in network.named_blocks().values():
        for _, convolution in block.convolutions():
            torch.nn.init.dirac_(convolution.weight)
            torch.nn.init.constant_(convolution.bias, 0.3)
    network.freeze()
    x = images(3, 2, 16, 16) * torch.tensor([0.01, 1.0, 30.0]).view(3, 1, 1, 1)
    latent = network.last_latent(x)
    together = invert(network, latent)
    assert together.converged
    assert max(block.ratio for block in together.blocks) > 0.5
    for index in range(3):
        alone = invert(network, latent[index : index + 1])
        torch.testing.assert_close(alone.x[0], together.x[index], atol=1e-4, rtol=1e-5)
    assert ((together.x - x).abs().amax((1, 2, 3)) < torch.tensor([1e-4, 1e-3, 3e-2])).all()


def test_float64_refinement_copies_locked_channels_in_float64(small_iresnet, images) -> None:
    network = small_iresnet(input_channels=3, locked="0,2", gain=10)
    network.freeze()
    x = images(2, 3, 16, 16).double() + 1e-10
    inversion = invert(network, encode_float64(network, x), dtype=torch.float64)
    assert inversion.correction is not None
    assert (inversion.x - x).abs().max() < 1e-8
    for channel in (0, 2):
        assert torch.equal(
            bits(inversion.x[:, channel].contiguous()), bits(x[:, channel].contiguous())
        )


@pytest.mark.parametrize("frozen", [False, True])
def test_configuration_and_state_rebuild_it(small_iresnet, images, frozen: bool) -> None:
    network = small_iresnet(locked="1", head="elu", isometry="1,0.3")
    if frozen:
        network.freeze()
    x = images(2, 2, 16, 16)
    rebuilt = build_network(**network.configuration(), seed=9)
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt.eval()(x), network(x))
    assert rebuilt.configuration() == network.configuration()


def test_without_lock_the_network_is_what_it_was(small_iresnet) -> None:
    """Saved classifiers load, and keep their fingerprints, which cover names and configuration."""
    network = small_iresnet(head="linear")
    assert set(network.configuration()) == {
        *("name", "input_channels", "classes", "size", "blocks", "widths", "downscaling"),
        *("coefficient", "power_iterations", "head"),
    }
    assert not any("condition" in name or "head" in name for name in network.state_dict())
    assert network.locked == ()
    assert network.locked_latent_channels() == 0


def test_training_maps_are_the_feature_maps(small_iresnet, images) -> None:
    network, x = small_iresnet(locked="0"), images(2, 2, 16, 16)
    maps, branches = network.training_maps(x)
    assert all(torch.equal(maps[name], plain) for name, plain in network.feature_maps(x).items())
    assert [one.stage for one in branches] == ["stage1", "stage1", "stage2"]
    assert all(one.branch.shape == one.normalised.shape for one in branches)


def test_near_isometry_is_the_weighted_share_of_the_branches(small_iresnet, images) -> None:
    x = images(2, 2, 16, 16)
    assert small_iresnet().regularisation(small_iresnet().training_maps(x)[1]) == {}
    network = small_iresnet(isometry="2")
    _, branches = network.training_maps(x)
    shares = [float(b.branch.square().mean() / b.normalised.square().mean()) for b in branches]
    found = network.regularisation(branches)["near_isometry"]
    assert float(found.detach()) == pytest.approx(2 * sum(shares[:2]), rel=1e-5)
    found.backward()
    for name, block in network.named_blocks().items():
        touched = any(p.grad is not None and p.grad.any() for p in block.parameters())
        assert touched == name.startswith("stage1")


def test_every_parameter_learns(small_iresnet, images) -> None:
    network = small_iresnet(locked="0", head="elu").train()
    loss = torch.nn.functional.cross_entropy(
        network(images(4, 2, 16, 16)), torch.tensor([0, 1, 2, 0])
    )
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"locked": "2"}, "whole numbers from 0 to 1"),
        ({"locked": "0,1"}, "one channel at least that is free"),
        ({"locked": "0,0"}, "each channel once"),
        ({"locked": "DAPI"}, "locked"),
        ({"isometry": "1,1,1"}, "at most 2 numbers"),
        ({"isometry": "-1"}, "numbers of 0 or more"),
        ({"isometry": "much"}, "isometry"),
    ],
)
def test_what_cannot_be_is_refused(small_iresnet, parameters, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        small_iresnet(**parameters)
