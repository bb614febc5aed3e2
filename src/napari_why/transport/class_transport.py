"""The transport between classes: what it moves latents by, and its parts as they are saved.

Loaded parts are checked against each other, and what does not fit is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import torch
from torch import Tensor

from napari_why.core.devices import to_like
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.schema import (
    Fields,
    Flag,
    ListOf,
    Maybe,
    Number,
    Open,
    Row,
    Schema,
    Text,
    Whole,
)
from napari_why.transport.features import (
    EVIDENCE_HALO,
    EVIDENCE_STRIDE,
    HALO,
    LatentLayout,
    LocalEvidence,
    build,
    conditions,
    excess_mass,
    moving_features,
    positions,
)
from napari_why.transport.maps import (
    ChangeKind,
    Choice,
    Gates,
    GaussianMap,
    Mass,
    PairMap,
    SlicedCorrection,
)

Tensors = Mapping[str, Tensor]
Key = tuple[int, int, Mass]
"""Source, target and mass of a map."""

# What older versions chose (1 to 4) with room; beyond it an image would have been carried far outside of
# what any class looks like.
LARGEST_OVERSHOOT = 10.0
# Of a map: far more than anybody fits.
MOST_REPLICATES = 100

MASS = Text(("full", "excess"))
# What draws its images is never chosen: a draw errs where nobody can know.
CHOSEN = tuple(kind for kind in get_args(ChangeKind) if kind != "responding_cells")
CHOICE = Fields(
    {
        "source": Whole(),
        "target": Whole(),
        "mass": MASS,
        "overshoot": Number(1, LARGEST_OVERSHOOT),
        "reset_channels": ListOf(Whole(), unique=True),
        "scores": Maybe(Open()),
    },
    # neither is told by earlier versions
    {"second_had_a_say": Maybe(Flag()), "kind": Text(CHOSEN)},
    others=Open(),
)
TRANSPORT: Schema = Fields(
    {
        "stage": Text(),
        "layout": Fields({"channels": Whole(1), "locked": Whole(), "phases": Whole(1)}),
        "maps": ListOf(Row((Whole(), Whole(), MASS))),
        "choices": ListOf(CHOICE),
    },
    # earlier versions kept none; how many there are of each map
    {"replicates": ListOf(Row((Whole(), Whole(), MASS, Whole(1, MOST_REPLICATES))))},
)


def named_tensors(
    gates: Gates,
    evidence: LocalEvidence,
    maps: Mapping[Key, PairMap],
    replicates: Mapping[Key, Sequence[PairMap]],
) -> dict[str, Tensor]:
    """Return everything numeric by name, contiguous and on the CPU.

    Parameters
    ----------
    gates : Gates
    evidence : LocalEvidence
    maps : mapping of (source, target, mass) to PairMap
    replicates : mapping of (source, target, mass) to sequence of PairMap
        Of some of the maps.

    Returns
    -------
    dict of str to Tensor
        ``gates.NAME``, ``evidence.NAME``, and two groups for each map and replicate.
    """
    named = {f"gates.{name}": value for name, value in vars(gates).items()}
    named |= {f"evidence.{key}": value for key, value in evidence.network.state_dict().items()}
    named |= {"evidence.mean": evidence.mean, "evidence.deviation": evidence.deviation}
    pairs = {_prefix(key): pair for key, pair in maps.items()}
    for key, made in replicates.items():
        pairs |= {_prefix(key, place): pair for place, pair in enumerate(made)}
    for prefix, pair in pairs.items():
        named |= {f"{prefix}.gaussian.{n}": value for n, value in vars(pair.gaussian).items()}
        named |= {f"{prefix}.sliced.{n}": value for n, value in vars(pair.correction).items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def read_layout(plain: Mapping[str, Any]) -> LatentLayout:
    """Return the layout of a description."""
    layout = LatentLayout(**plain)
    numbers = (layout.channels, layout.locked, layout.phases)
    _check(
        0 <= layout.locked < layout.channels
        and not (layout.locked % layout.phases or layout.channels % layout.phases),
        f"channels {numbers}",
    )
    return layout


def read_gates(tensors: Tensors, layout: LatentLayout) -> Gates:
    """Return the gates of tensors named by :func:`named_tensors`.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Others may lie among them.
    layout : LatentLayout
        Says how many conditions there are.

    Returns
    -------
    Gates
    """
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
    _check(bool((gates.deviation > 0).all() and gates.temperature > 0), "gates without a width")
    return gates


def read_evidence(tensors: Tensors, layout: LatentLayout) -> LocalEvidence:
    """Return the classifier of places of tensors named by :func:`named_tensors`.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Others may lie among them.
    layout : LatentLayout
        Says how many features a place has.

    Returns
    -------
    LocalEvidence
        In evaluation mode, without gradients.
    """
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
) -> dict[Key, PairMap]:
    """Return the maps of these (source, target, mass).

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Named by :func:`named_tensors`.
    keys : sequence of (int, int, str)
        As read from JSON.
    layout : LatentLayout
    gates : Gates
        Their number is that of the matrices of each map.
    classes : int
        Number of classes, below which source and target have to lie.

    Returns
    -------
    dict of (int, int, str) to PairMap
    """
    maps = {}
    for source, target, mass in keys:
        _check_direction(source, target, classes)
        _check((source, target, mass) not in maps, "a map that stands twice")
        key = (source, target, _mass(mass))
        maps[key] = _read_pair(tensors, _prefix(key), layout, gates)
    return maps


def read_replicates(
    tensors: Tensors,
    counts: Sequence[Sequence[Any]],
    maps: Mapping[Key, PairMap],
    layout: LatentLayout,
    gates: Gates,
) -> dict[Key, tuple[PairMap, ...]]:
    """Return the replicates of maps, given (source, target, mass, how many).

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Named by :func:`named_tensors`.
    counts : sequence of (int, int, str, int)
        As read from JSON.
    maps : mapping of (int, int, str) to PairMap
        There are replicates of these alone.
    layout : LatentLayout
    gates : Gates
        Their number is that of the matrices of each map.

    Returns
    -------
    dict of (int, int, str) to tuple of PairMap
    """
    replicates = {}
    for source, target, mass, count in counts:
        key = (source, target, _mass(mass))
        _check(key in maps and key not in replicates, f"replicates of {_prefix(key)}")
        replicates[key] = tuple(
            _read_pair(tensors, _prefix(key, place), layout, gates) for place in range(count)
        )
    return replicates


def _check_all_read(
    tensors: Tensors, maps: Mapping[Key, PairMap], replicates: Mapping[Key, Sequence[PairMap]]
) -> None:
    expected = [f"{_prefix(key)}." for key in maps]
    expected += [
        f"{_prefix(key, place)}." for key, made in replicates.items() for place in range(len(made))
    ]
    known = ("gates.", "evidence.", *expected)
    further = [name for name in tensors if not name.startswith(known)]
    _check(not further, f"the tensors {', '.join(further[:3])}, which belong to no map")


def _prefix(key: Key, replicate: int | None = None) -> str:
    """Return what the names of a map's tensors begin with."""
    own = ".".join(map(str, key))
    return own if replicate is None else f"replicate{replicate}.{own}"


