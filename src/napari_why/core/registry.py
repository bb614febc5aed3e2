"""What is found by its name: methods, networks, formats, of this package and every installed one.

A method is one decorated function; the decorator puts it into a :class:`Registry`. A package of
its own joins through an entry point whose group is the registry's, for example
``[project.entry-points."napari_why.attributions"]``: the module that it names is imported when the
registry is first looked at, and the decorators in it do the rest.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.options import Parameter, parameters_of

if TYPE_CHECKING:
    from importlib import metadata

Needs = Callable[[Any], str | None]
"""``(network) -> reason or None``: why a network is unsuitable."""


class Named(Protocol):
    """What every entry of a registry has."""

    @property
    def name(self) -> str:
        """The name in code, shell and records."""


Entry = TypeVar("Entry", bound=Named)


def any_network(_network: Any) -> str | None:
    """Find every network suitable."""
    return None


@dataclass(frozen=True)
class Method:
    """A function that docks, shell and console offer by its name.

    Parameters
    ----------
    name, title : str
        The name in code, shell and records; the name shown to the user.
    source : str
        Where the method comes from: paper, year.
    function : callable
        What does the work. Its keywords that carry a :class:`~napari_why.core.options.Help` are
        the user's parameters.
    needs : callable
        ``(network) -> reason or None``: why a network is unsuitable.
    caution : str
        A sentence that goes with every result, empty where none is due.
    missing : callable
        ``(classifier) -> reason or None``: what of a classifier, beside a suitable network, is not
        there.
    black_box : bool
        Whether it asks a network for logits alone, without gradients and without its layers, so that
        any network will do (``Network.black_box``).
    """

    name: str
    title: str
    source: str
    function: Callable[..., Any]
    needs: Needs = any_network
    caution: str = ""
    missing: Needs = any_network
    black_box: bool = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The user's parameters, in the order of the signature."""
        return parameters_of(self.function)

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def unsuitable(self, network: Any) -> str | None:
        """Return why the method is not defined for this network, None where it is."""
        reason = self.needs(network)
        if reason is None and not self.black_box and getattr(network, "black_box", False):
            return (
                "it can be asked for logits alone, as what an ONNX file holds, and the method needs "
                "gradients or the maps of layers"
            )
        return reason

    def takes(self, keyword: str) -> bool:
        """Whether the function names this keyword."""
        return keyword in inspect.signature(self.function).parameters

    def check(self, network: Any, others: "Registry[Method] | None" = None) -> None:
        """Raise where the method is not defined for this network.

        Parameters
        ----------
        network : Network
            To be explained.
        others : Registry, optional
            Where to look for methods that the network does have.

        Raises
        ------
        UnsupportedNetworkError
            With the reason, and what to take instead.
        """
        reason = self.unsuitable(network)
        if reason is None:
            return
        able = [name for name, other in (others or {}).items() if not other.unsuitable(network)]
        advice = f", or take {' or '.join(able)}" if able else ""
        raise UnsupportedNetworkError(
            f"{self.name}: {self.title} cannot explain {network.name}: {reason}{advice}"
        )


def title_of(name: str, methods: Mapping[str, Any]) -> str:
    """Return what a method is called in words; its name where it is registered no more.

    Parameters
    ----------
    name : str
        In code and records.
    methods : mapping of str to entry
        A registry, or what is like one.

    Returns
    -------
    str

    Examples
    --------
    >>> title_of("mean_shift", Registry[Method]("method", "napari_why.nothing"))
    'mean shift'
    """
    return methods[name].title if name in methods else name.replace("_", " ")


