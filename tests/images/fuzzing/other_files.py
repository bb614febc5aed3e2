"""Mutants that are whole files of another image: what they say is allowed, and nobody can know.

The class is kept small. Each rule names the structures it holds for and compares the pixels, so
that no other wrong picture passes.
"""

import re
from collections.abc import Callable

import numpy as np
import xarray as xr

from fuzzing.mutant import Mutant

Rule = Callable[[Mutant, xr.DataArray, xr.DataArray, tuple[str, ...]], bool]


def another_valid_file(
    mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: tuple[str, ...]
) -> str:
    """Return the reason why other pixels are right for a mutant; empty where there is none.

    Parameters
    ----------
    mutant : Mutant
        What was changed.
    image : DataArray
        The pixels of its origin.
    found : DataArray
        The pixels that were read, without names.
    notes : tuple of str
        What the reader says about them.
    """
    for reason, rule in RULES.items():
        if rule(mutant, image, found, notes):
            return reason
    return ""


RULES: dict[str, Rule] = {}
