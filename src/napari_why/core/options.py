"""Annotated parameters: declared once, they give validation, form, shell options and record.

A method declares ``window: Annotated[int, Help("side of the square"), Range(1, 512), Unit("px")]``
as a keyword, a group of :class:`Options` as a field. :func:`parameters_of` reads either back; the
docks build their forms from it, the shell its options.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from math import prod
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from napari_why.core.errors import ParameterError
from napari_why.core.randomness import with_seed


@dataclass(frozen=True)
class Help:
    """One sentence for the tooltip and for ``--help``."""

    text: str


@dataclass(frozen=True)
class Range:
    """Smallest and largest allowed value, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Unit:
    """Physical or pixel unit of a value, as shown to the user."""

    text: str


@dataclass(frozen=True)
class Label:
    """What a form calls the parameter, where its name in Python is no word for the user."""

    text: str


# of what everyone sees; every other topic is a group that a form folds
BASIC = "basic"


@dataclass(frozen=True)
class Topic:
    """What a parameter is about; forms fold those of one topic together."""

    text: str


@dataclass(frozen=True)
class ShownWith:
    """The parameter has a meaning only where another one has one of these values."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Suggested:
    """Values of a text that a form offers as a list; others are allowed."""

    values: tuple[Any, ...]


PresetName = Literal["quick_look", "standard", "thorough"]
PRESETS: tuple[PresetName, ...] = get_args(PresetName)


@dataclass(frozen=True)
class Presets:
    """Values for a quick look and for thorough work; the default is the standard.

    ``cost`` tells how the time grows with the value; by default in proportion to it.
    """

    quick_look: Any
    thorough: Any
    cost: Callable[[Any], float] = float


@dataclass(frozen=True)
class InitialWeights:
    """Marks a parameter that names the weights to start a training from: a file, a download.

    A saved network is built with ``none`` in its place, so that a file of somebody else can make
    nobody open a path or go online.
    """

    none: Any


@dataclass(frozen=True)
class Parameter:
    """One keyword parameter of a function, with all that a form needs to know.

    ``type`` is bool, int, float or str; ``choices`` is not empty where only those values are
    allowed; ``optional`` tells that None is allowed too; ``names_weights`` that it is marked
    :class:`InitialWeights`, and ``none`` what then stands for no weights. ``label`` is what a form
    calls it, ``topic`` what it is about; ``shown_with`` names another parameter and the values of
    that with which this one has a meaning; ``suggested`` are values of a text to choose from;
    ``presets`` the values of each preset, empty where it has the same in all, and ``cost`` how the
    time grows with the value.
    """

    name: str
    type: type
    default: Any
    help: str = ""
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[Any, ...] = ()
    optional: bool = False
    names_weights: bool = False
    none: Any = None
    topic: str = BASIC
    shown_with: ShownWith | None = None
    suggested: tuple[Any, ...] = ()
    presets: Mapping[str, Any] = field(default_factory=dict)
    cost: Callable[[Any], float] | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    def validate(self, value: Any) -> Any:
        """Return ``value`` as this parameter's type, or raise ParameterError.

        Raises
        ------
        ParameterError
            The value has another type, is out of range or not one of the choices.
        """
        if value is None and self.optional:
            return None
        value = self._convert(value)
        if self.choices and value not in self.choices:
            allowed = ", ".join(map(str, self.choices))
            raise ParameterError(f"{self.name}: found {value!r}; expected one of {allowed}")
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise ParameterError(
                f"{self.name}: found {value}; expected {self.low:g} to {self.high:g} {self.unit}".rstrip()
            )
        return value

    def _convert(self, value: Any) -> Any:
        if self.type is bool and isinstance(value, bool):
            return value
        if self.type is not bool and not isinstance(value, bool):
            whole = isinstance(value, float) and value.is_integer()
            if self.type is int and (
                isinstance(value, int) or whole or hasattr(value, "__index__")
            ):
                return int(value)
            if self.type is float and isinstance(value, int | float):
                return float(value)
            if self.type is str and isinstance(value, str):
                return value
        raise ParameterError(
            f"{self.name}: found {value!r} ({type(value).__name__}); expected {self.type.__name__}"
        )


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Describe the annotated keyword parameters of a function, in order.

    Only keyword-only parameters whose annotation carries a :class:`Help` are parameters in this
    sense; callables such as ``on_event`` are not.

    Examples
    --------
    >>> def blur(image, *, sigma: Annotated[float, Help("width"), Range(0, 9), Unit("px")] = 1.0): ...
    >>> parameters_of(blur)[0].name, parameters_of(blur)[0].unit
    ('sigma', 'px')
    """
    return _parameters_of(function)


