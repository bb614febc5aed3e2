"""Checks of image sizes and of lists of read_integers given as text."""

import math
from collections.abc import Sequence

from torch import Tensor

from napari_why.core.errors import MismatchError, ParameterError

Size = int | Sequence[int]


def height_and_width(size: Size) -> tuple[int, int]:
    """Return (height, width) of a size given as one number (square) or as two.

    Raises
    ------
    ParameterError
        Not one or two positive numbers.

    Examples
    --------
    >>> height_and_width(224), height_and_width([64, 96])
    ((224, 224), (64, 96))
    """
    # bool is an int to Python, and True would pass as a size of 1
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
        raise ParameterError(
            f"size: found {size!r}; expected pixels, one number or (height, width)"
        )
    return pair[0], pair[1]


def read_integers(name: str, text: str, *, low: int, high: int) -> tuple[int, ...]:
    """Read ``"2,2,4"`` as (2, 2, 4).

    Raises
    ------
    ParameterError
        Something else than whole numbers from ``low`` to ``high``, separated by commas.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or any(not low <= number <= high for number in numbers):
        raise ParameterError(
            f"{name}: found {text!r}; expected whole numbers from {low} to {high}, "
            'separated by commas, such as "2,2,2,2"'
        )
    return numbers


def read_decimals(name: str, text: str, *, count: int) -> tuple[float, ...]:
    """Read ``"1,0.3"`` as (1.0, 0.3, 0.0, ...): ``count`` numbers, those left out are 0.

    Raises
    ------
    ParameterError
        Something else than numbers of 0 or more, separated by commas, or more than ``count``.
    """
    try:
        numbers = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        numbers = (math.nan,)  # refused below with the same words
    if len(numbers) > count or not all(0 <= number < math.inf for number in numbers):
        raise ParameterError(
            f"{name}: found {text!r}; expected at most {count} numbers of 0 or more, separated "
            'by commas, such as "1,0.3"'
        )
    return numbers + (0.0,) * (count - len(numbers))


def read_locked_channels(text: str, input_channels: int) -> tuple[int, ...]:
    """Read ``"0,2"`` as the input channels (0, 2), in ascending order.

    Raises
    ------
    ParameterError
        Something else than different channel indices separated by commas, or all channels.
    """
    if not text.strip():
        return ()
    # a text and not a list, since it comes from forms, shells and files alike
    channels = read_integers("locked", text, low=0, high=input_channels - 1)
    if len(set(channels)) < len(channels) or len(channels) == input_channels:
        raise ParameterError(
            f"locked: found {text!r} of {input_channels} channels; expected each channel once, and "
            "one channel at least that is free"
        )
    return tuple(sorted(channels))


def check_counts(input_channels: int, classes: int) -> None:
    """Raise ParameterError unless there are a channel and two classes at least."""
    if input_channels < 1:
        raise ParameterError(f"input_channels: found {input_channels}; expected 1 or more")
    if classes < 2:
        raise ParameterError(f"classes: found {classes}; expected 2 or more")


def check_multiple(network: str, size: tuple[int, int], factor: int) -> None:
    """Raise ParameterError, naming sizes that fit, unless both sides are multiples of ``factor``."""
    if any(side % factor for side in size):
        fitting = " or ".join(
            " x ".join(str(max(factor, _multiple(side, factor, up))) for side in size)
            for up in (False, True)
        )
        raise ParameterError(
            f"size: found {size[0]} x {size[1]}; {network} scales down by {factor}, so height and "
            f"width have to be multiples of {factor}, such as {fitting}"
        )


def check_smallest(network: str, size: tuple[int, int], smallest: int) -> None:
    """Raise ParameterError unless both sides have ``smallest`` pixels at least."""
    if min(size) < smallest:
        raise ParameterError(
            f"size: found {size[0]} x {size[1]}; {network} needs {smallest} x {smallest} or more"
        )


def check_batch(network: str, x: Tensor, channels: int, factor: int = 1) -> None:
    """Raise MismatchError unless ``x`` is (N, channels, multiple of factor, multiple of factor)."""
    if x.ndim != 4 or x.shape[1] != channels or any(side % factor for side in x.shape[2:]):
        sides = f"height and width multiples of {factor}" if factor > 1 else "any height and width"
        raise MismatchError(
            f"{network}: found a batch of shape {tuple(x.shape)}; expected (N, {channels}, H, W), "
            f"{sides}"
        )


def _multiple(side: int, factor: int, up: bool) -> int:
    return -(-side // factor) * factor if up else side // factor * factor
