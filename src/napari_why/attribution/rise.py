"""RISE: the score of many randomly masked images, averaged where they show a pixel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.attribution.incremental import fold
from napari_why.attribution.input_gradients import BlurSigma
from napari_why.attribution.occlusion import batch_size, channel_variants
from napari_why.attribution.registry import (
    Evidence,
    ImageBaseline,
    attribution_method,
    baseline_image,
)
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.options import DETAILS, Help, Label, Presets, Range
from napari_why.networks.network import Network

Samples = Annotated[
    int,
    Help("random masks; four times as many halve the standard error"),
    Range(2, 100000),
    Label("random masks"),
    Presets(250, 4000),
]
Grid = Annotated[
    int, Help("squares along each side of a mask, before it is shifted and blurred"), Range(1, 512)
]
Shown = Annotated[float, Help("probability that a square shows the image"), Range(0.01, 0.99)]
Baseline = Annotated[
    ImageBaseline,
    Help("what masked pixels show: no light, the training mean, or the blurred image"),
]
Seed = Annotated[
    int, Help("seed of the masks"), Range(0, 2**32 - 1), Label("seed of the masks"), DETAILS
]


@attribution_method(
    title="RISE",
    source="Petsiuk, Das & Saenko 2018, arXiv:1806.07421, section 3.2",
    black_box=True,
)
def rise(
    network: Network,
    x: Tensor,
    target: int,
    *,
    # the paper takes 4000 and 8000; with 1000 the standard error is twice that of 4000
    samples: Samples = 1000,
    grid: Grid = 7,  # and shown: as in the paper
    shown: Shown = 0.5,
    baseline: Baseline = "mean",
    blur_sigma: BlurSigma = 7.5,  # as for integrated gradients
    seed: Seed = 0,
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Show random parts of the image and see where the score is higher than on average.

    A mask is a grid of squares, each shown with probability ``shown``, enlarged bilinearly to one
    square more than the image and cut out at a random place. Of images b + M (x - b) with the
    baseline b, a pixel's value is

        R = sum_i M_i s_i / sum_i M_i - mean_i s_i,

    the mean score of the images that show it, weighted by how much they do, less the mean score of
    all: the paper's map without the constant that every pixel of it contains (and with the masks'
    own mean in place of its expectation). It has a sign. It needs no gradient, nor parameters that
    have one.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, for the baseline ``zero``.
    on_event, cancelled : callable
        One step per mask. Cancelled work gives the map of the masks so far.

    Returns
    -------
    Evidence
        Joint: all channels masked; maps: one channel masked, by the same masks, the others shown
        whole. In logits; values of neighbours share masks and do not add up, so no gap is given.
        ``standard_error``: that of the joint map over masks.
    """
    start = baseline_image(x, baseline, raw_zero, blur_sigma)
    masks = Masks((x.shape[-2], x.shape[-1]), samples, grid, shown, seed)
    scores = masked_scores(network, x, target, start, masks, on_event, cancelled)
    values, error = masks.average(scores)
    return Evidence(
        maps=to_like(values[-x.shape[1] :], x),
        joint=to_like(values[0], x),
        unit="logit",
        details={"masks": len(scores)},
        partial=len(scores) < samples,
        standard_error=to_like(error, x),
    )


def masked_scores(
    network: Network,
    x: Tensor,
    target: int,
    start: Tensor,
    masks: "Masks",
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Tensor:
    """Return the scores (n, V), float64, of n masks and of the variants all channels, each alone.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    start : Tensor, shape (1, C, H, W)
        The baseline, which is seen where a mask is 0.
    masks : Masks
        Of the size of x.
    on_event, cancelled : callable
        One step per mask.

    Returns
    -------
    Tensor, float64, shape (n, V)
        Of fewer masks than there are when cancelled.
    """
    variants = channel_variants(x)
    size = max(1, batch_size(x) // len(variants))
    forward = fold(network, x, masks.samples * len(variants))
    drawn, scores = iter(masks), torch.zeros(0, len(variants), dtype=torch.float64)
    on_event(events.Started("RISE", masks.samples))
    while len(scores) < masks.samples and not cancelled():
        taken = to_like(torch.stack(list(islice(drawn, size))), x)
        # (masks, variants, C, H, W); what a variant leaves alone is shown whole
        shares = torch.where(variants[:, :, None, None], taken[:, None, None], 1.0)
        with torch.no_grad():
            found = forward((start + shares * (x - start)).flatten(0, 1))[:, target]
        scores = torch.cat([scores, to_float64(found).cpu().view(-1, len(variants))])
        on_event(events.Advanced(len(scores)))
    return scores


@dataclass(frozen=True)
class Masks:
    """Random masks (H, W) with values from 0 (covered) to 1 (shown), the same ones each time."""

    size: tuple[int, int]
    samples: int
    grid: int
    shown: float
    seed: int

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        step = [-(-length // self.grid) for length in self.size]  # rounded up: it covers the image
        larger = [(self.grid + 1) * length for length in step]
        for _ in range(self.samples):
            squares = torch.rand(1, 1, self.grid, self.grid, generator=generator) < self.shown
            # half-pixel centres, as images are scaled
            whole = F.interpolate(squares.float(), size=larger, mode="bilinear")[0, 0]
            top, left = (int(torch.randint(each, (), generator=generator)) for each in step)
            yield whole[top : top + self.size[0], left : left + self.size[1]]

    def average(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return R of every variant, and the standard error of the first.

        Parameters
        ----------
        scores : Tensor, shape (n, V), float64
            Of the first n masks.

        Returns
        -------
        values : Tensor, shape (V, H, W)
        error : Tensor, shape (H, W)
            By the linear approximation of a ratio's variance: the spread over the masks of
            M_i / mean(M) (s_i - weighted mean) - (s_i - mean), divided by the root of n.
        """
        count = len(scores)
        centred = scores - scores.mean(dim=0) if count else scores
        total = torch.zeros(self.size, dtype=torch.float64)
        weighted = torch.zeros(scores.shape[1], *self.size, dtype=torch.float64)
        for mask, score in zip(self, centred, strict=False):
            total += mask
            weighted += score[:, None, None] * mask
        # a pixel that no mask showed has no mean: nothing is known of it, and 0 is said
        values = weighted / total.clamp(min=torch.finfo(torch.float32).tiny)
        # a second time through the same masks, which is cheaper than to keep them
        squares = torch.zeros(self.size, dtype=torch.float64)
        mean = (total / max(count, 1)).clamp(min=torch.finfo(torch.float32).tiny)
        for mask, score in zip(self, centred, strict=False):
            squares += (mask / mean * (score[0] - values[0]) - score[0]).square()
        return values, (squares / max(count * (count - 1), 1)).sqrt()
