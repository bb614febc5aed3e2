"""Simulated data sets: scenes laid out on plates, rendered, and gathered with their labels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_why.core import events
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.randomness import Rng, choose_seed
from napari_why.core.whole_files import csv_text
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.image_folders import TABLE_NAME
from napari_why.images import write
from napari_why.simulation.cells import CELLS_PER_CROP, REFERENCE_PIXEL
from napari_why.simulation.effects import CLASSES, EFFECT_CLASSES, find_effect
from napari_why.simulation.scenes import Camera, EffectScene, Scene, SimulatedScene

# A 384-well plate, 16 rows and 24 columns: the usual one of screens.
WELLS = tuple(f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25))
# A well is imaged in a few fields; fewer wells of more fields would leave splits fewer groups.
FIELDS_PER_WELL = 4
# Six wells of a class can be split into train, validation and test with two folds to spare.
FEWEST_WELLS = 6
# Two dim and two bright plates: leaving out one plate leaves one of its kind to learn from.
NUISANCE_PLATES = 4
# Factors on the light. A gap of 1.5 between both keeps the kinds of plates apart for good.
DIM, BRIGHT = (0.65, 0.8), (1.2, 1.45)
# Streams of random numbers beside those of the scenes. numpy takes [seed, 3] and [seed, 3, 0] for
# the same entropy, so wells are drawn from the numbers that place the cells of scene 3. That tells
# nothing about the class, and other streams would change every data set simulated so far.
WELLS_STREAM, PLATES_STREAM = 3, 5


def simulate(
    count: int,
    *,
    classes: Sequence[str] = ("diseased", "treated"),
    size: int = 128,  # 8 to 24 cells
    seed: int = 0,
    rng: Rng = None,
    wells: int | None = None,
    plates: int = 1,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
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
        see :data:`napari_why.simulation.effects.DISEASE`.
    size : int
        Height and width in pixels.
    seed : int
        Which series of scenes.
    rng : int or numpy.random.Generator, optional
        In place of the seed; see :mod:`napari_why.core.randomness`.
    wells : int, optional
        Wells per class and plate. By default one for every four images, at least six where
        there are enough images.
    plates : int
        Number of plates. Wells lie at random positions, so position tells nothing about class.
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
    if len(set(classes)) != len(classes) or len(classes) < 2 or not set(classes) <= set(CLASSES):
        raise ParameterError(
            f"classes: found {', '.join(classes)}; expected two or more of {', '.join(CLASSES)}"
        )
    seed = choose_seed(seed, rng)
    layout = lay_out(count, tuple(classes), wells, plates, seed)
    scene = partial(
        SimulatedScene, seed=seed, size=size, pixel_size=pixel_size, camera=camera or Camera()
    )
    return _render(map(scene, range(count)), layout, on_event, cancelled)


def simulate_to_folder(
    folder: str | Path,
    count: int,
    *,
    classes: Sequence[str] = ("diseased", "treated"),
    size: int = 128,  # 8 to 24 cells
    seed: int = 0,
    wells: int | None = None,
    plates: int = 1,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Path:
    """Simulate a data set and write it as OME-TIFFs with a ``labels.csv``.

    Takes what :func:`simulate` takes. ``Dataset.open(folder)`` opens the result.

    Parameters
    ----------
    folder : str or Path
        New or empty.
    count, classes, size, seed, wells, plates, pixel_size, camera
        See :func:`simulate`.
    on_event, cancelled
        See :mod:`napari_why.core.events`. When cancelled, what was made so far is written.

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
    table.write_text(csv_text(dataset.table.assign(path=paths)), encoding="utf-8", newline="")
    return table


