"""Parameters of methods and networks as options of a verb, so that nothing is said twice."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from napari_why.core.options import Parameter

Panels = Mapping[str, Sequence[Parameter]]


@dataclass(frozen=True)
class Further:
    """What a verb offers beyond its own signature.

    Parameters
    ----------
    panels : mapping of str to sequence of Parameter
        Options by the name of what they belong to. Of the same name in several, they become one.
    choices : mapping of str to sequence of str
        The values that an option of the verb's own signature allows.
    """

    panels: Panels = field(default_factory=dict)
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verb:
    """One verb of the shell.

    Parameters
    ----------
    name : str
        As it is typed.
    function : callable
        Annotated for typer; ``**parameters`` take the further options.
    further : callable
        Returns what the registries offer; may import heavy rooms.
    """

    name: str
    function: Callable[..., None]
    further: Callable[[], Further] = Further


def with_options(function: Callable[..., None], further: Further) -> Callable[..., None]:
    """Return ``function`` with its ``**parameters`` spelled out as options.

    Options that are not given are left out, so that the defaults are those of the parameters.
    """
    own = [
        item.replace(annotation=_allowing(item.annotation, further.choices.get(item.name)))
        for item in inspect.signature(function, eval_str=True).parameters.values()
        if item.kind is not item.VAR_KEYWORD
    ]
    added = _options(further.panels, taken={item.name for item in own})

    def command(**values: Any) -> None:
        unset = [item.name for item in added if values[item.name] is None]
        function(**{name: value for name, value in values.items() if name not in unset})

    signature = inspect.Signature([*own, *added])
    command.__doc__ = _flowing(inspect.getdoc(function) or "")
    command.__dict__["__signature__"] = signature
    command.__annotations__ = {name: item.annotation for name, item in signature.parameters.items()}
    return command


def _flowing(text: str) -> str:
    """Join the lines of each paragraph, for a terminal of any width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _allowing(annotation: Any, choices: Sequence[str] | None) -> Any:
    if choices is None:
        return annotation
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    allowed: Any = Literal[tuple(choices)]
    return Annotated[allowed, *marks] if marks else allowed


def _options(panels: Panels, taken: set[str]) -> list[inspect.Parameter]:
    owners: dict[str, dict[str, Parameter]] = {}
    for owner, parameters in panels.items():
        for parameter in parameters:
            if parameter.name not in taken:
                owners.setdefault(parameter.name, {})[owner] = parameter
    return [_option(name, by_owner) for name, by_owner in owners.items()]


def _option(name: str, owners: Mapping[str, Parameter]) -> inspect.Parameter:
    parameters = list(owners.values())
    low, high = _common([(item.low, item.high) for item in parameters]) or (None, None)
    kind = _kind(parameters)
    option = typer.Option(
        *_spelling(name, kind),
        help=_help(owners),
        min=low if kind in (int, float) else None,
        max=high if kind in (int, float) else None,
        rich_help_panel=f"Of {', '.join(owners)}",
        show_default=False,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _kind(parameters: Sequence[Parameter]) -> Any:
    """Return the type that every owner takes; text where they differ, checked by the method."""
    choices = list(dict.fromkeys(choice for item in parameters for choice in item.choices))
    if choices and all(item.choices for item in parameters) and _are_text(choices):
        return Literal[tuple(choices)]
    return _common([item.type for item in parameters]) or str


def _are_text(choices: Sequence[Any]) -> bool:
    return all(isinstance(choice, str) for choice in choices)


def _common(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None


def _spelling(name: str, kind: Any) -> tuple[str, ...]:
    dashed = name.replace("_", "-")
    return (f"--{dashed}/--no-{dashed}",) if kind is bool else (f"--{dashed}",)


def _help(owners: Mapping[str, Parameter]) -> str:
    """Say what the option does, once where all owners agree, with unit and default."""
    texts: dict[str, list[str]] = {}
    for owner, item in owners.items():
        default = "none" if item.default is None else item.default
        words = f"{item.help or item.name}, default {default}{item.unit and f' {item.unit}'}"
        texts.setdefault(words, []).append(owner)
    if len(texts) == 1:
        return f"{next(iter(texts))}."
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in texts.items()) + "."
