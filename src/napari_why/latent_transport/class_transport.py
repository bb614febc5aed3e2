"""The transport between every two classes at one stage of a network, as part of a classifier."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

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
from napari_why.latent_transport.gaussian_map import GaussianMap
from napari_why.latent_transport.local_evidence import LocalEvidence, build, excess_mass
from napari_why.latent_transport.sliced import SlicedCorrection

Mass = Literal["full", "excess"]
Pair = tuple[int, int]
# a position has about 80 features of 4 bytes
POSITIONS_AT_A_TIME = 2**17


@dataclass(frozen=True)
class PairMap:
    """The transport from one class to another.

    Parameters
    ----------
    gaussian : GaussianMap
    correction : SlicedCorrection
    """

    gaussian: GaussianMap
    correction: SlicedCorrection

    def __call__(self, moving: Tensor, known: Tensor, gates: Gates) -> Tensor:
        """Return the free channels (n, d) that positions would have in the other class."""
        return self.correction(self.gaussian(moving, known, gates))


@dataclass(frozen=True)
class Choice:
    """How a direction is best transported, judged on held-out images.

    Parameters
    ----------
    mass : {"full", "excess"}
        Whether everything moves or only the excess mass.
    overshoot : float
        Which multiple of the displacement convinces, 1 or more.
    reset_channels : tuple of int
        Input channels that are put back to the source's.
    scores : mapping
        What was measured for the choice; JSON types. Empty where nothing was held out.
    """

    mass: Mass = "full"
    overshoot: float = 1.0
    reset_channels: tuple[int, ...] = ()
    scores: Mapping[str, Any] | None = None


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
        named = {f"gates.{name}": value for name, value in vars(self.gates).items()}
        named |= {
            f"evidence.{key}": value for key, value in self.evidence.network.state_dict().items()
        }
        named |= {
            "evidence.mean": self.evidence.mean,
            "evidence.deviation": self.evidence.deviation,
        }
        for key, pair in self.maps.items():
            prefix = ".".join(map(str, key))
            named |= {f"{prefix}.gaussian.{n}": value for n, value in vars(pair.gaussian).items()}
            named |= {f"{prefix}.sliced.{n}": value for n, value in vars(pair.correction).items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}

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
            return cls._from_parts(tensors, plain)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"transport between classes: found parts that do not fit ({error}); train anew"
            ) from error

    @classmethod
    def _from_parts(
        cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
    ) -> "ClassTransport":
        gates = Gates(**_under("gates.", tensors))
        evidence = _under("evidence.", tensors)
        mean, deviation = evidence.pop("mean"), evidence.pop("deviation")
        classes = len(evidence[max(evidence)])  # of the last layer, in whatever order they come
        network = build(mean.shape[1], classes)
        network.load_state_dict(evidence)
        maps = {}
        for source, target, mass in plain["maps"]:
            prefix = f"{source}.{target}.{mass}"
            maps[(int(source), int(target), mass)] = PairMap(
                GaussianMap(**_under(f"{prefix}.gaussian.", tensors)),
                SlicedCorrection(**_under(f"{prefix}.sliced.", tensors)),
            )
        choices = {
            (entry["source"], entry["target"]): Choice(
                entry["mass"],
                float(entry["overshoot"]),
                tuple(entry["reset_channels"]),
                entry["scores"],
            )
            for entry in plain["choices"]
        }
        return cls(
            plain["stage"],
            LatentLayout(**plain["layout"]),
            gates,
            LocalEvidence(network.requires_grad_(False).eval(), mean, deviation),
            maps,
            choices,
        )


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


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
