"""Fit the transport between classes on crops of latents.

The crops are collected in one pass over any number of images, in bounded memory.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import permutations

import torch
from torch import Tensor

from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.transport.class_transport import ClassTransport
from napari_why.transport.features import (
    EPOCHS,
    LatentLayout,
    LocalEvidence,
    conditions,
    excess_mass,
    moving_features,
    positions,
)
from napari_why.transport.maps import (
    ClassModel,
    Gates,
    Mass,
    PairMap,
    SlicedCorrection,
    map_between,
)

# 256 crops of 64 x 64 positions are a million positions a class: more than samples are drawn from,
# and at 32 channels 134 MB, whatever the data set.
CROPS_PER_CLASS = 256
LARGEST_CROP = 64  # see above


@dataclass
class LatentCrops:
    """A random sample of crops of one stage's latents, or of images, by class.

    One crop of at most ``largest`` x ``largest`` positions is taken of an image; of the images of a class, 256 are
    kept at random (reservoir sampling, Vitter 1985, algorithm R). Which ones depends on the seed
    and on the order of the images alone.

    Parameters
    ----------
    classes : int
        Number of classes.
    seed : int
        Of the choice.
    largest : int
        Height and width of a crop at most.
    """

    classes: int
    seed: int = 0
    largest: int = LARGEST_CROP
    crops: list[list[Tensor]] = field(init=False)
    seen: list[int] = field(init=False)
    groups: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.crops = [[] for _ in range(self.classes)]
        self.seen = [0] * self.classes
        self.groups = [[] for _ in range(self.classes)]
        self._generator = torch.Generator().manual_seed(self.seed)

    def add(self, latents: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        """Take latents (N, K, h, w), class indices (N,) and groups (N,): each on its own by default.

        Parameters
        ----------
        latents : Tensor, shape (N, K, h, w)
            Or images, (N, C, H, W).
        labels : Tensor, int64, shape (N,)
        groups : Tensor, int64, shape (N,), optional
            The well of each.
        """
        numbers = torch.arange(len(labels)) + sum(self.seen) if groups is None else groups
        for latent, label, group in zip(latents, labels.tolist(), numbers.tolist(), strict=True):
            kept = self.crops[label]
            self.seen[label] += 1
            slot = len(kept)
            if slot == CROPS_PER_CLASS:
                slot = self._below(self.seen[label])
                if slot >= CROPS_PER_CLASS:
                    continue
                kept[slot], self.groups[label][slot] = self._cut(latent), group
            else:
                kept.append(self._cut(latent))
                self.groups[label].append(group)

    def of_class(self, label: int) -> Tensor:
        """Return the crops (n, K, h, w) of a class; images of several sizes are cut to the smallest."""
        kept = self.crops[label]
        height, width = (min(crop.shape[axis] for crop in kept) for axis in (1, 2))
        return torch.stack([crop[:, :height, :width] for crop in kept])

    def _cut(self, latent: Tensor) -> Tensor:
        height, width = latent.shape[-2:]
        y = self._below(max(1, height - self.largest + 1))
        x = self._below(max(1, width - self.largest + 1))
        return latent[:, y : y + self.largest, x : x + self.largest].detach().cpu().float().clone()

    def _below(self, end: int) -> int:
        return int(torch.randint(end, (), generator=self._generator))


def resample(images: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images of as many groups, drawn with replacement: wells are independent, fields not.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Or latents.
    groups : Tensor, int64, shape (N,)
        The well of each image. Of fewer than two, images are drawn in their place.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor, shape (M, C, H, W)
        M is N only where groups are of one size.
    """
    names = torch.unique(groups)
    if len(names) < 2:  # nothing is known of how much groups differ
        return images[torch.randint(len(images), (len(images),), generator=generator)]
    drawn = names[torch.randint(len(names), (len(names),), generator=generator)]
    return images[torch.cat([torch.nonzero(groups == name)[:, 0] for name in drawn])]


# A position never counts more than twenty: few would otherwise stand for all.
LARGEST_RATIO = 20.0
# Keeps every position drawable: without any mass there would be nothing to draw from.
SMALLEST_WEIGHT = 1e-4


@dataclass(frozen=True)
class TransportOptions:
    """How finely the transport is fitted.

    Parameters
    ----------
    gates : int
        Soft clusters of the locked channels' surroundings.
    rounds : int
        Sliced corrections; 0 leaves the map linear within each gate.
    samples : int
        Positions per class that are fitted on.
    matching_clusters : int
        Fine clusters of the conditions over which source and target are brought to one distribution.
    """

    gates: int = 8  # inside of a cell, its rim, its surroundings, background, and grades of each
    rounds: int = 10  # each mends what the last left; the map is nearly right before the first
    samples: int = 40_000  # of about 80 features: 500 for each
    matching_clusters: int = 128  # about 300 samples in each


