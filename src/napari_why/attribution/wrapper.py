"""What wrappers share: their registry, the method that is wrapped, and means over several runs.

A wrapper runs any attribution method as often as it wants, on images that it changes, and makes one
piece of evidence of what comes back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from napari_why.attribution.registry import Evidence, RegionValue, relative_gap
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.options import validated
from napari_why.core.registry import Method, Registry
from napari_why.networks.network import Network

# What of the context lies on the pixels of the image and so moves with them, or is cut with them.
ON_PIXELS = ("raw_zero", "regions", "alpha_path")


@dataclass(frozen=True, eq=False)
class Wrapped:
    """A method with all that it needs, as a wrapper gets it.

    Parameters
    ----------
    method : Method
    network : Network
    x : Tensor, shape (1, C, H, W)
        The image, standardised.
    target : int
        Column of the network's logits.
    explain : callable
        ``(x, **context) -> Evidence`` runs the method on an image (1, C, H, W). Its parameters are in
        it, the seed too: every run of a method that samples draws the same numbers.
    context : mapping
        What the method asks for beside the image (``raw_zero``, ``references``, ...).
    """

    method: Method
    network: Network
    x: Tensor
    target: int
    explain: Callable[..., Evidence]
    context: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self,
        place: Callable[[Tensor], Tensor] | None = None,
        *,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> Evidence:
        """Return the evidence in the image, or in what a function makes of it.

        Parameters
        ----------
        place : callable, optional
            Takes the pixels (..., H, W) of image, regions and the like to where they are explained.
        on_event, cancelled : callable

        Returns
        -------
        Evidence
            On the pixels of what was explained.
        """
        move = place or (lambda pixels: pixels)
        context = {
            name: move(value) if name in ON_PIXELS and value is not None else value
            for name, value in self.context.items()
        }
        return self.explain(move(self.x), on_event=on_event, cancelled=cancelled, **context)


@dataclass(frozen=True)
class Wrapper(Method):
    """A wrapper as docks, shell and console offer it.

    ``takes_fields`` tells that it explains images larger than those of the training.
    """

    takes_fields: bool = False


# Other packages join through entry points of this group.
WRAPPERS: Registry[Wrapper] = Registry("wrapper", "napari_why.attribution_wrappers")
Function = TypeVar("Function", bound=Callable[..., Evidence])


def attribution_wrapper(
    *, title: str, source: str, caution: str = "", takes_fields: bool = False
) -> Callable[[Function], Function]:
    """Put the decorated function into :data:`WRAPPERS` under its own name.

    The function is ``(wrapped, *, ...) -> Evidence`` with a :class:`Wrapped`; its keywords that carry
    a :class:`~napari_why.core.options.Help` are the user's options. ``on_event``, ``cancelled`` and
    ``regions`` (labels on the pixels of x, None where the user gave none) are passed where named.

    Parameters
    ----------
    title, source, caution : str
        As of :func:`~napari_why.attribution.registry.attribution_method`.
    takes_fields : bool
        The image comes at the pixel size of the training images and uncut.

    Returns
    -------
    callable
        The decorator, which returns the function as it is.
    """

    def register(function: Function) -> Function:
        WRAPPERS.add(
            Wrapper(
                function.__name__,
                title,
                source,
                function,
                caution=caution,
                takes_fields=takes_fields,
            )
        )
        return function

    return register


@dataclass(frozen=True)
class Wrapping:
    """A wrapper with its options, or none at all.

    Parameters
    ----------
    wrapper : Wrapper or None
    values : mapping
        Its options, all of them.
    """

    wrapper: Wrapper | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str | None, options: Mapping[str, Any] | None) -> "Wrapping":
        """Return the wrapper of that name with its options checked.

        Parameters
        ----------
        name : str or None
            In :data:`WRAPPERS`.
        options : mapping or None
            What is left out has its default.

        Returns
        -------
        Wrapping

        Raises
        ------
        ParameterError
            An unknown wrapper or option, or a value out of range; options without a wrapper.
        """
        if name is None:
            # through the same check, so that options of no wrapper are refused in the same words
            return cls(None, validated(no_wrapper, options or {}))
        wrapper = WRAPPERS.named(name)
        return cls(wrapper, validated(wrapper.function, options or {}))

    @property
    def takes_fields(self) -> bool:
        """Whether images larger than those of the training are explained as they are."""
        return self.wrapper is not None and self.wrapper.takes_fields

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of it: name and options."""
        if self.wrapper is None:
            return {}
        return {"wrapper": self.wrapper.name, "wrapper_options": dict(self.values)}

    @property
    def cautions(self) -> tuple[str, ...]:
        """What goes with every result."""
        return (self.wrapper.caution,) if self.wrapper is not None and self.wrapper.caution else ()

    def run(self, wrapped: Wrapped, **context: Any) -> Evidence:
        """Return the evidence of the method, wrapped or plain.

        Parameters
        ----------
        wrapped : Wrapped
        **context
            ``on_event``, ``cancelled``, ``regions``; those that the wrapper names are passed on.

        Returns
        -------
        Evidence
        """
        if self.wrapper is None:
            listeners = {name: context[name] for name in ("on_event", "cancelled")}
            return wrapped.run(**listeners)
        named = {key: value for key, value in context.items() if self.wrapper.takes(key)}
        evidence: Evidence = self.wrapper.function(wrapped, **self.values, **named)
        return evidence


