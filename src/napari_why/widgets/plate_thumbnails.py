"""Small pictures of the wells of a data set, in one contrast."""

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import ensure_colormap

from napari_why.core.events import Advanced, Cancelled, Finished, OnEvent, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_why.datasets import Dataset

THUMBNAIL = 64

Picture = tuple[tuple[int, int], "NDArray[np.uint8]"]


def make_thumbnails(
    dataset: "Dataset",
    rows: "Mapping[tuple[int, int], int]",
    made: "Callable[[Picture], None]",
    *,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> int:
    """Make a thumbnail for each well, one after the other, and hand each over as it is done.

    Parameters
    ----------
    dataset : Dataset
    rows : mapping of (int, int) to int
        For each well, by its row and column, the row of the data set that is shown.
    made : callable
        Takes the place of a well and its picture, uint8 of shape (height, width, 3).

    Returns
    -------
    int
        How many were made; fewer than asked for when cancelled.
    """
    from napari_why.datasets import typical_contrast

    on_event(Started("Drawing the plate", len(rows)))
    contrast = typical_contrast(dataset)
    done = 0
    for place, row in rows.items():
        if cancelled():
            break
        made((place, thumbnail(dataset, row, contrast)))
        done += 1
        on_event(Advanced(done))
    on_event(Finished(partial=done < len(rows)))
    return done


def thumbnail(
    dataset: "Dataset", row: int, contrast: "Mapping[str, tuple[float, float]]"
) -> "NDArray[np.uint8]":
    """Return one image at most 64 pixels high and wide, its channels in colour, added up.

    Pixels are averaged over blocks, so that single bright ones neither vanish nor stand out.
    """
    from napari_why.images import default_colormaps

    image = dataset.image(row)
    picture: NDArray[np.float64] | None = None
    for name, colour in zip(dataset.channels, default_colormaps(dataset.channels), strict=True):
        plane = _reduced(np.asarray(image.sel(c=name)))
        low, high = contrast[name]
        shown = np.clip((plane - low) / (high - low), 0, 1)
        coloured = ensure_colormap(colour).map(shown.ravel())[:, :3].reshape(*shown.shape, 3)
        picture = coloured if picture is None else picture + coloured
    return (np.clip(np.zeros((1, 1, 3)) if picture is None else picture, 0, 1) * 255).astype(
        "uint8"
    )


def _reduced(plane: "NDArray[np.generic]") -> "NDArray[np.float64]":
    step = -(-max(plane.shape) // THUMBNAIL)
    height, width = (max(1, size // step) for size in plane.shape)
    used = plane[: height * step, : width * step].astype(np.float64)
    sides = (height, min(step, plane.shape[0]), width, min(step, plane.shape[1]))
    return np.asarray(used.reshape(sides).mean(axis=(1, 3)))
