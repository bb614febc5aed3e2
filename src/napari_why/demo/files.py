"""Everything the demo makes, as files."""

import json
from pathlib import Path

import numpy as np

from napari_why.demo.main_job import MainJob
from napari_why.figures import animate_counterfactual
from napari_why.images import write
from napari_why.result_images import (
    attribution_image,
    counterfactual_image,
    record_with_grid,
)


def write_files(job: MainJob, folder: Path) -> None:
    """Write classifier, image, maps, series, animation and a summary; replaces older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    job.classifier.save(folder / "classifier", overwrite=True)
    write(job.image, folder / "image.ome.tif", overwrite=True)
    for name, result in job.attributions.items():
        write(
            attribution_image(result, job.image),
            folder / f"{name}.ome.tif",
            record=record_with_grid(result.record, result.grid),
            overwrite=True,
        )
    series = job.counterfactual
    write(
        counterfactual_image(series, job.image),
        folder / "counterfactual.ome.tif",
        record=record_with_grid(series.record, series.grid),
        overwrite=True,
    )
    animate_counterfactual(series, folder / "counterfactual.gif")
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
