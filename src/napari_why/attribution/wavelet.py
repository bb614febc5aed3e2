"""Wavelet attribution: gradient times wavelet coefficient, by the size of structures."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.attribution.input_gradients import input_gradient
from napari_why.attribution.registry import SMALLEST, Evidence, attribution_method
from napari_why.core.devices import to_float64
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range, Unit
from napari_why.networks.network import Network

Levels = Annotated[
    int | None, Help("how many sizes, each twice the last; none: as many as fit"), Range(1, 16)
]
Size = Annotated[
    int | None,
    Help("show only structures of this size, 1, 2, 4, ...; none: all together"),
    Range(1, 2**16), Unit("px"),
]  # fmt: skip


@attribution_method(
    title="Wavelet attribution",
    source="Kasmi, Brunetto, Fel & Parekh 2025 (WAM, ICML), arXiv:2410.01482; Haar 1910",
    caution="shares by size hold for this place of the squares' grid; structures between two sizes, or across squares, show in several",
)
def wavelet(
    network: Network, x: Tensor, target: int, *, levels: Levels = None, size: Size = None
) -> Evidence:
    """Which size of structure speaks for the class: coefficients times their gradients, by scale.

    The image is written as a sum of Haar wavelets, c = W x with an orthogonal W. So ds/dc = W ds/dx,
    and a coefficient's evidence is c * ds/dc, as input x gradient is a pixel's. A coefficient of
    size d compares neighbouring squares of d x d pixels, left with right, above with below, and
    across; its evidence is spread evenly over the 2 d x 2 d pixels that it sees. What is left after
    the largest size are the means of the largest squares: brightness.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image; 0 is the training mean. Where a side is no multiple of the largest
        square, the mean is added at the far borders, and the evidence stays inside.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Maps in logits per pixel, all sizes together or those of ``size``; joint: their sum over
        channels. All sizes together sum to the sum of input x gradient, on every network. ``by_size``
        in the details: of each size in px, the signed evidence (logits), its share of the whole,
        and its share of the absolute evidence, summed before it is spread; ``brightness`` the same
        for the means of the largest squares, whose side is ``brightness_px``.

    Raises
    ------
    ParameterError
        More levels than fit into the image, or a size that is none of theirs.
    """
    fitting = (min(x.shape[-2:])).bit_length() - 1  # the largest square is not beyond the image
    count = fitting if levels is None else levels
    sizes = [2**level for level in range(count)]
    check_sizes(count, fitting, size, sizes)
    _, gradients = input_gradient(network, x, target)
    image, slope = (pad_to_squares(each[0], 2**count) for each in (x, gradients))
    scales = [a * b for a, b in zip(haar(image, count), haar(slope, count), strict=True)]
    maps = torch.zeros_like(x[0])
    for number, scale in enumerate(scales):
        if size is None or (number < count and sizes[number] == size):
            maps = maps + spread_over_squares(
                scale.sum(dim=0), 2 ** min(number + 1, count), x.shape
            )
    shares = [Share.of(scale, scales).to_dict() for scale in scales]
    by_size = [{"size_px": each, **share} for each, share in zip(sizes, shares, strict=False)]
    return Evidence(
        maps=maps,
        joint=maps.sum(dim=0),
        unit="logit per pixel",
        details={"by_size": by_size, "brightness": shares[-1], "brightness_px": 2**count},
    )


def check_sizes(count: int, fitting: int, size: int | None, sizes: list[int]) -> None:
    """Raise ParameterError where levels do not fit into the image, or a size is of none of them.

    Parameters
    ----------
    count, fitting : int
        Levels that are asked for, and at most.
    size : int or None
        In pixels; the one that is asked for.
    sizes : list of int
        Those of the levels.

    Raises
    ------
    ParameterError
        Too many levels, or a size of none of them.
    """
    if count > fitting:
        raise ParameterError(
            f"levels: found {count}; expected at most {fitting}, so that the largest squares fit "
            "into the image"
        )
    if size is not None and size not in sizes:
        raise ParameterError(f"size: found {size} px; expected one of {', '.join(map(str, sizes))}")


def pad_to_squares(image: Tensor, side: int) -> Tensor:
    """Add zeros at the far borders of (C, H, W) until each length is a multiple of ``side``.

    Parameters
    ----------
    image : Tensor, shape (C, H, W)
    side : int
        In pixels.

    Returns
    -------
    Tensor, shape (C, H', W')
    """
    return F.pad(image, (0, -image.shape[-1] % side, 0, -image.shape[-2] % side))


def haar(image: Tensor, levels: int) -> list[Tensor]:
    """Return the orthonormal Haar wavelet transform, finest scale first.

    Parameters
    ----------
    image : Tensor, shape (C, H, W)
        Its sides multiples of 2^levels.
    levels : int
        0 or more.

    Returns
    -------
    list of Tensor
        For each level j = 1, 2, ... the differences across columns, across rows and across both,
        shape (3, C, H / 2^j, W / 2^j); last what is left, shape (1, C, H / 2^levels, W / 2^levels).

    Examples
    --------
    >>> [scale.flatten().tolist() for scale in haar(torch.tensor([[[4.0, 2.0], [4.0, 2.0]]]), 1)]
    [[2.0, 0.0, 0.0], [6.0]]
    """
    scales = []
    for _ in range(levels):
        left, right = image[..., ::2], image[..., 1::2]
        # over 2 and not over a root of 2: rows and columns are done at once
        total, columns = (left + right) / 2, (left - right) / 2
        top, bottom = total[..., ::2, :], total[..., 1::2, :]
        scales.append(
            torch.stack(
                [
                    columns[..., ::2, :] + columns[..., 1::2, :],
                    top - bottom,
                    columns[..., ::2, :] - columns[..., 1::2, :],
                ]
            )
        )
        image = top + bottom
    return [*scales, image[None]]


def spread_over_squares(evidence: Tensor, side: int, shape: torch.Size) -> Tensor:
    """Spread values (C, h, w) of squares evenly over those of their pixels that lie in the image.

    Parameters
    ----------
    evidence : Tensor, shape (C, h, w)
        A value a square.
    side : int
        Of a square, in pixels.
    shape : torch.Size
        Of the image, ending in (H, W).

    Returns
    -------
    Tensor, shape (C, H, W)
        With the sum of the values, but for those of squares outside the image.
    """
    inside = [
        (length - side * torch.arange(count, device=evidence.device)).clamp(1, side)
        for length, count in zip(shape[-2:], evidence.shape[-2:], strict=True)
    ]
    each = evidence / (inside[0][:, None] * inside[1])
    wide = each.repeat_interleave(side, dim=-2).repeat_interleave(side, dim=-1)
    return wide[..., : shape[-2], : shape[-1]]


@dataclass(frozen=True)
class Share:
    """What one scale holds of the evidence.

    Parameters
    ----------
    signed, absolute : float
        Sums over its coefficients, in logits.
    whole_signed, whole_absolute : float
        The same of all scales.
    """

    signed: float
    absolute: float
    whole_signed: float
    whole_absolute: float

    @classmethod
    def of(cls, scale: Tensor, scales: list[Tensor]) -> "Share":
        """Sum up one of the scales.

        Parameters
        ----------
        scale : Tensor
            Evidence of its coefficients, in logits.
        scales : list of Tensor
            Of all scales, that one among them.

        Returns
        -------
        Share
        """
        every = [to_float64(each) for each in scales]
        own = to_float64(scale)
        return cls(
            own.sum().item(),
            own.abs().sum().item(),
            sum(each.sum().item() for each in every),
            sum(each.abs().sum().item() for each in every),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return sums and shares; None for a share of nothing."""
        return {
            "signed": self.signed,
            "share_of_signed": self._share(self.signed, self.whole_signed),
            "share_of_absolute": self._share(self.absolute, self.whole_absolute),
        }

    @staticmethod
    def _share(part: float, whole: float) -> float | None:
        return part / whole if abs(whole) > SMALLEST else None
