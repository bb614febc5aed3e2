"""Results as images with channel names and pixel size, ready to be written."""

from dataclasses import asdict, replace

import numpy as np
import xarray as xr

from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.images import Grid, make_image, spatial_scale
from napari_why.output.result import Result

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
        have no size.

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
        return make_image(data, dims, channels)
    sizes = np.multiply(spatial_scale(source), result.grid.step)
    return make_image(
        data,
        dims,
        channels,
        pixel_size=dict(zip("yx", sizes.tolist(), strict=True)),
        unit=source.attrs["unit"],
        source=source.attrs["source"],
    )


def record_with_grid(record: Record, grid: Grid) -> Record:
    """Return a record that tells where the pixels lie on the source's pixels."""
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