@dataclass
class _Sample:
    """Positions of one class: what moves, what is known, and the excess mass over every class."""

    moving: Tensor
    known: Tensor
    excess: Tensor

    def weights(self, other: int, mass: Mass) -> Tensor:
        if mass == "full":
            return torch.ones(len(self.moving))
        return self.excess[:, other] + SMALLEST_WEIGHT


def fit_class_transport(
    crops: LatentCrops,
    layout: LatentLayout,
    stage: str,
    options: TransportOptions | None = None,
    *,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ClassTransport | None:
    """Fit maps between every two classes that have crops.

    Parameters
    ----------
    crops : LatentCrops
        Of the training images, at ``stage``.
    layout : LatentLayout
        Of that stage's latent.
    stage : str
    options : TransportOptions, optional
    seed : int
        Of samples, clusters, rotations and the network of places.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ClassTransport or None
        None where fewer than two classes have crops, or when cancelled.
    """
    options = options or TransportOptions()
    present = [label for label in range(crops.classes) if crops.crops[label]]
    if len(present) < 2:
        return None
    # both ways are fitted: the best map back is not the inverse of a map between samples
    directions = list(permutations(present, 2))
    total, done = EPOCHS + 2 * len(directions), 0

    def advance() -> None:
        nonlocal done
        done += 1
        on_event(Advanced(done))

    on_event(Started("transport between classes", total))
    by_class = [
        crops.of_class(label) if label in present else torch.empty(0)
        for label in range(crops.classes)
    ]
    evidence = LocalEvidence.fit(
        by_class, layout, seed=seed, cancelled=cancelled, each_epoch=advance
    )
    if cancelled():
        on_event(Finished(partial=True))
        return None
    fitting = _Fitting(layout, evidence, options, seed)
    fitting.take(by_class, present)
    maps: dict[tuple[int, int, Mass], PairMap] = {}
    # both are fitted, since held-out images choose between them afterwards
    masses: tuple[Mass, ...] = ("full", "excess")
    for source, target in directions:
        for mass in masses:
            if cancelled():
                on_event(Finished(partial=True))
                return None
            maps[(source, target, mass)] = fitting.pair_map(source, target, mass)
            advance()
    on_event(Finished(partial=False))
    return ClassTransport(stage, layout, fitting.gates, evidence, maps, {})


# Of a map, which take some seconds each and 0.1 MB: the fewest that tell a deviation.
REPLICATES = 4
# Images of a class: a map of hundreds of numbers fitted on fewer differs with every draw.
FEWEST_DRAWN = 16


def refit_class_transport(
    transport: ClassTransport,
    crops: LatentCrops,
    wanted: Collection[tuple[int, int, Mass]],
    options: TransportOptions | None = None,
    *,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ClassTransport | None:
    """Fit some maps anew on groups drawn with replacement, to see how well they are known.

    The gates and the classifier of places stay: they say what is told apart, not what it becomes.

    Parameters
    ----------
    transport : ClassTransport
        Fitted.
    crops : LatentCrops
        Of the training images, with their groups, at its stage.
    wanted : collection of (source, target, mass)
        Which maps; those between classes of fewer than 16 crops are left out.
    options : TransportOptions, optional
    seed : int
        Of the groups that are drawn, and of the samples.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ClassTransport or None
        With four replicates of each of these maps; None when cancelled.
    """
    found: dict[tuple[int, int, Mass], list[PairMap]] = {
        (source, target, mass): []
        for source, target, mass in wanted
        if min(len(crops.crops[source]), len(crops.crops[target])) >= FEWEST_DRAWN
    }
    if not found:
        return transport
    present = sorted({label for source, target, _ in found for label in (source, target)})
    images = {label: crops.of_class(label) for label in present}
    generator = torch.Generator().manual_seed(seed)
    on_event(Started("how sure the transport is", REPLICATES * len(found)))
    done = 0
    for replicate in range(REPLICATES):
        fitting = _Fitting(
            transport.layout, transport.evidence, options or TransportOptions(), seed + replicate
        )
        fitting.gates = transport.gates
        drawn = [
            resample(images[label], torch.tensor(crops.groups[label]), generator)
            if label in present
            else torch.empty(0)
            for label in range(crops.classes)
        ]
        fitting.draw(drawn, present)
        for key, made in found.items():
            if cancelled():
                on_event(Finished(partial=True))
                return None
            made.append(fitting.pair_map(*key))
            done += 1
            on_event(Advanced(done))
    on_event(Finished(partial=False))
    return transport.with_replicates({key: tuple(made) for key, made in found.items()})


@dataclass
class _Fitting:
    layout: LatentLayout
    evidence: LocalEvidence
    options: TransportOptions
    seed: int
    samples: dict[int, _Sample] = field(default_factory=dict)
    generator: torch.Generator = field(init=False)
    gates: Gates = field(init=False)
    models: dict[tuple[int, int], ClassModel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)

    def draw(self, by_class: list[Tensor], present: list[int]) -> None:
        for label in present:
            self.samples[label] = self._sample(by_class[label], label, len(by_class))

    def take(self, by_class: list[Tensor], present: list[int]) -> None:
        self.draw(by_class, present)
        known = torch.cat([sample.known for sample in self.samples.values()])
        shuffled = known[torch.randperm(len(known), generator=self.generator)]
        self.gates = Gates.fit(shuffled, self.options.gates, self.seed)

    def _sample(self, maps: Tensor, label: int, classes: int) -> _Sample:
        """Draw positions from every crop, alike many from each."""
        # from every crop the same number, so that no single image decides
        area = maps.shape[-2] * maps.shape[-1]
        count = min(area, -(-self.options.samples // len(maps)))
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for index in range(len(maps)):
            crop = maps[index : index + 1]
            drawn = torch.randperm(area, generator=self.generator)[:count]
            places = self.evidence.probabilities(crop, self.layout)
            size = crop.shape[-2:]
            excess = [excess_mass(places, label, other, size) for other in range(classes)]
            parts.append(
                (
                    positions(moving_features(crop, self.layout))[drawn],
                    positions(conditions(crop, self.layout))[drawn],
                    positions(torch.cat(excess, 1))[drawn],
                )
            )
        return _Sample(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def pair_map(self, source: int, target: int, mass: Mass) -> PairMap:
        """Fit one direction: linear within gates, then sliced corrections."""
        start, goal = self.samples[source], self.samples[target]
        start_weights = start.weights(target, mass)
        goal_weights = goal.weights(source, mass)
        free = self.layout.free
        models = self._model(source, target, mass), self._model(target, source, mass)
        gaussian = map_between(*models, free)
        goal_weights = goal_weights * self._matching(start, start_weights, goal, goal_weights)
        count = min(self.options.samples, 2 * max(len(start.moving), len(goal.moving)))
        drawn, aim = (
            torch.multinomial(weights, count, True, generator=self.generator)
            for weights in (start_weights, goal_weights)
        )
        # fitted on what the linear map leaves, so that a round has only its errors to mend
        correction = SlicedCorrection.fit(
            gaussian(start.moving[drawn], start.known[drawn], self.gates),
            goal.moving[aim, :free],
            self.options.rounds,
            self.generator,
        )
        return PairMap(gaussian, correction)

    def _model(self, label: int, other: int, mass: Mass) -> ClassModel:
        """Return the model of a class; of all its mass, it serves every direction."""
        key = (label, other if mass == "excess" else label)
        if key not in self.models:
            sample = self.samples[label]
            weights = sample.weights(other, mass)
            self.models[key] = ClassModel.fit(sample.moving, sample.known, self.gates, weights)
        return self.models[key]

    def _matching(
        self, start: _Sample, start_weights: Tensor, goal: _Sample, goal_weights: Tensor
    ) -> Tensor:
        """Return factors that give the target's positions the source's distribution of conditions.

        Without them the corrections would move the free channels in order to make up for a
        difference of the conditions, which cannot move.
        """
        if not self.layout.locked:  # nothing conditions, so that there is nothing to match
            return torch.ones(len(goal.known))
        count = self.options.matching_clusters
        components = [self.gates.components(sample.known) for sample in (start, goal)]
        chosen = torch.multinomial(start_weights, count, True, generator=self.generator)
        centres = components[0][chosen]
        nearest = [torch.cdist(part, centres).argmin(1) for part in components]
        masses = [
            torch.bincount(index, weights, count) / weights.sum()
            for index, weights in zip(nearest, (start_weights, goal_weights), strict=True)
        ]
        ratio = masses[0] / masses[1].clamp(min=1e-9)
        return ratio.clamp(max=LARGEST_RATIO)[nearest[1]]
