"""What long work reports while it runs, and how it is asked to stop.

Every long function of the core takes two callables: ``on_event(event)`` and
``cancelled() -> bool``. A script passes a progress bar, the shell a terminal bar, a dock a Qt
signal and its Cancel button. The core knows none of them. Where a caller gives no listener, some
functions show their progress in the console (:func:`napari_why.core.console.shows_progress`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace


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


# Names in the metrics of an epoch: how varied samples are, and how much of each class they cover.
SPREAD, COVERAGE_OF = "spread", "coverage of "


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
        At least ``train_loss``, ``train_accuracy``, ``validation_loss``, ``validation_accuracy``; of two
        players ``generator_loss`` and ``discriminator_loss``.
    network : str
        Which of the networks that work trains, in words ("classifier", "second network"); empty where
        it trains one alone.
    """

    epoch: int
    epochs: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    network: str = ""


@dataclass(frozen=True)
class Message:
    """Something the user should know ("training on the CPU with 1 thread").

    ``finding``: about the data or the result, so that it belongs into the log of a night too.
    """

    text: str
    finding: bool = False


@dataclass(frozen=True)
class Finished:
    """Work ended; ``partial`` when it was cancelled and the result is what there was by then."""

    partial: bool = False


Event = Started | Advanced | EpochFinished | Message | Finished
OnEvent = Callable[[Event], None]
Cancelled = Callable[[], bool]


class StopRequest:
    """A ``cancelled`` that can be asked more than once, as Ctrl-C can be pressed again.

    Asked once, work stops and sees to it that its result can be used. Asked again, it hurries:
    what only follows the main work is left out, and what is there is kept.

    Parameters
    ----------
    also : callable, optional
        Another ``cancelled`` that is obeyed too.

    Examples
    --------
    >>> stop = StopRequest()
    >>> stop(), stop.ask(), stop(), hurried(stop), stop.ask(), hurried(stop)
    (False, 1, True, False, 2, True)
    """

    def __init__(self, also: Cancelled | None = None) -> None:
        self.times = 0
        self._also = also

    def ask(self) -> int:
        """Ask to stop, and return how often that was done by now."""
        self.times += 1
        return self.times

    def __call__(self) -> bool:
        """Answer whether to stop."""
        return self.times > 0 or (self._also is not None and self._also())

    @property
    def hurried(self) -> bool:
        """Whether somebody asked again."""
        return self.times > 1 or (self._also is not None and hurried(self._also))


def describe_partial(done: int, total: int | None, what: str) -> str:
    """Say that a result is one of work that was stopped, wherever the result is read.

    A ``total`` of None is one that is not known.

    Parameters
    ----------
    done : int
    total : int or None
    what : str
        What is counted, in the plural.

    Returns
    -------
    str

    Examples
    --------
    >>> describe_partial(28, 72, "images")
    'incomplete: the work was stopped after 28 of 72 images'
    """
    of = "" if total is None else f" of {total}"
    return f"incomplete: the work was stopped after {done}{of} {what}"


def hurried(cancelled: Cancelled) -> bool:
    """Tell whether a ``cancelled`` was asked to stop more than once; a plain function never was."""
    return isinstance(cancelled, StopRequest) and cancelled.hurried


def of_network(on_event: OnEvent, network: str) -> OnEvent:
    """Return a listener that says of each epoch which network it is of.

    Parameters
    ----------
    on_event : callable
        Is told every event.
    network : str
        In words, as :class:`EpochFinished` has it.

    Returns
    -------
    callable

    Examples
    --------
    >>> heard: list[Event] = []
    >>> of_network(of_network(heard.append, "generator"), "second network")(EpochFinished(1, 2))
    >>> heard[0].network
    'second network of the generator'
    """

    def report(event: Event) -> None:
        if isinstance(event, EpochFinished):
            name = f"{event.network} of the {network}" if event.network else network
            event = replace(event, network=name)
        on_event(event)

    return report


def ignore_event(event: Event) -> None:
    """Take an event and do nothing: the default listener."""


# What a person writes in a console: ``why.fit(dataset, on_event=why.quiet)``.
quiet = ignore_event


def never_cancelled() -> bool:
    """Answer that nobody asked to stop: the default."""
    return False
