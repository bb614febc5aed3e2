"""Probability of each class along alpha, tied to napari's slider both ways."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backend_bases import MouseEvent
from qtpy.QtCore import Signal

from napari_why.widgets.plot import COLOURS, Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.counterfactuals.result import Counterfactual


class ProbabilityCurve(Plot):
    """Curves of probability over alpha with a line at the alpha that the viewer shows.

    Attributes
    ----------
    clicked : Signal(float)
        The alpha that the user clicked at.
    """

    clicked = Signal(float)

    def __init__(self, viewer: "ViewerModel") -> None:
        # Pixels: higher reads more finely, lower leaves more of the panels below in sight.
        super().__init__(viewer, height=210)
        self._line: Any = None
        self.mpl_connect("button_press_event", self._pressed)

    def show_counterfactual(self, counterfactual: "Counterfactual") -> None:
        """Draw the curves of a counterfactual."""
        axes = self.panels[0]
        axes.clear()
        alphas = counterfactual.alphas
        for index, name in enumerate(counterfactual.classes):
            axes.plot(
                alphas,
                counterfactual.probabilities[:, index],
                marker="o",
                ms=3,
                color=COLOURS[index % len(COLOURS)],
                label=name,
                lw=2 if name == counterfactual.target else 1,
            )
        # with two classes the prediction changes where they cross this line
        axes.axhline(0.5, color="grey", lw=0.8, ls=":")
        boundary = counterfactual.special_alphas.get("boundary")
        # a range that was chosen by hand may leave the boundary out
        if boundary is not None and alphas[0] <= boundary <= alphas[-1]:
            axes.axvline(boundary, color="grey", lw=0.8, ls="--")
            axes.annotate(
                "boundary", (boundary, 0.03), fontsize=8, color="grey", rotation=90, ha="right"
            )
        # red: none of the colours of the classes
        self._line = axes.axvline(float(alphas[0]), color="#ff5555", lw=1.5)
        # a little beyond 0 and 1, where most markers lie: at the edge they would be cut in half
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("alpha")
        axes.set_ylabel("probability")
        self.legend_above(axes)
        self.redraw()

    def mark(self, alpha: float) -> None:
        """Move the line to the alpha that the viewer shows."""
        if self._line is not None:
            self._line.set_xdata([alpha, alpha])
            self.draw_idle()  # when Qt has time: the slider may run through many steps a second

    @property
    def marked(self) -> float | None:
        """The alpha that the line stands at."""
        return None if self._line is None else float(np.asarray(self._line.get_xdata())[0])

    def _pressed(self, event: MouseEvent) -> None:
        if event.inaxes is not None and event.xdata is not None:
            self.clicked.emit(float(event.xdata))
