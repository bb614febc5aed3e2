"""Matplotlib figures that look like the viewer around them: training curves, evaluation, maps."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from napari.utils.theme import get_theme
from qtpy.QtCore import Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_why.core.events import COVERAGE_OF, SPREAD, EpochFinished
from napari_why.core.pictures import CLASS_COLOURS as COLOURS
from napari_why.images.display import symmetric_limits
from napari_why.output.comparison import change_colours
from napari_why.sessions import Compared
from napari_why.widgets.tables import PlainLabel

__all__ = [
    "COLOURS",
    "EvaluationPlots",
    "MapGrid",
    "NetworkCurves",
    "PlayCurves",
    "Plot",
    "TrainingCurves",
    "draw_once",
]

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.evaluation import Evaluation

# Margins of a panel in pixels: four digits on the left, ticks and label below, a title above.
LEFT, RIGHT, BOTTOM, TOP = 48, 10, 40, 22
# On the left where numbers have a sign, and a label stands beside them.
LEFT_OF_LABEL = 64


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
    left : int
        Pixels on the left of each panel.
    """

    def __init__(
        self,
        viewer: "ViewerModel",
        height: int = 200,
        rows: int = 1,
        columns: int = 1,
        left: int = LEFT,
    ) -> None:
        super().__init__(Figure())
        self._viewer = viewer
        self.setFixedHeight(height)
        self._columns, self._left = columns, left
        self.lay_out(rows)
        viewer.events.theme.connect(self.redraw)
        self.redraw()

    def lay_out(self, rows: int) -> None:
        """Make the panels anew, in so many rows."""
        self._rows = rows
        self.figure.clear()
        grid = self.figure.subplots(rows, self._columns, squeeze=False)
        self.panels: list[Axes] = list(grid.flat)
        self._keep_margins()

    @property
    def colours(self) -> tuple[str, str]:
        """Background and foreground of the viewer's theme."""
        theme = get_theme(self._viewer.theme)
        return theme.background.as_hex(), theme.text.as_hex()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Keep the margins in pixels: a layout engine would draw everything twice over."""
        super().resizeEvent(event)
        self._keep_margins()

    def _keep_margins(self) -> None:
        between = BOTTOM + TOP
        width = max(self.width(), 2 * self._columns * self._left)
        height = max(self.height(), 2 * self._rows * between)
        panel_width = (width - self._columns * self._left - RIGHT) / self._columns
        panel_height = (height - self._rows * between) / self._rows
        self.figure.subplots_adjust(
            left=self._left / width,
            right=1 - RIGHT / width,
            bottom=BOTTOM / height,
            top=1 - TOP / height,
            wspace=self._left / panel_width,
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


# The names in the metrics of an epoch, behind "train_" and "validation_".
QUANTITIES = ("loss", "accuracy")
STYLES = {"train": ("training", COLOURS[0]), "validation": ("validation", COLOURS[1])}


# Pixels of a row of curves: two panels of a dock's width look as wide as high.
CURVES_ROW = 190


class TrainingCurves(QWidget):
    """A titled row of panels for each network, or each two that play against each other.

    Parameters
    ----------
    viewer : ViewerModel
        Its theme gives the colours.
    """

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__()
        self._viewer = viewer
        self.rows: dict[str, NetworkCurves | PlayCurves] = {}
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)

    @property
    def epochs(self) -> list[EpochFinished]:
        """What is shown of the network that was trained first."""
        return next((row.epochs for row in self.rows.values()), [])

    def start(self) -> None:
        """Forget the last training."""
        for row in self.rows.values():
            row.release()
            row.title.deleteLater()
            row.deleteLater()
        self.rows = {}

    def add(self, event: EpochFinished) -> None:
        """Show one more epoch, in the row of its network."""
        if event.network not in self.rows:
            kind = PlayCurves if PLAYERS[0][0] in event.metrics else NetworkCurves
            row = self.rows[event.network] = kind(self._viewer)
            row.title.setWordWrap(True)  # names of classes may be longer than a dock is wide
            row.title.setText(f"{event.network[:1].upper()}{event.network[1:]}")
            row.title.setVisible(bool(event.network))
            self._layout.addWidget(row.title)
            self._layout.addWidget(row)
        self.rows[event.network].add(event)

    def release(self) -> None:
        """Stop following the viewer's theme."""
        for row in self.rows.values():
            row.release()


