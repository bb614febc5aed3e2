"""The maps of pixels between all classes of a classifier: fitted, saved, and put together again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

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
from napari_why.core.schema import Fields, ListOf, Open, Schema, Text, Whole
from napari_why.transport.fit import LatentCrops
from napari_why.transport.maps import PixelKind
from napari_why.transport.parametric_map import ParametricMap
from napari_why.transport.pixel_maps import GreyLevelCurve, PixelMap

Key = tuple[int, int, PixelKind]
"""Source, target and kind of a map."""

KINDS: Mapping[PixelKind, type[PixelMap]] = {"curve": GreyLevelCurve, "parametric": ParametricMap}
"""Every kind of map by name, the plainest first."""

CLASS_MAPS: Schema = Fields(
    {
        "maps": ListOf(
            Fields({"source": Whole(), "target": Whole(), "kind": Text(), "described": Open()})
        ),
        "classes": Whole(1),
    },
    others=Open(),
)
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
    """

    classes: int
    maps: Mapping[Key, PixelMap]

    def find(self, source: int, target: int, kind: PixelKind) -> PixelMap:
        """Return a map.

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
        """Return the kinds of maps that there are for a direction, the plainest first."""
        return tuple(kind for kind in KINDS if (source, target, kind) in self.maps)

    def with_map(self, source: int, target: int, found: PixelMap) -> "ClassMaps":
        """Return the same with one more map, in the place of one of its kind."""
        kind = next(kind for kind, made in KINDS.items() if isinstance(found, made))
        return replace(self, maps={**self.maps, (source, target, kind): found})

    def fits(self, classes: int, channels: int) -> bool:
        """Tell whether it is of that many classes; ``channels`` of the last latent do not matter."""
        del channels
        return self.classes == classes

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        return {
            f"{source}.{target}.{kind}.{name}": tensor.detach().cpu().contiguous()
            for (source, target, kind), found in self.maps.items()
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
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> "ClassMaps":
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

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
            prefix = f"{source}.{target}.{kind}."
            own = {
                key.removeprefix(prefix): value
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
            try:
                maps[(source, target, kind)] = KINDS[kind].from_parts(own, entry["described"])
            except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
                raise ModelFileError(
                    f"maps between classes: found parts of {prefix}* that do not fit ({error}); "
                    "train anew"
                ) from error
        return cls(plain["classes"], maps)


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
    images = {}
    for label in present:
        kept = crops.of_class(label)
        # in the order of the table the first would be of a well or two
        images[label] = kept[torch.randperm(len(kept), generator=generator)]
    channels = next(iter(images.values())).shape[1]
    free = [channel for channel in range(channels) if channel not in locked]
    directions = list(permutations(present, 2))
    on_event(Started("maps between classes", len(directions) * len(free)))
    done, maps = 0, dict[Key, PixelMap]()

    def advance() -> None:
        nonlocal done
        done += 1
        on_event(Advanced(done))

    for source, target in directions:
        pair = images[source], images[target]
        found: list[PixelMap | None] = [
            GreyLevelCurve.fit(*pair, free, seed=seed),
            ParametricMap.fit(*pair, locked, cancelled=cancelled, each_channel=advance),
        ]
        if cancelled():
            on_event(Finished(partial=True))
            return None
        for kind, one in zip(KINDS, found, strict=True):
            if one is not None:
                maps[(source, target, kind)] = one
    on_event(Finished(partial=False))
    return ClassMaps(crops.classes, maps)


Moves = Callable[[Tensor], Tensor]
"""What moves preprocessed images (N, C, H, W) from one class to another."""
