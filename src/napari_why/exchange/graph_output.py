"""What the numbers that an ONNX graph gives are, told by the steps that make them.

Numbers alone cannot tell: a logit may lie between 0 and 1 for every image that is tried.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError, UnsupportedNetworkError
from napari_why.networks.onnx_network import Outputs

if TYPE_CHECKING:
    from onnx import ModelProto

# Steps that change the form of numbers, or how they are stored, and not what they are.
PASSING = (
    "Identity",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Flatten",
    "Cast",
    "Dropout",
    "QuantizeLinear",
    "DequantizeLinear",
)
# Steps that add to a sum or scale it, which leaves logits logits, and probabilities none.
SCALING = ("Add", "Sub", "Mul", "Div")
POOLING = ("GlobalAveragePool", "AveragePool", "ReduceMean")
# Weighted sums, whose weights are the second input.
SUMS = ("Gemm", "MatMul", "Conv")
# Of float32 sums of some thousand classes.
ROUNDING = 1e-3
Ending = Literal["softmax", "log_softmax", "sigmoid", "sum", "unknown"]


def find_ending(model: "ModelProto", output: str) -> Ending:
    """Follow an output back to the step that makes numbers of its kind.

    Parameters
    ----------
    model : onnx.ModelProto
    output : str
        Its name.

    Returns
    -------
    {"softmax", "log_softmax", "sigmoid", "sum", "unknown"}
        ``sum``: a weighted sum, whose numbers have no bounds. ``unknown``: a step that is none of
        these, such as a softmax that is put together of exponentials.
    """
    if model.functions:  # what is defined in the file is made of steps that are known
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {item.name for item in model.graph.initializer}
    name, scaled = output, False
    for _ in range(len(model.graph.node) + 1):  # no more steps than there are: no way round
        node = makers.get(name)
        if node is None:
            return "unknown"
        kind = node.op_type if node.domain in ("", "ai.onnx") else ""
        if kind in PASSING:
            name = node.input[0]
        elif kind in POOLING:
            name, scaled = node.input[0], True
        elif kind in SCALING:
            free = [item for item in node.input if not _is_constant(item, makers, constants)]
            if len(free) != 1 or (kind == "Div" and free[0] != node.input[0]):
                return "unknown"
            name, scaled = free[0], True
        else:
            return _ending_of(node, kind, makers, constants, scaled=scaled)
    return "unknown"


def _ending_of(
    node: Any, kind: str, makers: dict[str, Any], constants: set[str], *, scaled: bool
) -> Ending:
    if kind in SUMS:
        weighted = _is_constant(node.input[1], makers, constants)
        source = makers.get(node.input[0])
        # sums of probabilities may be probabilities again
        mixed = source is not None and source.op_type == "Softmax"
        return "sum" if weighted and not mixed else "unknown"
    if scaled:
        return "unknown"
    named: dict[str, Ending] = {
        "Softmax": "softmax",
        "LogSoftmax": "log_softmax",
        "Sigmoid": "sigmoid",
    }
    return named.get(kind, "unknown")


def _is_constant(name: str, makers: dict[str, Any], constants: set[str]) -> bool:
    """Tell whether a number of the graph is the same for every image."""
    waiting, seen = [name], set[str]()
    while waiting:
        item = waiting.pop()
        if item in constants or item in seen or not item:  # an empty name: an input left out
            continue
        seen.add(item)
        node = makers.get(item)
        if node is None:  # an input of the graph
            return False
        waiting += node.input
    return True


def decide_outputs(
    model: "ModelProto", output: str, noise: NDArray[np.float32], where: str
) -> tuple[Outputs, str]:
    """Decide whether a graph gives logits or probabilities.

    Parameters
    ----------
    model : onnx.ModelProto
    output : str
        Name of the output that holds the classes.
    noise : ndarray, float32, shape (N, K) or (N, 1)
        What it gives for noise, which has to agree with what its steps say.
    where : str
        Names the file in messages.

    Returns
    -------
    outputs : {"logits", "probabilities"}
    reason : str
        By what it was decided.

    Raises
    ------
    UnsupportedNetworkError
        Its classes do not exclude each other, or what it gives cannot be told.
    """
    ending = find_ending(model, output)
    single = noise.shape[1] == 1
    if ending == "sigmoid" and not single:
        raise UnsupportedNetworkError(
            f"{where}: found a sigmoid for each of {noise.shape[1]} outputs, whose classes do not exclude "
            "each other; expected probabilities with a sum of 1; export one class against the rest "
            "(one output of two classes)"
        )
    probable = sums_to_one(noise)
    if (ending == "softmax" and probable and not single) or (ending == "sigmoid" and probable):
        return "probabilities", f"since it ends in a {ending}"
    if ending == "log_softmax" and not single:
        return "logits", "since it ends in the logarithm of a softmax"
    if ending == "sum" and (single or not probable):
        return "logits", "since it ends in a weighted sum"
    raise UnsupportedNetworkError(
        f"{where}: found that the steps which make {output!r} do not tell whether it gives logits or "
        "probabilities; say it (outputs=logits or outputs=probabilities)"
    )


def check_outputs(outputs: Outputs, noise: NDArray[np.float32], where: str) -> None:
    """Check that numbers which are said to be probabilities can be.

    Parameters
    ----------
    outputs : {"logits", "probabilities"}
        What was said.
    noise : ndarray, float32, shape (N, K) or (N, 1)
        What the graph gives for noise.
    where : str
        Names the file in messages.

    Raises
    ------
    MismatchError
        They lie outside of 0 and 1, or their sum is not 1.
    """
    if outputs == "probabilities" and not sums_to_one(noise):
        raise MismatchError(
            f"{where}: found {np.round(noise[0], 3).tolist()} for noise; expected probabilities, 0 to 1 "
            "and with a sum of 1, as outputs=probabilities says; say outputs=logits if they are, or "
            "export a graph whose classes exclude each other"
        )


def sums_to_one(noise: NDArray[np.float32]) -> bool:
    """Tell whether numbers (N, K) or (N, 1) can be probabilities of classes that exclude each other."""
    between = bool(((noise >= 0) & (noise <= 1)).all())
    return between and (
        noise.shape[1] == 1 or bool(np.abs(noise.sum(axis=1) - 1).max() <= ROUNDING)
    )
