"""FullGrad: a logit as the sum of what the pixels and what every bias on the way add to it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_why.attribution.class_activation_maps import spread_to_pixels
from napari_why.attribution.lrp import AVERAGES, MAXIMA, MOVES
from napari_why.attribution.registry import Evidence, attribution_method, relative_gap
from napari_why.attribution.relevance_places import WEIGHTED
from napari_why.attribution.relevance_rules import batch_norm_affine, weights_of
from napari_why.attribution.relevance_tape import Operation, record_checked_tape
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.networks.network import Network

# Twice the values give twice the result: such an operation has nothing of its own to add. Sums and
# products are not among them, since one of their arguments may be a constant.
HOMOGENEOUS = AVERAGES | MAXIMA | MOVES | {"relu", "leaky_relu", "prelu"}


@attribution_method(title="FullGrad", source="Srinivas & Fleuret 2019, arXiv:1905.00780")
def full_grad(
    network: Network,
    x: Tensor,
    target: int,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Gradient x image, plus gradient x bias of every layer at the place where the bias acts.

    s_c = sum_i x_i ds_c/dx_i + sum_l b_l ds_c/dz_l, with b_l = f_l(y) - (df_l/dy) y for every operation
    z_l = f_l(y): of a convolution its bias, of batch normalisation and ActNorm their shift, of ReLU
    nothing, of an activation such as ELU what bends (the paper's implicit bias).
    The sum is the logit on any network; the parts of biases and of bending stand apart.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    on_event, cancelled : callable
        One step per operation. Cancelled work gives the sum over the operations so far.

    Returns
    -------
    Evidence
        Maps in logits per pixel: x ds_c/dx. Joint: their sum over channels, plus the biases, which
        belong to all channels, of layers with positions, interpolated to pixels such that their sum
        stays. Biases behind the pooling have no place and are constants. The paper takes magnitudes
        and scales each layer for display; here signs and sums stay. ``layers`` holds the three parts.
    """
    tape = record_checked_tape(network, x)
    with torch.enable_grad():  # whoever calls may have turned gradients off
        score = tape.logits[0, target]
    adding = [item for item in tape.operations if item.name not in HOMOGENEOUS]
    on_event(events.Started("FullGrad", len(adding)))
    gradient, *slopes = torch.autograd.grad(
        score,
        [tape.image, *(item.results[0] for item in adding)],
        allow_unused=True,
        materialize_grads=True,
    )
    maps, constants, done = (x * gradient)[0], 0.0, 0
    found = {"input x gradient": maps.sum(dim=0), "biases": 0 * maps[0], "activations": 0 * maps[0]}
    while done < len(adding) and not cancelled():
        kind = "biases" if is_affine(adding[done]) else "activations"
        placed, placeless = _spread(own_part(adding[done]) * slopes[done], maps.shape[1:])
        found[kind], constants, done = found[kind] + placed, constants + placeless, done + 1
        on_event(events.Advanced(done))
    return _evidence(maps, found, constants, score.item(), partial=done < len(adding))


def _evidence(
    maps: Tensor, parts: dict[str, Tensor], constants: float, score: float, *, partial: bool
) -> Evidence:
    joint = torch.stack(list(parts.values())).sum(dim=0)
    return Evidence(
        maps=maps,
        joint=joint,
        unit="logit per pixel",
        gap=relative_gap(to_float64(joint).sum().item() + constants, score),
        gap_meaning="sum of the joint map and of the biases behind the pooling against the logit",
        details={name: to_float64(part).sum().item() for name, part in parts.items()},
        partial=partial,
        explained=score,
        constants=constants,
        constants_meaning="biases behind the pooling, which have no place",
        layers=parts,
    )


def is_affine(operation: Operation) -> bool:
    """Whether what an operation adds is a bias or a shift: it does not hang on the image."""
    return operation.name in WEIGHTED | {"batch_norm", "add", "radd", "sub", "rsub"}


def own_part(operation: Operation) -> Tensor:
    """Return f(y) - (df/dy) y of an operation, in the shape of its first result."""
    # by its parts where they are known, which is exact and quick
    result = operation.results[0].detach()
    if operation.name in WEIGHTED and len(operation.sources) == 1:
        _, _, bias, _ = weights_of(operation)
        if bias is None:
            return torch.zeros_like(result)
        # channels stand before the positions, but for a linear layer
        places = 0 if operation.name == "linear" else result.ndim - 2
        return bias.view(-1, *[1] * places).expand_as(result)
    if operation.name == "batch_norm":
        shift = batch_norm_affine(operation).shift
        return shift.view(1, -1, *[1] * (result.ndim - 2)).expand_as(result)
    leaves, made = operation.replay()
    # a derivative of the backward pass gives (df/dy) y place by place: g -> (df/dy)^T g is linear in g
    probe = torch.zeros_like(result).requires_grad_()
    back = torch.autograd.grad(
        made[0], leaves, probe, create_graph=True, allow_unused=True, materialize_grads=True
    )
    values = [leaf.detach() for leaf in leaves]
    (linear,) = torch.autograd.grad(back, probe, values, allow_unused=True, materialize_grads=True)
    return result - linear


def _spread(parts: Tensor, size: Sequence[int]) -> tuple[Tensor, float]:
    """Return the parts of places on the pixels (H, W), and the sum of those without a place."""
    if parts.ndim == 4 and parts.shape[-2] * parts.shape[-1] > 1:
        return spread_to_pixels(parts.sum(dim=1), (size[0], size[1]))[0], 0.0
    return parts.new_zeros(size[0], size[1]), to_float64(parts).sum().item()
