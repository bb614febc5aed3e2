"""Which points lie under the pointer, or within a line drawn around them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def nearest_point(points: ArrayLike, place: ArrayLike, most: float) -> int | None:
    """Return the point nearest to a place, None where none lies within a distance of ``most``.

    Examples
    --------
    >>> nearest_point([[0, 0], [10, 0]], (8, 1), most=5), nearest_point([[0, 0]], (8, 1), most=5)
    (1, None)
    """
    places = np.asarray(points, dtype=float).reshape(-1, 2)
    if not len(places):
        return None
    distances = np.linalg.norm(places - np.asarray(place, dtype=float), axis=1)
    nearest = int(distances.argmin())
    return nearest if distances[nearest] <= most else None


def points_within(points: ArrayLike, outline: ArrayLike) -> NDArray[np.int64]:
    """Return which points (n, 2) lie within a closed outline (m, 2).

    Examples
    --------
    >>> points_within([[1, 1], [5, 5]], [[0, 0], [0, 2], [2, 2], [2, 0]]).tolist()
    [0]
    """
    from matplotlib.path import Path

    inside = Path(np.asarray(outline, dtype=float)).contains_points(np.asarray(points, dtype=float))
    return np.flatnonzero(inside)
