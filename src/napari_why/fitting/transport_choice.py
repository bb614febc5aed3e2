"""Which change serves a direction best: judged on held-out images, as exported.

The rule, for each direction from class p to class q: of all candidates (one curve of grey levels per
channel, a change in few numbers, a map scale by scale, transport of latents at all places or of the excess
mass alone, a network that undoes the way back), the one whose images of held-out p come nearest to real images
of q; of several that come as near, as far as wells drawn anew can tell, a plain one: a curve or, else, few
numbers. So a curve is the answer where nothing does better than brightness.

One thing goes before it: of two directions one is often learnt much better than the other (what adds blur, say,
is told by few numbers, and what takes it away is not). Where the change back leaves surely less of the
difference between the classes than the one that was chosen, or alone comes surely nearer to real images than
unchanged ones, a network that undoes the change back is taken instead; not where its images are surely farther
from real ones than those of the change that it would stand in for: then it did not learn to undo it. Nor with few
wells, of which nobody knows what is sure.

Near is measured by texture features and by the statistics that relate a channel to the locked structures, in
units of how images of q differ among themselves (Mahalanobis distance of the means). What single pixels do is
smoothed away first: it is the camera's noise, which no change can foretell. An image that is made dimmer has less of
it than one that was taken of dim cells, and a candidate that makes noise up would look nearer than the true change.
Whether the chosen one is nearer than the sources as they are is noted: of classes that do not differ, none is. Neither
the classifier nor the second network is asked. How often the classifier, and a linear discriminant of
the texture features, take the images for q is told beside it. A change is judged as it was fitted, and never
enlarged.

The classifier has a say in one thing afterwards: a channel that is put back to the source's in all images, while
p(q) stays at 0.9 or more in at least 90 % of those in which it was, stays put back. The second network is never
asked. Images are made by the product's own engine.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.errors import CancellationError, UnsupportedNetworkError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Event,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.counterfactuals import METHODS
from napari_why.counterfactuals.engine import (
    Frame,
    Task,
    exported_probabilities,
    follow_paths,
)
from napari_why.counterfactuals.method import require_statistics, suitable_network
from napari_why.datasets.features import TINY, AppearanceJudge, feature_distance, image_features
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model.classifier import Classifier
from napari_why.networks.network import InvertibleNetwork
from napari_why.transport import Choice, ClassMaps, ClassTransport, Mass
from napari_why.transport.back_translation import (
    Draw,
    RestoringNetwork,
    RestoringOptions,
    fit_restoring_network,
)
from napari_why.transport.channel_change import FINEST
from napari_why.transport.channel_statistics import ChannelFrame
from napari_why.transport.coarse_to_fine import CoarseToFineMap
from napari_why.transport.energy_score import CellDistance
from napari_why.transport.maps import (
    LEFT,
    LEFT_AT_MOST,
    LEFT_BY_WAY_BACK,
    NEARER,
    ONLY_SOME_CELLS,
    ChangeKind,
)
from napari_why.transport.pixel_maps import PixelMap, in_batches, smooth
from napari_why.transport.responding_cells import RespondingCells, fit_responding_cells

Batched = Iterable[tuple[Tensor, Tensor]]

# A candidate and what stands for it in the counterfactual method's parameters, the plainest first.
CANDIDATES: Mapping[str, tuple[ChangeKind, Mass]] = {
    "curve": ("curve", "full"),
    "parametric": ("parametric", "full"),
    "coarse to fine": ("coarse_to_fine", "full"),
    "all places": ("latent", "full"),
    "excess mass": ("latent", "excess"),
    "back-translated": ("back_translated", "full"),
}
PLAIN = ("curve", "parametric")
"""Those that can be told in a sentence, which is worth a little of the likeness."""
RESTORED = "back-translated"
"""The candidate that is made last, of what was chosen for the way back."""
# Groups (wells) drawn anew, to see which differences of distances are chance: one in six is one standard
# error. Images of one group are alike, so that single ones drawn would call chance sure.
DRAWS, AS_NEAR = 400, 1 / 6
# Wells of which draws tell how wells differ: between classes that differ by chance alone a change was called
# surely nearer in a sixth of the cases with four wells of each, in a fiftieth with eight.
FEWEST_GROUPS = 5
# Of what tells two classes apart; a change that leaves less of it is as good as its way back.
WELL_LEARNT = 0.1
# Of the draws, to say that changed images are nearer than unchanged ones: the usual 5 % to be wrong.
SURELY = 0.95
# Of each image, to see how near draws of responding cells come: their mean varies by half of what one does.
DRAWS_JUDGED = 4
# Of the squared change of maps with hundreds of numbers: more of it is chance than is not.
MOSTLY_CHANCE = 0.5
# Where features get fewer of the real held-out images of either class right than halfway between chance
# and all, they cannot say what looks like the target.
RELIABLE = 0.75


@dataclass(frozen=True)
class Grouped:
    """Images of one class, and which of them may be alike.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Preprocessed.
    groups : ndarray, int64, shape (N,)
        The well, or other group, of each.
    """

    images: Tensor
    groups: NDArray[np.int64]

    def first(self, count: int) -> "Grouped":
        """Return the first of them."""
        return Grouped(self.images[:count], self.groups[:count])


@dataclass(frozen=True)
class TransportScores:
    """How the exported images of one kind of change were judged.

    Parameters
    ----------
    validity : float
        Share that the network predicts as the target.
    alike : float or None
        Share that looks like the target by texture features; None where these tell too little.
    distance : float
        Of texture features to real images of the target; NaN where there is none.
    nearness : float or None
        Mahalanobis distance between the mean features of these and of real images of the target; 0 is
        the same. None where images of the target do not differ among themselves.
    """

    validity: float
    alike: float | None
    distance: float
    nearness: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON types by the names that are shown."""
        return {
            "validity": self.validity,
            "looks like the target": self.alike,
            # NaN, where the classes' features do not differ, has no place in JSON
            "feature distance": None if math.isnan(self.distance) else self.distance,
            "distance from real images": self.nearness,
        }


