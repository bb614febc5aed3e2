"""Make the pictures of docs/start.md: every click from a folder of images to two explanations, ringed.

The images are simulated into a temporary folder, and the network is trained in the window.

Usage, with a display or under Xvfb::

    xvfb-run -a -s "-screen 0 1366x768x24" python docs/make_start_screenshots.py FOLDER [STEPS]

``STEPS`` ends the tour after so many pictures.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from make_screenshots import Guide, shows_all
from PIL import Image, ImageDraw
from qtpy.QtCore import QPoint
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QMainWindow, QMenu, QMenuBar, QScrollArea, QWidget
from screenshot_waiting import wait_for

from napari_why.simulation import simulate_to_folder

# Enough that wells can be split, and few enough to be trained on while one looks.
IMAGES, SIZE, EPOCHS = 96, 64, 12
RING, GAP, WIDTH = "#ff9f1c", 4, 3  # px


class Tour(Guide):
    """A guide that rings what is clicked next, numbers its pictures, and may end early."""

    def __init__(self, folder: Path, steps: int) -> None:
        super().__init__(folder, "dark")
        self.left, self.taken = steps, 0

    def click(self, name: str, widget: QWidget) -> None:
        """Take a picture with a ring around what is clicked next.

        Raises
        ------
        StopIteration
            There are enough pictures.
        """
        around = widget.parentWidget()
        while around is not None:
            if isinstance(around, QScrollArea):
                around.ensureWidgetVisible(widget)
            around = around.parentWidget()
        wait_for(lambda: True, settle=500)
        corner = widget.mapTo(widget.window(), QPoint(0, 0))
        self.take(name, (corner.x(), corner.y(), widget.width(), widget.height()))

    def open_menu(self, name: str, bar: QMenuBar, menu: QMenu, entry: str) -> None:
        """Take a picture with a menu unfolded, which is a window of its own, and an entry ringed."""
        place = bar.mapTo(bar.window(), bar.actionGeometry(menu.menuAction()).bottomLeft())
        action = next(item for item in menu.actions() if item.text().startswith(entry))
        box = menu.actionGeometry(action)
        ringed = (place.x() + box.x(), place.y() + box.y(), box.width(), box.height())
        self.take(name, ringed, unfolded=(menu, place))

    def take(
        self,
        name: str,
        ringed: tuple[int, int, int, int] | None = None,
        unfolded: tuple[QMenu, QPoint] | None = None,
    ) -> None:
        """Take a picture of the window, with a ring around x, y, width and height."""
        if self.taken == self.left:
            raise StopIteration
        window = self.viewer.screenshot(canvas_only=False, flash=False)
        picture = Image.fromarray(window[..., :3])
        if unfolded is not None:
            menu, place = unfolded
            picture.paste(Image.fromarray(pixels_of(menu)), (place.x(), place.y()))
        if ringed is not None:
            ratio = picture.width / self.viewer.window.geometry()[2]
            x, y, width, height = (ratio * value for value in ringed)
            box = (x - GAP, y - GAP, x + width + GAP, y + height + GAP)
            ImageDraw.Draw(picture).rounded_rectangle(box, 6, outline=RING, width=WIDTH)
        self.taken += 1
        self.save(picture, self.folder / f"start-{self.taken}-{name}.png")


def pixels_of(widget: QWidget) -> np.ndarray:
    """Return what a widget looks like, shape (H, W, 3)."""
    drawn = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(drawn.constBits(), np.uint8).reshape(drawn.height(), drawn.bytesPerLine())
    return rows[:, : 3 * drawn.width()].reshape(drawn.height(), drawn.width(), 3)


def open_dock(tour: Tour) -> None:
    """Unfold the menu that opens the dock."""
    wait_for(lambda: True)
    windows = QApplication.topLevelWidgets()
    bar = next(item for item in windows if isinstance(item, QMainWindow)).findChild(QMenuBar)
    menu = next(item.menu() for item in bar.actions() if item.text().replace("&", "") == "Plugins")
    menu.ensurePolished()
    menu.aboutToShow.emit()  # napari fills it then
    menu.adjustSize()
    tour.open_menu("menu", bar, menu, "napari-why")


def open_data(tour: Tour, data: Path) -> None:
    """Open a folder and use its images."""
    page = tour.page("Data")
    wait_for(lambda: True)
    tour.click("open-folder", page.dataset.folder)
    page.dataset.open_location(data)
    wait_for(lambda: page.dataset.choices.classes.rowCount() > 0, settle=2500)
    tour.click("use-images", page.dataset.use_button)
    page.dataset.use()
    wait_for(lambda: page.state.dataset is not None and page.dataset.using.isVisible())
    tour.click("go-to-training", page.dataset.train)


def train(tour: Tour) -> None:
    """Train, and look at what the test images say."""
    page = tour.page("Classifier")
    wait_for(lambda: page.training.main is not None, settle=1500)
    page.training.main.set_value("size", SIZE)
    page.training.main.set_value("epochs", EPOCHS)
    tour.click("train", page.training.button)
    page.training.button.click()
    layers = tour.viewer.layers  # a first test image is opened after the evaluation
    wait_for(lambda: bool(page.evaluation.verdict.text()) and len(layers) > 1, settle=2500)
    tour.take("evaluation")


def explain(tour: Tour) -> None:
    """Ask where the network looked."""
    page = tour.page("Attribution")
    wait_for(lambda: bool(page.method.name))
    tour.click("explain", page.button)
    page.button.click()
    wait_for(lambda: page.session.finding is not None and shows_all(page, tour), settle=2500)
    tour.take("map")


def change(tour: Tour) -> None:
    """Ask what would have to change, and move the slider."""
    page = tour.page("Counterfactual")
    wait_for(lambda: bool(page.method.name))
    tour.click("make-series", page.button)
    page.button.click()
    wait_for(lambda: page.link is not None, settle=3000)
    page.session.step(1.0)
    wait_for(lambda: True)
    tour.take("series")


def main(folder: Path, steps: int) -> None:
    """Go through the tour, or its first steps."""
    with TemporaryDirectory() as place:
        data = Path(place) / "plate1"
        simulate_to_folder(data, IMAGES, size=SIZE)
        tour = Tour(folder, steps)
        try:
            open_dock(tour)
            open_data(tour, data)
            train(tour)
            explain(tour)
            change(tour)
        except StopIteration:
            pass
        tour.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else -1)
