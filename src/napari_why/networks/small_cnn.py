"""A small convolutional network: quick to train, and of another kind than the others.

It gives second opinions on counterfactuals, and tells which channels hold class evidence.
"""

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
    integers,
)


class SmallCNN(Network):
    """Layers ``layer1``, ``layer2``, ..., each of half the resolution, and a linear head."""

    name = "small_cnn"

    def __init__(
        self, layers: "OrderedDict[str, nn.Module]", features: int, configuration: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.input_channels = int(configuration["input_channels"])
        self.classes = int(configuration["classes"])
        self.layers = nn.Sequential(layers)
        self.classifier = linear_head(features, self.classes)
        self._configuration = dict(configuration)

    def encode(self, x: Tensor) -> Tensor:
        """Return the maps of the last layer."""
        check_batch(self.name, x, self.input_channels)
        maps: Tensor = self.layers(x)
        return maps

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of maps of the last layer."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of every layer."""
        check_batch(self.name, x, self.input_channels)
        maps = {}
        for name, layer in self.layers.named_children():
            maps[name] = x = layer(x)
        return maps

    @property
    def layer_names(self) -> tuple[str, ...]:
        """``layer1``, ``layer2``, ..."""
        return tuple(name for name, _ in self.layers.named_children())

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``."""
        return self._configuration | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, K) of the head."""
        return linear_weights(self.classifier)


def small_cnn(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    widths: Annotated[str, Help("maps of each layer")] = "16,32,64,64",
) -> SmallCNN:
    """Build a network of strided layers conv 3 x 3 - batch norm - ReLU and a linear head.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels; at least 2 per halving.
    frozen : bool
        Build it frozen.
    widths : str
        One whole number a layer.

    Raises
    ------
    ParameterError
        Too small a size, no channel, or fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    maps = integers("widths", widths, low=1, high=4096)
    check_smallest("small_cnn", shape, 2 ** len(maps))
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = input_channels
    for index, outputs in enumerate(maps):
        layers[f"layer{index + 1}"] = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                norm=nn.BatchNorm2d(outputs),
                relu=nn.ReLU(),
            )
        )
        inputs = outputs
    configuration = {
        "name": "small_cnn",
        "input_channels": input_channels,
        "classes": classes,
        "size": list(shape),
        "widths": widths,
    }
    network = SmallCNN(layers, inputs, configuration)
    if frozen:
        network.freeze()
    return network
