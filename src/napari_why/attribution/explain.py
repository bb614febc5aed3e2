"""Run one attribution method on one image, and what it returns."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_why.attribution.class_activation_maps import note_of_same_maps
from napari_why.attribution.context import Given, find_regions, gather_context
from napari_why.attribution.field import FieldClassifier, for_windows
from napari_why.attribution.guard import explaining
from napari_why.attribution.registry import METHODS, Evidence, RegionValue
from napari_why.attribution.sliding_window import field_logits
from napari_why.attribution.targets import Explained, Target, find_target
from napari_why.attribution.wrapper import WRAPPERS, Wrapped, Wrapping
from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.devices import limited_threads, retry_with_half
from napari_why.core.errors import MismatchError
from napari_why.core.options import validated
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.core.registry import Method, title_of
from napari_why.images import how_read
from napari_why.images.image import Grid
from napari_why.model.chance import judge_pair, note_of_rival
from napari_why.model.classifier import softmax

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.attribution.registry import References
    from napari_why.counterfactuals import Counterfactual
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier


# Of a map that was cancelled: what lies in it was computed, and what is missing may matter more.
STOPPED = "the work was stopped, and the map is of the part that was done by then"
# An empty map looks like one that found nothing, which it need not be.
EMPTY = (
    "the map is 0 everywhere: the method finds no pixel that the score hangs on. A step of the network "
    "without a gradient (thresholds, rounding, rectifiers that are all off) does that too; compare "
    "with occlusion, which needs no gradient"
)
# How far a map may miss what it divides up and still be said to add up, as a share of it: a plain
# choice. Smaller, and integration in few steps would fail; larger, and faults would pass.
TRUSTED_GAP = 0.05
# Below a tenth of its parts a score is what two large numbers leave of each other, and a share of
# it of more than 1000 % would be read as an error.
SMALL_SCORE = 0.1


@dataclass(frozen=True)
class Attribution:
    """Signed evidence for one class, per pixel and channel.

    Parameters
    ----------
    maps : ndarray, float32, shape (C, H, W)
        Evidence for (+) and against (-) the class in each channel, at the resolution of the
        network's input.
    joint : ndarray, float32, shape (H, W)
        Evidence of all channels together: the sum of ``maps`` where the method is additive over
        channels, the method's own map where it is not (occlusion of all channels, CAM).
    channels : tuple of str
        Channel names of ``maps``; none where the map of all channels alone was asked for.
    target : str
        The class, or other target, that is explained, in words.
    score : float
        Its logit, difference of logits, embedding or similarity.
    unit : str
        What a value of the map means ("logit per window", "logit", "logit per pixel", ...).
    gap : float or None
        By how much the map fails to add up to what it should explain, relative to it
        (completeness, conservation); None where the method promises no such sum.
    gap_meaning : str
        What is compared ("sum of the map against the logit"); empty with ``gap`` None.
    grid : Grid
        Where the map's pixels lie on the source image.
    record : Record
        How the map was made.
    explained : float or None
        The logit that map and constants divide up: ``score``, or with ``cam`` at an earlier block
        that of the block's own classifier. None where the method promises no sum.
    constants : float or None
        What of it lies in no pixel and so in no map: biases (``lrp``, ``cam``), the logit of the
        baseline (``integrated_gradients``). The gap compares with these counted in, so it tells
        nothing of how much of the logit the map holds.
    constants_meaning : str
        What the constants are.
    notes : tuple of str
        First that the work was stopped and that the map is 0 everywhere, where so. In what the image
        is unlike the training images, as of a prediction: a map tells where the network looked in it
        all the same, and no more about the cells than its prediction does.
        Last that held-out images show the class and its strongest rival on this image at chance, or
        below: then the map says nothing of what tells these two apart.
    standard_error : ndarray, float32, shape (H, W), or None
        Of the joint map, where the method samples: the spread that another seed would bring.
    regions : tuple of RegionValue
        Evidence of whole regions, of methods and wrappers that explain by regions.
    layers : mapping of str to ndarray, float32, shapes (H, W)
        What the joint map is made of, by name: the map of each layer of ``multilayer_cam``, say.
    labels : ndarray, int64, shape (H, W), or None
        Regions that were found (superpixels, what a graph cut), 0 where none is.
    """

    maps: NDArray[np.float32]
    joint: NDArray[np.float32]
    channels: tuple[str, ...]
    target: str
    score: float
    unit: str
    gap: float | None
    gap_meaning: str
    grid: Grid
    record: Record
    explained: float | None = None
    constants: float | None = None
    constants_meaning: str = ""
    notes: tuple[str, ...] = ()
    standard_error: NDArray[np.float32] | None = None
    regions: tuple[RegionValue, ...] = ()
    layers: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: NDArray[np.int64] | None = None

    @property
    def complete(self) -> bool:
        """False when the work was cancelled."""
        return not self.record.details.get("partial", False)

    @property
    def probability(self) -> float | None:
        """Of the class that is explained, by the classifier; None where something else is."""
        logits = self.record.details.get("logits", {})
        if self.target not in logits:
            return None
        shares = softmax(np.asarray(list(logits.values())))
        return float(shares[list(logits).index(self.target)])

    @property
    def completeness(self) -> str:
        """How far map and constants add up, and the share of each, in words.

        Empty where the method promises no sum.
        """
        if self.gap is None:
            return ""
        judged = "add up" if abs(self.gap) <= TRUSTED_GAP else "do not fully add up"
        counted = "Map and constants" if self.constants else "The values of the map"
        said = f"{counted} {judged}: {self.gap_meaning}, off by {abs(self.gap):.1%}."
        if self.constants is None or self.explained is None:
            return said
        # from the joint map, as it is shown; float64, so that the order of pixels does not matter
        held = float(self.joint.sum(dtype=np.float64))
        return f"{said} {self._shares(held, self.explained, self.constants)}"

    def _shares(self, held: float, explained: float, constants: float) -> str:
        # of "cam" at an earlier block, which explains a classifier of that block
        whose = self.record.details.get("explained_by", "the head")
        score = "the score" if whose == "the head" else f"the score that {whose} gives"
        if abs(explained) <= SMALL_SCORE * max(abs(held), abs(constants)):
            # a percentage of next to nothing says nothing
            return (
                f"The map sums to {held:.3g} and {constants:.3g} lies in constants "
                f"({self.constants_meaning}), of which little is left: {score} is {explained:.3g}."
            )
        return (
            f"The map sums to {held / explained:.0%} of {score}; {constants / explained:.0%} lies "
            f"in constants ({self.constants_meaning})."
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return {
            "target": self.target,
            "unit": self.unit,
            "gap": self.gap,
            "gap_meaning": self.gap_meaning,
            "complete": self.complete,
            "explained": self.explained,
            "constants": self.constants,
            "constants_meaning": self.constants_meaning,
            "notes": list(self.notes),
        }

    @property
    def method_title(self) -> str:
        """What the method, and what was made of its map, are called in words."""
        title, wrapper = title_of(self.record.method, METHODS), self.record.details.get("wrapper")
        return f"{title}, {title_of(str(wrapper), WRAPPERS)}" if wrapper else title

    def pictures(self) -> dict[str, Picture]:
        """Return the maps of channels, layers and errors, hidden, that of all channels, and regions.

        A file holds the maps of the channels and that of all channels.
        """
        title = f"{self.method_title}: {self.target}" + ("" if self.complete else ", incomplete")
        # The joint map comes last and so on top: it answers "where", the channels "in which stain".
        pictures = {
            **self._parts(title),
            **self._maps_of_channels(title),
            "joint": Picture(
                compute=lambda: np.asarray(self.joint[None], dtype=np.float32),
                channels=(None,),
                titles=(f"{title} · all channels",),
                role="attribution",
                kind="signed",
                unit=self.unit,
                over_raw=True,
            ),
        }
        labels = self.labels
        if labels is not None:
            pictures["labels"] = Picture(
                compute=lambda: labels[None],
                channels=(None,),
                titles=(f"{title} · regions",),
                role="regions",
                kind="labels",
                unit="",
                in_file=False,  # numbers of regions and a map in float32 have no common pixel type
            )
        return pictures

    def _maps_of_channels(self, title: str) -> dict[str, Picture]:
        if not self.channels:
            return {}
        picture = Picture(
            compute=lambda: np.asarray(self.maps, dtype=np.float32),
            channels=self.channels,
            titles=tuple(f"{title} · {channel}" for channel in self.channels),
            role="attribution",
            kind="signed",
            unit=self.unit,
            visible=False,
            over_raw=True,
        )
        return {"maps": picture}

    def _parts(self, title: str) -> dict[str, Picture]:
        """Return the maps that the joint map is made of, and its standard error."""
        parts = {f"layer {name}": values for name, values in self.layers.items()}
        if self.standard_error is not None:
            parts["standard error"] = self.standard_error
        return {name: self._part(f"{title} · {name}", name, part) for name, part in parts.items()}

    def _part(self, title: str, name: str, values: NDArray[np.float32]) -> Picture:
        # each on its own: an error or an early layer may be far larger than the others
        return Picture(
            compute=lambda: values[None],
            channels=(name,),
            titles=(title,),
            role="attribution part",
            kind="signed",
            unit=self.unit,
            visible=False,
            over_raw=True,
            in_file=False,  # whose last channel is the map of all channels
        )


@shows_progress
def attribute(
    classifier: "Classifier",
    image: "DataArray",
    method: str = "occlusion",
    target: Target | None = None,
    *,
    references: "Dataset | References | None" = None,
    regions: ArrayLike | None = None,
    counterfactual: "Counterfactual | None" = None,
    wrapper: str | None = None,
    wrapper_options: Mapping[str, Any] | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **parameters: Any,
) -> Attribution:
    """Explain by which pixels of an image a classifier finds a class.

    Parameters
    ----------
    classifier : Classifier
    image : DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    method : str
        Name in :data:`napari_why.attribution.METHODS`.
    target : str, int, Contrast, EmbeddingCoordinate or Similarity, optional
        Class to explain, the wrong one too, by name or index as in
        :func:`~napari_why.model.classifier.find_class`; None: the predicted one. Or another score
        of :mod:`napari_why.attribution.targets`: one class rather than another, a number of the
        embedding, the similarity to another image.
    references : Dataset or References, optional
        Images to compare with, for methods that do (``expected_gradients``,
        ``information_bottleneck``): the training images.
    regions : array_like of int, shape (H, W), optional
        Labels on the image's pixels, 0 where no region is, for methods that explain by regions.
    counterfactual : Counterfactual, optional
        Of this image, for ``counterfactual_gradients``; made where none is given.
    wrapper : str, optional
        Name in :data:`napari_why.attribution.WRAPPERS`: what is made of the method's maps.
        ``sliding_window`` takes images larger than those of the training, uncut.
    wrapper_options : mapping, optional
        The wrapper's own parameters.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`. Without ``on_event`` progress is shown in the console
        (``on_event=napari_why.quiet``: nothing is).
        Cancelled work returns the map so far, its record says
        ``"partial": true``.
    **parameters
        The method's own parameters.

    Returns
    -------
    Attribution
        Signed maps (C, H, W) and a joint map (H, W) at the resolution of the network's input.

    Raises
    ------
    ParameterError
        Unknown method, wrapper, class or parameter, or a value out of range.
    MismatchError
        The image does not fit the classifier, or values of the map are not finite.
    UnsupportedNetworkError
        The method is not defined, or would not be right, for this network.
    NetworkBusyError
        The network is being trained.
    CancellationError
        Cancelled while another thread explained the same network.
    """
    # everything that can be refused is refused before the image is prepared, which takes longest
    ready = ReadyMethod.of(classifier, method, wrapper, wrapper_options, parameters)
    given = Given(references, regions, counterfactual)
    return ready.explain(image, target, given, on_event=on_event, cancelled=cancelled)


@dataclass(frozen=True, eq=False)
class ReadyMethod:
    """A method with its options, checked for a classifier, for one image or for many.

    Parameters
    ----------
    classifier : Classifier
    method : Method
    values : mapping
        Its parameters, all of them.
    wrapping : Wrapping
    fingerprint : str
        The classifier's, where it is known: it is made of every weight. Empty: computed for each image.
    """

    classifier: "Classifier"
    method: Method
    values: Mapping[str, Any]
    wrapping: Wrapping
    fingerprint: str = ""

    @classmethod
    def of(
        cls,
        classifier: "Classifier",
        method: str,
        wrapper: str | None = None,
        wrapper_options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        fingerprint: str = "",
    ) -> "ReadyMethod":
        """Check what does not hang on an image; see :func:`attribute` for what is refused.

        Parameters
        ----------
        classifier : Classifier
        method : str
            Name in :data:`METHODS`.
        wrapper : str, optional
            Name in :data:`WRAPPERS`.
        wrapper_options, parameters : mapping, optional
            Of the wrapper and of the method; what is left out has its default.
        fingerprint : str
            The classifier's, where it is known; see the class.

        Returns
        -------
        ReadyMethod
        """
        chosen = METHODS.named(method)
        values = validated(chosen.function, parameters or {})
        wrapping = Wrapping.of(wrapper, wrapper_options)
        chosen.check(classifier.network)
        return cls(classifier, chosen, values, wrapping, fingerprint)

    def explain(
        self,
        image: "DataArray",
        target: Target | None,
        given: Given,
        *,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> Attribution:
        """Explain one image; see :func:`attribute`.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            Raw.
        target : str, int, Contrast, EmbeddingCoordinate, Similarity or None
            None: the class that is predicted.
        given : Given
            What the method may ask for beside the image.
        on_event, cancelled : callable
            See :mod:`napari_why.core.events`.

        Returns
        -------
        Attribution
        """
        chosen, values, wrapping = self.method, dict(self.values), self.wrapping
        classifier = trained = self.classifier
        network = classifier.network
        if wrapping.takes_fields:
            classifier = for_windows(classifier, image)
        notes = (*wrapping.cautions, *classifier.check(image))
        x = classifier.prepare(image)
        listeners: dict[str, Any] = {"on_event": on_event, "cancelled": cancelled}
        with (
            limited_threads(classifier.threads),
            explaining(network, None if wrapping.takes_fields else x, **listeners) as logits,
        ):
            logits_of = partial(_logits, chosen, classifier, wrapping, x)
            scores = _finite_scores(logits_of(network) if logits is None else logits)
            likeliest = classifier.classes[int(np.argmax(scores))]
            explained = find_target(trained, likeliest if target is None else target)
            chosen.check(explained.network, METHODS)
            score = _score(explained, scores, logits_of)
            context = gather_context(chosen, classifier, image, x, explained, given, **listeners)
            on_event(events.Message(f"explaining on {x.device}"))
            asked = Wrapped(
                chosen,
                explained.network,
                x,
                explained.column,
                lambda pixels, **more: run_method(
                    chosen, explained.network, pixels, explained.column, values, **more
                ),
                context,
            )
            further = context_of_wrapper(wrapping, classifier, image, given)
            evidence = retry_with_half(
                lambda: wrapping.run(asked, **listeners, **further), on_event, "explaining"
            )
        check_finite(chosen, evidence)
        on_event(events.Finished(partial=evidence.partial))
        notes = self._notes(notes, evidence, explained, scores)
        record = self._record(image, evidence, explained, score, scores, notes, x)
        return _attribution(
            evidence,
            explained,
            score,
            notes,
            record,
            classifier,
            classifier.preprocessing.grid(image),
        )

    def _notes(
        self,
        notes: tuple[str, ...],
        evidence: Evidence,
        explained: Explained,
        scores: list[float],
    ) -> tuple[str, ...]:
        """Return what is to be said of a map beside what was said of the image."""
        chosen = self.method
        if not (evidence.joint.any() or evidence.maps.any()):
            notes = (EMPTY, *notes)
        caution = (chosen.caution,) if chosen.caution else ()
        notes = (*explained.notes, *caution, *notes, *_doubts(self.classifier, explained, scores))
        if self.wrapping.wrapper is None:
            same = note_of_same_maps(chosen.name, explained.network, dict(self.values))
            notes = (*notes, *same)
        return (f"incomplete: {STOPPED}", *notes) if evidence.partial else notes

    def _record(
        self,
        image: "DataArray",
        evidence: Evidence,
        explained: Explained,
        score: float,
        scores: list[float],
        notes: tuple[str, ...],
        x: Tensor,
    ) -> Record:
        """Write down how a map was made."""
        values, wrapping, classifier = dict(self.values), self.wrapping, self.classifier
        return Record(
            kind="attribution",
            method=self.method.name,
            parameters=values,
            seed=values.get("seed", wrapping.values.get("seed")),
            classifier=self.fingerprint or classifier.fingerprint,
            source=str(image.attrs.get("source", "")),
            # the logits of all classes: a map of the wrong class is read beside how unlikely it is
            details={
                "target": explained.name,
                **({"target_asked": dict(explained.asked)} if explained.asked else {}),
                "score": score,
                "logits": dict(zip(classifier.classes, scores, strict=True)),
                "unit": _in_words(evidence.unit, explained),
                "gap": evidence.gap,
                "gap_meaning": _in_words(evidence.gap_meaning, explained),
                "explained": evidence.explained,
                "constants": evidence.constants,
                "constants_meaning": _in_words(evidence.constants_meaning, explained),
                "map_sum": float(evidence.joint.detach().cpu().numpy().sum(dtype=np.float64)),
                "device": str(x.device),
                "partial": evidence.partial,
                "complete": not evidence.partial,
                "notes": list(notes),
                "image_notes": list(image.attrs.get("notes", ())),
                **how_read(image),
                **(
                    {"regions": [asdict(item) for item in evidence.regions]}
                    if evidence.regions
                    else {}
                ),
                **wrapping.facts,
                **evidence.details,
            },
        )


def _attribution(
    evidence: Evidence,
    explained: Explained,
    score: float,
    notes: tuple[str, ...],
    record: Record,
    classifier: "Classifier",
    grid: Grid,
) -> Attribution:
    """Return evidence as arrays, in the words of the target."""
    error, labels = evidence.standard_error, evidence.labels
    return Attribution(
        maps=_float32(evidence.maps),
        joint=_float32(evidence.joint),
        channels=tuple(classifier.channels) if len(evidence.maps) else (),
        target=explained.name,
        score=score,
        unit=_in_words(evidence.unit, explained),
        gap=evidence.gap,
        gap_meaning=_in_words(evidence.gap_meaning, explained),
        grid=grid,
        record=record,
        explained=evidence.explained,
        constants=evidence.constants,
        constants_meaning=_in_words(evidence.constants_meaning, explained),
        notes=notes,
        standard_error=None if error is None else _float32(error),
        regions=evidence.regions,
        layers={name: _float32(item) for name, item in evidence.layers.items()},
        labels=None if labels is None else labels.cpu().numpy(),
    )


def run_method(
    method: Method, network: Any, x: Tensor, target: int, values: dict[str, Any], **context: Any
) -> Evidence:
    """Run a method's function with those of the context's keywords that it names.

    A function that reports no progress itself is reported as one step.

    Parameters
    ----------
    method : Method
    network : callable
        Images (N, C, H, W) to logits (N, K): a Network where the method asks for one.
    x : Tensor, shape (1, C, H, W)
        Standardised.
    target : int
        Column of the logits.
    values : dict
        The method's parameters.
    **context
        ``on_event``, ``cancelled``, ``raw_zero``, ``references``, ...

    Returns
    -------
    Evidence
    """
    on_event: events.OnEvent = context.get("on_event", events.ignore_event)
    # by name and not by position, so that a method says with its signature what it needs
    named = {key: value for key, value in context.items() if method.takes(key)}
    reports_itself = "on_event" in named
    if not reports_itself:
        on_event(events.Started(method.name, 1))
    evidence: Evidence = method.function(network, x, target, **values, **named)
    if not reports_itself:
        on_event(events.Advanced(1))
    return evidence


def _logits(
    method: Method, classifier: "Classifier", wrapping: Wrapping, x: Tensor, network: Any
) -> Tensor:
    """Return the outputs (1, K) of a network for the image, or for the field."""
    if isinstance(classifier, FieldClassifier):
        return field_logits(network, method, x, classifier.window, wrapping.values)
    logits: Tensor = network(x)
    return logits


def context_of_wrapper(
    wrapping: Wrapping, classifier: "Classifier", image: "DataArray", given: Given
) -> dict[str, Any]:
    """Return what wrappers may ask for beside the method: the given regions, and a field's window.

    Parameters
    ----------
    wrapping : Wrapping
    classifier : Classifier
        A :class:`FieldClassifier` where a field is explained window by window.
    image : DataArray, dims (c, y, x)
        Raw.
    given : Given

    Returns
    -------
    dict
        ``window``, ``regions``, or nothing.
    """
    context: dict[str, Any] = {}
    if isinstance(classifier, FieldClassifier):
        context["window"] = classifier.window
    if wrapping.wrapper is not None and given.regions is not None:
        context["regions"] = find_regions(wrapping.wrapper, classifier, image, given.regions)
    return context


def _score(explained: Explained, scores: list[float], logits_of: Callable[[Any], Tensor]) -> float:
    """Return the score of the target on the image."""
    if explained.against is None and explained.index is not None:
        return scores[explained.index]
    with torch.no_grad(), explained.network.use.passing():
        return float(logits_of(explained.network)[0, explained.column])


def _doubts(classifier: "Classifier", explained: Explained, scores: list[float]) -> tuple[str, ...]:
    """Say where held-out images show the classes in question at chance, or below."""
    if explained.index is None:
        return ()
    if explained.against is None:
        return note_of_rival(classifier.metrics, classifier.classes, scores, explained.index)
    classes = classifier.classes
    pair = judge_pair(
        classifier.metrics, classes, classes[explained.index], classes[explained.against]
    )
    return (pair.short,) if pair.says_nothing else ()


def _in_words(said: str, explained: Explained) -> str:
    # methods are written for logits; what they say of units holds for any other score
    if explained.against is not None:
        # a difference of a difference reads as a slip
        changed = "how far the difference of the logits is from that of"
        said = said.replace("the logit's difference from", changed)
        return re.sub(r"the logit\b", "the difference of the logits", said)
    return said if explained.quantity == "logit" else said.replace("logit", explained.quantity)


def _finite_scores(logits: Tensor | None) -> list[float]:
    if logits is None or not bool(torch.isfinite(logits).all()):
        raise MismatchError(
            "the network's output for this image is not finite; expected finite logits; "
            "look for NaN or infinite values in the image"
        )
    return [float(value) for value in logits[0]]


def check_finite(method: Method, evidence: Evidence) -> None:
    """Refuse a map that has values which no viewer, sum or score could do anything with.

    Parameters
    ----------
    method : Method
        Named in the message.
    evidence : Evidence
        What it found.

    Raises
    ------
    MismatchError
        Says how many, and what to take instead.
    """
    bad = int((~torch.isfinite(evidence.maps)).sum() + (~torch.isfinite(evidence.joint)).sum())
    if bad:
        raise MismatchError(
            f"{method.name}: found {bad} values of the map that are not finite, though the network's "
            "output is; expected finite ones; take another layer or other parameters, or occlusion, "
            "which divides by nothing"
        )


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    # a copy: the map must not hold the tensor of the whole batch in memory
    array: NDArray[np.float32] = tensor.detach().cpu().to(torch.float32).numpy().copy()
    return array
