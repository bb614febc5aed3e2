"""Verbs, their options, and the one command that they are put together to.

What is declared once stays declared once: a method's annotated parameters become options of every
verb that offers the method, a group of options that several verbs share (a dataclass) becomes the
options of each.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, get_args, get_origin

import typer
from typer.core import TyperGroup

import napari_why as why
from napari_why.cli.declarations import read_declarations
from napari_why.cli.long_work import end_at_once, handling, replace_unwritable, tell
from napari_why.core.errors import WhyError
from napari_why.core.options import Parameter

# Of what the user can put right; 2, wrong usage, is click's, see LongWork for an interruption.
FAILED = 1

Panels = Mapping[str, Sequence[Parameter]]


class Configurable(Protocol):
    """An entry of a registry, such as a method or a network, as far as options go."""

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The user's parameters."""


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

    @classmethod
    def of_registry(
        cls, option: str, registry: Mapping[str, Configurable], panels: Panels | None = None
    ) -> "Further":
        """Return a registry's names as choices of an option, and the parameters of each entry.

        Parameters
        ----------
        option : str
            The parameter of the verb that takes such a name: ``"method"``.
        registry : mapping of str to entry
            What other packages added to it is offered like the rest.
        panels : mapping of str to sequence of Parameter, optional
            Options that stand before those of the entries.

        Returns
        -------
        Further
        """
        own = {name: entry.parameters for name, entry in registry.items()}
        return cls({**(panels or {}), **own}, choices={option: tuple(registry)})


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
    """Return ``function`` with all its options spelled out in its signature, as typer reads them.

    Its ``**parameters`` become the further options; a parameter whose annotation is a dataclass
    becomes one argument or option for each field, and is handed over as an object of that class.
    Options that are not given are left out, so that the defaults are those of the parameters.

    Parameters
    ----------
    function : callable
        Of a verb.
    further : Further
        What the registries offer.

    Returns
    -------
    callable
        With a signature and documentation of its own, for typer.
    """
    declared = inspect.signature(function, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        item.name: item.annotation for item in declared if is_dataclass(item.annotation)
    }
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    for item in declared:
        if item.name in groups:
            shared.extend(inspect.signature(item.annotation, eval_str=True).parameters.values())
        elif item.kind is not item.VAR_KEYWORD:
            choices = further.choices.get(item.name)
            own.append(item.replace(annotation=_allow(item.annotation, choices)))
    # A group's arguments come first, and its options last: a verb's help begins with its own.
    spelled = [item for item in shared if item.kind is not item.KEYWORD_ONLY]
    spelled += own + [item for item in shared if item.kind is item.KEYWORD_ONLY]
    added = _options(further.panels, taken={item.name for item in spelled})

    def command(**values: Any) -> None:
        # None is no value of these options: what is not typed must not hide a method's default.
        given = {item.name: values.pop(item.name) for item in added}
        for name, group in groups.items():
            names = inspect.signature(group).parameters
            values[name] = group(**{field: values.pop(field) for field in names})
        function(**values, **{name: value for name, value in given.items() if value is not None})

    # typer looks at nothing but signature, annotations and documentation.
    signature = inspect.Signature([*spelled, *added])
    command.__doc__ = _join_lines(inspect.getdoc(function) or "")
    command.__dict__["__signature__"] = signature
    command.__annotations__ = {name: item.annotation for name, item in signature.parameters.items()}
    return command


def _join_lines(text: str) -> str:
    """Join the lines of each paragraph, for a terminal of any width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _allow(annotation: Any, choices: Sequence[str] | None) -> Any:
    if choices is None:
        return annotation
    marks = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    allowed: Any = Literal[tuple(choices)]
    if type(None) in get_args(get_args(annotation)[0] if marks else annotation):
        allowed = allowed | None  # an option that may be left out
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
    # Where the ranges differ, the shell allows everything, and the method refuses what it must.
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
        default=None,  # the marker of an option that is not given, see with_options
        annotation=Annotated[kind | None, option],
    )


def _kind(parameters: Sequence[Parameter]) -> Any:
    """Return the type that every owner takes; text where they differ, checked by the method."""
    # Of choices the union is offered: whether the chosen method has the one, only it can say.
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


def run_command(application: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Parameters
    ----------
    application : Typer
        From :func:`make_application`.
    arguments : sequence of str, optional
        What stands after ``napari-why``; those of the process when None.

    Raises
    ------
    SystemExit
        0 ok; 1 something the user can put right, said in one line; 2 wrong usage; 130 interrupted,
        143 stopped by SIGTERM, 129 by SIGHUP.
    """
    replace_unwritable()
    try:
        # Long work asks more gently: see LongWork.
        with handling(end_at_once):
            application(args=None if arguments is None else list(arguments), prog_name="napari-why")
    except (WhyError, OSError) as error:
        tell(str(error))
        sys.exit(FAILED)


class VerbGroup(TyperGroup):
    """A group whose verbs get the options of their methods only once they are called.

    The methods and networks live in rooms that import torch, which takes seconds;
    ``napari-why --help`` does without, and the help of a verb does with what the rooms declare.
    """

    verbs: ClassVar[Sequence[Verb]]

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option ``--help``, as False where it is not given.

        typer has None there, and loads pydantic to make a bool of it, which takes as long as the rest.
        """
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command with all its options, and the remaining arguments.

        Parameters
        ----------
        ctx : Context
            Of click.
        args : list of str
            What was typed behind the program's name.

        Returns
        -------
        name : str or None
        command : Command or None
        rest : list of str
        """
        name, command, rest = super().resolve_command(ctx, args)
        for verb in self.verbs:
            if verb.name == name:
                # a verb that runs needs the rooms in a moment anyway
                asked = "--help" in args
                further = read_declarations(verb.further) if asked else verb.further()
                command = _make_command(verb, with_options(verb.function, further))
        return name, command, rest


def _make_command(verb: Verb, function: Callable[..., None]) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command(verb.name)(function)
    return typer.main.get_command(alone)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-why {why.__version__}")
        raise typer.Exit


def _listed(verb: Verb) -> Callable[[], None]:
    """Return what the list of verbs tells of one; its options follow when it is called."""

    def listed() -> None: ...

    listed.__doc__ = _join_lines(inspect.getdoc(verb.function) or "")
    return listed


def make_application(verbs: Sequence[Verb]) -> typer.Typer:
    """Put verbs together, in the order of the help."""
    # typer makes the group itself, from a class: the verbs can only be given to the class
    group = type("VerbGroup", (VerbGroup,), {"verbs": verbs})
    application = typer.Typer(
        cls=group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for verb in verbs:
        application.command(verb.name)(_listed(verb))
    application.callback()(napari_why)
    return application


def napari_why(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Show why a classifier calls a microscopy image diseased, treated or healthy."""
