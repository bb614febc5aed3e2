"""The metrics of explanations by name, and what they judge; the files beside this one register them."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import sobel
from torch import Tensor

from napari_why.attribution.registry import Evidence, References
from napari_why.core import events
from napari_why.core.errors import CancellationError, ParameterError
from napari_why.core.options import Parameter, parameters_of, validated
from napari_why.core.registry import Registry
from napari_why.networks.network import Network

Values = NDArray[np.float64]
Explain = Callable[[Network, Tensor, int], Evidence]
"""``(network, x, target) -> Evidence``: the method again, for another network, image or class."""
# What a metric may need beside network, image and map: fields of a case.
Need = Literal[
    "explain",
    "truth",
    "regions",
    "background",
    "references",
    "counterfactual",
    "other_network",
    "suppressor",
]
NEEDS: Mapping[Need, str] = {
    "explain": "the method itself, to explain again",
    "truth": "what the class is known to change",
    "regions": "labels of regions, as of cells",
    "background": "where no cells are",
    "references": "training images with their classes",
    "counterfactual": "the image as another class",
    "other_network": "a network trained for another effect on the same scenes",
    "suppressor": "the channel that only calibrates",
}
Value = TypeVar("Value")
STOPPED = "the work was stopped before the metric was done"


def needed(value: Value | None, what: Need) -> Value:
    """Return what a metric needs, or raise ParameterError where the case does not have it.

    Parameters
    ----------
    value : object or None
        The field of the case.
    what : str
        Its name, one of :data:`NEEDS`; for the error.

    Returns
    -------
    object
        ``value`` as it is.

    Raises
    ------
    ParameterError
        It is None.
    """
    if value is None:
        raise ParameterError(f"{what}: found none; expected {NEEDS[what]}")
    return value


@dataclass(frozen=True)
class ExplanationCase:
    """A map to be judged, and all that there is to judge it by.

    Parameters
    ----------
    network : Network
        Frozen.
    x : Tensor, shape (1, C, H, W)
        The standardised image; 0 is the training mean.
    target : int
        Index of the class that is explained.
    evidence : Evidence
        The map.
    explain : callable, optional
        ``(network, x, target) -> Evidence``: the same method with the same parameters.
    truth : Tensor, shape (C, H, W), optional
        Not 0 where the class is known to change the image, with the sign that evidence for
        ``target`` should have there.
    regions : Tensor, shape (H, W), int64, optional
        Labels on the pixels of x, 0 where no region is.
    background : Tensor, shape (H, W), bool, optional
        Pixels without cells.
    references : References, optional
        Training images.
    counterfactual : Tensor, shape (1, C, H, W), optional
        What the image would be as another class.
    other_network : Network, optional
        Trained on the same scenes for another effect.
    suppressor : int, optional
        Index of a channel that holds no class, and only what calibrates the others.
    seed : int
        Of every random number of a metric, the breaking of ties included.
    """

    network: Network
    x: Tensor
    target: int
    evidence: Evidence
    explain: Explain | None = None
    truth: Tensor | None = None
    regions: Tensor | None = None
    background: Tensor | None = None
    references: References | None = None
    counterfactual: Tensor | None = None
    other_network: Network | None = None
    suppressor: int | None = None
    seed: int = 0

    @cached_property
    def joint(self) -> NDArray[np.float64]:
        """The joint map (H, W) of the evidence."""
        return to_array(self.evidence.joint)

    @cached_property
    def maps(self) -> NDArray[np.float64]:
        """The maps (C, H, W) of the evidence."""
        return to_array(self.evidence.maps)


def to_array(tensor: Tensor) -> NDArray[np.float64]:
    """Return a tensor of any device as an array in float64, in which sums keep their digits."""
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def explain_all(
    case: ExplanationCase,
    jobs: Iterable[tuple[Network, Tensor, int]],
    total: int,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    task: str = "explaining again",
) -> list[Evidence]:
    """Explain (network, x, target) one after another.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    jobs : iterable of (Network, Tensor, int)
        Images have shape (1, C, H, W); made one at a time.
    total : int
        How many there are, for the events.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.
    task : str
        What the events call the work.

    Returns
    -------
    list of Evidence

    Raises
    ------
    CancellationError
        Cancelled before all were explained.
    """
    explain = needed(case.explain, "explain")
    on_event(events.Started(task, total))
    found: list[Evidence] = []
    for network, x, target in jobs:
        if cancelled():
            raise CancellationError(f"{task}: {STOPPED}")
        found.append(explain(network, x, target))
        on_event(events.Advanced(len(found)))
    if any(evidence.partial for evidence in found):
        raise CancellationError(f"{task}: {STOPPED}")
    return found


@dataclass(frozen=True)
class MetricValue:
    """What a metric found about one map.

    Parameters
    ----------
    value : float
        NaN where it is not defined for this case; ``note`` then says why.
    chance : float or None
        What the same values at random places would get on average; None where that is not known
        without asking the network as often again.
    note : str
        What to keep in mind of this value.
    details : mapping
        JSON types: curves, spreads, what was left out.
    partial : bool
        The work was cancelled before there was a value.
    """

    value: float
    chance: float | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False


MetricFunction = TypeVar("MetricFunction", bound=Callable[..., MetricValue])


@dataclass(frozen=True)
class ExplanationMetric:
    """A measure of how far a map is to be believed.

    Parameters
    ----------
    name, title : str
        In code and records; for readers.
    better : {"higher", "lower"}
        Which values speak for the map.
    low, high : float
        Smallest and largest possible value.
    needs : tuple of str
        Fields of :class:`ExplanationCase` that must be given; empty: the network, image and map alone.
    source : str
        Where it was published.
    function : callable
        ``(case, *, <annotated parameters>, on_event, cancelled) -> MetricValue``.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    low: float
    high: float
    needs: tuple[Need, ...]
    source: str
    function: Callable[..., MetricValue]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The user's parameters, in the order of the signature."""
        return parameters_of(self.function)

    def lacks(self, case: ExplanationCase) -> tuple[Need, ...]:
        """Return what the metric needs and the case does not have."""
        return tuple(need for need in self.needs if getattr(case, need) is None)

    def measure(
        self,
        case: ExplanationCase,
        *,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
        **parameters: Any,
    ) -> MetricValue:
        """Measure one map.

        Parameters
        ----------
        case : ExplanationCase
        on_event, cancelled : callable
            See :mod:`napari_why.core.events`. Cancelled, the value is NaN and ``partial``.
        **parameters
            The metric's own.

        Returns
        -------
        MetricValue

        Raises
        ------
        ParameterError
            The case lacks what the metric needs; an unknown parameter or a value out of range.
        """
        lacking = self.lacks(case)
        if lacking:
            words = "; ".join(f"{need} ({NEEDS[need]})" for need in lacking)
            raise ParameterError(f"{self.name}: found a case without {words}; expected it given")
        if case.evidence.joint.shape != case.x.shape[-2:]:
            raise ParameterError(
                f"{self.name}: found a map of {tuple(case.evidence.joint.shape)} pixels for an image "
                f"of {tuple(case.x.shape[-2:])}; expected the same"
            )
        values = validated(self.function, parameters)
        try:
            return self.function(case, on_event=on_event, cancelled=cancelled, **values)
        except CancellationError as stop:
            return MetricValue(math.nan, note=str(stop), partial=True)


