"""A session that is saved comes back: images, results, choices and the view; what is gone is named."""

import json
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Layer, Points

import napari_why as why
from napari_why.core.errors import WhyError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.datasets import Choices, Survey
from napari_why.napari_reader import read_layers
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions import results_of, state_of
from napari_why.sessions.saved_session import gather_session, write_session
from napari_why.simulation import simulate_to_folder

SIZE = 32


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session") / "scenes"
    simulate_to_folder(folder, 8, size=SIZE, wells=8)
    return folder


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    """A data set out of a folder, and a classifier that is in one."""
    dataset = why.Dataset.open(scenes).split(seed=3)
    network = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    classifier = why.fit(
        dataset,
        "iresnet",
        size=SIZE,
        epochs=1,
        network_parameters=network,
        lock="none",
        pixel_maps=False,
    )
    classifier.save(tmp_path_factory.mktemp("session") / "model")
    return dataset, classifier


@pytest.fixture
def viewer(scenes, trained):
    """An image of two channels with an attribution and a counterfactual, seen in some way."""
    model = ViewerModel()
    for data in read_layers(min(scenes.rglob("*.ome.tif"))):
        model.add_layer(Layer.create(*data))
    state_of(model).dataset, state_of(model).classifier = trained
    why.AttributionSession(model).explain(method="saliency")
    why.CounterfactualSession(model).explain(method="gaussian_transport", steps=3, draws=0)
    model.layers[0].contrast_limits = (3, 77)
    model.layers[0].colormap = "magma"
    model.layers[1].visible = False
    model.layers[1].name = "<b>mine</b>"
    model.scene.camera.zoom = 7.5
    model.scene.camera.center = (0, 3, 4)
    model.dims.set_current_step(0, 1)
    return model


def look(viewer):
    results_of(viewer).grey = False  # channels are kept in colours of their own
    return [
        (
            layer.name,
            layer.visible,
            tuple(layer.contrast_limits),
            layer.colormap.name,
            layer.opacity,
            tuple(layer.scale),
            tuple(layer.translate),
            LayerFacts.of(layer).record,
            LayerFacts.of(layer).channel,
            LayerFacts.of(layer).id,
        )
        for layer in viewer.layers
    ]


def test_all_comes_back(viewer, trained, tmp_path):
    dataset, classifier = trained
    notes = why.save_session(viewer, tmp_path / "work.json", settings={"Batch": {"out": "a"}})
    assert notes == ()
    other = ViewerModel()
    opened = why.open_session(other, tmp_path / "work.json")
    assert opened.notes == ()
    assert look(other) == look(viewer)
    for mine, theirs in zip(other.layers, viewer.layers, strict=True):
        np.testing.assert_array_equal(mine.data, theirs.data)
        assert mine.data.dtype == theirs.data.dtype
    assert state_of(other).classifier.fingerprint == classifier.fingerprint
    assert state_of(other).dataset.fingerprint == dataset.fingerprint
    assert opened.settings == {"Batch": {"out": "a"}}
    assert other.scene.camera.zoom == 7.5
    assert tuple(other.scene.camera.center) == tuple(viewer.scene.camera.center)
    assert other.dims.point == viewer.dims.point


def test_results_are_files_of_their_own_and_images_are_not_copied(viewer, tmp_path):
    why.save_session(viewer, tmp_path / "work.json")
    results = [layer for layer in viewer.layers if LayerFacts.of(layer).is_result]
    files = sorted((tmp_path / "work.files").glob("*.ome.tif"))
    assert len(files) == len(results)
    assert why.read(files[0]).attrs["record"]["kind"] == "attribution"


def test_what_is_gone_or_changed_is_named_and_the_rest_comes_back(scenes, trained, tmp_path):
    import shutil

    folder = tmp_path / "moved"
    shutil.copytree(scenes, folder)
    first, second = sorted(folder.rglob("*.ome.tif"))[:2]
    viewer = ViewerModel()
    for path in (first, second):
        for data in read_layers(path):
            viewer.add_layer(Layer.create(*data))
    state_of(viewer).dataset = why.Dataset.open(folder).split(seed=0)
    state_of(viewer).classifier = trained[1]
    why.save_session(viewer, tmp_path / "work.json")
    first.unlink()
    image = why.read(second)
    second.unlink()
    why.write(image + 1, second)
    other = ViewerModel()
    opened = why.open_session(other, tmp_path / "work.json")
    told = "\n".join(opened.notes)
    assert first.name in told
    assert f"{second} changed since the session was saved" in told
    assert "the data set" in told
    assert len(other.layers) == 2
    assert state_of(other).classifier is not None


