"""Make the pictures of docs/start.md: every click from a folder of images to two explanations, ringed.

What is ringed is clicked, by the mouse, in a real window, so that no picture shows another way than the one
that was gone. Each picture is a line on the terminal, with the seconds since the window was asked for, by the
clock and of the processor: so the page can be tried in a fresh environment, on images of one's own.

Usage, with a display or under Xvfb::

    xvfb-run -a -s "-screen 0 1366x768x24" python docs/make_start_screenshots.py FOLDER [--steps N] [--images IMAGES]

``--steps`` ends the tour after so many pictures. ``--images`` is a folder with one sub-folder for each class;
by default images are simulated into one that is removed at the end, and the network is trained in the window.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from dock_screenshots import wait_for
from make_screenshots import Guide, shows_all
from PIL import Image, ImageDraw
from qtpy.QtCore import QPoint, QRect, Qt, QTimer
from qtpy.QtGui import QImage
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QDialogButtonBox,
    QFileDialog,
    QLineEdit,
    QMainWindow,
    QMenuBar,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from napari_why.simulation import simulate_to_folder
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.why_dock import WhyDock

# Enough that wells can be split, and few enough to be trained on while one looks.
IMAGES, SIZE, EPOCHS = 96, 64, 12
# Of the simulated images, by names that a picture shows: no other at each run.
EXPERIMENT, PLATE = "experiment1", "plate1"
# px: of larger images, so that a processor trains on them in minutes
LARGEST = 96
RING, GAP, WIDTH = "#ff9f1c", 4, 3  # px
DIALOG = QPoint(200, 150)  # where it is drawn in the window, px
LEFT = Qt.MouseButton.LeftButton


class Tour(Guide):
    """A guide that rings what it clicks, numbers and times its pictures, and may end early."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.begun = time.perf_counter()
        super().__init__(folder, "dark")
        self.left, self.taken = steps, 0

    @property
    def dock(self) -> WhyDock:
        """The dock, once it was opened by the menu."""
        return next(item for item in QApplication.allWidgets() if isinstance(item, WhyDock))

    def opened(self, name: str) -> Any:
        """Return a page, once the click that asks for it has opened it."""
        wait_for(lambda: name in self.dock.pages)
        return self.dock.page(name)

    def click(self, name: str, widget: QWidget, *also: QWidget) -> None:
        """Take a picture with a ring around what is clicked next, and click it.

        Parameters
        ----------
        name : str
            Of the picture.
        widget : QWidget
            What is clicked.
        *also : QWidget
            Ringed too: what is set before.

        Raises
        ------
        StopIteration
            There are enough pictures.
        """
        # a page that is new still grows, and takes what was in view out of it
        wait_for(lambda: bring_into_view(widget), settle=1500)
        wait_for(lambda: bring_into_view(widget), settle=500)
        self.take(name, *(place_of(item) for item in (*also, widget)))
        QTest.mouseClick(widget, LEFT)

    def turn_to(self, name: str, page: str) -> None:
        """Take a picture with the button of another page ringed, and click it."""
        buttons = self.dock.findChildren(QPushButton)
        self.click(name, next(item for item in buttons if item.text() == page))

    def open_by_menu(self, name: str, bar: QMenuBar, title: str, entry: str) -> None:
        """Unfold a menu, which is a window of its own, take a picture of it, and choose an entry."""
        action = next(item for item in bar.actions() if item.text().replace("&", "") == title)
        place = bar.actionGeometry(action)
        QTest.mouseClick(bar, LEFT, pos=place.center())
        menu = action.menu()
        wait_for(menu.isVisible)
        chosen = next(item for item in menu.actions() if item.text().startswith(entry))
        corner = bar.mapTo(bar.window(), place.bottomLeft())
        box = menu.actionGeometry(chosen)
        opened = QRect(bar.mapTo(bar.window(), place.topLeft()), place.size())
        self.take(name, opened, box.translated(corner), above=(menu, corner))
        QTest.mouseClick(menu, LEFT, pos=box.center())

    def answer_dialog(self, name: str, folder: Path) -> None:
        """Wait for a dialog that asks for a folder, take a picture of it, and choose one."""
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QFileDialog):
            QTimer.singleShot(100, lambda: self.answer_dialog(name, folder))
            return
        dialog.setSidebarUrls([])  # of nobody's concern
        dialog.setDirectory(str(folder.parent))
        line = dialog.findChild(QLineEdit)
        line.clear()
        QTest.keyClicks(line, folder.name)
        button = dialog.findChild(QDialogButtonBox).buttons()[0]
        wait_for(lambda: True, settle=500)
        corner = DIALOG
        box = QRect(button.mapTo(dialog, QPoint(0, 0)), button.size())
        if self.taken != self.left:  # the end is told where the dialog was opened
            self.take(name, box.translated(corner), above=(dialog, corner))
            QTest.mouseClick(button, LEFT)
        else:
            dialog.reject()

    def take(self, name: str, *ringed: QRect, above: tuple[QWidget, QPoint] | None = None) -> None:
        """Take a picture of the window, with rings.

        Parameters
        ----------
        name : str
            Of the picture.
        *ringed : QRect
            In the window.
        above : (QWidget, QPoint), optional
            A window of its own that lies above it, and where.

        Raises
        ------
        StopIteration
            There are enough pictures.
        """
        if self.taken == self.left:
            raise StopIteration
        window = self.viewer.screenshot(canvas_only=False, flash=False)
        picture = Image.fromarray(window[..., :3])
        if above is not None:
            widget, place = above
            picture.paste(Image.fromarray(pixels_of(widget)), (place.x(), place.y()))
        ratio = picture.width / self.viewer.window.geometry()[2]
        for ring in ringed:
            x, y, right, bottom = (ratio * value for value in ring.getRect())
            box = (x - GAP, y - GAP, x + right + GAP, y + bottom + GAP)
            ImageDraw.Draw(picture).rounded_rectangle(box, 6, outline=RING, width=WIDTH)
        self.taken += 1
        self.save(picture, self.folder / f"start-{self.taken}-{name}.png")
        passed = time.perf_counter() - self.begun
        sys.stdout.write(f"{passed:6.1f} s, processor {time.process_time():6.1f} s: {name}\n")
        sys.stdout.flush()

    def save(self, picture: Image.Image, file: Path) -> None:
        """Write a picture in its own colours: the page names those of rings, classes and evidence."""
        picture.save(file, optimize=True)


