"""Names of a package that are imported when they are first asked for (PEP 562)."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def import_late(package: str, modules: Mapping[str, str], name: str) -> Any:
    """Import what a package is asked for by name; the next look-up finds it there.

    Parameters
    ----------
    package : str
        Whose ``__getattr__`` was called.
    modules : mapping of str to str
        Where each public name is: a module, with a leading dot one of the package.
    name : str
        The one that is asked for.

    Returns
    -------
    Any

    Raises
    ------
    AttributeError
        It is none of the public names.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    found = getattr(import_module(modules[name], package), name)
    setattr(sys.modules[package], name, found)
    return found
