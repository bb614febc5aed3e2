"""Checkpoints of a training: safetensors and JSON, one folder an epoch, never pickle."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.targets import try_target
from napari_why.core.whole_files import atomic_folder

FORMAT = "napari-why checkpoint"
VERSION = 1  # raised when older programs could misread what is written
WEIGHTS, OPTIMISER, STATE = "weights.safetensors", "optimiser.safetensors", "checkpoint.json"
AVERAGED = "averaged.safetensors"  # only where weights are averaged

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
    # the first of equal ones: the same loss with less training
    losses = [_loss(metrics) for metrics in history]
    return min(range(len(losses)), key=losses.__getitem__) + 1


def out_of_patience(history: History, patience: int) -> bool:
    """Tell whether the last ``patience`` epochs brought nothing better; never with 0.

    Parameters
    ----------
    history : sequence of dict
        Losses and metrics of the epochs so far, as :func:`best_epoch` compares them.
    patience : int
        Epochs without a better one that are put up with; 0 for any number.

    Returns
    -------
    bool
        Whether the training should stop.
    """
    return bool(patience) and len(history) - best_epoch(history) >= patience


def _loss(metrics: dict[str, float]) -> float:
    loss = metrics.get("validation_loss", metrics.get("train_loss", math.inf))
    # NaN compares false with everything, and would win or lose by its place in the list
    return loss if math.isfinite(loss) else math.inf


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training at the end of an epoch.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    history : tuple of dict of str to float
        Metrics of the epochs so far.
    weights : dict of str to Tensor
        The network's state.
    optimiser : dict
        The optimiser's state, as ``torch.optim.Optimizer.state_dict`` gives it.
    settings : mapping
        What must be the same for a training that goes on from here.
    averaged : dict of str to Tensor, optional
        The network's state with the average of its weights, where they are averaged.
    """

    epoch: int
    history: tuple[dict[str, float], ...]
    weights: dict[str, Tensor]
    optimiser: dict[str, Any]
    settings: Mapping[str, Any]
    averaged: dict[str, Tensor] | None = None

    @property
    def kept(self) -> dict[str, Tensor]:
        """The state to end with, if this epoch is the best."""
        return self.weights if self.averaged is None else self.averaged


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one training.

    Parameters
    ----------
    folder : Path
        Holds one folder an epoch.
    settings : mapping
        JSON facts that must be the same for a training that goes on from here, such as the
        fingerprint of the images; the training adds its own (network, optimiser, seed, ...).
    resume : bool
        Go on from the last checkpoint in the folder, if there is one; the weights become the same
        as those of a training that was never interrupted. Without it a folder that holds
        checkpoints is refused.
    ends_with : {"best", "last"}
        Which epoch's weights a training ends with. Of two players that are trained against each other
        no loss tells which epoch is best.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    ends_with: Literal["best", "last"] = "best"

    @classmethod
    def of(cls, folder: str | Path | None, *, resume: bool) -> Self | None:
        """Return the checkpoints in a folder; None without one.

        Parameters
        ----------
        folder : str or Path, optional
            Need not exist.
        resume : bool
            Go on from the last checkpoint that lies there.

        Returns
        -------
        CheckpointFolder or None
            Without settings of its own; None without a folder, where no checkpoints are kept.

        Raises
        ------
        ParameterError
            There is no folder to resume from.
        WhyError
            Nothing can be written there, which must not come out after the first epoch.
        """
        if folder is None:
            if resume:
                raise ParameterError("resume: found no folder to go on from; give one")
            return None
        try_target(folder)
        return cls(Path(folder), resume=resume)

    def with_settings(self, further: Mapping[str, Any]) -> Self:
        """Return the same for a training that also has to agree in these settings."""
        return replace(self, settings={**further, **self.settings})

    def begin(self) -> tuple[Checkpoint, dict[str, Tensor]] | None:
        """Return where to go on, as :meth:`latest` does; None for a training that starts anew.

        Raises
        ------
        ParameterError
            The folder holds checkpoints that are not to be resumed.
        ModelFileError
            See :meth:`latest`.
        """
        if not self.used:
            return None
        if not self.resume:
            raise ParameterError(
                f"checkpoint folder: found {self.folder} with an earlier training's "
                "checkpoints; resume that, or choose another folder"
            )
        return self.latest()

    def save(
        self,
        history: Sequence[dict[str, float]],
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        averaged: dict[str, Tensor] | None = None,
    ) -> None:
        """Write the checkpoint of the epoch that ends; see :func:`save_checkpoint`.

        Parameters
        ----------
        history : sequence of dict
            Losses and metrics of all epochs, the one that ends last.
        network : Module
            Saved as it is after the last step, from where a training goes on.
        optimiser : Optimizer
            Of that network.
        averaged : dict of str to Tensor, optional
            Averaged state by name, where weights are averaged.
        """
        checkpoint = Checkpoint(
            len(history),
            tuple(history),
            network.state_dict(),
            optimiser.state_dict(),
            self.settings,
            averaged,
        )
        save_checkpoint(self.folder, checkpoint, best_epoch=self._epoch_to_end_with(history))

    def _epoch_to_end_with(self, history: History) -> int:
        return len(history) if self.ends_with == "last" else best_epoch(history)

    @property
    def used(self) -> bool:
        """Whether there are checkpoints in the folder."""
        return bool(_epoch_folders(self.folder))

    def latest(self) -> tuple[Checkpoint, dict[str, Tensor]]:
        """Return the last epoch's checkpoint and the best epoch's state to end with.

        Raises
        ------
        ModelFileError
            The checkpoint is of another training, incomplete or altered.
        """
        last = load_checkpoint(_epoch_folders(self.folder)[-1])
        # through JSON, as the other side has been: tuples become lists, and compare equal
        now = json.loads(json.dumps(dict(self.settings)))
        differing = sorted(
            name for name in {*now, *last.settings} if now.get(name) != last.settings.get(name)
        )
        if differing:
            found = "; ".join(
                f"{name} was {last.settings.get(name)} and is now {now.get(name)}"
                for name in differing
            )
            raise ModelFileError(
                f"{self.folder}: found checkpoints of another training ({found}); "
                "give the same settings to go on, or another folder to train anew"
            )
        best = self._epoch_to_end_with(last.history)
        if best in (0, last.epoch):  # then its weights have just been read
            return last, last.kept
        return last, load_checkpoint(self.folder / epoch_name(best)).kept


