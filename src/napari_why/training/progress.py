"""What a training has reached so far, and the ways it can end between two batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class CancelledTrainingError(Exception):
    """Ends Lightning's loop between two batches."""


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number."""


@dataclass
class Progress:
    """What a training has reached; outlives the loop however that ends."""

    best_weights: dict[str, Tensor]
    history: list[dict[str, float]] = field(default_factory=list)
    optimiser: dict[str, Any] | None = None
    stopped_early: bool = False


@dataclass
class RunningMean:
    """Losses and accuracy averaged over the images of an epoch."""

    loss: float = 0.0
    right: int = 0
    images: int = 0
    further: dict[str, float] = field(default_factory=dict)

    def add(
        self, logits: Tensor, labels: Tensor, further: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take the logits (n, classes) of a batch, its class indices (n,) and its further losses.

        The further losses are means over the batch, by name.
        """
        self.loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        self.right += int((logits.argmax(dim=1) == labels).sum())
        self.images += len(labels)
        for name, value in (further or {}).items():
            self.further[name] = self.further.get(name, 0.0) + float(value.detach()) * len(labels)

    def metrics(self, part: str) -> dict[str, float]:
        """Return ``{part}_loss``, ``{part}_accuracy`` and further losses; empty without images.

        The loss is the sum of the cross-entropy and of the further losses, each of which is given
        too, as ``{part}_{name}``.
        """
        if not self.images:
            return {}
        return {
            f"{part}_loss": (self.loss + sum(self.further.values())) / self.images,
            f"{part}_accuracy": self.right / self.images,
            **{f"{part}_{name}": value / self.images for name, value in self.further.items()},
        }


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
