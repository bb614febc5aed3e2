"""Working in tiles gives what working on the whole gives."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.inverse import LARGEST_LIPSCHITZ
from napari_why.networks.iresnet import IResNet
from napari_why.networks.spectral import kernel_of, norm_bound_of_any_size
from napari_why.networks.tiled_iresnet import LARGEST_SEAM, TiledIResNet, inverse_halo

FORMS = {
    "plain": {},
    "locked": {"locked": "1"},
    "linear head": {"head": "linear"},
    "ELU head": {"locked": "1", "head": "elu"},
    "thesis head": {"head": "thesis"},
}


def field(height: int = 96, width: int = 112, seed: int = 5) -> torch.Tensor:
    return torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(seed))


def frozen(network: IResNet) -> IResNet:
    network.freeze()
    return network


@pytest.mark.parametrize("form", FORMS)
def test_features_and_logits_of_tiles_are_those_of_the_whole(
    small_iresnet: Callable[..., IResNet], form: str
) -> None:
    # 25 x 27 positions after the last stage: the head's pooling has odd sides to round up
    network, x = frozen(small_iresnet(**FORMS[form])), field(100, 108)
    with torch.no_grad():
        tiled = TiledIResNet(network, values_per_map=1500)
        torch.testing.assert_close(tiled.encode(x), network.encode(x), rtol=0, atol=1e-5)
        torch.testing.assert_close(tiled(x), network(x), rtol=0, atol=1e-5)
        shallow = network.encode_to(x, "stage1")
        torch.testing.assert_close(tiled.encode_to(x, "stage1"), shallow, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            tiled.encode_from(shallow, "stage1"), network.encode(x), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("form", ["plain", "locked"])
def test_inverse_in_tiles_of_any_size_is_that_of_the_whole(
    small_iresnet: Callable[..., IResNet], form: str
) -> None:
    network = frozen(small_iresnet(**FORMS[form]))

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        values=st.integers(64, 40_000),
        blocks=st.tuples(st.integers(2, 30), st.integers(2, 30)),
        stage=st.sampled_from(network.stage_names),
    )
    def check(values: int, blocks: tuple[int, int], stage: str) -> None:
        x = field(4 * blocks[0], 4 * blocks[1])
        with torch.no_grad():
            latent = network.encode_to(x, stage)
            latent = latent + 0.3 * torch.sign(latent)  # no latent of an image
            latent[:, : network.locked_latent_channels(stage)] -= 0.1
            whole = network.decode(latent, stage)
            tiled = TiledIResNet(network, values_per_map=values).decode(latent, stage)
        assert float((tiled - whole).abs().max()) <= LARGEST_SEAM
        locked = list(network.locked)
        assert torch.equal(tiled[:, locked], whole[:, locked])

    check()


def test_a_slow_contraction_gets_the_halo_it_needs(
    stress_iresnet: Callable[..., IResNet], small_iresnet: Callable[..., IResNet]
) -> None:
    slow, quick = stress_iresnet(coefficient=0.9), frozen(small_iresnet())
    halos = []
    for network in (slow, quick):
        latent = network.encode_to(field(), "stage1")
        bounds = TiledIResNet(network).bounds_of_any_size
        halos.append(inverse_halo("stage1", network.stages_to(None)[0][1], latent, bounds))
    assert halos[0] > halos[1] >= 8
    latent = slow.encode_to(field(160, 160), "stage1")
    whole, tiled = slow.decode(latent, "stage1"), TiledIResNet(slow, values_per_map=20_000)
    assert float((tiled.decode(latent, "stage1") - whole).abs().max()) <= 2 * LARGEST_SEAM


def test_too_small_a_halo_is_noticed_and_doubled(
    small_iresnet: Callable[..., IResNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = frozen(small_iresnet())
    totals: list[tuple[int, int]] = []
    tiled = TiledIResNet(network, lambda done, total: totals.append((done, total)), 4000)
    latent = network.encode_to(field(), "stage1")
    monkeypatch.setattr("napari_why.networks.tiled_iresnet.inverse_halo", lambda *_: 1)
    decoded = tiled.decode(latent, "stage1")
    assert totals.count((1, totals[0][1])) > 1
    assert float((decoded - network.decode(latent, "stage1")).abs().max()) <= LARGEST_SEAM


def test_bounds_hold_on_maps_larger_than_in_training(
    small_iresnet: Callable[..., IResNet],
) -> None:
    network = frozen(small_iresnet(gain=5.0))
    bounds = TiledIResNet(network).bounds_of_any_size
    for name, block in network.named_blocks().items():
        assert block.lipschitz_bound <= bounds[name] < LARGEST_LIPSCHITZ
    kernel = kernel_of(network.named_blocks()["stage1.block1"].branch.get_submodule("conv1"))
    v = torch.randn(1, kernel.shape[1], 60, 60, generator=torch.Generator().manual_seed(0))
    for _ in range(50):  # power iteration on maps of 60 x 60; the network was made for 8 x 8
        v = F.normalize(
            F.conv_transpose2d(F.conv2d(v, kernel, padding=1), kernel, padding=1).flatten(), dim=0
        ).view_as(v)
    assert float(F.conv2d(v, kernel, padding=1).norm()) <= norm_bound_of_any_size(kernel)


def test_a_network_that_need_not_be_invertible_on_large_maps_is_refused(
    small_iresnet: Callable[..., IResNet],
) -> None:
    network = frozen(small_iresnet())
    for name in ("conv1", "conv3"):
        network.named_blocks()["stage2.block1"].branch.get_submodule(name).weight.data.mul_(9)
    tiled = TiledIResNet(network)
    with pytest.raises(UnsupportedNetworkError, match=r"stage2\.block1.*larger crops"):
        tiled.decode(network.last_latent(field()))


def test_weights_and_configuration_are_shared(small_iresnet: Callable[..., IResNet]) -> None:
    network = frozen(small_iresnet(locked="0"))
    tiled = TiledIResNet(network)
    assert tiled.configuration() == network.configuration()
    assert list(tiled.state_dict()) == list(network.state_dict())
    assert all(a is b for a, b in zip(tiled.parameters(), network.parameters(), strict=True))


def test_a_network_that_is_not_frozen_is_refused(small_iresnet: Callable[..., IResNet]) -> None:
    with pytest.raises(UnsupportedNetworkError, match="freeze"):
        TiledIResNet(small_iresnet())
