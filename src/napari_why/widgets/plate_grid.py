"""A plate drawn as it lies on the bench: a thumbnail or a colour in each well, framed in another."""

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QHelpEvent,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_why.core.events import Advanced, Cancelled, Finished, OnEvent, Started
from napari_why.widgets.tables import plain_tip

if TYPE_CHECKING:
    from napari_why.datasets import Dataset

# The usual formats, in wells: the smallest that holds the wells of a map is drawn.
FORMATS = ((2, 3), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
# Pixels on the left and above, for the letters and numbers of rows and columns (two digits).
MARGIN = 18
# Pixels: wide enough to tell the colours of classes apart, and narrower where wells are small.
FRAME = 3.0
# A grey that is seen on the dark theme and on the light one, and is no class's colour.
EMPTY = "#808080"
# Pixels in which a plate is first drawn; it follows the width of its dock.
DOCK_WIDTH = 360
# Red, for a well of the plate map whose images were not found: a mistake more often than not.
ABSENT_COLOUR = "#c03030"
# Of the side of a well: small beside its colour, and seen on a plate of 384 in a narrow dock.
CORNER = 0.4
# Pixels of the frame of wells that are marked.
MARK_WIDTH = 2
# Pixels at most, high and wide: a dock shows a 96-well plate at about 30 a well, and twice that
# stays sharp on a dense screen.
THUMBNAIL = 64


@dataclass(frozen=True)
class DrawnWell:
    """What is drawn of a well.

    Parameters
    ----------
    colour : str
        Of its frame.
    words : str
        Its tooltip.
    there : bool
        Whether there are images; one without is crossed out, and cannot be clicked.
    fill : str
        Colour of its inside, below a thumbnail; empty for none.
    crossed : bool
        It is crossed out all the same: something failed there.
    corners : (str, str)
        Colours of small triangles at the upper right and at the lower left; empty for none.
    """

    colour: str
    words: str
    there: bool = True
    fill: str = ""
    crossed: bool = False
    corners: tuple[str, str] = ("", "")


class PlateGrid(QWidget):
    """The wells of a plate; a click on one is announced.

    Attributes
    ----------
    chosen : Signal((int, int))
        Row and column, from 0, of a well with images that was clicked.
    hovered : Signal(object)
        Row and column of the well that the mouse is over now; None of none.
    """

    chosen = Signal(tuple)
    hovered = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._wells: dict[tuple[int, int], DrawnWell] = {}
        self._pictures: dict[tuple[int, int], QImage] = {}
        self._selected: tuple[int, int] | None = None
        self._marked: frozenset[tuple[int, int]] = frozenset()
        self._below_mouse: tuple[int, int] | None = None
        self.rows, self.columns = FORMATS[0]
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setMouseTracking(True)

    def show_wells(self, wells: Mapping[tuple[int, int], DrawnWell]) -> None:
        """Show other wells, by row and column from 0, as yet without pictures."""
        self._selected, self._marked = None, frozenset()
        self.update_wells(wells)

    def update_wells(self, wells: Mapping[tuple[int, int], DrawnWell]) -> None:
        """Show more of the same wells, and leave chosen and marked what is."""
        self._wells, self._pictures = dict(wells), {}
        self.rows, self.columns = _choose_format(self._wells)
        self.updateGeometry()
        self.update()

    def show_picture(self, place: tuple[int, int], pixels: NDArray[np.uint8]) -> None:
        """Show the thumbnail of a well: red, green and blue, shape (height, width, 3).

        Parameters
        ----------
        place : (int, int)
            Row and column of the well, from 0.
        pixels : ndarray, uint8, shape (height, width, 3)
            Copied.
        """
        height, width = pixels.shape[:2]
        rgb = np.ascontiguousarray(pixels)
        image = QImage(rgb.data, width, height, 3 * width, QImage.Format.Format_RGB888)
        self._pictures[place] = image.copy()  # the array goes, the picture stays
        self.update()

    def mark(
        self, places: Iterable[tuple[int, int]], selected: tuple[int, int] | None = None
    ) -> None:
        """Frame these wells, and the one that is selected.

        Parameters
        ----------
        places : iterable of (int, int)
            Rows and columns, from 0.
        selected : (int, int), optional
            Framed in another colour.
        """
        self._marked, self._selected = frozenset(places), selected
        self.update()

    @property
    def marked(self) -> frozenset[tuple[int, int]]:
        """The wells that are framed, without the one that is selected."""
        return self._marked

    @property
    def selected(self) -> tuple[int, int] | None:
        """The well that was clicked or chosen last."""
        return self._selected

    @property
    def wells(self) -> dict[tuple[int, int], DrawnWell]:
        """What is drawn, by row and column."""
        return dict(self._wells)

    @property
    def pictures(self) -> set[tuple[int, int]]:
        """The wells whose thumbnails are there."""
        return set(self._pictures)

    def hasHeightForWidth(self) -> bool:  # noqa: N802 (the name is Qt's)
        """Wells are square, so that the height follows from the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 (the name is Qt's)
        """Return the height at which the wells are square."""
        return int((width - MARGIN) / self.columns * self.rows) + MARGIN

    def sizeHint(self) -> QSize:  # noqa: N802 (the name is Qt's)
        """Ask for the width of a dock."""
        return QSize(DOCK_WIDTH, self.heightForWidth(DOCK_WIDTH))

    def well_at(self, position: QPointF) -> tuple[int, int] | None:
        """Return row and column under a point of this widget."""
        side = self._side()
        column = int((position.x() - MARGIN) // side)
        row = int((position.y() - MARGIN) // side)
        return (row, column) if 0 <= row < self.rows and 0 <= column < self.columns else None

    def centre_of(self, place: tuple[int, int]) -> QPointF:
        """Return the middle of a well, in this widget."""
        return self._square(place).center()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Announce the well that was clicked, where it has images."""
        place = self.well_at(event.position())
        if place is not None and place in self._wells and self._wells[place].there:
            self._selected = place
            self.update()
            self.chosen.emit(place)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Announce the well under the mouse."""
        self._hover(self.well_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Announce that there is none any more."""
        super().leaveEvent(event)
        self._hover(None)

    def _hover(self, place: tuple[int, int] | None) -> None:
        known = place if place in self._wells else None
        if known != self._below_mouse:
            self._below_mouse = known
            self.hovered.emit(known)

    def event(self, event: QEvent) -> bool:
        """Say of the well under the mouse what it is."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            place = self.well_at(QPointF(event.pos()))
            words = self._wells[place].words if place in self._wells else ""
            QToolTip.showText(event.globalPos(), plain_tip(words), self)
            return True
        return bool(super().event(event))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Draw row letters, column numbers and wells."""
        del event
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        self._draw_names(painter)
        for row in range(self.rows):
            for column in range(self.columns):
                self._draw_well(painter, (row, column))
        self._draw_marks(painter)
        painter.end()

    def _draw_well(self, painter: QPainter, place: tuple[int, int]) -> None:
        square = self._square(place)
        well = self._wells.get(place)
        if well is None:
            painter.setPen(QPen(QColor(EMPTY), 1, Qt.PenStyle.DotLine))
            painter.drawRect(square)
            return
        if well.fill:
            painter.fillRect(square, QColor(well.fill))
        if place in self._pictures:
            painter.drawImage(square, self._pictures[place])
        elif well.crossed or not well.there:
            painter.setPen(QPen(QColor(ABSENT_COLOUR), 1))
            painter.drawLine(square.topLeft(), square.bottomRight())
            painter.drawLine(square.topRight(), square.bottomLeft())
        width = 2 * self._frame() if place == self._selected else self._frame()
        painter.setPen(QPen(QColor(well.colour), width))
        painter.drawRect(square)
        self._draw_corners(painter, square, well.corners)

    def _draw_corners(self, painter: QPainter, square: QRectF, corners: tuple[str, str]) -> None:
        side = square.width() * CORNER
        for colour, corner, inward in zip(
            corners, (square.topRight(), square.bottomLeft()), (-side, side), strict=True
        ):
            if colour:
                across, down = QPointF(inward, 0), QPointF(0, -inward)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(colour))
                painter.drawPolygon(QPolygonF([corner, corner + across, corner + down]))
                painter.setBrush(Qt.BrushStyle.NoBrush)

    def _draw_marks(self, painter: QPainter) -> None:
        """Frame marked wells in the text's colour, which is seen on all others."""
        painter.setPen(QPen(self.palette().windowText().color(), MARK_WIDTH))
        for place in self._marked & set(self._wells):
            painter.drawRect(self._square(place))
        chosen = self._selected
        # around a colour that stands for a value, a grey frame would hardly be seen
        if chosen is not None and chosen in self._wells and self._wells[chosen].fill:
            painter.setPen(QPen(self.palette().windowText().color(), 2 * MARK_WIDTH))
            painter.drawRect(self._square(chosen))

    def _draw_names(self, painter: QPainter) -> None:
        side = self._side()
        font = painter.font()
        # As large as fits between two wells; below 6 pixels digits cannot be read.
        font.setPixelSize(max(6, min(12, int(side * 0.7))))
        painter.setFont(font)
        painter.setPen(self.palette().windowText().color())
        centred = Qt.AlignmentFlag.AlignCenter
        for column in range(self.columns):
            place = QRectF(MARGIN + column * side, 0, side, MARGIN)
            painter.drawText(place, centred, str(column + 1))
        for row in range(self.rows):
            place = QRectF(0, MARGIN + row * side, MARGIN, side)
            painter.drawText(place, centred, _name_row(row))

    def _square(self, place: tuple[int, int]) -> QRectF:
        side, (row, column) = self._side(), place
        # A frame is drawn to both sides of its line: half of it, and half a pixel, stay free.
        gap = 0.5 + self._frame() / 2
        size = side - 2 * gap
        return QRectF(MARGIN + column * side + gap, MARGIN + row * side + gap, size, size)

    def _frame(self) -> float:
        # A fourteenth of a well, so that the wells of a 1536-well plate keep their pictures.
        return min(FRAME, max(1.0, self._side() / 14))

    def _side(self) -> float:
        across = (self.width() - MARGIN) / self.columns
        down = (self.height() - MARGIN) / self.rows
        return float(max(1.0, min(across, down)))


