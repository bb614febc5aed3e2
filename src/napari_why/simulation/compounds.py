"""A simulated screen: plates of compounds on diseased cells, of which it is known what each does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core import events
from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.whole_files import csv_text
from napari_why.images import write
from napari_why.images.wells import spell_well
from napari_why.simulation.cells import CELLS_PER_CROP, Anatomy, draw_anatomy
from napari_why.simulation.effects import Appearance, condense, fragment, show_mitochondria
from napari_why.simulation.scenes import DISEASE_FALL, Scene

# Names in the plate map. Positive controls are healthy cells, as of a corrected line.
DMSO, HEALTHY = "DMSO", "healthy"
PLATE_MAP, TRUTH, PLATES = "plate_map.csv", "truth.csv", "plates"
# Wells differ by this standard deviation in how far a compound works, plates and columns by these parts
# in light: about what a good screen has.
WELL_TO_WELL, PLATE_TO_PLATE, ACROSS = 0.05, 0.08, 0.1
# Streams of random numbers, beside those of the scenes.
LAYOUT_STREAM, WELL_STREAM = 11, 12
# A field of a well that a compound has poisoned: a cell now and then.
POISONED = (0.2, 0.8)
# Of the dye of a bright cell: a compound that itself shines in both channels.
SHINING = 0.4


@dataclass(frozen=True)
class CompoundEffect:
    """What a compound does to diseased cells.

    Parameters
    ----------
    rescue : float
        Share of the way from diseased to healthy mitochondria, 0 to 1.
    condensed : float
        Strength of condensed chromatin, 0 to 1: a change that has nothing to do with the disease.
    density : (float, float)
        Fewest and most cells per 64 x 64 reference pixels.
    glow : float
        Light everywhere in both channels, in units of dye.
    """

    rescue: float = 0.0
    condensed: float = 0.0
    density: tuple[float, float] = CELLS_PER_CROP
    glow: float = 0.0


# What compounds of a kind do. The words are those of the column ``kind`` of the truth.
KINDS: Mapping[str, CompoundEffect] = MappingProxyType(
    {
        "inactive": CompoundEffect(),
        "full": CompoundEffect(rescue=1.0),
        "partial": CompoundEffect(rescue=0.5),
        "off-target": CompoundEffect(rescue=1.0, condensed=1.0),
        "other": CompoundEffect(condensed=1.0),
        "toxic": CompoundEffect(density=POISONED),
        "artefact": CompoundEffect(glow=SHINING),
    }
)


@dataclass(frozen=True)
class CompoundScene(Scene):
    """One field of cells that can be rendered ``healthy``, ``diseased``, or ``treated`` by a compound.

    Parameters
    ----------
    effect : CompoundEffect
    brightness : float
        Factor on all photons of both channels, as of the plate and the place on it.
    number, seed, size, pixel_size, camera
        See :class:`napari_why.simulation.scenes.Scene`.

    Examples
    --------
    >>> scene = CompoundScene(3, KINDS["full"], size=48)
    >>> bool((scene.image("treated") == scene.image("healthy")).all())
    True
    """

    effect: CompoundEffect = KINDS["inactive"]
    _: KW_ONLY
    size: int = 64  # pixels: a crop of 2 to 6 cells
    brightness: float = 1.0

    @property
    def appearances(self) -> Mapping[str, Appearance]:
        """``healthy``, ``diseased`` and ``treated``."""
        return {"healthy": show_mitochondria, "diseased": fragment, "treated": self._treat}

    @property
    def light(self) -> NDArray[np.float64]:
        """Factor on all photons of each channel, the same in every class; shape (c,)."""
        return super().light * self.brightness

    def _treat(self, anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        nuclei, pieces = fragment(anatomy)
        rescue, condensed = self.effect.rescue, self.effect.condensed
        # At the ends without arithmetic, which would leave rounding where nothing changes.
        mitochondria = pieces if rescue == 0 else anatomy.mitochondria
        if 0 < rescue < 1:
            mitochondria = pieces + rescue * (anatomy.mitochondria - pieces)
        if condensed:
            nuclei = nuclei + condensed * (condense(anatomy)[0] - nuclei)
        return nuclei + self.effect.glow, mitochondria + self.effect.glow

    def _draw_anatomy(self, rng: np.random.Generator) -> Anatomy:
        return draw_anatomy(
            self.size,
            self.pixel_size,
            rng,
            self.effect.density,
            fall=DISEASE_FALL,
            cytoplasm=False,
        )


@dataclass(frozen=True)
class ScreenDesign:
    """What is on the plates of a simulated screen.

    Parameters
    ----------
    compounds : int
        All of them.
    actives : int
        Of each kind but ``inactive``; there are six.
    plates : int
        Every compound is once on each, at another place.
    fields : int
        Of each well.
    shape : (int, int)
        Rows and columns of a plate. The first and last columns hold controls, negative and positive ones
        in turn; two on each side of a plate of 24.
    size : int
        Height and width of a field in pixels.
    seed : int

    Raises
    ------
    ParameterError
        They do not fit.

    Examples
    --------
    >>> design = ScreenDesign()
    >>> len(design.lay_out()), int((design.truth()["kind"] == "inactive").sum())
    (1152, 272)
    """

    compounds: int = 320
    actives: int = 8
    plates: int = 3
    fields: int = 1
    shape: tuple[int, int] = (16, 24)
    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        room = self.shape[0] * len(self._columns(controls=False))
        kinds = len(KINDS) - 1
        if not 1 <= self.compounds <= room or self.actives * kinds > self.compounds:
            raise ParameterError(
                f"compounds: found {self.compounds} with {self.actives} of each of {kinds} kinds; expected "
                f"{max(1, self.actives * kinds)} to {room} on plates of {self.shape[0]} x {self.shape[1]}"
            )
        if min(self.plates, self.fields) < 1:
            raise ParameterError(
                f"plates and fields: found {self.plates} and {self.fields}; expected one or more"
            )

    def truth(self) -> pd.DataFrame:
        """Return ``compound``, ``kind``, ``rescue`` and ``other`` (whether it changes anything else)."""
        kinds = [kind for kind in KINDS if kind != "inactive" for _ in range(self.actives)]
        kinds += ["inactive"] * (self.compounds - len(kinds))
        shuffled = np.random.default_rng([self.seed, LAYOUT_STREAM]).permutation(kinds)
        names = [f"C{number:03d}" for number in range(1, self.compounds + 1)]
        return pd.DataFrame(
            {
                "compound": names,
                "kind": shuffled,
                "rescue": [KINDS[kind].rescue for kind in shuffled],
                "other": [KINDS[kind].condensed > 0 for kind in shuffled],
            }
        )

    def lay_out(self) -> pd.DataFrame:
        """Return ``plate``, ``well`` and ``treatment`` of every well that is used."""
        names = list(self.truth()["compound"])
        rows = []
        for plate in range(1, self.plates + 1):
            rng = np.random.default_rng([self.seed, LAYOUT_STREAM, plate])
            free = [
                (row, column)
                for row in range(1, self.shape[0] + 1)
                for column in self._columns(controls=False)
            ]
            places = rng.permutation(free)[: len(names)]
            rows += [
                (f"P{plate}", spell_well(int(row), int(column)), name)
                for (row, column), name in zip(places, names, strict=True)
            ]
            rows += [
                (f"P{plate}", spell_well(row, column), (DMSO, HEALTHY)[(row + place) % 2])
                for row in range(1, self.shape[0] + 1)
                for place, column in enumerate(self._columns(controls=True))
            ]
        return pd.DataFrame(rows, columns=["plate", "well", "treatment"])

    def scenes(self) -> Iterator[tuple[str, str, int, str, CompoundScene]]:
        """Yield plate, well, field and class of every image, and the scene that renders it."""
        kinds = dict(zip(*(self.truth()[name] for name in ("compound", "kind")), strict=True))
        light = np.random.default_rng([self.seed, WELL_STREAM, 0]).normal(
            1, PLATE_TO_PLATE, self.plates
        )
        for number, (plate, well, name) in enumerate(self.lay_out().itertuples(index=False)):
            rng = np.random.default_rng([self.seed, WELL_STREAM, 1, number])
            effect = KINDS[kinds.get(name, "inactive")]
            if effect.rescue:
                varied = float(np.clip(effect.rescue + rng.normal(0, WELL_TO_WELL), 0, 1))
                effect = CompoundEffect(varied, effect.condensed, effect.density, effect.glow)
            across = (int(well[-2:]) - 1) / max(self.shape[1] - 1, 1) - 0.5
            brightness = float(light[int(plate[1:]) - 1] * (1 + 2 * ACROSS * across))
            for field in range(1, self.fields + 1):
                scene = CompoundScene(
                    number * self.fields + field,
                    effect,
                    seed=self.seed,
                    size=self.size,
                    brightness=brightness,
                )
                label = HEALTHY if name == HEALTHY else "treated"
                yield plate, well, field, label, scene

    def _columns(self, *, controls: bool) -> Sequence[int]:
        most = self.shape[1]
        aside = 2 if most >= 24 else 1  # as plates of 384 wells have it
        inner = range(aside + 1, most - aside + 1)
        return [one for one in range(1, most + 1) if one not in inner] if controls else list(inner)


def simulate_screen(
    folder: str | Path,
    design: ScreenDesign | None = None,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Path:
    """Write the plates of a simulated screen, its plate map and the truth.

    Parameters
    ----------
    folder : path
        New or empty. It then holds ``plates/P1/P1_A01_s1.ome.tif`` and so on, ``plate_map.csv`` (``plate``,
        ``well``, ``treatment``: DMSO, healthy, C001, ...) and ``truth.csv``.
    design : ScreenDesign, optional
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, there is no plate map.

    Returns
    -------
    Path
        The plate map, written last.

    Raises
    ------
    WhyError
        The folder is not empty, or the work was cancelled.
    """
    place, chosen = Path(folder), design or ScreenDesign()
    if place.exists() and any(place.iterdir()):
        raise WhyError(f"{place}: found a folder that is not empty; expected a new or empty one")
    layout = chosen.lay_out()
    on_event(events.Started("simulating a screen", len(layout) * chosen.fields))
    for done, (plate, well, field, label, scene) in enumerate(chosen.scenes()):
        if cancelled():
            raise WhyError(f"{place}: cancelled after {done} images; delete it and begin again")
        path = place / PLATES / plate / f"{plate}_{well}_s{field}.ome.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(scene.image(label), path)
        on_event(events.Advanced(done + 1))
    on_event(events.Finished())
    for name, table in ((TRUTH, chosen.truth()), (PLATE_MAP, layout)):
        (place / name).write_text(csv_text(table), encoding="utf-8", newline="")
    return place / PLATE_MAP
