"""The demo itself: the main job on simulated or given images, shown in napari or written."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core import events
from napari_why.core.errors import WhyError
from napari_why.demo.main_job import MainJob, do_main_job, summary_lines, write_files

if TYPE_CHECKING:
    from napari import Viewer

# A plain choice: more or larger images take longer, fewer leave too few to evaluate with.
SIMULATED_IMAGES = 280
SIMULATED_SIZE = 128
# Fixed, so that everybody who follows the README sees the same image and the same numbers.
SEED = 0
# Pixels of the window: layer list, nine layers in a grid and a dock beside one another, as in the
# README's picture.
WINDOW_SIZE = (1760, 1050)
# Of the virtual screen, a little larger than the window with its frame; 24 bits of colour.
SCREEN = "1800x1100x24"
# A software renderer without a graphics card draws the first frame slowly; a hang lasts longer.
DRAWING_SECONDS = 60.0
# Events that drawing itself sends (a layout, then a repaint) come a few rounds later.
SETTLING_ROUNDS = 10
# The server answers at once or not at all when it is told to end.
SERVER_SECONDS = 10


def run_demo(
    data: Path | None = None,
    out: Path | None = None,
    window: bool = True,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Path:
    """Do the main job on simulated or given images and show or write what came out.

    Parameters
    ----------
    data : Path, optional
        A data set (:meth:`napari_why.Dataset.open`); without it one is simulated: diseased and
        treated fields with nuclei and mitochondria.
    out : Path, optional
        Folder to write into; ``napari-why-demo`` in the current folder by default.
    window : bool
        Open napari with the result; without a display, or when False, a screenshot of that
        window is written instead.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, nothing is shown.

    Returns
    -------
    Path
        The folder: ``classifier/``, ``image.ome.tif``, one OME-TIFF per map and one of the
        series, each with its record, ``counterfactual.gif``, ``evaluation.json``, ``summary.md``
        and, without a window, ``window.png``.
    """
    from napari_why.datasets import Dataset
    from napari_why.simulation import simulate

    if data is None:
        dataset = simulate(
            SIMULATED_IMAGES, size=SIMULATED_SIZE, seed=SEED, on_event=on_event, cancelled=cancelled
        )
    else:
        dataset = Dataset.open(data, on_event=on_event, cancelled=cancelled)
    job = do_main_job(dataset, SEED, on_event, cancelled)
    folder = Path("napari-why-demo") if out is None else Path(out)
    write_files(job, folder)
    for line in filter(None, summary_lines(job)):
        on_event(events.Message(line))
    on_event(events.Message(f"everything is in {folder}"))
    on_event(events.Finished(partial=cancelled()))
    if cancelled():
        return folder
    if window and has_display():
        _show_window(job)
    else:
        with virtual_display():
            screenshot(job, folder / "window.png")
    return folder


def _show_window(job: MainJob) -> None:
    import napari

    show(job)
    napari.run()


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

    from napari_why.napari_reader import image_layers
    from napari_why.output.layers import to_layers
    from napari_why.sessions import Subject, state_of

    viewer = napari.Viewer(title="napari-why demo", show=False)
    state_of(viewer).classifier = job.classifier
    raw: list[Any] = []
    for data, options, _ in image_layers(job.image):
        raw.append(viewer.add_image(data, **options))
    # Of the maps only those of all channels together: a cell of the grid for each map of a channel
    # would leave all of them too small.
    for result in job.attributions.values():
        viewer.add_layer(next(layer for layer in to_layers(result, raw) if layer.visible))
    _, dock = viewer.window.add_plugin_dock_widget("napari-why", "Counterfactual")
    series = to_layers(job.counterfactual, raw)
    for layer in series:
        layer.visible = True
    dock.session.show(job.counterfactual, Subject(job.classifier, tuple(raw)), series)
    # The dock adds the series by the event loop, after this function is through.
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


def _wait_until(done: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    deadline = time.monotonic() + DRAWING_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise WhyError(
                f"the window was not drawn within {DRAWING_SECONDS:g} seconds; expected less; "
                "the other files are written"
            )
        QApplication.processEvents()
    for _ in range(SETTLING_ROUNDS):
        QApplication.processEvents()


def has_display() -> bool:
    """Tell whether windows can be shown."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def virtual_display() -> Iterator[None]:
    """Draw on a virtual screen (Xvfb) inside the block; nothing to do elsewhere than on Linux.

    Raises
    ------
    WhyError
        Xvfb is not installed or did not start.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    server = shutil.which("Xvfb")
    if server is None:
        raise WhyError(
            "found no Xvfb to draw a window without a display; expected it on the PATH; "
            "install it (Debian: apt install xvfb) or run with a display"
        )
    read_end, write_end = os.pipe()
    command = [server, "-displayfd", str(write_end), "-screen", "0", SCREEN, "-nolisten", "tcp"]
    before = {name: os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")}
    # The server chooses a free display number itself and says which, so two demos do not meet.
    process = subprocess.Popen(  # noqa: S603 (a fixed command)
        command, pass_fds=[write_end], stderr=subprocess.DEVNULL
    )
    os.close(write_end)  # ours; else reading below would not end when the server does
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise WhyError("Xvfb was found but did not start; run with a display")
        os.environ["DISPLAY"] = f":{number}"
        os.environ.pop("WAYLAND_DISPLAY", None)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        process.terminate()
        process.wait(timeout=SERVER_SECONDS)
