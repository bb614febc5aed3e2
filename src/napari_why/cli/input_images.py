"""One plane of an image file, never chosen without being asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.cli.arguments import names_in
from napari_why.core.errors import ParameterError

if TYPE_CHECKING:
    from xarray import DataArray


def read_plane(
    path: Path,
    *,
    time: int | None,
    depth: int | None,
    read_as: Mapping[str, Any] | None = None,
) -> "DataArray":
    """Read one time point and z plane, dims (c, y, x).

    ``read_as`` are further arguments of :func:`napari_why.images.read`, as an image's ``attrs``
    keep them.

    Raises
    ------
    ParameterError
        The file has several of them and none was chosen, or there is no such one.
    ImageReadError
        The file cannot be read.
    """
    from napari_why.images import plane, read_again

    image = read_again(path, read_as)
    chosen = {"t": time, "z": depth}
    for (dim, index), option in zip(chosen.items(), ("--time", "--depth"), strict=True):
        size = image.sizes.get(dim, 1)
        if size > 1 and index is None:
            raise ParameterError(
                f"{path}: found {size} along axis {dim}; choose one with {option} 0 to {size - 1}"
            )
    return plane(image, t=time or 0, z=depth or 0)


def told(axes: str | None, channels: str | None) -> dict[str, Any]:
    """Return what the user says of an image, as arguments of :func:`napari_why.images.read`.

    Examples
    --------
    >>> told("zcyx", "DAPI, TMRM")
    {'axes': 'zcyx', 'channels': ['DAPI', 'TMRM']}
    """
    given = {"axes": axes, "channels": names_in(channels or "") or None}
    return {name: value for name, value in given.items() if value is not None}
