"""``napari-why demo``: the main job, from labelled images to a window or to files."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.attribution import METHODS, Attribution, attribute
from napari_why.core import events
from napari_why.core.devices import all_threads
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
FILES = {
    "summary.md": "what was found, in words",
    "counterfactual.gif": "from the image to the other class and back",
    "image.ome.tif": "the image",
    "counterfactual.ome.tif": "the series, in grey levels",
    **{f"{name}.ome.tif": f"the map of {name}, by channel" for name in SHOWN_METHODS},
    "evaluation.json": "how good the classifier is, in figures",
    CLASSIFIER: "the classifier, to go on with: napari-why predict, explain, ...",
}
# Grey levels: less is rounding of the inverse, and no change of the channel.
LEAST_CHANGE, LEAST_ERROR = 0.5, 0.01
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

    Parameters
    ----------
    dataset : Dataset
        Not yet split.
    seed : int
        Of the split and the training.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    keep : callable, optional
        Called with the classifier.

    Returns
    -------
    MainJob
        Attributions and counterfactual are incomplete where it was cancelled.

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
        threads=all_threads(),  # the window comes afterwards
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
    on_event(events.Message("explaining an image that the network has not seen"))
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

    Parameters
    ----------
    dataset : Dataset
    evaluation : Evaluation
        Of that data set.

    Returns
    -------
    (DataArray, str)
        The image, dims (c, y, x), in raw grey levels; and its class.

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

    Parameters
    ----------
    classifier : Classifier
    folder : Path
        Of the demo's files; missing parents are made.

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

    Parameters
    ----------
    job : MainJob
    folder : Path
        New, empty, or that of an older demo.

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
    """Return what the demo found, in plain sentences (Markdown): the answer first, the figures after it."""
    series = job.counterfactual
    remarks = (*series.notes, *_notes_of_maps(job.attributions))
    return [
        f"# Why is this image called {series.source_class}?",
        "",
        _say_how_good(job.evaluation),
        "",
        _say_image(job),
        "",
        _say_way(series),
        "",
        *change_lines(job),
        "",
        "## What to know before believing it",
        "",
        *(f"- {remark[0].upper()}{remark[1:].rstrip('.')}." for remark in remarks),
        f"- {_say_inverse(series.round_trip_error)}",
        "",
        "## The classifier in figures",
        "",
        *(f"- {sentence}" for sentence in job.evaluation.sentences),
    ]


def _say_how_good(evaluation: Evaluation) -> str:
    counted = evaluation.predictions[evaluation.predictions["counted"]]
    right = int((counted["label"] == counted["predicted"]).sum())
    seen = bool(counted["seen"].any())
    unseen = "it was trained on" if seen else "it has not seen"
    return (
        f"The classifier calls {right} of {len(counted)} images that {unseen} by their true class."
    )


def _say_image(job: MainJob) -> str:
    series = job.counterfactual
    source = Path(str(job.image.attrs.get("source", ""))).name or "simulated"
    source = source.removesuffix(f", {job.true_class}")  # as simulated scenes are called
    called = f"probability {float(series.probabilities[0].max()):.2f}"
    if job.true_class == series.source_class:
        return f"The image ({source}): {job.true_class}, and recognised as that ({called})."
    return f"The image ({source}): {job.true_class}, taken for {series.source_class} ({called})."


def _say_way(series: Counterfactual) -> str:
    """Say from where on, and by how much, the changed image is the other class."""
    boundary = series.special_alphas.get("boundary")
    end = float(series.probabilities[-1, series.classes.index(series.target)])
    even = (
        "nowhere on this way both classes are even"
        if boundary is None
        else f"at {boundary:.0%} of the change both classes are even"
    )
    return (
        f"To be called {series.target} it would have to change as below: {even}, and with "
        f"{float(series.alphas[-1]):.0%} of it {series.target} has the probability {end:.2f}."
    )


def _say_inverse(error: float) -> str:
    if error < LEAST_ERROR:
        return (
            "Inverting the network gives the image back to less than a hundredth of a grey level."
        )
    return f"Inverting the network gives the image back to {error:.2g} grey levels."


def _notes_of_maps(maps: dict[str, Attribution]) -> list[str]:
    return [f"{name}: {note}" for name, found in maps.items() for note in found.notes]


def change_lines(job: MainJob) -> list[str]:
    """Say what changes in each channel over the whole series, in grey levels."""
    series = job.counterfactual
    change = series.differences[-1]
    lines = []
    for channel, name in enumerate(series.channels):
        before = float(np.mean(series.reconstruction[channel]))
        after = before + float(change[channel].mean())
        moved = float(np.abs(change[channel]).mean())
        if moved < LEAST_CHANGE:
            lines.append(f"- {name}: stays as it is (mean intensity {before:.4g} grey levels)")
            continue
        share = f" ({after / before - 1:+.0%})" if before > 0 else ""
        lines.append(
            f"- {name}: mean intensity {before:.4g} → {after:.4g} grey levels{share}; a pixel changes by "
            f"{moved:.3g} in the mean"
        )
    return lines


def file_lines(folder: Path) -> list[str]:
    """Name the files of a demo that are there, with what each is."""
    there = [(folder / name, what) for name, what in FILES.items() if (folder / name).exists()]
    return [f"{path}: {what}" for path, what in there]


# A plain choice: more or larger images take longer, fewer leave too few to evaluate with.
SIMULATED_IMAGES = 280
SIMULATED_SIZE = 128  # pixels: several cells a field
# Fixed, so that everybody who follows the README sees the same image and the same numbers.
SEED = 0


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
    on_event(events.Message(f"writing what came out to {folder.resolve()}"))
    write_files(job, folder)
    # findings, so that they stand in a log too; before the window, which may stay open for long
    for line in filter(None, summary_lines(job)):
        on_event(events.Message(line, finding=True))
    for line in file_lines(folder.resolve()):
        on_event(events.Message(line, finding=True))
    on_event(events.Finished(partial=cancelled()))
    if cancelled():
        return folder
    # napari takes seconds to import
    from napari_why.demo_window import has_display, screenshot, show_until_closed, virtual_display

    # beside an open window, a core is left for it
    job = replace(job, classifier=replace(job.classifier, threads=None))
    if window and has_display():
        show_until_closed(job, cancelled)
    else:
        with virtual_display():
            screenshot(job, folder / "window.png")
        on_event(events.Message(f"{folder.resolve() / 'window.png'}: the window", finding=True))
    return folder
