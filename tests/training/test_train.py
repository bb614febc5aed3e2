"""Training: it learns, tells, repeats itself, and leaves nothing else changed."""

import signal
import threading
import warnings
from typing import Any

import pytest
import torch

from napari_why.core.errors import ParameterError
from napari_why.core.events import Advanced, EpochFinished, Event, Finished, Message, Started
from napari_why.networks import build_network


def same(first: Any, second: Any) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_it_learns_and_gives_the_network_of_its_best_epoch(
    train_steadily, tiny_network, train, validation
):
    result = train_steadily(
        tiny_network(), train, validation, epochs=8, batch_size=5, learning_rate=0.05, device="cpu"
    )
    assert result.status == "done"
    assert result.device == "cpu"
    best = result.history[result.best_epoch - 1]
    assert best["validation_accuracy"] == 1.0  # with each of ten seeds
    assert best["validation_loss"] == min(epoch["validation_loss"] for epoch in result.history)
    # what is returned is that epoch's network, not the last one's
    result.network.eval()
    logits = result.network(validation.images(range(9)))
    loss = torch.nn.functional.cross_entropy(logits, validation.labels)
    assert float(loss.detach()) == pytest.approx(best["validation_loss"], rel=1e-5)


def test_what_it_tells(train_steadily, tiny_network, train, validation):
    events: list[Event] = []
    train_steadily(
        tiny_network(), train, validation, epochs=3, batch_size=5, on_event=events.append
    )
    assert Started("training", 15) in events
    assert [event.done for event in events if isinstance(event, Advanced)] == list(range(1, 16))
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert [event.epoch for event in epochs] == [1, 2, 3]
    assert set(epochs[0].metrics) >= {
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
    }
    assert any(isinstance(event, Message) and "training on" in event.text for event in events)
    assert events[-1] == Finished(partial=False)


def test_the_same_seed_gives_the_same_network_also_in_another_thread(
    train_steadily, tiny_network, train, validation
):
    def run(seed: int, into: list[Any]) -> None:
        into.append(
            train_steadily(
                tiny_network(),
                train,
                validation,
                epochs=2,
                augment=True,
                seed=seed,
                batch_size=5,
            )
        )

    results: list[Any] = []
    run(3, results)
    worker = threading.Thread(target=run, args=(3, results))
    worker.start()
    worker.join()
    run(4, results)
    first, second, other = results
    assert same(first.network, second.network)
    assert first.history == second.history
    assert not same(first.network, other.network)


def test_it_is_quiet_and_leaves_no_trace(
    train_steadily, tiny_network, train, validation, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    interrupt = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        train_steadily(tiny_network(), train, validation, epochs=1, threads=1)
    assert [str(item.message) for item in warned] == []
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(generator, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_ctrl_c_comes_through_and_works_again_afterwards(
    train_steadily, tiny_network, train, validation
):
    handler = signal.getsignal(signal.SIGINT)

    def press(event: Event) -> None:
        if isinstance(event, Advanced):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_steadily(tiny_network(), train, validation, epochs=1, on_event=press)
    assert signal.getsignal(signal.SIGINT) is handler


def test_without_validation_images_the_training_loss_decides(train_steadily, tiny_network, train):
    events: list[Event] = []
    result = train_steadily(
        tiny_network(), train, None, epochs=2, patience=1, on_event=events.append
    )
    losses = [epoch["train_loss"] for epoch in result.history]
    assert losses[result.best_epoch - 1] == min(losses)
    assert "validation_loss" not in result.history[0]
    assert any(isinstance(event, Message) and "no validation" in event.text for event in events)


def test_it_stops_early_when_nothing_gets_better(
    train_steadily, tiny_network, train, bright_and_dark
):
    # labels turned round: the better the training fits, the worse the validation loss
    upside_down = bright_and_dark(9, seed=1)
    upside_down = type(upside_down)(upside_down.stack, 1 - upside_down.labels)
    result = train_steadily(
        tiny_network(), train, upside_down, epochs=30, patience=3, learning_rate=0.05, batch_size=5
    )
    assert result.status == "stopped early"
    assert len(result.history) == result.best_epoch + 3


def test_the_learning_rate_falls_by_epoch_not_by_batch(
    train_steadily, tiny_network, train, validation
):
    result = train_steadily(
        tiny_network(),
        train,
        validation,
        epochs=5,
        batch_size=2,
        learning_rate=0.1,
        step_size=2,
        step_decay=0.5,
    )
    rates = [epoch["learning_rate"] for epoch in result.history]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_the_joint_loss_trains_the_classifiers_of_every_block(train_steadily, bright_and_dark):
    train = bright_and_dark(6, size=16)

    def change(weight: float) -> float:
        network = build_network("cam_net", input_channels=2, classes=2, size=16, joint_loss=True)
        before = network.get_parameter("block_classifiers.block1.linear.weight").detach().clone()
        train_steadily(network, train, None, epochs=1, batch_size=6, auxiliary_weight=weight)
        after = network.get_parameter("block_classifiers.block1.linear.weight")
        return float((after - before).abs().max())

    assert change(1.0) > 0
    assert change(0.0) == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("step_decay", 0.0),
        ("patience", -1),
        ("optimiser", "lbfgs"),
        ("device", "cuda:77"),
    ],
)
def test_settings_out_of_range_are_refused(train_steadily, tiny_network, train, setting, value):
    settings = {"epochs": 1, setting: value}
    with pytest.raises(ParameterError, match=f"{setting}: found"):
        train_steadily(tiny_network(), train, None, **settings)
