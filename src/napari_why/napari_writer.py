"""Save layers of napari as OME-TIFF or OME-Zarr, with what makes them the same layers again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr

from napari_why.core.errors import ImageWriteError
from napari_why.core.record import Record
from napari_why.images import make_image, record_path, write
from napari_why.output.layer_metadata import LAYERS, ORIENTATION, LayerFacts, plain_json

LayerData = tuple[Any, Mapping[str, Any], str]
# The axis of a series; image files know only t for one, and keep the label beside the pixels.
ALPHA = "alpha"
# The axis of draws of a counterfactual, beside that of alphas: no image file has room for both.
DRAW = "draw"
# Axes of layers that nobody has named, by how many they are: napari itself calls them -3, -2, -1.
UNNAMED = {2: "yx", 3: "zyx", 4: "tzyx"}
# What makes a layer look the same again beside its colormap and its place; the rest is napari's own.
KEPT = ("name", "visible", "opacity", "blending", "contrast_limits", "gamma")

# Where a layer lies in the world: units first, without which numbers say nothing.
PLACE = ("units", "scale", "translate", *ORIENTATION)


def write_layers(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Save image layers as the channels of one file.

    Values, pixel type, scale, units, axis labels, channel names and looks are kept, and the record
    of a result with its alphas and probabilities, in the file and beside it. Nothing is replaced.
    Rotation, shear and affine transform are kept in the record, from which this package makes the
    same layers again; image files have no place for them, so that other programs show the pixels
    as they are stored, with the lengths that they have in the world.

    Parameters
    ----------
    path : str
        Ends in .ome.tif, .tif, .ome.zarr or .zarr.
    layers : sequence of (data, attributes, "image")
        As napari hands them to writers.

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    ImageWriteError
        The layers do not have one shape, type, place and set of axes, or the file cannot be
        written.
    """
    image = image_of(layers)
    target = write(image, path, record=record_of(layers))
    return [str(target), str(record_path(target))]


def image_of(layers: Sequence[LayerData]) -> xr.DataArray:
    """Put layers together as the channels of one image; a series of alphas lies along ``t``.

    Raises
    ------
    ImageWriteError
        They do not belong together.
    """
    _check(layers)
    data, attributes, _ = layers[0]
    dims = _dims(data.ndim, attributes)
    size, origin, unit = _place(dims, attributes)
    stack = data[np.newaxis] if len(layers) == 1 else _stack([item[0] for item in layers])
    return make_image(
        stack,
        ("c", *dims),
        _names(layers),
        pixel_size=size,
        unit=unit,
        source=_facts(attributes).origin,
        origin=origin,
    )


def record_of(layers: Sequence[LayerData]) -> Record:
    """Return the record of the result that the layers show, with what the layers look like.

    Raw layers, which no method made, get a record of the kind "layers".
    """
    facts = _facts(layers[0][1])
    record = facts.record or Record(LAYERS, "napari", source=facts.origin)
    looks = [look_of(attributes) for _, attributes, _ in layers]
    return replace(record, details={**record.details, LAYERS: looks})


def _check(layers: Sequence[LayerData]) -> None:
    if not layers:
        raise ImageWriteError("found no layer; expected at least one image layer")
    first, look, _ = layers[0]
    for data, attributes, kind in layers:
        name = attributes.get("name", "")
        if kind != "image" or attributes.get("rgb") or attributes.get("multiscale"):
            raise ImageWriteError(
                f"layer {name!r}: found no plain image layer; expected layers of intensities, one a "
                "channel"
            )
        for what, mine, theirs in (
            ("shape", data.shape, first.shape),
            ("pixel type", data.dtype, first.dtype),
            ("axes", tuple(attributes["axis_labels"]), tuple(look["axis_labels"])),
            *((what, _plain(attributes, what), _plain(look, what)) for what in PLACE),
        ):
            if mine != theirs:
                raise ImageWriteError(
                    f"layer {name!r}: found {what} {mine}; expected {theirs} as in layer "
                    f"{look.get('name', '')!r}; save layers that differ one by one"
                )


