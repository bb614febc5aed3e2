"""``napari-why demo``: the main job, end to end."""

from pathlib import Path
from typing import Annotated

import typer

from napari_why.cli.long_work import LongWork
from napari_why.cli.options import Verb


def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder with one sub-folder a class, or a table; else simulated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything that is made.")] = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Open napari with the result.")
    ] = True,
) -> None:
    """Train on simulated or your own images and show what the classifier sees in one of them."""
    from napari_why.demo import run_demo

    with LongWork() as work:
        folder = run_demo(data, out, window, work.on_event, work.cancelled)
    work.end_if_interrupted(f"what was done is in {folder}")


VERB = Verb("demo", demo)
