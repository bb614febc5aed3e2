"""Raw layers as the image a classifier takes: which shows which channel, and whether they fit."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError
from napari_why.output.layer_metadata import LayerFacts, match_name, name_words

if TYPE_CHECKING:
    from napari.layers import Image
    from xarray import DataArray

# Pixels that channels may lie apart from each other: more than file formats round positions by, less
# than channels are shifted against each other by lenses and filters, which is worth registering.
SMALL_SHIFT = 0.1
# Cosine between the axes of a pixel below which they count as perpendicular: a thousandth of a turn
# changes areas by less than a millionth.
PERPENDICULAR = 1e-3
# A channel name that the reader gives where the file has none.
UNNAMED = re.compile(r"channel \d+")


def channel_of(layer: "Image") -> str | None:
    """Return the channel name that the reader gave a layer, None without.

    It stands in the layer's metadata, and in an array that :func:`napari_why.read` returned.
    """
    named = LayerFacts.of(layer).channel
    if named is None:
        coords = getattr(layer.data, "coords", {})
        inside = coords.get("c")
        named = str(inside.values) if inside is not None and inside.ndim == 0 else None
    return named


def axis_names(source: "Image") -> tuple[str, ...]:
    """Return the labels of a layer's axes; t, z, y and x for those that nobody has named."""
    # napari's stand-ins ("-2", "-1") would win over the names of other layers.
    names = ("t", "z", "y", "x")[-source.ndim :]
    if len(names) < source.ndim:
        return tuple(source.axis_labels)
    return tuple(
        name if label.startswith("-") else label
        for label, name in zip(source.axis_labels, names, strict=True)
    )


def layer_of_channel(layers: "Sequence[Image]", channel: str, index: int) -> "Image | None":
    """Find a channel's layer by its metadata or name, else by its place in the order of channels.

    Parameters
    ----------
    layers : sequence of Image layers
    channel : str
    index : int
        Place of the channel in the order of channels.

    Returns
    -------
    Image layer or None
    """
    for layer in layers:
        if channel_of(layer) == channel:
            return layer
    unnamed = [layer for layer in layers if channel_of(layer) is None]
    called = [layer for layer in unnamed if name_words(layer.name) == name_words(channel)]
    if len(called) == 1:
        return called[0]
    # The order counts only for a layer without a name: one that says it shows another channel would
    # lend the result the wrong colour and contrast.
    return layers[index] if len(layers) > index and layers[index] in unnamed else None


def match_layers(layers: "Sequence[Image]", channels: Sequence[str]) -> "list[Image | None]":
    """Find the layer of each channel by its name; None where none is, or which one is unsure.

    What the reader wrote into a layer's metadata counts, since users rename layers; the layer's
    name where there is nothing. Names may differ by case, by what napari or other programs put
    around them ("A.ome: DAPI", "DAPI [1]", "tmrm (561)"); the order of layers never counts. All are
    layers of one image: of several images that have all channels the topmost is taken, and layers of
    different images are never put together.

    Parameters
    ----------
    layers : sequence of Image layers
        From the bottom up.
    channels : sequence of str
        The classifier's.

    Returns
    -------
    list of Image layer or None
        One a channel.
    """
    shown = [_channel_shown(layer, channels) for layer in layers]
    images: dict[tuple[str, ...] | None, list[int]] = {}
    for index, layer in enumerate(layers):
        if shown[index] is not None:
            images.setdefault(image_of_layer(layer), []).append(index)
    # the image whose last layer lies on top comes first
    for inside in sorted(images.values(), key=max, reverse=True):
        found = [_only(channel, inside, shown) for channel in channels]
        if None not in found:
            return [layers[index] for index in found if index is not None]
    everywhere = [_only(channel, range(len(layers)), shown) for channel in channels]
    found_layers = [layers[index] if index is not None else None for index in everywhere]
    given = [layer for layer in found_layers if layer is not None]
    return found_layers if is_one_field(given) else [None for _ in channels]


