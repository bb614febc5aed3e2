"""From a tape of what a network did with an image to steps that can be run on patches.

The tape is one of torch functions, so that it makes no difference which modules a network is made of,
whether its residual sums are modules or plain ``+``, and whose network it is. Parameters that are
computed (spectral norms) are constants by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.attribution.incremental.intervals import Reach
from napari_why.attribution.incremental.steps import (
    Activation,
    Affine,
    Average,
    Call,
    Convolution,
    Each,
    Hole,
    Operation,
    Pointwise,
    Pooling,
    Step,
    Whole,
)
from napari_why.attribution.relevance_tape import Operation as Recorded
from napari_why.attribution.relevance_tape import Tape, tensors_in
from napari_why.core.devices import to_float64
from napari_why.core.errors import UnsupportedNetworkError

# what takes ``inplace`` and what does not, of the functions of a value by itself
IN_PLACE = {"celu", "elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu"} | {
    *("mish", "relu", "relu6", "selu", "silu")
}
VALUE_BY_VALUE = (
    IN_PLACE
    | {"abs", "clamp", "exp", "gelu", "logsigmoid", "neg", "prelu"}
    | {*("sigmoid", "softplus", "softsign", "square", "tanh", "tanhshrink")}
)
# hand on what they are given, in evaluation mode and where the precision stays
UNCHANGED = {"alias", "alpha_dropout", "clone", "contiguous", "detach", "dropout", "dropout2d"} | {
    *("feature_alpha_dropout", "float", "to", "type_as")
}
ARITHMETIC = {"add", "div", "mul", "radd", "rmul", "rsub", "sub", "true_divide", "truediv"}
TOGETHER = ARITHMETIC | {"maximum", "minimum"}
RESHAPING = {"reshape", "view"}


def read_steps(tape: Tape) -> list[Step]:
    """Return the steps from the image (the first) to the logits (the last).

    Raises
    ------
    UnsupportedNetworkError
        A step joins the images of a batch, or the logits are the image.
    """
    reader = _Reader(tape.image)
    for recorded in tape.operations:
        reader.read(recorded)
    return _without_detours(reader.steps, reader.number(tape.logits))


def reads_patches(steps: list[Step]) -> bool:
    """Whether the first step after the image can be run on a patch of it."""
    return any(step.spatial and 0 in step.sources for step in steps[1:])


class _Reader:
    """Makes steps of recorded operations, one after the other."""

    def __init__(self, image: Tensor) -> None:
        self.steps = [Step(None, (), tuple(image.shape[1:]))]
        # by identity; the tape holds the tensors meanwhile
        self._numbers = {id(image): 0}

    def number(self, tensor: Tensor) -> int:
        """Return the number of the step that made a tensor."""
        return self._numbers[id(tensor)]

    def read(self, recorded: Recorded) -> None:
        """Add what was recorded, one step for each result."""
        several = len(recorded.results) > 1
        for index, result in enumerate(recorded.results):
            if recorded.name in UNCHANGED and _same(recorded.sources[0], result):
                self._numbers[id(result)] = self.number(recorded.sources[0])
                continue
            if not result.ndim or len(result) != 1:
                raise UnsupportedNetworkError(
                    f"{recorded.place} joins the images of a batch; expected one result for each image"
                )
            operation, tail = _operation(recorded, result, index if several else None)
            numbers = tuple(self.number(source) for source in recorded.sources)
            self._numbers[id(result)] = len(self.steps)
            self.steps.append(Step(operation, numbers, tuple(result.shape[1:]), tail))


def _same(source: Tensor, result: Tensor) -> bool:
    return source.shape == result.shape and source.dtype == result.dtype


def _operation(
    recorded: Recorded, result: Tensor, pick: int | None
) -> tuple[Operation, tuple[Pointwise, ...]]:
    """Return what a recorded operation is; a function of each value alone stands in the tail."""
    call = _call(recorded, result, pick)
    for read in (_read_pointwise, _read_convolution, _read_pooling, _read_average, _read_each):
        found = read(recorded, result, call)
        if isinstance(found, Operation):
            return found, ()
        if found is not None:
            return Each(Call(_hand_on, (Hole(0),)), own=False), (found,)
    return Whole(call, recorded.name), ()


def _hand_on(maps: Tensor) -> Tensor:
    return maps


def _call(recorded: Recorded, result: Tensor, pick: int | None) -> Call:
    """Return the function with holes for what depends on the image."""
    if recorded.name in RESHAPING and result.shape[0] == recorded.sources[0].shape[0]:
        # the number of images may have been written out
        return Call(_reshape, (Hole(0), tuple(result.shape[1:])))
    numbers = {id(source): number for number, source in enumerate(recorded.sources)}

    def open_up(value: Any) -> Any:
        if isinstance(value, Tensor):
            return Hole(numbers[id(value)]) if id(value) in numbers else value
        if isinstance(value, tuple | list):
            return type(value)(open_up(item) for item in value)
        if isinstance(value, dict):
            return {key: open_up(item) for key, item in value.items()}
        return value

    return Call(recorded.function, open_up(recorded.args), open_up(recorded.kwargs), pick)


def _reshape(maps: Tensor, shape: tuple[int, ...]) -> Tensor:
    return maps.reshape(len(maps), *shape)


def _named(recorded: Recorded, *names: str) -> dict[str, Any]:
    """Return the arguments by name; None where one was not given."""
    return dict.fromkeys(names) | dict(zip(names, recorded.args, strict=False)) | recorded.kwargs


def _pair(value: Any, default: Any = None) -> tuple[int, int]:
    """Return one number twice, or two as they are."""
    given = default if value is None or value in ((), []) else value
    pair = (given, given) if isinstance(given, int) else tuple(given)
    return (int(pair[0]), int(pair[-1]))


def _are_maps(recorded: Recorded, result: Tensor) -> bool:
    return result.ndim == 4 and all(source.ndim == 4 for source in recorded.sources)


def _read_pointwise(recorded: Recorded, result: Tensor, call: Call) -> Pointwise | None:
    """Return a function of each value, or of each channel's values, by themselves."""
    if not _are_maps(recorded, result) or len(recorded.sources) != 1:
        return None
    if recorded.name == "batch_norm":
        return _read_norm(recorded)
    if recorded.name in ARITHMETIC:
        return _read_arithmetic(recorded)
    # prelu's weights belong to channels; any other tensor may belong to positions
    alone = recorded.name == "prelu" or len(list(tensors_in((recorded.args, recorded.kwargs)))) == 1
    if recorded.name in VALUE_BY_VALUE and alone and result.shape == recorded.sources[0].shape:
        # torch.relu takes no ``inplace``, as that of torch.nn.functional does
        functional = recorded.function is getattr(F, recorded.name, None)
        return Activation(call, functional and recorded.name in IN_PLACE)
    return None


