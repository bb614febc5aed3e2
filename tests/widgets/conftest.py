"""A small real classifier, raw layers of simulated cells, and docks without threads."""

import gc

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication

from napari_why.widgets.image_files import layers_of

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
        # what the test for locks finds in these scenes; to look for it takes longer than all the rest
        lock="DAPI",
        pixel_maps=False,
    )


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory):
    """Keep what the page Data remembers out of the user's settings, and from test to test."""
    from qtpy.QtCore import QSettings

    place = str(tmp_path_factory.mktemp("settings"))
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, place)


class HeldExecutor:
    """Keeps work back until it is let go, as a thread that takes long would."""

    def __init__(self):
        self.held = []

    def __call__(self, work, deliver):
        self.held.append((work, deliver))

    def let_go(self):
        """Run what was held, here and now."""
        held, self.held = self.held, []
        for work, deliver in held:
            deliver(work())


@pytest.fixture
def held():
    """An executor that keeps work back."""
    return HeldExecutor()


@pytest.fixture
def viewer(dataset):
    """A viewer without a window that shows the channels of one image as raw layers."""
    model = ViewerModel()
    for layer in layers_of(dataset.image(0)):
        model.add_layer(layer)
    return model


@pytest.fixture
def dock(qtbot):
    """Make docks, and shut them down at the end of the test."""
    from napari_why.widgets.job import run_at_once

    made = []

    def make(kind, viewer, executor=run_at_once):
        widget = kind(viewer, executor)
        qtbot.addWidget(widget)
        made.append(widget)
        QApplication.processEvents()  # docks that explain take up a classifier in their first turn
        return widget

    yield make
    for widget in made:
        if not widget.is_shut_down:
            widget.shut_down()


@pytest.fixture(scope="module", autouse=True)
def what_was_there_before():
    """Keep what there is before these tests out of their collections, of which each test has one.

    Looking through torch, napari and whatever earlier tests have left takes longer than most tests. It
    stays out for good: the next file's first collection has no more to look through than this one's.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_dead_widgets_left():
    """Collect closed viewers in the GUI thread: a worker of the next test must not delete them."""
    yield
    gc.collect()
