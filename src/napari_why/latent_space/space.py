"""Pooled latents of the images of a data set, with what is known about each image."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.devices import limited_threads
from napari_why.core.errors import DatasetError, WhyError
from napari_why.core.record import Record
from napari_why.core.whole_files import write_whole
from napari_why.datasets import Dataset, Unreadable
from napari_why.model import Classifier
from napari_why.model.classifier import pooled_latents, softmax
from napari_why.model.familiarity import NOT_KNOWN, describe_familiarity, notes_seen_images

# What a file says of itself: any table can be Parquet. A new version only where old ones cannot be
# read as they are.
FORMAT, VERSION = "napari-why latent space", 1
METADATA = b"napari_why"  # key in the Parquet schema, beside pandas' own
LATENT = "latent {}"  # name of a column in the file


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """One point an image: the mean over positions of the network's last feature maps.

    Made by :func:`napari_why.embed` and :meth:`load`.

    Parameters
    ----------
    table : DataFrame
        One row an image: ``image`` (its row in the data set), ``path``, ``class`` (its label),
        ``prediction``, ``probability`` (of the prediction, 0 to 1), ``used_for`` (``training``,
        ``validation``, ``nothing`` or ``not known``: what the network has seen of these pixels),
        ``unlike`` (in what the image is unlike the training images, empty where in nothing),
        ``known_group`` (whether it knows other images of the well; see
        :func:`~napari_why.model.familiarity.describe_familiarity`) and every further
        column of the data set. Files of earlier versions have neither of the latter two.
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

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside the images."""
        if self.complete:
            return ()
        known = self.record.details
        # of a space that was saved before these were noted, only its own rows are known
        done, total = known.get("looked_at", len(self)), known.get("of")
        return (events.describe_partial(done, total, "images"),)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything as one Parquet file; the columns ``latent 0`` and on hold the latents.

        Parameters
        ----------
        path : str or Path
            Of the file.
        overwrite : bool
            Replace a file that is there, if napari-why wrote it.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        WhyError
            There is something at ``path`` already, or it cannot be written.
        """
        target = Path(path)
        if os.path.lexists(target) and not overwrite:
            raise WhyError(f"{target}: found a file; choose another name, or overwrite it")
        columns = {LATENT.format(index): values for index, values in enumerate(self.latents.T)}
        frame = pd.concat([plain_columns(self.table), pd.DataFrame(columns)], axis=1)
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
        metadata = {**(arrow.schema.metadata or {}), METADATA: json.dumps(self._facts()).encode()}
        # in memory first, so that the file is there whole or not at all
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
    # a plate table read from a spreadsheet has doses such as "high" and 3 in one column
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


# Values (images x channels x pixels) encoded at a time: 5 images of 2 x 224 x 224. Bounds the memory
# that feature maps take, which are many times as large as the images.
VALUES_AT_A_TIME = 2**19
# Splits by what a split is for; the test split is not among them, since nothing was fitted to it.
USES = {"train": "training", "validation": "validation"}
UNUSED = "nothing"