def _choose_format(wells: Mapping[tuple[int, int], DrawnWell]) -> tuple[int, int]:
    rows = max((row for row, _ in wells), default=0) + 1
    columns = max((column for _, column in wells), default=0) + 1
    return next((form for form in FORMATS if form[0] >= rows and form[1] >= columns), FORMATS[-1])


def _name_row(row: int) -> str:
    # The rows after Z, which 1536-well plates have, are AA to AF.
    return string.ascii_uppercase[row] if row < 26 else "A" + string.ascii_uppercase[row - 26]


Thumbnail = tuple[tuple[int, int], NDArray[np.uint8]]


def make_thumbnails(
    dataset: "Dataset",
    rows: Mapping[tuple[int, int], int],
    show: Callable[[Thumbnail], None],
    *,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> int:
    """Make a thumbnail for each well, one after the other, and hand each over as it is done.

    Parameters
    ----------
    dataset : Dataset
    rows : mapping of (int, int) to int
        For each well, by its row and column, the row of the data set that is shown.
    show : callable
        Takes the place of a well and its picture, uint8 of shape (height, width, 3).
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    int
        How many were made; fewer than wells when cancelled.
    """
    from napari_why.datasets import typical_contrast

    on_event(Started("Drawing the plate", len(rows)))
    # One for all wells: with its own contrast, a dark well would look like a bright one.
    contrast = typical_contrast(dataset)
    done = 0
    for place, row in rows.items():
        if cancelled():
            break
        show((place, make_thumbnail(dataset, row, contrast)))
        done += 1
        on_event(Advanced(done))
    on_event(Finished(partial=done < len(rows)))
    return done


def make_thumbnail(
    dataset: "Dataset", row: int, contrast: Mapping[str, tuple[float, float]]
) -> NDArray[np.uint8]:
    """Return one image at most 64 pixels high and wide, its channels in colour, added up.

    Pixels are averaged over blocks, so that single bright ones neither vanish nor stand out.

    Parameters
    ----------
    dataset : Dataset
    row : int
        Of its table.
    contrast : mapping of str to (float, float)
        Black and full colour by channel, grey levels.

    Returns
    -------
    ndarray, uint8, shape (height, width, 3)
    """
    from napari_why.images import default_colormaps

    image = dataset.image(row)
    picture: NDArray[np.float64] | None = None
    for name, colour in zip(dataset.channels, default_colormaps(dataset.channels), strict=True):
        plane = average_blocks(np.asarray(image.sel(c=name)), THUMBNAIL)
        low, high = contrast[name]
        shown = np.clip((plane - low) / (high - low), 0, 1)
        coloured = ensure_colormap(colour).map(shown.ravel())[:, :3].reshape(*shown.shape, 3)
        picture = coloured if picture is None else picture + coloured
    return (np.clip(np.zeros((1, 1, 3)) if picture is None else picture, 0, 1) * 255).astype(
        "uint8"
    )


def average_blocks(plane: NDArray[np.generic], largest: int) -> NDArray[np.float64]:
    """Return a plane averaged over square blocks, at most ``largest`` pixels high and wide.

    Parameters
    ----------
    plane : ndarray, shape (H, W)
    largest : int
        In pixels.

    Returns
    -------
    ndarray, float64
    """
    # The quotient rounded up: the picture is at most as large as it may be.
    step = -(-max(plane.shape) // largest)
    height, width = (max(1, size // step) for size in plane.shape)
    used = plane[: height * step, : width * step].astype(np.float64)
    # An image narrower than a block is one block: the block is no larger than the image.
    sides = (height, min(step, plane.shape[0]), width, min(step, plane.shape[1]))
    return np.asarray(used.reshape(sides).mean(axis=(1, 3)))
