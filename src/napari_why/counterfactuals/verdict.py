"""The verdict: what one counterfactual is worth, its reservations first."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_why.counterfactuals.change import measured_change
from napari_why.counterfactuals.remarks import (
    BARELY,
    NEARLY_ALL,
    NEARLY_NONE,
    SECOND,
    SECOND_NETWORK,
    UNDONE,
    UNSEEN,
    collect_remarks,
    convincing_probability,
    join_names,
    percent,
    second_class,
)

if TYPE_CHECKING:
    from napari_why.counterfactuals.result import Counterfactual

# More reservations than this make a line that nobody reads to its end; all are in the data.
MOST = 3


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one counterfactual.

    Parameters
    ----------
    valid : bool
        The exported image at alpha1 is predicted as the target. False says why among the
        ``reservations`` where that was measured: the classifier does not see the complete change, or
        rounding, clipping and channels put back undid the flip.
    complete : bool
        False when the work was cancelled, perhaps before there was a convincing image.
    second_class : str or None
        What the second network predicts for that image; None where nobody asked one.
    target : str
        The class that was asked for.
    shares : dict of str to float
        Of each channel, its share (0 to 1) of the absolute change, summed over all pixels in grey
        levels. All 0 where nothing changes.
    relative_shares : dict of str to float
        The same with the change of each channel in units of that channel's own standard deviation
        over the pixels of the image: a bright channel does not outweigh a dim one here.
    distance : float or None
        As :attr:`~napari_why.counterfactuals.Counterfactual.distance`.
    probability : float or None
        p(target) of the exported convincing image; None where there is none.
    reservations : tuple of str
        What speaks against believing it, the gravest first.
    kinds : tuple of str
        Of each reservation, its kind: the words without the numbers of this image.
    voids : int
        How many of them, the first, leave nothing to believe: the image is unlike the training
        images, the two classes are at chance, or the image is predicted as the target already.
    locked, put_back : tuple of str
        Channels in which nothing can change, by the network and by choice.
    second_called_source : bool
        The second network called the unchanged source the target already.
    second_had_a_say : bool or None
        It was asked when it was chosen how to change images of this class; None where not known.
    second_name : str
        Whose second opinion it is, as the line calls it.
    """

    valid: bool
    complete: bool
    second_class: str | None
    target: str
    shares: dict[str, float]
    relative_shares: dict[str, float]
    distance: float | None
    probability: float | None = None
    reservations: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    voids: int = 0
    locked: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    second_called_source: bool = False
    second_had_a_say: bool | None = None
    second_name: str = SECOND_NETWORK

    @property
    def void(self) -> bool:
        """Whether nothing is left to believe."""
        return self.voids > 0

    @property
    def trustworthy(self) -> bool:
        """Whether it flips and nothing speaks against believing it."""
        return self.valid and self.complete and not self.reservations

    @property
    def second_agrees(self) -> bool | None:
        """Whether the second network calls the image the target; None where nobody asked one."""
        return None if self.second_class is None else self.second_class == self.target

    @property
    def facts(self) -> dict[str, Any]:
        """What records and layers keep of it; JSON types."""
        return {
            "verdict": self.line,
            "reservations": list(self.reservations),
            "trustworthy": self.trustworthy,
        }

    @property
    def line(self) -> str:
        """All of it in one line, what speaks against it first.

        Examples
        --------
        >>> shares = {"DAPI": 0.08, "mitochondria": 0.92}
        >>> Verdict(True, True, "treated", "treated", shares, shares, None, 0.97).line
        'flips (p 0.97); second network agrees; 92 % of the change in mitochondria'
        >>> barely = ("barely flips (p 0.51; 0.9 wanted)",)
        >>> Verdict(
        ...     True, True, "treated", "treated", shares, shares, None, 0.51, barely, ("barely flips",)
        ... ).line
        'barely flips (p 0.51; 0.9 wanted); second network agrees; 92 % of the change in mitochondria'
        """
        shown = min(self.voids or MOST, MOST)
        doubts = list(self.reservations[:shown])
        if len(self.reservations) > shown:
            doubts.append(f"{len(self.reservations) - shown} more in the notes")
        if self.void:
            said = "changes all the same" if self.valid else "does not change"
            return f"not to be trusted: {'; '.join(doubts)}; the prediction {said}{self._reached()}"
        first = [*doubts, self._flip()] if self.valid else [self._flip(), *doubts]
        parts = [*first, self._second(), self._share()]
        return "; ".join(part for part in parts if part)

    def _flip(self) -> str:
        if not self.complete and not self.valid:
            return "stopped before the convincing image was made"
        if BARELY in self.kinds[:MOST]:
            return ""
        if not {UNDONE, UNSEEN}.isdisjoint(self.kinds[:MOST]):
            return "does not flip"  # what follows says why, and with which probability
        return ("flips" if self.valid else "does not flip") + self._reached()

    def _reached(self) -> str:
        # never 1.00 or 0.00 of what is not
        if self.probability is None:
            return ""
        p = self.probability
        if p > NEARLY_ALL:
            return " (p > 0.99)"
        return " (p < 0.01)" if p < NEARLY_NONE else f" (p {p:.2f})"

    def _second(self) -> str:
        if SECOND in self.kinds:
            return ""
        return f"{self.second_name} agrees" if self.second_agrees else ""

    def _share(self) -> str:
        if leading(self.shares)[1] == 0:
            return "nothing changes"
        held = dict.fromkeys((*self.locked, *self.put_back))
        free = [name for name in self.shares if name not in held]
        if held and all(not self.shares[name] for name in held):
            if len(free) == 1:
                return f"{self._held()}: all change is in {free[0]} by construction"
            return f"{self._held()}; of the others, {self._leading()}"
        return self._leading()

    def _leading(self) -> str:
        leader, share = leading(self.shares)
        text = f"{percent(share)} of the change in {leader}"
        other, relative = leading(self.relative_shares)
        # a channel without any spread has no change relative to it
        if other != leader and relative > 0:
            text += f" (relative to each channel's own spread, {percent(relative)} in {other})"
        return text

    def _held(self) -> str:
        back = [name for name in self.put_back if name not in self.locked]
        return " and ".join(
            f"{join_names(names)} {verbs[len(names) > 1]} {what}"
            for names, verbs, what in (
                (self.locked, ("is", "are"), "locked"),
                (back, ("was", "were"), "put back"),
            )
            if names
        )


