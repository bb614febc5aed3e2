"""A colour bar with the numbers at its ends and in its middle."""

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from napari_why.sessions.screen_state import Scale

# Pixels: the bar, and the numbers below it.
BAR, NUMBERS = 10, 16
# Places at which the gradient is given; between them Qt mixes the neighbours.
STOPS = 17
# Digits of a number at the bar.
DIGITS = 3


class ColourScale(QWidget):
    """What the colours of a plate stand for; it takes no room while there is nothing to tell."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scale: Scale | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_scale(self, scale: "Scale | None") -> None:
        """Show another scale; None of no values."""
        self._scale = scale
        self.setVisible(scale is not None)
        self.update()

    def texts(self) -> tuple[str, str, str]:
        """Return the numbers from the left; empty without a scale."""
        scale = self._scale
        if scale is None:
            return ("", "", "")
        middle = (scale.low + scale.high) / 2
        low, centre, high = (f"{value:.{DIGITS}g}" for value in (scale.low, middle, scale.high))
        # values beyond the ends have the colour of the end
        return (f"≤ {low}" if scale.below else low, centre, f"≥ {high}" if scale.above else high)

    def sizeHint(self) -> QSize:  # noqa: N802 (the name is Qt's)
        """Ask for the height of bar and numbers."""
        return QSize(NUMBERS, BAR + NUMBERS)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (the name is Qt's)
        """Draw the bar and its numbers."""
        del event
        scale = self._scale
        if scale is None:
            return
        painter = QPainter(self)
        bar = QRectF(0, 0, self.width(), BAR)
        gradient = QLinearGradient(bar.topLeft(), bar.topRight())
        shares = np.linspace(0, 1, STOPS)
        colours = scale.colours(scale.low + shares * (scale.high - scale.low))
        for share, colour in zip(shares, colours, strict=True):
            gradient.setColorAt(float(share), QColor(colour))
        painter.fillRect(bar, gradient)
        painter.setPen(self.palette().windowText().color())
        below = QRectF(0, BAR, self.width(), NUMBERS)
        sides = (
            Qt.AlignmentFlag.AlignLeft,
            Qt.AlignmentFlag.AlignHCenter,
            Qt.AlignmentFlag.AlignRight,
        )
        for text, side in zip(self.texts(), sides, strict=True):
            painter.drawText(below, side | Qt.AlignmentFlag.AlignVCenter, text)
        painter.end()
