"""Stopped from outside, by Ctrl-C, a cluster's time limit or a closed terminal: all is kept, and told."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from napari_why.benchmark.results import ResultFolder
from napari_why.cli import VERBS
from napari_why.cli.application import Verb, make_application, run_command
from napari_why.cli.long_work import LongWork
from napari_why.core.events import Advanced, EpochFinished, Event, Started
from napari_why.fitting import fit
from napari_why.generation import load_channel_predictor, load_generator
from napari_why.images import record_path
from napari_why.model import load
from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION

# Runs the command line; at each event that is named it says so and waits for one more signal, so that
# nothing hangs on who is quicker.
DRIVER = """
import json, sys, time
from napari_why.cli import main
from napari_why.cli.long_work import LongWork

waits = json.loads(sys.argv[1])
original = LongWork.on_event

def on_event(self, event):
    original(self, event)
    name = f"{type(event).__name__} {getattr(event, 'task', '')}".strip()
    if waits and name == waits[0]:
        waits.pop(0)
        asked = self.cancelled.times
        print("READY", file=sys.stderr, flush=True)
        while self.cancelled.times == asked:
            time.sleep(0.01)

LongWork.on_event = on_event
main(sys.argv[2:])
"""
TRAINING = (
    "--size=32",
    "--epochs=50",
    "--lock=none",
    "--blocks=1",
    "--widths=4",
    "--downscaling=2",
)


def run_and_signal(
    waits: list[str], numbers: list[signal.Signals], *arguments: object
) -> tuple[int, str, str]:
    """Run the command line and send a signal each time it waits for one."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(waits), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    # a test that hangs is ended by this, long after what it takes
    guard = threading.Timer(240, process.kill)
    guard.start()
    with process:
        for line in process.stderr or ():
            said.append(line)
            if line == "READY\n":
                process.send_signal(numbers.pop(0))
        out = process.stdout.read() if process.stdout else ""
    guard.cancel()
    return process.returncode, out, "".join(said)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("waits", "numbers", "code"),
    [
        (["EpochFinished"], [signal.SIGTERM], 143),
        (
            ["EpochFinished", "Started latent statistics"],
            [getattr(signal, "SIGHUP", signal.SIGTERM), signal.SIGINT],
            129,
        ),
    ],
    ids=["once", "twice"],
)
def test_a_training_that_is_killed_politely_saves_its_best_epoch(
    data: Path, tmp_path: Path, waits: list[str], numbers: list[signal.Signals], code: int
) -> None:
    found = run_and_signal(waits, list(numbers), "train", data, "--out", tmp_path / "m", *TRAINING)
    assert found[0] == code
    assert f"the best epoch so far is saved as {tmp_path / 'm'}" in found[2]
    assert f"stopped by {numbers[0].name}" in found[2]
    classifier = load(tmp_path / "m")
    assert classifier.card["training"]["status"] == "cancelled"
    assert len(classifier.card["training"]["history"]) == 1
    hurried = len(numbers) > 1
    assert (classifier.metrics["test"] is None) == hurried
    assert ("the metrics on the test images" in classifier.left_out) == hurried
    assert all(entry in found[2] for entry in classifier.left_out)


