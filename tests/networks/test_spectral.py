import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.spectral import (
    SpectralConv2d,
    norm_bound_of_any_size,
    operator_norm_bound,
)


def dense_norm(kernel: Tensor, resolution: tuple[int, int]) -> float:
    """Largest singular value of the zero-padded convolution written as a matrix."""
    inputs = kernel.shape[1] * resolution[0] * resolution[1]
    basis = torch.eye(inputs, dtype=torch.float64).view(inputs, kernel.shape[1], *resolution)
    columns = F.conv2d(basis, kernel.double(), padding=kernel.shape[-1] // 2)
    return float(torch.linalg.svdvals(columns.flatten(1))[0])


def convolution(
    inputs: int, outputs: int, kernel_size: int, resolution: tuple[int, int], scale: float = 5.0
) -> SpectralConv2d:
    torch.manual_seed(3)
    layer = SpectralConv2d(inputs, outputs, kernel_size, resolution, 0.8, 1)
    layer.weight.data.mul_(scale)
    return layer


SHAPES = [
    (2, 5, 3, (6, 6)),
    (5, 2, 3, (7, 4)),
    (3, 3, 3, (1, 1)),
    (4, 6, 1, (5, 5)),
    (8, 8, 3, (8, 8)),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_converged_norm_is_the_largest_singular_value_of_the_operator(shape) -> None:
    layer = convolution(*shape)
    layer.converge()
    assert layer.norm().item() == pytest.approx(
        dense_norm(layer.weight.detach(), shape[3]), rel=1e-4
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_many_power_iterations_find_the_same_norm(shape) -> None:
    layer, reference = convolution(*shape), convolution(*shape)
    layer.iterate(2000)
    reference.converge()
    assert layer.norm().item() == pytest.approx(reference.norm().item(), rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_certificate_lies_above_the_norm_and_close(shape) -> None:
    kernel, resolution = convolution(*shape).weight.detach(), shape[3]
    norm, bound = dense_norm(kernel, resolution), operator_norm_bound(kernel, resolution)
    assert norm <= bound * (1 + 1e-9)
    if min(resolution) > 1:
        assert bound <= 1.15 * norm


def test_reshaped_matrix_norm_would_not_bound_the_operator() -> None:
    kernel = torch.ones(1, 1, 3, 3) / 9
    assert torch.linalg.matrix_norm(kernel.flatten(1), 2) < 0.5 * dense_norm(kernel, (12, 12))


def test_baked_convolution_has_the_coefficient_as_its_norm_and_the_same_output() -> None:
    layer = convolution(3, 4, 3, (8, 8)).eval()
    layer.converge()
    baked = layer.bake()
    assert dense_norm(baked.weight.detach(), (8, 8)) == pytest.approx(0.8, rel=1e-4)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(baked(x), layer(x))


def test_norm_below_the_coefficient_stays_as_it_is() -> None:
    layer = convolution(3, 4, 3, (8, 8), scale=0.01)
    layer.converge()
    torch.testing.assert_close(layer.bake().weight, layer.weight, rtol=0, atol=0)


def test_gradient_does_not_stretch_a_saturated_kernel() -> None:
    """Longer kernels have the same output, so the gradient has no part along the kernel."""
    layer = convolution(3, 4, 3, (8, 8)).eval()
    layer.converge()
    layer(torch.randn(2, 3, 8, 8)).square().sum().backward()
    along = (layer.weight.grad * layer.weight).sum().abs()
    assert along < 1e-4 * layer.weight.grad.norm() * layer.weight.norm()


def test_evaluation_leaves_the_power_iteration_alone() -> None:
    layer = convolution(3, 4, 3, (8, 8))
    before = layer.right_vector.clone()
    layer.eval()(torch.randn(2, 3, 8, 8))
    assert torch.equal(layer.right_vector, before)
    layer.train()(torch.randn(2, 3, 8, 8))
    assert not torch.equal(layer.right_vector, before)


def test_diverged_weights_are_refused_in_words() -> None:
    layer = convolution(3, 4, 3, (8, 8))
    layer.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(UnsupportedNetworkError, match="diverged"):
        layer.converge()


def test_all_zero_kernel_converges_to_norm_zero() -> None:
    layer = convolution(3, 4, 3, (8, 8), scale=0.0)
    layer.converge()
    assert layer.norm().item() == 0
    assert torch.isfinite(layer.bake().weight).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bound_of_any_size_lies_above_the_norm_at_every_size(shape) -> None:
    kernel = convolution(*shape).weight.detach()
    bound = norm_bound_of_any_size(kernel)
    for resolution in ((1, 1), (4, 7), (12, 12)):
        assert dense_norm(kernel, resolution) <= bound * (1 + 1e-9)
    assert bound <= 1.02 * operator_norm_bound(kernel, (200, 200))
