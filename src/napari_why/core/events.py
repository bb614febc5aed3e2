"""What long work reports while it runs, and how it is asked to stop.

Every long function of the core takes two callables: ``on_event(event)`` and
``cancelled() -> bool``. A script passes a progress bar, the shell a terminal bar, a dock a Qt
signal and its Cancel button. The core knows none of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Started:
    """Work began.

    Parameters
    ----------
    task : str
        What is being done, in words for the user ("training", "occlusion").
    total : int or None
        Number of steps to come, None when it cannot be known.
    """

    task: str
    total: int | None = None


@dataclass(frozen=True)
class Advanced:
    """``done`` steps of the announced total are finished."""

    done: int
    message: str = ""


@dataclass(frozen=True)
class EpochFinished:
    """One pass over the training images is finished.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    epochs : int
        The number asked for.
    metrics : mapping of str to float
        At least ``train_loss``, ``train_accuracy``, ``validation_loss``, ``validation_accuracy``.
    """

    epoch: int
    epochs: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """Something the user should know ("training on the CPU with 1 thread")."""

    text: str


@dataclass(frozen=True)
class Finished:
    """Work ended; ``partial`` when it was cancelled and the result is what there was by then."""

    partial: bool = False


Event = Started | Advanced | EpochFinished | Message | Finished
OnEvent = Callable[[Event], None]
Cancelled = Callable[[], bool]


def ignore_event(event: Event) -> None:
    """Take an event and do nothing: the default listener."""


def never_cancelled() -> bool:
    """Answer that nobody asked to stop: the default."""
    return False
