"""Cancelled, failed and resumed trainings keep the best model, and go on as if nothing had been."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import Advanced, Event, Finished
from napari_why.networks import Network, build_network
from napari_why.training import TrainingError

SETTINGS: dict[str, Any] = {"epochs": 4, "batch_size": 5, "learning_rate": 0.02, "device": "cpu"}


def same(first: Network, second: Network) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


class StopAfter:
    """Answers to ``cancelled()`` with yes once so many batches are done."""

    def __init__(self, batches: int) -> None:
        self.batches, self.done = batches, 0

    def on_event(self, event: Event) -> None:
        if isinstance(event, Advanced):
            self.done = event.done

    def __call__(self) -> bool:
        return self.done >= self.batches


def failing_after(network: Network, calls: int, error: Exception) -> Network:
    """Let the network raise at a training batch."""
    seen: list[int] = []

    def count(module: torch.nn.Module, inputs: Any) -> None:
        seen.extend([1] if module.training else [])
        if len(seen) > calls:
            raise error

    next(network.children()).register_forward_pre_hook(count)
    return network


def test_a_cancelled_training_keeps_the_best_epoch(train_steadily, tiny_network, train, validation):
    whole = train_steadily(tiny_network(), train, validation, **(SETTINGS | {"epochs": 2}))
    stop = StopAfter(12)  # 5 batches an epoch: in the third epoch
    events: list[Event] = []
    result = train_steadily(
        tiny_network(),
        train,
        validation,
        **SETTINGS,
        cancelled=stop,
        on_event=lambda event: (stop.on_event(event), events.append(event)),
    )
    assert result.status == "cancelled"
    assert result.history == whole.history
    assert same(result.network, whole.network)
    assert events[-1] == Finished(partial=True)


def test_a_training_cancelled_at_once_says_that_nothing_was_learnt(
    train_steadily, tiny_network, train, validation
):
    result = train_steadily(tiny_network(), train, validation, **SETTINGS, cancelled=lambda: True)
    assert (result.status, result.best_epoch, result.history) == ("cancelled", 0, ())
    assert same(result.network, tiny_network())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "smaller batch"),
        (MemoryError(), "smaller batch"),
        (RuntimeError("shape mismatch"), "RuntimeError: shape mismatch"),
    ],
)
def test_a_failure_keeps_the_best_epoch_and_tells_why(
    train_steadily, tiny_network, train, validation, error, words
):
    network = failing_after(tiny_network(), 7, error)
    with pytest.raises(TrainingError, match=words) as caught:
        train_steadily(network, train, validation, **SETTINGS)
    assert "epoch 2 of 4" in str(caught.value)
    assert "epoch 1) is kept" in str(caught.value)
    result = caught.value.result
    assert result is not None
    assert (result.status, result.best_epoch, len(result.history)) == ("failed", 1, 1)
    first = train_steadily(tiny_network(), train, validation, **(SETTINGS | {"epochs": 1}))
    assert same(result.network, first.network)


def test_a_loss_that_is_not_a_number_ends_the_training(
    train_steadily, tiny_network, train, validation
):
    train.stack[3, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingError, match="lower learning rate") as caught:
        train_steadily(tiny_network(), train, validation, **SETTINGS)
    assert "no epoch was finished" in str(caught.value)
    result = caught.value.result
    assert result is not None
    assert all(torch.isfinite(value).all() for value in result.network.state_dict().values())


def test_a_full_disk_ends_the_training_but_not_the_model(
    train_steadily, tiny_network, train, validation, tmp_path, monkeypatch
):
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "epoch-0002" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingError, match="No space left on device") as caught:
        train_steadily(tiny_network(), train, validation, **SETTINGS, checkpoint_folder=tmp_path)
    assert caught.value.result is not None
    assert caught.value.result.best_epoch > 0
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001"]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "adamax", "sgd"])
def test_a_resumed_training_ends_with_the_same_weights(
    train_steadily, tiny_network, train, validation, tmp_path, optimiser
):
    def run(**further: Any) -> Any:
        return train_steadily(
            tiny_network(),
            train,
            validation,
            **SETTINGS,
            optimiser=optimiser,
            step_size=2,
            augment=True,
            **further,
        )

    whole = run()
    stop = StopAfter(12)
    part = run(cancelled=stop, on_event=stop.on_event, checkpoint_folder=tmp_path)
    assert (part.status, len(part.history)) == ("cancelled", 2)
    resumed = run(checkpoint_folder=tmp_path, resume=True)
    assert resumed.status == "done"
    assert resumed.history == whole.history
    assert same(resumed.network, whole.network)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("iresnet", {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}),
        ("iresnet", {"blocks": "1", "widths": "4", "downscaling": "2", "head": "thesis"}),
        ("cam_net", {"joint_loss": True}),
    ],
)
def test_the_shipped_networks_resume_to_the_same_weights(
    train_steadily, name, parameters, bright_and_dark, tmp_path
):
    train, validation = bright_and_dark(6, size=16), bright_and_dark(4, seed=1, size=16)

    def run(epochs: int, **further: Any) -> Any:
        network = build_network(name, input_channels=2, classes=2, size=16, **parameters)
        settings = SETTINGS | {"epochs": epochs, "optimiser": "adamax", "auxiliary_weight": 1.0}
        return train_steadily(network, train, validation, **settings, **further)

    whole = run(3)
    run(2, checkpoint_folder=tmp_path)
    resumed = run(3, checkpoint_folder=tmp_path, resume=True)
    assert resumed.history == whole.history
    assert same(resumed.network, whole.network)


def test_resuming_a_finished_training_trains_no_more(
    train_steadily, tiny_network, train, validation, tmp_path
):
    first = train_steadily(
        tiny_network(), train, validation, **SETTINGS, checkpoint_folder=tmp_path
    )
    again = train_steadily(
        tiny_network(), train, validation, **SETTINGS, checkpoint_folder=tmp_path, resume=True
    )
    assert again.status == "done"
    assert again.history == first.history
    assert same(again.network, first.network)


def test_resuming_with_nothing_there_begins(
    train_steadily, tiny_network, train, validation, tmp_path
):
    result = train_steadily(
        tiny_network(), train, validation, **SETTINGS, checkpoint_folder=tmp_path, resume=True
    )
    assert len(result.history) == 4


def test_checkpoints_of_another_training_are_not_taken(
    train_steadily, tiny_network, train, validation, tmp_path
):
    train_steadily(
        tiny_network(), train, validation, **(SETTINGS | {"epochs": 1}), checkpoint_folder=tmp_path
    )
    with pytest.raises(ModelFileError, match="seed was 0 and is now 1"):
        train_steadily(
            tiny_network(),
            train,
            validation,
            **SETTINGS,
            seed=1,
            checkpoint_folder=tmp_path,
            resume=True,
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "weights.safetensors").write_bytes(b"short"),
        lambda folder: (folder / "optimiser.safetensors").unlink(),
        lambda folder: (folder / "checkpoint.json").write_text("{"),
        lambda folder: (folder / "checkpoint.json").write_text("{}"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    train_steadily, tiny_network, train, validation, tmp_path, damage: Callable[[Path], Any]
):
    settings = SETTINGS | {"checkpoint_folder": tmp_path}
    train_steadily(tiny_network(), train, validation, **(settings | {"epochs": 1}))
    damage(tmp_path / "epoch-0001")
    with pytest.raises(ModelFileError, match="epoch-0001"):
        train_steadily(tiny_network(), train, validation, **settings, resume=True)


def test_only_the_last_and_the_best_checkpoint_stay(
    train_steadily, tiny_network, train, validation, tmp_path
):
    result = train_steadily(
        tiny_network(),
        train,
        validation,
        **(SETTINGS | {"epochs": 6, "learning_rate": 0.3}),
        checkpoint_folder=tmp_path,
    )
    kept = {f"epoch-{result.best_epoch:04d}", "epoch-0006"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_checkpoints_are_neither_overwritten_nor_gone_on_from_unasked(
    train_steadily, tiny_network, train, validation, tmp_path
):
    settings = SETTINGS | {"epochs": 1, "checkpoint_folder": tmp_path}
    train_steadily(tiny_network(), train, validation, **settings)
    with pytest.raises(ParameterError, match="resume that, or choose another folder"):
        train_steadily(tiny_network(), train, validation, **settings)
    with pytest.raises(ParameterError, match="resume: found no folder"):
        train_steadily(tiny_network(), train, validation, **SETTINGS, resume=True)