def _only(
    channel: str, indices: Sequence[int], shown: Sequence[tuple[str, bool] | None]
) -> int | None:
    """Return the only layer of a channel; one whose name is the channel's comes before others."""
    for exact in (True, False):
        found = [index for index in indices if shown[index] == (channel, exact)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _channel_shown(layer: "Image", channels: Sequence[str]) -> tuple[str, bool] | None:
    """Return the channel that a layer shows, and whether it is called so and no more."""
    named = channel_of(layer)
    if named is not None:
        found = match_name(named, channels)
        # of a file without names the user's own name for the layer says more
        if found is not None or not UNNAMED.fullmatch(named):
            return found
    return match_name(layer.name, channels)


def image_of_layer(layer: "Image") -> tuple[str, ...] | None:
    """Return what tells the image of a layer from others: file, how it was read, which sample."""
    facts = LayerFacts.of(layer)
    attributes = getattr(layer.data, "attrs", {})
    source = str(facts.origin or attributes.get("source") or layer.source.path or "")
    if not source:
        return None
    read_as = dict(facts.read_as or attributes.get("read_as") or {})
    read_as.pop("channels", None)
    return (source, *(str(item) for item in sorted(read_as.items(), key=str)))


def is_one_field(layers: "Sequence[Image]") -> bool:
    """Tell whether layers come from one image, or from files that are the channels of one.

    Layers that tell no file say nothing against it.
    """
    images = {image for layer in layers if (image := image_of_layer(layer)) is not None}
    if len(images) < 2:
        return True
    # here and below: a dock is opened without what reads files
    from napari_why.images import group_channel_files

    files = {Path(source) for source, *further in images if not further}
    return len(files) == len(images) and len(group_channel_files(sorted(files))) == 1


@dataclass(frozen=True, eq=False)
class LayerChoice:
    """The layers that make an image, and what they held when they were chosen.

    Taken in the viewer's thread; the pixels are read later, and in another one.

    Parameters
    ----------
    layers : tuple of Image layers
        One a channel.
    channels : tuple of str
    plane : tuple of int
        Index on each of their axes before y and x.
    several_files : bool
        The user says that layers of several files show one field.
    held : tuple
        The data of the layers.
    """

    layers: "tuple[Image, ...]"
    channels: tuple[str, ...]
    plane: tuple[int, ...]
    several_files: bool
    held: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        layers: "Sequence[Image]",
        channels: Sequence[str],
        plane: Sequence[int] = (),
        *,
        several_files: bool = False,
    ) -> "LayerChoice":
        """Note what the layers hold now.

        Parameters
        ----------
        layers : sequence of Image layers
            One a channel.
        channels : sequence of str
        plane : sequence of int
            Index on each of the layers' axes before y and x.
        several_files : bool
            The user says that layers of several files show one field.

        Returns
        -------
        LayerChoice
        """
        held = tuple(layer.data for layer in layers)
        return cls(tuple(layers), tuple(channels), tuple(plane), several_files, held)

    def changed(self) -> str:
        """Say which layers were given other pixels meanwhile; empty when none was."""
        other = [
            repr(layer.name)
            for layer, held in zip(self.layers, self.held, strict=True)
            if layer.data is not held
        ]
        if not other:
            return ""
        return f"Layer {' and '.join(other)} was given other pixels since the work began"

    def notes(self) -> tuple[str, ...]:
        """Return what is odd about the layers; see :func:`notes_of_choice`."""
        return notes_of_choice(self.layers, self.channels)

    def read(self) -> "DataArray":
        """Return the image; see :func:`image_from_layers`.

        Raises
        ------
        MismatchError
            The layers do not make one image, or one was given other pixels meanwhile.
        """
        if changed := self.changed():
            raise MismatchError(f"{changed}; start again to explain what it shows now.")
        return image_from_layers(
            self.layers, self.channels, self.plane, several_files=self.several_files
        )


