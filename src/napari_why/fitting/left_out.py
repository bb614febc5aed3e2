"""Steps that may come to nothing: no failure after a training costs the network."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from napari_why.core.errors import reason_of
from napari_why.core.events import Message, OnEvent, StopRequest

T = TypeVar("T")


@dataclass
class LeftOut:
    """Takes the steps that follow a training, and lists those that came to nothing.

    Training takes hours and what follows takes minutes: no failure of a step may cost the network.

    Parameters
    ----------
    on_event : callable
        See :mod:`napari_why.core.events`. What is left out is told as a Message.
    stop : StopRequest
        Asked by a KeyboardInterrupt during a step, which counts as Cancel. Once it hurries, no
        further step is taken.

    Attributes
    ----------
    entries : list of str
        What is missing, and in parentheses why; without a reason where it was cancelled.
    """

    on_event: OnEvent
    stop: StopRequest
    entries: list[str] = field(default_factory=list, init=False)

    def attempt(self, what: str, step: Callable[[], T], *, always: bool = False) -> T | None:
        """Take a step and return its result; None where it fails or is not waited for.

        Parameters
        ----------
        what : str
            What the step makes, in words for the list.
        step : callable
        always : bool
            Take it in a hurry too: it is quick, and much hangs on it.

        Returns
        -------
        object or None
            What ``step`` returned.
        """
        if self.stop.hurried and not always:
            self.cancel(what)
            return None
        try:
            return step()
        except KeyboardInterrupt:
            self.stop.ask()
            self.cancel(what)
        except Exception as error:  # noqa: BLE001 - whatever it was, the network is kept
            self.fail(what, error)
        # a step that ran out of memory must not leave the next one without
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def fail(self, what: str, error: Exception) -> None:
        """List something as left out since it failed, with the reason.

        Parameters
        ----------
        what : str
            What the step was to make, in words for the list.
        error : Exception
        """
        self._add(f"{what} ({reason_of(error)})", "failed")

    def cancel(self, what: str) -> None:
        """List something as left out since the work was cancelled."""
        self._add(what, "cancelled")

    def _add(self, entry: str, how: str) -> None:
        self.entries.append(entry)
        self.on_event(Message(f"{how}: left out {entry}", finding=True))
