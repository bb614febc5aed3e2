"""Activation maximisation: the image that a class, or a single unit, answers to most."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core import events
from napari_why.core.devices import limited_threads, to_float64
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.core.options import Help, Options, Range
from napari_why.core.record import Record
from napari_why.datasets import Dataset, Preprocessing
from napari_why.generation.image_generator import ImageGenerator
from napari_why.generation.prototype_result import (
    Judgement,
    Opinion,
    Prototype,
    ask_others,
    measure_likeness,
    measure_nearest,
)
from napari_why.images import Grid
from napari_why.model import Classifier
from napari_why.model.classifier import find_class
from napari_why.networks import DecodingNetwork, GenerativeNetwork, Network

# Reference images that are looked at, evenly spread: enough for a spectrum and for neighbours.
MOST_REFERENCES = 200
# The first step moves pixels by so many standard deviations; the following find their own length.
FIRST_MOVE = 0.1
# A step is taken where it gains this share of what the slope promises (Armijo 1966), else it is halved.
GAIN = 1e-4
# Halvings after which no step gains: rounding of float32 is reached after 24.
HALVINGS = 30
# Of the mean eigenvalue of a spectrum: directions in which references hardly vary keep a little.
RIDGE = 1e-6
# A gradient of zero leads nowhere, at whatever length.
SMALLEST = 1e-30
# Height and width without anything else to go by.
USUAL_SIZE = 224


@dataclass(frozen=True, kw_only=True)
class PrototypeOptions(Options):
    """How an activation is maximised.

    Parameters
    ----------
    prior, score, strength, steps, images, noise, seed, layer, unit, position
        See the annotations; checked when the options are made.
    """

    prior: Annotated[
        Literal["l2", "density", "generator"],
        Help(
            "what holds the image back: squares of its pixels; a Gaussian density with the spectrum of "
            "reference images; or a search in the code of a generator"
        ),
    ] = "l2"
    score: Annotated[
        Literal["log_probability", "logit"],
        Help("what rises: the log-probability of the class, or its logit alone"),
    ] = "log_probability"
    # log p has a slope of at most 1 a logit: the penalty of an image as varied as real ones is then 1
    strength: Annotated[
        float, Help("of what holds the image back, per mean square of the code"), Range(0.0, 1e6)
    ] = 1.0
    steps: Annotated[int, Help("steps of ascent"), Range(1, 100_000)] = 100
    images: Annotated[
        int, Help("of the series that are kept, both ends included"), Range(2, 1001)
    ] = 11
    # without any, all places of a flat image are alike, and so would be all of the prototype
    noise: Annotated[
        float, Help("of the start, in standard deviations of the code"), Range(0.0, 10.0)
    ] = 0.1
    seed: Annotated[int, Help("of the noise"), Range(0, 2**32 - 1)] = 0
    layer: Annotated[str, Help("instead of a class: layer of a single feature map")] = ""
    unit: Annotated[int, Help("which feature map of that layer, from 0"), Range(0, 1_000_000)] = 0
    position: Annotated[
        Literal["map", "centre"], Help("of that map its mean, or the unit in its middle")
    ] = "map"


@dataclass(frozen=True)
class Search:
    """Where is searched: a code, what it is as an image, and what it costs.

    Parameters
    ----------
    start : Tensor, shape (1, ...)
    image : callable
        Code to preprocessed image (1, C, H, W), with a gradient unless ``score`` has one.
    penalty : callable
        Code to a scalar that is about 1 for a usual image.
    score : callable or None
        Code to the score, where that does without the image.
    """

    start: Tensor
    image: Callable[[Tensor], Tensor]
    penalty: Callable[[Tensor], Tensor]
    score: Callable[[Tensor], Tensor] | None = None


def activation_maximisation(
    classifier: Classifier,
    target: str | int | None = None,
    *,
    options: PrototypeOptions | Mapping[str, Any] | None = None,
    references: Dataset | None = None,
    generator: Classifier | ImageGenerator | None = None,
    judge: Classifier | None = None,
    size: int | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **changes: Any,
) -> Prototype:
    """Climb from the mean image to one that a class answers to most, and judge what came of it.

    Maximises log p(c | x) - strength * mean(code^2), by gradient ascent whose steps are halved until they
    gain. The code is the standardised image itself (``l2``; Simonyan et al. 2014, arXiv:1312.6034), the
    image whitened by the spectrum of reference images (``density``), or the latent of a generator
    (``generator``; Nguyen et al. 2016, arXiv:1605.09304).

    Parameters
    ----------
    classifier : Classifier
    target : str or int, optional
        Class, as in :func:`~napari_why.model.classifier.find_class`; none with a ``layer``.
    options : PrototypeOptions or mapping, optional
    references : Dataset, optional
        Real images (its training images where it is split): needed by ``density``, and by ``generator``
        unless its latents have a prior; the prototype is compared with them.
    generator : Classifier or ImageGenerator, optional
        Whose network decodes; by default the classifier's own, or its generator. A generator that makes
        images of classes makes those of the target.
    judge : Classifier, optional
        Another classifier, asked whether it believes the prototype, beside the second network.
    size : int, optional
        Height and width where the classifier takes any size.
    on_event, cancelled : callable
        One step per step of ascent; cancelled work gives the series so far.
    **changes
        Options by name.

    Returns
    -------
    Prototype

    Raises
    ------
    ParameterError
        An unknown option, class, layer or unit; neither or both of class and layer; no references where
        they are needed.
    UnsupportedNetworkError
        There is no generator.
    MismatchError
        References of several sizes, or a generator with another preprocessing.

    Examples
    --------
    >>> found = why.activation_maximisation(
    ...     classifier, "treated", prior="density", references=plate
    ... )  # doctest: +SKIP
    >>> found.judgement.line  # doctest: +SKIP
    'no prototype of treated (its own network p 1.00, a second network p 0.31); ...'
    """
    chosen = PrototypeOptions.of(options, changes)
    index, subject, notes = _subject(classifier, target, chosen)
    network = classifier.network
    with (
        limited_threads(classifier.threads),
        network.use.explained(on_event, cancelled),
    ):
        real = [] if references is None else prepare_references(classifier, references)
        score = _score_of(network, index, chosen)
        search = _search(classifier, generator, chosen, real, size, index, score)
        on_event(events.Started("prototype", chosen.steps))
        climb = _climb(search, score, chosen, on_event, cancelled)
        with torch.no_grad():
            prepared = torch.cat([search.image(item.code) for item in climb.kept])
            logits = torch.cat([network(item[None]) for item in prepared])
        raw = classifier.preprocessing.inverse(prepared).astype(np.float32)
        probabilities = to_float64(logits).softmax(dim=1).float().cpu().numpy()
        ends = [0, -1]
        judgement = _judge(
            classifier,
            judge,
            prepared[ends],
            raw[ends],
            subject,
            None if index is None else probabilities[ends],
            climb.kept[-1].value + climb.kept[-1].penalty,
            real,
            score,
            made_by_generator=chosen.prior == "generator",
        )
    on_event(events.Finished(partial=climb.stopped))
    values = np.array([item.value for item in climb.kept])
    penalties = np.array([item.penalty for item in climb.kept])
    return Prototype(
        images=raw,
        steps=np.array([item.step for item in climb.kept], dtype=np.float64),
        values=values,
        scores=values + penalties,
        penalties=penalties,
        probabilities=probabilities,
        classes=tuple(classifier.classes),
        channels=tuple(classifier.channels),
        judgement=judgement,
        grid=Grid((raw.shape[-2], raw.shape[-1])),
        record=Record(
            kind="generation",
            method="activation_maximisation",
            parameters=chosen.to_dict(),
            seed=chosen.seed,
            classifier=classifier.fingerprint,
            details={
                "target": subject,
                "steps": [item.step for item in climb.kept],
                "values": values.tolist(),
                "penalties": penalties.tolist(),
                "converged": climb.converged,
                "complete": not climb.stopped,
                "references": len(real),
                "generator": None if generator is None else generator.fingerprint,
                "judge": None if judge is None else judge.fingerprint,
                "verdict": judgement.line,
                "reservations": list(judgement.reservations),
                "likeness": judgement.likeness,
                "nearest": judgement.nearest,
                "notes": list(notes),
            },
        ),
        complete=not climb.stopped,
        pixel_size=classifier.pixel_size,
    )


def _subject(
    classifier: Classifier, target: str | int | None, chosen: PrototypeOptions
) -> tuple[int | None, str, tuple[str, ...]]:
    if (target is None) == (not chosen.layer):
        raise ParameterError(
            f"target, layer: found {target!r} and {chosen.layer!r}; expected a class, or a layer and its unit"
        )
    if target is not None:
        found = find_class(classifier.classes, target)
        return found.index, found.name, found.notes
    names = classifier.network.layer_names
    if chosen.layer not in names:
        raise ParameterError(f"layer: found {chosen.layer!r}; expected one of {', '.join(names)}")
    return None, f"unit {chosen.unit} of {chosen.layer}", ()


def prepare_references(classifier: Classifier, dataset: Dataset) -> list[Tensor]:
    """Return at most 200 images, (1, C, H, W) each, of the training split where there is one.

    Parameters
    ----------
    classifier : Classifier
        Prepares the images.
    dataset : Dataset
        With its channels.

    Returns
    -------
    list of Tensor, shape (1, C, H, W)
        Spread evenly over the rows.

    Raises
    ------
    MismatchError
        They have several sizes.
    """
    split = "split" in dataset.table and (dataset.table["split"] == "train").any()
    images = dataset.part("train") if split else dataset
    rows = np.unique(np.linspace(0, len(images) - 1, MOST_REFERENCES).astype(int))
    found = [classifier.prepare(images.image(int(row))) for row in rows]
    shapes = {tuple(item.shape[-2:]) for item in found}
    if len(shapes) > 1:
        raise MismatchError(f"references: found the sizes {sorted(shapes)}; expected one")
    return found


def _score_of(
    network: Network, index: int | None, chosen: PrototypeOptions
) -> Callable[[Tensor], Tensor]:
    """Return the function from an image (1, C, H, W) to the scalar that is to rise."""
    if index is not None:
        return partial(_score_of_class, network, index, chosen)

    def of_unit(x: Tensor) -> Tensor:
        with network.use.passing():  # a user's own modules are watched by hooks
            maps = network.feature_maps(x)[chosen.layer][0]
        if chosen.unit >= len(maps):
            raise ParameterError(f"unit: found {chosen.unit}; expected 0 to {len(maps) - 1}")
        plane = to_float64(maps[chosen.unit])
        if chosen.position == "map":
            return plane.mean()
        return plane[plane.shape[0] // 2, plane.shape[1] // 2]

    return of_unit


def _score_of_class(network: Network, index: int, chosen: PrototypeOptions, x: Tensor) -> Tensor:
    return _of_logits(network(x), index, chosen)


def _of_logits(logits: Tensor, index: int, chosen: PrototypeOptions) -> Tensor:
    # in float64: log p of a sure network is the small difference of two large numbers
    precise = to_float64(logits)[0]
    return precise.log_softmax(0)[index] if chosen.score == "log_probability" else precise[index]


def _mean_square(code: Tensor) -> Tensor:
    return to_float64(code).square().mean()


def _search(
    classifier: Classifier,
    generator: Classifier | ImageGenerator | None,
    chosen: PrototypeOptions,
    real: list[Tensor],
    size: int | None,
    index: int | None,
    score: Callable[[Tensor], Tensor],
) -> Search:
    random = torch.Generator().manual_seed(chosen.seed)

    def noise(like: tuple[int, ...]) -> Tensor:
        # on the CPU: the same seed then gives the same start on every device
        drawn = chosen.noise * torch.randn(like, generator=random)
        return drawn.to(classifier.device)

    shape = _shape(classifier, real, size)
    if chosen.prior == "l2":
        return Search(noise(shape), lambda code: code, _mean_square)
    if chosen.prior == "density":
        colour = fit_spectrum(_needed(real, chosen.prior))
        return Search(noise(shape), colour, _mean_square)
    if isinstance(generator, ImageGenerator):
        _check_same_preparation(classifier, generator.preprocessing)
        if index is None and generator.classes:
            raise ParameterError(
                "generator: found one that makes images of classes; expected, for a unit of a layer, one that "
                "was trained with conditional=False"
            )
        label = classifier.classes[index] if generator.classes and index is not None else ""
        codes = noise((1, generator.network.code_dimensions)).to(generator.device)
        decode = partial(generator.decode, label=label)
        return Search(codes, lambda code: decode(code).to(classifier.device), _mean_square)
    maker, network = _maker(classifier, generator)
    return _search_of_generator(classifier, maker, network, chosen, real, index, noise, score)


def _shape(classifier: Classifier, real: list[Tensor], size: int | None) -> tuple[int, ...]:
    if real:
        return tuple(real[0].shape)
    side = classifier.preprocessing.size or size or USUAL_SIZE
    return (1, len(classifier.channels), side, side)


def _needed(real: list[Tensor], prior: str) -> list[Tensor]:
    if not real:
        raise ParameterError(
            f"references: found none; expected real images, from which the prior {prior!r} takes what is "
            "usual"
        )
    return real


def fit_spectrum(real: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the map from white noise to images with the mean and the spectra of references.

    A Gaussian density that is the same at every place has a covariance that the Fourier transform makes
    diagonal but for channels: the map multiplies each frequency by the square root of the C x C matrix of
    spectra and cross-spectra.

    Parameters
    ----------
    real : list of Tensor, shape (1, C, H, W)

    Returns
    -------
    callable
        Codes (1, C, H, W) to images; standard normal codes have the density of the references.
    """
    images = np.concatenate([item.cpu().numpy().astype(np.float64) for item in real])
    mean = images.mean(axis=(0, 2, 3))[None, :, None, None]
    waves = np.fft.fft2(images - mean)
    spectra = np.einsum("nayx,nbyx->yxab", waves, np.conj(waves))
    spectra /= len(images) * images[0, 0].size
    values, vectors = np.linalg.eigh(spectra)
    values = np.sqrt(np.maximum(values, RIDGE * values.mean()))
    roots = np.einsum("yxak,yxk,yxbk->abyx", vectors, values, np.conj(vectors))
    device = real[0].device
    filters = torch.from_numpy(roots).to(torch.complex64).to(device)
    level = torch.from_numpy(mean).to(torch.float32).to(device)

    def colour(code: Tensor) -> Tensor:
        coloured = torch.einsum("abyx,nbyx->nayx", filters, torch.fft.fft2(code))
        image: Tensor = torch.fft.ifft2(coloured).real + level
        return image

    return colour


