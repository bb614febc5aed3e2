"""Which raw layers make the image that is classified or explained: chosen once for all docks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Image
from psygnal import Signal

from napari_why.core.errors import MismatchError
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.raw_layers import (
    LayerChoice,
    axis_names,
    describe_offset,
    image_of_layer,
    is_one_field,
    match_layers,
    notes_of_choice,
    require_different,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray

# Planes that a layer's transform may leave its plane by from one pixel to the next: rounding of
# transforms, which adds up to some thousandths of a plane over an image of thousands of pixels.
SAME_PLANE = 1e-6
# Where a layer lies, and what it shows: what is said of a choice is not true any more once one of these
# changes.
FOLLOWED = ("scale", "translate", "rotate", "shear", "affine", "units", "data")


class ImageChoice:
    """The viewer's raw layers that make the image, one a channel; follows what is selected.

    Layers are matched to channels by name (:func:`~napari_why.output.raw_layers.match_layers`); a
    channel stays empty where that is unsure. Whoever selects a raw layer of another image in the
    layer list chooses that image; selecting a result chooses nothing. A choice by hand stands until
    another raw layer is selected. Where a chosen layer is removed its channel is empty, unless the
    same image has another layer for it.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    changed : psygnal.Signal
        Emitted when another layer is chosen, or layers came, went, moved or were renamed.
    """

    changed = Signal()

    def __init__(self, viewer: "ViewerModel") -> None:
        # weak, as all that is kept of layers: whoever shares the choice keeps no viewer alive
        self._viewer = ref(viewer)
        self._channels: tuple[str, ...] = ()
        self._chosen: list[ref[Image] | None] = []
        # Of layers whose channels have other names no layer is chosen; the image is, all the same.
        self._images: frozenset[Any] = frozenset()
        self._several_files = False
        # Place of a selected layer that was removed: napari then selects its neighbour by itself.
        self._removed_at: int | None = None
        events = viewer.layers.events
        for signal in (events.inserted, events.reordered, events.renamed):
            signal.connect(self._refresh)
        events.removing.connect(self._note_removal)
        events.removed.connect(self._refresh)
        viewer.layers.selection.events.changed.connect(self._selection_changed)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that layers are chosen for: the classifier's."""
        return self._channels

    def set_channels(self, channels: Sequence[str]) -> None:
        """Ask for these channels: of the image that was chosen, else of the one that is selected."""
        if self._channels == tuple(channels):
            return
        self._channels = tuple(channels)
        self._several_files = False
        self._keep(self._propose(self._channels))
        self._refresh()

    def _propose(self, channels: Sequence[str]) -> "list[Image | None]":
        """Find layers of channels: of the image that was chosen, else selected, else of any."""
        layers = self.list_layers()
        before = [layer for layer in layers if image_of_layer(layer) in self._images]
        chosen: list[Image | None] = [None for _ in channels]
        for candidates in (before, self._of_images(self._selected()), layers):
            chosen = assign_layers(candidates, channels)
            if chosen and None not in chosen:
                break
        return chosen

    @property
    def chosen(self) -> tuple[Image | None, ...]:
        """The layer of each channel, None where none is chosen."""
        return tuple(None if held is None else held() for held in self._chosen)

    @property
    def several_files(self) -> bool:
        """Whether the user says that layers of different files show one field."""
        return self._several_files

    @several_files.setter
    def several_files(self, confirmed: bool) -> None:
        if confirmed != self._several_files:
            self._several_files = confirmed
            self.changed.emit()

    def list_layers(self) -> list[Image]:
        """Return the layers that can be chosen, from the bottom up."""
        viewer = self._viewer()
        return [] if viewer is None else find_raw_layers(viewer)

    def choose(self, layers: Sequence[Image]) -> None:
        """Assign layers to the channels that they are called by; the others stay as they are."""
        proposed = assign_layers(layers, self._channels)
        self._take(
            [new or old for new, old in zip(proposed, self.chosen, strict=True)],
        )

    def choose_for(self, channel: str, layer: Image | None) -> None:
        """Take a layer for a channel, whatever it is called.

        Parameters
        ----------
        channel : str
            One of the classifier's.
        layer : Image layer or None
            None leaves the channel open.
        """
        chosen = list(self.chosen)
        chosen[self._channels.index(channel)] = layer
        self._take(chosen)

    def layers(self) -> list[Image]:
        """Return the chosen layers, one a channel.

        Raises
        ------
        MismatchError
            A channel has no layer, or two have the same.
        """
        found = []
        for channel, layer in zip(self._channels, self.chosen, strict=True):
            if layer is None:
                raise MismatchError(
                    f"Channel {channel}: no layer is chosen; open an image that has it, or choose "
                    f"a layer.{self._describe_pictures()}"
                )
            found.append(layer)
        require_different(found)
        return found

    def plane(self) -> tuple[int, ...]:
        """Return the index, on each axis before y and x, that the viewer shows."""
        viewer = self._viewer()
        if viewer is None:
            raise MismatchError("The viewer is closed; expected an open one that shows the image.")
        return shown_plane(viewer, self.layers()[0])

    def choice(self) -> LayerChoice:
        """Return what is chosen, with the plane that is shown and what the layers hold now.

        Raises
        ------
        MismatchError
            A channel has no layer, one layer is chosen for two, or the viewer shows no plane.
        """
        return LayerChoice.of(
            self.layers(), self._channels, self.plane(), several_files=self._several_files
        )

    def choice_for(self, channels: Sequence[str], also: Sequence[str] = ()) -> LayerChoice:
        """Return the layers that another network than the classifier needs of this image.

        Parameters
        ----------
        channels : sequence of str
            All of which the image must have.
        also : sequence of str
            Taken too where the image has them.

        Returns
        -------
        LayerChoice

        Raises
        ------
        MismatchError
            No image has the channels, or the viewer shows no plane.
        """
        both = (*channels, *also)
        for wanted in (both, tuple(channels)):
            found = [layer for layer in self._propose(wanted) if layer is not None]
            if len(found) == len(wanted):
                return self.choice_of(found, wanted)
        raise MismatchError(
            f"No image that is open has a layer of each of {', '.join(channels)}; expected one; open it, "
            f"or name its layers so.{self._describe_pictures()}"
        )

    def choice_of(self, layers: Sequence[Image], channels: Sequence[str]) -> LayerChoice:
        """Note what layers of these channels hold now, at the plane that the viewer shows.

        Parameters
        ----------
        layers : sequence of Image layers
            One a channel.
        channels : sequence of str

        Returns
        -------
        LayerChoice

        Raises
        ------
        MismatchError
            The viewer shows no plane.
        """
        viewer = self._viewer()
        if viewer is None:
            raise MismatchError("The viewer is closed; expected an open one that shows the image.")
        return LayerChoice.of(layers, channels, shown_plane(viewer, layers[0]))

    def list_images(self) -> dict[str, list[Image]]:
        """Return the images that have a layer of each channel, by their names, the topmost first."""
        layers = self.list_layers()
        images: dict[str, list[Image]] = {}
        for told in dict.fromkeys(map(image_of_layer, reversed(layers))):
            own = [layer for layer in layers if image_of_layer(layer) == told]
            found = [layer for layer in assign_layers(own, self._channels) if layer is not None]
            if not found or len(found) < len(self._channels):
                continue
            name = name_image(found[0]) or found[0].name
            same = sum(known == name or known.startswith(f"{name} (") for known in images)
            images[f"{name} ({same + 1})" if same else name] = found
        return images

    def image(self) -> "DataArray":
        """Return the image (c, y, x) that the chosen layers make, at the plane that is shown.

        Raises
        ------
        MismatchError
            A channel has no layer, or the layers do not fit together.
        """
        return self.choice().read()

    def describe(self) -> str:
        """Name the image and the chosen layers in a line.

        Returns
        -------
        str
            Such as ``A02_f1: DNA, FKHR-EGFP``.
        """
        layers = [layer for layer in self.chosen if layer is not None]
        if not layers:
            told = "none chosen" if self._channels else "chosen by the classifier's channels"
            return told if self.list_layers() else "none open"
        files = dict.fromkeys(filter(None, map(name_image, layers)))
        names = [layer.name for layer in dict.fromkeys(layers)]
        # layers that are named after their file would say it twice
        if len(files) == 1 and all(name.startswith(next(iter(files))) for name in names):
            return ", ".join(names)
        return f"{', '.join(files)}: {', '.join(names)}" if files else ", ".join(names)

    def doubts(self) -> tuple[str, ...]:
        """Return what is odd about the choice, or what has to be chosen, before a pixel is read."""
        pairs = [
            (layer, channel)
            for layer, channel in zip(self.chosen, self._channels, strict=True)
            if layer is not None
        ]
        said: list[str] = []
        layers = [layer for layer, _ in pairs]
        if layers:
            channels = [channel for _, channel in pairs]
            said += notes_of_choice(layers, channels, confirmed=self._several_files)
        try:
            require_different(layers)
        except MismatchError as error:
            said.append(str(error))
        for layer in layers[1:]:
            if layer.data.shape == layers[0].data.shape and (
                apart := describe_offset(layers[0], layer)
            ):
                said.append(apart)
        missing = [c for c, layer in zip(self._channels, self.chosen, strict=True) if layer is None]
        if missing and self.list_layers():
            said.append(
                f"Choose the layer that shows {' and '.join(missing)}: no layer of this image is clearly "
                "named so, or several are"
            )
        if missing and (pictures := self._describe_pictures()):
            said.append(pictures.strip().rstrip("."))
        return tuple(said)

    def _describe_pictures(self) -> str:
        """Say what to do with RGB layers, which are pictures and no channels; empty without one."""
        viewer = self._viewer()
        layers = [] if viewer is None else viewer.layers
        found = [layer.name for layer in layers if isinstance(layer, Image) and layer.rgb]
        if not found:
            return ""
        return (
            f" {found[0]!r} is an RGB picture; split it into its channels (right click on the layer, "
            "Split RGB)."
        )

    @property
    def confirmable(self) -> bool:
        """Whether layers of different files are chosen, which the user may say to show one field."""
        return not is_one_field([layer for layer in self.chosen if layer is not None])

    def _take(self, chosen: Sequence[Image | None]) -> None:
        if list(chosen) != list(self.chosen):
            self._several_files = False  # it was said of other layers
            self._keep(chosen)
            self.changed.emit()

    def _keep(self, chosen: Sequence[Image | None]) -> None:
        self._chosen = [None if layer is None else ref(layer) for layer in chosen]
        told = frozenset(image_of_layer(layer) for layer in chosen if layer is not None)
        self._images = told or self._images

    def _selected(self) -> list[Image]:
        viewer = self._viewer()
        if viewer is None:
            return []
        return [layer for layer in self.list_layers() if layer in viewer.layers.selection]

    def _of_images(self, layers: Iterable[Image]) -> list[Image]:
        """Return the raw layers of the images that these are of, and these."""
        layers = list(layers)
        images = {image_of_layer(layer) for layer in layers} - {None}
        return [
            layer
            for layer in self.list_layers()
            if layer in layers or image_of_layer(layer) in images
        ]

    def _selection_changed(self, event: Any) -> None:
        viewer, selected = self._viewer(), self._selected()
        came = [layer for layer in selected if layer in (event.added or ())]
        place, self._removed_at = self._removed_at, self._removed_at if not came else None
        if viewer is None or not came or not self._channels:
            return
        if place is not None and came == [viewer.layers[max(0, place - 1)]]:
            return  # napari's own choice, after a layer was removed
        own = assign_layers(selected, self._channels)
        if all(image_of_layer(layer) is None for layer in selected):
            # of layers that tell no file, nobody knows which belong together
            others: Sequence[Image | None] = self.chosen
        else:
            others = assign_layers(self._of_images(selected), self._channels)
            self._images = frozenset(image_of_layer(layer) for layer in selected)
        self._take([mine or other for mine, other in zip(own, others, strict=True)])

    def _note_removal(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is not None:
            alone = set(viewer.layers.selection) == {viewer.layers[event.index]}
            self._removed_at = event.index if alone else None

    def _refresh(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        layers = self.list_layers()
        for layer in layers:
            for name in FOLLOWED:
                # Once for each layer, however often it is asked for; napari holds it weakly.
                getattr(layer.events, name).connect(self._moved)
        kept = [layer if layer in layers else None for layer in self.chosen]
        if None in kept:
            if any(kept) and list(kept) != list(self.chosen):
                self._several_files = False  # it was said of other layers
            self._keep(self._fill(kept, layers))
        self.changed.emit()

    def _fill(self, kept: "list[Image | None]", layers: "list[Image]") -> "list[Image | None]":
        """Propose layers for empty channels, of the image that the others show."""
        chosen = [layer for layer in kept if layer is not None]
        if not chosen:
            same = [layer for layer in layers if image_of_layer(layer) in self._images]
            return assign_layers(same or layers, self._channels)
        # a layer of another image beside those kept would be a mix of two that nobody asked for
        images = {image_of_layer(layer) for layer in chosen}
        others = [layer for layer in layers if layer in chosen or image_of_layer(layer) in images]
        proposed = assign_layers(others, self._channels)
        return [
            mine if mine is not None else other if other not in chosen else None
            for mine, other in zip(kept, proposed, strict=True)
        ]

    def _moved(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        self.changed.emit()


def name_image(layer: Image) -> str:
    """Return a short name of the image that a layer is of: its file without folder and ending."""
    told = image_of_layer(layer)
    if told is None:
        return ""
    # "field.ome.tif" is one name with two endings
    return Path(told[0]).name.split(".")[0] or told[0]


def find_raw_layers(viewer: "ViewerModel") -> list[Image]:
    """Return the viewer's image layers that are no result of this package, from the bottom up."""
    # A map or series must not be taken for an image to explain.
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Image) and not layer.rgb and not LayerFacts.of(layer).is_result
    ]


def assign_layers(layers: Sequence[Image], channels: Sequence[str]) -> list[Image | None]:
    """Match layers to channels by name; None for a channel of which that leaves it open.

    See :func:`~napari_why.output.raw_layers.match_layers`.

    Parameters
    ----------
    layers : sequence of Image layers
        From the bottom up.
    channels : sequence of str

    Returns
    -------
    list of Image layer or None
        One a channel.
    """
    return match_layers(layers, channels)


def shown_plane(viewer: "ViewerModel", layer: Image) -> tuple[int, ...]:
    """Return the index, on each axis of a layer before y and x, that the viewer shows.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image layer
        With y and x last.

    Returns
    -------
    tuple of int
        Empty of a layer of two axes.

    Raises
    ------
    MismatchError
        The viewer shows no plane of y and x (it shows a volume, or other axes), several planes at
        once, or a place where the layer has none.
    """
    further = layer.ndim - 2
    lengths = tuple(map(int, layer.data.shape[:further]))
    if all(length == 1 for length in lengths):
        return tuple(0 for _ in lengths)  # its only plane, however it is looked at
    dims, labels = viewer.dims, axis_names(layer)
    shown = {axis - (dims.ndim - layer.ndim) for axis in dims.displayed}
    if shown != {further, further + 1}:
        names = [labels[axis] if axis >= 0 else "another" for axis in sorted(shown)]
        raise MismatchError(
            f"Layer {layer.name!r}: the viewer shows its axes {', '.join(names)}; expected a plane "
            f"of {labels[-2]} and {labels[-1]}, which is what is explained; "
            "leave the 3D view, or roll the axes back below the layer list"
        )
    index = []
    for axis, (position, before, after) in enumerate(_shown_positions(viewer, layer)):
        low, high = round(position - before), round(position + after)
        if low != high and layer.projection_mode != "none":
            raise MismatchError(
                f"Layer {layer.name!r}: the viewer shows the {layer.projection_mode} of planes "
                f"{low} to {high} along {labels[axis]}; expected one plane; set the "
                "thickness of the slice to 0"
            )
        if not 0 <= round(position) < lengths[axis]:
            raise MismatchError(
                f"Layer {layer.name!r}: the viewer shows position {position:.4g} along "
                f"{labels[axis]}, where the layer has no plane (it has 0 to "
                f"{lengths[axis] - 1}); move the slider to a plane that is seen"
            )
        index.append(round(position))
    return tuple(index)


def _shown_positions(viewer: "ViewerModel", layer: Image) -> list[tuple[float, float, float]]:
    """Return position, and thickness before and behind it, in pixels on each axis before y and x."""
    dims, further = viewer.dims, layer.ndim - 2
    # World axes count from the last: a series beside a stack adds its alpha in front of both.
    world = np.array([dims.point, dims.margin_left, dims.margin_right], dtype=float)
    world = world[:, -layer.ndim :]
    # The viewer counts in one unit for all layers, a layer in its own.
    units = dims.units[-layer.ndim :] if dims.units else layer.units
    world *= [_factor(shown, own) for shown, own in zip(units, layer.units, strict=True)]
    point, left, right = world
    origin = np.asarray(layer.world_to_data(np.zeros(layer.ndim)))
    turned = np.stack([layer.world_to_data(step) - origin for step in np.eye(layer.ndim)])
    if not np.allclose(turned[-2:, :further], 0, atol=SAME_PLANE):
        raise MismatchError(
            f"Layer {layer.name!r}: it is turned out of the plane that the viewer shows, which cuts "
            "across several of its planes; expected a rotation within y and x alone; reset the "
            "layer's rotate, shear and affine"
        )
    thickness = [np.abs(margin @ turned)[:further] for margin in (left, right)]
    position = np.asarray(layer.world_to_data(point))[:further]
    return [*zip(*(part.tolist() for part in (position, *thickness)), strict=True)]


def _factor(shown: Any, own: Any) -> float:
    """Return how many of a layer's units one of the viewer's is; 1 for units of two kinds."""
    quantity = 1.0 * shown
    return float(quantity.to(own).magnitude) if quantity.is_compatible_with(own) else 1.0
