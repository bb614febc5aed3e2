"""How probabilities lie by true class, and which classes are confused."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from napari_why.widgets.plot import COLOURS, Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.evaluation import Evaluation

BINS = [step / 20 for step in range(21)]


class EvaluationPlots(Plot):
    """The distribution of predicted probability by true class, and the confusion matrix below."""

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__(viewer, height=400, rows=2)

    def show_evaluation(self, evaluation: "Evaluation", classes: tuple[str, ...]) -> None:
        """Draw both panels for the images that the figures count.

        With two classes the probability is that of the second; with more, that of the true class.
        """
        counted = evaluation.predictions
        if not counted["seen"].all():
            counted = counted[~counted["seen"]]
        self._draw_distribution(counted[counted["error"] == ""], classes)
        self._draw_confusion(np.array(evaluation.metrics["confusion_matrix"]), classes)
        self.redraw()

    def _draw_distribution(self, counted: Any, classes: tuple[str, ...]) -> None:
        axes = self.panels[0]
        axes.clear()
        for index, name in enumerate(classes):
            shown = classes[1] if len(classes) == 2 else name
            values = counted.loc[counted["label"] == name, f"probability of {shown}"]
            axes.hist(values, bins=BINS, alpha=0.7, label=name, color=COLOURS[index % len(COLOURS)])
        axes.set_xlabel(
            f"probability of {classes[1]}" if len(classes) == 2 else "probability of the true class"
        )
        axes.set_ylabel("images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        self.legend_above(axes)

    def _draw_confusion(self, counts: Any, classes: tuple[str, ...]) -> None:
        axes = self.panels[1]
        axes.clear()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
        axes.set_xticks(range(len(classes)), classes)
        axes.set_yticks(range(len(classes)), classes, rotation=90, va="center")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