def holds_checkpoints(folder: Path) -> bool:
    """Tell whether a folder has checkpoints, or folders with those of the networks of one training."""
    return any(map(_epoch_folders, [folder, *(path for path in folder.glob("*") if path.is_dir())]))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, best_epoch: int) -> Path:
    """Write ``folder/epoch-0001`` (and so on); older ones go, except the best epoch's.

    Parameters
    ----------
    folder : Path
        Of the training.
    checkpoint : Checkpoint
        Weights, state of the optimiser and history up to its epoch.
    best_epoch : int
        Counted from 1; its folder stays beside the newest.

    Returns
    -------
    Path
        The folder of the epoch. It replaces one of the same name, as a whole or not at all.

    Raises
    ------
    OSError
        The disk is full, say; former checkpoints are then still there.
    """
    tensors, plain = split_optimiser(checkpoint.optimiser)
    files = {WEIGHTS: save(_portable(checkpoint.weights)), OPTIMISER: save(_portable(tensors))}
    if checkpoint.averaged is not None:
        files[AVERAGED] = save(_portable(checkpoint.averaged))
    state = {
        "format": FORMAT,
        "version": VERSION,
        "epoch": checkpoint.epoch,
        "history": list(checkpoint.history),
        "settings": dict(checkpoint.settings),
        "optimiser": plain,
        "sha256": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
    target = folder / epoch_name(checkpoint.epoch)
    with atomic_folder(target, replace=True) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        (temporary / STATE).write_text(json.dumps(state, indent=2), encoding="utf-8")
    # the last to go on from, the best to end with; all others would fill the disk
    kept = {target.name, epoch_name(best_epoch)}
    for path in _epoch_folders(folder):
        if path.name not in kept and (path / STATE).is_file():  # what a user put there stays
            # a file held open elsewhere must not end the training; the next epoch tries again
            shutil.rmtree(path, ignore_errors=True)
    return target


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one epoch's folder.

    Raises
    ------
    ModelFileError
        A file is missing, altered or of a newer format.
    """
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if (state["format"], state["version"]) != (FORMAT, VERSION):
            raise ModelFileError(
                f"{path}: found format {state['format']} {state['version']}; "
                f"expected {FORMAT} {VERSION}"
            )
        averages = AVERAGED in state["sha256"]
        names = (WEIGHTS, OPTIMISER, *([AVERAGED] if averages else []))
        contents = {name: (path / name).read_bytes() for name in names}
        for name, content in contents.items():
            if sha256(content).hexdigest() != state["sha256"][name]:
                raise ModelFileError(f"{path / name}: found altered content; delete {path}")
        return Checkpoint(
            int(state["epoch"]),
            tuple(state["history"]),
            load(contents[WEIGHTS]),
            join_optimiser(load(contents[OPTIMISER]), state["optimiser"]),
            state["settings"],
            load(contents[AVERAGED]) if averages else None,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelFileError(
            f"{path}: found no complete checkpoint ({error}); delete the folder to train anew"
        ) from error


def epoch_name(epoch: int) -> str:
    """Return the folder name of an epoch's checkpoint."""
    return f"epoch-{epoch:04d}"


def split_optimiser(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Part an optimiser's state dictionary into tensors by name and the rest in JSON types."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"numbers": numbers, "param_groups": state["param_groups"]}


def join_optimiser(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what :func:`split_optimiser` parted.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        By ``PARAMETER.KEY``, the parameter as its number.
    plain : mapping
        ``numbers`` by parameter, and ``param_groups``, as read from JSON.

    Returns
    -------
    dict
        As ``load_state_dict`` of the optimiser takes it.
    """
    state: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in plain["numbers"].items()
    }
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    # JSON has no tuples, and Adam takes its betas apart as one
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        for group in plain["param_groups"]
    ]
    return {"state": state, "param_groups": groups}


def _epoch_folders(folder: Path) -> list[Path]:
    # epochs have leading zeros, so that names sort as numbers do
    return sorted(path for path in folder.glob("epoch-[0-9]*") if path.is_dir())


def _portable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # clones: tensors that share memory are refused by the format
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
