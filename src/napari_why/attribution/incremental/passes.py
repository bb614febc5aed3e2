"""Passes that run a network on what a change of the image touches, and nothing else.

Nakandala, Kumar and Papakonstantinou 2019, Incremental and approximate inference for faster
occlusion-based deep CNN explanations (SIGMOD), of which this is the exact, incremental part: every
value is the one of a whole pass but for the order in which floating-point numbers are added.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from napari_why.attribution.guard import check_same_logits
from napari_why.attribution.incremental.folded import forget, last_uses
from napari_why.attribution.incremental.graph import read_steps
from napari_why.attribution.incremental.plan import Box, Plan
from napari_why.attribution.incremental.steps import POINT, Average, Operation, Step
from napari_why.attribution.incremental.tiles import (
    NO_MARGINS,
    Margins,
    Place,
    StoredMaps,
    look_into,
    paste,
)
from napari_why.attribution.relevance_tape import record_checked_tape
from napari_why.core.devices import at_a_time, is_out_of_memory
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

# Bytes: a quarter of the memory of a usual workstation, beside which the viewer holds its images.
LARGEST_STORE = 4 * 2**30
# Bytes of one step's patches for a batch: what stays in a processor's cache, so that the next step
# does not wait for memory.
PATCH_BYTES = 4 * 2**20
# Fewer images at once read the weights of late layers too often, and take the time between calls, of which the
# default iresnet has most, for fewer windows; more gain nothing that could be measured (iresnet and cam_net
# on one thread).
FEWEST, MOST = 16, 48


class IncrementalPasses:
    """Logits of an image with one box changed, computed from where the change reaches.

    Parameters
    ----------
    network : Network
        In evaluation mode; it is left alone, and what is made of its weights is kept here.
    x : Tensor, shape (1, C, H, W)
    boxes : sequence of (slice, slice)
        Rows and columns of all changes that will be asked for, none of them empty.

    Attributes
    ----------
    logits : Tensor, shape (1, classes)
        Of the unchanged image.
    batch : int
        How many boxes to ask for at once.
    seconds : float
        That a whole pass takes.

    Raises
    ------
    UnsupportedNetworkError
        Nothing can be computed by patches, it takes too much memory, or its results are not those of
        the network.
    """

    def __init__(self, network: Network, x: Tensor, boxes: Sequence[Box]) -> None:
        self._x, self._boxes = x, boxes
        steps = read_steps(record_checked_tape(network, x))
        self._steps = [step.packed(x) for step in steps]
        self._plan = Plan(self._steps, boxes)
        if not self._plan.saves:
            raise UnsupportedNetworkError(
                "a window touches most of every map of this network, so that nothing is saved"
            )
        self._margins = [self._plan.margins(number) for number in range(len(steps))]
        self._margins[0] = self._margins[0] or {}  # changes are put into the image in any case
        _check_memory(self._steps, self._margins)
        self._last_use = last_uses(steps)
        self._stored: dict[int, StoredMaps] = {}
        self._averages: dict[int, Tensor] = {}
        with torch.no_grad():
            self.logits = self._run_whole()
            self.batch = self._choose_batch()
            self._compare(network)

    @property
    def share(self) -> float:
        """Of a whole pass's multiplications, those that a box takes, in the mean."""
        return self._plan.share

    @property
    def stored_bytes(self) -> int:
        """What the maps of the unchanged image take."""
        return sum(one.bytes for one in self._stored.values())

    def batches(self, boxes: Sequence[int]) -> Iterator[list[int]]:
        """Yield the positions of boxes that are best asked for together."""
        return self._plan.group(boxes, self.batch)

    def run(self, boxes: Sequence[int], pixels: Sequence[Tensor]) -> Tensor:
        """Return the logits (N, classes) of the image with each of these boxes changed, alone.

        Parameters
        ----------
        boxes : sequence of int
            Their numbers.
        pixels : sequence of Tensor, shapes (C, h, w)
            What each shows instead.

        Returns
        -------
        Tensor, shape (N, classes)
        """
        places = self._plan.places(boxes)
        values = {0: self._cover(boxes, pixels, places[0])}
        with torch.no_grad():
            for number, step in enumerate(self._steps[1:], start=1):
                values[number] = self._run_step(number, step, values, places)
                forget(values, step, number, self._last_use)
        return values[len(self._steps) - 1]

    def _run_whole(self) -> Tensor:
        """Run all steps on the unchanged image, and keep what will be looked at again."""
        values = {0: self._x}
        for number, step in enumerate(self._steps):
            if step.operation is not None:
                made = step.operation.whole([values[source] for source in step.sources])
                if isinstance(step.operation, Average):
                    self._averages[number] = made.clone()
                values[number] = step.finish(made, own=step.operation.own)
            margins = self._margins[number]
            if margins is not None:
                self._stored[number] = StoredMaps(values[number], margins)
            forget(values, step, number, self._last_use)
        return values[len(self._steps) - 1]

    def _cover(self, boxes: Sequence[int], pixels: Sequence[Tensor], place: Place) -> Tensor:
        """Return patches of the image, with more round the boxes that are smaller than others."""
        patches = self._stored[0].cut(place)
        corners = [tuple(side.start for side in self._boxes[number]) for number in boxes]
        begun = 0
        # neighbours that show as much, each a copy: mostly one for all
        for shape, alike in groupby(pixels, key=lambda new: new.shape):
            new = torch.stack(list(alike))
            here = slice(begun, begun + len(new))
            tops, lefts = zip(*corners[here], strict=True)
            paste(patches[here], place.of(here), new, Place(tops, lefts, *shape[1:]))
            begun = here.stop
        return patches

    def _run_step(
        self, number: int, step: Step, values: Mapping[int, Tensor], places: Sequence[Place]
    ) -> Tensor:
        """Return the patches of a step, or its whole results."""
        operation, sources = step.operation, step.sources
        if operation is None:
            return values[number]
        whole = [self._plan.whole[source] for source in sources]
        if isinstance(operation, Average) and not whole[0]:
            before = self._stored[sources[0]].cut(places[sources[0]])
            positions = math.prod(self._steps[sources[0]].shape[1:])
            made = operation.moved(self._averages[number], before, values[sources[0]], positions)
        elif step.spatial and not any(whole):
            wanted = _inputs(operation, places[number])
            made = operation.part(
                [self._tiles(one, values, places, wanted, operation.border) for one in sources]
            )
        else:
            made = operation.whole([self._whole_maps(one, values, places) for one in sources])
        return step.finish(made, own=operation.own)

    def _tiles(
        self,
        source: int,
        values: Mapping[int, Tensor],
        places: Sequence[Place],
        wanted: Place,
        border: float | None = None,
    ) -> Tensor:
        """Return the maps of a step at a place: a patch in what is stored of the unchanged image."""
        inside = look_into(values[source], places[source], wanted)
        if inside is not None:
            return inside
        tiles = self._stored[source].cut(wanted, border)
        paste(tiles, wanted, values[source], places[source])
        return tiles

    def _whole_maps(
        self, source: int, values: Mapping[int, Tensor], places: Sequence[Place]
    ) -> Tensor:
        """Return the whole maps of a step."""
        if self._plan.whole[source]:
            return values[source]
        origin = [0] * len(places[source].tops)
        everything = Place(origin, origin, *self._steps[source].shape[1:])
        return self._tiles(source, values, places, everything)

    def _choose_batch(self) -> int:
        """Return how many boxes to run at once: as many as fit well into a cache."""
        places = self._plan.places(range(len(self._boxes)))
        sizes = [
            step.shape[0] * (place.height * place.width)
            for step, place, whole in zip(self._steps, places, self._plan.whole, strict=True)
            if len(step.shape) == 3 and not whole
        ]
        fitting = PATCH_BYTES // (max(sizes) * self._x.element_size())
        return at_a_time(min(max(fitting, FEWEST), MOST))

    def _compare(self, network: Network) -> None:
        """Refuse a network whose logits for two changes, one of them at the border, are others."""
        numbers = sorted({len(self._boxes) // 2, len(self._boxes) - 1})
        changed, pixels = [], []
        for number in numbers:
            image = self._x.clone()
            # a standard deviation brighter: any change would do that reaches the logits
            image[0][:, *self._boxes[number]] += 1
            changed.append(image)
            pixels.append(image[0][:, *self._boxes[number]])
        begun = time.perf_counter()
        expected = network(torch.cat(changed))
        self.seconds = (time.perf_counter() - begun) / len(changed)
        try:
            found = self.run(numbers, pixels)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            raise UnsupportedNetworkError(
                f"what the network did with one image cannot be done with several ({error})"
            ) from error
        check_same_logits(expected, found, "computed by patches")


def _inputs(operation: Operation, place: Place) -> Place:
    """Return what an operation looks at for its results at a place."""
    if operation.reach is None or operation.reach == POINT:
        return place
    rows, columns = operation.reach
    return Place(
        [rows.first_input(top) for top in place.tops],
        [columns.first_input(left) for left in place.lefts],
        rows.extent(place.height),
        columns.extent(place.width),
    )


def _check_memory(steps: Sequence[Step], margins: Sequence[Mapping[float, Margins] | None]) -> None:
    """Refuse what would store more maps than a usual computer has room for."""
    values = 0
    for step, wanted in zip(steps, margins, strict=True):
        if wanted is None:
            continue
        channels, height, width = step.shape
        for left, right, above, below in list(wanted.values()) or [NO_MARGINS]:
            values += channels * (height + above + below) * (width + left + right)
    needed = 4 * values  # bytes of a float32
    if needed > LARGEST_STORE:
        raise UnsupportedNetworkError(
            f"the maps of the whole image would take {needed / 2**30:.1f} GiB, more than the "
            f"{LARGEST_STORE / 2**30:.0f} GiB that are kept"
        )
