"""The one dock: classifier and image on top, a page for each thing to do, and what runs below."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
)

from napari_why.core.errors import WhyError
from napari_why.widgets.classifier_bar import ClassifierBar
from napari_why.widgets.dock import Dock, WorkingWidget, read_preferences
from napari_why.widgets.job import Executor, JobState, run_in_thread
from napari_why.widgets.job_strip import JobRow
from napari_why.widgets.layer_chooser import LayerChooser
from napari_why.widgets.session_buttons import SessionButtons
from napari_why.widgets.tables import PlainLabel
from napari_why.widgets.wheel import ignore_wheel_without_focus

if TYPE_CHECKING:
    from napari.components import ViewerModel

# The pages in the order of the work: what each is for, its module and its class, which are imported when
# the page is looked at for the first time.
PAGES = {
    "Data": ("Open images, a data set or a plate", "open_dock", "OpenDock"),
    "Classifier": ("Train, evaluate and use a classifier", "classifier_dock", "ClassifierDock"),
    "Attribution": ("Show where the classifier looked", "attribution_dock", "AttributionDock"),
    "Counterfactual": (
        "Show what would have to change",
        "counterfactual_dock",
        "CounterfactualDock",
    ),
    "Latent space": (
        "Show where the network puts images, and which lie apart",
        "latent_space_dock",
        "LatentSpaceDock",
    ),
    "Batch": ("Work on many images, to one table", "batch_panel", "BatchPage"),
    "Screen": ("Judge compounds on plates, as the plates fill", "screen_page", "ScreenPage"),
}
# Buttons in a row, each as wide as its word needs: these four fit into the narrowest dock.
IN_A_ROW = 4
# Milliseconds without a further change until the image is compared with the training images: dragging a
# slider through a stack chooses a plane at each step.
CHECK_DELAY_MS = 400


class WhyDock(WorkingWidget):
    """Train a classifier, see where it looks and what would have to change, in one dock.

    Classifier and image are chosen once, on top, for all pages; the image follows the layers that are
    selected. What is unlike the images of the training is said there before anything is asked. Pages
    are made when they are looked at for the first time.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self._executor = executor
        self._pages: dict[str, Dock] = {}
        self._rows: dict[str, JobRow] = {}
        self._guard: CloseGuard | None = None
        self._checked: Any = None
        self.classifier_bar = ClassifierBar(self)
        self.image = LayerChooser(napari_viewer, folded=True)
        self.stack = QStackedWidget()
        self.sessions = SessionButtons(self, lambda: self.pages, self.classifier_bar.may_replace)
        self._buttons = QButtonGroup(self)
        self._wanted = ""
        self._check_timer = QTimer(self)
        self._check_timer.setSingleShot(True)
        self._check_timer.setInterval(CHECK_DELAY_MS)
        self._check_timer.timeout.connect(self.check_image)
        self._lay_out()
        self._follow()
        self.show_page(next(iter(PAGES)))

    @property
    def pages(self) -> dict[str, Dock]:
        """The pages that were looked at, by name."""
        return dict(self._pages)

    def show_page(self, name: str, then: Callable[[Any], None] | None = None) -> None:
        """Show a page; the first time its module is imported beside the viewer.

        Parameters
        ----------
        name : str
            One of :data:`PAGES`.
        then : callable, optional
            Called with the page once it is there.
        """
        self._wanted = name
        self._button(name).setChecked(True)
        if name in self._pages:
            self.stack.setCurrentWidget(self._pages[name])
            if then is not None:
                then(self._pages[name])
            return

        def show(_module: Any) -> None:
            page = self.page(name)
            if name == self._wanted:  # another may have been asked for meanwhile
                self.stack.setCurrentWidget(page)
            if then is not None:
                then(page)

        def prepare() -> None:
            # the first time napari looks through the manifests of all plugins for it
            read_preferences()
            _import_page(name)

        self.stack.setCurrentIndex(0)
        self.load(prepare, show, f"Opening the page {name}")

    def show_method(self, name: str, method: str) -> None:
        """Show a page that explains, with a method chosen there.

        Parameters
        ----------
        name : str
            Of the page.
        method : str
            Its key in the registry.
        """
        self.show_page(name, lambda page: page.choose_method(method))

    def page(self, name: str) -> Dock:
        """Return a page, made now where nobody has looked at it yet.

        Raises
        ------
        LookupError
            There is no page of this name.
        """
        if name not in PAGES:
            raise LookupError(f"page: found {name!r}; expected one of {', '.join(PAGES)}")
        if name not in self._pages:
            kind = getattr(_import_page(name), PAGES[name][2])
            page: Dock = kind(self.viewer, self._executor)
            page.become_page()
            page.page_wanted.connect(lambda wanted: self.show_page(wanted))
            page.method_wanted.connect(self.show_method)
            self._pages[name] = page
            self._rows[name] = self.strip.follow(page.runner)
            self.stack.addWidget(page)
            self.sessions.restore_page(name, page)
        return self._pages[name]

    def check_image(self) -> None:
        """Compare the chosen image with the training images beside the viewer, and say what is unlike."""
        classifier, choice = self.state.classifier, None
        if classifier is not None:
            try:
                choice = self.state.image.choice()
            except WhyError:
                choice = None  # what has to be chosen first stands in the header already
        places = () if choice is None else tuple(map(_place_of, choice.layers))
        asked = (
            None
            if choice is None
            else (classifier, *choice.layers, choice.plane, *choice.held, self._confirmed(), places)
        )
        if _same(asked, self._checked):
            return
        self._checked = asked
        self.image.show_found(())
        if classifier is None or choice is None:
            return
        chosen = choice

        def compare() -> tuple[str, ...]:
            try:
                return tuple(classifier.check(chosen.read()))
            except WhyError as error:
                return (str(error),)

        def tell(found: tuple[str, ...]) -> None:
            if _same(asked, self._checked):
                self.image.show_found(found)

        self.load(compare, tell, "Comparing the image with the training images")

    def _confirmed(self) -> tuple[bool]:
        """Whether layers of several files are said to show one field, as a part of what is asked."""
        return (self.state.image.several_files,)

    def jobs(self) -> list[str]:
        """Return what runs now, by its titles."""
        runners = [self.runner, *(page.runner for page in self._pages.values())]
        return [runner.title for runner in runners if runner.state is not JobState.IDLE]

    def shut_down(self) -> None:
        """Stop what runs on all pages, and follow the viewer no more."""
        super().shut_down()
        self._check_timer.stop()
        self._checked = None  # it holds on to pixels, and has to be asked anew when it comes back
        self.classifier_bar.release()
        self.image.release()
        self.state.image.changed.disconnect(self._image_changed, missing_ok=True)
        self.state.classifier_changed.disconnect(self._image_changed, missing_ok=True)
        self.viewer.dims.events.current_step.disconnect(self._image_changed)
        if self._guard is not None:
            self._guard.release()
            self._guard = None
        for page in self._pages.values():
            if not page.is_shut_down:
                page.shut_down()

    def reopen(self) -> None:
        """Take up work again, with new pages: those before have let go of the viewer."""
        super().reopen()
        self.classifier_bar.follow()
        self.image.follow()
        self._follow()
        for name, page in self._pages.items():
            self.strip.leave(self._rows[name])
            self.stack.removeWidget(page)
            page.deleteLater()
        self._pages, self._rows = {}, {}
        self.show_page(self._wanted)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Once there is a window around: ask before it is closed over work that is not saved."""
        super().showEvent(event)
        window = self.window()
        if self._guard is None and isinstance(window, QMainWindow):
            self._guard = CloseGuard(self, window)

    def _lay_out(self) -> None:
        header = Header()
        inside = QVBoxLayout(header)
        inside.setContentsMargins(9, 4, 9, 2)
        inside.setSpacing(2)
        inside.addWidget(self.classifier_bar)
        inside.addWidget(self.image)
        names = list(PAGES)
        for first in range(0, len(names), IN_A_ROW):
            line = QHBoxLayout()
            line.setSpacing(2)
            for name in names[first : first + IN_A_ROW]:
                line.addWidget(self._make_button(name))
            inside.addLayout(line)
        self._buttons.buttonClicked.connect(lambda button: self.show_page(button.text()))
        waiting = PlainLabel("Opening...")
        waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stack.addWidget(waiting)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(header)
        layout.addWidget(self.message)
        layout.addWidget(self.stack, 1)
        layout.addWidget(self.strip)
        layout.addWidget(self.sessions)
        ignore_wheel_without_focus(header)

    def _make_button(self, name: str) -> QPushButton:
        button = QPushButton(name)
        button.setCheckable(True)
        button.setToolTip(PAGES[name][0])
        button.setMinimumWidth(1)
        button.setStyleSheet("padding: 3px 1px;")
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._buttons.addButton(button)
        return button

    def _follow(self) -> None:
        self.state.image.changed.connect(self._image_changed)
        self.state.classifier_changed.connect(self._image_changed)
        self.viewer.dims.events.current_step.connect(self._image_changed)
        self._image_changed()

    def _image_changed(self, _changed: Any = None) -> None:
        self._check_timer.start()

    def _button(self, name: str) -> Any:
        return next(button for button in self._buttons.buttons() if button.text() == name)


class Header(QFrame):
    """What stands on top of all pages, as high as its wrapped text needs and no higher.

    Qt keeps the height of text that came for a moment, as the doubt that an image lacks a channel does
    while its layers are being added: so the height is asked for anew whenever something changes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._forgot = False

    def event(self, event: QEvent) -> bool:
        """Ask for the height that is needed whenever the width or what is inside has changed."""
        done = bool(super().event(event))
        layout = self.layout()
        if layout is None or event.type() not in (QEvent.Type.LayoutRequest, QEvent.Type.Resize):
            return done
        if event.type() == QEvent.Type.LayoutRequest:
            self._forgot = not self._forgot
            if self._forgot:
                layout.invalidate()  # which leads here once more
                return done
        needed = layout.totalHeightForWidth(self.width())
        self.setFixedHeight(needed if needed > 0 else layout.totalSizeHint().height())
        return done