def _maker(classifier: Classifier, given: Classifier | None) -> tuple[Classifier, DecodingNetwork]:
    """Return the classifier whose network decodes, and that network.

    Raises
    ------
    UnsupportedNetworkError
        There is none.
    MismatchError
        Its images are preprocessed in another way.
    NetworkBusyError
        It is being trained.
    """
    candidates = [given] if given is not None else [classifier, classifier.generator]
    for maker in candidates:
        if maker is None or not isinstance(maker.network, DecodingNetwork):
            continue
        _check_same_preparation(classifier, maker.preprocessing)
        maker.network.use.refuse_training()
        return maker, maker.network
    name = (given or classifier).network.name
    raise UnsupportedNetworkError(
        f"found the network {name}, which makes no images, and no generator; take the prior l2 or density, "
        "or train with generator='iresnet'"
    )


def _check_same_preparation(classifier: Classifier, of_generator: Preprocessing) -> None:
    own, its = (
        {**item.to_dict(), "notes": []} for item in (classifier.preprocessing, of_generator)
    )
    if own != its:
        raise MismatchError(
            "generator: found one whose images are preprocessed in another way; expected one that was "
            "trained along with this classifier (why.fit(..., generator='iresnet')), or on the same split "
            "with the same size, sizing and intensity (why.fit_generator)"
        )


