"""Try a user's own modules out: what would make every explanation of them false is found and said."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from napari_why.core.devices import copy_in_float64, to_float64, to_like
from napari_why.core.errors import UnsupportedNetworkError

# Pixels a side that are tried where the modules' own size is not known: what is quick and common
# first, then what networks with a fixed size were made for.
SIZES = (32, 64, 128, 224, 256, 96, 48, 16, 24, 8, 299, 384, 512)
# A batch of two could not tell an image's company from its mirror image; more only costs time.
IMAGES = 3
# What hangs on its batch may do so in larger ones only; as many as are explained at a time.
COMPANY = 8
# Dropout with a small share may hit nothing in one repetition.
REPETITIONS = 4
# Far outside what standardised images hold, so that clamping in place shows too; squares of it are
# still far from the largest float32.
FAR = 1e4
# Outputs that are the same but for the order of sums differ by less, relative to the largest one;
# not the last digits of float64, since modules may compute in float32 inside.
ROUNDING = {64: 1e-5, 32: 1e-3, 16: 1e-2}  # by bits
# Their gradients have three digits or fewer, small ones are lost (below 6e-8 in float16), and so are
# small steps between images: integrated gradients missed those of float32 by 2 %.
HALF = (torch.float16, torch.bfloat16)
# Probabilities sum to 1 this well, whatever they were computed in; six rows of logits never do.
NEAR_ONE = 1e-4
# Ten times that: a probability this close to 0 or 1 is all but sure.
SURE = 1e-3
# Shares of a standard deviation by which images are changed for a difference quotient. The smallest
# is the most exact in float64; a larger one is needed where the modules compute in float32.
STEPS = (1e-5, 1e-3, 1e-2)
# Difference quotients of networks with kinks (ReLU) missed the gradient by below 1 %; a gradient that
# lacks a branch misses by what the branch does, and below 5 % no map would look different.
WRONG_GRADIENT = 0.05
# Below this share of the logits a change is rounding.
NOTHING = 1e-6
# In standard deviations, to each side: so far that thresholds and rounding to few levels are crossed.
FAR_STEP = 0.1
# Along a straight line the mean gradient is what the logits do, kinks or not; with so many points
# networks with many kinks (VGG11, SqueezeNet) missed it by below 5 %.
POINTS = 16
# Four times that; inputs rounded to whole standard deviations miss by more.
JUMP = 0.2
# So much larger maps make a softmax all but sure, and logits that have no bound large.
SATURATING = (1e2, 1e3)

# A fault at one size may be the size's, of a head that reshapes; at three it is the modules'.
FAULTS = 3

Size = tuple[int, int]

# What only rearranges values may stand after a softmax.
REARRANGING = (
    "View", "Reshape", "Squeeze", "Unsqueeze", "Clone", "Select", "Slice", "Permute", "Transpose",
    "T", "Alias", "ToCopy", "Cat", "Stack",
)  # fmt: skip
PROBABILITIES = {
    "Softmax": "probabilities (softmax)",
    "LogSoftmax": "logarithms of probabilities (log_softmax)",
    "Sigmoid": "probabilities (sigmoid)",
    "LogSigmoid": "logarithms of probabilities (logsigmoid)",
    "Hardsigmoid": "probabilities (hardsigmoid)",
}
# What multiplies by constants, adds some, or changes values one by one between bounds leaves
# probabilities bounded. Of logarithms it makes a temperature or a prior, which belong into logits.
SCALING = (
    "Mul", "Div", "Add", "Sub", "Rsub", "Neg", "Mean", "Addcmul", "Addcdiv", "Lerp", "Clamp",
    "ClampMin", "ClampMax", "Pow", "Sqrt",
)  # fmt: skip
# What mixes its inputs: of a softmax with one output for each class it makes a second classifier on
# top of the first; of a longer one, an assignment to patterns say, a classifier like any other.
MIXING = ("Addmm", "Mm", "Bmm", "Sum")


class _FaultError(Exception):
    """An output that is not what it has to be; says what was found, expected and to be done."""


@dataclass(frozen=True)
class _Pass:
    """One forward pass: the logits, and what was overwritten on the way."""

    logits: Tensor
    overwritten: frozenset[str]


@dataclass(frozen=True)
class ModulePair:
    """An encoder and a head as a user gives them, with what is expected of them.

    Parameters
    ----------
    encoder, head : Module
    input_channels, classes : int
    layers : tuple of str
        Submodules of the encoder whose maps are explained.
    """

    encoder: nn.Module
    head: nn.Module
    input_channels: int
    classes: int
    layers: tuple[str, ...] = ()

    def modules(self) -> Iterator[nn.Module]:
        """Yield all modules of both."""
        yield from self.encoder.modules()
        yield from self.head.modules()

    def tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers by name."""
        parts = {"encoder": self.encoder, "head": self.head}
        return {
            f"{part}.{name}": value
            for part, module in parts.items()
            for name, value in (*module.named_parameters(), *module.named_buffers())
        }

    def is_lazy(self) -> bool:
        """Whether some parameters get their shape in the first pass only."""
        return any(is_lazy(value) for value in self.tensors().values())

    def is_skeleton(self) -> bool:
        """Whether they have shapes and no values, as those that a file is compared with."""
        return any(value.is_meta for value in (torch.empty(0), *self.tensors().values()))

    def run(self, x: Tensor) -> _Pass:
        """Run both on a copy of ``x``.

        Raises
        ------
        _FaultError
            An output of another kind or shape than expected.
        """
        given, kept = x.clone(), {}

        def keep(layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
            check_maps(f"layer {layer!r}", output, "name another layer")
            kept[f"the map of layer {layer!r}"] = (output, output.detach().clone())

        handles = [
            self.encoder.get_submodule(layer).register_forward_hook(partial(keep, layer))
            for layer in self.layers
        ]
        try:
            maps = self.encoder(given)
        finally:
            for handle in handles:
                handle.remove()
        if len(kept) < len(self.layers):
            unused = [name for name in self.layers if f"the map of layer {name!r}" not in kept]
            raise _FaultError(
                f"layers: found {', '.join(map(repr, unused))}, which the encoder never calls; "
                "expected submodules that are called in its forward pass"
            )
        check_maps("the encoder", maps, "leave pooling and flattening to the head")
        kept["the encoder's output"] = (maps, maps.detach().clone())
        logits = self.head(maps)
        self._check_logits(logits, len(x))
        kept["the image"] = (given, x)
        changed = {name for name, (now, was) in kept.items() if not _equal(now, was, 0.0)}
        return _Pass(logits, frozenset(changed))

    def _check_logits(self, logits: Any, count: int) -> None:
        expected = f"logits (N, classes), here ({count}, {self.classes})"
        if not isinstance(logits, Tensor):
            raise _FaultError(
                f"the head gives {_described(logits)}; expected a tensor: {expected}; return the "
                "logits alone"
            )
        found = tuple(logits.shape)
        if found == (count, self.classes):
            return
        advice = "let its last layer have an output for each class and keep the axis of images"
        if found in ((count,), (count, 1)):
            advice = (
                "of two classes, one logit s can be given as both: "
                "torch.cat([torch.zeros_like(s), s], 1)"
            )
        raise _FaultError(f"the head gives a tensor {found}; expected {expected}; {advice}")


def check_maps(whose: str, output: Any, advice: str) -> None:
    """Raise _FaultError unless an output is feature maps.

    Parameters
    ----------
    whose : str
        Whose output it is, the first words of the message.
    output : object
        Whatever a module returned.
    advice : str
        What to do, its last words.
    """
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise _FaultError(
            f"{whose} gives {_described(output)}; expected one tensor of feature maps "
            f"(N, K, h, w); {advice}"
        )


Spare = tuple[ModulePair, Tensor]


class Trial:
    """The trial of a pair of modules: when they are wrapped, or else with the first image.

    Parameters
    ----------
    name : str
        Of the network, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name, self.done = name, False

    def run(self, pair: ModulePair, size: Size | None = None) -> None:
        """Try the modules out, at the given size or at one that they take.

        Nothing of them is changed: copies are tried. Where none of the usual sizes fits, or where
        parameters get their shape with the first image only, the trial is left for later.

        Parameters
        ----------
        pair : ModulePair
        size : (int, int), optional
            Height and width in pixels.

        Raises
        ------
        UnsupportedNetworkError
            What was found, each with what to do.
        """
        if pair.is_lazy() or pair.is_skeleton():
            return
        self._require_precision(pair)
        sizes = [(side, side) for side in SIZES]
        if size is not None:  # as given, unless that is large and they take a smaller one too
            sizes = [*([] if max(size) <= SIZES[1] else sizes[:2]), size]
        with _spares(pair) as spares:
            try:
                fitting = _fitting_images(spares, sizes)
            except _FaultError as error:
                raise UnsupportedNetworkError(f"{self.name}: {error}") from None
            if fitting is None:
                return
            tried, x = fitting
            looks = LOOKS if (steady := _is_steady(tried, x)) else LOOKS_AT_THE_RANDOM
            found = [] if steady else [RANDOM]
            found += [finding for look in looks for finding in look(tried, x)]
        if found:
            raise UnsupportedNetworkError(f"{self.name}: " + ". Besides, ".join(found))
        self.done = True

    def _require_precision(self, pair: ModulePair) -> None:
        # Before the copies, which are of higher precision: what is tried would not be what is used.
        halves = [name for name, value in pair.tensors().items() if value.dtype in HALF]
        if halves:
            kind = str(pair.tensors()[halves[0]].dtype).removeprefix("torch.")
            raise UnsupportedNetworkError(
                f"{self.name}: found {len(halves)} parameters of half precision ({kind}, the first: "
                f"{halves[0]}), which rounds gradients so much that explanations differ; expected "
                "float32; convert both modules with .float() and take casts (.half(), .bfloat16()) "
                "out of their forward passes"
            )


@contextmanager
def _spares(pair: ModulePair) -> Iterator[Sequence[Spare]]:
    """Give modules in evaluation mode that may be changed, each with a tensor as they compute in."""
    with torch.random.fork_rng():  # random layers would take numbers from the user's training
        # the layer tells what all have become, and there is always one
        all_three = nn.ModuleList([pair.encoder, pair.head, nn.Linear(1, 1)])
        try:
            # in float32 where modules hold tensors of their own that are not converted
            copies = [copy_in_float64(all_three), copy.deepcopy(all_three).float()]
        except Exception:  # noqa: BLE001 (modules of anybody; there are many ways not to be copied)
            with _restored(pair):
                yield [(pair, next(iter(pair.tensors().values()), torch.zeros(())))]
            return
        known = pair.input_channels, pair.classes, pair.layers
        spares = [
            (ModulePair(encoder.eval(), head.eval(), *known), next(layer.parameters()))
            for encoder, head, layer in copies
        ]
        yield spares


@contextmanager
def _restored(pair: ModulePair) -> Iterator[None]:
    # of modules that cannot be copied: what can be changed is put back
    values = {name: value.detach().clone() for name, value in pair.tensors().items()}
    flags = [(module, module.training) for module in pair.modules()]
    for module in (pair.encoder, pair.head):
        module.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in pair.tensors().items():
                value.copy_(values[name])
        for module, training in flags:
            module.training = training


def _fitting_images(
    spares: Sequence[Spare], sizes: Sequence[Size]
) -> tuple[ModulePair, Tensor] | None:
    """Return the first modules, with noise of the first size that they take; None of none.

    Raises
    ------
    _FaultError
        They give what they should not with every size that they take.
    """
    faults: list[_FaultError] = []
    for pair, like in spares:
        for size in sizes:
            generator = torch.Generator("cpu").manual_seed(0)
            shape = (IMAGES, pair.input_channels, *size)
            x = to_like(torch.randn(shape, generator=generator, device="cpu"), like)
            failed = _failure(pair, x)
            if failed is None:
                return pair, x
            if not isinstance(failed, _FaultError) and _failure(pair, x[:1]) is None:
                failed = _FaultError(
                    f"one image is taken and a batch of {IMAGES} is not ({failed}); expected "
                    "batches of any size"
                )
            if isinstance(failed, _FaultError):
                faults.append(failed)
            if len(faults) == FAULTS:
                raise faults[0]
    if faults:
        raise faults[0]
    return None


def _failure(pair: ModulePair, x: Tensor) -> Exception | None:
    """Return what the modules raise at these images; None if nothing."""
    try:
        with torch.no_grad():
            pair.run(x)
    except Exception as error:  # noqa: BLE001 (modules of anybody raise anything)
        return error
    return None


def _find_overwriting(pair: ModulePair, x: Tensor) -> list[str]:
    """Find changes in place, of the image or of maps that are explained."""
    with torch.no_grad():
        changed = pair.run(x).overwritten | pair.run(FAR * x).overwritten
    return [
        f"{name} is changed in place by what is computed from it; expected an operation that leaves "
        "its input alone (a + b for a += b, relu for relu_), or one that copies it first "
        "(x.clone())"
        for name in sorted(changed)
    ]


def _is_steady(pair: ModulePair, x: Tensor) -> bool:
    """Whether logits are the same each time: no dropout that never stops, no noise."""
    with torch.no_grad():
        first, *others = (pair.run(x).logits for _ in range(REPETITIONS))
    return all(_equal(first, other, _rounding(x)) for other in others)


def _find_company(pair: ModulePair, x: Tensor) -> list[str]:
    """Find batch statistics: logits that hang on the other images of a batch."""
    advice = "use running statistics there (track_running_stats=True, and no train() in forward)"
    # of other contrast, so that an image that is far from the others is among them
    more = torch.cat([x, 2 * x.flip(-1) + 1, x.flip(-2) / 2])[:COMPANY]
    with torch.no_grad():
        tried = "one image alone is"
        try:
            alone = torch.cat([pair.run(image[None]).logits for image in more])
            tried = f"a batch of {COMPANY} is"
            together = [pair.run(batch).logits for batch in (x, more)]
        except Exception as error:  # noqa: BLE001 (modules of anybody)
            return [f"{tried} not taken ({error}); expected batches of any size"]
    if all(_equal(logits, alone[: len(logits)], _rounding(x)) for logits in together):
        return []
    return [
        "the logits of an image hang on the other images of its batch in evaluation mode; expected "
        f"the same ones alone; {advice}"
    ]


def _find_change_of_state(pair: ModulePair, x: Tensor) -> list[str]:
    """Find parameters and buffers that a forward pass changes."""
    before = {name: value.detach().clone() for name, value in pair.tensors().items()}
    with torch.no_grad():
        pair.run(x)
    after = pair.tensors()
    changed = [name for name, value in before.items() if not _equal(value, after[name], 0.0)]
    return [
        f"a forward pass in evaluation mode changes {', '.join(changed)}; expected only training to "
        "do so"
    ] if changed else []  # fmt: skip


def _find_probabilities(pair: ModulePair, x: Tensor) -> list[str]:
    """Find outputs that are no logits: softmax would be applied twice."""
    with torch.no_grad():
        # at two scales: logits that sum to 1 once by chance do not do so again
        logits = to_float64(torch.cat([pair.run(x).logits, pair.run(10 * x).logits]))
    kind: str | None = None
    # rows that are all but sure tell nothing: (0, -40) may be logits and logarithms alike
    unsure = (logits > SURE) & (logits < 1 - SURE)
    if bool(((logits.sum(1) - 1).abs() < NEAR_ONE).all() & (logits >= 0).all() & unsure.any()):
        kind = PROBABILITIES["Softmax"]
    elif bool((logits.logsumexp(1).abs() < NEAR_ONE).all() & (logits.amax(1) < -SURE).any()):
        kind = PROBABILITIES["LogSoftmax"]
    else:
        leaf = x.clone().requires_grad_()
        try:
            with torch.enable_grad():
                kind = _last_operation(pair.run(leaf).logits, leaf) or _squashed(pair, x)
        except (RuntimeError, _FaultError):  # told of with the gradient
            kind = None
    return [] if kind is None else [
        f"the head gives {kind}; expected logits, of which probabilities are made outside; leave "
        "the last step out"
    ]  # fmt: skip


def _last_operation(logits: Tensor, leaf: Tensor) -> str | None:
    """Return what kind of probabilities the graph ends with, scaled or not; None for logits."""
    waiting = [(logits.grad_fn, False, False)]
    while waiting:
        node, scaled, mixed = waiting.pop()
        if node is None:
            continue
        name = _operation(node)
        if name in PROBABILITIES:
            if mixed and name == "Softmax" and _values(node, logits, leaf) == logits.numel():
                return f"what a linear layer makes of {PROBABILITIES[name]}"
            if not mixed and not (scaled and name.startswith("Log")):
                return PROBABILITIES[name] + (", multiplied or shifted" if scaled else "")
            continue
        earlier = [one for one, _ in node.next_functions if _leads_to(one, leaf)]
        if name in REARRANGING:
            waiting += [(one, scaled, mixed) for one in earlier]
        # two that hang on the image are a product (attention) or a sum (a second branch)
        elif name in (*SCALING, *MIXING) and len(earlier) == 1:
            waiting.append((earlier[0], True, mixed or name in MIXING))
    return None


def _operation(node: Any) -> str:
    # as in "UnsafeViewBackward0" and "MeanBackward1"
    return str(node.name().partition("Backward")[0]).strip("_").removeprefix("Unsafe")


def _leads_to(node: Any, leaf: Tensor) -> bool:
    """Whether what a node of the graph computes hangs on a tensor."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if getattr(node, "variable", None) is leaf:
            return True
        waiting += [earlier for earlier, _ in node.next_functions]
    return False


def _values(node: Any, logits: Tensor, leaf: Tensor) -> int:
    """Return how many values a node of the graph of the logits gives."""
    counts: list[int] = []
    handle = node.register_prehook(lambda arriving: counts.append(arriving[0].numel()))
    try:
        torch.autograd.grad(logits.sum(), leaf, retain_graph=True, allow_unused=True)
    finally:
        handle.remove()
    return counts[0] if counts else 0


def _squashed(pair: ModulePair, x: Tensor) -> str | None:
    """Return what a head gives that is a * softmax + b by whatever means; None for logits.

    Of ever larger maps a softmax makes (0, ..., 1, ..., 0), so that all rows hold the same values,
    between which those of smaller maps lie, and their sum is the same for all. That sum is not asked
    for where it is 0: (-t, t) with a bounded t is a logit of two classes.
    """
    with torch.no_grad():
        maps = pair.encoder(x.clone())
        usual, *large = (to_float64(pair.head(scale * maps)) for scale in (1.0, *SATURATING))
    finite = [logits for logits in large if bool(logits.isfinite().all())]
    if not finite:
        return None
    ends = finite[-1].sort(1).values
    low, high = ends[:, 0].min(), ends[:, -1].max()
    reach = NEAR_ONE * (high - low)
    sums = torch.cat([usual, finite[-1]]).sum(1)
    same = bool(
        ((ends[:, :-1] - low).abs() <= reach).all() & ((ends[:, -1] - high).abs() <= reach).all()
    )
    within = bool(((usual >= low - reach) & (usual <= high + reach)).all())
    unsure = bool(
        ((usual - low > SURE * (high - low)) & (high - usual > SURE * (high - low))).any()
    )
    constant = bool(((sums - sums[0]).abs() <= reach).all() & (sums[0].abs() > reach))
    if high > low and same and within and unsure and constant:
        return f"{PROBABILITIES['Softmax']}, multiplied or shifted"
    return None


def _find_wrong_gradient(pair: ModulePair, x: Tensor) -> list[str]:
    """Find gradients that are cut off, or are not those of the function."""
    advice = (
        "take out no_grad, inference_mode, detach and .data, and what leaves torch (numpy); "
        "parameters can be kept as they are with requires_grad_(False)"
    )
    leaf = x.clone().requires_grad_()
    generator = torch.Generator("cpu").manual_seed(1)
    weights = torch.randn(pair.classes, generator=generator, device="cpu").to(x)

    def score(images: Tensor) -> Tensor:
        return (pair.run(images).logits * weights).sum()

    try:
        with torch.enable_grad():
            total = score(leaf)
            (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    except (RuntimeError, _FaultError) as error:
        return [f"no gradient can be taken ({error}); {advice}"]
    if gradient is None:
        return [f"no gradient leads from the logits to the image; expected one; {advice}"]
    # noise tells of single pixels; what hangs on a mean or a spread shows when all change together
    ways = {
        "a little": torch.randn(x.shape, generator=generator, device="cpu").to(x),
        "in contrast": x,
        "in brightness": torch.ones_like(x),
    }
    misses = {way: _miss(score, x, gradient, ways[way]) for way in ways}
    way, miss = max(misses.items(), key=lambda item: item[1])
    if miss > WRONG_GRADIENT:
        return [
            f"the gradient misses what the logits do when the image is changed {way} by {miss:.0%}; "
            f"expected the gradient of the whole function; {advice}"
        ]
    try:
        jump = max(_jump(score, x[:1], ways[way][:1]) for way in ways)
    except (RuntimeError, _FaultError):  # one image alone is not taken, which is told of
        return []
    return [] if jump <= JUMP else [
        f"the logits jump when the image is changed a little, of which the gradient misses {jump:.0%};"
        " expected a function without steps; take out thresholds and rounding (round, floor, sign, "
        "comparisons) and do them before the image is given"
    ]  # fmt: skip


def _miss(score: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor, way: Tensor) -> float:
    """Return by which share gradient and difference quotient differ along one direction."""
    slope, misses = (gradient * way).sum().item(), []
    # what a gradient of this length comes to along any direction: slopes may cancel to nothing
    usual = (gradient.norm() * way.square().mean().sqrt()).item()
    for step in STEPS:
        with torch.no_grad():
            above, below = score(x + step * way).item(), score(x - step * way).item()
        change, size = (above - below) / (2 * step), max(abs(slope), usual)
        if max(abs(change), size) <= NOTHING * max(1.0, abs(above)):
            continue  # a larger step may cross what steps there are
        miss = abs(change - slope) / max(abs(change), size)
        misses.append(miss if math.isfinite(miss) else math.inf)
        if misses[-1] <= WRONG_GRADIENT:
            break
    return min(misses, default=0.0)


def _jump(score: Callable[[Tensor], Tensor], x: Tensor, way: Tensor) -> float:
    """Return which share of a larger change the gradients on the way to it do not tell of."""
    slopes, lengths = [], []
    shares = torch.linspace(-1, 1, 2 * POINTS + 1)[1::2].to(x)  # the middle of each part
    for start in range(0, POINTS, COMPANY):
        part = shares[start : start + COMPANY].reshape(-1, 1, 1, 1)
        leaf = (x + FAR_STEP * part * way).requires_grad_()
        with torch.enable_grad():
            (gradients,) = torch.autograd.grad(score(leaf), leaf)
        slopes += (gradients * way).sum((1, 2, 3)).tolist()
        lengths += gradients.flatten(1).norm(dim=1).tolist()
    with torch.no_grad():
        above, below = (score(x + side * FAR_STEP * way).item() for side in (1, -1))
    change, slope = (above - below) / (2 * FAR_STEP), sum(slopes) / POINTS
    # as in _miss: slopes may cancel to nothing
    usual = sum(lengths) / POINTS * way.square().mean().sqrt().item()
    size = max(abs(change), abs(slope), usual)
    return 0.0 if size <= NOTHING * max(1.0, abs(above)) else abs(change - slope) / size


# of what is random, logits of two passes tell nothing
LOOKS_AT_THE_RANDOM = (_find_overwriting, _find_change_of_state, _find_probabilities)
LOOKS = (*LOOKS_AT_THE_RANDOM, _find_company, _find_wrong_gradient)
RANDOM = (
    "the same image gets other logits each time in evaluation mode; expected the same ones; "
    "dropout and noise have to stop there (F.dropout(x, training=self.training))"
)


def _rounding(x: Tensor) -> float:
    return ROUNDING[torch.finfo(x.dtype).bits]


def _equal(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two tensors are the same but for a share of the largest value."""
    if one.shape != other.shape:
        return False
    one, other = one.detach(), other.detach()
    if tolerance == 0 or not one.is_floating_point():
        return torch.equal(one, other) or bool(((one == other) | (one != one)).all())
    reach = tolerance * one.nan_to_num().abs().max()
    return bool((((one - other).abs() <= reach) | (one.isnan() & other.isnan())).all())


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"