def test_layers_that_cannot_be_kept_are_named(viewer, tmp_path):
    viewer.add_layer(Points([[1, 2]], name="marks"))
    state_of(viewer).dataset = why.simulate(4, size=SIZE)
    notes = why.save_session(viewer, tmp_path / "work.json")
    assert any("marks" in note for note in notes)
    assert any("data set is not kept" in note for note in notes)


def test_layers_from_no_file_are_kept(tmp_path):
    viewer = ViewerModel()
    viewer.add_image(np.arange(64, dtype=np.uint16).reshape(8, 8), name="DAPI")
    assert why.save_session(viewer, tmp_path / "work.json") == ()
    other = ViewerModel()
    why.open_session(other, tmp_path / "work.json")
    np.testing.assert_array_equal(other.layers["DAPI"].data, viewer.layers["DAPI"].data)
    assert not LayerFacts.of(other.layers[0]).is_result


def test_a_session_is_saved_over_itself_and_over_nothing_else(viewer, tmp_path):
    place = tmp_path / "work.json"
    why.save_session(viewer, place)
    with pytest.raises(WhyError, match="exists"):
        why.save_session(viewer, place)
    del viewer.layers[-1]
    why.save_session(viewer, place, overwrite=True)
    other = ViewerModel()
    why.open_session(other, place)
    assert look(other) == look(viewer)
    mine = tmp_path / "notes.json"
    mine.write_text('{"a": 1}')
    with pytest.raises(WhyError, match="did not write"):
        why.save_session(viewer, mine, overwrite=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "expected a session"),
        ("[]", "expected a session"),
        ('{"format": "napari-why model 1"}', "expected a session"),
        ('{"format": "napari-why session 99"}', "newer"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    place = tmp_path / "work.json"
    place.write_text(text)
    with pytest.raises(WhyError, match=words):
        why.open_session(ViewerModel(), place)


def test_an_edited_file_opens_nothing_beyond_its_folder(viewer, tmp_path):
    place = tmp_path / "work.json"
    why.save_session(viewer, place)
    plain = json.loads(place.read_text())
    plain["layers"] = [{"file": "../../secret.ome.tif"}, {"nonsense": 1}, *plain["layers"][-1:]]
    plain["view"] = {"camera": {"zoom": "far"}, "dims": {"point": [1]}}
    place.write_text(json.dumps(plain))
    other = ViewerModel()
    opened = why.open_session(other, place)
    assert len(other.layers) == 1
    assert len(opened.notes) == 2


def reopened(dataset, folder):
    """The data set that a session of it brings back."""
    viewer, other = ViewerModel(), ViewerModel()
    state_of(viewer).dataset = dataset
    assert why.save_session(viewer, folder / "data.json", overwrite=True) == ()
    assert why.open_session(other, folder / "data.json").notes == ()
    return state_of(other).dataset


@pytest.fixture
def listed(scenes, tmp_path):
    """A table of the scenes with a split of its own, and a dose written in three ways."""
    table = pd.read_csv(scenes / "labels.csv", dtype=str)
    table["path"] = [str(scenes / path) for path in table["path"]]
    counts = table.groupby("label").cumcount()
    table["split"] = counts.map(dict(enumerate(["train", "train", "validation", "test"])))
    table["dose"] = counts.map(dict(enumerate(["0.5", "1.0", "2.50", ""])))
    table.to_csv(tmp_path / "images.csv", index=False)
    return tmp_path / "images.csv"


def test_a_split_that_was_redrawn_comes_back(listed, tmp_path):
    own = why.Dataset.open(listed)
    drawn = own.split(seed=5, redraw=True)
    assert list(drawn.table["split"]) != list(own.table["split"])
    assert list(reopened(drawn, tmp_path).table["split"]) == list(drawn.table["split"])
    assert list(reopened(own, tmp_path).table["split"]) == list(own.table["split"])


def test_images_chosen_by_a_number_come_back(listed, tmp_path):
    survey = Survey(listed)
    (dose,) = [column for column in survey.columns if column.name == "dose"]
    assert dose.distinct == ("0.5", "1.0", "2.50")
    dataset = survey.open(Choices(only=("dose", ("1.0", "2.50"))))
    assert sorted(dataset.table["dose"]) == [1.0, 1.0, 2.5, 2.5]
    again = reopened(dataset, tmp_path)
    assert again.fingerprint == dataset.fingerprint
    assert again.opened_as["only"] == dataset.opened_as["only"]
    # and once more, for a session is saved again after it was opened
    assert reopened(again, tmp_path).fingerprint == dataset.fingerprint


def test_a_session_saved_over_itself_keeps_results_that_are_read_from_its_files(tmp_path):
    place, folder = tmp_path / "work.json", tmp_path / "work.files"
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    viewer = ViewerModel()
    for number in range(2):
        viewer.add_image(pixels + number, name=f"layer {number}")
    why.save_session(viewer, place)
    # as layers are that are too large for the memory; the order changes, and with it the numbers
    for layer, path in zip(list(viewer.layers), sorted(folder.glob("*.tif")), strict=True):
        plane = dask.delayed(lambda path=path: np.asarray(why.read(path))[0])()
        layer.data = da.from_delayed(plane, (8, 8), np.uint16)
    viewer.layers.reverse()
    assert why.save_session(viewer, place, overwrite=True) == ()
    for number in range(2):
        np.testing.assert_array_equal(viewer.layers[f"layer {number}"].data, pixels + number)
    other = ViewerModel()
    why.open_session(other, place)
    for number in range(2):
        np.testing.assert_array_equal(other.layers[f"layer {number}"].data, pixels + number)
    why.save_session(other, place, overwrite=True)
    assert len(list(folder.glob("*.tif"))) == 2


def test_a_session_that_cannot_be_written_leaves_the_former_one(viewer, tmp_path, monkeypatch):
    place, folder = tmp_path / "work.json", tmp_path / "work.files"
    why.save_session(viewer, place)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_, **__):
        raise WhyError("the disk is full")

    monkeypatch.setattr("napari_why.sessions.saved_session.write_whole", fail)
    with pytest.raises(WhyError, match="the disk is full"):
        why.save_session(viewer, place, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = ViewerModel()
    assert why.open_session(other, place).notes == ()
    assert look(other) == look(viewer)


def test_what_was_gathered_is_written_whatever_happens_meanwhile(viewer, tmp_path):
    """As a dock does it: layers are looked at in the viewer's thread, and written in another."""
    before = look(viewer)
    results_of(viewer).grey = True
    gathered = gather_session(viewer)
    # the look of a channel below a result is grey, and what is kept is its own
    assert viewer.layers[0].colormap.name == "why_grey"
    viewer.layers[0].name = "renamed meanwhile"
    del viewer.layers[-1]
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(write_session, gathered, tmp_path / "work.json").result() == ()
    other = ViewerModel()
    why.open_session(other, tmp_path / "work.json")
    assert look(other) == before


def test_an_image_that_maps_of_classes_hide_is_kept_as_seen(viewer, tmp_path):
    maps = why.AttributionSession(viewer)
    maps.explain(method="saliency")
    seen = {layer.name: layer.visible for layer in maps.finding.subject.layers}
    averages = why.to_layers(maps.result)
    results_of(viewer).add_layers_alone(averages, hides_images=True)
    for layer in averages:
        viewer.add_layer(layer)
    assert any(seen.values())
    assert not any(viewer.layers[name].visible for name in seen)
    why.save_session(viewer, tmp_path / "work.json")
    other = ViewerModel()
    why.open_session(other, tmp_path / "work.json")
    results = results_of(other)
    assert {name: results.own_visibility(other.layers[name]) for name in seen} == seen
    # the viewer that was saved looks as before, and so does the one that it was opened in
    assert not any(viewer.layers[name].visible for name in seen)
    assert not any(other.layers[name].visible for name in seen)
    assert results.shown.hides_images
    earlier = next(made for made in results.made if made is not results.shown)
    other.layers.selection.active = earlier.layers[-1]
    assert results.shown is earlier
    # the counterfactual on top of it is hidden for another result, the images for the maps alone
    assert {name: other.layers[name].visible for name in seen} == seen


def test_results_are_known_again_and_the_hidden_ones_come_back_by_a_click(viewer, tmp_path):
    before = results_of(viewer)
    assert [made is before.shown for made in before.made] == [False, True]
    why.save_session(viewer, tmp_path / "work.json")
    other = ViewerModel()
    why.open_session(other, tmp_path / "work.json")
    results = results_of(other)
    names = [{layer.name for layer in made.layers} for made in results.made]
    assert names == [{layer.name for layer in made.layers} for made in before.made]
    about = [[layer.name for layer in made.about] for made in results.made]
    assert about == [[layer.name for layer in made.about] for made in before.made]
    assert [made is results.shown for made in results.made] == [False, True]
    for one in (viewer, other):
        hidden = results_of(one).made[0]
        assert not any(layer.visible for layer in hidden.layers)
        one.layers.selection.active = hidden.layers[0]
        assert results_of(one).shown is hidden
    assert look(other) == look(viewer)
    assert any(layer.visible for layer in results.shown.layers)


def test_layers_of_a_result_come_back_in_their_order_and_it_is_called_the_same(viewer, tmp_path):
    viewer.layers.reverse()
    made = results_of(viewer).made
    ways = [[layer.name for layer in one.layers] for one in made]
    assert any([name for name in _names(viewer) if name in way] != way for way in ways)
    why.save_session(viewer, tmp_path / "work.json")
    other = ViewerModel()
    why.open_session(other, tmp_path / "work.json")
    again = results_of(other).made
    assert [[layer.name for layer in one.layers] for one in again] == ways
    assert [one.title for one in again] == [one.title for one in made]


def _names(viewer):
    return [layer.name for layer in viewer.layers]


def test_a_result_whose_channels_show_another_image_says_so_again(viewer, tmp_path):
    results = results_of(viewer)
    results.put_on_show(results.made[0])
    place = tmp_path / "work.json"
    told = []
    for turn in range(2):
        why.save_session(viewer, place, overwrite=turn > 0)
        other = ViewerModel()
        why.open_session(other, place)
        for layer in results_of(other).shown.layers:
            layer.colorbar.visible = True
        text = other.canvas.overlays["napari_why_bar_title"].text
        told.append((results_of(other).shown.is_of_other_pixels, "another image by now" in text))
        for layer in results.shown.about:
            layer.data = np.asarray(layer.data) // 2
    assert told == [(False, False), (True, True)]


def test_maps_that_hide_images_hide_those_that_were_there_too(viewer, tmp_path):
    maps = why.AttributionSession(viewer)
    maps.explain(method="saliency")
    averages = why.to_layers(maps.result)
    results_of(viewer).add_layers_alone(averages, hides_images=True)
    for layer in averages:
        viewer.add_layer(layer)
    # as the user wants it
    mine = maps.finding.subject.layers[0]
    mine.visible = True
    why.save_session(viewer, tmp_path / "work.json")
    other = ViewerModel()
    below = other.add_image(np.ones((SIZE, SIZE)))
    beside = other.add_image(np.ones((SIZE, SIZE)), translate=(0, 1000))
    hidden = other.add_image(np.ones((SIZE, SIZE)), visible=False)
    why.open_session(other, tmp_path / "work.json")
    assert results_of(other).shown.hides_images
    assert other.layers[mine.name].visible
    assert [layer.visible for layer in (below, beside, hidden)] == [False, True, False]
    other.layers.selection.active = results_of(other).made[0].layers[-1]
    assert [layer.visible for layer in (below, beside, hidden)] == [True, True, False]


@pytest.mark.parametrize("alone", [False, True])
def test_a_layer_of_no_result_stays_as_it_was(viewer, tmp_path, alone):
    loose = Layer.create(*results_of(viewer).made[0].layers[-1].as_layer_data_tuple())
    loose.name, loose.visible = "of a file", True
    if alone:
        viewer = ViewerModel()
    viewer.add_layer(loose)
    before = len(results_of(viewer).made)
    assert LayerFacts.of(loose).is_result
    assert results_of(viewer).of_layer(loose) is None
    why.save_session(viewer, tmp_path / "work.json")
    other = ViewerModel()
    why.open_session(other, tmp_path / "work.json")
    assert other.layers["of a file"].visible
    assert len(results_of(other).made) == before
    assert results_of(other).of_layer(other.layers["of a file"]) is None


# of a result that fits, all but what a case says otherwise
FITTING = {
    "layers": [3],
    "about": [],
    "hides_images": False,
    "covers": None,
    "seen": None,
    "shown": True,
}


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize(
    "results",
    [
        *(None, 3, [{"layers": [1]}], [{"layers": "all", "about": None}], ["one"]),
        *([FITTING | {"about": None}], [FITTING | {"layers": [float("inf")]}]),
        *([FITTING | {"layers": None}], [FITTING | {"seen": [[1]]}]),
    ],
)
def test_layers_come_back_where_a_file_does_not_tell_of_results(
    viewer, tmp_path, results, numbered
):
    place = tmp_path / "work.json"
    why.save_session(viewer, place)
    plain = json.loads(place.read_text())
    plain["results"] = results
    for layer in () if numbered else plain["layers"]:  # as of earlier versions
        del layer["number"]
    place.write_text(json.dumps(plain))
    other = ViewerModel()
    assert why.open_session(other, place).layers == len(viewer.layers)
    assert look(other) == look(viewer)
    (made,) = results_of(other).made
    assert made is results_of(other).shown


def test_cancelled_saving_leaves_the_former_session(viewer, tmp_path):
    place, folder = tmp_path / "work.json", tmp_path / "work.files"
    why.save_session(viewer, place)
    before = {path.name: path.read_bytes() for path in (place, *folder.iterdir())}
    heard = []
    done = write_session(
        gather_session(viewer),
        place,
        overwrite=True,
        on_event=heard.append,
        cancelled=lambda: any(isinstance(event, Advanced) for event in heard[3:]),
    )
    assert done is None
    assert heard[0] == Started("saving the session", len(viewer.layers))
    assert heard[-1] == Finished(partial=True)
    assert {path.name: path.read_bytes() for path in (place, *folder.iterdir())} == before
