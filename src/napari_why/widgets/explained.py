"""What a result in a dock is about."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari.layers import Image

if TYPE_CHECKING:
    from xarray import DataArray


@dataclass(frozen=True)
class Explained:
    """The image that was explained, and where it came from.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)
        With pixel size.
    layers : list of Image
        The raw layers of its channels.
    plane : tuple of int or None
        Index on each of their axes before y and x.
    """

    image: "DataArray"
    layers: list[Image]
    plane: tuple[int, ...] | None = None
