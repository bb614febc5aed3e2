"""``napari-why demo``: the main job, from labelled images to a window or to files."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from napari_why.attribution import METHODS, Attribution, attribute
from napari_why.core import events
from napari_why.core.errors import DatasetError, WhyError, reason_of
from napari_why.core.events import Cancelled, OnEvent
from napari_why.core.targets import (
    check_own_folder,
    refuse_sources,
    reserve,
    save_somewhere,
    try_target,
)
from napari_why.core.whole_files import write_whole
from napari_why.counterfactuals import Counterfactual, counterfactual
from napari_why.datasets import Dataset
from napari_why.evaluation import Evaluation, evaluate
from napari_why.fitting import fit
from napari_why.images import write
from napari_why.model import Classifier
from napari_why.model.storage import check_place
from napari_why.output.figures import animate_counterfactual
from napari_why.output.images import Result, record_with_grid, result_image
from napari_why.training.metrics import probability_columns

if TYPE_CHECKING:
    from napari import Viewer

# Images seen in training, over all epochs: what it takes is then the same for few and many images.
IMAGE_PASSES = 3000
# However many images there are, each is seen a few times.
FEWEST_EPOCHS = 3
# The default size of the networks; larger images are reduced, which training time asks for.
LARGEST_SIZE = 224
# The stage of the i-ResNet halves an image, and so do the three blocks of its head: of a multiple of
# this none leaves a row or column out.
SIZE_STEP = 16
# One method of each kind: perturbation, activation, propagation; all fit the i-ResNet.
SHOWN_METHODS = ("occlusion", "cam", "lrp")
# As the simulation and the thesis call the treated class, whose image the project is about.
PREFERRED_CLASSES = ("treated", "TT")
# In the demo's folder.
CLASSIFIER = "classifier"
# Windows across an image for methods that slide one, so that the demo does not wait for them.
STRIDES_ACROSS = 20
# The methods' own stride, of Otto 2022 on 224 pixels; a finer one on fewer pixels shows no more.
SMALLEST_STRIDE = 6


@dataclass(frozen=True)
class MainJob:
    """A trained classifier and what it says about one image it was not trained on."""

    classifier: Classifier
    evaluation: Evaluation
    image: xr.DataArray
    true_class: str
    attributions: dict[str, Attribution]
    counterfactual: Counterfactual


def do_main_job(
    dataset: Dataset,
    seed: int,
    on_event: OnEvent,
    cancelled: Cancelled,
    keep: Callable[[Classifier], object] | None = None,
) -> MainJob:
    """Split, train the i-ResNet, evaluate, and explain one held-out image.

    The number of epochs is such that about :data:`IMAGE_PASSES` images are seen. ``keep`` is called
    with the classifier as soon as it is there, before anything that may fail.

    Raises
    ------
    WhyError
        Cancelled before the evaluation was done; later on, what there is is returned.
    """
    dataset = dataset.split(seed=seed)
    epochs = epochs_for(len(dataset.part("train")))
    classifier = fit(
        dataset,
        "iresnet",
        size=network_size(dataset),
        epochs=epochs,
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    if keep is not None:
        keep(classifier)
    evaluation = evaluate(classifier, dataset, on_event=on_event, cancelled=cancelled)
    if cancelled():
        raise WhyError(
            "the demo was stopped before there was an image to explain"
            + ("" if keep is None else "; the classifier is saved")
        )
    image, true_class = typical_image(dataset, evaluation)
    attributions = {
        name: attribute(
            classifier,
            image,
            name,
            on_event=on_event,
            cancelled=cancelled,
            **_coarser_where_slow(name, network_size(dataset)),
        )
        for name in SHOWN_METHODS
    }
    series = counterfactual(classifier, image, on_event=on_event, cancelled=cancelled)
    return MainJob(classifier, evaluation, image, true_class, attributions, series)


def network_size(dataset: Dataset) -> int:
    """Return the side, in pixels, that images get for the network: theirs, rounded down."""
    image = dataset.image(0)
    side = min(image.sizes["y"], image.sizes["x"], LARGEST_SIZE)
    return max(SIZE_STEP, side // SIZE_STEP * SIZE_STEP)


def epochs_for(images: int) -> int:
    """Return the epochs for a number of training images, at least 3."""
    return max(FEWEST_EPOCHS, round(IMAGE_PASSES / max(images, 1)))


def typical_image(dataset: Dataset, evaluation: Evaluation) -> tuple[xr.DataArray, str]:
    """Return the held-out image, and its class, of median confidence among those predicted right.

    A treated image is preferred; else one of the last class.

    Raises
    ------
    DatasetError
        No held-out image is classified right.
    """
    predictions = evaluation.predictions
    wanted = [name for name in PREFERRED_CLASSES if name in dataset.classes]
    for name in (*wanted, *reversed(dataset.classes)):
        right = (predictions["label"] == name) & (predictions["predicted"] == name)
        rows = np.flatnonzero(right & ~predictions["seen"])
        if len(rows):
            confidence = predictions[probability_columns([name])[0]].to_numpy()[rows]
            return dataset.image(int(rows[np.argsort(confidence)[len(rows) // 2]])), name
    raise DatasetError(
        "found no held-out image that is classified right; expected at least one; "
        "give more images, or classes that differ more"
    )


def _coarser_where_slow(method: str, size: int) -> dict[str, Any]:
    takes_stride = any(parameter.name == "stride" for parameter in METHODS[method].parameters)
    return {"stride": max(SMALLEST_STRIDE, size // STRIDES_ACROSS)} if takes_stride else {}


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Save the classifier of the demo, replacing an older one.

    Raises
    ------
    WhyError
        It could not be saved there; says where it is instead.
    """

    def save(place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        classifier.save(place, overwrite=True)

    save_somewhere(folder / CLASSIFIER, save)


def write_files(job: MainJob, folder: Path) -> None:
    """Write classifier, image, maps, series, animation and a summary; replaces older ones.

    Raises
    ------
    WhyError
        The folder holds something else than an older demo.
    """
    _check_folder(folder)
    save_classifier(job.classifier, folder)
    write(job.image, folder / "image.ome.tif", overwrite=True)
    results: dict[str, Result] = {**job.attributions, "counterfactual": job.counterfactual}
    for name, result in results.items():
        write(
            result_image(result, job.image),
            folder / f"{name}.ome.tif",
            record=record_with_grid(result.record, result.grid),
            overwrite=True,
        )
    lines = summary_lines(job)
    try:
        animate_counterfactual(job.counterfactual, folder / "counterfactual.gif")
    except Exception as error:  # noqa: BLE001 - a picture is no reason to lose what it is of
        lines += ["", f"The animation could not be drawn: {reason_of(error)}."]
    evaluation = json.dumps(job.evaluation.to_dict(), indent=2)
    write_whole(folder / "evaluation.json", evaluation.encode())
    write_whole(folder / "summary.md", ("\n".join(lines) + "\n").encode())


def _check_folder(folder: Path, *sources: Path) -> None:
    refuse_sources(folder, sources)
    check_own_folder(folder, "evaluation.json", f"{CLASSIFIER}/classifier.json")


def summary_lines(job: MainJob) -> list[str]:
    """Return what the demo found, in plain sentences (Markdown)."""
    series = job.counterfactual
    target = series.classes.index(series.target)
    alpha1 = series.special_alphas.get("alpha1")
    boundary = series.special_alphas.get("boundary")
    source = Path(str(job.image.attrs.get("source", ""))).name
    return [
        "# Why is this image predicted as " + series.source_class + "?",
        "",
        *job.evaluation.sentences,
        "",
        f"The image: {source or 'simulated'}, {job.true_class}, predicted as {series.source_class} with "
        f"probability {series.probabilities[0].max():.2f}. To be predicted as {series.target} it would "
        f"have to change until alpha {_number(boundary)} (where the two classes are even); at "
        f"alpha {_number(alpha1)} the probability of {series.target} is "
        f"{series.probabilities[-1, target]:.2f}.",
        "",
        *change_lines(job),
        "",
        *(
            f"{note[0].upper()}{note[1:].rstrip('.')}."
            for note in (*series.notes, *_notes_of_maps(job.attributions))
        ),
        f"Inverting the network gives the image back with an error of at most "
        f"{series.round_trip_error:.3g} grey levels.",
    ]


def _notes_of_maps(maps: dict[str, Attribution]) -> list[str]:
    return [f"{name}: {note}" for name, found in maps.items() for note in found.notes]


def change_lines(job: MainJob) -> list[str]:
    """Say what changes in each channel over the whole series, in grey levels."""
    series = job.counterfactual
    change = series.differences[-1]
    lines = []
    for channel, name in enumerate(series.channels):
        before = float(np.mean(series.reconstruction[channel]))
        lines.append(
            f"- {name}: mean intensity {before:.4g} → {before + float(change[channel].mean()):.4g}"
            f", mean absolute change {float(np.abs(change[channel]).mean()):.3g} grey levels"
        )
    return lines


def _number(value: float | None) -> str:
    return "(none on this path)" if value is None else f"{value:.2f}"


# A plain choice: more or larger images take longer, fewer leave too few to evaluate with.
SIMULATED_IMAGES = 280
SIMULATED_SIZE = 128  # pixels: several cells a field
# Fixed, so that everybody who follows the README sees the same image and the same numbers.
SEED = 0
# Pixels of the window: layer list, nine layers in a grid and a dock beside one another, as in the
# README's picture.
WINDOW_SIZE = (1760, 1050)
# Whoever presses Ctrl-C beside an open window waits this long at most.
LOOK_MS = 200
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
    folder = Path("napari-why-demo") if out is None else Path(out)
    # before the work, which takes minutes
    _check_folder(folder, *([data] if data else []))
    check_place(folder / CLASSIFIER, overwrite=True)
    try_target(folder / CLASSIFIER)
    with reserve(folder):
        return _do_and_show(data, folder, window, on_event, cancelled)


def _do_and_show(
    data: Path | None, folder: Path, window: bool, on_event: OnEvent, cancelled: Cancelled
) -> Path:
    from napari_why.datasets import Dataset
    from napari_why.simulation import simulate

    if data is None:
        dataset = simulate(
            SIMULATED_IMAGES, size=SIMULATED_SIZE, seed=SEED, on_event=on_event, cancelled=cancelled
        )
    else:
        dataset = Dataset.open(data, on_event=on_event, cancelled=cancelled)
    job = do_main_job(
        dataset, SEED, on_event, cancelled, keep=lambda found: save_classifier(found, folder)
    )
    write_files(job, folder)
    for line in filter(None, summary_lines(job)):
        on_event(events.Message(line))
    on_event(events.Message(f"everything is in {folder}"))
    on_event(events.Finished(partial=cancelled()))
    if cancelled():
        return folder
    if window and has_display():
        _show_window(job, cancelled)
    else:
        with virtual_display():
            screenshot(job, folder / "window.png")
    return folder


def _show_window(job: MainJob, cancelled: Cancelled) -> None:
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
    _, why = viewer.window.add_plugin_dock_widget("napari-why")
    dock = why.page("Counterfactual")
    why.show_page("Counterfactual")
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
