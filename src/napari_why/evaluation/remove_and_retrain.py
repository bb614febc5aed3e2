"""ROAR, remove and retrain: how well can networks be trained without the most relevant pixels."""

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.attribution.registry import References
from napari_why.core import events
from napari_why.core.errors import CancellationError, ParameterError
from napari_why.core.options import Help, Range
from napari_why.evaluation.explanations import (
    STOPPED,
    ExplanationCase,
    MetricValue,
    explanation_metric,
    needed,
    to_array,
)
from napari_why.evaluation.pixel_removal import Ranks, SideOption, removal_ranks, square_side
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network
from napari_why.training import TensorExamples, TrainingOptions, train_network

Predict = Callable[[Tensor], Tensor]


Retrain = Callable[[References, int], Predict]
"""``(training images, seed) -> (images (N, C, H, W) -> logits)``: train anew and hand back the result."""


# Of Hooker et al.
ROAR_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@explanation_metric(
    title="ROAR, remove and retrain",
    better="lower",
    low=0,
    high=1,
    needs=("explain", "references"),
    source="Hooker, Erhan, Kindermans & Kim 2019, arXiv:1806.10758",
)
def remove_and_retrain(
    case: ExplanationCase,
    *,
    side: SideOption = 1,
    held_out: Annotated[
        float, Help("share of each class's images that is kept for testing"), Range(0.05, 0.95)
    ] = 0.33,
    epochs: Annotated[
        int, Help("passes over the images; 0: the network's own"), Range(0, 10_000)
    ] = 0,
    retrain: Retrain | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> MetricValue:
    """Accuracy of networks trained anew on images without their most relevant pixels.

    Every image is explained for its own class; the most relevant 10, 30, 50, 70 and 90 % of its
    pixels are set to the training mean, in training and held-out images alike, and a network is
    trained from the start for each share. The value is the mean accuracy on held-out images, chance
    that with random pixels removed. The image of the case does not count.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again, and training images.
    side : int
        Of the squares that go together, pixels; 0: a 16th of the shorter side.
    held_out : float
        Share of each class's images that is kept for testing.
    epochs : int
        Passes over the images; 0: the network's own number.
    retrain : callable, optional
        ``(References, seed) -> (images -> logits)``; by default the network's own architecture, as
        :func:`~napari_why.training.train_network` trains it.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 to 1, with both ``accuracy`` and ``random`` by ``shares`` in its details; NaN of a network with
        one output.

    Raises
    ------
    ParameterError
        The case lacks what is needed, or a class has a single training image.
    CancellationError
        Cancelled before all networks were trained.
    """
    explain = needed(case.explain, "explain")
    references = needed(case.references, "references")
    known = references.labels >= 0  # below: of no class of the network
    labels = references.labels[known]
    images = references.images[known.to(references.images.device)]
    if case.network.classes < 2:
        return MetricValue(np.nan, note="a target that is no class has no accuracy")
    train = retrain or retrain_anew(case.network, epochs, on_event, cancelled)
    generator = np.random.default_rng(case.seed)
    testing = _held_out(labels.cpu().numpy(), held_out, generator)
    on_event(events.Started("explaining the training images", len(images)))
    ranks: dict[str, list[Ranks]] = {"map": [], "random": []}
    for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        if cancelled():
            raise CancellationError(f"remove_and_retrain: {STOPPED}")
        joint = to_array(explain(case.network, image[None], label).joint)
        ranks["map"].append(removal_ranks(joint, square_side(joint.shape, side), generator))
        noise = generator.random(joint.shape)
        ranks["random"].append(removal_ranks(noise, square_side(joint.shape, side), generator))
        on_event(events.Advanced(index + 1))
    curves: dict[str, list[float]] = {"map": [], "random": []}
    for share in ROAR_SHARES:
        for name, curve in curves.items():
            if cancelled():
                raise CancellationError(f"remove_and_retrain: {STOPPED}")
            place = torch.from_numpy(np.stack(ranks[name])).to(images.device)
            last = place.flatten(1).amax(dim=1)[:, None, None] + 1
            left = images.masked_fill((place < (share * last).round())[:, None], 0.0)
            kept = ~testing
            predict = train(References(left[kept], labels[kept]), case.seed)
            with torch.no_grad():
                found = predict(left[testing]).argmax(dim=1)
            curve.append(float((found == labels[testing].to(found.device)).float().mean()))
    details = {"shares": list(ROAR_SHARES), "accuracy": curves["map"], "random": curves["random"]}
    return MetricValue(float(np.mean(curves["map"])), float(np.mean(curves["random"])), "", details)


def _held_out(labels: NDArray[Any], share: float, generator: np.random.Generator) -> Tensor:
    """Choose images for testing, the same share of each class and one at least of either part."""
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        places = generator.permutation(np.flatnonzero(labels == label))
        if len(places) < 2:
            raise ParameterError(
                f"references: found {len(places)} image of class {label}; expected 2 or more, one "
                "to train on and one to test with"
            )
        chosen[places[: min(max(1, round(share * len(places))), len(places) - 1)]] = True
    return torch.from_numpy(chosen)


def retrain_anew(
    network: Network,
    epochs: int = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Retrain:
    """Return what trains a network of the same architecture from the start, leaving this one alone.

    Parameters
    ----------
    network : Network
        Gives the configuration; its weights are not used.
    epochs : int
        Passes over the images; 0: the network's own number.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    callable
        ``(References, seed) -> (images -> logits)``, on the processor.
    """

    def train(references: References, seed: int) -> Predict:
        fresh = build_network(**{**network.configuration(), "seed": seed, "frozen": False})
        examples = TensorExamples(references.images.cpu(), references.labels.cpu())
        options = TrainingOptions(seed=seed, epochs=epochs)
        train_network(fresh, examples, None, options, on_event=on_event, cancelled=cancelled)
        fresh.freeze()
        return lambda images: fresh(images.cpu())

    return train
