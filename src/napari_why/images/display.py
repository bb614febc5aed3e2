"""How a channel is shown: a colour by the stain that its name tells, and contrast limits."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

# One channel alone needs no colour to be told apart, and the eye sees most steps in grey.
ONE_CHANNEL = "gray"

# Mitochondria are orange: seen through the blue of nuclei they stay apart, as magenta would not.
STAINS = (
    (r"dapi|hoechst|draq|dna|nucle|h2b|bfp", "blue"),
    (r"tmr[me]|mito|jc-?1", "bop orange"),
    (r"gfp|fitc|488|alexa ?488|calcein|green|er\b", "green"),
    (r"rfp|mcherry|tdtomato|tritc|tx ?red|texas|cy3|555|561|568|594|red", "red"),
    (r"cy5|far|633|640|647|agp", "magenta"),
    (r"yfp|venus|yellow", "yellow"),
    (r"cfp|cyan", "cyan"),
    (r"bright ?field|phase|dic|trans|\bbf\b", "gray"),
)
# For names that tell no stain: the first two stay apart for the colour-blind and add to white.
FALLBACK = ("green", "magenta", "blue", "yellow", "red", "cyan", "bop orange", "bop purple")

# The brightest colour of each of napari's colormaps, red, green and blue in hexadecimal digits.
HEX_COLOURS = {
    "blue": "0000FF",
    "green": "00FF00",
    "red": "FF0000",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "cyan": "00FFFF",
    "gray": "FFFFFF",
    "bop orange": "F8AD20",
    "bop purple": "942094",
}

# Of values around zero: evidence against and for a class, less and more of a stain. No channel has
# either: 30 and more in CIELAB from every brightness of every colour above, where 10 are told apart at
# a glance, and 60 from each other, to eyes without red, green or blue cones too.
NEGATIVE = (0.00, 0.65, 1.00)  # sky blue
POSITIVE = (1.00, 0.55, 0.40)  # salmon

# Of the absolute values, those that the ends of a colour bar leave out: one bright pixel would turn
# the rest of the map dark.
CLIPPED_SHARE = 0.005
# First digits of the ends of a colour bar: at these napari writes a number, at others often only 0.
ROUND_ENDS = (1, 2, 4, 5, 10)
# By so much an end may be below the quantile, rather than up to twice as large: as hardly seen.
ROUND_DOWN = 0.85

# In fluorescence images the background is most of the field, so that its darkest pixels are black;
# one pixel in two hundred saturates, so that a hot pixel does not turn the rest dark.
LOW_PERCENTILE = 1.0
# The first is taken where it is some grey levels above the background; of a stain that hardly any
# pixel shows, the next ones. The last is the brightest pixel, where there is nothing else.
HIGH_PERCENTILES = (99.5, 99.9, 99.99, 100.0)
# Grey levels of an integer image between black and full colour: with fewer, noise would be full colour.
FEWEST_LEVELS = 4
# Of a larger image every n-th pixel: percentiles sort, and those of so many hardly differ.
SAMPLE_PIXELS = 2**21
# Of a dask array, whose planes have to be decoded: the first, the middle and the last.
SAMPLE_PLANES = 3
# Pixels of a plane that is larger than any camera's (the largest have some 100 million): of a slide,
# which is not in memory, the middle is looked at, of this side.
LARGE_PLANE = 64 * 2**20
MIDDLE = 2048  # a camera's field, enough for percentiles


def default_colormaps(names: Sequence[str]) -> list[str]:
    """Return the name of a napari colormap for each channel name, no colour twice while they last.

    Examples
    --------
    >>> default_colormaps(["DAPI", "TMRM"]), default_colormaps(["channel 1", "channel 2"])
    (['blue', 'bop orange'], ['green', 'magenta'])
    >>> default_colormaps(["something"])
    ['gray']
    """
    chosen: list[str | None] = []
    for name in names:
        colour = _by_stain(name)
        chosen.append(None if colour in chosen else colour)
    if len(names) == 1:
        return [chosen[0] or ONE_CHANNEL]
    free = [colour for colour in FALLBACK if colour not in chosen]
    missing = iter(free + [FALLBACK[i % len(FALLBACK)] for i in range(len(names))])
    return [colour or next(missing) for colour in chosen]


def _by_stain(name: str) -> str | None:
    for pattern, colour in STAINS:
        if re.search(pattern, name, re.IGNORECASE):
            return colour
    return None


def contrast_limits(pixels: Any) -> tuple[float, float]:
    """Return the values to be shown as black and as full colour.

    The background (1st percentile) is black, and one pixel in two hundred saturates, so that a hot
    pixel does not turn the rest dark. Where hardly a grey level lies between the two, fewer pixels
    do; a constant image is shown between zero and its value.

    Parameters
    ----------
    pixels : array
        Pixels of one channel, any shape; values that are no finite numbers are left out.

    Returns
    -------
    low, high : float
        ``low < high`` always.

    Examples
    --------
    >>> contrast_limits(np.zeros((8, 8), "uint16")), contrast_limits(np.full((8, 8), 7, "uint8"))
    ((0.0, 1.0), (0.0, 7.0))
    >>> nearly_black = np.ones((100, 100), "uint8"); nearly_black[0, :5] = range(5)
    >>> contrast_limits(nearly_black)
    (1.0, 4.0)
    """
    sample = _sample(np.asarray(pixels))
    if sample.size == 0:
        return 0.0, 1.0
    low, *candidates = map(float, np.percentile(sample, (LOW_PERCENTILE, *HIGH_PERCENTILES)))
    # values that are no whole numbers may lie as close together as they like
    enough = low + FEWEST_LEVELS if sample.dtype.kind in "bui" else np.nextafter(low, np.inf)
    high = next((found for found in candidates if found >= enough), candidates[-1])
    if high <= low:
        low = float(sample.min())
    return (low, high) if low < high else _around(low)


def common_contrast(images: "Iterable[xr.DataArray]") -> dict[str, tuple[float, float]]:
    """Return contrast limits for each channel of several images: the median of their own.

    Each image's own limits would make a dim one look as bright as the others.

    Parameters
    ----------
    images : iterable of DataArray

    Returns
    -------
    dict of str to (float, float)
        By channel name, raw units.

    Examples
    --------
    >>> from napari_why.images import make_image
    >>> bright, dim = (np.arange(5001.0).reshape(1, 1, -1) * factor for factor in (1, 0.5))
    >>> both = [make_image(pixels, "cyx", ["TMRM"]) for pixels in (bright, dim)]
    >>> common_contrast(both)
    {'TMRM': (37.5, 3731.25)}
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for image in images:
        for name, limits in zip(
            image.coords["c"].values, image_contrast_limits(image), strict=True
        ):
            found.setdefault(str(name), []).append(limits)
    medians = {name: np.median(np.array(pairs), axis=0) for name, pairs in found.items()}
    return {name: (float(low), float(high)) for name, (low, high) in medians.items()}


