"""Simulated images as napari sample data.

The three single fields show the same cells as each class with the same contrast limits, beside one
another, so that looking from one to the next shows the true change. They cover the same area as the
images that :func:`napari_why.simulation.simulate` makes by default.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray

from napari_why.output.layer_metadata import LayerFacts
from napari_why.simulation.effects import CLASSES
from napari_why.simulation.scenes import CHANNELS, SimulatedScene

# Nothing that reads files is imported here: napari asks for a sample in the thread of the window, which would
# wait for it.
LayerData = tuple[Any, dict[str, Any], str]
Pixels = NDArray[np.uint16]
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
# As the reader shows channels of these names.
COLOURS = ("blue", "bop orange")
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
    for label, fields in _labelled_fields().items():
        scenes = _scenes_of(label)
        source = f"simulated scenes {scenes[0]} to {scenes[-1]}, {label}"
        facts = LayerFacts(source=source, notes=(), channels=CHANNELS).with_further(
            labels=[label] * FIELDS, scenes=list(scenes)
        )
        for channel in range(len(CHANNELS)):
            data = RenderedFields(fields, channel)
            # Below the single fields, which may be open too.
            layers.append(_layer(data, channel, label, facts, LIMITS, row=1))
    return layers


class RenderedFields(NDArrayOperatorsMixin):
    """One channel of fields that are rendered in another thread, for napari to use as an array.

    A field that is not there yet is waited for when it is asked for; operators, functions of numpy and
    what else arrays have (``max``, ``astype``) wait for all. What is read is a copy. The first writing
    (``fields[key] = value``) copies all into an array of this object's own: whoever paints into a
    sample changes that layer alone.

    Parameters
    ----------
    fields : sequence of Future
        Of pixels, shape (c, y, x) each.
    channel : int
        Which of them.
    """

    def __init__(self, fields: Sequence[Future[Pixels]], channel: int) -> None:
        self._fields, self._channel = fields, channel
        self._own: Pixels | None = None
        self.dtype = np.dtype(np.uint16)
        self.shape = (len(fields), SIZE, SIZE)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of fields."""
        return len(self._fields)

    def __getitem__(self, key: Any) -> Any:
        """Return a copy of pixels, as an array of numpy would, of the fields that are asked for."""
        if self._own is not None:
            return self._own[key].copy()
        first, *others = key if isinstance(key, tuple) and key else (key,)
        # of indices that are arrays, numpy orders axes by where all of them stand
        if not isinstance(first, int | np.integer | slice) or not all(
            map(_is_basic, (first, *others))
        ):
            return np.asarray(self)[key]
        chosen = np.arange(len(self))[first]
        if chosen.ndim == 0:
            return self._plane(int(chosen))[tuple(others)].copy()
        planes = [self._plane(int(field)) for field in chosen]
        stacked = np.stack(planes) if planes else np.empty((0, *self.shape[1:]), self.dtype)
        return stacked[(slice(None), *others)]

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write pixels into an array of its own, which is made by the first writing."""
        self._writeable()[key] = value

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return a copy of all fields."""
        return np.asarray(self[:], dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute with all fields; what is given as ``out`` is written into."""
        if "out" in options:
            options["out"] = tuple(
                one._writeable() if isinstance(one, RenderedFields) else one
                for one in options["out"]
            )
        plain = (np.asarray(one) if isinstance(one, RenderedFields) else one for one in inputs)
        return getattr(ufunc, method)(*plain, **options)

    def __getattr__(self, name: str) -> Any:
        """Return what else an array of all fields has; it refuses to be changed in place, being a copy."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        whole = np.asarray(self)
        whole.flags.writeable = False
        return getattr(whole, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> "RenderedFields":
        """Return fields that are written into apart, as napari asks for when a layer is duplicated."""
        other = RenderedFields(self._fields, self._channel)
        other._own = None if self._own is None else self._own.copy()
        return other

    def _plane(self, field: int) -> Pixels:
        return np.asarray(self._fields[field].result()[self._channel])

    def _writeable(self) -> Pixels:
        if self._own is None:
            self._own = np.asarray(self)
        return self._own


def _is_basic(index: Any) -> bool:
    """Whether numpy takes an index as a position, a range or an axis, and not as an array."""
    is_position = isinstance(index, int | np.integer) and not isinstance(index, bool)
    return is_position or isinstance(index, slice) or index is None or index is Ellipsis


def _scenes_of(label: str) -> range:
    first = 1 + CLASSES.index(label) * FIELDS
    return range(first, first + FIELDS)


@cache
def _labelled_fields() -> dict[str, list[Future[Pixels]]]:
    """Begin to render the labelled set; those that napari shows first come first."""
    pool = ThreadPoolExecutor(1)
    fields: dict[str, list[Future[Pixels]]] = {label: [] for label in CLASSES}
    for place in range(FIELDS):
        for label, futures in fields.items():
            futures.append(pool.submit(_render, _scene(_scenes_of(label)[place]), label))
    pool.shutdown(wait=False)
    return fields


def _field_layers(label: str) -> list[LayerData]:
    facts = LayerFacts(source=_single_scene().name(label), notes=(), channels=CHANNELS)
    return [
        # a copy: who paints into a sample changes no later one
        _layer(pixels.copy(), channel, label, facts, FIELD_LIMITS)
        for channel, pixels in enumerate(_field(label))
    ]


@cache
def _field(label: str) -> Pixels:
    return _render(_single_scene(), label)


def _render(scene: SimulatedScene, label: str) -> Pixels:
    """Return pixels of a field that cannot be changed: they are kept for every later opening."""
    pixels = scene.pixels(label)
    pixels.flags.writeable = False
    return pixels


@cache
def _single_scene() -> SimulatedScene:
    """Return the scene of the single fields, which keeps its cells: they are drawn once for three samples."""
    return _scene(0)


def _scene(number: int) -> SimulatedScene:
    return SimulatedScene(number, size=SIZE, pixel_size=PIXEL_SIZE)


def _layer(
    data: Any,
    channel: int,
    label: str,
    facts: LayerFacts,
    limits: list[tuple[float, float]],
    *,
    row: int = 0,
) -> LayerData:
    """Make the data of a layer, which is named by its class and lies where no other class does."""
    side = SIZE * PIXEL_SIZE * GAP
    fields = data.ndim - 2
    name = CHANNELS[channel]
    return (
        data,
        {
            "name": f"{facts.image_name} {name} ({label})".lstrip(),
            "colormap": COLOURS[channel],
            "contrast_limits": limits[channel],
            "blending": "additive",
            "scale": (1.0,) * fields + (PIXEL_SIZE,) * 2,
            "translate": (0.0,) * fields + (row * side, CLASSES.index(label) * side),
            # napari's own word for what is counted
            "units": ("",) * fields + ("um",) * 2,
            "axis_labels": ("field",) * fields + ("y", "x"),
            "metadata": replace(facts, channel=name).with_further(label=label).to_metadata(),
        },
        "image",
    )
