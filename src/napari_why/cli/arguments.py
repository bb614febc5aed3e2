"""Arguments and options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(help="A classifier saved by train.", metavar="MODEL")]
Data = Annotated[
    Path,
    typer.Argument(
        help="A folder with one sub-folder a class, or a table (CSV) with path,label.",
        metavar="DATA",
    ),
]
ImageFile = Annotated[Path, typer.Argument(help="An image file.", metavar="IMAGE")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Time = Annotated[int | None, typer.Option(help="Time point of a series, from 0.", min=0)]
Depth = Annotated[int | None, typer.Option(help="z plane of a stack, from 0.", min=0)]
Axes = Annotated[
    str | None,
    typer.Option(
        help="What the image's axes are where its file does not tell, slowest first: zyx, cyx, yxc.",
        metavar="LETTERS",
    ),
]
Group = Annotated[
    str,
    typer.Option(
        help="Columns that name a group (well), with commas between; auto: plate and well where "
        "there are such columns; none: every image on its own."
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(help="Names for the channels, with commas between, instead of the files' own."),
]
PlateMap = Annotated[
    Path | None,
    typer.Option(
        help="Plate map, CSV or Excel: DATA holds the images of its wells.", metavar="FILE"
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Column of the table or plate map that holds the class; by default label or treatment.",
        metavar="COLUMN",
    ),
]


def names_in(text: str) -> list[str]:
    """Return the names that stand in a text with commas between.

    Examples
    --------
    >>> names_in("DAPI, TMRM,")
    ['DAPI', 'TMRM']
    """
    return [name.strip() for name in text.split(",") if name.strip()]
