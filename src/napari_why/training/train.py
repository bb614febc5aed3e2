"""Train a network on labelled images: options in, the weights of the best epoch out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from napari_why.core import events
from napari_why.core.devices import (
    at_least_float32,
    autocast_to,
    check_precision,
    choose_device,
    is_out_of_memory,
    limited_threads,
    release_memory,
    seeded_torch,
)
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.events import Cancelled, OnEvent
from napari_why.networks.network import Network
from napari_why.training.averaging import WeightAverage
from napari_why.training.checkpoint import CheckpointFolder, best_epoch, out_of_patience
from napari_why.training.examples import Batches, Examples, derived_seed
from napari_why.training.losses import (
    balanced_weights,
    check_loss,
    latent_loss,
    weighted_cross_entropy,
)
from napari_why.training.options import TrainingOptions

Status = Literal["done", "stopped early", "cancelled", "failed"]


@dataclass(frozen=True)
class TrainingResult:
    """A trained network and how it got there.

    Parameters
    ----------
    network : Network
        The network with the weights of ``best_epoch``, or their average up to then, on the CPU, in
        evaluation mode.
    history : tuple of dict of str to float
        Metrics of each finished epoch: ``train_loss``, ``train_accuracy``,
        ``train_balanced_accuracy`` (the mean over the classes that there are images of),
        ``learning_rate`` (of the epoch's first step) and, where there are validation images, the
        same of ``validation``.
        Losses are mean cross-entropies in nats, weighted where classes are, plus the network's own losses where it has such
        (``training_losses``; each is given too, ``train_reconstruction`` for example), all of
        labels that are not smoothed; accuracies lie in 0..1. Training metrics are
        means over the batches as they were trained on, augmented and before the epoch's end;
        those of validation are of the averaged weights where weights are averaged.
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
    batch_size : int or None
        Of the last epoch: half of what was asked for, where the memory did not suffice for that.
    """

    network: Network
    history: tuple[dict[str, float], ...]
    best_epoch: int
    status: Status
    device: str
    seed: int
    batch_size: int | None = None


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


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number."""


def train_network(
    network: Network,
    train: Examples,
    validation: Examples | None,
    options: TrainingOptions,
    *,
    checkpoints: CheckpointFolder | None = None,
    on_event: OnEvent = events.ignore_event,
    cancelled: Cancelled = events.never_cancelled,
) -> TrainingResult:
    """Train a network in place and leave it with the weights of its best epoch.

    Minimises the mean cross-entropy of the logits, weighted by ``class_weights``, the network's own losses and penalties, and
    ``loss``. The best epoch is the one with the lowest loss, without penalties and ``loss``, on
    the *validation* images, and early stopping looks at the same; images kept for testing are
    never seen. Where weights are averaged, the average is what is validated and kept. The same seed
    gives the same weights, bit for bit on the CPU.

    Parameters
    ----------
    network : Network
        Trained in place; on the CPU and in evaluation mode afterwards, its weights laid out as its
        ``channels_last`` says.
    train, validation : Examples
        Preprocessed images with class indices. Without validation images (None) the training
        loss picks the best epoch and training never stops early.
    options : TrainingOptions
        What they leave open is the network's own, if it is registered.
    checkpoints : CheckpointFolder, optional
        Where a checkpoint is written after each epoch, and whether to go on from there.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`. Cancelling takes effect between two batches.

    Returns
    -------
    TrainingResult
        ``cancelled`` with the best model so far when it was cancelled, or interrupted by a
        KeyboardInterrupt after its first epoch.

    Raises
    ------
    ParameterError
        An option left open that the network does not have, no training image, an unknown device,
        a precision that the device or the loss cannot have, a checkpoint folder that is in use.
    ModelFileError
        The checkpoints belong to another training or are damaged.
    TrainingError
        The training broke off (memory, a loss that is not finite, a full disk); ``error.result``
        is the best model so far.
    NetworkBusyError
        The network is being trained already.
    """
    options = options.for_network(network.name)
    check_loss(options.loss, network)
    if not len(train.labels):
        raise ParameterError("train: found no image; expected at least one")
    device = choose_device(options.device)
    check_precision(options.precision, device.name)
    if checkpoints is not None:
        identity = options.identity(network) | {"images": len(train.labels)}
        checkpoints = checkpoints.with_settings(identity)
    progress = _begin(network, checkpoints, on_event)
    loop = TrainingLoop(
        network,
        Batches(train, options.batch_size, options.seed, options.augmentation),
        None if validation is None else Batches(validation, options.batch_size),
        options,
        progress,
        checkpoints,
        device.name,
        on_event,
        cancelled,
        _choose_weights(train, validation, options, device.name),
    )
    with (
        network.use.trained(on_event, cancelled),
        limited_threads(options.threads or None) as count,
        seeded_torch(options.seed, device.name),
    ):
        on_event(events.Message(describe_place(device.name, device.reason, count)))
        if validation is None:
            on_event(events.Message("no validation images: the training loss picks the best epoch"))
        on_event(events.Started("training", options.epochs * len(loop.batches)))
        status, failure = run_guarded(loop)
        network.to("cpu")
        network.load_state_dict(progress.best_weights)
        network.eval()
    result = TrainingResult(
        network,
        tuple(progress.history),
        best_epoch(progress.history),
        status,
        device.name,
        options.seed,
        loop.batches.batch_size,
    )
    if failure is not None:
        sentence = describe_failure(
            failure, device.name, len(result.history), options.epochs, result.best_epoch
        )
        raise TrainingError(sentence, result) from failure
    on_event(events.Finished(partial=status == "cancelled"))
    return result


@dataclass
class Progress:
    """What a training has reached; outlives the loop however that ends."""

    best_weights: dict[str, Tensor]
    history: list[dict[str, float]] = field(default_factory=list)
    optimiser: dict[str, Any] | None = None
    averaged: dict[str, Tensor] | None = None


@dataclass
class RunningMean:
    """Losses and accuracy averaged over the images of an epoch.

    Parameters
    ----------
    weights : Tensor, shape (classes,), optional
        Of the classes in the cross-entropy.
    """

    weights: Tensor | None = None
    loss: float = 0.0
    weight: float = 0.0
    right: int = 0
    images: int = 0
    further: dict[str, float] = field(default_factory=dict)
    # of each class index that was met: images, and those that were right
    by_class: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(
        self, logits: Tensor, labels: Tensor, further: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take the logits (n, classes) of a batch, its class indices (n,) and its further losses.

        The further losses are means over the batch, by name.

        Parameters
        ----------
        logits : Tensor, shape (n, classes)
        labels : Tensor, int64, shape (n,)
        further : mapping of str to Tensor of shape (), optional
            The losses beside the cross-entropy, not weighted.
        """
        # weighted by images: batches may differ by one image in size
        self.loss += float(weighted_cross_entropy(logits, labels, self.weights)) * len(labels)
        self.weight += len(labels) if self.weights is None else float(self.weights[labels].sum())
        right = (logits.argmax(dim=1) == labels).tolist()
        for index, hit in zip(labels.tolist(), right, strict=True):
            images, hits = self.by_class.get(index, (0, 0))
            self.by_class[index] = (images + 1, hits + hit)
        self.right += sum(right)
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
        further = sum(self.further.values()) / self.images
        # without any weight, images are all of a class that was not trained on: nothing to weigh
        crossed = self.loss / self.weight if self.weight else 0.0
        recalls = [hits / images for images, hits in self.by_class.values()]
        return {
            f"{part}_loss": crossed + further,
            f"{part}_accuracy": self.right / self.images,
            f"{part}_balanced_accuracy": sum(recalls) / len(recalls),
            **{f"{part}_{name}": value / self.images for name, value in self.further.items()},
        }


@dataclass(frozen=True)
class TrainingLoop:
    """One training of one network, from epoch ``len(progress.history) + 1`` on.

    Parameters
    ----------
    network : Network
        Trained in place.
    batches : Batches
        The training images; they are told the epoch.
    watched : Batches or None
        The validation images.
    options : TrainingOptions
        None left open.
    progress : Progress
        Filled as the training goes.
    checkpoints : CheckpointFolder or None
        Where to write a checkpoint after each epoch.
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`.
    """

    network: Network
    batches: Batches
    watched: Batches | None
    options: TrainingOptions
    progress: Progress
    checkpoints: CheckpointFolder | None
    device: str
    on_event: OnEvent
    cancelled: Cancelled
    # of the training images, for those of validation too: one and the same loss
    weights: Tensor | None = None
    # on the CPU: a device's own generator would draw other numbers on every kind of device
    generator: torch.Generator = field(default_factory=torch.Generator, init=False)

    @property
    def trained(self) -> nn.Module:
        """The network."""
        return self.network

    @property
    def finished(self) -> int:
        """How many epochs are."""
        return len(self.progress.history)

    def run(self) -> Status:
        """Train until the last epoch, until nothing gets better or until cancelled."""
        history = self.progress.history
        # without validation images a falling training loss tells nothing about when to stop
        patience = self.options.patience if self.watched is not None else 0
        self.network.lay_out()
        self.network.to(self.device)
        # after the move: an optimiser holds on to the weights that it was given
        optimiser = self.options.make_optimiser(self.network)
        if self.progress.optimiser is not None:
            optimiser.load_state_dict(self.progress.optimiser)
        average = self._average(self.progress.averaged)
        while len(history) < self.options.epochs:
            if out_of_patience(history, patience):
                return "stopped early"
            epoch = len(history) + 1
            trained, average = self._train_or_halve(epoch, optimiser, average)
            if trained is None:
                return "cancelled"
            averaged = None
            if average is None:
                validated = self._validate()
            else:
                with average.installed(self.network):
                    validated = self._validate()
                    averaged = copy_weights(self.network)
            if validated is None:
                return "cancelled"
            metrics = trained.metrics("train") | validated.metrics("validation")
            self._end_epoch(epoch, metrics, optimiser, averaged)
        return "done"

    def _average(self, earlier: Mapping[str, Tensor] | None) -> WeightAverage | None:
        if self.options.averaging <= 0:
            return None
        steps = self.options.averaging * len(self.batches)
        return WeightAverage.begin(self.network, steps, earlier)

    def _train_or_halve(
        self, epoch: int, optimiser: torch.optim.Optimizer, average: WeightAverage | None
    ) -> tuple[RunningMean | None, WeightAverage | None]:
        """Train an epoch; where the memory does not suffice, once more with half of a batch."""
        try:
            return self._train_epoch(epoch, optimiser, average), average
        except Exception as error:
            if not is_out_of_memory(error) or not self._can_halve:
                raise
        # outside of the block: the error holds on to all that filled the memory
        self._halve_batches(optimiser)
        average = self._average(None if average is None else average.weights)
        return self._train_epoch(epoch, optimiser, average), average

    @property
    def _can_halve(self) -> bool:
        """Whether batches may be halved: once, since what is still too much then is so by far."""
        size = self.batches.batch_size
        return size == self.options.batch_size and size > 1

    def _halve_batches(self, optimiser: torch.optim.Optimizer) -> None:
        """Go on with half as many images in a batch, and say so."""
        optimiser.zero_grad(set_to_none=True)
        release_memory()
        before = self.batches.batch_size
        for batches in filter(None, (self.batches, self.watched)):
            batches.batch_size = before // 2
        self.on_event(
            events.Message(
                f"the memory of {self.device} did not suffice for batches of {before} images: all "
                f"images of the epoch come again, after the steps taken so far, in batches of {before // 2}",
                finding=True,
            )
        )

    def _train_epoch(
        self, epoch: int, optimiser: torch.optim.Optimizer, average: WeightAverage | None
    ) -> RunningMean | None:
        """Take one step for every batch; None when cancelled."""
        # all randomness depends on seed and epoch alone, so that a training resumed here goes on
        # as if it had never stopped
        self.batches.epoch = epoch
        torch.manual_seed(derived_seed(self.options.seed, epoch, 1))
        self.generator.manual_seed(derived_seed(self.options.seed, epoch, 2))
        self.network.train()
        mean = RunningMean(self.weights)
        before = (epoch - 1) * len(self.batches)
        for done, (images, labels) in enumerate(self.batches, start=1):
            if self.cancelled():
                return None
            loss = self._loss(images.to(self.device), labels.to(self.device), mean)
            rate = self.options.learning_rate_at(epoch, (done - 1) / len(self.batches))
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            if average is not None:
                average.update(self.network, before + done)
            self.on_event(events.Advanced(before + done))
        return mean

    def _loss(self, images: Tensor, labels: Tensor, mean: RunningMean) -> Tensor:
        """Return what is minimised on a batch, and add it to the epoch's mean."""
        network, options = self.network, self.options
        # the network alone: what is made of its results, and validation, is float32 in any case
        with autocast_to(options.precision, images.device):
            training_pass = network.training_pass(images)
            logits = at_least_float32(network.head(training_pass.maps[network.layer_names[-1]]))
            own_losses = network.training_losses(images, training_pass.maps)
            auxiliary: dict[str, Tensor] = {}
            if options.auxiliary_weight > 0:
                auxiliary = network.auxiliary_logits(training_pass.maps)
        ordering = {}
        if options.loss != "cross_entropy":
            ordering = latent_loss(options.loss, network, training_pass, labels, self.generator)
        losses = {
            **own_losses,
            **training_pass.penalties,
            **{name: options.loss_weight * value for name, value in ordering.items()},
        }
        mean.add(logits.detach(), labels, losses)
        smoothing = max(options.label_smoothing, 0.0)
        loss = weighted_cross_entropy(logits, labels, self.weights, smoothing)
        loss = loss + sum(losses.values())
        for others in auxiliary.values():
            own = weighted_cross_entropy(at_least_float32(others), labels, self.weights, smoothing)
            loss = loss + options.auxiliary_weight * own
        # before the step: the weights so far are then still good
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss became {float(loss.detach())}")
        return loss

    @torch.no_grad()
    def _validate(self) -> RunningMean | None:
        """Measure the validation images, if there are any; None when cancelled."""
        self.network.eval()
        mean = RunningMean(self.weights)
        for images, labels in () if self.watched is None else self.watched:
            if self.cancelled():
                return None
            x, classes = images.to(self.device), labels.to(self.device)
            maps = self.network.feature_maps(x)
            logits = self.network.head(maps[self.network.layer_names[-1]])
            mean.add(logits, classes, self.network.training_losses(x, maps))
        return mean

    def _end_epoch(
        self,
        epoch: int,
        metrics: dict[str, float],
        optimiser: torch.optim.Optimizer,
        averaged: dict[str, Tensor] | None,
    ) -> None:
        """Note the metrics, keep the weights if they are the best, write the checkpoint."""
        history = self.progress.history
        entry = {**metrics, "learning_rate": self.options.learning_rate_at(epoch)}
        # the weights first: an interruption between the two leaves no epoch without its weights
        if best_epoch([*history, entry]) == epoch:
            self.progress.best_weights = averaged or copy_weights(self.network)
        history.append(entry)
        if self.checkpoints is not None:
            self.checkpoints.save(history, self.network, optimiser, averaged)
        self.on_event(events.EpochFinished(epoch, self.options.epochs, history[-1]))


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the network's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _choose_weights(
    train: Examples, validation: Examples | None, options: TrainingOptions, device: str
) -> Tensor | None:
    if options.class_weights == "none":
        return None
    # of classes that are met: one that only validation has weighs nothing, and has to have a place
    met = [train.labels, *([] if validation is None else [validation.labels])]
    classes = int(torch.cat(met).max()) + 1
    return balanced_weights(train.labels, classes).to(device)


def _begin(network: Network, checkpoints: CheckpointFolder | None, on_event: OnEvent) -> Progress:
    begun = None if checkpoints is None else checkpoints.begin()
    if begun is None:
        return Progress(copy_weights(network))
    last, best_weights = begun
    network.load_state_dict(last.weights)
    on_event(events.Message(f"going on after epoch {last.epoch}"))
    return Progress(best_weights, list(last.history), last.optimiser, last.averaged)


class Loop(Protocol):
    """A training as :func:`run_guarded` sees it."""

    @property
    def trained(self) -> nn.Module:
        """Whose weights change."""

    @property
    def device(self) -> str:
        """Where that is."""

    @property
    def finished(self) -> int:
        """How many epochs are."""

    def run(self) -> Status:
        """Train to the end, or until cancelled."""


def run_guarded(loop: Loop) -> tuple[Status, Exception | None]:
    """Run a loop; return how it ended and what broke it, and leave no gradient behind."""
    # the same algorithm each time; of no effect without a CUDA device
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    try:
        with deterministic, torch.enable_grad():
            return loop.run(), None
    except KeyboardInterrupt:
        if not loop.finished:
            raise  # there is nothing to keep
        return "cancelled", None
    except Exception as error:  # noqa: BLE001 - whatever it was, the best model so far is kept
        return "failed", error
    finally:
        loop.trained.zero_grad(set_to_none=True)
        if loop.device.startswith("cuda"):
            torch.cuda.empty_cache()


def describe_place(device: str, reason: str, threads: int) -> str:
    """Say where a training runs, and why there.

    Parameters
    ----------
    device : str
        As torch names it.
    reason : str
        Why this one.
    threads : int
        Of the processor; told of ``cpu`` alone.

    Returns
    -------
    str
        One line without a full stop.
    """
    suffix = f" with {threads} thread{'s' if threads > 1 else ''}" if device == "cpu" else ""
    return f"training on {device}{suffix}: {reason}"


def describe_failure(error: Exception, device: str, finished: int, epochs: int, kept: int) -> str:
    """Say what broke a training off, what is kept of it and what to do.

    Parameters
    ----------
    error : Exception
    device : str
        That was trained on.
    finished, epochs : int
        Epochs that were finished, and all of them.
    kept : int
        The epoch whose weights are kept; 0 for none.

    Returns
    -------
    str
        One line without a full stop.
    """
    text = str(error)
    if is_out_of_memory(error) or "memory" in text.lower():
        what = f"the memory of {device} did not suffice"
        advice = "choose a smaller batch size or image size"
    elif isinstance(error, DivergedError):
        what, advice = text, "choose a lower learning rate"
    elif isinstance(error, OSError) and error.strerror:
        what = f"{error.filename or 'a file'}: {error.strerror}"
        advice = "free some space or choose another folder"
    else:
        what, advice = f"{type(error).__name__}: {text}", ""
    left = (
        f"the best model so far (epoch {kept}) is kept"
        if kept
        else "no epoch was finished, so there is no model"
    )
    begun = min(finished + 1, epochs)
    return "; ".join(
        filter(None, [f"training broke off in epoch {begun} of {epochs}: {what}", left, advice])
    )
