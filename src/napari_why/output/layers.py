"""Results as napari layers, each placed on the raw layer that it is about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils import Colormap
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.core.pictures import (
    BAR_GROUND,
    BAR_PLACE,
    BAR_TEXT,
    EVIDENCE_ROLES,
    GREY,
    Axis,
    Picture,
)
from napari_why.images import NO_LENGTH, Grid, PixelSize, contrast_limits, default_colormaps
from napari_why.images.display import (
    NEGATIVE,
    POSITIVE,
    clipped_share,
    largest_of,
    symmetric_limits,
)
from napari_why.output.images import pixel_size_of, require_result
from napari_why.output.layer_metadata import LayerFacts, image_name
from napari_why.output.raw_layers import axis_names, layer_of_channel

if TYPE_CHECKING:
    import pandas as pd
    from xarray import DataArray

Source: TypeAlias = Image | Sequence[Image] | None


@dataclass(frozen=True)
class Placement:
    """How a result's data are shaped and placed to lie on the raw layer.

    Parameters
    ----------
    extra : tuple of int
        Lengths of the raw layer's axes before y and x, in the result: 1 at a plane, else the
        raw layer's own.
    options : dict
        ``scale``, ``translate``, ``units``, ``axis_labels`` for a napari layer, and ``rotate``,
        ``shear``, ``affine`` where the raw layer has them.
    """

    extra: tuple[int, ...]
    options: dict[str, Any]

    def reshape(self, values: NDArray[Any]) -> NDArray[Any]:
        """Put the raw layer's further axes between the leading axes and y, x; copies nothing."""
        height, width = values.shape[-2:]
        leading = values.shape[:-2]
        # views: the same plane at each z of a stack must not take the memory of the stack
        opened = values.reshape(*leading, *(1 for _ in self.extra), height, width)
        return np.broadcast_to(opened, (*leading, *self.extra, height, width))


def source_layers(source: Source) -> "list[Image]":
    """Return the source's layers as a list, empty without a source."""
    if source is None:
        return []
    return list(source) if isinstance(source, Sequence) else [source]


def place(
    grid: Grid,
    source: "Image | None",
    plane: tuple[int, ...] | None = None,
    leading: tuple[Axis, ...] = (),
    pixel_size: PixelSize = NO_LENGTH,
) -> Placement:
    """Place a grid on a raw layer, half-pixel shift included.

    Parameters
    ----------
    grid : Grid
        Where the result's pixels lie on the source's pixels.
    source : Image layer or None
        The raw layer.
    plane : tuple of int, optional
        Index on each of the raw layer's axes before y and x.
    leading : tuple of Axis, optional
        Axes that the result has in front of them all.
    pixel_size : PixelSize
        Of the image that the grid lies on, where there is no raw layer to tell.

    Returns
    -------
    Placement

    Raises
    ------
    ParameterError
        ``plane`` has not one index for each such axis, or one outside the layer.
    """
    if source is None:
        return _without_source(grid, leading, pixel_size)
    further = source.ndim - 2  # all but y and x
    extra = _extra(source, plane)
    offset = np.array([*(plane or (0,) * further), *grid.offset], dtype=float)
    # napari adds the translation after it has scaled, sheared and turned the data; the way from the
    # raw layer's first pixel to the result's has to be scaled, sheared and turned alike.
    shift = _linear_part(source) @ offset
    options = {
        "scale": (
            *(axis.step for axis in leading),
            *source.scale[:-2],
            *(source.scale[-2:] * grid.step),
        ),
        "translate": (*(axis.start for axis in leading), *(source.translate + shift)),
        # An empty unit is napari's "dimensionless"; alpha has none.
        "units": (*("" for _ in leading), *(str(unit) for unit in source.units)),
        "axis_labels": (*(axis.label for axis in leading), *axis_names(source)),
        **_orientation(source, len(leading)),
    }
    return Placement(extra, options)


def _extra(source: "Image", plane: tuple[int, ...] | None) -> tuple[int, ...]:
    lengths = tuple(int(length) for length in source.data.shape[: source.ndim - 2])
    if plane is None:
        return lengths
    fits = len(plane) == len(lengths)
    if not fits or any(not 0 <= i < n for i, n in zip(plane, lengths, strict=True)):
        raise ParameterError(
            f"plane: found {plane}; expected one index for each of the {len(lengths)} axes "
            f"before y and x of layer {source.name!r}, within {lengths}"
        )
    return (1,) * len(lengths)


