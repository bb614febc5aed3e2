"""Deep Taylor decomposition: the relevance rules that a Taylor expansion of each ReLU neuron gives."""

from torch import Tensor, nn

from napari_why.attribution.lrp import ACTIVATIONS, relevance_evidence
from napari_why.attribution.registry import Evidence, attribution_method
from napari_why.attribution.relevance_places import image_bounds
from napari_why.attribution.relevance_rules import rule_set
from napari_why.attribution.relevance_tape import Tape, record_checked_tape
from napari_why.attribution.targets import outputs_network, share_score
from napari_why.core import events
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

# What cuts negative values off: neurons behind it are not negative, as the expansion assumes.
RECTIFIERS = (nn.ReLU, nn.ReLU6)
# Other activations of torch, whose neurons have other root points. Those of attention and of
# recurrent networks do not matter here: LRP has no rule for these networks at all.
OTHER_ACTIVATIONS = (
    nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.PReLU, nn.RReLU,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign,
)  # fmt: skip
INSTEAD = (
    "deep Taylor decomposition expands ReLU neurons alone, and this network has {found}; take lrp with "
    "the rule composite, or rule z_plus and input_rule z_box for the same rules without that reading"
)


def needs_rectifiers(network: Network) -> str | None:
    """Return why deep Taylor decomposition is not defined where an activation is not a ReLU."""
    # ReLU6 derives from another class that is listed, so it is asked for first
    others = sorted(
        {
            type(module).__name__
            for module in network.modules()
            if isinstance(module, OTHER_ACTIVATIONS) and not isinstance(module, RECTIFIERS)
        }
    )
    return INSTEAD.format(found=", ".join(others)) if others else None


def check_rectifiers(network: Network, tape: Tape) -> None:
    """Refuse a network that applies other activations than ReLU as plain functions, or none.

    Parameters
    ----------
    network : Network
        Named in the message.
    tape : Tape
        Of an image's way through it.

    Raises
    ------
    UnsupportedNetworkError
        With the reason, and what to take instead.
    """
    used = {item.name for item in tape.operations if item.name in ACTIVATIONS}
    if used - {"relu", "relu6", "hardtanh"} or not used:
        found = ", ".join(sorted(used)) or "no activation"
        raise UnsupportedNetworkError(
            f"deep_taylor cannot explain {network.name}: {INSTEAD.format(found=found)}"
        )


@attribution_method(
    title="Deep Taylor decomposition",
    source="Montavon et al. 2017, doi:10.1016/j.patcog.2016.11.008",
    needs=needs_rectifiers,
    caution="a class with a negative logit has no deep Taylor decomposition: the rules then share "
    "a negative number in the same way",
)
def deep_taylor(
    network: Network,
    x: Tensor,
    target: int,
    *,
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Hand the logit back by alpha 1 - beta 0, and to the pixels within the bounds of the image.

    The relevance of a ReLU neuron is expanded at a root point where it is just silent; between
    layers that is the rule z-plus (alpha 1, beta 0), and z-box where pixels of either sign are bounded
    by l <= x <= h. All of a class's map has the sign of its logit.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, the lower bound; the upper one is the brightest pixel
        of each channel.
    on_event, cancelled : callable
        As of :func:`~napari_why.attribution.lrp.lrp`.

    Returns
    -------
    Evidence
        As of :func:`~napari_why.attribution.lrp.lrp`.

    Raises
    ------
    UnsupportedNetworkError
        An activation that is not a ReLU, or an operation without a rule.
    """
    tape = record_checked_tape(network, x, outputs_network(network))
    check_rectifiers(network, tape)
    # epsilon is not in z-plus; averages take it, where lrp's default loses next to nothing
    bounds = image_bounds(x, raw_zero)
    rules = rule_set("z_plus", epsilon=1e-6, gamma=0, alpha=1, at_input="z_box", bounds=bounds)
    start = share_score(network, tape.logits, target)
    return relevance_evidence(tape, start, rules, on_event, cancelled)