METRICS: Registry[ExplanationMetric] = Registry("metric", "napari_why.explanation_metrics")


def explanation_metric(
    *,
    title: str,
    better: Literal["higher", "lower"],
    low: float,
    high: float,
    source: str,
    needs: tuple[Need, ...] = (),
) -> Callable[[MetricFunction], MetricFunction]:
    """Put the decorated function into :data:`METRICS` under its own name.

    See :class:`ExplanationMetric` for the parameters.

    Parameters
    ----------
    title, better, low, high, source, needs
        As of :class:`ExplanationMetric`.

    Returns
    -------
    callable
        Decorator that registers a function and hands it back as it is.

    Examples
    --------
    >>> from napari_why.evaluation.explanations import METRICS
    >>> METRICS["relevance_mass"].better, METRICS["relevance_mass"].needs
    ('higher', ('truth',))
    """

    def register(function: MetricFunction) -> MetricFunction:
        METRICS.add(
            ExplanationMetric(function.__name__, title, better, low, high, needs, source, function)
        )
        return function

    return register


def do_nothing_maps(x: Tensor) -> dict[str, NDArray[np.float64]]:
    """Return maps (H, W) that know nothing of any network, by what they are in words.

    A map that is no more faithful than these has not shown that it says anything of the network.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)

    Returns
    -------
    dict
        The sum over channels of the standardised image, and of the magnitude of its Sobel gradients.
    """
    pixels = to_array(x[0])
    slopes = np.hypot(sobel(pixels, axis=1), sobel(pixels, axis=2))
    return {INTENSITY: pixels.sum(axis=0), EDGES: slopes.sum(axis=0)}


INTENSITY, EDGES = "the image's own intensity", "an edge filter"