class NetworkCurves(Plot):
    """Two panels: loss, and accuracy with the balanced one dotted, in training and validation."""

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__(viewer, height=CURVES_ROW, columns=2)
        self.title = PlainLabel(bold=True)
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
        # beside it, without marks: where classes are uneven the plain accuracy is that of the largest
        for part, (label, colour) in STYLES.items():
            (line,) = self.panels[1].plot([], [], ":", color=colour, label=f"{label}, balanced")
            self._lines[f"{part}_balanced_accuracy"] = line
        # A margin, for accuracies of 0 and 1 would lie on the frame.
        self.panels[1].set_ylim(-0.03, 1.03)
        # Three names, and short lines before them: more would stand on the ticks of a panel in a dock.
        named = [self._lines[f"{part}_accuracy"] for part in STYLES]
        named.append(Line2D([], [], ls=":", color="grey", label="balanced"))
        self.panels[1].legend(
            handles=named,
            fontsize=7,
            loc="lower right",
            frameon=False,
            handlelength=1.2,
            labelspacing=0.2,
        )
        self.redraw()

    @property
    def epochs(self) -> list[EpochFinished]:
        """What is shown."""
        return list(self._epochs)

    def add(self, event: EpochFinished) -> None:
        """Show one more epoch."""
        self._epochs.append(event)
        # Lines are moved, not made anew: making axes and ticks takes longer than drawing them.
        for name, line in self._lines.items():
            known = [event for event in self._epochs if name in event.metrics]
            line.set_data(
                [event.epoch for event in known], [event.metrics[name] for event in known]
            )
        for axes in self.panels:
            axes.set_xlim(0.5, event.epochs + 0.5)
        self.panels[0].relim()
        self.panels[0].autoscale_view(scalex=False)
        self.draw_idle()


# In the metrics of an epoch: the losses of two players, with their names for a legend.
PLAYERS = (("generator_loss", "generator"), ("discriminator_loss", "discriminator"))
# Letters of a curve's name: with more a legend would cover its panel.
NAME_LETTERS = 14


class PlayCurves(Plot):
    """The loss of each player, and below how varied what is made is, or the parts of the loss.

    Where one network is trained alone, and its loss has no parts, the first panel stands alone.
    """

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__(viewer, height=CURVES_ROW)
        self.title = PlainLabel(bold=True)
        self._epochs: list[EpochFinished] = []
        self._begin(["loss"])

    def _begin(self, titles: Sequence[str]) -> None:
        """Make panels without curves."""
        self._lines: dict[str, Line2D] = {}
        self.setFixedHeight(len(titles) * CURVES_ROW)
        self.lay_out(len(titles))
        for axes, title in zip(self.panels, titles, strict=True):
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        self.redraw()

    @property
    def epochs(self) -> list[EpochFinished]:
        """What is shown."""
        return list(self._epochs)

    def add(self, event: EpochFinished) -> None:
        """Show one more epoch."""
        self._epochs.append(event)
        players = {name: label for name, label in PLAYERS if name in event.metrics}
        title, others = curves_beside(event.metrics)
        if others and len(self.panels) == 1:
            self._begin(["loss", title])
        new = self._add_lines(0, players if len(players) > 1 else dict.fromkeys(players, ""))
        if others:
            new = self._add_lines(1, others) or new
        for name, line in self._lines.items():
            known = [event for event in self._epochs if name in event.metrics]
            line.set_data(
                [event.epoch for event in known], [event.metrics[name] for event in known]
            )
        for axes in self.panels:
            axes.set_xlim(0.5, event.epochs + 0.5)
            axes.relim()
            axes.autoscale_view(scalex=False)
        if new:
            self.redraw()
        else:
            self.draw_idle()

    def _add_lines(self, panel: int, labels: dict[str, str]) -> bool:
        """Add curves that are not there yet; tell whether there were any."""
        axes = self.panels[panel]
        new = [name for name in labels if name not in self._lines]
        for name in new:
            colour = COLOURS[len(axes.lines) % len(COLOURS)]
            (line,) = axes.plot([], [], color=colour, label=labels[name], marker="o", ms=3)
            self._lines[name] = line
        if new and any(labels.values()):
            axes.legend(fontsize=7, loc="best", frameon=False, handlelength=1.2, labelspacing=0.2)
        return bool(new)


