"""Which colour, and which mark, stands for which value of a column."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.errors import ParameterError

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Told apart with every common colour blindness (Okabe & Ito 2008), without their black."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">")
MISSING, MISSING_COLOUR = "missing", "#888888"
COLOUR_MAP = "cividis"  # even, and the same to colour-blind eyes (Nuñez et al. 2018)
MOST_WHOLE_VALUES = 12
NO_PROPERTY = ("image", "path")


@dataclass(frozen=True, eq=False)
class Colouring:
    """A column of a latent space's table, ready to be drawn.

    Parameters
    ----------
    column : str
    names : tuple of str
        The values of a categorical column, sorted, missing ones last; empty for a continuous one.
    codes : ndarray of int, shape (n,)
        Place in ``names`` of each image; zeros for a continuous column.
    values : ndarray, float64, shape (n,)
        Of a continuous column, NaN where missing; the codes for a categorical one.
    """

    column: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def continuous(self) -> bool:
        """Whether a colour bar is needed and not a legend."""
        return not self.names

    def colour(self, code: int) -> str:
        """Return the colour of a category."""
        missing = self.names[code] == MISSING
        return MISSING_COLOUR if missing else PALETTE[code % len(PALETTE)]

    def marker(self, code: int) -> str:
        """Return the mark of a category: another one each time the colours begin anew."""
        return MARKERS[(code // len(PALETTE)) % len(MARKERS)]


def colouring_of(table: pd.DataFrame, column: str) -> Colouring:
    """Tell how a column is to be drawn.

    Numbers are continuous, unless they are whole and few (plates 1, 2, 3); all else is
    categorical.

    Raises
    ------
    ParameterError
        There is no such column.

    Examples
    --------
    >>> table = pd.DataFrame({"plate": [1, 2, 1], "distance": [0.5, 1.5, 2.5]})
    >>> colouring_of(table, "plate").names, colouring_of(table, "distance").continuous
    (('1', '2'), True)
    """
    if column not in table.columns:
        known = ", ".join(columns_to_colour(table))
        raise ParameterError(f"colour by: found {column!r}; expected one of {known}")
    values = table[column]
    if _is_continuous(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        return Colouring(column, (), np.zeros(len(values), dtype=np.int64), numbers)
    there = sorted({value for value in values if not pd.isna(value)}, key=_order)
    names = tuple(dict.fromkeys(map(_as_text, there)))
    if values.isna().any():
        names += (MISSING,)
    place = {name: code for code, name in enumerate(names)}
    texts = [MISSING if pd.isna(value) else _as_text(value) for value in values]
    codes = np.array([place[text] for text in texts], dtype=np.int64)
    return Colouring(column, names, codes, codes.astype(np.float64))


def columns_to_colour(table: pd.DataFrame) -> list[str]:
    """Return the columns that say something about images: all but number and path."""
    return [str(name) for name in table.columns if name not in NO_PROPERTY]


def _is_continuous(values: "pd.Series[float]") -> bool:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    there = values.dropna()
    whole = bool((there == there.round()).all())
    return not (whole and there.nunique() <= MOST_WHOLE_VALUES)


def _order(value: object) -> tuple[bool, float, str]:
    number = isinstance(value, int | float | np.number)
    return (
        not number,
        float(value) if isinstance(value, int | float | np.number) else 0,
        str(value),
    )


def _as_text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return f"{value:g}"
    return str(value)