def image_from_layers(
    layers: "Sequence[Image]",
    channels: Sequence[str] | None = None,
    plane: Sequence[int] = (),
    *,
    several_files: bool = False,
) -> "DataArray":
    """Put raw layers, one a channel, together to one image (c, y, x).

    Parameters
    ----------
    layers : sequence of Image layers
        One layer a channel, in the order of ``channels``; values are taken as they are.
    channels : sequence of str, optional
        Names of the channels; those in the layers' metadata, else the layers' names, when None.
    plane : sequence of int, optional
        Index on each axis before y and x, for stacks and time series.
    several_files : bool
        Put together layers of several images too, which show one field as the caller knows. Files
        that are the channels of one image by their names need no such word.

    Returns
    -------
    DataArray, dims (c, y, x)
        With pixel size, unit and source of the first layer, how its source was read, and the plane
        as ``attrs["plane"]`` where the layers' axes are labelled t or z. ``attrs["notes"]`` hold
        what the reader noticed and what :func:`notes_of_choice` says.

    Raises
    ------
    MismatchError
        The layers do not have one shape, type or kind; they lie on different places in the world;
        one is taken for two channels; they come from different images.
    """
    layers = list(layers)
    _check_one_image(layers, channels)
    if not several_files and not is_one_field(layers):
        raise MismatchError(
            f"{_say_sources(layers)}; expected the channels of one image; choose layers of one, or "
            "confirm that these show the same field (several_files=True, in a dock the box below "
            "the layers)"
        )
    from napari_why.images import make_image

    names = list(channels) if channels else [channel_of(layer) or layer.name for layer in layers]
    planes = [pixels_of(layer, plane) for layer in layers]
    if planes[0].ndim != 2:
        raise MismatchError(
            f"Layer {layers[0].name!r}: found {layers[0].data.ndim} axes; expected y and x after "
            f"choosing {len(plane)} indices"
        )
    size, unit, notes = _pixel_size(layers[0])
    told = [_source(layer) for layer in layers if image_of_layer(layer) is not None]
    image = make_image(
        np.stack(planes),
        ("c", "y", "x"),
        tuple(names),
        pixel_size=size,
        unit=unit,
        source="; ".join(dict.fromkeys(told or [layers[0].name])),
        notes=(
            *_notes_of_reader(layers),
            *notes_of_choice(layers, names),
            *_notes_of_pixels(layers, planes),
            *notes,
        ),
    )
    read_as = LayerFacts.of(layers[0]).read_as
    if read_as and len({image_of_layer(layer) for layer in layers}) == 1:
        image.attrs["read_as"] = dict(read_as)
    # Kept so that the result can be made again from the file; an axis without a name (-3) cannot be
    # asked for there.
    labels = layers[0].axis_labels[: len(plane)]
    chosen = {
        str(label): int(index)
        for label, index in zip(labels, plane, strict=True)
        if label in ("t", "z")
    }
    if chosen:
        image.attrs["plane"] = chosen
    return image


def _check_one_image(layers: "Sequence[Image]", channels: Sequence[str] | None) -> None:
    if not layers:
        raise MismatchError("No image layer is chosen; choose one for each channel.")
    if channels is not None and len(channels) != len(layers):
        raise MismatchError(
            f"Found {len(layers)} image layers; expected {len(channels)}, one for each channel: "
            f"{', '.join(channels)}."
        )
    first = layers[0]
    for layer in layers:
        if layer.rgb:
            # colours of a screenshot are no intensities: what they mean is lost
            raise MismatchError(
                f"Layer {layer.name!r}: found an RGB picture; expected one layer a channel with "
                "raw intensities; open the microscope's own file"
            )
        if layer.data.shape != first.data.shape:
            raise MismatchError(
                f"Layer {layer.name!r}: found shape {layer.data.shape}; expected "
                f"{first.data.shape} as in layer {first.name!r}, for the channels of one image show "
                "the same field"
            )
        if layer.data.dtype != first.data.dtype:
            raise MismatchError(
                f"Layer {layer.name!r}: found {layer.data.dtype}; expected {first.data.dtype} as "
                f"in layer {first.name!r}"
            )
        if apart := describe_offset(first, layer):
            raise MismatchError(apart)
    require_different(layers)