def _search_of_generator(
    classifier: Classifier,
    maker: Classifier,
    network: DecodingNetwork,
    chosen: PrototypeOptions,
    real: list[Tensor],
    index: int | None,
    noise: Callable[[tuple[int, ...]], Tensor],
    score: Callable[[Tensor], Tensor],
) -> Search:
    if isinstance(network, GenerativeNetwork) and network.has_prior:
        shape: tuple[int, ...] = (1, network.latent_dimensions, 1, 1)
        middle, spread = (torch.full(shape, value, device=maker.device) for value in (0.0, 1.0))
    else:
        middle, spread = _latent_moments(network, _needed(real, chosen.prior))
        shape = tuple(middle.shape)
    start = noise(shape)
    if isinstance(network, GenerativeNetwork):
        return Search(start, lambda code: network.decode(middle + spread * code), _mean_square)
    if maker is classifier and index is not None:
        # f(f^-1(z)) is z: the head sees the code itself, and images are made of kept steps alone
        stage = network.stage_names[-1]

        def of_code(code: Tensor) -> Tensor:
            features = network.encode_from(middle + spread * code, stage)
            return _of_logits(network.head(features), index, chosen)

        return Search(
            start, lambda code: network.decode(middle + spread * code), _mean_square, of_code
        )
    # Another network looks at the images of an invertible one. The maximum over codes is that over
    # images, each with the penalty of its code: so no gradient of the inverse is needed.
    with torch.no_grad():
        image = network.decode(middle + spread * start)
    return Search(
        image.detach().clone(),
        lambda x: x,
        lambda x: _mean_square((network.last_latent(x) - middle) / spread),
        score,
    )


