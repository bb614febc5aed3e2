"""What long work reports: plain values that a listener can tell apart."""

from dataclasses import FrozenInstanceError

import pytest

from napari_why.core.events import (
    Advanced,
    EpochFinished,
    Event,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)


def count_to(total: int, on_event: OnEvent = ignore_event) -> None:
    """Work the way every long function of the core does."""
    on_event(Started("counting", total))
    for done in range(1, total + 1):
        on_event(Advanced(done))
    on_event(Finished())


def test_a_listener_hears_everything_in_order() -> None:
    heard: list[Event] = []
    count_to(2, heard.append)
    assert heard == [Started("counting", 2), Advanced(1), Advanced(2), Finished(partial=False)]


def test_work_runs_without_a_listener_and_nobody_has_cancelled() -> None:
    count_to(1)
    assert never_cancelled() is False


@pytest.mark.parametrize(
    "event", [Started("a"), Advanced(1), EpochFinished(1, 2), Message("a"), Finished()]
)
def test_an_event_does_not_change_after_it_was_told(event: Event) -> None:
    with pytest.raises(FrozenInstanceError):
        event.new = 1  # type: ignore[union-attr]


def test_epochs_do_not_share_their_metrics() -> None:
    assert EpochFinished(1, 2).metrics == {}
    assert EpochFinished(1, 2).metrics is not EpochFinished(1, 2).metrics
