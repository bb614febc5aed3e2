"""The main job through the shell, as a user on a machine without a display runs it."""

import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import imageio.v3 as imageio
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_why import attribute, counterfactual, load, read
from napari_why.core.errors import WhyError
from napari_why.core.events import EpochFinished
from napari_why.datasets import Dataset
from napari_why.demo import do_main_job, epochs_for, network_size
from napari_why.demo_window import arrange
from napari_why.fitting import fit
from napari_why.napari_reader import image_layers
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.layers import to_layers
from napari_why.sessions import results_of
from napari_why.simulation import simulate, simulate_to_folder

# The program without what has tests of its own (maps of pixels, the lock test, the second network), and
# with a fifth of the training: any classifier that calls one held-out image rightly will do.
QUICKLY = """
from functools import partial
from napari_why import demo
from napari_why.cli import main
demo.fit = partial(demo.fit, pixel_maps=False, lock="none", second_network=False)
demo.IMAGE_PASSES = 600
main()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    simulate_to_folder(folder / "data", 48, size=32, seed=2)
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    environment.pop("WAYLAND_DISPLAY", None)
    command = [sys.executable, "-c", QUICKLY, "demo", "--no-window"]
    ended = subprocess.run(
        [*command, "--data", str(folder / "data"), "--out", str(folder / "out")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (folder / "log").write_text(ended.stderr)
    return folder / "out"


def test_the_window_is_drawn_without_a_display(made):
    picture = imageio.imread(made / "window.png")
    assert min(picture.shape[:2]) >= 600
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 1000


def test_the_series_is_written_in_raw_units_with_its_record(made):
    image, series = read(made / "image.ome.tif"), read(made / "counterfactual.ome.tif")
    assert series.dtype == image.dtype == np.uint16
    assert series.dims == ("t", "c", "y", "x")
    assert list(series["c"].values) == ["DAPI", "TMRM"]
    first = series.isel(t=0).astype(int)
    assert abs(first.values - image.values.astype(int)).max() <= 1
    assert series.attrs["record"]["kind"] == "counterfactual"


@pytest.mark.parametrize("name", ["occlusion", "cam", "lrp"])
def test_each_map_is_written_with_its_record(made, name):
    maps = read(made / f"{name}.ome.tif")
    assert list(maps["c"].values) == ["DAPI", "TMRM", "all channels"]
    assert np.abs(maps.values).max() > 0
    assert maps.attrs["record"]["method"] == name


def test_the_animation_and_the_summary_tell_the_story(made):
    frames = imageio.imread(made / "counterfactual.gif", index=None)
    assert len(frames) == 20
    answer, *later = (made / "summary.md").read_text().split("## ")
    assert answer.startswith("# Why is this image called ")
    assert "images that it has not seen by their true class" in answer
    assert "TMRM: mean intensity" in answer
    assert "Z'" not in answer  # a figure of assays, which stands with the others
    assert "that the network has not seen" in later[-1]
    assert "that chose its epoch (validation)" in later[-1]


def test_a_log_has_the_answer_and_the_files(made):
    """Nobody sat at a terminal."""
    log = (made.parent / "log").read_text()
    assert "Why is this image called " in log
    for name in ("counterfactual.gif", "summary.md", "window.png", "classifier"):
        assert str(made / name) in log


def test_the_classifier_is_there_to_go_on_with(made):
    classifier = load(made / "classifier")
    assert classifier.classes == ("diseased", "treated")


def test_every_bar_of_the_window_has_its_unit_beside_it(made):
    classifier, image = load(made / "classifier"), read(made / "image.ome.tif")
    maps = {name: attribute(classifier, image, name) for name in ("occlusion", "cam", "lrp")}
    series = counterfactual(classifier, image, steps=3, draws=0)
    job = SimpleNamespace(
        classifier=classifier, image=image, attributions=maps, counterfactual=series
    )
    viewer = ViewerModel()
    raw = [viewer.add_image(data, **options) for data, options, _ in image_layers(image)]
    of_maps = [layer for result in maps.values() for layer in to_layers(result, raw)]
    of_maps = [layer for layer in of_maps if LayerFacts.of(layer).channel is not None]
    of_series = to_layers(series, raw)
    results_of(viewer).add_layers_alone(of_series)
    for layer in (*of_maps, *of_series):
        viewer.add_layer(layer)
    arrange(viewer, job, raw, of_maps, of_series)
    named = [layer for layer in viewer.layers if layer.visible and layer.name_overlay.visible]
    barred = [layer for layer in named if layer.colorbar.visible]
    assert (len(named), len(barred)) == (8, 4)
    for layer in barred:
        assert layer.name.split("\n")[1] == LayerFacts.of(layer).further["unit"] != ""
    assert not any("\n" in layer.name for layer in named if layer not in barred)
    assert viewer.layers.selection.active in named


def test_stopped_while_it_trains_it_says_so(monkeypatch):
    # before it trains it would look for channels to lock, for seconds
    monkeypatch.setattr("napari_why.demo.fit", partial(fit, lock="none"))
    told = []
    with pytest.raises(WhyError, match="stopped before there was an image to explain"):
        do_main_job(
            simulate(24, size=32, wells=12),
            0,
            told.append,
            lambda: any(isinstance(event, EpochFinished) for event in told),
        )


def test_more_images_need_fewer_epochs():
    assert epochs_for(100) > epochs_for(500) > epochs_for(10_000) == 3


def test_the_network_size_follows_the_images():
    small = simulate(12, size=50)
    assert network_size(small) == 48
    assert isinstance(small, Dataset)
