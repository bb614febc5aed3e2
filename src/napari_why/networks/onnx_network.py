"""A classifier in ONNX as a network that can be asked for logits, and for nothing else.

The file is data: a graph of standard operations and its numbers. It lies among the network's tensors,
byte for byte, so that it is saved, loaded and told apart by checksums as weights are. onnxruntime
computes it on the processor; neither its maps nor its gradients can be had.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.errors import MismatchError, UnsupportedNetworkError
from napari_why.core.options import Help, Range
from napari_why.networks.modules import Size, check_batch, check_counts, height_and_width
from napari_why.networks.network import Network
from napari_why.networks.onnx_session import OnnxSession, check_onnx, first_line
from napari_why.networks.registry import register_foreign_network

Outputs = Literal["logits", "probabilities"]
# Where a graph has its axis of channels; ``auto``: as the lengths tell that its input states
Layout = Literal["auto", "channels_first", "channels_last"]
# protobuf, which ONNX files are written in, holds no message of 2 GiB or more
LARGEST_FILE = 2**31 - 1
# By onnxruntime's names of types; whole numbers would have to be rounded, which changes what is explained
FLOATS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
# The least probability that a logit is made of: the smallest normal float32
SMALLEST = 2.0**-126


class OnnxNetwork(Network):
    """The graph of an ONNX file, whose bytes are a tensor of the network.

    ``encode`` gives the image itself, since nothing within the graph can be looked at, and ``head`` is
    the whole graph.

    Parameters
    ----------
    input_channels, classes : int
    size : (int, int)
        Height and width that a graph of one size takes.
    length : int
        Bytes of the file.
    outputs : {"logits", "probabilities"}
        What the graph gives. Of probabilities the logits are their logarithms.
    output : str
        Name of the output that holds them; empty: the one that has a number for each class.
    layout : {"auto", "channels_first", "channels_last"}
        Where the graph has its axis of channels.

    Attributes
    ----------
    scale, shift : Tensor, shape (C,)
        What a standardised image is multiplied by, and what is then added, before the graph sees it: of
        a graph that standardises raw grey levels itself. 1 and 0 otherwise.
    """

    black_box = True
    content: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        input_channels: int,
        classes: int,
        size: tuple[int, int],
        *,
        length: int,
        outputs: Outputs,
        output: str = "",
        layout: Layout = "auto",
    ) -> None:
        super().__init__()
        self.name = "onnx"
        self.input_channels, self.classes = input_channels, classes
        self.size, self.outputs = size, outputs
        self.output, self.layout = output, layout
        self.register_buffer("content", torch.zeros(length, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(input_channels))
        self.register_buffer("shift", torch.zeros(input_channels))
        self._session = OnnxSession()

    def encode(self, x: Tensor) -> Tensor:
        """Return the image itself."""
        check_batch(self.name, x, self.input_channels)
        return x

    def head(self, features: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, C, H, W), without a gradient.

        Raises
        ------
        UnsupportedNetworkError
            A gradient is asked for, or the graph's outputs are none of these classes.
        MismatchError
            The graph cannot be computed for images of this size.
        """
        if features.requires_grad and torch.is_grad_enabled():
            raise UnsupportedNetworkError(
                "onnx: found that a gradient is asked for; expected logits alone: an ONNX file has no "
                "gradients; take a method that needs none, such as occlusion, rise, region_occlusion "
                "or region_shapley"
            )
        return torch.from_numpy(self.as_logits(self.answer(features))).to(features)

    def answer(self, x: Tensor) -> NDArray[np.float32]:
        """Return what the graph itself gives for standardised images.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)

        Returns
        -------
        ndarray, float32, shape (N, classes) or (N, 1)
            Logits or probabilities, as ``outputs`` says.

        Raises
        ------
        UnsupportedNetworkError, MismatchError
            See :meth:`run`.
        """
        column = (1, -1, 1, 1)
        given = x.detach() * self.scale.view(column) + self.shift.view(column)
        return self.run(given.cpu().numpy())

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the graph gives for images (N, C, H, W): shape (N, classes), or (N, 1).

        Raises
        ------
        MismatchError, UnsupportedNetworkError
            See :meth:`look`.
        """
        return self.look(images)[1]

    def look(self, images: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
        """Return which output holds the classes, and what it gives.

        Parameters
        ----------
        images : ndarray, float32, shape (N, C, H, W)
            As the graph takes them, but for the place of the channels.

        Returns
        -------
        name : str
        values : ndarray, float32, shape (N, classes) or (N, 1)

        Raises
        ------
        MismatchError
            It cannot be computed for images of this size.
        UnsupportedNetworkError
            None of its outputs holds a number for each class, or several do.
        """
        session = self._session.of(self.content)
        asked = session.get_inputs()[0]
        wanted = FLOATS.get(asked.type)
        if wanted is None or len(session.get_inputs()) != 1 or len(asked.shape) != 4:
            raise UnsupportedNetworkError(
                f"onnx: found {len(session.get_inputs())} inputs, first {asked.type} of shape "
                f"{asked.shape}; expected one of four axes, (N, C, H, W) or (N, H, W, C), in floating "
                "point numbers"
            )
        given = np.moveaxis(images, 1, -1) if self._is_last(asked.shape) else images
        for side, known in zip(given.shape[1:], asked.shape[1:], strict=True):
            if isinstance(known, int) and known != side:
                raise MismatchError(
                    f"onnx: found images of shape {given.shape[1:]}; expected {tuple(asked.shape[1:])}, "
                    "which the file was made for"
                )
        count = asked.shape[0] if isinstance(asked.shape[0], int) else max(len(given), 1)
        parts = [
            self._run_part(session, given[start : start + count].astype(wanted), count)
            for start in range(0, len(given), count)
        ]
        if not parts:
            return self.output, np.zeros((0, self.classes), np.float32)
        return parts[0][0], np.concatenate([values for _, values in parts])

    def _is_last(self, shape: Sequence[Any]) -> bool:
        if self.layout != "auto":
            return self.layout == "channels_last"
        return bool(shape[-1] == self.input_channels != shape[1])

    def _run_part(
        self, session: Any, images: NDArray[Any], count: int
    ) -> tuple[str, NDArray[np.float32]]:
        """Return the answer to some images, and its name; a graph of one batch size is given the last one again."""
        missing = count - len(images)
        filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        found = self._compute(session, np.ascontiguousarray(filled))
        name = self._choose(found, count)
        values = found[name].reshape(count, -1)[: len(images)]
        return name, np.asarray(values, dtype=np.float32)

    def _compute(self, session: Any, images: NDArray[Any]) -> dict[str, Any]:
        """Return the outputs by their names, or the one that was chosen alone."""
        names = [self.output] if self.output else [item.name for item in session.get_outputs()]
        try:
            found = session.run(names, {session.get_inputs()[0].name: images})
        except Exception as error:  # its own classes of errors, which are of no public module
            raise MismatchError(
                f"onnx: found that the graph cannot be computed for images of shape {images.shape[1:]} "
                f"({first_line(error):.200}); expected the size that it was made for; say it (size=...)"
            ) from error
        return dict(zip(names, found, strict=True))

    def _choose(self, found: Mapping[str, Any], count: int) -> str:
        """Return the name of the output that has a number for each class."""
        fitting = {
            name: item.shape
            for name, item in found.items()
            if isinstance(item, np.ndarray)
            and item.dtype.kind == "f"
            and item.ndim >= 2
            and len(item) == count
            and item[0].size in _columns(self.classes)
        }
        exact = [name for name in fitting if fitting[name] == (count, self.classes)]
        names = list(fitting) if len(fitting) == 1 else exact
        if len(names) == 1:
            return names[0]
        shapes = ", ".join(
            f"{name} of shape {getattr(item, 'shape', type(item).__name__)}"
            for name, item in found.items()
        )
        if fitting:
            raise UnsupportedNetworkError(
                f"onnx: found several outputs that may be the classes: {shapes}; say which "
                "(output=NAME)"
            )
        raise UnsupportedNetworkError(
            f"onnx: found the outputs {shapes}; expected one of shape ({count}, {self.classes}), a "
            "number for each class"
        )

    def as_logits(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, classes) of what the graph gives, (N, classes) or (N, 1)."""
        if not len(found):
            return np.zeros((0, self.classes), np.float32)
        if found.shape[1] == 1:  # of two classes the second's alone; the first is what is left
            if self.outputs == "logits":
                return np.concatenate([np.zeros_like(found), found], axis=1)
            found = np.concatenate([1 - found, found], axis=1)
        if self.outputs == "logits":
            return found
        return np.log(np.maximum(found, np.float32(SMALLEST)))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the image itself as ``input``."""
        return {"input": self.encode(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """``input`` alone."""
        return ("input",)

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``."""
        return {
            "name": self.name,
            "input_channels": self.input_channels,
            "classes": self.classes,
            "size": list(self.size),
            "length": len(self.content),
            "outputs": self.outputs,
            "output": self.output,
            "layout": self.layout,
        } | ({"frozen": True} if self.frozen else {})


