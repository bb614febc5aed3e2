"""The real files of ``format-specimens``, checked against the hashes that stand beside them."""

import csv
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from fuzzing.specimen import Specimen, load

# Specimens whose values stand for colours are read when they are said to be channels.
TOLD = {"plain/tiff_tiled_planar_lzw.tiff": "cyx", "plain/multipage.tiff": "cyx"}


def real_specimens(folder: Path) -> list[Specimen]:
    """Load every specimen of the table, each compared with its SHA-256."""
    with (folder / "expected.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    specimens = []
    for row in rows:
        name = row["path"]
        specimen = load(folder / name, name, name.partition("/")[0], TOLD.get(name))
        with tempfile.TemporaryDirectory() as place:
            if _digest(specimen.pixels(Path(place)), row) != row["sha256_le"]:
                raise ValueError(f"{name} does not have the pixels that expected.csv tells")
        specimens.append(specimen)
    return specimens


def _digest(image: xr.DataArray, row: Mapping[str, str]) -> str:
    stored = ["c" if axis in "IS" else axis.lower() for axis in row["axes"]]
    pixels = image.squeeze("c") if "c" not in stored else image
    values = np.ascontiguousarray(pixels.transpose(*stored))
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()
