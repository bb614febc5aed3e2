"""From raw pixels to what a network sees, and exactly back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from napari_why.datasets.dataset import Dataset
from napari_why.datasets.pixel_statistics import ChannelStatistics
from napari_why.datasets.sizing import Fit, chosen_pixels, sized, sized_grid
from napari_why.errors import MismatchError, ParameterError, WhyError
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.images import Grid

if TYPE_CHECKING:
    import torch

Intensity = Literal["linear", "log1p", "asinh"]
CONSTANT = 1e-9


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

    Examples
    --------
    >>> from napari_why.datasets import simulate
    >>> dataset = simulate(8, size=32)
    >>> preprocessing = Preprocessing.fitted(dataset, size=32)
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
    def fitted(
        cls,
        dataset: Dataset,
        *,
        size: int | None = 224,
        fit: Fit = "resize",
        intensity: Intensity = "linear",
        channels: Sequence[str] | None = None,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
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
            See :mod:`napari_why.events`. When cancelled, the statistics are those of the images
            seen so far, at least one.

        Raises
        ------
        MismatchError
            The data set lacks a channel, or an image is too small to crop.
        WhyError
            An image holds NaN or infinite values.
        """
        images = _training_images(dataset)
        names = tuple(channels or images.channels)
        ones = (1.0,) * len(names)
        plain = cls(names, size, fit, "linear", (0.0,) * len(names), ones, ones)
        passes = 2 if intensity == "asinh" else 1
        on_event(Started("measuring intensities", passes * len(images)))
        cofactor, done = ones, 0
        if intensity == "asinh":
            statistics, done = _measure(plain, np.abs, images, 0, on_event, cancelled)
            cofactor = tuple(float(mean) if mean > 0 else 1.0 for mean in statistics.mean)
        mapped = cls(names, size, fit, intensity, plain.mean, ones, cofactor)
        statistics, done = _measure(plain, mapped._mapped, images, done, on_event, cancelled)
        std, notes = _usable(names, statistics, on_event)
        on_event(Finished(partial=done < passes * len(images)))
        mean = tuple(map(float, statistics.mean))
        return cls(names, size, fit, intensity, mean, std, cofactor, notes)

    def __call__(self, image: xr.DataArray) -> "torch.Tensor":
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
        import torch

        x = (self._mapped(self._sized(image)) - _column(self.mean)) / _column(self.std)
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
        detached = x.detach().cpu() if hasattr(x, "detach") else x
        values = np.asarray(detached, dtype=np.float64)
        if values.ndim < 3 or values.shape[-3] != len(self.channels):
            raise MismatchError(
                f"inverse: found shape {values.shape}; expected (..., {len(self.channels)}, H, W) "
                f"for the channels {', '.join(self.channels)}"
            )
        mapped = values * _column(self.std) + _column(self.mean)
        if self.intensity == "log1p":
            return np.asarray(np.copysign(np.expm1(np.abs(mapped)), mapped))
        if self.intensity == "asinh":
            return np.asarray(np.sinh(mapped) * _column(self.cofactor))
        return np.asarray(mapped)

    def grid(self, image: xr.DataArray) -> Grid:
        """Return where the prepared pixels lie on the pixels of ``image``."""
        return sized_grid((image.sizes["y"], image.sizes["x"]), self.size, self.fit)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types that :meth:`from_dict` makes the same object of."""
        plain = asdict(self)
        return {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Preprocessing":
        """Make a preprocessing of what :meth:`to_dict` returned."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()
        }
        return cls(**values)

    def _sized(self, image: xr.DataArray) -> NDArray[np.float64]:
        return sized(chosen_pixels(image, self.channels), self.size, self.fit)

    def _mapped(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.intensity == "log1p":
            return np.asarray(np.copysign(np.log1p(np.abs(raw)), raw))
        if self.intensity == "asinh":
            return np.asarray(np.arcsinh(raw / _column(self.cofactor)))
        return raw


def _training_images(dataset: Dataset) -> Dataset:
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
    on_event: OnEvent,
    cancelled: Cancelled,
) -> tuple[ChannelStatistics, int]:
    total: ChannelStatistics | None = None
    for index in range(len(images)):
        if total is not None and cancelled():
            break
        part = ChannelStatistics.of(mapping(plain._sized(images.image(index))))
        total = part if total is None else total.merged(part)
        done += 1
        on_event(Advanced(done))
    if total is None:
        raise WhyError("preprocessing: found no image; expected at least one to measure")
    return total, done


def _usable(
    names: Sequence[str], statistics: ChannelStatistics, on_event: OnEvent
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    std, notes = [], []
    for name, mean, deviation in zip(names, statistics.mean, statistics.std, strict=True):
        constant = deviation <= CONSTANT * abs(mean)
        std.append(1.0 if constant else float(deviation))
        if constant:
            note = f"channel {name} is constant in the training images; it tells nothing"
            notes.append(note)
            on_event(Message(note))
    return tuple(std), tuple(notes)


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)[:, None, None]
