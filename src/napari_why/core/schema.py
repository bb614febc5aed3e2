"""What a JSON file may hold, declared once and checked in words.

A schema is put together of the kinds below and checks parsed JSON without making anything of it:
``Fields({"size": Whole(1, 64)}).check(plain, "preprocessing")``. What is open (:class:`Open`) is
bounded all the same, since a file that somebody else made may be of any size and depth.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from napari_why.core.errors import ModelFileError

# Values nested deeper than this are no facts about images; Python's own reader stops at about 1000.
DEEPEST = 32
# A path on every system, a sentence, a SHA-256: all are shorter.
LONGEST_TEXT = 32_768
# Images of the largest screens, each with its path and its digest.
MOST_ITEMS = 4_000_000
# Whole numbers up to here are the same in every program that reads JSON (2^53).
LARGEST_WHOLE = 2**53
# Of a value in a message: enough to recognise it, and it fits a line.
SHOWN = 60


class Schema(Protocol):
    """One kind of value."""

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError where ``value`` is not of this kind; ``where`` names it.

        Parameters
        ----------
        value : object
            As JSON gives it.
        where : str
            Names it in the message.

        Raises
        ------
        ModelFileError
            Says what was found and what was expected.
        """


def refuse(where: str, found: Any, expected: str) -> ModelFileError:
    """Return the error of a value that is not what was expected.

    Parameters
    ----------
    where : str
        Names the value.
    found : object
        The value; a long one is cut short.
    expected : str
        In words.

    Returns
    -------
    ModelFileError
    """
    text = repr(found)
    return ModelFileError(
        f"{where.rstrip(':')}: found {_shorten(text)}; expected {expected}; take the original file"
    )


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``; true and false are none."""

    low: int = 0
    high: int = LARGEST_WHOLE

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if isinstance(value, bool) or not isinstance(value, int) or not self._holds(value):
            raise refuse(where, value, f"a whole number from {self.low} to {self.high}")

    def _holds(self, value: int) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Number:
    """A finite number from ``low`` to ``high``; with ``above``, one above ``low``."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if isinstance(value, bool) or not isinstance(value, int | float) or not self._holds(value):
            least = f"above {self.low:g}" if self.above else f"from {self.low:g}"
            raise refuse(where, value, f"a finite number {least} to {self.high:g}")

    def _holds(self, value: float) -> bool:
        # whole numbers too large for a float are compared without becoming one
        finite = abs(value) <= LARGEST_WHOLE if isinstance(value, int) else math.isfinite(value)
        return finite and self.low <= value <= self.high and not (self.above and value == self.low)


@dataclass(frozen=True)
class Text:
    """A text, one of ``choices`` where there are some."""

    choices: tuple[str, ...] = ()
    longest: int = LONGEST_TEXT

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if not isinstance(value, str) or len(value) > self.longest:
            raise refuse(where, value, f"a text of at most {self.longest} letters")
        if self.choices and value not in self.choices:
            raise refuse(where, value, f"one of {', '.join(self.choices)}")


@dataclass(frozen=True)
class Flag:
    """True or false; with ``only``, that one alone."""

    only: bool | None = None

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if not isinstance(value, bool) or (self.only is not None and value is not self.only):
            raise refuse(where, value, "true or false" if self.only is None else str(self.only))


@dataclass(frozen=True)
class Maybe:
    """A value or null."""

    kind: Schema

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for what is neither.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if value is not None:
            self.kind.check(value, where)


@dataclass(frozen=True)
class OneOf:
    """A value of the first kind that it fits."""

    kinds: tuple[Schema, ...]

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError, that of the last kind, where none fits.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        for kind in self.kinds[:-1]:
            try:
                return kind.check(value, where)
            except ModelFileError:
                continue
        return self.kinds[-1].check(value, where)


@dataclass(frozen=True)
class ListOf:
    """A list of ``fewest`` to ``most`` values of one kind; with ``unique``, none twice."""

    kind: Schema
    fewest: int = 0
    most: int = MOST_ITEMS
    unique: bool = False

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if not isinstance(value, list) or not self.fewest <= len(value) <= self.most:
            raise refuse(where, value, f"a list of {self.fewest} to {self.most} values")
        for index, item in enumerate(value):
            self.kind.check(item, f"{where}[{index}]")
        if self.unique and len(set(value)) < len(value):
            raise refuse(where, value, "each value once")


