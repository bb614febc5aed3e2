"""What a training has reached so far, and the ways it can end between two batches."""

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
    """Loss and accuracy averaged over the images of an epoch."""

    loss: float = 0.0
    right: int = 0
    images: int = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Take the logits (n, classes) of a batch and its class indices (n,)."""
        self.loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        self.right += int((logits.argmax(dim=1) == labels).sum())
        self.images += len(labels)

    def metrics(self, part: str) -> dict[str, float]:
        """Return ``{part}_loss`` and ``{part}_accuracy``, empty when no image was seen."""
        if not self.images:
            return {}
        return {
            f"{part}_loss": self.loss / self.images,
            f"{part}_accuracy": self.right / self.images,
        }


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