class Interrupt:
    """Raises a signal at the n-th event of a kind; of the work of one verb."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def at(self, kind: type[Event], task: str, number: signal.Signals, after: int = 1) -> None:
        original = LongWork.on_event
        seen: list[str] = []

        def on_event(work: LongWork, event: Event) -> None:
            original(work, event)
            seen.extend([event.task] if isinstance(event, Started) else [])
            right = isinstance(event, kind) and task in seen
            if right and (getattr(event, "done", after) == after) and not work.cancelled():
                signal.raise_signal(number)

        self._patch.setattr(LongWork, "on_event", on_event)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    return Interrupt(monkeypatch)


@dataclass(frozen=True)
class Case:
    """A verb, where it is stopped, and a check that what it left says that it is incomplete."""

    task: str
    arguments: Callable[[Path, Path, Path, Path], list[object]]
    says_so: Callable[[Any, Path], bool]
    kind: type[Event] = Advanced
    after: int = 1


def details(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return dict(found["details"])


def of_json(outcome: Any) -> Any:
    return json.loads(outcome.out)


CASES = {
    "train": Case(
        "training",
        lambda model, data, image, out: ["train", data, "--out", out, *TRAINING],
        lambda outcome, out: load(out).card["training"]["status"] == "cancelled",
        EpochFinished,
    ),
    "evaluate --json": Case(
        "predicting",
        lambda model, data, image, out: ["evaluate", model, data, "--json"],
        lambda outcome, out: (
            of_json(outcome)["complete"] is False
            and of_json(outcome)["images"] == {"done": 9, "of": 24}
            and of_json(outcome)["record"]["details"]["done"] == 9
            and "9 of 24" in of_json(outcome)["sentences"][0]
        ),
        after=9,
    ),
    "evaluate": Case(
        "predicting",
        lambda model, data, image, out: ["evaluate", model, data],
        lambda outcome, out: outcome.out.startswith(
            "Incomplete: the work was stopped after 9 of 24"
        ),
        after=9,
    ),
    "evaluate, comparison": Case(
        "labels without meaning",
        lambda model, data, image, out: ["evaluate", model, data, "--json"],
        lambda outcome, out: (
            of_json(outcome)["complete"] is False
            and of_json(outcome)["nulls"] is None
            and "without meaning is left out" in of_json(outcome)["sentences"][0]
        ),
        Started,
    ),
    "predict --json": Case(
        "predicting",
        lambda model, data, image, out: ["predict", model, image, image, image, "--json"],
        lambda outcome, out: (
            ["error" in row for row in of_json(outcome)] == [False, False, True]
            and "2 of 3" in of_json(outcome)[2]["error"]
        ),
        after=2,
    ),
    "predict": Case(
        "predicting",
        lambda model, data, image, out: ["predict", model, image, image, image],
        lambda outcome, out: "incomplete" in outcome.out.splitlines()[-1],
        after=2,
    ),
    "attribute": Case(
        "occlusion",
        lambda model, data, image, out: [
            *("attribute", model, image, "--out", out.with_suffix(".ome.tif")),
            *("--window=5", "--stride=1", "--batch=1"),
        ],
        lambda outcome, out: details(record_path(out.with_suffix(".ome.tif")))["complete"] is False,
    ),
    "counterfactual": Case(
        "counterfactual",
        lambda model, data, image, out: [
            *("counterfactual", model, image, "--out", out.with_suffix(".ome.tif")),
            *("--method=mean_shift", "--steps=9"),
        ],
        lambda outcome, out: (
            details(record_path(out.with_suffix(".ome.tif")))["complete"] is False
            and any(
                "incomplete" in note and "of 9 steps" in note
                for note in details(record_path(out.with_suffix(".ome.tif")))["notes"]
            )
        ),
    ),
    "measure": Case(
        "measuring",
        lambda model, data, image, out: [
            *("measure", model, data, "--out", out, "--method=mean_shift", "--no-figures"),
        ],
        lambda outcome, out: (
            "5 of 24" in (out / "summary.txt").read_text().splitlines()[0]
            and "5 of 24" in outcome.out.splitlines()[0]
            and details(out / "record.json")["complete"] is False
            and (out / "INCOMPLETE.txt").is_file()
        ),
        after=5,
    ),
    "class-maps": Case(
        "class maps",
        lambda model, data, image, out: [
            *("class-maps", model, data, "--out", out, "--method=saliency", "--alignment=none"),
            "--no-figure",
        ],
        lambda outcome, out: (
            "3 of 24 images" in outcome.err and len(pd.read_csv(out / "images.csv")) == 3
        ),
        after=3,
    ),
    "prototype": Case(
        "prototype",
        lambda model, data, image, out: [
            *("prototype", model, "--target=treated", "--out", out.with_suffix(".ome.tif")),
        ],
        lambda outcome, out: (
            "incomplete" in outcome.out + outcome.err and out.with_suffix(".ome.tif").is_file()
        ),
        after=2,
    ),
    "latent-space": Case(
        "latent space",
        lambda model, data, image, out: ["latent-space", model, data, "--out", out],
        lambda outcome, out: (
            json.loads((out / "report.json").read_text())["complete"] is False
            and "incomplete" in json.loads((out / "report.json").read_text())["sentences"][0]
            and "of 24 images" in outcome.out.splitlines()[0]
        ),
        after=20,
    ),
    "train-generator": Case(
        "training two networks",
        lambda model, data, image, out: [
            *("train-generator", data, "--out", out, "--size=32", "--epochs=50"),
            *("--widths=8,4", "--code-dimensions=6"),
        ],
        lambda outcome, out: load_generator(out).card["training"]["status"] == "cancelled",
        EpochFinished,
    ),
    "train-predictor": Case(
        "training two networks",
        lambda model, data, image, out: [
            *("train-predictor", data, "--channel=TMRM", "--out", out, "--size=32", "--epochs=50"),
            *("--widths=4,6", "--discriminator-widths=4,6"),
        ],
        lambda outcome, out: load_channel_predictor(out).card["training"]["status"] == "cancelled",
        EpochFinished,
    ),
    **{
        f"train-{name}": Case(
            task,
            lambda model, data, image, out, name=name: [
                *(f"train-{name}", model, data, "--out", out, "--epochs=50", "--widths=4,6"),
            ],
            lambda outcome, out, name=name: not load(out).latent_statistics.parts[name].complete,
            EpochFinished,
        )
        for name, task in (
            (TRANSLATION, "training two translators against two discriminators"),
            (FLOW_OF_CLASSES, "training a network"),
        )
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_verb_keeps_what_was_done_and_says_that_it_is_not_all(
    shell: Any,
    interrupt: Interrupt,
    model: Path,
    data: Path,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    case = CASES[name]
    monkeypatch.setattr("napari_why.latent_space.space.VALUES_AT_A_TIME", 1)  # a batch an image
    interrupt.at(case.kind, case.task, signal.SIGTERM, case.after)
    out = tmp_path / "out"
    outcome = shell(*case.arguments(model, data, image, out))
    assert outcome.code == 143
    assert "stopped by SIGTERM; " in outcome.err
    assert case.says_so(outcome, out)


def test_a_benchmark_says_so_beside_its_tables(
    shell: Any, interrupt: Interrupt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pd.DataFrame({"effect": ["a"], "direction": ["b"], "method": ["c"], "seed": [0]})
    monkeypatch.setattr(ResultFolder, "table", lambda *_: table)
    monkeypatch.setattr("napari_why.benchmark.write_report", lambda *_: [])
    interrupt.at(Started, "benchmark of known truth", signal.SIGTERM)
    outcome = shell(
        "benchmark", "truth", "--out", tmp_path, "--training=8", "--effects=depolarisation"
    )
    assert outcome.code == 143
    assert "incomplete" in outcome.out.splitlines()[-1]
    assert "incomplete" in (tmp_path / "INCOMPLETE.txt").read_text()


def test_a_demo_that_is_stopped_ends_with_the_code_of_its_signal(
    shell: Any, interrupt: Interrupt, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # before it trains it would look for channels to lock, for seconds
    monkeypatch.setattr("napari_why.demo.fit", partial(fit, lock="none"))
    interrupt.at(EpochFinished, "training", signal.SIGTERM)
    outcome = shell("demo", "--no-window", "--data", data, "--out", tmp_path / "demo")
    assert outcome.code == 143
    assert "stopped by SIGTERM" in outcome.err
    assert load(tmp_path / "demo" / "classifier").card["training"]["status"] == "cancelled"


def test_verbs_without_long_work_end_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """And with them the beginning of all others, when nothing is there to be kept."""

    def quick() -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        run_command(make_application([Verb("quick", quick), Verb("other", quick)]), ["quick"])
    assert left.value.code == 143
    assert "stopped by SIGTERM" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_verb_is_forgotten() -> None:
    quick = {"inspect", "rerun", "reconstruct", "sample", "traverse", "interpolate"}
    # whose end at any image, and going on from there, has tests of its own: tests/batch
    quick |= {"explain-many"}
    # and so has that of a screen: tests/screening, tests/sessions/test_screen_session.py
    quick |= {"screen", "merge", "predict-channel", "interpolate-codes"}
    # made anew in seconds, and there as a whole or not at all: tests/exchange
    quick |= {"export", "import"}
    tried = {name.partition(" ")[0].rstrip(",") for name in CASES} | {"benchmark", "demo"}
    assert {verb.name for verb in VERBS} == tried | quick
