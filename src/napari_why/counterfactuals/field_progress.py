"""Progress and Cancel for whole fields, whose single images take long: per tile."""

from napari_why.core.errors import CancellationError
from napari_why.core.events import Advanced, Cancelled, Event, OnEvent, Started


class FieldProgress:
    """A listener that also tells which tile is done, and stops the work between tiles.

    Parameters
    ----------
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    """

    def __init__(self, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._on_event, self._cancelled = on_event, cancelled
        self._done = 0

    def __call__(self, event: Event) -> None:
        """Pass an event on, and keep in mind how many steps are done."""
        if isinstance(event, Started):
            self._done = 0
        elif isinstance(event, Advanced):
            self._done = event.done
        self._on_event(event)

    def each_tile(self, done: int, total: int) -> None:
        """Tell that a tile is done.

        Raises
        ------
        CancellationError
            The user asked to stop. Whoever has something to keep catches it.
        """
        if total > 1:
            self._on_event(Advanced(self._done, f"tile {done} of {total}"))
        if self._cancelled():
            raise CancellationError(
                "counterfactual: found that it was cancelled before there was an image of the "
                "field to keep; expected at least one; start it anew"
            )
