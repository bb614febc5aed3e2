"""Tables that are written as they grow: what was measured before a crash is there."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.errors import WhyError
from napari_why.core.whole_files import write_whole

if TYPE_CHECKING:
    import pandas as pd

# Tells whoever finds the folder that its tables are not whole; gone once they are.
MARK = "INCOMPLETE.txt"


class GrowingTables:
    """``images.csv`` and ``regions.csv`` of a measurement that goes on, and a mark that it does.

    Parameters
    ----------
    folder : Path
        There already, without such tables.
    total : int
        How many images are to come.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self._folder, self._total, self._done = folder, total, 0
        self._rows: dict[str, list[dict[str, Any]]] = {"images": [], "regions": []}
        self._columns: dict[str, list[str]] = {"images": [], "regions": []}
        self._mark()

    def add(self, image: dict[str, Any], regions: "pd.DataFrame | None") -> None:
        """Write the rows of one image, and put them where no crash of this program reaches them.

        Where that fails (a full disk) the measurement goes on: it is tried again with the next image,
        and what is written at the end tells of it.
        """
        several = [] if regions is None else regions.to_dict("records")
        plain = {
            "images": [dict(image)],
            "regions": [{str(key): value for key, value in row.items()} for row in several],
        }
        for name, rows in plain.items():
            self._rows[name] += rows
        self._done += 1
        try:
            for name, rows in plain.items():
                if rows:
                    self._append(name, rows)
            self._mark()
        except (WhyError, OSError):
            # without known columns all rows are written anew
            self._columns = {name: [] for name in self._columns}

    def close(self, *, keep: bool, complete: bool) -> None:
        """Take the mark away if all is done, and the tables if they stand there in another format."""
        if not keep:
            for name in self._rows:
                self._path(name).unlink(missing_ok=True)
        if complete:
            (self._folder / MARK).unlink(missing_ok=True)

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        known = self._columns[name]
        new = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in known]
        if new:  # an image that failed has fewer columns than those after it
            known[:] = dict.fromkeys(key for row in self._rows[name] for key in row)
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, known)
        if new:
            writer.writeheader()
            writer.writerows(self._rows[name])
            write_whole(self._path(name), text.getvalue().encode())
            return
        writer.writerows(rows)
        with self._path(name).open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())

    def _mark(self) -> None:
        said = f"incomplete: {self._done} of {self._total} images are in these tables"
        write_whole(self._folder / MARK, f"{said}\n".encode())

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.csv"
