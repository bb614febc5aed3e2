"""The image that all docks of a viewer share: layers are objects, and the selection is followed."""

import gc
from weakref import ref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_why.core.errors import MismatchError
from napari_why.sessions import state_of

CHANNELS = ("DAPI", "TMRM")


def raw(name, channel=None, shape=(8, 8), source="", **place):
    metadata = {"napari_why": {"channel": channel, "source": source}} if channel else {}
    return Image(np.zeros(shape, np.uint16), name=name, metadata=metadata, **place)


def open_image(viewer, source, names=CHANNELS):
    return [viewer.add_layer(raw(f"{source[0]} {name}", name, source=source)) for name in names]


@pytest.fixture
def viewer():
    model = ViewerModel()
    for layer in (raw("b", "TMRM"), raw("a", "DAPI")):
        model.add_layer(layer)
    return model


@pytest.fixture
def choice(viewer):
    made = state_of(viewer).image
    made.set_channels(CHANNELS)
    return made


@pytest.fixture
def files():
    return ViewerModel()


@pytest.fixture
def of_files(files):
    made = state_of(files).image
    made.set_channels(CHANNELS)
    return made


def test_layers_are_matched_by_the_channel_in_their_metadata(choice, viewer):
    assert choice.layers() == [viewer.layers["a"], viewer.layers["b"]]
    assert choice.describe() == "a, b"


def test_layers_without_a_channel_name_are_matched_by_their_own_and_never_by_order(files, of_files):
    for name in ("one", "two"):
        files.add_layer(raw(name))
    with pytest.raises(MismatchError, match="Channel DAPI: no layer is chosen"):
        of_files.layers()
    assert "Choose the layer that shows DAPI and TMRM" in of_files.doubts()[0]
    second, first = files.add_layer(raw("tmrm")), files.add_layer(raw("DAPI-1"))
    assert of_files.layers() == [first, second]
    assert of_files.doubts() == ()


def test_a_renamed_layer_stays_chosen(choice, viewer):
    layer = viewer.layers["a"]
    layer.name = "nuclei of well B03"
    assert choice.layers()[0] is layer


def test_a_removed_layer_is_told_in_words(choice, viewer):
    viewer.layers.remove(viewer.layers["b"])
    with pytest.raises(MismatchError, match="Channel TMRM: no layer is chosen"):
        choice.image()


def test_a_click_on_a_layer_of_another_image_chooses_that_image(files, of_files):
    first, second = open_image(files, "A.ome.tif"), open_image(files, "B.ome.tif")
    assert of_files.layers() == second, "what was opened last is selected"
    files.layers.selection = {first[1]}
    assert of_files.layers() == first
    assert of_files.describe() == "A DAPI, A TMRM"
    files.layers.selection = set(second)
    assert of_files.layers() == second


def test_the_line_names_the_file_where_its_layers_do_not(files, of_files):
    for name in CHANNELS:
        files.add_layer(raw(name, name, source="/data/A02_f1.ome.tif"))
    assert of_files.describe() == "A02_f1: DAPI, TMRM"


def test_a_click_on_a_result_chooses_nothing(files, of_files):
    first, second = open_image(files, "A.ome.tif"), open_image(files, "B.ome.tif")
    files.layers.selection = {first[0]}
    result = Image(np.zeros((8, 8)), metadata={"napari_why": {"role": "attribution"}})
    files.add_layer(result)
    files.add_points(np.zeros((1, 2)))
    assert of_files.layers() == first
    files.layers.selection = {result}
    assert of_files.layers() == first
    # a result that is removed has napari select its neighbour, which nobody clicked at
    files.layers.move(files.layers.index(result), files.layers.index(second[0]) + 1)
    files.layers.selection = {result}
    files.layers.remove_selected()
    assert set(files.layers.selection) == {second[0]}
    assert of_files.layers() == first
    files.layers.selection = {second[1]}
    assert of_files.layers() == second


def test_a_choice_by_hand_stands_until_another_raw_layer_is_selected(files, of_files):
    first, second = open_image(files, "A.ome.tif"), open_image(files, "B.ome.tif")
    of_files.choose_for("TMRM", second[0])
    files.add_layer(Image(np.zeros((8, 8)), metadata={"napari_why": {"role": "attribution"}}))
    files.layers.selection = set()
    assert of_files.chosen == (second[0], second[0])
    files.layers.selection = {first[0]}
    assert of_files.layers() == first