def split_options(
    method: Method, wrapper: Wrapper | None, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide options by name between a method and its wrapper; one of both goes to both.

    What is of neither goes to the method, which refuses it in words.

    Parameters
    ----------
    method : Method
    wrapper : Wrapper or None
    options : mapping

    Returns
    -------
    of_method, of_wrapper : dict
    """
    of_wrapper = {item.name for item in wrapper.parameters} if wrapper is not None else set()
    of_method = {item.name for item in method.parameters}
    return (
        {key: value for key, value in options.items() if key in of_method or key not in of_wrapper},
        {key: value for key, value in options.items() if key in of_wrapper},
    )


def no_wrapper() -> None:
    """Stand for no wrapper: a function without options."""


class PartsProgress:
    """Progress of several runs of one method as that of one work.

    Parameters
    ----------
    task : str
    count : int
        Runs.
    on_event : callable
    """

    def __init__(self, task: str, count: int, on_event: events.OnEvent) -> None:
        self._task, self._count, self._tell = task, count, on_event
        self._steps = 0  # of a run, as the first one announces them
        self._total, self._run = 1, 0

    def of(self, run: int) -> events.OnEvent:
        """Return the listener for a run, counted from 0."""
        self._run = run
        return self._listen

    def _listen(self, event: events.Event) -> None:
        if isinstance(event, events.Started):
            self._total = event.total or 1
            if not self._steps:
                self._steps = self._total
                self._tell(events.Started(self._task, self._steps * self._count))
        elif isinstance(event, events.Advanced):
            # a later run may have other steps than the first: its share of the whole is the same
            share = min(event.done / self._total, 1.0)
            done = int(self._steps * (self._run + share))
            self._tell(events.Advanced(done, event.message))
        elif isinstance(event, events.Message):
            self._tell(event)


@dataclass(frozen=True)
class Part:
    """Evidence of one run, and how it goes into the mean.

    Parameters
    ----------
    evidence : Evidence
    weight : float
        Of its numbers: explained score, constants, regions.
    add : callable
        ``(total, values)`` adds values (..., h, w) of the run, weighted, to the total (..., H, W).
    """

    evidence: Evidence
    weight: float
    add: Callable[[Tensor, Tensor], None]


def sum_parts(parts: Sequence[Part], size: tuple[int, int], over: str) -> Evidence:
    """Return the weighted sum of evidence, everything that it carries included.

    Maps, joint map, layers, constants and explained scores are added up with their weights, and the
    gap is that of the sums. Numbers of the details are means; others that differ from run to run are
    left out, as one run's would be read as that of the mean. A standard error is bounded from above by the weighted sum of the standard
    errors, which it is where the runs draw the same numbers; it would be smaller if they were
    independent.

    Parameters
    ----------
    parts : sequence of Part
        At least one.
    size : (int, int)
        Height and width of the sum.
    over : str
        What the mean is over, for the words ("shifted images").

    Returns
    -------
    Evidence
    """
    first = parts[0].evidence

    def add(pick: Callable[[Evidence], Tensor]) -> Tensor:
        # in float64: dozens of maps of either sign add up
        total = to_float64(pick(first).new_zeros((*pick(first).shape[:-2], *size)))
        for part in parts:
            part.add(total, to_float64(pick(part.evidence)))
        return to_like(total, pick(first))

    def add_numbers(pick: Callable[[Evidence], float | None]) -> float | None:
        numbers = [(part.weight, pick(part.evidence)) for part in parts]
        known = [weight * number for weight, number in numbers if number is not None]
        return sum(known) if len(known) == len(parts) else None

    joint = add(lambda found: found.joint)
    explained = add_numbers(lambda found: found.explained)
    constants = add_numbers(lambda found: found.constants)
    gap = None
    if first.gap is not None and explained is not None:
        gap = _gap_of_sum(joint, explained - (constants or 0.0))
    sampled = all(part.evidence.standard_error is not None for part in parts)
    whose = first.details.get("explained_by", "the head")
    return replace(
        first,
        maps=add(lambda found: found.maps),
        joint=joint,
        explained=explained,
        constants=constants,
        gap=gap,
        gap_meaning="" if gap is None else f"{first.gap_meaning}, averaged over {over}",
        standard_error=add(_error_of) if sampled else None,
        regions=_mean_regions(parts),
        layers={name: add(partial(_layer_of, name=name)) for name in first.layers},
        details={
            **_mean_details([(part.weight, part.evidence.details) for part in parts]),
            **({} if explained is None else {"explained_by": f"{whose}, averaged over {over},"}),
        },
    )


# Of the magnitudes that are added up: where they leave less of each other, the rounding of float32 is
# no longer small beside the sum, and a share of it would tell of that alone.
SMALL_SUM = 1e-3


def _gap_of_sum(joint: Tensor, expected: float) -> float:
    """Return by how much a map misses a sum, relative to the sum, or to what nearly cancels in it."""
    values = to_float64(joint)
    missing = abs(values.sum().item() - expected)
    whole = max(abs(expected), SMALL_SUM * values.abs().sum().item())
    return relative_gap(whole + missing, whole)


def _layer_of(found: Evidence, name: str) -> Tensor:
    return found.layers[name]


def _mean_details(runs: Sequence[tuple[float, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return what all runs say, numbers as their mean; what else differs is not of all of them."""
    found = {}
    for name in runs[0][1]:
        mean = _mean_of([(weight, details.get(name)) for weight, details in runs])
        if mean is not DIFFERENT:
            found[name] = mean
    return found


DIFFERENT = object()


def _mean_of(weighted: Sequence[tuple[float, Any]]) -> Any:
    first, values = weighted[0][1], [value for _, value in weighted]
    if all(value == first for value in values):
        return first
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        total = sum(weight for weight, _ in weighted)
        return sum(weight * value for weight, value in weighted) / total
    if all(isinstance(value, dict) and value.keys() == first.keys() for value in values):
        keys: Sequence[Any] = list(first)
    elif all(isinstance(value, list) and len(value) == len(first) for value in values):
        keys = range(len(first))
    else:
        return DIFFERENT
    means = [_mean_of([(weight, value[key]) for weight, value in weighted]) for key in keys]
    if any(mean is DIFFERENT for mean in means):
        return DIFFERENT
    return dict(zip(keys, means, strict=True)) if isinstance(first, dict) else means


def _error_of(found: Evidence) -> Tensor:
    return torch.zeros_like(found.joint) if found.standard_error is None else found.standard_error


def _mean_regions(parts: Sequence[Part]) -> tuple[RegionValue, ...]:
    """Return each region's mean over the runs in which it is; its error is bounded as a map's is."""
    values: dict[int, list[tuple[float, RegionValue]]] = {}
    for part in parts:
        for region in part.evidence.regions:
            values.setdefault(region.label, []).append((part.weight, region))
    found = []
    for label, weighted in sorted(values.items()):
        total = sum(weight for weight, _ in weighted)
        value = sum(weight * region.value for weight, region in weighted) / total
        errors = [
            weight * region.standard_error
            for weight, region in weighted
            if region.standard_error is not None
        ]
        error = sum(errors) / total if len(errors) == len(weighted) else None
        found.append(RegionValue(label, value, error))
    return tuple(found)


def mirrored_places(length: int, start: int, stop: int, device: torch.device) -> Tensor:
    """Return the pixels 0 to length - 1 that stand at the places from start to stop.

    Beyond an end they are mirrored, the last pixel included, as in a mirror at the pixel's edge.

    Parameters
    ----------
    length : int
        Pixels of the axis.
    start, stop : int
        May lie beyond either end, by any number of pixels.
    device : torch.device

    Returns
    -------
    Tensor, int64, shape (stop - start,)

    Examples
    --------
    >>> mirrored_places(3, -2, 5, torch.device("cpu")).tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    places = torch.arange(start, stop, device=device) % (2 * length)
    return torch.where(places < length, places, 2 * length - 1 - places)


def take_places(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels (..., h, w) that stand at rows (h,) and columns (w,) of (..., H, W).

    Parameters
    ----------
    pixels : Tensor, shape (..., H, W)
    rows, columns : Tensor, int64, shape (h,), (w,)
        Each as often as it is wanted.

    Returns
    -------
    Tensor, shape (..., h, w)
    """
    return pixels.index_select(-2, rows).index_select(-1, columns)


def give_back(values: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """Return values (..., h, w), each given to the pixel it stands for, on (..., H, W).

    The transpose of :func:`take_places`: where a pixel was taken twice it gets both values, where
    it was not taken none, so that the sum stays.

    Parameters
    ----------
    values : Tensor, shape (..., h, w)
    rows, columns : Tensor, int64, shape (h,), (w,)
        Those of :func:`take_places`.
    size : (int, int)
        Height and width, H and W.

    Returns
    -------
    Tensor, shape (..., H, W)
    """
    wide = values.new_zeros((*values.shape[:-1], size[1])).index_add(-1, columns, values)
    whole = values.new_zeros((*values.shape[:-2], *size))
    return whole.index_add(-2, rows, wide)
