"""ResNeXt-50 behind an RGB composite, with weights from torchvision, from a file, or random."""

import pickle  # for the name of the error alone that torch raises
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_why.core.errors import ModelFileError, OfflineError, ParameterError
from napari_why.core.options import Help, InitialWeights
from napari_why.networks.modules import (
    HeadName,
    ResidualSum,
    RGBComposite,
    Size,
    check_batch,
    check_counts,
    check_smallest,
    height_and_width,
    linear_weights,
    make_head,
)
from napari_why.networks.network import Network
from napari_why.networks.registry import TrainingSchedule, register_network

if TYPE_CHECKING:
    from torchvision.models import ResNeXt50_32X4D_Weights


def pretrained_state(weights: str) -> Mapping[str, Tensor] | None:
    """Return the weights to start from.

    Parameters
    ----------
    weights : str
        ``imagenet``, ``random`` (None is returned) or a path to .pth or .safetensors.

    Raises
    ------
    OfflineError
        The ImageNet weights are neither in torch's folder nor to be downloaded.
    ParameterError
        No such file.
    ModelFileError
        The file cannot be read.
    """
    if weights == "random":
        return None
    return imagenet_state() if weights == "imagenet" else read_state(Path(weights))


def load_backbone(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network whose parameters are named as torchvision's.

    Parameters
    ----------
    backbone : Module
        torchvision's ResNeXt-50 without its last layer ``fc``, whose weights are left out.
    state : mapping of str to Tensor
    source : str
        Where they come from, for the error message.

    Raises
    ------
    ModelFileError
        The weights do not fit.
    """
    # fc tells 1000 kinds of things apart; this network has a head of its own
    kept = {name: value for name, value in state.items() if not name.startswith("fc.")}
    wanted = backbone.state_dict()
    wrong = sorted(
        name
        for name in kept.keys() | wanted.keys()
        if name not in kept or name not in wanted or kept[name].shape != wanted[name].shape
    )
    if wrong:
        raise ModelFileError(
            f"{source}: found weights that differ in {len(wrong)} places, first {wrong[0]}; "
            "expected the state dict of torchvision's resnext50_32x4d"
        )
    backbone.load_state_dict(kept)


def imagenet_weights() -> "ResNeXt50_32X4D_Weights":
    """Return which weights of torchvision's are meant: V1, trained by the paper's own recipe."""
    # here and not above: torchvision imports the whole compiler of torch, a third of the time that a
    # verb took to begin, and most networks need nothing of it
    from torchvision.models import ResNeXt50_32X4D_Weights

    return ResNeXt50_32X4D_Weights.IMAGENET1K_V1


def imagenet_path() -> Path:
    """Return where torch keeps the ImageNet weights once they are downloaded."""
    name = Path(urlparse(imagenet_weights().url).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def imagenet_state() -> Mapping[str, Tensor]:
    """Return the ImageNet weights, downloaded on first use.

    Raises
    ------
    OfflineError
        They are not here and cannot be downloaded.
    ModelFileError
        The file in torch's folder cannot be read.
    """
    path = imagenet_path()
    if path.is_file():
        return read_state(path)
    try:
        # check_hash: a download cut short would otherwise be kept, and fail on every later use
        state: Mapping[str, Tensor] = imagenet_weights().get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise OfflineError(
            f"resnext50: the ImageNet weights could not be downloaded ({error}); place the file "
            f"{imagenet_weights().url} at {path}, or give weights=PATH to it, or weights='random'"
        ) from error
    return state


def read_state(path: Path, *, nested: Sequence[str] = ()) -> Mapping[str, Tensor]:
    """Read a state dict from .safetensors or from torch's own format, tensors only.

    Parameters
    ----------
    path : Path
    nested : sequence of str
        Under which of these names the state dict may stand, where the file is a checkpoint of more.

    Returns
    -------
    mapping of str to Tensor

    Raises
    ------
    ParameterError
        No such file.
    ModelFileError
        Not a state dict.
    """
    if not path.is_file():
        raise ParameterError(
            f"weights: found no file {path}; expected imagenet, random or the path of a file"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # weights_only: no code of the file runs
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelFileError(
            f"{path}: found a file that cannot be read ({type(error).__name__}); expected a state "
            "dict of tensors; download it again"
        ) from error
    if isinstance(state, Mapping):
        state = next(
            (state[name] for name in nested if isinstance(state.get(name), Mapping)), state
        )
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelFileError(f"{path}: found {type(state).__name__}; expected a dict of tensors")
    return state


FEATURES = 2048  # channels of torchvision's last layer
SMALLEST = 32  # pixels a side: the network scales down by 32


class Bottleneck(nn.Module):
    """torchvision's bottleneck with one ReLU module per use and the sum as a module.

    The original uses one in-place ReLU three times and adds with ``+=``: hooks see neither. The
    parameters keep their names.
    """

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        parts = dict(original.named_children())
        self.conv1, self.bn1, self.relu1 = parts["conv1"], parts["bn1"], nn.ReLU()
        self.conv2, self.bn2, self.relu2 = parts["conv2"], parts["bn2"], nn.ReLU()
        self.conv3, self.bn3 = parts["conv3"], parts["bn3"]
        if "downsample" in parts:
            self.downsample = parts["downsample"]
        else:
            self.downsample = nn.Identity()  # a module, so that rules see both inputs of the sum
        self.sum, self.relu3 = ResidualSum(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's maps."""
        branch = self.relu1(self.bn1(self.conv1(x)))
        branch = self.relu2(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        maps: Tensor = self.relu3(self.sum(self.downsample(x), branch))
        return maps


class ResNeXt50(Network):
    """RGB composite, torchvision's ResNeXt-50 and a head; layers ``layer1`` to ``layer4``."""

    name = "resnext50"
    channels_last = True

    def __init__(
        self, input_channels: int, classes: int, size: tuple[int, int], *, head: HeadName
    ) -> None:
        from torchvision.models import resnext50_32x4d  # see imagenet_weights

        super().__init__()
        self.input_channels, self.classes = input_channels, classes
        self.size, self.head_name = size, head
        self.composite = RGBComposite(input_channels)
        # rebuilt from torchvision's parts: the state dict keeps its names, so that its weights fit
        original = resnext50_32x4d(weights=None)
        self.backbone = nn.Module()
        for name in ("conv1", "bn1"):
            self.backbone.add_module(name, original.get_submodule(name))
        self.backbone.add_module("relu", nn.ReLU())
        self.backbone.add_module("maxpool", original.get_submodule("maxpool"))
        for name in self.layer_names:
            blocks = [Bottleneck(block) for block in original.get_submodule(name).children()]
            self.backbone.add_module(name, nn.Sequential(*blocks))
        self.classifier = make_head(head, FEATURES, classes)

    def encode(self, x: Tensor) -> Tensor:
        """Return the maps of ``layer4``."""
        return self.feature_maps(x)[self.layer_names[-1]]

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of maps of ``layer4``."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of ``layer1`` to ``layer4``."""
        check_batch(self.name, x, self.input_channels)
        x = self.composite(x)
        maps = {}
        for name, module in self.backbone.named_children():
            x = module(x)
            if name in self.layer_names:
                maps[name] = x
        return maps

    @property
    def layer_names(self) -> tuple[str, ...]:
        """``layer1`` to ``layer4``."""
        return ("layer1", "layer2", "layer3", "layer4")

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``.

        ``weights`` is ``"random"``: what was trained comes from the saved state.
        """
        return {
            "name": self.name,
            "input_channels": self.input_channels,
            "classes": self.classes,
            "size": list(self.size),
            "weights": "random",
            "head": self.head_name,
        } | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, 2048) of the linear head, None with the thesis head."""
        return linear_weights(self.classifier)


@register_network(
    title="ResNeXt-50 32x4d (resnext50)",
    purpose="classifies; large, begins with what it learnt from photographs; wants a GPU; makes no images",
    source="Xie et al. 2017; Otto 2022",
    # optimiser, rate and batch size: Otto 2022; few epochs, since it starts from ImageNet. Nothing of
    # what came later: without those weights at hand it could not be tried
    training=TrainingSchedule(
        epochs=10,
        batch_size=15,
        learning_rate=1e-3,
        optimiser="adam",
        step_size=5,
        step_decay=0.1,
        schedule="step",
        label_smoothing=0,
        jitter=0,
        averaging=0,
    ),
)
def resnext50(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    weights: Annotated[
        str,
        Help("imagenet, random, or a file of torchvision's weights (.pth or .safetensors)"),
        InitialWeights(none="random"),
    ] = "imagenet",
    head: Annotated[HeadName, Help("the thesis's three layers with dropout, or linear")] = "thesis",
) -> ResNeXt50:
    """Build a ResNeXt-50 32x4d (Xie et al. 2017, arXiv:1611.05431) behind a fixed RGB composite.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels, 32 or more.
    frozen : bool
        Build it frozen.
    weights : str
        ``imagenet`` downloads torchvision's weights once; ``random``; or a path.
    head : str
        ``thesis`` (Otto 2022) or ``linear``, for which class activation maps exist.

    Returns
    -------
    ResNeXt50

    Raises
    ------
    OfflineError
        The ImageNet weights are neither here nor to be downloaded.
    ModelFileError
        A file of weights that does not fit.
    ParameterError
        A weights file that does not exist, too small a size, no channel, fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    check_smallest("resnext50", shape, SMALLEST)
    state = pretrained_state(weights)
    network = ResNeXt50(input_channels, classes, shape, head=head)
    if state is not None:
        load_backbone(network.backbone, state, source=f"weights {weights}")
    if frozen:
        network.freeze()
    return network
