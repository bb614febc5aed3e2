"""What the data set in use, or a screen, knows of the image under the mouse, in napari's status bar."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer

from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions.viewer_state import state_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.datasets import Dataset

# Columns in the order in which they are told, where the data set has them; its class comes first.
TOLD = (
    *("split", "plate", "well", "treatment", "compound", "dose", "dose_unit", "replicate"),
    "control",
)
MARK = "   |   "


class FactsUnderMouse:
    """Adds class, well and other facts of the image under the mouse to napari's status.

    An image is known by the file that its layer was read from, so that it does not matter who opened it.

    Parameters
    ----------
    viewer : ViewerModel
    describe : callable, optional
        Returns what is known of the image that a layer shows, empty where it is not known; by default by
        the data set in use.
    """

    def __init__(
        self, viewer: "ViewerModel", describe: Callable[[Image], str] | None = None
    ) -> None:
        # Docks are given a proxy of the viewer, which cannot be written to.
        self._viewer = inspect.unwrap(viewer)
        self._dataset: Dataset | None = None
        self._rows: dict[str, int] = {}
        self._describe = describe or self._describe_by_dataset
        self._viewer.events.status.connect(self._add)
        self._following = True

    def release(self) -> None:
        """Leave the status to napari; for good, and as often as asked."""
        if self._following:
            self._following = False
            self._viewer.events.status.disconnect(self._add)

    def words(self) -> str:
        """Return what is known of the image under the mouse; empty where there is none."""
        for layer in reversed(self._viewer.layers):
            if layer.visible and isinstance(layer, Image) and self._is_over(layer):
                words = self._describe(layer)
                if words:
                    return words
        return ""

    def _describe_by_dataset(self, layer: Image) -> str:
        dataset = state_of(self._viewer).dataset
        if dataset is None:
            return ""
        if dataset is not self._dataset:
            self._dataset = dataset
            self._rows = rows_by_file(dataset)
        row = row_of_layer(self._rows, layer)
        return "" if row is None else describe_row(dataset, row)

    def _is_over(self, layer: Image) -> bool:
        position = np.asarray(self._viewer.cursor.position)[-2:]
        low, high = (corner[-2:] for corner in layer.extent.world)
        return bool(((position >= low) & (position <= high)).all())

    def _add(self, _event: Any) -> None:
        status, words = self._viewer.status, self.words()
        if not words:
            return
        # Set again, the status comes here once more: what was added is seen, and stays.
        if isinstance(status, str):
            if MARK not in status:
                self._viewer.status = f"{status}{MARK}{words}"
        elif MARK not in status.get("coordinates", ""):
            self._viewer.status = {
                **status,
                "coordinates": f"{status.get('coordinates', '')}{MARK}{words}",
            }


def describe_row(dataset: "Dataset", row: int) -> str:
    """Return class, split, well and other facts of an image, and its name, in one line.

    Parameters
    ----------
    dataset : Dataset
    row : int
        Of its table, from 0.

    Returns
    -------
    str
    """
    known = dataset.table.iloc[row]
    facts = [
        f"{name} {known[name]}"
        for name in TOLD
        if name in known.index and str(known[name]) not in ("", "nan")
    ]
    return ", ".join([Path(str(known["path"])).name, f"class {known['label']}", *facts])


def rows_by_file(dataset: "Dataset") -> dict[str, int]:
    """Return the row of each image of a data set by its file, or what stands for one."""
    return {str(path): row for row, path in enumerate(dataset.table["path"])}


def row_of_layer(rows: Mapping[str, int], layer: Layer) -> int | None:
    """Return the row of the image that a layer was read from; None where it is of none of these.

    Parameters
    ----------
    rows : mapping of str to int
        Rows of a data set's table by the path of the image.
    layer : Layer

    Returns
    -------
    int or None
    """
    # An image of several files is listed by its first.
    return rows.get(LayerFacts.of(layer).origin.partition("; ")[0])
