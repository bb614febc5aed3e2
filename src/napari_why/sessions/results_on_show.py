"""The results that were made in a viewer, one of which is on show: the others are hidden, not gone."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils import Colormap
from psygnal import Signal

from napari_why.core.pictures import GREY
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.raw_layers import image_of_layer
from napari_why.sessions.colour_bar import write_bar

if TYPE_CHECKING:
    from napari.components import ViewerModel

# What all channels together add up to where each is brightest, 1 being white; a little more, since
# hardly a pixel is brightest in all of them.
BRIGHTEST_GREY = 1.2
# Between image, result and channel in the names of layers.
SEPARATOR = " · "


class OtherFinding(NamedTuple):
    """The layers of a result that is about no raw layers, such as maps of classes.

    ``hides_images``: they bring their own, and none that was there is to be seen below or around them.
    """

    layers: list[Layer]
    result: Any = None
    subject: Any = None
    hides_images: bool = False


class KeptResult(NamedTuple):
    """What a saved session keeps of a result beside its layers, all of which are in the viewer.

    Parameters
    ----------
    layers : list of Layer
    about : list of Layer
        The raw layers that it explains.
    hides_images : bool
        Whether images that it would lie over are hidden while it is on show.
    covers : list of Layer or None
        The images that are hidden for it; None while it hides none.
    seen : list of Layer or None
        Of a hidden one, which of its layers are seen once it is on show; None of one that is not hidden.
    shown : bool
        Whether it is the one on show.
    is_of_other_pixels : bool
        Whether the raw layers show another image than the one that it is about.
    """

    layers: list[Layer]
    about: list[Layer]
    hides_images: bool
    covers: list[Layer] | None
    seen: list[Layer] | None
    shown: bool
    is_of_other_pixels: bool = False


class RawLayers(NamedTuple):
    """What a result of a saved session is about, as far as that is known."""

    layers: tuple[Image, ...]


class MadeResult:
    """A result in a viewer: what was found, whose it is, and its layers.

    Parameters
    ----------
    finding : Finding
        The result and what it is about.
    owner : object
        The session that made it, held weakly.

    Attributes
    ----------
    about : tuple of Image layers
        The raw layers that are explained.
    kept : dict
        What else the owner knows of it, such as its measurement.
    hides_images : bool
        Whether images that it would lie over are hidden while it is on show.
    """

    def __init__(self, finding: Any, owner: Any) -> None:
        self.finding = finding
        subject = finding.subject
        self.about: tuple[Image, ...] = () if subject is None else tuple(subject.layers)
        self.kept: dict[str, Any] = {}
        self.hides_images: bool = getattr(finding, "hides_images", False)
        self._owner = ref(owner)
        # weak: a layer that the user removes gives its memory back
        self._layers = [ref(layer) for layer in finding.layers]
        self.visibility: WeakKeyDictionary[Layer, bool] = WeakKeyDictionary()
        # the images that are hidden for it; None while it hides none
        self.covered: WeakKeyDictionary[Layer, None] | None = None
        # which pixels the raw layers hold now: they may be given those of another image
        self._pixels = [id(layer.data) for layer in self.about]

    @property
    def is_of_other_pixels(self) -> bool:
        """Whether the raw layers show another image by now than the one that it is about."""
        return self._pixels != [id(layer.data) for layer in self.about]

    def doubt_pixels(self) -> None:
        """Take the raw layers to show another image than the one that it is about, whatever they hold."""
        self._pixels = []

    @property
    def owner(self) -> Any:
        """The session that made it, None once it is gone."""
        return self._owner()

    @property
    def layers(self) -> list[Layer]:
        """Its layers that are still alive, those of its measurement too."""
        return [layer for held in self._layers if (layer := held()) is not None]

    @property
    def title(self) -> str:
        """What people call it: image, method and class, as its layers are named but for the channel."""
        layers = self.layers
        return (layers[0].name.rpartition(SEPARATOR)[0] or layers[0].name) if layers else ""

    @property
    def is_series(self) -> bool:
        """Whether it has a slider of its own."""
        return any(LayerFacts.of(layer).is_series for layer in self.layers)

    def take(self, layers: Sequence[Layer]) -> None:
        """Count further layers among its own."""
        known = self.layers
        self._layers += [
            ref(layer) for layer in layers if not any(layer is other for other in known)
        ]


class ResultsOnShow:
    """All results of one viewer, whichever session made them.

    A new result hides the former one: two maps over each other would be a picture of nothing. A
    layer of a hidden one that is selected or made visible brings it back as it was. Results of
    images that lie beside each other stay together.

    Attributes
    ----------
    changed : psygnal.Signal
        Emitted with the :class:`MadeResult` that is on show now, or None.
    grey_changed : psygnal.Signal
        Emitted with whether channels are shown in grey below a result.
    """

    changed = Signal(object)
    grey_changed = Signal(bool)

    def __init__(self, viewer: "ViewerModel") -> None:
        self._viewer = ref(viewer)
        self._made: list[MadeResult] = []
        self._shown: MadeResult | None = None
        self._grey = True
        self._colours: WeakKeyDictionary[Layer, Colormap] = WeakKeyDictionary()
        self._working = 0
        self._newcomer: ref[Layer] | None = None
        self._followed: WeakKeyDictionary[Layer, None] = WeakKeyDictionary()
        viewer.layers.events.inserted.connect(self._layer_came)
        viewer.layers.events.removing.connect(self._layer_goes)
        viewer.layers.events.removed.connect(self._layer_went)
        viewer.layers.selection.events.active.connect(self._layer_selected)
        viewer.dims.events.range.connect(self._keep_slider)
        viewer.canvas.events.background_color.connect(self._write_title)

    @property
    def made(self) -> list[MadeResult]:
        """Every result that has a layer in the viewer, the newest last."""
        return list(self._made)

    @property
    def shown(self) -> MadeResult | None:
        """The one that is on show."""
        return self._shown

    @property
    def grey(self) -> bool:
        """Whether the channels below a result, and those of a series, are shown in grey."""
        return self._grey

    @grey.setter
    def grey(self, grey: bool) -> None:
        if grey != self._grey:
            self._grey = grey
            self._colour_channels()
            self.grey_changed.emit(grey)

    def add(self, finding: Any, owner: Any) -> MadeResult:
        """Put a new result on show, whose layers are about to be added.

        Parameters
        ----------
        finding : Finding
            With its layers.
        owner : object
            Who follows it: the session, say.

        Returns
        -------
        MadeResult
        """
        made = self._begin(finding, owner)
        self.put_on_show(made)
        return made

    def _begin(self, finding: Any, owner: Any) -> MadeResult:
        """Count a result among those of the viewer."""
        made = MadeResult(finding, owner)
        self._made.append(made)
        for layer in made.about:
            # once for each, and held weakly
            layer.events.data.connect(self._write_title)
            layer.events.visible.connect(self._write_title)
        return made

    def add_layers_alone(
        self, layers: Sequence[Layer], *, hides_images: bool = False
    ) -> MadeResult | None:
        """Put a result on show that no session follows; None where the layers are of none.

        Parameters
        ----------
        layers : sequence of Layer
            About to be added.
        hides_images : bool
            Images that it would lie over are hidden while it is on show.

        Returns
        -------
        MadeResult or None
        """
        results = [layer for layer in layers if LayerFacts.of(layer).is_result]
        finding = OtherFinding(results, hides_images=hides_images)
        return self.add(finding, self) if results else None

    def keep(self) -> list[KeptResult]:
        """Return what a saved session keeps of each result, the oldest first."""
        return [
            KeptResult(
                made.layers,
                list(made.about),
                made.hides_images,
                None if made.covered is None else list(made.covered),
                [layer for layer, seen in made.visibility.items() if seen]
                if made.visibility
                else None,
                made is self._shown,
                made.is_of_other_pixels,
            )
            for made in self._made
        ]

    def bring_back(self, results: Sequence[KeptResult], opened: Sequence[Layer] = ()) -> None:
        """Count results of a saved session among those of the viewer, which has their layers by now.

        Parameters
        ----------
        results : sequence of KeptResult
            The oldest first; the one that was on show is on show again.
        opened : sequence of Layer
            All layers of the session. Others that a result would lie over are hidden for it too; of these
            only those that were.
        """
        shown = None
        own = {id(layer) for layer in opened}
        for kept in results:
            about = RawLayers(tuple(layer for layer in kept.about if isinstance(layer, Image)))
            finding = OtherFinding(kept.layers, subject=about, hides_images=kept.hides_images)
            made = self._begin(finding, self)
            for layer in kept.layers:
                self._follow(layer)
                if kept.seen is not None:
                    made.visibility[layer] = any(layer is other for other in kept.seen)
            if kept.is_of_other_pixels:
                made.doubt_pixels()
            if kept.covers is not None:
                others = [layer for layer in self._images_below(made) if id(layer) not in own]
                self._hide_for(made, [*kept.covers, *others])
            shown = made if kept.shown else shown
        if shown is not None:
            self.put_on_show(shown)

    def of_layer(self, layer: Layer | None) -> MadeResult | None:
        """Return the result that a layer is of."""
        found = (made for made in self._made if any(own is layer for own in made.layers))
        return next(found, None)

    def put_on_show(self, made: MadeResult) -> None:
        """Show a result as it was when it was hidden, and hide those that it would lie over."""
        with self._at_work():
            for other in self._made:
                if other is not made and _disturb(other, made):
                    self._hide(other)
            if made.hides_images and made.covered is None:
                self._hide_for(made, self._images_below(made))
            for layer, visible in made.visibility.items():
                layer.visible = visible
            made.visibility.clear()
            self._shown = made
            self._colour_channels()
        self._keep_slider()
        self._write_title()
        self.changed.emit(made)

    def gather(self, made: MadeResult) -> None:
        """Let the layers of one image stand together: those of other images go below it."""
        viewer = self._viewer()
        if viewer is None or not made.about:
            return
        image = image_of_layer(made.about[0])
        others = []
        for index, layer in enumerate(viewer.layers):
            result = self.of_layer(layer)
            about = result.about[0] if result is not None and result.about else layer
            # what is neither a channel nor a result, cells say, stays where it is
            is_channel = isinstance(about, Image) and not LayerFacts.of(about).is_result
            if is_channel and about not in made.about and image_of_layer(about) != image:
                others.append(index)
        if others and others != list(range(len(others))):
            with self._at_work():
                viewer.layers.move_multiple(others, 0)

    def hide_those_about(self, layers: Sequence[Layer]) -> None:
        """Hide the results of raw layers that are about to show another image."""
        with self._at_work():
            for made in self._made:
                if any(own is layer for own in made.about for layer in layers):
                    self._hide(made)
        shown = self._shown
        if shown is not None and any(own is layer for own in shown.about for layer in layers):
            self._let_go()

    def _images_below(self, made: MadeResult) -> list[Layer]:
        """Return the images that a result would lie over, as far as they would be seen."""
        viewer, place = self._viewer(), _box(made)
        found: list[Layer] = []
        for layer in () if viewer is None else viewer.layers:
            is_image = isinstance(layer, Image | Labels) and not LayerFacts.of(layer).is_result
            would_be_seen = is_image and self.own_visibility(layer)
            if would_be_seen and (place is None or place.meets(_box_of(layer))):
                found.append(layer)
        return found

    def _hide_for(self, made: MadeResult, images: Sequence[Layer]) -> None:
        """Hide images as long as a result is on show."""
        covered: WeakKeyDictionary[Layer, None] = WeakKeyDictionary()
        with self._at_work():
            for layer in images:
                covered[layer] = None
                layer.visible = False
                layer.events.visible.connect(self._image_shown)
        made.covered = covered

    def _uncover(self, made: MadeResult) -> None:
        """Show the images again that were hidden for a result, unless another one lies over them too."""
        covered, made.covered = made.covered, None
        for layer in covered or ():
            if not self._is_covered(layer):
                layer.visible = True

    def _is_covered(self, layer: Layer) -> bool:
        return any(made.covered is not None and layer in made.covered for made in self._made)

    def _image_shown(self, event: Any) -> None:
        """Leave an image to the user who has shown it: it is as they want it from now on."""
        if self._working:
            return
        for made in self._made:
            if made.covered is not None:
                made.covered.pop(event.source, None)

    def _let_go(self) -> None:
        self._shown = None
        with self._at_work():
            self._colour_channels()
        self._write_title()
        self.changed.emit(None)

    def _hide(self, made: MadeResult) -> None:
        for layer in made.layers:
            if layer not in made.visibility:
                made.visibility[layer] = layer.visible
            # napari draws all overlays anew when it is told again what is hidden already
            if layer.visible:
                layer.visible = False
        self._uncover(made)

    def own_visibility(self, layer: Layer) -> bool:
        """Return whether a layer is seen while no result hides the images below it."""
        return bool(layer.visible) or self._is_covered(layer)

    def own_colour(self, layer: Image) -> "Colormap":
        """Return the colour that a layer has while no result lies over it."""
        # whoever has chosen another colour than the grey meanwhile means that
        return (
            self._colours.get(layer, layer.colormap)
            if layer.colormap.name == GREY
            else layer.colormap
        )

    def _colour_channels(self) -> None:
        """Show the channels that the result on show is about in grey, all others in their colour."""
        groups: list[list[Layer]] = []
        if self._shown is not None and self._grey:
            groups = [
                list(self._shown.about),
                [layer for layer in self._shown.layers if _is_channel(layer)],
            ]
        about = [layer for group in groups for layer in group]
        for layer, colour in list(self._colours.items()):
            if not any(layer is other for other in about):
                del self._colours[layer]
                # whoever has chosen another colour meanwhile keeps it
                if isinstance(layer, Image) and layer.colormap.name == GREY:
                    layer.colormap = colour
        for group in groups:
            for layer in group:
                if isinstance(layer, Image) and layer not in self._colours and not layer.rgb:
                    self._colours[layer] = layer.colormap
                    layer.colormap = grey(len(group))

    def _write_title(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        viewer, shown = self._viewer(), self._shown
        if viewer is None:
            return
        if shown is None:
            write_bar(viewer, (), ())
            return
        there = [layer for layer in shown.layers if layer in viewer.layers]
        below = [*shown.about, *filter(_is_channel, there)]
        doubt = "the channels below show another image by now" if shown.is_of_other_pixels else ""
        write_bar(viewer, there, below, doubt)

    def _keep_slider(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        """Let the slider reach as far as the series on show: napari counts hidden ones in."""
        viewer, made = self._viewer(), self._shown
        if viewer is None or made is None:
            return
        there = [layer for layer in made.layers if layer in viewer.layers]
        series = next((layer for layer in there if LayerFacts.of(layer).is_series), None)
        if series is None:
            return
        axis = viewer.dims.ndim - series.ndim
        # less than 0 as long as napari has not counted the axes of a new layer
        if axis < 0 or _others_have(viewer, axis):
            return
        alphas = LayerFacts.of(series).alphas
        step = float(series.scale[0])
        wanted = (float(alphas[0]), float(alphas[-1]), step)
        if not np.allclose(tuple(viewer.dims.range[axis]), wanted):
            viewer.dims.set_range(axis, wanted)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Tell what is done here from what the user does."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def _layer_came(self, event: Any) -> None:
        layer = event.value
        # napari selects what is added, which is not what the user chose
        self._newcomer = ref(layer)
        made = self.of_layer(layer)
        if made is None or layer in self._followed:
            return
        self._follow(layer)
        if made is not self._shown and any(other is not made for other in self._made):
            # its result was hidden before its layers came
            with self._at_work():
                self._hide(made)
        else:
            with self._at_work():
                self._colour_channels()
            self._keep_slider()
            self._write_title()

    def _follow(self, layer: Layer) -> None:
        """Notice when a layer of a result is shown or hidden."""
        self._followed[layer] = None
        layer.events.visible.connect(self._visibility_changed)
        if isinstance(layer, Image):
            layer.colorbar.events.visible.connect(self._write_title)

    def _layer_goes(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        # napari selects a neighbour, which is not what the user chose
        self._working += 1

    def _layer_went(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        self._working = max(0, self._working - 1)
        viewer = self._viewer()
        if viewer is None:
            return
        gone = [
            made
            for made in self._made
            if not made.layers
            or (
                any(layer in self._followed for layer in made.layers)
                and not any(layer in viewer.layers for layer in made.layers)
            )
        ]
        self._made = [made for made in self._made if made not in gone]
        with self._at_work():
            for made in gone:
                self._uncover(made)
        if self._shown is not None and self._shown not in self._made:
            self._let_go()
        else:
            self._write_title()

    def _layer_selected(self, event: Any) -> None:
        layer, newcomer = event.value, self._newcomer
        if layer is None or (newcomer is not None and newcomer() is layer):
            return
        self._newcomer = None
        made = self.of_layer(layer)
        if made is not None and made is not self._shown and not self._working:
            self.put_on_show(made)

    def _visibility_changed(self, event: Any) -> None:
        layer = event.source
        if self._working:
            return
        made = self.of_layer(layer)
        if made is not None and layer.visible and layer in made.visibility:
            made.visibility[layer] = True
            self.put_on_show(made)
        self._write_title()


def grey(channels: int) -> Colormap:
    """Return the grey of one of several channels that lie over each other.

    Light adds up: each is so much darker that where all are bright it is just white, and evidence
    over it can still be seen.
    """
    top = BRIGHTEST_GREY / channels if channels > 1 else 1.0
    return Colormap([[0, 0, 0, 1], [top, top, top, 1]], name=GREY, display_name="grey")


class _Box(NamedTuple):
    top: float
    left: float
    bottom: float
    right: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.top < other.bottom
            and other.top < self.bottom
            and self.left < other.right
            and other.left < self.right
        )


def _box(made: MadeResult) -> _Box | None:
    layers = made.layers
    return _box_of(layers[0]) if layers else None


def _box_of(layer: Layer) -> _Box:
    low, high = layer.extent.world
    return _Box(float(low[-2]), float(low[-1]), float(high[-2]), float(high[-1]))


def _disturb(first: MadeResult, second: MadeResult) -> bool:
    """Whether two results would be seen over each other, or share a slider."""
    if first.is_series and second.is_series:
        return True
    boxes = _box(first), _box(second)
    if boxes[0] is None or boxes[1] is None:
        return True
    return boxes[0].meets(boxes[1])


def _is_channel(layer: Layer) -> bool:
    return isinstance(layer, Image) and LayerFacts.of(layer).role in ("series", "draws")


def _others_have(viewer: "ViewerModel", axis: int) -> bool:
    """Whether a layer that is no result of ours reaches along an axis of the viewer."""
    return any(
        layer.ndim >= viewer.dims.ndim - axis
        for layer in viewer.layers
        if not LayerFacts.of(layer).is_result
    )


_results: "WeakKeyDictionary[Any, ResultsOnShow]" = WeakKeyDictionary()


def results_of(viewer: "ViewerModel") -> ResultsOnShow:
    """Return the results of a viewer; all its sessions share them.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> viewer = ViewerModel()
    >>> results_of(viewer) is results_of(viewer), results_of(viewer).shown
    (True, None)
    """
    model = inspect.unwrap(viewer)  # docks are given a proxy of the viewer
    if model not in _results:
        _results[model] = ResultsOnShow(model)
    return _results[model]
