"""Simple Taylor decomposition: the gradient at a root of the score, times the way from there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import scipy
from torch import Tensor

from napari_why.attribution.input_gradients import (
    Baseline,
    BlurSigma,
    divided_difference,
    input_gradient,
    input_score,
)
from napari_why.attribution.registry import (
    SMALLEST,
    Evidence,
    attribution_method,
    baseline_image,
)
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.options import Help, Range
from napari_why.networks.network import Network

# How far the line along the gradient is followed, in units of the distance at which the score would
# be 0 if it were linear: scores bend, and a root that lies much farther belongs to another linear
# part. Never farther than the baseline is away: what is no nearer to the image is not near it.
REACH = 4.0
# of the piece of the line that holds the root: below what float32 tells apart
ROOT_TOLERANCE = 1e-8


@dataclass(frozen=True)
class LinePoint:
    """A point x + share * way of a line, with its score.

    Parameters
    ----------
    image : Tensor, shape (1, C, H, W)
    score : float
    distance : float
        From x, root of the summed squares, in training standard deviations.
    line : str
        ``gradient`` or ``baseline``.
    is_root : bool
        The score changes its sign here; else it is the smallest |score| that was met.
    """

    image: Tensor
    score: float
    distance: float
    line: str
    is_root: bool

    @property
    def rank(self) -> tuple[bool, float]:
        """Roots first, the nearer the better; then what is least far from one."""
        return not self.is_root, self.distance if self.is_root else abs(self.score)


@dataclass
class RootSearch:
    """The search for a root of a score on lines from an image.

    Parameters
    ----------
    score : callable
        ``(image) -> s``.
    x : Tensor, shape (1, C, H, W)
    points : int
        On each line, evenly spaced.
    on_event, cancelled : callable
        One step per point.
    """

    score: Callable[[Tensor], float]
    x: Tensor
    points: int
    on_event: events.OnEvent
    cancelled: events.Cancelled
    stopped: bool = False

    def nearest(self, ways: Mapping[str, Tensor]) -> LinePoint:
        r"""Return the nearest root on the lines from x to x + way, by name.

        Without a root on any: the point met that has the smallest \|s\|, which may be x itself.
        """
        self.on_event(events.Started("simple Taylor decomposition", self.points * len(ways)))
        met = []
        for index, (line, way) in enumerate(ways.items()):
            met.append(self._search(line, way, self.points * index))
            if not self.stopped:  # points behind the root need no look
                self.on_event(events.Advanced(self.points * (index + 1)))
        return min(met, key=lambda point: point.rank)

    def _search(self, line: str, way: Tensor, done: int) -> LinePoint:
        """Look for a change of sign from point to point; two between neighbours are missed."""

        def at(share: float) -> float:
            return self.score(self.x + share * way)

        def found(share: float, score: float, is_root: bool) -> LinePoint:
            distance = share * to_float64(way).norm().item()
            return LinePoint(self.x + share * way, score, distance, line, is_root)

        before, last = at(0.0), 0.0
        nearest, smallest = 0.0, before
        if before == 0 or not way.any():
            return found(0.0, before, before == 0)
        for index in range(1, self.points + 1):
            self.stopped = self.stopped or self.cancelled()
            if self.stopped:
                break
            share = index / self.points
            value = at(share)
            self.on_event(events.Advanced(done + index))
            if value == 0 or (value > 0) != (before > 0):
                root = float(
                    scipy.optimize.brentq(at, last, share, xtol=ROOT_TOLERANCE / self.points)
                )
                return found(root, at(root), True)
            if abs(value) < abs(smallest):
                nearest, smallest = share, value
            last = share
        return found(nearest, smallest, False)


Line = Annotated[
    Literal["nearest", "gradient", "baseline"],
    Help("where a root is looked for: the nearer one of both lines, or one line alone"),
]
Points = Annotated[int, Help("points on each line where the sign is looked at"), Range(1, 1000)]


@attribution_method(
    title="Simple Taylor decomposition",
    source="Bach et al. 2015, doi:10.1371/journal.pone.0130140; Montavon et al. 2017, section 3",
    caution="a root point is mostly a few changes away that nobody sees, and is no image of another class",
)
def simple_taylor(
    network: Network,
    x: Tensor,
    target: int,
    *,
    line: Line = "nearest",
    # as many as integrated_gradients takes on the same line
    points: Points = 32,
    baseline: Baseline = "mean",
    blur_sigma: BlurSigma = 7.5,  # as integrated_gradients has it, so that both can be compared
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Gradient at the nearest root of the logit, times the way from the root to the image.

    R = ds_c/dx at x~ * (x - x~), with s_c(x~) = 0: the first term of the Taylor series round x~, which
    is all of s_c(x) where the logit is linear from x~ to x. The root is looked for along the
    gradient and along the line to a baseline, and the nearer one is taken. Where neither has one,
    the point with the smallest logit in magnitude takes its place.

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
        One step per point of a line. Cancelled work takes the best point met so far.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. The gap compares their sum with
        s_c(x) - s_c(x~); ``residual`` of the record is what is missing of it, in logits. The
        constants are s_c(x~): next to 0 at a root, else what no pixel accounts for.
    """
    start = baseline_image(x, baseline, raw_zero, blur_sigma)
    scores, gradients = input_gradient(network, x, target)
    ways = {"gradient": _along(gradients, scores[0].item(), x - start), "baseline": start - x}
    search = RootSearch(
        partial(input_score, network, target=target), x, points, on_event, cancelled
    )
    root = search.nearest(ways if line == "nearest" else {line: ways[line]})
    _, at_root = input_gradient(network, root.image, target)
    maps = (at_root * (x - root.image))[0]
    return _evidence(maps, scores[0].item(), root, (x - start).norm().item(), search.stopped)


def _along(gradients: Tensor, score: float, from_baseline: Tensor) -> Tensor:
    """Return the way along the gradient towards a score of 0, as far as it is followed."""
    slope, farthest = gradients.norm().item(), from_baseline.norm().item()
    length = REACH * abs(score) / max(slope, SMALLEST)
    # an image that is its own baseline is not near any other
    length = min(length, farthest) if farthest else length
    share = float(length / max(slope, SMALLEST)) * (-1.0 if score > 0 else 1.0)
    return share * gradients


def _evidence(
    maps: Tensor, score: float, root: LinePoint, baseline_distance: float, partial: bool
) -> Evidence:
    none = "the point whose logit is nearest to 0 on the lines, on which no root was found"
    return divided_difference(
        maps,
        score,
        root.score,
        "the root point" if root.is_root else none,
        details={
            "root_found": root.is_root,
            "line": root.line,
            "distance": root.distance,
            "baseline_distance": baseline_distance,
            "residual": score - root.score - to_float64(maps).sum().item(),
        },
        partial=partial,
    )
