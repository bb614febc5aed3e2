"""Which device to compute on, in which precision, how many processor threads to take, and seeds.

Sums, probabilities and refined inverses want float64, and an Apple GPU has none. So nothing else
casts to float64: :func:`to_float64` and :func:`copy_in_float64` take what needs it to where it is.
"""

import copy
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from napari_why.core.errors import ParameterError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ModuleType = TypeVar("ModuleType", bound="nn.Module")


@dataclass(frozen=True)
class DeviceChoice:
    """A torch device name and why it was chosen, in words for the user."""

    name: str
    reason: str


def choose_device(wanted: str = "auto") -> DeviceChoice:
    """Choose where to compute.

    Parameters
    ----------
    wanted : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns
    -------
    DeviceChoice

    Raises
    ------
    ParameterError
        The wanted device is unknown or not there.
    """
    # Seconds to import, and the shell lists its commands without it.
    import torch

    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    there = ["cpu", *(f"cuda:{index}" for index in range(cuda)), *(["mps"] if mps else [])]
    if wanted == "auto":
        # The first of several GPUs is as good as the others; whoever minds names one.
        if cuda:
            return DeviceChoice("cuda:0", f"the GPU {torch.cuda.get_device_name(0)} is there")
        if mps:
            return DeviceChoice("mps", "the Apple GPU is there")
        return DeviceChoice("cpu", "no GPU that torch can use is there")
    name = "cuda:0" if wanted == "cuda" else wanted
    if name not in there:
        raise ParameterError(
            f"device: found {wanted!r}; expected auto or one of {', '.join(there)}"
        )
    return DeviceChoice(name, "it was asked for")


@cache  # asking takes a tensor, and the answer stays the same
def float64_device(device: "torch.device") -> "torch.device":
    """Return where to compute in float64: the device itself, or the processor if it has none."""
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError) as error:  # Apple's GPUs raise the first, Intel's the second
        if not re.search("float64|fp64|double", str(error)):
            raise  # full memory, say, tells nothing about float64
        return torch.device("cpu")
    return device


def to_float64(tensor: "Tensor", device: "torch.device | None" = None) -> "Tensor":
    """Return a tensor in float64, on its device or, where that has no float64, on the processor.

    Parameters
    ----------
    tensor : Tensor
        On any device.
    device : torch.device, optional
        Where the result is wanted instead; the processor stands in for it in the same way.
    """
    place = float64_device(tensor.device if device is None else device)
    # in two steps: neither Apple's GPU nor a copy from it knows float64
    return tensor.to(place).double()


def copy_in_float64(module: ModuleType) -> ModuleType:
    """Return a copy of a module in float64, where :func:`to_float64` takes its tensors."""
    place = float64_device(next(module.parameters()).device)
    return copy.deepcopy(module).to(place).double()


def to_like(tensor: "Tensor", other: "Tensor") -> "Tensor":
    """Return a tensor in the dtype and on the device of another; float64 stays behind."""
    # in this order, since the device may have no float64
    return tensor.to(other.dtype).to(other.device)


def default_threads() -> int:
    """Return the cores that this process may use minus one, at least 1.

    The core left over keeps the viewer responsive: two busy threads that share a core slow torch
    down many times over.
    """
    # Affinity before count: in a container or a batch job, other cores are there but not for us.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) - 1)


@contextmanager
def limited_threads(threads: int | None = None) -> Iterator[int]:
    """Cap torch's threads inside the block and restore them after it.

    Parameters
    ----------
    threads : int, optional
        The cap; :func:`default_threads` when None.
    """
    import torch

    before = torch.get_num_threads()
    # The default never raises a cap that the user or an outer block has set.
    count = min(default_threads(), before) if threads is None else threads
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded_torch(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch's own generator inside the block and give its state back after it.

    Dropout and weight initialisation draw from that generator and take no other.
    """
    import torch

    kind, _, index = device.partition(":")
    with torch.random.fork_rng([int(index or 0)] if kind == "cuda" else []):
        torch.manual_seed(seed)
        yield