# Shares of 32 images are known to a few hundredths, and more would cost inversions.
IMAGES_PER_CLASS = 32
# Training images of a class whose features are compared: three for each of a channel's 22 features.
TRAINING_IMAGES_PER_CLASS = 64
# What a restoring network learns from: as many pixels as the transport is fitted on.
MOST_TRAINING_IMAGES = 256
TRAINING_PIXELS = MOST_TRAINING_IMAGES * 64**2
# Of fewer images a share says nothing.
FEWEST = 4
# As large as the classes differ; see :class:`napari_why.counterfactuals.method.Complete`.
COMPLETE = 1.0
# A channel is put back where nine of ten images that were convincing (p >= 0.9) stay so.
CONVINCED, CONVINCED_SHARE = 0.9, 0.9
# Of a direction: making ready, judging each candidate, putting channels back.
STEPS = len(CANDIDATES) + 1
# Above this share of responding cells they might as well be all: no more is known of a hundred cells.
NEARLY_ALL_CELLS = 0.9
# Of a window that a restoring network is trained on: more than it sees around a pixel.
RESTORED_SIDE = 64
# Half of the usual ones, at a quarter of the work: a few dozen images do not fill more.
RESTORING_WIDTHS = (8, 16, 32)
# Of fewer images a restoring network would learn by heart.
FEWEST_RESTORED = 16