# Forms ask again with every value that they show, and options whenever they are made.
@lru_cache(maxsize=512)
def _parameters_of(function: Any) -> tuple[Parameter, ...]:
    hints = get_type_hints(function, include_extras=True)
    found = []
    for name, item in inspect.signature(function).parameters.items():
        if item.kind is not item.KEYWORD_ONLY or name not in hints:
            continue
        hint = _without_alias(hints[name])
        marks = getattr(hint, "__metadata__", ())
        if any(isinstance(mark, Help) for mark in marks):
            found.append(_parameter(name, hint, marks, item.default))
    return tuple(found)


def _without_alias(hint: Any) -> Any:
    """Return what an alias of a type stands for (``type Side = Literal["left", "right"]``)."""
    # by its attribute: the class of such aliases is there since Python 3.12
    while hasattr(hint, "__value__"):
        hint = hint.__value__
    return hint


def _choices_of(hint: Any) -> tuple[Any, ...]:
    """Return the values of a Literal, those of aliases within it among them; none of another type."""
    if get_origin(hint) is not Literal:
        return ()
    # Python itself takes a Literal within a Literal apart, but no alias of one
    values = [(value, _choices_of(_without_alias(value))) for value in get_args(hint)]
    return tuple(item for value, within in values for item in within or (value,))


