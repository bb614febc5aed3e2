"""The short score of one map: faithfulness against chance, randomisation, completeness, in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from napari_why.attribution.context import Given, gather_context
from napari_why.attribution.explain import (
    TRUSTED_GAP,
    Attribution,
    context_of_wrapper,
    run_method,
)
from napari_why.attribution.guard import explaining
from napari_why.attribution.registry import METHODS, Evidence, References
from napari_why.attribution.targets import Explained, Target, find_target
from napari_why.attribution.wrapper import Wrapped, Wrapping
from napari_why.core import events
from napari_why.core.devices import limited_threads, to_like
from napari_why.core.errors import (
    CancellationError,
    MismatchError,
    ParameterError,
    UnsupportedNetworkError,
)
from napari_why.core.options import validated
from napari_why.core.randomness import Rng, choose_seed
from napari_why.core.record import Record
from napari_why.core.registry import Method
from napari_why.evaluation.explanations import (
    METRICS,
    Explain,
    ExplanationCase,
    MetricValue,
    do_nothing_maps,
)
from napari_why.evaluation.perturbation_curves import count_beaten
from napari_why.networks.network import Network

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.counterfactuals import Counterfactual
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier


@dataclass(frozen=True)
class DeletionScore:
    """Faithfulness: how far the score falls while squares go, most relevant first.

    Parameters
    ----------
    drop : float
        Mean fall of the score, over shares of squares from none to all.
    random_drops : tuple of float
        The same in random orders of the same squares.
    do_nothing_drops : mapping of str to float
        The same in the order of :func:`do_nothing_maps`.
    side : int
        Of the squares, in pixels of the network's input.
    removal : str
        What stands in their place.
    """

    drop: float
    random_drops: tuple[float, ...]
    do_nothing_drops: Mapping[str, float]
    side: int
    removal: str

    @property
    def beaten(self) -> float:
        """Number of random orders that make the score fall less; one that draws counts half."""
        return count_beaten(self.random_drops, self.drop)

    @property
    def random_drop(self) -> float:
        """Mean fall in random orders."""
        return float(np.mean(self.random_drops))

    @property
    def spread(self) -> float:
        """Standard deviation of the fall in random orders."""
        return float(np.std(self.random_drops))

    @property
    def no_better_than(self) -> tuple[str, ...]:
        """Do-nothing maps that the map does not beat by more than random orders differ."""
        # a difference that another order of the same squares makes is not the map's doing
        limit = self.drop - self.spread
        return tuple(name for name, drop in self.do_nothing_drops.items() if drop >= limit)

    @property
    def line(self) -> str:
        """``better than random in 9 of 10``, and what it is no better than."""
        said = f"better than random in {self.beaten:g} of {len(self.random_drops)}"
        none = " or ".join(self.no_better_than)
        return f"{said}, no better than {none}" if none else said

    @property
    def sentence(self) -> str:
        """The same with its figures and baseline."""
        others = ", ".join(f"{name} {-drop:+.3g}" for name, drop in self.do_nothing_drops.items())
        instead = {"mean": "the training mean", "blur": "the blurred image"}
        filling = instead.get(self.removal, "the local background")
        return (
            f"Faithfulness: {self.line}. With squares of {self.side} px replaced by {filling}, most "
            f"relevant first, the score changes by {-self.drop:+.3g} on average, in random order by "
            f"{-self.random_drop:+.3g} ± {self.spread:.2g} (in the order of {others})."
        )


# Half way between unrelated and the same: above it, more of the map is the image than the network.
MUCH_ALIKE = 0.5


@dataclass(frozen=True)
class RandomisationScore:
    """How alike the map and those of networks with random weights are, 0 (unrelated) to 1.

    ``chance`` is how alike the map and itself are, moved by any distance.
    """

    similarities: tuple[float, ...]
    chance: float

    @property
    def similarity(self) -> float:
        """Mean over random networks."""
        return float(np.mean(self.similarities))

    @property
    def line(self) -> str:
        """``0.12 like a random network's map (0: unrelated, chance 0.05; 1: the same)``."""
        said = (
            f"{self.similarity:.2f} like a random network's map (0: unrelated, chance "
            f"{self.chance:.2f}; 1: the same)"
        )
        if self.similarity < MUCH_ALIKE or self.similarity <= self.chance:
            return said
        return f"{said}, so that it shows more of the image than of what the network learnt"

    @property
    def sentence(self) -> str:
        """The same as a sentence."""
        lowest, highest = min(self.similarities), max(self.similarities)
        draws = len(self.similarities)
        spread = f" ({lowest:.2f} to {highest:.2f} over {draws} draws)" if draws > 1 else ""
        return f"Randomisation: {self.line}{spread}."


