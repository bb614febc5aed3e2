"""Make the pictures of docs/trust.md: what the Counterfactual dock says where there is nothing to say.

Three classifiers of simulated cells are trained, and each is asked what it cannot know: of a constant
image, of classes that lie on plates of their own, of two classes that differ in nothing.

Usage, with a display or under Xvfb::

    xvfb-run -s "-screen 0 1600x1000x24" python docs/make_trust_screenshots.py FOLDER
"""

import sys
from pathlib import Path

import napari
import numpy as np
import xarray as xr
from dock_screenshots import open_page, wait_for

import napari_why as why
from napari_why.datasets import Dataset
from napari_why.simulation import SimulatedScene
from napari_why.widgets.image_files import layers_of

SIZE = 64
NETWORK = {"blocks": "1,1,1", "widths": "16,16,32", "downscaling": "2,2,2"}
# Two differ in nothing but the name.
THREE = {"diseased": "diseased", "treated": "treated", "vehicle": "diseased"}


def simulate_plates(meanings: dict[str, str], plates: dict[str, str] | None = None) -> Dataset:
    """Simulate 96 wells a class with a field each, wells of all classes in turn.

    ``meanings`` tells for each class what its cells are like, ``plates`` on which plate it lies.
    """
    images, labels, wells, plate = [], [], [], []
    count = 96 * len(meanings)
    names = tuple(meanings)
    for number in range(count):
        row, column = divmod(number, 24)
        name = names[(row + column) % len(names)]
        scene = SimulatedScene(number, seed=31, size=SIZE, pixel_size=0.325)
        images.append(scene.image(meanings[name]))
        labels.append(name)
        wells.append(f"{'ABCDEFGHIJKL'[row]}{column + 1:02}")
        plate.append(plates[name] if plates else "P1")
    return Dataset.from_images(images, labels, plate=plate, well=wells).split(seed=1)


def shoot(data: Dataset, image: xr.DataArray, pair: tuple[str, str], file: Path) -> None:
    """Train on the data, ask the dock for a counterfactual between two classes, take its picture."""
    classifier = why.fit(data, "iresnet", size=SIZE, epochs=24, network_parameters=NETWORK)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1500, 950)
    for layer in layers_of(image):
        viewer.add_layer(layer)
    dock = open_page(viewer, "Counterfactual")
    dock.state.classifier = classifier
    wait_for(lambda: bool(dock.method.name))
    # what the image is predicted as cannot be asked for
    first, second = pair
    dock.target.setCurrentText(first if classifier.predict(image).label == second else second)
    dock.explain()
    wait_for(lambda: dock.link is not None)
    viewer.screenshot(str(file), canvas_only=False, flash=False)
    sys.stdout.write(f"{file.name}: {dock.session.verdict}\n")
    viewer.close()


def main(folder: Path) -> None:
    """Take the three pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    two = {name: name for name in ("diseased", "treated")}
    plain = simulate_plates(two)
    scene = SimulatedScene(0, seed=7, size=SIZE, pixel_size=0.325).image("diseased")
    constant = scene.copy(data=np.full_like(scene.values, 500))
    shoot(plain, constant, ("diseased", "treated"), folder / "trust-constant-image.png")
    apart = simulate_plates(two, {"diseased": "P1", "treated": "P2"})
    shoot(apart, scene, ("diseased", "treated"), folder / "trust-confounded-plate.png")
    same = ("diseased", "vehicle")
    shoot(simulate_plates(THREE), scene, same, folder / "trust-pair-at-chance.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
