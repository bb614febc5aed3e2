"""Simulated two-channel 16-bit images whose true difference between classes is known."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from napari_why.datasets.cell_parts import REFERENCE_PIXEL
from napari_why.datasets.cells import CLASSES
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.plates import PlateLayout, lay_out
from napari_why.datasets.scene import Camera
from napari_why.datasets.simulated_scene import SimulatedScene
from napari_why.datasets.tables import TABLE_NAME
from napari_why.errors import ParameterError, WhyError
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.images import write


def simulate(
    count: int,
    *,
    classes: Sequence[str] = ("diseased", "treated"),
    size: int = 128,
    seed: int = 0,
    wells: int | None = None,
    plates: int = 1,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Dataset:
    """Simulate a labelled data set in memory.

    Every image shows a scene of its own. The column ``scene`` holds its number:
    ``SimulatedScene(number, seed=seed, size=size, ...)`` renders it as any other class and knows
    the true change.

    Parameters
    ----------
    count : int
        Number of images, shared evenly by the classes.
    classes : sequence of str
        Two or more of ``healthy``, ``diseased`` and ``treated``;
        see :func:`~napari_why.datasets.cells.draw_cells`.
    size : int
        Height and width in pixels.
    seed : int
        Which series of scenes.
    wells : int, optional
        Wells per class and plate. By default one for every four images, at least six where
        there are enough images.
    plates : int
        Number of plates. Wells lie at random places, so place tells nothing about class.
    pixel_size : float
        Micrometres per pixel.
    camera : Camera, optional
        Light and noise.
    on_event, cancelled
        See :mod:`napari_why.events`. When cancelled, the data set holds the images made so far.

    Returns
    -------
    Dataset
        Columns ``plate``, ``well``, ``field`` and ``scene``; grouped by plate and well.

    Raises
    ------
    ParameterError
        A number or class out of range.
    WhyError
        Cancelled before there was an image of two classes.
    """
    chosen = _checked_classes(classes)
    layout = lay_out(count, chosen, wells, plates, seed)
    camera = camera or Camera()
    on_event(Started("simulating images", count))
    images = []
    for number, label in enumerate(layout.labels):
        if cancelled():
            break
        scene = SimulatedScene(number, seed=seed, size=size, pixel_size=pixel_size, camera=camera)
        images.append(scene.image(label))
        on_event(Advanced(number + 1))
    done = len(images)
    on_event(Finished(partial=done < count))
    if len(set(layout.labels[:done])) < 2:
        raise WhyError(f"simulation: cancelled after {done} images; expected at least two classes")
    return _dataset(images, layout)


def simulate_to_folder(
    folder: str | Path,
    count: int,
    *,
    classes: Sequence[str] = ("diseased", "treated"),
    size: int = 128,
    seed: int = 0,
    wells: int | None = None,
    plates: int = 1,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Simulate a data set and write it as OME-TIFFs with a ``labels.csv``.

    Takes what :func:`simulate` takes. ``Dataset.open(folder)`` opens the result.

    Returns
    -------
    Path
        The table, written last: where it is, the data set is complete.

    Raises
    ------
    WhyError
        As :func:`simulate`, or the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise WhyError(f"{folder}: found a folder that is not empty; expected a new or empty one")
    dataset = simulate(
        count,
        classes=classes,
        size=size,
        seed=seed,
        wells=wells,
        plates=plates,
        pixel_size=pixel_size,
        camera=camera,
        on_event=on_event,
        cancelled=cancelled,
    )
    paths = []
    for row, label in enumerate(dataset.table["label"]):
        name = Path(label) / f"{label}_{row:05d}.ome.tif"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(dataset.image(row), folder / name)
        paths.append(name.as_posix())
    table = folder / TABLE_NAME
    dataset.table.assign(path=paths).to_csv(table, index=False)
    return table


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    if len(set(classes)) != len(classes) or len(classes) < 2 or not set(classes) <= set(CLASSES):
        raise ParameterError(
            f"classes: found {', '.join(classes)}; expected two or more of {', '.join(CLASSES)}"
        )
    return tuple(classes)


def _dataset(images: list[xr.DataArray], layout: PlateLayout) -> Dataset:
    done = len(images)
    return Dataset.from_images(
        images,
        layout.labels[:done],
        plate=layout.plates[:done],
        well=layout.wells[:done],
        field=layout.fields[:done],
        scene=list(range(done)),
    )
