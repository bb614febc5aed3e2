"""One place changes the layers of a viewer: in place where it can, else the new ones first."""

import ast
import gc
from pathlib import Path
from weakref import ref

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_why.sessions import LayerChange, Pause

SOURCE = Path(__file__).parents[2] / "src" / "napari_why"
# The first is the place. The demo makes a viewer of its own and only adds to it, before it is shown.
ALLOWED = {"sessions/layers_in_viewer.py", "demo_window.py"}
OF_VIEWERS = {"add_layer", "add_image", "add_labels", "add_points", "add_shapes", "open"}
OF_LISTS = {"append", "clear", "extend", "insert", "pop", "remove"}


def changes_of_layers(tree: ast.AST) -> list[int]:
    """Return the lines that add layers to a viewer or take them away."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            on = ast.unparse(node.func.value)
            of_list = node.func.attr in OF_LISTS and on.endswith("viewer.layers")
            if of_list or (node.func.attr in OF_VIEWERS and on.endswith("viewer")):
                lines.append(node.lineno)
        if isinstance(node, ast.Delete):
            lines += [node.lineno for item in node.targets if ".layers[" in ast.unparse(item)]
    return lines


@pytest.mark.parametrize(
    "line",
    ["viewer.add_layer(x)", "self._viewer.layers.remove(x)", "del viewer.layers[0]"],
)
def test_changes_are_found(line):
    assert changes_of_layers(ast.parse(f"import napari\n{line}")) == [2]


def test_no_other_place_adds_layers_or_takes_them_away():
    found = {
        str(path.relative_to(SOURCE)): changes_of_layers(ast.parse(path.read_text("utf-8")))
        for path in SOURCE.rglob("*.py")
    }
    assert {name for name, lines in found.items() if lines} == ALLOWED


def images(count, value=0, **options):
    return [
        Image(np.full((4, 5), value, np.uint8), name=f"{value} {index}", **options)
        for index in range(count)
    ]


def test_layers_of_one_kind_are_given_new_data_and_looks():
    viewer, first = ViewerModel(), images(2, 1, colormap="green")
    LayerChange(viewer, first).make()
    wanted = images(2, 2, scale=(3, 3), translate=(7, 8), contrast_limits=(1, 9), colormap="red")
    wanted[0].metadata["said"] = "so"
    change = LayerChange(viewer, wanted, first)
    change.make()
    assert change.layers == first == list(viewer.layers)
    for old, new in zip(first, wanted, strict=True):
        np.testing.assert_array_equal(old.data, new.data)
        for name in ("scale", "translate", "contrast_limits"):
            np.testing.assert_array_equal(getattr(old, name), getattr(new, name))
        assert (old.name, old.metadata, old.colormap.name) == (new.name, new.metadata, "red")


@pytest.mark.parametrize(
    "other",
    [
        Labels(np.zeros((4, 5), int)),
        Image(np.zeros((2, 4, 5), np.uint8)),
        Image(np.zeros((4, 5), np.float32)),
        Image(np.zeros((4, 5, 3), np.uint8), rgb=True),
    ],
)
def test_what_is_of_another_kind_goes_after_the_new_was_drawn(other):
    viewer, (old,) = ViewerModel(), images(1)
    LayerChange(viewer, [old]).make()
    steps = LayerChange(viewer, [other], [old]).steps()
    seen = [(pause, [*viewer.layers]) for pause in steps]
    assert seen[-1] == (Pause.FRAME, [old, other])
    assert list(viewer.layers) == [other]


def test_fewer_and_more_layers_and_one_that_was_removed_meanwhile():
    viewer, first = ViewerModel(), images(3)
    LayerChange(viewer, first).make()
    LayerChange(viewer, images(1, 5), first).make()
    assert list(viewer.layers) == first[:1]
    change = LayerChange(viewer, images(3, 6), first)
    steps = change.steps()
    viewer.layers.remove(first[0])
    list(steps)
    assert [layer.name for layer in viewer.layers] == ["6 1", "6 2"]


def test_a_colour_bar_comes_in_a_turn_of_its_own():
    viewer, (layer,) = ViewerModel(), images(1)
    layer.colorbar.visible = True
    seen = [layer.colorbar.visible for _ in LayerChange(viewer, [layer]).steps()]
    assert seen == [False, True]


def change_and_gone():
    """Return a change that was made, and the layers that it took away; in a function that ends.

    napari looks at the variables of those who call it, which keeps them alive as long as these run.
    """
    viewer, first = ViewerModel(), images(2)
    LayerChange(viewer, first).make()
    change = LayerChange(viewer, [Labels(np.zeros((4, 5), int)), *images(1, 3)], first)
    change.make()
    return change, [ref(layer) for layer in first if layer not in viewer.layers]


def test_a_change_that_was_made_keeps_no_layer_alive_that_is_gone():
    change, gone = change_and_gone()
    gc.collect()
    assert [found() for found in gone] == [None]
    assert len(change.layers) == 2
