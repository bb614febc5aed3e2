"""Which cells? What the logit loses without a region, and each region's share by Shapley's rule."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from math import factorial
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.attribution.incremental import Forward, fold, open_scores
from napari_why.attribution.occlusion import Batch, WindowBaseline, batch_size, channel_variants
from napari_why.attribution.registry import (
    Evidence,
    RegionValue,
    attribution_method,
    baseline_image,
    relative_gap,
)
from napari_why.attribution.sampled_gradients import FEWEST_GROUPS, StopError, relative_error
from napari_why.core import events
from napari_why.core.devices import at_a_time, to_float64, to_like
from napari_why.core.errors import MismatchError
from napari_why.core.options import DETAILS, Help, Label, Presets, Range, ShownWith, Unit
from napari_why.networks.network import Network

Baseline = Annotated[
    WindowBaseline,
    Help(
        "what a region is covered with: no light, the training mean, the blurred image, or the "
        "median of the pixels round the region that belong to no other"
    ),
]
Margin = Annotated[
    int,
    Help("width of the frame for local_background, and of the blur"),
    Range(1, 512),
    Unit("px"),
    ShownWith("baseline", ("blur", "local_background")),
]
Background = Annotated[bool, Help("count what lies in no region as one more region, number 0")]
Exact = Annotated[
    int,
    Help("up to so many regions all combinations are computed, none sampled"),
    Range(0, 16),
    Label("exact up to ... regions"),
    DETAILS,
]
Pairs = Annotated[
    int,
    Help("random orders, each also backwards; four times as many halve the standard error"),
    Range(1, 10000),
    Label("pairs of orders"),
    Presets(4, 40),
]
Seed = Annotated[
    int, Help("seed of the orders"), Range(0, 2**32 - 1), Label("seed of the orders"), DETAILS
]
UNIT = "logit per region"
GAP_MEANING = "sum of the regions' values against what covering all of them takes from the logit"


@attribution_method(
    title="Region occlusion",
    source="Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2, with regions as windows",
    caution="a region whose work another one can do loses nothing when it is covered alone",
    black_box=True,
)
def region_occlusion(
    network: Network,
    x: Tensor,
    target: int,
    *,
    regions: Tensor,
    baseline: Baseline = "mean",
    margin: Margin = 7,  # half a window of occlusion, as there
    background: Background = False,
    batch: Batch = None,
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Cover one region after the other and see what the logit loses.

    A region's value is s_c(x) - s_c(x with the region covered).

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    regions : Tensor, shape (H, W), int64
        The number of the region that a pixel lies in, 0 where it lies in none.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, for the baseline ``zero``.
    on_event, cancelled : callable
        One step per region and variant (all channels, each channel). Cancelled work has the regions
        so far, 0 in the others.

    Returns
    -------
    Evidence
        ``regions``: the values with all channels covered, exact and so without standard error.
        Joint: the same on every pixel of a region; maps: one channel covered. So the sum over the
        pixels means nothing, and regions do not add up to the logit either: no gap is given.

    Raises
    ------
    MismatchError
        ``regions`` has another shape than the image, or there is no region.
    """
    game = Game.of(network, x, target, regions, baseline, margin, background, raw_zero)
    alone = ~torch.eye(len(game.labels), dtype=torch.bool)
    # region by region, so that a cancelled scan has whole regions
    jobs = [(row, variant) for row in alone for variant in range(len(game.variants))]
    found, how = game.play_alone(jobs, batch, "region occlusion", on_event, cancelled)
    whole = len(found) // len(game.variants)
    values = torch.zeros(len(game.labels), len(game.variants), dtype=torch.float64)
    values[:whole] = game.score - found[: whole * values.shape[1]].view(-1, values.shape[1])
    known = game.labels[:whole]
    evidence = game.evidence(values.T, None, known, partial=len(found) < len(jobs))
    return replace(evidence, details={**evidence.details, "computed": how})


