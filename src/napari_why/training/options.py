"""How to train, declared once: form, shell, checkpoints and card all read it from here."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

import torch
from torch import nn

from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range
from napari_why.networks.network import Network
from napari_why.networks.registry import NETWORKS, TrainingSchedule
from napari_why.training.examples import Augmentation
from napari_why.training.losses import ClassWeights, LossName

MOMENTUM = 0.9  # of SGD: the usual value, which none of the shipped networks uses


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(TrainingSchedule):
    """Options of a training; to those of the schedule they add what no network decides for itself.

    Parameters
    ----------
    patience : int
        Epochs without a lower validation loss after which training stops; 0 never stops early.
    augment : bool
        Show training images flipped and turned at random (:class:`Augmentation`), or as they are.
    auxiliary_weight : float
        Weight of the cross-entropies of a network's ``auxiliary_logits(maps)``, where it has such.
    loss, loss_weight : str, float
        What is added to the cross-entropy, and its weight; see :mod:`napari_why.training.losses`.
    class_weights : {"none", "balanced"}
        Of the cross-entropy; see :func:`~napari_why.training.losses.balanced_weights`.
    seed : int
        Of order, augmentation and dropout.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    threads : int
        Processor threads for torch; 0 leaves one core free.
    epochs, batch_size, learning_rate, optimiser, step_size, step_decay
        See :class:`~napari_why.networks.TrainingSchedule`.

    Examples
    --------
    >>> options = TrainingOptions(epochs=30).for_network("iresnet")
    >>> options.optimiser, options.learning_rate_at(1), options.learning_rate_at(16)
    ('adamax', 0.005, 0.001)
    """

    patience: Annotated[
        int,
        Help("stop after so many epochs without a lower validation loss; 0: never"),
        Range(0, 10_000),
    ] = 10
    augment: Annotated[
        bool, Help("flip and turn training images at random: right angles and up to 10 degrees")
    ] = True
    auxiliary_weight: Annotated[
        float, Help("weight of the losses of a network's further classifiers"), Range(0, 100)
    ] = 1.0
    loss: Annotated[
        LossName,
        Help(
            "what orders the latent: nothing; images near their class's mean; normally "
            "distributed classes (invertible networks)"
        ),
    ] = "cross_entropy"
    loss_weight: Annotated[
        float, Help("weight of the class distance or likelihood"), Range(0, 1000)
    ] = 1.0
    class_weights: Annotated[
        ClassWeights,
        Help(
            "balanced: every class weighs the same in the loss, however many images it has; none: "
            "every image does"
        ),
    ] = "none"
    # 63 bits: what numpy and torch both take, and what derived_seed gives
    seed: Annotated[
        int, Help("of splits, first weights, order and augmentation"), Range(0, 2**63 - 1)
    ] = 0
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps")] = "auto"
    threads: Annotated[int, Help("processor threads; 0: all cores but one"), Range(0, 1024)] = 0

    def for_network(self, name: str) -> Self:
        """Return the same with the network's own values where the schedule leaves them open.

        Parameters
        ----------
        name : str
            Registry name. A network that is not registered has no values of its own.

        Raises
        ------
        ParameterError
            A value is left open that the network does not have.
        """
        entry = NETWORKS.get(name)
        options = self.complete_with(entry.training) if entry else self
        for setting in options.left_open:
            if setting != "step_size":  # which may stay 0: the learning rate then is never cut
                raise ParameterError(
                    f"{setting}: found {getattr(options, setting)}; expected a value, since "
                    f"{name} is not registered and brings none of its own"
                )
        return options

    @property
    def augmentation(self) -> Augmentation | None:
        """What is done to training images; None shows them as they are."""
        return Augmentation() if self.augment else None

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 1."""
        # a function of the epoch alone, so that a resumed training needs no scheduler's state
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
                return torch.optim.SGD(weights, lr=self.learning_rate, momentum=MOMENTUM)
            case "auto":
                raise ParameterError("optimiser: found auto; expected for_network(...) before")

    def identity(self, network: Network) -> dict[str, Any]:
        """Return what must be the same when a training goes on: all but its length.

        The names are those on disk, in the checkpoints of every version so far.
        """
        augmentation = self.augmentation
        facts = {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "optimiser": self.optimiser,
            "step_size": self.step_size,
            "step_decay": self.step_decay,
            "auxiliary_weight": self.auxiliary_weight,
            "seed": self.seed,
            "augmentation": asdict(augmentation) if augmentation else None,
            "network": network.name,
            "configuration": dict(network.configuration()),
        }
        if self.loss != "cross_entropy":
            # left out else: checkpoints from before there was a choice of losses know of none
            facts |= {"loss": self.loss, "loss_weight": self.loss_weight}
        if self.class_weights != "none":  # as the losses
            facts |= {"class_weights": self.class_weights}
        return facts
