"""No failure after the training costs the network: what is missing is listed, with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_why.core.errors import InversionError, UnsupportedNetworkError, WhyError
from napari_why.core.events import EpochFinished, Event, Finished, Message, Started, StopRequest
from napari_why.counterfactuals import counterfactual
from napari_why.datasets import Dataset
from napari_why.datasets.image_store import ImageStore
from napari_why.evaluation import evaluate
from napari_why.fitting import FittingError, after_training, fit, fit_card, fit_steps
from napari_why.fitting.left_out import LeftOut
from napari_why.measurement import measure_dataset
from napari_why.model import Classifier, load
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.iresnet import IResNet
from napari_why.simulation import simulate_to_folder
from napari_why.training import TrainingError

SMALL: dict[str, Any] = {
    "size": 16,
    "epochs": 1,
    "device": "cpu",
    "lock": "none",
    "pixel_maps": False,
    "network_parameters": {"blocks": "1", "widths": "4", "downscaling": "2"},
}
ALONE = SMALL | {"second_network": False}  # which takes half of the time


class Failing:
    """A step that fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self.error


FAILURES = {
    "inversion": (InversionError("stage1.block1 did not converge"), "stage1.block1"),
    "memory": (MemoryError(), "memory did not suffice"),
    "memory of a device": (torch.OutOfMemoryError("CUDA out of memory"), "memory did not suffice"),
    "a file": (OSError(5, "Input/output error", "a.tif"), "a.tif: Input/output error"),
    "a programming error": (KeyError("stage9"), "KeyError: 'stage9'"),
}

# owner, attribute, and what is then missing
STEPS = {
    "latent statistics": (LatentStatistics, "collect", "the latent statistics"),
    "second network": (after_training, "train_second_network", "the second network"),
    "choice": (after_training.TransportChooser, "choose", "how to transport each direction"),
    "metrics": (after_training, "held_out_metrics", "the metrics on the test images"),
    "seen images": (fit_card, "image_digest", "which images were seen in training"),
    "card": (fit_steps, "make_card", "the card of how it was made"),
    "second accuracy": (
        after_training.SecondNetwork,
        "accuracy_on",
        "the accuracy of the second network on the test images",
    ),
}
CASES = [*((step, "memory") for step in STEPS), ("choice", "inversion")]


@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_fails_is_listed_with_its_reason(failure: str) -> None:
    error, reason = FAILURES[failure]
    steps = LeftOut(lambda _: None, StopRequest())
    assert steps.attempt("a step", Failing(error)) is None
    assert steps.attempt("another", lambda: 1) == 1
    (entry,) = steps.entries
    assert entry.startswith("a step (")
    assert reason in entry


@pytest.mark.parametrize(("step", "failure"), CASES)
def test_a_step_that_fails_is_left_out(
    scenes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: str
) -> None:
    owner, name, missing = STEPS[step]
    error, reason = FAILURES[failure]
    monkeypatch.setattr(owner, name, Failing(error))
    events: list[Event] = []
    made = fit(scenes, on_event=events.append, **(SMALL if "second" in step else ALONE))
    monkeypatch.undo()
    classifier = load(made.save(tmp_path / "model"))
    assert classifier.card["training"]["status"] == "done"
    assert made.left_out == classifier.left_out == tuple(classifier.card["left_out"])
    assert any(entry.startswith(missing) and reason in entry for entry in classifier.left_out)
    assert any(f"failed: left out {missing}" in e.text for e in events if isinstance(e, Message))
    assert events[-1] == Finished(partial=True)
    told = " ".join(evaluate(classifier, scenes, nulls=False).sentences)
    assert ("may have been trained on (the classifier does not say)" in told) == (
        step == "seen images"
    )
    assert ("that the network has not seen" in told) == (step != "seen images")
    if step == "seen images":
        test = scenes.split(seed=0).part("test")
        measured = measure_dataset(classifier, test, method="mean_shift")
        assert any("does not say which images" in sentence for sentence in measured.sentences)
    image = scenes.image(0)
    answer = classifier.predict(image).label
    if step == "latent statistics":
        with pytest.raises(UnsupportedNetworkError, match=reason):
            counterfactual(classifier, image)
        return
    other = next(name for name in classifier.classes if name != answer)
    result = counterfactual(classifier, image, other, steps=2)
    assert any(missing in note and reason in note for note in result.notes)


