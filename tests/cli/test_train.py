"""``napari-why train``."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from napari_why.cli.long_work import LongWork
from napari_why.core.events import Advanced, EpochFinished, Event
from napari_why.model import load
from napari_why.networks import NETWORKS


def test_the_options_reach_training_and_network(model: Path) -> None:
    classifier = load(model)
    assert classifier.classes == ("diseased", "treated")
    assert classifier.preprocessing.size in (32, (32, 32))
    assert classifier.network.configuration()["widths"] == "4,8"
    parameters = classifier.card["parameters"]
    assert (parameters["epochs"], parameters["batch_size"], parameters["seed"]) == (1, 8, 3)


def test_training_is_quiet_without_a_terminal(shell, data: Path, tmp_path: Path) -> None:
    outcome = shell(
        *("train", data, "--out", tmp_path / "m", "--network=cam_net", "--size=32", "--epochs=1"),
        *("--class-weights=balanced", "--schedule=one_cycle", "--averaging=3", "--jitter", "-1"),
        "--label-smoothing=0",
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    classifier = load(tmp_path / "m")
    assert classifier.network.name == "cam_net"
    told = classifier.card["parameters"]
    assert (told["schedule"], told["averaging"], told["label_smoothing"]) == ("one_cycle", 3, 0)
    assert told["jitter"] == NETWORKS["cam_net"].training.jitter


def test_a_preset_stands_below_what_is_given(shell, data: Path, tmp_path: Path) -> None:
    outcome = shell(
        *("train", data, "--out", tmp_path / "m", "--network=cam_net", "--size=32", "--epochs=1"),
        "--preset=quick_look",
    )
    assert (outcome.code, outcome.err) == (0, "")
    told = load(tmp_path / "m").card["parameters"]
    assert (told["epochs"], told["pixel_maps"], told["second_network"]) == (1, False, False)


def test_a_classifier_that_is_there_is_not_replaced(shell, data: Path, model: Path) -> None:
    before = load(model).fingerprint
    outcome = shell("train", data, "--out", model, "--network=cam_net", "--size=32", "--epochs=1")
    assert outcome.code == 1
    assert "--overwrite" in outcome.err
    assert load(model).fingerprint == before


def test_a_parameter_of_another_network_is_refused(shell, data: Path, tmp_path: Path) -> None:
    outcome = shell(
        "train", data, "--out", tmp_path / "m", "--network=cam_net", "--size=32", "--blocks=1,1"
    )
    assert outcome.code == 1
    assert "blocks" in outcome.err


def test_an_empty_folder_is_named(shell, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    outcome = shell("train", empty, "--out", tmp_path / "m")
    assert outcome.code == 1
    assert str(empty) in outcome.err


def test_resuming_needs_checkpoints(shell, data: Path, tmp_path: Path) -> None:
    outcome = shell("train", data, "--out", tmp_path / "m", "--resume")
    assert outcome.code == 1
    assert "--checkpoints" in outcome.err


def interrupt_at(kind: type[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C once, when the first event of a kind is told."""
    original = LongWork.on_event

    def on_event(self: LongWork, event: Event) -> None:
        original(self, event)
        if isinstance(event, kind) and not self.cancelled():
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LongWork, "on_event", on_event)


def test_an_interrupted_training_keeps_the_best_epoch(
    shell, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(EpochFinished, monkeypatch)
    outcome = shell(
        "train", data, "--out", tmp_path / "m", "--network=cam_net", "--size=32", "--epochs=50"
    )
    assert outcome.code == 130
    assert f"the best epoch so far is saved as {tmp_path / 'm'}" in outcome.err
    history = json.loads((tmp_path / "m" / "classifier.json").read_text())["card"]["training"]
    assert history["status"] == "cancelled"
    assert np.isfinite(load(tmp_path / "m").metrics["test"]["images"]["accuracy"])


def test_interrupted_after_the_training_it_says_what_was_left_out(
    shell, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(EpochFinished, monkeypatch)
    small = ["--size=32", "--epochs=1", "--lock=none", "--blocks=1", "--widths=4"]
    outcome = shell("train", data, "--out", tmp_path / "m", *small, "--downscaling=2")
    assert outcome.code == 130
    assert "left out: the transport between the classes" in outcome.err
    assert load(tmp_path / "m").card["left_out"] == [
        "the transport between the classes",
        "the second network",
    ]


def test_interrupted_before_anything_was_trained_nothing_is_saved(
    shell, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(Advanced, monkeypatch)
    outcome = shell("train", data, "--out", tmp_path / "m", "--network=cam_net", "--size=32")
    assert outcome.code == 130
    assert not (tmp_path / "m").exists()


def test_a_plate_map_gives_the_classes(shell, data: Path, tmp_path: Path) -> None:
    from napari_why.datasets import Dataset

    table = Dataset.open(data).table
    plate = tmp_path / "plate"
    plate.mkdir()
    for number, row in enumerate(table.itertuples()):
        name = f"scan_{row.well}_f{number}.ome.tif"
        (plate / name).write_bytes(Path(row.path).read_bytes())
    wells = table.drop_duplicates("well")
    lines = [f"{well};{drug}" for well, drug in zip(wells["well"], wells["label"], strict=True)]
    (tmp_path / "map.csv").write_text("\n".join(["well;drug", *lines]))
    options = ["--network=cam_net", "--size=32", "--epochs=1", "--plate-map", tmp_path / "map.csv"]
    arguments = ["train", plate, "--out", tmp_path / "m", *options]
    outcome = shell(*arguments)
    assert outcome.code == 1
    assert "no column 'treatment'; expected one of well, drug" in outcome.err
    assert shell(*arguments, "--label=drug").code == 0
    assert load(tmp_path / "m").classes == ("diseased", "treated")
