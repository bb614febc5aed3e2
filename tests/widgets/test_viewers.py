"""Docks in real viewers: found by napari, several at a time, closed while they work."""

import threading
from importlib import import_module
from pathlib import Path

import pytest
from npe2 import PluginManifest

from napari_why.core.events import Advanced, EpochFinished
from napari_why.sessions import state_of
from napari_why.widgets.attribution_dock import AttributionDock
from napari_why.widgets.classifier_dock import ClassifierDock
from napari_why.widgets.dock import Preferences, read_preferences
from napari_why.widgets.job import run_in_thread
from napari_why.widgets.latent_space_dock import LatentSpaceDock
from napari_why.widgets.open_dock import OpenDock
from napari_why.widgets.why_dock import WhyDock

ROOT = Path(__file__).parents[2]


def until_cancelled(ended):
    def work(*, on_event, cancelled):
        while not cancelled():
            on_event(Advanced(1))
            threading.Event().wait(0.002)
        ended.set()

    return work


def test_every_command_of_the_manifest_can_be_imported():
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(import_module(module), name))
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["napari-why"]


def test_docks_of_two_viewers_do_not_share_a_classifier(make_napari_viewer, classifier):
    first, second = make_napari_viewer(), make_napari_viewer()
    docks = [AttributionDock(viewer) for viewer in (first, second)]
    for viewer, widget in zip((first, second), docks, strict=True):
        viewer.window.add_dock_widget(widget, name="Attribution")
    state_of(first).classifier = classifier
    assert docks[0].state.classifier is classifier
    assert docks[1].state.classifier is None
    assert "No classifier yet" in docks[1].classifier_label.text()


@pytest.mark.parametrize("away", ["removed from the window", "closed", "deleted"])
def test_a_dock_that_goes_away_stops_its_work_and_the_viewer_lives_on(
    qtbot, make_napari_viewer, away
):
    viewer = make_napari_viewer()
    widget = OpenDock(viewer, run_in_thread)
    viewer.window.add_dock_widget(widget, name="Open")
    ended = threading.Event()
    widget.run("test", until_cancelled(ended), lambda _: pytest.fail("told after it went away"))
    qtbot.wait(50)
    if away == "removed from the window":
        viewer.window.remove_dock_widget(widget)
    elif away == "closed":
        widget.close()
    else:
        widget.deleteLater()
    qtbot.waitUntil(ended.is_set, timeout=20_000)
    qtbot.wait(100)
    viewer.add_points()
    assert len(viewer.layers) == 1


def test_a_dock_that_is_shown_again_works_again(qtbot, make_napari_viewer, classifier):
    viewer = make_napari_viewer()
    widget = AttributionDock(viewer)
    viewer.window.add_dock_widget(widget, name="Attribution")
    viewer.window.remove_dock_widget(widget)
    assert widget.is_shut_down
    state_of(viewer).classifier = classifier
    viewer.window.add_dock_widget(widget, name="Attribution")
    assert not widget.is_shut_down
    assert widget.layers.channels == classifier.channels


def test_preferences_come_from_the_manifest():
    found = read_preferences()
    assert isinstance(found, Preferences)
    assert (found.device, found.threads) == ("auto", None)


def test_the_plots_wear_the_theme_of_the_viewer(qtbot, make_napari_viewer):
    from napari.utils.theme import get_theme

    from napari_why.widgets.plot import NetworkCurves

    viewer = make_napari_viewer()
    curves = NetworkCurves(viewer)
    qtbot.addWidget(curves)
    for theme in ("light", "dark"):
        viewer.theme = theme
        colour = get_theme(theme).background.as_rgb_tuple()
        assert curves.figure.get_facecolor()[:3] == pytest.approx([c / 255 for c in colour])
    curves.add(
        EpochFinished(1, 3, {"validation_accuracy": 0.9, "validation_balanced_accuracy": 0.5})
    )
    shown = {line.get_label(): list(line.get_ydata()) for line in curves.panels[1].get_lines()}
    assert (shown["validation"], shown["validation, balanced"]) == ([0.9], [0.5])
    curves.release()


def test_opening_a_dock_does_not_import_torch(qtbot):
    import subprocess
    import sys

    code = (
        "import sys; from qtpy.QtWidgets import QApplication; app = QApplication([]);"
        "from napari.components import ViewerModel; viewer = ViewerModel();"
        + "".join(
            f"from napari_why.widgets.{kind.__module__.rpartition('.')[2]} import {kind.__name__};"
            f"{kind.__name__}(viewer);"
            for kind in (WhyDock, OpenDock, ClassifierDock, AttributionDock, LatentSpaceDock)
        )
        + "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