@attribution_method(
    title="Region Shapley values",
    source="Shapley 1953; Strumbelj & Kononenko 2010, JMLR 11:1-18; antithetic orders: Mitchell et al. 2022, arXiv:2104.12199",
    black_box=True,
)
def region_shapley(
    network: Network,
    x: Tensor,
    target: int,
    *,
    regions: Tensor,
    # a pair of orders costs 2 passes a region; 10 pairs leave about a third of one order's error
    pairs: Pairs = 10,
    exact: Exact = 8,  # 256 combinations, what sampling would take for as few regions too
    stop_error: StopError = 0.0,
    baseline: Baseline = "mean",
    margin: Margin = 7,  # as for region_occlusion
    background: Background = False,
    batch: Batch = None,
    seed: Seed = 0,
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Share what covering all regions takes from the logit out among the regions, fairly.

    A region's value is the mean, over all orders in which regions can be uncovered, of what the
    logit gains when its turn comes (Shapley value). Up to ``exact`` regions all combinations are
    computed. Else orders are drawn, each taken forwards and backwards, as the errors of the two
    partly cancel; the standard error is that of the mean over the pairs. captum's
    ShapleyValueSampling draws from global random numbers and cannot be stopped; a test compares.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    regions : Tensor, shape (H, W), int64
        The number of the region that a pixel lies in, 0 where it lies in none.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, for the baseline ``zero``.
    on_event, cancelled : callable
        One step per image. Cancelled work has the mean over the pairs so far; nothing where none
        was finished, and with all combinations.

    Returns
    -------
    Evidence
        ``regions``: the values with all channels covered; they sum to s(x) - s(x with every region
        covered), which the gap tells. Joint: the same on every pixel of a region, so that its sum
        over pixels is not the logit; maps: the game with one channel covered.

    Raises
    ------
    MismatchError
        ``regions`` has another shape than the image, or there is no region.
    """

    def passes(regions: int) -> int:
        return 2**regions if regions <= exact else 2 * pairs * (regions + 1)

    game = Game.of(network, x, target, regions, baseline, margin, background, raw_zero, passes)
    count, variants = len(game.labels), len(game.variants)
    every = all_combinations(count) if count <= exact else None
    plans = [every] if every else list(random_orders(count, pairs, seed))
    jobs = ((row, v) for plan in plans for v in range(variants) for row in plan.shown)
    total = variants * sum(len(plan.shown) for plan in plans)
    enough = _Enough(plans, variants, 0.0 if every else stop_error)
    found = game.play(jobs, total, batch, "Shapley values", on_event, cancelled, enough)
    values, error, rounds = average_of_plans(plans, found, variants)
    known = game.labels if rounds else []
    partial = len(found) < total and not enough(found)
    evidence = game.evidence(values, error, known, partial=partial)
    return game.with_gap(evidence, values, error, rounds, exact=every is not None)


@dataclass(frozen=True)
class Plan:
    """Combinations of shown regions, and how their scores make values.

    Parameters
    ----------
    shown : Tensor, shape (n, P), bool
    weights : Tensor, shape (P, n), float64
        A region's value is this row times the scores.
    """

    shown: Tensor
    weights: Tensor


def all_combinations(count: int) -> Plan:
    """Plan Shapley values by their definition, from all 2^P combinations.

    Examples
    --------
    >>> all_combinations(1).weights.tolist()
    [[-1.0, 1.0]]
    """
    codes = torch.arange(2**count)  # a bit for each region
    shown = (codes[:, None] >> torch.arange(count)) % 2 == 1
    sizes = shown.sum(dim=1).tolist()
    joins = [factorial(size) * factorial(count - size - 1) if size < count else 0 for size in sizes]
    leaves = [factorial(size - 1) * factorial(count - size) if size else 0 for size in sizes]
    whole = factorial(count)
    joining, leaving = (
        torch.from_numpy(np.asarray([number / whole for number in numbers], dtype=np.float64))
        for numbers in (joins, leaves)
    )
    return Plan(shown, torch.where(shown, leaving[:, None], -joining[:, None]).T)


def random_orders(count: int, pairs: int, seed: int) -> Iterator[Plan]:
    """Plan what regions add in a random order and in its reverse, pair by pair.

    Parameters
    ----------
    count : int
        P, regions to be ordered.
    pairs : int
        How many random orders.
    seed : int

    Yields
    ------
    Plan
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(pairs):
        order = torch.randperm(count, generator=generator)
        yield _add_in_orders([order, order.flip(0)])


def _add_in_orders(orders: list[Tensor]) -> Plan:
    shown, weights = [], []
    for order in orders:
        count = len(order)
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(count))
        steps = torch.arange(count + 1)[:, None]
        shown.append(rank < steps)  # after k steps the first k are shown
        # after a region's turn less before it: +1 and -1 on two neighbouring rows
        gains = to_float64(rank == steps - 1) - to_float64(rank == steps)
        weights.append(gains.T / len(orders))
    return Plan(torch.cat(shown), torch.cat(weights, dim=1))