def _without_source(grid: Grid, leading: tuple[Axis, ...], pixel_size: PixelSize) -> Placement:
    size, unit = (pixel_size.y, pixel_size.x), pixel_size.unit
    options = {
        "scale": (*(axis.step for axis in leading), *np.multiply(grid.step, size)),
        "translate": (*(axis.start for axis in leading), *np.multiply(grid.offset, size)),
        "units": (*("" for _ in leading), unit, unit),
        "axis_labels": (*(axis.label for axis in leading), "y", "x"),
    }
    return Placement((), options)


def _linear_part(source: "Image") -> NDArray[np.float64]:
    from napari.utils.transforms import Affine

    transform = Affine(scale=source.scale, rotate=source.rotate, shear=source.shear)
    return np.asarray(transform.linear_matrix, dtype=np.float64)


def _orientation(source: "Image", leading: int) -> dict[str, Any]:
    """Return rotation, shear and affine of a layer that has them, for more axes in front."""
    size = source.ndim
    orientation: dict[str, Any] = {}
    if not np.allclose(source.rotate, np.eye(size)):
        orientation["rotate"] = _with_axes(source.rotate, leading)
    if np.any(source.shear):
        # napari gives the shear as the numbers above the diagonal, row by row
        shear = np.eye(size)
        shear[np.triu_indices(size, 1)] = source.shear
        orientation["shear"] = _with_axes(shear, leading)
    affine = np.asarray(source.affine)
    if not np.allclose(affine, np.eye(size + 1)):
        orientation["affine"] = _with_axes(affine, leading)
    return orientation


def _with_axes(matrix: NDArray[Any], leading: int) -> NDArray[np.float64]:
    size = len(matrix)
    # the axes in front stay as they are, and keep to themselves
    larger = np.eye(size + leading)
    larger[leading:, leading:] = matrix
    return larger


# Below 1, so that weak values can be seen; near 1, so that cover still means strength.
OPACITY_EXPONENT = 0.8
# Odd, so that zero has a colour of its own in the middle, the transparent one.
COLOURS = 255
# Of maps and regions over a raw image: even the strongest leaves the cells below to be seen.
OPACITY = 0.8
# Replaces what lies below, which additive blending would mix with the layers of other results, and
# draws in the order of the list; napari's plain "translucent" lets a hidden depth decide.
COVERING = "translucent_no_depth"
# Outlines, so that the pixels inside can be seen; in pixels of the labels.
CONTOUR = 1
# Pixels that a map of labels may be repeated to: regions of a map of fewer pixels than the image are
# outlined in the image's own, for one of the map's would cover small regions whole.
MOST_LABELS = 2**24
# napari's own column that says which label a row of the features is about
INDEX = "index"


