"""The verbs, put together to one command."""

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from napari_why import __version__
from napari_why.cli.options import Further, Verb, with_options
from napari_why.core.errors import WhyError

# Of what the user can put right; 2, wrong usage, is click's, see LongWork for an interruption.
FAILED = 1


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
        0 ok; 1 something the user can put right, said in one line; 2 wrong usage; 130 interrupted.
    """
    try:
        application(args=None if arguments is None else list(arguments), prog_name="napari-why")
    except (WhyError, OSError) as error:
        sys.stderr.write(f"napari-why: {' '.join(str(error).split())}\n")
        sys.exit(FAILED)


class VerbGroup(TyperGroup):
    """A group whose verbs get the options of their methods only once they are called.

    The methods and networks live in rooms that import torch, which takes seconds;
    ``napari-why --help`` does without.
    """

    verbs: ClassVar[Sequence[Verb]]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command with all its options, and the remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        for verb in self.verbs:
            if verb.name == name:
                command = _make_command(verb, with_options(verb.function, verb.further()))
        return name, command, rest


def _make_command(verb: Verb, function: Callable[..., None]) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command(verb.name)(function)
    return typer.main.get_command(alone)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-why {__version__}")
        raise typer.Exit


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
    # Without further options, which are in heavy rooms: the list of verbs is all that this serves.
    for verb in verbs:
        application.command(verb.name)(with_options(verb.function, Further()))
    application.callback()(napari_why)
    return application


def napari_why(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Show why a classifier calls a microscopy image diseased, treated or healthy."""
