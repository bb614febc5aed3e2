"""Failures in words."""

import numpy as np
import pytest

from napari_why.core.errors import MismatchError
from napari_why.widgets.dock import MessageArea, describe_error


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
