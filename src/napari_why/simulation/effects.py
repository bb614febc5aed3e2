"""What a disease or a treatment does to cells, as functions of the same anatomy.

Each function takes an :class:`~napari_why.simulation.cells.Anatomy`, whose random numbers are all
drawn, and returns the amounts of dye (nuclei, second channel), shape (y, x) each. So the classes of
a scene differ by what is written here, and the true change is known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from napari_why.core.errors import ParameterError
from napari_why.simulation import cells
from napari_why.simulation.cells import Anatomy, Plane

Appearance = Callable[[Anatomy], tuple[Plane, Plane]]

# Of depolarised mitochondria (as by FCCP): half of the dye is lost, and less than a third of what
# stays leaks, over 2 um, around where it was.
KEPT, LEAKED, LEAK_WIDTH = 0.35, 0.15, 3.0
# Of a translocation: enough to turn bright cytoplasm around dark nuclei into the opposite, with
# some dye left to see the cell by.
STAYED, MOVED = 0.3, 0.7
# Condensed chromatin: brighter nuclei of 2.5 times the contrast.
CONDENSED_BRIGHTNESS, CONDENSED_CONTRAST = 1.25, 0.3
# Widths of blurs in reference pixels, so that what is made anew is no sharper than what the optics
# show of the rest: pieces of a network, the new content of a nucleus, the border of a responder.
PIECE_BLUR, INSIDE_BLUR, RESPONDER_BLUR = 0.6, 0.8, 0.5

# A square of 5 x 5 pixels, a hundredth of a field of 48, two pixels from its corner; as bright as a
# bright cell, so that it can be seen but does not stand above everything.
TAG_PLACE, TAG_DYE = slice(2, 7), 1.0
# A tenth of a nucleus: more than shot noise averages out to, and no one would see it in one image.
HAZE_DYE = 0.1


def show_mitochondria(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Leave a filamentous network around every nucleus."""
    return anatomy.nuclei, anatomy.mitochondria


