"""A matplotlib figure that looks like the viewer around it."""

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtGui import QResizeEvent

if TYPE_CHECKING:
    from napari.components import ViewerModel

LEFT, RIGHT, BOTTOM, TOP = 48, 10, 40, 22
COLOURS = ("#58a6ff", "#f0883e", "#56d364", "#d2a8ff", "#ffd33d", "#ff7b72")


def draw_once() -> None:
    """Draw a small figure nobody sees, beside the viewer: finding the fonts takes its time once."""
    figure = Figure(figsize=(1, 1))
    canvas = FigureCanvasAgg(figure)
    figure.subplots().set_title("0")
    canvas.draw()


class Plot(FigureCanvasQTAgg):
    """A figure in the viewer's colours, redrawn when Qt has time.

    Parameters
    ----------
    viewer : ViewerModel
        Its theme gives the colours.
    height : int
        Pixels.
    rows, columns : int
        Panels below each other and side by side.
    """

    def __init__(
        self, viewer: "ViewerModel", height: int = 200, rows: int = 1, columns: int = 1
    ) -> None:
        super().__init__(Figure())
        self._viewer = viewer
        self.setFixedHeight(height)
        self._rows, self._columns = rows, columns
        grid = self.figure.subplots(rows, columns, squeeze=False)
        self.panels: list[Axes] = list(grid.flat)
        viewer.events.theme.connect(self.redraw)
        self.redraw()

    @property
    def colours(self) -> tuple[str, str]:
        """Background and foreground of the viewer's theme."""
        theme = get_theme(self._viewer.theme)
        return theme.background.as_hex(), theme.text.as_hex()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Keep the margins in pixels: a layout engine would draw everything twice over."""
        super().resizeEvent(event)
        between = BOTTOM + TOP
        width = max(self.width(), 2 * self._columns * LEFT)
        height = max(self.height(), 2 * self._rows * between)
        panel_width = (width - self._columns * LEFT - RIGHT) / self._columns
        panel_height = (height - self._rows * between) / self._rows
        self.figure.subplots_adjust(
            left=LEFT / width,
            right=1 - RIGHT / width,
            bottom=BOTTOM / height,
            top=1 - TOP / height,
            wspace=LEFT / panel_width,
            hspace=between / panel_height,
        )

    def legend_above(self, axes: Axes) -> None:
        """Name the curves in a line above the panel, where they cover nothing."""
        axes.legend(
            fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=4, frameon=False
        )

    def redraw(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        """Give everything the viewer's colours and draw when Qt has time."""
        background, foreground = self.colours
        self.figure.set_facecolor(background)
        for axes in self.panels:
            axes.set_facecolor(background)
            axes.tick_params(colors=foreground, labelsize=8)
            for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
                text.set_color(foreground)
                text.set_fontsize(9)
            for spine in axes.spines.values():
                spine.set_color(foreground)
            legend = axes.get_legend()
            if legend is not None:
                legend.get_frame().set_alpha(0)
                for text in legend.get_texts():
                    text.set_color(foreground)
        self.draw_idle()

    def release(self) -> None:
        """Stop following the viewer's theme."""
        self._viewer.events.theme.disconnect(self.redraw)
