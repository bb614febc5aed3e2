"""Two plain convolutional networks: one made for class activation maps, one small and quick."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn

from napari_why.core.options import Help
from napari_why.networks.modules import (
    Size,
    check_counts,
    check_smallest,
    height_and_width,
    linear_head,
    linear_weights,
    read_integers,
)
from napari_why.networks.network import SequentialNetwork
from napari_why.networks.registry import TrainingSchedule, register_network

WIDTHS = (32, 64, 128, 256)  # maps of each block (Mäder 2024)
SMALLEST = 2 ** len(WIDTHS)  # each block halves its maps, and one pixel has to be left


class CamNet(SequentialNetwork):
    """Blocks ``block1`` to ``block4``, global average pooling and one linear layer.

    With the joint loss every block has a linear classifier of its own, trained along, so that
    each depth has class activation maps (Mäder 2024).
    """

    name = "cam_net"
    channels_last = True

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__(configuration)
        inputs = (self.input_channels, *WIDTHS[:-1])
        self.blocks = nn.Sequential(
            OrderedDict(
                (f"block{i + 1}", _block(*channels))
                for i, channels in enumerate(zip(inputs, WIDTHS, strict=True))
            )
        )
        self.classifier = linear_head(WIDTHS[-1], self.classes)
        # the last block's classifier is the head itself
        self.block_classifiers = nn.ModuleDict(
            {
                f"block{i + 1}": linear_head(width, self.classes)
                for i, width in enumerate(WIDTHS[:-1])
            }
            if configuration["joint_loss"]
            else {}
        )

    @property
    def chain(self) -> nn.Sequential:
        """The blocks."""
        return self.blocks

    def auxiliary_logits(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of the blocks before the last; empty without the joint loss."""
        return {name: item(maps[name]) for name, item in self.block_classifiers.items()}

    def block_logits(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits of every block that has a classifier, the last one's from the head."""
        last = self.layer_names[-1]
        return self.auxiliary_logits(maps) | {last: self.head(maps[last])}

    def layer_weights(self) -> dict[str, Tensor]:
        """Return the weights of every block's classifier: class activation maps at every depth."""
        return self.block_weights()

    def block_weights(self) -> dict[str, Tensor]:
        """Return the weights (classes, K) of every block's linear classifier, by block."""
        heads = dict(self.block_classifiers.items()) | {self.layer_names[-1]: self.classifier}
        weights = {name: linear_weights(head) for name, head in heads.items()}
        return {name: weight for name, weight in weights.items() if weight is not None}


@register_network(
    title="CAM network (cam_net)",
    source="Zhou et al. 2016; Mäder 2024",
    purpose="classifies, with class activation maps; quick; it makes no images of its own",
)
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

    Returns
    -------
    CamNet

    Raises
    ------
    ParameterError
        Too small a size, no channel, or fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    check_smallest("cam_net", shape, SMALLEST)
    configuration = {
        "name": "cam_net",
        "input_channels": input_channels,
        "classes": classes,
        "size": list(shape),
        "joint_loss": joint_loss,
    }
    network = CamNet(configuration)
    if frozen:
        network.freeze()
    return network


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 5, padding=2),
            # before the norm, as published; the ReLU last, so that maps are not negative
            pool=nn.MaxPool2d(2),
            norm=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
        )
    )


class SmallCNN(SequentialNetwork):
    """Layers ``layer1``, ``layer2``, ..., each of half the resolution, and a linear head.

    Quick to train, and of another kind than the invertible network: it gives second opinions on
    counterfactuals.
    """

    name = "small_cnn"
    channels_last = True

    def __init__(
        self, layers: "OrderedDict[str, nn.Module]", features: int, configuration: Mapping[str, Any]
    ) -> None:
        super().__init__(configuration)
        self.layers = nn.Sequential(layers)
        self.classifier = linear_head(features, self.classes)

    @property
    def chain(self) -> nn.Sequential:
        """The layers."""
        return self.layers


@register_network(
    title="Small convolutional network (small_cnn)",
    source="four strided layers",
    purpose="classifies; the quickest to train, for a first look; it makes no images of its own",
    # as it always was: one cycle and averages were tried, and reached less on validation images
    training=TrainingSchedule(
        epochs=30,
        batch_size=20,
        learning_rate=1e-3,
        optimiser="adam",
        step_size=15,
        step_decay=0.2,
        schedule="step",
        label_smoothing=0,
        jitter=0,
        averaging=0,
    ),
)
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

    Returns
    -------
    SmallCNN

    Raises
    ------
    ParameterError
        Too small a size, no channel, or fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    maps = read_integers("widths", widths, low=1, high=4096)
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