@torch.no_grad()
def _latent_moments(network: DecodingNetwork, real: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of latents by channel, over images and positions."""
    latents = torch.cat([network.last_latent(item) for item in real])
    # of every position alike: nothing says where in a field cells lie
    middle = latents.mean(dim=(0, 2, 3), keepdim=True).expand(1, *latents.shape[1:])
    spread = latents.std(dim=(0, 2, 3), keepdim=True).expand(1, *latents.shape[1:])
    return middle.contiguous(), spread.clamp(min=torch.finfo(latents.dtype).tiny).contiguous()


@dataclass(frozen=True)
class _Kept:
    """One code of the series, and what it is worth."""

    code: Tensor
    step: int
    value: float
    penalty: float


@dataclass
class _Climb:
    """The codes that were kept, the step after which none gained, and whether the work was stopped."""

    kept: list[_Kept]
    converged: int | None = None
    stopped: bool = False


def _climb(
    search: Search,
    score: Callable[[Tensor], Tensor],
    chosen: PrototypeOptions,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> _Climb:
    """Ascend; the value never falls, and the length of steps is found on the way."""
    rate = search.score or (lambda code: score(search.image(code)))

    def parts(code: Tensor) -> tuple[Tensor, Tensor]:
        gained = rate(code)
        return gained, (chosen.strength * search.penalty(code)).to(gained)

    def look(code: Tensor, step: int) -> tuple[_Kept, Tensor]:
        leaf = code.detach().clone().requires_grad_()
        with torch.enable_grad():
            gained, paid = parts(leaf)
            (gradient,) = torch.autograd.grad(gained - paid, leaf)
        return _Kept(code, step, (gained - paid).item(), paid.item()), gradient

    # evenly spaced, since the axis of a layer has one step; the last step is among them
    every = max(1, -(-chosen.steps // (chosen.images - 1)))
    last = every * -(-chosen.steps // every)
    now, gradient = look(search.start, 0)
    climb = _Climb([now])
    length = FIRST_MOVE * now.code.numel() ** 0.5 / max(float(gradient.norm()), SMALLEST)
    for step in range(1, last + 1):
        if cancelled():
            climb.stopped = True
            break
        if climb.converged is None:
            length, code = _line_search(parts, now, gradient, length)
            if code is None:
                climb.converged = step - 1
            else:
                now, gradient = look(code, step)
        if step % every == 0:
            climb.kept.append(replace(now, step=step))
        on_event(events.Advanced(min(step, chosen.steps)))
    return climb


@torch.no_grad()
def _line_search(
    parts: Callable[[Tensor], tuple[Tensor, Tensor]], now: _Kept, gradient: Tensor, length: float
) -> tuple[float, Tensor | None]:
    """Return the length to begin the next step with, and the code; None where no step gains."""
    promised = float(to_float64(gradient).square().sum())
    for _ in range(HALVINGS):
        code = now.code + length * gradient
        gained, paid = parts(code)
        # "not less", so that NaN is refused too
        if (gained - paid).item() >= now.value + GAIN * length * promised and promised > 0:
            return 2 * length, code.detach()
        length /= 2
    return length, None


def _judge(
    classifier: Classifier,
    judge: Classifier | None,
    ends: Tensor,
    raw: NDArray[np.float32],
    subject: str,
    probabilities: NDArray[np.float32] | None,
    activation: float,
    real: list[Tensor],
    score: Callable[[Tensor], Tensor],
    *,
    made_by_generator: bool,
) -> Judgement:
    """Ask others about the first and last image, and measure how far the last is from real ones."""
    likeness, unlike = measure_likeness(classifier, raw[-1])
    nearest = measure_nearest(classifier, ends[1:], real)
    dark = float((raw[-1] < 0).mean())
    if probabilities is None:
        with torch.no_grad():
            largest = max((score(item).item() for item in real), default=np.nan)
        unit = (activation, float(largest))
        return Judgement(subject, None, (), likeness, nearest, unlike, unit, dark)
    before, after = (float(row[classifier.classes.index(subject)]) for row in probabilities)
    own = Opinion("its own network", before, after)
    others = ask_others(classifier, judge, ends, raw, subject, made_by_generator=made_by_generator)
    return Judgement(subject, own, others, likeness, nearest, unlike, below_zero=dark)
