"""What docstrings refer to: by the place of the code, while the reference describes it at its door."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.util.nodes import get_node_source

from site_builder.api import documented_names


def resolve_reference(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Link a name to the entry of the object that it is; leave its text where there is no entry.

    Sphinx asks for references that it does not find. A name that is nothing here is none: then Sphinx
    warns, and a warning ends the build.
    """
    if node.get("refdomain") != "py":
        return None
    found = next(filter(None, map(_import, _places(node))), None)
    if found is None:
        return None
    owner, member = found
    entry = _entry_of(owner)
    for known in filter(None, (entry and member and f"{entry}.{member}", entry)):
        link = _link(app, env, node, content, known)
        if link is not None:
            return link
    return nodes.inline("", "", content)


def _places(node: Any) -> Iterator[str]:
    """Return where a name may be meant: anywhere, in the class or module it stands in, in its room."""
    target = node["reftarget"]
    yield target
    written_in = re.search(r"docstring of ([\w.]+)", get_node_source(node) or "")
    if written_in is not None:
        place = written_in[1]
        while place:
            yield f"{place}.{target}"
            found = _import(place)
            module = getattr(found[0], "__module__", None) if found else None
            if module:
                yield f"{module}.{target}"
            place = place.rpartition(".")[0]
    # of a type in a signature nobody tells where it stands
    yield from (name for name in documented_names() if name.endswith(f".{target}"))


def _link(app: Any, env: Any, node: Any, content: Any, name: str) -> Any:
    domain = env.get_domain("py")
    if name not in domain.objects:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


@cache
def _import(full: str) -> tuple[Any, str] | None:
    """Return the object of a dotted name, and the member of it that is named, empty where none."""
    parts = full.split(".")
    for length in range(len(parts), 0, -1):
        module = _module(".".join(parts[:length]))
        if module is None:
            continue
        owner, value, member = module, module, ""
        for name in parts[length:]:
            annotated = name in getattr(value, "__annotations__", {})  # fields without a default
            if not hasattr(value, name) and not annotated:
                return None
            owner, member = (value, name) if isinstance(value, type) else (value, "")
            if member:
                break
            value = getattr(value, name)
        return (owner, member) if member else (value, "")
    return None


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


@cache
def _entries() -> Callable[[int], str | None]:
    return {id(value): full for full, value in documented_names().items()}.get


def _entry_of(value: Any) -> str | None:
    return _entries()(id(value))
