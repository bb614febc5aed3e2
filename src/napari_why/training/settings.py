"""The settings of a training, checked once and written into its checkpoints."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from napari_why.core.errors import ParameterError, WhyError
from napari_why.networks.network import Network
from napari_why.training.examples import Augmentation
from napari_why.training.losses import LossName

OptimiserName = Literal["adam", "adamw", "adamax", "sgd"]


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    epochs, batch_size : int
        At least 1.
    learning_rate : float
        Of the first epoch, above 0.
    optimiser : str
        ``adam``, ``adamw``, ``adamax`` or ``sgd`` (with momentum 0.9).
    step_size : int
        Epochs after which the learning rate is multiplied by ``step_decay``, again and again;
        0 keeps it as it is.
    step_decay : float
        Above 0, at most 1.
    patience : int
        Epochs without a lower validation loss after which training stops; 0 never stops early.
    auxiliary_weight : float
        Weight of the losses of a network's auxiliary classifiers, where it has such.
    seed : int
        At least 0.
    augmentation : Augmentation or None
        None shows the images as they are.
    loss : str
        ``cross_entropy``, or what is added to it; see :mod:`napari_why.training.losses`.
    loss_weight : float
        Weight of what is added.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimiser: OptimiserName
    step_size: int
    step_decay: float
    patience: int
    auxiliary_weight: float
    seed: int
    augmentation: Augmentation | None
    loss: LossName = "cross_entropy"
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "epochs": (self.epochs, self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size, self.batch_size >= 1, "1 or more"),
            "learning_rate": (self.learning_rate, self.learning_rate > 0, "more than 0"),
            "step_size": (self.step_size, self.step_size >= 0, "0 or more"),
            "step_decay": (self.step_decay, 0 < self.step_decay <= 1, "more than 0, at most 1"),
            "patience": (self.patience, self.patience >= 0, "0 or more"),
            "auxiliary_weight": (self.auxiliary_weight, self.auxiliary_weight >= 0, "0 or more"),
            "loss_weight": (self.loss_weight, self.loss_weight >= 0, "0 or more"),
            "seed": (self.seed, self.seed >= 0, "0 or more"),
        }
        for name, (value, fine, expected) in checks.items():
            if not fine:
                raise ParameterError(f"{name}: found {value}; expected {expected}")
        if self.optimiser not in ("adam", "adamw", "adamax", "sgd"):
            raise ParameterError(
                f"optimiser: found {self.optimiser!r}; expected adam, adamw, adamax or sgd"
            )

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        steps = (epoch - 1) // self.step_size if self.step_size else 0
        return self.learning_rate * self.step_decay**steps

    def make_optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser over all weights that can be trained."""
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        match self.optimiser:
            case "adam":
                return torch.optim.Adam(weights, lr=self.learning_rate)
            case "adamw":
                return torch.optim.AdamW(weights, lr=self.learning_rate)
            case "adamax":
                return torch.optim.Adamax(weights, lr=self.learning_rate)
            case "sgd":
                return torch.optim.SGD(weights, lr=self.learning_rate, momentum=0.9)

    def resumable(self) -> dict[str, Any]:
        """Return what must be the same when a training goes on: all but its length."""
        plain = asdict(self)
        # checkpoints from before there was a choice of losses can be resumed still
        unchanged = ("loss", "loss_weight") if self.loss == "cross_entropy" else ()
        for name in ("epochs", "patience", *unchanged):
            del plain[name]
        return plain


History = Sequence[dict[str, float]]


def best_epoch(history: History) -> int:
    """Return the epoch, counted from 1, with the lowest loss on the validation images.

    The training loss stands in where there are no validation images; 0 for an empty history.
    Of equal ones the first.

    Examples
    --------
    >>> best_epoch([{"validation_loss": 0.7}, {"validation_loss": 0.4}, {"validation_loss": 0.5}])
    2
    """
    if not history:
        return 0
    losses = [_loss(metrics) for metrics in history]
    return min(range(len(losses)), key=losses.__getitem__) + 1


def out_of_patience(history: History, patience: int) -> bool:
    """Tell whether the last ``patience`` epochs brought nothing better; never with 0."""
    return bool(patience) and len(history) - best_epoch(history) >= patience


def _loss(metrics: dict[str, float]) -> float:
    loss = metrics.get("validation_loss", metrics.get("train_loss", math.inf))
    return loss if math.isfinite(loss) else math.inf


Status = Literal["done", "stopped early", "cancelled", "failed"]


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and how it got there.

    Parameters
    ----------
    network : Network
        The network with the weights of ``best_epoch``, on the CPU, in evaluation mode.
    history : tuple of dict of str to float
        Metrics of each finished epoch: ``train_loss``, ``train_accuracy``, ``learning_rate`` and,
        where there are validation images, ``validation_loss`` and ``validation_accuracy``.
        Losses are mean cross-entropies in nats, plus the network's own losses where it has such
        (``training_losses``; each is given too, ``train_reconstruction`` for example); accuracies
        lie in 0..1. Training metrics are
        means over the batches as they were trained on, augmented and before the epoch's end.
    best_epoch : int
        Epoch, counted from 1, with the lowest validation loss (the lowest training loss where
        there are no validation images); 0 when no epoch was finished, the network is then
        untrained.
    status : str
        ``done``, ``stopped early`` (no better epoch for as long as the patience lasts),
        ``cancelled`` or ``failed``.
    device : str
        Torch device that was trained on.
    seed : int
        Seed of shuffling, augmentation and dropout.
    """

    network: Network
    history: tuple[dict[str, float], ...]
    best_epoch: int
    status: Status
    device: str
    seed: int


class TrainingError(WhyError):
    """A training that broke off; ``result`` is what was reached by then.

    Parameters
    ----------
    message : str
        What happened, what was kept and what to do.
    result : TrainingResult or None
        The best model so far; None when the training did not begin.
    """

    def __init__(self, message: str, result: TrainingResult | None = None) -> None:
        super().__init__(message)
        self.result = result