class CloseGuard(QObject):
    """Asks before the window is closed over a running job, or a classifier that is not saved.

    Only where the user closes the window by its frame: what a script closes is closed, and napari's own
    menu asks by itself.

    Parameters
    ----------
    dock : WhyDock
    window : QMainWindow
    """

    def __init__(self, dock: WhyDock, window: QMainWindow) -> None:
        super().__init__(dock)
        # weak: a guard keeps no closed window alive
        self._dock, self._window = dock, ref(window)
        window.installEventFilter(self)

    def release(self) -> None:
        """Let the window be closed."""
        window = self._window()
        if window is not None:
            window.removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (the name is Qt's)
        """Keep the window open where the user says so.

        Parameters
        ----------
        watched : QObject
            Anything; the window alone counts.
        event : QEvent

        Returns
        -------
        bool
            True where the event goes no further.
        """
        asked = (
            watched is self._window() and event.type() == QEvent.Type.Close and event.spontaneous()
        )
        if asked and not self.may_close():
            event.ignore()
            return True
        return False

    def may_close(self) -> bool:
        """Ask about what would be lost, if anything would."""
        jobs, state = self._dock.jobs(), self._dock.state
        unsaved = state.classifier is not None and state.place is None
        makers = sum(place is None for place in state.makers.values())
        if not jobs and not unsaved and not makers:
            return True
        said = [f"{' and '.join(jobs)}: still running, and stopped by closing."] if jobs else []
        said += ["The classifier is not saved yet."] if unsaved else []
        if makers:
            said.append("Networks that make images are not saved yet (Classifier > Generate).")
        box = QMessageBox(self._dock)
        box.setWindowTitle("napari-why")
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText("\n".join(said))
        kinds = QMessageBox.ButtonRole
        save = box.addButton("Save...", kinds.ActionRole) if unsaved else None
        leave = box.addButton("Close all the same", kinds.DestructiveRole)
        box.addButton("Keep open", kinds.RejectRole)
        box.exec()
        box.deleteLater()
        if save is not None and box.clickedButton() is save:
            # saved beside the viewer: closed by the user, once it says so
            self._dock.classifier_bar.ask_where_to_save()
            return False
        return box.clickedButton() is leave


def _import_page(name: str) -> Any:
    return import_module(f"napari_why.widgets.{PAGES[name][1]}")


def _place_of(layer: Any) -> tuple[str, ...]:
    """Return what decides where a layer lies, by value."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units")
    return tuple(str(getattr(layer, name)) for name in names)


def _same(first: Any, second: Any) -> bool:
    """Tell whether two tuples hold the same objects; arrays are not compared by value."""
    if first is None or second is None:
        return first is second
    return len(first) == len(second) and all(
        one is other or (isinstance(one, tuple) and one == other)
        for one, other in zip(first, second, strict=True)
    )
