"""An image of each class side by side, all in one contrast: what is dimmer looks dimmer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QWidget

from napari_why.widgets.plate_grid import average_blocks
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from xarray import DataArray

# Pixels of a picture: so many fit beside one another in the narrowest dock.
SIDES = {1: 200, 2: 120, 3: 78}
SIDE, ACROSS = max(SIDES.values()), max(SIDES)
# More pictures than this hide the dock; the classes beyond are in the table above.
MOST_SHOWN = 6


class ClassPreview(QWidget):
    """A picture for each class, with its name below."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self.pictures: dict[str, QImage] = {}

    def show_examples(self, examples: "Mapping[str, DataArray]", channels: Sequence[str]) -> None:
        """Show one image of each class, its channels in the colours that their names have.

        Parameters
        ----------
        examples : mapping of str to DataArray, dims (c, y, x)
        channels : sequence of str
            What the user calls the channels.
        """
        self.pictures.clear()
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        shown = dict(list(examples.items())[:MOST_SHOWN])
        drawn = draw_in_one_contrast(shown, channels)
        across = max(1, min(len(drawn), ACROSS))
        for place, (name, pixels) in enumerate(drawn.items()):
            height, width = pixels.shape[:2]
            image = QImage(
                np.ascontiguousarray(pixels).data,
                width,
                height,
                3 * width,
                QImage.Format.Format_RGB888,
            ).copy()  # the array goes, the picture stays
            self.pictures[name] = image
            picture, title = PlainLabel(), PlainLabel(name)
            picture.setPixmap(
                QPixmap.fromImage(image).scaled(
                    SIDES[across],
                    SIDES[across],
                    Qt.AspectRatioMode.KeepAspectRatio,
                    Qt.TransformationMode.SmoothTransformation,
                )
            )
            for label in (picture, title):
                label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            title.setToolTip(plain_tip(name))
            # A long name is cut, and never widens the dock.
            title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            row, column = divmod(place, across)
            self._grid.addWidget(picture, 2 * row, column)
            self._grid.addWidget(title, 2 * row + 1, column)
        self.setVisible(bool(self.pictures))


def draw_in_one_contrast(
    examples: "Mapping[str, DataArray]", channels: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """Return each image as red, green and blue, in the contrast that all of them have together.

    Parameters
    ----------
    examples : mapping of str to DataArray, dims (c, y, x)
        All with the same number of channels, or none is drawn.
    channels : sequence of str
        Their names, which tell the colours.

    Returns
    -------
    dict of str to ndarray of uint8, shape (height, width, 3)
    """
    from napari_why.images import contrast_limits, default_colormaps

    images = {name: np.asarray(image) for name, image in examples.items()}
    if any(len(pixels) != len(channels) for pixels in images.values()):
        return {}
    pictures: dict[str, NDArray[np.float64]] = {}
    for index, colour in enumerate(default_colormaps(channels)):
        together = np.concatenate([pixels[index].ravel() for pixels in images.values()])
        low, high = contrast_limits(together)
        for name, pixels in images.items():
            shown = np.clip((average_blocks(pixels[index], 2 * SIDE) - low) / (high - low), 0, 1)
            coloured = ensure_colormap(colour).map(shown.ravel())[:, :3].reshape(*shown.shape, 3)
            pictures[name] = coloured + pictures.get(name, 0)
    return {
        name: (np.clip(picture, 0, 1) * 255).astype(np.uint8) for name, picture in pictures.items()
    }