def test_without_the_transport_the_means_are_there(
    scenes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Failing(np.linalg.LinAlgError("singular matrix"))
    monkeypatch.setattr("napari_why.model.fitted_transport.fit_class_transport", broken)
    classifier = fit(scenes, **SMALL)
    assert classifier.latent_statistics.complete
    assert classifier.left_out == (
        "the transport between the classes (LinAlgError: singular matrix)",
    )
    image = scenes.image(0)
    assert counterfactual(classifier, image, method="mean_shift", steps=2).images.size
    with pytest.raises(UnsupportedNetworkError, match="singular matrix"):
        counterfactual(classifier, image)


def test_an_inverse_that_never_converges_costs_the_choice_alone(
    scenes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_why.fitting.transport_choice.FEWEST", 0)
    monkeypatch.setattr(IResNet, "decode", Failing(InversionError("not converged")))
    classifier = fit(scenes, **SMALL)
    assert [entry.partition(" (")[0] for entry in classifier.left_out] == [
        "how to transport each direction"
    ]
    assert classifier.latent_statistics.transport is not None
    assert classifier.second_network is not None


class Interrupting:
    """Presses Ctrl-C, as Python tells of it, at the n-th event of a kind."""

    def __init__(self, *tasks: str) -> None:
        self.tasks, self.begun = list(tasks), []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.begun.append(event.task)
            if self.tasks and self.tasks[0] == event.task:
                del self.tasks[0]
                raise KeyboardInterrupt


def test_a_keyboard_interrupt_after_the_training_counts_as_cancel(scenes: Dataset) -> None:
    classifier = fit(scenes, on_event=Interrupting("choosing the transport"), **SMALL)
    assert classifier.left_out == ("how to transport each direction",)
    assert classifier.metrics["test"]["images"]["images"] > 0


def test_a_second_one_leaves_out_all_that_follows(scenes: Dataset) -> None:
    press = Interrupting("latent statistics", "evaluating")
    classifier = fit(scenes, on_event=press, **SMALL)
    assert press.begun[-1] == "noting which images were seen"
    assert classifier.metrics == {"validation": None, "test": None}
    assert "the metrics on the test images" in classifier.left_out
    assert classifier.card["seen_images"]


def test_a_keyboard_interrupt_in_the_training_keeps_the_epochs(scenes: Dataset) -> None:
    def press(event: Event) -> None:
        if isinstance(event, EpochFinished) and event.epoch == 2:
            raise KeyboardInterrupt

    classifier = fit(scenes, on_event=press, **(SMALL | {"epochs": 9}))
    assert classifier.card["training"]["status"] == "cancelled"
    assert len(classifier.card["training"]["history"]) == 2
    assert "the transport between the classes" in classifier.left_out


def test_before_the_first_epoch_it_is_what_it_is(scenes: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(scenes, on_event=Interrupting("training"), **SMALL)


def test_asked_twice_to_stop_the_fit_keeps_the_epochs_and_nothing_else(scenes: Dataset) -> None:
    stop = StopRequest()
    events: list[Event] = []

    def press(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochFinished):
            stop.ask()
            stop.ask()

    classifier = fit(scenes, on_event=press, cancelled=stop, **(SMALL | {"epochs": 9}))
    tasks = [event.task for event in events if isinstance(event, Started)]
    assert tasks[tasks.index("training") + 1 :] == ["noting which images were seen"]
    assert classifier.card["training"]["best_epoch"] == 1
    assert classifier.latent_statistics is None
    assert {"the latent statistics", "the second network"} <= set(classifier.left_out)
    assert classifier.predict(scenes.image(0)).label in classifier.classes


def test_what_a_network_has_no_use_for_is_not_missing(scenes: Dataset) -> None:
    stop = StopRequest()

    def press(event: Event) -> None:
        if isinstance(event, EpochFinished):
            stop.ask()
            stop.ask()

    classifier = fit(scenes, "cam_net", on_event=press, cancelled=stop, size=16, device="cpu")
    assert classifier.left_out == (
        "the metrics on the validation images",
        "the metrics on the test images",
    )


def test_a_place_for_checkpoints_is_tried_before_the_training(
    scenes: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    events: list[Event] = []
    with pytest.raises(WhyError, match="where a folder is needed"):
        fit(scenes, folder=tmp_path / "file" / "epochs", on_event=events.append, **ALONE)
    assert not any(isinstance(event, Started) for event in events)


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Images that are read anew each time, as those of a large data set are."""
    simulate_to_folder(tmp_path / "scenes", 24, size=16, wells=12)
    monkeypatch.setattr(ImageStore, "_keep", lambda *_: None)
    return Dataset.open(tmp_path / "scenes").split(seed=0)


def at_the_end_of_epoch(number: int, do: Any) -> Any:
    def listen(event: Event) -> None:
        if isinstance(event, EpochFinished) and event.epoch == number:
            do()

    return listen


@pytest.mark.parametrize("gone", ["test", "all"])
def test_images_that_are_gone_after_the_training_cost_what_needs_them(
    on_disk: Dataset, tmp_path: Path, gone: str
) -> None:
    table = on_disk.table
    rows = table if gone == "all" else table[table["split"] == gone].head(1)

    def unplug() -> None:
        for path in rows["path"]:
            Path(path).unlink()

    listen = at_the_end_of_epoch(1, unplug)
    classifier = load(fit(on_disk, on_event=listen, **ALONE).save(tmp_path / "model"))
    assert classifier.metrics["test"] is None
    assert (classifier.metrics["validation"] is None) == (gone == "all")
    (entry,) = (e for e in classifier.left_out if e.startswith("the metrics on the test images"))
    assert Path(rows["path"].iloc[-1]).suffix in entry
    assert len(classifier.card["seen_images"]) == (table["split"] != "test").sum()
    assert classifier.latent_statistics.complete  # those images were kept in memory


def test_images_that_vanish_between_two_epochs_leave_the_best_epoch(
    on_disk: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # no room for preprocessed images either: every epoch reads every file
    monkeypatch.setattr("napari_why.training.examples.storage_dtype", lambda *_: None)
    path = Path(on_disk.part("train").table["path"].iloc[0])
    listen = at_the_end_of_epoch(2, path.unlink)
    with pytest.raises(FittingError, match=path.name) as caught:
        fit(on_disk, on_event=listen, **(ALONE | {"epochs": 5}))
    classifier: Classifier = load(caught.value.classifier.save(tmp_path / "model"))
    assert len(classifier.card["training"]["history"]) == 2
    assert path.name in "".join(classifier.left_out)
    assert classifier.metrics["test"]["images"]["images"] > 0


def test_a_file_replaced_during_the_training_is_not_trained_on(
    on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_why.training.examples.storage_dtype", lambda *_: None)
    train = on_disk.part("train").table["path"]
    other = Path(train.iloc[-1]).read_bytes()
    listen = at_the_end_of_epoch(1, lambda: Path(train.iloc[0]).write_bytes(other))
    with pytest.raises(TrainingError, match="changed since it was opened"):
        fit(on_disk, on_event=listen, **(ALONE | {"epochs": 3}))
