"""A small convolutional network made for class activation maps."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn

from napari_why.core.options import Help
from napari_why.networks.modules import linear_head, linear_weights
from napari_why.networks.network import Network
from napari_why.networks.shapes import (
    Size,
    check_batch,
    check_counts,
    check_smallest,
    height_and_width,
)

WIDTHS = (32, 64, 128, 256)
SMALLEST = 2 ** len(WIDTHS)


class CamNet(Network):
    """Blocks ``block1`` to ``block4``, global average pooling and one linear layer.

    With the joint loss every block has a linear classifier of its own, trained along, so that
    each depth has class activation maps (Mäder 2024).
    """

    name = "cam_net"

    def __init__(
        self, input_channels: int, classes: int, size: tuple[int, int], *, joint_loss: bool
    ) -> None:
        super().__init__()
        self.input_channels, self.classes = input_channels, classes
        self.size, self.joint_loss = size, joint_loss
        inputs = (input_channels, *WIDTHS[:-1])
        self.blocks = nn.Sequential(
            OrderedDict(
                (f"block{i + 1}", _block(*channels))
                for i, channels in enumerate(zip(inputs, WIDTHS, strict=True))
            )
        )
        self.classifier = linear_head(WIDTHS[-1], classes)
        self.block_classifiers = nn.ModuleDict(
            {f"block{i + 1}": linear_head(width, classes) for i, width in enumerate(WIDTHS[:-1])}
            if joint_loss
            else {}
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the maps of the last block."""
        check_batch(self.name, x, self.input_channels)
        maps: Tensor = self.blocks(x)
        return maps

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of maps of the last block."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of every block."""
        check_batch(self.name, x, self.input_channels)
        maps = {}
        for name, block in self.blocks.named_children():
            maps[name] = x = block(x)
        return maps

    def auxiliary_logits(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of the blocks before the last; empty without the joint loss."""
        return {name: item(maps[name]) for name, item in self.block_classifiers.items()}

    def block_logits(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of every block that has a classifier, the last one's from the head."""
        last = self.layer_names[-1]
        return self.auxiliary_logits(maps) | {last: self.head(maps[last])}

    def block_weights(self) -> dict[str, Tensor]:
        """Return the weights (classes, K) of every block's linear classifier, by block."""
        heads = dict(self.block_classifiers.items()) | {self.layer_names[-1]: self.classifier}
        weights = {name: linear_weights(head) for name, head in heads.items()}
        return {name: weight for name, weight in weights.items() if weight is not None}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """``block1`` to ``block4``."""
        return tuple(name for name, _ in self.blocks.named_children())

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``."""
        return {
            "name": self.name,
            "input_channels": self.input_channels,
            "classes": self.classes,
            "size": list(self.size),
            "joint_loss": self.joint_loss,
        } | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, 256) of the head."""
        return linear_weights(self.classifier)


def cam_net(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    joint_loss: Annotated[
        bool, Help("give every block a classifier of its own and add their losses")
    ] = False,
) -> CamNet:
    """Build a network of four blocks conv 5 x 5 - maxpool - batch norm - ReLU (Mäder 2024).

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels, 16 or more.
    frozen : bool
        Build it frozen.
    joint_loss : bool
        Train a linear classifier on each block, for class activation maps at every depth.

    Raises
    ------
    ParameterError
        Too small a size, no channel, or fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    check_smallest("cam_net", shape, SMALLEST)
    network = CamNet(input_channels, classes, shape, joint_loss=joint_loss)
    if frozen:
        network.freeze()
    return network


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 5, padding=2),
            pool=nn.MaxPool2d(2),
            norm=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
        )
    )
