"""What rooms declare, read without the libraries that they compute with: for ``--help``.

Methods, networks and options are declared beside what computes them, in rooms that import torch,
which takes seconds. Their names, parameters and sentences of help need none of it. So the rooms are
imported with stand-ins in the place of the libraries, as Sphinx does where it reads the documentation
of what it cannot run (``autodoc_mock_imports``).

A stand-in can be what a declaration makes of a library: a base class, an annotation, a decorator. It
has no value: whoever asks it for a number, a text or a truth gets a TypeError, and then the rooms are
imported as they are. So what is read is what the libraries would have given, only sooner.
"""

import gc
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from inspect import isclass, isfunction
from types import ModuleType
from typing import Any, TypeVar

Described = TypeVar("Described")

# Those of the dependencies that compute, read, write and draw. Of what is left out, typer and rich
# are there already.
PACKAGE = "napari_why"
LIBRARIES = (
    "captum",
    "dask",
    "imagecodecs",
    "imageio",
    "imageio_ffmpeg",
    "matplotlib",
    "numpy",
    "openpyxl",
    "pandas",
    "PIL",
    "psutil",
    "pyarrow",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "tifffile",
    "torch",
    "torchvision",
    "xarray",
    "zarr",
)


def read_declarations(declare: Callable[[], Described]) -> Described:
    """Return what ``declare`` finds in rooms that it imports, without loading libraries if possible.

    Parameters
    ----------
    declare : callable
        Imports rooms and returns plain facts: nothing of the rooms' own, which are forgotten after it.
    """
    # whatever goes wrong with stand-ins does so without, and is raised, or was for them
    with suppress(Exception), stand_ins(LIBRARIES), _no_collection(), warnings.catch_warnings():
        # by which a registry tells that it left out another package
        warnings.simplefilter("error", UserWarning)
        return declare()
    return declare()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: modules leave next to none, and it takes an eighth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def stand_ins(libraries: Sequence[str]) -> Iterator[None]:
    """Import stand-ins for libraries that are not there yet, and forget what is imported by them.

    Of what the block imports, modules stay of the standard library and of libraries that were there:
    whoever imports a room after it gets the room with the libraries.
    """
    before = set(sys.modules)
    finder = _Finder(set(libraries) - before)
    # this package keeps its rooms, and the public names that were asked for, as attributes
    known = {name: set(vars(sys.modules[name])) for name in before if _top(name) == PACKAGE}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        stay = (before | sys.stdlib_module_names) - {PACKAGE}
        for name in set(sys.modules) - before:
            if _top(name) not in stay:
                del sys.modules[name]
        for name, attributes in known.items():
            for added in set(vars(sys.modules[name])) - attributes:
                delattr(sys.modules[name], added)


def _top(module: str) -> str:
    return module.partition(".")[0]


class StandIn:
    """Something of a library, as far as a declaration needs it."""

    def __getattr__(self, name: str) -> "StandIn":
        if name.startswith("__"):  # by which Python asks what it can do
            raise AttributeError(name)
        return StandIn()

    def __call__(self, *given: Any, **options: Any) -> Any:
        """Return the function or class that it decorates."""
        decorated = len(given) == 1 and not options and (isfunction(given[0]) or isclass(given[0]))
        return given[0] if decorated else StandIn()

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[()]:
        """Leave a subclass without it."""
        return ()

    def __getitem__(self, _item: Any) -> "StandIn":
        return StandIn()

    def _calculate(self, *_: Any) -> "StandIn":
        return StandIn()

    __or__ = __ror__ = __neg__ = __add__ = __radd__ = __sub__ = __rsub__ = _calculate
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = _calculate
    # What has items is gone through otherwise, without an end.
    __iter__ = None

    def __bool__(self) -> bool:
        raise TypeError("a stand-in is neither true nor false")

    def __str__(self) -> str:
        raise TypeError("a stand-in is no text")


class _Finder(MetaPathFinder, Loader):
    """Finds stand-ins for libraries and all their modules."""

    def __init__(self, libraries: set[str]) -> None:
        self._libraries = libraries

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Return how a module of the libraries is imported; None of any other."""
        if _top(name) not in self._libraries:
            return None
        return ModuleSpec(name, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Let every name of the module be a stand-in."""
        module.__dict__["__getattr__"] = StandIn().__getattr__