def _dims(count: int, attributes: Mapping[str, Any]) -> str:
    labels = [str(label).lower() for label in attributes["axis_labels"]]
    named = "".join("t" if label == ALPHA else label for label in labels)
    if len(named) == count and set(named) <= set("tzyx") and len(set(named)) == count:
        return named
    if count in UNNAMED and all(label.lstrip("-").isdecimal() for label in labels):
        return UNNAMED[count]
    if DRAW in labels:
        raise ImageWriteError(
            f"layer {attributes.get('name', '')!r}: found draws of a counterfactual, along {', '.join(labels)}; "
            "expected a layer without that axis; save draws by the button Draws... of the Counterfactual "
            "dock, or in the shell by napari-why counterfactual ... --change responding_cells --samples FILE"
        )
    raise ImageWriteError(
        f"layer {attributes.get('name', '')!r}: found the axes {', '.join(labels)}; expected some of "
        "t (or alpha), z, y, x, each once; name them in the layer's axis_labels, or take a slice"
    )


def _plain(attributes: Mapping[str, Any], name: str) -> Any:
    """Return a part of a layer's place as lists of numbers or texts, None where there is none."""
    value = attributes.get(name)
    if name == "units" and value is not None:
        return [str(unit) for unit in value]
    # affine is an array, or an object of napari that becomes one
    return value if value is None else plain_json(np.asarray(value, dtype=float))


def _place(
    dims: str, attributes: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, float], str]:
    """Return pixel sizes and the first pixel's place along z, y, x, and their unit.

    In micrometres, as they are in the world; without a size where the layer has no length along y
    or x, and without that of z where it has none along z.
    """
    steps, start = _in_world(attributes)
    size, origin = {}, {}
    for index, (dim, unit) in enumerate(zip(dims, attributes["units"], strict=True)):
        if dim in "zyx":
            length: Any = 1.0 * unit
            if not length.check("[length]"):
                if dim == "z":
                    continue
                # y or x without a length makes the other worth nothing to a file with one unit
                return {}, {}, "pixel"
            factor = float(length.to("micrometer").magnitude)
            size[dim], origin[dim] = steps[index] * factor, start[index] * factor
    return size, origin, "um"


def _in_world(attributes: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Return the distance in the world from pixel to pixel along each axis, and where the first is.

    Axes that an affine transform mixes must have one unit, as they have in napari.
    """
    scale = np.abs(np.asarray(attributes["scale"], dtype=float))
    start = np.asarray(attributes["translate"], dtype=float)
    affine = _plain(attributes, "affine")
    if affine is None:
        return scale.tolist(), start.tolist()
    matrix = np.asarray(affine)
    start = matrix[:-1, :-1] @ start + matrix[:-1, -1]
    told = np.asarray(_plain(attributes, "rotate"), dtype=float)
    turned = told if told.ndim == 2 else np.eye(len(scale))
    # a shear says nothing of the size of a pixel: lengths are those before it
    larger = np.linalg.norm(matrix[:-1, :-1] @ turned, axis=0)
    return (scale * larger).tolist() if not np.allclose(larger, 1) else scale.tolist(), [*start]


def _names(layers: Sequence[LayerData]) -> list[str]:
    """Return the channels' names where they tell the layers apart, else those of the layers."""
    layer_names = [str(attributes.get("name", "")) for _, attributes, _ in layers]
    channels = [_facts(attributes).channel or "" for _, attributes, _ in layers]
    for names in (channels, layer_names):
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"{number + 1} {name}".strip() for number, name in enumerate(layer_names)]


def look_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a layer look the same again, JSON types; see ``image_layers`` for the way back."""
    look = {name: plain_json(attributes[name]) for name in KEPT if name in attributes}
    look |= {name: found for name in PLACE if (found := _plain(attributes, name)) is not None}
    look["axis_labels"] = [str(label) for label in attributes["axis_labels"]]
    look["colormap"] = _colormap(attributes.get("colormap"))
    # What the record itself says stands in the record; here is what each layer adds to it.
    return look | _facts(attributes).to_look()


def _colormap(colormap: Any) -> Any:
    """Return a colormap's name where every napari knows it, else its colours."""
    from napari.utils.colormaps import ALL_COLORMAPS

    plain = colormap if isinstance(colormap, Mapping) else colormap.dict()
    if plain["name"] in ALL_COLORMAPS:
        return plain["name"]
    return {name: plain_json(plain[name]) for name in ("name", "colors", "controls")}


def _facts(attributes: Mapping[str, Any]) -> LayerFacts:
    return LayerFacts.from_metadata(attributes.get("metadata", {}))


def _stack(arrays: Sequence[Any]) -> Any:
    # Lazy layers stay lazy: stacked by NumPy they would be read into memory as a whole.
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np.stack(arrays)
    da: Any = import_module("dask.array")  # by name: dask comes without types
    return da.stack([da.asarray(array) for array in arrays])