def test_an_image_with_other_channels_is_chosen_and_its_channels_are_not_guessed(files, of_files):
    first = open_image(files, "A.ome.tif")
    other = open_image(files, "B.ome.tif", ("DNA", "FKHR-EGFP"))
    assert of_files.chosen == (None, None)
    assert "Choose the layer that shows DAPI and TMRM" in of_files.doubts()[0]
    first[0].name = "renamed"  # what happens to another image chooses it not
    assert of_files.chosen == (None, None)
    of_files.choose_for("DAPI", other[0])
    assert "no layer of this image is clearly named so" in of_files.doubts()[-1]
    files.layers.selection = {first[0]}
    assert of_files.layers() == first


def test_layers_that_tell_no_file_change_their_own_channels(choice, viewer):
    later = viewer.add_layer(raw("later", "DAPI"))
    assert choice.layers() == [later, viewer.layers["b"]]
    viewer.layers.selection = {viewer.layers["a"]}
    assert choice.layers() == [viewer.layers["a"], viewer.layers["b"]]
    viewer.add_layer(raw("something"))
    assert choice.layers() == [viewer.layers["a"], viewer.layers["b"]]


def test_another_classifier_is_asked_about_the_same_image(files, of_files):
    first = open_image(files, "A.ome.tif")
    open_image(files, "B.ome.tif")
    files.layers.selection = {first[0]}
    of_files.set_channels(("TMRM",))
    assert of_files.layers() == [first[1]]
    of_files.set_channels(("TMRM", "DAPI"))
    assert of_files.layers() == first[::-1]
    of_files.set_channels(())
    assert of_files.layers() == []


def test_results_and_pictures_are_not_offered(choice, viewer):
    viewer.add_layer(Image(np.zeros((8, 8)), metadata={"napari_why": {"role": "attribution"}}))
    viewer.add_layer(Image(np.zeros((8, 8, 3), np.uint8), rgb=True))
    viewer.add_points(np.zeros((1, 2)))
    assert choice.list_layers() == [viewer.layers["b"], viewer.layers["a"]]


def test_of_a_stack_the_plane_that_is_shown_is_taken(files):
    stack = Image(np.arange(3 * 4 * 4, dtype=np.uint16).reshape(3, 4, 4), scale=(2, 1, 1))
    stack.name = "DAPI"
    files.add_layer(stack)
    choice = state_of(files).image
    choice.set_channels(("DAPI",))
    files.dims.set_current_step(0, 2)
    assert choice.plane() == (2,)
    np.testing.assert_array_equal(choice.image().values[0], stack.data[2])


def test_a_removed_layer_is_not_replaced_by_one_of_another_image(files, of_files):
    second, first = open_image(files, "B.ome.tif"), open_image(files, "A.ome.tif")
    assert of_files.layers() == first
    files.layers.remove(first[0])
    with pytest.raises(MismatchError, match="Channel DAPI: no layer is chosen"):
        of_files.choice()
    assert of_files.chosen == (None, first[1])
    assert "Choose the layer that shows DAPI" in of_files.doubts()[0]
    # what belongs to the same image may take the place
    again = files.add_layer(raw("again", "DAPI", source="A.ome.tif"))
    assert of_files.layers() == [again, first[1]]
    for layer in (again, first[1]):
        files.layers.remove(layer)
    assert of_files.layers() == second, "of the image that was chosen nothing is left"


def test_layers_of_two_images_are_taken_once_the_user_says_so(files, of_files):
    nuclei = files.add_layer(raw("n", "DAPI", source="A.ome.tif"))
    files.add_layer(raw("m", "TMRM", source="B.ome.tif"))
    other = files.add_layer(raw("o", "TMRM", source="C.ome.tif"))
    of_files.choose_for("DAPI", nuclei)
    of_files.choose_for("TMRM", files.layers["m"])
    assert of_files.confirmable
    (said,) = of_files.doubts()
    assert "different images: 'n' from A.ome.tif, 'm' from B.ome.tif" in said
    assert "only where you say that they show one field" in said
    with pytest.raises(MismatchError, match="several_files"):
        of_files.image()
    of_files.several_files = True
    assert "they were put together as one field" in of_files.doubts()[0]
    assert of_files.image().attrs["source"] == "A.ome.tif; B.ome.tif"
    # it was said of these layers, and of no others
    of_files.choose_for("TMRM", other)
    assert not of_files.several_files


