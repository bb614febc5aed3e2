"""Which transport serves a direction best: judged on held-out images, as exported.

The rule, for each direction from class p to class q, on held-out images of p that are predicted
as p: the change of all places is preferred to that of the excess mass alone, unless the latter is
better by more than 0.2 in validity (the network predicts the exported image as q), else nearer by more
than 0.1 to real images of q (feature distance). It is judged as it was fitted, and never enlarged to look
like q or to convince. Then a channel that is put back to the source's in all images, while p(q) stays
at 0.9 or more in at least 90 % of those in which it was, stays put back. How often the images look like q
(a linear discriminant of texture features, fitted on training images) is told beside how often real
held-out images of q do. Images are made by the product's own engine.

The second network is not asked, so that what it says of a counterfactual is said of a choice that it
had no part in. Until version 0.1.0 it was: see :attr:`napari_why.transport.Choice.second_had_a_say`.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.counterfactuals import METHODS
from napari_why.counterfactuals.engine import (
    Frame,
    PathImages,
    Task,
    exported_probabilities,
    follow_paths,
)
from napari_why.counterfactuals.method import suitable_network
from napari_why.datasets.features import AppearanceJudge, feature_distance, image_features
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model.classifier import Classifier
from napari_why.networks.network import InvertibleNetwork
from napari_why.transport import Choice, ClassTransport, Mass

Batched = Iterable[tuple[Tensor, Tensor]]

# Of 30 images that flip in eight of ten cases, the standard error of the difference of two shares is
# 0.1: less than twice that is chance.
MORE_VALID = 0.2
# A tenth of the distance between the classes, which is 1 in these units.
CLEARLY_NEARER = 0.1
# Where features get fewer of the real held-out images of either class right than halfway between chance
# and all, they cannot say what looks like the target.
RELIABLE = 0.75


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
    """

    validity: float
    alike: float | None
    distance: float

    def beats(self, other: "TransportScores") -> bool:
        """Whether these are better by the stated rule; not on ties."""
        if abs(self.validity - other.validity) > MORE_VALID:
            return self.validity > other.validity
        return self.distance < other.distance - CLEARLY_NEARER

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON types by the names that are shown."""
        return {
            "validity": self.validity,
            "looks like the target": self.alike,
            # NaN, where the classes' features do not differ, has no place in JSON
            "feature distance": None if math.isnan(self.distance) else self.distance,
        }


# Shares of 32 images are known to a few hundredths, and more would cost inversions.
IMAGES_PER_CLASS = 32
# Training images of a class whose features are compared: three for each of a channel's 22 features.
TRAINING_IMAGES_PER_CLASS = 64
# Of fewer images a share says nothing.
FEWEST = 4
# As large as the classes differ; see :class:`napari_why.counterfactuals.method.Complete`.
COMPLETE = 1.0
# A channel is put back where nine of ten images that were convincing (p >= 0.9) stay so.
CONVINCED, CONVINCED_SHARE = 0.9, 0.9
# Of a direction: making the changes, judging both, putting channels back.
STEPS = 4


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

    Attributes
    ----------
    complete : bool
        False when the choice was cancelled.
    settled : int
        How many directions were looked at.
    """

    classifier: Classifier
    dtype: str
    on_event: OnEvent = ignore_event
    cancelled: Cancelled = never_cancelled
    complete: bool = field(default=True, init=False)
    settled: int = field(default=0, init=False)

    def choose(self, batches: Batched, training: Batched = ()) -> ClassTransport:
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
        """
        choices = {}
        transport = _fitted_transport(self.classifier)
        self.complete = False
        with suppress(CancellationError):
            held_out = self._collect(batches, IMAGES_PER_CLASS, "reading validation images")
            known = self._collect(training, TRAINING_IMAGES_PER_CLASS, "reading training images")
            looks = _Looks(self.classifier, self.dtype, known)
            pairs = permutations(held_out, 2)
            directions = [pair for pair in pairs if (*pair, "full") in transport.maps]
            steps = _Steps(len(directions), self.on_event, self.cancelled)
            for done, (source, target) in enumerate(directions, start=1):
                choice = self._choose_direction(held_out, looks, source, target, steps)
                if choice is not None:
                    choices[(source, target)] = choice
                steps.advance_to(done * STEPS)
                self.settled = done
            self.complete = True
        self.on_event(Finished(partial=not self.complete))
        return transport.with_choices(choices)

    def _collect(self, batches: Batched, most: int, task: str) -> dict[int, Tensor]:
        total = len(batches) if isinstance(batches, Sized) else None
        if total == 0:
            return {}
        self.on_event(Started(task, total))
        _stop_if(self.cancelled)
        kept: dict[int, list[Tensor]] = {}
        for done, (images, labels) in enumerate(batches, start=1):
            _stop_if(self.cancelled)
            self.on_event(Advanced(done))
            for image, label in zip(images, labels.tolist(), strict=True):
                if len(kept.setdefault(label, [])) < most:
                    kept[label].append(image)
            # each batch is read from files: no more of them than are needed
            classes = range(len(self.classifier.classes))
            if all(len(kept.get(label, ())) >= most for label in classes):
                self.on_event(Advanced(total or done))
                break
        return {label: torch.stack(images) for label, images in sorted(kept.items())}

    @torch.no_grad()
    def _choose_direction(
        self,
        held_out: Mapping[int, Tensor],
        looks: "_Looks",
        source: int,
        target: int,
        steps: "_Steps",
    ) -> Choice | None:
        images = held_out[source].to(self.classifier.device)
        images = images[(self.classifier.logits(images).argmax(1) == source)]
        if len(images) < FEWEST:
            return None
        with steps.step():
            judge = _Judge(looks, images, held_out[target], source, target)
        with steps.step():
            full = judge.score("full", COMPLETE)
        with steps.step():
            excess = judge.score("excess", COMPLETE)
        mass: Mass = "excess" if excess.beats(full) else "full"
        scores = excess if mass == "excess" else full
        with steps.step():
            put_back = judge.find_channels_to_put_back(mass, COMPLETE)
        described = {
            "images": len(images),
            "all places": full.to_dict(),
            "excess mass": excess.to_dict(),
            "chosen": scores.to_dict(),
            "real images of the target that look like it": judge.asked,
        }
        return Choice(mass, reset_channels=put_back, scores=described, second_had_a_say=False)


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

    def __init__(self, classifier: Classifier, dtype: str, training: Mapping[int, Tensor]) -> None:
        self.classifier, self.dtype = classifier, np.dtype(dtype)
        network = suitable_network(classifier, METHODS["transport"])
        locked = network.locked if isinstance(network, InvertibleNetwork) else ()
        self.free = [place for place in range(len(classifier.channels)) if place not in locked]
        self._training, self._described = training, dict[int, NDArray[np.float64]]()

    def export(self, images: Tensor) -> NDArray[Any]:
        """Return preprocessed images (N, C, H, W) as they would be saved."""
        return export_pixels(
            self.classifier.preprocessing.inverse(images), export_dtype(self.dtype)
        )

    def describe(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Return the features of raw images (N, C, H, W)."""
        return image_features(raw, self.free)

    def judge(self, source: int, target: int) -> AppearanceJudge | None:
        """Return who tells two classes apart; None without training images of both."""
        if not {source, target} <= set(self._training):
            return None
        for label in (source, target):
            if label not in self._described:
                self._described[label] = self.describe(self.export(self._training[label]))
        return AppearanceJudge(self._described[source], self._described[target])


