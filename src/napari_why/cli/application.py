"""The verbs, put together to one command."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_why import __version__
from napari_why.cli import (
    attribute,
    benchmark,
    counterfactual,
    demo,
    evaluate,
    inspect,
    interpolate,
    latent_space,
    measure,
    predict,
    reconstruct,
    rerun,
    sample,
    train,
    traverse,
)
from napari_why.cli.options import Further, Verb, with_options

VERBS = (
    train.VERB,
    evaluate.VERB,
    predict.VERB,
    attribute.VERB,
    counterfactual.VERB,
    measure.VERB,
    latent_space.VERB,
    reconstruct.VERB,
    sample.VERB,
    traverse.VERB,
    interpolate.VERB,
    rerun.VERB,
    benchmark.VERB,
    inspect.VERB,
    demo.VERB,
)


class VerbGroup(TyperGroup):
    """A group whose verbs get the options of their methods only once they are called.

    The methods and networks live in rooms that import torch, which takes seconds;
    ``napari-why --help`` does without.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command with all its options, and the remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        for verb in VERBS:
            if verb.name == name:
                command = _command(verb, with_options(verb.function, verb.further()))
        return name, command, rest


def _command(verb: Verb, function: Callable[..., None]) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command(verb.name)(function)
    return typer.main.get_command(alone)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"napari-why {__version__}")
        raise typer.Exit


application = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for _verb in VERBS:
    application.command(_verb.name)(with_options(_verb.function, Further()))


@application.callback()
def napari_why(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Show why a classifier calls a microscopy image diseased, treated or healthy."""