@dataclass
class TransportChooser:
    """Judge the transports of a classifier in the making.

    Parameters
    ----------
    classifier : Classifier
        With a fitted transport for which nothing is chosen yet. Its second network is not asked.
    dtype : str
        Of the training images.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancel acts between the steps of a direction.
    restoring_steps : int
        How long restoring networks are trained; 0: none are.

    Attributes
    ----------
    complete : bool
        False when the choice was cancelled.
    settled : int
        How many directions were looked at.
    pixel_maps : ClassMaps or None
        With the restoring networks that were trained.
    """

    classifier: Classifier
    dtype: str
    on_event: OnEvent = ignore_event
    cancelled: Cancelled = never_cancelled
    restoring_steps: int = 0
    complete: bool = field(default=True, init=False)
    settled: int = field(default=0, init=False)
    pixel_maps: ClassMaps | None = field(default=None, init=False)
    _cells: dict[tuple[int, int], RespondingCells] = field(default_factory=dict, init=False)

    def choose(
        self,
        batches: Batched,
        training: Batched = (),
        groups: Sequence[NDArray[np.int64] | None] = (None, None),
    ) -> ClassTransport:
        """Return the transport with a choice for every direction that has held-out images.

        When cancelled, ``complete`` turns False, and only the directions that were ``settled`` by
        then can have one.

        Parameters
        ----------
        batches : iterable of (Tensor (N, C, H, W), Tensor (N,))
            Preprocessed held-out images and class indices; 32 of each class are used.
        training : iterable of the same
            Training images in any mixed order; 64 of each class are used, to tell by their features how
            the classes look. Without them that is not told.
        groups : sequence of ndarray, int64, or None
            Group numbers of the held-out images and of those of training, in the order in which they
            come; None where each image stands for itself.
        """
        choices = {}
        transport = _fitted_transport(self.classifier)
        self.complete = False
        with suppress(CancellationError):
            held_out = self._collect(
                batches, IMAGES_PER_CLASS, "reading validation images", groups[0]
            )
            most = _most_images(held_out) if self.restoring_steps else TRAINING_IMAGES_PER_CLASS
            known = self._collect(training, most, "reading training images", groups[1])
            described = {
                label: found.first(TRAINING_IMAGES_PER_CLASS) for label, found in known.items()
            }
            looks = _Looks(self.classifier, self.dtype, described)
            statistics = require_statistics(self.classifier)
            self.pixel_maps = statistics.pixel_maps
            pairs = permutations(held_out, 2)
            directions = [pair for pair in pairs if (*pair, "full") in transport.maps]
            steps = _Steps(len(directions), self.on_event, self.cancelled)
            judges: dict[tuple[int, int], _Judge] = {}
            for done, (source, target) in enumerate(directions, start=1):
                judge = self._judge_direction(held_out, looks, source, target, steps)
                if judge is not None:
                    judges[(source, target)] = judge
                    with steps.step():
                        choices[(source, target)] = judge.choose()
                steps.advance_to(done * STEPS)
                self.settled = done
            # of what was chosen before any was trained: a network undoes no other network
            ways_back = dict(choices)
            for direction, judge in judges.items():
                if self._restore(judge, ways_back.get(direction[::-1]), known):
                    choices[direction] = judge.choose(judges.get(direction[::-1]))
            self._keep_cells(judges, choices)
            self.complete = True
        self.on_event(Finished(partial=not self.complete))
        return transport.with_choices(choices)

    def _restore(
        self, judge: "_Judge", way_back: Choice | None, known: Mapping[int, Grouped]
    ) -> bool:
        """Train a network to undo what was chosen for the way back, and try it; tell whether it was.

        Real images of the target, moved to the source class, are what it learns from.
        """
        if not self.restoring_steps or way_back is None:
            return False
        if not {judge.source, judge.target} <= set(known):
            return False
        real, sources = known[judge.target].images, known[judge.source].images
        if self.pixel_maps is None or min(len(real), len(sources)) < FEWEST_RESTORED:
            return False
        moved = judge.move_back(real, way_back)
        nearest: RestoringNetwork | None = None
        options = RestoringOptions(steps=self.restoring_steps, widths=RESTORING_WIDTHS)
        scales = self.pixel_maps.maps.get((judge.source, judge.target, "coarse_to_fine"))
        shares = scales.shares if isinstance(scales, CoarseToFineMap) else ()
        # what is moved as a whole can be moved by other versions of the same, to see how sure it is
        undone: list[tuple[Draw, tuple[ChangeKind, Mass] | None]] = [
            (lambda _: moved, (way_back.kind, way_back.mass))
        ]
        # cells that respond on the way back, of which the network is to see images
        back = judge.target, judge.source
        undone += [(draw, None) for draw in self._draws_of_cells(real, sources, judge.locked, back)]
        for draw, undoes in undone:
            _stop_if(self.cancelled)
            network = fit_restoring_network(
                _cut(real),
                partial(_draw_cut, draw),
                judge.locked,
                _cut(sources),
                options,
                device="cpu",
                on_event=self._but_the_end,
                cancelled=self.cancelled,
            )
            if network is None:
                raise CancellationError("choice of the transport: found that it was cancelled")
            network = replace(network, undoes=undoes)
            # least squares makes images too smooth; a correction by few images does more harm
            for tried, needs in (
                (network, 0.5),
                (network.corrected(_cut(sources), _cut(real), shares=shares), 1 - AS_NEAR),
            ):
                if judge.try_map(RESTORED, tried, needs):
                    nearest = tried
        if nearest is None:
            return False
        self.pixel_maps = self.pixel_maps.with_map(judge.source, judge.target, nearest)
        return True

    def _draws_of_cells(
        self,
        untouched: Tensor,
        partly: Tensor,
        locked: Sequence[int],
        direction: tuple[int, int],
    ) -> list[Callable[[torch.Generator], Tensor]]:
        """Return what draws, from untouched images, ones of which a part of the cells responded.

        Empty where nothing is locked that shows cells, or where about all of them seem to respond.
        """
        if not locked:
            return []
        _stop_if(self.cancelled)
        cells = fit_responding_cells(untouched, partly, locked, cancelled=self.cancelled)
        if cells.share + 2 * cells.error >= NEARLY_ALL_CELLS:
            return []
        if cells.share - 2 * cells.error > 0:
            self._cells[direction] = cells
        return [cells.prepare(untouched)]

    def _keep_cells(
        self,
        judges: Mapping[tuple[int, int], "_Judge"],
        choices: dict[tuple[int, int], Choice],
    ) -> None:
        """Keep what draws responding cells, and note how near draws come; none is ever chosen.

        Cancelled, or where that fails, choices stay as they are: not known is not false.
        """
        for direction, cells in self._cells.items():
            if self.pixel_maps is not None:
                self.pixel_maps = self.pixel_maps.with_map(*direction, cells)
            if direction not in judges or direction not in choices:
                continue
            try:
                told = judges[direction].judge_draws(cells, self.cancelled)
            except CancellationError:
                raise
            except Exception as error:  # noqa: BLE001 - what was chosen, after much work, is kept
                left_out = "how near draws of responding cells come to real ones"
                self.on_event(Message(f"failed ({error}): left out {left_out}", finding=True))
                continue
            choice = choices[direction]
            choices[direction] = replace(choice, scores={**(choice.scores or {}), **told})

    def _but_the_end(self, event: Event) -> None:
        """Pass an event on; that of the end comes once, from here."""
        if not isinstance(event, Finished):
            self.on_event(event)

    def _collect(
        self,
        batches: Batched,
        most: int,
        task: str,
        groups: NDArray[np.int64] | None = None,
    ) -> dict[int, Grouped]:
        total = len(batches) if isinstance(batches, Sized) else None
        if total == 0:
            return {}
        self.on_event(Started(task, total))
        _stop_if(self.cancelled)
        kept: dict[int, list[Tensor]] = {}
        of_group: dict[int, list[int]] = {}
        seen = 0
        for done, (images, labels) in enumerate(batches, start=1):
            _stop_if(self.cancelled)
            self.on_event(Advanced(done))
            for image, label in zip(images, labels.tolist(), strict=True):
                if len(kept.setdefault(label, [])) < most:
                    kept[label].append(image)
                    own = seen if groups is None else int(groups[seen])
                    of_group.setdefault(label, []).append(own)
                seen += 1
            # each batch is read from files: no more of them than are needed
            classes = range(len(self.classifier.classes))
            if all(len(kept.get(label, ())) >= most for label in classes):
                self.on_event(Advanced(total or done))
                break
        return {
            label: Grouped(torch.stack(images), np.array(of_group[label], np.int64))
            for label, images in sorted(kept.items())
        }

    def _judge_direction(
        self,
        held_out: Mapping[int, Grouped],
        looks: "_Looks",
        source: int,
        target: int,
        steps: "_Steps",
    ) -> "_Judge | None":
        # also those that are not predicted as the source: a choice by them alone would be the network's
        if len(held_out[source].images) < FEWEST:
            return None
        with steps.step():
            judge = _Judge(looks, held_out[source], held_out[target], source, target)
        for name in CANDIDATES:
            if name != RESTORED:
                with steps.step():
                    judge.try_candidate(name)
        return judge


