"""Layer-wise relevance propagation."""

from typing import Annotated

from torch import Tensor

from napari_why.attribution.guard import check_same_logits
from napari_why.attribution.registry import Evidence, attribution_method, relative_gap
from napari_why.attribution.relevance.propagation import propagate
from napari_why.attribution.relevance.rules import RuleName, rule_set
from napari_why.attribution.relevance.tape import record_tape
from napari_why.core.events import Cancelled, OnEvent, Started, ignore_event, never_cancelled
from napari_why.core.options import Help, Range
from napari_why.networks.network import Network


@attribution_method(
    title="LRP", source="Bach et al. 2015, doi:10.1371/journal.pone.0130140; Montavon et al. 2019"
)
def lrp(
    network: Network,
    x: Tensor,
    target: int,
    *,
    rule: Annotated[
        RuleName,
        Help(
            "composite: epsilon for linear layers, generalised z-plus for convolutions, stable; "
            "epsilon and gamma are noisy and may explode on deep and on ELU networks"
        ),
    ] = "composite",
    epsilon: Annotated[
        float, Help("stabiliser, relative to a layer's mean output"), Range(0, 1)
    ] = 1e-6,
    gamma: Annotated[
        float, Help("extra weight of contributions that agree, rule gamma"), Range(0, 1000)
    ] = 0.25,
    alpha: Annotated[
        float,
        Help("weight of positive contributions, rule alpha_beta; beta is alpha - 1"),
        Range(1, 10),
    ] = 2.0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Evidence:
    """Hand the logit back layer by layer until every pixel has its share.

    Each neuron gives its relevance to its inputs in proportion to what they contributed; see
    :mod:`napari_why.attribution.relevance.rules`. Batch normalisation is merged into the
    convolution before it; residual sums share in proportion; averages share in proportion;
    maxima go to the winner. Biases take their share as inputs do, and what they took is reported.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        One standardised image; a pixel at its channel's training mean is 0 and gets nothing.
    target : int
        Index of the class.
    on_event, cancelled : callable
        One step per operation of the network. Cancelled work gives a map of zeros: relevance
        reaches the pixels at the end only.

    Returns
    -------
    Evidence
        Maps in logits per pixel; joint: their sum over channels. The sum of the maps and of the
        biases' relevance (``relevance_in_constants`` of the record) is the logit; the gap tells
        how far not. ``coverage`` of the record names every operation and the rule it got.

    Raises
    ------
    UnsupportedNetworkError
        The network holds an operation without a rule.
    """
    tape = record_tape(network, x)
    check_same_logits(network(x), tape.logits, "under the tape")
    on_event(Started("layer-wise relevance propagation", len(tape.operations)))
    rules = rule_set(rule, epsilon=epsilon, gamma=gamma, alpha=alpha)
    relevance = propagate(tape, target, rules, on_event, cancelled)
    maps = relevance.pixels[0]
    found = maps.double().sum().item() + relevance.constants
    return Evidence(
        maps=maps,
        joint=maps.sum(dim=0),
        unit="logit per pixel",
        gap=relative_gap(found, tape.logits[0, target].item()),
        gap_meaning="sum of the maps and of the biases' relevance against the logit",
        details={
            "relevance_in_constants": relevance.constants,
            "coverage": relevance.coverage,
        },
        partial=not relevance.complete,
    )