def _read_norm(recorded: Recorded) -> Affine | None:
    names = (
        "input",
        "running_mean",
        "running_var",
        "weight",
        "bias",
        "training",
        "momentum",
        "eps",
    )
    given = _named(recorded, *names)
    mean, variance = given["running_mean"], given["running_var"]
    if given["training"] or mean is None or variance is None:
        return None  # statistics of the very image: a change anywhere changes everything
    # 1e-5: torch's default
    scale = (to_float64(variance) + (1e-5 if given["eps"] is None else given["eps"])).rsqrt()
    if given["weight"] is not None:
        scale = scale * to_float64(given["weight"])
    shift = -to_float64(mean) * scale
    if given["bias"] is not None:
        shift = shift + to_float64(given["bias"])
    return Affine(scale.detach().view(1, -1, 1, 1), shift.detach().view(1, -1, 1, 1))


def _read_arithmetic(recorded: Recorded) -> Affine | None:
    """Return sums and products with constants that are the same at all positions."""
    source = recorded.sources[0]
    if len(recorded.args) != 2 or recorded.kwargs or all(one is source for one in recorded.args):
        return None
    reverse = recorded.name.startswith("r") != (recorded.args[1] is source)
    constant = _constant(next(one for one in recorded.args if one is not source), source)
    if constant is None:
        return None
    one, nothing = torch.ones_like(constant), torch.zeros_like(constant)
    match recorded.name.removeprefix("r"):
        case "add":
            return Affine(one, constant)
        case "mul":
            return Affine(constant, nothing)
        case "sub":
            return Affine(-one, constant) if reverse else Affine(one, -constant)
    # a constant divided by the maps is none of these
    return None if reverse else Affine(1 / constant, nothing)


