import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_why.core.errors import InversionError, ParameterError, UnsupportedNetworkError
from napari_why.networks import invert
from napari_why.networks.inverse import encode_float64

function_scoped = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@function_scoped
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    batch=st.integers(1, 3),
    gain=st.sampled_from([0.3, 1.0, 10.0]),
    coefficient=st.sampled_from([0.5, 0.8, 0.97]),
    seed=st.integers(0, 1000),
)
def test_decode_undoes_encode(
    small_iresnet, images, channels, height, width, batch, gain, coefficient, seed
) -> None:
    size = (4 * height, 4 * width)
    network = small_iresnet(
        input_channels=channels, size=size, gain=gain, coefficient=coefficient, seed=seed
    )
    network.freeze()
    x = images(batch, channels, *size, seed=seed)
    inversion = invert(network, network.last_latent(x))
    assert inversion.converged
    assert (inversion.x - x).abs().max() < 2e-4


@pytest.mark.parametrize("stage", ["stage1", "stage2", None])
def test_every_stage_can_be_decoded(small_iresnet, images, stage: str | None) -> None:
    network, x = small_iresnet(), images(2, 2, 16, 16)
    network.freeze()
    latent = network.encode_to(x, stage or "stage2")
    torch.testing.assert_close(network.decode(latent, stage), x, atol=5e-5, rtol=0)


def test_unfrozen_network_in_evaluation_mode_can_be_decoded(small_iresnet, images) -> None:
    network, x = small_iresnet(gain=10), images(2, 2, 16, 16)
    torch.testing.assert_close(network.decode(network.last_latent(x)), x, atol=5e-5, rtol=0)


def test_report_names_every_block_from_the_last_to_the_first(small_iresnet, images) -> None:
    network = small_iresnet()
    network.freeze()
    inversion = invert(network, network.last_latent(images(2, 2, 16, 16)))
    names = [block.name for block in inversion.blocks]
    assert names == ["stage2.block1", "stage1.block2", "stage1.block1"]
    for block in inversion.blocks:
        assert block.converged
        assert 2 <= block.evaluations < 30
        assert block.ratio <= network.certified_bounds[block.name]
        assert block.residual < 1e-2


def test_long_branches_are_inverted_by_broyden_steps(stress_iresnet, images) -> None:
    network, x = stress_iresnet(), images(2, 2, 16, 16)
    inversion = invert(network, network.last_latent(x))
    assert inversion.converged
    assert max(block.ratio for block in inversion.blocks) > 0.5
    assert (inversion.x - x).abs().max() < 2e-4
    ratio = max(block.ratio for block in inversion.blocks)
    plain_steps = torch.log(torch.tensor(1e-5 * (1 - ratio))) / torch.log(torch.tensor(ratio))
    assert max(block.evaluations for block in inversion.blocks) < plain_steps


def test_result_does_not_depend_on_the_rest_of_the_batch(
    small_iresnet, stress_iresnet, images
) -> None:
    easy = small_iresnet(gain=3)
    easy.freeze()
    for network in (easy, stress_iresnet()):
        x = images(3, 2, 16, 16)
        x[1] *= 100
        latent = network.last_latent(x)
        together = network.decode(latent)
        for index in range(3):
            alone = network.decode(latent[index : index + 1])
            scale = x[index].abs().max()
            assert (together[index] - alone[0]).abs().max() < 1e-6 * scale


def test_16_bit_images_come_back_with_every_grey_level(small_iresnet) -> None:
    network = small_iresnet(size=32, gain=3)
    network.freeze()
    generator = torch.Generator().manual_seed(5)
    raw = (1000 + 9000 * torch.rand(4, 2, 32, 32, generator=generator) ** 3).round()
    raw[:, :, :2, :2] = 65535.0
    raw[:, :, 2:4, :2] = 0.0
    mean, deviation = raw.mean((0, 2, 3), keepdim=True), raw.std((0, 2, 3), keepdim=True)
    decoded = network.decode(network.last_latent((raw - mean) / deviation))
    assert torch.equal((decoded * deviation + mean).round(), raw)


def test_float64_refinement_reaches_what_float32_cannot(stress_iresnet, images) -> None:
    network, x = stress_iresnet(), images(2, 2, 16, 16).double()
    before = copy.deepcopy(network.state_dict())
    latent = encode_float64(network, x)
    assert latent.dtype == torch.float64
    inversion = invert(network, latent, tolerance=1e-10, dtype=torch.float64)
    assert inversion.x.dtype == torch.float64
    assert inversion.correction is not None
    assert inversion.correction <= 1e-10
    assert (inversion.x - x).abs().max() < 1e-10
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_training_mode_is_refused(small_iresnet) -> None:
    network = small_iresnet().train()
    with pytest.raises(UnsupportedNetworkError, match="freeze"):
        invert(network, torch.zeros(1, 32, 4, 4))


def test_another_dtype_is_refused(small_iresnet) -> None:
    with pytest.raises(ParameterError, match=r"float16; expected torch\.float64"):
        invert(small_iresnet(), torch.zeros(1, 32, 4, 4), dtype=torch.float16)


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"max_evaluations": 1}])
def test_impossible_options_are_refused(small_iresnet, options: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="expected a positive tolerance"):
        invert(small_iresnet(), torch.zeros(1, 32, 4, 4), **options)


def test_decode_raises_where_invert_reports(small_iresnet, images) -> None:
    network = small_iresnet()
    network.freeze()
    for block in network.named_blocks().values():
        for layer in (block.branch.conv1, block.branch.conv3):
            layer.weight.mul_(20)
    latent = network.last_latent(images(1, 2, 16, 16))
    inversion = invert(network, latent, max_evaluations=50)
    assert not inversion.converged
    with pytest.raises(InversionError, match="block"):
        network.decode(latent)


def test_decode_leaves_no_gradient_and_no_change(small_iresnet, images) -> None:
    network = small_iresnet()
    network.freeze()
    before = copy.deepcopy(network.state_dict())
    x = network.decode(network.last_latent(images(1, 2, 16, 16)).requires_grad_())
    assert not x.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
