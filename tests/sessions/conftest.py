"""A small real classifier and a viewer without a window, Qt or display."""

import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_why.napari_reader import image_layers

TINY = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
SIZE = 32


@pytest.fixture(scope="session")
def dataset():
    from napari_why.simulation import simulate

    return simulate(16, size=SIZE, wells=8).split(seed=1)


@pytest.fixture(scope="session")
def classifier(dataset):
    from napari_why.fitting import fit

    return fit(
        dataset,
        "iresnet",
        size=SIZE,
        epochs=2,
        network_parameters=TINY,
        threads=1,
        lock="none",
        pixel_maps=False,
    )


@pytest.fixture
def viewer(dataset):
    """A viewer that shows the channels of one image as raw layers."""
    model = ViewerModel()
    for data in image_layers(dataset.image(0)):
        model.add_layer(Layer.create(*data))
    return model


class HeldHost:
    """Keeps work and layers back until they are let go, as a dock with a thread would."""

    def __init__(self, viewer):
        self.viewer = viewer
        self.held = []

    def load(self, work, then):
        self.held.append(lambda: then(work()))

    def carry_out(self, change, then=None):
        steps = change.steps()

        def step():
            if next(steps, None) is not None:
                self.held.append(step)
            elif then is not None:
                then()

        self.held.append(step)

    def let_go(self):
        """Do what was held, and what that leads to."""
        while self.held:
            self.held.pop(0)()


@pytest.fixture
def held(viewer):
    return HeldHost(viewer)
