"""Reconstruct, sample, traverse and interpolate with a network that decodes."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.devices import limited_threads, to_float64, to_like
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.options import Help, Range, validated
from napari_why.core.randomness import LARGEST_SEED, Rng, choose_seed
from napari_why.core.record import Record
from napari_why.core.registry import Method, Registry
from napari_why.generation.image_generator import ImageGenerator, Label
from napari_why.generation.results import GeneratedImages, Reconstruction
from napari_why.images import Grid, PixelSize
from napari_why.images.image import how_read
from napari_why.model import Classifier
from napari_why.networks import DecodingNetwork, GenerativeNetwork, Network

# Values (images x channels x pixels) decoded at a time: 16 MiB of float32 for a map as large as the
# images. Fewer calls against the memory that a decoder's maps take.
VALUES_AT_A_TIME = 2**22


def generative_network(classifier: Classifier) -> GenerativeNetwork:
    """Return the classifier's network.

    Raises
    ------
    UnsupportedNetworkError
        It is not a generative one.
    """
    network = classifier.network
    if not isinstance(network, GenerativeNetwork):
        raise UnsupportedNetworkError(
            f"found the network {network.name}; expected a generative one: train a classifier with "
            "the network vae, autoencoder or denoising_autoencoder"
        )
    return network


def encode_image(classifier: Classifier, network: GenerativeNetwork, image: Any) -> Tensor:
    """Return the latent (1, K, 1, 1) of a raw image.

    Parameters
    ----------
    classifier : Classifier
        Prepares the image.
    network : GenerativeNetwork
        That of the classifier.
    image : DataArray, dims (c, y, x)
        Raw grey levels.

    Returns
    -------
    Tensor, shape (1, K, 1, 1)
    """
    prepared = classifier.prepare(image)
    with torch.no_grad(), limited_threads(classifier.threads), network.use.passing():
        return network.encode(prepared)


def decode_latents(
    classifier: Classifier,
    network: GenerativeNetwork,
    latents: Tensor,
    *,
    axis: str,
    values: NDArray[np.float64],
    image: xr.DataArray | None,
    parameters: Mapping[str, Any],
    seed: int | None = None,
    unlike: tuple[str, ...] = (),
    read: Mapping[str, Any] | None = None,
) -> GeneratedImages:
    """Decode latents (A, K, 1, 1), classify the images and say how they were made.

    They lie on the pixels of ``image``; where there is none, their pixels are their own.

    Parameters
    ----------
    classifier : Classifier
        Leads back to raw grey levels, and classifies.
    network : GenerativeNetwork
        That of the classifier.
    latents : Tensor, shape (A, K, 1, 1)
    axis : str
        What ``values`` are; the record's method is its first word.
    values : ndarray, float64, shape (A,)
    image : DataArray, dims (c, y, x), or None
        The source, whose pixels and path they get; None for images that have none.
    parameters : mapping
        For the record; JSON types.
    seed : int, optional
        Of the latents, where they were drawn.
    unlike : tuple of str
        In what the source is unlike the training images, as sentences.
    read : mapping, optional
        How the source was read, for the record's ``details``.

    Returns
    -------
    GeneratedImages
    """
    images, probabilities = [], []
    # a few at a time: a thousand samples at once would hold all their activations
    at_a_time = max(1, VALUES_AT_A_TIME // (len(classifier.channels) * _pixels(network)))
    with torch.no_grad(), limited_threads(classifier.threads):
        for start in range(0, len(latents), at_a_time):
            part = latents[start : start + at_a_time]
            with network.use.passing():  # for each part: others need not wait for a thousand
                decoded = network.decode(part.to(classifier.device))
                logits = network(decoded)
            # softmax in double: the probabilities of a sure network end in many nines
            probabilities.append(to_float64(logits).softmax(dim=1).float().cpu().numpy())
            images.append(classifier.preprocessing.inverse(decoded).astype(np.float32))
    together = np.concatenate(images)
    return GeneratedImages(
        images=together,
        axis=axis,
        values=values,
        latents=latents.flatten(1).float().cpu().numpy(),
        probabilities=np.concatenate(probabilities),
        classes=tuple(classifier.classes),
        channels=tuple(classifier.channels),
        grid=(
            Grid((together.shape[-2], together.shape[-1]))
            if image is None
            else classifier.preprocessing.grid(image)
        ),
        record=Record(
            kind="generation",
            method=axis.partition(" ")[0],
            parameters=parameters,
            seed=seed,
            classifier=classifier.fingerprint,
            source="" if image is None else str(image.attrs.get("source", "")),
            details={
                "generated": True,
                "axis": axis,
                "values": values.tolist(),
                "notes": list(unlike),
                **(read or {}),
            },
        ),
        unlike=unlike,
        pixel_size=classifier.pixel_size if image is None else PixelSize.of(image),
    )


def _pixels(network: GenerativeNetwork) -> int:
    height, width = network.size
    return height * width


def reconstruct(classifier: Classifier, image: xr.DataArray) -> Reconstruction:
    """Decode an image's latent and compare.

    Parameters
    ----------
    classifier : Classifier
        With a network that decodes: ``vae``, ``autoencoder``, ``denoising_autoencoder``, or
        ``iresnet``, whose error is that of its inverse.
    image : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.

    Returns
    -------
    Reconstruction

    Raises
    ------
    UnsupportedNetworkError
        The network makes no images.
    """
    network = classifier.network
    if not isinstance(network, DecodingNetwork):
        raise UnsupportedNetworkError(
            f"found the network {network.name}, which makes no images; expected one that decodes: "
            "train a classifier with vae, autoencoder, denoising_autoencoder or iresnet"
        )
    unlike = classifier.check(image)
    prepared = classifier.prepare(image)
    with torch.no_grad(), limited_threads(classifier.threads), network.use.passing():
        decoded = network.decode(network.last_latent(prepared))
    # both go through the same inverse preprocessing, so that its error is in neither difference
    both = torch.cat([prepared, decoded])
    raw = classifier.preprocessing.inverse(both)
    probabilities = to_float64(classifier.logits(both)).softmax(dim=1).float().cpu().numpy()
    squares = to_float64((decoded - prepared) ** 2).mean(dim=(2, 3))[0].tolist()
    absolute = np.abs(raw[1] - raw[0]).mean(axis=(1, 2)).tolist()
    channels = tuple(classifier.channels)
    square_by_channel = dict(zip(channels, squares, strict=True))
    absolute_by_channel = dict(zip(channels, absolute, strict=True))
    return Reconstruction(
        image=raw[0].astype(np.float32),
        reconstruction=raw[1].astype(np.float32),
        mean_square_error=square_by_channel,
        mean_absolute_error=absolute_by_channel,
        probabilities=probabilities[0],
        reconstructed_probabilities=probabilities[1],
        classes=tuple(classifier.classes),
        channels=channels,
        grid=classifier.preprocessing.grid(image),
        record=Record(
            kind="generation",
            method="reconstruction",
            classifier=classifier.fingerprint,
            source=str(image.attrs.get("source", "")),
            details={
                "generated": True,
                "mean_square_error": square_by_channel,
                "mean_absolute_error": absolute_by_channel,
                "notes": list(unlike),
                **how_read(image),
            },
        ),
        unlike=unlike,
        pixel_size=PixelSize.of(image),
    )


def sample(
    classifier: Classifier | ImageGenerator,
    *,
    count: Annotated[int, Help("number of images"), Range(1, 10_000)] = 16,
    seed: Annotated[int, Help("of the latents drawn"), Range(0, LARGEST_SEED)] = 0,
    label: Label = "",
    rng: Rng = None,
) -> GeneratedImages:
    """Draw new images from a variational autoencoder, or from a generator.

    Parameters
    ----------
    classifier : Classifier or ImageGenerator
        A classifier with the network ``vae``, or what :func:`napari_why.fit_generator` returned.
    count, seed : int
        How many, and of which random numbers; the same seed gives the same images.
    label : str
        Class of the images, of a generator that makes images of classes; each in turn where empty.
    rng : int or numpy.random.Generator, optional
        In place of the seed; see :mod:`napari_why.core.randomness`.

    Returns
    -------
    GeneratedImages

    Raises
    ------
    UnsupportedNetworkError
        The network's latents have no distribution to draw from.
    ParameterError
        A class that is not known, or any of a classifier.
    """
    chosen = choose_seed(seed, rng)
    checked = validated(sample, {"count": count, "seed": chosen, "label": label})
    if isinstance(classifier, ImageGenerator):
        return classifier.sample(**checked)
    if checked["label"]:
        raise ParameterError(
            f"label: found {label!r} for a classifier, which draws from all classes alike; expected none, "
            "or a generator that makes images of classes (why.fit_generator)"
        )
    network = generative_network(classifier)
    # a generator of its own: the global one would make the images depend on what ran before
    generator = torch.Generator().manual_seed(checked["seed"])
    return decode_latents(
        classifier,
        network,
        network.prior_latents(checked["count"], generator),
        axis="sample",
        values=np.arange(checked["count"], dtype=np.float64),
        image=None,
        parameters={"count": checked["count"]},
        seed=checked["seed"],
    )


# 99.7 % of a standard normal distribution lie within: beyond it the decoder has seen next to nothing.
PRIOR_RANGE = 3.0


def traverse(
    classifier: Classifier,
    image: xr.DataArray,
    *,
    dimension: Annotated[
        int,
        Help("which number of the latent; -1: that in which class means differ most"),
        Range(-1, 4095),
    ] = -1,
    steps: Annotated[int, Help("number of images"), Range(2, 1001)] = 11,
    values: Sequence[float] | None = None,
) -> GeneratedImages:
    """Decode an image's latent with one of its numbers set to a series of values.

    Parameters
    ----------
    classifier : Classifier
        With a generative network.
    image : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    dimension : int
        From 0; -1 takes the one in which the class means lie farthest apart.
    steps : int
        Number of values where these are not given.
    values : sequence of float, optional
        Evenly spaced, rising. By default from -3 to 3 where the latents are drawn to a standard
        normal distribution (``vae``), else the range of the class means three times as wide.

    Returns
    -------
    GeneratedImages

    Raises
    ------
    UnsupportedNetworkError
        The network is not a generative one.
    ParameterError
        There is no such dimension, or values are not evenly spaced.
    """
    checked = validated(traverse, {"dimension": dimension, "steps": steps})
    network = generative_network(classifier)
    means = _class_means(classifier)
    # the number that tells the classes apart most is the one a user wants to see first
    chosen = int(np.ptp(means, axis=0).argmax()) if dimension == -1 else checked["dimension"]
    if chosen >= network.latent_dimensions:
        raise ParameterError(
            f"dimension: found {chosen}; expected 0 to {network.latent_dimensions - 1}, or -1"
        )
    if values is None:
        low, high = _range(means[:, chosen], network.has_prior)
        positions = np.linspace(low, high, checked["steps"])
    else:
        positions = _even(values)
    latents = encode_image(classifier, network, image).repeat(len(positions), 1, 1, 1)
    latents[:, chosen] = to_like(torch.as_tensor(positions), latents).reshape(-1, 1, 1)
    return decode_latents(
        classifier,
        network,
        latents,
        axis=f"latent {chosen}",
        values=positions,
        image=image,
        parameters={
            "dimension": chosen,
            "steps": len(positions),
            # those that nobody gave follow from the rest
            **({} if values is None else {"values": positions.tolist()}),
        },
        unlike=classifier.check(image),
        read=how_read(image),
    )


def _class_means(classifier: Classifier) -> NDArray[np.float64]:
    if classifier.latent_statistics is None:
        raise ParameterError(
            "this classifier was made without latent statistics; train it with napari_why.fit"
        )
    means: NDArray[np.float64] = to_float64(classifier.latent_statistics.true_means).cpu().numpy()
    return np.asarray(means.mean(axis=(2, 3)))


def _range(means: NDArray[np.float64], has_prior: bool) -> tuple[float, float]:
    if has_prior:
        return -PRIOR_RANGE, PRIOR_RANGE
    low, high = float(means.min()), float(means.max())
    width = (high - low) or 1.0  # of one class there is one mean, and no width
    return low - width, high + width


def _even(values: Sequence[float]) -> NDArray[np.float64]:
    # even, because the axis of a napari layer has one step: uneven values would be shown as even
    positions = np.asarray(values, dtype=np.float64)
    gaps = np.diff(positions)
    if (
        positions.ndim != 1
        or not len(gaps)
        or not (gaps > 0).all()
        or not np.allclose(gaps, gaps[0])
    ):
        raise ParameterError(f"values: found {list(values)}; expected two or more, evenly rising")
    return positions


def interpolate(
    classifier: Classifier,
    first: xr.DataArray,
    second: xr.DataArray,
    *,
    steps: Annotated[int, Help("number of images, both ends included"), Range(2, 1001)] = 11,
) -> GeneratedImages:
    """Decode the latents on the straight line from one image to another, of whatever classes.

    Parameters
    ----------
    classifier : Classifier
        With a generative network.
    first, second : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    steps : int
        The first and last image are the reconstructions of the two.

    Returns
    -------
    GeneratedImages
        On the grid of the first image.

    Raises
    ------
    UnsupportedNetworkError
        The network is not a generative one.
    """
    checked = validated(interpolate, {"steps": steps})
    network = generative_network(classifier)
    start, end = (encode_image(classifier, network, image) for image in (first, second))
    shares = np.linspace(0, 1, checked["steps"])
    weights = to_like(torch.as_tensor(shares), start).reshape(-1, 1, 1, 1)
    return decode_latents(
        classifier,
        network,
        # a straight line also for a variational autoencoder: both ends are then the reconstructions,
        # which an arc on the sphere of the prior would miss
        torch.lerp(start, end, weights),
        axis="interpolation",
        values=shares,
        image=first,
        parameters={"steps": checked["steps"], "second": str(second.attrs.get("source", ""))},
        unlike=tuple(
            f"the {which} image: {note}"
            for which, image in (("first", first), ("second", second))
            for note in classifier.check(image)
        ),
        # as of a counterfactual that goes towards an image
        read={
            **how_read(first),
            "goal": str(second.attrs.get("source", "")),
            "goal_read": how_read(second),
        },
    )


def needs_images(network: Network) -> str | None:
    """Return why a network cannot reconstruct, None where it can."""
    if isinstance(network, DecodingNetwork):
        return None
    return f"A {network.name} makes no images; train a vae, an autoencoder or an iresnet."


def needs_latent(network: Network) -> str | None:
    """Return why a network has no latent of a few numbers, None where it has."""
    # an invertible network decodes too, but its latent has as many numbers as the image
    if isinstance(network, GenerativeNetwork):
        return None
    return f"A {network.name} is no generative network; train a vae or an autoencoder."


def needs_prior(network: Network) -> str | None:
    """Return why there is nothing to draw new latents from, None where there is."""
    if isinstance(network, GenerativeNetwork) and network.has_prior:
        return None
    return f"The latents of a {network.name} have no distribution to draw from; train a vae."


# ``(classifier, *images, *, ...)``: none, one or two; see napari_why.generation.makers.count_images.
TASKS: Registry[Method] = Registry("task", "napari_why.generation")
TASKS.add(Method("reconstruct", "Reconstruct the image", "", reconstruct, needs_images))
TASKS.add(
    Method(
        "traverse", "Change one number of its latent", "Higgins et al. 2017", traverse, needs_latent
    )
)
TASKS.add(Method("sample", "Draw new images", "Kingma & Welling 2014", sample, needs_prior))
TASKS.add(Method("interpolate", "Go to another image", "", interpolate, needs_latent))