def average_of_plans(
    plans: list[Plan], scores: Tensor, variants: int
) -> tuple[Tensor, Tensor | None, int]:
    """Return values (V, P), standard errors (P,) of the first variant, and finished plans.

    Parameters
    ----------
    plans : list of Plan
        All with as many rows.
    scores : Tensor, float64
        Plan by plan, variant by variant, row by row, until the work was stopped. What a stopped
        plan has is left out, for regions late in its order would be wanting.
    variants : int
        V.

    Returns
    -------
    values : Tensor, float64, shape (V, P)
        0 where no plan was finished.
    error : Tensor, float64, shape (P,), or None
        None of fewer than two plans.
    finished : int
    """
    rows = len(plans[0].shown)
    rounds = len(scores) // (rows * variants)
    values = torch.zeros(rounds, variants, len(plans[0].weights), dtype=torch.float64)
    for number, plan in enumerate(plans[:rounds]):
        part = scores[number * rows * variants : (number + 1) * rows * variants]
        values[number] = part.view(variants, rows) @ plan.weights.T
    if not rounds:
        return torch.zeros(values.shape[1:], dtype=torch.float64), None, 0
    spread = values[:, 0].std(dim=0) / rounds**0.5 if rounds > 1 else None
    return values.mean(dim=0), spread, rounds


class _Enough:
    """Tell whether the scores so far give values as precise as wanted; 0: never."""

    def __init__(self, plans: list[Plan], variants: int, stop_error: float) -> None:
        self._plans, self._variants, self._stop_error = plans, variants, stop_error
        self._rounds, self._reached = FEWEST_GROUPS - 1, False

    def __call__(self, scores: Tensor) -> bool:
        rounds = len(scores) // (len(self._plans[0].shown) * self._variants)
        # once a plan, and not once a batch: the values of all plans are put together anew
        if self._stop_error and rounds > self._rounds:
            values, error, self._rounds = average_of_plans(self._plans, scores, self._variants)
            found = relative_error(values[0], error)
            self._reached = found is not None and found <= self._stop_error
        return self._reached