class _Steps:
    """Tells how far the choice is, and stops it between two steps."""

    def __init__(self, directions: int, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._on_event, self._cancelled, self._done = on_event, cancelled, 0
        on_event(Started("choosing the transport", STEPS * directions))

    @contextmanager
    def step(self) -> Iterator[None]:
        _stop_if(self._cancelled)
        yield
        self.advance_to(self._done + 1)

    def advance_to(self, done: int) -> None:
        if done > self._done:
            self._done = done
            self._on_event(Advanced(done))


def _is_surely_less(first: NDArray[np.float64] | None, second: NDArray[np.float64] | None) -> bool:
    """Tell whether a way back surely leaves less than a change that leaves enough to be mended."""
    if first is None or second is None or np.median(second) < WELL_LEARNT:
        return False
    return bool(np.mean(first < second) >= 1 - AS_NEAR)


def _median(left: NDArray[np.float64] | None) -> float | None:
    return None if left is None else float(np.median(left))


def _at_most(left: NDArray[np.float64] | None) -> float | None:
    """Return what is left at most, but for one draw in six."""
    return None if left is None else float(np.quantile(left, 1 - AS_NEAR))


def _cut(images: Tensor) -> Tensor:
    """Return a window of each image (N, C, H, W), the same whenever it is asked for."""
    height, width = (min(RESTORED_SIDE, side) for side in images.shape[-2:])
    generator = torch.Generator().manual_seed(0)
    windows = []
    for image in images:
        y, x = (
            int(torch.randint(side - part + 1, (), generator=generator))
            for side, part in zip(image.shape[-2:], (height, width), strict=True)
        )
        windows.append(image[:, y : y + height, x : x + width])
    return torch.stack(windows)


def _draw_cut(draw: Callable[[torch.Generator], Tensor], generator: torch.Generator) -> Tensor:
    return _cut(draw(generator))


def _most_images(held_out: Mapping[int, Grouped]) -> int:
    """Return how many training images of a class to look at: fewer of large ones, 256 of 64 pixels."""
    pixels = max((found.images[0, 0].numel() for found in held_out.values()), default=1)
    return min(max(TRAINING_PIXELS // pixels, TRAINING_IMAGES_PER_CLASS), MOST_TRAINING_IMAGES)


def _stop_if(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancellationError("choice of the transport: found that it was cancelled")


def _fitted_transport(classifier: Classifier) -> ClassTransport:
    statistics = classifier.latent_statistics
    if statistics is None or statistics.transport is None:
        raise UnsupportedNetworkError(
            "choice of the transport: found a classifier without fitted transport"
        )
    return statistics.transport


class _Looks:
    """Exports images and describes their free channels; knows how the training images look."""

    def __init__(self, classifier: Classifier, dtype: str, training: Mapping[int, Grouped]) -> None:
        self.classifier, self.dtype = classifier, np.dtype(dtype)
        network = suitable_network(classifier, METHODS["transport"])
        self.locked = network.locked if isinstance(network, InvertibleNetwork) else ()
        self.free = [place for place in range(len(classifier.channels)) if place not in self.locked]
        self._training, self._textures = training, dict[int, NDArray[np.float64]]()

    def export(self, images: Tensor) -> NDArray[Any]:
        """Return preprocessed images (N, C, H, W) as they would be saved."""
        return export_pixels(
            self.classifier.preprocessing.inverse(images), export_dtype(self.dtype)
        )

    def describe(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Return the texture features of raw images (N, C, H, W), without the noise of single pixels."""
        pixels = torch.from_numpy(raw.astype(np.float32))
        return image_features(smooth(pixels, FINEST).numpy(), self.free)

    def relate(self, raw: NDArray[Any], frames: Sequence[ChannelFrame]) -> NDArray[np.float64]:
        """Return how the free channels of raw images (N, C, H, W) lie to the locked structures."""
        prepared = self.classifier.prepare_pixels(raw).cpu()
        found: NDArray[np.float64] = torch.cat(
            [one.describe(prepared) for one in frames], 1
        ).numpy()
        return found

    def frames(self, images: Tensor) -> list[ChannelFrame]:
        """Return a frame of each free channel of preprocessed images (N, C, H, W)."""
        return [ChannelFrame.of(images.cpu(), channel, self.locked) for channel in self.free]

    def known(self, label: int) -> Grouped | None:
        """Return the training images of a class."""
        return self._training.get(label)

    def judge(self, source: int, target: int) -> AppearanceJudge | None:
        """Return who tells two classes apart; None without training images of both."""
        if not {source, target} <= set(self._training):
            return None
        return AppearanceJudge(self.textures(source), self.textures(target))

    def textures(self, label: int) -> NDArray[np.float64]:
        """Return the texture features of the training images of a class; computed once."""
        if label not in self._textures:
            self._textures[label] = self.describe(self.export(self._training[label].images))
        return self._textures[label]


@dataclass(frozen=True)
class _Distance:
    """How far images lie from real ones.

    Parameters
    ----------
    value : float
        Mahalanobis distance between the means of features.
    drawn : ndarray, shape (DRAWS,)
        The same with groups drawn anew.
    beyond_chance : ndarray, shape (DRAWS,)
        Squared, without what is expected where nothing differs; not below 0.
    """

    value: float
    drawn: NDArray[np.float64]
    beyond_chance: NDArray[np.float64]

    def share_left(self, unchanged: "_Distance") -> NDArray[np.float64]:
        """Return the share of the squared distance that a change leaves, draw by draw.

        All of it where unchanged images are no farther than chance has it.
        """
        left: NDArray[np.float64] = np.divide(
            self.beyond_chance,
            unchanged.beyond_chance,
            out=np.ones_like(self.beyond_chance),
            where=unchanged.beyond_chance > 0,
        )
        return left


class _Nearness:
    """How far images lie from real ones of a class, and which differences of that are chance.

    Parameters
    ----------
    real : ndarray, shape (M, F)
        Features of real images of the class that nothing was fitted on: a change that only repeats what
        the training images happen to have in common does not come nearer to these.
    of_training : ndarray, shape (L, F)
        Features of more images of the class, which tell how its images differ.
    of_real, of_found : ndarray, int64, shape (M,), (N,)
        Groups of these, and of the images that are compared with them. A group that is in both is drawn
        for both: what it has in common then cancels out.
    """

    def __init__(
        self,
        real: NDArray[np.float64],
        of_training: NDArray[np.float64],
        of_real: NDArray[np.int64],
        of_found: NDArray[np.int64],
    ) -> None:
        from sklearn.covariance import LedoitWolf  # two seconds: most of scipy

        every = np.concatenate([real, of_training])
        self._mean, scale = real.mean(0), every.std(0)
        # a feature that never differs has no unit
        self._used = scale > TINY
        self._scale = scale[self._used]
        self._real = self._standardise(real)
        self._precision: NDArray[np.float64] | None = None
        if self._used.any() and len(every) > 1:
            # shrunk after Ledoit & Wolf 2004: there are about as many features as images
            self._precision = LedoitWolf().fit(self._standardise(every)).precision_
        fewest = min(len(np.unique(part)) for part in (of_real, of_found))
        # of few groups nobody knows how groups differ: nothing is claimed then
        self.known = fewest >= FEWEST_GROUPS
        if fewest == 1:  # all draws of it would be the same
            of_real, of_found = np.split(np.arange(len(of_real) + len(of_found)), [len(of_real)])
            fewest = min(len(of_real), len(of_found))
        # draws of n vary by (n - 1) / n of what n differ by
        self._widening = (fewest / max(1, fewest - 1)) ** 0.5
        # the same draws for every candidate: what they share then cancels out
        names, numbers = np.unique(np.concatenate([of_real, of_found]), return_inverse=True)
        draws = np.random.default_rng(0)
        counts = draws.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
        self._for_real, self._for_found = (
            _as_weights(counts[:, part]) for part in np.split(numbers, [len(of_real)])
        )

    @property
    def weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How much each real image, and each that is compared with them, counts in every draw."""
        return self._for_real, self._for_found

    def measure(self, features: NDArray[np.float64]) -> _Distance | None:
        """Return how far features (N, F) are; None where real images do not differ."""
        precision = self._precision
        if precision is None:
            return None
        found = self._standardise(features)
        apart = found.mean(0)
        drawn = self._for_found @ found - self._for_real @ self._real
        drawn = apart + self._widening * (drawn - apart)
        squares = _square(drawn, precision)
        # once in the images that there are, and once more in drawing from them
        chance = float(_square(drawn - apart, precision).mean())
        return _Distance(
            float(np.sqrt(_square(apart[None], precision)[0])),
            np.sqrt(squares),
            np.maximum(squares - 2 * chance, 0),
        )

    def _standardise(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        kept: NDArray[np.float64] = (features - self._mean)[:, self._used] / self._scale
        return kept


def _square(apart: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared Mahalanobis lengths (B,) of rows (B, F)."""
    squares: NDArray[np.float64] = (apart @ precision * apart).sum(1)
    return squares


def _as_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how much each image counts (DRAWS, N), rows of sum 1: by how often its group was drawn."""
    # of a draw without any of its groups a part stays as it is
    drawn = np.where(counts.sum(1, keepdims=True) > 0, counts, 1)
    weights: NDArray[np.float64] = drawn / drawn.sum(1, keepdims=True)
    return weights


class _Judge:
    """Makes the images of one direction by the product's engine, and judges them."""

    def __init__(
        self, looks: _Looks, sources: Grouped, targets: Grouped, source: int, target: int
    ) -> None:
        self._classifier, self.source, self.target = looks.classifier, source, target
        images, of_target = sources.images.to(looks.classifier.device), targets.images
        self._images, self._dtype, self._looks = images, looks.dtype, looks
        self._network = suitable_network(looks.classifier, METHODS["transport"])
        self.locked = looks.locked
        self._frames: dict[str, list[Frame]] = {}
        self._distances: dict[str, _Distance | None] = {}
        self._restored: RestoringNetwork | None = None
        self.scores: dict[str, TransportScores] = {}
        self._source = looks.export(images)
        held_out = looks.export(of_target)
        self._real = looks.describe(held_out)
        self._from = looks.describe(self._source)
        self._appearance = looks.judge(source, target)
        self.asked = self._ask()
        self._of_target = of_target
        known = [found.images for found in map(looks.known, (source, target)) if found is not None]
        self._relations = looks.frames(torch.cat(known or [sources.images, of_target]))
        self._nearness = self._measure_real(held_out, targets.groups, sources.groups)
        self._unchanged = self._nearness.measure(self._relate(self._source, self._from))

    def _measure_real(
        self, held_out: NDArray[Any], groups: NDArray[np.int64], of_sources: NDArray[np.int64]
    ) -> _Nearness:
        """Describe real images of the target: held-out ones, and how those and training ones differ."""
        looks, known = self._looks, self._looks.known(self.target)
        real = self._relate(held_out, self._real)
        of_training = real[:0]
        if known is not None:
            of_training = self._relate(looks.export(known.images), looks.textures(self.target))
        return _Nearness(real, of_training, groups, of_sources)

    def _relate(self, raw: NDArray[Any], textures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return texture features of raw images with how their channels lie to locked structures."""
        return np.concatenate([textures, self._looks.relate(raw, self._relations)], axis=1)

    def try_candidate(self, name: str) -> None:
        """Make the images of a candidate and judge them; nothing happens where there is no such map."""
        kind, mass = CANDIDATES[name]
        statistics = require_statistics(self._classifier)
        maps = statistics.pixel_maps
        known = () if maps is None else maps.kinds(self.source, self.target)
        if kind != "latent" and kind not in known:
            return
        if kind == "latent" and maps is not None and self._is_mostly_chance(maps):
            return
        task = self._task(kind, mass, self.source, self.target)
        self._frames[name] = [
            followed.frame(COMPLETE) for followed in follow_paths(task, self._images, self._dtype)
        ]
        raw = np.stack([frame.image for frame in self._frames[name]])
        predicted = [
            int(frame.probabilities.argmax()) == self.target for frame in self._frames[name]
        ]
        textures = self._looks.describe(raw)
        alike = None
        if self._appearance is not None and self.asked is not None:
            alike = self._appearance.share_like_target(textures)
        distance = feature_distance(textures, self._real, self._from)
        measured = self._nearness.measure(self._relate(raw, textures))
        self._distances[name] = measured
        self.scores[name] = TransportScores(
            float(np.mean(predicted)), alike, distance, None if measured is None else measured.value
        )

    def _is_mostly_chance(self, maps: ClassMaps) -> bool:
        """Tell whether a map with as many numbers would mostly repeat what the training images share."""
        scales = maps.maps.get((self.source, self.target, "coarse_to_fine"))
        return isinstance(scales, CoarseToFineMap) and scales.chance > MOSTLY_CHANCE

    @torch.no_grad()
    def move_back(self, real: Tensor, way_back: Choice) -> Tensor:
        """Return real images (N, C, H, W) of the target as the way back that was chosen moves them."""
        statistics = require_statistics(self._classifier)
        maps = statistics.pixel_maps
        if way_back.kind != "latent" and maps is not None:
            return in_batches(real, maps.find(self.target, self.source, way_back.kind))
        task = self._task(way_back.kind, way_back.mass, self.target, self.source)
        images = real.to(self._classifier.device)
        moved = [
            followed.frame(COMPLETE).image for followed in follow_paths(task, images, self._dtype)
        ]
        return self._classifier.prepare_pixels(np.stack(moved)).to(real)

    def _task(self, kind: ChangeKind, mass: Mass, source: int, target: int) -> Task:
        return Task(
            self._classifier,
            self._network,
            METHODS["transport"],
            {"responders": "some" if mass == "excess" else "all", "change": kind},
            source,
            target,
            CONVINCED,
        )

    def try_map(self, name: str, found: PixelMap, needs: float) -> bool:
        """Judge a map that was fitted since; keep it where it is nearer than one of that name.

        Nearer in that share of the draws at least.
        """
        before = self.scores.get(name), self._frames.get(name), self._distances.get(name)
        statistics = require_statistics(self._classifier)
        maps = (statistics.pixel_maps or ClassMaps(len(self._classifier.classes), {})).with_map(
            self.source, self.target, found
        )
        self._classifier = Classifier(
            self._classifier.network,
            self._classifier.preprocessing,
            self._classifier.classes,
            statistics.with_part("pixel_maps", maps),
            threads=self._classifier.threads,
        )
        self.try_candidate(name)
        scores, frames, distance = before
        now = self._distances[name]
        if (
            scores is None
            or frames is None
            or distance is None
            or now is None
            or np.mean(now.drawn < distance.drawn) >= needs
        ):
            self._restored = found if isinstance(found, RestoringNetwork) else None
            return True
        self.scores[name], self._frames[name], self._distances[name] = scores, frames, distance
        return False

    @torch.no_grad()
    def judge_draws(
        self, cells: RespondingCells, cancelled: Cancelled = never_cancelled
    ) -> dict[str, Any]:
        """Measure how near the cells of draws come to real ones, beside every candidate; JSON types.

        As crowds: a share of responding cells, estimated from what all cells of a class are like, fits
        classes too that differ a little in all cells. What tells these apart is whether any one change
        makes cells as like real ones as draws do. Real ones are of held-out images alone: all candidates
        were fitted on those of training.
        """
        # made here, where they are needed: of every judge they would fill the memory
        real = self._looks.export(self._of_target)
        crowd = CellDistance(
            real, *self._nearness.weights, cells.nuclei, self._looks.free, cancelled=cancelled
        )
        draw, generator = cells.prepare(self._images.cpu()), torch.Generator().manual_seed(0)
        drawn = np.mean(
            [
                crowd.measure(self._looks.export(draw(generator).to(self._images)))
                for _ in range(DRAWS_JUDGED)
            ],
            axis=0,
        )
        others = {
            name: crowd.measure(np.stack([frame.image for frame in frames]))
            for name, frames in self._frames.items()
        }
        others["unchanged"] = crowd.measure(self._source)
        return {
            "share of cells that respond": [cells.share, cells.error],
            "distance of cells": {
                "draws": float(np.median(drawn)),
                **{name: float(np.median(other)) for name, other in others.items()},
            },
            ONLY_SOME_CELLS: all(
                # each of half a dozen has to be beaten by about a standard error
                bool(np.mean(drawn < other) >= 1 - AS_NEAR)
                for other in others.values()
            ),
        }

    def choose(self, way_back: "_Judge | None" = None) -> Choice:
        """Return what serves the direction best, of what was tried by now.

        Parameters
        ----------
        way_back : _Judge, optional
            Of the other direction, where a network was trained to undo what it chose.
        """
        name, left_back = self.plainest_of_the_nearest(), None
        if way_back is not None and self._is_better_undone(name, way_back):
            name, left_back = RESTORED, way_back.known_to_be_left()
        kind, mass = CANDIDATES[name]
        # of the change that is made, not of the one that a network stands in for
        left = self.share_left(name)
        described = {
            "images": len(self._images),
            **{name: scores.to_dict() for name, scores in self.scores.items()},
            "chosen": self.scores[name].to_dict(),
            "chosen change": name,
            "distance of unchanged images": self._unchanged and self._unchanged.value,
            NEARER: self.is_nearer_than_unchanged(name),
            LEFT: _median(left),
            LEFT_AT_MOST: _at_most(left),
            LEFT_BY_WAY_BACK: _median(left_back),
            "real images of the target that look like it": self.asked,
        }
        return Choice(
            mass,
            reset_channels=self.find_channels_to_put_back(name),
            scores=described,
            second_had_a_say=False,
            kind=kind,
        )

    def _is_better_undone(self, name: str, way_back: "_Judge") -> bool:
        """Tell whether to undo what was chosen for the way back, rather than to change by a candidate."""
        restored = self._distances.get(RESTORED)
        # a network that learnt from drawn cells undoes something else
        if self._restored is None or self._restored.undoes is None or restored is None:
            return False
        # of few groups nobody knows what is sure: the nearest is taken then
        if not (self._nearness.known and way_back._nearness.known):
            return False
        instead = self._distances[name]
        if any(
            other and np.mean(restored.drawn <= other.drawn) < AS_NEAR
            for other in (self._unchanged, instead)
        ):
            return False
        undone = way_back.plainest_of_the_nearest({RESTORED})
        if _is_surely_less(way_back.share_left(undone), self.share_left(name)):
            return True
        # what seems to work goes before what does not
        nearer, nearer_back = self.nearer_in(name), way_back.nearer_in(undone)
        return nearer is not None and nearer_back is not None and nearer < SURELY <= nearer_back

    def is_nearer_than_unchanged(self, name: str) -> bool | None:
        """Tell whether images surely come nearer to real ones by a change; None where nothing tells."""
        nearer = self.nearer_in(name) if self._nearness.known else None
        return None if nearer is None else nearer >= SURELY

    def nearer_in(self, name: str) -> float | None:
        """Return in which share of the draws changed images are nearer than unchanged ones."""
        distance = self._distances[name]
        if distance is None or self._unchanged is None:
            return None
        return float(np.mean(distance.drawn < self._unchanged.drawn))

    def share_left(self, name: str) -> NDArray[np.float64] | None:
        """Return the share of the difference between the classes that a change leaves; draw by draw."""
        distance = self._distances[name]
        if distance is None or self._unchanged is None:
            return None
        return distance.share_left(self._unchanged)

    def known_to_be_left(self) -> NDArray[np.float64] | None:
        """Return what the change leaves that was chosen before a network; None by too few groups to tell."""
        if not self._nearness.known:
            return None
        return self.share_left(self.plainest_of_the_nearest({RESTORED}))

    def plainest_of_the_nearest(self, without: Collection[str] = ()) -> str:
        """Return a plain candidate where one is as near to real images of the target as any, else the nearest."""
        known = {
            name: scores.nearness for name, scores in self.scores.items() if name not in without
        }
        measured = {name: value for name, value in known.items() if value is not None}
        if not measured:
            return next(iter(known))  # nothing tells them apart
        nearest = min(measured, key=lambda name: measured[name])
        least = self._distances[nearest]
        for name in (plain for plain in PLAIN if plain in measured):
            found = self._distances[name]
            if found and least and np.mean(found.drawn <= least.drawn) >= AS_NEAR:
                return name
        return nearest

    def _ask(self) -> float | None:
        """Return how often real held-out images look like the target; None where that is unreliable."""
        if self._appearance is None:
            return None
        right = self._appearance.share_like_target(self._real)
        wrong = self._appearance.share_like_target(self._from)
        return right if min(right, 1 - wrong) >= RELIABLE else None

    def find_channels_to_put_back(self, name: str) -> tuple[int, ...]:
        """Return the channels whose change can be taken back; never all of them."""
        frames = self._frames[name]
        before = np.array([frame.probabilities[self.target] for frame in frames])
        convinced = before >= CONVINCED
        put_back: list[int] = []
        if convinced.sum() < FEWEST:
            return ()
        raw = np.stack([frame.image for frame in frames])[convinced]
        source = self._source[convinced]
        while len(put_back) < len(self._looks.free) - 1:
            shares = {
                channel: self._share_convinced(raw, source, [*put_back, channel])
                for channel in self._looks.free
                if channel not in put_back
            }
            best = max(shares, key=lambda channel: shares[channel])
            if shares[best] < CONVINCED_SHARE:
                break
            put_back.append(best)
        return tuple(sorted(put_back))

    def _share_convinced(
        self, raw: NDArray[Any], source: NDArray[Any], channels: Sequence[int]
    ) -> float:
        mixed = raw.copy()
        mixed[:, list(channels)] = source[:, list(channels)]
        reached = [exported_probabilities(self._classifier, image)[self.target] for image in mixed]
        return float((np.array(reached) >= CONVINCED).mean())
