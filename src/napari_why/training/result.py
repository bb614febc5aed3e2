"""What a training leaves behind, also when it was cancelled or failed."""

from dataclasses import dataclass
from typing import Literal

from napari_why.errors import WhyError
from napari_why.networks.network import Network

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
