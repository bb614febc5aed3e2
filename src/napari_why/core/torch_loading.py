"""Loading torch into a process that draws with OpenGL.

Two things have to be minded, both on Linux only:

- Mesa, the open graphics driver, makes the symbols of its LLVM visible to the whole process, and
  triton, which comes with torch, holds another LLVM. Loaded after a window was drawn, triton
  would bind to the driver's and crash the process. Bound deeply (RTLD_DEEPBIND) it finds its own.
- Python holds its lock while it opens a library, so that the viewer would stand still. Opened
  through ctypes' function call, which lets the lock go, the libraries are there when Python asks.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# Opened in this order: triton first, before anything else can open it without the deep binding. Of
# torch the three that hold nearly all of its code; they pull in the others.
LIBRARIES = {
    "triton": ("_C/libtriton.so",),
    "torch": ("lib/libtorch_cpu.so", "lib/libtorch_cuda.so", "lib/libtorch_python.so"),
}


# torchvision last: it brings torch's compiler, and with it nearly all that anything here imports.
PACKAGES = ("torch", "torchvision")
# Set, once and for all, when somebody has asked for the libraries.
_asked_for: set[str] = set()


def is_torch_loading() -> bool:
    """Tell whether torch was asked for and cannot be used yet: the first time takes seconds.

    Examples
    --------
    >>> import torch
    >>> is_torch_loading()
    False
    """
    begun = "torch" in _asked_for or "torch" in sys.modules
    # nn is among the last parts that an import of torch brings
    return begun and not hasattr(sys.modules.get("torch"), "nn")


def load_torch_libraries() -> tuple[Path, ...]:
    """Open the libraries of triton and torch so that they neither clash nor stop the viewer.

    Quick when they are open already; does nothing but on Linux, nor for what is not installed.
    To be called, in any thread, before torch is imported beside an open window;
    :func:`import_torch` does.

    Returns
    -------
    tuple of Path
        The libraries that were opened.
    """
    _asked_for.add("torch")
    # Only Linux has both the flag and the clash that it prevents.
    if not hasattr(os, "RTLD_DEEPBIND"):
        return ()
    return tuple(
        path
        for package, names in LIBRARIES.items()
        for path in _find_files(package, names)
        if _open(path, deeply=package == "triton")
    )


def import_torch() -> None:
    """Import torch whole, by one door; for every thread beside an open window.

    torch is a thousand modules that import each other. Where two threads come in by two doors, each
    would wait for the other for ever, so Python lets one go on with modules that are half made: two
    pages of a dock, opened one after the other, fail with an AttributeError deep within torch. Who
    comes in by the same door waits for the first.
    """
    load_torch_libraries()
    for package in PACKAGES:
        import_module(package)


def _find_files(package: str, names: tuple[str, ...]) -> list[Path]:
    # Finding a package does not import it, which is what must not happen yet.
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return []
    folder = Path(next(iter(found.submodule_search_locations)))
    return [folder / name for name in names if (folder / name).is_file()]


def _open(path: Path, *, deeply: bool) -> bool:
    """Open a library for good; what cannot be opened is left to Python, which says why."""
    import ctypes

    # The C function, not ctypes.CDLL(path): that opens the library with Python's lock held.
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    flags = os.RTLD_NOW | (os.RTLD_DEEPBIND if deeply else 0)
    return dlopen(os.fsencode(path), flags) is not None
