"""A matplotlib figure that looks like the viewer around it."""

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme

if TYPE_CHECKING:
    from napari.components import ViewerModel

COLOURS = ("#58a6ff", "#f0883e", "#56d364", "#d2a8ff", "#ffd33d", "#ff7b72")


class Plot(FigureCanvasQTAgg):
    """A figure in the viewer's colours, redrawn when Qt has time.

    Parameters
    ----------
    viewer : ViewerModel
        Its theme gives the colours.
    height : int
        Pixels.
    columns : int
        Axes side by side.
    """

    def __init__(self, viewer: "ViewerModel", height: int = 200, columns: int = 1) -> None:
        super().__init__(Figure(layout="constrained"))
        self._viewer = viewer
        self.setFixedHeight(height)
        grid = self.figure.subplots(1, columns, squeeze=False)
        self.panels: list[Axes] = list(grid[0])
        viewer.events.theme.connect(self.redraw)
        self.redraw()

    @property
    def colours(self) -> tuple[str, str]:
        """Background and foreground of the viewer's theme."""
        theme = get_theme(self._viewer.theme)
        return theme.background.as_hex(), theme.text.as_hex()

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
