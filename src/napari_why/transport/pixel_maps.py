"""Maps of preprocessed images from one class to another, and the simplest: a grey-level curve.

They work on pixels. A counterfactual encodes what they make, so that its path lies in the latent of the
invertible network, and its images are decoded from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.errors import ModelFileError
from napari_why.transport.maps import quantile_mapped, quantiles_of


class PixelMap(Protocol):
    """What images of one class would be in another; fitted without pairs.

    Attributes
    ----------
    kind : str
        Under which it is saved and chosen.
    """

    kind: ClassVar[str]

    def __call__(self, images: Tensor) -> Tensor:
        """Return preprocessed images (N, C, H, W) as the other class would look.

        Locked channels come back bit for bit, and no image depends on the others.
        """

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, float32, contiguous and on the CPU."""

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        PixelMap

        Raises
        ------
        ModelFileError
            Parts that do not fit.
        """


# Of the standard deviation, three on either side: what is left out weighs 0.3 %.
REACH = 3.0
# Up to this many pixels products with matrices are several times as fast as a convolution.
LARGEST_MATRIX = 256
# Lines that are filtered at once: what lies beyond the reach of the filter is left out of the product.
BAND = 32


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Return maps (..., H, W) filtered by a Gaussian of ``sigma`` pixels; borders are mirrored.

    Parameters
    ----------
    maps : Tensor, shape (..., H, W)
    sigma : float
        Standard deviation in pixels.

    Returns
    -------
    Tensor, shape (..., H, W)
    """
    if not maps.numel():
        return maps
    height, width = maps.shape[-2:]
    if max(height, width) <= LARGEST_MATRIX:
        filtered = _smooth_rows(maps.reshape(-1, height, width), sigma)
        return _smooth_columns(filtered.reshape(-1, width), sigma).reshape(maps.shape)
    kernel = _kernel(sigma).to(maps)
    radius = len(kernel) // 2
    result = maps.reshape(-1, 1, height, width)
    for margin, shape in (
        ((radius, radius, 0, 0), (1, 1, 1, -1)),
        ((0, 0, radius, radius), (1, 1, -1, 1)),
    ):
        size = result.shape[3] if margin[0] else result.shape[2]
        # an image smaller than the kernel cannot be mirrored that far
        mode = "reflect" if radius < size else "replicate"
        result = F.conv2d(F.pad(result, margin, mode=mode), kernel.reshape(shape))
    return result.reshape(maps.shape)


def _smooth_rows(maps: Tensor, sigma: float) -> Tensor:
    """Filter maps (N, H, W) along H."""
    parts = []
    for lines, seen in _bands(maps.shape[1], sigma):
        matrix = smoothing_matrix(maps.shape[1], sigma)[lines, seen].to(maps)
        parts.append(torch.bmm(matrix.expand(len(maps), *matrix.shape), maps[:, seen]))
    return torch.cat(parts, 1)


def _smooth_columns(lines_of_maps: Tensor, sigma: float) -> Tensor:
    """Filter lines (M, W) along W."""
    parts = []
    for lines, seen in _bands(lines_of_maps.shape[1], sigma):
        matrix = smoothing_matrix(lines_of_maps.shape[1], sigma)[lines, seen].to(lines_of_maps)
        parts.append(lines_of_maps[:, seen] @ matrix.T)
    return torch.cat(parts, 1)


def _bands(size: int, sigma: float) -> Iterator[tuple[slice, slice]]:
    """Yield which pixels of a line to filter together, and the ones that they are made of."""
    radius = _radius(sigma)
    for start in range(0, size, BAND):
        end = min(size, start + BAND)
        yield slice(start, end), slice(max(0, start - radius), min(size, end + radius))


@lru_cache(maxsize=64)  # a fit asks for the same dozen matrices thousands of times
def smoothing_matrix(size: int, sigma: float) -> Tensor:
    """Return the matrix (size, size) that filters a line of pixels by a Gaussian.

    Parameters
    ----------
    size : int
        Pixels of the line.
    sigma : float
        Standard deviation in pixels.

    Returns
    -------
    Tensor, float32, shape (size, size)
        Rows add up to 1.
    """
    kernel = _kernel(sigma)
    radius = len(kernel) // 2
    mode = "reflect" if radius < size else "replicate"
    unit = F.pad(torch.eye(size)[:, None], (radius, radius), mode=mode)
    return F.conv1d(unit, kernel.reshape(1, 1, -1))[:, 0].T.contiguous()