def show_cytoplasm(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Leave a dye that fills the cytoplasm and spares the nucleus."""
    return anatomy.nuclei, anatomy.cytoplasm


def fragment(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Break the network into bright pieces, a third of its area with all of each cell's dye."""
    pieces = cells.blur(anatomy.mitochondria * anatomy.pieces, PIECE_BLUR * anatomy.cells.zoom)
    number = anatomy.cells.number
    return anatomy.nuclei, cells.rescale_to_totals(pieces, anatomy.mitochondria, number)


def depolarise(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Keep 35 % of the dye where it is and spread 15 % around it; the rest is lost."""
    return anatomy.nuclei, _lose_dye(anatomy.mitochondria, anatomy.cells.zoom)


def depolarise_fragments(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Break the network and depolarise the pieces."""
    return anatomy.nuclei, _lose_dye(fragment(anatomy)[1], anatomy.cells.zoom)


def depolarise_responders(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Depolarise a random half of the cells."""
    responding = np.isin(anatomy.cells.number, anatomy.responders).astype(float)
    weight = cells.blur(responding, RESPONDER_BLUR * anatomy.cells.zoom)
    changed = depolarise(anatomy)[1]
    return anatomy.nuclei, weight * changed + (1 - weight) * anatomy.mitochondria


def depolarise_and_condense(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Depolarise, and condense the chromatin: an effect in both channels."""
    condensed = CONDENSED_BRIGHTNESS * cells.render_nuclei(
        anatomy.cells, anatomy.texture, CONDENSED_CONTRAST
    )
    # At this contrast the darkest chromatin would hold less than no dye.
    return np.maximum(condensed, 0), depolarise(anatomy)[1]


def translocate(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Move 70 % of each cell's dye from the cytoplasm into the nucleus."""
    nucleus = (anatomy.cells.radius < 1).astype(float)
    inside = cells.blur(nucleus, INSIDE_BLUR * anatomy.cells.zoom)
    moved = cells.rescale_to_totals(inside, anatomy.cytoplasm, anatomy.cells.number)
    return anatomy.nuclei, STAYED * anatomy.cytoplasm + MOVED * moved


def condense(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Condense the chromatin, and leave the mitochondria."""
    return depolarise_and_condense(anatomy)[0], anatomy.mitochondria


def tag_corner(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Put a small bright square into a corner of the second channel, as a label or speck would."""
    tagged = anatomy.mitochondria.copy()
    tagged[TAG_PLACE, TAG_PLACE] += TAG_DYE
    return anatomy.nuclei, tagged


def brighten_background(anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Add light everywhere to the channel of the nuclei, as another exposure or medium would."""
    return anatomy.nuclei + HAZE_DYE, anatomy.mitochondria


def _lose_dye(plane: Plane, zoom: float) -> Plane:
    return KEPT * plane + LEAKED * cells.blur(plane, LEAK_WIDTH * zoom)


DISEASE: Mapping[str, Appearance] = MappingProxyType(
    {"healthy": show_mitochondria, "diseased": fragment, "treated": depolarise_fragments}
)
CLASSES = tuple(DISEASE)
EFFECT_CLASSES = ("healthy", "treated")


@dataclass(frozen=True)
class Effect:
    """One kind of treatment.

    Parameters
    ----------
    name, title : str
        In code and for readers.
    healthy, treated : callable
        From an :class:`~napari_why.simulation.cells.Anatomy` to the amounts of dye (nuclei, second
        channel).
    channels : tuple of str
        Where anything changes.
    keeps_totals : bool
        Every cell keeps its amount of dye; it only moves.
    partial : bool
        Only ``Anatomy.responders`` respond.
    plate_brightness : bool
        Plates differ in brightness, and treated images lie mostly on the bright ones.
    """

    name: str
    title: str
    healthy: Appearance
    treated: Appearance
    channels: tuple[str, ...] = ("TMRM",)
    keeps_totals: bool = False
    partial: bool = False
    plate_brightness: bool = False

    @property
    def appearances(self) -> Mapping[str, Appearance]:
        """Both functions by class."""
        return dict(zip(EFFECT_CLASSES, (self.healthy, self.treated), strict=True))


_EFFECTS = (
    Effect("depolarisation", "Depolarisation", show_mitochondria, depolarise),
    Effect(
        "translocation",
        "Translocation into the nucleus",
        show_cytoplasm,
        translocate,
        keeps_totals=True,
    ),
    Effect("fragmentation", "Fragmentation", show_mitochondria, fragment, keeps_totals=True),
    Effect(
        "partial_response",
        "Depolarisation of half the cells",
        show_mitochondria,
        depolarise_responders,
        partial=True,
    ),
    Effect(
        "both_channels",
        "Depolarisation and condensed chromatin",
        show_mitochondria,
        depolarise_and_condense,
        channels=("DAPI", "TMRM"),
    ),
    # What a classifier of plates would learn: brightness that comes with the class by chance.
    Effect(
        "nuisance",
        "Depolarisation on brighter plates",
        show_mitochondria,
        depolarise,
        plate_brightness=True,
    ),
    # Nothing to find: what a method changes here, it invents.
    Effect("null", "No effect", show_mitochondria, show_mitochondria, channels=()),
)
# The effects by name.
EFFECTS = MappingProxyType({effect.name: effect for effect in _EFFECTS})


def find_effect(name: str) -> Effect:
    """Return an effect by name, or raise ParameterError."""
    if name not in EFFECTS:
        raise ParameterError(f"effect: found {name!r}; expected one of {', '.join(EFFECTS)}")
    return EFFECTS[name]


@dataclass(frozen=True)
class EffectPair:
    """Two effects that can be there each without the other.

    Parameters
    ----------
    name, title : str
        In code and for readers.
    first, second : callable
        Appearances with one of them.
    """

    name: str
    title: str
    first: Appearance
    second: Appearance

    @property
    def appearances(self) -> Mapping[str, Appearance]:
        """By what is there: ``neither``, ``first``, ``second`` or ``both``."""
        return {
            "neither": show_mitochondria,
            "first": self.first,
            "second": self.second,
            "both": self._show_both,
        }

    def _show_both(self, anatomy: Anatomy) -> tuple[Plane, Plane]:
        """Add up what each effect does, so that each has its own true change beside the other."""
        planes = zip(
            show_mitochondria(anatomy), self.first(anatomy), self.second(anatomy), strict=True
        )
        nuclei, second = (np.maximum(one + other - plain, 0) for plain, one, other in planes)
        return nuclei, second


# The first effect is one of biology; the second another one in the other channel, or a shortcut.
_PAIRS = (
    EffectPair("two_channels", "Depolarisation; condensed chromatin", depolarise, condense),
    EffectPair("tag", "Depolarisation; a tag in a corner of TMRM", depolarise, tag_corner),
    EffectPair("haze", "Depolarisation; brighter DAPI background", depolarise, brighten_background),
)
# The pairs by name.
EFFECT_PAIRS = MappingProxyType({pair.name: pair for pair in _PAIRS})
