"""The images of a data set as points: hovered over, clicked and lassoed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backend_bases import MouseEvent
from matplotlib.path import Path
from matplotlib.widgets import LassoSelector
from qtpy.QtCore import Signal
from qtpy.QtGui import QCursor, QResizeEvent
from qtpy.QtWidgets import QToolTip

from napari_why.latent_space import Colouring, Projection, draw_path, draw_points
from napari_why.widgets.plot import LEFT_OF_LABEL, TOP, Plot
from napari_why.widgets.tables import plain_tip

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import ArrayLike, NDArray

# Pixels. Twice the height of the other plots: a cloud of points needs room in both directions.
HEIGHT = 400
# How far, in pixels of the figure, the pointer may be from a point that it means: about a marker's
# width; further, and in a dense cloud it would always mean one.
REACH = 9.0
# A line that stays within so many pixels is a click with an unsteady hand, not a lasso.
CLICK = 4.0
# The legend: names that fit beside each other in the narrowest dock, and pixels of a row of them.
NAMES_A_ROW, ROW_HEIGHT = 3, 17
# Pixels that a colour bar takes with its numbers and its label.
BAR_HEIGHT = 34


class LatentScatter(Plot):
    """One point an image; rings around the outliers, and the path of a counterfactual.

    Attributes
    ----------
    clicked : Signal(int)
        The point that was clicked at.
    lassoed : Signal(list of int)
        The points within the line that was drawn.
    """

    clicked = Signal(int)
    lassoed = Signal(list)

    def __init__(self, viewer: "ViewerModel") -> None:
        self._themed: list[Any] = []
        self._above = 0
        super().__init__(viewer, height=HEIGHT, left=LEFT_OF_LABEL)
        self._coordinates = np.empty((0, 2))
        self._tooltips: Sequence[str] = ()
        self._path_artists: list[Any] = []
        self._path: Any = None
        self._step = 0
        self._projection: Projection | None = None
        self._mark: Any = None
        self._bar: Any = None
        self._lasso: Any = None
        self.hovered: int | None = None
        self.mpl_connect("motion_notify_event", self._moved)

    def show_points(
        self,
        projection: Projection,
        colouring: Colouring,
        tooltips: Sequence[str],
        ringed: "NDArray[np.bool_] | None" = None,
    ) -> None:
        """Draw the images of a latent space.

        Parameters
        ----------
        projection : Projection
        colouring : Colouring
        tooltips : sequence of str
            What is said of each image when the pointer rests on it.
        ringed : ndarray of bool, optional
            The outliers.
        """
        axes = self.panels[0]
        self._remove_bar()
        axes.clear()
        self._path_artists, self._mark = [], None
        # the path before lies in the plane before
        if projection is not self._projection:
            self._projection, self._path = projection, None
        self._coordinates, self._tooltips = projection.coordinates, tooltips
        foreground = self.colours[1]
        mappable = draw_points(
            axes, projection.coordinates, colouring, ringed=ringed, ring_colour=foreground
        )
        # rings come last, and are drawn in the theme's own colour
        self._themed = axes.collections[-1:] if ringed is not None and ringed.any() else []
        axes.set_xlabel(projection.axis_labels[0])
        axes.set_ylabel(projection.axis_labels[1])
        self._explain(mappable, colouring)
        # clearing the axes took the lasso's line away, but not its ears
        if self._lasso is not None:
            self._lasso.disconnect_events()
        self._lasso = LassoSelector(
            axes, self._selected, useblit=True, props={"color": foreground, "lw": 1}
        )
        self._fit()
        if self._path is not None:
            self.show_path(self._path)
        self.redraw()

    def show_path(self, points: "NDArray[np.float64] | None") -> None:
        """Draw the path of a counterfactual (A, 2) in place of the one before; None: no path."""
        axes = self.panels[0]
        for artist in self._path_artists:
            artist.remove()
        self._path, self._path_artists, self._mark = points, [], None
        if points is not None and len(self._coordinates):
            # draw_path tells of its mark only; what else is new is the path's too
            before = set(axes.get_children())
            self._mark = draw_path(axes, points, self.colours[1])
            self._path_artists = [item for item in axes.get_children() if item not in before]
            self.mark_step(min(self._step, len(points) - 1))
        self.draw_idle()

    def mark_step(self, step: int) -> None:
        """Move the mark on the path to a step of the series."""
        self._step = step
        if self._mark is not None and self._path is not None:
            self._mark.set_data(self._path[step : step + 1].T)
            self.draw_idle()

    @property
    def marked(self) -> tuple[float, float] | None:
        """Where the mark on the path stands."""
        if self._mark is None:
            return None
        x, y = (float(np.ravel(values)[0]) for values in self._mark.get_data())
        return x, y

    @property
    def path(self) -> "NDArray[np.float64] | None":
        """The path that is drawn, shape (A, 2)."""
        return self._path if self._path_artists else None

    def redraw(self, event: Any = None) -> None:
        """Give everything the viewer's colours and draw when Qt has time."""
        for artist in self._themed:
            artist.set_edgecolor(self.colours[1])
        super().redraw(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Keep room above the points for what explains their colours."""
        super().resizeEvent(event)
        self._fit()

    def release(self) -> None:
        """Stop following the viewer's theme, and the mouse."""
        super().release()
        if self._lasso is not None:
            self._lasso.disconnect_events()

    def _explain(self, mappable: Any, colouring: Colouring) -> None:
        axes = self.panels[0]
        names = axes.get_legend_handles_labels()[1]
        self._above = 0
        if names:
            self._above += ROW_HEIGHT * -(-len(names) // NAMES_A_ROW)
            axes.legend(
                fontsize=8,
                loc="lower left",
                bbox_to_anchor=(-0.1, 1.0),
                ncols=NAMES_A_ROW,
                frameon=False,
                borderaxespad=0.2,
                handletextpad=0.2,
                columnspacing=1.0,
            )
        if mappable is not None:
            # inside the panel's own axes: taking room from them would move the points
            place = axes.inset_axes((0.0, 1.03 + self._above / HEIGHT, 1.0, 0.03))
            self._bar = self.figure.colorbar(mappable, cax=place, orientation="horizontal")
            self._bar.set_label(colouring.column)
            place.xaxis.set_ticks_position("top")
            place.xaxis.set_label_position("top")
            self.panels.append(place)
            self._above += BAR_HEIGHT

    def _remove_bar(self) -> None:
        if self._bar is not None:
            self._bar.ax.remove()
            self._bar = None
            del self.panels[1:]

    def _fit(self) -> None:
        height = max(self.height(), 1)
        self.figure.subplots_adjust(top=1 - (TOP + self._above) / height)

    def _places(self) -> Any:
        return self.panels[0].transData.transform(self._coordinates)

    def _selected(self, outline: Sequence[tuple[float, float]]) -> None:
        # in pixels: what is a click must not depend on the scale of the axes
        drawn = self.panels[0].transData.transform(np.asarray(outline, dtype=float))
        if np.ptp(drawn, axis=0).max() < CLICK:
            point = nearest_point(self._places(), drawn[-1], REACH)
            if point is not None:
                self.clicked.emit(point)
            return
        inside = points_within(self._coordinates, outline)
        if len(inside):
            self.lassoed.emit(inside.tolist())

    def _moved(self, event: MouseEvent) -> None:
        inside = event.inaxes is self.panels[0] and len(self._coordinates)
        found = nearest_point(self._places(), (event.x, event.y), REACH) if inside else None
        # the pointer moves more often than it comes to another point
        if found == self.hovered:
            return
        self.hovered = found
        if found is None:
            QToolTip.hideText()
        else:
            QToolTip.showText(QCursor.pos(), plain_tip(self._tooltips[found]), self)


def nearest_point(points: "ArrayLike", position: "ArrayLike", most: float) -> int | None:
    """Return the point nearest to a position, None where none lies within a distance of ``most``.

    Parameters
    ----------
    points : array, shape (n, 2)
    position : array, shape (2,)
    most : float
        In the units of the points.

    Returns
    -------
    int or None
        Its index.

    Examples
    --------
    >>> nearest_point([[0, 0], [10, 0]], (8, 1), most=5), nearest_point([[0, 0]], (8, 1), most=5)
    (1, None)
    """
    positions = np.asarray(points, dtype=float).reshape(-1, 2)
    if not len(positions):
        return None
    distances = np.linalg.norm(positions - np.asarray(position, dtype=float), axis=1)
    nearest = int(distances.argmin())
    return nearest if distances[nearest] <= most else None


def points_within(points: "ArrayLike", outline: "ArrayLike") -> "NDArray[np.int64]":
    """Return which points (n, 2) lie within a closed outline (m, 2).

    Parameters
    ----------
    points : array, shape (n, 2)
    outline : array, shape (m, 2)
        Its corners; the last is joined with the first.

    Returns
    -------
    ndarray of int
        Indices, rising.

    Examples
    --------
    >>> points_within([[1, 1], [5, 5]], [[0, 0], [0, 2], [2, 2], [2, 0]]).tolist()
    [0]
    """
    inside = Path(np.asarray(outline, dtype=float)).contains_points(np.asarray(points, dtype=float))
    return np.flatnonzero(inside)
