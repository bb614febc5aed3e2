"""Training: it learns, tells, repeats itself, and leaves nothing else changed."""

import signal
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from napari_why.core.errors import ParameterError
from napari_why.core.events import Advanced, EpochFinished, Event, Finished, Message, Started
from napari_why.networks import build_network, wrap
from napari_why.training import TensorExamples, TrainingOptions


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
        ("patience", -2),
        ("label_smoothing", 1.0),
        ("schedule", "cosine"),
        ("optimiser", "lbfgs"),
        ("device", "cuda:77"),
    ],
)
def test_settings_out_of_range_are_refused(train_steadily, tiny_network, train, setting, value):
    settings = {"epochs": 1, setting: value}
    with pytest.raises(ParameterError, match=f"{setting}: found"):
        train_steadily(tiny_network(), train, None, **settings)


def undecided_network():
    """A network whose answer is one half for every image, whatever the seed."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    for weight in head.parameters():
        nn.init.zeros_(weight)
    return wrap(nn.Conv2d(2, 2, 1), head, input_channels=2, classes=2)


@pytest.mark.parametrize(("class_weights", "slope"), [("none", 0.25), ("balanced", 0.0)])
def test_class_weights_weigh_what_is_trained_on(train_steadily, class_weights, slope):
    """15 images of one class and 5 of the other: balanced, they draw the bias to neither side."""
    labels = torch.tensor([0] * 15 + [1] * 5)
    images = TensorExamples(torch.ones(20, 2, 8, 8), labels)
    result = train_steadily(
        undecided_network(),
        images,
        None,
        epochs=1,
        optimiser="sgd",
        learning_rate=0.1,
        batch_size=20,
        class_weights=class_weights,
    )
    bias = list(result.network.state_dict().values())[-1]  # that of the head's last layer
    # by hand: minus the rate times the mean of weight times (p - y)
    assert bias.tolist() == pytest.approx([0.1 * slope, -0.1 * slope], abs=1e-6)


def test_class_weights_weigh_what_is_watched(train_steadily, tiny_network, bright_and_dark):
    """At a learning rate of next to nothing both trainings end with the same network."""
    images, watched = (bright_and_dark(24, seed=seed) for seed in (1, 2))
    uneven = [*range(0, 24, 2), 1, 3, 5, 7]  # 12 and 4
    images, watched = (TensorExamples(x.stack[uneven], x.labels[uneven]) for x in (images, watched))
    settings = {"epochs": 1, "learning_rate": 1e-12, "batch_size": 20}
    plain = train_steadily(tiny_network(), images, watched, **settings)
    balanced = train_steadily(
        tiny_network(), images, watched, class_weights="balanced", **settings
    ).history[0]
    with torch.no_grad():
        logits = plain.network(watched.stack)
    losses = -logits.log_softmax(1)[torch.arange(16), watched.labels]
    of_classes = [float(losses[:12].mean()), float(losses[12:].mean())]
    assert plain.history[0]["validation_loss"] == pytest.approx(float(losses.mean()), rel=1e-4)
    assert balanced["validation_loss"] == pytest.approx(sum(of_classes) / 2, rel=1e-4)
    right = (logits.argmax(1) == watched.labels).double()
    recalls = (float(right[:12].mean()) + float(right[12:].mean())) / 2
    assert balanced["validation_balanced_accuracy"] == pytest.approx(recalls)
    assert balanced["validation_accuracy"] == pytest.approx(float(right.mean()))


def test_a_class_that_only_validation_has_weighs_nothing(train_steadily, bright_and_dark):
    images = bright_and_dark(8)
    one = TensorExamples(images.stack[::2], images.labels[::2])
    result = train_steadily(undecided_network(), one, images, epochs=1, class_weights="balanced")
    assert result.history[0]["validation_loss"] == pytest.approx(0.69, abs=0.02)


def test_class_weights_are_part_of_what_a_resumed_training_must_share(tiny_network):
    network = tiny_network()
    plain = TrainingOptions(epochs=1).identity(network)
    assert "class_weights" not in plain, "checkpoints of earlier versions know of none"
    weighted = TrainingOptions(epochs=1, class_weights="balanced").identity(network)
    assert weighted["class_weights"] == "balanced"
