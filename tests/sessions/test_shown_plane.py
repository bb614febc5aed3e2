"""The plane that is explained is the one that the viewer shows, or it is refused in words."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_why.core.errors import MismatchError
from napari_why.sessions import shown_plane

STACK = np.zeros((5, 8, 9), np.uint16)
MOVIE = np.zeros((3, 5, 8, 9), np.uint16)


def show(data, *, others=(), **options):
    """Return a viewer with a layer, and others beside it."""
    viewer = ViewerModel()
    layer = viewer.add_image(data, name="DAPI", **options)
    for other in others:
        viewer.add_image(other)
    return viewer, layer


def seen(layer) -> tuple[int, ...]:
    """Return the plane that napari itself slices, by asking which value is drawn."""
    marked = np.zeros(layer.data.shape, np.int32)
    flat = marked.reshape(-1, *marked.shape[-2:])
    flat[:] = np.arange(len(flat))[:, None, None]
    layer.data = marked
    layer.refresh()
    # the value of what is drawn, wherever the slider and the data are
    number = int(layer.get_value(np.zeros(layer.ndim), world=False))
    return tuple(map(int, np.unravel_index(number, marked.shape[:-2])))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": (2, 1, 1)},
        {"scale": (2, 0.5, 0.5), "translate": (10, 3, -4)},
        {"scale": (-2, 1, 1)},
        {"scale": (2, 0.65, 0.65), "units": ("um", "um", "um")},
        {"rotate": (0, 0, 30)},
        {"affine": np.diag([3.0, 1, 1, 1])},
    ],
)
@pytest.mark.parametrize("step", [0, 3])
def test_a_plane_of_a_stack_is_the_one_that_is_drawn(options, step: int) -> None:
    viewer, layer = show(STACK, **options)
    viewer.dims.set_current_step(0, step)
    assert shown_plane(viewer, layer) == seen(layer)


def test_a_time_point_and_a_plane() -> None:
    viewer, layer = show(MOVIE, scale=(1, 2, 1, 1))
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 4)
    assert shown_plane(viewer, layer) == seen(layer) == (2, 4)


def test_a_stack_beside_layers_of_more_axes_and_other_units() -> None:
    viewer, layer = show(STACK, scale=(2, 1, 1), units=("um", "um", "um"))
    viewer.add_image(
        np.zeros((4, 5, 8, 9)), scale=(1, 2000, 1000, 1000), units=("", "nm", "nm", "nm")
    )
    viewer.dims.set_current_step(1, 3)
    assert shown_plane(viewer, layer) == seen(layer) == (3,)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_a_rolled_view_shows_no_plane(order) -> None:
    viewer, layer = show(STACK)
    viewer.dims.order = order
    with pytest.raises(
        MismatchError,
        match=r"the viewer shows its axes [tzyx], [tzyx]; expected a plane of y and x",
    ):
        shown_plane(viewer, layer)


def test_a_transposed_view_shows_the_same_plane() -> None:
    viewer, layer = show(STACK)
    viewer.dims.set_current_step(0, 2)
    viewer.dims.order = (0, 2, 1)
    assert shown_plane(viewer, layer) == (2,)


def test_a_volume_is_no_plane() -> None:
    viewer, layer = show(STACK)
    viewer.dims.ndisplay = 3
    with pytest.raises(MismatchError, match="leave the 3D view"):
        shown_plane(viewer, layer)


@pytest.mark.parametrize("data", [STACK[0], STACK[:1]])
def test_the_only_plane_is_shown_however_the_view_is_turned(data) -> None:
    viewer, layer = show(data, others=[STACK])
    for order in ((0, 1, 2), (1, 0, 2)):
        viewer.dims.order = order
        assert shown_plane(viewer, layer) == (0,) * (data.ndim - 2)
    viewer.dims.ndisplay = 3
    assert shown_plane(viewer, layer) == (0,) * (data.ndim - 2)


def test_a_slider_beyond_the_layer_shows_none_of_its_planes() -> None:
    viewer, layer = show(STACK, others=[np.zeros((9, 8, 9))])
    viewer.dims.set_current_step(0, 7)
    with pytest.raises(MismatchError, match=r"position 7 along .*it has 0 to 4"):
        shown_plane(viewer, layer)


def test_a_thick_slice_is_no_plane() -> None:
    viewer, layer = show(STACK, projection_mode="mean")
    viewer.dims.set_current_step(0, 2)
    viewer.dims.thickness = (3, 1, 1)
    with pytest.raises(MismatchError, match="the mean of planes"):
        shown_plane(viewer, layer)


def test_a_layer_that_is_turned_out_of_the_plane_is_refused() -> None:
    viewer, layer = show(STACK, rotate=(20, 0, 0))
    with pytest.raises(MismatchError, match="turned out of the plane"):
        shown_plane(viewer, layer)
