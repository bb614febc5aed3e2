"""An evaluation as a figure: probabilities by true class, and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_why.core.pictures import CLASS_COLOURS
from napari_why.evaluation import Evaluation
from napari_why.output.figures import save_figure

# Of probabilities, 0.05 wide: narrower ones would be empty with few images, and wider ones hide
# how close to one half the probabilities lie.
BINS = [step / 20 for step in range(21)]
# Inches: two panels side by side fill the width of a page.
FIGURE_SIZE = (8, 3.6)


def draw_evaluation(evaluation: Evaluation, classes: Sequence[str], path: str | Path) -> Path:
    """Write one figure: predicted probabilities by true class, and the confusion matrix.

    Parameters
    ----------
    evaluation : Evaluation
    classes : sequence of str
        The classifier's.
    path : str or Path
        Ends in .png or .svg; an existing file of ours is replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImageWriteError
        Another ending, no image that counts, or it cannot be written.
    """
    figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_distribution(left, evaluation, classes)
    left.legend(fontsize=8, frameon=False)
    draw_confusion(right, evaluation, classes)
    return save_figure(figure, Path(path), evaluation.record)


def draw_distribution(axes: Axes, evaluation: Evaluation, classes: Sequence[str]) -> None:
    """Draw how the predicted probabilities of the images that count are spread, by true class.

    With two classes the probability is that of the second; with more, that of the true class.

    Parameters
    ----------
    axes : Axes
    evaluation : Evaluation
    classes : sequence of str
        The classifier's.
    """
    counted = evaluation.predictions
    counted = counted[counted["counted"]]
    two = len(classes) == 2
    for index, name in enumerate(classes):
        colour = CLASS_COLOURS[index % len(CLASS_COLOURS)]
        values = counted.loc[
            counted["label"] == name, f"probability of {classes[1] if two else name}"
        ]
        axes.hist(values, bins=BINS, alpha=0.7, label=name, color=colour)
    axes.set_xlabel(f"probability of {classes[1]}" if two else "probability of the true class")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def draw_confusion(axes: Axes, evaluation: Evaluation, classes: Sequence[str]) -> None:
    """Draw how many images of each class are predicted as each class, coloured by their share.

    Parameters
    ----------
    axes : Axes
    evaluation : Evaluation
    classes : sequence of str
        The classifier's, in the order of the matrix.
    """
    counts: Any = np.array(evaluation.metrics["confusion_matrix"])
    # Shares of the true class: with classes of unlike size, counts would colour the larger one.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            # On the dark half of the colour map only white is read.
            color="white" if shares[row, column] > 0.5 else "black",
        )
    axes.set_xticks(range(len(classes)), list(classes))
    axes.set_yticks(range(len(classes)), list(classes), rotation=90, va="center")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