def _columns(classes: int) -> Sequence[int]:
    """Return how many numbers an image the output may hold."""
    return (classes, 1) if classes == 2 else (classes,)


@register_foreign_network(title="ONNX file (onnx)", source="onnx.ai")
def onnx(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    length: Annotated[int, Help("bytes of the file"), Range(1, LARGEST_FILE)] = 1,
    outputs: Annotated[Outputs, Help("what the graph gives")] = "logits",
    output: Annotated[str, Help("name of the output; empty: the one that fits the classes")] = "",
    layout: Annotated[Layout, Help("where the graph has its axis of channels")] = "auto",
) -> OnnxNetwork:
    """Build the skeleton that the bytes of an ONNX file are loaded into.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels.
    frozen : bool
        Build it frozen.
    length : int
        Bytes of the file.
    outputs : {"logits", "probabilities"}
    output : str
    layout : {"auto", "channels_first", "channels_last"}
        See :class:`OnnxNetwork`.

    Returns
    -------
    OnnxNetwork
        Without a graph; it computes once its bytes are loaded.

    Raises
    ------
    ParameterError
        No channel, fewer than two classes, a size that is none.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    network = OnnxNetwork(
        input_channels, classes, shape, length=length, outputs=outputs, output=output, layout=layout
    )
    if frozen:
        network.freeze()
    return network


def onnx_network(
    content: bytes,
    *,
    input_channels: int,
    classes: int,
    size: tuple[int, int],
    outputs: Outputs,
    output: str = "",
    layout: Layout = "auto",
    scale: Sequence[float] = (),
    shift: Sequence[float] = (),
) -> OnnxNetwork:
    """Make a network of the bytes of an ONNX file.

    Parameters
    ----------
    content : bytes
    input_channels, classes : int
    size : (int, int)
        Height and width in pixels.
    outputs : {"logits", "probabilities"}
        What the graph gives.
    output : str
    layout : {"auto", "channels_first", "channels_last"}
        See :class:`OnnxNetwork`.
    scale, shift : sequence of float
        By channel, see :class:`OnnxNetwork`; empty: none.

    Returns
    -------
    OnnxNetwork
        Frozen.

    Raises
    ------
    ModelFileError
        See :func:`check_onnx`.
    """
    check_onnx(content, "the ONNX file")
    check_counts(input_channels, classes)
    network = OnnxNetwork(
        input_channels,
        classes,
        size,
        length=len(content),
        outputs=outputs,
        output=output,
        layout=layout,
    )
    network.content.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    for tensor, values in ((network.scale, scale), (network.shift, shift)):
        if len(values):
            tensor.copy_(torch.tensor(values))
    network.freeze()
    return network
