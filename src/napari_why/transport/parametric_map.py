"""A change in few numbers, fitted without pairs by the generalised method of moments.

A few dozen images cannot tell a map of thousands of numbers from chance. Here a channel, above its
background, is changed by a few plain terms: brightness, blur, more or less of fine structure, more or
less near the locked structures (nuclei, mostly), a curve of grey levels, larger or smaller structures.
Their coefficients are those for which the moved images of one class have, on average, the statistics of
real images of the other; each difference counts by how much the statistics vary between images (the
generalised method of moments: Hansen 1982). A Gaussian prior around no change keeps at nothing what the
images do not tell. Terms are added one by one while the evidence of the fit grows (Laplace's
approximation: MacKay 1992), so that brightness alone is the answer where brightness is all there is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from napari_why.core.errors import ModelFileError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.transport.channel_change import (
    ALWAYS,
    CURVE_LEVELS,
    OPTIONAL,
    TERMS,
    ChannelChange,
    LockedStructures,
    by_term,
)
from napari_why.transport.channel_statistics import ChannelFrame
from napari_why.transport.moment_fit import SLOPE_IMAGES, MomentFit, Solution, start_near

# Pixels of a class that are looked at: all that are kept of images of 64 pixels, 64 of 128.
MOST_PIXELS = 256 * 64**2
# Of fewer, some thirty statistics have no covariance to speak of.
FEWEST_IMAGES = 16
# Of six terms that are tried one does best by chance: each has to make the data seven times as likely.
LEAST_EVIDENCE = 2.0
# Of two terms that do much the same the one that says less: one factor and no curve, one width and no factor of
# each scale, and light that comes from around a nucleus and from nowhere else.
PLAIN_KIN = {"curve": "gain", "scales": "blur", "distance": "redistribution"}
BRIGHTNESS = frozenset({"gain", "curve"})
"""Terms that are a curve of grey levels."""
# Of what chance would leave between the moments, per degree of freedom: more says that no such change is what happened
# (after the J test of Hansen 1982). Of many groups a fit leaves more where threads were broken, and less where dye was
# lost; a dozen wells do not tell the two apart: docs/results.md, "The change in few numbers alone".
MOST_MISFIT = 3.0
# Of the terms that are left, in the order of what one step foresees of them, so many are fitted to the end.
FITTED = 3


def fit_channel(
    source: Tensor,
    target: Tensor,
    channel: int,
    locked: Sequence[int],
    *,
    groups: tuple[Tensor, Tensor] | None = None,
    fitted: int = FITTED,
    slope_images: int = SLOPE_IMAGES,
    cancelled: Cancelled = never_cancelled,
) -> ChannelChange:
    """Fit the change of one channel; terms are added while the evidence grows.

    Parameters
    ----------
    source, target : Tensor, shape (N, C, H, W)
        Preprocessed images of the two classes, not paired.
    channel : int
        The one that changes.
    locked : sequence of int
        Channels that stay, whose structures distances are measured from.
    groups : (Tensor, Tensor), optional
        See :class:`~.moment_fit.MomentFit`.
    fitted : int
        How many terms are fitted to the end each time, those that one step foresees the most of.
    slope_images : int
        See :class:`~.moment_fit.MomentFit`.
    cancelled : callable
        Asked between two terms; what was found by then is returned.

    Returns
    -------
    ChannelChange
        Of ``noise`` alone, which changes nothing, where no term is worth its coefficients.
    """
    frame = ChannelFrame.of(torch.cat([source, target]), channel, locked)
    fit = MomentFit(frame, source, target, groups, slope_images=slope_images)
    near = frame.unchanged.structures is not None
    optional = [name for name in OPTIONAL if near or not TERMS[name].needs_lock]
    best, evidence = fit.solve(ALWAYS), 0.0
    while not cancelled():
        foreseen = [fit.foresee(best, name) for name in optional if name not in best.names]
        foreseen.sort(key=lambda item: item.evidence, reverse=True)
        tried = [
            fit.solve(item.names, start_near(item), weight=best.weight)
            for item in foreseen[:fitted]
            if item.evidence > best.evidence
        ]
        next_best = _take_plain(tried, best)
        gained = next_best.evidence - best.evidence
        if gained < LEAST_EVIDENCE:
            break
        evidence += gained
        best = fit.solve(next_best.names, next_best.values)
    return replace(
        frame.unchanged,
        values=best.by_name(),
        covariance=fit.covariance(best).float(),
        evidence=evidence,
        misfit=best.objective / max(1, fit.statistics_count - len(best.values)),
    )


def _take_plain(tried: Sequence[Solution], best: Solution) -> Solution:
    """Return the likeliest; or its plain kin, where the images do not tell the two apart."""
    likeliest = max(tried, key=lambda item: item.evidence, default=best)
    plain = PLAIN_KIN.get(likeliest.names[-1])
    for kin in tried:
        if kin.names[-1] == plain and kin.evidence >= likeliest.evidence - LEAST_EVIDENCE:
            return kin
    return likeliest


def _find_changes_beside(
    found: dict[int, ChannelChange],
    pair: tuple[Tensor, Tensor],
    groups: tuple[Tensor, Tensor] | None,
    cancelled: Cancelled,
) -> None:
    """Look for changes by the distance from the structures of channels that do not change.

    Few images lock nothing, and yet a channel may change only near the nuclei of another one. Which of two
    channels moved towards the other's structures cannot be told, so only the one whose change the images
    speak for most is taken, and it is no longer asked where its structures are.
    """
    while not cancelled():
        still = [channel for channel, change in found.items() if not change.terms]
        tried = {
            channel: fit_channel(
                *pair,
                channel,
                [other for other in still if other != channel],
                groups=groups,
                cancelled=cancelled,
            )
            for channel in found
            if any(other != channel for other in still)
        }
        gains = {
            channel: change.evidence - found[channel].evidence for channel, change in tried.items()
        }
        best = max(gains, key=lambda channel: gains[channel], default=None)
        if best is None or gains[best] < LEAST_EVIDENCE:
            return
        found[best] = tried[best]
        if len(still) < 2:
            return


@dataclass(frozen=True)
class ParametricMap:
    """The change of every free channel in few numbers; a :class:`~.pixel_maps.PixelMap`.

    Parameters
    ----------
    changes : tuple of ChannelChange
        One a free channel.
    chance_known : bool
        Whether there were groups of both classes to tell how much groups differ by chance: of one well nobody knows.
    """

    changes: tuple[ChannelChange, ...]
    chance_known: bool = True
    kind: ClassVar[str] = "parametric"

    @property
    def terms(self) -> frozenset[str]:
        """Terms by which any channel changes; none where nothing is told from chance."""
        return frozenset(name for change in self.changes for name in change.terms)

    @property
    def evidence(self) -> float:
        """Logarithm of the evidence gained over no change, of all channels."""
        return sum(change.evidence for change in self.changes)

    @property
    def misfit(self) -> float:
        """What the fit left between the moments of the classes, in units of what chance would; of the worst channel."""
        return max((change.misfit for change in self.changes), default=0.0)

    @property
    def describes_the_difference(self) -> bool:
        """Whether such a change can be what happened: the fit leaves no more than three times what chance would.

        True also where nobody knows what chance would leave, as of one well.
        """
        return not self.chance_known or self.misfit <= MOST_MISFIT

    @classmethod
    def fit(
        cls,
        source: Tensor,
        target: Tensor,
        locked: Sequence[int],
        *,
        groups: tuple[Tensor, Tensor] | None = None,
        cancelled: Cancelled = never_cancelled,
        each_channel: Callable[[], None] = lambda: None,
    ) -> "ParametricMap | None":
        """Fit on images (N, C, H, W) of the two classes; None of fewer than 16 of a class.

        The first are used, as many as have :data:`MOST_PIXELS`, so they should be in a mixed order.

        Parameters
        ----------
        source, target : Tensor, shape (N, C, H, W), (M, C, H, W)
            Preprocessed.
        locked : sequence of int
            Channels that stay; distances are measured from their structures.
        groups : (Tensor, Tensor), int64, shape (N,), (M,), optional
            See :class:`~.moment_fit.MomentFit`. Where all images of a class are of one, a change is found
            and has no evidence.
        cancelled : callable
            Asked between two terms; what was found by then is returned.
        each_channel : callable
            Called after every free channel, for a bar.

        Returns
        -------
        ParametricMap or None
        """
        if min(len(source), len(target)) < FEWEST_IMAGES:
            return None
        most = max(FEWEST_IMAGES, MOST_PIXELS // source[0, 0].numel())
        source, target = source[:most].float(), target[:most].float()
        if groups is not None:
            groups = groups[0][:most], groups[1][:most]
        free = [channel for channel in range(source.shape[1]) if channel not in locked]
        found = {}
        for channel in free:
            found[channel] = fit_channel(
                source, target, channel, locked, groups=groups, cancelled=cancelled
            )
            each_channel()
        if not locked:
            _find_changes_beside(found, (source, target), groups, cancelled)
        chance_known = groups is None or min(len(torch.unique(part)) for part in groups) > 1
        if not chance_known:
            # of one well nobody knows how wells differ: images of it are many, and no evidence
            found = {channel: replace(change, evidence=0.0) for channel, change in found.items()}
        return cls(tuple(found.values()), chance_known)

    def __call__(self, images: Tensor) -> Tensor:
        """See :class:`~.pixel_maps.PixelMap`."""
        moved = images.clone()
        for change in self.changes:
            moved[:, change.channel] = change(images.cpu()).to(images)
        return moved

    def draw(self, generator: torch.Generator) -> "ParametricMap":
        """Return the map with coefficients drawn from what the images leave open about them.

        The posterior is as much wider as the fit explains the difference of the classes worse than
        chance would (the Birge ratio, squared: Birge 1932); never narrower.
        """
        drawn = []
        for change in self.changes:
            names = tuple(change.values)
            values = torch.cat([change.values[name].reshape(-1) for name in names])
            noise = torch.randn(len(values), generator=generator)
            covariance = max(1.0, change.misfit) * change.covariance
            factor = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(values)))
            drawn.append(replace(change, values=by_term(values + factor @ noise, names)))
        return replace(self, changes=tuple(drawn))

    def tensors(self) -> dict[str, Tensor]:
        """See :class:`~.pixel_maps.PixelMap`."""
        named = {}
        for change in self.changes:
            named[f"{change.channel}.covariance"] = change.covariance
            for name, value in change.values.items():
                named[f"{change.channel}.{name}"] = value.reshape(-1)
        return {name: value.contiguous() for name, value in named.items()}

    def to_dict(self) -> dict[str, Any]:
        """See :class:`~.pixel_maps.PixelMap`."""
        return {
            "channels": [
                {
                    "channel": change.channel,
                    "background": change.background,
                    "brightness": change.brightness,
                    "levels": list(change.levels),
                    "structures": None if change.structures is None else vars(change.structures),
                    "terms": list(change.values),
                    "evidence": change.evidence,
                    "misfit": change.misfit,
                }
                for change in self.changes
            ],
            # left out where the changes tell it: what was saved before keeps its fingerprint
            **(
                {}
                if self.chance_known == _has_evidence(self.changes)
                else {"chance_known": self.chance_known}
            ),
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> "ParametricMap":
        """See :class:`~.pixel_maps.PixelMap`.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        ParametricMap
        """
        changes = tuple(_read_channel(tensors, entry) for entry in plain["channels"])
        return cls(changes, bool(plain.get("chance_known", _has_evidence(changes))))


def _has_evidence(changes: Sequence[ChannelChange]) -> bool:
    """Tell whether what changes has evidence, as all has that was found of more wells than one.

    Also where nothing changes: earlier files do not tell of how many wells nothing was found.
    """
    return any(change.evidence for change in changes) or not any(change.terms for change in changes)


def _read_channel(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> ChannelChange:
    channel, names = int(plain["channel"]), tuple(plain["terms"])
    unknown = [name for name in names if name not in TERMS]
    if unknown or not set(ALWAYS) <= set(names):
        raise ModelFileError(
            f"parametric map: found the terms {', '.join(names)}; expected {', '.join(ALWAYS)} and "
            f"some of {', '.join(OPTIONAL)}; train anew"
        )
    found = torch.cat([tensors[f"{channel}.{name}"].reshape(-1) for name in names])
    covariance = tensors[f"{channel}.covariance"]
    size, levels = sum(TERMS[name].size for name in names), tuple(map(float, plain["levels"]))
    if (
        len(found) != size
        or covariance.shape != (size, size)
        or len(levels) != len(CURVE_LEVELS)
        or not float(plain["brightness"]) > 0
    ):
        raise ModelFileError(
            f"parametric map: found {len(found)} coefficients of channel {channel}; expected {size}; "
            "train anew"
        )
    structures = plain["structures"]
    return ChannelChange(
        channel,
        float(plain["background"]),
        float(plain["brightness"]),
        levels,
        None if structures is None else LockedStructures(**structures),
        by_term(found, names),
        covariance,
        float(plain["evidence"]),
        float(plain.get("misfit", 1.0)),
    )
