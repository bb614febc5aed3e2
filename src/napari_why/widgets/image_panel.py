"""Opening image files, with a look at their channels first."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton

from napari_why.widgets.dock import Dock
from napari_why.widgets.panel import Panel
from napari_why.widgets.tables import Table

if TYPE_CHECKING:
    from xarray import DataArray

FILE_FILTER = "Microscopy images (*.tif *.tiff *.TIF *.TIFF);;All files (*)"
COLUMNS = ("channel", "darkest", "brightest")


class ImagePanel(Panel):
    """Files, what is in them, names for their channels, and a button that opens them as layers.

    Files that hold one channel each of the same field become one image.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._images: list[DataArray] = []
        self.choose = QPushButton("Choose image files...")
        self.choose.setToolTip("OME-TIFF, ImageJ TIFF, plain TIFF, or one TIFF for each channel")
        self.about = QLabel("Nothing chosen yet.")
        self.about.setWordWrap(True)
        self.channels = Table(editable=(0,))
        self.hint = QLabel("Double-click a channel's name to change it.")
        self.hint.hide()
        self.open = QPushButton("Open as layers")
        self.open.setEnabled(False)
        for widget in (self.choose, self.about, self.channels, self.hint, self.open):
            self.column.addWidget(widget)
        self.end_column()
        self.choose.clicked.connect(self._ask)
        self.open.clicked.connect(self.open_as_layers)

    def preview(self, paths: list[Path]) -> None:
        """Read files and show what is in them."""

        def work(**_listeners: Any) -> tuple[list["DataArray"], list[tuple[str, str, str]]]:
            images = read_images(paths)
            return images, channel_rows(images[0])

        self.dock.run("Reading images", work, lambda made: self._show(*made))

    def channel_names(self) -> list[str]:
        """Return the channels' names as the user left them."""
        return [self.channels.text(row, 0).strip() for row in range(self.channels.rowCount())]

    def open_as_layers(self) -> None:
        """Open the images as layers, one a channel."""
        names = self.channel_names()
        images = [image.assign_coords(c=names) for image in self._images]
        self.dock.load(
            lambda: [layer for image in images for layer in layers_of(image)], self.dock.add_layers
        )

    def _ask(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Choose image files", "", FILE_FILTER)
        if names:
            self.preview([Path(name) for name in names])

    def _show(self, images: list["DataArray"], rows: list[tuple[str, str, str]]) -> None:
        self._images = images
        self.about.setText(description(images))
        self.channels.show_rows(COLUMNS, rows)
        self.hint.show()
        self.open.setEnabled(True)


def read_images(paths: list[Path]) -> "list[DataArray]":
    """Read files; those that hold one channel each of one field are read as one image.

    Raises
    ------
    ImageReadError
        A file cannot be read.
    MismatchError
        The images do not have the same number of channels.
    """
    from napari_why.errors import MismatchError
    from napari_why.images import group_channel_files, read

    images = [read(files) for files in group_channel_files(paths)]
    counts = {image.sizes["c"] for image in images}
    if len(counts) > 1:
        raise MismatchError(
            f"Found images with {' and '.join(map(str, sorted(counts)))} channels; expected the "
            "same number in all; open them one after the other"
        )
    return images


def channel_rows(image: "DataArray") -> list[tuple[str, str, str]]:
    """Return name, darkest and brightest value of each channel."""
    rows = []
    for name in image.coords["c"].values:
        pixels = image.sel(c=name)
        rows.append((str(name), f"{float(pixels.min()):g}", f"{float(pixels.max()):g}"))
    return rows


def description(images: "list[DataArray]") -> str:
    """Say what was read: how many, their size, pixel type, pixel size and the reader's notes."""
    first = images[0]
    size = " x ".join(f"{first.sizes[dim]} {dim}" for dim in first.dims if dim != "c")
    pixel, unit = first.attrs["pixel_size"]["x"], first.attrs["unit"]
    scale = f"{pixel:g} um a pixel" if unit == "um" else "the file tells no pixel size"
    count = "1 image" if len(images) == 1 else f"{len(images)} images, the first"
    return " ".join([f"{count}: {size}, {first.dtype}, {scale}.", *first.attrs["notes"]])


def layers_of(image: "DataArray") -> list[Layer]:
    """Make the raw layers of an image, one a channel, as napari's reader would."""
    from napari_why.napari_reader import image_layers

    return [Layer.create(*layer_data) for layer_data in image_layers(image)]