def require_different(layers: "Sequence[Image]") -> None:
    """Refuse one layer for two channels.

    Raises
    ------
    MismatchError
        Names the layer.
    """
    for index, layer in enumerate(layers):
        if any(layer is other for other in layers[:index]):
            raise MismatchError(
                f"Layer {layer.name!r}: found it chosen for two channels; expected another layer for "
                "each; choose the one that shows the channel"
            )


def describe_offset(first: "Image", other: "Image") -> str:
    """Say how a layer lies differently in the world than another of its shape; empty if it does not.

    Positions are compared in the first layer's pixels, at the corners of both, with units, scale,
    translation, rotation, shear and affine transform as they act together.

    Parameters
    ----------
    first, other : Image layer
        With data of one shape.

    Returns
    -------
    str
    """
    lengths = (_micrometres(first), _micrometres(other))
    for label, mine, theirs in zip(first.axis_labels, *lengths, strict=True):
        if (mine is None) != (theirs is None):
            return (
                f"Layer {other.name!r}: found units {_units(other)}; expected those of layer "
                f"{first.name!r}, {_units(first)}, for along {label} the one has a length and the "
                "other none; set layer.units and layer.scale alike"
            )
    here, there = (np.array([length or 1.0 for length in axis]) for axis in lengths)
    ends = [(0, length - 1) for length in first.data.shape]
    moved = [
        first.world_to_data(np.asarray(other.data_to_world(corner)) * there / here) - corner
        for corner in map(np.array, product(*ends))
    ]
    furthest = float(np.abs(moved).max())
    if furthest <= SMALL_SHIFT:
        return ""
    differ = [
        f"{name} {_plain(getattr(other, name))} against {_plain(getattr(first, name))}"
        for name in ("scale", "translate", "rotate", "shear", "affine", "units")
        if _plain(getattr(other, name)) != _plain(getattr(first, name))
    ]
    return (
        f"Layer {other.name!r}: found it up to {furthest:.3g} pixels away from layer "
        f"{first.name!r} ({'; '.join(differ)}); expected one place for all channels, since pixels "
        "that lie on each other are taken together; resample one layer onto the other, or give "
        "both the same transform"
    )


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    # four digits are enough to see a difference of a tenth of a pixel in a rotation
    return np.array2string(np.asarray(value), precision=4, separator=", ").replace("\n", "")


def _units(layer: "Image") -> str:
    return ", ".join(map(str, layer.units))


def _micrometres(layer: "Image") -> list[float | None]:
    """Return how many micrometres the unit of each axis has, None for one that is no length."""
    found: list[float | None] = []
    for unit in layer.units:
        quantity: Any = 1.0 * unit
        is_length = quantity.check("[length]")
        found.append(float(quantity.to("micrometer").magnitude) if is_length else None)
    return found


def notes_of_choice(
    layers: "Sequence[Image]", channels: Sequence[str], *, confirmed: bool = True
) -> tuple[str, ...]:
    """Return what the user should know of layers that can be put together but look odd.

    ``confirmed``: that layers of different files show one field.

    Parameters
    ----------
    layers : sequence of Image layers
        One a channel.
    channels : sequence of str
    confirmed : bool
        Whether the user said so.

    Returns
    -------
    tuple of str
    """
    notes = []
    for layer, channel in zip(layers, channels, strict=True):
        named = channel_of(layer)
        # a reader's "channel 1" names nothing; all else was said by the file
        if named is None or UNNAMED.fullmatch(named):
            continue
        found = match_name(named, channels)
        if found is None or found[0] != channel:
            notes.append(
                f"Layer {layer.name!r} was chosen for {channel}, and its file calls it {named}"
            )
    if not is_one_field(layers):
        done = "they were put together as one field"
        asked = "they are put together only where you say that they show one field"
        notes.append(f"{_say_sources(layers)}; {done if confirmed else asked}")
    told = [image_of_layer(layer) is not None for layer in layers]
    if any(told) and not all(told):
        lacking = [repr(layer.name) for layer in layers if image_of_layer(layer) is None]
        notes.append(
            f"Layer {' and '.join(lacking)} tells no file; it was taken as a channel of the same image"
        )
    return tuple(notes)


