"""Loss and accuracy, epoch by epoch, while the network learns."""

from typing import TYPE_CHECKING

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from napari_why.core.events import EpochFinished
from napari_why.widgets.plot import COLOURS, Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

QUANTITIES = ("loss", "accuracy")
STYLES = {"train": ("training", COLOURS[0]), "validation": ("validation", COLOURS[1])}


class TrainingCurves(Plot):
    """Two panels: loss and accuracy of the training and of the validation images."""

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__(viewer, height=190, columns=2)
        self._epochs: list[EpochFinished] = []
        self._lines: dict[str, Line2D] = {}
        for axes, quantity in zip(self.panels, QUANTITIES, strict=True):
            axes.set_title(quantity)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
            for part, (label, colour) in STYLES.items():
                (line,) = axes.plot([], [], color=colour, label=label, marker="o", ms=3)
                self._lines[f"{part}_{quantity}"] = line
        self.panels[1].set_ylim(-0.03, 1.03)
        self.panels[1].legend(fontsize=8, loc="lower right", frameon=False)
        self.redraw()

    @property
    def epochs(self) -> list[EpochFinished]:
        """What is shown."""
        return list(self._epochs)

    def start(self) -> None:
        """Forget the last training."""
        self._epochs = []
        self._show()

    def add(self, event: EpochFinished) -> None:
        """Show one more epoch."""
        self._epochs.append(event)
        self._show()

    def _show(self) -> None:
        # Lines are moved, not made anew: making axes and ticks takes longer than drawing them.
        for name, line in self._lines.items():
            known = [event for event in self._epochs if name in event.metrics]
            line.set_data(
                [event.epoch for event in known], [event.metrics[name] for event in known]
            )
        for axes in self.panels:
            axes.set_xlim(0.5, max([event.epochs for event in self._epochs[-1:]] or [2]) + 0.5)
        self.panels[0].relim()
        self.panels[0].autoscale_view(scalex=False)
        self.draw_idle()
