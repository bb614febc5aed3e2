"""Spectral normalisation of convolutions as operators on whole images.

A convolution with zero padding is a linear map between images. Its largest singular value, not
that of the reshaped kernel, bounds how far it can stretch a difference of two images; the two
differ by a factor of up to about 2 (Gouk et al. 2018, arXiv:1804.04368).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_why.core.devices import to_float64, to_like, without_autocast
from napari_why.core.errors import UnsupportedNetworkError

LANCZOS_VECTORS = 20  # scipy's default for one vector; more trade memory for fewer restarts
# values of a map up to which the operator is decomposed as a matrix, which is small then; Lanczos
# cannot work on maps with fewer values than it has vectors
SMALL_MAP = 256
# per axis, for bounds that hold at any size: more would narrow the margin, 0.9 % an axis for 3 x 3
# kernels, and take longer in proportion to their square
SAMPLED_FREQUENCIES = 24


class SpectralConv2d(nn.Conv2d):
    """Convolution of stride 1 and same padding whose operator norm is kept at ``coefficient``.

    The kernel is divided by ``max(1, norm / coefficient)``: norms below the coefficient stay.
    The norm comes from power iteration with the convolution and its transpose at the resolution
    the layer really works at; every forward pass in training mode runs ``power_iterations`` steps.
    Norm and division are in the kernel's own precision, inside of ``torch.autocast`` too.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel_size : int
        Odd.
    resolution : (int, int)
        Height and width of the maps in pixels.
    coefficient : float
        Largest allowed operator norm.
    power_iterations : int
        Steps per training forward pass.
    """

    right_vector: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        resolution: tuple[int, int],
        coefficient: float,
        power_iterations: int,
    ) -> None:
        super().__init__(inputs, outputs, kernel_size, padding=kernel_size // 2)
        self.coefficient = coefficient
        self.power_iterations = power_iterations
        # the norm depends on the size of the maps, hence the resolution
        # a 1 x 1 convolution acts on each pixel alone: one pixel has the same norm
        self.resolution = (1, 1) if kernel_size == 1 else resolution
        vector = torch.empty(1, inputs, *self.resolution)
        # where there is no memory there is nothing to draw: torch would import its compiler to say so
        start = vector if vector.is_meta else _unit(vector.normal_())
        self.register_buffer("right_vector", start)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the normalised kernel."""
        if self.training:
            self.iterate(self.power_iterations)
        return F.conv2d(x, self.normalised_weight(), self.bias, padding=self.padding)

    def normalised_weight(self) -> Tensor:
        """Return the kernel divided by ``max(1, norm / coefficient)``, with its gradient."""
        # a clamp, not a division: kernels may be smaller than allowed, as in the official code
        return self.weight / (self.norm() / self.coefficient).clamp(min=1.0)

    def norm(self) -> Tensor:
        """Return the present estimate of the operator norm, with its gradient."""
        # a clone: the buffer changes in place at the next iteration, and the graph needs it as it was
        norm: Tensor = torch.linalg.vector_norm(self._apply_kernel(self.right_vector.clone()))
        return norm

    @torch.no_grad()
    def iterate(self, steps: int) -> None:
        """Run power iteration: v <- K^T K v, normalised."""
        for _ in range(steps):
            self.right_vector.copy_(_unit(self._gram(self.right_vector)))

    @torch.no_grad()
    def converge(self, *, tolerance: float = 1e-3) -> None:
        """Carry the power iteration to its limit, so that the norm is exact.

        Power iteration itself takes hundreds of steps, because the singular values of a
        convolution lie close together; Lanczos iteration (ARPACK), started at the present
        vector, finds the same limit in a few dozen.

        Parameters
        ----------
        tolerance : float
            Relative residual of the singular vector; the norm's error is about its square.

        Raises
        ------
        UnsupportedNetworkError
            A weight is NaN or infinite.
        """
        if not bool(self.weight.isfinite().all()):
            raise UnsupportedNetworkError(
                "iresnet: found weights that are NaN or infinite, so training has diverged; "
                "expected finite ones; train again with a smaller learning rate"
            )
        # training leaves norms up to 5 % too large: its power iterations lag behind the kernel
        small = self.right_vector.numel() <= SMALL_MAP
        limit = self._limit_dense() if small else self._limit_lanczos(tolerance)
        self.right_vector.copy_(_unit(limit))

    @torch.no_grad()
    def bake(self) -> nn.Conv2d:
        """Return a plain convolution with the normalised kernel."""
        plain = plain_twin(self)
        plain.weight.copy_(self.normalised_weight())
        if self.bias is not None and plain.bias is not None:
            plain.bias.copy_(self.bias)
        return plain

    def _limit_dense(self) -> Tensor:
        size = self.right_vector.numel()
        basis = torch.eye(size, dtype=self.weight.dtype, device=self.weight.device)
        images = self._apply_kernel(basis.view(size, *self.right_vector.shape[1:]))
        left: Tensor = torch.linalg.svd(images.flatten(1), full_matrices=False)[0]
        return left[:, 0].view_as(self.right_vector)

    def _limit_lanczos(self, tolerance: float) -> Tensor:
        # of a training alone; whoever loads a trained network does without
        from scipy.sparse.linalg import LinearOperator, eigsh

        def gram(flat: NDArray[np.float32]) -> NDArray[np.float32]:
            vector = to_like(torch.as_tensor(flat), self.weight).view_as(self.right_vector)
            product: NDArray[np.float32] = self._gram(vector).flatten().cpu().numpy()
            return product

        start = self.right_vector.flatten().cpu().numpy()
        if not np.any(gram(start)):  # a kernel of zeros
            return self.right_vector
        operator = LinearOperator((start.size, start.size), matvec=gram, dtype=start.dtype)
        _, vectors = eigsh(operator, k=1, v0=start, ncv=LANCZOS_VECTORS, tol=tolerance)
        return to_like(torch.as_tensor(vectors[:, 0]), self.right_vector).view_as(self.right_vector)

    def _apply_kernel(self, image: Tensor) -> Tensor:
        # not in the 8 significant bits of bfloat16: the inverse rests upon this norm
        with without_autocast(image.device):
            return F.conv2d(image, self.weight, padding=self.padding)

    def _gram(self, image: Tensor) -> Tensor:
        half = self.kernel_size[0] // 2
        with without_autocast(image.device):
            return F.conv_transpose2d(self._apply_kernel(image), self.weight, padding=half)


