"""What rooms declare, read without the libraries that they compute with: for ``--help``.

Methods, networks and options are declared beside what computes them, in rooms that import torch,
which takes seconds. Their names, parameters and sentences of help need none of it. So the rooms are
imported with stand-ins in the place of the libraries, as Sphinx does where it reads the documentation
of what it cannot run (``autodoc_mock_imports``).

A stand-in can be what a declaration makes of a library: a base class, an annotation, a decorator. It
has no value: whoever asks it for a number, a text or a truth gets a TypeError, and then the rooms are
imported as they are. So what is read is what the libraries would have given, only sooner.

Nor does a declaration need most of the rooms that its own file imports, for what it computes. A name
of another file of this package is therefore a :class:`LateName`, which imports that file once more is
asked of it than to stand in an annotation, as lazy imports will do of themselves (PEP 810).
"""

import builtins
import operator
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from inspect import isclass, isfunction
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

from napari_why.core.garbage import no_collection

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

# Held while a thread reads: how names and libraries are imported is of the whole process.
_READING = RLock()


def read_declarations(declare: Callable[[], Described]) -> Described:
    """Return what ``declare`` finds in rooms that it imports, without loading libraries if possible.

    Parameters
    ----------
    declare : callable
        Imports rooms and returns plain facts: nothing of the rooms' own, which are forgotten after it.
    """
    # whatever goes wrong with stand-ins does so without, and is raised, or was for them
    with suppress(Exception):
        return read_early(declare)
    return declare()


def read_early(declare: Callable[[], Described]) -> Described:
    """Return what ``declare`` finds, with stand-ins for the libraries and late names of the rooms.

    Parameters
    ----------
    declare : callable
        As of :func:`read_declarations`.

    Returns
    -------
    object
        What it returns, without stand-ins anywhere within.

    Raises
    ------
    TypeError
        Something is told of a value that a library has.
    """
    # no collection: modules leave next to no garbage, and to look for it takes an eighth of the time
    with _READING, stand_ins(LIBRARIES), late_names(), no_collection(), warnings.catch_warnings():
        # by which a registry tells that it left out another package
        warnings.simplefilter("error", UserWarning)
        described: Described = _settle(declare())
        return described


def _settle(fact: Any) -> Any:
    """Return plain facts with what late names in them name, a default for example."""
    if isinstance(fact, LateName):
        return _settle(fact.__value__)
    if isinstance(fact, StandIn):
        raise TypeError("found a stand-in for a value; expected what a declaration tells itself")
    if isinstance(fact, Mapping):
        return {_settle(name): _settle(item) for name, item in fact.items()}
    # a named tuple takes its items one by one
    if isinstance(fact, tuple) and hasattr(fact, "_fields"):
        return type(fact)(*map(_settle, fact))
    if isinstance(fact, list | tuple | set | frozenset):
        return type(fact)(map(_settle, fact))
    if is_dataclass(fact) and not isinstance(fact, type):
        before = {item.name: getattr(fact, item.name) for item in fields(fact) if item.init}
        return replace(fact, **{name: _settle(item) for name, item in before.items()})
    return fact


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

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[Any, ...]:
        """Leave a subclass without it."""
        return ()

    def __getitem__(self, _item: Any) -> "StandIn":
        return StandIn()

    def _calculate(self, *_: Any) -> "StandIn":
        return StandIn()

    __or__ = __ror__ = __neg__ = __add__ = __radd__ = __sub__ = __rsub__ = _calculate
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = _calculate
    # What has items is gone through otherwise, without an end.
    __iter__: Any = None
    # As an annotation it is put by in tables of typing.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        if self is other or _is_of_typing(other):
            return NotImplemented
        raise TypeError("a stand-in equals nothing and differs from nothing")

    def __bool__(self) -> bool:
        raise TypeError("a stand-in is neither true nor false")

    def __str__(self) -> str:
        raise TypeError("a stand-in is no text")

    __repr__ = __str__


def _is_of_typing(other: object) -> bool:
    """Tell whether something is a form of annotations, which typing compares every annotation with."""
    return type(other).__module__ == "typing"


