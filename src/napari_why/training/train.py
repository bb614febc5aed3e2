"""Train a network on labelled images: one plain function around Lightning's loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_why.core.devices import choose_device, limited_threads
from napari_why.core.errors import ParameterError
from napari_why.core.events import (
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.networks.network import Network
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import Augmentation, Batches, Examples, seeded_torch
from napari_why.training.losses import LossName, check_loss
from napari_why.training.progress import (
    CancelledTrainingError,
    DivergedError,
    Progress,
    copied_weights,
)
from napari_why.training.settings import (
    OptimiserName,
    Settings,
    Status,
    TrainingError,
    TrainingResult,
    best_epoch,
    out_of_patience,
)

if TYPE_CHECKING:
    from napari_why.training.loop import TrainingModule


def train_network(
    network: Network,
    train: Examples,
    validation: Examples | None,
    *,
    epochs: int,
    batch_size: int = 20,
    learning_rate: float = 1e-3,
    optimiser: OptimiserName = "adam",
    step_size: int = 0,
    step_decay: float = 0.1,
    patience: int = 0,
    auxiliary_weight: float = 0.0,
    loss: LossName = "cross_entropy",
    loss_weight: float = 1.0,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_folder: Path | None = None,
    checkpoint_facts: Mapping[str, Any] | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> TrainingResult:
    """Train a network in place and leave it with the weights of its best epoch.

    Minimises the mean cross-entropy of the logits, the network's own losses and penalties, and
    ``loss``. The best epoch is the one with the lowest loss, without penalties and ``loss``, on
    the *validation* images, and early stopping looks at the same; images kept for testing are
    never seen. The same seed gives the same weights, bit for bit on the CPU.

    Parameters
    ----------
    network : Network
        Trained in place; on the CPU and in evaluation mode afterwards.
    train, validation : Examples
        Preprocessed images with class indices. Without validation images (None) the training
        loss picks the best epoch and training never stops early.
    epochs, batch_size, learning_rate, optimiser, step_size, step_decay, patience, seed : optional
        See :class:`~napari_why.training.settings.Settings`.
    auxiliary_weight : float
        Weight of the cross-entropies of a network's ``auxiliary_logits(maps)``, logits
        (N, classes) by layer; of no effect for a network without auxiliary classifiers.
    loss, loss_weight : str, float
        What is added to the cross-entropy, and its weight; see :mod:`napari_why.training.losses`.
    augmentation : Augmentation, optional
        Random changes of the training images; none when None.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; the choice is told by a Message.
    threads : int, optional
        Processor threads for torch; all cores but one when None.
    checkpoint_folder : Path, optional
        A checkpoint is written there after each epoch.
    checkpoint_facts : mapping, optional
        Further JSON facts that must be the same for a training that goes on from there, such as
        the fingerprint of the images.
    resume : bool
        Go on from the last checkpoint there, if there is one; the weights become the same as
        those of a training that was never interrupted. Without it a folder that holds checkpoints
        is refused.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`. Cancelling takes effect between two batches.

    Returns
    -------
    TrainingResult
        ``cancelled`` with the best model so far when it was cancelled.

    Raises
    ------
    ParameterError
        A setting out of its range, no training image, an unknown device, a checkpoint folder
        that is in use.
    ModelFileError
        The checkpoints belong to another training or are damaged.
    TrainingError
        The training broke off (memory, a loss that is not finite, a full disk); ``error.result``
        is the best model so far.
    """
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimiser=optimiser,
        step_size=step_size,
        step_decay=step_decay,
        patience=patience if validation is not None else min(patience, 0),
        auxiliary_weight=auxiliary_weight,
        seed=seed,
        augmentation=augmentation,
        loss=loss,
        loss_weight=loss_weight,
    )
    check_loss(loss, network)
    if not len(train.labels):
        raise ParameterError("train: found no image; expected at least one")
    choice = choose_device(device)
    checkpoints = None
    if checkpoint_folder is not None:
        identity = {**_identity(network, train, settings), **(checkpoint_facts or {})}
        checkpoints = CheckpointFolder(Path(checkpoint_folder), identity)
    progress = _start(network, checkpoints, resume, on_event)
    batches = Batches(train, batch_size, seed, augmentation)
    # imported here: Lightning takes seconds, and using a classifier does without it
    from napari_why.training.loop import TrainingModule

    module = TrainingModule(network, batches, settings, progress, checkpoints, on_event, cancelled)
    with limited_threads(threads) as count, seeded_torch(seed, choice.name):
        on_event(Message(_place(choice.name, choice.reason, count)))
        if validation is None:
            on_event(Message("no validation images: the training loss picks the best epoch"))
        on_event(Started("training", epochs * len(batches)))
        status, failure = _run(module, validation, choice.name)
    network.to("cpu")
    network.load_state_dict(progress.best_weights)
    network.eval()
    result = TrainingResult(
        network,
        tuple(progress.history),
        best_epoch(progress.history),
        status,
        choice.name,
        seed,
    )
    if failure is not None:
        raise TrainingError(_failure_in_words(failure, result, epochs), result) from failure
    on_event(Finished(partial=status == "cancelled"))
    return result


def _identity(network: Network, train: Examples, settings: Settings) -> dict[str, Any]:
    return {
        **settings.resumable(),
        "network": network.name,
        "configuration": dict(network.configuration()),
        "images": len(train.labels),
    }


def _start(
    network: Network, checkpoints: CheckpointFolder | None, resume: bool, on_event: OnEvent
) -> Progress:
    if resume and checkpoints is None:
        raise ParameterError("resume: found no folder to go on from; give one")
    if checkpoints is None or not checkpoints.used:
        return Progress(copied_weights(network))
    if not resume:
        raise ParameterError(
            f"checkpoint folder: found {checkpoints.folder} with an earlier training's "
            "checkpoints; resume that, or choose another folder"
        )
    last, best_weights = checkpoints.latest()
    network.load_state_dict(last.weights)
    on_event(Message(f"going on after epoch {last.epoch}"))
    return Progress(best_weights, list(last.history), last.optimiser)


def _run(
    module: "TrainingModule", validation: Examples | None, device: str
) -> tuple[Status, Exception | None]:
    from napari_why.training.quiet_lightning import (
        deterministic_cudnn,
        keyboard_interrupt_kept,
        make_trainer,
        quiet_lightning,
    )

    settings, progress = module.settings, module.progress
    remaining = settings.epochs - len(progress.history)
    if remaining <= 0:
        return "done", None
    if out_of_patience(progress.history, settings.patience):
        return "stopped early", None
    watched = None if validation is None else Batches(validation, settings.batch_size)
    try:
        with quiet_lightning(), keyboard_interrupt_kept(), deterministic_cudnn():
            make_trainer(device, remaining).fit(module, module.batches, watched)
    except CancelledTrainingError:
        return "cancelled", None
    except Exception as error:  # noqa: BLE001 - whatever it was, the best model so far is kept
        return "failed", error
    finally:
        module.zero_grad(set_to_none=True)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    return ("stopped early" if progress.stopped_early else "done"), None


def _place(device: str, reason: str, threads: int) -> str:
    suffix = f" with {threads} thread{'s' if threads > 1 else ''}" if device == "cpu" else ""
    return f"training on {device}{suffix}: {reason}"


def _failure_in_words(error: Exception, result: TrainingResult, epochs: int) -> str:
    text = str(error)
    if isinstance(error, MemoryError) or "memory" in text.lower():
        what = f"the memory of {result.device} did not suffice"
        advice = "choose a smaller batch size or image size"
    elif isinstance(error, DivergedError):
        what, advice = text, "choose a lower learning rate"
    elif isinstance(error, OSError) and error.strerror:
        what = f"{error.filename or 'a file'}: {error.strerror}"
        advice = "free some space or choose another folder"
    else:
        what, advice = f"{type(error).__name__}: {text}", ""
    kept = (
        f"the best model so far (epoch {result.best_epoch}) is kept"
        if result.best_epoch
        else "no epoch was finished, so there is no model"
    )
    begun = min(len(result.history) + 1, epochs)
    return "; ".join(
        filter(None, [f"training broke off in epoch {begun} of {epochs}: {what}", kept, advice])
    )