def _notes_of_pixels(layers: "Sequence[Image]", planes: Sequence[NDArray[Any]]) -> tuple[str, ...]:
    """Tell of a layer that is a copy of another, as napari's "Duplicate" makes them."""
    return tuple(
        f"Layers {layers[first].name!r} and {layers[other].name!r} hold the same pixels"
        for first, other in combinations(range(len(layers)), 2)
        # planes of one value, such as empty ones, are equal by nature
        if np.array_equal(planes[first], planes[other])
        and planes[first].min() < planes[first].max()
    )


def _say_sources(layers: "Sequence[Image]") -> str:
    told = [f"{layer.name!r} from {_source(layer)}" for layer in layers]
    return f"Found layers of different images: {', '.join(told)}"


def _notes_of_reader(layers: "Sequence[Image]") -> tuple[str, ...]:
    said = [note for layer in layers for note in LayerFacts.of(layer).notes or ()]
    return tuple(dict.fromkeys(map(str, said)))


def _pixel_size(layer: "Image") -> tuple[dict[str, float], str, tuple[str, ...]]:
    """Return pixel size, unit, and notes: micrometres of any unit of length, else pixels.

    Lengths are those in the world, with an affine transform that makes the image larger.
    """
    told = _micrometres(layer)[-2:]
    lengths = [length for length in told if length is not None]
    # Micrometres or pixels only, never both: regions and scale bars need one unit for y and x.
    if len(lengths) < len(told):
        return {"y": 1.0, "x": 1.0}, "pixel", ()
    # exactly as the file has them, where nothing but the scale acts on lengths
    sizes = [
        abs(float(scale)) * length for scale, length in zip(layer.scale[-2:], lengths, strict=True)
    ]
    notes: tuple[str, ...] = ()
    down, across = (step[-2:] * np.array(lengths) for step in _steps(layer))
    in_world = [float(np.linalg.norm(down)), float(np.linalg.norm(across))]
    if abs(float(down @ across)) <= PERPENDICULAR * in_world[0] * in_world[1]:
        sizes = sizes if np.allclose(sizes, in_world) else in_world
    else:
        notes = (f"Layer {layer.name!r} is sheared: lengths and areas are those without the shear",)
    return dict(zip("yx", sizes, strict=True)), "um", notes


def _steps(layer: "Image") -> list[NDArray[np.float64]]:
    """Return the way in the world from one pixel to the next along y and along x."""
    start = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    return [np.asarray(layer.data_to_world(step)) - start for step in np.eye(layer.ndim)[-2:]]


def _source(layer: "Image") -> str:
    attributes = getattr(layer.data, "attrs", {})
    found = LayerFacts.of(layer).origin or attributes.get("source") or layer.source.path
    return str(found or layer.name)


def pixels_of(layer: "Image", plane: Sequence[int] = ()) -> NDArray[Any]:
    """Return the pixels of a layer at an index on its first axes, in full resolution.

    Of several resolutions, which napari shows as they are needed, the finest is taken: a classifier
    sees what the microscope saw. What is not in memory is read part by part.

    Parameters
    ----------
    layer : Image layer
    plane : sequence of int
        Index on the layer's first axes; none: all of it.

    Returns
    -------
    ndarray
        Of the layer's dtype.

    Raises
    ------
    ImageReadError
        The memory does not hold them.
    """
    finest = layer.data[0] if layer.multiscale else layer.data
    wanted = finest[tuple(plane)]
    if not isinstance(wanted, np.ndarray):
        from napari_why.images.formats import check_fits_memory

        size = math.prod(wanted.shape) * wanted.dtype.itemsize
        check_fits_memory(Path(_source(layer)), f"layer {layer.name!r}", size)
    return np.asarray(wanted)
