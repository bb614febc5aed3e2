"""A GPU without float64, emulated on the processor, in the place of Apple's.

Its tensors compute on the processor, but say that they lie on ``mps``. As on Apple's GPU, float64 is
refused there with the same words, numpy cannot read from there, and a tensor of the processor cannot
be added to one of the GPU. How a real one rounds, and which operations it lacks, this cannot tell.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from napari_why.core.devices import float64_device

GPU = torch.device("mps")
# what torch takes them for: a device that it knows wherever it was built, and that has no kernels
STAND_IN = torch.device("meta")
NO_FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
    "Please use float32 instead."
)
COPIES = ("_to_copy", "copy_")
READING = (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__)
INDEXING = ("index", "index_put_", "_index_put_impl_")  # the indices may lie on the processor


class OnGpu(torch.Tensor):
    """A tensor on the emulated GPU; the one it computes with lies on the processor."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "OnGpu":
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=STAND_IN,
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    """Run an operation of torch on the processor, as the emulated GPU would or would not."""
    name = func.name().partition("::")[2].partition(".")[0]
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    here = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, OnGpu) and tensor.dim()]
    wanted = kwargs.get("device")
    onto_gpu = bool(here) if wanted is None else wanted == STAND_IN
    if here and elsewhere and name not in (*COPIES, *INDEXING):
        raise RuntimeError(f"Expected all tensors to be on the same device: {name} on mps and cpu")
    dtypes = {tensor.dtype for tensor in tensors} | {kwargs.get("dtype")}
    if name in COPIES and (here or onto_gpu) and torch.float64 in dtypes:
        raise TypeError(NO_FLOAT64)
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner_args, inner_kwargs = tree_map(
        lambda leaf: leaf.inner if isinstance(leaf, OnGpu) else leaf, (args, kwargs)
    )
    found = func(*inner_args, **inner_kwargs)
    if name.endswith("_") and not name.startswith("_foreach"):
        return args[0]  # changed in place
    return tree_map(_put_onto_gpu, found) if onto_gpu else found


def _put_onto_gpu(leaf):
    if not isinstance(leaf, torch.Tensor):
        return leaf
    if leaf.dtype == torch.float64:
        raise TypeError(NO_FLOAT64)
    return OnGpu(leaf)


class Computing(TorchDispatchMode):
    """Brings tensors onto the GPU and makes new ones there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class Naming(TorchFunctionMode):
    """Calls the stand-in by the name of Apple's GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func == torch.Tensor.device.__get__ and isinstance(args[0], OnGpu):
            return GPU
        if func in READING and isinstance(args[0], OnGpu):
            if func is torch.Tensor.tolist:
                return args[0].cpu().tolist()
            raise TypeError(f"can't convert {GPU} device type tensor to numpy. Use Tensor.cpu()")
        args, kwargs = tree_map(_translate, (args, kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == STAND_IN:
            # torch would put no numbers into it
            return func(*args, **kwargs | {"device": "cpu"}).to(STAND_IN)
        return func(*args, **kwargs)


def _translate(leaf):
    is_device = isinstance(leaf, (str, torch.device))
    return STAND_IN if is_device and str(leaf) == str(GPU) else leaf


@contextmanager
def emulated_gpu() -> Iterator[None]:
    """Have the GPU inside the block, for whoever asks for the device mps."""
    with pytest.MonkeyPatch.context() as patch, Naming(), Computing():
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(
            torch.backends.mps, "is_available", cache(lambda: True)
        )  # torch wants it cached
        patch.setattr(torch.mps, "manual_seed", lambda seed: None)
        float64_device.cache_clear()
        yield
    float64_device.cache_clear()


@pytest.fixture(scope="session")
def with_gpu() -> Callable[[], AbstractContextManager[None]]:
    """Return what has the GPU for a block."""
    return emulated_gpu


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """Have a GPU without float64 during the test."""
    with emulated_gpu():
        yield GPU
