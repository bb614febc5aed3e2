"""ONNX files as data: checked to be nothing else, and given to onnxruntime on the processor."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_why.core.errors import ModelFileError
from napari_why.core.optional_packages import require

if TYPE_CHECKING:
    import onnxruntime
    from onnx import ModelProto

# Operations that come with onnxruntime itself; what is defined in the file is made of them.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
# Bytes that are compared at once, as the whole number that they make: an eighth of the comparisons.
TOGETHER = 8
# Of onnxruntime's severities: what it writes to the terminal beside raising it is left out
FATAL_ONLY = 4


def check_onnx(content: bytes, where: str) -> "ModelProto":
    """Check that an ONNX file is data alone, and return it parsed.

    Parameters
    ----------
    content : bytes
    where : str
        Names the file in messages.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModelFileError
        No ONNX file, tensors that lie in other files, or operations of a library of somebody else.
    WhyError
        The package onnx is not installed.
    """
    package = require("onnx", "exchange", "ONNX files")
    from google.protobuf.message import DecodeError

    try:
        model: ModelProto = package.load_model_from_string(content)
    except DecodeError as error:
        raise ModelFileError(f"{where}: found no ONNX file ({error}); expected one") from error
    if not model.graph.output or not model.opset_import:
        raise ModelFileError(f"{where}: found no graph with an output; expected an ONNX file")
    outside = [item.name for item in _tensors(model) if item.data_location == item.EXTERNAL]
    if outside:
        raise ModelFileError(
            f"{where}: found {len(outside)} tensors that lie in other files, first {outside[0]}; "
            "expected all in one file; save it anew with onnx.save(model, path, "
            "save_as_external_data=False)"
        )
    own = {(function.domain, function.name) for function in model.functions}
    foreign = sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in _nodes(model)
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in own
        }
    )
    if foreign:
        raise ModelFileError(
            f"{where}: found the operations {', '.join(foreign[:5])}; expected those of ONNX itself: "
            "no library of operations is loaded, since it could do anything"
        )
    return model


def _graphs(model: "ModelProto") -> Iterator[Any]:
    """Yield the graph, the functions, and the graphs within them (of branches and loops)."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _nodes(model: "ModelProto") -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: "ModelProto") -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


class OnnxSession:
    """onnxruntime at work on one file, begun when it is first asked, and anew when the file is another.

    An object of its own, since what a network holds may not be exchanged while it is explained; a copy
    of it begins anew.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._begun: _Begun | None = None

    def __deepcopy__(self, memo: Any) -> "OnnxSession":
        """Return a new one, of a network that may get other content."""
        return OnnxSession()

    def __reduce__(self) -> tuple[type["OnnxSession"], tuple[()]]:
        """Leave what is at work out of what is pickled."""
        return OnnxSession, ()

    def of(self, content: Tensor) -> "onnxruntime.InferenceSession":
        """Return what computes the graph of a file, as the content is now.

        Content can be loaded, or changed in place as any tensor of a network, through an array that shares
        its memory too; so it is compared each time with a copy of what the session was begun on, which reads
        every byte of it once. Threads compare at once: they wait for each other only where one begins.

        Parameters
        ----------
        content : Tensor, shape (bytes,), uint8

        Raises
        ------
        ModelFileError
            onnxruntime cannot compute it; see also :func:`check_onnx`.
        """
        begun = self._begun
        if begun is not None and begun.is_of(content):
            return begun.session
        with self._lock:
            # another thread may have begun on it since
            if self._begun is None or self._begun is begun or not self._begun.is_of(content):
                self._begun = None  # of what cannot be computed the one before is not kept
                kept = content.detach().clone()
                session = open_onnx(kept.cpu().numpy().tobytes(), "the ONNX network")
                self._begun = _Begun(kept, session)
            return self._begun.session


@dataclass(frozen=True)
class _Begun:
    """What computes a file, and the bytes that it was begun on."""

    content: Tensor
    session: "onnxruntime.InferenceSession"

    def is_of(self, content: Tensor) -> bool:
        """Tell whether it computes this content; one on another device it is begun anew on."""
        return self.content.device == content.device and are_equal(self.content, content)


def are_equal(one: Tensor, other: Tensor) -> bool:
    """Tell whether two files, on one device, have the same bytes.

    Parameters
    ----------
    one, other : Tensor, shape (bytes,), uint8

    Returns
    -------
    bool

    Examples
    --------
    >>> one = torch.arange(20, dtype=torch.uint8)
    >>> are_equal(one, one.clone()), are_equal(one, one.flip(0))
    (True, False)
    """
    if one.shape != other.shape:
        return False
    if any(item.stride() != (1,) or item.storage_offset() % TOGETHER for item in (one, other)):
        return torch.equal(one, other)  # a part of another tensor cannot be seen as whole numbers
    end = len(one) - len(one) % TOGETHER
    numbers = [item[:end].view(torch.int64) for item in (one, other)]
    return torch.equal(*numbers) and torch.equal(one[end:], other[end:])


def open_onnx(content: bytes, where: str) -> "onnxruntime.InferenceSession":
    """Return what computes the graph of an ONNX file, on the processor alone.

    Parameters
    ----------
    content : bytes
        Of the file.
    where : str
        Names the file in messages.

    Returns
    -------
    onnxruntime.InferenceSession

    Raises
    ------
    ModelFileError
        See :func:`check_onnx`; or onnxruntime cannot compute it.
    WhyError
        The package onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "exchange", "ONNX files")
    check_onnx(content, where)
    options = runtime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes of errors, which are of no public module
        raise ModelFileError(
            f"{where}: onnxruntime {runtime.__version__} cannot compute it ({first_line(error)}); "
            "export it anew with an opset that it knows"
        ) from error


def first_line(error: Exception) -> str:
    """Return the first line of an error of onnxruntime, whose others are of its own insides."""
    return (str(error).splitlines() or [type(error).__name__])[0]