@contextmanager
def simulated_images() -> Iterator[Path]:
    """Simulate images into a folder of a fixed name, and remove it at the end.

    Yields
    ------
    Path
        With one sub-folder for each class.

    Raises
    ------
    FileExistsError
        There is such a folder, which may be somebody else's: it has to be removed by hand.
    """
    place = Path(gettempdir()) / EXPERIMENT
    place.mkdir(mode=0o700)
    try:
        simulate_to_folder(place / PLATE, IMAGES, size=SIZE)
        yield place / PLATE
    finally:
        shutil.rmtree(place)


def bring_into_view(widget: QWidget) -> bool:
    """Scroll to a widget; tell whether all of it is seen."""
    around = widget.parentWidget()
    while around is not None:
        if isinstance(around, QScrollArea):
            around.ensureWidgetVisible(widget)
        around = around.parentWidget()
    return bool(widget.visibleRegion().boundingRect() == widget.rect())


def place_of(widget: QWidget) -> QRect:
    """Return where a widget lies in its window."""
    return QRect(widget.mapTo(widget.window(), QPoint(0, 0)), widget.size())


def pixels_of(widget: QWidget) -> np.ndarray:
    """Return what a widget looks like, shape (H, W, 3)."""
    drawn = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(drawn.constBits(), np.uint8).reshape(drawn.height(), drawn.bytesPerLine())
    return rows[:, : 3 * drawn.width()].reshape(drawn.height(), drawn.width(), 3)


def open_dock(tour: Tour) -> None:
    """Open the dock by the menu."""
    wait_for(lambda: True)
    windows = QApplication.topLevelWidgets()
    bar = next(item for item in windows if isinstance(item, QMainWindow)).findChild(QMenuBar)
    tour.open_by_menu("menu", bar, "Plugins", "napari-why")
    wait_for(lambda: any(isinstance(item, WhyDock) for item in QApplication.allWidgets()))


def open_data(tour: Tour, data: Path) -> None:
    """Open a folder and use its images."""
    page = tour.opened("Data")
    wait_for(page.dataset.folder.isVisible)
    # the dialog waits within the click
    QTimer.singleShot(1000, lambda: tour.answer_dialog("choose-folder", data))
    tour.click("open-folder", page.dataset.folder)
    if tour.taken == tour.left:
        raise StopIteration
    wait_for(lambda: page.dataset.choices.classes.rowCount() > 0, settle=2500)
    tour.click("use-images", page.dataset.use_button)
    wait_for(lambda: page.state.dataset is not None and page.dataset.using.isVisible())
    tour.click("go-to-training", page.dataset.train)


def wait_for_form(page: ClassifierDock) -> ParameterForm:
    """Wait for the form of the training, and for the size that it proposes for these images."""
    wait_for(lambda: page.training.main is not None, settle=2500)
    return page.training.main


def train(tour: Tour) -> None:
    """Train, and look at what the test images say."""
    page = tour.opened("Classifier")
    form = wait_for_form(page)
    fields = {name: form.editor(name).field for name in ("size", "epochs")}
    typed = {"size": min(LARGEST, form.values()["size"]), "epochs": EPOCHS}
    for name, field in fields.items():
        field.selectAll()
        QTest.keyClicks(field, str(typed[name]))
    tour.click("train", page.training.button, *fields.values())
    layers = tour.viewer.layers  # a first test image is opened after the evaluation
    wait_for(lambda: bool(page.evaluation.verdict.text()) and len(layers) > 1, settle=2500)
    tour.turn_to("evaluation", "Attribution")


def explain(tour: Tour) -> None:
    """Ask where the network looked."""
    page = tour.opened("Attribution")
    wait_for(lambda: bool(page.method.name))
    tour.click("explain", page.button)
    wait_for(lambda: page.session.finding is not None and shows_all(page, tour), settle=2500)
    tour.turn_to("map", "Counterfactual")


def change(tour: Tour) -> None:
    """Ask what would have to change, and move the slider."""
    page = tour.opened("Counterfactual")
    wait_for(lambda: bool(page.method.name))
    tour.click("make-series", page.button)
    wait_for(lambda: page.link is not None, settle=3000)
    sliders = (item for item in QApplication.allWidgets() if isinstance(item, QScrollBar))
    slider = next(
        item
        for item in sliders
        if item.isVisible() and type(item.parentWidget()).__name__ == "QtDimSliderWidget"
    )
    tour.click("move-slider", slider)
    QTest.keyClick(slider, Qt.Key.Key_End)
    wait_for(lambda: True, settle=2500)
    tour.take("series")


def main(folder: Path, steps: int, images: Path | None) -> None:
    """Go through the tour, or its first steps."""
    with simulated_images() if images is None else nullcontext(images) as data:
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the pictures")
    parser.add_argument("--steps", type=int, default=-1, help="end after so many pictures")
    parser.add_argument("--images", type=Path, help="folder with one sub-folder for each class")
    given = parser.parse_args()
    main(given.folder, given.steps, given.images)
