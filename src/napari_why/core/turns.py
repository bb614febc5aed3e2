"""Who is at work with a network just now: one explanation at a time, and none while it is trained.

What a method does to a network while it explains (hooks, evaluation mode, parameters without
gradients) would be seen by everybody else who works with the same object in another thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

from napari_why.core import events
from napari_why.core.errors import CancellationError, NetworkBusyError

# seconds between two looks at whether the waiting was cancelled: not felt by a person, and next to
# no work for a processor
PATIENCE = 0.05


class NetworkUse:
    """The locks of one network, and of all that share its weights.

    Explanations of one network wait for each other, and training waits for the explanation that is
    under way. While a network is trained, whatever asks it for an answer is refused in words: its
    answer would be of a network half trained, and asking would disturb the training. Waiting holds
    nothing that a viewer needs and ends when it is cancelled; one thread may enter several times.
    """

    def __init__(self) -> None:
        # one for whole explanations, which take minutes, and one for single passes that put hooks
        # on or must meet none: a prediction waits for a pass of an explanation, not for its end
        self._turn, self._pass = RLock(), RLock()
        self._training = False

    def __deepcopy__(self, memo: Any) -> "NetworkUse":
        """Return a new one: nobody is at work with a copy yet, and locks cannot be copied."""
        return NetworkUse()

    def __reduce__(self) -> tuple[type["NetworkUse"], tuple[()]]:
        """Leave the locks out of what is pickled."""
        return NetworkUse, ()

    @contextmanager
    def explained(
        self,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> Iterator[None]:
        """Explain the network: wait until no other thread does.

        Raises
        ------
        NetworkBusyError
            It is being trained.
        CancellationError
            Cancelled while waiting.
        """
        self.refuse_training()
        self._take_turn(on_event, cancelled)
        try:
            self.refuse_training()  # it may have begun meanwhile
            yield
        finally:
            self._turn.release()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Make one forward pass that puts hooks on the network, or that must meet none.

        Raises
        ------
        NetworkBusyError
            The network is being trained.
        """
        with self._pass:
            self.refuse_training()
            yield

    @contextmanager
    def trained(
        self,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> Iterator[None]:
        """Train the network: wait for the explanation that is under way, and refuse all others.

        Raises
        ------
        NetworkBusyError
            It is being trained already.
        CancellationError
            Cancelled while waiting.
        """
        self.refuse_training()
        self._take_turn(on_event, cancelled)
        try:
            with self._pass:  # a pass that has begun is not to see weights change
                self.refuse_training()
                self._training = True
        finally:
            # not held for the hours of a training: who comes is to be told so, and not to wait
            self._turn.release()
        try:
            yield
        finally:
            self._training = False

    def refuse_training(self) -> None:
        """Raise NetworkBusyError where the network is being trained."""
        if self._training:
            raise NetworkBusyError(
                "the network is being trained, and what it would answer now is that of a network "
                "half trained; wait until the training has ended, or use a copy of the network "
                "(copy.deepcopy)"
            )

    def _take_turn(self, on_event: events.OnEvent, cancelled: events.Cancelled) -> None:
        if self._turn.acquire(blocking=False):
            return
        on_event(events.Message("waiting: the same network is being explained elsewhere"))
        while not self._turn.acquire(timeout=PATIENCE):
            if cancelled():
                raise CancellationError(
                    "cancelled while waiting for another explanation of the same network; nothing "
                    "was computed"
                )