def _read_pair(tensors: Tensors, prefix: str, layout: LatentLayout, gates: Gates) -> PairMap:
    pair = PairMap(
        GaussianMap(**_under(f"{prefix}.gaussian.", tensors)),
        SlicedCorrection(**_under(f"{prefix}.sliced.", tensors)),
    )
    _check_pair(prefix, pair, layout, len(gates.centres))
    return pair


def read_choices(
    entries: Sequence[Mapping[str, Any]], layout: LatentLayout, classes: int
) -> dict[tuple[int, int], Choice]:
    """Return the choices by direction.

    Parameters
    ----------
    entries : sequence of mapping
        One a direction, as read from JSON.
    layout : LatentLayout
        Says which channels may be reset.
    classes : int
        Number of classes, below which source and target have to lie.

    Returns
    -------
    dict of (int, int) to Choice
        By source and target.
    """
    choices = {}
    for entry in entries:
        _check_direction(entry["source"], entry["target"], classes)
        overshoot, reset = float(entry["overshoot"]), tuple(entry["reset_channels"])
        inputs = range(layout.channels // layout.phases)
        _check(all(channel in inputs for channel in reset), f"the reset channels {reset}")
        _check((entry["source"], entry["target"]) not in choices, "a direction chosen for twice")
        choices[(entry["source"], entry["target"])] = Choice(
            _mass(entry["mass"]),
            overshoot,
            reset,
            entry["scores"],
            _second_had_a_say(entry),
            next(kind for kind in get_args(ChangeKind) if kind == entry.get("kind", "latent")),
        )
    return choices


def _second_had_a_say(entry: Mapping[str, Any]) -> bool | None:
    """Return whether the second network was asked; of choices that do not tell, by their scores."""
    if "second_had_a_say" in entry:
        told: bool | None = entry["second_had_a_say"]
        return told
    # before this was noted, each score held the agreement of the second network; None without one
    scores = entry["scores"]
    chosen = scores.get("chosen") if isinstance(scores, Mapping) else None
    if not isinstance(chosen, Mapping) or "second network agrees" not in chosen:
        return None
    return chosen["second network agrees"] is not None


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
    _check(bool((sliced.scale > 0).all()) and quantiles > 1, f"no scale in {name}")


def _mass(name: str) -> Mass:
    if name == "full":
        return "full"
    _check(name == "excess", f"the mass {name!r}")
    return "excess"


def _check_direction(source: Any, target: Any, classes: int) -> None:
    there = all(0 <= label < classes for label in (source, target)) and source != target
    _check(there, f"the classes {source} and {target} of {classes}")


def _check_shapes(name: str, *wanted: tuple[Tensor, tuple[int, ...]]) -> None:
    for tensor, shape in wanted:
        _check(tensor.shape == shape, f"shape {tuple(tensor.shape)} in {name}, not {shape}")
        _check(tensor.dtype == torch.float32, f"{tensor.dtype} in {name}")


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
    replicates : mapping of (source, target, mass) to tuple of PairMap
        The same map fitted on groups drawn with replacement (the bootstrap: Efron 1979), of maps that
        were chosen.
    """

    stage: str
    layout: LatentLayout
    gates: Gates
    evidence: LocalEvidence
    maps: Mapping[Key, PairMap]
    choices: Mapping[Pair, Choice]
    replicates: Mapping[Key, tuple[PairMap, ...]] = field(default_factory=dict)

    def choice(self, source: int, target: int) -> Choice:
        """Return what was chosen for a direction; the full map where nothing was.

        Parameters
        ----------
        source, target : int
            Class indices.

        Returns
        -------
        Choice
        """
        return self.choices.get((source, target), Choice())

    def with_choices(self, choices: Mapping[Pair, Choice]) -> "ClassTransport":
        """Return the same transport with these choices."""
        return replace(self, choices=dict(choices))

    def with_replicates(self, replicates: Mapping[Key, tuple[PairMap, ...]]) -> "ClassTransport":
        """Return the same transport with these replicates of its maps."""
        return replace(self, replicates=dict(replicates))

    def versions(
        self, latent: Tensor, source: int, target: int, mass: Mass, count: int
    ) -> Iterator[Tensor]:
        """Yield, as :meth:`displacement` returns it, what replicates of the map add to a latent.

        Parameters
        ----------
        latent, source, target, mass
            See :meth:`displacement`.
        count : int
            How many at most.

        Yields
        ------
        Tensor, shape (N, K, h, w)
            Nothing comes where the map has no replicates.
        """
        key = (source, target, mass)
        for pair in self.replicates.get(key, ())[:count]:
            yield replace(self, maps={key: pair}).displacement(latent, *key)

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
        return to_like(torch.cat([still, change], 1), latent)

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
        return self.evidence.classes == classes

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        return named_tensors(self.gates, self.evidence, self.maps, self.replicates)

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        # left out where there are none: what was saved before keeps its fingerprint
        counts = [[*key, len(made)] for key, made in self.replicates.items()]
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
            **({"replicates": counts} if counts else {}),
        }

    @classmethod
    def from_parts(
        cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
    ) -> "ClassTransport":
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        ClassTransport

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        TRANSPORT.check(plain, "transport between classes:")
        try:
            layout = read_layout(plain["layout"])
            gates, evidence = read_gates(tensors, layout), read_evidence(tensors, layout)
            maps = read_maps(tensors, plain["maps"], layout, gates, evidence.classes)
            counts = plain.get("replicates", ())
            replicates = read_replicates(tensors, counts, maps, layout, gates)
            _check_all_read(tensors, maps, replicates)
            return cls(
                str(plain["stage"]),
                layout,
                gates,
                evidence,
                maps,
                read_choices(plain["choices"], layout, evidence.classes),
                replicates,
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
