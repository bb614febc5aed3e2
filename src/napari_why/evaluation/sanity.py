"""Sanity and robustness: does a map hang on the network, the class and the cells, and on nothing else."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from napari_why.attribution.registry import Evidence
from napari_why.attribution.relevance_tape import tensors_in
from napari_why.core import events
from napari_why.core.errors import CancellationError, UnsupportedNetworkError, WhyError
from napari_why.core.options import Help, Range, Unit
from napari_why.evaluation.explanations import (
    STOPPED,
    ExplanationCase,
    MetricValue,
    explanation_metric,
    needed,
    to_array,
)
from napari_why.evaluation.localisation import changed_pixels, part_of_map
from napari_why.networks.network import Network

Values = NDArray[np.float64]


@dataclass(frozen=True)
class MapSimilarity:
    """How alike two maps are.

    Parameters
    ----------
    rank : float
        Spearman's correlation of the signed maps, -1 to 1.
    magnitude_rank : float
        The same of their magnitudes.
    ssim : float
        Structural similarity of the magnitudes, each divided by its largest, -1 to 1; NaN of maps
        smaller than its window of 7 pixels.
    """

    rank: float
    magnitude_rank: float
    ssim: float

    @property
    def value(self) -> float:
        """0 (unrelated) to 1: the larger of both rank correlations, of the signed one the size.

        A map with its sign turned is the same map, and one whose places stay while signs are drawn
        anew still shows a viewer the same picture.
        """
        return max(abs(self.rank), self.magnitude_rank, 0.0)


# The usual window of structural similarity.
SSIM_WINDOW = 7


def compare_maps(one: Values, other: Values) -> MapSimilarity:
    """Compare two maps (H, W); one that is the same everywhere is like no other.

    Parameters
    ----------
    one, other : ndarray, float64, shape (H, W)
        Signed.

    Returns
    -------
    MapSimilarity
    """
    sizes = np.abs(one), np.abs(other)
    small = min(one.shape) < SSIM_WINDOW
    scaled = [size / size.max() if size.max() else size for size in sizes]
    ssim = np.nan if small else structural_similarity(*scaled, data_range=1.0)
    return MapSimilarity(rank_correlation(one, other), rank_correlation(*sizes), float(ssim))


def rank_correlation(one: Values, other: Values) -> float:
    """Return Spearman's correlation, 0 where either is constant.

    Parameters
    ----------
    one, other : ndarray, float64
        Of the same shape.

    Returns
    -------
    float
        -1 to 1.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


# Enough for a mean to a few hundredths; no network is asked.
MOVES = 20


def similarity_by_chance(values: Values, seed: int) -> float:
    """Return how alike a map and itself are, moved by any distance round the borders, on average.

    What two smooth maps have in common that have nothing to do with each other.

    Parameters
    ----------
    values : ndarray, float64, shape (H, W)
    seed : int
        Of the distances.

    Returns
    -------
    float
        0 to 1, the mean of :attr:`MapSimilarity.value`.
    """
    generator = np.random.default_rng((seed, 2))
    moves = [tuple(generator.integers(0, side) for side in values.shape) for _ in range(MOVES)]
    moved = [np.roll(values, move, axis=(0, 1)) for move in moves]
    return float(np.mean([compare_maps(values, other).value for other in moved]))


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

    See :class:`MapSimilarity`; the mean over networks and parts. A map that stays the same shows the image
    and not what the network learnt. Chance is how alike the map and itself moved are.

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


