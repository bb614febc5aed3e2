"""The page Exchange of the Classifier dock: classifiers go to other programs, and come from them."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from qtpy.QtWidgets import QDialog, QFileDialog, QMessageBox

import napari_why as why
from napari_why.core import optional_packages
from napari_why.sessions import state_of
from napari_why.widgets.attribution_dock import AttributionDock
from napari_why.widgets.classifier_bar import SaveDialog
from napari_why.widgets.classifier_dock import ClassifierDock

# bioimageio.spec leaves the files of a package to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SAID = {
    "authors": "Ada Lovelace (London)",
    "licence": "CC-BY-4.0",
    "citation": "Lovelace, Notes, 1843",
    "url": "https://example.org/notes",
}


@pytest.fixture
def page(dock, viewer):
    widget = dock(ClassifierDock, viewer)
    widget.tabs.setCurrentWidget(widget.exchange)
    return widget.exchange


@pytest.fixture
def with_classifier(page, classifier):
    page.dock.state.use_classifier(classifier)
    return page


def choose(page, to: str, **values: object) -> None:
    page.sending.format.setCurrentIndex(page.sending.format.findData(to))
    for name, value in values.items():
        page.sending.form.set_value(name, value)


def answer_dialog(monkeypatch, name: str, answer: object) -> None:
    monkeypatch.setattr(QFileDialog, name, lambda *_, **__: (str(answer), ""))


@pytest.fixture
def theirs(tmp_path, scenes_graph) -> Path:
    path = tmp_path / "theirs.onnx"
    path.write_bytes(scenes_graph)
    return path


@pytest.fixture(scope="module")
def scenes_graph() -> bytes:
    """A graph of somebody else, which names neither classes nor channels: means, a layer, a softmax."""
    weights = np.array([[1, -1], [-1, 1]], np.float32) / 1000
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["flat"], keepdims=0),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=10
    ).SerializeToString()
    return content


def test_without_a_classifier_nothing_is_exported(page) -> None:
    assert not page.sending.button.isEnabled()
    assert "Train or load a classifier first" in page.sending.button.toolTip()


def test_a_graph_is_written_and_opened_again(
    with_classifier, classifier, dataset, tmp_path, monkeypatch, qtbot
) -> None:
    page, path = with_classifier, tmp_path / "mine.onnx"
    choose(page, "onnx")
    # the ending is added where somebody leaves it out
    answer_dialog(monkeypatch, "getSaveFileName", tmp_path / "mine")
    page.sending.button.click()
    assert "differ by" in page.sending.answer.text()
    assert page.sending.copy_buttons.isVisibleTo(page)
    assert onnx.load(path).producer_name == "napari-why"
    page.sending.export_to(path)  # over itself
    assert not page.dock.message.text()

    answer_dialog(monkeypatch, "getOpenFileName", path)
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    page.opening.file.button.click()
    page.opening.button.click()
    opened = state_of(page.dock.viewer).classifier
    assert opened.network.black_box
    assert "explains it is Occlusion, " in page.opening.answer.text()
    for row in range(4):
        found, wanted = (item.predict(dataset.image(row)).logits for item in (opened, classifier))
        # logarithms of probabilities: their differences are those of the logits
        np.testing.assert_allclose(np.diff(found), np.diff(wanted), atol=1e-3)


def test_an_export_is_not_replaced_unasked(
    with_classifier, classifier, tmp_path, monkeypatch
) -> None:
    page, path = with_classifier, tmp_path / "mine.onnx"
    path.write_bytes(b"of earlier")
    choose(page, "onnx")
    answers = [QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes]
    asked, written = [], []
    monkeypatch.setattr(page.sending, "export_to", written.append)
    monkeypatch.setattr(
        QMessageBox, "exec", lambda box: asked.append(box.text()) or answers[len(asked) - 1]
    )
    answer_dialog(monkeypatch, "getSaveFileName", tmp_path / "mine")
    page.sending.button.click()
    assert asked == ["mine.onnx exists. Replace that ONNX file?"]
    assert written == []
    page.sending.button.click()
    assert written == [path]
    # the file dialog has asked about this one, and there is nothing else to ask about
    for name in ("mine.onnx", "other"):
        answer_dialog(monkeypatch, "getSaveFileName", tmp_path / name)
        page.sending.button.click()
    assert len(asked) == 2
    assert written[1:] == [path, tmp_path / "other.onnx"]


def test_an_opened_graph_is_explained_without_gradients(dock, viewer, page, theirs, qtbot) -> None:
    page.opening.file.line.setText(str(theirs))
    page.opening.form.set_value("classes", "ill, well")
    page.opening.form.set_value("channels", "DAPI, TMRM")
    page.opening.button.click()
    assert state_of(viewer).classifier.classes == ("ill", "well")
    assert not page.opening.fold.is_unfolded
    explaining = dock(AttributionDock, viewer)
    box = explaining.method.box
    able = {box.itemData(i) for i in range(box.count()) if box.model().item(i).isEnabled()}
    assert {"occlusion", "rise"} <= able
    assert not {"saliency", "grad_cam", "lrp"} & able
    assert "gradient" in box.model().item(box.findData("saliency")).toolTip()


def test_what_a_file_leaves_open_is_asked_for(page, theirs) -> None:
    page.opening.fold.button.click()
    page.opening.file.line.setText(str(theirs))
    page.opening.button.click()
    assert "classes: found none" in page.dock.message.text()
    assert page.opening.fold.is_unfolded
    assert state_of(page.dock.viewer).classifier is None


def test_a_package_says_what_only_the_user_knows(with_classifier, tmp_path, monkeypatch) -> None:
    page, path = with_classifier, tmp_path / "mine.zip"
    choose(page, "bioimageio", authors=SAID["authors"])
    page.sending.export_to(path)
    assert "found no licence, no citation" in page.dock.message.text()
    assert not path.exists()
    # what was said for one format is said for the others
    choose(page, "huggingface")
    choose(page, "bioimageio", **{name: SAID[name] for name in ("licence", "citation", "url")})
    page.sending.export_to(path)
    assert not page.dock.message.text()
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    page.opening.file.line.setText(str(path))
    page.opening.button.click()
    assert "its licence is CC-BY-4.0" in page.opening.answer.text()
    assert state_of(page.dock.viewer).classifier.classes == ("diseased", "treated")


def test_a_folder_for_the_hub_is_a_classifier_with_a_card(
    with_classifier, classifier, tmp_path, monkeypatch
) -> None:
    page, place = with_classifier, tmp_path / "card"
    choose(page, "huggingface", licence="MIT")
    assert not page.sending.with_image.isVisibleTo(page)

    def accept(dialog: SaveDialog) -> QDialog.DialogCode:
        dialog.folder.setText(str(place.parent))
        dialog.name.setText(place.name)
        return QDialog.DialogCode.Accepted

    monkeypatch.setattr(SaveDialog, "exec", accept)
    page.sending.button.click()
    assert "a folder for the Hugging Face Hub" in page.sending.answer.text()
    front = (place / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(front)["license"] == "mit"
    assert why.load(place).fingerprint == classifier.fingerprint


def test_what_the_extra_brings_is_asked_for_in_words(
    with_classifier, tmp_path, monkeypatch
) -> None:
    def without(name: str, *rest: object) -> object:
        return None if name in ("onnx", "onnxscript") else importlib.util.find_spec(name)

    monkeypatch.setattr(optional_packages, "find_spec", without)
    choose(with_classifier, "onnx")
    with_classifier.sending.export_to(tmp_path / "mine.onnx")
    assert "pip install 'napari-why[exchange]'" in with_classifier.dock.message.text()
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_a_channel_is_no_test(with_classifier, tmp_path) -> None:
    page, path = with_classifier, tmp_path / "mine.onnx"
    del page.dock.viewer.layers[1]
    choose(page, "onnx")
    page.sending.export_to(path)
    assert "TMRM" in page.dock.message.text()
    assert "Or untick 'test it with the image on show'" in page.dock.message.text()
    assert not path.exists()
    page.sending.with_image.setChecked(False)
    page.sending.export_to(path)
    assert path.exists()


def test_a_classifier_that_is_not_saved_is_not_replaced_unasked(
    with_classifier, classifier, theirs, monkeypatch
) -> None:
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Cancel)
    page = with_classifier
    page.opening.file.line.setText(str(theirs))
    page.opening.button.click()
    assert state_of(page.dock.viewer).classifier is classifier


def test_a_classifier_that_came_meanwhile_is_not_replaced_unasked(
    dock, viewer, classifier, theirs, held, monkeypatch
) -> None:
    page = dock(ClassifierDock, viewer, held).exchange
    page.show_catalogue()
    page.opening.file.line.setText(str(theirs))
    page.opening.form.set_value("classes", "ill, well")
    page.opening.form.set_value("channels", "DAPI, TMRM")
    answers = [QMessageBox.StandardButton.Cancel, QMessageBox.StandardButton.Yes]
    asked: list[object] = []
    monkeypatch.setattr(
        QMessageBox, "question", lambda *rest: asked.append(rest) or answers[len(asked) - 1]
    )
    page.opening.open()
    assert asked == []  # there was none to lose
    state_of(viewer).classifier = classifier  # of a training, say
    held.let_go()
    assert len(asked) == 1
    assert state_of(viewer).classifier is classifier
    assert "theirs.onnx is not used" in page.dock.message.text()
    assert not page.opening.answer.text()
    state_of(viewer).classifier = None
    page.opening.open()
    state_of(viewer).classifier = classifier
    held.let_go()
    assert len(asked) == 2
    assert state_of(viewer).classifier.classes == ("ill", "well")


def test_what_was_said_of_an_opened_classifier_ends_with_it(
    page, classifier, theirs, tmp_path
) -> None:
    page.opening.file.line.setText(str(theirs))
    page.opening.form.set_value("classes", "ill, well")
    page.opening.form.set_value("channels", "DAPI, TMRM")
    page.opening.button.click()
    assert "In use now." in page.opening.answer.text()
    page.dock.save_to(tmp_path / "opened")
    # what is said beside the bar stays true
    assert page.dock.state.place == tmp_path / "opened"
    assert "not saved" not in page.opening.answer.text()
    page.dock.state.use_classifier(classifier)
    assert page.opening.answer.text() == ""
    assert not page.opening.copy_buttons.isVisibleTo(page)


def test_nothing_is_chosen_or_lost_while_the_options_are_loaded(
    dock, viewer, classifier, theirs, held
) -> None:
    kept = {
        "to": "bioimageio",
        "export": {"authors": SAID["authors"]},
        "import": {"classes": "ill, well"},
    }
    widget = dock(ClassifierDock, viewer, held)
    widget.state.use_classifier(classifier)
    page = widget.exchange
    page.restore_settings(kept)
    widget.tabs.setCurrentWidget(page)
    assert not page.sending.format.isEnabled()
    page.sending.format.setCurrentIndex(page.sending.format.findData("huggingface"))
    assert page.sending.form is None
    assert page.settings() == kept
    page.opening.file.line.setText(str(theirs))
    for part in (page.sending, page.opening):
        assert not part.button.isEnabled()
        assert "still being loaded" in part.button.toolTip()
    held.let_go()
    assert page.sending.format.isEnabled()
    assert page.sending.to == "bioimageio"
    assert page.sending.form.values()["authors"] == SAID["authors"]
    assert page.settings()["import"]["classes"] == "ill, well"
    assert page.sending.button.isEnabled()
    assert page.opening.button.isEnabled()


def test_an_error_leaves_the_classifier_and_names_the_file(page, tmp_path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph at all")
    page.opening.file.line.setText(str(path))
    page.opening.button.click()
    assert "broken.onnx: found no" in page.dock.message.text()
    assert page.dock.message.kind == "error"
    assert not page.opening.answer.text()


def test_the_forms_are_kept_with_a_session(page, dock, viewer) -> None:
    choose(page, "bioimageio", **SAID)
    page.opening.form.set_value("classes", "ill, well")
    said = page.dock.settings()
    again = dock(ClassifierDock, viewer)
    again.restore_settings(said)
    assert again.settings()["exchange"] == said["exchange"]  # before anybody looked at it
    again.tabs.setCurrentWidget(again.exchange)
    assert again.exchange.sending.to == "bioimageio"
    assert again.settings()["exchange"] == said["exchange"]
    assert again.exchange.sending.form.values()["citation"] == SAID["citation"]
