"""Train on a data set, choose an image, explain it, and write what came out."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from napari_why.attribution import METHODS, Attribution, attribute
from napari_why.core.errors import DatasetError, WhyError
from napari_why.core.events import Cancelled, OnEvent
from napari_why.counterfactuals import Counterfactual, counterfactual
from napari_why.datasets import Dataset
from napari_why.evaluation import Evaluation, evaluate
from napari_why.fitting import fit
from napari_why.images import write
from napari_why.model import Classifier
from napari_why.output.figures import animate_counterfactual
from napari_why.output.images import record_with_grid, result_image
from napari_why.output.result import Result
from napari_why.training.metrics import probability_columns

# Images seen in training, over all epochs: what it takes is then the same for few and many images.
IMAGE_PASSES = 3000
# However many images there are, each is seen a few times.
FEWEST_EPOCHS = 3
# Share of the epochs after which the learning rate falls, once: so few epochs leave no room for a
# fall every fifth, which 40 epochs have.
FIRST_RATE_SHARE = 2 / 3
# The default size of the networks; larger images are reduced, which training time asks for.
LARGEST_SIZE = 224
# The stages of the i-ResNet halve an image four times, so its side is a multiple of this.
SIZE_STEP = 16
# One method of each kind: perturbation, activation, propagation; all fit the i-ResNet.
SHOWN_METHODS = ("occlusion", "cam", "lrp")
# As the simulation and the thesis call the treated class, whose image the project is about.
PREFERRED_CLASSES = ("treated", "TT")
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


def do_main_job(dataset: Dataset, seed: int, on_event: OnEvent, cancelled: Cancelled) -> MainJob:
    """Split, train the i-ResNet, evaluate, and explain one held-out image.

    The number of epochs is such that about :data:`IMAGE_PASSES` images are seen.

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
        step_size=max(1, round(epochs * FIRST_RATE_SHARE)),
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    evaluation = evaluate(classifier, dataset, on_event=on_event, cancelled=cancelled)
    if cancelled():
        raise WhyError("the demo was stopped before there was an image to explain")
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
    """Return the held-out image, and its class, of median confidence among those called right.

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


def _coarser_where_slow(method: str, size: int) -> dict[str, int]:
    takes_stride = any(parameter.name == "stride" for parameter in METHODS[method].parameters)
    return {"stride": max(SMALLEST_STRIDE, size // STRIDES_ACROSS)} if takes_stride else {}


def write_files(job: MainJob, folder: Path) -> None:
    """Write classifier, image, maps, series, animation and a summary; replaces older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    job.classifier.save(folder / "classifier", overwrite=True)
    write(job.image, folder / "image.ome.tif", overwrite=True)
    results: dict[str, Result] = {**job.attributions, "counterfactual": job.counterfactual}
    for name, result in results.items():
        write(
            result_image(result, job.image),
            folder / f"{name}.ome.tif",
            record=record_with_grid(result.record, result.grid),
            overwrite=True,
        )
    animate_counterfactual(job.counterfactual, folder / "counterfactual.gif")
    (folder / "evaluation.json").write_text(json.dumps(job.evaluation.to_dict(), indent=2))
    (folder / "summary.md").write_text("\n".join(summary_lines(job)) + "\n", encoding="utf-8")


def summary_lines(job: MainJob) -> list[str]:
    """Return what the demo found, in plain sentences (Markdown)."""
    series = job.counterfactual
    target = series.classes.index(series.target)
    alpha1 = series.special_alphas.get("alpha1")
    boundary = series.special_alphas.get("boundary")
    source = Path(str(job.image.attrs.get("source", ""))).name
    return [
        "# Why is this image called " + series.source_class + "?",
        "",
        *job.evaluation.sentences,
        "",
        f"The image: {source or 'simulated'}, {job.true_class}, called {series.source_class} with "
        f"probability {series.probabilities[0].max():.2f}. To be called {series.target} it would "
        f"have to change until alpha {_number(boundary)} (where the two classes are even); at "
        f"alpha {_number(alpha1)} the probability of {series.target} is "
        f"{series.probabilities[-1, target]:.2f}.",
        "",
        *change_lines(job),
        "",
        *(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in series.notes),
        f"Inverting the network gives the image back with an error of at most "
        f"{series.round_trip_error:.3g} grey levels.",
    ]


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
