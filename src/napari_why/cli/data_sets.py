"""A data set as the shell names it."""

from pathlib import Path
from typing import TYPE_CHECKING

from napari_why.cli.long_work import LongWork

if TYPE_CHECKING:
    from napari_why.datasets import Dataset


def open_data_set(location: Path, group: str, channels: str | None, work: LongWork) -> "Dataset":
    """Open a folder or table.

    Parameters
    ----------
    location : Path
        A folder with one sub-folder a class, or a table.
    group : str
        ``auto``, ``none`` or column names with commas between.
    channels : str or None
        Channel names with commas between.
    work : LongWork
        Is told the progress; Ctrl-C leaves at once, for nothing is done yet.

    Raises
    ------
    typer.Exit
        Ctrl-C was pressed while the images were opened.
    """
    from napari_why.datasets import Dataset

    columns = {"auto": "auto", "none": None}.get(group, _names(group))
    dataset = Dataset.open(
        location,
        group=columns,
        channels=_names(channels) if channels else None,
        on_event=work.on_event,
        cancelled=work.cancelled,
    )
    work.end_if_interrupted("nothing was done yet")
    for item in dataset.unreadable:
        work.say(f"left out: {item.reason}")
    return dataset


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
