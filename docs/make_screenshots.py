"""Make the pictures of the pages in the user guide: one dock, from a plate to explained images.

Usage, with a display or under Xvfb::

    xvfb-run -a -s "-screen 0 1366x768x24" python docs/make_screenshots.py DATA FOLDER [THEME]

``DATA`` holds ``bbbc013-translocation``; ``THEME`` is napari's ``dark`` or ``light``. With
QT_SCALE_FACTOR=2 and a screen of 2732x1536 everything is drawn at twice the size; of those pictures the dock
alone is kept, for the rest is napari's.
"""

import sys
from itertools import chain
from pathlib import Path
from typing import Any

import napari
from dock_screenshots import open_page, take_picture, wait_for
from napari.layers import Labels
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_why.widgets.counterfactual_dock import CounterfactualDock
from napari_why.widgets.open_dock import OpenDock

# A small notebook: what fits here fits everywhere.
WIDTH, HEIGHT = 1366, 740
# Enough for a classifier of the clear pair of classes, in a minute or two.
SIZE, EPOCHS = 96, 12
# A palette keeps the files small: so many of the commonest colours, those of the theme among them, and as many more
# as 256 allow, spread so that a thin line or a warning keeps its own.
COMMON, COLOURS = 56, 200


class Guide:
    """One window and a folder of its pictures."""

    def __init__(self, folder: Path, theme: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        get_settings().appearance.theme = theme
        self.folder, self.theme = folder, theme
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(WIDTH, HEIGHT)
        self._shown: Any = None

    def page(self, name: str) -> Any:
        """Show a page and return it."""
        self._shown = open_page(self.viewer, name)
        return self._shown

    def shoot(self, name: str) -> None:
        """Take a picture of the page in sight."""
        picture, scale = take_picture(self.viewer, self._shown)
        self.save(picture, self.folder / f"guide-{name}-{self.theme}{scale}.png")

    def save(self, picture: Image.Image, file: Path) -> None:
        """Write a picture with few colours: the commonest as they are, and some for what few pixels show."""
        counted = sorted(picture.getcolors(picture.width * picture.height), reverse=True)
        few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
        chosen = [*chain(*(colour for _, colour in counted[:COMMON]))]
        palette = Image.new("P", (1, 1))
        palette.putpalette([*chosen, *few.getpalette()[: 3 * COLOURS]])
        picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, optimize=True)


def open_data(guide: Guide, data: Path) -> OpenDock:
    """Survey a plate, choose the column of the classes, and use two of them."""
    page = guide.page("Data")
    folder = data / "bbbc013-translocation"
    page.dataset.open_location(folder / "images", folder / "labels.csv")
    choices = page.dataset.choices
    wait_for(lambda: choices.classes.rowCount() > 0)
    choices.column.setCurrentIndex(choices.column.findData("class3"))
    choices.column.activated.emit(choices.column.currentIndex())
    wait_for(lambda: "intermediate" in choices.classes.names())
    for row in range(choices.classes.rowCount()):
        item = choices.classes.item(row, 0)
        if item.text() == "intermediate":
            item.setCheckState(Qt.CheckState.Unchecked)
    wait_for(lambda: True)
    guide.shoot("data-choices")
    page.dataset.use()
    wait_for(lambda: page.state.dataset is not None and bool(page.plate.grid.pictures))
    well = page.plate.grid.centre_of((0, 0)).toPoint()
    QTest.mouseClick(page.plate.grid, Qt.MouseButton.LeftButton, pos=well)
    wait_for(lambda: len(guide.viewer.layers) == 2)
    guide.shoot("data-plate")
    return page


def train(guide: Guide) -> None:
    """Train a classifier, which is then evaluated on the test images."""
    page = guide.page("Classifier")
    wait_for(lambda: page.training.main is not None, settle=200)
    page.training.main.set_value("size", SIZE)
    page.training.main.set_value("epochs", EPOCHS)
    page.training.button.click()
    wait_for(lambda: bool(page.training.curves and page.training.curves.rows), settle=4000)
    guide.shoot("train")
    wait_for(lambda: bool(page.evaluation.verdict.text()), settle=2500)
    guide.shoot("evaluate")


def shows_all(page: Any, guide: Guide) -> bool:
    """Whether all layers of the page's result are in the viewer."""
    return all(layer in guide.viewer.layers for layer in page.session.finding.layers)


def explain(guide: Guide) -> None:
    """Explain the image that is shown by a map of evidence."""
    page = guide.page("Attribution")
    wait_for(lambda: bool(page.method.name))
    page.button.click()
    wait_for(lambda: page.session.finding is not None and shows_all(page, guide), settle=2500)
    guide.shoot("attribution")


def change(guide: Guide) -> CounterfactualDock:
    """Make a series towards the other class, measure it, and compare before and after."""
    page = guide.page("Counterfactual")
    wait_for(lambda: bool(page.method.name))
    page.button.click()
    wait_for(lambda: page.link is not None, settle=3000)
    page.session.step(1.0)
    wait_for(lambda: True)
    guide.shoot("counterfactual")
    page.measuring.button.click()
    wait_for(lambda: any(isinstance(layer, Labels) for layer in guide.viewer.layers), settle=2500)
    guide.shoot("measure")
    return page


def look_at_all(guide: Guide) -> None:
    """Show where the network puts the images, and the page of batches."""
    page = guide.page("Latent space")
    page.button.click()
    wait_for(lambda: page.scatter is not None and page.view is not None, settle=2500)
    wait_for(lambda: not page.runner.aside)
    guide.shoot("latent-space")
    guide.page("Batch")
    wait_for(lambda: True, settle=2500)
    guide.shoot("batch")


def main(data: Path, folder: Path, theme: str) -> None:
    """Go through the pages and take a picture of the window at each."""
    guide = Guide(folder, theme)
    open_data(guide, data)
    train(guide)
    explain(guide)
    change(guide)
    look_at_all(guide)
    guide.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "dark")
