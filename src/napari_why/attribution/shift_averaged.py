"""The mean of a method's maps over small shifts of the image: what hangs on the pixel grid goes."""

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Annotated

from torch import Tensor

from napari_why.attribution.registry import Evidence
from napari_why.attribution.wrapper import (
    Part,
    PartsProgress,
    Wrapped,
    attribution_wrapper,
    give_back,
    mirrored_places,
    sum_parts,
    take_places,
)
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range, Unit

Shift = tuple[int, int]


def weighted_shifts(reach: int) -> list[tuple[Shift, float]]:
    """Return shifts in pixels, down and to the right, with weights that sum to 1; that by 0 first.

    The weight is (reach + 1 - |t|) / (reach + 1)^2 in each direction, a triangle. Shifts that differ
    by a multiple of reach + 1 then weigh the same together as any others, so that a pattern that
    repeats after reach + 1 pixels averages to a constant.

    Examples
    --------
    >>> [(shift, weight) for shift, weight in weighted_shifts(1) if shift[0] == 0]
    [((0, 0), 0.25), ((0, -1), 0.125), ((0, 1), 0.125)]
    """
    weights = {t: (reach + 1 - abs(t)) / (reach + 1) ** 2 for t in range(-reach, reach + 1)}
    shifts = [((y, x), weights[y] * weights[x]) for y, x in product(weights, weights)]
    # near ones first: work that is cancelled early then has the image itself and its neighbours
    return sorted(shifts, key=lambda item: (abs(item[0][0]) + abs(item[0][1]), item[0]))


def grid_power(values: Tensor, period: int) -> float:
    """Return the power of a grid in a map, relative to the square of the map's mean size.

    The power at all frequencies k / period but 0 of the absolute values: by Parseval's theorem the
    variance of their means over the period^2 places within a period.

    Parameters
    ----------
    values : Tensor, shape (..., H, W)
        Several maps count as one.
    period : int
        Pixels.

    Returns
    -------
    float
        0 or more; 0 of a map of zeros.

    Examples
    --------
    >>> import torch
    >>> grid_power(torch.tensor([[1.0, -3.0], [1.0, 3.0]]).repeat(4, 4), 2), grid_power(torch.ones(8, 8), 2)
    (0.25, 0.0)
    """
    height, width = (length - length % period for length in values.shape[-2:])  # whole periods
    sizes = to_float64(values)[..., :height, :width].abs()
    places = sizes.reshape(-1, height // period, period, width // period, period)
    means = places.mean(dim=(0, 1, 3))
    mean = means.mean().item()
    return means.var(correction=0).item() / mean**2 if mean else 0.0


@attribution_wrapper(
    title="Mean over shifts",
    source="Montavon, Samek & Müller 2018, doi:10.1016/j.dsp.2017.10.011",
)
def shift_averaged(
    wrapped: Wrapped,
    *,
    # 1 is enough for the grid of one halving, which the default iresnet begins with
    reach: Annotated[
        int,
        Help("largest shift; one less than the period of the grid that is to go (2, 4)"),
        Range(1, 15),
        Unit("px"),
    ] = 1,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Average the maps of the image shifted by a few pixels, each shifted back.

    R*(x) = sum over t of w(t) t^-1(R(t(x))) with weights w that fall with the shift and sum to 1.
    What is shifted in is the image mirrored at its edge, the last pixel included. The relevance of a
    mirrored pixel goes to the pixel that it shows: each map keeps its sum, and a pixel that one shift
    pushes out is shown twice by the opposite one, so that every pixel has the same total weight.

    Parameters
    ----------
    wrapped : Wrapped
    on_event, cancelled : callable
        Steps of (2 reach + 1)^2 runs. Cancelled work gives the mean over the runs done so far, the
        unshifted one first.

    Returns
    -------
    Evidence
        Unit, maps and joint map as the method's. Their sum is the mean of the sums: of a method that
        divides up the score it divides up the *mean score of the shifted images*, which ``explained``
        then is. The standard error is an upper bound. The details tell :func:`grid_power` of the
        joint map before and after.

    Raises
    ------
    ParameterError
        The image is too small to be shifted so far.
    """
    height, width = size = (wrapped.x.shape[-2], wrapped.x.shape[-1])
    if reach >= min(size):
        raise ParameterError(
            f"reach: found {reach} px; expected less than the image's {min(size)} px"
        )
    shifts, device = weighted_shifts(reach), wrapped.x.device
    progress = PartsProgress(f"{wrapped.method.name} of shifted images", len(shifts), on_event)
    parts: list[Part] = []
    for run, ((down, right), weight) in enumerate(shifts):
        if parts and cancelled():
            break
        rows = mirrored_places(height, -down, height - down, device)
        columns = mirrored_places(width, -right, width - right, device)
        found = wrapped.run(
            partial(take_places, rows=rows, columns=columns),
            on_event=progress.of(run),
            cancelled=cancelled,
        )
        if found.partial and parts:
            break  # part of a run has another meaning than a whole one
        parts.append(Part(found, weight, partial(_add_back, weight, rows, columns)))
        if found.partial:
            break
    return _mean(parts, len(shifts), reach, size)


def _add_back(weight: float, rows: Tensor, columns: Tensor, total: Tensor, values: Tensor) -> None:
    size = (total.shape[-2], total.shape[-1])
    total += weight * give_back(values, rows.to(total.device), columns.to(total.device), size)


def _mean(parts: list[Part], wanted: int, reach: int, size: tuple[int, int]) -> Evidence:
    total = sum(part.weight for part in parts)  # 1, but of cancelled work
    mean = sum_parts([_scaled(part, 1 / total) for part in parts], size, "shifted images")
    return replace(
        mean,
        details={
            **mean.details,
            "shifts": len(parts),
            "grid_before": grid_power(parts[0].evidence.joint, reach + 1),
            "grid_after": grid_power(mean.joint, reach + 1),
        },
        partial=mean.partial or len(parts) < wanted,
    )


def _scaled(part: Part, factor: float) -> Part:
    def add(total: Tensor, values: Tensor) -> None:
        part.add(total, factor * values)

    return Part(part.evidence, factor * part.weight, add)