@explanation_metric(
    title="Target sensitivity",
    better="lower",
    low=-1,
    high=1,
    needs=("explain",),
    source="Sixt, Granz & Landgraf 2020, arXiv:1912.09818 (random logit)",
)
def target_sensitivity(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Spearman's correlation of the map with those of the other classes, on average. Chance is 0.

    Of two classes -1 is right: what speaks for one speaks against the other.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        -1 to 1; NaN of a network with one output.
    """
    others = [index for index in range(case.network.classes) if index != case.target]
    if not others:
        return MetricValue(np.nan, note="there is no other class")
    jobs = ((case.network, case.x, other) for other in others)
    found = explain_all(case, jobs, len(others), **listeners)
    alike = [rank_correlation(case.joint, to_array(evidence.joint)) for evidence in found]
    return MetricValue(float(np.mean(alike)), 0.0, details={"classes": others, "rank": alike})


@explanation_metric(
    title="Model contrast",
    better="higher",
    low=-1,
    high=1,
    needs=("explain", "truth", "other_network"),
    source="Yang & Kim 2019 (BAM), arXiv:1907.09701",
)
def model_contrast(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Relevance mass on the changed pixels, less that of a network for which they do not matter.

    The same image and class index, explained for a network that was trained on the same scenes for
    another effect. Chance is 0.

    Parameters
    ----------
    case : ExplanationCase
        With the truth, the method to explain again and another network.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        -1 to 1, with both masses in its details.
    """
    mask = changed_pixels(case)
    other = needed(case.other_network, "other_network")
    (evidence,) = explain_all(case, [(other, case.x, case.target)], 1, **listeners)
    mass = []
    for values in (case.joint, to_array(evidence.joint)):
        positive = part_of_map(values, "positive")
        # no evidence at all: none of it on the region either
        mass.append(float(positive[mask].sum() / positive.sum()) if positive.any() else 0.0)
    return MetricValue(mass[0] - mass[1], 0.0, details={"own": mass[0], "other": mass[1]})


def _change(one: Values, other: Values) -> float:
    """Return the length of the difference over that of the first map."""
    size = float(np.linalg.norm(one))
    return float(np.linalg.norm(other - one)) / size if size else np.nan


@explanation_metric(
    title="Independence of the background's level",
    better="lower",
    low=0,
    high=np.inf,
    needs=("explain", "background"),
    source="after Kindermans et al. 2017, arXiv:1711.00867 (input invariance), of the background alone",
)
def background_shift(
    case: ExplanationCase,
    *,
    shift: Annotated[
        float,
        Help("what is added to the background, in training standard deviations"),
        Range(-10, 10),
    ] = 0.2,
    **listeners: Any,
) -> MetricValue:
    """By how much the map on the cells moves, relative to itself, when the background gets brighter.

    0: not at all. 1: as much as the map is long. The score may move too (``details``), and then the
    network is what looks at the background.

    Parameters
    ----------
    case : ExplanationCase
        With the background and the method to explain again.
    shift : float
        Added to the background in all channels, training standard deviations.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        NaN where the background is nothing or everything.
    """
    empty = needed(case.background, "background").cpu().numpy().astype(bool)
    if not empty.any() or empty.all():
        return MetricValue(np.nan, note="the background is nothing, or everything")
    place = torch.from_numpy(empty).to(case.x.device)
    brighter = torch.where(place, case.x + shift, case.x)
    (evidence,) = explain_all(case, [(case.network, brighter, case.target)], 1, **listeners)
    moved = _change(case.joint[~empty], to_array(evidence.joint)[~empty])
    with torch.no_grad():
        scores = to_array(case.network(torch.cat([case.x, brighter])))[:, case.target]
    note = "" if np.isfinite(moved) else "the map is 0 on the cells"
    held = np.abs(case.joint[empty]).sum() / max(np.abs(case.joint).sum(), 1e-300)
    details = {"score_moves": float(scores[1] - scores[0]), "share_in_background": float(held)}
    return MetricValue(moved, None, note, details)


@explanation_metric(
    title="Independence of empty area",
    better="lower",
    low=0,
    high=1,
    needs=("explain", "background"),
    source="this package: relevance on an added area without cells",
)
def empty_area(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Share of the map's magnitude that lies on an area without cells, joined to the right, as large.

    Its pixels are drawn from the image's own background. Chance is one half.

    Parameters
    ----------
    case : ExplanationCase
        With the background and the method to explain again.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 to 1; NaN without background, and where network or method takes no wider image.
    """
    empty = needed(case.background, "background").cpu()
    places = torch.nonzero(empty.flatten())[:, 0]
    if not len(places):
        return MetricValue(np.nan, note="the background is nothing")
    height, width = case.x.shape[-2:]
    generator = torch.Generator().manual_seed(case.seed)
    # whole pixels, all channels together, so that the background's noise stays as it is
    chosen = places[torch.randint(len(places), (height * width,), generator=generator)]
    drawn = case.x.flatten(2)[..., chosen.to(case.x.device)].reshape(case.x.shape)
    larger = torch.cat([case.x, drawn], dim=-1)
    try:
        with torch.no_grad():
            case.network(larger)
        (evidence,) = explain_all(case, [(case.network, larger, case.target)], 1, **listeners)
    except CancellationError:
        raise
    except (RuntimeError, ValueError, WhyError) as error:
        return MetricValue(np.nan, note=f"the network or the method takes no wider image: {error}")
    values = to_array(evidence.joint)
    size = np.abs(values).sum()
    if not size:
        return MetricValue(np.nan, note="the map of the wider image is 0 everywhere")
    alike = rank_correlation(case.joint, values[:, :width])
    share = float(np.abs(values[:, width:]).sum() / size)
    return MetricValue(share, 0.5, details={"rank_on_the_image_itself": alike})


@explanation_metric(
    title="Independence of a suppressor channel",
    better="lower",
    low=0,
    high=1,
    needs=("suppressor",),
    source="Haufe et al. 2014, doi:10.1016/j.neuroimage.2013.10.067; Wilming et al. 2023, arXiv:2306.01464",
)
def suppressor_share(case: ExplanationCase, **_context: Any) -> MetricValue:
    """Share of the maps' magnitude in a channel that holds no class and only calibrates the others.

    A network may use such a channel to take noise out of the others, and a faithful map then shows
    it: what is measured is whether the map tells where the class is. Chance is one in C.

    Parameters
    ----------
    case : ExplanationCase
        With the suppressor.

    Returns
    -------
    MetricValue
        0 to 1; NaN of a map that is 0 everywhere.
    """
    channel = needed(case.suppressor, "suppressor")
    size = np.abs(case.maps).sum(axis=(1, 2))
    if not size.any():
        return MetricValue(np.nan, note="the map is 0 everywhere")
    return MetricValue(float(size[channel] / size.sum()), 1 / len(size))


@explanation_metric(
    title="Largest change by noise",
    better="lower",
    low=0,
    high=np.inf,
    needs=("explain",),
    source="Yeh, Hsieh, Suggala, Inouye & Ravikumar 2019, arXiv:1901.09392 (max-sensitivity)",
)
def noise_change(
    case: ExplanationCase,
    *,
    noise: Annotated[
        float, Help("spread of the noise, in training standard deviations"), Range(0, 10)
    ] = 0.05,  # about the shot noise of a few hundred photons
    draws: Annotated[int, Help("noisy images"), Range(1, 1000)] = 5,
    **listeners: Any,
) -> MetricValue:
    """Largest change of the joint map over noisy images, relative to its length.

    A map that knows nothing of the image does not change either: read it beside the others. Maps
    that are random each time change by 1.4.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    noise : float
        Spread of the noise, training standard deviations.
    draws : int
        Noisy images.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 or more, with the ``changes`` of every image in its details.
    """
    generator = torch.Generator().manual_seed(case.seed)
    noisy = [
        case.x + noise * torch.randn(case.x.shape, generator=generator).to(case.x)
        for _ in range(draws)
    ]
    jobs = ((case.network, image, case.target) for image in noisy)
    found = explain_all(case, jobs, draws, **listeners)
    changes = [_change(case.joint, to_array(evidence.joint)) for evidence in found]
    note = "" if np.isfinite(changes).all() else "the map is 0 everywhere"
    return MetricValue(float(np.max(changes)), None, note, {"changes": changes})


@explanation_metric(
    title="Largest change by a shift",
    better="lower",
    low=0,
    high=np.inf,
    needs=("explain",),
    source="Alvarez-Melis & Jaakkola 2018, arXiv:1806.08049 (robustness), of shifts",
)
def shift_change(
    case: ExplanationCase,
    *,
    distance: Annotated[int, Help("how far the image is shifted"), Range(1, 256), Unit("px")] = 1,
    **listeners: Any,
) -> MetricValue:
    """Largest change of the joint map, moved back, over shifts in four directions, relative to it.

    The border, from where pixels are repeated, does not count.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    distance : int
        How far the image is shifted, pixels.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 or more, with the ``changes`` by ``moves`` in its details; NaN where the shorter side has no more
        than 4 distances.
    """
    height, width = case.x.shape[-2:]
    if min(height, width) <= 4 * distance:
        return MetricValue(np.nan, note=f"the image is too small for shifts of {distance} px")
    moves = [(distance, 0), (-distance, 0), (0, distance), (0, -distance)]
    border = [distance] * 4
    wide = F.pad(case.x, border, mode="replicate")

    def shifted(down: int, right: int) -> Tensor:
        top, left = distance - down, distance - right
        return wide[..., top : top + height, left : left + width]

    jobs = ((case.network, shifted(*move), case.target) for move in moves)
    found = explain_all(case, jobs, len(moves), **listeners)
    inner = slice(distance, -distance)
    changes = []
    for (down, right), evidence in zip(moves, found, strict=True):
        back = np.roll(to_array(evidence.joint), (-down, -right), axis=(0, 1))
        changes.append(_change(case.joint[inner, inner], back[inner, inner]))
    note = "" if np.isfinite(changes).all() else "the map is 0 everywhere"
    return MetricValue(float(np.max(changes)), None, note, {"changes": changes, "moves": moves})
