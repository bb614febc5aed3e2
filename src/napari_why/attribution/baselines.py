"""What a pixel is compared with: images from which the evidence has been taken away."""

from typing import Literal

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from napari_why.core.errors import ParameterError

ImageBaseline = Literal["zero", "mean", "blur"]
# The local background is that of a window; a whole image has none.
WindowBaseline = Literal["zero", "mean", "blur", "local_background"]


def baseline_image(x: Tensor, baseline: str, raw_zero: Tensor | None, blur_sigma: float) -> Tensor:
    """Return the image that stands for absence.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    baseline : str
        ``zero``: raw intensity 0, no light; ``mean``: each channel's training mean, 0 after
        standardisation; ``blur``: the image itself, blurred with a Gaussian channel by channel.
    raw_zero : Tensor, shape (1, C, H, W), or None
        The preprocessed image of raw intensity 0; needed for ``zero`` only.
    blur_sigma : float
        Standard deviation of the Gaussian in pixels.

    Returns
    -------
    Tensor, shape (1, C, H, W)

    Raises
    ------
    ParameterError
        ``zero`` is asked for where the image of raw intensity 0 is not known.
    """
    if baseline == "zero":
        if raw_zero is None:
            raise ParameterError(
                "baseline: found 'zero' without the preprocessed image of raw intensity 0; "
                "expected raw_zero, or the baseline 'mean'"
            )
        return raw_zero.expand_as(x)
    if baseline == "mean":
        return torch.zeros_like(x)
    # "nearest": any other border would darken or mirror what lies at the edge
    blurred = gaussian_filter(x.cpu().numpy(), sigma=(0, 0, blur_sigma, blur_sigma), mode="nearest")
    return torch.from_numpy(blurred).to(x)


def local_background(x: Tensor, rows: slice, columns: slice, margin: int) -> Tensor:
    """Return the median of the frame of pixels round a window, channel by channel.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
    rows, columns : slice
        The window.
    margin : int
        Width of the frame in pixels; it is cut off at the image border.

    Returns
    -------
    Tensor, shape (1, C, 1, 1)
        The median; the median of the window itself where it covers the whole image.
    """
    top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
    area = x[0, :, top : rows.stop + margin, left : columns.stop + margin]
    frame = torch.ones(area.shape[-2:], dtype=torch.bool, device=x.device)
    frame[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = False
    # the median and not the mean: structures that reach into the frame must not lift the background
    pixels = area[:, frame] if bool(frame.any()) else area.flatten(1)
    return pixels.median(dim=1).values[None, :, None, None]
