"""Torch can be loaded beside an open window, and its libraries open without Python's lock."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from napari_why.core.torch_loading import load_torch_libraries

TORCH_AFTER_A_WINDOW = """
import os, sys
import numpy as np
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
viewer.add_image(np.zeros((8, 8)))
viewer.screenshot(canvas_only=False, flash=False)
QApplication.processEvents()
assert "torch" not in sys.modules
import napari_why as why
why.fit
from napari_why.core.torch_loading import import_torch
import_torch()
assert {"torch", "torchvision"} <= set(sys.modules)
if sys.platform == "linux":
    import triton
sys.stdout.write("loaded")
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.skipif(
    find_spec("triton") is None, reason="this torch comes without triton, so nothing can clash"
)
def test_torch_and_triton_load_after_a_window_was_drawn():
    """Mesa's LLVM and triton's do not meet: without care this ends in a crash."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", TORCH_AFTER_A_WINDOW],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "loaded"


def test_opening_the_libraries_twice_is_harmless():
    assert load_torch_libraries() == load_torch_libraries()
