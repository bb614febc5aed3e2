"""Known changes of real images: what becomes of every grey level, as functions of the image itself.

Each effect takes the light of one channel and where the cells are, and returns the light as it would
be without new noise. So a real image and its changed twin differ by what is written here, and the
true change is known. :mod:`~napari_why.simulation.planting` makes data sets of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_why.core.errors import ParameterError
from napari_why.simulation.cells import (
    Plane,
    blur,
    logistic,
    rescale_to_totals,
    standardise,
)

# Pixels. Nuclei are found, and structures grown, in images blurred by this much: a third of the noise
# is left, and optics that sample their resolution blur as much.
DENOISED = 1.0
# Half of the pixels of pure noise lie above its threshold of Otsu, 2.7 of their own standard deviations
# above the other half; nuclei that deserve the name stand out more.
CLEAR_NUCLEI = 4.0
# Of the nucleus in which the median nuclear pixel lies (a hundred specks do not lower that): less is
# debris.
DEBRIS = 0.1
# Radius of a nucleus in pixels where there is none to measure: that of a 10x objective.
USUAL_RADIUS = 8.0
# The background is the lower envelope over this many radii of a nucleus, wider than a cell, so that
# what is taken for background is not the inside of one.
BACKGROUND_WIDTH = 6.0
# Strength 1 takes or adds half of the light: an effect that one sees, with as much room above it.
BRIGHTNESS = 0.5
# At strength 1 light loses half of its weight (a factor of exp(-0.7)) for every radius that lies between
# it and the nucleus, or gains as much; over two radii, beyond which a cell next to no other has little
# dye, and what would be moved there is the noise of the empty ground.
PULL, PULLED_RADII = 0.7, 2.0
# Pixels: of the blur at strength 1; how many times what it takes sharpening adds, as the finest scale,
# which is noise and most of that, is left out; of the structures whose contrast is lost, and what share of it.
BLUR, SHARPENED, STRUCTURE, LOST = 1.5, 2.0, 4.0, 0.7
# Pixels by which structures grow or shrink at strength 1.
GROWTH = 2.0
# Threads are what is narrower than 9 pixels. Pieces and gaps take turns every few pixels (a blur of 1.8
# makes both about 5 long), half of the length each; their rims are as soft as cells.py makes them.
THREAD, PIECE, RIM, BREAK = 9, 1.8, 0.12, 0.8
# A spot is a little wider than the resolution, and at strength 1 as bright as the brightest hundredth of
# the pixels. Four lie around a nucleus, this many radii from its centre; anywhere there is one to so many
# pixels, four on a tile of 64.
SPOT_WIDTH, SPOT_PLACE, SPOT_AREA = 1.5, 1.3, 1000
BRIGHT_SHARE = 99.0
# Of the light, from the middle to an edge at strength 1: as uneven as a poor lamp.
SHADING = 0.4
# Percentile of a channel that is taken for no light where light is multiplied as a whole.
DARK_SHARE = 1.0
# In radii of a nucleus: how softly a cell that responds ends.
SOFT_BORDER = 0.2
# Before the name of an effect, or of a direction: only a random half of the cells respond.
PARTIAL = "partial_"


@dataclass(frozen=True)
class CellMap:
    """Where the cells of a real image are, as far as its nuclei tell.

    Parameters
    ----------
    nuclei : ndarray of bool, shape (y, x)
    number : ndarray of int, shape (y, x)
        Nearest nucleus of every pixel, from 1; 1 everywhere where there is none.
    distance : ndarray, shape (y, x)
        To the rim of that nucleus in pixels; 0 inside. 0 everywhere where there is none.
    radius : float
        Of a usual nucleus, in pixels: of the one in which the median nuclear pixel lies.
    centres : ndarray, shape (n, 2)
        Of the nuclei, y and x in pixels, in the order of their numbers.
    """

    nuclei: NDArray[np.bool_]
    number: NDArray[np.int32]
    distance: Plane
    radius: float
    centres: Plane


def find_cells(plane: Plane | None, shape: tuple[int, ...]) -> CellMap:
    """Find nuclei above the threshold of Otsu (1979) and give every pixel to the nearest.

    Parameters
    ----------
    plane : ndarray, shape ``shape``, or None
        Channel of the nuclei; None where there is none.
    shape : (int, int)
        Height and width.

    Returns
    -------
    CellMap
        Without a nucleus where no pixels stand out clearly: one cell fills the image.
    """
    mask = np.zeros(shape, bool) if plane is None else _threshold_nuclei(plane)
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    if count:
        usual = _usual_size(sizes)
        large = np.flatnonzero(sizes >= DEBRIS * usual)
        sizes = sizes[large]
        places = np.zeros(count + 1, np.int32)
        places[large + 1] = np.arange(1, len(large) + 1)
        labels, mask = places[labels], places[labels] > 0
    if not mask.any():
        one, none = np.ones(shape, np.int32), np.zeros(shape)
        return CellMap(mask, one, none, USUAL_RADIUS, np.zeros((0, 2)))
    distance, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
    centres = ndimage.center_of_mass(mask, labels, np.arange(1, len(sizes) + 1))
    return CellMap(
        mask,
        labels[tuple(nearest)].astype(np.int32),
        np.asarray(distance),
        float(np.sqrt(usual / np.pi)),
        np.asarray(centres, dtype=float),
    )


def _usual_size(sizes: NDArray[np.integer]) -> float:
    ordered = np.sort(sizes)
    return float(ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)])


def _threshold_nuclei(plane: Plane) -> NDArray[np.bool_]:
    from skimage.filters import threshold_otsu  # slow to import, and every verb imports this room

    smooth = blur(np.asarray(plane, float), DENOISED)
    if np.ptp(smooth) == 0:
        return np.zeros(smooth.shape, bool)
    mask = np.asarray(smooth > threshold_otsu(smooth))
    inside, outside = smooth[mask], smooth[~mask]
    clear = inside.mean() - outside.mean() > CLEAR_NUCLEI * outside.std()
    return mask if clear else np.zeros(smooth.shape, bool)


def find_background(plane: Plane, radius: float) -> Plane:
    """Return the local background of a channel: its lower envelope, wider than a cell.

    Parameters
    ----------
    plane : ndarray, shape (y, x)
        Grey levels.
    radius : float
        Of a nucleus, in pixels.

    Returns
    -------
    ndarray, shape (y, x)
        Grey levels.
    """
    width = 2 * round(BACKGROUND_WIDTH * radius / 2) + 1
    lowest = ndimage.minimum_filter(blur(plane, DENOISED), width)
    return blur(ndimage.maximum_filter(lowest, width), width / 4)


@dataclass(frozen=True)
class Before:
    """One channel of a real image, and what is to become of it.

    Parameters
    ----------
    plane : ndarray, shape (y, x)
        Grey levels.
    cells : CellMap
    strength : float
        0: nothing changes; 1: the effect; up to 2.
    direction : str
        One of the effect's.
    rng : Generator
        Source of all random numbers.
    """

    plane: Plane
    cells: CellMap
    strength: float
    direction: str
    rng: np.random.Generator

    @cached_property
    def background(self) -> Plane:
        """The local background; shape (y, x)."""
        return find_background(self.plane, self.cells.radius)

    @property
    def light(self) -> Plane:
        """What lies above the local background, never below 0; shape (y, x)."""
        return np.maximum(self.plane - self.background, 0)

    def above_background(self, changed: Plane) -> Plane:
        """Let no pixel fall below the background that was above it."""
        return np.maximum(changed, np.minimum(self.background, self.plane))


Change = Callable[[Before], Plane]


def change_brightness(before: Before) -> Plane:
    """Take or add half of the light above the local background."""
    sign = -1 if before.direction == "dimming" else 1
    light = before.light
    return np.asarray(before.plane + np.maximum(sign * BRIGHTNESS * before.strength, -1) * light)


def redistribute(before: Before) -> Plane:
    """Move light above the background towards or away from the nucleus; each cell keeps its amount."""
    sign = -1 if before.direction == "towards_nuclei" else 1
    light = before.light
    radii = np.minimum(before.cells.distance / before.cells.radius, PULLED_RADII)
    # Softened, so that the border between two cells is no edge; the amounts are mended after it.
    weight = np.exp(sign * PULL * before.strength * blur(radii, SOFT_BORDER * before.cells.radius))
    moved = rescale_to_totals(light * weight, light, before.cells.number)
    return before.plane + moved - light


def change_sharpness(before: Before) -> Plane:
    """Blur, or add what a blur would take (an unsharp mask)."""
    blurred = blur(before.plane, BLUR * before.strength)
    if before.direction == "blur":
        return blurred
    # Not of the finest scale, which is noise. Where nothing is blurred, nothing is sharpened.
    fine = blur(before.plane, min(DENOISED, BLUR * before.strength)) - blurred
    return before.above_background(before.plane + SHARPENED * before.strength * fine)


def change_fine_structure(before: Before) -> Plane:
    """Lower or raise the contrast of structures of a few pixels; broad light stays."""
    sign = -1 if before.direction == "loss_of_structure" else 1
    share = np.maximum(sign * LOST * before.strength, -1)
    fine = blur(before.plane, DENOISED) - blur(before.plane, STRUCTURE)
    return before.above_background(before.plane + share * fine)


def change_size(before: Before) -> Plane:
    """Grow or shrink bright structures by two pixels: a grey dilation or erosion."""
    filtered = ndimage.grey_dilation if before.direction == "swelling" else ndimage.grey_erosion
    smooth = blur(before.plane, DENOISED)
    whole, part = divmod(GROWTH * before.strength, 1)
    # Between two radii of whole pixels the strength chooses by mixing them.
    grown = [filtered(smooth, footprint=_disk(int(whole) + more)) for more in (0, 1)]
    return np.asarray(before.plane + (1 - part) * grown[0] + part * grown[1] - smooth)


def break_threads(before: Before) -> Plane:
    """Break threads at random places; the light of the gaps goes to the pieces of the same cell."""
    opened = ndimage.grey_opening(blur(before.plane, DENOISED), footprint=_disk(THREAD // 2))
    threads = np.maximum(before.plane - opened, 0)
    noise = ndimage.gaussian_filter(before.rng.standard_normal(before.plane.shape), PIECE)
    gaps = min(BREAK * before.strength, 1) * logistic(standardise(noise) / RIM)
    pieces = rescale_to_totals(threads * (1 - gaps), threads, before.cells.number)
    return np.asarray(before.plane + pieces - threads)


def add_spots_at_nuclei(before: Before) -> Plane:
    """Put four bright spots around every nucleus."""
    around = SPOT_PLACE * before.cells.radius * np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
    places = (before.cells.centres[:, None] + around).reshape(-1, 2)
    return before.plane + before.strength * _draw_spots(before, places)


def add_spots_anywhere(before: Before) -> Plane:
    """Put bright spots at random places."""
    count = max(1, round(before.plane.size / SPOT_AREA))
    places = before.rng.uniform(0, np.array(before.plane.shape) - 1, (count, 2))
    return before.plane + before.strength * _draw_spots(before, places)


def shade(before: Before) -> Plane:
    """Let all light rise from left to right, or fall: an uneven lamp."""
    sign = -1 if before.direction == "falling" else 1
    light = np.maximum(before.plane - np.percentile(before.plane, DARK_SHARE), 0)
    factor = shade_factor(before.plane.shape[1], sign * before.strength)
    return np.asarray(before.plane + (factor - 1) * light)


def shade_factor(width: int, strength: float) -> Plane:
    """Return by what light is multiplied, from left to right; shape (width,).

    Parameters
    ----------
    width : int
        In pixels.
    strength : float
        0: none.

    Returns
    -------
    ndarray, float64, shape (width,)
        1 in the middle.
    """
    return np.asarray(1 + SHADING * strength * np.linspace(-1, 1, width))


def _disk(radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(y**2 + x**2 <= radius**2)


def _draw_spots(before: Before, places: Plane) -> Plane:
    spots = np.zeros(before.plane.shape)
    # Beyond four widths nothing is left of a spot: whole planes would cost spots times pixels.
    reach = int(np.ceil(4 * SPOT_WIDTH))
    for centre in places:
        low = np.clip(np.floor(centre).astype(int) - reach, 0, spots.shape)
        high = np.clip(np.ceil(centre).astype(int) + reach + 1, 0, spots.shape)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        y, x = np.mgrid[window]
        squared = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        spots[window] = np.maximum(spots[window], np.exp(-squared / (2 * SPOT_WIDTH**2)))
    return np.percentile(before.light, BRIGHT_SHARE) * spots


def _in_half_of_the_cells(change: Change) -> Change:
    """Return a change of which every cell has all or, as often, nothing; the border is soft."""

    def change_some(before: Before) -> Plane:
        count = int(before.cells.number.max())
        # Of an odd number it is now one more, now one less, so that on average half responds.
        share = int(count / 2 + before.rng.uniform())
        chosen = before.rng.permutation(count)[:share] + 1
        responding = np.isin(before.cells.number, chosen).astype(float)
        weight = blur(responding, SOFT_BORDER * before.cells.radius)
        changed = change(replace(before, direction=before.direction.removeprefix(PARTIAL)))
        return np.asarray(before.plane + weight * (changed - before.plane))

    return change_some


@dataclass(frozen=True)
class PlantedEffect:
    """One kind of known change of real images.

    Parameters
    ----------
    name, title : str
        In code and for readers.
    change : callable
        What becomes of the light of one channel; see :data:`Change`.
    directions : tuple of str
        The ways that it goes. Each name is of one effect alone and can be given instead of its name.
    opposite : bool
        There are two directions, and the change of one is about that of the other with its sign
        turned.
    predictable : bool
        The change follows from the image. Which cells respond, and where a thread breaks, does not:
        no method can know it, and correlation with the truth is the wrong score.
    keeps_totals : bool
        Every cell keeps its amount of light.
    nuisance : bool
        Not of the cells but of how they were imaged.
    """

    name: str
    title: str
    change: Change
    directions: tuple[str, ...]
    opposite: bool = False
    predictable: bool = True
    keeps_totals: bool = False
    nuisance: bool = False


_WHOLE = (
    PlantedEffect(
        "brightness",
        "Brightness above the background",
        change_brightness,
        ("dimming", "brightening"),
        opposite=True,
    ),
    PlantedEffect(
        "redistribution",
        "Towards or away from the nuclei",
        redistribute,
        ("towards_nuclei", "away_from_nuclei"),
        opposite=True,
        keeps_totals=True,
    ),
    PlantedEffect(
        "sharpness", "Blur or sharpening", change_sharpness, ("blur", "sharpening"), opposite=True
    ),
    PlantedEffect(
        "fine_structure",
        "Contrast of fine structure",
        change_fine_structure,
        ("loss_of_structure", "gain_of_structure"),
        opposite=True,
    ),
    PlantedEffect(
        "size",
        "Swelling or shrinking of structures",
        change_size,
        ("swelling", "shrinking"),
        opposite=True,
    ),
    PlantedEffect(
        "fragmentation",
        "Broken threads",
        break_threads,
        ("breaking",),
        predictable=False,
        keeps_totals=True,
    ),
    PlantedEffect(
        "nuclear_spots", "Spots around every nucleus", add_spots_at_nuclei, ("around_nuclei",)
    ),
    PlantedEffect(
        "random_spots",
        "Spots at random places",
        add_spots_anywhere,
        ("anywhere",),
        predictable=False,
    ),
    PlantedEffect(
        "gradient",
        "Uneven light over the field",
        shade,
        ("rising", "falling"),
        opposite=True,
        nuisance=True,
    ),
)
_PARTIAL = tuple(
    replace(
        effect,
        name=PARTIAL + effect.name,
        title=f"{effect.title}, in half of the cells",
        change=_in_half_of_the_cells(effect.change),
        predictable=False,
        # A soft border takes light from one cell that another does not get.
        keeps_totals=False,
        directions=tuple(PARTIAL + direction for direction in effect.directions),
    )
    for effect in _WHOLE
    if not effect.nuisance
)
# The effects by name.
PLANTED_EFFECTS: Mapping[str, PlantedEffect] = MappingProxyType(
    {effect.name: effect for effect in (*_WHOLE, *_PARTIAL)}
)
# 0 to 2, as of simulated scenes.
STRONGEST = 2.0


def find_planted_effect(name: str, direction: str | None = None) -> tuple[PlantedEffect, str]:
    """Return an effect and its direction by the name of either.

    Parameters
    ----------
    name : str
        A key of :data:`PLANTED_EFFECTS`, or one of their directions.
    direction : str, optional
        One of the effect's; by default its first, or the one that was named.

    Returns
    -------
    (PlantedEffect, str)
        With the name of the direction.

    Raises
    ------
    ParameterError
        There is no such effect or direction.

    Examples
    --------
    >>> [effect.name for effect, _ in map(find_planted_effect, ("size", "dimming"))]
    ['size', 'brightness']
    >>> find_planted_effect("size")[1], find_planted_effect("partial_shrinking")[1]
    ('swelling', 'partial_shrinking')
    """
    by_direction = {way: effect for effect in PLANTED_EFFECTS.values() for way in effect.directions}
    effect = PLANTED_EFFECTS.get(name) or by_direction.get(name)
    if effect is None:
        raise ParameterError(
            f"effect: found {name!r}; expected one of {', '.join(PLANTED_EFFECTS)}, or of their "
            f"directions {', '.join(by_direction)}"
        )
    named = effect.directions[0] if name in PLANTED_EFFECTS else name
    wanted = direction or named
    # "shrinking" of partial_size is partial_shrinking
    wanted = wanted if wanted in effect.directions else PARTIAL + wanted
    if wanted not in effect.directions or (name in by_direction and wanted != named):
        known = named if name in by_direction else ", ".join(effect.directions)
        raise ParameterError(f"direction of {name}: found {direction!r}; expected {known}")
    return effect, wanted


def change_image(
    image: NDArray[Any],
    effect: str,
    *,
    channels: Sequence[int],
    nuclei: int | None = None,
    strength: float = 1.0,
    direction: str | None = None,
    rng: np.random.Generator | int = 0,
) -> NDArray[np.float64]:
    """Return a real image as it would be, without new noise, with a known change.

    Parameters
    ----------
    image : ndarray, shape (C, H, W)
        Grey levels.
    effect : str
        A key of :data:`PLANTED_EFFECTS` or one of their directions.
    channels : sequence of int
        In which ones. The same cells respond, and threads break at the same places, in all of them.
    nuclei : int, optional
        The channel that shows where the cells are.
    strength : float
        0: nothing changes; 1: the effect; up to 2.
    direction : str, optional
        One of the effect's; its first by default.
    rng : Generator or int
        Source of the random numbers, or their seed.

    Returns
    -------
    ndarray, float64, shape (C, H, W)
        May lie outside the range of the image's type.

    Raises
    ------
    ParameterError
        An effect, direction, channel or strength that is not there.
    """
    kind, way = find_planted_effect(effect, direction)
    before = np.asarray(image, dtype=np.float64)
    if before.ndim != 3:
        raise ParameterError(f"image: found {before.ndim} axes; expected three: channel, y, x")
    if not 0 <= strength <= STRONGEST:
        raise ParameterError(f"strength: found {strength:g}; expected 0 to {STRONGEST:g}")
    asked = [*channels, *([] if nuclei is None else [nuclei])]
    if not channels or not all(0 <= index < len(before) for index in asked):
        found = ", ".join(map(str, asked)) or "none"
        raise ParameterError(f"channels: found {found}; expected some of 0 to {len(before) - 1}")
    cells = find_cells(None if nuclei is None else before[nuclei], before.shape[1:])
    seed = int(np.random.default_rng(rng).integers(2**63))
    return change_light(before, kind, way, channels, cells, strength, seed)


def change_light(
    before: NDArray[np.float64],
    effect: PlantedEffect,
    direction: str,
    channels: Sequence[int],
    cells: CellMap,
    strength: float,
    seed: int,
) -> NDArray[np.float64]:
    """Change some channels of an image (C, H, W) whose cells are known; see :func:`change_image`.

    Parameters
    ----------
    before : ndarray, float64, shape (C, H, W)
        Grey levels.
    effect : PlantedEffect
    direction : str
        One of the effect's.
    channels : sequence of int
        In which ones.
    cells : CellMap
        Of the same pixels.
    strength : float
        0: nothing changes; 1: the effect.
    seed : int
        Of the random numbers, the same for every channel.

    Returns
    -------
    ndarray, float64, shape (C, H, W)
        Grey levels, not clipped.
    """
    after = before.copy()
    # Without arithmetic, which would leave rounding where nothing changes.
    for index in channels if strength else ():
        # The same numbers in every channel: the same cells respond.
        rng = np.random.default_rng(seed)
        after[index] = effect.change(Before(before[index], cells, strength, direction, rng))
    return after
