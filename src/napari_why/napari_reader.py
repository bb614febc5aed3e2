"""Open images in napari: one layer a channel, coloured, named and in real units."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why import images
from napari_why.core.errors import AmbiguousAxesError
from napari_why.core.record import Record
from napari_why.output.layer_metadata import KEY, LAYERS, ORIENTATION, LayerFacts

LayerData = tuple[Any, dict[str, Any], str]
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
# What to do where a file does not tell its axes: a reader cannot ask, a dock can.
ASK = "open it with Plugins > napari-why, page Data > Single images, which asks what they are"


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return a function that reads ``path``, or None to leave it to other plugins.

    Parameters
    ----------
    path : path or sequence of paths
        One file, the files of one image, one channel each (opened as a stack), a folder of such
        files, or an OME-Zarr image.

    Returns
    -------
    callable or None
        Quick: only the first bytes and tags of each file are looked at, or names in a folder. Of a
        file that by its ending is ours, a damaged one or a colour picture too: reading it says in
        words what is wrong, where napari would only say that it was refused.
    """
    paths = _as_list(path)
    return read_layers if paths and all(map(_is_ours, paths)) else None


def _is_ours(path: Path) -> bool:
    if images.can_read(path):
        return True
    # Every program reads PNG, and a picture with an ending of ours that is not there is nobody's.
    named = path.name.lower().endswith(images.file_suffixes())
    return named and path.suffix.lower() != ".png" and path.is_file()


def read_layers(path: Paths) -> list[LayerData]:
    """Read an image as napari layer data, one image layer for each channel.

    Raises
    ------
    AmbiguousAxesError
        Its axes have to be asked for; says where that is done.
    ImageReadError
        The file is damaged.
    """
    try:
        return _read_layers(_as_list(path))
    except AmbiguousAxesError as error:
        raise error.advising(ASK) from None


def _read_layers(paths: list[Path]) -> list[LayerData]:
    if len(paths) > 1:
        return image_layers(images.read(paths))
    finest, *coarser = images.read_levels(paths[0])
    # The coarsest level shows the whole field and is read at once; of the finest, a part would be.
    layers = image_layers(finest, coarser[-1] if coarser else None)
    # What is in memory as a whole is drawn as fast without coarser levels, and can be written.
    if not coarser or isinstance(finest.data, np.ndarray):
        return layers
    return [
        (
            [data, *(level.isel(c=index).data for level in coarser)],
            {**words, "multiscale": True},
            kind,
        )
        for index, (data, words, kind) in enumerate(layers)
    ]


def image_layers(image: xr.DataArray, overview: xr.DataArray | None = None) -> list[LayerData]:
    """Return napari layer data for an image: data, keyword arguments, "image".

    Parameters
    ----------
    image : DataArray
        Axes t, c, z, y, x as far as there are any.
    overview : DataArray, optional
        A smaller resolution of it, which tells the contrast of an image that is not in memory.

    Returns
    -------
    list of LayerData
        One for each channel; the channel axis is taken out, the other axes keep their names.
    """
    kept = _kept_layers(image)
    if kept is not None:
        return kept
    names = images.channel_names(image)
    dims = [str(dim) for dim in image.dims if dim != "c"]
    pixel_size = image.attrs.get("pixel_size", {})
    unit = image.attrs.get("unit", "pixel")
    shared = {
        # as light of several stains adds up
        "blending": "additive",
        "scale": tuple(pixel_size.get(dim, 1.0) for dim in dims),
        # where the file says that the first pixel lies
        "translate": tuple(images.first_centre(image, dim) if dim != "t" else 0.0 for dim in dims),
        # An empty unit is napari's "dimensionless": time points are counted.
        "units": tuple(
            "" if dim == "t" else image.coords[dim].attrs.get("units", unit) for dim in dims
        ),
        "axis_labels": tuple(dims),
    }
    facts = LayerFacts(
        source=image.attrs.get("source", ""),
        notes=tuple(image.attrs.get("notes", ())),
        read_as=dict(image.attrs["read_as"]) if "read_as" in image.attrs else None,
        channels=names,
    )
    # names are for people: nothing is found by them
    called = f"{facts.image_name} ".lstrip()
    layers: list[LayerData] = []
    seen = image if overview is None or isinstance(image.data, np.ndarray) else overview
    looks = zip(
        names, images.default_colormaps(names), images.image_contrast_limits(seen), strict=True
    )
    for index, (name, colormap, limits) in enumerate(looks):
        keywords = shared | {
            "name": f"{called}{name}",
            "colormap": colormap,
            "contrast_limits": limits,
            "metadata": replace(facts, channel=name).to_metadata(),
        }
        layers.append((image.isel(c=index).data, keywords, "image"))
    return layers


def _kept_layers(image: xr.DataArray) -> list[LayerData] | None:
    """Return the layers as they were saved, None where the file was not made of layers.

    A record that was altered until it fits the pixels no more counts as none.
    """
    # The record is a file that anybody may edit; pixels are shown whatever it says.
    record = image.attrs.get("record", {})
    details = record.get("details")
    looks = details.get(LAYERS) if isinstance(details, dict) else None
    if not isinstance(looks, list) or len(looks) != image.sizes["c"]:
        return None
    try:
        channels = zip(range(len(looks)), looks, strict=True)
        return [_kept_layer(image.isel(c=index).data, look, record) for index, look in channels]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _kept_layer(data: Any, look: Mapping[str, Any], record: Mapping[str, Any]) -> LayerData:
    lost = len(look["axis_labels"]) - data.ndim  # axes of one element are left out of files
    data = data.reshape([1] * lost + list(data.shape))
    keywords = {name: value for name, value in look.items() if name != KEY}
    for name in ("scale", "translate", "units", "axis_labels"):
        keywords[name] = tuple(keywords[name])
        if len(keywords[name]) != data.ndim:
            raise ValueError(f"{name}: found {len(keywords[name])} values; expected {data.ndim}")
    for name in ORIENTATION:
        if name in keywords:
            keywords[name] = np.asarray(keywords[name], dtype=float)
    keywords["contrast_limits"] = tuple(map(float, keywords["contrast_limits"]))
    made = None
    # Raw layers, which no method made, are saved with a record of the kind "layers".
    if record["kind"] != LAYERS:
        details = {name: item for name, item in record["details"].items() if name != LAYERS}
        made = Record.from_dict({**record, "details": details})
    keywords["metadata"] = LayerFacts.from_metadata(look, made).to_metadata()
    return data, keywords, "image"


def _as_list(path: Paths) -> list[Path]:
    if isinstance(path, str | os.PathLike):
        return [Path(path)]
    return [Path(item) for item in path]
