"""Events on their way from the thread that works to the GUI thread."""

from collections import deque
from collections.abc import Callable
from threading import Lock

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_why.core.events import Advanced, Event

# 25 times a second: what moves looks smooth, and the GUI thread has the rest for itself.
DELIVERY_INTERVAL_MS = 40


class EventMailbox(QObject):
    """Collects events from any thread and delivers them in the GUI thread, a bundle at a time.

    Thousands of events a second become at most 25 deliveries a second. Of a run of
    :class:`~napari_why.core.events.Advanced` events only the last is kept, for it tells all that the
    others told; every other event arrives, in order. The order holds although napari's progress
    bars run the event loop, which may deliver further events while one is being delivered.

    Parameters
    ----------
    deliver : callable
        Called in the GUI thread with each event.
    """

    _arrived = Signal()

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        super().__init__()
        self._deliver = deliver
        self._lock = Lock()
        self._waiting: deque[Event] = deque()
        # A count and no flag: a delivery may run the event loop, which delivers within it.
        self._depth = 0
        self._announced = False
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELIVERY_INTERVAL_MS)
        self._timer.timeout.connect(self.empty)
        self._arrived.connect(self._timer.start, Qt.ConnectionType.QueuedConnection)

    def post(self, event: Event) -> None:
        """Take an event, in whatever thread it happens."""
        with self._lock:
            if self._closed:
                return
            superseded = self._waiting and isinstance(self._waiting[-1], Advanced)
            if superseded and isinstance(event, Advanced):
                self._waiting[-1] = event
            else:
                self._waiting.append(event)
            announce, self._announced = not self._announced, True
        # Outside the lock, and once a bundle: each emission is an event of its own for Qt.
        if announce:
            self._arrived.emit()

    def empty(self) -> None:
        """Deliver everything that waits; only in the GUI thread."""
        self._depth += 1
        try:
            while (event := self._next()) is not None:
                self._deliver(event)
        finally:
            self._depth -= 1

    @property
    def delivering(self) -> bool:
        """Whether a delivery is under way, further up in the GUI thread's calls."""
        return self._depth > 0

    def close(self) -> None:
        """Deliver nothing more; what is posted from now on is dropped."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._timer.stop()

    def _next(self) -> Event | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._announced = False
            return None
