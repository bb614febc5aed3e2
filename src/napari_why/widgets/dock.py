"""What every dock has: a viewer, its shared state, a job runner and a place for messages."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_why.core.events import Event, Message
from napari_why.sessions import state_of
from napari_why.widgets.executors import Executor, run_in_thread
from napari_why.widgets.image_files import offer_formats
from napari_why.widgets.job import JobRunner, JobState, Outcome, Work
from napari_why.widgets.messages import MessageArea, in_words
from napari_why.widgets.preferences import preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel

logger = logging.getLogger(__name__)


class Dock(QWidget):
    """A scrolling column of widgets with a message area below it.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer that the dock belongs to.
    executor : Executor, optional
        Where jobs run; a worker thread by default.

    Attributes
    ----------
    column : QVBoxLayout
        Where subclasses put their widgets.
    runner : JobRunner
    message : MessageArea
    state : ViewerState
        Data set and classifier that the docks of this viewer share.
    """

    def __init__(self, viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__()
        offer_formats()
        self.viewer = viewer
        self.state = state_of(viewer)
        self.runner = JobRunner(executor, self)
        self.message = MessageArea()
        self.message.setContentsMargins(9, 4, 9, 6)
        self.is_shut_down = False
        self._executor = executor
        self._docked = False
        inner = QWidget()
        self.column = QVBoxLayout(inner)
        area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area, 1)
        layout.addWidget(self.message)
        self.setMinimumWidth(320)
        self.runner.event.connect(self._tell_message)

    def is_free(self) -> bool:
        """Whether :meth:`run` would start something now; if not, the message area says so.

        For a caller that has to change what it shows before the work starts, and only then.
        """
        if self.runner.state is JobState.IDLE:
            return True
        self.message.tell("Something runs in this dock; wait for it or cancel it.", "warning")
        return False

    def run(
        self,
        title: str,
        work: Work,
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run long work, and hand its result, a partial one too, to ``on_result``.

        A failure is told in words in the message area; what the dock had before is kept. While
        another job of this dock runs, nothing is started, and the message area says so.

        Parameters
        ----------
        title : str
            Shown in the activity dock.
        work : callable
            ``work(on_event=..., cancelled=...)``.
        on_result : callable
            Called in the GUI thread.
        on_error : callable, optional
            Called in the GUI thread too, after the failure was told.
        """
        if not self.is_free():
            return
        self.message.clear()
        threads = preferences().threads

        def limited(**listeners: Any) -> Any:
            if threads is None:
                return work(**listeners)
            from napari_why.core.devices import limited_threads

            with limited_threads(threads):
                return work(**listeners)

        def conclude(outcome: Outcome) -> None:
            if outcome.error is not None:
                kind = "warning" if outcome.cancelled else "error"
                self.message.tell(in_words(outcome.error), kind)
                if on_error is not None:
                    on_error(outcome.error)
            elif outcome.cancelled:
                nothing = outcome.result is None
                self.message.tell(
                    "Cancelled." if nothing else "Cancelled; what was done is kept.", "warning"
                )
            if outcome.result is not None:
                on_result(outcome.result)

        self.runner.start(title, limited, conclude)

    def load(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Import or look up something beside the viewer, without bar or button.

        Importing torch takes seconds; here it does not stop the viewer.
        """

        def guarded() -> Outcome:
            try:
                return Outcome(work())
            except Exception as error:
                logger.exception("napari-why could not load what a dock needs")
                return Outcome(error=error.with_traceback(None))

        def deliver(outcome: Outcome) -> None:
            if self.is_shut_down:
                return
            if outcome.error is not None:
                self.message.tell_error(outcome.error)
            else:
                then(outcome.result)

        self._executor(guarded, deliver)

    def add_layers(self, layers: list[Layer], then: Callable[[], None] | None = None) -> None:
        """Add layers to the viewer, a step in each turn of the event loop.

        Making a layer's picture, and its colour bar, takes napari some tens of milliseconds each;
        a step at a time, the viewer stays responsive between them.
        """
        if self.is_shut_down:
            return
        if not layers:
            if then is not None:
                then()
            return
        first, *others = layers
        with_bar = isinstance(first, Image) and first.colorbar.visible
        if with_bar:
            first.colorbar.visible = False
        self.viewer.add_layer(first)

        def go_on() -> None:
            if with_bar:
                first.colorbar.visible = True
            QTimer.singleShot(0, self, lambda: self.add_layers(others, then))

        QTimer.singleShot(0, self, go_on)

    def heading(self, text: str) -> QLabel:
        """Add a heading to the column."""
        label = QLabel(f"<b>{text}</b>")
        self.column.addWidget(label)
        return label

    def shut_down(self) -> None:
        """Stop what runs; for a dock that goes away."""
        self.is_shut_down = True
        self.runner.shut_down()

    def reopen(self) -> None:
        """Take up work again; for a dock that napari shows again after it was taken away."""
        self.is_shut_down = False

    def event(self, event: QEvent) -> bool:
        """Notice that napari took this widget out of its window, which closes no widget."""
        if event.type() == QEvent.Type.ParentChange:
            docked = self.parentWidget() is not None
            if self._docked and not docked:
                self.shut_down()
            elif docked and self.is_shut_down:
                self.reopen()
            self._docked = docked
        return bool(super().event(event))

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Stop what runs."""
        self.shut_down()
        super().closeEvent(event)

    def _tell_message(self, event: Event) -> None:
        if isinstance(event, Message):
            self.message.tell(event.text)
