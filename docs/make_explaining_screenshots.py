"""Make the screenshots of docs/attribution.md: methods compared, cells, classes and a prototype.

Trains a small network on simulated depolarisation; usage, with a display or under Xvfb::

    xvfb-run -s "-screen 0 1600x1100x24" python docs/make_explaining_screenshots.py docs/images
"""

import sys
from pathlib import Path

import napari
import numpy as np
from dock_screenshots import open_page, wait_for
from make_attribution_pictures import label_nuclei
from skimage.segmentation import expand_labels

import napari_why as why
from napari_why.simulation import SimulatedScene
from napari_why.widgets.image_files import layers_of

SIZE = 64
# Pixels around a nucleus that count as its cell: half the way to the next one in these scenes.
CELL_REACH = 8
COMPARED = ("saliency", "integrated_gradients", "grad_cam", "layer_cam", "lrp", "deeplift")


def main(folder: Path) -> None:
    """Go through the pages of the Attribution dock, and take a picture of the window at each."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = why.simulate(160, size=SIZE, seed=0, wells=20).split(seed=0)
    classifier = why.fit(dataset, "cam_net", size=SIZE, epochs=12)
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1550, 1050)
    image = SimulatedScene(905, seed=1, size=SIZE).image("diseased")
    for layer in layers_of(image):
        viewer.add_layer(layer)
    cells = expand_labels(label_nuclei(image), CELL_REACH).astype(np.int64)
    raw = viewer.layers[0]
    labels = viewer.add_labels(
        cells, name="cells", opacity=0.3, scale=raw.scale, translate=raw.translate, units=raw.units
    )
    labels.contour = 1
    dock = open_page(viewer, "Attribution")
    dock.state.dataset, dock.state.classifier = dataset, classifier
    wait_for(lambda: bool(dock.method.name))

    def shoot(name: str) -> None:
        wait_for(lambda: True)
        viewer.screenshot(str(folder / f"{name}.png"), canvas_only=False, flash=False)

    dock.comparing.tick(COMPARED)
    dock.comparing.scored.setChecked(True)
    dock.comparing.compare()
    wait_for(lambda: dock.comparing.grid is not None, 1500)
    show_end(dock)
    shoot("attribution-compared")

    dock.method.box.setCurrentIndex(dock.method.box.findData("region_shapley"))
    dock.explain()
    wait_for(lambda: len(viewer.layers) >= 6, 1500)
    sys.stdout.write(labels.features.to_string() + "\n")
    shoot("attribution-cells")

    # a few of each well show what the page is like
    dock.state.dataset = dataset.select(range(0, len(dataset), 5))
    dock.tabs.setCurrentWidget(dock.class_maps)
    dock.class_maps.average()
    before = len(viewer.layers)
    # the layers come one by one, after the figure
    wait_for(lambda: dock.class_maps.canvas is not None and len(viewer.layers) > before)
    wait_for(lambda: all(layer.loaded for layer in viewer.layers), 3000)
    viewer.reset_view()
    shoot("attribution-classes")
    dock.class_maps.canvas.figure.savefig(folder / "attribution-classes-figure.png")
    sys.stdout.write(dock.class_maps.notes.text() + "\n")

    dock.tabs.setCurrentWidget(dock.prototypes)
    dock.prototypes.target.setCurrentIndex(dock.prototypes.target.findData("treated"))
    dock.prototypes.make()
    wait_for(lambda: bool(dock.prototypes.verdict.text()), 1500)
    shoot("attribution-prototype")
    sys.stdout.write(dock.prototypes.verdict.text() + "\n")
    viewer.close()


def show_end(dock: object) -> None:
    """Scroll the dock to its end."""
    from qtpy.QtWidgets import QScrollArea

    for area in dock.findChildren(QScrollArea):
        bar = area.verticalScrollBar()
        bar.setValue(bar.maximum())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
