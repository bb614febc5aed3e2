"""Where simulated images lie: plates, wells at random places, fields in a well."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.tables import TABLE_NAME
from napari_why.images import write
from napari_why.simulation.cells import CLASSES, REFERENCE_PIXEL
from napari_why.simulation.scenes import Camera, SimulatedScene

ROWS, COLUMNS = 16, 24
FIELDS_PER_WELL = 4
FEWEST_WELLS = 6


@dataclass(frozen=True)
class PlateLayout:
    """Class, plate, well and field of every image; lists of the same length."""

    labels: list[str]
    plates: list[str]
    wells: list[str]
    fields: list[int]


def lay_out(
    count: int,
    classes: Sequence[str],
    wells: int | None,
    plates: int,
    seed: int,
    plate_of: Sequence[int] | None = None,
) -> PlateLayout:
    """Share ``count`` images evenly among classes, plates and wells of a 384-well plate.

    Images run through the classes in turn, so that the first ones are of all classes.

    Parameters
    ----------
    count : int
        Number of images, at least one per class.
    classes : sequence of str
        Class names.
    wells : int or None
        Wells per class and plate; None for one per four images, at least six if there are as many
        images.
    plates : int
        Number of plates.
    seed : int
        Draws which wells belong to which class.
    plate_of : sequence of int, optional
        Plate of every image, counted from 0, where they shall not be shared evenly.

    Raises
    ------
    ParameterError
        A number is out of range, or the wells do not fit on the plate.
    """
    most = ROWS * COLUMNS // len(classes)
    each = -(-count // (len(classes) * max(plates, 1)))
    if wells is None:
        wells = min(max(-(-each // FIELDS_PER_WELL), min(FEWEST_WELLS, each)), most)
    for name, value, low, high in (
        ("count", count, len(classes), None),
        ("plates", plates, 1, None),
        ("wells", wells, 1, most),
    ):
        if value < low or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"{low} to {high}"
            raise ParameterError(f"{name}: found {value}; expected {limits}")
    rng = np.random.default_rng([seed, 3])
    names = [
        f"{row}{column:02d}"
        for row in string.ascii_uppercase[:ROWS]
        for column in range(1, COLUMNS + 1)
    ]
    places = [rng.permutation(names) for _ in range(plates)]
    layout = PlateLayout([], [], [], [])
    images_on: Counter[tuple[int, int]] = Counter()
    for index in range(count):
        turn, kind = divmod(index, len(classes))
        plate = turn % plates if plate_of is None else plate_of[index]
        field, well = divmod(images_on[kind, plate], wells)
        images_on[kind, plate] += 1
        layout.labels.append(classes[kind])
        layout.plates.append(str(plate + 1))
        layout.wells.append(str(places[plate][kind * wells + well]))
        layout.fields.append(field + 1)
    return layout


def plates_by_class(count: int, classes: int, plates: int, share: float) -> list[int]:
    """Put images on plates such that the plate tells about the class.

    The plates are dealt to the classes in turn; of a class, ``share`` of the images lie on its
    own plates, the others on those of the next class.

    Parameters
    ----------
    count, classes, plates : int
        Numbers of images, which run through the classes in turn, of classes and of plates, of
        which there are at least as many as classes.
    share : float
        0 to 1.

    Returns
    -------
    list of int
        Plate of every image, counted from 0; plate p belongs to class p modulo ``classes``.
    """
    if plates < classes:
        raise ParameterError(f"plates: found {plates}; expected at least one for each class")
    if not 0 <= share <= 1:
        raise ParameterError(f"share of a class on its own plates: found {share}; expected 0 to 1")
    images_of: Counter[int] = Counter()
    chosen = []
    for index in range(count):
        turn, kind = divmod(index, classes)
        at_home = int((turn + 1) * share + 1e-9) > int(turn * share + 1e-9)
        owner = kind if at_home else (kind + 1) % classes
        own = range(owner, plates, classes)
        chosen.append(own[images_of[owner] % len(own)])
        images_of[owner] += 1
    return chosen


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
        see :func:`~napari_why.simulation.cells.draw_cells`.
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
        See :mod:`napari_why.core.events`. When cancelled, the data set holds the images made so far.

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
