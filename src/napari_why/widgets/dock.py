"""What every dock has: its viewer and shared state, a job runner, pages, messages, preferences."""

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from qtpy.QtGui import QCloseEvent, QKeySequence, QShortcut
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_why.core.errors import WhyError
from napari_why.core.events import Event, Message
from napari_why.sessions import LayerChange, Pause, results_of, state_of
from napari_why.widgets.image_files import offer_formats
from napari_why.widgets.job import (
    Executor,
    JobRunner,
    JobState,
    Outcome,
    RunButton,
    Work,
    run_in_thread,
)
from napari_why.widgets.job_strip import JobStrip
from napari_why.widgets.tables import PlainLabel
from napari_why.widgets.wheel import ignore_wheel_without_focus

if TYPE_CHECKING:
    from napari.components import ViewerModel

logger = logging.getLogger(__name__)

# Pixels: two buttons side by side, and a spin box beside the longest name of a parameter.
NARROWEST = 320
# Of the bar beside a message, and of a tinge behind it. The text keeps the theme's own colour, for no
# orange or red can be read on the dark and on the light theme alike.
COLOURS = {"information": "", "warning": "224, 150, 30", "error": "230, 70, 60"}
# Of 255: how much of the colour lies behind the text.
TINGE = 40
# Until a page that grew is laid out anew: some turns of the event loop.
SETTLING_MS = 60
# What starts the work of a page; Ctrl is Command on a Mac.
RUN_KEYS = "Ctrl+Return"
# Milliseconds: slow software drawing takes less, and a window that is not seen draws nothing.
LONGEST_FRAME = 1000