class _Judge:
    """Makes the images of one direction by the product's engine, and judges them."""

    def __init__(
        self, looks: _Looks, images: Tensor, of_target: Tensor, source: int, target: int
    ) -> None:
        classifier = looks.classifier
        self._classifier, self._target = classifier, target
        self._images, self._dtype, self._looks = images, looks.dtype, looks
        method = METHODS["transport"]
        network = suitable_network(classifier, method)
        masses: dict[Mass, str] = {"full": "all", "excess": "some"}
        self._tasks = {
            mass: Task(
                classifier,
                network,
                method,
                {"responders": responders},
                source,
                target,
                CONVINCED,
            )
            for mass, responders in masses.items()
        }
        self._paths = {
            mass: [followed.path for followed in follow_paths(task, images, self._dtype)]
            for mass, task in self._tasks.items()
        }
        self._source = looks.export(images)
        self._real = looks.describe(looks.export(of_target))
        self._from = looks.describe(self._source)
        self._appearance = looks.judge(source, target)
        self.asked = self._ask()

    def score(self, mass: Mass, alpha: float) -> TransportScores:
        """Judge the images at an alpha."""
        frames = self._change(mass, alpha)
        raw = np.stack([frame.image for frame in frames])
        predicted = [int(frame.probabilities.argmax()) == self._target for frame in frames]
        features = self._looks.describe(raw)
        alike = None
        if self._appearance is not None and self.asked is not None:
            alike = self._appearance.share_like_target(features)
        distance = feature_distance(features, self._real, self._from)
        return TransportScores(float(np.mean(predicted)), alike, distance)

    def _ask(self) -> float | None:
        """Return how often real held-out images look like the target; None where that is unreliable."""
        if self._appearance is None:
            return None
        right = self._appearance.share_like_target(self._real)
        wrong = self._appearance.share_like_target(self._from)
        return right if min(right, 1 - wrong) >= RELIABLE else None

    def find_channels_to_put_back(self, mass: Mass, alpha: float) -> tuple[int, ...]:
        """Return the channels whose change can be taken back; never all of them."""
        frames = self._change(mass, alpha)
        before = np.array([frame.probabilities[self._target] for frame in frames])
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
        reached = [exported_probabilities(self._classifier, image)[self._target] for image in mixed]
        return float((np.array(reached) >= CONVINCED).mean())

    def _change(self, mass: Mass, alpha: float) -> list[Frame]:
        task = self._tasks[mass]
        return [
            PathImages(task, path, image, self._dtype).frame(alpha)
            for path, image in zip(self._paths[mass], torch.split(self._images, 1), strict=True)
        ]
