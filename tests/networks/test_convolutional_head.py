"""The default network: one invertible stage, and an ordinary convolutional head behind it."""

import pytest
import torch
from torch import nn

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.networks import build_network
from napari_why.networks.iresnet import IResNet
from napari_why.networks.modules import HeadBlock


def default(size: int | tuple[int, int] = 32, **parameters: object) -> IResNet:
    """Return the default network after one training batch, whose batch norms have seen it."""
    network = build_network("iresnet", input_channels=2, classes=2, size=size, **parameters)
    assert isinstance(network, IResNet)
    network.train()
    network(images(8, size, seed=1))
    return network.eval()


def images(count: int, size: int | tuple[int, int], seed: int = 2) -> torch.Tensor:
    shape = (size, size) if isinstance(size, int) else size
    return torch.randn(count, 2, *shape, generator=torch.Generator().manual_seed(seed))


def test_default_has_one_stage_and_three_convolutional_blocks() -> None:
    network, x = default(112), images(1, 112)
    assert network.stage_names == ("stage1",)
    assert network.layer_names == ("stage1", "head1", "head2", "head3")
    assert network.located_layer == "head3"
    shapes = {name: tuple(maps.shape[1:]) for name, maps in network.feature_maps(x).items()}
    assert shapes == {
        "stage1": (8, 56, 56),
        "head1": (32, 28, 28),
        "head2": (64, 14, 14),
        "head3": (128, 7, 7),
    }
    weights = network.linear_head_weights
    assert weights is not None
    assert weights.shape == (2, 128)
    assert network.configuration()["head_widths"] == "32,64,128"


@pytest.mark.parametrize(
    ("size", "sides"), [(224, 14), (112, 7), (64, 4), (36, 5), (32, 4), (16, 4), (4, 2), (2, 1)]
)
def test_a_small_latent_is_pooled_less(size: int, sides: int) -> None:
    """Four positions a side stay, or as many as the latent has."""
    network = default(size)
    assert network.encode(images(1, size)).shape == (1, 128, sides, sides)


def test_encode_goes_by_way_of_the_latent_which_alone_is_decoded() -> None:
    network, x = default((32, 48)), images(2, (32, 48))
    network.freeze()
    latent = network.last_latent(x)
    assert latent.shape == (2, 8, 16, 24)
    assert torch.equal(latent, network.encode_to(x, "stage1"))
    torch.testing.assert_close(network.decode(latent), x, atol=5e-5, rtol=0)
    assert torch.equal(network.encode_from(latent, "stage1"), network.encode(x))
    assert torch.equal(network.head(network.encode_from(latent, "stage1")), network(x))


def test_the_head_says_of_a_moved_latent_what_the_network_says_of_its_image() -> None:
    network, x = default(), images(4, 32)
    network.freeze()
    moved = network.last_latent(x) + 0.5 * images(4, 32, seed=7).reshape(4, 8, 16, 16)
    logits = network.head(network.encode_from(moved, "stage1"))
    torch.testing.assert_close(network(network.decode(moved)), logits, atol=1e-3, rtol=0)


def test_maps_of_the_head_are_refused_as_latents_in_words() -> None:
    network = default()
    network.freeze()
    with pytest.raises(MismatchError, match=r"128, .*expected \(N, 8, h, w\).*encode_to.*stage1"):
        network.decode(network.encode(images(1, 32)))


def test_locked_channels_are_not_seen_by_the_head() -> None:
    network, x = default(locked="0"), images(2, 32)
    latent = network.last_latent(x)
    other = latent.clone()
    other[:, : network.locked_latent_channels()] = 7.0
    first = network.head_blocks[0]
    assert isinstance(first, HeadBlock)
    assert first.conv.in_channels == 4
    assert torch.equal(network.encode_from(other, "stage1"), network.encode(x))
    weights = network.linear_head_weights
    assert weights is not None
    assert weights.shape == (2, 128)  # behind the blocks nothing is locked


def test_every_layer_of_the_head_is_a_module_that_runs_once() -> None:
    network = default()
    ran: list[str] = []
    for name, module in network.named_modules():
        if name.startswith(("head_blocks.", "classifier.")) and not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
            assert not getattr(module, "inplace", False)
    network(images(1, 32))
    # of 32 pixels a side the third block pools no more
    of_blocks = [
        f"head_blocks.head{block}.{part}"
        for block in (1, 2, 3)
        for part in ("conv", "norm", "relu", "pool")
        if (block, part) != (3, "pool")
    ]
    assert ran == [
        *of_blocks,
        *(f"classifier.{p}" for p in ("pool", "flatten", "dropout", "linear")),
    ]


def test_no_row_of_an_odd_latent_goes_unseen() -> None:
    network = default(36)  # 18 - 9 - 5: pooling meets a border of half a window
    x = images(1, 36)
    other = x.clone()
    other[..., -1] += 3.0
    assert not torch.equal(network.encode(other)[..., -1], network.encode(x)[..., -1])


@pytest.mark.parametrize("locked", ["", "1"])
@pytest.mark.parametrize("frozen", [False, True])
def test_configuration_and_state_rebuild_it(locked: str, frozen: bool) -> None:
    network, x = default(locked=locked, head_widths="5,7"), images(2, 32)
    if frozen:
        network.freeze()
    rebuilt = build_network(**network.configuration(), seed=9)
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt.eval()(x), network(x))
    assert rebuilt.configuration() == network.configuration()
    assert rebuilt.layer_names == ("stage1", "head1", "head2")


def test_every_parameter_learns() -> None:
    network = default(locked="0").train()
    logits = network(images(6, 32))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1, 0, 1])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("head", ["linear", "thesis", "elu"])
def test_other_heads_have_no_blocks_and_no_widths(head: str) -> None:
    """So that networks saved before are the same, key by key."""
    network = default(head=head)
    assert network.layer_names == ("stage1",)
    assert "head_widths" not in network.configuration()
    assert not any(name.startswith("head_blocks") for name in network.state_dict())
    assert torch.equal(network.encode(images(1, 32)), network.last_latent(images(1, 32)))


@pytest.mark.parametrize("widths", ["", "0", "32,many"])
def test_widths_that_are_none_are_refused(widths: str) -> None:
    with pytest.raises(ParameterError, match="head_widths"):
        default(head_widths=widths)
