"""Which positions of a map a change touches, along one axis: whole numbers and nothing else.

A change of the inputs ``start <= i < stop`` of an operation that looks at every input through a
kernel reaches the outputs that see one of these inputs. Rows and columns are treated alike, each by
itself, since kernels are rectangles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Reach:
    """What one output of an operation sees of its input along an axis.

    Output o sees the inputs ``o * stride - padding + k * dilation`` for k from 0 to ``kernel`` - 1.

    Parameters
    ----------
    kernel, stride, dilation : int
        1 or more.
    padding : int
        Positions that stand before the first input.
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def trivial(self) -> bool:
        """Whether output o sees input o alone."""
        return self == Reach()

    def extent(self, outputs: int) -> int:
        """Return how many inputs, padding included, so many neighbouring outputs see.

        Examples
        --------
        >>> Reach(kernel=3, stride=2).extent(4)
        9
        """
        return (outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1

    def first_input(self, output: int) -> int:
        """Return the first input that an output sees; below 0 in the padding."""
        return output * self.stride - self.padding

    def overhang(self, inputs: int, outputs: int) -> int:
        """Return how many positions behind the last input the last output sees.

        Parameters
        ----------
        inputs, outputs : int
            How many there are along the axis.

        Returns
        -------
        int
            0 where it sees none of them.
        """
        return max(0, self.extent(outputs) - self.padding - inputs)


@dataclass(frozen=True, eq=False)
class Spans:
    """Intervals ``start <= i < stop`` of one axis, none of them empty.

    Parameters
    ----------
    starts, stops : ndarray of int64, shape (n,)
    """

    starts: Integers
    stops: Integers

    @classmethod
    def of(cls, slices: Sequence[slice]) -> "Spans":
        """Take slices with a start and a stop."""
        starts, stops = ([getattr(one, end) for one in slices] for end in ("start", "stop"))
        return cls(np.asarray(starts, dtype=np.int64), np.asarray(stops, dtype=np.int64))

    @classmethod
    def whole(cls, length: int, count: int) -> "Spans":
        """Return all of an axis, so many times.

        Parameters
        ----------
        length : int
            Positions of the axis.
        count : int
            How many times.

        Returns
        -------
        Spans
        """
        return cls(np.zeros(count, dtype=np.int64), np.full(count, length, dtype=np.int64))

    def touched(self, reach: Reach, outputs: int) -> "Spans":
        """Return the outputs that see one of these inputs at least, of so many that there are.

        Where none does (a stride larger than the kernel passes inputs over) it is one output
        nearby, which a recomputation leaves as it is: more than what is touched is never wrong.
        With a dilation the interval holds outputs that see none of the inputs, between such that do.

        Parameters
        ----------
        reach : Reach
            Of the operation.
        outputs : int
            How many there are along the axis.

        Returns
        -------
        Spans
            As many as these.

        Examples
        --------
        >>> spans = Spans.of([slice(0, 4), slice(10, 12)]).touched(Reach(3, 2, padding=1), 8)
        >>> spans.starts.tolist(), spans.stops.tolist()
        ([0, 5], [3, 7])
        """
        back = (reach.kernel - 1) * reach.dilation
        # the first output whose last input is not before ``start``: a division rounded up
        first = -((back - self.starts - reach.padding) // reach.stride)
        last = (self.stops - 1 + reach.padding) // reach.stride
        starts = np.clip(first, 0, outputs - 1)
        return Spans(starts, np.maximum(np.clip(last + 1, 1, outputs), starts + 1))

    def united(self, other: "Spans") -> "Spans":
        """Return the least intervals that hold both."""
        return Spans(np.minimum(self.starts, other.starts), np.maximum(self.stops, other.stops))

    @property
    def sizes(self) -> Integers:
        """How long each is."""
        return self.stops - self.starts


def fit_one_size(starts: Integers, stops: Integers, lengths: Integers) -> tuple[Integers, Integers]:
    """Enlarge intervals to the longest of each row, inside their axis.

    Parameters
    ----------
    starts, stops : ndarray of int64, shape (m, n)
        n intervals on each of m axes.
    lengths : ndarray of int64, shape (m,)
        Of the axes.

    Returns
    -------
    starts : ndarray of int64, shape (m, n)
    sizes : ndarray of int64, shape (m,)

    Examples
    --------
    >>> starts, sizes = fit_one_size(np.array([[0, 6]]), np.array([[4, 8]]), np.array([8]))
    >>> starts.tolist(), sizes.tolist()
    ([[0, 4]], [4])
    """
    sizes = (stops - starts).max(axis=1)
    return np.minimum(starts, (lengths - sizes)[:, None]), sizes