def _radius(sigma: float) -> int:
    return max(1, round(REACH * sigma))


def _kernel(sigma: float) -> Tensor:
    radius = _radius(sigma)
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-steps.square() / (2 * sigma**2))
    return kernel / kernel.sum()


# Every half per cent: the brightest pixels, a few in a hundred, are what granules are made of.
CURVE_QUANTILES = 201
# Pixels of a class that a curve is fitted on: a thousand for each of its knots.
CURVE_PIXELS = 200_000


@dataclass(frozen=True)
class GreyLevelCurve:
    """One rising curve of grey levels per free channel (histogram specification).

    Of all maps of single grey levels it is the one of least cost that gives the pixels of one class the
    distribution of the other's (Gonzalez & Woods, Digital Image Processing). Beyond the levels that were
    seen it goes on in parallel to the identity.

    Parameters
    ----------
    channels : tuple of int
        Those that it changes.
    source, target : Tensor, float32, shape (channels, 201)
        Quantiles of both classes' pixels, rising.
    """

    channels: tuple[int, ...]
    source: Tensor
    target: Tensor
    kind: ClassVar[str] = "curve"

    @classmethod
    def fit(
        cls, source: Tensor, target: Tensor, channels: Sequence[int], *, seed: int = 0
    ) -> "GreyLevelCurve":
        """Fit on images (N, C, H, W) of the two classes, not paired.

        Parameters
        ----------
        source, target : Tensor, shape (N, C, H, W), (M, C, H, W)
            Preprocessed.
        channels : sequence of int
            Those that it is to change.
        seed : int
            Of the pixels that are drawn where there are too many.

        Returns
        -------
        GreyLevelCurve
        """
        generator = torch.Generator().manual_seed(seed)
        steps = torch.linspace(0, 1, CURVE_QUANTILES)
        found = []
        for images in (source, target):
            levels = [_sample(images[:, channel], generator) for channel in channels]
            found.append(torch.cat([quantiles_of(level[:, None], steps).T for level in levels]))
        return cls(tuple(channels), found[0], found[1])

    def __call__(self, images: Tensor) -> Tensor:
        """See :class:`PixelMap`."""
        moved = images.clone()
        for index, channel in enumerate(self.channels):
            levels = images[:, channel].float()
            mapped = quantile_mapped(
                levels.reshape(-1, 1), self.source[index][:, None], self.target[index][:, None]
            )
            moved[:, channel] = mapped.reshape(levels.shape).to(images)
        return moved

    def tensors(self) -> dict[str, Tensor]:
        """See :class:`PixelMap`."""
        return {"source": self.source, "target": self.target}

    def to_dict(self) -> dict[str, Any]:
        """See :class:`PixelMap`."""
        return {"channels": list(self.channels)}

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
    ) -> "GreyLevelCurve":
        """See :class:`PixelMap`.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        GreyLevelCurve

        Raises
        ------
        ModelFileError
            Quantiles of another shape than the channels ask for.
        """
        channels = tuple(int(channel) for channel in plain["channels"])
        source, target = tensors["source"], tensors["target"]
        if not source.shape == target.shape == (len(channels), CURVE_QUANTILES):
            raise ModelFileError(
                f"grey-level curve: found quantiles of shape {tuple(source.shape)} and "
                f"{tuple(target.shape)}; expected {(len(channels), CURVE_QUANTILES)}; train anew"
            )
        return cls(channels, source, target)


def _sample(values: Tensor, generator: torch.Generator) -> Tensor:
    flat = values.flatten().float()
    if len(flat) <= CURVE_PIXELS:
        return flat
    return flat[torch.randint(len(flat), (CURVE_PIXELS,), generator=generator)]


def in_batches(images: Tensor, change: Callable[[Tensor], Tensor], size: int = 32) -> Tensor:
    """Return ``change`` of images (N, C, H, W), a few at a time so that memory stays bounded.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
    change : callable
        Makes of some of them (n, C, H, W) as many results.
    size : int
        Images at a time at most.

    Returns
    -------
    Tensor, shape (N, ...)
    """
    return torch.cat([change(part) for part in torch.split(images, size)])
