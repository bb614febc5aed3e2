"""Results out of files, as results again: so that they are shown as they were when they were made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from napari_why.core.errors import ImageReadError
from napari_why.core.pictures import Axis, Picture
from napari_why.core.record import Record
from napari_why.images import Grid, channel_names, read
from napari_why.output.images import JOINT

# Of what a record tells in its details, what layers carry beside it.
FACTS = (
    *("target", "unit", "gap", "gap_meaning", "complete", "classes", "alphas", "probabilities"),
    *("special_alphas", "verdict", "reservations", "trustworthy", "notes"),
)


@dataclass(frozen=True, eq=False)
class StoredResult:
    """The pictures of a result that a file holds, with its record.

    Parameters
    ----------
    image : DataArray, dims (c, y, x) or (t, c, y, x)
    record : Record
    grid : Grid
        Where the pixels lie on the source image.
    """

    image: xr.DataArray
    record: Record
    grid: Grid

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read beside the pictures."""
        return tuple(map(str, self.record.details.get("notes") or ()))

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its layers carry beside the record."""
        details = self.record.details
        return {name: details[name] for name in FACTS if name in details}

    def pictures(self) -> dict[str, Picture]:
        """Return what the file holds: maps, a series, or the map of a measurement."""
        if self.record.kind == "counterfactual":
            return {"series": self._series()}
        return self._maps()

    def _series(self) -> Picture:
        details, names = self.record.details, channel_names(self.image)
        title = f"{details['source_class']} to {details['target']}"
        pixels = np.asarray(self.image)
        # the reader leaves out an axis of one image
        series = pixels if "t" in self.image.dims else pixels[None]
        return Picture(
            compute=lambda: series,
            channels=names,
            titles=tuple(f"{name}: {title}" for name in names),
            role="series",
            kind="intensity",
            unit="grey levels",
            axis=Axis("alpha", np.asarray(details["alphas"], dtype=float)),
        )

    def _maps(self) -> dict[str, Picture]:
        attributed = self.record.kind == "attribution"
        title = f"{self.record.method}: {self.record.details.get('target', 'change')}"
        names = channel_names(self.image)
        pixels = np.asarray(self.image)
        return {
            name: Picture(
                compute=lambda index=index: pixels[index : index + 1],  # type: ignore[misc]
                channels=(None if name == JOINT else name,),
                titles=(title if name == JOINT else f"{title}, {name}",),
                role="attribution" if attributed else "change map",
                kind="signed",
                unit=str(self.record.details.get("unit", "grey levels")),
                # as when it was made: the map of all channels tells where, the others in which stain
                visible=name == names[-1],
                over_raw=True,
            )
            for index, name in enumerate(names)
        }


def read_result(path: str | Path) -> StoredResult:
    """Read a result that was written with its record and its grid.

    Raises
    ------
    ImageReadError
        It cannot be read, or holds no record of a result.
    """
    image = read(path)
    try:
        record = Record.from_dict(image.attrs["record"])
        grid = record.details["grid"]
        return StoredResult(image, record, Grid(**{key: tuple(grid[key]) for key in grid}))
    except (KeyError, TypeError) as error:
        raise ImageReadError(
            path, "an image without the record of a result", "one that napari-why wrote"
        ) from error