@dataclass(frozen=True)
class Game:
    """The image with any combination of its regions shown, and what the network says to it.

    Parameters
    ----------
    labels : list of int
        Numbers of the regions.
    places : Tensor, shape (H, W), int64
        The index of a pixel's region in ``labels``, and their count where it has none.
    filling : Tensor, shape (1, C, H, W)
        What covered pixels show.
    variants : Tensor, shape (V, C), bool
        Which channels are covered.
    score : float
        The logit of the image itself.
    forward : callable
        The network, or what computes its logits sooner where many will be asked for: one for all
        scores, so that differences of them are not of two ways to add up.
    """

    network: Network
    x: Tensor
    target: int
    labels: list[int]
    places: Tensor
    filling: Tensor
    variants: Tensor
    score: float
    forward: Forward

    @classmethod
    def of(
        cls,
        network: Network,
        x: Tensor,
        target: int,
        regions: Tensor,
        baseline: str,
        margin: int,
        background: bool,
        raw_zero: Tensor | None,
        passes: Callable[[int], int] = lambda _regions: 0,
    ) -> "Game":
        """Give the regions numbers, and make what they are covered with.

        ``passes`` tells how many images of so many regions will be asked for in full.

        Parameters
        ----------
        network : Network
            In evaluation mode.
        x : Tensor, shape (1, C, H, W)
            One standardised image.
        target : int
            Index of the class.
        regions : Tensor, shape (H, W), int64
            The number of the region that a pixel lies in, 0 where it lies in none.
        baseline : str
            What covered pixels show; see the annotation of :func:`region_occlusion`.
        margin : int
            Pixels round a region that a local background is taken of.
        background : bool
            Whether what lies in no region counts as one more.
        raw_zero : Tensor, shape (1, C, H, W), or None
            The preprocessed image without light, for the baseline ``zero``.
        passes : callable
            ``(number of regions) -> images`` that will be asked for in full.

        Returns
        -------
        Game

        Raises
        ------
        MismatchError
            Regions of another shape or type, or none above 0.
        """
        if (
            regions.shape != x.shape[-2:]
            or regions.is_floating_point()
            or bool(regions.lt(0).any())
        ):
            raise MismatchError(
                f"regions: found {regions.dtype} of shape {tuple(regions.shape)}; expected whole "
                f"numbers, 0 or more, of shape {tuple(x.shape[-2:])}: a label for each pixel that "
                "the network sees"
            )
        regions = regions.to(x.device)
        labels = [int(label) for label in torch.unique(regions) if label or background]
        if not any(labels):
            raise MismatchError(
                "regions: found none; expected at least one label above 0 in the part of the image "
                "that the network sees"
            )
        places = torch.full_like(regions, len(labels), dtype=torch.int64)
        for index, label in enumerate(labels):
            places[regions == label] = index
        if baseline == "local_background":
            filling = _local_backgrounds(x, regions, labels, margin)
        else:
            filling = baseline_image(x, baseline, raw_zero, blur_sigma=margin)
        variants = channel_variants(x)
        forward = fold(network, x, passes(len(labels)) * len(variants))
        with torch.no_grad():
            score = forward(x)[0, target].item()
        return cls(network, x, target, labels, places, filling, variants, score, forward)

    def image(self, shown: Tensor, variant: int) -> Tensor | None:
        """Return the image (1, C, H, W) with those regions shown, None where it is as it was.

        Parameters
        ----------
        shown : Tensor, shape (P,), bool
        variant : int
            Which channels are covered: a row of ``variants``.

        Returns
        -------
        Tensor, shape (1, C, H, W), or None
        """
        # what lies in no region is always shown
        covered = ~F.pad(shown, (0, 1), value=True).to(self.x.device)[self.places]
        covered = covered & self.variants[variant][:, None, None]
        image = torch.where(covered, self.filling, self.x)
        return None if torch.equal(image, self.x) else image

    def play(
        self,
        jobs: Iterable[tuple[Tensor, int]],
        total: int,
        batch: int | None,
        task: str,
        on_event: events.OnEvent,
        cancelled: events.Cancelled,
        enough: Callable[[Tensor], bool],
    ) -> Tensor:
        """Return the scores (n,), float64, of shown regions and variants until cancelled or enough.

        What looks like the image itself costs nothing and has its very score.

        Parameters
        ----------
        jobs : iterable of (Tensor of bool, shape (P,), int)
            Shown regions and the variant.
        total : int
            How many there are.
        batch : int or None
            Images at once; None chooses by size and device.
        task : str
            What messages call it.
        on_event, cancelled : callable
            One step per job.
        enough : callable
            Given the scores so far, whether no more are needed.

        Returns
        -------
        Tensor, float64, shape (n,)
            In the order of the jobs.
        """
        waiting, size = iter(jobs), at_a_time(batch) if batch else batch_size(self.x)
        scores = torch.zeros(0, dtype=torch.float64)
        on_event(events.Started(task, total))
        while len(scores) < total and not cancelled() and not enough(scores):
            taken = [self.image(*job) for job in islice(waiting, size)]
            changed = [image for image in taken if image is not None]
            found: Iterator[float] = iter(())
            if changed:
                with torch.no_grad():
                    answers = self.forward(torch.cat(changed))[:, self.target]
                found = iter(to_float64(answers).tolist())
            new = [self.score if image is None else next(found) for image in taken]
            scores = torch.cat([scores, torch.from_numpy(np.asarray(new, dtype=np.float64))])
            on_event(events.Advanced(len(scores)))
        return scores

    def play_alone(
        self,
        jobs: Sequence[tuple[Tensor, int]],
        batch: int | None,
        task: str,
        on_event: events.OnEvent,
        cancelled: events.Cancelled,
    ) -> tuple[Tensor, str]:
        """Return the scores (n,) until cancelled where a single region is covered, and how they came.

        Only what a region touches is computed again, where that can be.

        Parameters
        ----------
        jobs : sequence of (Tensor of bool, shape (P,), int)
            Shown regions, all but one, and the variant.
        batch : int or None
            Changes at once; None chooses by size and device.
        task : str
            What messages call it.
        on_event, cancelled : callable
            One step per job.

        Returns
        -------
        scores : Tensor, float64, shape (n,)
            In the order of the jobs.
        how : str
            In words.
        """
        boxes = [self._box(int((~shown).nonzero())) for shown, _ in jobs]
        scores = open_scores(
            self.network,
            self.x,
            self.target,
            boxes,
            count=len(jobs),
            whole_batch=batch_size(self.x),
            batch=at_a_time(batch) if batch else None,
        )
        found: list[float] = []
        if warning := scores.warning(task):
            on_event(events.Message(warning))
        on_event(events.Started(task, len(jobs)))
        while len(found) < len(jobs) and not cancelled():
            numbers = range(len(found), min(len(found) + scores.ordered, len(jobs)))
            images = {number: self.image(*jobs[number]) for number in numbers}
            pixels = {
                number: image[0][:, *boxes[number]]
                for number, image in images.items()
                if image is not None
            }
            # what looks like the image itself loses nothing
            losses = {number: 0.0 for number in numbers if number not in pixels}
            changed = list(pixels)
            for part in scores.batches(changed):
                if cancelled():
                    break
                asked = [changed[place] for place in part]
                lost = scores.losses(asked, [pixels[number] for number in asked])
                losses.update(zip(asked, lost, strict=True))
                on_event(events.Advanced(len(found) + len(losses)))
            # of a stopped scan the regions up to the first that is wanting: they were taken by sizes
            done = list(takewhile(losses.__contains__, numbers))
            found += [self.score - losses[number] for number in done]
            if not changed:
                on_event(events.Advanced(len(found)))
            if len(done) < len(numbers):
                break
        return torch.from_numpy(np.asarray(found, dtype=np.float64)), scores.how

    def _box(self, region: int) -> tuple[slice, slice]:
        """Return the rows and columns that a region lies in."""
        places = (self.places == region).nonzero()
        (top, left), (bottom, right) = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
        return slice(top, bottom + 1), slice(left, right + 1)

    def evidence(
        self, values: Tensor, error: Tensor | None, known: list[int], *, partial: bool
    ) -> Evidence:
        """Paint values (V, P) on the regions; ``known`` are the labels that have one by now.

        Parameters
        ----------
        values : Tensor, shape (V, P)
            In logits, by variant and region.
        error : Tensor, shape (P,), or None
            Standard errors of the first variant.
        known : list of int
            The first of ``labels``, those that have a value.
        partial : bool
            Whether the work was cancelled.

        Returns
        -------
        Evidence
        """
        maps = self._paint(values)
        spread = [None] * len(known) if error is None else error.tolist()
        joint = zip(known, values[0].tolist(), spread, strict=False)
        alone = values[-self.x.shape[1] :, : len(known)]
        return Evidence(
            maps=maps[-self.x.shape[1] :],
            joint=maps[0],
            unit=UNIT,
            # for the table of the labels: a column for each channel
            details={"labels": known, "values_by_channel": alone.tolist()},
            partial=partial,
            standard_error=None if error is None else self._paint(error[None])[0],
            regions=tuple(RegionValue(*each) for each in joint),
        )

    def with_gap(
        self,
        evidence: Evidence,
        values: Tensor,
        error: Tensor | None,
        rounds: int,
        *,
        exact: bool,
    ) -> Evidence:
        """Add what Shapley values promise, and how they were found; nothing where none were.

        Parameters
        ----------
        evidence : Evidence
            From :meth:`evidence`.
        values : Tensor, shape (V, P)
        error : Tensor, shape (P,), or None
            Standard errors of the first variant.
        rounds : int
            Pairs of orders that were finished; of an exact result any number above 0.
        exact : bool
            Whether all combinations were computed.

        Returns
        -------
        Evidence
        """
        image = self.image(torch.zeros(len(self.labels), dtype=torch.bool), 0)
        with torch.no_grad():
            covered = self.score if image is None else self.forward(image)[0, self.target].item()
        facts: dict[str, Any] = {"exact": exact, "score_all_covered": covered}
        if not exact:
            facts |= {"pairs": rounds, "relative_error": relative_error(values[0], error)}
        gap = relative_gap(values[0].sum().item(), self.score - covered) if rounds else None
        return replace(
            evidence,
            gap=gap,
            gap_meaning=GAP_MEANING if rounds else "",
            details={**evidence.details, **facts},
        )

    def _paint(self, values: Tensor) -> Tensor:
        return to_like(F.pad(values, (0, 1)), self.x)[:, self.places]


def _local_backgrounds(x: Tensor, regions: Tensor, labels: list[int], margin: int) -> Tensor:
    """Return x with every region filled with the median of what lies round it, channel by channel.

    Round it: pixels of no region within ``margin`` px, along rows and columns. Where there are
    none, those of other regions; where there are none either, and for the background, which
    nothing surrounds, the region itself.
    """
    filling = x.clone()
    for label in labels:
        own = regions == label
        places = own.nonzero()
        (top, left), (bottom, right) = (
            (places.amin(dim=0) - margin).clamp(min=0).tolist(),
            (places.amax(dim=0) + margin + 1).tolist(),
        )
        area = (slice(top, bottom), slice(left, right))
        inside = own[area]
        near = F.max_pool2d(inside[None].float(), 2 * margin + 1, stride=1, padding=margin)[0] > 0
        frame = near & ~inside
        free = frame & (regions[area] == 0)
        chosen = free if bool(free.any()) else frame
        if not label or not bool(chosen.any()):
            chosen = inside
        # the median, as for windows: structures that reach into the frame must not lift it
        median = x[0][:, area[0], area[1]][:, chosen].median(dim=1).values
        filling[0][:, own] = median[:, None]
    return filling
