"""What a result must have, and results as images with channel names, ready to be written."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.images import (
    NO_LENGTH,
    Grid,
    PixelSize,
    first_centre,
    make_image,
    spatial_scale,
)

# Only for the error's sentence: whatever has the five parts of a result is taken, a class of
# another package too.
KNOWN_RESULTS = "Attribution, Counterfactual, Measurement, Reconstruction or GeneratedImages"


class Result(Protocol):
    """A result with pictures; attributions, counterfactuals and the others all are one.

    A new kind of result needs these five, and no line in this room. One that is about no image of the
    user's, such as drawn images, may have a ``pixel_size`` (:class:`~napari_why.images.PixelSize`, of the
    pixels that ``grid`` counts in) too: beside layers in micrometres napari doubts the units of all, if
    one counts in pixels.
    """

    # Properties, since results are frozen: a plain attribute would promise that it can be set.
    @property
    def grid(self) -> Grid:
        """Where the pixels of all its pictures lie on the source image."""

    @property
    def record(self) -> Record:
        """How it was made."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read beside the pictures."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its layers carry beside the record; JSON types only.

        Those that docks read are listed in
        :class:`~napari_why.output.layer_metadata.LayerFacts`.
        """

    def pictures(self) -> Mapping[str, Picture]:
        """Return its stacks of pixels by name, in the order of their layers, the last on top."""


def require_result(found: Any) -> Result:
    """Return a result as it is.

    Raises
    ------
    ParameterError
        It has no pictures.
    """
    # One method is looked for: asking for all five would compute the properties (a verdict takes
    # a pass over the pixels) only to see that they are there.
    if callable(getattr(found, "pictures", None)):
        return cast(Result, found)
    raise ParameterError(
        f"to_layers: found {type(found).__name__}; expected a result that has a picture: "
        f"{KNOWN_RESULTS}"
    )


def pixel_size_of(result: Result) -> PixelSize:
    """Return how large the pixels are that a result's grid counts in, as far as it knows."""
    found = getattr(result, "pixel_size", None)
    return found if isinstance(found, PixelSize) else NO_LENGTH


# What the map of all channels together is called among the channels of a file.
JOINT = "all channels"


def result_image(result: Result, source: xr.DataArray | None = None) -> xr.DataArray:
    """Return the pixels of a result that belong into a file.

    Parameters
    ----------
    result : Result
        An attribution gives the map of each channel and the joint map; a counterfactual its
        exported series, in raw intensity units; a reconstruction each channel and then each
        channel's error; generated images their series.
    source : DataArray, optional
        The image that the result is about; gives pixel size, unit and source. Without it pixels
        have the size that the result knows, if any.

    Returns
    -------
    DataArray, dims (c, y, x) or (t, c, y, x)
        Several pictures are put one after the other along ``c``. A series axis (alpha) is called
        ``t``, the axis that image files have for series.
    """
    pictures = {name: found for name, found in result.pictures().items() if found.in_file}
    pixels = [picture.compute() for picture in pictures.values()]
    # One picture stays as it is, lest a series of gigabytes be copied.
    data = pixels[0] if len(pixels) == 1 else np.concatenate(pixels, axis=-3)
    dims = ("t", "c", "y", "x")[-data.ndim :]
    channels = _channels(pictures)
    if source is None:
        size = pixel_size_of(result).on(result.grid)
        return make_image(
            data, dims, channels, pixel_size={"y": size.y, "x": size.x}, unit=size.unit
        )
    return place_on_source(data, channels, result.grid, source)


def place_on_source(
    data: NDArray[Any], channels: Sequence[str], grid: Grid, source: xr.DataArray
) -> xr.DataArray:
    """Return pixels (c, y, x) or (t, c, y, x) on a grid of an image, with its place and unit.

    Parameters
    ----------
    data : ndarray, shape (C, H, W) or (T, C, H, W)
    channels : sequence of str
        Names along C.
    grid : Grid
        Where the pixels lie on those of the source.
    source : DataArray
        Tells pixel size, unit, origin and path.

    Returns
    -------
    DataArray, dims (c, y, x) or (t, c, y, x)
    """
    sizes = np.multiply(spatial_scale(source), grid.step)
    return make_image(
        data,
        ("t", "c", "y", "x")[-data.ndim :],
        channels,
        pixel_size=dict(zip("yx", sizes.tolist(), strict=True)),
        unit=source.attrs["unit"],
        source=source.attrs["source"],
        origin={
            dim: first_centre(source, dim) + offset * size
            for dim, offset, size in zip("yx", grid.offset, spatial_scale(source), strict=True)
        },
    )


def record_with_grid(record: Record, grid: Grid) -> Record:
    """Return a record that tells where the pixels lie on the source's pixels.

    Parameters
    ----------
    record : Record
    grid : Grid
        Stands under ``grid`` in the details.

    Returns
    -------
    Record
        A copy.
    """
    return replace(record, details={**record.details, "grid": asdict(grid)})


def _channels(pictures: dict[str, Picture]) -> list[str]:
    """Name the channels of all pictures; those of a later picture by its name too ("TMRM error")."""
    names: list[str] = []
    for name, picture in pictures.items():
        for channel in picture.channels:
            plain = JOINT if channel is None else channel
            # a file's channels are found by their names, so no two may be alike
            names.append(f"{plain} {name}" if plain in names else plain)
    return names
