"""Gradients averaged over random images: SmoothGrad, and expected gradients, with their error."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor

from napari_why.attribution.incremental import fold
from napari_why.attribution.input_gradients import (
    divided_difference,
    input_gradient,
    input_score,
)
from napari_why.attribution.registry import (
    Evidence,
    References,
    attribution_method,
)
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.errors import MismatchError
from napari_why.core.options import DETAILS, Help, Label, Presets, Range
from napari_why.networks.network import Network

Seed = Annotated[
    int,
    Help("of the random draws; the same one gives the same map"),
    Range(0, 2**32 - 1),
    Label("seed of the draws"),
    DETAILS,
]
# half the error costs four times as much
Samples = Annotated[
    int, Help("random images; more bring the error down"), Range(1, 10000), Presets(16, 128)
]
Noise = Annotated[
    float, Help("noise in each channel, in standard deviations of its pixels"), Range(0, 10)
]
DrawnFrom = Annotated[
    Literal["others", "all"],
    Help("the images that stand for absence: those of all other classes, or of all classes"),
]
StopError = Annotated[
    float,
    Help(
        "stop before all are drawn, once the standard error is at most this share of the values (both "
        "as root mean squares); 0: never"
    ),
    Range(0, 1),
    Label("stop at an error of"),
    DETAILS,
]
# Positions of a group of samples, one in each eighth of the way: so many groups are left of the
# default of 64 samples that their spread tells the error (within a fifth or so).
GROUP = 8
# Independent groups before a standard error is trusted to end the work: with three degrees of freedom the
# error of a single pixel is known to some 40 %, and what decides is the mean over all.
FEWEST_GROUPS = 4


def relative_error(values: Tensor, standard_error: Tensor | None) -> float | None:
    """Return the root mean square of standard errors, as a share of that of the values.

    None where there is no error, or no value other than 0.

    Parameters
    ----------
    values : Tensor
    standard_error : Tensor, or None
        Of their shape.

    Returns
    -------
    float or None

    Examples
    --------
    >>> round(relative_error(torch.tensor([3.0, -3.0]), torch.tensor([0.3, 0.3])), 6)
    0.1
    """
    size = to_float64(values).square().mean().item()
    if standard_error is None or not size:
        return None
    return float((to_float64(standard_error).square().mean().item() / size) ** 0.5)


class SampleMean:
    """The running mean of maps, with the standard error of their sum over channels.

    Parameters
    ----------
    like : Tensor, shape (C, H, W)
        Of the maps' shape.
    group : int
        Samples that were drawn together, and depend on each other; groups do not.
    """

    def __init__(self, like: Tensor, group: int = 1) -> None:
        self.count = 0
        self.maps = torch.zeros_like(like)
        self._group, self._groups = group, 0
        self._part, self._mean, self._squares = (torch.zeros_like(like[0]) for _ in range(3))

    def add(self, maps: Tensor) -> None:
        """Take one more sample in (Welford's recurrence, which loses no digits)."""
        self.count += 1
        self.maps = self.maps + (maps - self.maps) / self.count
        self._part = self._part + maps.sum(dim=0) / self._group
        if self.count % self._group == 0:
            self._groups += 1
            step = self._part - self._mean
            self._mean = self._mean + step / self._groups
            self._squares = self._squares + step * (self._part - self._mean)
            self._part = torch.zeros_like(self._part)

    @property
    def standard_error(self) -> Tensor | None:
        """Standard error of the joint mean, shape (H, W); None of less than two whole groups."""
        if self._groups < 2:
            return None
        return (self._squares / (self._groups - 1) / self._groups).sqrt()

    @property
    def relative_error(self) -> float | None:
        """Standard error of the joint mean as a share of it, see :func:`relative_error`."""
        return relative_error(self.maps.sum(dim=0), self.standard_error)

    def reaches(self, wanted: float) -> bool:
        """Whether a group has just ended and the error is as small as wanted; 0: never."""
        if not wanted or self.count % self._group or self._groups < FEWEST_GROUPS:
            return False
        found = self.relative_error
        return found is not None and found <= wanted


@attribution_method(title="SmoothGrad", source="Smilkov et al. 2017, arXiv:1706.03825")
def smoothgrad(
    network: Network,
    x: Tensor,
    target: int,
    *,
    # Smilkov et al. see little change beyond 50; the standard error says what these leave
    samples: Samples = 32,
    # Smilkov et al.: 10 to 20 % of the range, which is about five standard deviations of an image
    noise: Noise = 0.5,
    seed: Seed = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Gradient of the logit, averaged over copies of the image with noise added.

    R = mean of ds_c/dx at x + n, with n normal and independent in every pixel.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    on_event, cancelled : callable
        One step per noisy image. Cancelled work gives the mean of those so far.

    Returns
    -------
    Evidence
        Maps: the mean signed gradient, logit per training standard deviation; joint: their sum over
        channels, what the logit gains where all channels get brighter. No sum is promised. The
        standard error is that of the joint map.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same noise on every device
    spread = noise * x.std(dim=(2, 3), correction=0, keepdim=True)
    # a gradient is two passes
    forward, mean = fold(network, x, 2 * samples), SampleMean(x[0])
    on_event(events.Started("SmoothGrad", samples))
    while mean.count < samples and not cancelled():
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x)
        _, gradients = input_gradient(forward, x + spread * drawn, target)
        mean.add(gradients[0])
        on_event(events.Advanced(mean.count))
    return Evidence(
        maps=mean.maps,
        joint=mean.maps.sum(dim=0),
        unit="logit per standard deviation",
        details={"samples_done": mean.count},
        partial=mean.count < samples,
        standard_error=mean.standard_error,
    )


@attribution_method(
    title="Expected gradients",
    source="Erion et al. 2021, doi:10.1038/s42256-021-00343-w, arXiv:1906.10670",
)
def expected_gradients(
    network: Network,
    x: Tensor,
    target: int,
    *,
    samples: Samples = 64,  # eight groups of eight, see GROUP; Erion et al. take 200
    drawn_from: DrawnFrom = "others",
    stop_error: StopError = 0.0,
    seed: Seed = 0,
    references: References,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Integrated gradients, averaged over baselines that are real images.

    R = mean of (x - b) * ds_c/dx at b + a (x - b), with the baseline b drawn from the training images
    and the position a uniform on the way. The maps say what speaks for the class compared with
    these images, and not with an image that nobody took.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    references : References
        The training images; others than of class ``target`` are those of other labels.
    on_event, cancelled : callable
        One step per baseline. Cancelled work gives the mean over those so far.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. Their sum is s_c(x) less the mean
        logit of the baselines that were drawn, up to chance; the gap tells it. The standard error
        is that of the joint map.

    Raises
    ------
    MismatchError
        There is no image to draw, or images of another size.
    """
    images = _baselines(references, target, drawn_from, x)
    forward = fold(network, x, 2 * samples)
    mean, scores = SampleMean(x[0], GROUP), 0.0
    known: dict[int, float] = {}  # scores of images by their numbers: most are drawn more than once
    on_event(events.Started("expected gradients", samples))
    for index, position in draw_places(len(images), samples, seed):
        if cancelled() or mean.reaches(stop_error):
            break
        way = x - images[index : index + 1].to(x)
        _, gradients = input_gradient(forward, x - (1 - position) * way, target)
        mean.add((way * gradients)[0])
        if index not in known:
            known[index] = input_score(forward, x - way, target)
        scores += known[index]
        on_event(events.Advanced(mean.count))
    enough = mean.reaches(stop_error)
    reached, before = input_score(forward, x, target), scores / max(mean.count, 1)
    return divided_difference(
        *(mean.maps, reached, before, "the baselines, in the mean"),
        details={"samples_done": mean.count, "relative_error": mean.relative_error},
        partial=mean.count < samples and not enough,
        standard_error=mean.standard_error,
    )


def draw_places(count: int, samples: int, seed: int) -> Iterator[tuple[int, float]]:
    """Yield numbers of images and positions on the way from them.

    In each group of :data:`GROUP` there is one position in each of as many equal parts of the way,
    in random order, and no image twice where there are enough. Groups are independent.

    Parameters
    ----------
    count : int
        Images to draw from.
    samples : int
    seed : int

    Yields
    ------
    index : int
    position : float
        0 at the baseline, 1 at the image.
    """
    generator = torch.Generator().manual_seed(seed)
    alike = torch.ones(count)
    for first in range(0, samples, GROUP):
        parts = torch.randperm(GROUP, generator=generator)
        positions = (parts + torch.rand(GROUP, generator=generator)) / GROUP
        chosen = torch.multinomial(alike, GROUP, count < GROUP, generator=generator)
        for index, position in list(zip(chosen, positions, strict=True))[: samples - first]:
            yield int(index), float(position)


def _baselines(references: References, target: int, drawn_from: str, x: Tensor) -> Tensor:
    images = references.images
    if images.ndim != 4 or images.shape[1:] != x.shape[1:]:
        raise MismatchError(
            f"references: found images of shape {tuple(images.shape)}; expected images of "
            f"{tuple(x.shape[1:])}, as the one that is explained"
        )
    if drawn_from == "others":
        labels = references.labels.to(images.device)
        # below 0 in a contrast: neither of the class nor of the one it is held against
        images = images[(labels != target) & (labels >= 0)]
    if not len(images):
        raise MismatchError(
            f"references: found {len(references.images)} images, none of another class than the one "
            "explained; expected one at least, or drawn_from='all'"
        )
    return images
