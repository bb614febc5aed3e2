"""Cut a map into tiles with a halo, so that large images are worked through in bounded memory."""

import math
from dataclasses import dataclass
from itertools import pairwise, product

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """A rectangle of a map and the larger one, within the map, that it is computed from.

    Parameters
    ----------
    inner, outer : (slice, slice)
        Rows and columns of the map.
    """

    inner: Window
    outer: Window

    @property
    def core(self) -> Window:
        """Where ``inner`` lies in ``outer``."""
        return within(self.inner, self.outer)

    def enlarged(self, factor: int) -> Window:
        """Return ``outer`` on a map that is ``factor`` times as fine."""
        return scaled(self.outer, factor)


def tiles_of(shape: tuple[int, int], side: int, halo: int) -> list[Tile]:
    """Return tiles whose inner rectangles cover a map once, row by row.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the map.
    side : int
        Largest height and width of an inner rectangle; the tiles are about alike.
    halo : int
        How much wider ``outer`` is on every side, as far as the map goes.

    Examples
    --------
    >>> [(tile.inner[1], tile.outer[1]) for tile in tiles_of((4, 9), 5, 2)]
    [(slice(0, 5, None), slice(0, 7, None)), (slice(5, 9, None), slice(3, 9, None))]
    """
    rows, columns = (_spans(size, side, halo) for size in shape)
    return [
        Tile((row[0], column[0]), (row[1], column[1])) for row, column in product(rows, columns)
    ]


def scaled(window: Window, factor: int) -> Window:
    """Return a window on a map that is ``factor`` times as fine."""
    rows, columns = (slice(s.start * factor, s.stop * factor) for s in window)
    return rows, columns


def within(inner: Window, outer: Window) -> Window:
    """Return where ``inner`` lies in ``outer``."""
    rows, columns = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True)
    )
    return rows, columns


def _spans(size: int, side: int, halo: int) -> list[tuple[slice, slice]]:
    count = math.ceil(size / side)
    borders = [math.ceil(index * size / count) for index in range(count + 1)]
    return [
        (slice(start, end), slice(max(0, start - halo), min(size, end + halo)))
        for start, end in pairwise(borders)
    ]
