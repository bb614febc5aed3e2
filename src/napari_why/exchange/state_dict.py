"""A state dict of a known architecture: numbers alone, loaded into a network that is built here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.exchange.options import ImportOptions
from napari_why.networks import Network, build_network, find_network
from napari_why.networks.library_networks import LIBRARIES, LibraryNetwork
from napari_why.networks.resnext50 import read_state

ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
# Under which training programs put the network's part (PyTorch Lightning, timm and others).
NESTED = ("state_dict", "model", "model_state_dict", "net")
# What DataParallel and torch.compile put before each name.
PREFIXES = ("module.", "_orig_mod.", "model.")


def load_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from .safetensors or torch's own format; no code of the file runs.

    Raises
    ------
    ModelFileError
        It holds something else than tensors by name.
    """
    state = read_state(path, nested=NESTED)
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def build_for_state(
    state: Mapping[str, Tensor],
    options: ImportOptions,
    *,
    channels: int,
    classes: int,
    size: int,
    where: str,
) -> Network:
    """Build the network of an architecture, with the numbers of a state dict.

    Parameters
    ----------
    state : mapping of str to Tensor
    options : ImportOptions
        ``architecture``: ``torchvision/NAME``, ``timm/NAME`` or a network of this package.
    channels, classes : int
    size : int
        Height and width in pixels.
    where : str
        Names the file in messages.

    Returns
    -------
    Network
        With these numbers, on the processor.

    Raises
    ------
    ParameterError
        No architecture, or one that is not known.
    ModelFileError
        The numbers do not fit it.
    """
    library, _, name = options.architecture.rpartition("/")
    if not options.architecture:
        raise ParameterError(
            f"architecture: found none for {where}; expected torchvision/NAME, timm/NAME or a network of "
            "this package: a state dict holds numbers alone"
        )
    if library and library not in LIBRARIES:
        raise ParameterError(
            f"architecture: found {options.architecture!r}; expected {' or '.join(LIBRARIES)} before "
            "the stroke"
        )
    asked: dict[str, Any] = {"input_channels": channels, "classes": classes, "size": size}
    if library:
        network = build_network(library, architecture=name, **asked)
    else:
        network = build_network(name, **asked, **find_network(name).initial_weights)
    wanted = network.state_dict()
    # a library's network is wrapped in two, and keeps the names of its own within
    renamed = network.rename_state(state) if isinstance(network, LibraryNetwork) else state
    wrong = sorted(
        key
        for key in {*wanted, *renamed}
        if key not in wanted or key not in renamed or wanted[key].shape != renamed[key].shape
    )
    if wrong:
        found, expected = (
            tuple(part[wrong[0]].shape) if wrong[0] in part else "nothing"
            for part in (renamed, wanted)
        )
        raise ModelFileError(
            f"{where}: found numbers that differ from {options.architecture} in {len(wrong)} places, "
            f"first {wrong[0]}: {found}; expected {expected}; check architecture, channels and classes"
        )
    network.load_state_dict(renamed)
    return network
