"""Pooled latents of the images of a data set, with what is known about each image."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from napari_why.datasets import Unreadable
from napari_why.errors import WhyError
from napari_why.latent_space.whole_file import write_whole
from napari_why.record import Record

FORMAT, VERSION = "napari-why latent space", 1
METADATA = b"napari_why"
LATENT = "latent {}"


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """One point an image: the mean over positions of the network's last feature maps.

    Made by :func:`napari_why.embed` and :meth:`load`.

    Parameters
    ----------
    table : DataFrame
        One row an image: ``image`` (its row in the data set), ``path``, ``class`` (its label),
        ``prediction``, ``probability`` (of the prediction, 0 to 1), ``used_for`` (``training``,
        ``validation`` or ``nothing``: what the network has seen of these pixels) and every
        further column of the data set.
    latents : ndarray, float32, shape (n, K)
        In the order of the table.
    classes : tuple of str
        Of the classifier.
    group_columns : tuple of str
        Columns that together name a group (a well); see :class:`napari_why.Dataset`.
    record : Record
        How it was made; ``record.classifier`` is the classifier's fingerprint.
    unreadable : tuple of Unreadable
        Images that could not be read or classified, with the reason.
    complete : bool
        False when the work was cancelled.
    """

    table: pd.DataFrame
    latents: NDArray[np.float32]
    classes: tuple[str, ...]
    group_columns: tuple[str, ...]
    record: Record = field(repr=False)
    unreadable: tuple[Unreadable, ...] = ()
    complete: bool = True

    def __len__(self) -> int:
        return len(self.table)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the classifier whose network made the latents."""
        return self.record.classifier

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything as one Parquet file; the columns ``latent 0`` and on hold the latents.

        Raises
        ------
        WhyError
            There is something at ``path`` already, or it cannot be written.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise WhyError(f"{target}: found a file; choose another name, or overwrite it")
        columns = {LATENT.format(index): values for index, values in enumerate(self.latents.T)}
        frame = pd.concat([plain_columns(self.table), pd.DataFrame(columns)], axis=1)
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        metadata = {**(arrow.schema.metadata or {}), METADATA: json.dumps(self._facts()).encode()}
        buffer = BytesIO()
        pq.write_table(arrow.replace_schema_metadata(metadata), buffer)
        return write_whole(target, buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "LatentSpace":
        """Read what :meth:`save` wrote.

        Raises
        ------
        WhyError
            There is no such file, or it is another kind of file, incomplete or of a newer version.
        """
        try:
            arrow = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise WhyError(
                f"{path}: found no readable Parquet file ({error}); expected a saved latent space"
            ) from error
        facts = _checked_facts(arrow.schema.metadata or {}, path)
        names = [LATENT.format(index) for index in range(facts["latents"])]
        missing = sorted({*names, *facts["columns"]} - set(arrow.column_names))
        if missing:
            raise WhyError(f"{path}: the column {missing[0]} is missing; take the original file")
        frame = arrow.to_pandas()
        return cls(
            frame[facts["columns"]],
            frame[names].to_numpy(np.float32),
            tuple(facts["classes"]),
            tuple(facts["group_columns"]),
            Record.from_dict(facts["record"]),
            tuple(Unreadable(**item) for item in facts["unreadable"]),
            facts["complete"],
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "latents": self.latents.shape[1],
            "columns": list(self.table.columns),
            "classes": list(self.classes),
            "group_columns": list(self.group_columns),
            "record": self.record.to_dict(),
            "unreadable": [{"path": item.path, "reason": item.reason} for item in self.unreadable],
            "complete": self.complete,
        }


def plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with mixed columns as text, for Parquet has one type a column."""
    mixed = {
        name: values.map(str, na_action="ignore")
        for name, values in table.items()
        if pd.api.types.infer_dtype(values, skipna=True).startswith("mixed")
    }
    return table.assign(**{str(name): values for name, values in mixed.items()})


def _checked_facts(metadata: Mapping[bytes, bytes], path: str | Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(metadata.get(METADATA, b"{}"))
    if facts.get("format") != FORMAT:
        raise WhyError(f"{path}: found another kind of table; expected a saved latent space")
    if facts["version"] != VERSION:
        raise WhyError(
            f"{path}: found version {facts['version']}; expected {VERSION}; update napari-why"
        )
    return facts
