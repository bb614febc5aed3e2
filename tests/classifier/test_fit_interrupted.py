"""A fit that is cancelled, fails or goes on: nothing that was finished is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_why.core.errors import ModelFileError
from napari_why.core.events import Advanced, EpochFinished, Event, Finished, Message, Started
from napari_why.counterfactuals import counterfactual
from napari_why.fitting import FittingError, fit
from napari_why.model import load
from napari_why.simulation import simulate
from napari_why.training import TrainingError

SMALL: dict[str, Any] = {
    "size": 16,
    "epochs": 2,
    "device": "cpu",
    "lock": "none",
    "pixel_maps": False,
    "second_network": False,
}
WHOLE = SMALL | {"lock": "auto", "second_network": True, "pixel_maps": True}
BLOCKS = {"blocks": "1", "widths": "4", "downscaling": "2"}


def test_a_cancelled_fit_gives_the_best_model_so_far(scenes):
    epochs: list[EpochFinished] = []
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        epochs.extend([event] if isinstance(event, EpochFinished) else [])

    classifier = fit(
        scenes,
        network_parameters=BLOCKS,
        on_event=listen,
        cancelled=lambda: len(epochs) >= 1,
        **(SMALL | {"epochs": 9}),
    )
    assert classifier.card["training"]["status"] == "cancelled"
    assert classifier.card["training"]["best_epoch"] == 1
    assert classifier.metrics["test"]["images"]["images"] > 0
    assert classifier.card["left_out"] == ["the transport between the classes"]
    train = classifier.card["splits"]["train"]
    assert sum(classifier.latent_statistics.true_counts) == len(train)
    assert events[-1] == Finished(partial=True)


STEPS_AFTER_TRAINING = {
    "latent statistics": "images in the latent statistics",
    "transport between classes": "the transport between the classes",
    "maps between classes": "the maps of pixels between the classes",
    "training": "the second network",
    "choosing the transport": "how to transport 2 of 2 directions",
}


@pytest.mark.parametrize(("task", "words"), STEPS_AFTER_TRAINING.items())
def test_cancelled_after_its_training_it_says_what_was_left_out(
    scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, words: str
):
    """And what is there can be saved and used, whichever step was cancelled."""
    # a direction is passed over where a barely trained network calls too few images rightly
    monkeypatch.setattr("napari_why.fitting.transport_choice.FEWEST", 0)
    events: list[Event] = []

    def cancelled() -> bool:
        tasks = [event.task for event in events if isinstance(event, Started)]
        return tasks.count(task) == (2 if task == "training" else 1)

    classifier = fit(
        scenes,
        network_parameters=BLOCKS,
        on_event=events.append,
        cancelled=cancelled,
        # the maps of pixels take longest, and stand between two of the steps
        **(WHOLE | {"epochs": 1, "lock": "none", "pixel_maps": task == "maps between classes"}),
    )
    card = classifier.card
    assert card["training"]["status"] == "done"
    assert words in " ".join(card["left_out"])
    assert any(words in event.text for event in events if isinstance(event, Message))
    assert events[-1] == Finished(partial=True)

    again = load(classifier.save(tmp_path / "model"))
    assert again.card["left_out"] == card["left_out"]
    statistics = again.latent_statistics
    assert statistics.complete == (task != "latent statistics")
    has_transport = task in ("maps between classes", "training", "choosing the transport")
    assert (statistics.transport is not None) == has_transport
    assert (again.second_network is not None) == (task == "choosing the transport")
    image = scenes.image(0)
    answer = again.predict(image).label
    other = next(name for name in again.classes if name != answer)
    result = counterfactual(again, image, other, "transport" if has_transport else "mean_shift")
    assert np.isfinite(result.images).all()
    said = any("class statistics were cancelled" in note for note in result.notes)
    assert said == (task == "latent statistics")


def test_a_fit_that_was_not_cancelled_leaves_nothing_out(invertible, plain):
    assert invertible.card["left_out"] == plain.card["left_out"] == []


@pytest.mark.parametrize("steps", [0, 3, 40, 49])
def test_cancelled_before_the_first_epoch_there_is_no_classifier(scenes, steps):
    seen: list[Event] = []
    with pytest.raises(TrainingError, match="there is no classifier"):
        fit(
            scenes,
            "cam_net",
            on_event=lambda event: seen.extend([event] if isinstance(event, Advanced) else []),
            cancelled=lambda: len(seen) >= steps,
            **SMALL,
        )


def test_a_failing_training_hands_out_the_best_model_so_far(scenes):
    def fail(event: Event) -> None:
        # again and again: once, the batch would be halved
        if isinstance(event, Advanced) and event.done >= 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    split = scenes.split(seed=0)
    with pytest.raises(FittingError, match="smaller batch size") as caught:
        fit(split, "cam_net", on_event=_in_training(fail), batch_size=12, **SMALL)
    classifier = caught.value.classifier
    assert classifier.card["training"]["status"] == "failed"
    assert classifier.predict(scenes.image(0)).label in classifier.classes


def _in_training(fail: Any) -> Any:
    tasks: list[str] = []

    def listen(event: Event) -> None:
        tasks.extend([event.task] if isinstance(event, Started) else [])
        if tasks and tasks[-1] == "training":
            fail(event)

    return listen


def test_a_fit_resumes_from_its_folder(scenes, tmp_path: Path):
    # a cycle would depend on the length; this goes on with more epochs
    settings = SMALL | {"epochs": 3, "network_parameters": BLOCKS, "schedule": "step"}
    whole = fit(scenes, **settings)
    fit(scenes, folder=tmp_path, **(settings | {"epochs": 2}))
    resumed = fit(scenes, folder=tmp_path, resume=True, **settings)
    assert resumed.fingerprint == whole.fingerprint


def test_a_fit_never_goes_on_from_checkpoints_of_other_images(scenes, tmp_path: Path):
    settings = SMALL | {"network_parameters": BLOCKS, "folder": tmp_path}
    fit(scenes, **(settings | {"epochs": 1}))
    with pytest.raises(ModelFileError, match="preprocessing intensity was linear and is now log1p"):
        fit(scenes, intensity="log1p", resume=True, **settings)
    with pytest.raises(ModelFileError, match="data set was"):
        fit(simulate(48, size=32, seed=1), resume=True, **settings)
