"""Progress on a terminal, quiet otherwise; Ctrl-C asks to stop."""

import io
import signal
import threading

import pytest
import typer
from rich.console import Console

from napari_why.cli.long_work import SIGNALS, LongWork
from napari_why.core.errors import WhyError
from napari_why.core.events import (
    Advanced,
    EpochFinished,
    Finished,
    Message,
    Started,
    hurried,
)

METRICS = {
    "train_loss": 0.1,
    "train_accuracy": 1.0,
    "validation_loss": 0.25,
    "validation_accuracy": 0.9,
    "validation_balanced_accuracy": 0.55,
}


def screen(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80)


def work_a_little(work: LongWork) -> None:
    work.on_event(Started("training", 2))
    work.on_event(Message("on the CPU"))
    work.on_event(Advanced(1))
    work.on_event(EpochFinished(1, 2, METRICS))
    work.on_event(Advanced(2))
    work.on_event(Finished())


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_what_goes_on() -> None:
    console = screen(terminal=True)
    with LongWork(console) as work:
        work_a_little(work)
    for words in (
        "training",
        "2/2",
        "on the CPU",
        "epoch 1, loss 0.25, accuracy 0.90, balanced 0.55",
    ):
        assert words in shown(console)


def test_without_a_terminal_all_is_quiet() -> None:
    console = screen(terminal=False)
    with LongWork(console) as work:
        work_a_little(work)
        work.say("done")
    assert shown(console) == ""


def test_text_with_brackets_is_shown_as_it_is() -> None:
    console = screen(terminal=True)
    with LongWork(console) as work:
        work.say("file[red].tif")
    assert "file[red].tif" in shown(console)


def test_work_within_work_and_a_finish_too_many_do_no_harm() -> None:
    with LongWork(screen(terminal=True)) as work:
        work.on_event(Started("outer", None))
        work_a_little(work)
        work.on_event(Finished())
        work.on_event(Finished())
        work.on_event(Advanced(1))


def test_the_first_interruption_asks_the_second_hurries_and_the_third_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left, LongWork() as work:
        assert not work.cancelled()
        signal.raise_signal(signal.SIGINT)
        assert work.cancelled()
        assert not hurried(work.cancelled)
        assert "stopping" in capsys.readouterr().err
        signal.raise_signal(signal.SIGINT)
        assert hurried(work.cancelled)
        assert "hurrying" in capsys.readouterr().err
        signal.raise_signal(signal.SIGINT)
    assert left.value.code == 130


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_asks_and_has_its_exit_code(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with LongWork() as work:
        signal.raise_signal(number)
        assert work.cancelled()
    with pytest.raises(typer.Exit) as left:
        work.end_if_interrupted("half of it is saved")
    assert left.value.exit_code == 128 + number
    assert "half of it is saved" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has none")
def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As nohup asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with LongWork() as work:
            signal.raise_signal(signal.SIGHUP)
            assert not work.cancelled()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> int:
        raise OSError(5, "Input/output error")

    console = screen(terminal=True)
    with LongWork(console) as work:
        console.file.write = gone
        monkeypatch.setattr("sys.stderr", console.file)
        work_a_little(work)
        signal.raise_signal(signal.SIGTERM)
        work.say("done")
        work_a_little(work)
    monkeypatch.undo()
    assert work.cancelled()


def test_an_interruption_ends_with_130_and_says_what_was_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LongWork() as work:
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(typer.Exit) as left:
        work.end_if_interrupted("half of it is saved")
    assert left.value.exit_code == 130
    assert "interrupted; half of it is saved" in capsys.readouterr().err


def test_an_interruption_before_there_was_anything_to_keep_ends_with_130_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as left, LongWork():
        signal.raise_signal(signal.SIGINT)
        raise WhyError("stopped before the first epoch")
    assert left.value.exit_code == 130
    assert "interrupted; stopped before the first epoch" in capsys.readouterr().err


def test_an_error_without_an_interruption_stays_what_it_is() -> None:
    with pytest.raises(WhyError, match="no such class"), LongWork():
        raise WhyError("no such class")


def test_work_that_was_not_interrupted_goes_on() -> None:
    with LongWork() as work:
        pass
    work.end_if_interrupted("nothing")


def test_ctrl_c_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with LongWork():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_it_works_outside_the_main_thread() -> None:
    finished = []

    def run() -> None:
        with LongWork() as work:
            work_a_little(work)
        finished.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert finished == [True]