def _constant(value: Any, maps: Tensor) -> Tensor | None:
    """Return a number, or one for each channel, in float64; None of anything else."""
    if isinstance(value, int | float):
        return to_float64(torch.full((1, 1, 1, 1), float(value), device=maps.device))
    if not isinstance(value, Tensor) or value.ndim > 4 or not value.is_floating_point():
        return None
    shape = (1,) * (4 - value.ndim) + tuple(value.shape)
    if shape[0] != 1 or shape[1] not in (1, maps.shape[1]) or shape[2:] != (1, 1):
        return None
    return to_float64(value.detach()).view(shape)


def _read_convolution(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    del call
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = _named(recorded, *names)
    alone = len(recorded.sources) == 1 and given["input"] is recorded.sources[0]
    if recorded.name != "conv2d" or not alone or not _are_maps(recorded, result):
        return None
    weight, padding = given["weight"], given["padding"]
    stride, dilation = _pair(given["stride"], 1), _pair(given["dilation"], 1)
    kernel = _pair(weight.shape[-2:])
    if isinstance(padding, str):
        # as torch does: of an odd number the smaller half stands before
        widths = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
        before = (0, 0) if padding == "valid" else _pair(widths)
    else:
        padding = before = _pair(padding, 0)
    rows, columns = (
        Reach(*numbers) for numbers in zip(kernel, stride, before, dilation, strict=True)
    )
    return Convolution(
        weight.detach(),
        None if given["bias"] is None else given["bias"].detach(),
        stride,
        padding,
        dilation,
        given["groups"] or 1,
        (rows, columns),
    )


def _read_pooling(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    readers: Mapping[str, Callable[..., Operation | None]] = {
        "max_pool2d": _read_maxima,
        "avg_pool2d": _read_averages,
        "pixel_unshuffle": _read_unshuffling,
    }
    if recorded.name not in readers or not _are_maps(recorded, result):
        return None
    return readers[recorded.name](recorded, result, call)


def _read_maxima(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    del result
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = _named(recorded, *names)
    if given["return_indices"] or call.pick is not None:
        return None
    kernel = _pair(given["kernel_size"])
    stride, dilation = _pair(given["stride"], kernel), _pair(given["dilation"], 1)
    padding = _pair(given["padding"], 0)
    tiled = partial(F.max_pool2d, kernel_size=kernel, stride=stride, dilation=dilation)
    rows, columns = (
        Reach(*numbers) for numbers in zip(kernel, stride, padding, dilation, strict=True)
    )
    # rounding up needs no word more: beyond the border stands what is never the largest
    return Pooling(call, tiled, (rows, columns), -torch.inf)


def _read_averages(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    names = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    given = _named(recorded, *names, "divisor_override")
    kernel = _pair(given["kernel_size"])
    stride, padding = _pair(given["stride"], kernel), _pair(given["padding"], 0)
    rows, columns = (Reach(*numbers) for numbers in zip(kernel, stride, padding, strict=True))
    inputs, outputs = recorded.sources[0].shape[-2:], result.shape[-2:]
    beyond = [
        reach.overhang(before, after) > reach.padding
        for reach, before, after in zip((rows, columns), inputs, outputs, strict=True)
    ]
    # where a window at the border has fewer pixels to divide by, it is another operation there
    if any(beyond) or (max(padding) and given["count_include_pad"] is False):
        return None
    tiled = partial(
        F.avg_pool2d,
        kernel_size=kernel,
        stride=stride,
        divisor_override=given["divisor_override"],
    )
    return Pooling(call, tiled, (rows, columns), 0.0)


def _read_unshuffling(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    del result
    factor = int(_named(recorded, "input", "downscale_factor")["downscale_factor"])
    if factor == 1:
        return Each(call, own=False)
    reach = Reach(kernel=factor, stride=factor)
    return Pooling(call, partial(F.pixel_unshuffle, downscale_factor=factor), (reach, reach), 0.0)


def _read_average(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    """Return the average over all positions."""
    if len(recorded.sources) != 1 or recorded.sources[0].ndim != 4:
        return None
    if recorded.name == "adaptive_avg_pool2d" and tuple(result.shape[-2:]) == (1, 1):
        return Average(call, recorded.name)
    if recorded.name != "mean":
        return None
    given = _named(recorded, "input", "dim", "keepdim", "dtype")
    axes = given["dim"] if isinstance(given["dim"], tuple | list) else ()
    over_positions = sorted(axis % 4 for axis in axes) == [2, 3]
    return Average(call, recorded.name) if over_positions and given["dtype"] is None else None


def _read_each(recorded: Recorded, result: Tensor, call: Call) -> Operation | None:
    """Return what joins the same positions of several maps, or takes some of the channels."""
    if not _are_maps(recorded, result):
        return None
    alike = {tuple(source.shape[-2:]) for source in recorded.sources} == {tuple(result.shape[-2:])}
    if not alike:
        return None
    if recorded.name in TOGETHER:
        shapes = {tuple(source.shape) for source in recorded.sources}
        varying = all(map(recorded.depends, tensors_in((recorded.args, recorded.kwargs))))
        return Each(call) if varying and shapes == {tuple(result.shape)} else None
    if recorded.name in ("cat", "concat"):
        given = _named(recorded, "tensors", "dim")
        along_channels = (given["dim"] or 0) in (1, -3)
        parts = list(tensors_in(given["tensors"]))
        return Each(call) if along_channels and all(map(recorded.depends, parts)) else None
    if recorded.name in ("chunk", "split", "tensor_split"):
        given = _named(recorded, "input", "sections", "dim")
        return Each(call, own=False) if given["dim"] in (1, -3) else None
    if recorded.name == "getitem" and _takes_channels(recorded.args[1]):
        return Each(call, own=False)
    return None


def _takes_channels(index: Any) -> bool:
    """Whether an index takes all images, some channels, and all positions."""
    every = slice(None)
    return (
        isinstance(index, tuple)
        and 2 <= len(index) <= 4
        and index[0] == every
        and isinstance(index[1], slice)
        and all(one == every or one is Ellipsis for one in index[2:])
    )


def _without_detours(steps: list[Step], last: int) -> list[Step]:
    """Return the steps that lead to the last one, with what follows an operation put into its step."""
    needed = {last}
    for number in range(last, -1, -1):
        if number in needed:
            needed.update(steps[number].sources)
    if last == 0 or 0 not in needed:
        raise UnsupportedNetworkError("the logits do not depend on the image")
    users = [0] * len(steps)
    for number in needed:
        for source in steps[number].sources:
            users[source] += 1
    kept: list[Step] = []
    numbers: dict[int, int] = {}
    for number in sorted(needed):
        step = steps[number]
        sources = tuple(numbers[source] for source in step.sources)
        alone = len(sources) == 1 and users[step.sources[0]] == 1 and sources[0] > 0
        if step.tail and alone:
            # nobody else sees what stood between
            kept[sources[0]] = _joined(kept[sources[0]], step)
            numbers[number] = sources[0]
        else:
            numbers[number] = len(kept)
            kept.append(replace(step, sources=sources))
    return kept


def _joined(before: Step, step: Step) -> Step:
    """Return a step with what follows it, folded into its weights where that can be."""
    (one,) = step.tail
    operation, tail = before.operation, before.tail
    if isinstance(one, Affine):
        if isinstance(operation, Convolution) and not tail:
            return replace(before, operation=operation.followed_by(one))
        if tail and isinstance(tail[-1], Affine):
            return replace(before, tail=(*tail[:-1], one.after(tail[-1])))
    return replace(before, tail=(*tail, one))