@shows_progress
def embed(
    classifier: Classifier,
    dataset: Dataset,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> LatentSpace:
    """Find where the classifier's network puts every image of a data set.

    The last feature maps (N, K, h, w) of the network, whichever it is, are averaged over their
    positions: one point with K coordinates an image. Memory does not grow with the number of
    images but for these points.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
        With the classifier's channels; its classes need not be the classifier's.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with the images done by then.

    Returns
    -------
    LatentSpace
        Without the images that cannot be read or do not fit the classifier: those are listed with
        the reason.

    Raises
    ------
    DatasetError
        Not a single image could be encoded.

    Examples
    --------
    >>> space = why.embed(classifier, why.Dataset.open("plate/"))  # doctest: +SKIP
    >>> space.table[["path", "class", "prediction", "well"]]  # doctest: +SKIP
    """
    on_event(events.Started("latent space", len(dataset)))
    found = _Found()
    for rows, images in _batches(classifier, dataset, found, cancelled):
        found.add(rows, *encode(classifier, torch.cat(images)))
        on_event(events.Advanced(found.looked_at))
    complete = found.looked_at == len(dataset)
    if not found.rows:
        raise _nothing(dataset, found)
    if found.unreadable:
        left_out = f"{len(found.unreadable)} images are left out: {found.unreadable[0].reason}"
        on_event(events.Message(left_out, finding=True))
    on_event(events.Finished(partial=not complete))
    return LatentSpace(
        _table(classifier, dataset, found),
        np.concatenate(found.latents),
        classifier.classes,
        dataset.group_columns,
        _record(classifier, dataset, found, complete),
        tuple(found.unreadable),
        complete,
    )


def encode(
    classifier: Classifier, prepared: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Encode a preprocessed batch.

    Parameters
    ----------
    classifier : Classifier
    prepared : Tensor, float32, shape (N, C, H, W)

    Returns
    -------
    latents : ndarray, float32, shape (N, K)
        Last feature maps, averaged over positions.
    probabilities : ndarray, float64, shape (N, classes)
    """
    with limited_threads(classifier.threads):
        latents, logits = pooled_latents(classifier.network, prepared)
    pooled: NDArray[np.float32] = latents.float().cpu().numpy()
    return pooled, softmax(logits.float().cpu().numpy())


@dataclass
class _Found:
    rows: list[int] = field(default_factory=list)
    latents: list[NDArray[np.float32]] = field(default_factory=list)
    probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        return len(self.rows) + len(self.unreadable)

    def add(
        self, rows: list[int], latents: NDArray[np.float32], probabilities: NDArray[np.float64]
    ) -> None:
        self.rows.extend(rows)
        self.latents.append(latents)
        self.probabilities.append(probabilities)


def _batches(
    classifier: Classifier, dataset: Dataset, found: _Found, cancelled: events.Cancelled
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Yield images of one size a few at a time; note those that cannot be prepared."""
    rows: list[int] = []
    images: list[Tensor] = []
    for row in range(len(dataset)):
        if cancelled():
            break
        try:
            raw = dataset.image(row)
            found.notes[row] = "; ".join(classifier.check(raw))
            image = classifier.prepare(raw)
        except (WhyError, OSError) as error:
            found.unreadable.append(Unreadable(str(dataset.table["path"].iloc[row]), str(error)))
            continue
        # images of different size do not stack; order is kept, so mixed sizes cost batches, not rows
        full = (len(images) + 1) * image.numel() > VALUES_AT_A_TIME
        if images and (full or image.shape != images[0].shape):
            yield rows, images
            rows, images = [], []
        rows.append(row)
        images.append(image)
    if images:
        yield rows, images


def _table(classifier: Classifier, dataset: Dataset, found: _Found) -> pd.DataFrame:
    source = dataset.table.iloc[found.rows].reset_index(drop=True)
    familiarity = describe_familiarity(classifier.card, dataset.select(found.rows))
    probabilities = np.concatenate(found.probabilities)
    best = probabilities.argmax(axis=1)
    own = pd.DataFrame(
        {
            "image": found.rows,
            "path": source["path"],
            "class": source["label"],
            "prediction": [classifier.classes[index] for index in best],
            "probability": probabilities[np.arange(len(best)), best],
            "used_for": _uses(classifier, source, familiarity["seen"]),
            "unlike": [found.notes[row] for row in found.rows],
            "known_group": familiarity["known_group"].to_numpy(),
        }
    )
    # a data set may have a column of its own named prediction or class: both are kept apart
    further = source.drop(columns=["path", "label"])
    clashing = {name: f"{name} (data set)" for name in further.columns if name in own.columns}
    return pd.concat([own, further.rename(columns=clashing)], axis=1)


def _uses(classifier: Classifier, source: pd.DataFrame, seen: "pd.Series[bool]") -> list[str]:
    """Say what the network has seen of each image, by its pixels, wherever the file lies."""
    if not notes_seen_images(classifier.card):
        return [NOT_KNOWN] * len(source)
    splits = {
        path: split for split, paths in classifier.card.get("splits", {}).items() for path in paths
    }
    return [
        USES.get(splits.get(str(path), "train"), USES["train"]) if known else UNUSED
        for path, known in zip(source["path"], seen, strict=True)
    ]


def _record(classifier: Classifier, dataset: Dataset, found: _Found, complete: bool) -> Record:
    details: dict[str, Any] = {
        "network": classifier.network.name,
        "layer": classifier.network.layer_names[-1],
        "images": len(found.rows),
        "unreadable": len(found.unreadable),
        "looked_at": found.looked_at,
        "of": len(dataset),
        "complete": complete,
        "channels": list(dataset.channels),
        "data_notes": list(dataset.notes),
    }
    return Record(
        kind="latent space",
        method="mean over positions",
        classifier=classifier.fingerprint,
        details=details,
    )


def _nothing(dataset: Dataset, found: _Found) -> DatasetError:
    reason = (
        f"first: {found.unreadable[0].reason}" if found.unreadable else "cancelled before the first"
    )
    return DatasetError(
        f"found none of {len(dataset)} images that could be encoded ({reason}); expected at least one"
    )
