"""Evidence of whole regions: of cells that the user gives, of superpixels, of the squares of a grid."""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.attribution.registry import Evidence, RegionValue
from napari_why.attribution.wrapper import Wrapped, attribution_wrapper
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range, Unit

Pooling = Literal["superpixels", "grid", "regions"]


@attribution_wrapper(
    title="Sums over regions",
    source="Montavon, Samek & Müller 2018, doi:10.1016/j.dsp.2017.10.011; superpixels: Achanta et al. 2012",
)
def pooled(
    wrapped: Wrapped,
    *,
    by: Annotated[
        Pooling, Help("regions: superpixels of the image, squares, or the labels that you give")
    ] = "superpixels",
    # about the area of a nucleus where a field of 200 um is seen in 224 pixels
    side: Annotated[
        int, Help("of a square, or of a superpixel on average"), Range(2, 1024), Unit("px")
    ] = 12,
    # with noise of a fifth of the contrast, 0.1 leaves few superpixels and 5 leaves squares
    compactness: Annotated[
        float, Help("of superpixels: higher is squarer"), Range(0.0001, 100.0)
    ] = 0.5,
    regions: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Add the evidence up over regions, and spread each sum evenly over its region.

    R_J = sum over p in J of R(p). Pixels without a label (0) are one region more, which is in the
    maps but not in the list: so every sum over the map stays.

    Parameters
    ----------
    wrapped : Wrapped
    regions : Tensor, shape (H, W), int64, optional
        Labels on the pixels of the image, 0 where no region is; for ``by="regions"``.
    on_event, cancelled : callable
        Those of the method.

    Returns
    -------
    Evidence
        Maps: of each pixel the mean over its region, unit as the method's. ``regions``: sums of the
        joint map, with an upper bound of their standard error: the sum of those of the pixels.
        ``labels``: the regions, where they were made here.

    Raises
    ------
    ParameterError
        The labels of regions are asked for and there are none.
    """
    if by != "regions":
        labels = make_regions(wrapped.x, by, side, compactness)
    elif regions is None:
        raise ParameterError(
            "regions: found none; expected labels for pooled, one number for each cell, 0 for the "
            "background; or take by='superpixels' or by='grid'"
        )
    else:
        labels = regions
    found = pool(wrapped.run(on_event=on_event, cancelled=cancelled), labels)
    return replace(found, labels=None if by == "regions" else labels)


def pool(found: Evidence, labels: Tensor) -> Evidence:
    """Return evidence with means over regions as its maps; see :func:`pooled`.

    Parameters
    ----------
    found : Evidence
    labels : Tensor, shape (H, W), int64

    Returns
    -------
    Evidence
        With the sums of the labels above 0 as its ``regions``.
    """
    # on the processor: some devices have no float64, in which the sums of thousands of pixels are exact
    numbers, places = torch.unique(labels.cpu(), return_inverse=True)
    counts = torch.bincount(places.flatten(), minlength=len(numbers))
    sums, error = _sums(found.joint, places, len(numbers)), found.standard_error
    errors = None if error is None else _sums(error, places, len(numbers))

    def spread(values: Tensor) -> Tensor:
        means = _sums(values, places, len(numbers)) / counts
        return to_like(means[..., places], values)

    values = tuple(
        RegionValue(
            int(label), sums[index].item(), None if errors is None else errors[index].item()
        )
        for index, label in enumerate(numbers.tolist())
        if label > 0
    )
    outside = sums[numbers <= 0].sum().item()
    return replace(
        found,
        maps=spread(found.maps),
        joint=spread(found.joint),
        standard_error=None if error is None else spread(error),
        layers={name: spread(layer) for name, layer in found.layers.items()},
        regions=values,
        details={**found.details, "pooled_regions": len(values), "outside_regions": outside},
    )


def _sums(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Return the sums (..., count) of values (..., H, W) over the places of each region."""
    exact = to_float64(values.cpu()).flatten(-2)
    total = exact.new_zeros((*exact.shape[:-1], count))
    return total.index_add(-1, places.flatten(), exact)


def make_regions(x: Tensor, by: str, side: int, compactness: float) -> Tensor:
    """Return superpixels or squares of an image (1, C, H, W), labels (H, W) from 1 on, int64.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
    by : {"superpixels", "grid"}
    side : int
        In pixels: of a square, or of a square as large as a usual superpixel.
    compactness : float
        How much of a superpixel's borders nearness decides, and not the grey levels.

    Returns
    -------
    Tensor, int64, shape (H, W)
    """
    height, width = x.shape[-2:]
    if by == "grid":
        rows, columns = torch.arange(height) // side, torch.arange(width) // side
        return rows[:, None] * (-(-width // side)) + columns[None, :] + 1
    from skimage.segmentation import slic  # half a second, since it imports most of scikit-image

    labels = slic(
        contrast_of(x),
        n_segments=max(1, round(height * width / side**2)),
        compactness=compactness,
        channel_axis=-1,
        convert2lab=False,
        start_label=1,
    )
    return torch.from_numpy(np.asarray(labels, dtype=np.int64))


# Of a channel's pixels, as limits of its contrast: single bright ones must not make all else alike.
LIMITS = (1, 99)


def contrast_of(x: Tensor) -> NDArray[np.float64]:
    """Return an image (1, C, H, W) as (H, W, C), each channel from 0 to 1 between its percentiles."""
    pixels = to_float64(x[0].cpu()).numpy()
    low, high = np.percentile(pixels, LIMITS, axis=(1, 2), keepdims=True)
    # a channel without contrast is 0 everywhere
    scaled = (pixels - low) / np.where(high > low, high - low, 1.0)
    return np.asarray(np.moveaxis(scaled.clip(0, 1), 0, -1))
