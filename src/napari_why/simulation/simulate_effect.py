"""Simulated data sets of one effect, whose true change between healthy and treated is known."""

from dataclasses import dataclass

import numpy as np

from napari_why.core.errors import WhyError
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
from napari_why.simulation.cells import CELLS_PER_CROP, REFERENCE_PIXEL
from napari_why.simulation.scenes import EFFECT_CLASSES, Camera, EffectScene, effect_named
from napari_why.simulation.simulate import PlateLayout, lay_out, plates_by_class

NUISANCE_PLATES = 4
DIM, BRIGHT = (0.65, 0.8), (1.2, 1.45)


def simulate_effect(
    count: int,
    effect: str = "depolarisation",
    *,
    size: int = 64,
    strength: float = 1.0,
    seed: int = 0,
    wells: int | None = None,
    plates: int | None = None,
    density: tuple[float, float] = CELLS_PER_CROP,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
    plate_share: float = 0.8,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
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
    layout, brightness = _laid_out(count, effect, wells, plates, plate_share, seed)
    make = _SceneMaker(effect, seed, size, strength, density, pixel_size, camera or Camera())
    on_event(Started("simulating images", count))
    images = []
    for number, label in enumerate(layout.labels):
        if cancelled():
            break
        images.append(make.scene(number, brightness[number]).image(label))
        on_event(Advanced(number + 1))
    done = len(images)
    on_event(Finished(partial=done < count))
    if len(set(layout.labels[:done])) < 2:
        raise WhyError(f"simulation: cancelled after {done} images; expected both classes")
    return Dataset.from_images(
        images,
        layout.labels[:done],
        plate=layout.plates[:done],
        well=layout.wells[:done],
        field=layout.fields[:done],
        scene=list(range(done)),
        brightness=brightness[:done],
    )


def effect_scenes(
    count: int,
    effect: str = "depolarisation",
    *,
    size: int = 64,
    strength: float = 1.0,
    seed: int = 0,
    density: tuple[float, float] = CELLS_PER_CROP,
    pixel_size: float = REFERENCE_PIXEL,
    camera: Camera | None = None,
) -> list[EffectScene]:
    """Return the scenes of :func:`simulate_effect` with the same arguments, without rendering.

    For ``nuisance`` the scenes run through the plates with every class on every plate alike, for
    a test that asks for the effect and not for the plate.
    """
    make = _SceneMaker(effect, seed, size, strength, density, pixel_size, camera or Camera())
    brightness = plate_brightness(NUISANCE_PLATES, seed)
    plates = [1.0] if not effect_named(effect).plate_brightness else brightness
    return [make.scene(number, plates[number % len(plates)]) for number in range(count)]


def plate_brightness(plates: int, seed: int) -> list[float]:
    """Draw the brightness of plates, dim and bright ones in turn."""
    rng = np.random.default_rng([seed, 5])
    ranges = [BRIGHT if plate % 2 else DIM for plate in range(plates)]
    return [float(rng.uniform(*limits)) for limits in ranges]


@dataclass(frozen=True)
class _SceneMaker:
    effect: str
    seed: int
    size: int
    strength: float
    density: tuple[float, float]
    pixel_size: float
    camera: Camera

    def scene(self, number: int, brightness: float) -> EffectScene:
        return EffectScene(
            number,
            self.effect,
            seed=self.seed,
            size=self.size,
            strength=self.strength,
            density=self.density,
            pixel_size=self.pixel_size,
            camera=self.camera,
            brightness=brightness,
        )


def _laid_out(
    count: int, effect: str, wells: int | None, plates: int | None, share: float, seed: int
) -> tuple[PlateLayout, list[float]]:
    if not effect_named(effect).plate_brightness:
        layout = lay_out(count, EFFECT_CLASSES, wells, 1 if plates is None else plates, seed)
        return layout, [1.0] * count
    plates = NUISANCE_PLATES if plates is None else plates
    chosen = plates_by_class(count, len(EFFECT_CLASSES), plates, share)
    by_plate = plate_brightness(plates, seed)
    layout = lay_out(count, EFFECT_CLASSES, wells, plates, seed, chosen)
    return layout, [by_plate[plate] for plate in chosen]
