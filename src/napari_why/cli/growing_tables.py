"""Tables that are written as they grow: what was measured before a crash is there."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        """Write the rows of one image, and put them where no crash of this program reaches them."""
        self._append("images", [image])
        if regions is not None and len(regions):
            self._append("regions", regions.to_dict("records"))
        self._done += 1
        self._mark()

    def close(self, *, keep: bool, complete: bool) -> None:
        """Take the mark away if all is done, and the tables if they stand there in another format."""
        if not keep:
            for name in self._rows:
                self._path(name).unlink(missing_ok=True)
        if complete:
            (self._folder / MARK).unlink(missing_ok=True)

    def _append(self, name: str, rows: list[dict[Any, Any]]) -> None:
        known = self._columns[name]
        plain = [{str(key): value for key, value in row.items()} for row in rows]
        new = [
            key for key in dict.fromkeys(key for row in plain for key in row) if key not in known
        ]
        self._rows[name] += plain
        known += new
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, known)
        if new:
            # an image that failed has fewer columns than those after it: then all is written anew
            writer.writeheader()
            writer.writerows(self._rows[name])
            write_whole(self._path(name), text.getvalue().encode())
            return
        writer.writerows(plain)
        with self._path(name).open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())

    def _mark(self) -> None:
        said = f"incomplete: {self._done} of {self._total} images are in these tables"
        write_whole(self._folder / MARK, f"{said}\n".encode())

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.csv"
