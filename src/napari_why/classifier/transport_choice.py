"""Which transport serves a direction best: judged on held-out images, as exported.

The rule, for each direction from class p to class q, on held-out images of p that are predicted
as p: the change of all places is preferred to that of the excess mass alone, unless the latter is
better by more than 0.05 in validity (the network calls the exported image q), else in agreement
(the second network calls it q), else nearer by more than 0.1 to real images of q (feature
distance). Then the change is enlarged no further than is needed for an agreement of 0.9; a single
image that is not called q is enlarged when it is made. Last, a channel that is put back to the
source's in all images, while p(q) stays at 0.9 or more in at least 90 % of those in which it was,
stays put back.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.datasets.preprocessing import Preprocessing
from napari_why.datasets.texture_features import feature_distance, image_features
from napari_why.images import make_image
from napari_why.images.exported import export_dtype, exported
from napari_why.latent_transport import Choice, ClassTransport, Mass
from napari_why.networks.network import InvertibleNetwork, Network

IMAGES_PER_CLASS = 32
FEWEST = 4
OVERSHOOTS = (1.0, 1.15, 1.3, 1.5)
CLEARLY = 0.05
CLEARLY_NEARER = 0.1
AGREED = 0.9
CONVINCED, CONVINCED_SHARE = 0.9, 0.9


@dataclass(frozen=True)
class _Scores:
    """How the exported images of one kind of change were judged."""

    validity: float
    agreement: float | None
    distance: float

    def beats(self, other: "_Scores") -> bool:
        """Whether these are better by the stated rule; not on ties."""
        if abs(self.validity - other.validity) > CLEARLY:
            return self.validity > other.validity
        own, others = self.agreement or 0.0, other.agreement or 0.0
        if abs(own - others) > CLEARLY:
            return own > others
        return self.distance < other.distance - CLEARLY_NEARER

    @property
    def convincing(self) -> bool:
        return self.agreement is None or self.agreement >= AGREED

    def to_dict(self) -> dict[str, float | None]:
        return {
            "validity": self.validity,
            "second network agrees": self.agreement,
            # NaN, where the classes' features do not differ, has no place in JSON
            "feature distance": None if math.isnan(self.distance) else self.distance,
        }


@dataclass
class TransportChooser:
    """Judge the transports of a classifier in the making.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    second_network : Network or None
        Frozen; its agreement is left out where there is none.
    preprocessing : Preprocessing
    transport : ClassTransport
    dtype : str
        Of the training images.
    """

    network: InvertibleNetwork
    second_network: Network | None
    preprocessing: Preprocessing
    transport: ClassTransport
    dtype: str
    held_out: dict[int, Tensor] = field(default_factory=dict)

    def chosen(self, batches: Iterable[tuple[Tensor, Tensor]]) -> ClassTransport:
        """Return the transport with a choice for every direction that has held-out images.

        Parameters
        ----------
        batches : iterable of (Tensor (N, C, H, W), Tensor (N,))
            Preprocessed held-out images and class indices; 32 of each class are used.
        """
        self.held_out = self._collected(batches)
        choices = {}
        for source, target in permutations(self.held_out, 2):
            if (source, target, "full") in self.transport.maps:
                choice = self._direction(source, target)
                if choice is not None:
                    choices[(source, target)] = choice
        return self.transport.chosen(choices)

    def _collected(self, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
        kept: dict[int, list[Tensor]] = {}
        for images, labels in batches:
            for image, label in zip(images, labels.tolist(), strict=True):
                if len(kept.setdefault(label, [])) < IMAGES_PER_CLASS:
                    kept[label].append(image)
        return {label: torch.stack(images) for label, images in sorted(kept.items())}

    @torch.no_grad()
    def _direction(self, source: int, target: int) -> Choice | None:
        images = self.held_out[source]
        images = images[self._probabilities(self.network, images).argmax(1) == source]
        if len(images) < FEWEST:
            return None
        judge = _Judge(self, images, source, target)
        plain: dict[Mass, _Scores] = {
            mass: judge.scores(mass, OVERSHOOTS[0]) for mass in ("full", "excess")
        }
        mass: Mass = "excess" if plain["excess"].beats(plain["full"]) else "full"
        overshoot, scores = judge.overshoot(mass, plain[mass])
        reset = judge.reset_channels(mass, overshoot)
        described = {
            "images": len(images),
            "all places": plain["full"].to_dict(),
            "excess mass": plain["excess"].to_dict(),
            "chosen": scores.to_dict(),
        }
        return Choice(mass, overshoot, reset, described)

    def _probabilities(self, network: Network, images: Tensor) -> NDArray[np.float64]:
        device = next(network.parameters()).device
        parts = [
            network(images[start : start + IMAGES_PER_CLASS].to(device)).double().softmax(1).cpu()
            for start in range(0, len(images), IMAGES_PER_CLASS)
        ]
        return np.asarray(torch.cat(parts).numpy())

    def prepared(self, raw: NDArray[Any]) -> Tensor:
        """Return exported images (N, C, H, W) as the networks see them."""
        names = self.preprocessing.channels
        return torch.stack([self.preprocessing(make_image(image, "cyx", names)) for image in raw])

    def exported(self, images: Tensor) -> NDArray[Any]:
        """Return images (N, C, H, W) in raw units as they would be saved."""
        return exported(self.preprocessing.inverse(images), export_dtype(self.dtype))


class _Judge:
    """Makes and judges the images of one direction."""

    def __init__(self, chooser: TransportChooser, images: Tensor, source: int, target: int) -> None:
        self._chooser, self._source, self._target = chooser, source, target
        network, transport = chooser.network, chooser.transport
        self._images = images
        device = next(network.parameters()).device
        self._start = network.encode_to(images.to(device), transport.stage)
        self._displacements = {
            mass: transport.displacement(self._start, source, target, mass)
            for mass in ("full", "excess")
        }
        free = [index for index in range(images.shape[1]) if index not in network.locked]
        self._free = free
        self._real = self._features(chooser.exported(chooser.held_out[target]))
        self._from = self._features(chooser.exported(images))

    def scores(self, mass: Mass, alpha: float) -> _Scores:
        """Judge the images at an alpha."""
        raw = self._made(mass, alpha)
        seen = self._chooser.prepared(raw)
        second = self._chooser.second_network
        return _Scores(
            self._share_called(self._chooser.network, seen),
            None if second is None else self._share_called(second, seen),
            feature_distance(self._features(raw), self._real, self._from),
        )

    def overshoot(self, mass: Mass, plain: _Scores) -> tuple[float, _Scores]:
        """Return the smallest alpha that convinces, else the smallest that is nearly best."""
        tried = [(OVERSHOOTS[0], plain)]
        for alpha in OVERSHOOTS[1:]:
            if tried[-1][1].convincing:
                return tried[-1]
            tried.append((alpha, self.scores(mass, alpha)))
        if tried[-1][1].convincing:
            return tried[-1]
        best = max(scores.agreement or 0.0 for _, scores in tried)
        return next(item for item in tried if (item[1].agreement or 0.0) >= best - CLEARLY)

    def reset_channels(self, mass: Mass, alpha: float) -> tuple[int, ...]:
        """Return the channels whose change can be taken back; never all of them."""
        raw = self._made(mass, alpha)
        before = self._p_target(raw)
        reset: list[int] = []
        while len(reset) < len(self._free) - 1:
            shares = {
                channel: self._share_convinced(raw, before, [*reset, channel])
                for channel in self._free
                if channel not in reset
            }
            best = max(shares, key=lambda channel: shares[channel])
            if shares[best] < CONVINCED_SHARE:
                break
            reset.append(best)
        return tuple(sorted(reset))

    def _share_convinced(
        self, raw: NDArray[Any], before: NDArray[np.float64], channels: Sequence[int]
    ) -> float:
        convinced = before >= CONVINCED
        if convinced.sum() < FEWEST:
            return 0.0
        mixed = raw[convinced].copy()
        source = self._chooser.exported(self._images)[convinced]
        mixed[:, list(channels)] = source[:, list(channels)]
        return float((self._p_target(mixed) >= CONVINCED).mean())

    def _p_target(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        seen = self._chooser.prepared(raw)
        return self._chooser._probabilities(self._chooser.network, seen)[:, self._target]

    def _made(self, mass: Mass, alpha: float) -> NDArray[Any]:
        network, stage = self._chooser.network, self._chooser.transport.stage
        moved = self._start + alpha * self._displacements[mass]
        return self._chooser.exported(network.decode(moved, stage))

    def _share_called(self, network: Network, seen: Tensor) -> float:
        called = self._chooser._probabilities(network, seen).argmax(1) == self._target
        return float(called.mean())

    def _features(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        return image_features(raw, self._free)
