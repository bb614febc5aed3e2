import pytest
import torch
from torch import nn

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.networks import InvertibleNetwork, ResidualSum, build_network
from napari_why.networks.spectral import SpectralConv2d


def test_default_of_before_has_four_stages_and_a_linear_head() -> None:
    network = build_network(
        "iresnet", input_channels=2, classes=2, size=32, blocks="2,2,2,2",
        widths="16,32,64,64", downscaling="2,2,2,2", head="linear",
    )  # fmt: skip
    assert isinstance(network, InvertibleNetwork)
    assert network.stage_names == network.layer_names == ("stage1", "stage2", "stage3", "stage4")
    assert network.encode(torch.zeros(1, 2, 32, 32)).shape == (1, 512, 2, 2)
    assert network.linear_head_weights is not None
    assert network.linear_head_weights.shape == (2, 512)


def test_encoder_keeps_every_number(small_iresnet, images) -> None:
    """Nothing is padded and nothing thrown away."""
    x = images(2, 2, 16, 24)
    network = small_iresnet(size=(16, 24))
    maps = network.feature_maps(x)
    assert all(maps[stage][0].numel() == x[0].numel() for stage in network.stage_names)


def test_encode_goes_by_way_of_every_stage(small_iresnet, images) -> None:
    network, x = small_iresnet(), images(2, 2, 16, 16)
    maps = network.feature_maps(x)
    for stage in network.stage_names:
        latent = network.encode_to(x, stage)
        assert torch.equal(latent, maps[stage])
        assert torch.equal(network.encode_from(latent, stage), network.encode(x))
    assert torch.equal(network(x), network.head(network.encode(x)))


def test_freezing_changes_no_output_beyond_rounding(small_iresnet, images) -> None:
    network, x = small_iresnet(gain=5), images(4, 2, 16, 16)
    for block in network.named_blocks().values():
        for _, convolution in block.convolutions():
            convolution.converge()
    expected = network(x).detach()
    network.freeze()
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)


def test_frozen_network_is_made_of_plain_modules(small_iresnet, images) -> None:
    network = small_iresnet()
    network.freeze()
    modules = list(network.modules())
    assert not any(isinstance(module, SpectralConv2d) for module in modules)
    elus = [module for module in modules if isinstance(module, nn.ELU)]
    sums = [module for module in modules if isinstance(module, ResidualSum)]
    assert len(elus) == 3 * 3 - 1
    assert len(sums) == 3
    assert not any(elu.inplace for elu in elus)
    calls: list[nn.Module] = []
    for module in (*elus, *sums):
        module.register_forward_hook(lambda module, inputs, output: calls.append(module))
    network(images(1, 2, 16, 16))
    assert len(calls) == len(set(calls)) == len(elus) + len(sums)


def test_frozen_network_learns_no_more(small_iresnet) -> None:
    network = small_iresnet().train()
    network.freeze()
    assert network.frozen
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_certified_bounds_stay_near_the_cube_of_the_coefficient(small_iresnet) -> None:
    network = small_iresnet(gain=10, size=64)
    assert network.certified_bounds == {}
    network.freeze()
    assert list(network.certified_bounds) == list(network.named_blocks())
    for bound in network.certified_bounds.values():
        assert 0.8**3 <= bound < 0.8**3 * 1.05


def test_observed_stretch_stays_below_the_certificate(small_iresnet, images) -> None:
    network = small_iresnet(gain=10)
    network.freeze()
    for name, block in network.named_blocks().items():
        channels = block.actnorm.shift.shape[1]
        a, b = (images(64, channels, *block.resolution, seed=seed) for seed in (1, 2))
        for near in (a, b + 1e-3 * a):
            stretch = (block.branch(near) - block.branch(b)).flatten(1).norm(dim=1)
            distance = (near - b).flatten(1).norm(dim=1)
            assert (stretch / distance).max() <= network.certified_bounds[name] * (1 + 1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_configuration_and_state_rebuild_the_network(small_iresnet, images, frozen: bool) -> None:
    network, x = small_iresnet(head="thesis", size=(16, 24), classes=4), images(2, 2, 16, 24)
    if frozen:
        network.freeze()
    rebuilt = build_network(**network.configuration(), seed=9)
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt.eval()(x), network(x))
    assert rebuilt.configuration() == network.configuration()
    assert rebuilt.certified_bounds == network.certified_bounds


def test_loading_before_the_first_batch_keeps_the_logits_in_training_too(
    small_iresnet, images
) -> None:
    """The published code loses its ActNorm flag here and overwrites what was learnt."""
    network, x = small_iresnet(), images(4, 2, 16, 16)
    fresh = build_network(**network.configuration())
    fresh.load_state_dict(network.state_dict())
    for block in (*network.named_blocks().values(), *fresh.named_blocks().values()):
        block.actnorm.log_scale.data.add_(0.1)
    torch.testing.assert_close(
        fresh.train().last_latent(x), network.train().last_latent(x), atol=1e-5, rtol=1e-5
    )


def test_training_step_gives_every_parameter_a_gradient(small_iresnet, images) -> None:
    network = small_iresnet().train()
    loss = nn.functional.cross_entropy(network(images(4, 2, 16, 16)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_thesis_size_ends_in_2048_maps_of_7_by_7() -> None:
    with torch.device("meta"):
        network = build_network(
            "iresnet",
            input_channels=2,
            classes=2,
            size=224,
            blocks="3,4,6,3",
            widths="64,128,256,512",
            downscaling="4,2,2,2",
            head="thesis",
            frozen=True,
        )
        assert network.encode(torch.zeros(1, 2, 224, 224)).shape == (1, 2048, 7, 7)
    assert network.linear_head_weights is None


def test_size_that_does_not_fit_names_those_that_do() -> None:
    with pytest.raises(ParameterError, match=r"multiples of 16, such as 96 x 112 or 112 x 128"):
        build_network(
            "iresnet", input_channels=2, classes=2, size=(100, 120), blocks="1,1", widths="4,4",
            downscaling="4,4",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"blocks": "2,two"}, "blocks"),
        ({"blocks": "2,2", "widths": "8"}, "one number a stage"),
        ({"coefficient": 1.0}, "coefficient"),
        ({"head": "deep"}, "head"),
        ({"classes": 1}, "classes"),
        ({"input_channels": 0}, "input_channels"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message: str) -> None:
    arguments = {"input_channels": 2, "classes": 2, "size": 32} | parameters
    with pytest.raises(ParameterError, match=message):
        build_network("iresnet", **arguments)


def test_unknown_stage_is_refused(small_iresnet, images) -> None:
    with pytest.raises(ParameterError, match="stage1, stage2"):
        small_iresnet().encode_to(images(1, 2, 16, 16), "stage7")


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 2, 15, 16), (2, 16, 16)])
def test_batch_that_does_not_fit_is_refused(small_iresnet, images, shape) -> None:
    network = small_iresnet()
    with pytest.raises(MismatchError, match="expected"):
        network(images(*shape))
    with pytest.raises(MismatchError, match="expected"):
        network.feature_maps(images(*shape))