def to_layers(
    result: Any,
    source: Source = None,
    *,
    plane: tuple[int, ...] | None = None,
    pixels_of: "DataArray | None" = None,
) -> list[Layer]:
    """Turn a result into layers, ready for ``viewer.add_layer``.

    Parameters
    ----------
    result : Attribution, Counterfactual, Measurement, Reconstruction or GeneratedImages
        What :func:`napari_why.attribute`, :func:`napari_why.counterfactual`,
        :func:`napari_why.measure`, :func:`napari_why.reconstruct`, or
        :func:`napari_why.sample`, ``traverse`` and ``interpolate`` returned; or any other
        :class:`~napari_why.output.images.Result`.
    source : Image layer or list of Image layers, optional
        The raw layer, or the raw layers of the channels, that the result is about. The new layers
        take their place in space, units and axis labels from the first, and those of a series the
        colormap from the layer of their channel. Without a source, coordinates are pixels of the
        source image.
    plane : tuple of int, optional
        Where the source has more axes than y and x (z, t): the index on each of them that the
        result is about. Without it the result shows at every index.
    pixels_of : DataArray, optional
        Without a source: an image of the kind that the result is about, which tells the size of a
        pixel and its unit, so that the result fits beside layers in micrometres. Not needed by results
        that know it themselves, such as generated images and class maps.

    Returns
    -------
    list of napari.layers.Layer
        For an attribution the joint map and, hidden, one map a channel, those of ``layers`` and the
        standard error; for a counterfactual one
        series a channel along an axis ``alpha`` and, hidden, its differences to the
        reconstruction; for a measurement its map, hidden, and the regions as Labels with the
        region table as ``features``; for a reconstruction each channel and, hidden, its error; for
        generated images one series a channel. Series have the axes (alpha, y, x), or
        (alpha, z, y, x) on a stack. :class:`~napari_why.output.layer_metadata.LayerFacts` of each
        holds the record.

    Raises
    ------
    ParameterError
        The result has no picture, or the plane does not fit the source.

    Examples
    --------
    >>> for layer in why.to_layers(attribution, raw):  # doctest: +SKIP
    ...     viewer.add_layer(layer)
    """
    shown = require_result(result)
    sources = source_layers(source)
    # One for all layers of this call: by it a dock finds the layers that belong together, and takes
    # the series of two runs apart.
    identity, facts = uuid4().hex, shown.facts
    called = LayerFacts.of(sources[0]).image_name if sources else image_name(shown.record.source)
    pixel_size = pixel_size_of(shown) if pixels_of is None else PixelSize.of(pixels_of)
    layers: list[Layer] = []
    for picture in shown.pictures().values():
        # A series keeps the axes of a stack: beside a stack (z, y, x) a series (alpha, y, x) would
        # share one slider with z.
        placement = place(
            _grid_of(picture, shown.grid),
            sources[0] if sources else None,
            plane,
            leading=picture.leading,
            pixel_size=pixel_size,
        )
        made = _make_layers(picture, placement, sources, shown.grid)
        for channel, (layer, seen) in zip(picture.channels, made, strict=True):
            layer.name = f"{called} · {layer.name}" if called else layer.name
            layer.metadata = LayerFacts(
                record=shown.record,
                id=identity,
                role=picture.role,
                channel=channel,
                further={**facts, **seen},
            ).to_metadata()
            layers.append(layer)
    return layers


# A layer, and what its facts say of how its values are shown.
Seen: TypeAlias = tuple[Layer, dict[str, Any]]


def _make_layers(
    picture: Picture, placement: Placement, sources: list[Image], grid: Grid
) -> Iterator[Seen]:
    if picture.kind == "intensity":
        return _grey_layers(picture, placement, sources)
    if picture.kind == "signed":
        return _signed_layers(picture, placement)
    return _label_layers(picture, placement, grid)


def _grey_layers(picture: Picture, placement: Placement, sources: list[Image]) -> Iterator[Seen]:
    """Make a layer a channel, in its colour and in limits of its own, the same for the whole series."""
    pixels = picture.compute()
    names = [str(channel) for channel in picture.channels]
    for index, (channel, colormap) in enumerate(zip(names, default_colormaps(names), strict=True)):
        values = pixels[..., index, :, :]
        raw = layer_of_channel(sources, channel, index) if sources else None
        # A result has other pixels than the raw layer: averaged to fewer, its brightest are dimmer, and
        # in the raw layer's limits it would be dark. Those of its first image fit: what is brighter
        # or dimmer in the others looks so.
        first = values[(0,) * len(picture.leading)]
        layer = Image(
            placement.reshape(values),
            name=picture.titles[index],
            # a raw layer is grey while another result of it is on show; its channel's colour is not
            colormap=colormap if raw is None or raw.colormap.name == GREY else raw.colormap,
            contrast_limits=contrast_limits(first),
            gamma=1.0 if raw is None else raw.gamma,  # 1 is napari's own: values as they are
            # The first covers what lies below; the others add to it as light of several stains does.
            blending="additive" if index else COVERING,
            visible=picture.visible,
            **placement.options,
        )
        yield layer, {}


def _signed_layers(picture: Picture, placement: Placement) -> Iterator[Seen]:
    """Make a layer a channel, negative and positive in two colours that no channel has."""
    pixels = picture.compute()
    # One scale for all channels: on one of its own, a change of no account would look strong.
    limits = symmetric_limits(pixels)
    seen = {"unit": picture.unit, "clipped": clipped_share(pixels, limits)}
    evidence = picture.role in EVIDENCE_ROLES
    for index, title in enumerate(picture.titles):
        layer = Image(
            placement.reshape(pixels[..., index, :, :]),
            name=title,
            colormap=diverging(evidence=evidence, over_raw=picture.over_raw),
            contrast_limits=limits,
            opacity=OPACITY if picture.over_raw else 1.0,
            blending=COVERING,
            visible=picture.visible,
            **placement.options,
        )
        # The slider of the limits has zero in its middle, and reaches as far as the values do.
        furthest = max(limits[1], largest_of(pixels))
        layer.contrast_limits_range = (-furthest, furthest)
        bar = layer.colorbar
        bar.position, bar.box_color, bar.color = BAR_PLACE, BAR_GROUND, BAR_TEXT
        bar.visible = True
        yield layer, seen


