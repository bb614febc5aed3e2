"""Layers are objects here: renamed, deleted and reordered ones change nothing but what is shown."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QCheckBox, QComboBox

from napari_why.core.errors import MismatchError
from napari_why.widgets.layer_chooser import LayerChooser


def raw(name, channel=None, shape=(8, 8), source="", **place):
    metadata = {"napari_why": {"channel": channel, "source": source}} if channel else {}
    return Image(np.zeros(shape, np.uint16), name=name, metadata=metadata, **place)


@pytest.fixture
def viewer():
    model = ViewerModel()
    for layer in (raw("b", "TMRM"), raw("a", "DAPI")):
        model.add_layer(layer)
    return model


@pytest.fixture
def chooser(qtbot, viewer):
    made = LayerChooser(viewer)
    qtbot.addWidget(made)
    made.set_channels(("DAPI", "TMRM"))
    return made


def test_layers_are_matched_by_the_channel_in_their_metadata(chooser, viewer):
    assert chooser.layers() == [viewer.layers["a"], viewer.layers["b"]]


def test_layers_without_a_channel_name_are_matched_by_their_own_and_never_by_order(qtbot):
    viewer = ViewerModel()
    for name in ("one", "two"):
        viewer.add_layer(raw(name))
    chooser = LayerChooser(viewer)
    qtbot.addWidget(chooser)
    chooser.set_channels(("DAPI", "TMRM"))
    with pytest.raises(MismatchError, match="Channel DAPI: no layer is chosen"):
        chooser.layers()
    assert "Choose the layer that shows DAPI and TMRM" in chooser.tell()
    second, first = viewer.add_layer(raw("tmrm")), viewer.add_layer(raw("DAPI-1"))
    assert chooser.layers() == [first, second]
    assert chooser.tell() == ""


def test_a_renamed_layer_stays_chosen_under_its_new_name(chooser, viewer):
    layer = viewer.layers["a"]
    layer.name = "nuclei of well B03"
    assert chooser.layers()[0] is layer
    assert chooser.texts()[0] == "nuclei of well B03"


def test_a_removed_layer_is_told_in_words(chooser, viewer):
    viewer.layers.remove(viewer.layers["b"])
    with pytest.raises(MismatchError, match="Channel TMRM: no layer is chosen"):
        chooser.image()


def test_a_choice_of_the_user_survives_new_layers(chooser, viewer):
    chosen = viewer.layers["b"]
    chooser.choose([chosen, chosen])
    before = chooser.layers()
    viewer.add_layer(raw("later", "DAPI"))
    assert chooser.layers() == before


def test_the_selected_layers_can_be_assigned(chooser, viewer):
    other = [viewer.add_layer(raw("d2", "DAPI")), viewer.add_layer(raw("t2", "TMRM"))]
    viewer.layers.selection = set(other)
    chooser.use_selected()
    assert chooser.layers() == other


def test_results_and_pictures_are_not_offered(chooser, viewer):
    viewer.add_layer(Image(np.zeros((8, 8)), metadata={"napari_why": {"role": "attribution"}}))
    viewer.add_layer(Image(np.zeros((8, 8, 3), np.uint8), rgb=True))
    viewer.add_points(np.zeros((1, 2)))
    assert chooser.list_layers() == [viewer.layers["b"], viewer.layers["a"]]


def test_of_a_stack_the_plane_that_is_shown_is_taken(qtbot):
    viewer = ViewerModel()
    stack = Image(np.arange(3 * 4 * 4, dtype=np.uint16).reshape(3, 4, 4), scale=(2, 1, 1))
    stack.name = "DAPI"
    viewer.add_layer(stack)
    chooser = LayerChooser(viewer)
    qtbot.addWidget(chooser)
    chooser.set_channels(("DAPI",))
    viewer.dims.set_current_step(0, 2)
    assert chooser.plane() == (2,)
    np.testing.assert_array_equal(chooser.image().values[0], stack.data[2])


def test_a_removed_layer_is_not_replaced_by_one_of_another_image(chooser, viewer):
    viewer.layers.clear()
    first = [viewer.add_layer(raw(name, name, source="A.ome.tif")) for name in ("DAPI", "TMRM")]
    second = [viewer.add_layer(raw(name, name, source="B.ome.tif")) for name in ("DAPI", "TMRM")]
    assert chooser.layers() == first
    viewer.layers.remove(first[0])
    with pytest.raises(MismatchError, match="Channel DAPI: no layer is chosen"):
        chooser.choice()
    assert chooser.texts() == ["", "TMRM"]
    assert "Choose the layer that shows DAPI" in chooser.tell()
    # what belongs to the same image may take the place
    again = viewer.add_layer(raw("again", "DAPI", source="A.ome.tif"))
    assert chooser.layers() == [again, first[1]]
    for layer in (again, first[1]):
        viewer.layers.remove(layer)
    viewer.layers.reverse()
    viewer.layers[0].name = "anything"
    viewer.layers.remove(second[1])
    with pytest.raises(MismatchError, match="Channel TMRM: no layer is chosen"):
        chooser.choice()


def test_layers_of_two_images_are_taken_once_the_user_says_so(chooser, viewer):
    viewer.layers.clear()
    viewer.add_layer(raw("n", "DAPI", source="A.ome.tif"))
    viewer.add_layer(raw("m", "TMRM", source="B.ome.tif"))
    assert chooser.texts() == ["n", ""]
    boxes = chooser.findChildren(QComboBox)
    boxes[0].setCurrentText("n")
    boxes[1].setCurrentText("m")
    confirm = chooser.findChild(QCheckBox)
    assert not confirm.isHidden()
    assert "different images: 'n' from A.ome.tif, 'm' from B.ome.tif" in chooser.tell()
    assert "only where you say that they show one field" in chooser.tell()
    with pytest.raises(MismatchError, match="several_files"):
        chooser.image()
    confirm.setChecked(True)
    assert "they were put together as one field" in chooser.tell()
    assert chooser.image().attrs["source"] == "A.ome.tif; B.ome.tif"
    # it was said of these layers, and of no others
    viewer.add_layer(raw("o", "TMRM", source="C.ome.tif"))
    assert confirm.isChecked()
    boxes[1].setCurrentText("o")
    assert not confirm.isChecked()


def test_what_lies_elsewhere_is_told_before_anything_is_computed(chooser, viewer):
    viewer.layers.clear()
    viewer.add_layer(raw("DAPI"))
    viewer.add_layer(raw("TMRM", translate=(3, 0)))
    assert "up to 3 pixels away from layer 'DAPI'" in chooser.tell()
    with pytest.raises(MismatchError, match="up to 3 pixels away"):
        chooser.image()


def test_one_layer_for_two_channels_is_refused(chooser, viewer):
    for box in chooser.findChildren(QComboBox):
        box.setCurrentText("a")
    with pytest.raises(MismatchError, match="'a': found it chosen for two channels"):
        chooser.choice()


def test_a_swapped_choice_is_the_users_and_told(chooser):
    first, second = chooser.findChildren(QComboBox)
    first.setCurrentText("b")
    second.setCurrentText("a")
    assert "'b' was chosen for DAPI, and its file calls it TMRM" in chooser.tell()
    assert len(chooser.image().attrs["notes"]) == 2


def test_other_channels_are_asked_for_after_files_were_confirmed(chooser, viewer):
    viewer.layers.clear()
    viewer.add_layer(raw("n", "DAPI", source="A.ome.tif"))
    viewer.add_layer(raw("m", "TMRM", source="B.ome.tif"))
    for box, name in zip(chooser.findChildren(QComboBox), "nm", strict=True):
        box.setCurrentText(name)
    chooser.findChild(QCheckBox).setChecked(True)
    chooser.set_channels(("DAPI", "TMRM", "ER"))
    assert not chooser.several_files
    assert "Choose the layer that shows" in chooser.tell()


def test_what_is_said_follows_layers_that_are_moved(chooser, viewer):
    viewer.layers.clear()
    for name in ("DAPI", "TMRM"):
        viewer.add_layer(raw(name, name, source="A.ome.tif"))
    assert chooser.tell() == ""
    viewer.layers["TMRM"].translate = (3, 0)
    assert "up to 3 pixels away" in chooser.tell()
    viewer.layers["TMRM"].translate = (0, 0)
    assert chooser.tell() == ""
    viewer.layers["TMRM"].rotate = 20
    assert "pixels away" in chooser.tell()
    chooser.release()
    viewer.layers["TMRM"].rotate = 0
    assert "pixels away" in chooser.tell()
    chooser.follow()
