"""Choose which change serves each direction best, on held-out images as exported.

For every direction the candidates are made and judged (:mod:`napari_why.fitting.change_judge`, which states
the rule), networks are trained to undo what was chosen for the way back, and what draws responding cells is kept.
Images are made by the product's own engine.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
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
from napari_why.counterfactuals.method import require_statistics
from napari_why.fitting.change_judge import (
    BY_DRAWS,
    CANDIDATES,
    CELLS,
    FEWEST,
    NETWORKS,
    RESTORED,
    RESTORED_CELLS,
    ChangeJudge,
)
from napari_why.fitting.nearness import AS_NEAR, Grouped, Looks
from napari_why.model.classifier import Classifier
from napari_why.transport import Choice, ClassMaps, ClassTransport, Mass
from napari_why.transport.back_translation import (
    Draw,
    RestoringOptions,
    fit_restoring_network,
)
from napari_why.transport.coarse_to_fine import CoarseToFineMap
from napari_why.transport.maps import ChangeKind
from napari_why.transport.responding_cells import RespondingCells, fit_responding_cells

Batched = Iterable[tuple[Tensor, Tensor]]

# Shares of 32 images are known to a few hundredths, and more would cost inversions.
IMAGES_PER_CLASS = 32
# Training images of a class whose features are compared: three for each of a channel's 22 features.
TRAINING_IMAGES_PER_CLASS = 64
# What a restoring network learns from: as many pixels as the transport is fitted on.
MOST_TRAINING_IMAGES = 256
TRAINING_PIXELS = MOST_TRAINING_IMAGES * 64**2
# Of a direction: making ready, judging each candidate but the networks, which come later, and choosing.
STEPS = 1 + len(CANDIDATES) - len(NETWORKS) + 1
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

        Returns
        -------
        ClassTransport
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
            looks = Looks(self.classifier, self.dtype, described)
            statistics = require_statistics(self.classifier)
            self.pixel_maps = statistics.pixel_maps
            pairs = permutations(held_out, 2)
            directions = [pair for pair in pairs if (*pair, "full") in transport.maps]
            steps = _Steps(len(directions), self.on_event, self.cancelled)
            judges: dict[tuple[int, int], ChangeJudge] = {}
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
                    self._keep_network(judge, choices[direction])
            self._keep_cells(judges, choices)
            self.complete = True
        self.on_event(Finished(partial=not self.complete))
        return transport.with_choices(choices)

    def _restore(
        self, judge: "ChangeJudge", way_back: Choice | None, known: Mapping[int, Grouped]
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
        options = RestoringOptions(steps=self.restoring_steps, widths=RESTORING_WIDTHS)
        scales = self.pixel_maps.maps.get((judge.source, judge.target, "coarse_to_fine"))
        shares = scales.shares if isinstance(scales, CoarseToFineMap) else ()
        # what is moved as a whole can be moved by other versions of the same, to see how sure it is
        undone: list[tuple[str, Draw, tuple[ChangeKind, Mass] | None]] = [
            (RESTORED, lambda _: moved, (way_back.kind, way_back.mass))
        ]
        # cells that respond on the way back, of which the network is to see images
        back = judge.target, judge.source
        draws = self._draws_of_cells(real, sources, judge.locked, back)
        # of few wells nobody could tell whether only some responded, so it would never be taken
        if judge.knows_chance:
            undone += [(RESTORED_CELLS, draw, None) for draw in draws]
        for name, draw, undoes in undone:
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
                judge.try_map(name, tried, needs)
        return True

    def _draws_of_cells(
        self,
        untouched: Tensor,
        partly: Tensor,
        locked: Sequence[int],
        direction: tuple[int, int],
    ) -> list[Callable[[torch.Generator], Tensor]]:
        """Return what draws, from untouched images, ones of which a part of the cells responded.

        Empty where nothing is locked that shows cells, or where not surely some of them respond, or about all.
        """
        if not locked:
            return []
        _stop_if(self.cancelled)
        cells = fit_responding_cells(untouched, partly, locked, cancelled=self.cancelled)
        fewest, most = cells.share - 2 * cells.error, cells.share + 2 * cells.error
        if fewest <= 0 or most >= NEARLY_ALL_CELLS:
            return []
        self._cells[direction] = cells
        return [cells.prepare(untouched)]

    def _keep_cells(
        self,
        judges: Mapping[tuple[int, int], "ChangeJudge"],
        choices: dict[tuple[int, int], Choice],
    ) -> None:
        """Keep what draws responding cells, and choose again knowing how near cells come; no draw is ever chosen.

        Cancelled, or where that fails, choices stay as they are: not known is not false.
        """
        for direction, cells in self._cells.items():
            if self.pixel_maps is not None:
                self.pixel_maps = self.pixel_maps.with_map(*direction, cells)
        pairs = dict.fromkeys((min(way), max(way)) for way in self._cells)
        for pair in pairs:
            ways = [way for way in (pair, pair[::-1]) if way in judges and way in choices]
            try:
                chosen = self._choose_by_cells(judges, ways)
            except CancellationError:
                raise
            except Exception as error:  # noqa: BLE001 - what was chosen, after much work, is kept
                left_out = "how near draws of responding cells come to real ones"
                self.on_event(Message(f"failed ({error}): left out {left_out}", finding=True))
                continue
            for direction, choice in chosen.items():
                choices[direction] = choice
                self._keep_network(judges[direction], choice)

    def _choose_by_cells(
        self,
        judges: Mapping[tuple[int, int], "ChangeJudge"],
        ways: Sequence[tuple[int, int]],
    ) -> dict[tuple[int, int], Choice]:
        """Compare the cells of candidates, and of draws where there are any, and choose both ways between two classes.

        Where draws come nearest, a part of the cells responded, and the direction back is chosen knowing that.
        """
        told: dict[tuple[int, int], dict[str, Any]] = {}
        for direction in ways:
            if direction in self._cells:
                told[direction] = judges[direction].judge_draws(
                    self._cells[direction], self.cancelled
                )
            else:
                nuclei = self._cells[direction[::-1]].nuclei
                judges[direction].compare_cells(nuclei, self.cancelled)
        chosen = {}
        for direction in ways:
            _stop_if(self.cancelled)
            drawn_back = told.get(direction[::-1])
            choice = judges[direction].choose(
                judges.get(direction[::-1]),
                part_responded=drawn_back is not None and _are_nearest(drawn_back[CELLS]),
            )
            scores = {**(choice.scores or {}), **told.get(direction, {})}
            chosen[direction] = replace(choice, scores=scores)
        return chosen

    def _keep_network(self, judge: "ChangeJudge", choice: Choice) -> None:
        """Keep the network that was chosen, or the nearer one where none was: a direction has room for one."""
        chosen = (choice.scores or {}).get("chosen change")
        if judge.networks and self.pixel_maps is not None:
            kept = judge.networks[chosen if chosen in NETWORKS else judge.nearest_network()]
            self.pixel_maps = self.pixel_maps.with_map(judge.source, judge.target, kept)

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
        looks: "Looks",
        source: int,
        target: int,
        steps: "_Steps",
    ) -> "ChangeJudge | None":
        # also those that are not predicted as the source: a choice by them alone would be the network's
        if len(held_out[source].images) < FEWEST:
            return None
        with steps.step():
            judge = ChangeJudge(looks, held_out[source], held_out[target], source, target)
        for name in CANDIDATES:
            if name not in NETWORKS:
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


def _are_nearest(distances: Mapping[str, float]) -> bool:
    """Tell whether cells of draws are nearer to real ones than those of every one change; not where nothing tells."""
    others = [value for name, value in distances.items() if name != BY_DRAWS]
    return bool(others) and all(distances[BY_DRAWS] < other for other in others)


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
