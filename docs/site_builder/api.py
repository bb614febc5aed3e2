"""The reference of Python: one page for the names of ``why.``, one for each room's further names."""

import inspect
import pkgutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import napari_why as why

# Rooms without names of their own for other programs: the shell and the docks have pages of theirs,
# and what `core` and `output` offer to extensions stands in modules.
NO_DOORS = ("cli", "widgets", "core", "output")
# What extensions and scripts take from those two.
MODULES = (
    "napari_why.core.errors",
    "napari_why.core.events",
    "napari_why.core.options",
    "napari_why.core.pictures",
    "napari_why.core.record",
    "napari_why.core.registry",
    "napari_why.output.figures",
    "napari_why.output.images",
    "napari_why.output.layer_metadata",
    "napari_why.output.layers",
)
FOLDER = "api"


def rooms() -> list[ModuleType]:
    """Return the rooms that list what they offer, in alphabetical order."""
    found = sorted(item.name for item in pkgutil.iter_modules(why.__path__) if item.ispkg)
    return [import_module(f"napari_why.{name}") for name in found if name not in NO_DOORS]


def own_names(module: ModuleType) -> list[str]:
    """Return the public names that are defined in a module and not taken from another one."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def documented_names() -> dict[str, Any]:
    """Return what has an entry in the reference, by the name that it has there, the first one first.

    An object of several rooms is described once: as ``why.name`` where it is there, else in the first
    room that lists it. Equal names of other objects (``Method``) stay apart.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    doors = [(why, [name for name in why.__all__ if name != "__version__"])]
    doors += [(room, room.__all__) for room in rooms()]
    doors += [(module, own_names(module)) for module in map(import_module, MODULES)]
    for module, names in doors:
        for name in sorted(names, key=str.casefold):
            value = getattr(module, name)
            if id(value) not in seen:
                seen.add(id(value))
                found[f"{module.__name__}.{name}"] = value
    return found


def write_api(generated: Path) -> None:
    """Write ``api/index.rst`` and a page for each door."""
    folder = generated / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[str, list[str]] = {}
    for full in documented_names():
        pages.setdefault(full.rpartition(".")[0], []).append(full)
    for module, names in pages.items():
        replace_text(folder / f"{module}.rst", "\n".join(_page(module, names)))
    lines = ["Python", "======", "", ".. toctree::", "   :maxdepth: 1", ""]
    replace_text(folder / "index.rst", "\n".join([*lines, *(f"   {name}" for name in pages), ""]))


def replace_text(path: Path, text: str) -> None:
    """Write a page where its text is another one, so that Sphinx reads again only what changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_number(value: float) -> str:
    """Return a limit as it is typed: a whole number with all its digits.

    Examples
    --------
    >>> write_number(2147483647.0), write_number(0.2)
    ('2147483647', '0.2')
    """
    return f"{int(value)}" if float(value).is_integer() else f"{value:g}"


def _page(module: str, names: Iterable[str]) -> list[str]:
    title = "``import napari_why as why``" if module == "napari_why" else module
    lines = [title, "=" * len(title), ""]
    summary = (inspect.getdoc(import_module(module)) or "").partition("\n\n")[0]
    lines += [*summary.splitlines(), ""]
    for full in names:
        lines += [f".. {_directive(full)}:: {full}"]
        if _directive(full) == "autoclass":
            lines += ["   :members:", "   :show-inheritance:"]
        lines += [""]
    return lines


def _directive(full: str) -> str:
    module, _, name = full.rpartition(".")
    value = getattr(import_module(module), name)
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if inspect.isroutine(value) else "autodata"
