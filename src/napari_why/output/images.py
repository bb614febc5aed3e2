"""Results as images with channel names and pixel size, ready to be written."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_why.core.record import Record

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.attribution import Attribution
    from napari_why.counterfactuals import Counterfactual
    from napari_why.generation import GeneratedImages, Reconstruction
    from napari_why.images import Grid

JOINT = "all channels"


def attribution_image(attribution: "Attribution", source: "DataArray") -> "DataArray":
    """Return the map of each channel and the joint map, float32, dims (c, y, x).

    Parameters
    ----------
    attribution : Attribution
    source : DataArray
        The image that was explained; gives the pixel size.
    """
    maps = np.concatenate([attribution.maps, attribution.joint[None]])
    return _image(maps, ("c", "y", "x"), (*attribution.channels, JOINT), attribution.grid, source)


def counterfactual_image(counterfactual: "Counterfactual", source: "DataArray") -> "DataArray":
    """Return the exported series in raw intensity units, dims (t, c, y, x); t counts the alphas.

    Parameters
    ----------
    counterfactual : Counterfactual
    source : DataArray
        The image it started from; gives the pixel size.
    """
    return _image(
        counterfactual.images,
        ("t", "c", "y", "x"),
        counterfactual.channels,
        counterfactual.grid,
        source,
    )


def reconstruction_image(reconstruction: "Reconstruction", source: "DataArray") -> "DataArray":
    """Return each channel's reconstruction, then each channel's error, float32, dims (c, y, x).

    Parameters
    ----------
    reconstruction : Reconstruction
    source : DataArray
        The image that was reconstructed; gives the pixel size.
    """
    data = np.concatenate([reconstruction.reconstruction, reconstruction.error])
    errors = (f"{channel} error" for channel in reconstruction.channels)
    names = (*reconstruction.channels, *errors)
    return _image(data, ("c", "y", "x"), names, reconstruction.grid, source)


def generated_image(generated: "GeneratedImages", source: "DataArray | None" = None) -> "DataArray":
    """Return a series of decoded images, float32, dims (t, c, y, x); t counts them.

    Parameters
    ----------
    generated : GeneratedImages
    source : DataArray, optional
        The image they were made from; gives the pixel size.
    """
    dims = ("t", "c", "y", "x")
    if source is None:
        from napari_why.images import make_image

        return make_image(generated.images, dims, generated.channels)
    return _image(generated.images, dims, generated.channels, generated.grid, source)


def record_with_grid(record: Record, grid: "Grid") -> Record:
    """Return a record that tells where the pixels lie on the source's pixels."""
    return replace(record, details={**record.details, "grid": asdict(grid)})


def _image(
    data: Any, dims: tuple[str, ...], channels: tuple[str, ...], grid: "Grid", source: "DataArray"
) -> "DataArray":
    from napari_why.images import make_image, spatial_scale

    sizes = np.multiply(spatial_scale(source), grid.step)
    return make_image(
        data,
        dims,
        channels,
        pixel_size=dict(zip("yx", sizes.tolist(), strict=True)),
        unit=source.attrs["unit"],
        source=source.attrs["source"],
    )
