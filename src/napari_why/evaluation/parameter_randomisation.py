"""Parameter randomisation: does the map change when the network's weights are drawn anew.

Before a map is compared it is checked that the weights which the forward pass uses did change.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_why.attribution.relevance_tape import tensors_in
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.options import Help, Range
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    explain_all,
    explanation_metric,
    to_array,
)
from napari_why.evaluation.map_similarity import compare_maps, similarity_by_chance
from napari_why.networks.network import Network


@dataclass(frozen=True)
class WeightInUse:
    """A tensor that a forward pass combines with what depends on the image.

    ``learnt``: it comes from a parameter, by whatever way; ``kernel``: a convolution, linear layer or
    matrix product takes it.
    """

    place: str
    tensor: Tensor
    learnt: bool
    kernel: bool


# functions whose other operand is a weight, also where it is no parameter
KERNELS = frozenset(
    [
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "linear",
        "bilinear",
        "matmul",
        "rmatmul",
        "mm",
        "bmm",
        "addmm",
        "baddbmm",
        "einsum",
    ]
)


class _WeightRecorder(TorchFunctionMode):
    """Write down what meets the image: parametrised, normalised or computed weights as they are used."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.known: dict[int, Tensor] = {id(image): image}  # holding them keeps the ids unique
        self.weights: list[WeightInUse] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = list(tensors_in((args, kwargs or {})))
        result = func(*args, **(kwargs or {}))
        if not any(id(tensor) in self.known for tensor in given):
            return result
        name = getattr(func, "__name__", str(func)).strip("_")
        for tensor in given:
            # parameters of the copy need a gradient and the image does not
            kernel = name in KERNELS and tensor.ndim > 1
            if id(tensor) not in self.known and (tensor.requires_grad or kernel):
                place = f"{name} {len(self.weights) + 1}"
                self.weights.append(WeightInUse(place, tensor, tensor.requires_grad, kernel))
        self.known |= {id(tensor): tensor for tensor in tensors_in(result)}
        return result


def weights_in_use(network: nn.Module, x: Tensor) -> list[WeightInUse]:
    """Return the weights that a forward pass uses, in order, as the image meets them.

    Parameters
    ----------
    network : Module
        Its parameters must need a gradient.
    x : Tensor, shape (N, C, H, W)

    Returns
    -------
    list of WeightInUse

    Raises
    ------
    UnsupportedNetworkError
        The logits do not come from torch functions that can be watched.
    """
    recorder = _WeightRecorder(x)
    with torch.enable_grad(), recorder:
        logits = network(x)
    if id(logits) not in recorder.known:
        raise UnsupportedNetworkError(
            "the weights that this network uses cannot be watched, so that it is not known whether "
            "randomising changes them; look for a scripted or compiled module"
        )
    return recorder.weights


# A relative change below it is rounding; a weight drawn anew changes by a tenth at least.
CHANGED = 1e-3


# Of values that are all alike (gains of 1, biases of 0) the spread is that of none: a tenth of their
# size, or a hundredth, is drawn instead, which leaves a network whose numbers stay finite.
SPREAD_OF_EQUAL, SPREAD_OF_ZEROS = 0.1, 0.01


# Power iteration of torch's own spectral norm takes one step a pass, and 15 before the first.
POWER_STEPS = 15


def randomise_network(
    network: Network, x: Tensor, *, seed: int, only: Sequence[str] | None = None
) -> Network:
    """Return a copy with weights drawn anew, after a check that the forward pass uses new ones.

    Kernels are drawn from a normal distribution with mean 0 and their root mean square, vectors
    (biases, gains) from one with their mean and spread. Done on the tensors and not by
    ``reset_parameters``, which custom modules do not have and which leaves parametrised weights as
    they are; norms that are estimated from weights (spectral normalisation) are estimated anew.
    Kernels that are buffers are drawn too; running statistics of normalisations stay.

    Parameters
    ----------
    network : Network
        Stays as it is.
    x : Tensor, shape (1, C, H, W)
        An image, for the passes of the check.
    seed : int
        Of the weights.
    only : sequence of str, optional
        Names of the parameters to draw; by default all.

    Returns
    -------
    Network
        Frozen.

    Raises
    ------
    UnsupportedNetworkError
        A weight that the forward pass uses is as before, or it is not known; with ``only``, all are.
    """
    if network.black_box:
        raise UnsupportedNetworkError(
            f"{network.name}: found a network whose weights cannot be drawn anew; expected one that "
            "can be looked into"
        )
    with torch.no_grad():  # weights that hooks make in a pass could not be copied with a gradient
        network(x)
    drawn = copy.deepcopy(network).eval().requires_grad_(True)
    before = weights_in_use(drawn, x)
    old = [weight.tensor.detach().clone() for weight in before]
    used = {id(weight.tensor) for weight in before if weight.kernel}
    # a kernel kept as a buffer does not learn, and decides all the same
    buffers = {name: item for name, item in drawn.named_buffers() if id(item) in used}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in {**dict(drawn.named_parameters()), **buffers}.items():
            if tensor.is_floating_point() and (only is None or name in only):
                tensor.copy_(_draw(tensor, generator))
    _estimate_norms(drawn, x)
    after = weights_in_use(drawn, x)
    if [weight.place for weight in before] != [weight.place for weight in after]:
        raise UnsupportedNetworkError(
            "the forward pass takes another way with random weights, so that it is not known whether "
            "they changed; expected the same operations for every image and weight"
        )
    same = [
        weight.place
        for weight, was, now in zip(before, old, after, strict=True)
        if not _differ(was, now.tensor.detach())
    ]
    if len(same) == len(before) or (only is None and same):
        found = ", ".join(same[:5]) or "no weight at all"
        raise UnsupportedNetworkError(
            f"randomising left {len(same)} of {len(before)} weights of the forward pass as they were "
            f"({found}); expected all to change: look for weights that are neither parameters nor "
            "buffers"
        )
    drawn.freeze()
    return drawn


