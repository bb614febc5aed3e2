"""One plane of an image file, never chosen without being asked."""

from pathlib import Path
from typing import TYPE_CHECKING

from napari_why.errors import ParameterError

if TYPE_CHECKING:
    from xarray import DataArray


def read_plane(path: Path, *, time: int | None, depth: int | None) -> "DataArray":
    """Read one time point and z plane, dims (c, y, x).

    Raises
    ------
    ParameterError
        The file has several of them and none was chosen, or there is no such one.
    ImageReadError
        The file cannot be read.
    """
    from napari_why.images import plane, read

    image = read(path)
    chosen = {"t": time, "z": depth}
    for (dim, index), option in zip(chosen.items(), ("--time", "--depth"), strict=True):
        size = image.sizes.get(dim, 1)
        if size > 1 and index is None:
            raise ParameterError(
                f"{path}: found {size} along axis {dim}; choose one with {option} 0 to {size - 1}"
            )
    return plane(image, t=time or 0, z=depth or 0)
