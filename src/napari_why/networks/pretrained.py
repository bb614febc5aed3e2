"""Where pretrained weights come from: torchvision, or a file."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNeXt50_32X4D_Weights

from napari_why.errors import ModelFileError, OfflineError, ParameterError

IMAGENET = ResNeXt50_32X4D_Weights.IMAGENET1K_V1


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


def imagenet_path() -> Path:
    """Return where torch keeps the ImageNet weights once they are downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(IMAGENET.url).path).name


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
        state: Mapping[str, Tensor] = IMAGENET.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise OfflineError(
            f"resnext50: the ImageNet weights could not be downloaded ({error}); place the file "
            f"{IMAGENET.url} at {path}, or give weights=PATH to it, or weights='random'"
        ) from error
    return state


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from .safetensors or from torch's own format, tensors only.

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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelFileError(
            f"{path}: found a file that cannot be read ({type(error).__name__}); expected a state "
            "dict of tensors; download it again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelFileError(f"{path}: found {type(state).__name__}; expected a dict of tensors")
    return state
