"""Packages that come with an extra of this one: imported when they are needed, asked for in words."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from napari_why.core.errors import WhyError


def require(module: str, extra: str, what: str, *, instead: str = "") -> ModuleType:
    """Return a module of a package that is not always installed.

    Parameters
    ----------
    module : str
        Its name, with dots.
    extra : str
        The extra of napari-why that brings it.
    what : str
        What it is needed for.
    instead : str
        What can be done without it, as the error's last words.

    Returns
    -------
    module

    Raises
    ------
    WhyError
        It is not installed; says how to install it.

    Examples
    --------
    >>> require("json", "exchange", "JSON").__name__
    'json'
    >>> require("no_such_package", "exchange", "magic")
    Traceback (most recent call last):
    ...
    napari_why.core.errors.WhyError: magic: found no package no_such_package; install it with pip install 'napari-why[exchange]'
    """
    if find_spec(module.partition(".")[0]) is None:
        raise WhyError(
            f"{what}: found no package {module.partition('.')[0]}; install it with "
            f"pip install 'napari-why[{extra}]'{instead and f', or {instead}'}"
        )
    return import_module(module)
