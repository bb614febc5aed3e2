"""Where simulated images lie: plates, wells at random places, fields in a well."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_why.errors import ParameterError

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