def _draw(tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator)
    values = tensor.detach().float().cpu()
    if sum(side > 1 for side in tensor.shape) > 1:
        size = values.square().mean().sqrt().item()
        fan_in = max(1, tensor.numel() // tensor.shape[0])
        drawn = noise * (size or fan_in**-0.5)  # of zeros, as in blocks that start without effect
    else:
        mean = values.mean().item()
        spread = values.std(unbiased=False).item()
        drawn = mean + noise * max(spread, SPREAD_OF_EQUAL * abs(mean), SPREAD_OF_ZEROS)
    return drawn.to(tensor.dtype).to(tensor.device)


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return True
    size = max(one.norm().item(), other.norm().item())
    difference = (one - other).norm().item()
    return bool(size == 0 or difference > CHANGED * size)


def _estimate_norms(network: nn.Module, x: Tensor) -> None:
    """Bring what networks estimate from their weights up to date."""
    for module in network.modules():
        if isinstance(module, Network):  # a target's network holds the one that is explained
            module.settle()
    # torch's spectral norm, new and old: power iteration in training mode alone
    estimating = [
        module
        for module in network.modules()
        if {"_u", "weight_u"} & dict(module.named_buffers(recurse=False)).keys()
    ]
    if estimating:
        for module in estimating:
            module.train()
        with torch.no_grad():
            for _ in range(POWER_STEPS):
                network(x)
        network.eval()


def parameter_groups(network: Network, x: Tensor, groups: int) -> list[list[str]]:
    """Return parameter names in at most ``groups`` parts, from the output to the input.

    In the order in which their modules work on an image, not that in which they were defined.

    Parameters
    ----------
    network : Network
    x : Tensor, shape (1, C, H, W)
        An image, for the pass that tells the order.
    groups : int
        1 or more.

    Returns
    -------
    list of list of str
        Each parameter in one part.
    """
    order: list[str] = []
    with network.use.passing():  # nobody else's pass is to be written down
        handles = [
            module.register_forward_pre_hook(lambda _module, _inputs, name=name: order.append(name))
            for name, module in network.named_modules()
        ]
        try:
            with torch.no_grad():
                network(x)
        finally:
            for handle in handles:
                handle.remove()
    place = {name: number for number, name in reversed(list(enumerate(order)))}
    names = [name for name, _ in network.named_parameters()]
    owner = {name: name.rpartition(".")[0] for name in names}
    # a module that is never called stands last among what works on the image, next to the output
    owners = sorted(dict.fromkeys(owner.values()), key=lambda name: -place.get(name, len(order)))
    parts = np.array_split(np.arange(len(owners)), min(groups, len(owners)))
    members = [{owners[index] for index in part} for part in parts]
    return [[name for name in names if owner[name] in part] for part in members]


Mode = Literal["all", "cascading", "independent"]


@explanation_metric(
    title="Parameter randomisation",
    better="lower",
    low=0,
    high=1,
    needs=("explain",),
    source="Adebayo et al. 2018, arXiv:1810.03292",
)
def parameter_randomisation(
    case: ExplanationCase,
    *,
    mode: Annotated[
        Mode,
        Help(
            "which weights are random: all at once; more and more of them from the output on; one part "
            "after another, alone"
        ),
    ] = "all",
    groups: Annotated[
        int, Help("parts of the network, for cascading and independent"), Range(1, 1000)
    ] = 5,
    random_networks: Annotated[
        int, Help("networks with random weights, of each part"), Range(1, 100)
    ] = 1,
    **listeners: Any,
) -> MetricValue:
    """How alike the map and that of a network with random weights are, at most 1.

    See :class:`~napari_why.evaluation.map_similarity.MapSimilarity`; the mean over networks and parts. A
    map that stays the same shows the image and not what the network learnt. Chance is how alike the map
    and itself moved are.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    mode : {"all", "cascading", "independent"}
        Which weights are random: all; more and more from the output on; one part after another, alone.
    groups : int
        Parts of the network, for cascading and independent.
    random_networks : int
        Of each part.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        With the ``values`` of every network in its details.

    Raises
    ------
    UnsupportedNetworkError
        It is not known that the weights changed: see :func:`randomise_network`.
    """
    parts: list[list[str] | None] = [None]
    if mode != "all":
        single = parameter_groups(case.network, case.x, groups)
        cascade = [list(chain(*single[: count + 1])) for count in range(len(single))]
        parts = [*(single if mode == "independent" else cascade)]

    def jobs() -> Iterable[tuple[Network, Tensor, int]]:
        for part in parts:
            for draw in range(random_networks):
                seed = int(np.random.SeedSequence([case.seed, draw]).generate_state(1)[0])
                yield (
                    randomise_network(case.network, case.x, seed=seed, only=part),
                    case.x,
                    case.target,
                )

    found = explain_all(case, jobs(), len(parts) * random_networks, **listeners)
    alike = [compare_maps(case.joint, to_array(evidence.joint)) for evidence in found]
    values = [item.value for item in alike]
    details = {
        "mode": mode,
        "parts": [len(part) if part else None for part in parts],
        "values": values,
        "rank": [item.rank for item in alike],
        "magnitude_rank": [item.magnitude_rank for item in alike],
        "ssim": [None if np.isnan(item.ssim) else item.ssim for item in alike],
    }
    empty = sum(not evidence.joint.any() for evidence in found)
    note = f"{empty} of {len(found)} maps of random networks are 0 everywhere" if empty else ""
    chance = similarity_by_chance(case.joint, case.seed)
    return MetricValue(float(np.mean(values)), chance, note, details)
