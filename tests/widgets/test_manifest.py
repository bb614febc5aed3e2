"""Where napari offers the docks, and the preferences it keeps for them."""

from enum import Enum
from pathlib import Path
from types import SimpleNamespace

import napari.settings
import pytest
from npe2 import PluginManager, PluginManifest

from napari_why.widgets.dock import Preferences, read_preferences
from napari_why.widgets.image_files import file_filter, offer_formats


@pytest.fixture(scope="module")
def contributions():
    return PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml").contributions


def test_one_dock_is_in_the_plugin_menu(contributions):
    (widget,) = contributions.widgets
    assert (widget.display_name, widget.command) == ("napari-why", "napari-why.dock")


@pytest.mark.parametrize("menu", ["napari/layers/classify", "napari/layers/visualize"])
def test_it_is_in_the_menus_of_layers_too(contributions, menu):
    assert [item.command for item in contributions.menus[menu]] == ["napari-why.dock"]


def test_simulated_images_are_sample_data(contributions):
    keys = [sample.key for sample in contributions.sample_data]
    assert keys == ["healthy", "diseased", "treated", "labelled-set"]


def declared(contributions):
    """Return the default of every preference, as napari hands them to the docks."""
    return SimpleNamespace(
        **{
            key: SimpleNamespace(**{name: item.default for name, item in page.properties.items()})
            for key, page in contributions.configurations.items()
        }
    )


def test_the_defaults_of_the_manifest_are_those_of_the_docks(contributions, monkeypatch):
    settings = declared(contributions)
    monkeypatch.setattr(napari.settings, "get_plugin_settings", lambda _name: settings)
    assert read_preferences() == Preferences()


def test_what_is_set_reaches_the_docks(contributions, monkeypatch, tmp_path):
    settings = declared(contributions)
    settings.compute.device = Enum("Device", {"mps": "mps"})["mps"]  # napari makes enums of it
    settings.compute.threads = 3
    settings.files.models = str(tmp_path)
    monkeypatch.setattr(napari.settings, "get_plugin_settings", lambda _name: settings)
    assert read_preferences() == Preferences("mps", 3, tmp_path)


def test_without_the_plugin_registered_the_defaults_are_taken(monkeypatch):
    def unknown(name):
        raise KeyError(name)

    monkeypatch.setattr(napari.settings, "get_plugin_settings", unknown)
    assert read_preferences() == Preferences()


@pytest.fixture
def dotted_format():
    """A format of another package, while it is registered."""
    from napari_why.images import FORMATS, Format

    FORMATS.add(Format("dots", (".dots",), lambda source: source.head == b"...", lambda _: None))
    yield FORMATS["dots"]
    del FORMATS["dots"]


def test_files_of_a_registered_format_can_be_chosen_and_dropped(dotted_format, monkeypatch):
    manager = PluginManager()
    manager.register(PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml"))
    monkeypatch.setattr(PluginManager, "instance", lambda: manager)
    assert not list(manager.iter_compatible_readers("image.dots"))
    for _ in range(2):  # every dock that is opened does so
        offer_formats()
        (reader,) = manager.iter_compatible_readers("image.dots")
    assert reader.command == "napari-why-formats.read"
    assert not list(manager.iter_compatible_readers("picture.png"))
    assert "*.dots *" in file_filter()


def test_where_no_format_is_registered_our_manifest_is_all(monkeypatch):
    manager = PluginManager()
    manager.register(PluginManifest.from_file(Path(__file__).parents[2] / "napari.yaml"))
    monkeypatch.setattr(PluginManager, "instance", lambda: manager)
    offer_formats()
    assert [manifest.name for manifest in manager.iter_manifests()] == ["napari-why"]
    (reader,) = manager.iter_compatible_readers("field.TIF")
    assert reader.command == "napari-why.read"
