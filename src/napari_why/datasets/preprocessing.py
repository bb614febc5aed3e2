"""From raw images to what a network sees, and back: channels, size, intensities, standardisation.

The three steps stand in this order below: choosing channels and size, measuring mean and variance
one image at a time, and :class:`Preprocessing`, which puts them together and knows its inverse.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_why.core import events
from napari_why.core.errors import MismatchError, ParameterError, WhyError
from napari_why.datasets.dataset import Dataset
from napari_why.images import NO_LENGTH, Grid, PixelSize, channel_names

if TYPE_CHECKING:
    import torch
    import xarray as xr


Fit = Literal["resize", "crop", "none"]
Intensity = Literal["linear", "log1p", "asinh"]
# Relative to the mean: rounding leaves a constant channel a deviation near 1e-16, while a single grey
# level at full scale is 1.5e-5. Divided by the deviation, rounding would become a signal.
CONSTANT = 1e-9


def select_pixels(image: "xr.DataArray", channels: Sequence[str]) -> NDArray[np.float64]:
    """Return the named channels in this order, float64, shape (C, y, x), raw units.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)
        In the file's grey levels.
    channels : sequence of str
        Names, in the order that is wanted.

    Returns
    -------
    ndarray, float64, shape (C, H, W)
        Raw grey levels.

    Raises
    ------
    MismatchError
        The image is no plane, or lacks a channel.
    WhyError
        A value is NaN or infinite.
    """
    if image.dims != ("c", "y", "x"):
        raise MismatchError(
            f"found an image with the axes {', '.join(map(str, image.dims))}; expected c, y, x: "
            "take one plane of it"
        )
    there = channel_names(image)
    if not set(channels) <= set(there):
        raise MismatchError(
            f"found an image with the channels {', '.join(there)}; expected "
            f"{', '.join(channels)}; name the image's channels accordingly when opening it"
        )
    # float64 from here on: the inverse has to give every 16-bit value back.
    order = [there.index(name) for name in channels]
    # the coordinates are not asked for, and to select them too takes most of the time
    pixels = np.asarray(image.variable.isel(c=order), dtype=np.float64)
    bad = [n for n, p in zip(channels, pixels, strict=True) if not np.isfinite(p).all()]
    if bad:
        raise WhyError(
            f"{image.attrs.get('source') or 'image'}: found NaN or infinite values in channel "
            f"{', '.join(bad)}; expected finite numbers; replace them before"
        )
    return pixels


def bring_to_size(pixels: NDArray[np.float64], size: int | None, fit: Fit) -> NDArray[np.float64]:
    """Bring pixels to ``size`` x ``size``; pixels that have it already are returned unchanged.

    Parameters
    ----------
    pixels : ndarray, float64, shape (C, H, W)
    size : int or None
        Pixels along each side; None leaves the image as it is.
    fit : {"resize", "crop", "none"}
        All of the image, the middle of it, or the image as it is.

    Returns
    -------
    ndarray, float64, shape (C, h, w)
        ``size`` x ``size``, or as it was; in the same unit. A view where pixels are cut out.

    Raises
    ------
    MismatchError
        The image is too small to crop.
    """
    source = (pixels.shape[1], pixels.shape[2])
    grid = find_grid(source, size, fit)
    # Interpolation at the same size would still change pixels by rounding.
    if grid.shape == source:
        return pixels
    if fit == "crop":
        top, left = int(grid.offset[0]), int(grid.offset[1])
        return pixels[:, top : top + grid.shape[0], left : left + grid.shape[1]]
    return resize_pixels(pixels, grid.shape)


def find_grid(source: tuple[int, int], size: int | None, fit: Fit) -> Grid:
    """Return where the pixels of :func:`bring_to_size` lie on the source's.

    Parameters
    ----------
    source : (int, int)
        Height and width, pixels.
    size, fit
        As of :func:`bring_to_size`.

    Returns
    -------
    Grid

    Raises
    ------
    MismatchError
        The image is too small to crop.

    Examples
    --------
    >>> find_grid((100, 100), 50, "resize")
    Grid(shape=(50, 50), step=(2.0, 2.0), offset=(0.5, 0.5))
    >>> find_grid((100, 100), 50, "crop")
    Grid(shape=(50, 50), step=(1.0, 1.0), offset=(25.0, 25.0))
    """
    if size is None or fit == "none" or source == (size, size):
        return Grid(source)
    if fit == "resize":
        return Grid.reduce(source, (size, size))
    # Padding would invent pixels, which attributions then explain.
    if source[0] < size or source[1] < size:
        raise MismatchError(
            f"found an image of {source[0]} x {source[1]} pixels; expected at least {size} x "
            f"{size} to cut out; use fit='resize'"
        )
    return Grid.crop((size, size), ((source[0] - size) // 2, (source[1] - size) // 2))


def resize_pixels(pixels: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Resize pixels (C, y, x) to a height and width, antialiased and bilinear.

    Parameters
    ----------
    pixels : ndarray, float64, shape (C, H, W)
    size : (int, int)
        Height and width, pixels.

    Returns
    -------
    ndarray, float64, shape (C, *size)
        In the same unit.
    """
    # torch, because it resizes antialiased in float64; imported here to keep opening data sets quick.
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(pixels))[None]
    resized = torch.nn.functional.interpolate(
        batch, size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return np.asarray(resized[0].numpy())


@dataclass(frozen=True)
class ChannelStatistics:
    """Pixel count, mean and sum of squared deviations per channel, in float64.

    Parts are merged with the update of Chan, Golub and LeVeque (1979, "Updating formulae and a
    pairwise algorithm for computing sample variances"), which stays exact for a constant channel
    where the difference of two large sums of squares would not.

    Examples
    --------
    >>> first = ChannelStatistics.of(np.array([[[1.0, 3.0]]]))
    >>> both = first.merge(ChannelStatistics.of(np.array([[[5.0, 7.0]]])))
    >>> both.mean.tolist(), both.std.round(3).tolist()
    ([4.0], [2.236])
    """

    count: int
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, pixels: NDArray[np.float64]) -> "ChannelStatistics":
        """Measure one image, shape (C, H, W)."""
        mean = pixels.mean(axis=(1, 2))
        squares = ((pixels - mean[:, None, None]) ** 2).sum(axis=(1, 2))
        return cls(pixels[0].size, mean, squares)

    def merge(self, other: "ChannelStatistics") -> "ChannelStatistics":
        """Return the statistics of both parts together."""
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        squares = self.squares + other.squares + shift**2 * (self.count * other.count / count)
        return ChannelStatistics(count, mean, squares)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of all pixels (the population's) per channel."""
        return np.asarray(np.sqrt(self.squares / self.count))


@dataclass(frozen=True)
class Preprocessing:
    """Channel choice, size, intensity map and standardisation, with an exact inverse.

    ``x = (map(raw) - mean) / std`` per channel, where ``map`` is one of

    - ``linear``: the raw value,
    - ``log1p``: ``sign(raw) log(1 + |raw|)``, which is log1p for raw values of at least 0,
    - ``asinh``: ``asinh(raw / cofactor)``: linear far below the cofactor, logarithmic far above.

    Statistics come from the training images, never from the image at hand, so that intensities
    stay comparable. The RGB composite that ImageNet weights need is not made here but by the fixed
    first layer of the ``resnext50`` network: attributions, and this inverse, stay in the user's
    channels.

    Parameters
    ----------
    channels : tuple of str
        Channels to use, in this order, found by name.
    size : int or None
        Height and width for the network in pixels; None keeps each image's own.
    fit : {"resize", "crop", "none"}
        How an image gets that size: antialiased bilinear resizing of the whole image, cutting out
        the centre, or not at all. An image that has the size already is left bit-exact.
    intensity : {"linear", "log1p", "asinh"}
        See above; the last two are for heavy tails.
    mean, std : tuple of float
        Per channel, of the mapped training pixels.
    cofactor : tuple of float
        Per channel, in raw units; the mean magnitude of the training pixels for ``asinh``, else 1.
    notes : tuple of str
        What the user should know, such as a constant channel.
    pixel_size : PixelSize
        Of images as the network sees them, where a network's maker says so and no training images are
        known that it could be measured on; else of no length.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> dataset = simulate(8, size=32)
    >>> preprocessing = Preprocessing.from_dataset(dataset, size=32)
    >>> x = preprocessing(dataset.image(0))
    >>> bool((preprocessing.inverse(x).round() == dataset.image(0).values).all())
    True
    """

    channels: tuple[str, ...]
    size: int | None
    fit: Fit
    intensity: Intensity
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cofactor: tuple[float, ...]
    notes: tuple[str, ...] = ()
    pixel_size: PixelSize = NO_LENGTH

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("fit", self.fit, get_args(Fit)),
            ("intensity", self.intensity, get_args(Intensity)),
        ):
            if value not in allowed:
                raise ParameterError(f"{name}: found {value!r}; expected {', '.join(allowed)}")
        if self.size is not None and self.size < 1:
            raise ParameterError(f"size: found {self.size}; expected at least 1 pixel, or None")
        if len(set(self.channels)) != len(self.channels) or not self.channels:
            raise ParameterError(f"channels: found {self.channels}; expected each name once")
        for name in ("mean", "std", "cofactor"):
            values = np.asarray(getattr(self, name), dtype=float)
            if values.shape != (len(self.channels),) or not np.isfinite(values).all():
                raise ParameterError(
                    f"{name}: found {getattr(self, name)}; expected a finite number per channel"
                )
            if name != "mean" and (values <= 0).any():
                raise ParameterError(f"{name}: found {getattr(self, name)}; expected more than 0")

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        *,
        # What ImageNet's networks are made for, and 32 times 7: five halvings leave 7 x 7.
        size: int | None = 224,
        fit: Fit = "resize",
        intensity: Intensity = "linear",
        channels: Sequence[str] | None = None,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> "Preprocessing":
        """Take the statistics from a data set's training images.

        Parameters
        ----------
        dataset : Dataset
            Of a data set with a training split, only that is used; otherwise all images.
        size, fit, intensity
            See the class.
        channels : sequence of str, optional
            All channels by default.
        on_event, cancelled
            See :mod:`napari_why.core.events`. When cancelled, the statistics are those of the images
            seen so far, at least one.

        Returns
        -------
        Preprocessing
            Its notes name channels without any variation.

        Raises
        ------
        MismatchError
            The data set lacks a channel, or an image is too small to crop.
        WhyError
            An image holds NaN or infinite values.
        """
        # Test images must not leave a trace in what a network sees.
        images = _select_training(dataset)
        names = tuple(channels or images.channels)
        ones = (1.0,) * len(names)
        plain = cls(names, size, fit, "linear", (0.0,) * len(names), ones, ones)
        # The cofactor of asinh is a mean over all images, which the second pass then needs.
        passes = 2 if intensity == "asinh" else 1
        on_event(events.Started("measuring intensities", passes * len(images)))
        cofactor, done = ones, 0
        if intensity == "asinh":
            statistics, done = _measure(plain, np.abs, images, 0, on_event, cancelled)
            cofactor = tuple(float(mean) if mean > 0 else 1.0 for mean in statistics.mean)
        mapped = cls(names, size, fit, intensity, plain.mean, ones, cofactor)
        statistics, done = _measure(plain, mapped._map, images, done, on_event, cancelled)
        std, notes = _replace_constant(names, statistics, on_event)
        on_event(events.Finished(partial=done < passes * len(images)))
        mean = tuple(map(float, statistics.mean))
        return cls(names, size, fit, intensity, mean, std, cofactor, notes)

    def __call__(self, image: "xr.DataArray") -> "torch.Tensor":
        """Prepare one image for the network.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            Raw units, any number of channels in any order.

        Returns
        -------
        Tensor, float32, shape (C, H, W)
            Standardised, on the CPU.

        Raises
        ------
        MismatchError
            A channel is missing, or the image is too small to crop.
        WhyError
            The image holds NaN or infinite values.
        """
        return self.of_pixels(select_pixels(image, self.channels))

    def of_pixels(self, pixels: NDArray[Any]) -> "torch.Tensor":
        """Prepare the raw pixels (C, y, x) of an image, channels in the order of ``channels``.

        Returns
        -------
        Tensor, float32, shape (C, H, W)
            See :meth:`__call__`.
        """
        import torch

        raw = bring_to_size(np.asarray(pixels, dtype=np.float64), self.size, self.fit)
        x = (self._map(raw) - _column(self.mean)) / _column(self.std)
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))

    def inverse(self, x: "torch.Tensor | ArrayLike") -> NDArray[np.float64]:
        """Give raw units back, on the network's pixel grid.

        Computed in float64, so that the only error is the rounding of ``x`` to float32: at most
        ``2**-24 |raw - mean|`` for ``linear``, hence below 0.004 grey levels for uint16 whatever
        the standard deviation, and below 0.15 for ``log1p`` and ``asinh``. Rounding to uint16 gives
        the source back exactly. For ``linear`` that ends where ``|raw - mean|`` reaches 2**23
        grey levels, which only uint32 data do.

        Parameters
        ----------
        x : Tensor or array, shape (..., C, H, W)

        Returns
        -------
        ndarray, float64, shape (..., C, H, W)
            Not rounded and not clipped.

        Raises
        ------
        MismatchError
            The third axis from the end does not hold as many channels as there are here.
        """
        # Arrays are welcome too, so that torch need not be there.
        detached = x.detach().cpu() if hasattr(x, "detach") else x
        values = np.asarray(detached, dtype=np.float64)
        if values.ndim < 3 or values.shape[-3] != len(self.channels):
            raise MismatchError(
                f"inverse: found shape {values.shape}; expected (..., {len(self.channels)}, H, W) "
                f"for the channels {', '.join(self.channels)}"
            )
        mapped = values * _column(self.std) + _column(self.mean)
        if self.intensity == "log1p":
            # Odd, so that values below 0 (a subtracted background) have an inverse as well.
            return np.asarray(np.copysign(np.expm1(np.abs(mapped)), mapped))
        if self.intensity == "asinh":
            return np.asarray(np.sinh(mapped) * _column(self.cofactor))
        return np.asarray(mapped)

    def of_channels(self, channels: Sequence[str]) -> "Preprocessing":
        """Return the same for some of the channels, in the order given.

        Raises
        ------
        MismatchError
            A channel that it does not know.
        """
        unknown = [name for name in channels if name not in self.channels]
        if unknown:
            raise MismatchError(
                f"found the channels {', '.join(unknown)}; expected some of {', '.join(self.channels)}"
            )
        places = [self.channels.index(name) for name in channels]
        mean, std, cofactor = (
            tuple(values[place] for place in places)
            for values in (self.mean, self.std, self.cofactor)
        )
        return replace(self, channels=tuple(channels), mean=mean, std=std, cofactor=cofactor)

    def grid(self, image: "xr.DataArray") -> Grid:
        """Return where the prepared pixels lie on the pixels of ``image``."""
        return find_grid((image.sizes["y"], image.sizes["x"]), self.size, self.fit)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types that :meth:`from_dict` makes the same object of."""
        plain = asdict(self)
        # as of all that was trained here: fingerprints stay what they were
        if self.pixel_size == NO_LENGTH:
            del plain["pixel_size"]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Preprocessing":
        """Make a preprocessing of what :meth:`to_dict` returned."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        if "pixel_size" in values:
            values["pixel_size"] = PixelSize(**values["pixel_size"])
        return cls(**values)

    def _select(self, image: "xr.DataArray") -> NDArray[np.float64]:
        return bring_to_size(select_pixels(image, self.channels), self.size, self.fit)

    def _map(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.intensity == "log1p":
            return np.asarray(np.copysign(np.log1p(np.abs(raw)), raw))
        if self.intensity == "asinh":
            return np.asarray(np.arcsinh(raw / _column(self.cofactor)))
        return raw


def _select_training(dataset: Dataset) -> Dataset:
    has_training = "split" in dataset.table.columns and (dataset.table["split"] == "train").any()
    images = dataset.part("train") if has_training else dataset
    if not len(images):
        raise WhyError("preprocessing: found no image; expected at least one to measure")
    return images


def _measure(
    plain: Preprocessing,
    mapping: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    images: Dataset,
    done: int,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> tuple[ChannelStatistics, int]:
    total: ChannelStatistics | None = None
    for index in range(len(images)):
        # At least one image, or there would be nothing to return.
        if total is not None and cancelled():
            break
        part = ChannelStatistics.of(mapping(plain._select(images.image(index))))
        total = part if total is None else total.merge(part)
        done += 1
        on_event(events.Advanced(done))
    if total is None:
        raise WhyError("preprocessing: found no image; expected at least one to measure")
    return total, done


def _replace_constant(
    names: Sequence[str], statistics: ChannelStatistics, on_event: events.OnEvent
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    std, notes = [], []
    for name, mean, deviation in zip(names, statistics.mean, statistics.std, strict=True):
        constant = deviation <= CONSTANT * abs(mean)
        std.append(1.0 if constant else float(deviation))
        if constant:
            note = f"channel {name} is constant in the training images; it tells nothing"
            notes.append(note)
            on_event(events.Message(note, finding=True))
    return tuple(std), tuple(notes)


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)[:, None, None]