class Registry(MutableMapping[str, Entry], Generic[Entry]):
    """Entries by name, in the order in which they were registered, or in that of :meth:`arrange`.

    Threads may register and look up at once: what somebody goes through stays as it is meanwhile.

    Parameters
    ----------
    what : str
        What an entry is, for errors: ``"method"``.
    group : str
        The group of entry points through which other packages register.

    Examples
    --------
    >>> registry = Registry[Method]("method", "napari_why.nothing")
    >>> registry.add(Method("plain", "Plain", "", len))
    >>> registry.named("plain").title, list(registry)
    ('Plain', ['plain'])
    """

    def __init__(self, what: str, group: str) -> None:
        self.what, self.group = what, group
        # replaced and never changed, so that another thread can go through it meanwhile
        self._entries: dict[str, Entry] = {}
        self._places: Mapping[str, int] = {}
        self._lock = Lock()
        self._searched = False

    def add(self, entry: Entry) -> None:
        """Register an entry under its name.

        Raises
        ------
        ParameterError
            Another package or file has an entry of that name: it is not replaced in silence.
        """
        with self._lock:
            before = self._entries.get(entry.name)
            if before is not None and _origin(before) != _origin(entry):
                raise ParameterError(
                    f"{self.what}: found a second {entry.name!r}, of {_origin(entry)}; there is one of "
                    f"{_origin(before)} already; choose another name"
                )
            self._entries = self._in_order(self._entries | {entry.name: entry})

    def arrange(self, modules: Iterable[str]) -> None:
        """Put entries in the order of the modules that they are from, also those that come later.

        Parameters
        ----------
        modules : iterable of str
            Their full names. Entries of one module stay as they were registered; those of others come last.
        """
        with self._lock:
            self._places = {module: place for place, module in enumerate(modules)}
            self._entries = self._in_order(self._entries)

    def _in_order(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        last = len(self._places)
        return dict(
            sorted(entries.items(), key=lambda item: self._places.get(_origin(item[1]), last))
        )

    def named(self, name: str) -> Entry:
        """Return the entry of that name.

        Raises
        ------
        ParameterError
            There is none.
        """
        if name not in self:
            raise ParameterError(f"{self.what}: found {name!r}; expected one of {', '.join(self)}")
        return self[name]

    def __getitem__(self, name: str) -> Entry:
        self._find_other_packages()
        return self._entries[name]

    def __setitem__(self, name: str, entry: Entry) -> None:
        with self._lock:
            self._entries = self._in_order(self._entries | {name: entry})

    def __delitem__(self, name: str) -> None:
        with self._lock:
            entries = dict(self._entries)
            del entries[name]
            self._entries = entries

    def __iter__(self) -> Iterator[str]:
        self._find_other_packages()
        return iter(self._entries)

    def __len__(self) -> int:
        self._find_other_packages()
        return len(self._entries)

    def complete(self) -> Self:
        """Import what other packages register, and return the registry.

        Looking it up does so too; this is for a thread beside a window, which should not wait for it.
        """
        self._find_other_packages()
        return self

    def _find_other_packages(self) -> None:
        if self._searched:
            return
        self._searched = True  # before loading: what is loaded looks the registry up itself
        for point in entry_points(self.group):
            try:
                point.load()
            except Exception as error:  # noqa: BLE001 (another package's fault must not end ours)
                package = point.dist.name if point.dist else point.value
                warnings.warn(
                    f"{package}: its {self.what} {point.name!r} cannot be loaded and is left out: "
                    f"{type(error).__name__}: {error}",
                    stacklevel=2,
                )


def import_files(
    room: str, folders: Iterable[str], *registries: Registry[Any], first: Iterable[str] = ()
) -> None:
    """Import the files of a room, so that they register, and put what they registered in their order.

    A file may be imported before its turn: by another file, where that is not put off
    (:mod:`napari_why.cli.declarations`), or by another thread. The order of menus and help does not hang on
    that. No lock is held meanwhile, as a file may import another room: Python's own lets each file run once.

    Parameters
    ----------
    room : str
        The package's ``__name__``.
    folders : iterable of str
        Its ``__path__``.
    *registries : Registry
        Those that its files fill.
    first : iterable of str
        Files whose entries stand first; those of the others come by the names of the files.
    """
    names = dict.fromkeys([*first, *(file.name for file in iter_modules(folders))])
    modules = [f"{room}.{name}" for name in names]
    for module in modules:
        import_module(module)
    for registry in registries:
        registry.arrange(modules)


def entry_points(group: str) -> "metadata.EntryPoints":
    """Return what the installed packages offer under the name of a group."""
    found: metadata.EntryPoints = _all_entry_points().select(group=group)
    return found


# Another type before Python 3.12, with the same method.
@cache
def _all_entry_points() -> Any:
    # Once for all groups: it opens a file of every package that is installed.
    from importlib import metadata  # later than this file, which the shell's help imports too

    return metadata.entry_points()


def _origin(entry: Named) -> str:
    """Return the file that an entry's function or builder, or the entry's class, is from."""
    maker = getattr(entry, "function", None) or getattr(entry, "builder", None) or type(entry)
    return str(maker.__module__)
