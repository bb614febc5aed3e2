"""What a data set is made of, for people (counts) and for records (a fingerprint)."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.datasets.image_store import PlaneDigest
from napari_why.datasets.tables import SPLITS


def summary_of(
    table: pd.DataFrame, classes: Sequence[str], groups: NDArray[np.int64]
) -> pd.DataFrame:
    """Count groups and images per split and class; see :meth:`Dataset.summary`."""
    counted = pd.DataFrame({"label": table["label"], "group": groups})
    counted["split"] = table["split"] if "split" in table.columns else "all"
    present = set(counted["split"])
    order = [name for name in (*SPLITS, "all") if name in present]
    rows = []
    for split in order:
        for label in classes:
            mine = counted[(counted["split"] == split) & (counted["label"] == label)]
            rows.append((split, label, mine["group"].nunique(), len(mine)))
    return pd.DataFrame(rows, columns=["split", "label", "groups", "images"])


def fingerprint_of(
    table: pd.DataFrame, channels: Sequence[str], digests: Iterable[Mapping[str, PlaneDigest]]
) -> str:
    """Hash every column but ``path``, the channel names and all pixels."""
    columns = sorted(str(column) for column in table.columns if column != "path")
    digest = sha256(table[columns].to_csv(index=False).encode())
    digest.update("\0".join(channels).encode())
    for planes in digests:
        for plane in planes.values():
            digest.update(plane.text.encode())
    return digest.hexdigest()
