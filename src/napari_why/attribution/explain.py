"""Run one attribution method on one image."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.attribution.evidence import Evidence
from napari_why.attribution.guard import explaining
from napari_why.attribution.registry import METHODS, Method
from napari_why.attribution.result import Attribution
from napari_why.devices import limited_threads
from napari_why.errors import MismatchError, ParameterError
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.images import how_read
from napari_why.parameters import validated
from napari_why.record import Record

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.classifier import Classifier


def attribute(
    classifier: "Classifier",
    image: "DataArray",
    method: str = "occlusion",
    target: str | int | None = None,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
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
    target : str or int, optional
        Class to explain, by name or index, the wrong one too; None: the predicted one.
    on_event, cancelled : callable
        See :mod:`napari_why.events`. Cancelled work returns the map so far, its record says
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
        Unknown method, class or parameter, or a value out of range.
    MismatchError
        The image does not fit the classifier.
    UnsupportedNetworkError
        The method is not defined, or would not be right, for this network.
    """
    chosen = find_method(method)
    values = validated(chosen.function, parameters)
    network = classifier.network
    chosen.check(network)
    x = classifier.prepare(image)
    context: dict[str, Any] = {"on_event": on_event, "cancelled": cancelled}
    if chosen.takes("raw_zero"):
        context["raw_zero"] = _black(classifier, image)
    with limited_threads(classifier.threads), explaining(network, x) as logits:
        scores = _finite_scores(logits)
        index = class_index(classifier.classes, target, scores)
        evidence = run_method(chosen, network, x, index, values, **context)
    on_event(Finished(partial=evidence.partial))
    name = classifier.classes[index]
    record = Record(
        kind="attribution",
        method=method,
        parameters=values,
        seed=values.get("seed"),
        classifier=classifier.fingerprint,
        source=str(image.attrs.get("source", "")),
        details={
            "target": name,
            "score": scores[index],
            "logits": dict(zip(classifier.classes, scores, strict=True)),
            "unit": evidence.unit,
            "gap": evidence.gap,
            "gap_meaning": evidence.gap_meaning,
            "partial": evidence.partial,
            **how_read(image),
            **evidence.details,
        },
    )
    return Attribution(
        maps=_float32(evidence.maps),
        joint=_float32(evidence.joint),
        channels=tuple(classifier.channels),
        target=name,
        score=scores[index],
        unit=evidence.unit,
        gap=evidence.gap,
        gap_meaning=evidence.gap_meaning,
        grid=classifier.preprocessing.grid(image),
        record=record,
    )


def run_method(
    method: Method, network: Any, x: Tensor, target: int, values: dict[str, Any], **context: Any
) -> Evidence:
    """Run a method's function with those of the context's keywords that it names.

    A function that reports no progress itself is reported as one step.
    """
    on_event: OnEvent = context.get("on_event", ignore_event)
    named = {key: value for key, value in context.items() if method.takes(key)}
    if "on_event" in named:
        return method.function(network, x, target, **values, **named)
    on_event(Started(method.name, 1))
    evidence = method.function(network, x, target, **values, **named)
    on_event(Advanced(1))
    return evidence


def find_method(name: str) -> Method:
    """Return the method of this name.

    Raises
    ------
    ParameterError
        There is none; the message lists those there are.
    """
    if name not in METHODS:
        raise ParameterError(f"method: found {name!r}; expected one of {', '.join(METHODS)}")
    return METHODS[name]


def class_index(
    classes: tuple[str, ...], target: str | int | None, scores: list[float] | None = None
) -> int:
    """Return the index of a class given by name or index; None: the one of the highest score.

    Raises
    ------
    ParameterError
        There is no such class.

    Examples
    --------
    >>> class_index(("diseased", "treated"), "treated"), class_index(("a", "b"), None, [0.4, 0.1])
    (1, 0)
    """
    if target is None and scores is not None:
        return int(np.argmax(scores))
    if isinstance(target, str) and target in classes:
        return classes.index(target)
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(classes):
        return target
    raise ParameterError(
        f"target: found {target!r}; expected one of the classes {', '.join(classes)} "
        f"or an index from 0 to {len(classes) - 1}"
    )


def _black(classifier: "Classifier", image: "DataArray") -> Tensor:
    """Return the preprocessed image of no light at all, shape (1, C, H, W)."""
    return classifier.prepare(image.copy(data=np.zeros_like(image.values)))


def _finite_scores(logits: Tensor | None) -> list[float]:
    if logits is None or not bool(torch.isfinite(logits).all()):
        raise MismatchError(
            "the network's output for this image is not finite; expected finite logits; "
            "look for NaN or infinite values in the image"
        )
    return [float(value) for value in logits[0]]


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().to(torch.float32).numpy().copy()
    return array