def image_contrast_limits(image: "xr.DataArray") -> list[tuple[float, float]]:
    """Return the contrast limits of every channel of an image.

    Of a dask array, the first, middle and last plane of each channel are looked at, or the middle of
    large ones.
    """
    return [contrast_limits(_planes(image.isel(c=index).data)) for index in range(image.sizes["c"])]


def _planes(channel: Any) -> Any:
    if isinstance(channel, np.ndarray):
        return channel
    channel = channel[middle_of(channel.shape)]
    if channel.ndim <= 2:
        return channel
    stack = channel.reshape((-1, *channel.shape[-2:]))
    count = stack.shape[0]
    wanted = np.unique(np.linspace(0, count - 1, SAMPLE_PLANES).round().astype(int))
    return stack[wanted]


def middle_of(shape: Sequence[int]) -> tuple[slice, ...]:
    """Return the index of the middle of planes that are larger than a camera's; else of the whole.

    Parameters
    ----------
    shape : sequence of int
        Ends with height and width.

    Examples
    --------
    >>> middle_of((2, 10, 20)), middle_of((50000, 40000))[1]
    ((slice(None, None, None), slice(None, None, None), slice(None, None, None)), slice(18976, 21024, None))
    """
    if shape[-2] * shape[-1] <= LARGE_PLANE:
        return tuple(slice(None) for _ in shape)
    ends = [(max(0, (n - MIDDLE) // 2), min(n, (n + MIDDLE) // 2)) for n in shape[-2:]]
    return (*(slice(None) for _ in shape[:-2]), *(slice(*pair) for pair in ends))


def symmetric_limits(values: NDArray[Any]) -> tuple[float, float]:
    """Return contrast limits around zero: round numbers that leave out the few largest values.

    Examples
    --------
    >>> symmetric_limits(np.array([-2.0, 1.0]))
    (-2.0, 2.0)
    >>> symmetric_limits(np.append(np.linspace(-1, 1, 1000), 80.0))
    (-1.0, 1.0)
    >>> symmetric_limits(np.zeros(3))
    (-1.0, 1.0)
    """
    strengths = np.abs(values[np.isfinite(values)])
    # "higher" is a value that is there: of a few pixels the largest
    large = (
        float(np.quantile(strengths, 1 - CLIPPED_SHARE, method="higher")) if strengths.size else 0.0
    )
    # where hardly a pixel differs from zero, those that do
    large = large or largest_of(values)
    # napari refuses limits without any width, so a map of zeros gets those of a small one
    end = round_end(large) if large > 0 else 1.0
    return (-end, end)


def largest_of(values: NDArray[Any]) -> float:
    """Return the largest finite absolute value, 0 without one."""
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def clipped_share(values: NDArray[Any], limits: tuple[float, float]) -> float:
    """Return the share of values that are shown as one of the limits.

    Parameters
    ----------
    values : ndarray
        Signed, of any shape.
    limits : (float, float)
        As far from 0 on either side, in the unit of the values.

    Returns
    -------
    float
        0 to 1; 0 of an empty array.
    """
    return float(np.mean(np.abs(values) > limits[1])) if values.size else 0.0


def round_end(value: float) -> float:
    """Return a round number that is hardly smaller than a positive one.

    Examples
    --------
    >>> round_end(4.96), round_end(0.21), round_end(1630.0)
    (5.0, 0.2, 2000.0)
    """
    # numbers that float32 cannot hold: napari would fail
    power = 10.0 ** np.floor(np.log10(max(value, float(np.finfo(np.float32).tiny))))
    found = next(step for step in ROUND_ENDS if step * power >= ROUND_DOWN * value)
    # as it is written: 4 * 0.1 is not quite 0.4
    return float(f"{found * power:.6g}")


def _sample(pixels: Any) -> Any:
    """Every n-th pixel of large images; finite values only."""
    flat = pixels.reshape(-1)
    step = -(-flat.size // SAMPLE_PIXELS)
    # An odd step does not run along the columns of images whose width is a power of two.
    sample = flat[:: step + 1 - step % 2] if step > 1 else flat
    if sample.dtype == np.bool_:
        return sample.astype(np.uint8)
    return sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample


def _around(value: float) -> tuple[float, float]:
    """Return limits for an image of one value."""
    if value == 0:
        return 0.0, 1.0
    return (0.0, value) if value > 0 else (value, 0.0)