def _label_layers(picture: Picture, placement: Placement, grid: Grid) -> Iterator[Seen]:
    """Make outlined labels, with the region table as their features."""
    pixels = picture.compute()
    for down, axis in zip(_repeats(grid), (-2, -1), strict=True):
        pixels = np.repeat(pixels, down, axis=axis)
    for index, title in enumerate(picture.titles):
        layer = Labels(
            placement.reshape(pixels[..., index, :, :]),
            name=title,
            features=None if picture.table is None else features_of(picture.table),
            opacity=OPACITY,
            visible=picture.visible,
            **placement.options,
        )
        layer.contour = CONTOUR
        layer.editable = False  # painted over, regions and table would differ
        layer.selected_label = 0  # none is chosen yet
        yield layer, {}


def _repeats(grid: Grid) -> tuple[int, int]:
    """Return how often each label is laid out down and across, so that outlines are thin."""
    down, across = (max(1, round(step)) for step in grid.step)
    height, width = grid.shape
    return (down, across) if height * down * width * across <= MOST_LABELS else (1, 1)


def _grid_of(picture: Picture, grid: Grid) -> Grid:
    """Return where a picture's pixels lie, of labels those that they are laid out as."""
    if picture.kind != "labels":
        return grid
    repeats = _repeats(grid)
    step = tuple(whole / count for whole, count in zip(grid.step, repeats, strict=True))
    # the first part of a pixel lies before its centre
    offset = tuple(
        first - whole / 2 + part / 2
        for first, whole, part in zip(grid.offset, grid.step, step, strict=True)
    )
    height, width = (length * count for length, count in zip(grid.shape, repeats, strict=True))
    return Grid((height, width), (step[0], step[1]), (offset[0], offset[1]))


def features_of(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return a region table as the features of a Labels layer, background first.

    Examples
    --------
    >>> import pandas as pd
    >>> features_of(pd.DataFrame({"region": [1], "area (px)": [12.0]}))["index"].tolist()
    [0, 1]
    """
    # napari looks up a label's row by this column and wants one for the background too; it takes
    # no missing integers, so all that is measured is float and the background's is NaN.
    regions = [0, *table["region"].astype(int)]
    measured = table.drop(columns="region").astype(float)
    features = measured.reset_index(drop=True).reindex(range(-1, len(measured)))
    features = features.reset_index(drop=True)
    features.insert(0, INDEX, regions)
    return features


def region_centre(layer: Labels, region: int) -> tuple[float, ...] | None:
    """Return the world position of a region's centroid on every axis of its layer, None without.

    Parameters
    ----------
    layer : Labels
    region : int
        Its label.

    Returns
    -------
    tuple of float, or None
    """
    positions = np.argwhere(np.asarray(layer.data) == region)
    if not len(positions):
        return None
    return tuple(float(value) for value in layer.data_to_world(positions.mean(axis=0)))


def diverging(*, evidence: bool = True, over_raw: bool = True) -> Colormap:
    """Return sky blue for negative and salmon for positive values.

    Parameters
    ----------
    evidence : bool
        Values speak against and for a class; else they are less and more of something.
    over_raw : bool
        Transparent at zero: values near it leave the raw image as it is, and the stronger one is, the
        more it covers. Else black at zero, whatever the theme and whatever lies below.

    Returns
    -------
    Colormap
        For values from -1 to 1.
    """
    value = np.linspace(-1, 1, COLOURS)
    colours = np.where(value[:, None] > 0, POSITIVE, NEGATIVE)
    strength = np.abs(value[:, None]) ** OPACITY_EXPONENT
    if over_raw:
        made = np.hstack([colours, strength])
    else:
        made = np.hstack([colours * strength, np.ones_like(strength)])
    said = "against (-) / for (+)" if evidence else "less (-) / more (+)"
    name = f"why_{'evidence' if evidence else 'change'}{'' if over_raw else '_alone'}"
    return Colormap(made, name=name, display_name=said)
