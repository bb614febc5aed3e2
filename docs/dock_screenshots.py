"""Waiting for the docks, and pictures of them, for the scripts beside this one that make screenshots."""

import os
from collections.abc import Callable
from typing import Any

import napari
from PIL import Image
from qtpy.QtCore import QEventLoop, QPoint, QTimer
from qtpy.QtWidgets import QDockWidget, QWidget


def wait_for(done: Callable[[], bool], settle: int = 1500) -> None:
    """Run the event loop until ``done``, then for ``settle`` milliseconds more."""
    loop = QEventLoop()
    check = QTimer()
    check.timeout.connect(lambda: loop.quit() if done() else None)
    check.start(50)
    loop.exec()
    QTimer.singleShot(settle, loop.quit)
    loop.exec()


def open_page(viewer: napari.Viewer, name: str) -> Any:
    """Show a page of the dock, which is opened where it is not yet, and return it."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-why")
    dock.show_page(name)
    return dock.page(name)


def take_picture(viewer: napari.Viewer, page: QWidget) -> tuple[Image.Image, str]:
    """Return a picture of the window; at another scale of the dock of a page alone, and what its name ends with."""
    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    scale = float(os.environ.get("QT_SCALE_FACTOR", "1"))
    if scale == 1:
        return picture, ""
    dock = page
    while not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    corner = dock.mapTo(dock.window(), QPoint(0, 0))
    box = (corner.x(), corner.y(), corner.x() + dock.width(), corner.y() + dock.height())
    left, top, right, bottom = (round(scale * side) for side in box)
    return picture.crop((left, top, right, bottom)), f"-{scale:g}x"
