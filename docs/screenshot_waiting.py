"""Waiting for the docks while the scripts beside this one make screenshots of them."""

from collections.abc import Callable
from typing import Any

import napari
from qtpy.QtCore import QEventLoop, QTimer


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
