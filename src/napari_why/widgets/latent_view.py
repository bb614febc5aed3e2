"""What the Latent space dock shows, computed by the core beside the viewer."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.events import Cancelled, OnEvent
from napari_why.core.torch_loading import load_torch_libraries

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from napari_why.datasets import Dataset
    from napari_why.latent_space import LatentSpace, Outliers, Projection
    from napari_why.model import Classifier

FIRST_PROJECTION = "pca"
TOLD = ("class", "prediction", "plate", "well")


@dataclass(frozen=True, eq=False)
class LatentView:
    """A latent space, its projection and its outliers.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
        The rows of the space's table tell their rows in this.
    space : LatentSpace
    projection : Projection
    outliers : Outliers or None
        None where there are too few images to judge by.
    notes : tuple of str
        Why something is missing.
    """

    classifier: "Classifier"
    dataset: "Dataset"
    space: "LatentSpace"
    projection: "Projection"
    outliers: "Outliers | None"
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> "pd.DataFrame":
        """One row an image, with the distances where there are any."""
        return self.space.table if self.outliers is None else self.outliers.images

    @cached_property
    def tooltips(self) -> list[str]:
        """What is said of each image: file, class, prediction, plate and well."""
        shown = [name for name in TOLD if name in self.table.columns]
        return [
            "\n".join([Path(str(row["path"])).name, *(f"{name}: {row[name]}" for name in shown)])
            for row in self.table.to_dict("records")
        ]

    def dataset_rows(self, points: "list[int]") -> list[int]:
        """Return the rows in the data set of points of the space."""
        return [int(row) for row in self.space.table["image"].iloc[points]]


def computed(
    classifier: "Classifier",
    dataset: "Dataset",
    method: str,
    search: "Mapping[str, Any]",
    *,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> LatentView:
    """Encode a data set, project it, and look for outliers.

    A projection that cannot be had gives way to PCA, with a note: encoding takes longest.
    """
    load_torch_libraries()
    from napari_why.core.errors import WhyError
    from napari_why.latent_space import embed, project
    from napari_why.widgets.plot import draw_once

    draw_once()
    space = embed(classifier, dataset, on_event=on_event, cancelled=cancelled)
    notes: list[str] = []
    try:
        projection = project(space, method)
    except WhyError as error:
        notes.append(str(error))
        projection = project(space, FIRST_PROJECTION)
    if space.unreadable:
        notes.append(f"{len(space.unreadable)} images are left out: {space.unreadable[0].reason}")
    view = LatentView(classifier, dataset, space, projection, None, tuple(notes))
    return judged(view, search)


def projected(view: LatentView, method: str) -> LatentView:
    """Project the same latents in another way."""
    from napari_why.latent_space import project

    return replace(view, projection=project(view.space, method))


def judged(view: LatentView, search: "Mapping[str, Any]") -> LatentView:
    """Look for outliers; a note says why where that cannot be done."""
    from napari_why.core.errors import DatasetError
    from napari_why.latent_space import find_outliers

    try:
        return replace(view, outliers=find_outliers(view.space, **search))
    except DatasetError as error:
        return replace(view, outliers=None, notes=(*view.notes, str(error)))
