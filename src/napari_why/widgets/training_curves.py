"""Loss and accuracy, epoch by epoch, while the network learns."""

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from napari_why.events import EpochFinished
from napari_why.widgets.plot import COLOURS, Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

STYLES = {"train": ("training", COLOURS[0]), "validation": ("validation", COLOURS[1])}


class TrainingCurves(Plot):
    """Two panels: loss and accuracy of the training and of the validation images."""

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__(viewer, height=190, columns=2)
        self._epochs: list[EpochFinished] = []
        self.start()

    @property
    def epochs(self) -> list[EpochFinished]:
        """What is shown."""
        return list(self._epochs)

    def start(self) -> None:
        """Forget the last training."""
        self._epochs = []
        self._draw()

    def add(self, event: EpochFinished) -> None:
        """Show one more epoch."""
        self._epochs.append(event)
        self._draw()

    def _draw(self) -> None:
        for axes, quantity in zip(self.panels, ("loss", "accuracy"), strict=True):
            axes.clear()
            axes.set_title(quantity)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            for part, (label, colour) in STYLES.items():
                points = [
                    (event.epoch, event.metrics[f"{part}_{quantity}"])
                    for event in self._epochs
                    if f"{part}_{quantity}" in event.metrics
                ]
                if points:
                    marker = "o" if len(points) < 20 else ""
                    axes.plot(
                        *zip(*points, strict=True), color=colour, label=label, marker=marker, ms=3
                    )
            if self._epochs:
                axes.set_xlim(0.5, max(self._epochs[-1].epochs, 2) + 0.5)
        self.panels[1].set_ylim(-0.03, 1.03)
        if self._epochs:
            self.panels[0].legend(fontsize=8)
        self.redraw()
