"""Denoisers on real images with noise added: how much is taken away, and how much is made up.

What counts as true is the image as it was taken, with the noise of its own camera: no figure here can
get better than that noise allows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skimage.restoration import denoise_nl_means
from torch import Tensor

from napari_why.adversarial.noise2void import BlindSpotOptions, fit_denoiser
from napari_why.core.devices import limited_threads
from napari_why.core.errors import WhyError
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.randomness import LARGEST_SEED
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.generation.prediction_report import FIGURES, compare_planes
from napari_why.model import Classifier
from napari_why.networks import DecodingNetwork
from napari_why.training import TensorExamples, examples_of
from napari_why.training.examples import derived_seed

NOISY, MEANS, AUTOENCODER, BLIND = (
    "as noisy as it is",
    "non-local means",
    "denoising autoencoder",
    "Noise2Void",
)
# Of non-local means, relative to the estimated noise, and in pixels: those of scikit-image's own example.
CUTOFF, PATCH, DISTANCE = 0.8, 5, 6
TINY = 1e-12

Denoise = Callable[[Tensor], Tensor]
"""Standardised noisy images (N, C, H, W) to denoised ones."""


@dataclass(frozen=True, kw_only=True)
class DenoisingOptions(Options):
    """How denoisers are compared.

    Parameters
    ----------
    size, noise, epochs, autoencoder_epochs, seed
        See the annotations.
    """

    size: Annotated[int, Help("height and width of the images"), Range(16, 1024), Unit("px")] = 64
    noise: Annotated[
        float, Help("deviation of the noise that is added, in those of the channel"), Range(0, 10)
    ] = 0.5
    epochs: Annotated[int, Help("of Noise2Void"), Range(1, 100_000)] = 100
    autoencoder_epochs: Annotated[
        int, Help("of the autoencoder; 0: as usual"), Range(0, 10_000)
    ] = 0
    seed: Annotated[int, Help("of networks and noise"), Range(0, LARGEST_SEED)] = 0


def compare_denoisers(
    dataset: Dataset,
    options: DenoisingOptions | None = None,
    *,
    network_parameters: Mapping[str, Any] | None = None,
    widths: str = BlindSpotOptions().widths,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> pd.DataFrame:
    """Add noise to real images, take it away in several ways, and compare with the images.

    Noise2Void sees noisy training images alone; the denoising autoencoder is trained on the images as
    they were taken, which nobody has who has to denoise; non-local means learn nothing.

    Parameters
    ----------
    dataset : Dataset
        Split by :meth:`~napari_why.datasets.Dataset.split` where it is not yet.
    options : DenoisingOptions, optional
    network_parameters : mapping, optional
        Of the denoising autoencoder.
    widths : str
        Of Noise2Void's U-Net.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    DataFrame
        One row for each channel and method, means over the test images: ``psnr`` in dB against the range
        of each image, and the figures of
        :class:`~napari_why.generation.prediction_report.PredictionReport`; ``detail`` that does not
        correlate is made up.

    Raises
    ------
    WhyError
        Cancelled.
    """
    chosen = options or DenoisingOptions()
    dataset = dataset if "split" in dataset.table.columns else dataset.split(seed=chosen.seed)
    on_event(Message("training a denoising autoencoder, on images without the noise"))
    classifier = fit(
        dataset,
        "denoising_autoencoder",
        size=chosen.size,
        seed=chosen.seed,
        epochs=chosen.autoencoder_epochs,
        network_parameters={"noise": chosen.noise, **(network_parameters or {})},
        on_event=on_event,
        cancelled=cancelled,
    )
    _stop_if_asked(cancelled)
    parts = {name: _read(dataset, name, classifier) for name in ("train", "test")}
    noisy = {
        name: add_noise(stack, chosen.noise, derived_seed(chosen.seed, place))
        for place, (name, stack) in enumerate(parts.items())
    }
    on_event(Message("training Noise2Void, on noisy images alone"))
    blind = fit_denoiser(
        TensorExamples(noisy["train"], torch.zeros(len(noisy["train"]), dtype=torch.int64)),
        BlindSpotOptions(epochs=chosen.epochs, seed=chosen.seed, widths=widths),
        on_event=on_event,
        cancelled=cancelled,
    )
    _stop_if_asked(cancelled)
    network = classifier.network
    assert isinstance(network, DecodingNetwork)  # noqa: S101 - for the type checker
    methods: dict[str, Denoise] = {
        NOISY: lambda images: images,
        MEANS: take_non_local_means,
        AUTOENCODER: lambda images: network.decode(network.last_latent(images)),
        BLIND: blind,
    }
    return measure_denoisers(methods, classifier, parts["test"], noisy["test"])


def add_noise(images: Tensor, deviation: float, seed: int) -> Tensor:
    """Return standardised images (N, C, H, W) with Gaussian noise, independent from pixel to pixel.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Standardised.
    deviation : float
        Of the noise, in standard deviations of each channel.
    seed : int

    Returns
    -------
    Tensor, shape (N, C, H, W)
    """
    random = torch.Generator().manual_seed(seed)
    return images + deviation * torch.randn(images.shape, generator=random)


def take_non_local_means(images: Tensor) -> Tensor:
    """Denoise by means of alike patches (Buades, Coll & Morel 2005), plane by plane."""
    planes = images.numpy().reshape(-1, *images.shape[-2:])
    denoised = []
    for plane in planes:
        sigma = estimate_deviation(plane)
        denoised.append(
            denoise_nl_means(
                plane,
                h=CUTOFF * sigma,
                sigma=sigma,
                patch_size=PATCH,
                patch_distance=DISTANCE,
                fast_mode=True,
            )
        )
    return torch.from_numpy(np.stack(denoised).reshape(images.shape)).float()


def estimate_deviation(plane: NDArray[Any]) -> float:
    """Estimate the deviation of Gaussian noise from the finest diagonal Haar details.

    Of noise alone they are normal with its deviation, and the median of their size is hardly moved by the
    few that structure makes large (Donoho & Johnstone 1994).

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(scale=3, size=(200, 200))
    >>> round(estimate_deviation(noise), 1)
    3.0
    """
    even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2].astype(np.float64)
    corners = even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2]
    details = (corners[0] - corners[1] - corners[2] + corners[3]) / 2
    # the median size of a standard normal number
    return float(np.median(np.abs(details)) / 0.6744897501960817)


def measure_denoisers(
    methods: Mapping[str, Denoise], classifier: Classifier, real: Tensor, noisy: Tensor
) -> pd.DataFrame:
    """Compare what each method makes of noisy images with the real ones, in raw units.

    Parameters
    ----------
    methods : mapping of str to callable
        By name, from standardised images (1, C, H, W) to such without noise.
    classifier : Classifier
        Leads back to raw units.
    real, noisy : Tensor, shape (N, C, H, W)
        Standardised, the same images in the same order.

    Returns
    -------
    DataFrame
        One row a channel and method: ``psnr`` (dB), the figures of
        :func:`~napari_why.generation.prediction_report.compare_planes` and ``images``, as means over
        the images.
    """
    back = classifier.preprocessing.inverse
    rows: list[dict[str, Any]] = []
    for index in range(len(real)):
        wanted = back(real[index : index + 1])[0]
        for name, denoise in methods.items():
            with torch.no_grad(), limited_threads(classifier.threads):
                made = back(denoise(noisy[index : index + 1]))[0]
            for place, channel in enumerate(classifier.channels):
                figures = {
                    "psnr": signal_to_noise(made[place], wanted[place]),
                    **compare_planes(made[place], wanted[place]),
                }
                rows.append({"channel": channel, "method": name, **figures})
    grouped = pd.DataFrame(rows).groupby(["channel", "method"], sort=False)
    means: pd.DataFrame = grouped[["psnr", *FIGURES]].mean()
    return means.assign(images=grouped.size()).reset_index()


def signal_to_noise(made: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Return the peak signal-to-noise ratio in dB, against the range of the real plane.

    Parameters
    ----------
    made, real : ndarray, float64, shape (H, W)

    Returns
    -------
    float
        In dB; NaN where the planes are equal or the real one is constant.

    Examples
    --------
    >>> plane = np.array([[0.0, 100.0]])
    >>> signal_to_noise(plane + 1, plane)
    40.0
    """
    error = float(np.mean((made - real) ** 2))
    extent = float(np.ptp(real))
    if error <= TINY or extent <= TINY:
        return np.nan
    return float(10 * np.log10(extent**2 / error))


def _read(dataset: Dataset, split: str, classifier: Classifier) -> Tensor:
    examples = examples_of(dataset.part(split), classifier.preprocessing, classifier.classes)
    if examples is None:  # only a cancelled reading gives nothing, and this one cannot be cancelled
        raise WhyError(f"split {split!r}: found no image that could be read; expected some")
    return examples.images(range(len(examples.labels)))


def _stop_if_asked(cancelled: Cancelled) -> None:
    if cancelled():
        raise WhyError("the comparison of denoisers was stopped; nothing is kept of it")
