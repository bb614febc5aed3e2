"""What an image is: its axes, names and units, where its pixels lie, and how it is exported."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_why.core.errors import ParameterError
from napari_why.core.folders import show

if TYPE_CHECKING:
    import xarray as xr

# Axes in the order of every image, which is the one that OME-Zarr asks for.
DIMS = ("t", "c", "z", "y", "x")
SPATIAL_DIMS = ("z", "y", "x")
# "pixel" where the file tells no pixel size: a length in micrometres is never made up.
UNITS = ("um", "pixel")


@dataclass(frozen=True)
class Grid:
    """A pixel grid placed on a source image's pixel grid.

    The centre of pixel ``i`` of this grid lies at source pixel coordinate
    ``offset + i * step`` on each axis (y, x). Reduced by a factor f, ``step`` is f and ``offset``
    is (f - 1) / 2, the half-pixel shift; cropped, ``step`` is 1 and ``offset`` the crop's corner.

    Parameters
    ----------
    shape : (int, int)
        Height and width in pixels of this grid.
    step : (float, float)
        Source pixels per pixel, y and x.
    offset : (float, float)
        Source coordinate of the centre of pixel (0, 0), y and x.

    Examples
    --------
    >>> Grid.reduce((8, 8), (2, 2))
    Grid(shape=(2, 2), step=(4.0, 4.0), offset=(1.5, 1.5))
    """

    shape: tuple[int, int]
    step: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def reduce(cls, source: tuple[int, int], shape: tuple[int, int]) -> "Grid":
        """Return a grid of ``shape`` pixels that covers the whole of ``source`` pixels.

        Parameters
        ----------
        source, shape : (int, int)
            Height and width, pixels.

        Returns
        -------
        Grid
            With the same corners as the source.
        """
        steps = (source[0] / shape[0], source[1] / shape[1])
        # The corners of both grids coincide, not the centres of their first pixels.
        return cls(shape, steps, ((steps[0] - 1) / 2, (steps[1] - 1) / 2))

    @classmethod
    def crop(cls, shape: tuple[int, int], corner: tuple[int, int]) -> "Grid":
        """Return a grid of ``shape`` pixels cut out at ``corner`` of the source.

        Parameters
        ----------
        shape : (int, int)
            Height and width, pixels.
        corner : (int, int)
            Row and column of its first pixel in the source.

        Returns
        -------
        Grid
            With a step of one pixel.
        """
        return cls(shape, (1.0, 1.0), (float(corner[0]), float(corner[1])))


@dataclass(frozen=True)
class PixelSize:
    """How far the pixels of an image lie apart.

    Parameters
    ----------
    y, x : float
        Distance between pixel centres, in ``unit``.
    unit : {"um", "pixel"}
        "pixel" where nobody knows a length.

    Examples
    --------
    >>> PixelSize(0.65, 0.65, "um").on(Grid.reduce((224, 224), (56, 56)))
    PixelSize(y=2.6, x=2.6, unit='um')
    """

    y: float = 1.0
    x: float = 1.0
    unit: str = "pixel"

    @classmethod
    def of(cls, image: "xr.DataArray") -> Self:
        """Return that of an image."""
        return cls(*spatial_scale(image), str(image.attrs.get("unit", "pixel")))

    def on(self, grid: Grid) -> "PixelSize":
        """Return that of the pixels of a grid on such an image; of no length there is none either."""
        if self.unit == "pixel":
            return NO_LENGTH
        return PixelSize(self.y * grid.step[0], self.x * grid.step[1], self.unit)


NO_LENGTH = PixelSize()
"""Of images of which nobody knows how large their pixels are."""


def make_image(
    data: Any,
    dims: Sequence[str],
    channels: Sequence[str] | None,
    *,
    pixel_size: Mapping[str, float] | None = None,
    unit: str = "pixel",
    source: str = "",
    notes: Sequence[str] = (),
    origin: Mapping[str, float] | None = None,
) -> "xr.DataArray":
    """Make an image of an array whose axes the caller knows.

    Parameters
    ----------
    data : array
        NumPy or dask array; bool, integer or floating point. It is not copied.
    dims : sequence of str
        A letter of ``tczyx`` for each axis, in the order of the array ("yxc", ("c", "y", "x")).
        Without ``c`` the array is one channel.
    channels : sequence of str or None
        Names along ``c``, each once; None for "channel 1", "channel 2", ...
    pixel_size : mapping of str to float, optional
        Distance between pixel centres along z, y and x, in ``unit``; axes left out are 1, but for
        the distance of z planes, which stays unknown where ``unit`` is a length.
    unit : {"um", "pixel"}
        Unit of ``pixel_size``.
    source : str
        Where the pixels come from.
    notes : sequence of str
        Sentences the user should read about this image.
    origin : mapping of str to float, optional
        Where the centre of the first pixel lies along z, y and x, in ``unit``; 0 where left out.

    Returns
    -------
    DataArray
        Axes in the order t, c, z, y, x, as far as there are any. Along z, y and x the coordinates
        are the centres of the pixels, with their unit as ``attrs["units"]``, which is what napari
        places an array by. They are no index: see :func:`pixel_centres`.

    Raises
    ------
    ParameterError
        The axes, names or sizes do not fit the array.

    Examples
    --------
    >>> image = make_image(np.zeros((4, 5, 2), "uint16"), "yxc", ["DAPI", "TMRM"], unit="um",
    ...                    pixel_size={"y": 0.5, "x": 0.5})
    >>> image.dims, image.shape, channel_names(image), spatial_scale(image)
    (('c', 'y', 'x'), (2, 4, 5), ('DAPI', 'TMRM'), (0.5, 0.5))
    """
    import xarray as xr

    arranged = arrange_pixels(
        data, dims, channels, pixel_size=pixel_size, unit=unit, source=source, notes=notes
    )
    sizes = pixel_size or {}
    # names are settled by now: each change of a DataArray costs as much as making it
    coords = {"c": xr.Variable("c", np.array(arranged.channels, dtype=np.str_))}
    for dim, count in zip(arranged.dims, arranged.data.shape, strict=True):
        if dim in SPATIAL_DIMS:
            # a length in micrometres only along axes that have one
            known = unit if dim in sizes else "pixel"
            start = (origin or {}).get(dim, 0.0)
            coords[dim] = pixel_centres(dim, count, sizes.get(dim, 1.0), start, known)
    index = xr.Coordinates({"c": coords["c"]}).xindexes
    image = xr.DataArray(
        arranged.data, dims=arranged.dims, coords=xr.Coordinates(coords, indexes=index)
    )
    image.attrs = arranged.attrs
    return image


@dataclass(frozen=True)
class ArrangedPixels:
    """All of an image but its ``xarray.DataArray``, whose import takes longer than reading a file.

    Parameters
    ----------
    data : array
        NumPy or dask array.
    dims : tuple of str
        Its axes, in the order t, c, z, y, x, as far as there are any.
    channels : tuple of str
        Names along ``c``.
    attrs : dict
        ``pixel_size``, ``unit``, ``source`` and ``notes`` as an image has them.
    """

    data: Any
    dims: tuple[str, ...]
    channels: tuple[str, ...]
    attrs: dict[str, Any]


def arrange_pixels(
    data: Any,
    dims: Sequence[str],
    channels: Sequence[str] | None,
    *,
    pixel_size: Mapping[str, float] | None = None,
    unit: str = "pixel",
    source: str = "",
    notes: Sequence[str] = (),
) -> ArrangedPixels:
    """Bring an array to the order of an image, and check all that is known of it.

    Parameters and errors are those of :func:`make_image`.

    Parameters
    ----------
    data, dims, channels, pixel_size, unit, source, notes
        As of :func:`make_image`.

    Returns
    -------
    ArrangedPixels

    Raises
    ------
    ParameterError
        The axes, names or sizes do not fit the array.
    """
    dims = tuple(dims)
    if len(dims) != data.ndim or len(set(dims)) != len(dims):
        raise ParameterError(
            f"axes: found {''.join(dims)!r} for an array of shape {data.shape}; "
            "expected one letter for each axis, each once"
        )
    if "c" not in dims:
        data, dims = data[None], ("c", *dims)
    ordered = tuple(dim for dim in DIMS if dim in dims) + tuple(d for d in dims if d not in DIMS)
    if ordered != dims:
        data = data.transpose([dims.index(dim) for dim in ordered])
    count = data.shape[ordered.index("c")]
    names = (
        default_names(count) if channels is None else tuple(str(name).strip() for name in channels)
    )
    if len(names) != count:
        raise ParameterError(
            f"channels: found {len(names)} names ({', '.join(names)}) for {count} channels"
        )
    sizes = pixel_size or {}
    attrs = {
        "pixel_size": {
            dim: float(sizes.get(dim, 1.0))
            for dim in SPATIAL_DIMS
            if dim in ordered and (dim in sizes or dim != "z" or unit == "pixel")
        },
        "unit": unit,
        "source": show(source),
        "notes": tuple(notes),
    }
    _check_axes(ordered, data.shape, data.dtype)
    _check_names(names)
    _check_pixel_size(attrs)
    return ArrangedPixels(data, ordered, names, attrs)


def pixel_centres(dim: str, count: int, size: float, start: float, unit: str) -> "xr.Variable":
    """Return where the centres of pixels lie along an axis.

    An image has them as coordinates without an index. With one, arithmetic between two images
    would keep the pixels alone whose positions are equal, and drop the others without a word;
    without, images of one shape are taken pixel by pixel, and others are refused by xarray.

    Parameters
    ----------
    dim : str
        ``z``, ``y`` or ``x``.
    count : int
        Pixels along it.
    size : float
        Distance between centres, in ``unit``.
    start : float
        Where the first one lies, in ``unit``.
    unit : {"um", "pixel"}

    Returns
    -------
    Variable, shape (count,)

    Examples
    --------
    >>> pixel_centres("y", 3, 0.5, 10.0, "um").values.tolist()
    [10.0, 10.5, 11.0]
    """
    import xarray as xr

    return xr.Variable(dim, float(start) + np.arange(count) * float(size), {"units": unit})


def first_centre(image: "xr.DataArray", dim: str) -> float:
    """Return where the first pixel's centre lies along an axis; 0 for an image without positions.

    Parameters
    ----------
    image : DataArray
    dim : str
        ``z``, ``y`` or ``x``.

    Returns
    -------
    float
        In the unit of the image's pixel size.
    """
    return float(image.coords[dim].values[0]) if dim in image.coords else 0.0


def check_image(image: "xr.DataArray") -> "xr.DataArray":
    """Return ``image`` unchanged if it follows the conventions of this package.

    Raises
    ------
    ParameterError
        Says which convention is broken, and how.

    Examples
    --------
    >>> from xarray import DataArray
    >>> check_image(DataArray(np.zeros((4, 5)), dims=("y", "x")))
    Traceback (most recent call last):
    ...
    napari_why.core.errors.ParameterError: image: found axes y, x; expected c, y, x, with t and z where there are any, in the order t, c, z, y, x
    """
    import xarray as xr

    if not isinstance(image, xr.DataArray):
        raise ParameterError(f"image: found {type(image).__name__}; expected an xarray.DataArray")
    _check_axes(image.dims, image.shape, image.dtype)
    if "c" not in image.coords:
        raise ParameterError("image: found no channel names; expected them as the coordinate 'c'")
    _check_names(channel_names(image))
    _check_pixel_size(image.attrs)
    return image


def channel_names(image: "xr.DataArray") -> tuple[str, ...]:
    """Return the names along the channel axis."""
    return tuple(str(name) for name in image.coords["c"].values)


def default_names(count: int) -> tuple[str, ...]:
    """Return the names of channels that have none: "channel 1", "channel 2", ...."""
    return tuple(f"channel {index + 1}" for index in range(count))


def spatial_scale(image: "xr.DataArray") -> tuple[float, float]:
    """Return the pixel size along y and x, in the unit ``image.attrs["unit"]``."""
    sizes = image.attrs.get("pixel_size", {})
    return float(sizes.get("y", 1.0)), float(sizes.get("x", 1.0))


def plane(image: "xr.DataArray", *, t: int = 0, z: int = 0) -> "xr.DataArray":
    """Return one time point and one z plane of an image, axes c, y, x.

    ``attrs["plane"]`` then holds the indices that were chosen of several.

    Parameters
    ----------
    image : DataArray
    t, z : int
        Indices from 0; of an axis that the image does not have, 0.

    Returns
    -------
    DataArray, dims (c, y, x)
        A view of the same pixels.

    Raises
    ------
    ParameterError
        There is no such time point or plane.

    Examples
    --------
    >>> stack = make_image(np.zeros((3, 4, 5), "uint8"), "zyx", None)
    >>> plane(stack, z=2).dims
    ('c', 'y', 'x')
    """
    flat = image
    for dim, index in (("t", t), ("z", z)):
        size = image.sizes.get(dim, 1)
        if not 0 <= index < size:
            raise ParameterError(f"{dim}: found {index}; expected 0 to {size - 1}")
        if dim in image.dims:
            flat = flat.isel({dim: index}, drop=True)
    flat.attrs = dict(image.attrs)  # isel hands on the same dictionary, which is changed below
    chosen = {dim: index for dim, index in (("t", t), ("z", z)) if image.sizes.get(dim, 1) > 1}
    if chosen:
        flat.attrs["plane"] = chosen
    flat.attrs["pixel_size"] = {
        dim: size for dim, size in image.attrs.get("pixel_size", {}).items() if dim in flat.dims
    }
    return flat


def how_read(image: "xr.DataArray") -> dict[str, Any]:
    """Return what a record has to keep beside the source to find the same image again.

    ``read_as`` for :func:`napari_why.images.read_again` and ``plane`` for :func:`plane`; None where
    nothing was told or chosen.
    """
    return {name: image.attrs.get(name) for name in ("read_as", "plane")}


def _check_axes(dims: tuple[Hashable, ...], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    ordered = tuple(dim for dim in DIMS if dim in dims)
    if dims != ordered or not {"c", "y", "x"} <= set(dims):
        raise ParameterError(
            f"image: found axes {', '.join(map(str, dims))}; expected c, y, x, with t and z where "
            "there are any, in the order t, c, z, y, x"
        )
    if 0 in shape:
        raise ParameterError(f"image: found shape {shape}; expected at least one pixel")
    # Complex numbers, text and objects are no intensities.
    if dtype.kind not in "buif":
        raise ParameterError(
            f"image: found pixels of type {dtype}; expected integer or floating point"
        )


def _check_names(names: Sequence[str]) -> None:
    # Names become layers, columns and keys of records; a control character would break them.
    if len(set(names)) != len(names) or not all(name and name.isprintable() for name in names):
        raise ParameterError(
            f"channels: found {', '.join(map(repr, names))}; "
            "expected a printable name for each, each once"
        )


def _check_pixel_size(attrs: Mapping[str, Any]) -> None:
    unit = attrs.get("unit", "pixel")
    if unit not in UNITS:
        raise ParameterError(f"unit: found {unit!r}; expected one of {', '.join(UNITS)}")
    for dim, size in attrs.get("pixel_size", {}).items():
        if dim not in SPATIAL_DIMS or not (math.isfinite(size) and size > 0):
            raise ParameterError(
                f"pixel size: found {size} along {dim}; expected a positive number along z, y or x"
            )


def export_dtype(source: DTypeLike) -> np.dtype[Any]:
    """Return the dtype in which counterfactuals of a source image are exported.

    A 16-bit integer source keeps its dtype: rounding costs half a grey level of thousands. An
    8-bit source does not, since rounding there can wipe out the whole change; nor does any
    other dtype.

    Examples
    --------
    >>> export_dtype("uint16").name, export_dtype("uint8").name, export_dtype("float64").name
    ('uint16', 'float32', 'float32')
    """
    dtype = np.dtype(source)
    return dtype if dtype.kind in "iu" and dtype.itemsize == 2 else np.dtype(np.float32)


def export_pixels(raw: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return raw intensities as ``dtype``: rounded and clipped for integers, unclipped for floats.

    Parameters
    ----------
    raw : ndarray
        Raw intensity units, any shape.
    dtype : dtype
        What :func:`export_dtype` returned.

    Returns
    -------
    ndarray
        Of the same shape.
    """
    if dtype.kind == "f":
        return raw.astype(dtype)
    limits = np.iinfo(dtype)
    whole: NDArray[Any] = np.clip(np.rint(raw), limits.min, limits.max).astype(dtype)
    return whole


def share_out_of_range(raw: NDArray[Any], source: DTypeLike) -> float:
    """Return the share of values that the source's dtype cannot hold; 0 for float sources.

    Half a grey level beyond the limits rounds back to them and is not counted.

    Parameters
    ----------
    raw : ndarray
        Raw grey levels, any shape.
    source : dtype
        Of the image that they were made from.

    Returns
    -------
    float
        0 to 1.
    """
    dtype = np.dtype(source)
    if dtype.kind not in "iu":
        return 0.0
    limits = np.iinfo(dtype)
    # By half a level, as rint rounds in export_pixels.
    return float(np.mean((raw < limits.min - 0.5) | (raw > limits.max + 0.5)))
