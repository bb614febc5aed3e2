"""A data set as the shell names it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_why.cli.arguments import names_in
from napari_why.cli.long_work import LongWork

if TYPE_CHECKING:
    from napari_why.datasets import Dataset


def open_data_set(
    location: Path,
    group: str,
    channels: str | None,
    work: LongWork,
    *,
    plate_map: Path | None = None,
    label: str | None = None,
) -> "Dataset":
    """Open a folder or table, or the images of a plate.

    Parameters
    ----------
    location : Path
        A folder with one sub-folder a class, or a table; with a plate map the plate's images.
    group : str
        ``auto``, ``none`` or column names with commas between.
    channels : str or None
        Channel names with commas between.
    work : LongWork
        Is told the progress; Ctrl-C leaves at once, for nothing is done yet.
    plate_map : Path, optional
        CSV or Excel file that says what is in which well.
    label : str, optional
        Column that holds the class; by default ``label`` of a table, ``treatment`` of a plate map.

    Raises
    ------
    typer.Exit
        Ctrl-C was pressed while the images were opened.
    """
    from napari_why.datasets import Dataset

    opened: Callable[..., Dataset] = (
        partial(Dataset.from_plate, location, plate_map)
        if plate_map
        else partial(Dataset.open, location)
    )
    dataset = opened(
        **({"label": label} if label else {}),
        group={"auto": "auto", "none": None}.get(group, names_in(group)),
        channels=names_in(channels or "") or None,
        on_event=work.on_event,
        cancelled=work.cancelled,
    )
    work.end_if_interrupted("nothing was done yet")
    for item in dataset.unreadable:
        work.say(f"left out: {item.reason}")
    return dataset
