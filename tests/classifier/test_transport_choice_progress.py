"""Progress of the choice of a transport, and what is kept of it when it is cancelled."""

import pytest
import torch
from transport_doubles import (
    PREPROCESSING,
    SIDE,
    Levels,
    Shifts,
    classifier_of,
    held_out,
    shift,
)

from napari_why.core.events import Advanced, Event, Finished, Started
from napari_why.fitting.transport_choice import STEPS, TransportChooser

BOTH_WAYS = Shifts({"full": shift(2, 2), "excess": shift(2, 2)}, directions=((0, 1), (1, 0)))


def chooser_of(events: list[Event], stop_at: int = 10**6) -> TransportChooser:
    return TransportChooser(
        classifier_of(Levels(0.0, 6.0), Levels(6.0, 0.0), PREPROCESSING, BOTH_WAYS),
        "uint16",
        events.append,
        lambda: len(events) >= stop_at,
    )


def test_progress_reaches_its_totals_and_ends_once() -> None:
    events: list[Event] = []
    chooser = chooser_of(events)
    assert set(chooser.choose(held_out()).choices) == {(0, 1), (1, 0)}
    assert chooser.complete
    assert events == [
        Started("reading validation images", 4),
        *[Advanced(step) for step in range(1, 5)],
        Started("choosing the transport", 2 * STEPS),
        *[Advanced(step) for step in range(1, 2 * STEPS + 1)],
        Finished(partial=False),
    ]


def test_training_images_are_read_no_further_than_they_are_needed() -> None:
    events: list[Event] = []
    training = held_out(200)  # of which 64 of each class are enough: 26 batches of 5
    chooser_of(events).choose(held_out(), training)
    begun = events.index(Started("reading training images", len(training)))
    ended = events.index(Started("choosing the transport", 2 * STEPS))
    steps = [event.done for event in events[begun:ended] if isinstance(event, Advanced)]
    assert steps == [*range(1, 27), len(training)]


def test_progress_passes_over_a_direction_without_images() -> None:
    events: list[Event] = []
    few = [(images[labels == 1], labels[labels == 1]) for images, labels in held_out()]
    few.append((-torch.ones(2, 2, SIDE, SIDE), torch.tensor([0, 0])))
    assert set(chooser_of(events).choose(few).choices) == {(1, 0)}
    steps = [event.done for event in events if isinstance(event, Advanced)]
    assert steps[-STEPS - 1 :] == list(range(STEPS, 2 * STEPS + 1))


@pytest.mark.parametrize("done", range(2 * STEPS))
def test_cancelled_it_keeps_the_directions_that_were_done(done: int) -> None:
    whole = chooser_of([]).choose(held_out())
    events: list[Event] = []
    chooser = chooser_of(events, stop_at=6 + done)  # of which 6 before the first step
    choices = chooser.choose(held_out()).choices
    assert choices == {pair: whole.choices[pair] for pair in [(0, 1)][: done // STEPS]}
    assert not chooser.complete
    assert events[-1] == Finished(partial=True)
    assert len(events) == 6 + done + 1  # nothing more was done


def test_cancelled_while_it_reads_nothing_is_chosen() -> None:
    events: list[Event] = []
    chooser = chooser_of(events, stop_at=2)
    assert chooser.choose(held_out()).choices == {}
    assert not chooser.complete
    assert events == [Started("reading validation images", 4), Advanced(1), Finished(partial=True)]
