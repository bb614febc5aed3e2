"""The transport between every two classes at one stage of a network, as part of a classifier."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from napari_why.errors import ModelFileError, ParameterError
from napari_why.latent_transport.features import (
    EVIDENCE_HALO,
    EVIDENCE_STRIDE,
    HALO,
    LatentLayout,
    conditions,
    moving_features,
    positions,
)
from napari_why.latent_transport.gates import Gates
from napari_why.latent_transport.local_evidence import LocalEvidence, excess_mass
from napari_why.latent_transport.pair_map import Choice, Mass, PairMap
from napari_why.latent_transport.stored import (
    named_tensors,
    read_choices,
    read_evidence,
    read_gates,
    read_layout,
    read_maps,
)

Pair = tuple[int, int]
# a position has about 80 features of 4 bytes
POSITIONS_AT_A_TIME = 2**17


@dataclass(frozen=True)
class ClassTransport:
    """Transport maps between the classes in the latent of one stage.

    Parameters
    ----------
    stage : str
        The stage.
    layout : LatentLayout
        Of its latent.
    gates : Gates
    evidence : LocalEvidence
    maps : mapping of (source, target, mass) to PairMap
    choices : mapping of (source, target) to Choice
        Empty until something was held out to choose by.
    """

    stage: str
    layout: LatentLayout
    gates: Gates
    evidence: LocalEvidence
    maps: Mapping[tuple[int, int, Mass], PairMap]
    choices: Mapping[Pair, Choice]

    def choice(self, source: int, target: int) -> Choice:
        """Return what was chosen for a direction; the full map where nothing was."""
        return self.choices.get((source, target), Choice())

    def chosen(self, choices: Mapping[Pair, Choice]) -> "ClassTransport":
        """Return the same transport with these choices."""
        return replace(self, choices=dict(choices))

    @torch.no_grad()
    def displacement(self, latent: Tensor, source: int, target: int, mass: Mass) -> Tensor:
        """Return what to add to latents of ``source`` so that they become ``target``.

        Large latents are worked through in bands, so that memory does not grow with their height.

        Parameters
        ----------
        latent : Tensor, shape (N, K, h, w)
        source, target : int
            Class indices.
        mass : {"full", "excess"}

        Returns
        -------
        Tensor, shape (N, K, h, w)
            0 in locked channels.

        Raises
        ------
        ParameterError
            There is no map between these classes.
        """
        if (source, target, mass) not in self.maps:
            raise ParameterError(
                f"transport: found no training image of class {source} or {target}; "
                "expected at least one of each"
            )
        bands = [
            self._band(latent[:, :, outer], inner, (source, target, mass))
            for outer, inner in _bands(latent.shape[-2], latent.shape[-1] * len(latent))
        ]
        return torch.cat(bands, dim=2)

    def _band(self, latent: Tensor, inner: slice, direction: tuple[int, int, Mass]) -> Tensor:
        source, target, mass = direction
        on_cpu = latent.float().cpu()
        free = on_cpu[:, self.layout.locked :, inner]
        known = conditions(on_cpu, self.layout)[:, :, inner]
        moving = moving_features(on_cpu, self.layout)[:, :, inner]
        moved = self.maps[direction](positions(moving), positions(known), self.gates)
        count, _, height, width = free.shape
        change = moved.reshape(count, height, width, -1).permute(0, 3, 1, 2) - free
        if mass == "excess":
            places = self.evidence.probabilities(on_cpu, self.layout)
            change *= excess_mass(places, source, target, latent.shape[-2:])[:, :, inner]
        still = change.new_zeros(count, self.layout.locked, height, width)
        return torch.cat([still, change], 1).to(latent)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        return named_tensors(self.gates, self.evidence, self.maps)

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "stage": self.stage,
            "layout": vars(self.layout),
            "maps": [list(key) for key in self.maps],
            "choices": [
                {
                    "source": source,
                    "target": target,
                    **vars(choice),
                    "reset_channels": list(choice.reset_channels),
                }
                for (source, target), choice in self.choices.items()
            ],
        }

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
    ) -> "ClassTransport":
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        try:
            layout = read_layout(plain["layout"])
            gates, evidence = read_gates(tensors, layout), read_evidence(tensors, layout)
            return cls(
                str(plain["stage"]),
                layout,
                gates,
                evidence,
                read_maps(tensors, plain["maps"], layout, gates, evidence.classes),
                read_choices(plain["choices"], layout, evidence.classes),
            )
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"transport between classes: found parts that do not fit ({error}); train anew"
            ) from error


def _bands(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows with a halo, and which rows of them are meant; borders lie on even rows."""
    rows = max(EVIDENCE_STRIDE, POSITIONS_AT_A_TIME // max(1, width))
    rows -= rows % EVIDENCE_STRIDE
    halo = max(HALO, EVIDENCE_HALO)
    halo += halo % EVIDENCE_STRIDE
    for start in range(0, height, rows):
        end = min(height, start + rows)
        top, bottom = max(0, start - halo), min(height, end + halo)
        yield slice(top, bottom), slice(start - top, end - top)
