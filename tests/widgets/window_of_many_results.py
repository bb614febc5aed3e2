"""Opens wells, points and results one after another in a real window, which has to live through it.

Run by ``test_real_window.py`` in a process of its own: where napari's drawing dies, it takes the
process with it. Every click is followed by drawn frames, as a user's are.
"""

import faulthandler
import gc
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

import napari_why as why
from napari_why.datasets import Dataset
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import find_raw_layers
from napari_why.simulation import simulate_to_folder
from napari_why.widgets.attribution_dock import AttributionDock
from napari_why.widgets.counterfactual_dock import CounterfactualDock
from napari_why.widgets.job import JobState, run_at_once
from napari_why.widgets.latent_space_dock import LatentSpaceDock
from napari_why.widgets.open_dock import OpenDock

# Of each kind of click: the fault that this looks for came with the second.
TIMES = 10
SIZE = 32
# Seconds: a drawn frame on a busy machine without a GPU, and a job.
FRAME, LONGEST = 0.15, 120.0


def look(seconds: float = FRAME) -> None:
    """Let the window work and draw."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def wait_until(condition, what: str) -> None:
    """Wait for something that has to happen."""
    end = time.perf_counter() + LONGEST
    while not condition():
        assert time.perf_counter() < end, f"never happened: {what}"
        look(0.02)
    look()


def open_wells(viewer, folder: Path) -> None:
    """Click ten wells of a plate."""
    simulate_to_folder(folder / "scenes", TIMES, size=SIZE, wells=TIMES)
    table = Dataset.open(folder / "scenes").table
    (folder / "plate").mkdir()
    for number, row in enumerate(table.itertuples()):
        Path(row.path).rename(folder / "plate" / f"A{number + 1:02d}_f1.ome.tif")
    lines = [f"A{number + 1},{'xy'[number % 2]}" for number in range(TIMES)]
    (folder / "map.csv").write_text("\n".join(["well,drug", *lines]))
    opening = OpenDock(viewer, run_at_once)
    viewer.window.add_dock_widget(opening, tabify=True)
    opening.dataset.open_location(folder / "plate", folder / "map.csv")
    wait_until(lambda: opening.runner.state is JobState.IDLE, "a plate is looked at")
    opening.dataset.use()
    wait_until(lambda: opening.state.dataset is not None, "a plate is open")
    for number in range(TIMES):
        name = f"A{number + 1:02d}_f1"

        def is_open_alone(name=name, number=number) -> bool:
            opening.plate.open_well((0, number))  # again, as users do: a busy dock takes no click
            found = [LayerFacts.of(item).image_name for item in viewer.layers]
            return found == [name, name]

        wait_until(is_open_alone, f"{name} is open alone")


def open_points(viewer, classifier, dataset) -> None:
    """Click ten points of the latent space, one or several images at a time."""
    latent = LatentSpaceDock(viewer, run_at_once)
    viewer.window.add_dock_widget(latent, tabify=True)
    latent.state.classifier, latent.state.dataset = classifier, dataset
    latent.button.click()
    wait_until(lambda: latent.view is not None, "the latent space is shown")
    for number in range(TIMES):
        points = list(range(number % 3 + 1))
        latent.open_points(points)
        wait_until(lambda: not latent.opener.busy, f"point {number} is open")
        assert len(latent.opener.opened) == 2 * len(points)


def explain(viewer, classifier, image) -> None:
    """Ten maps and ten series, one after another; one of them is on show at a time."""
    raw = [napari.layers.Image(*item[:1], **item[1]) for item in image]
    for layer in raw:
        viewer.add_layer(layer)
    look()
    attribution, counterfactual = AttributionDock(viewer), CounterfactualDock(viewer)
    for dock in (attribution, counterfactual):
        viewer.window.add_dock_widget(dock, tabify=True)
        dock.state.classifier = classifier
        dock.session.choose_layers(raw)
    for number in range(TIMES):
        attribution.session.explain("treated", ("saliency", "input_x_gradient")[number % 2])
        wait_until(lambda: attribution.session.finding.layers[-1].visible, "a map is shown")
        counterfactual.session.explain("treated", steps=3 + number % 2)
        wait_until(lambda: counterfactual.session.alpha is not None, "a series is shown")
        shown = {str(LayerFacts.of(item).id) for item in viewer.layers if item.visible}
        assert len(shown - {"None"}) == 1, "one result is on show"
    assert find_raw_layers(viewer)[-2:] == raw


def main() -> None:
    """Do all of it, and leave without napari's own clearing up, which may take its time."""
    faulthandler.enable()
    dataset = why.simulate(16, size=SIZE, wells=8).split(seed=1)
    tiny = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    classifier = why.fit(
        dataset,
        "iresnet",
        size=SIZE,
        epochs=1,
        network_parameters=tiny,
        threads=1,
        lock="none",
        pixel_maps=False,
    )
    viewer = napari.Viewer(show=True)
    look(1.0)
    # torch and napari are a million objects that stay: no collection is to look through them
    gc.collect()
    gc.freeze()
    with TemporaryDirectory() as folder:
        open_wells(viewer, Path(folder))
        open_points(viewer, classifier, dataset)
        from napari_why.napari_reader import image_layers

        explain(viewer, classifier, image_layers(dataset.image(0)))
        assert np.asarray(viewer.screenshot(flash=False)).any(), "something is drawn"
    sys.stdout.write(f"lived through it with {len(viewer.layers)} layers\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