def _through(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that does an operation with what a late name names, and with what others name."""

    def calculate(self: "LateName", *others: Any) -> Any:
        return operation(self.__value__, *map(_value_of, others))

    return calculate


def _reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method of an operation whose second operand is the late name."""

    def calculate(self: "LateName", other: Any) -> Any:
        return operation(_value_of(other), self.__value__)

    return calculate


class LateName(StandIn):
    """A name that a file of this package imports from another, which is not imported until it must be.

    A decorator, a base class, the entries of a registry need it: there it is what it names. As an
    annotation it is like an alias of a type (PEP 695), evaluated by who asks for its ``__value__``.

    Compared, put into a set, calculated with, gone through and written it is what it names. Only ``is`` cannot know: a name
    of None is not None before it is imported.
    """

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find = find

    @property
    def __value__(self) -> Any:
        """What it names."""
        return _value_of(self._find())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # by which Python asks what it can do
            raise AttributeError(name)
        return getattr(self.__value__, name)

    def __call__(self, *given: Any, **options: Any) -> Any:
        """Call what it names: a decorator, a mark of an annotation."""
        return self.__value__(*given, **options)

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[Any, ...]:
        """Let a subclass have it as its base."""
        return (self.__value__,)

    def __or__(self, other: Any) -> "LateName":
        return LateName(lambda: self.__value__ | _value_of(other))

    def __ror__(self, other: Any) -> "LateName":
        return LateName(lambda: other | self.__value__)

    def __eq__(self, other: object) -> Any:
        if self is other or _is_of_typing(other):
            return NotImplemented
        return self.__value__ == _value_of(other)

    def __hash__(self) -> int:
        return hash(self.__value__)

    def __format__(self, how: str) -> str:
        return format(self.__value__, how)

    __getitem__ = _through(operator.getitem)
    __contains__ = _through(operator.contains)
    __len__ = _through(len)
    __iter__ = _through(iter)
    __bool__ = _through(bool)
    __str__ = _through(str)
    __repr__ = _through(repr)
    __int__ = _through(int)
    __float__ = _through(float)
    __index__ = _through(operator.index)
    __lt__ = _through(operator.lt)
    __le__ = _through(operator.le)
    __gt__ = _through(operator.gt)
    __ge__ = _through(operator.ge)
    __neg__ = _through(operator.neg)
    __add__ = _through(operator.add)
    __sub__ = _through(operator.sub)
    __mul__ = _through(operator.mul)
    __truediv__ = _through(operator.truediv)
    __mod__ = _through(operator.mod)
    __pow__ = _through(operator.pow)
    __radd__ = _reflected(operator.add)
    __rsub__ = _reflected(operator.sub)
    __rmul__ = _reflected(operator.mul)
    __rtruediv__ = _reflected(operator.truediv)
    __rmod__ = _reflected(operator.mod)
    __rpow__ = _reflected(operator.pow)


def _value_of(found: Any) -> Any:
    return found.__value__ if isinstance(found, LateName) else found


@contextmanager
def late_names() -> Iterator[None]:
    """Let files of this package import names of each other late; a function imports them as ever."""
    plain = builtins.__import__

    # The arguments and their names are Python's own.
    def import_late(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        # "*" takes all names there are; a call of __import__ without globals wants the module itself
        whole = not fromlist or "*" in fromlist or globals is None
        if whole or level or _top(name) != PACKAGE:
            return plain(name, globals, locals, fromlist or (), level)
        # at the top of a file they are the same, within a function the locals are its own
        return _Names(name, late=locals is globals)

    # By which every import statement is made. A finder would not do: what it finds is the same module to
    # who imports a name of it, and to a room that imports its files so that they register.
    builtins.__import__ = import_late
    try:
        yield
    finally:
        builtins.__import__ = plain


class _Names:
    """The names of a module, to an import statement."""

    def __init__(self, module: str, *, late: bool) -> None:
        self._module, self._late = module, late

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the module itself, as importlib asks for its path
            return getattr(import_module(self._module), name)
        module = sys.modules.get(self._module)
        if module is not None and name in vars(module):
            there = vars(module)[name]  # maybe None
            if not isinstance(there, LateName):
                return there
        late = LateName(lambda: self._find(name))
        return late if self._late else late.__value__

    def _find(self, name: str) -> Any:
        module = _import_alone(self._module)
        if hasattr(module, name):
            return getattr(module, name)
        return _import_alone(f"{self._module}.{name}")


def _import_alone(name: str) -> ModuleType:
    """Import a file of this package, and none of the others that its room's door imports."""
    _close_door(_room(name))
    return import_module(name)


def _room(name: str) -> str:
    return name.rpartition(".")[0]


def _close_door(name: str) -> None:
    """Let a package that is not there run once something of its own is asked for, not a file in it."""
    if name in sys.modules or not name:
        return
    _close_door(_room(name))
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name)
    door, loader = module_from_spec(spec), spec.loader

    def open_door(asked: str) -> Any:
        if asked.startswith("__"):  # by which Python asks what it can do
            raise AttributeError(asked)
        del vars(door)["__getattr__"]
        loader.exec_module(door)
        return getattr(door, asked)

    vars(door)["__getattr__"] = open_door
    sys.modules[name] = door


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