class WorkingWidget(QWidget):
    """A widget of a viewer that runs long work, adds layers, and says what went wrong.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer that the widget belongs to.
    executor : Executor, optional
        Where jobs run; a worker thread by default.

    Attributes
    ----------
    runner : JobRunner
    message : MessageArea
    strip : JobStrip
        What runs.
    state : ViewerState
        Data set, classifier and image that the docks of this viewer share.
    """

    def __init__(self, viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__()
        offer_formats()
        self.viewer = viewer
        self.state = state_of(viewer)
        self.runner = JobRunner(executor, self)
        self.message = MessageArea()
        # As far from the sides as Qt's style puts the widgets above.
        self.message.setContentsMargins(9, 4, 9, 6)
        self.strip = JobStrip()
        self.strip.follow(self.runner)
        self.is_shut_down = False
        self._refusal = ""
        self._tell_finding: Callable[[str], None] = self.message.add
        self._docked = False
        self.setMinimumWidth(NARROWEST)
        self.runner.event.connect(self._show_message)
        self.runner.state_changed.connect(self._forget_refusal)

    def is_free(self) -> bool:
        """Whether :meth:`run` would start something now; if not, the message area says so.

        For a caller that has to change what it shows before the work starts, and only then.
        """
        if self.runner.state is JobState.IDLE:
            return True
        self._refusal = (
            f"Something runs in this dock: {self.runner.title}; wait for it or cancel it below."
        )
        self.message.tell(self._refusal, "warning")
        return False

    def run(
        self,
        title: str,
        work: Work,
        on_result: Callable[[Any], None],
        on_error: Callable[[Exception], None] | None = None,
        on_left: Callable[[Any], None] | None = None,
        *,
        keep_message: bool = False,
        on_finding: Callable[[str], None] | None = None,
    ) -> None:
        """Run long work, and hand its result, a partial one too, to ``on_result``.

        The message area says in words what failed; what the dock had before is kept. While
        another job of this dock runs, nothing is started, and the message area says so.

        Parameters
        ----------
        title : str
            What is being done, shown below the page.
        work : callable
            ``work(on_event=..., cancelled=...)``.
        on_result : callable
            Called in the GUI thread.
        on_error : callable, optional
            Called in the GUI thread too, after the message area was.
        on_left : callable, optional
            Called with the result in place of ``on_result`` where this widget went away meanwhile.
        keep_message : bool
            Leave what is said: for work that nobody asked for, which follows other work.
        on_finding : callable, optional
            Given what the work says of the data while it runs; the message area by default, which makes the
            page above it lower.
        """
        if not self.is_free():
            return
        if not keep_message:
            self.message.clear()
        self._tell_finding = on_finding or self.message.add
        threads = read_preferences().threads

        # Read in the GUI thread; torch is imported in the other one, which takes seconds.
        def work_within_limit(**listeners: Any) -> Any:
            if threads is None:
                return work(**listeners)
            from napari_why.core.devices import limited_threads

            with limited_threads(threads):
                return work(**listeners)

        def conclude(outcome: Outcome) -> None:
            if outcome.error is not None:
                kind = "warning" if outcome.cancelled else "error"
                self.message.add(describe_error(outcome.error), kind)
                if on_error is not None:
                    on_error(outcome.error)
            elif outcome.cancelled:
                nothing = outcome.result is None
                self.message.add(
                    "Cancelled." if nothing else "Cancelled; what was done is kept.", "warning"
                )
            if outcome.result is not None:
                on_result(outcome.result)

        self.runner.start(title, work_within_limit, conclude, on_left)

    def load(
        self, work: Callable[[], Any], then: Callable[[Any], None], title: str = "Loading"
    ) -> None:
        """Import or look up something beside the viewer, without Cancel.

        Importing torch takes seconds; here it does not stop the viewer. ``title`` is shown as long as
        it takes.

        Parameters
        ----------
        work : callable
            Called in another thread; may touch no widget.
        then : callable
            Given its result, in the viewer's thread; not called where it failed, which is told.
        title : str
            What the strip says meanwhile.
        """

        def try_work() -> Outcome:
            try:
                return Outcome(work())
            except Exception as error:
                # Without frames: they would keep every local of the failed call alive.
                logger.exception("napari-why could not load what a dock needs")
                return Outcome(error=error.with_traceback(None))

        def deliver(outcome: Outcome) -> None:
            if self.is_shut_down:
                return
            if outcome.error is not None:
                self.message.tell_error(outcome.error)
            else:
                then(outcome.result)

        self.runner.run_aside(title, try_work, deliver)

    def add_layers(
        self,
        layers: list[Layer],
        then: Callable[[], None] | None = None,
        *,
        hides_images: bool = False,
    ) -> None:
        """Add layers to the viewer, a step in each turn of the event loop.

        Parameters
        ----------
        layers : list of Layer
        then : callable, optional
            Called when all are there.
        hides_images : bool
            Whether images are hidden that a result among them would lie over.
        """
        results_of(self.viewer).add_layers_alone(layers, hides_images=hides_images)
        self.carry_out(LayerChange(self.viewer, layers), then)

    def carry_out(self, change: LayerChange, then: Callable[[], None] | None = None) -> None:
        """Change the viewer's layers, a step in each turn of the event loop.

        A step takes napari some tens of milliseconds; between them, the viewer stays responsive.

        Parameters
        ----------
        change : LayerChange
            What is to be done.
        then : callable, optional
            Called when all is done.
        """
        steps = change.steps()

        def go_on() -> None:
            if self.is_shut_down:
                return
            pause = next(steps, None)
            if pause is Pause.TURN:
                QTimer.singleShot(0, self, go_on)
            elif pause is Pause.FRAME:
                after_frame(self, go_on)
            elif then is not None:
                then()

        # in a turn of its own: what is said of a result, and drawn of it, has just taken one
        QTimer.singleShot(0, self, go_on)

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

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802 (Qt's)
        """Go on with Tab as the eye does: from the top down, whatever was made first."""
        window, focus = self.window(), self.window().focusWidget()
        stops = sorted(
            filter(_takes_tab, self.findChildren(QWidget)),
            key=lambda widget: (
                (at := widget.mapTo(window, QPoint(0, 0))).y() * window.width() + at.x()
            ),
        )
        if focus not in stops:
            return bool(super().focusNextPrevChild(forward))
        place = stops.index(focus) + (1 if forward else -1)
        following = stops[place] if 0 <= place < len(stops) else self._stop_beyond(focus, forward)
        if following is None:
            return False
        reason = Qt.FocusReason.TabFocusReason if forward else Qt.FocusReason.BacktabFocusReason
        following.setFocus(reason)
        area = self.findChild(QScrollArea)
        if area is not None and area.isAncestorOf(following):
            area.ensureWidgetVisible(following)
        return True

    def _stop_beyond(self, focus: QWidget, forward: bool) -> QWidget | None:
        """Return what has the focus after, or before, all that is in here."""
        found: QWidget | None = focus
        while found is not None:
            found = found.nextInFocusChain() if forward else found.previousInFocusChain()
            if found is None or found is focus:
                break
            if not self.isAncestorOf(found) and _takes_tab(found):
                return found
        return None

    def _show_message(self, event: Event) -> None:
        # What is only said of the work stands beside its bar, and goes with it.
        if isinstance(event, Message) and event.finding:
            self._tell_finding(event.text)

    def _forget_refusal(self, state: JobState) -> None:
        if state is JobState.IDLE and self._refusal and self.message.text() == self._refusal:
            self.message.clear()
            self._refusal = ""


def _takes_tab(widget: QWidget) -> bool:
    policy = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    return bool(policy) and widget.isVisible() and widget.isEnabled() and not widget.focusProxy()


class Column(QWidget):
    """Widgets below each other in a scroll area, as high as their wrapped text needs at this width.

    Qt counts the height of wrapped text at a width of its own choice: where the column is narrower, it
    would squeeze forms until their rows are gone, instead of letting the area scroll.
    """

    def event(self, event: QEvent) -> bool:
        """Ask for the height that is needed whenever the width or what is inside has changed."""
        done = bool(super().event(event))
        if event.type() in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            self.take_height()
        return done

    def take_height(self) -> None:
        """Take the height that is needed at this width; the area scrolls where it has less."""
        layout = self.layout()
        if layout is not None and layout.hasHeightForWidth():
            self.setMinimumHeight(layout.totalMinimumHeightForWidth(self.width()))


class Dock(WorkingWidget):
    """A scrolling column of widgets with a message area and what runs below it.

    It stands alone in a window, or is a page of the one dock of this package, which then shows the
    classifier, the image and the jobs for all pages.

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
    page_wanted : Signal(str)
        The title of another page that the user wants to go on with.
    method_wanted : Signal(str, str)
        That of another page, and the name of a method to choose there.
    """

    page_wanted = Signal(str)
    method_wanted = Signal(str, str)

    def __init__(self, viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(viewer, executor)
        self.is_page = False
        inner = Column()
        self.column = QVBoxLayout(inner)
        area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        # Text is wrapped instead: nobody looks for a button to the right of a dock's edge.
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        self._area = area
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area, 1)
        layout.addWidget(self.message)
        layout.addWidget(self.strip)
        keys = QShortcut(QKeySequence(RUN_KEYS), self)
        keys.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        keys.activated.connect(self.press_run_button)
        ignore_wheel_without_focus(self)
        self.runner.state_changed.connect(self._look_at_result)

    def become_page(self) -> None:
        """Leave out what the dock around this page shows: the classifier, the image and the jobs."""
        self.is_page = True
        self.strip.deleteLater()

    def press_run_button(self) -> None:
        """Start the work of what is in sight: press the topmost button that does."""
        if self.runner.state is not JobState.IDLE:
            return
        buttons = [
            button
            for button in self.findChildren(RunButton)
            if button.isVisibleTo(self) and button.isEnabled()
        ]
        if buttons:
            min(buttons, key=lambda button: button.mapTo(self, QPoint(0, 0)).y()).click()

    def scroll_to_top(self) -> None:
        """Show what stands first."""
        bar = self._area.verticalScrollBar()
        if bar is not None:
            bar.setValue(bar.minimum())

    def scroll_to(self, widget: QWidget) -> None:
        """Show a widget, and as much as there is room for of what follows it."""
        inner, bar = self._area.widget(), self._area.verticalScrollBar()
        if inner is not None and bar is not None and inner.isAncestorOf(widget):
            bar.setValue(widget.mapTo(inner, QPoint(0, 0)).y())

    def start_of_result(self, pressed: QWidget) -> QWidget:
        """Return what stands on top once the work that a button started has ended: that button."""
        return pressed

    def heading(self, text: str) -> PlainLabel:
        """Add a heading to the column."""
        label = PlainLabel(text, bold=True)
        self.column.addWidget(label)
        return label

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802 (Qt's)
        """Go on with Tab; of a page, the dock around it knows what comes after its end."""
        if self.is_page:
            return bool(QWidget.focusNextPrevChild(self, forward))
        return super().focusNextPrevChild(forward)

    def _look_at_result(self, state: JobState) -> None:
        pressed = self.runner.pressed
        if state is JobState.IDLE:
            self.runner.pressed = None
        if pressed is not None:
            # once what the work brings has its place: results stand below their button
            QTimer.singleShot(SETTLING_MS, pressed, lambda: self._scroll_to_pressed(pressed))

    def _scroll_to_pressed(self, pressed: QWidget) -> None:
        # a training goes on with another page of its dock, where its button is not
        if pressed.isVisibleTo(self):
            self.scroll_to(self.start_of_result(pressed))


def after_frame(widget: QWidget, then: Callable[[], None]) -> None:
    """Call once the canvas of a widget's window has drawn what it shows now.

    Where there is no canvas to be seen, or nothing to draw, as soon as a frame would have been.

    Parameters
    ----------
    widget : QWidget
    then : callable
        Called once, in a later turn of the event loop.
    """
    top = widget
    while (above := top.parentWidget()) is not None:  # a floating dock too has its window above it
        top = above
    canvases = [found for found in top.findChildren(QOpenGLWidget) if found.isVisible()]
    waiting = [True]

    def go_on() -> None:
        if waiting:
            waiting.clear()
            for canvas in canvases:
                canvas.frameSwapped.disconnect(go_on)
            # in a turn of its own: the canvas is still at work
            QTimer.singleShot(0, widget, then)

    for canvas in canvases:
        canvas.frameSwapped.connect(go_on)
        canvas.update()
    QTimer.singleShot(LONGEST_FRAME if canvases else 0, widget, go_on)


class Panel(QWidget):
    """A column of widgets that runs its long work through its dock.

    Parameters
    ----------
    dock : Dock
        Gives viewer, state, runner and message area.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self.dock = dock
        self.column = QVBoxLayout(self)

    def end_column(self) -> None:
        """Keep what is in the column at its top."""
        self.column.addStretch(1)

    def event(self, event: QEvent) -> bool:
        """Ask for room in the scroll area when what is inside has changed.

        The tabs in between do not pass on every such change: a widget that comes with others would squeeze
        them until the next one.
        """
        done = bool(super().event(event))
        if event.type() == QEvent.Type.LayoutRequest:
            QTimer.singleShot(0, self, self._ask_for_room)
        return done

    def _ask_for_room(self) -> None:
        above: Any = self.parentWidget()
        while above is not None and not isinstance(above, Column):
            above = above.parentWidget()
        if above is not None:
            above.take_height()


def describe_error(error: Exception) -> str:
    """Tell a user what went wrong and what to do.

    Examples
    --------
    >>> describe_error(MemoryError())
    'Not enough memory. Close other programs, or choose fewer steps or a smaller batch or image size.'
    """
    # torch's out-of-memory errors are RuntimeErrors, known by their words alone.
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return (
            "Not enough memory. Close other programs, or choose fewer steps or a smaller batch "
            "or image size."
            + (" The processor (device: cpu) has more memory than a GPU." if _on_gpu(error) else "")
        )
    if isinstance(error, WhyError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'The file'}: {error.strerror}."
    return f"This failed unexpectedly ({type(error).__name__}: {error}). The log has the details."


def as_sentence(note: str) -> str:
    """Write a note with a capital and a full stop.

    Examples
    --------
    >>> as_sentence("a pixel is 0.3 um")
    'A pixel is 0.3 um.'
    """
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


def _on_gpu(error: Exception) -> bool:
    text = str(error).lower()
    return "cuda" in text or "mps" in text


class MessageArea(PlainLabel):
    """A line or more of text that is empty, and takes no room, when there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.kind = "information"
        self._said: list[str] = []
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.clear()

    def tell(self, text: str, kind: str = "information") -> None:
        """Show a sentence; ``kind`` is information, warning or error.

        Parameters
        ----------
        text : str
            Empty: nothing is said any more.
        kind : {"information", "warning", "error"}
            Which colour.
        """
        self._show([text] if text else [], kind)

    def add(self, text: str, kind: str = "information") -> None:
        """Show a sentence below what is said already, in the colour of the more serious of both.

        What is there, as a whole or as one of its lines, is not said twice.

        Parameters
        ----------
        text : str
            Empty: only the colour may change.
        kind : {"information", "warning", "error"}
            Which colour.
        """
        there = {*self._said, *self.text().split("\n")}
        kinds = list(COLOURS)  # from the least serious
        serious = max(self.kind, kind, key=kinds.index) if self._said else kind
        self._show(self._said if not text or text in there else [*self._said, text], serious)

    def drop(self, texts: Collection[str]) -> None:
        """Take sentences away that now stand elsewhere."""
        self._show([said for said in self._said if said not in texts], self.kind)

    def _show(self, said: list[str], kind: str) -> None:
        self.kind, self._said = kind, said
        colour = COLOURS[kind]
        self.setStyleSheet(
            f"border-left: 3px solid rgb({colour}); background: rgba({colour}, {TINGE}); padding: 2px 4px;"
            if colour
            else ""
        )
        self.setText("\n".join(said))
        self.setVisible(bool(said))

    def tell_error(self, error: Exception) -> None:
        """Show in words what went wrong."""
        self.tell(describe_error(error), "error")

    def clear(self) -> None:
        """Say nothing."""
        self.tell("")


@dataclass(frozen=True)
class Preferences:
    """What the user set for all docks.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda:0`` or ``mps``.
    threads : int or None
        Processor threads for torch; None for all cores but one.
    models : Path
        Where the file dialogs for classifiers start.
    score_maps : bool
        Measure of every map of evidence how much it deserves to be believed.
    grey_channels : bool
        Show the channels below a result in grey.
    """

    device: str = "auto"
    threads: int | None = None
    models: Path = field(default_factory=Path.home)
    score_maps: bool = False
    grey_channels: bool = True


_asking_for_settings = Lock()


def read_preferences() -> Preferences:
    """Read the preferences; the defaults where the plugin is not registered with napari."""
    from napari.settings import get_plugin_settings

    try:
        # napari makes the settings when they are first asked for, and two threads may ask at once
        with _asking_for_settings:
            settings = get_plugin_settings("napari-why")
    except KeyError:
        return Preferences()
    folder = Path(settings.files.models).expanduser() if settings.files.models else Path.home()
    # napari makes an enum of a setting with choices.
    return Preferences(
        device=str(getattr(settings.compute.device, "value", settings.compute.device)),
        threads=int(settings.compute.threads) or None,
        models=folder,
        score_maps=bool(settings.explaining.score_maps),
        grey_channels=bool(settings.explaining.grey_channels),
    )


def remember_grey_channels(grey: bool) -> None:
    """Keep whether channels are grey below a result, for the next time napari is started."""
    from napari.settings import get_plugin_settings

    # not registered, as in a script: nothing remembers it
    with suppress(KeyError):
        get_plugin_settings("napari-why").explaining.grey_channels = grey