def verdict(result: "Counterfactual") -> Verdict:
    """Say what one counterfactual is worth.

    Examples
    --------
    >>> verdict(result).line  # doctest: +SKIP
    'flips (p 0.97); second network agrees; DAPI is locked: all change is in TMRM by construction'
    """
    remarks, known = collect_remarks(result), result.circumstances
    amounts = _amounts(result)
    spreads = result.reconstruction.astype(np.float64).std(axis=(1, 2))
    # a channel without any structure has no spread to compare its change with
    relative = np.divide(amounts, spreads, out=np.zeros_like(amounts), where=spreads > 0)
    return Verdict(
        valid=result.valid,
        complete=result.complete,
        second_class=second_class(result),
        target=result.target,
        shares=_shares(result.channels, amounts),
        relative_shares=_shares(result.channels, relative),
        distance=result.distance,
        probability=convincing_probability(result),
        reservations=tuple(remark.short for remark in remarks if remark.short),
        kinds=tuple(remark.kind for remark in remarks if remark.short),
        voids=sum(remark.weight == "void" for remark in remarks),
        locked=known.locked,
        put_back=known.put_back,
        second_called_source=known.second_of_source == result.target,
        second_had_a_say=known.second_had_a_say,
        second_name=known.second_name,
    )


def _amounts(result: "Counterfactual") -> NDArray[np.float64]:
    """Return the absolute change of each channel, exported pixels against exported pixels."""
    amounts: NDArray[np.float64] = np.abs(measured_change(result)).sum(axis=(1, 2))
    return amounts


def leading(shares: dict[str, float]) -> tuple[str, float]:
    """Return the channel with the largest share, and that share."""
    name = max(shares, key=lambda channel: shares[channel])
    return name, shares[name]


def _shares(channels: tuple[str, ...], amounts: NDArray[np.float64]) -> dict[str, float]:
    total = float(amounts.sum())
    parts = amounts / total if total > 0 else np.zeros_like(amounts)
    return dict(zip(channels, parts.tolist(), strict=True))