def curves_beside(metrics: Mapping[str, float]) -> tuple[str, dict[str, str]]:
    """Return what is drawn beside the losses of two players: a title, and the name of each curve.

    Examples
    --------
    >>> curves_beside({"generator_loss": 1.0, "spread": 0.4, "coverage of treated": 0.2})
    ('spread and coverage', {'spread': 'spread', 'coverage of treated': 'treated'})
    >>> curves_beside({"generator_loss": 1.0, "generator_cycle": 0.7, "generator_passing": 0.3})
    ("parts of the generator's loss", {'generator_cycle': 'cycle', 'generator_passing': 'passing'})
    """
    covered = [name for name in metrics if name.startswith(COVERAGE_OF)]
    if SPREAD in metrics:
        names = {name: name.removeprefix(COVERAGE_OF)[:NAME_LETTERS] for name in covered}
        return "spread and coverage", {SPREAD: SPREAD, **names}
    start = "generator_"
    parts = [name for name in metrics if name.startswith(start) and name != PLAYERS[0][0]]
    return "parts of the generator's loss", {name: name.removeprefix(start) for name in parts}


class EvaluationPlots(Plot):
    """The distribution of predicted probability by true class, and the confusion matrix below."""

    def __init__(self, viewer: "ViewerModel") -> None:
        super().__init__(viewer, height=400, rows=2)

    def show_evaluation(self, evaluation: "Evaluation", classes: tuple[str, ...]) -> None:
        """Draw both panels for the images that the figures count.

        Parameters
        ----------
        evaluation : Evaluation
        classes : tuple of str
            The classifier's.
        """
        from napari_why.output.evaluation_figure import draw_confusion, draw_distribution

        for axes in self.panels:
            axes.clear()
        draw_distribution(self.panels[0], evaluation, classes)
        self.legend_above(self.panels[0])
        draw_confusion(self.panels[1], evaluation, classes)
        self.redraw()


# Maps side by side in a dock of the usual width: each is then as large as a thumbnail.
ACROSS = 3
# Pixels of a row of maps, their titles above.
ROW = 176
# Pixels: a title of two lines, two lines below a map, and the space beside it.
TITLE, SCALE, GAP = 42, 32, 6
# Letters of a title's line: as wide as a map.
TITLE_LETTERS = 14


class MapGrid(Plot):
    """Thumbnails of maps, each with its own symmetric scale.

    Parameters
    ----------
    viewer : ViewerModel
    found : sequence of Compared
    title : callable
        Returns the title of a method.

    Attributes
    ----------
    clicked : Signal(object)
        What was clicked.
    """

    clicked = Signal(object)

    def __init__(
        self, viewer: "ViewerModel", found: Sequence[Compared], title: Callable[[str], str]
    ) -> None:
        rows = -(-max(len(found), 1) // ACROSS)
        super().__init__(viewer, height=rows * ROW, rows=rows, columns=ACROSS)
        self._found = list(found)
        for axes in self.panels:
            axes.set_axis_off()
        for axes, one in zip(self.panels, found, strict=False):
            axes.set_title(fill(title(one.method), TITLE_LETTERS))
            below = "no map"
            if one.finding is not None:
                joint = np.asarray(one.finding.result.joint)
                low, high = symmetric_limits(joint)
                axes.imshow(
                    joint, cmap=change_colours(), vmin=low, vmax=high, interpolation="nearest"
                )
                below = f"±{high:.2g}"
            if one.score is not None and one.score.deletion is not None:
                beaten, of = one.score.deletion.beaten, len(one.score.deletion.random_drops)
                below += f"\n{beaten:g} of {of}"
            axes.text(
                0.5, -0.04, below, ha="center", va="top", fontsize=7, transform=axes.transAxes,
                color=self.colours[1],
            )  # fmt: skip
        self.mpl_connect("button_press_event", self._pressed)
        self.redraw()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Keep the margins in pixels: a title above each map, its scale below, and no axes."""
        super().resizeEvent(event)
        width, height = max(self.width(), 1), max(self.height(), 1)
        rows = height / ROW
        inner = (ROW - TITLE - SCALE) / ROW
        self.figure.subplots_adjust(
            left=GAP / width,
            right=1 - GAP / width,
            top=1 - TITLE / height,
            bottom=SCALE / height,
            wspace=GAP * ACROSS / width,
            hspace=(1 - inner) / inner if rows > 1 else 0,
        )

    def _pressed(self, event: MouseEvent) -> None:
        for axes, one in zip(self.panels, self._found, strict=False):
            if event.inaxes is axes:
                self.clicked.emit(one)
