"""Make the pictures of the Open dock in the documentation, on real files.

Usage, with a display or under Xvfb::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/make_opening_screenshots.py DATA FOLDER

``DATA`` holds ``format-specimens`` and ``bbbc013-translocation``.
"""

import sys
import tempfile
from pathlib import Path

import napari
import tifffile
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from screenshot_waiting import open_page, wait_for

from napari_why.widgets.open_dock import OpenDock

COLOURS = 200  # a palette keeps the files small


def main(data: Path, folder: Path) -> None:
    """Open a field of a microscope, pages without names, and a plate; picture each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, show in (
        ("open-phenix", show_field),
        ("open-axes", show_question),
        ("open-plate", show_plate),
    ):
        viewer = napari.Viewer(show=True)
        viewer.window.resize(1400, 800)
        dock = open_page(viewer, "Data")
        show(viewer, dock, data)
        window = viewer.screenshot(canvas_only=False, flash=False)
        picture = Image.fromarray(window[..., :3]).quantize(COLOURS, dither=Image.Dither.NONE)
        picture.save(folder / f"{name}.png", optimize=True)
        viewer.close()


def show_field(viewer: napari.Viewer, dock: OpenDock, data: Path) -> None:
    """Open the two channels of a field of an Opera Phenix."""
    dock.tabs.setCurrentWidget(dock.images)
    dock.images.preview([data / "format-specimens" / "opera-phenix"])
    wait_for(dock.images.open.isEnabled, settle=200)
    dock.images.open_as_layers()
    wait_for(lambda: len(viewer.layers) == 2)


def show_question(viewer: napari.Viewer, dock: OpenDock, data: Path) -> None:
    """Open three channels that were saved as pages without names."""
    dock.tabs.setCurrentWidget(dock.images)
    named = data / "format-specimens" / "imagej" / "xyc_16bit__cell_dna_mts_actin.tif"
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "cell.tif")
        pages = tifffile.imread(named)
        tifffile.imwrite(path, pages, metadata=None, photometric="minisblack")
        dock.images.preview([path])
        question = dock.images.question
        wait_for(question.isVisible, settle=200)
        texts = [question.choice.itemText(i) for i in range(question.choice.count())]
        question.choice.setCurrentIndex(
            next(i for i, text in enumerate(texts) if text.startswith("cyx"))
        )
        question.button.click()
        wait_for(dock.images.open.isEnabled, settle=200)
        dock.images.open_as_layers()
        wait_for(lambda: len(viewer.layers) == 3)


def show_plate(viewer: napari.Viewer, dock: OpenDock, data: Path) -> None:
    """Open a plate by its map and click a well."""
    folder = data / "bbbc013-translocation"
    dock.setMinimumWidth(520)  # as wide as a user pulls it to see the thumbnails
    dock.dataset.open_location(folder / "images", folder / "labels.csv")
    choices = dock.dataset.choices
    wait_for(lambda: choices.classes.rowCount() > 0)
    choices.column.setCurrentIndex(choices.column.findData("class3"))
    choices.column.activated.emit(choices.column.currentIndex())
    wait_for(lambda: "intermediate" in choices.classes.names())
    dock.dataset.use()
    wait_for(lambda: len(dock.plate.grid.pictures) == 48)
    grid = dock.plate.grid
    QTest.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.centre_of((0, 9)).toPoint())
    wait_for(lambda: len(viewer.layers) == 2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
