"""The maps of pixels between all classes of a classifier: fitted, saved, and put together again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, permutations
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.schema import Fields, ListOf, Open, Row, Schema, Text, Whole
from napari_why.transport.back_translation import RestoringNetwork
from napari_why.transport.coarse_to_fine import (
    SMALLEST_SIDE,
    CoarseToFineMap,
    fit_coarse_to_fine,
    measure_noise,
)
from napari_why.transport.fit import FEWEST_DRAWN, LatentCrops, resample
from napari_why.transport.maps import PixelKind
from napari_why.transport.parametric_map import ParametricMap
from napari_why.transport.pixel_maps import GreyLevelCurve, PixelMap
from napari_why.transport.responding_cells import RespondingCells

Key = tuple[int, int, PixelKind]
"""Source, target and kind of a map."""

KINDS: Mapping[PixelKind, type[PixelMap]] = {
    "curve": GreyLevelCurve,
    "parametric": ParametricMap,
    "coarse_to_fine": CoarseToFineMap,
    "back_translated": RestoringNetwork,
    "responding_cells": RespondingCells,
}
"""Every kind of map by name, the plainest first."""

CLASS_MAPS: Schema = Fields(
    {
        "maps": ListOf(
            Fields({"source": Whole(), "target": Whole(), "kind": Text(), "described": Open()})
        ),
        "classes": Whole(1),
    },
    # earlier versions kept no replicates
    {"replicates": ListOf(Row((Whole(), Whole(), Text(), ListOf(Open()))))},
    others=Open(),
)
# Of curves, which take 0.03 s and 3 kB each; a deviation of eight is known to a quarter.
CURVE_REPLICATES = 8
# Of maps from coarse to fine, which take a second and 0.5 MB each: the fewest that tell a deviation.
SCALE_REPLICATES = 4
# Images of which the mean square of a change is taken: a tenth of it is enough.
SHOWN_TO_SCALES = 64
# Of an image: nuclei lie within, and their surroundings, at the magnifications of screens.
LARGEST_PIXEL_CROP = 128


@dataclass(frozen=True)
class ClassMaps:
    """Maps of preprocessed images between classes; a latent statistic.

    Parameters
    ----------
    classes : int
        Number of classes.
    maps : mapping of (source, target, kind) to PixelMap
    replicates : mapping of (source, target, kind) to tuple of PixelMap
        The same map fitted on images drawn with replacement (the bootstrap: Efron 1979), of kinds that
        do not tell themselves how well they are known.
    """

    classes: int
    maps: Mapping[Key, PixelMap]
    replicates: Mapping[Key, tuple[PixelMap, ...]] = field(default_factory=dict)

    def find(self, source: int, target: int, kind: PixelKind) -> PixelMap:
        """Return a map.

        Parameters
        ----------
        source, target : int
            Class indices.
        kind : str
            One of :meth:`kinds`.

        Returns
        -------
        PixelMap

        Raises
        ------
        ParameterError
            There is none of this kind between these classes.
        """
        if (source, target, kind) not in self.maps:
            known = ", ".join(self.kinds(source, target)) or "none"
            raise ParameterError(
                f"change: found no map of the kind {kind} between these classes; there is {known}"
            )
        return self.maps[(source, target, kind)]

    def kinds(self, source: int, target: int) -> tuple[PixelKind, ...]:
        """Return the kinds of maps that there are for a direction, the plainest first.

        Parameters
        ----------
        source, target : int
            Class indices.

        Returns
        -------
        tuple of str
            Empty where there is no map.
        """
        return tuple(kind for kind in KINDS if (source, target, kind) in self.maps)

    def draws(
        self,
        source: int,
        target: int,
        kind: PixelKind,
        count: int,
        generator: torch.Generator | None = None,
    ) -> tuple[PixelMap, ...]:
        """Return versions of a map that the training images make about as plausible as itself.

        Parameters
        ----------
        source, target, kind
            Which map.
        count : int
            How many at most.
        generator : torch.Generator, optional
            Of maps that draw their own; seeded with 0 by default.

        Returns
        -------
        tuple of PixelMap
            Empty where nothing is known, as in classifiers of earlier versions, and of responding cells:
            what they draw is what could be, not how well the map is known.
        """
        key, found = (source, target, kind), self.find(source, target, kind)
        if isinstance(found, DrawsItself):
            generator = generator or torch.Generator().manual_seed(0)
            return tuple(found.draw(generator) for _ in range(count))
        return self.replicates.get(key, ())[:count]

    def with_map(self, source: int, target: int, found: PixelMap) -> "ClassMaps":
        """Return the same with one more map, in the place of one of its kind and its replicates.

        Parameters
        ----------
        source, target : int
            Class indices.
        found : PixelMap
            Its class says which kind it is of.

        Returns
        -------
        ClassMaps
        """
        kind = next(kind for kind, made in KINDS.items() if isinstance(found, made))
        key: Key = (source, target, kind)
        others = {other: made for other, made in self.replicates.items() if other != key}
        return replace(self, maps={**self.maps, key: found}, replicates=others)

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether it is of that many classes; ``channels`` of the last latent do not matter.

        Parameters
        ----------
        classes : int
            Number of classes of the classifier.
        channels : int
            Of its last latent.

        Returns
        -------
        bool
        """
        del channels
        return self.classes == classes

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        named = {_prefix(key): found for key, found in self.maps.items()}
        for key, replicates in self.replicates.items():
            named |= {_prefix(key, place): made for place, made in enumerate(replicates)}
        return {
            f"{prefix}{name}": tensor.detach().cpu().contiguous()
            for prefix, found in named.items()
            for name, tensor in found.tensors().items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "classes": self.classes,
            "maps": [
                {"source": source, "target": target, "kind": kind, "described": found.to_dict()}
                for (source, target, kind), found in self.maps.items()
            ],
            "replicates": [
                [*key, [made.to_dict() for made in replicates]]
                for key, replicates in self.replicates.items()
            ],
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> "ClassMaps":
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        ClassMaps

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        CLASS_MAPS.check(plain, "maps between classes:")
        maps: dict[Key, PixelMap] = {}
        for entry in plain["maps"]:
            source, target, name = entry["source"], entry["target"], entry["kind"]
            kind = next((kind for kind in KINDS if kind == name), None)
            if kind is None or source == target or max(source, target) >= plain["classes"]:
                raise ModelFileError(
                    f"maps between classes: found {name} from class {source} to {target} of "
                    f"{plain['classes']}; train anew"
                )
            key: Key = (source, target, kind)
            maps[key] = _read_map(tensors, entry["described"], kind, _prefix(key))
        replicates: dict[Key, tuple[PixelMap, ...]] = {}
        for source, target, name, described in plain.get("replicates", ()):
            found = next((key for key in maps if key == (source, target, name)), None)
            if found is None:
                raise ModelFileError(
                    f"maps between classes: found replicates of {name} from class {source} to "
                    f"{target}, of which there is no map; train anew"
                )
            replicates[found] = tuple(
                _read_map(tensors, one, found[2], _prefix(found, place))
                for place, one in enumerate(described)
            )
        return cls(plain["classes"], maps, replicates)


@runtime_checkable
class DrawsItself(Protocol):
    """A map that knows how well its own coefficients are known."""

    def draw(self, generator: torch.Generator) -> PixelMap:
        """Return a version of itself that the training images make about as plausible."""


def _prefix(key: Key, replicate: int | None = None) -> str:
    """Return what the names of a map's tensors begin with."""
    own = ".".join(map(str, key))
    return f"{own}." if replicate is None else f"replicate{replicate}.{own}."


def _read_map(
    tensors: Mapping[str, Tensor], described: Any, kind: PixelKind, prefix: str
) -> PixelMap:
    own = {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
    try:
        return KINDS[kind].from_parts(own, described)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"maps between classes: found parts of {prefix}* that do not fit ({error}); train anew"
        ) from error


def fit_class_maps(
    crops: LatentCrops,
    locked: Sequence[int],
    *,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ClassMaps | None:
    """Fit the maps between every two classes that have images.

    Parameters
    ----------
    crops : LatentCrops
        Of preprocessed training images.
    locked : sequence of int
        Channels that stay.
    seed : int
        Of the order in which images are looked at.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ClassMaps or None
        None where fewer than two classes have images, or when cancelled.
    """
    present = [label for label in range(crops.classes) if crops.crops[label]]
    if len(present) < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    images, groups = {}, {}
    for label in present:
        kept = crops.of_class(label)
        # in the order of the table the first would be of a well or two
        order = torch.randperm(len(kept), generator=generator)
        images[label], groups[label] = kept[order], torch.tensor(crops.groups[label])[order]
    channels = next(iter(images.values())).shape[1]
    free = [channel for channel in range(channels) if channel not in locked]
    directions = list(permutations(present, 2))
    # of a direction: each channel's change in few numbers, then what is fitted again to see how sure it is
    on_event(Started("maps between classes", len(directions) * (len(free) + 1)))
    done, maps = count(1), dict[Key, PixelMap]()
    replicates: dict[Key, tuple[PixelMap, ...]] = {}

    for source, target in directions:
        pair = images[source], images[target]
        scales = fit_coarse_to_fine(*pair, locked, seed=seed) if _large_enough(pair[0]) else None
        few = ParametricMap.fit(
            *pair,
            locked,
            groups=(groups[source], groups[target]),
            cancelled=cancelled,
            each_channel=lambda: on_event(Advanced(next(done))),
        )
        curved = _find_curved(few, free)
        found: list[PixelMap | None] = [GreyLevelCurve.fit(*pair, curved, seed=seed), few, scales]
        if cancelled():
            on_event(Finished(partial=True))
            return None
        # the restoring network is trained when it is known which map it is to undo
        for kind, one in zip(KINDS, found, strict=False):
            if one is not None:
                maps[(source, target, kind)] = one
        resampled = [
            tuple(resample(images[label], groups[label], generator) for label in (source, target))
            for _ in range(CURVE_REPLICATES)
        ]
        replicates[(source, target, "curve")] = tuple(
            GreyLevelCurve.fit(first, second, curved, seed=seed) for first, second in resampled
        )
        if scales is not None and min(map(len, pair)) >= FEWEST_DRAWN:
            drawn = tuple(
                fit_coarse_to_fine(first, second, locked, seed=seed)
                for first, second in resampled[:SCALE_REPLICATES]
            )
            key: Key = (source, target, "coarse_to_fine")
            maps[key] = shrunk = _shrink(scales, drawn, images[source])
            replicates[key] = tuple(replace(one, shares=shrunk.shares) for one in drawn)
        on_event(Advanced(next(done)))
    on_event(Finished(partial=False))
    return ClassMaps(crops.classes, maps, replicates)


def _find_curved(few: ParametricMap | None, free: list[int]) -> list[int]:
    """Return the channels that a curve is fitted to; in others it would follow what wells differ by.

    Where few numbers tell of a change in some of the free channels, these; where they tell of none in any, or
    nothing was fitted, all, for none is likelier than another.
    """
    changed = [] if few is None else [one.channel for one in few.changes if one.terms]
    return changed or free


def _shrink(
    found: CoarseToFineMap, replicates: Sequence[CoarseToFineMap], images: Tensor
) -> CoarseToFineMap:
    shown = images[:SHOWN_TO_SCALES]
    changes = found.change_scales(shown)
    return found.shrink(measure_noise(changes, replicates, shown), changes)


def _large_enough(images: Tensor) -> bool:
    return min(images.shape[-2:]) >= SMALLEST_SIDE