def kernel_of(convolution: nn.Conv2d) -> Tensor:
    """Return the kernel that a convolution, normalised or plain, works with."""
    if isinstance(convolution, SpectralConv2d):
        return convolution.normalised_weight()
    return convolution.weight


def plain_twin(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return an ``nn.Conv2d`` of the same shape, device and dtype, its weights not yet set."""
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size[0],
        padding=convolution.kernel_size[0] // 2,
        dtype=convolution.weight.dtype,
        device="meta",  # no initial weights, so no random numbers are drawn
    )
    # not plain.to_empty(...), for which torch imports its compiler
    for name, value in dict(plain.named_parameters()).items():
        empty = torch.empty(value.shape, dtype=value.dtype, device=convolution.weight.device)
        setattr(plain, name, nn.Parameter(empty))
    return plain


@torch.no_grad()
def operator_norm_bound(kernel: Tensor, resolution: tuple[int, int]) -> float:
    """Bound from above the norm of a zero-padded convolution of stride 1 on images of a size.

    On a torus with room for the padding the convolution contains the zero-padded one as a block,
    so its norm is at least as large; and on a torus it is diagonal in frequency, so its norm is
    the largest singular value over the frequencies (Sedghi, Gupta & Long 2019,
    arXiv:1805.10408). The bound holds for every smaller image too.

    Parameters
    ----------
    kernel : Tensor, shape (outputs, inputs, kh, kw)
    resolution : (int, int)
        Height and width of the images in pixels.

    Returns
    -------
    float
        Upper bound, within a fraction of a per cent of the norm on images of usual size.

    Examples
    --------
    >>> blur = torch.full((1, 1, 3, 3), 1 / 9)
    >>> round(operator_norm_bound(blur, (8, 8)), 6)
    1.0
    """
    # float64 on the CPU: the bound certifies, so rounding must not make it too small, and some
    # devices have no float64
    kernel = to_float64(kernel.detach().cpu())
    height, width = (size + k - 1 for size, k in zip(resolution, kernel.shape[-2:], strict=True))
    if kernel.shape[-2:] == (1, 1):
        return float(torch.linalg.matrix_norm(kernel[:, :, 0, 0], 2))
    if kernel.shape[0] < kernel.shape[1]:
        kernel = kernel.transpose(0, 1)  # same singular values, smaller Gram matrix
    # rfft: of a real kernel the other half of the frequencies has the same singular values
    along_width = torch.fft.rfft(kernel, n=width, dim=-1).permute(2, 3, 0, 1)  # kh, frequency, o, i
    rows = torch.arange(kernel.shape[2], dtype=torch.float64)
    largest = 0.0
    for frequency in range(height):  # row by row, so that memory holds one row of symbols
        phase = torch.polar(torch.ones_like(rows), -2 * torch.pi * frequency * rows / height)
        symbol = torch.einsum("k,kfoi->foi", phase, along_width)
        gram = symbol.mH @ symbol
        largest = max(largest, float(torch.linalg.eigvalsh(gram)[:, -1].max()))
    return math.sqrt(largest)


def norm_bound_of_any_size(kernel: Tensor) -> float:
    """Bound from above the norm of a zero-padded convolution on images of any size.

    The norm grows with the image, towards the largest singular value over all frequencies. That
    is sampled at 24 per axis and enlarged by ``1 / cos(pi (k - 1) / 48)`` for each axis of a kernel
    of odd width k: a trigonometric polynomial of degree n rises between N > 2 n samples to at most
    ``1 / cos(pi n / N)`` of the largest (Ehlich & Zeller 1964), and each bilinear form of the
    kernel's symbol is such a polynomial of degree (k - 1) / 2. For k = 3 that is 1.8 %.

    Parameters
    ----------
    kernel : Tensor, shape (outputs, inputs, kh, kw)
        Of odd height and width, well below 24.

    Examples
    --------
    >>> blur = torch.full((1, 1, 3, 3), 1 / 9)
    >>> 1 <= norm_bound_of_any_size(blur) < 1.02
    True
    """
    sizes = kernel.shape[-2:]
    height, width = (SAMPLED_FREQUENCIES - k + 1 for k in sizes)
    between = math.prod(math.cos(math.pi * (k - 1) / 2 / SAMPLED_FREQUENCIES) for k in sizes)
    return operator_norm_bound(kernel, (height, width)) / between


def _unit(vector: Tensor) -> Tensor:
    return F.normalize(vector.flatten(), dim=0).view_as(vector)