def test_one_layer_for_two_channels_is_refused(choice, viewer):
    choice.choose_for("DAPI", viewer.layers["b"])
    with pytest.raises(MismatchError, match="'b': found it chosen for two channels"):
        choice.choice()
    assert any("'b': found it chosen for two channels" in said for said in choice.doubts())


def test_a_swapped_choice_is_the_users_and_told(choice, viewer):
    choice.choose_for("DAPI", viewer.layers["b"])
    choice.choose_for("TMRM", viewer.layers["a"])
    assert "'b' was chosen for DAPI, and its file calls it TMRM" in choice.doubts()[0]
    assert len(choice.image().attrs["notes"]) == 2


def test_a_layer_of_another_name_is_told(choice, files, of_files):
    dna, fkhr = open_image(files, "B.ome.tif", ("DNA", "FKHR-EGFP"))
    of_files.choose_for("DAPI", dna)
    of_files.choose_for("TMRM", fkhr)
    said = " ".join(of_files.doubts())
    assert "'B DNA' was chosen for DAPI, and its file calls it DNA" in said
    assert "'B FKHR-EGFP' was chosen for TMRM, and its file calls it FKHR-EGFP" in said


def test_what_is_said_follows_layers_that_are_moved(files, of_files):
    open_image(files, "A.ome.tif")
    seen = []
    of_files.changed.connect(lambda: seen.append(of_files.doubts()))
    assert of_files.doubts() == ()
    files.layers[1].translate = (3, 0)
    assert "up to 3 pixels away from layer 'A DAPI'" in seen[-1][0]
    with pytest.raises(MismatchError, match="up to 3 pixels away"):
        of_files.image()
    files.layers[1].translate = (0, 0)
    assert seen[-1] == ()


def test_the_choice_keeps_neither_viewer_nor_layers_alive():
    viewer = ViewerModel()
    state = state_of(viewer)
    state.image.set_channels(("DAPI",))
    layer = viewer.add_layer(raw("DAPI"))
    gone = ref(viewer), ref(layer)
    assert state.image.layers() == [layer]
    del viewer, layer
    gc.collect()
    assert [held() for held in gone] == [None, None]
    assert state.image.list_layers() == []


def test_a_picture_in_colours_is_no_channel_and_the_way_on_is_told(files, of_files):
    files.add_layer(Image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="astronaut"))
    with pytest.raises(MismatchError, match="'astronaut' is an RGB picture; split it"):
        of_files.layers()
    assert any("astronaut" in sentence for sentence in of_files.doubts())


def test_another_network_gets_its_channels_of_the_image_in_use(files, of_files):
    first, second = open_image(files, "a.tif"), open_image(files, "b.tif")
    of_files.choose(first)
    assert list(of_files.choice_for(["TMRM"]).layers) == [first[1]]
    both = of_files.choice_for(["TMRM"], also=["DAPI"])
    assert list(both.layers) == [first[1], first[0]]
    assert both.channels == ("TMRM", "DAPI")
    with pytest.raises(MismatchError, match="has a layer of each of Actin"):
        of_files.choice_for(["Actin"])
    assert of_files.list_images() == {"b": second, "a": first}
    # without a second channel it is no image to go to; a wish that cannot be fulfilled is left out
    files.layers.remove(first[0])
    files.layers.remove(second[0])
    assert of_files.list_images() == {}
    assert of_files.choice_for(["TMRM"], also=["DAPI"]).channels == ("TMRM",)


def test_without_a_classifier_it_is_the_image_that_is_selected():
    viewer = ViewerModel()
    first = open_image(viewer, "a.tif")
    open_image(viewer, "b.tif")
    viewer.layers.selection = {first[0]}
    assert list(state_of(viewer).image.choice_for(["TMRM"]).layers) == [first[1]]