def validated(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``values`` against a function's parameters and fill in the defaults.

    Where a parameter varies with the preset, ``values`` may name one as ``preset``: it gives what
    they leave open. Where there is a ``seed``, they may have ``rng`` in its place
    (:mod:`napari_why.core.randomness`).

    Parameters
    ----------
    function : callable
        With annotated parameters, or a class of options.
    values : mapping of str to object
        As given; not all need be there.

    Returns
    -------
    dict of str to object
        All parameters.

    Raises
    ------
    ParameterError
        Unknown name, or a value that :meth:`Parameter.validate` refuses.
    """
    parameters = {parameter.name: parameter for parameter in parameters_of(function)}
    values = with_seed(parameters, with_preset(function, values))
    unknown = sorted(set(values) - set(parameters))
    if unknown:
        known = ", ".join(parameters) or "none"
        name = getattr(function, "__name__", str(function))
        raise ParameterError(
            f"{name}: found parameter {', '.join(unknown)}; expected one of {known}"
        )
    return {
        name: item.validate(values.get(name, item.default)) for name, item in parameters.items()
    }


# a parameter of this topic is for who repeats a result or runs short of memory
DETAILS = Topic("details")


def relative_cost(function: Callable[..., Any], values: Mapping[str, Any]) -> float:
    """Return how long a run takes, in a unit of its own: to compare runs that presets tell apart.

    Parameters
    ----------
    function : callable
        With annotated parameters, or a class of options.
    values : mapping of str to object
        Those that are left out have their defaults.

    Returns
    -------
    float
        The product of what the parameters declare; 1 where none does.

    Examples
    --------
    >>> def draw(*, samples: Annotated[int, Help("how many"), Presets(8, 128)] = 32): ...
    >>> relative_cost(draw, {"samples": 128}) / relative_cost(draw, {"samples": 32})
    4.0
    """
    costs = [
        item.cost(values.get(item.name, item.default))
        for item in parameters_of(function)
        if item.cost is not None
    ]
    return prod(costs)


def preset_values(function: Callable[..., Any], preset: str) -> dict[str, Any]:
    """Return the values of the parameters that vary with a preset.

    Parameters
    ----------
    function : callable
        With annotated parameters, or a class of options.
    preset : {"quick_look", "standard", "thorough"}

    Returns
    -------
    dict of str to object
        By parameter; empty where none varies.

    Raises
    ------
    ParameterError
        There is no such preset.

    Examples
    --------
    >>> def draw(*, samples: Annotated[int, Help("how many"), Presets(8, 128)] = 32): ...
    >>> [preset_values(draw, name) for name in ("quick_look", "standard", "thorough")]
    [{'samples': 8}, {'samples': 32}, {'samples': 128}]
    """
    if preset not in PRESETS:
        raise ParameterError(f"preset: found {preset!r}; expected one of {', '.join(PRESETS)}")
    varying = [item for item in parameters_of(function) if item.presets]
    return {item.name: item.presets[preset] for item in varying}


def with_preset(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with their ``preset``, where they name one, put below the others.

    A function or options without anything that varies have no presets; and a parameter of their own
    may be called so.

    Parameters
    ----------
    function : callable
        With annotated parameters, or a class of options.
    values : mapping of str to object

    Returns
    -------
    dict of str to object
        A copy, without ``preset`` where that named one.
    """
    found = parameters_of(function)
    own = any(item.name == "preset" for item in found)
    if own or "preset" not in values or not any(item.presets for item in found):
        return dict(values)
    given = dict(values)
    return {**preset_values(function, given.pop("preset")), **given}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of options that are declared once, as fields, and checked when they are made.

    A subclass is a frozen, keyword-only dataclass; a field whose annotation carries a
    :class:`Help` is a parameter in forms and in the shell.

    Raises
    ------
    ParameterError
        A value that :meth:`Parameter.validate` refuses.

    Examples
    --------
    >>> @dataclass(frozen=True, kw_only=True)
    ... class BlurOptions(Options):
    ...     sigma: Annotated[float, Help("width"), Range(0, 9), Unit("px")] = 1.0
    >>> BlurOptions.of(None, {"sigma": 2}).to_dict()
    {'sigma': 2.0}
    """

    def __post_init__(self) -> None:
        for item in parameters_of(type(self)):
            object.__setattr__(self, item.name, item.validate(getattr(self, item.name)))

    @classmethod
    def of(cls, options: Self | Mapping[str, Any] | None, changes: Mapping[str, Any]) -> Self:
        """Return options with changes by name; those of the class where there are none yet.

        Options may be given by name, too. ``changes`` may name a ``preset``, which gives what they leave
        open (:func:`with_preset`), and ``rng`` in place of a ``seed``.

        Parameters
        ----------
        options : Options, mapping or None
            What there is already.
        changes : mapping of str to object
            Values of fields; they stand above those of ``options``.

        Returns
        -------
        Options

        Raises
        ------
        ParameterError
            A name that is none of the fields, or a value that is refused.
        """
        known = [item.name for item in fields(cls)]
        by_name = options if isinstance(options, Mapping) else {}
        changes = with_seed(known, with_preset(cls, {**by_name, **changes}))
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ParameterError(
                f"{cls.__name__}: found parameter {', '.join(unknown)}; "
                f"expected one of {', '.join(known) or 'none'}"
            )
        made = None if isinstance(options, Mapping) else options
        before = {} if made is None else {name: getattr(made, name) for name in known}
        return cls(**{**before, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name, in the order of the fields."""
        return asdict(self)


def _parameter(name: str, hint: Any, marks: tuple[Any, ...], default: Any) -> Parameter:
    inner = _without_alias(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    optional = type(None) in get_args(inner) and get_origin(inner) is not Literal
    if optional:
        rest = tuple(arg for arg in get_args(inner) if arg is not type(None))
        inner = _without_alias(Union[rest])  # noqa: UP007
    choices = _choices_of(inner)
    kind = type(choices[0]) if choices else inner
    if kind not in (bool, int, float, str):
        raise TypeError(f"parameter {name}: {hint} is none of bool, int, float, str, Literal")
    marked = {type(mark): mark for mark in marks}
    bounds, initial = marked.get(Range), marked.get(InitialWeights)
    presets = marked.get(Presets)
    several = {
        "quick_look": presets.quick_look, "standard": default, "thorough": presets.thorough
    } if presets else {}  # fmt: skip
    return Parameter(
        name=name,
        type=kind,
        default=default,
        help=marked[Help].text,
        low=bounds.low if bounds else None,
        high=bounds.high if bounds else None,
        unit=marked[Unit].text if Unit in marked else "",
        choices=choices,
        optional=optional,
        names_weights=initial is not None,
        none=initial.none if initial else None,
        topic=marked[Topic].text if Topic in marked else BASIC,
        shown_with=marked.get(ShownWith),
        suggested=marked[Suggested].values if Suggested in marked else (),
        presets=several,
        cost=presets.cost if presets else None,
        label=marked[Label].text if Label in marked else "",
    )
