"""How to train, declared once: form, shell, checkpoints and card all read it from here."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Self

import torch
from torch import nn

from napari_why.core.devices import Precision
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Label, Range, ShownWith, Suggested, Topic
from napari_why.networks.network import Network
from napari_why.networks.registry import NETWORKS, OPTIMISER, STEPS, USUAL_DECAY, TrainingSchedule
from napari_why.training.examples import Augmentation
from napari_why.training.losses import ClassWeights, LossName

LOSS, COMPUTER = Topic("loss"), Topic("repetition and computer")
# what processors there are; a GPU among several has a number: cuda:1
DEVICES = Suggested(("auto", "cpu", "cuda", "mps"))
MOMENTUM = 0.9  # of SGD: the usual value, which none of the shipped networks uses
# of a schedule that cuts the rate: what is not better ten epochs later is rarely better at all
PATIENCE = 10
# torch's defaults for OneCycleLR: the share of the training in which the rate rises, and the rates
# before and after as parts of the largest
RISING, FIRST_RATE, LAST_RATE = 0.3, 1 / 25, 1 / 25e4
# what a network that is not registered leaves to nobody: trained as before there was a choice
UNREGISTERED = TrainingSchedule(schedule="step", label_smoothing=0, jitter=0, averaging=0)


def one_cycle(progress: float) -> float:
    """Return the learning rate as a share of the largest, when ``progress`` (0 to 1) is trained.

    A function of the progress alone, so that a resumed training needs no scheduler's state. Cosines
    from 1/25 up to 1 in the first 30 %, then down to almost 0 (Smith & Topin 2019, arXiv:1708.07120,
    in the form of ``torch.optim.lr_scheduler.OneCycleLR``; momentum stays as it is).

    Examples
    --------
    >>> one_cycle(0), one_cycle(0.3), one_cycle(1) < 1e-5
    (0.04, 1.0, True)
    """
    if progress < RISING:
        first, last, share = FIRST_RATE, 1.0, progress / RISING
    else:
        first, last, share = 1.0, LAST_RATE, (progress - RISING) / (1 - RISING)
    return first + (last - first) * (1 - math.cos(math.pi * share)) / 2


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(TrainingSchedule):
    """Options of a training; to those of the schedule they add what no network decides for itself.

    Parameters
    ----------
    patience : int
        Epochs without a lower validation loss after which training stops; 0 never stops early. -1
        stands for 10 with the schedule ``step`` and for 0 with ``one_cycle``, whose rate falls only
        towards the end: stopped early, such a training never settles.
    augment : bool
        Show training images flipped and turned at random (:class:`Augmentation`), or as they are;
        without it ``jitter`` is 0 unless given.
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
    precision : {"float32", "bfloat16"}
        Of convolutions and matrix products in training steps. Weights, their averages, losses, norms
        and statistics, and all that follows the training, are float32 with either.
    epochs, batch_size, learning_rate, ..., averaging
        See :class:`~napari_why.networks.TrainingSchedule`.

    Examples
    --------
    >>> steps = TrainingOptions(learning_rate=0.005, step_size=15, step_decay=0.2)
    >>> options = steps.for_network("iresnet")
    >>> options.schedule, options.learning_rate_at(1), options.learning_rate_at(16)
    ('step', 0.005, 0.001)
    """

    patience: Annotated[
        int,
        Help(
            "stop after so many epochs without a lower validation loss; 0: never; -1: usual; which is "
            "10, but never with the schedule one cycle"
        ),
        Range(-1, 10_000),
        Label("stop early after"),
        OPTIMISER,
    ] = -1
    augment: Annotated[
        bool,
        Help("flip and turn training images at random: right angles and up to 10 degrees"),
        Label("flip and turn"),
        Topic("images"),
    ] = True
    auxiliary_weight: Annotated[
        float,
        Help("weight of the losses of a network's further classifiers"),
        Range(0, 100),
        Label("weight of further classifiers"),
        LOSS,
    ] = 1.0
    loss: Annotated[
        LossName,
        Help(
            "what orders the latent: nothing; images near their class's mean; normally "
            "distributed classes (invertible networks)"
        ),
        Label("what is learnt beside"),
        LOSS,
    ] = "cross_entropy"
    loss_weight: Annotated[
        float,
        Help("weight of the class distance or likelihood"),
        Range(0, 1000),
        Label("its weight"),
        ShownWith("loss", ("class_distance", "gaussian_likelihood")),
        LOSS,
    ] = 1.0
    class_weights: Annotated[
        ClassWeights,
        Help(
            "balanced: every class weighs the same in the loss, however many images it has; none: "
            "every image does"
        ),
        Label("weights of classes"),
        LOSS,
    ] = "none"
    # 63 bits: what numpy and torch both take, and what derived_seed gives
    seed: Annotated[
        int,
        Help(
            "number that random choices start from: first weights, order of the images, how they are "
            "turned, and the split where there is none yet; the same one trains the same network"
        ),
        Range(0, 2**63 - 1),
        Label("seed of the training"),
        COMPUTER,
    ] = 0
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps"), DEVICES, COMPUTER] = "auto"
    threads: Annotated[
        int, Help("processor threads; 0: all cores but one"), Range(0, 1024), COMPUTER
    ] = 0
    precision: Annotated[
        Precision,
        Help(
            "of convolutions in training steps; bfloat16 rounds to 8 bits, which is quicker on some "
            "devices; weights, norms and all that follows the training are float32"
        ),
        Label("precision of steps"),
        COMPUTER,
    ] = "float32"

    def for_network(self, name: str) -> Self:
        """Return the same with the network's own values where the schedule leaves them open.

        Parameters
        ----------
        name : str
            Registry name. A network that is not registered has no values of its own.

        Raises
        ------
        ParameterError
            A value is left open that the network does not have, the schedule ``one_cycle`` is
            to cut its rate in steps, or the loss cannot be had in the precision.
        """
        if self.loss == "gaussian_likelihood" and self.precision != "float32":
            # derivatives of a pass are in the precision of the pass, and their sum over all elements
            # would be of a map that no frozen network is
            raise ParameterError(
                f"precision: found {self.precision} with the loss gaussian_likelihood, whose log-determinant "
                "is made of derivatives of the forward pass; expected float32"
            )
        if self.schedule == "one_cycle":
            for setting in STEPS:
                if value := getattr(self, setting):
                    raise ParameterError(
                        f"{setting}: found {value} with the schedule one_cycle, which has no steps; "
                        f"expected 0; leave {setting} away, or choose the schedule step"
                    )
        entry = NETWORKS.get(name)
        options = self.complete_with(entry.training if entry else UNREGISTERED)
        for setting in options.left_open:
            # which may stay 0: the learning rate then is never cut
            if setting not in ("step_size", "weight_decay"):
                raise ParameterError(
                    f"{setting}: found {getattr(options, setting)}; expected a value, since "
                    f"{name} is not registered and brings none of its own"
                )
        cycle = options.schedule == "one_cycle"
        values: dict[str, Any] = dict.fromkeys(STEPS, 0) if cycle else {}
        if options.weight_decay < 0:
            values["weight_decay"] = USUAL_DECAY.get(options.optimiser, 0.0)
        if self.jitter < 0 and not self.augment:
            values["jitter"] = 0.0
        if self.patience < 0:
            values["patience"] = 0 if cycle else PATIENCE
        return replace(options, **values)

    @property
    def augmentation(self) -> Augmentation | None:
        """What is done to training images; None shows them as they are."""
        jitter = max(self.jitter, 0.0)
        if self.augment:
            return Augmentation(jitter=jitter)
        still = Augmentation(flips=False, right_angles=False, rotation=0, jitter=jitter)
        return still if jitter else None

    def learning_rate_at(self, epoch: int, within: float = 0.0) -> float:
        """Return the learning rate of a step.

        Parameters
        ----------
        epoch : int
            Counted from 1.
        within : float
            Share of the epoch's batches (0 to 1) that come before the step.

        Returns
        -------
        float
        """
        # a function of the step alone, so that a resumed training needs no scheduler's state
        if self.schedule == "one_cycle":
            return self.learning_rate * one_cycle((epoch - 1 + within) / self.epochs)
        steps = (epoch - 1) // self.step_size if self.step_size else 0
        return self.learning_rate * self.step_decay**steps

    def make_optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser over all weights that can be trained."""
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        # left open: of options that were not completed by for_network
        decay = self.weight_decay
        if decay < 0:
            decay = USUAL_DECAY.get(self.optimiser, 0.0)
        rate = self.learning_rate
        match self.optimiser:
            case "adam":
                return torch.optim.Adam(weights, lr=rate, weight_decay=decay)
            case "adamw":
                return torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
            case "adamax":
                return torch.optim.Adamax(weights, lr=rate, weight_decay=decay)
            case "sgd":
                return torch.optim.SGD(weights, lr=rate, momentum=MOMENTUM, weight_decay=decay)
            case "auto":
                raise ParameterError("optimiser: found auto; expected for_network(...) before")

    def identity(self, network: Network) -> dict[str, Any]:
        """Return what must be the same when a training goes on: all but its length.

        With ``one_cycle`` that too, since every rate depends on it. The names are those on disk, in
        the checkpoints of every version so far; what came later is left out where it says what was
        done before there was a choice.
        """
        augmentation = self.augmentation
        looks = asdict(augmentation) if augmentation else None
        if looks and not looks["jitter"]:
            del looks["jitter"]
        facts = {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "optimiser": self.optimiser,
            "step_size": self.step_size,
            "step_decay": self.step_decay,
            "auxiliary_weight": self.auxiliary_weight,
            "seed": self.seed,
            "augmentation": looks,
            "network": network.name,
            "configuration": dict(network.configuration()),
        }
        if self.loss != "cross_entropy":
            facts |= {"loss": self.loss, "loss_weight": self.loss_weight}
        if self.class_weights != "none":
            facts |= {"class_weights": self.class_weights}
        if self.precision != "float32":
            facts |= {"precision": self.precision}
        if self.schedule == "one_cycle":
            facts |= {"schedule": self.schedule, "epochs": self.epochs}
        if self.weight_decay not in (-1, USUAL_DECAY.get(self.optimiser, 0.0)):
            facts |= {"weight_decay": self.weight_decay}
        for name in ("label_smoothing", "averaging"):
            if getattr(self, name) > 0:
                facts |= {name: getattr(self, name)}
        return facts
