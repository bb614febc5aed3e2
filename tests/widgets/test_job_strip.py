"""What runs is told below the page: in words, with a bar, the time left and Cancel."""

import pytest

from napari_why.core.events import Advanced, EpochFinished, Finished, Message, Started
from napari_why.widgets.job import JobRunner, JobState
from napari_why.widgets.job_strip import JobRow, TimeLeft


def run_nothing(**_listeners):
    return 1


@pytest.fixture
def runner(held):
    return JobRunner(held)


@pytest.fixture
def row(qtbot, runner):
    made = JobRow(runner)
    qtbot.addWidget(made)
    return made


def words_after(row, *events):
    for event in events:
        row.take(event)
    row.refresh()
    return row.words.text()


def test_a_job_appears_with_its_title_and_goes_when_it_ends(qtbot, held, runner, row):
    assert row.isHidden()
    runner.start("Evaluating", run_nothing, lambda outcome: None)
    qtbot.waitUntil(row.isVisible)
    assert row.words.text() == "Evaluating..."
    assert row.cancel.isEnabled()
    held.let_go()
    assert row.isHidden()


def test_its_steps_move_the_bar_and_its_messages_go_with_it(runner, row):
    runner.start("Training", run_nothing, lambda outcome: None)
    assert words_after(row, Started("training", 8), Advanced(3)) == "Training..."
    assert (row.bar.value(), row.bar.maximum(), row.bar.isHidden()) == (3, 8, False)
    assert words_after(row, EpochFinished(2, 4)) == "Training: epoch 2 of 4"
    # after the last step comes work that announces none: no bar that stands full and says nothing
    said = "choosing how to transport each class"
    assert words_after(row, Advanced(8), Message(said)) == f"Training: {said}"
    assert row.bar.isHidden()
    assert words_after(row, Started("predicting", 9), Advanced(2)) == "Training: predicting"
    assert (row.bar.value(), row.bar.maximum()) == (2, 9)
    words_after(row, Finished())
    assert row.bar.isHidden()


def test_cancel_asks_the_work_to_stop_once(qtbot, held, runner, row):
    runner.start("Training", run_nothing, lambda outcome: None)
    qtbot.waitUntil(row.isVisible)
    row.cancel.click()
    assert runner.state is JobState.CANCELLING
    assert row.words.text() == "Cancelling: Training..."
    assert not row.cancel.isEnabled()
    held.let_go()
    assert runner.state is JobState.IDLE


def test_what_cannot_be_cancelled_is_told_too(qtbot, held, runner, row):
    runner.run_aside("Loading the methods", lambda: 1, lambda found: None)
    qtbot.waitUntil(row.isVisible)
    assert row.words.text() == "Loading the methods..."
    assert row.cancel.isHidden()
    held.let_go()
    assert row.isHidden()


def test_the_time_left_is_said_only_when_it_means_something():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    left.start(None)
    left.advance(3)
    assert left.seconds() is None, "no total"
    left.start(100)
    now[0] = 60.0  # preparation does not count
    left.advance(1)
    assert left.seconds() is None, "one step"
    now[0] = 61.0
    left.advance(2)
    assert left.seconds() is None, "too short to tell"
    now[0] = 70.0
    left.advance(11)
    assert left.seconds() == pytest.approx(89)
    now[0] = 80.0
    assert left.seconds() == pytest.approx(79), "the clock goes on between steps"
    left.advance(99)
    assert left.seconds() is None, "nearly done"
