"""Places of maps, cut out and put in: the only pixels that move between the steps of a pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Margins = tuple[int, int, int, int]  # positions to the left, to the right, above and below a map
NO_MARGINS: Margins = (0, 0, 0, 0)


@dataclass(frozen=True)
class Place:
    """A rectangle of one size in each image of a batch.

    Parameters
    ----------
    tops, lefts : sequence of int
        Of each image; below 0 in the padding.
    height, width : int
    """

    tops: Sequence[int]
    lefts: Sequence[int]
    height: int
    width: int

    def of(self, images: slice) -> "Place":
        """Return the rectangles of some of the images."""
        return Place(self.tops[images], self.lefts[images], self.height, self.width)

    def offsets(self, inner: "Place") -> list[tuple[int, int]]:
        """Return where another place begins in this one, for each image."""
        return [
            (their_top - top, their_left - left)
            for top, left, their_top, their_left in zip(
                self.tops, self.lefts, inner.tops, inner.lefts, strict=True
            )
        ]


class StoredMaps:
    """The maps of the unchanged image after a step, with the padding that later steps look at.

    Parameters
    ----------
    maps : Tensor, shape (1, C, H, W)
    margins : mapping of float to (int, int, int, int)
        How far steps look beyond the maps, by the value that stands there.
    """

    def __init__(self, maps: Tensor, margins: Mapping[float, Margins]) -> None:
        self._margins = dict(margins) or {0.0: NO_MARGINS}
        self._stored = {
            value: _in_layout(F.pad(maps, margin, value=value) if any(margin) else maps)
            for value, margin in self._margins.items()
        }

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(one.numel() * one.element_size() for one in self._stored.values())

    def cut(self, place: Place, border: float | None = None) -> Tensor:
        """Return the maps (N, C, h, w) at a place, new ones.

        Parameters
        ----------
        place : Place
        border : float, optional
            What stands beyond the maps; None where the place lies within.

        Returns
        -------
        Tensor, shape (N, C, h, w)
        """
        value = next(iter(self._stored)) if border is None else border
        stored, (left, _, above, _) = self._stored[value][0], self._margins[value]
        count, (height, width) = len(place.tops), (place.height, place.width)
        channels, rows, columns = stored.shape
        if (height, width) == (rows, columns):
            return _in_layout(stored.expand(count, -1, -1, -1).clone())
        # a row of a tile is one stretch of memory, channels last as what is stored: one from each pixel on,
        # which overlap, and of these the ones that are asked for by one call, not one for each tile
        stretches = stored.as_strided((rows * columns - width + 1, width * channels), (channels, 1))
        starts = [
            (top + above) * columns + start + left
            for top, start in zip(place.tops, place.lefts, strict=True)
        ]
        steps = torch.arange(0, height * columns, columns, device=stored.device)
        wanted = (torch.tensor(starts, device=stored.device)[:, None] + steps).flatten()
        tiles = stretches.index_select(0, wanted)
        return tiles.view(count, height, width, channels).permute(0, 3, 1, 2)


def look_into(patch: Tensor, its: Place, wanted: Place) -> Tensor | None:
    """Return a patch at a place as a view, where that lies inside alike in all images, else None.

    Parameters
    ----------
    patch : Tensor, shape (N, C, h, w)
    its, wanted : Place
        Where it lies, and what is asked for; on the same maps, of N images each.

    Returns
    -------
    Tensor, shape (N, C, wanted.height, wanted.width), or None
    """
    offsets = set(its.offsets(wanted))
    if len(offsets) > 1:
        return None
    (y, x) = offsets.pop()
    if y < 0 or x < 0 or y + wanted.height > its.height or x + wanted.width > its.width:
        return None
    return patch[:, :, y : y + wanted.height, x : x + wanted.width]


def paste(tiles: Tensor, its: Place, patch: Tensor, where: Place) -> None:
    """Write a patch into tiles, as far as it lies inside.

    Parameters
    ----------
    tiles : Tensor, shape (N, C, h, w)
        Changed in place.
    its : Place
        Where they lie.
    patch : Tensor, shape (N, C, h', w')
    where : Place
        Where it lies, on the same maps.
    """
    for images, (y, x) in _runs(its.offsets(where)):
        top, bottom = max(y, 0), min(y + where.height, its.height)
        left, right = max(x, 0), min(x + where.width, its.width)
        if top < bottom and left < right:
            inside = patch[images, :, top - y : bottom - y, left - x : right - x]
            tiles[images, :, top:bottom, left:right] = inside


def _runs(offsets: list[tuple[int, int]]) -> Iterator[tuple[slice, tuple[int, int]]]:
    """Yield neighbouring images that have the same offset: a copy each, mostly one for all."""
    start = 0
    for index in range(1, len(offsets) + 1):
        if index == len(offsets) or offsets[index] != offsets[start]:
            yield slice(start, index), offsets[start]
            start = index


def _in_layout(maps: Tensor) -> Tensor:
    # channels last: a row of a tile is one stretch of memory then, and convolutions are faster
    return maps.contiguous(memory_format=torch.channels_last)
