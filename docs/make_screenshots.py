"""Make the screenshots of the documentation: the docks at work on simulated cells.

Usage, with a display or under Xvfb::

    xvfb-run -s "-screen 0 1600x1000x24" python docs/make_screenshots.py FOLDER
"""

import sys
from pathlib import Path

import napari
from screenshot_waiting import open_page, wait_for

from napari_why.datasets import Dataset
from napari_why.simulation import Camera, SimulatedScene
from napari_why.widgets.image_files import layers_of

SIZE = 64
NETWORK = {"blocks": "1,1,1", "widths": "16,16,32", "downscaling": "2,2,2"}


def two_wells_exposed_too_long() -> Dataset:
    """Simulate a plate of 16 wells with nine fields each, two of them with twice the light."""
    images, labels, wells = [], [], []
    for number in range(144):
        label = ("diseased", "treated")[number % 2]
        well = f"{'AB'[number % 2]}{(number // 2) % 8 + 1}"
        camera = Camera(gain=24.0) if well in ("A3", "B6") else Camera()
        scene = SimulatedScene(number, seed=11, size=SIZE, pixel_size=0.325, camera=camera)
        images.append(scene.image(label))
        labels.append(label)
        wells.append(well)
    return Dataset.from_images(images, labels, well=wells).split(seed=1)


def main(folder: Path) -> None:
    """Go through the docks and take a picture of the window at each."""
    folder.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 950)

    def shoot(name: str) -> None:
        viewer.screenshot(str(folder / f"{name}.png"), canvas_only=False, flash=False)

    def dock(name: str) -> object:
        return open_page(viewer, name)

    opening = dock("Data")
    opening.tabs.setCurrentIndex(1)
    opening.dataset.open_simulated()
    wait_for(lambda: opening.state.dataset is not None)
    shoot("open")
    for layer in layers_of(SimulatedScene(0, seed=7, size=256, pixel_size=0.325).image("diseased")):
        viewer.add_layer(layer)

    training = dock("Classifier")
    training.tabs.setCurrentIndex(0)
    wait_for(lambda: training.training.main is not None, settle=200)
    training.training.main.set_value("size", SIZE)
    training.training.main.set_value("epochs", 12)
    for name, value in NETWORK.items():
        training.training.network_form.set_value(name, value)
    training.training.train()
    wait_for(
        lambda: bool(training.training.curves and len(training.training.curves.epochs) > 6), 200
    )
    shoot("training")
    wait_for(lambda: training.state.classifier is not None)
    training.tabs.setCurrentIndex(1)
    training.evaluation.evaluate()
    wait_for(lambda: bool(training.evaluation.verdict.text()))
    shoot("evaluation")
    training.tabs.setCurrentIndex(2)
    training.prediction.predict()
    wait_for(lambda: bool(training.prediction.answer.text()))
    shoot("prediction")

    attribution = dock("Attribution")
    wait_for(lambda: bool(attribution.method.name))
    attribution.explain()
    wait_for(lambda: len(viewer.layers) >= 5)
    shoot("attribution")
    viewer.layers[-1].visible = False

    counterfactual = dock("Counterfactual")
    wait_for(lambda: bool(counterfactual.method.name))
    counterfactual.explain()
    wait_for(lambda: counterfactual.link is not None)
    viewer.dims.set_current_step(0, 6)
    wait_for(lambda: True)
    shoot("counterfactual")

    latent = dock("Latent space")
    latent.state.dataset = two_wells_exposed_too_long()
    latent.compute()
    wait_for(lambda: bool(latent.scatter and latent.scatter.path is not None))
    shoot("latent_space")
    listed = latent.view.outliers.listed
    latent.opener.open(latent.view.dataset, latent.view.dataset_rows(list(listed.index[:9])))
    latent.tabs.setCurrentWidget(latent.outliers)
    wait_for(lambda: not latent.opener.busy)
    shoot("outliers")
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
