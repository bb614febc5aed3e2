"""Files that somebody else may have made: never more is read than asked for, and no other path."""

import json
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from torch import Tensor

from napari_why.core.errors import ModelFileError
from napari_why.core.garbage import no_collection
from napari_why.core.schema import parse_json

# JSON of a million training images, each with its path and digest (200 bytes), fits.
LARGEST_JSON = 2**28
# Twice the weights, statistics and second network of the largest network there is here (3.5 GB).
LARGEST_TENSORS = 2**33
# The length of a header stands in the first eight bytes of a safetensors file.
LENGTH = 8
# Bytes of a value by the names that safetensors gives to types; others are never written.
TYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
Shapes = dict[str, tuple[int, ...]]

# What Python itself opens to import a module, which building may do for the first time.
MODULES = (".py", ".pyc", ".pyd", ".so", ".dylib", ".dll")
# What leads out of the process beside opening files, by the names of Python's audit events.
DOORS = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "urllib.Request",
)


def read_regular(path: Path, largest: int) -> bytes:
    """Return the content of a plain file; a link, a pipe or a device is not opened.

    Parameters
    ----------
    path : Path
        The folder around it may be reached by links, for that is how its user named it.
    largest : int
        Bytes.

    Returns
    -------
    bytes
        All of it.

    Raises
    ------
    ModelFileError
        It is another kind of file, or a larger one.
    OSError
        It is missing or cannot be read.
    """
    kind = path.lstat().st_mode
    if not stat.S_ISREG(kind):
        found = "a link" if stat.S_ISLNK(kind) else "no plain file"
        raise ModelFileError(
            f"{path}: found {found}; expected a file; copy the folder with its files"
        )
    # the flags close the gap between looking and opening, where the system knows them
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ModelFileError(
            f"{path}: found more than {largest} bytes; expected at most that; take the original file"
        )
    return content


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a content, in hexadecimal."""
    return sha256(content).hexdigest()


def read_tensors(content: bytes, where: str, check: Callable[[Shapes], None]) -> dict[str, Tensor]:
    """Read safetensors; what they are called and their shapes are checked before they take memory.

    Parameters
    ----------
    content : bytes
        Of the whole file.
    where : str
        Names the file in messages.
    check : callable
        Gets the shapes by name and raises ModelFileError for those that are not expected.

    Returns
    -------
    dict of str to Tensor
        On the processor.

    Raises
    ------
    ModelFileError
        No safetensors, types or sizes that cannot be, or a value that is no finite number.
    """
    shapes = _read_shapes(content, where)
    check(shapes)
    try:
        tensors = tensors_of(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise ModelFileError(f"{where}: found no safetensors file ({error})") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelFileError(f"{where}: found NaN or infinite values in {name}; train anew")
    return tensors


def _read_shapes(content: bytes, where: str) -> Shapes:
    size = int.from_bytes(content[:LENGTH], "little")
    if len(content) < LENGTH or size > min(len(content) - LENGTH, LARGEST_JSON):
        raise ModelFileError(f"{where}: found no safetensors file (its header is cut off)")
    header: Any = parse_json(content[LENGTH : LENGTH + size], where)
    if not isinstance(header, dict):
        raise ModelFileError(f"{where}: found no safetensors file (its header is no mapping)")
    return {
        name: _read_shape(entry, f"{where}, {name}")
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _read_shape(entry: Any, where: str) -> tuple[int, ...]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    sides = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    if not isinstance(entry, dict) or not sides or entry.get("dtype") not in TYPES:
        raise ModelFileError(f"{where}: found {json.dumps(entry)[:80]}; expected type and shape")
    if prod(shape or ()) * TYPES[entry["dtype"]] > LARGEST_TENSORS:
        raise ModelFileError(f"{where}: found the shape {shape}, which is too large")
    return tuple(shape or ())


# How deep the stack was where the doors were closed; 0 while they are open.
_closed: ContextVar[int] = ContextVar("closed", default=0)
_installed: list[bool] = []


@contextmanager
def no_doors() -> Iterator[None]:
    """Let nothing in the block open a file or go online, whatever code of whichever package runs.

    In this thread alone; modules can still be imported, whatever they open for it. The networks of this
    package need no such guard: it is there for those of others, whose parameters a foreign file may fill in.

    Raises
    ------
    ModelFileError
        From within, where something tried.

    Examples
    --------
    >>> with no_doors():  # doctest: +ELLIPSIS
    ...     open("weights.pth")
    Traceback (most recent call last):
    ...
    napari_why.core.errors.ModelFileError: a saved network tried to open weights.pth; ...
    """
    if not _installed:  # a hook cannot be taken away again, so that there must be one alone
        _installed.append(True)
        sys.addaudithook(_watch)
    # Python collects garbage whenever it likes and calls what others asked it to, which is no deed of the
    # network: workers of dask look at their memory then, in a file. In the midst of the reset that would even
    # leave the doors closed: a variable that is read then remembers its old value
    with no_collection():  # until the doors are open again
        before = _closed.set(sum(1 for _ in traceback.walk_stack(None)))
        try:
            yield
        finally:
            _closed.reset(before)


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _closed.get():
        return
    if event == "open":
        # what is opened by number had been opened by name before
        harmless = isinstance(arguments[0], int) or str(arguments[0]).endswith(MODULES)
        if not harmless and not _is_importing():
            raise _refuse(f"open {arguments[0]}")
    elif event in DOORS:
        raise _refuse(f"use {event}")


def _is_importing() -> bool:
    """Tell whether the import of a module has begun since the doors were closed.

    What a module does while it is imported cannot hang on a parameter that a foreign file fills in.
    torchvision, for one, imports the compiler of torch, which reads entry points and tries a file.
    """
    frames = [frame for frame, _ in traceback.walk_stack(None)]
    since = frames[: len(frames) - _closed.get()]
    return any(frame.f_globals.get("__name__") == "importlib._bootstrap" for frame in since)


def _refuse(deed: str) -> ModelFileError:
    return ModelFileError(
        f"a saved network tried to {deed}; expected one that is built from what was saved alone; "
        "take the original file, or ask who wrote the network's package to mark the parameter as "
        "InitialWeights"
    )
