"""What is computed again for which window: patches of which steps, and which windows together."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from napari_why.attribution.incremental.intervals import Integers, Reach, Spans, fit_one_size
from napari_why.attribution.incremental.steps import POINT, Step
from napari_why.attribution.incremental.tiles import NO_MARGINS, Margins, Place

Box = tuple[slice, slice]  # rows and columns of the image that change
# Share of a map that a patch may cover: above it copying costs what is left to be saved. From 0.5 to 0.8
# nothing changes that could be measured (resnext50, 224 px).
LARGEST_SHARE = 0.8


class Plan:
    """Which steps run on patches when one of these boxes of the image changes.

    Parameters
    ----------
    steps : sequence of Step
        The first is the image.
    boxes : sequence of (slice, slice)
        All that will change, one at a time.

    Attributes
    ----------
    whole : list of bool
        Of each step, whether its whole result is computed.
    share : float
        Of the multiplications of a whole pass, those that are made for a box, in the mean.
    """

    def __init__(self, steps: Sequence[Step], boxes: Sequence[Box]) -> None:
        self._steps = steps
        self.whole = [False]
        self._axes = tuple(
            _Axis([box[axis] for box in boxes], steps[0].shape[axis + 1]) for axis in (0, 1)
        )
        made = possible = 0.0
        for number, step in enumerate(steps[1:], start=1):
            touched, positions = self._add(number, step)
            made += step.multiplications * touched
            possible += step.multiplications * positions
        self.share = made / possible if possible else 1.0
        rows, columns = (axis.kinds() for axis in self._axes)
        self._kinds: Integers = rows * (columns.max() + 1) + columns

    def _add(self, number: int, step: Step) -> tuple[float, int]:
        """Follow the boxes into a step; return how many positions they touch, and of how many."""
        # what is no map has one position
        lengths = step.shape[1:] if len(step.shape) == 3 else (1, 1)
        positions = lengths[0] * lengths[1]
        spatial = step.spatial and not any(self.whole[source] for source in step.sources)
        if spatial:
            reaches = _reaches(step)
            for axis, reach, length in zip(self._axes, reaches, lengths, strict=True):
                axis.touch(step.sources, reach, length)
            rows, columns = (axis.sizes(number) for axis in self._axes)
            touched = float((rows * columns).mean())
            if touched <= LARGEST_SHARE * positions:
                self.whole.append(False)
                return touched, positions
        self.whole.append(True)
        for axis, length in zip(self._axes, lengths, strict=True):
            axis.take_all(number, length)
        return positions, positions

    @property
    def saves(self) -> bool:
        """Whether any step runs on patches."""
        return not all(self.whole[1:])

    def margins(self, number: int) -> dict[float, Margins] | None:
        """Return how far later steps look beyond a step's maps, by what stands there.

        None where no step looks at the maps of the unchanged image at all.
        """
        margins: dict[float, Margins] = {}
        looked_at = False
        for user, step in enumerate(self._steps):
            if number not in step.sources or self.whole[number]:
                continue
            reaches = _reaches(step)
            alike = all(axis.same(number, user) for axis in self._axes)
            if not step.spatial or (reaches == POINT and alike):
                looked_at = looked_at or not step.spatial
                continue
            looked_at = True
            if reaches != POINT and step.operation is not None:
                border = step.operation.border
                sides = self._overhang(number, user)
                before = margins.get(border, NO_MARGINS)
                left, right, above, below = map(max, before, sides)
                margins[border] = (left, right, above, below)
        return margins if looked_at else None

    def _overhang(self, number: int, user: int) -> Margins:
        """Return how far a step looks beyond the maps of one before."""
        inputs, outputs = self._steps[number].shape[1:], self._steps[user].shape[1:]
        rows, columns = _reaches(self._steps[user])
        return (
            columns.padding,
            columns.overhang(inputs[1], outputs[1]),
            rows.padding,
            rows.overhang(inputs[0], outputs[0]),
        )

    def places(self, boxes: Sequence[int]) -> list[Place]:
        """Return where the patch of every step lies, one size for all of these boxes."""
        numbers = np.asarray(boxes, dtype=np.int64)
        (tops, heights), (lefts, widths) = (axis.fit(numbers) for axis in self._axes)
        return [Place(*place) for place in zip(tops, lefts, heights, widths, strict=True)]

    def group(self, boxes: Sequence[int], size: int) -> Iterator[list[int]]:
        """Yield the positions of so many boxes at a time, those together that touch patches of like sizes.

        A batch is as large in every step as the largest of its patches. Full batches of which some
        patches are a position larger than they need to be are quicker than small ones of one size.

        Parameters
        ----------
        boxes : sequence of int
            Numbers of boxes, each as often as it is changed.
        size : int
            How many at a time at most.

        Yields
        ------
        list of int
            Positions in ``boxes``; each comes once.
        """
        kinds = self._kinds[np.asarray(boxes, dtype=np.int64)]
        order = np.argsort(kinds, kind="stable").tolist()
        for start in range(0, len(order), size):
            yield order[start : start + size]


def _reaches(step: Step) -> tuple[Reach, Reach]:
    return POINT if step.operation is None or step.operation.reach is None else step.operation.reach


class _Axis:
    """What every different interval of the image touches in every step, along rows or columns."""

    def __init__(self, slices: Sequence[slice], length: int) -> None:
        given = Spans.of(slices)
        pairs = np.stack([given.starts, given.stops])
        # windows of a grid have few different rows: each is followed once
        different, which = np.unique(pairs, axis=1, return_inverse=True)
        self._which: Integers = which.reshape(-1)
        self._spans = [Spans(different[0], different[1])]
        self._lengths = [length]

    def touch(self, sources: Sequence[int], reach: Reach, length: int) -> None:
        """Follow the intervals into the next step."""
        spans = self._spans[sources[0]]
        for source in sources[1:]:
            spans = spans.united(self._spans[source])
        self._spans.append(spans.touched(reach, length))
        self._lengths.append(length)

    def take_all(self, number: int, length: int) -> None:
        """Say that all of a step, the next or the last one, is computed."""
        everything = Spans.whole(length, len(self._spans[0].starts))
        self._spans[number:] = [everything]
        self._lengths[number:] = [length]

    def sizes(self, number: int) -> Integers:
        """Return how much of a step each box touches."""
        return self._spans[number].sizes[self._which]

    def same(self, number: int, other: int) -> bool:
        """Whether the intervals are the same in two steps."""
        one, two = self._spans[number], self._spans[other]
        return np.array_equal(one.starts, two.starts) and np.array_equal(one.stops, two.stops)

    def kinds(self) -> Integers:
        """Return a number for each box, the same where the same sizes are touched."""
        sizes = np.stack([spans.sizes for spans in self._spans], axis=1)
        kinds: Integers = np.unique(sizes, axis=0, return_inverse=True)[1].reshape(-1)
        return kinds[self._which]

    def fit(self, boxes: Integers) -> tuple[list[list[int]], list[int]]:
        """Return the starts of patches of one size, and that size, for every step."""
        chosen = self._which[boxes]
        starts, sizes = fit_one_size(
            self._starts[:, chosen], self._stops[:, chosen], np.asarray(self._lengths)
        )
        return starts.tolist(), sizes.tolist()

    @cached_property
    def _starts(self) -> Integers:
        return np.stack([spans.starts for spans in self._spans])

    @cached_property
    def _stops(self) -> Integers:
        return np.stack([spans.stops for spans in self._spans])
