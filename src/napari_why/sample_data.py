"""Simulated images as napari sample data.

The three single fields show the same cells as each class with the same contrast limits, beside one
another, so that looking from one to the next shows the true change. They cover the same area as the
images that :func:`napari_why.simulation.simulate` makes by default.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.images import make_image
from napari_why.napari_reader import LayerData, image_layers
from napari_why.output.layer_metadata import LayerFacts
from napari_why.simulation import CLASSES, SimulatedScene
from napari_why.simulation.scenes import CHANNELS

da: Any = import_module("dask.array")  # by name: dask comes without types
delayed: Any = import_module("dask").delayed

# Pixels across a field, twice as many as simulated images have by default.
SIZE = 256
# Micrometres: half of what simulated images have by default, so both cover the same area. It is
# that of a 20x objective with a camera of 6.5 um pixels.
PIXEL_SIZE = 0.325
# Of each class in the small labelled set: six a class fill a row of thumbnails.
FIELDS = 6
# Channels, height and width of a field.
SHAPE = (len(CHANNELS), SIZE, SIZE)
# Contrast limits of DAPI and TMRM over the three single fields, and over all of the small labelled set: with
# limits of its own a dimmer class would look as bright. Known beforehand, so that no other field has to be
# waited for.
FIELD_LIMITS = [(314.0, 7301.965), (305.0, 3354.965)]
LIMITS = [(283.0, 7755.76), (303.0, 3610.0)]
# Distance of what stands beside one another as a share of its size: wide enough to tell dark fields
# apart.
GAP = 1.04


def simulated_healthy() -> list[LayerData]:
    """Return one healthy field: layer data of the channels DAPI and TMRM."""
    return _field_layers("healthy")


def simulated_diseased() -> list[LayerData]:
    """Return the same field with fragmented mitochondria."""
    return _field_layers("diseased")


def simulated_treated() -> list[LayerData]:
    """Return the same field with fragmented and depolarised mitochondria."""
    return _field_layers("treated")


def simulated_labelled_set() -> list[LayerData]:
    """Return six fields of each class, stacked along the first axis, one layer per channel.

    The fields are rendered in another thread, for napari asks for samples in the one that draws; a
    field that is looked at before it is there is waited for.

    The metadata (:class:`~napari_why.output.layer_metadata.LayerFacts`) holds the class of every
    field (``labels``) and its scene's number (``scenes``); no two classes share a scene.
    """
    layers = []
    for label, futures in _labelled_fields().items():
        scenes = _scenes_of(label)
        planes = [da.from_delayed(delayed(_pixels)(field), SHAPE, np.uint16) for field in futures]
        stack = make_image(
            da.stack(planes),
            "tcyx",
            CHANNELS,
            pixel_size={"y": PIXEL_SIZE, "x": PIXEL_SIZE},
            unit="um",
            source=f"simulated scenes {scenes[0]} to {scenes[-1]}, {label}",
        )
        # without one of its own: pixels would be asked for, before anybody looks at them
        seen = stack.isel(t=slice(1), y=slice(1), x=slice(1)).copy(data=np.zeros((1, 2, 1, 1)))
        # Below the single fields, which may be open too.
        for data, keywords, kind in _name_layers(image_layers(stack, seen), label, LIMITS, row=1):
            keywords["axis_labels"] = ("field", "y", "x")
            facts = LayerFacts.from_metadata(keywords["metadata"])
            known = facts.with_further(labels=[label] * FIELDS, scenes=list(scenes))
            keywords["metadata"] = known.to_metadata()
            layers.append((data, keywords, kind))
    return layers


def _scenes_of(label: str) -> range:
    first = 1 + CLASSES.index(label) * FIELDS
    return range(first, first + FIELDS)


@cache
def _labelled_fields() -> dict[str, list[Future[xr.DataArray]]]:
    """Begin to render the labelled set; those that napari shows first come first."""
    pool = ThreadPoolExecutor(1)
    fields: dict[str, list[Future[xr.DataArray]]] = {label: [] for label in CLASSES}
    for place in range(FIELDS):
        for label, futures in fields.items():
            futures.append(pool.submit(_scene(_scenes_of(label)[place]).image, label))
    pool.shutdown(wait=False)
    return fields


def _pixels(field: Future[xr.DataArray]) -> NDArray[np.uint16]:
    return np.asarray(field.result().values)


def _field_layers(label: str) -> list[LayerData]:
    return _name_layers(image_layers(_field(label)), label, FIELD_LIMITS)


@cache
def _field(label: str) -> xr.DataArray:
    return _scene(0).image(label)


def _scene(number: int) -> SimulatedScene:
    return SimulatedScene(number, size=SIZE, pixel_size=PIXEL_SIZE)


def _name_layers(
    layers: list[LayerData], label: str, limits: list[tuple[float, float]], *, row: int = 0
) -> list[LayerData]:
    """Name the layers by their class, and put those of each class in a place of their own."""
    side = SIZE * PIXEL_SIZE * GAP
    place = (row * side, CLASSES.index(label) * side)
    for (_, keywords, _), limit in zip(layers, limits, strict=True):
        keywords["name"] = f"{keywords['name']} ({label})"
        keywords["contrast_limits"] = limit
        before = keywords["translate"]
        keywords["translate"] = (*before[:-2], *np.add(before[-2:], place))
        facts = LayerFacts.from_metadata(keywords["metadata"])
        keywords["metadata"] = facts.with_further(label=label).to_metadata()
    return layers
