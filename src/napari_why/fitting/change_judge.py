"""Judge the changes of one direction by held-out images, as exported, and choose among them.

The rule, for each direction from class p to class q: of all candidates (one curve of grey levels per
channel, a change in few numbers, a map scale by scale, transport of latents at all places or of the excess
mass alone, a network that undoes the way back), the one whose images of held-out p come nearest to real images
of q; of several that come as near, as far as wells drawn anew can tell, a plain one: a curve or, else, few
numbers. So a curve is the answer where nothing does better than brightness. Else, of many wells, the network that
undoes what was chosen for the way back goes before a map of latents or of scales that is nearer by chance alone, where
it is not surely farther than unchanged images: it averages noise away, and was nearer to the truth of depolarisation
(docs/results.md).

Of many wells a change in few numbers is none of the candidates where it cannot be what happened: its fit leaves
between the classes more than three times what chance would, per degree of freedom (after the J test of Hansen 1982).
Half of what judges it are the statistics that it was fitted by, so that it seems near whatever it does to the rest.

One thing goes before it: of two directions one is often learnt much better than the other (what adds blur, say,
is told by few numbers, and what takes it away is not). Where the change back leaves surely less of the
difference between the classes than the one that was chosen, or alone comes surely nearer to real images than
unchanged ones, a network that undoes the change back is taken instead; not where its images are surely farther
from real ones than those of the change that it would stand in for: then it did not learn to undo it.

Where only a part of the cells of p responded, a network that saw such parts drawn is taken if it comes as near as
the nearest, unless that is a plain one: no other candidate knows that cells differ in that. That a part responded
is taken from the way back, where the median distance of drawn cells to real ones is less than that of any one change;
it need not be shown there. Or the cells show it: those that this network makes are nearer to real ones, as a crowd and
in five of six draws, than unchanged ones and than those of every other change of all cells. Then its cells alone need
to come as near as those of the nearest: in the mean features of images cells that responded and cells that did not are
mixed. Neither it nor the network that undoes what was chosen for the way back is taken where its cells are
farther, in five of six draws, than those of the change that it would stand in for. Of few held-out wells none of this
is asked.

Of few held-out wells nobody knows what is sure. There the wells of training tell, of which there are more, by the
evidence of the changes in few numbers, which counts wells and not images. Where they are surely likelier than no
change, a plain one is taken, whatever comes nearer to a few wells: of brightness alone the curve. Where the change
back makes the images of both classes surely likelier than the change does, it is the one that happened, and a network
that undoes it is taken; not of brightness alone, which brightness alone undoes. And a curve, which follows whatever
wells differ by, is left out where few numbers tell of something else than brightness, or of nothing that is more than
chance between wells: then nothing is changed rather than by chance.

Near is measured by texture features and by the statistics that relate a channel to the locked structures, in
units of how images of q differ among themselves (Mahalanobis distance of the means). What single pixels do is
smoothed away first: it is the camera's noise, which no change can foretell. An image that is made dimmer has less of
it than one that was taken of dim cells, and a candidate that makes noise up would look nearer than the true change. So
images are first given the noise that they lack against real ones as bright: smoothing alone leaves some of it, and of a
blurred image there was nothing to smooth.
Whether the chosen one is nearer than the sources as they are is noted: of classes that do not differ, none is. Neither
the classifier nor the second network is asked. How often the classifier, and a linear discriminant of
the texture features, take the images for q is told beside it. A change is judged as it was fitted, and never
enlarged.

The classifier has a say in one thing afterwards: a channel that is put back to the source's in all images, while
p(q) stays at 0.9 or more in at least 90 % of those in which it was, stays put back. The second network is never
asked. Images are made by the product's own engine.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.events import Cancelled, never_cancelled
from napari_why.counterfactuals import METHODS
from napari_why.counterfactuals.engine import Frame, Task, exported_probabilities, follow_paths
from napari_why.counterfactuals.method import require_statistics, suitable_network
from napari_why.datasets.features import feature_distance
from napari_why.fitting.nearness import AS_NEAR, Distance, Grouped, Looks, Nearness
from napari_why.model.classifier import Classifier
from napari_why.transport import Choice, ClassMaps, Mass
from napari_why.transport.back_translation import RestoringNetwork
from napari_why.transport.coarse_to_fine import CoarseToFineMap
from napari_why.transport.energy_score import CellDistance
from napari_why.transport.maps import (
    BY_DRAWS_FOR,
    LEFT,
    LEFT_AT_MOST,
    LEFT_BY_WAY_BACK,
    NEARER,
    NEAREST_IMAGES,
    ONLY_SOME_CELLS,
    PART_RESPONDED,
    SHOWN_BY_CELLS,
    ChangeKind,
)
from napari_why.transport.parametric_map import BRIGHTNESS, ParametricMap
from napari_why.transport.pixel_maps import PixelMap, in_batches
from napari_why.transport.responding_cells import RespondingCells

# A candidate and what stands for it in the counterfactual method's parameters, the plainest first.
CANDIDATES: Mapping[str, tuple[ChangeKind, Mass]] = {
    "curve": ("curve", "full"),
    "parametric": ("parametric", "full"),
    "coarse to fine": ("coarse_to_fine", "full"),
    "all places": ("latent", "full"),
    "excess mass": ("latent", "excess"),
    "back-translated": ("back_translated", "full"),
    "back-translated by cells": ("back_translated", "full"),
}
PLAIN = ("curve", "parametric")
"""Those that can be told in a sentence, which is worth a little of the likeness."""
RESTORED, RESTORED_CELLS = "back-translated", "back-translated by cells"
"""Those that are made last, of the way back: of what was chosen for it, and of cells drawn to respond."""
NETWORKS = frozenset({RESTORED, RESTORED_CELLS})
KNOWS_A_PART = frozenset({"excess mass", RESTORED_CELLS})
"""Those that may leave some cells or places as they are."""
# Of what tells two classes apart; a change that leaves less of it is as good as its way back.
WELL_LEARNT = 0.1
# Of the draws, to say that changed images are nearer than unchanged ones: the usual 5 % to be wrong.
SURELY = 0.95
# Of each image, to see how near draws of responding cells come: their mean varies by half of what one does.
DRAWS_JUDGED = 4
# Under which it is noted how near the cells of draws, and of each candidate, come to real ones.
CELLS, BY_DRAWS, UNCHANGED = "distance of cells", "draws", "unchanged"
# Logarithm of how much likelier the images are: twenty times, the usual 5 % to be wrong.
SURELY_LIKELIER = 3.0
# Of the squared change of maps with hundreds of numbers: more of it is chance than is not.
MOSTLY_CHANCE = 0.5
# Where features get fewer of the real held-out images of either class right than halfway between chance
# and all, they cannot say what looks like the target.
RELIABLE = 0.75
# Of fewer images a share says nothing.
FEWEST = 4
# As large as the classes differ; see :class:`napari_why.counterfactuals.method.Complete`.
COMPLETE = 1.0
# A channel is put back where nine of ten images that were convincing (p >= 0.9) stay so.
CONVINCED, CONVINCED_SHARE = 0.9, 0.9


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


class ChangeJudge:
    """Makes the images of one direction by the product's engine, and judges them."""

    def __init__(
        self, looks: Looks, sources: Grouped, targets: Grouped, source: int, target: int
    ) -> None:
        self._classifier, self.source, self.target = looks.classifier, source, target
        images, of_target = sources.images.to(looks.classifier.device), targets.images
        self._images, self._dtype, self._looks = images, looks.dtype, looks
        self._network = suitable_network(looks.classifier, METHODS["transport"])
        self.locked = looks.locked
        self._frames: dict[str, list[Frame]] = {}
        self._distances: dict[str, Distance | None] = {}
        self._of_cells: dict[str, NDArray[np.float64]] = {}
        self.networks: dict[str, RestoringNetwork] = {}
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
        of_known = looks.known(target)
        self._noise = looks.noise(of_target if of_known is None else of_known.images)
        self._nearness = self._measure_real(held_out, targets.groups, sources.groups)
        seen, self._seen = self._see(self._source)
        self._unchanged = self._nearness.measure(self._relate(seen, self._seen))

    @property
    def knows_chance(self) -> bool:
        """Whether there are enough held-out wells to tell which differences are chance."""
        return self._nearness.known

    def _measure_real(
        self, held_out: NDArray[Any], groups: NDArray[np.int64], of_sources: NDArray[np.int64]
    ) -> Nearness:
        """Describe real images of the target: held-out ones, and how those and training ones differ."""
        looks, known = self._looks, self._looks.known(self.target)
        real = self._relate(held_out, self._real)
        of_training = real[:0]
        if known is not None:
            of_training = self._relate(looks.export(known.images), looks.textures(self.target))
        return Nearness(real, of_training, groups, of_sources)

    def _see(self, raw: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return raw images as a camera would have taken them, and their texture features."""
        noisy = self._looks.with_noise(raw, self._noise)
        return noisy, self._looks.describe(noisy)

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
        noisy, textures = self._see(raw)
        alike = None
        if self._appearance is not None and self.asked is not None:
            alike = self._appearance.share_like_target(textures)
        distance = feature_distance(textures, self._real, self._seen)
        measured = self._nearness.measure(self._relate(noisy, textures))
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
        """Return real images (N, C, H, W) of the target as the way back that was chosen moves them.

        Parameters
        ----------
        real : Tensor, shape (N, C, H, W)
            Preprocessed.
        way_back : Choice
            Of the direction from the target to the source.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            Preprocessed; of a transport of latents as it would be exported.
        """
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

        Parameters
        ----------
        name : str
            Of the candidate.
        found : PixelMap
        needs : float
            Share of the draws, 0 to 1, in which the new map has to be nearer than the former one.

        Returns
        -------
        bool
            Whether it is kept: also where there was none of that name.
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
            if isinstance(found, RestoringNetwork):
                self.networks[name] = found
            return True
        self.scores[name], self._frames[name], self._distances[name] = scores, frames, distance
        return False

    @torch.no_grad()
    def compare_cells(
        self, nuclei: int, cancelled: Cancelled = never_cancelled
    ) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
        """Measure how near the cells of every candidate come to real ones, as crowds; the choice knows it then.

        Parameters
        ----------
        nuclei : int
            Channel that cells are found by.
        cancelled : callable
            See :mod:`napari_why.core.events`.

        Returns
        -------
        callable
            Measures the cells of other raw images (N, C, H, W) of the same sources, draw by draw.
        """
        # made here, where they are needed: of every judge they would fill the memory
        real = self._looks.export(self._of_target)
        crowd = CellDistance(
            real, *self._nearness.weights, nuclei, self._looks.free, cancelled=cancelled
        )

        def measure(raw: NDArray[Any]) -> NDArray[np.float64]:
            # as a camera would have taken them: what is made dimmer takes its noise along
            return crowd.measure(self._looks.with_noise(raw, self._noise))

        raw_images = {
            name: np.stack([frame.image for frame in frames])
            for name, frames in self._frames.items()
        }
        found = {name: measure(raw) for name, raw in raw_images.items()}
        self._of_cells = {**found, UNCHANGED: measure(self._source)}
        return measure

    @torch.no_grad()
    def judge_draws(
        self, cells: RespondingCells, cancelled: Cancelled = never_cancelled
    ) -> dict[str, Any]:
        """Measure how near the cells of draws come to real ones, beside every candidate; JSON types.

        As crowds: a share of responding cells, estimated from what all cells of a class are like, fits
        classes too that differ a little in all cells. What tells these apart is whether any one change
        makes cells as like real ones as draws do. Real ones are of held-out images alone: all candidates
        were fitted on those of training.

        Parameters
        ----------
        cells : RespondingCells
            What draws are made with.
        cancelled : callable
            See :mod:`napari_why.core.events`.

        Returns
        -------
        dict
            ``share of cells that respond`` with its standard error, ``distance of cells`` by candidate, the
            draws and the unchanged images among them, and under
            :data:`~napari_why.transport.maps.ONLY_SOME_CELLS` whether the draws come nearest.
        """
        measure = self.compare_cells(cells.nuclei, cancelled)
        draw, generator = cells.prepare(self._images.cpu()), torch.Generator().manual_seed(0)
        drawn = np.mean(
            [
                measure(self._looks.export(draw(generator).to(self._images)))
                for _ in range(DRAWS_JUDGED)
            ],
            axis=0,
        )
        others = self._of_cells
        return {
            "share of cells that respond": [cells.share, cells.error],
            CELLS: {
                BY_DRAWS: float(np.median(drawn)),
                **{name: float(np.median(other)) for name, other in others.items()},
            },
            ONLY_SOME_CELLS: all(
                # each of half a dozen has to be beaten by about a standard error
                bool(np.mean(drawn < other) >= 1 - AS_NEAR)
                for other in others.values()
            ),
        }

    def choose(
        self, way_back: "ChangeJudge | None" = None, *, part_responded: bool = False
    ) -> Choice:
        """Return what serves the direction best, of what was tried by now.

        Parameters
        ----------
        way_back : ChangeJudge, optional
            Of the other direction, where a network was trained to undo what it chose.
        part_responded : bool
            Whether draws of responding cells come nearest on the way back.

        Returns
        -------
        Choice
        """
        name, left_back = self.plainest_of_the_nearest(), None
        of_draws = self._why_by_draws(name, part_responded)
        if of_draws is not None:
            name = RESTORED_CELLS
        elif way_back is not None and self._is_better_undone(name, way_back):
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
            **({BY_DRAWS_FOR: of_draws or NEAREST_IMAGES} if name == RESTORED_CELLS else {}),
            "real images of the target that look like it": self.asked,
        }
        return Choice(
            mass,
            reset_channels=self.find_channels_to_put_back(name),
            scores=described,
            second_had_a_say=False,
            kind=kind,
        )

    def _why_by_draws(self, name: str, part_responded: bool) -> str | None:
        """Return what speaks for the network that learnt from drawn cells instead of a candidate; None: nothing."""
        if name not in PLAIN and self._tells_cells_apart(self.nearest()):
            if part_responded:
                return PART_RESPONDED
            if self._cells_show_a_part():
                return SHOWN_BY_CELLS
        return None

    def _is_better_undone(self, name: str, way_back: "ChangeJudge") -> bool:
        """Tell whether to undo what was chosen for the way back, rather than to change by a candidate."""
        # one that learnt from drawn cells undoes something else
        restored = self._distances.get(RESTORED)
        if restored is None:
            return False
        if not (self._nearness.known and way_back._nearness.known):
            return self._is_less_likely_than(way_back)
        if self._stays_farther(restored, name):
            return False
        undone = way_back.plainest_of_the_nearest(NETWORKS)
        if _is_surely_less(way_back.share_left(undone), self.share_left(name)):
            return True
        # what seems to work goes before what does not
        nearer, nearer_back = self.nearer_in(name), way_back.nearer_in(undone)
        return nearer is not None and nearer_back is not None and nearer < SURELY <= nearer_back

    def _stays_farther(self, restored: Distance, name: str) -> bool:
        """Tell whether a network's images are surely farther than unchanged ones, or than those of a candidate.

        And its cells, where they were compared: of a part that responded they tell more.
        """
        return any(self._cells_stay_farther(RESTORED, other) for other in (UNCHANGED, name)) or any(
            other is not None and np.mean(restored.drawn <= other.drawn) < AS_NEAR
            for other in (self._unchanged, self._distances[name])
        )

    def _cells_stay_farther(self, name: str, other: str) -> bool:
        """Tell whether cells of one candidate are surely farther from real ones than another's; not unless compared."""
        found, least = self._of_cells.get(name), self._of_cells.get(other)
        if found is None or least is None:
            return False
        return bool(np.mean(found <= least) < AS_NEAR)

    def _cells_show_a_part(self) -> bool:
        """Tell whether cells of the network that saw a part of them changed are surely nearer than all that saw none.

        Than those of every candidate that changes all cells, and than unchanged ones.
        """
        others = [name for name in self._of_cells if name not in KNOWS_A_PART]
        return bool(others) and all(
            self._cells_stay_farther(name, RESTORED_CELLS) for name in others
        )

    def _few_numbers(self) -> ParametricMap | None:
        maps = require_statistics(self._classifier).pixel_maps
        found = None if maps is None else maps.maps.get((self.source, self.target, "parametric"))
        return found if isinstance(found, ParametricMap) else None

    def _is_less_likely_than(self, way_back: "ChangeJudge") -> bool:
        """Tell whether the training images speak for the change back, and it was chosen there."""
        own, back = self._few_numbers(), way_back._few_numbers()
        # brightness is undone by brightness, to which a network would add what it learns badly
        if own is None or back is None or back.terms <= BRIGHTNESS:
            return False
        undone = way_back.plainest_of_the_nearest(NETWORKS)
        return undone in PLAIN and back.evidence >= own.evidence + SURELY_LIKELIER

    def _follows_chance(self, name: str) -> bool:
        """Tell whether few wells leave a candidate without support by what training wells tell."""
        few = self._few_numbers()
        if name != "curve" or self._nearness.known or few is None:
            return False
        # of a single well it tells of nothing
        return not few.terms or (few.chance_known and not few.terms <= BRIGHTNESS)

    def _cannot_be_what_happened(self, name: str) -> bool:
        """Tell whether a candidate is a change in few numbers that describes the difference of the classes badly.

        Half of what tells how near it comes are the statistics that it was fitted by: it is near in
        these, whatever becomes of the rest. Of few wells nobody knows that anything else is better.
        """
        few = self._few_numbers()
        if name != "parametric" or not self._nearness.known or few is None:
            return False
        return not few.describes_the_difference

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
        return self.share_left(self.plainest_of_the_nearest(NETWORKS))

    def plainest_of_the_nearest(self, without: Collection[str] = ()) -> str:
        """Return a plain candidate where one is as near to real images of the target as any, else the nearest.

        Of many wells the network that undoes what was chosen for the way back, where it is as near, before maps
        of latents or of scales. It is taken too where the network of drawn cells is as near: how sure a
        change is can be told of the first alone.
        """
        measured = self._measured(without)
        nearest = self.nearest(without)
        for name in (plain for plain in PLAIN if plain in measured):
            if self._is_as_near(name, nearest):
                return name
        restored = self._distances.get(RESTORED) if RESTORED in measured else None
        if restored and nearest not in NETWORKS and self._nearness.known:
            return nearest if self._stays_farther(restored, nearest) else RESTORED
        return nearest

    def nearest(self, without: Collection[str] = ()) -> str:
        """Return the candidate that comes nearest to real images of the target; the first where nothing tells."""
        measured = self._measured(without)
        if not measured:
            return next(name for name in self.scores if self._is_candidate(name, without))
        return min(measured, key=lambda name: measured[name])

    def _is_candidate(self, name: str, without: Collection[str]) -> bool:
        return (
            name not in without
            and not self._follows_chance(name)
            and not self._cannot_be_what_happened(name)
        )

    def _measured(self, without: Collection[str]) -> dict[str, float]:
        """Return how far the candidates are that may be chosen; empty where nothing tells."""
        known = {
            name: scores.nearness
            for name, scores in self.scores.items()
            if self._is_candidate(name, without)
        }
        measured = {name: value for name, value in known.items() if value is not None}
        few = self._few_numbers()
        if not self._nearness.known and few is not None and few.evidence >= SURELY_LIKELIER:
            # a few wells cannot tell which brightness it is either: the curve, which undoes itself on the way back
            surely = PLAIN[:1] if few.terms <= BRIGHTNESS else PLAIN
            measured = {
                name: value for name, value in measured.items() if name in surely
            } or measured
        return measured

    def _is_as_near(self, name: str, nearest: str) -> bool:
        """Tell whether a candidate comes as near as the nearest one, as far as wells drawn anew can tell."""
        found, least = self._distances.get(name), self._distances[nearest]
        return bool(found and least and np.mean(found.drawn <= least.drawn) >= AS_NEAR)

    def nearest_network(self) -> str:
        """Return which of the networks that were trained makes images nearest to real ones."""
        return min(self.networks, key=lambda name: self.scores[name].nearness or 0.0)

    def _tells_cells_apart(self, name: str) -> bool:
        """Tell whether a network that learnt from drawn cells comes as near as a candidate that is not plain.

        By images; or by cells, where these show that a part responded, of which the mean of an image tells little.
        """
        if name in PLAIN or not self._nearness.known:
            return False
        if self._cells_stay_farther(RESTORED_CELLS, name):
            return False
        if self._is_as_near(RESTORED_CELLS, name):
            return True
        return self._cells_show_a_part() and self.is_nearer_than_unchanged(RESTORED_CELLS) is True

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
