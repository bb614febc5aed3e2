"""Lengths in whatever unit a file uses, as micrometres."""

import math

MICROMETRES = {
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "a": 1e-4,
    "angstrom": 1e-4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
    "inches": 25400.0,
}

# The micro sign, the Greek mu (which many programs write instead), the escape that ImageJ writes
# into its descriptions, and the ring that tells an angstrom from an ampere.
SPELLINGS = {"\u00b5": "u", "\u03bc": "u", "\\u00b5": "u", "\u00e5": "a", "\u212b": "a"}


def to_micrometres(value: float, unit: str) -> float | None:
    r"""Convert a length, or return None where it is none (unit "pixel", not a positive number).

    Examples
    --------
    >>> to_micrometres(650, "nm"), to_micrometres(0.5, "\u00b5m"), to_micrometres(1, "pixel")
    (0.65, 0.5, None)
    """
    plain = unit.strip().lower()
    for spelling, letter in SPELLINGS.items():
        plain = plain.replace(spelling, letter)
    factor = MICROMETRES.get(plain)
    if factor is None or not (math.isfinite(value) and value > 0):
        return None
    if factor == 1.0:
        return value
    # A decimal rounding takes away what the conversion, not the file, added (0.6500000000000001).
    return float(f"{value * factor:.12g}")
