"""Jobs run beside the viewer: progress, cancelling, failures as data, docks that go away."""

import threading

import pytest
from qtpy.QtCore import QThread
from qtpy.QtWidgets import QApplication, QWidget

from napari_why.core.events import Advanced, EpochFinished, Finished, Message, Started
from napari_why.widgets.job import JobRunner, JobState, RunButton, run_at_once, run_in_thread


def counting(steps, *, on_event, cancelled):
    """Core-like work: reports, looks whether it is to stop, returns what it has."""
    on_event(Started("counting", steps))
    done = 0
    while done < steps and not cancelled():
        done += 1
        on_event(Advanced(done))
    on_event(Finished(partial=done < steps))
    return done


def until_cancelled(*, on_event, cancelled):
    on_event(Started("waiting"))
    while not cancelled():
        QThread.msleep(1)
    return "partial"


@pytest.fixture
def runner(qtbot):
    made = JobRunner(run_in_thread)
    yield made
    made.shut_down()


def outcome_of(qtbot, runner, work):
    with qtbot.waitSignal(runner.ended, timeout=20_000) as ended:
        runner.start("test", work, lambda outcome: None)
    return ended.args[0]


def test_work_runs_off_the_gui_thread_and_ends_in_it(qtbot, runner):
    threads = {}

    def work(*, on_event, cancelled):
        threads["work"] = threading.get_ident()
        on_event(Message("hello"))
        return 3

    runner.event.connect(lambda event: threads.setdefault("event", threading.get_ident()))
    runner.ended.connect(lambda outcome: threads.setdefault("end", threading.get_ident()))
    assert outcome_of(qtbot, runner, work).result == 3
    assert threads["work"] != threading.get_ident()
    assert threads["event"] == threads["end"] == threading.get_ident()


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("no")])
def test_a_failure_is_an_outcome_and_holds_no_frames(qtbot, runner, error):
    def work(*, on_event, cancelled):
        raise error

    outcome = outcome_of(qtbot, runner, work)
    assert outcome.error is error
    assert outcome.error.__traceback__ is None, "frames would keep tensors alive"
    assert runner.state is JobState.IDLE


def test_cancelled_work_keeps_its_partial_result(qtbot, runner):
    states = []
    runner.state_changed.connect(states.append)
    with qtbot.waitSignal(runner.ended, timeout=20_000) as ended:
        runner.start("test", until_cancelled, lambda outcome: None)
        runner.cancel()
    assert ended.args[0].result == "partial"
    assert ended.args[0].cancelled
    assert states == [JobState.RUNNING, JobState.CANCELLING, JobState.IDLE]


def test_thousands_of_events_arrive_in_bundles_and_none_that_matters_is_lost(qtbot, runner):
    seen = []
    runner.event.connect(seen.append)

    def work(*, on_event, cancelled):
        for epoch in range(1, 6):
            for done in range(2000):
                on_event(Advanced(done))
            on_event(EpochFinished(epoch, 5))
        return

    outcome_of(qtbot, runner, work)
    epochs = [event.epoch for event in seen if isinstance(event, EpochFinished)]
    assert epochs == [1, 2, 3, 4, 5]
    advanced = [event for event in seen if isinstance(event, Advanced)]
    assert len(advanced) < 1000
    assert seen.index(EpochFinished(1, 5)) < seen.index(EpochFinished(2, 5))


def test_the_order_holds_when_a_listener_runs_the_event_loop(qtbot, runner):
    """Events that come meanwhile wait for their turn."""
    seen = []

    def listen(event):
        seen.append(event)
        QThread.msleep(2)
        QApplication.processEvents()

    runner.event.connect(listen)

    def work(*, on_event, cancelled):
        for epoch in range(1, 31):
            on_event(EpochFinished(epoch, 30))
            QThread.msleep(3)

    outcome_of(qtbot, runner, work)
    assert [event.epoch for event in seen] == list(range(1, 31))


def test_a_runner_runs_one_job_at_a_time(qtbot, runner):
    runner.start("first", until_cancelled, lambda outcome: None)
    runner.start("second", lambda **_: pytest.fail("a second job ran"), lambda outcome: None)
    with qtbot.waitSignal(runner.ended, timeout=20_000):
        runner.cancel()


def test_a_runner_that_is_deleted_stops_its_work_and_nothing_is_called(qtbot):
    parent = QWidget()
    runner = JobRunner(run_in_thread, parent)
    ended, started = threading.Event(), threading.Event()

    def work(*, on_event, cancelled):
        started.set()
        while not cancelled():
            on_event(Advanced(1))
            QThread.msleep(1)
        ended.set()
        return 1

    runner.start("test", work, lambda outcome: pytest.fail("a deleted dock was told"))
    qtbot.waitUntil(started.is_set, timeout=20_000)
    parent.deleteLater()
    qtbot.waitUntil(ended.is_set, timeout=20_000)
    qtbot.wait(50)


def test_what_a_dock_that_went_away_had_begun_is_not_lost(held):
    runner, kept = JobRunner(held), []
    runner.start("test", until_cancelled, lambda outcome: pytest.fail("told"), kept.append)
    runner.shut_down()
    held.let_go()
    assert kept == ["partial"]


def test_the_button_tells_what_goes_on(qtbot, runner):
    button, other = RunButton("Train", runner), RunButton("Evaluate", runner)
    for widget in (button, other):
        qtbot.addWidget(widget)
    texts = []
    runner.state_changed.connect(lambda state: texts.append((button.text(), button.isEnabled())))
    button.started.connect(lambda: runner.start("test", until_cancelled, lambda outcome: None))
    button.click()
    assert (button.text(), other.text(), other.isEnabled()) == ("Cancel", "Evaluate", False)
    with qtbot.waitSignal(runner.ended, timeout=20_000):
        button.click()
        assert (button.text(), button.isEnabled()) == ("Cancelling...", False)
    assert (button.text(), button.isEnabled(), other.isEnabled()) == ("Train", True, True)


def test_without_a_thread_everything_happens_before_start_returns(qtbot):
    runner, seen, results = JobRunner(run_at_once), [], []
    runner.event.connect(seen.append)

    def work(**listeners):
        return counting(3, **listeners)

    runner.start("test", work, lambda outcome: results.append(outcome.result))
    QApplication.processEvents()
    assert results == [3]
    assert seen == [Started("counting", 3), Advanced(3), Finished()]


def test_what_runs_beside_a_job_is_told_until_it_ends(held):
    runner, found = JobRunner(held), []
    runner.run_aside("Loading", lambda: 3, found.append)
    assert (runner.aside, found, runner.state) == (("Loading",), [], JobState.IDLE)
    held.let_go()
    assert (runner.aside, found) == ((), [3])


def test_a_button_that_rests_says_what_runs(held, qtbot):
    runner = JobRunner(held)
    button, other = RunButton("Train", runner), RunButton("Evaluate", runner)
    for widget in (button, other):
        qtbot.addWidget(widget)
    other.setToolTip("Count what is right")
    button.started.connect(lambda: runner.start("Training", counting_two, lambda outcome: None))
    button.click()
    assert other.toolTip() == "Training runs; wait for it, or cancel it below"
    held.let_go()
    assert other.toolTip() == "Count what is right"
    other.set_possible(False, "Choose a data set first")
    assert other.toolTip() == "Choose a data set first"


def counting_two(**listeners):
    return counting(2, **listeners)
