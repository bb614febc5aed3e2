"""Results of a viewer side by side, in a window that follows its slider; and the way to it."""

from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_why.core.errors import WhyError
from napari_why.sessions.results_on_show import MadeResult, results_of
from napari_why.widgets.dock import Dock, read_preferences, remember_grey_channels
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari.components import ViewerModel

# Pixels of the window when it opens: it fits a screen of 1366 x 768 beside nothing else.
WIDTH, HEIGHT = 1100, 640
# Pixels of the list: longer titles are told by their tooltips.
LIST_WIDTH = 240
# Steps of the slider: finer than any series has.
STEPS = 1000


class ResultActions(QWidget):
    """What can be done with a result on show: compare it, and see its channels in grey.

    Parameters
    ----------
    dock : Dock
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self._dock = dock
        self._results = results_of(dock.viewer)
        self._results.grey = read_preferences().grey_channels
        self.compare = QPushButton("Compare...")
        self.compare.setToolTip(
            "Put results of this viewer side by side, with titles, scales and one slider"
        )
        self.grey = QCheckBox("channels in grey")
        self.grey.setToolTip(
            "Show the channels below a result in grey, so that its colours are told from theirs"
        )
        self.grey.setChecked(self._results.grey)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.compare)
        row.addWidget(self.grey)
        row.addStretch(1)
        self.window_of_results: CompareWindow | None = None
        self.compare.clicked.connect(self.open_comparison)
        self.grey.toggled.connect(self._choose_grey)
        self._results.grey_changed.connect(self._show_grey)
        self.hide()

    def show_result(self) -> None:
        """Offer it all; there is a result now."""
        self.show()

    def open_comparison(self) -> None:
        """Open the window, or bring it to the front, with the result on show ticked."""
        if self.window_of_results is None:
            self.window_of_results = CompareWindow(self._dock.viewer, self._dock.window())
        self.window_of_results.open()

    def release(self) -> None:
        """Follow the viewer no more."""
        self._results.grey_changed.disconnect(self._show_grey, missing_ok=True)
        if self.window_of_results is not None:
            self.window_of_results.close()
            self.window_of_results.deleteLater()  # else it would live as long as napari's window
            self.window_of_results = None

    def _show_grey(self, grey: bool) -> None:
        self.grey.setChecked(grey)

    def _choose_grey(self, grey: bool) -> None:
        self._results.grey = grey
        remember_grey_channels(grey)


class CompareWindow(QWidget):
    """Chosen results of a viewer as one figure: rows are channels, columns before, after and change, or methods.

    Parameters
    ----------
    viewer : ViewerModel
    parent : QWidget, optional
        The window that it stays in front of.
    """

    def __init__(self, viewer: "ViewerModel", parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.setWindowTitle("napari-why: compare results")
        self.resize(WIDTH, HEIGHT)
        self._viewer = viewer
        self._results = results_of(viewer)
        self.figure: Any = None
        self.canvas: Any = None
        self.results = QListWidget()
        self.results.setFixedWidth(LIST_WIDTH)
        self.results.setWordWrap(True)
        self.results.setToolTip("Tick the results that are to be compared")
        self.text = PlainLabel()
        self.text.setWordWrap(True)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setToolTip("Strength of the change; the same as the viewer's slider")
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._alphas: tuple[float, float] = (0.0, 1.0)
        right = QVBoxLayout()
        right.addWidget(self.text)
        right.addWidget(self._area, 1)
        right.addWidget(self.slider)
        layout = QHBoxLayout(self)
        layout.addWidget(self.results)
        layout.addLayout(right, 1)
        self.results.itemChanged.connect(self._draw_later)
        self.slider.valueChanged.connect(self._slid)
        self._following = False

    @property
    def chosen(self) -> list[MadeResult]:
        """The ticked results that are still there."""
        made = self._results.made
        rows = [self.results.item(row) for row in range(self.results.count())]
        # weak: the list keeps no result alive, and neither does a window that was closed
        ticked = [
            row.data(Qt.ItemDataRole.UserRole)()
            for row in rows
            if row.checkState() == Qt.CheckState.Checked
        ]
        return [one for one in ticked if any(one is other for other in made)]

    def open(self) -> None:
        """List the results, the one on show ticked beside those that were, and show the window."""
        self._follow()
        self._list_results()
        self.show()
        self.raise_()
        self._draw_later()

    def show_alpha(self, alpha: float) -> None:
        """Show the images nearest to an alpha: those panels alone are drawn anew."""
        if self.figure is None or self.canvas is None:
            return
        for axes, drawn in self.figure.show(alpha):
            axes.draw_artist(drawn)
            self.canvas.blit(axes.bbox)
        first, last = self._alphas
        place = round(STEPS * (alpha - first) / ((last - first) or 1.0))
        with QSignalBlocker(self.slider):
            self.slider.setValue(min(max(place, 0), STEPS))
        self._say(alpha)

    def draw(self) -> None:
        """Draw the chosen results anew."""
        # matplotlib takes most of a second to import; a dock is opened without it
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from napari.utils.theme import get_theme

        from napari_why.output.comparison import ComparisonFigure

        chosen = self.chosen
        theme = get_theme(self._viewer.theme)
        try:
            images = [made.finding.subject.image for made in chosen]
        except WhyError as error:
            self.text.setText(str(error))
            return
        self.figure = ComparisonFigure(
            [made.finding.result for made in chosen],
            images,
            background=theme.background.as_hex(),
            foreground=theme.text.as_hex(),
        )
        self.canvas = FigureCanvasQTAgg(self.figure.figure)
        # as large as its panels ask for, and no smaller than it can be read
        width, height = (round(inches * 72) for inches in self.figure.figure.get_size_inches())
        self.canvas.setMinimumSize(width, height)
        self._area.setWidget(self.canvas)
        series = [made.finding.result for made in chosen if made.is_series]
        self._alphas = (
            (
                min(float(result.alphas[0]) for result in series),
                max(float(result.alphas[-1]) for result in series),
            )
            if series
            else (0.0, 1.0)
        )
        self.slider.setVisible(self.figure.moves)
        self.text.setText("" if chosen else "Tick the results that are to be compared.")
        alpha = self._viewer_alpha()
        self.figure.show(0.0 if alpha is None else alpha)
        self._say(0.0 if alpha is None else alpha)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Follow the viewer no more, and let go of the results that are drawn."""
        if self._following:
            self._following = False
            self._viewer.dims.events.current_step.disconnect(self._step_changed)
            self._viewer.events.theme.disconnect(self._draw_later)
            self._results.changed.disconnect(self._shown_changed, missing_ok=True)
        self.figure = self.canvas = None
        drawn = self._area.takeWidget()
        if drawn is not None:
            drawn.deleteLater()
        super().closeEvent(event)

    def _follow(self) -> None:
        if not self._following:
            self._following = True
            self._viewer.dims.events.current_step.connect(self._step_changed)
            self._viewer.events.theme.connect(self._draw_later)
            self._results.changed.connect(self._shown_changed)

    def _list_results(self) -> None:
        before, shown = self.chosen, self._results.shown
        with QSignalBlocker(self.results):
            self.results.clear()
            for made in reversed(self._results.made):
                if not _can_be_compared(made):
                    continue
                item = QListWidgetItem(made.title)
                item.setToolTip(plain_tip(made.title))
                item.setData(Qt.ItemDataRole.UserRole, ref(made))
                ticked = made is shown or any(made is other for other in before)
                item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
                self.results.addItem(item)

    def _draw_later(self, _event: Any = None) -> None:
        # in a turn of its own, once for all that changes in this one
        QTimer.singleShot(0, self, self._draw_if_open)

    def _draw_if_open(self) -> None:
        if self._following:
            self.draw()

    def _shown_changed(self, _made: Any = None) -> None:
        self._list_results()
        self._draw_later()

    def _slid(self, value: int) -> None:
        first, last = self._alphas
        alpha = first + (last - first) * value / STEPS
        shown = self._results.shown
        # a series of an opened session has no session of its own to follow
        if shown is not None and shown.is_series and hasattr(shown.owner, "step"):
            shown.owner.step(alpha)
            alpha = self._viewer_alpha() or alpha
        self.show_alpha(alpha)

    def _step_changed(self, _event: Any = None) -> None:
        alpha = self._viewer_alpha()
        if alpha is not None:
            self.show_alpha(alpha)

    def _viewer_alpha(self) -> float | None:
        shown = self._results.shown
        owner = None if shown is None or not shown.is_series else shown.owner
        return getattr(owner, "alpha", None)

    def _say(self, alpha: float) -> None:
        from napari_why.sessions.alpha_slider import compose_text

        said = []
        for made in self.chosen:
            if made.is_series:
                result = made.finding.result
                step = int(abs(result.alphas - alpha).argmin())
                said.append(compose_text(result, step, letters=STEPS))
        if said:
            self.text.setText("\n".join(said))


def _can_be_compared(made: MadeResult) -> bool:
    result = made.finding.result
    return hasattr(result, "joint") or hasattr(result, "alphas")