def simulate_effect(
    count: int,
    effect: str = "depolarisation",
    *,
    size: int = 64,  # 2 to 6 cells
    strength: float = 1.0,
    seed: int = 0,
    rng: Rng = None,
    wells: int | None = None,
    plates: int | None = None,
    density: tuple[float, float] = CELLS_PER_CROP,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
    plate_share: float = 0.8,  # who learns the plates is right four times out of five
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Dataset:
    """Simulate a labelled data set of healthy and treated cells in memory.

    Every image shows a scene of its own: ``EffectScene(row.scene, effect, seed=seed,
    brightness=row.brightness, ...)`` renders it as the other class and knows the true change.

    Parameters
    ----------
    count : int
        Number of images, shared evenly by both classes.
    effect : str
        A key of :data:`napari_why.simulation.EFFECTS`.
    size, strength, density, pixel_size, camera
        See :class:`napari_why.simulation.EffectScene`.
    seed : int
        Which series of scenes.
    rng : int or numpy.random.Generator, optional
        In place of the seed; see :mod:`napari_why.core.randomness`.
    wells : int, optional
        Wells per class and plate; see :func:`napari_why.simulation.simulate`.
    plates : int, optional
        Number of plates; by default 1, or 4 for ``nuisance``, where every other plate is dim (0.65
        to 0.8 times the light) and the others are bright (1.2 to 1.45 times).
    plate_share : float
        Of ``nuisance``: share of the healthy images that lie on dim plates, and of the treated
        ones that lie on bright plates; 0.5 makes plates tell nothing.
    on_event, cancelled
        See :mod:`napari_why.core.events`. When cancelled, the data set holds the images made so far.

    Returns
    -------
    Dataset
        Columns ``plate``, ``well``, ``field``, ``scene`` and ``brightness`` (that of the plate);
        grouped by plate and well.

    Raises
    ------
    ParameterError
        A number or effect out of range.
    WhyError
        Cancelled before there was an image of both classes.

    Examples
    --------
    >>> dataset = simulate_effect(8, "fragmentation", size=32)
    >>> dataset.classes, dataset.image(0).shape
    (('healthy', 'treated'), (2, 32, 32))
    """
    seed = choose_seed(seed, rng)
    nuisance = find_effect(effect).plate_brightness
    plates = (NUISANCE_PLATES if nuisance else 1) if plates is None else plates
    plate_of, brightness = None, [1.0] * count
    if nuisance:
        plate_of = plates_by_class(count, len(EFFECT_CLASSES), plates, plate_share)
        of_plate = draw_plate_brightness(plates, seed)
        brightness = [of_plate[plate] for plate in plate_of]
    layout = lay_out(count, EFFECT_CLASSES, wells, plates, seed, plate_of)
    scene = partial(
        EffectScene,
        effect=effect,
        seed=seed,
        size=size,
        strength=strength,
        density=density,
        pixel_size=pixel_size,
        camera=camera or Camera(),
    )
    scenes = (scene(number, brightness=light) for number, light in enumerate(brightness))
    return _render(scenes, layout.assign(brightness=brightness), on_event, cancelled)


def effect_scenes(
    count: int,
    effect: str = "depolarisation",
    *,
    size: int = 64,  # 2 to 6 cells
    strength: float = 1.0,
    seed: int = 0,
    density: tuple[float, float] = CELLS_PER_CROP,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
) -> list[EffectScene]:
    """Return the scenes of :func:`simulate_effect` with the same arguments, without rendering.

    For ``nuisance`` the scenes run through the plates with every class on every plate alike, for
    a test that asks for the effect and not for the plate.

    Parameters
    ----------
    count : int
        Number of scenes.
    effect : str
        A key of :data:`napari_why.simulation.EFFECTS`.
    size, strength, density, pixel_size, camera
        See :class:`napari_why.simulation.EffectScene`.
    seed : int
        Which series of scenes.

    Returns
    -------
    list of EffectScene
        Numbered from 0.
    """
    brightness = [1.0]
    if find_effect(effect).plate_brightness:
        brightness = draw_plate_brightness(NUISANCE_PLATES, seed)
    return [
        EffectScene(
            number,
            effect,
            seed=seed,
            size=size,
            strength=strength,
            density=density,
            pixel_size=pixel_size,
            camera=camera or Camera(),
            brightness=brightness[number % len(brightness)],
        )
        for number in range(count)
    ]


def lay_out(
    count: int,
    classes: Sequence[str],
    wells: int | None,
    plates: int,
    seed: int,
    plate_of: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Share ``count`` images evenly among classes, plates and wells of a 384-well plate.

    Images run through the classes in turn, so that the first ones are of all classes.

    Parameters
    ----------
    count : int
        Number of images, at least one per class.
    classes : sequence of str
        Class names.
    wells : int or None
        Wells per class and plate; None for the default of :func:`simulate`.
    plates : int
        Number of plates.
    seed : int
        Draws which wells belong to which class.
    plate_of : sequence of int, optional
        Plate of every image, counted from 0, where they shall not be shared evenly.

    Returns
    -------
    DataFrame
        ``label``, ``plate``, ``well``, ``field`` (from 1) and ``scene`` (from 0) of every image.

    Raises
    ------
    ParameterError
        A number is out of range, or the wells do not fit on the plate.
    """
    most = len(WELLS) // len(classes)
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
    rng = np.random.default_rng([seed, WELLS_STREAM])
    # Random positions: rows of one class would let the plate's edge tell the class.
    shuffled = [rng.permutation(WELLS) for _ in range(plates)]
    images_on: Counter[tuple[int, int]] = Counter()
    rows = []
    for index in range(count):
        turn, kind = divmod(index, len(classes))
        plate = turn % plates if plate_of is None else plate_of[index]
        field, well = divmod(images_on[kind, plate], wells)
        images_on[kind, plate] += 1
        name = str(shuffled[plate][kind * wells + well])
        rows.append((classes[kind], str(plate + 1), name, field + 1, index))
    return pd.DataFrame(rows, columns=["label", "plate", "well", "field", "scene"])


def plates_by_class(count: int, classes: int, plates: int, share: float) -> list[int]:
    """Put images on plates such that the plate tells about the class.

    The plates are dealt to the classes in turn; of a class, ``share`` of the images lie on its
    own plates, the others on those of the next class.

    Parameters
    ----------
    count, classes, plates : int
        Of images, which run through the classes in turn; of classes; at least as many plates.
    share : float
        0 to 1.

    Returns
    -------
    list of int
        Plate of every image, counted from 0; plate p belongs to class p modulo ``classes``.

    Raises
    ------
    ParameterError
        Fewer plates than classes, or a share out of range.
    """
    if plates < classes:
        raise ParameterError(f"plates: found {plates}; expected at least one for each class")
    if not 0 <= share <= 1:
        raise ParameterError(f"share of a class on its own plates: found {share}; expected 0 to 1")
    images_of: Counter[int] = Counter()
    chosen = []
    for index in range(count):
        turn, kind = divmod(index, classes)
        # A thousand-millionth lets 5 * 0.8 count as 4 although it is a little less in floats.
        at_home = int((turn + 1) * share + 1e-9) > int(turn * share + 1e-9)
        owner = kind if at_home else (kind + 1) % classes
        own = range(owner, plates, classes)
        chosen.append(own[images_of[owner] % len(own)])
        images_of[owner] += 1
    return chosen


def draw_plate_brightness(plates: int, seed: int) -> list[float]:
    """Draw the brightness of plates, dim and bright ones in turn.

    Parameters
    ----------
    plates : int
        Number of plates.
    seed : int
        Which series of scenes.

    Returns
    -------
    list of float
        Factor on the light of each plate.
    """
    rng = np.random.default_rng([seed, PLATES_STREAM])
    return [float(rng.uniform(*(BRIGHT if plate % 2 else DIM))) for plate in range(plates)]


def _render(
    scenes: Iterable[Scene],
    table: pd.DataFrame,
    on_event: events.OnEvent,
    cancelled: events.Cancelled,
) -> Dataset:
    """Render a scene for every row of a table, whose columns the data set gets."""
    on_event(events.Started("simulating images", len(table)))
    images = []
    # Scenes are made one by one: each keeps its anatomy, 1 MB at 128 x 128 pixels.
    for scene, label in zip(scenes, table["label"], strict=True):
        if cancelled():
            break
        images.append(scene.image(label))
        on_event(events.Advanced(len(images)))
    done = len(images)
    on_event(events.Finished(partial=done < len(table)))
    columns: dict[str, Any] = {str(name): table[name].tolist()[:done] for name in table}
    labels = columns.pop("label")
    if len(set(labels)) < 2:
        raise WhyError(f"simulation: cancelled after {done} images; expected at least two classes")
    return Dataset.from_images(images, labels, **columns)
