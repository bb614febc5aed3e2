"""The one place that adds layers to a viewer, replaces them and takes them away.

napari 0.9.2 with vispy 0.17 dies in drawing (a segmentation fault, seen with software OpenGL) where
layers are removed and others added before a frame was drawn. So a layer that shows the same kind of
thing again is given other data; any other is added first, and what it replaces goes once it was drawn.
"""

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer

if TYPE_CHECKING:
    from napari.components import ViewerModel

# What places a layer in the world, and how it looks; set only where it differs, since each setting
# has the viewer work out its axes or draw anew.
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
LOOK = ("opacity", "blending", "visible")
LOOK_OF_IMAGES = ("colormap", "contrast_limits_range", "contrast_limits", "gamma")


class Pause(Enum):
    """What a change waits for before its next step."""

    TURN = auto()
    FRAME = auto()


class LayerChange:
    """Layers that come into a viewer, and those that they replace.

    Parameters
    ----------
    viewer : ViewerModel
    layers : sequence of Layer
        What is to be shown.
    replacing : sequence of Layer, optional
        Layers in the viewer that show it no more. As many of them as fit, in their order, are given
        the data and looks of the new layers; the others are removed at the end.
    reuse : bool
        False: none of them is given other data. Whoever follows a layer, as of a result, follows it.

    Attributes
    ----------
    layers : list of Layer
        Those that are in the viewer afterwards, in the order of ``layers``: some of ``replacing``
        may be among them.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> viewer = ViewerModel()
    >>> first = LayerChange(viewer, [Image(np.zeros((4, 4)), name="A01")])
    >>> first.make()
    >>> second = LayerChange(viewer, [Image(np.ones((4, 4)), name="A02")], first.layers)
    >>> second.make()
    >>> second.layers == first.layers, [layer.name for layer in viewer.layers]
    (True, ['A02'])
    """

    def __init__(
        self,
        viewer: "ViewerModel",
        layers: Sequence[Layer],
        replacing: Sequence[Layer] = (),
        *,
        reuse: bool = True,
    ) -> None:
        self._viewer = viewer
        self._given = list(layers)
        before = [layer for layer in replacing if layer in viewer.layers]
        self._reused: dict[int, Layer] = {}
        for place, (old, new) in enumerate(zip(before, layers, strict=False)):
            if reuse and _shows_the_like(old, new):
                self._reused[place] = old
        self._leaving = [layer for layer in before if layer not in self._reused.values()]
        self.layers = [self._reused.get(i, layer) for i, layer in enumerate(self._given)]

    def steps(self) -> Iterator[Pause]:
        """Do a step each time the next is asked for, so that a viewer can work in between.

        Making a layer's picture, and its colour bar, takes napari some tens of milliseconds each.

        Yields
        ------
        Pause
            What to wait for before the next step is asked for.
        """
        for place, new in enumerate(self._given):
            old = self._reused.get(place)
            if old is None:
                yield from self._add(new)
            elif old in self._viewer.layers:  # a user may have removed it meanwhile
                _show_instead(old, new)
                yield Pause.TURN
        if self._leaving:
            yield Pause.FRAME
            for layer in self._leaving:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)
        # whoever keeps this keeps no pixels that the viewer shows no more
        self._given, self._leaving = [], []
        self._reused.clear()

    def make(self) -> None:
        """Do all steps here and now, for scripts."""
        for _ in self.steps():
            pass

    def _add(self, layer: Layer) -> Iterator[Pause]:
        # A colour bar is drawn by another library: it gets a turn of its own.
        with_bar = isinstance(layer, Image) and layer.colorbar.visible
        if with_bar:
            layer.colorbar.visible = False
        self._viewer.add_layer(layer)
        yield Pause.TURN
        if with_bar:
            layer.colorbar.visible = True
            yield Pause.TURN


def _shows_the_like(old: Layer, new: Layer) -> bool:
    """Whether a layer can take the data of another without being made anew."""
    if type(old) is not type(new) or not isinstance(old, Image | Labels) or old.ndim != new.ndim:
        return False
    if old.multiscale or new.multiscale:
        return False
    if isinstance(old, Image) and isinstance(new, Image) and old.rgb != new.rgb:
        return False
    return bool(np.dtype(old.data.dtype) == np.dtype(new.data.dtype))


def _show_instead(old: Layer, new: Layer) -> None:
    """Give a layer the data, place, looks and name of another; its name last, when all is there."""
    old.data = new.data
    names = [*PLACE, *LOOK, *(LOOK_OF_IMAGES if isinstance(old, Image) else ())]
    for name in names:
        wanted = getattr(new, name)
        if not _same(getattr(old, name), wanted):
            setattr(old, name, wanted)
    if isinstance(old, Image) and isinstance(new, Image):
        old.colorbar.visible = new.colorbar.visible
    if isinstance(old, Labels):
        old.features = new.features
        if isinstance(new, Labels):
            old.selected_label = new.selected_label
    old.metadata = new.metadata
    old.name = new.name


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, str | bool):
        return bool(first == second)
    try:
        return bool(np.array_equal(np.asarray(first), np.asarray(second)))
    except (TypeError, ValueError):
        return False
