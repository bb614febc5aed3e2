"""Where the pixels of a processed image lie on the pixels of its source."""

from dataclasses import dataclass


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
    >>> Grid.reduced((8, 8), (2, 2))
    Grid(shape=(2, 2), step=(4.0, 4.0), offset=(1.5, 1.5))
    """

    shape: tuple[int, int]
    step: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def reduced(cls, source: tuple[int, int], shape: tuple[int, int]) -> "Grid":
        """Return a grid of ``shape`` pixels that covers the whole of ``source`` pixels."""
        steps = (source[0] / shape[0], source[1] / shape[1])
        return cls(shape, steps, ((steps[0] - 1) / 2, (steps[1] - 1) / 2))

    @classmethod
    def cropped(cls, shape: tuple[int, int], corner: tuple[int, int]) -> "Grid":
        """Return a grid of ``shape`` pixels cut out at ``corner`` of the source."""
        return cls(shape, (1.0, 1.0), (float(corner[0]), float(corner[1])))
