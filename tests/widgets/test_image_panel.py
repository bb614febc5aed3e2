"""The page of the Open dock that opens image files."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument

from napari_why.images import read_again
from napari_why.output.raw_layers import image_from_layers
from napari_why.widgets.open_dock import ImagePanel, OpenDock

PIXELS = np.random.default_rng(0).integers(1, 4000, (6, 20, 30)).astype("uint16")


def pages(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    return path


@pytest.fixture
def opening(dock) -> OpenDock:
    widget = dock(OpenDock, ViewerModel())
    widget.show()
    widget.tabs.setCurrentWidget(widget.images)
    return widget


def answer(panel: ImagePanel, axes: str) -> None:
    texts = [panel.question.choice.itemText(i) for i in range(panel.question.choice.count())]
    panel.question.choice.setCurrentIndex(
        next(i for i, text in enumerate(texts) if text.startswith(f"{axes}: "))
    )
    panel.question.button.click()


def test_unnamed_pages_are_asked_for_and_open_as_answered(qtbot, opening, tmp_path) -> None:
    panel = opening.images
    panel.preview([pages(tmp_path / "pages.tif")])
    assert panel.question.isVisible()
    assert "pages.tif" in panel.question.words.text()
    assert "6 pages without a word" in panel.question.words.text()
    assert "6 x 20 x 30" in panel.question.words.text()
    assert panel.question.choice.itemText(0) == "zyx: 6 z planes"
    assert opening.message.text() == ""
    assert not panel.open.isEnabled()

    answer(panel, "zcyx")
    assert "3 z x 20 y x 30 x" in panel.about.text()
    panel.channels.item(1, 0).setText("TMRM")
    panel.open.click()
    qtbot.waitUntil(lambda: len(opening.viewer.layers) == 2, timeout=10_000)
    np.testing.assert_array_equal(opening.viewer.layers[1].data, PIXELS[1::2])

    layers = list(opening.viewer.layers)
    plane = image_from_layers(layers, plane=(0,))
    told = plane.attrs["read_as"]
    assert told["axes"] == "zcyx"
    assert told["channels"] == ["channel 1", "TMRM"]
    assert plane.attrs["plane"] == {"z": 0}
    again = read_again(plane.attrs["source"], told)
    np.testing.assert_array_equal(again.isel(z=0), plane)


def test_another_answer_can_be_given(opening, tmp_path) -> None:
    panel = opening.images
    panel.preview([pages(tmp_path / "pages.tif")])
    answer(panel, "cyx")
    assert panel.channels.rowCount() == 6
    answer(panel, "zyx")
    assert panel.channels.rowCount() == 1
    assert "6 z" in panel.about.text()


def test_an_answer_holds_for_files_of_the_same_shape_in_one_opening(opening, tmp_path) -> None:
    panel = opening.images
    first, second = (pages(tmp_path / name) for name in ("a.tif", "b.tif"))
    other = pages(tmp_path / "c.tif", PIXELS[:5])
    panel.preview([first, second, other])
    answer(panel, "tyx")
    assert "c.tif" in panel.question.words.text()
    answer(panel, "tyx")
    assert panel.about.text().startswith("3 images, the first: 6 t x 20 y x 30 x")
    panel.preview([first])
    assert panel.question.isVisible()
    assert not panel.open.isEnabled()


def test_an_answer_that_does_not_fit_the_other_files_is_told(opening, tmp_path) -> None:
    panel = opening.images
    panel.preview([pages(tmp_path / "a.tif"), pages(tmp_path / "b.tif", PIXELS[:2])])
    answer(panel, "cyx")
    assert opening.message.kind == "error"
    assert "Found images with 2 and 6 channels" in opening.message.text()
    assert not panel.open.isEnabled()
    assert panel.question.isVisible()


def test_files_that_are_refused_while_others_are_read_change_nothing(dock, held, tmp_path) -> None:
    opening = dock(OpenDock, ViewerModel(), held)
    opening.show()
    opening.tabs.setCurrentWidget(opening.images)
    panel = opening.images
    first = pages(tmp_path / "first.tif")
    other = pages(tmp_path / "other.tif", PIXELS[0])
    held.let_go()
    panel.preview([first])
    panel.preview([other])
    assert "Something runs in this dock" in opening.message.text()
    held.let_go()
    assert "first.tif" in panel.question.words.text()
    answer(panel, "zyx")
    held.let_go()
    assert "6 z x 20 y x 30 x" in panel.about.text()

    opening.run("Something else", lambda **_: None, lambda _: None)
    panel.preview([other])
    assert "6 z x 20 y x 30 x" in panel.about.text()
    assert panel.open.isEnabled()
    assert panel.channels.rowCount() == 1
    assert panel.question.isVisible()
    held.let_go()
    answer(panel, "cyx")
    held.let_go()
    assert panel.channels.rowCount() == 6  # of the first file


def test_an_answer_that_is_refused_is_forgotten(dock, held, tmp_path) -> None:
    opening = dock(OpenDock, ViewerModel(), held)
    opening.show()
    opening.tabs.setCurrentWidget(opening.images)
    panel = opening.images
    held.let_go()
    panel.preview([pages(tmp_path / "a.tif"), pages(tmp_path / "b.tif", PIXELS[:5])])
    held.let_go()
    answer(panel, "tyx")
    answer(panel, "zyx")
    assert "Something runs in this dock" in opening.message.text()
    held.let_go()
    assert "b.tif" in panel.question.words.text()
    answer(panel, "tyx")
    held.let_go()
    assert panel.about.text().startswith("2 images, the first: 6 t x 20 y x 30 x")


def test_names_of_files_and_notes_are_shown_as_they_are(opening, tmp_path) -> None:
    panel = opening.images
    panel.preview([pages(tmp_path / "a&lt;b &amp; c.tif")])
    shown = QTextDocument()
    shown.setHtml(panel.question.words.text())
    assert "How is a&lt;b &amp; c.tif to be read?" in shown.toPlainText()
    assert "Found 6 pages" in shown.toPlainText()
    assert panel.notes.textFormat() == Qt.TextFormat.PlainText


def test_a_colour_picture_may_be_said_to_be_channels(opening, tmp_path) -> None:
    picture = PIXELS[:3].transpose(1, 2, 0).astype("uint8")
    tifffile.imwrite(tmp_path / "rgb.tif", picture, photometric="rgb")
    panel = opening.images
    panel.preview([tmp_path / "rgb.tif"])
    assert "an RGB colour picture" in panel.question.words.text()
    answer(panel, "yxc")
    assert panel.channel_names() == ["channel 1", "channel 2", "channel 3"]


def test_what_the_reader_noticed_is_shown(opening, tmp_path) -> None:
    tifffile.imwrite(tmp_path / "twelve.tif", PIXELS[0], metadata=None)
    panel = opening.images
    panel.preview([tmp_path / "twelve.tif"])
    assert panel.notes.isVisible()
    assert "12 bits stored in 16" in panel.notes.text()


def test_a_channel_that_is_missing_is_named(opening, tmp_path) -> None:
    names = ("p_B02_s1_w1.tif", "p_B02_s1_w2.tif", "p_B02_s2_w1.tif")
    opening.images.preview([pages(tmp_path / name, PIXELS[0]) for name in names])
    assert "p_B02_s2_w1.tif lacks w2" in opening.message.text()


def test_the_folder_of_a_field_is_one_image(opening, tmp_path) -> None:
    for name in ("p_B02_s1_w1.tif", "p_B02_s1_w2.tif"):
        pages(tmp_path / name, PIXELS[0])
    opening.images.preview([tmp_path])
    assert opening.images.channel_names() == ["w1", "w2"]
