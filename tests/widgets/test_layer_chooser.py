"""The boxes that show, and change, the image that the docks of a viewer share."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QStyle, QStyleOptionButton, QWidget

from napari_why.sessions import state_of
from napari_why.widgets.layer_chooser import FoldLine, LayerChooser


def raw(name, channel, source="A.ome.tif"):
    metadata = {"napari_why": {"channel": channel, "source": source}}
    return Image(np.zeros((8, 8), np.uint16), name=name, metadata=metadata)


@pytest.fixture
def viewer():
    model = ViewerModel()
    for layer in (raw("b", "TMRM"), raw("a", "DAPI")):
        model.add_layer(layer)
    state_of(model).image.set_channels(("DAPI", "TMRM"))
    return model


@pytest.fixture
def chooser(qtbot, viewer):
    made = LayerChooser(viewer)
    qtbot.addWidget(made)
    return made


def test_a_box_shows_the_layer_of_each_channel_and_its_new_name(chooser, viewer):
    assert chooser.texts() == ["a", "b"]
    viewer.layers["a"].name = "nuclei of well B03"
    assert chooser.texts() == ["nuclei of well B03", "b"]
    viewer.layers.remove(viewer.layers["b"])
    assert chooser.texts()[1] == ""
    assert "Choose the layer that shows TMRM" in chooser.tell()


def test_a_box_changes_the_choice_of_all_docks(qtbot, chooser, viewer):
    other = LayerChooser(viewer)
    qtbot.addWidget(other)
    first, second = chooser.findChildren(QComboBox)
    first.setCurrentText("b")
    assert state_of(viewer).image.chosen == (viewer.layers["b"],) * 2
    assert other.texts() == ["b", "b"]
    assert "'b': found it chosen for two channels" in other.tell()
    second.setCurrentText("a")
    assert "'b' was chosen for DAPI, and its file calls it TMRM" in other.tell()


def test_files_are_confirmed_to_show_one_field_with_a_tick(chooser, viewer):
    confirm = chooser.findChild(QCheckBox)
    assert confirm.isHidden()
    viewer.add_layer(raw("m", "TMRM", source="B.ome.tif"))
    boxes = chooser.findChildren(QComboBox)
    boxes[0].setCurrentText("a")
    assert not confirm.isHidden()
    assert "only where you say that they show one field" in chooser.tell()
    confirm.setChecked(True)
    assert state_of(viewer).image.several_files
    assert "they were put together as one field" in chooser.tell()
    boxes[1].setCurrentText("b")
    assert not confirm.isChecked()
    assert confirm.isHidden()


def test_a_long_line_takes_a_second_one_and_keeps_both_ends(qtbot, viewer):
    for layer, channel in zip(list(viewer.layers), ("TMRM", "DAPI"), strict=True):
        layer.name = channel
        source = f"simulated scene 147 (seed 0), {'very ' * 60}long.ome.tif"
        layer.metadata = {"napari_why": {"channel": channel, "source": source}}
    chooser = LayerChooser(viewer, folded=True)
    qtbot.addWidget(chooser)
    for width in (500, 320, 200):
        chooser.resize(width, 200)
        with qtbot.waitExposed(chooser):
            chooser.show()
        qtbot.wait(20)
        lines = chooser.line.text().split("\n")
        assert len(lines) == 2
        assert lines[0].endswith("Image: simulated") or "Image: simulated scene" in lines[0]
        assert "\u2026" in lines[1]
        assert lines[1].endswith("DAPI, TMRM")
        words = chooser.line.fontMetrics()
        assert all(words.horizontalAdvance(line) < chooser.line.width() for line in lines)
        assert chooser.line.height() >= 2 * words.height()
        chooser.hide()
    assert "very very" in chooser.line.toolTip()
    assert chooser.line.minimumSizeHint().width() == 1


@pytest.fixture
def line(qtbot):
    """A line 300 pixels wide, shown."""
    holder = QWidget()
    qtbot.addWidget(holder)
    made = FoldLine(holder)
    made.resize(300, 40)
    with qtbot.waitExposed(holder):
        holder.show()
    yield made  # a child, which goes with what holds it


def drawn(line):
    """The lines that are seen, and whether each lies inside."""
    option = QStyleOptionButton()
    line.initStyleOption(option)
    part = QStyle.SubElement.SE_PushButtonContents
    width = line.style().subElementRect(part, option, line).width()
    size = [
        line.fontMetrics().size(Qt.TextFlag.TextShowMnemonic, text).width()
        for text in line.text().split("\n")
    ]
    return [text.replace("&&", "&") for text in line.text().split("\n")], max(size) <= width


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.setStyleSheet(line.styleSheet() + "font-size: 30px;"),
        lambda line: line.parent().setStyleSheet("QPushButton { font-size: 30px; }"),
        lambda line: line.setStyleSheet(line.styleSheet() + "padding: 2px 90px;"),
    ],
)
def test_a_line_is_broken_anew_where_letters_or_margins_grow(line, change):
    line.show_text("Image: " + "very " * 60 + "long: DAPI")
    before = line.text()
    assert drawn(line)[1]
    change(line)
    lines, is_inside = drawn(line)
    assert line.text() != before
    assert is_inside
    assert len(lines) == 2
    assert lines[1].endswith("DAPI") or "\u2026" in lines[1]


def test_a_line_is_broken_anew_with_another_font(line):
    line.setStyleSheet("")
    line.show_text("Image: " + "very " * 60 + "long: DAPI")
    before, font = line.text(), line.font()
    font.setPointSize(3 * font.pointSize())
    line.setFont(font)
    assert line.text() != before
    assert drawn(line)[1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\t", "   "])
def test_names_with_line_breaks_and_spaces_take_no_further_lines(line, end):
    line.show_text(f"Image: A01{end}DAPI{end}")
    assert drawn(line) == (["Image: A01 DAPI"], True)
    line.show_text(f"Image: {'very ' * 60}{end}DAPI{end}TMRM" + end * 200)
    lines, is_inside = drawn(line)
    assert is_inside
    assert len(lines) == 2
    assert lines[1].endswith("DAPI TMRM")


def test_ampersands_are_as_wide_as_they_are_drawn(line):
    line.show_text("Image: " + "R&D & " * 40 + "end")
    lines, is_inside = drawn(line)
    assert is_inside
    words = line.fontMetrics()
    # one more word would not fit: none is measured as two
    assert words.horizontalAdvance(lines[0] + " R&D") > line.width() - 20
    assert lines[1].startswith(("R&D", "&"))
    assert lines[1].endswith("R&D & end")


def test_folded_it_is_one_line_that_unfolds(qtbot, viewer):
    chooser = LayerChooser(viewer, folded=True)
    qtbot.addWidget(chooser)
    chooser.show()
    assert chooser.line.text().endswith("Image: A: a, b")
    assert not any(box.isVisible() for box in chooser.findChildren(QComboBox))
    chooser.line.click()
    assert all(box.isVisible() for box in chooser.findChildren(QComboBox))


def test_what_the_pixels_show_stands_beside_what_is_odd(chooser):
    chooser.show_found(["the brightness of TMRM is unlike that of the training images"])
    assert chooser.tell() == "the brightness of TMRM is unlike that of the training images."
    chooser.show_found([])
    assert chooser.tell() == ""


def test_released_it_follows_no_more(chooser, viewer):
    chooser.release()
    viewer.layers["a"].name = "other"
    assert chooser.texts() == ["a", "b"]
    chooser.follow()
    assert chooser.texts() == ["other", "b"]
