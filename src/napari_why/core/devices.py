"""Which device to compute on, in which precision, with how much memory and how many threads, and seeds.

Sums, probabilities and refined inverses want float64, and an Apple GPU has none. So nothing else
casts to float64: :func:`to_float64` and :func:`copy_in_float64` take what needs it to where it is.
"""

import copy
import gc
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeVar

from napari_why.core.errors import OutOfMemoryError, ParameterError
from napari_why.core.events import Message, OnEvent

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ModuleType = TypeVar("ModuleType", bound="nn.Module")
T = TypeVar("T")
# Of convolutions and matrix products. Not float16: it ends at 65504 and loses gradients below 6e-8, so that
# losses would have to be scaled; bfloat16 reaches as far as float32, with 8 significant bits in place of 24.
Precision = Literal["float32", "bfloat16"]
# CUDA, Apple's Metal, and torch's own allocator of the processor's memory say it in these words.
OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
# Into how many parts is done what usually is done at once.
_PARTS = ContextVar("parts", default=1)


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

    Returns
    -------
    Tensor
        Of the same shape.
    """
    place = float64_device(tensor.device if device is None else device)
    # in two steps: neither Apple's GPU nor a copy from it knows float64
    return tensor.to(place).double()


def copy_in_float64(module: ModuleType) -> ModuleType:
    """Return a copy of a module in float64, where :func:`to_float64` takes its tensors."""
    place = float64_device(next(module.parameters()).device)
    return copy.deepcopy(module).to(place).double()


def to_like(tensor: "Tensor", other: "Tensor") -> "Tensor":
    """Return a tensor in the dtype and on the device of another; float64 stays behind.

    Parameters
    ----------
    tensor : Tensor
        On any device.
    other : Tensor
        Gives dtype and device.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    # in this order, since the device may have no float64
    return tensor.to(other.dtype).to(other.device)


@contextmanager
def autocast_to(precision: Precision, device: "torch.device") -> Iterator[None]:
    """Compute convolutions and matrix products inside the block in a precision, of float32 tensors.

    As ``torch.autocast`` does: it casts what goes into them, and leaves weights what they are. What
    they return is in that precision, so that sums of it belong into :func:`at_least_float32`.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
        ``float32`` changes nothing.
    device : torch.device
        Of the tensors; one that :func:`check_precision` lets pass.
    """
    import torch

    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, dtype=torch.bfloat16):
        yield


@contextmanager
def without_autocast(device: "torch.device") -> Iterator[None]:
    """Compute inside the block in the precision of the tensors, whatever surrounds it.

    For what has to be exact in the middle of a pass, such as the norm of a kernel.
    """
    import torch

    # torch knows no autocast for some devices, such as meta, and asking whether it is on fails there
    if not torch.amp.is_autocast_available(device.type) or not torch.is_autocast_enabled(
        device.type
    ):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


def at_least_float32(tensor: "Tensor") -> "Tensor":
    """Return a tensor in float32 where its precision is lower, with its gradient; else as it is.

    Examples
    --------
    >>> import torch
    >>> at_least_float32(torch.ones(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    import torch

    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def check_precision(precision: Precision, device: str) -> None:
    """Raise ParameterError where a device cannot train in a precision.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
    device : str
        As torch names it.

    Raises
    ------
    ParameterError
        It cannot.
    """
    if precision == "bfloat16" and not _computes_in_bfloat16(device):
        raise ParameterError(
            f"precision: found bfloat16 on {device}, which cannot compute in it; expected float32; "
            "leave precision out, or choose another device"
        )


@cache  # asking takes a convolution, and the answer stays the same
def _computes_in_bfloat16(device: str) -> bool:
    import torch

    try:
        x = torch.ones(1, 1, 3, 3, device=device, requires_grad=True)
        # tried and not asked: torch answers for each kind of device by another function. Where it
        # knows that it cannot, some kinds raise, and others warn and go on in float32
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            with autocast_to("bfloat16", x.device):
                made = torch.nn.functional.conv2d(x, x)
            torch.autograd.grad(made.sum(), x)
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise  # full memory tells nothing about precisions
        return False
    return made.dtype is torch.bfloat16


def default_threads() -> int:
    """Return the cores that this process may use minus one, at least 1.

    The core left over keeps the viewer responsive: two busy threads that share a core slow torch
    down many times over.
    """
    return max(1, _cores() - 1)


def all_threads() -> int:
    """Return the cores that this process may use, or fewer where torch's threads are capped.

    For work that no viewer waits beside.
    """
    import torch

    return min(_cores(), torch.get_num_threads())


def _cores() -> int:
    # Affinity before count: in a container or a batch job, other cores are there but not for us.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


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

    Parameters
    ----------
    seed : int
    device : str
        Whose generator is seeded and given back beside the processor's, where it is one of CUDA.
    """
    import torch

    kind, _, index = device.partition(":")
    with torch.random.fork_rng([int(index or 0)] if kind == "cuda" else []):
        torch.manual_seed(seed)
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that the memory of the processor or of a GPU did not suffice.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("CUDA out of memory. Tried"))
    (True, True)
    >>> is_out_of_memory(RuntimeError("shapes do not fit"))
    False
    """
    told = isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or bool(told)


def release_memory() -> None:
    """Give back what nobody holds any more, also what torch keeps of a GPU for later."""
    gc.collect()
    torch = sys.modules.get("torch")  # who did not load it holds no GPU
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def at_a_time(count: int) -> int:
    """Return how many images to run at once, of those that usually are: half where memory was short.

    Examples
    --------
    >>> at_a_time(64)
    64
    """
    return max(1, count // _PARTS.get())


def retry_with_half(work: Callable[[], T], on_event: OnEvent, what: str) -> T:
    """Do work; where the memory does not suffice, say so and do it once more, half as much at a time.

    Parameters
    ----------
    work : callable
        Asks :func:`at_a_time` how many images it may run at once.
    on_event : callable
        Is told.
    what : str
        What is done, as in "explaining".

    Returns
    -------
    object
        What ``work`` returns.

    Raises
    ------
    OutOfMemoryError
        Half as much was too much, too.
    """
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # outside of the block: the error holds on to all that filled the memory
    release_memory()
    sentence = f"{what}: the memory did not suffice; once more, with half as many images at a time where several are run"
    on_event(Message(sentence, finding=True))
    token = _PARTS.set(2 * _PARTS.get())
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{what}: the memory did not suffice, also with half as many images at a time; expected more "
            "of it; close other programs, take a smaller image or another device"
        ) from error
    finally:
        _PARTS.reset(token)
