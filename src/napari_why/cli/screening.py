"""``napari-why screen`` and ``merge``: plates of compounds, predicted, explained and judged."""

from pathlib import Path
from typing import Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.batch import list_batch_options
from napari_why.cli.long_work import LongWork
from napari_why.core.options import parameters_of


def screen(
    model: arguments.Model,
    plates: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of plates; one may hold several where the map has a column plate.",
            metavar="PLATE...",
        ),
    ],
    *,
    plate_map: Annotated[
        Path, typer.Option(help="What is in which well, CSV or Excel.", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables and parts.")],
    workers: Annotated[
        int, typer.Option(help="Processes of this computer; 0: one well after the other.", min=0)
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A dask.distributed scheduler (tcp://host:8786), or local: one of this computer's own.",
            metavar="ADDRESS",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Only a part of the wells, 2/8 say; merge puts all together.", metavar="I/N"
        ),
    ] = None,
    attribution: Annotated[
        str | None,
        typer.Option(help="Method that tells where the network looks; its options below."),
    ] = None,
    counterfactual: Annotated[
        str | None,
        typer.Option(help="Method that changes fields towards healthy; its options stand below."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in OUT: wells that are done are kept.")
    ] = False,
    device: arguments.Device = "cpu",
    overwrite: arguments.Overwrite = False,
    channels: arguments.Channels = None,
    pattern: arguments.Pattern = None,
    well_pattern: arguments.WellPattern = None,
    json_events: arguments.JsonEvents = False,
    **parameters: Any,
) -> None:
    """Predict every field of a screen, and judge what each compound does.

    The folder then holds fields and wells as Parquet and CSV, hits.csv, controls.csv, positions.csv,
    doses.csv, a summary and a record. Ctrl-C stops; --resume goes on, after a crash too.
    """
    from napari_why.screening import Engine, ScreenOptions

    given = {"attribution": attribution, "counterfactual": counterfactual}
    options = ScreenOptions.of_flat(
        {**{name: value for name, value in given.items() if value is not None}, **parameters}
    )
    engine = Engine(workers=workers, scheduler=scheduler)
    shared = resume or shard is not None  # shards may write to one folder
    arguments.check_place(out, overwrite=overwrite or shared, sources=(*plates, model, plate_map))
    read_as = arguments.make_read_arguments(None, channels, pattern)
    with LongWork(followed=json_events) as work:
        result = why.screen(
            model,
            plates,
            out,
            options,
            plate_map=plate_map,
            engine=engine,
            shard=shard,
            resume=resume,
            overwrite=overwrite,
            device=device,
            well_pattern=well_pattern,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **read_as,
        )
    # whoever follows reads lines of JSON there, and the sentences in the folder
    for sentence in () if json_events else result.sentences:
        typer.echo(sentence)
    work.end_if_interrupted(f"the wells that are done are in {out}; --resume goes on")


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of shards, or the one that all wrote to.", metavar="RESULTS..."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the tables; the only folder itself when not given."),
    ] = None,
) -> None:
    """Put the shards of a screen together: tables, statistics, hits.

    A well that is missing, or that was made with something else, is refused.
    """
    from napari_why.screening import merge as merge_screens

    for sentence in merge_screens(folders, out).sentences:
        typer.echo(sentence)


def list_screen_options() -> Further:
    """Return what a screen asks, what is done with every field, and the options of every method."""
    from napari_why.screening import ScreenOptions

    further = list_batch_options()
    own = list(parameters_of(ScreenOptions))
    return Further({"the screen": own, **further.panels}, further.choices)


SCREEN = Verb("screen", screen, list_screen_options)
MERGE = Verb("merge", merge)
