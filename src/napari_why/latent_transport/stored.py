"""The parts of a saved transport, read and checked: what does not fit is refused when loading."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from napari_why.errors import ModelFileError
from napari_why.latent_transport.features import LatentLayout
from napari_why.latent_transport.gates import Gates
from napari_why.latent_transport.gaussian_map import GaussianMap
from napari_why.latent_transport.local_evidence import LocalEvidence, build
from napari_why.latent_transport.pair_map import Choice, Mass, PairMap
from napari_why.latent_transport.sliced import SlicedCorrection

Tensors = Mapping[str, Tensor]


def named_tensors(
    gates: Gates, evidence: LocalEvidence, maps: Mapping[tuple[int, int, Mass], PairMap]
) -> dict[str, Tensor]:
    """Return everything numeric by name, contiguous and on the CPU."""
    named = {f"gates.{name}": value for name, value in vars(gates).items()}
    named |= {f"evidence.{key}": value for key, value in evidence.network.state_dict().items()}
    named |= {"evidence.mean": evidence.mean, "evidence.deviation": evidence.deviation}
    for key, pair in maps.items():
        prefix = ".".join(map(str, key))
        named |= {f"{prefix}.gaussian.{n}": value for n, value in vars(pair.gaussian).items()}
        named |= {f"{prefix}.sliced.{n}": value for n, value in vars(pair.correction).items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def read_layout(plain: Mapping[str, Any]) -> LatentLayout:
    """Return the layout of a description."""
    layout = LatentLayout(**plain)
    numbers = (layout.channels, layout.locked, layout.phases)
    _check(
        all(isinstance(number, int) for number in numbers)
        and layout.phases > 0
        and 0 <= layout.locked < layout.channels
        and not (layout.locked % layout.phases or layout.channels % layout.phases),
        f"channels {numbers}",
    )
    return layout


def read_gates(tensors: Tensors, layout: LatentLayout) -> Gates:
    """Return the gates of tensors named by :func:`named_tensors`."""
    gates = Gates(**_under("gates.", tensors))
    width, components = layout.conditions, gates.basis.shape[-1]
    _check_shapes(
        "gates",
        (gates.mean, (width,)),
        (gates.deviation, (width,)),
        (gates.basis, (width, components)),
        (gates.centres, (len(gates.centres), components)),
        (gates.temperature, ()),
    )
    return gates


def read_evidence(tensors: Tensors, layout: LatentLayout) -> LocalEvidence:
    """Return the classifier of places of tensors named by :func:`named_tensors`."""
    weights = _under("evidence.", tensors)
    mean, deviation = weights.pop("mean"), weights.pop("deviation")
    shape = (1, layout.evidence, 1, 1)
    _check_shapes("evidence", (mean, shape), (deviation, shape))
    classes = len(weights[max(weights)])  # of the last layer, in whatever order they come
    network = build(layout.evidence, classes)
    network.load_state_dict(weights)
    return LocalEvidence(network.requires_grad_(False).eval(), mean, deviation)


def read_maps(
    tensors: Tensors,
    keys: Sequence[Sequence[Any]],
    layout: LatentLayout,
    gates: Gates,
    classes: int,
) -> dict[tuple[int, int, Mass], PairMap]:
    """Return the maps of these (source, target, mass)."""
    maps = {}
    for source, target, mass in keys:
        _check_direction(source, target, classes)
        prefix = f"{source}.{target}.{mass}"
        pair = PairMap(
            GaussianMap(**_under(f"{prefix}.gaussian.", tensors)),
            SlicedCorrection(**_under(f"{prefix}.sliced.", tensors)),
        )
        _check_pair(prefix, pair, layout, len(gates.centres))
        maps[(source, target, _mass(mass))] = pair
    return maps


def read_choices(
    entries: Sequence[Mapping[str, Any]], layout: LatentLayout, classes: int
) -> dict[tuple[int, int], Choice]:
    """Return the choices by direction."""
    choices = {}
    for entry in entries:
        _check_direction(entry["source"], entry["target"], classes)
        overshoot, reset = float(entry["overshoot"]), tuple(entry["reset_channels"])
        inputs = range(layout.channels // layout.phases)
        _check(math.isfinite(overshoot) and overshoot >= 1, f"the overshoot {overshoot}")
        _check(all(channel in inputs for channel in reset), f"the reset channels {reset}")
        choices[(entry["source"], entry["target"])] = Choice(
            _mass(entry["mass"]), overshoot, reset, entry["scores"]
        )
    return choices


def _check_pair(name: str, pair: PairMap, layout: LatentLayout, gates: int) -> None:
    free, sliced = layout.free, pair.correction
    rounds, quantiles = sliced.source.shape[:2]
    _check_shapes(
        name,
        (pair.gaussian.matrices, (gates, free, layout.moving)),
        (pair.gaussian.conditioning, (gates, free, layout.conditions + 1)),
        (sliced.scale, (free,)),
        (sliced.rotations, (rounds, free, free)),
        (sliced.source, (rounds, quantiles, free)),
        (sliced.target, (rounds, quantiles, free)),
    )


def _mass(name: str) -> Mass:
    if name == "full":
        return "full"
    _check(name == "excess", f"the mass {name!r}")
    return "excess"


def _check_direction(source: Any, target: Any, classes: int) -> None:
    there = all(isinstance(label, int) and 0 <= label < classes for label in (source, target))
    _check(there, f"the classes {source} and {target} of {classes}")


def _check_shapes(name: str, *wanted: tuple[Tensor, tuple[int, ...]]) -> None:
    for tensor, shape in wanted:
        _check(tensor.shape == shape, f"shape {tuple(tensor.shape)} in {name}, not {shape}")


def _check(fine: bool, found: str) -> None:
    if not fine:
        raise ModelFileError(f"transport between classes: found {found}; train anew")


def _under(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    # clones lie in memory as fitted ones do: products then agree to the last digit
    return {
        name.removeprefix(prefix): value.clone()
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
