"""``napari-why inspect``: what the reader understands of a file or folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_why.cli.arguments import AsJson
from napari_why.cli.options import Verb

# A plate has thousands of files: eight show how they are called and fit on a screen.
MOST_SHOWN = 8


def inspect(
    path: Annotated[Path, typer.Argument(help="An image file or a folder.", metavar="PATH")],
    *,
    pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression with named groups (well, field, channel, z, t)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the reader understands: files, axes, channels, pixel size, wells, notes.

    What it prints is what a report of a file that is read wrongly needs.
    """
    from napari_why.images import understand

    about = asdict(understand(path, pattern=pattern))
    if as_json:
        typer.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    for name, value in about.items():
        text = _describe(value)
        if text:
            typer.echo(f"{name.replace('_', ' '):<12} {text}")


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item:g}" for key, item in value.items())
    # The only numbers in a tuple are a shape, the only dictionaries the answers to a question.
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return " x ".join(map(str, value))
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return "; ".join(f"{choice['axes']}: {choice['words']}" for choice in value)
    if isinstance(value, tuple):
        more = f"; and {len(value) - MOST_SHOWN} more" if len(value) > MOST_SHOWN else ""
        return "; ".join(map(str, value[:MOST_SHOWN])) + more
    return str(value)


INSPECT = Verb("inspect", inspect)
