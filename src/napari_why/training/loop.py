"""The training as a Lightning module: steps, metrics, the best weights, checkpoints, events."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.events import Advanced, Cancelled, EpochFinished, OnEvent
from napari_why.networks.invertible_stage import ResidualBranch
from napari_why.networks.network import Network
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import Batches, derived_seed
from napari_why.training.losses import latent_loss
from napari_why.training.progress import (
    CancelledTrainingError,
    DivergedError,
    Progress,
    RunningMean,
    copied_weights,
)
from napari_why.training.settings import Settings, best_epoch, out_of_patience


class TrainingModule(pl.LightningModule):
    """One training of one network, from epoch ``len(progress.history) + 1`` on.

    Parameters
    ----------
    network : Network
        Trained in place.
    batches : Batches
        The training images; they are told the epoch.
    settings : Settings
    progress : Progress
        Filled as the training goes.
    checkpoints : CheckpointFolder or None
        Where to write a checkpoint after each epoch.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`.
    """

    def __init__(
        self,
        network: Network,
        batches: Batches,
        settings: Settings,
        progress: Progress,
        checkpoints: CheckpointFolder | None,
        on_event: OnEvent,
        cancelled: Cancelled,
    ) -> None:
        super().__init__()
        self.network = network
        self.batches = batches
        self.settings = settings
        self.progress = progress
        self.checkpoints = checkpoints
        self.on_event = on_event
        self.cancelled = cancelled
        self.train_mean, self.validation_mean = RunningMean(), RunningMean()
        self.generator = torch.Generator()

    @property
    def epoch(self) -> int:
        """The epoch that runs, counted from 1, those before a resumption included."""
        return len(self.progress.history) + 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser, in the state a resumed training left it in."""
        optimiser = self.settings.make_optimiser(self.network)
        if self.progress.optimiser is not None:
            optimiser.load_state_dict(self.progress.optimiser)
        return optimiser

    def on_train_epoch_start(self) -> None:
        """Set all that depends on the epoch: learning rate, order of images, dropout."""
        self.batches.epoch = self.epoch
        torch.manual_seed(derived_seed(self.settings.seed, self.epoch, 1))
        self.generator.manual_seed(derived_seed(self.settings.seed, self.epoch, 2))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.learning_rate_at(self.epoch)
        self.train_mean, self.validation_mean = RunningMean(), RunningMean()

    def on_train_batch_start(self, *_: Any) -> None:
        """Stop here when asked to."""
        self._stop_if_cancelled()

    def on_validation_batch_start(self, *_: Any) -> None:
        """Stop here when asked to."""
        self._stop_if_cancelled()

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch, those of auxiliary classifiers and the network's own included."""
        images, labels = batch
        maps, branches = self.network.training_maps(images)
        logits = self.network.head(maps[self.network.layer_names[-1]])
        losses = {
            **self.network.training_losses(images, maps),
            **self.network.regularisation(branches),
            **self._latent_loss(maps, branches, labels),
        }
        self.train_mean.add(logits.detach(), labels, losses)
        loss = F.cross_entropy(logits, labels) + sum(losses.values())
        if self.settings.auxiliary_weight > 0:
            for others in self.network.auxiliary_logits(maps).values():
                loss = loss + self.settings.auxiliary_weight * F.cross_entropy(others, labels)
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss became {float(loss.detach())}")
        return loss

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Tell how far the training is."""
        index: int = arguments[-1]
        self.on_event(Advanced((self.epoch - 1) * len(self.batches) + index + 1))

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Add a batch to the validation metrics."""
        images, labels = batch
        maps = self.network.feature_maps(images)
        logits = self.network.head(maps[self.network.layer_names[-1]])
        self.validation_mean.add(logits, labels, self.network.training_losses(images, maps))

    def on_train_epoch_end(self) -> None:
        """Note the metrics, keep the weights if they are the best, write the checkpoint."""
        epoch, history = self.epoch, self.progress.history
        metrics = {
            **self.train_mean.metrics("train"),
            **self.validation_mean.metrics("validation"),
            "learning_rate": self.settings.learning_rate_at(epoch),
        }
        history.append(metrics)
        if best_epoch(history) == epoch:
            self.progress.best_weights = copied_weights(self.network)
        if self.checkpoints is not None:
            self.checkpoints.save(history, self.network, self.trainer.optimizers[0])
        self.on_event(EpochFinished(epoch, self.settings.epochs, metrics))
        if out_of_patience(history, self.settings.patience) and epoch < self.settings.epochs:
            self.progress.stopped_early = True
            self.trainer.should_stop = True

    def _latent_loss(
        self, maps: Mapping[str, Tensor], branches: Sequence[ResidualBranch], labels: Tensor
    ) -> dict[str, Tensor]:
        loss, weight = self.settings.loss, self.settings.loss_weight
        found = latent_loss(loss, self.network, maps, branches, labels, self.generator)
        return {name: weight * value for name, value in found.items()}

    def _stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise CancelledTrainingError
