"""The window at the end of the demo: a row a channel, from the raw image to what would have to change."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_why.core.errors import WhyError
from napari_why.core.events import Cancelled
from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    import xarray as xr
    from napari import Viewer

    from napari_why.attribution import Attribution
    from napari_why.counterfactuals import Counterfactual
    from napari_why.model import Classifier

# Pixels of the window: layer list, a grid of four columns and a dock beside one another.
WINDOW_SIZE = (1760, 1050)
# Whoever presses Ctrl-C beside an open window waits this long at most.
LOOK_MS = 200
# Of the virtual screen, a little larger than the window with its frame; 24 bits of colour.
SCREEN = "1800x1100x24"
# A software renderer without a graphics card draws the first frame slowly; a hang lasts longer.
DRAWING_SECONDS = 180.0
# Events that drawing itself sends (a layout, then a repaint) come a few rounds later.
SETTLING_ROUNDS = 10
# The server answers at once or not at all when it is told to end.
SERVER_SECONDS = 10
# A cell of the grid holds a picture and what lies below it.
LAYERS_IN_A_CELL = 2
COLUMNS = 4
# Pixels between cells, so that no two pictures touch.
SPACING = 8
# Of a colour bar, in pixels: it stands below its picture, in the margin of its cell.
BAR_SIZE = (10.0, 80.0)
# Share of a cell's width that stays free around a picture: names and bars stand there.
MARGIN = 0.04
# The limit of a colour scale holds so many of a hundred pixels; by the brightest alone all others were pale.
WITHIN_SCALE = 99.5
# First digits of a limit, so that a bar's ends have a number each.
ROUND = (1.0, 2.0, 5.0, 10.0)


class Shown(Protocol):
    """What the window shows: a classifier, an image, and what was said about it."""

    @property
    def classifier(self) -> "Classifier": ...  # noqa: D102
    @property
    def image(self) -> "xr.DataArray": ...  # noqa: D102
    @property
    def attributions(self) -> "dict[str, Attribution]": ...  # noqa: D102
    @property
    def counterfactual(self) -> "Counterfactual": ...  # noqa: D102


def show_until_closed(job: Shown, cancelled: Cancelled) -> None:
    """Open napari with the result and return when it is closed, by the user or when cancelled.

    Parameters
    ----------
    job : MainJob
        What is shown.
    cancelled : callable
        Asked again and again while the window is open.
    """
    import napari
    from qtpy.QtCore import QTimer

    viewer, _ = show(job)

    # The event loop is not Python, which looks at signals only when some of it runs.
    def look() -> None:
        if cancelled():
            timer.stop()
            viewer.close()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(LOOK_MS)
    napari.run()


def show(job: Shown) -> "tuple[Viewer, Any]":
    """Open napari with the raw channels, a map, and the alpha series with its curve and change.

    A row of napari's grid shows one channel: raw, the map over it, the series, and the change over it; the
    grid button lays all of them over each other.

    Returns
    -------
    napari.Viewer
        Shown; the layers of the series are added, and all put in order, by the event loop.
    CounterfactualDock
    """
    import napari
    from qtpy.QtCore import QTimer

    from napari_why.napari_reader import image_layers
    from napari_why.output.layers import to_layers
    from napari_why.sessions import Subject, state_of

    viewer = napari.Viewer(title="napari-why demo", show=False)
    state_of(viewer).use_classifier(job.classifier, job.classifier.folder)
    raw: list[Any] = [
        viewer.add_image(data, **options) for data, options, _ in image_layers(job.image)
    ]
    _, pages = viewer.window.add_plugin_dock_widget("napari-why")
    dock = pages.page("Counterfactual")
    pages.show_page("Counterfactual")
    maps = [layer for result in job.attributions.values() for layer in to_layers(result, raw)]
    maps = [layer for layer in maps if LayerFacts.of(layer).channel is not None]
    for layer in maps:
        viewer.add_layer(layer)
    series = to_layers(job.counterfactual, raw)
    dock.session.show(job.counterfactual, Subject(job.classifier, tuple(raw)), series)
    dock.fold.fold_after_run()  # so that the curve is in sight

    # The dock adds the series by the event loop, after this function is through.
    def arrange_when_all_are_there() -> None:
        # the link puts its text where it likes, once
        if dock.link is not None and all(layer in viewer.layers for layer in series):
            timer.stop()
            arrange(viewer, job, raw, maps, series)

    timer = QTimer(dock)
    timer.timeout.connect(arrange_when_all_are_there)
    timer.start(0)
    viewer.show()
    viewer.window.resize(*WINDOW_SIZE)  # napari shows a window in the size of the last session
    return viewer, dock


def arrange(
    viewer: "Viewer", job: Shown, raw: list[Any], maps: list[Any], series: list[Any]
) -> None:
    """Put the layers into a grid: a row a channel, columns raw, map, series, change.

    Parameters
    ----------
    viewer : Viewer
    job : MainJob
        What is shown.
    raw : list of Image
        One a channel.
    maps : list of Image
        Of the attributions.
    series : list of Image
        Of the counterfactual: series and differences.
    """
    from napari_why.sessions.colour_bar import TITLE

    result = job.counterfactual
    method, *others = job.attributions
    order: list[Any] = []
    for index, channel in enumerate(result.channels):
        named = _of_channel(maps, channel)
        # the raw layer beside its reconstruction would look the same; below map and change it is grey
        below = [_grey_copy(viewer, raw[index]) for _ in range(2)]
        moved, change = (
            next(
                layer for layer in _of_channel(series, channel) if LayerFacts.of(layer).role == role
            )
            for role in ("series", "difference")
        )
        cells = (
            (named[others[-1]], raw[index], f"{channel}: raw"),
            (below[0], named[method], _with_unit(f"{channel}: evidence", named[method])),
            (named[others[0]], moved, f"{channel}: to {result.target}"),
            (below[1], change, _with_unit(f"{channel}: change", change)),
        )
        for lower, upper, title in cells:
            lower.visible = lower in below
            upper.visible, upper.name, upper.name_overlay.visible = True, title, True
            upper.name_overlay.position = "bottom_left"  # the text of the series stands on top
            order += [lower, upper]
        for layer, drawn in ((named[method], named[method]), (change, change)):
            _scale_colours(layer)
            drawn.colorbar.position, drawn.colorbar.size = "bottom_right", BAR_SIZE
    for place, layer in enumerate(order):
        viewer.layers.move(viewer.layers.index(layer), place)
    for layer in viewer.layers:
        layer.visible = layer.visible and layer in order
    grid = viewer.canvas.grid
    grid.shape, grid.spacing = (len(result.channels), COLUMNS), SPACING
    grid.stride = LAYERS_IN_A_CELL
    grid.enabled = True
    # the copies below are no image to go on with; what is chosen last stands in the layer controls and,
    # by its name, in the status bar, which has one line
    viewer.layers.selection = set(raw)
    viewer.layers.selection.active = moved
    # the title of one bar would lie over another, and the name of a cell says what its bar is of
    viewer.canvas.overlays[TITLE].visible = False
    viewer.reset_view(margin=MARGIN)


def _with_unit(title: str, layer: Any) -> str:
    """Name a cell, and below it the unit of the numbers at its colour bar."""
    return f"{title}\n{LayerFacts.of(layer).further['unit']}"


def _of_channel(layers: list[Any], channel: str) -> Any:
    """Return the layers of a channel: maps by their method, others as a list."""
    found = [layer for layer in layers if LayerFacts.of(layer).channel == channel]
    records = [LayerFacts.of(layer).record for layer in found]
    if all(record is not None and record.kind == "attribution" for record in records):
        return {
            record.method: layer
            for record, layer in zip(records, found, strict=True)
            if record is not None
        }
    return found


def _grey_copy(viewer: "Viewer", layer: Any) -> Any:
    """Add a layer of the same pixels in grey, which is no image that a dock may ask about."""
    return viewer.add_image(
        layer.data,
        name=f"below {layer.name}",
        colormap="gray",
        contrast_limits=layer.contrast_limits,
        scale=layer.scale,
        translate=layer.translate,
        units=layer.units,
        axis_labels=layer.axis_labels,
    )


def _scale_colours(layer: Any) -> None:
    """Give colours limits around zero that have a number at each end."""
    limit = round_up(float(np.percentile(np.abs(layer.data), WITHIN_SCALE)))
    layer.contrast_limits_range = (-limit, limit)
    layer.contrast_limits = (-limit, limit)


def round_up(value: float) -> float:
    """Return the next of 1, 2, 5, 10, ... times a power of ten; 1 of nothing.

    Examples
    --------
    >>> round_up(3.2), round_up(0.011), round_up(0)
    (5.0, 0.02, 1.0)
    """
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in ROUND if step * power >= value))


def screenshot(job: Shown, path: Path) -> None:
    """Write a picture of the window that :func:`show` opens, at the end of the series.

    Parameters
    ----------
    job : MainJob
        What is shown.
    path : Path
        Of the picture.

    Raises
    ------
    WhyError
        The window was not drawn in time.
    """
    viewer, dock = show(job)
    try:
        _wait_until(lambda: dock.link is not None and viewer.canvas.grid.enabled)
        dock.link.go_to(float(job.counterfactual.alphas[-1]))
        viewer.reset_view(margin=MARGIN)
        _wait_until(lambda: all(layer.loaded for layer in viewer.layers))
        viewer.screenshot(path, canvas_only=False, flash=False)
    finally:
        viewer.close()


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
