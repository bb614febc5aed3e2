"""The demo's result in a napari window."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.demo.main_job import MainJob
from napari_why.errors import WhyError

if TYPE_CHECKING:
    from napari import Viewer

WINDOW_SIZE = (1760, 1050)
DRAWING_SECONDS = 60.0


def show(job: MainJob) -> "tuple[Viewer, Any]":
    """Open napari with the raw channels, the overlays, and the alpha series with its curve.

    Every layer has a cell of its own in napari's grid, so that before and after stand side by
    side; the grid button lays them over each other.

    Returns
    -------
    napari.Viewer
        Shown; the layers of the series are added by the event loop.
    CounterfactualDock
    """
    import napari

    from napari_why.layers import to_layers
    from napari_why.napari_reader import image_layers
    from napari_why.widgets import state_of
    from napari_why.widgets.explained import Explained

    viewer = napari.Viewer(title="napari-why demo", show=False)
    state_of(viewer).classifier = job.classifier
    raw: list[Any] = []
    for data, options, _ in image_layers(job.image):
        raw.append(viewer.add_image(data, **options))
    for result in job.attributions.values():
        viewer.add_layer(next(layer for layer in to_layers(result, raw) if layer.visible))
    _, dock = viewer.window.add_plugin_dock_widget("napari-why", "Counterfactual")
    series = to_layers(job.counterfactual, raw)
    for layer in series:
        layer.visible = True
    dock.show_result(job.counterfactual, series, Explained(job.image, raw))
    viewer.layers.events.inserted.connect(lambda event: _label(event.value))
    for layer in viewer.layers:
        _label(layer)
    viewer.canvas.grid.enabled = True
    viewer.show()
    viewer.window.resize(*WINDOW_SIZE)  # napari shows a window in the size of the last session
    return viewer, dock


def screenshot(job: MainJob, path: Path) -> None:
    """Write a picture of the window that :func:`show` opens, at the end of the series.

    Raises
    ------
    WhyError
        The window was not drawn in time.
    """
    viewer, dock = show(job)
    try:
        _wait_until(lambda: dock.link is not None)
        viewer.canvas.overlays.text.position = "bottom_left"
        dock.link.go_to(float(job.counterfactual.alphas[-1]))
        viewer.reset_view()
        _wait_until(lambda: all(layer.loaded for layer in viewer.layers))
        viewer.screenshot(path, canvas_only=False, flash=False)
    finally:
        viewer.close()


def _label(layer: Any) -> None:
    layer.name_overlay.visible = True


def _wait_until(done: Any) -> None:
    from qtpy.QtWidgets import QApplication

    deadline = time.monotonic() + DRAWING_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise WhyError(
                f"the window was not drawn within {DRAWING_SECONDS:g} seconds; expected less; "
                "the other files are written"
            )
        QApplication.processEvents()
    for _ in range(10):
        QApplication.processEvents()
