"""Failures in words."""

import numpy as np
import pytest

from napari_why.core.errors import MismatchError
from napari_why.widgets.dock import COLOURS, TINGE, MessageArea, describe_error


def test_torch_running_out_of_gpu_memory_is_told_in_words():
    torch = pytest.importorskip("torch")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert isinstance(error, RuntimeError)
    assert describe_error(error).startswith("Not enough memory. Close other programs")
    assert "device: cpu" in describe_error(error)


def test_numpy_running_out_of_memory_is_told_in_words():
    with pytest.raises(MemoryError) as caught:
        np.zeros((2**45, 2**10))
    assert describe_error(caught.value).startswith("Not enough memory.")


def test_an_error_of_ours_speaks_for_itself():
    assert (
        describe_error(MismatchError("found 1 channel; expected 2"))
        == "found 1 channel; expected 2"
    )


def test_a_missing_file_is_named(tmp_path):
    missing = tmp_path / "gone.tif"
    with pytest.raises(FileNotFoundError) as caught:
        missing.open()
    assert describe_error(caught.value) == f"{missing}: No such file or directory."


def test_the_area_takes_no_room_when_there_is_nothing_to_say(qtbot):
    area = MessageArea()
    qtbot.addWidget(area)
    assert area.isHidden()
    area.tell_error(MismatchError("found 1 channel; expected 2"))
    assert not area.isHidden()
    assert (area.text(), area.kind) == ("found 1 channel; expected 2", "error")
    area.clear()
    assert area.isHidden()


def test_nothing_is_said_twice_also_of_several_lines(qtbot):
    area = MessageArea()
    qtbot.addWidget(area)
    for text in ("one line", "two\nlines", "two\nlines", "lines", "one line"):
        area.add(text, "warning")
    assert area.text() == "one line\ntwo\nlines"
    area.add("another", "information")
    assert (area.text().split("\n")[-1], area.kind) == ("another", "warning")
    area.tell("two\nlines")
    assert (area.text(), area.kind) == ("two\nlines", "information")


def luminance(colour):
    """Relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("kind", ["warning", "error"])
def test_messages_can_be_read_in_both_themes(qtbot, theme, kind):
    from napari.utils.theme import get_theme

    area = MessageArea()
    qtbot.addWidget(area)
    area.tell("Something is wrong", kind)
    assert COLOURS[kind] in area.styleSheet()
    assert "; color" not in area.styleSheet(), "the text wears the theme's own colour"
    colours = get_theme(theme)
    text, ground = (
        np.array(c.as_rgb_tuple()[:3]) / 255 for c in (colours.text, colours.background)
    )
    tinge = np.array([int(part) / 255 for part in COLOURS[kind].split(",")])
    behind = ground + (tinge - ground) * TINGE / 255
    light, dark = sorted((luminance(text), luminance(behind)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