@dataclass(frozen=True)
class ExplanationScore:
    """How much a map deserves to be believed, in figures with what they are compared with.

    Parameters
    ----------
    method, target : str
        Of the map.
    deletion : DeletionScore or None
        None where the work was stopped before.
    randomisation : RandomisationScore or None
        None where it was stopped, or where the method cannot explain again.
    completeness : str
        How far the map adds up, in words; that it promises no sum, where it does not.
    gap : float or None
        By how much it does not.
    notes : tuple of str
        What was left out and why.
    record : Record
    """

    method: str
    target: str
    deletion: DeletionScore | None
    randomisation: RandomisationScore | None
    completeness: str
    gap: float | None
    notes: tuple[str, ...]
    record: Record

    @property
    def complete(self) -> bool:
        """False where the work was stopped."""
        return not self.record.details.get("partial", False)

    @property
    def line(self) -> str:
        """The short score in words, never a bare number."""
        parts = [
            "faithfulness not measured" if self.deletion is None else self.deletion.line,
            "randomisation not measured" if self.randomisation is None else self.randomisation.line,
            _sum_in_short(self.gap),
        ]
        return "; ".join(parts)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each part with its figures, and what was left out."""
        measured = [part.sentence for part in (self.deletion, self.randomisation) if part]
        return (*measured, f"Completeness: {self.completeness}", *self.notes)

    @property
    def facts(self) -> dict[str, Any]:
        """What a layer carries of it: the line, and the figures in JSON types."""
        return {
            "line": self.line,
            "sentences": list(self.sentences),
            "complete": self.complete,
            "gap": self.gap,
            "deletion": asdict(self.deletion) if self.deletion else None,
            "randomisation": asdict(self.randomisation) if self.randomisation else None,
        }


def _sum_in_short(gap: float | None) -> str:
    if gap is None:
        return "promises no sum"
    return f"{'adds up' if abs(gap) <= TRUSTED_GAP else 'does not add up'}, off by {abs(gap):.1%}"


def score_explanation(
    classifier: "Classifier",
    image: "DataArray",
    attribution: Attribution,
    *,
    target: Target | None = None,
    references: "Dataset | References | None" = None,
    regions: ArrayLike | None = None,
    counterfactual: "Counterfactual | None" = None,
    removal: Literal["mean", "blur", "local"] = "mean",
    side: int = 0,
    random_orders: int = 10,
    random_networks: int = 1,
    seed: int = 0,
    rng: Rng = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> ExplanationScore:
    """Score a map: faithfulness against chance, randomisation, completeness.

    Squares of the image are taken away in the map's order, in random ones, and in those of maps that
    know nothing of any network (the image's own intensity, an edge filter); the method explains a
    network with random weights; and the map's own sum is looked at.

    Parameters
    ----------
    classifier, image, attribution
        The map that :func:`napari_why.attribute` made of this image.
    target : str, int, Contrast, EmbeddingCoordinate or Similarity, optional
        What was explained; needed where it was no class.
    references, regions, counterfactual
        As given to :func:`napari_why.attribute`, for methods that need them to explain again.
    removal : {"mean", "blur", "local"}
        What takes the place of squares: the training mean, the blurred image, the local background.
    side : int
        Of the squares in pixels of the network's input; 0: a 16th of the shorter side.
    random_orders : int
        Orders to compare with.
    random_networks : int
        Networks with random weights; each costs as much as the map did.
    seed : int
        Of random orders and weights.
    rng : int or numpy.random.Generator, optional
        In place of the seed; see :mod:`napari_why.core.randomness`.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`. Cancelled, the parts that are done are returned.

    Returns
    -------
    ExplanationScore
        With a record; ``notes`` say what could not be measured.

    Raises
    ------
    MismatchError
        The map is of another classifier, image size or target.
    ParameterError
        An unknown target or removal, a number out of range.
    UnsupportedNetworkError
        The map is of a whole field, by ``sliding_window``.
    NetworkBusyError
        The network is being trained.

    Examples
    --------
    >>> score = why.score_explanation(classifier, image, attribution)  # doctest: +SKIP
    >>> score.line  # doctest: +SKIP
    "better than random in 10 of 10; 0.12 like a random network's map (0: unrelated, chance 0.05; ..."
    """
    if attribution.record.classifier and not classifier.is_called(attribution.record.classifier):
        raise MismatchError(
            f"attribution: found a map of classifier {attribution.record.classifier[:12]}...; "
            "expected one of the classifier given"
        )
    seed = choose_seed(seed, rng)
    wrapping = _wrapping_of(attribution)
    explained = _find_explained(classifier, attribution, target)
    settings = {"removal": removal, "side": side, "random_orders": random_orders}
    settings = validated(METRICS["deletion_against_random"].function, settings)
    networks = validated(
        METRICS["parameter_randomisation"].function, {"random_networks": random_networks}
    )
    x = classifier.prepare(image)
    listeners: dict[str, Any] = {"on_event": on_event, "cancelled": cancelled}
    notes: list[str] = []
    given = Given(references, regions, counterfactual)
    with (
        limited_threads(classifier.threads),
        explaining(classifier.network, x, **listeners),
    ):
        case = ExplanationCase(
            explained.network, x, explained.column, _evidence_of(attribution, x), seed=seed
        )
        deletion = _score_deletion(case, settings, listeners)
        randomisation, refused = None, False
        if deletion is not None:
            try:
                explain = _same_method(
                    classifier, image, x, attribution, explained, given, wrapping, listeners
                )
                measured = METRICS["parameter_randomisation"].measure(
                    replace(case, explain=explain), **networks, **listeners
                )
                randomisation = _randomisation_of(measured)
                if randomisation is not None and measured.note:
                    notes.append(measured.note)
            except CancellationError:
                pass  # while its context was made; said below
            except (ParameterError, MismatchError, UnsupportedNetworkError) as error:
                refused = True
                notes.append(f"randomisation not measured: {error}")
    partial = deletion is None or (randomisation is None and not refused)
    if partial:
        notes.append("incomplete: the work was stopped, and what is not here was not measured")
    if not attribution.complete:
        notes.append("the map itself is incomplete, and so is what is said of it")
    on_event(events.Finished(partial=partial))
    completeness = attribution.completeness or "the method promises no sum."
    score = ExplanationScore(
        method=attribution.record.method,
        target=attribution.target,
        deletion=deletion,
        randomisation=randomisation,
        completeness=completeness,
        gap=attribution.gap,
        notes=tuple(notes),
        record=Record(kind="explanation score", method=attribution.record.method),
    )
    record = Record(
        kind="explanation score",
        method=attribution.record.method,
        parameters={**settings, "random_networks": random_networks},
        seed=seed,
        classifier=classifier.fingerprint,
        source=attribution.record.source,
        details={
            **{key: value for key, value in score.facts.items() if key != "complete"},
            "target": attribution.target,
            "partial": partial,
            "notes": notes,
            "attribution": attribution.record.to_dict(),
        },
    )
    return replace(score, record=record)


def _wrapping_of(attribution: Attribution) -> Wrapping:
    """Return the wrapper that made a map, none where none did."""
    details = attribution.record.details
    wrapping = Wrapping.of(details.get("wrapper"), details.get("wrapper_options"))
    if wrapping.takes_fields:
        raise UnsupportedNetworkError(
            f"attribution: found a map of a whole field, by {details['wrapper']}; expected one of an "
            "image of the training's size, as the network is asked about it without parts of it: "
            "explain and score crops of the field"
        )
    return wrapping


def _find_explained(
    classifier: "Classifier", attribution: Attribution, target: Target | None
) -> Explained:
    if target is None and attribution.target not in classifier.classes:
        raise ParameterError(
            f"target: found none for a map of {attribution.target!r}, which is no class; expected the "
            "target that it was made with"
        )
    explained = find_target(classifier, attribution.target if target is None else target)
    if explained.name != attribution.target:
        raise MismatchError(
            f"target: found {explained.name!r} for a map of {attribution.target!r}; expected the same"
        )
    return explained


def _evidence_of(attribution: Attribution, x: Tensor) -> Evidence:
    if attribution.joint.shape != x.shape[-2:]:
        raise MismatchError(
            f"attribution: found a map of {attribution.joint.shape} pixels for an image of "
            f"{tuple(x.shape[-2:])} pixels as the network sees it; expected one of this image"
        )
    maps, joint = (
        torch.from_numpy(values).to(x) for values in (attribution.maps, attribution.joint)
    )
    return Evidence(maps, joint, attribution.unit, regions=attribution.regions)


def _same_method(
    classifier: "Classifier",
    image: "DataArray",
    x: Tensor,
    attribution: Attribution,
    explained: Explained,
    given: Given,
    wrapping: Wrapping,
    listeners: Mapping[str, Any],
) -> Explain:
    """Return the method that made a map, wrapped as it was, with the same parameters and context."""
    method = METHODS.named(attribution.record.method)
    values = validated(method.function, attribution.record.parameters)
    context = gather_context(method, classifier, image, x, explained, given, **listeners)
    # its own steps are not reported: the metric counts whole explanations
    silent: dict[str, Any] = {
        "on_event": events.ignore_event,
        "cancelled": listeners["cancelled"],
        **context_of_wrapper(wrapping, classifier, image, given),
    }

    def explain(network: Network, x: Tensor, target: int) -> Evidence:
        run = partial(_run_again, method, network, target, values)
        return wrapping.run(Wrapped(method, network, x, target, run, context), **silent)

    return explain


def _run_again(
    method: Method,
    network: Network,
    target: int,
    values: dict[str, Any],
    pixels: Tensor,
    **context: Any,
) -> Evidence:
    return run_method(method, network, pixels, target, values, **context)


def _score_deletion(
    case: ExplanationCase, settings: Mapping[str, Any], listeners: Mapping[str, Any]
) -> DeletionScore | None:
    measured = METRICS["deletion_against_random"].measure(case, **settings, **listeners)
    if measured.partial:
        return None
    found = measured.details
    curve = {key: value for key, value in settings.items() if key != "random_orders"}
    curve |= {"side": found["side"], "random_orders": 0}
    others = {}
    for name, values in do_nothing_maps(case.x).items():
        joint = to_like(torch.from_numpy(values), case.x)
        alone = replace(case, evidence=Evidence(joint[None], joint, case.evidence.unit))
        other = METRICS["pixel_flipping"].measure(alone, **curve, **listeners)
        if other.partial:
            return None
        others[name] = other.value
    return DeletionScore(
        found["drop"], tuple(found["random"]), others, found["side"], found["removal"]
    )


def _randomisation_of(measured: MetricValue) -> RandomisationScore | None:
    if measured.partial:
        return None
    return RandomisationScore(tuple(measured.details["values"]), float(measured.chance or 0.0))
