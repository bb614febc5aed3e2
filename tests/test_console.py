"""Progress in the console: a bar in a terminal, lines elsewhere, nothing for what is quick or not wanted."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from napari_why.core import console as shown_in
from napari_why.core.console import ConsoleProgress, find_blocked_window, shows_progress
from napari_why.core.events import (
    Advanced,
    EpochFinished,
    Event,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    quiet,
)


def train(on_event: OnEvent) -> None:
    on_event(Message("on the CPU"))
    on_event(Started("training", 40))
    for done in range(1, 41):
        on_event(Advanced(done))
    on_event(EpochFinished(1, 1, {"train_loss": 0.5, "train_accuracy": 0.75}))
    on_event(Finished())


class Clock:
    """A clock that goes on by so much each time that somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_in, "monotonic", Clock(1.0))


@pytest.mark.usefixtures("slowly")
def test_a_pipe_or_notebook_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress(Console(file=io.StringIO(), force_terminal=False), lines=True) as made:
        train(made.on_event)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "napari-why: on the CPU"
    assert lines[1].startswith("napari-why: training: ")
    assert "of 40" in lines[1]
    assert 3 <= len(lines) <= 8  # forty-three events at a second each, a line in ten seconds
    assert "\r" not in "".join(lines)


@pytest.mark.usefixtures("slowly")
def test_no_line_of_work_stands_below_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks that follow one another end together, with the last."""
    answer = [f"sentence {number}" for number in range(30)]
    with ConsoleProgress(Console(file=io.StringIO(), force_terminal=False), lines=True) as made:
        for task in ("predicting", "cheap features"):
            made.on_event(Started(task, 40))
            for done in range(1, 41):
                made.on_event(Advanced(done))
        made.on_event(Finished())
        for sentence in answer:
            made.on_event(Message(sentence, finding=True))
        made.on_event(Finished())
    lines = [line.removeprefix("napari-why: ") for line in capsys.readouterr().err.splitlines()]
    assert lines[-30:] == answer
    assert any(line.startswith("cheap features: ") for line in lines)


@pytest.mark.usefixtures("slowly")
def test_a_terminal_gets_a_bar() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    with ConsoleProgress(screen, lines=True, patience=2) as made:
        train(made.on_event)
    assert isinstance(screen.file, io.StringIO)
    assert "40/40" in screen.file.getvalue()
    assert "on the CPU" in screen.file.getvalue()


@shows_progress
def work(*, on_event: OnEvent = ignore_event) -> str:
    train(on_event)
    return "done"


@shows_progress
def outer(*, on_event: OnEvent = ignore_event) -> str:
    on_event(Started("outer", 1))
    return work()


@pytest.mark.usefixtures("slowly")
def test_work_is_shown_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    assert work() == "done"
    assert "training" in capsys.readouterr().err


@pytest.mark.usefixtures("slowly")
def test_a_listener_takes_its_place_also_for_what_is_done_within(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[Event] = []
    assert work(on_event=heard.append) == "done"
    assert len(heard) == 44
    assert outer(on_event=quiet) == "done"
    assert capsys.readouterr().err == ""


def test_what_is_quick_stays_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert work() == "done"
    assert capsys.readouterr().err == ""


class Window:
    """A Qt of which there is what is asked for: an application in a thread, and a window."""

    def __init__(self, *, ours: bool, visible: bool) -> None:
        self.drawn = 0
        flags = SimpleNamespace(ExcludeUserInputEvents=1)
        self.core = SimpleNamespace(
            QThread=SimpleNamespace(currentThread=lambda: "here" if ours else "elsewhere"),
            QEventLoop=SimpleNamespace(ProcessEventsFlag=flags),
        )
        application = SimpleNamespace(
            thread=lambda: "here",
            topLevelWidgets=lambda: [SimpleNamespace(isVisible=lambda: visible)],
            processEvents=self.draw,
        )
        self.widgets = SimpleNamespace(QApplication=SimpleNamespace(instance=lambda: application))

    def draw(self, kind: int) -> None:
        assert kind == 1  # no clicks
        self.drawn += 1

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("PyQt6", "PyQt5", "PySide2"):
            monkeypatch.delitem(sys.modules, f"{name}.QtWidgets", raising=False)
        monkeypatch.setitem(sys.modules, "PySide6.QtCore", self.core)  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "PySide6.QtWidgets", self.widgets)  # type: ignore[arg-type]


@pytest.mark.usefixtures("slowly")
def test_in_the_thread_of_a_window_it_is_said_that_the_window_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    window = Window(ours=True, visible=True)
    window.put_in_place(monkeypatch)
    work()
    said = capsys.readouterr().err
    assert "answers again when it is done" in said
    assert "dock does the same beside the window" in said
    assert window.drawn


@pytest.mark.parametrize(("ours", "visible"), [(False, True), (True, False)])
def test_other_threads_and_programs_without_a_window_block_none(
    monkeypatch: pytest.MonkeyPatch, ours: bool, visible: bool
) -> None:
    Window(ours=ours, visible=visible).put_in_place(monkeypatch)
    assert find_blocked_window() is None


def test_what_every_image_says_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress(Console(file=io.StringIO(), force_terminal=False), lines=True) as made:
        for number in range(3):
            made.on_event(Message("explaining on cpu"))
            made.on_event(Message(f"image {number} is dark", finding=True))
    assert capsys.readouterr().err.count("explaining on cpu") == 1
