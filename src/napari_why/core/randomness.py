"""Where random numbers come from: a seed, or ``rng`` as scientific Python passes it (SPEC 7).

Everything here draws from a seed that stands in the record, so that a result can be made again. ``rng``
is another way to say it: a whole number is the seed itself, and a generator gives one, by which it moves
on, so that the next call gets another.

Scientific Python Ecosystem Coordination, SPEC 7: https://scientific-python.org/specs/spec-0007/
"""

from collections.abc import Collection, Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from napari_why.core.errors import ParameterError

if TYPE_CHECKING:
    import numpy as np

    Rng = int | np.random.Generator | None
else:
    Rng = Any  # numpy is not loaded for the help of the shell

# Every seed of this package may be as large.
LARGEST_SEED = 2**31 - 1
NAME, FORMER = "rng", "seed"


def seed_from(rng: "int | np.random.Generator") -> int:
    """Return the seed that a whole number is, or that a generator gives.

    Parameters
    ----------
    rng : int or numpy.random.Generator
        A generator moves on by one number.

    Raises
    ------
    ParameterError
        Anything else, or a number that is too large for a seed.

    Examples
    --------
    >>> import numpy as np
    >>> seed_from(7)
    7
    >>> generator = np.random.default_rng(7)
    >>> seed_from(generator) == seed_from(generator)
    False
    """
    import numpy as np  # later than this file, which the shell's help imports too

    if isinstance(rng, np.random.Generator):
        return int(rng.integers(LARGEST_SEED))
    if isinstance(rng, Integral) and not isinstance(rng, bool) and 0 <= int(rng) <= LARGEST_SEED:
        return int(rng)
    raise ParameterError(
        f"rng: found {rng!r:.80}; expected a whole number from 0 to {LARGEST_SEED}, or a "
        "numpy.random.Generator (numpy.random.default_rng(...))"
    )


def choose_seed(seed: int, rng: Rng, *, default: int = 0) -> int:
    """Return the seed of a function that takes ``seed`` and ``rng``.

    Parameters
    ----------
    seed : int
    rng : int, numpy.random.Generator or None
        In place of the seed; None: the seed counts.
    default : int
        The function's own default of ``seed``.

    Returns
    -------
    int
        0 or more.

    Raises
    ------
    ParameterError
        Both were given, or ``rng`` is none.

    Examples
    --------
    >>> choose_seed(3, None), choose_seed(0, 5)
    (3, 5)
    """
    if rng is None:
        return seed
    if seed != default:
        raise ParameterError(f"rng: found it beside seed={seed}; expected one of the two")
    return seed_from(rng)


def with_seed(names: Collection[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name with the seed that their ``rng`` stands for.

    Parameters
    ----------
    names : collection of str
        Of what takes the values; what takes no ``seed``, or has an ``rng`` of its own, gets them as
        they are.
    values : mapping

    Returns
    -------
    dict
        Without ``rng``, where it was resolved.

    Raises
    ------
    ParameterError
        Both were given, or ``rng`` is none.

    Examples
    --------
    >>> with_seed({"seed", "samples"}, {"rng": 4, "samples": 10})
    {'samples': 10, 'seed': 4}
    """
    given = dict(values)
    if NAME not in given or FORMER not in names or NAME in names:
        return given
    rng = given.pop(NAME)
    if rng is None:
        return given
    if FORMER in given:
        raise ParameterError(f"rng: found it beside seed={given[FORMER]}; expected one of the two")
    return {**given, FORMER: seed_from(rng)}