@dataclass(frozen=True)
class Row:
    """A list with one value of each kind, in their order."""

    kinds: tuple[Schema, ...]

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if not isinstance(value, list) or len(value) != len(self.kinds):
            raise refuse(where, value, f"a list of {len(self.kinds)} values")
        for index, (kind, item) in enumerate(zip(self.kinds, value, strict=True)):
            kind.check(item, f"{where}[{index}]")


@dataclass(frozen=True)
class MapOf:
    """Values of one kind by any names."""

    kind: Schema
    most: int = MOST_ITEMS

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for anything else.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        if not isinstance(value, dict) or len(value) > self.most:
            raise refuse(where, value, f"a mapping of at most {self.most} values")
        for name, item in value.items():
            Text().check(name, f"{where}, a name")
            self.kind.check(item, _inside(where, name))


@dataclass(frozen=True)
class Open:
    """Any JSON, bounded in depth, in the number of its values and in the length of its texts."""

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError for what is deeper, longer or no finite number.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.
        """
        level, count = [value], 0
        # level by level and not by recursion, which a deep file would exhaust
        for _ in range(DEEPEST):
            for item in level:
                _check_leaf(item, where)
            count += len(level)
            if count > MOST_ITEMS:
                raise refuse(where, value, f"at most {MOST_ITEMS} values")
            level = [inner for item in level for inner in _children(item)]
            if not level:
                return
        raise refuse(where, value, f"values nested at most {DEEPEST} deep")


@dataclass(frozen=True)
class Fields:
    """A mapping with these names.

    Parameters
    ----------
    required, optional : mapping of str to Schema
    others : Schema or None
        What stands under further names; None where there must be none.
    """

    required: Mapping[str, Schema] = field(default_factory=dict)
    optional: Mapping[str, Schema] = field(default_factory=dict)
    others: Schema | None = None

    def check(self, value: Any, where: str) -> None:
        """Raise ModelFileError where a name is missing or unknown, or a value does not fit.

        Parameters
        ----------
        value, where
            As of :meth:`Schema.check`.

        Raises
        ------
        ModelFileError
            Names what is missing, or unknown, or does not fit.
        """
        if not isinstance(value, dict):
            raise refuse(where, value, "a mapping")
        missing = sorted(set(self.required) - set(value))
        known = {**self.required, **self.optional}
        unknown = sorted(set(value) - set(known)) if self.others is None else []
        if missing or unknown:
            parts = [
                f"without {', '.join(missing)}" if missing else "",
                f"with the unknown {_shorten(', '.join(unknown))}" if unknown else "",
            ]
            raise ModelFileError(
                f"{where.rstrip(':')}: found a description {' and '.join(filter(None, parts))}; "
                "take the original file"
            )
        for name, item in value.items():
            Text().check(name, f"{where}, a name")
            kind = known.get(name, self.others)
            if kind is not None:
                kind.check(item, _inside(where, name))


def parse_json(content: bytes, where: str) -> Any:
    """Parse JSON that somebody else may have written.

    Parameters
    ----------
    content : bytes
        Of the whole file, UTF-8.
    where : str
        Names the file in messages.

    Returns
    -------
    object
        As :func:`json.loads` returns it.

    Raises
    ------
    ModelFileError
        It is no JSON, names something twice, or holds a number that is none.
    """
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number
        )
    # a depth that exhausts Python's reader is a RecursionError
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where}: found no readable JSON ({error}); train anew") from error


def canonical(plain: Any) -> bytes:
    """Return JSON as bytes in which only its content counts: not spaces, and not the order.

    Examples
    --------
    >>> canonical({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
    """
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    # of a name that stands twice every program believes another value
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _inside(where: str, name: str) -> str:
    # the names of a file's own entries stand apart from the file's
    return f"{where} {name}" if where.endswith(":") else f"{where}.{name}"


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check_leaf(item: Any, where: str) -> None:
    if isinstance(item, str):
        Text().check(item, where)
    elif isinstance(item, bool) or item is None:
        return
    elif isinstance(item, int | float):
        Number().check(item, where)
    elif not isinstance(item, dict | list):
        raise refuse(where, item, "JSON")


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item, *item.values()]
    return item if isinstance(item, list) else []


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
