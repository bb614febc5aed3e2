"""What was found of the part of a change that a network uses, in sentences that promise no more."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.counterfactuals import Counterfactual, verdict
from napari_why.counterfactuals.remarks import (
    CONFOUNDED,
    NOT_TOLD_APART,
    collect_remarks,
    percent,
    write_probability,
)
from napari_why.measurement.change_units import ChangeUnits, UnitSearch

if TYPE_CHECKING:
    from napari_why.measurement.used_change import UsedChange

State = Literal["changed", "unchanged", "locked", "put back"]
# Of the log-odds that the whole change moves: a channel below it, alone and when it is left out,
# plays no part that was seen.
NEGLIGIBLE = 0.05
# Methods whose whole change is an estimate of what differs between the classes; that of others is a
# direction that flips the network and no more.
OF_CLASSES = ("transport", "gaussian_transport")


@dataclass(frozen=True)
class ChannelUse:
    """What the change of one channel does to the network.

    Parameters
    ----------
    name : str
    state : {"changed", "unchanged", "locked", "put back"}
        Only of a changed channel can it be told whether the network uses its change.
    alone, without : float or None
        p(target) with the change of this channel alone, and with all but it; None where it was not
        tried.
    gained, missed : float or None
        The same as shares of the log-odds that the whole change moves: what is gained by this
        channel alone, and what is missed without it. They differ where channels stand in for each
        other. None where the whole change moves nothing.
    alone_flips : bool
        The image with the change of this channel alone is predicted as the target.
    share_used : float
        Share (0 to 1) of the absolute change of this channel that belongs to the used part.
    share_of_used : float
        Share of the used part, measured by the channel's own standard deviation, that lies here.
    """

    name: str
    state: State
    alone: float | None
    without: float | None
    gained: float | None
    missed: float | None
    alone_flips: bool
    share_used: float
    share_of_used: float

    @property
    def plays_no_part(self) -> bool:
        """The channel changes, and that moves the network neither alone nor when left out."""
        if self.state != "changed" or self.gained is None or self.missed is None:
            return False
        return not self.alone_flips and max(abs(self.gained), abs(self.missed)) < NEGLIGIBLE


def describe_channels(
    result: Counterfactual,
    units: ChangeUnits,
    search: UnitSearch,
    locked: list[int],
    amount: NDArray[np.float64],
) -> tuple[ChannelUse, ...]:
    """Return what is known of each channel.

    Parameters
    ----------
    result : Counterfactual
        Whose change it is.
    units : ChangeUnits
        Parts of that change.
    search : UnitSearch
        That has ended.
    locked : list of int
        Indices of locked channels.
    amount : ndarray, shape (C, H, W)
        The absolute change, raw grey levels.

    Returns
    -------
    tuple of ChannelUse
        One a channel, in their order.
    """
    spread = result.reconstruction.astype(np.float64).std(axis=(1, 2))
    mask = units.mask(search.found)
    inside, total = ((weight * amount).sum(axis=(1, 2)) for weight in (mask, 1.0))
    # a channel without structure has no spread to measure its change by; its grey levels stand in
    relative = inside / np.where(spread > 0, spread, 1.0)
    uses = []
    for index, name in enumerate(result.channels):
        state: State = "changed"
        if not total[index] > 0:
            state = "unchanged"
            if name in result.circumstances.put_back:
                state = "put back"
            if index in locked:
                state = "locked"
        alone, without = search.alone.get(index), search.without.get(index)
        tried = alone is not None and without is not None
        moves = tried and search.moved > 0
        uses.append(
            ChannelUse(
                name=name,
                state=state,
                alone=float(alone.probabilities[search.target]) if alone else None,
                without=float(without.probabilities[search.target]) if without else None,
                gained=(alone.log_odds - search.before.log_odds) / search.moved
                if alone and moves
                else None,
                missed=(search.whole.log_odds - without.log_odds) / search.moved
                if without and moves
                else None,
                alone_flips=alone is not None and alone.flips,
                share_used=float(inside[index] / total[index]) if total[index] > 0 else 0.0,
                share_of_used=float(relative[index] / relative.sum()) if relative.any() else 0.0,
            )
        )
    return tuple(uses)


def describe_use(found: "UsedChange", result: Counterfactual, share: float) -> tuple[str, ...]:
    """Return the sentences about what differs, what is used, and what follows from it.

    Where the verdict leaves nothing of the counterfactual to believe, that is said first, and so is
    what speaks against calling its change a difference between the classes.

    Parameters
    ----------
    found : UsedChange
    result : Counterfactual
        Whose change it is a part of.
    share : float
        Of the log-odds that was asked for.

    Returns
    -------
    tuple of str
    """
    sentences = [*_held_against(result), _whole(found, result.record.method)]
    if found.before_is_target:
        return (
            *sentences,
            f"The network predicts {found.target} before anything is changed, so that no part of "
            "the change can flip it: what it uses is not told by this image.",
        )
    if not found.mask.any():
        sentences.append(_nothing(found, share))
    else:
        sentences += [_used(found, share), _rest(found)]
    sentences += [line for use in found.by_channel if (line := _channel(found, use))]
    if found.mask.any():
        sentences.append(_caveat(found))
    return tuple(sentences)


def _held_against(result: Counterfactual) -> list[str]:
    said = verdict(result)
    if said.void:
        held = "; ".join(said.reservations[: said.voids])
        return [f"Not to be trusted: {held}. What follows tells nothing of the classes."]
    doubts = [
        remark.short
        for remark in collect_remarks(result)
        if remark.weight == "doubt" and remark.kind in (NOT_TOLD_APART, CONFOUNDED)
    ]
    return [f"To be doubted: {'; '.join(doubts)}."] if doubts else []


def _p(found: "UsedChange", name: str) -> str:
    return write_probability(found.probability(name))


def _whole(found: "UsedChange", method: str) -> str:
    shares = [f"{percent(part)} of it in {name}" for name, part in found.shares_of_change.items()]
    subject = (
        f"What differs between the classes, as {method} has it"
        if method in OF_CLASSES
        else f"The whole change by {method}, which is no estimate of what differs between the classes"
    )
    if not any(found.shares_of_change.values()):
        return f"{subject}: nothing changes."
    flips = "" if found.whole_flips else " and does not flip the network"
    return (
        f"{subject} ({', '.join(shares)}) takes p({found.target}) from {_p(found, 'before')} to "
        f"{_p(found, 'whole')}{flips}."
    )


def _used(found: "UsedChange", share: float) -> str:
    inside = [use for use in found.by_channel if use.share_used > 0]
    changed = [use for use in found.by_channel if use.state == "changed"]
    where = " and ".join(use.name for use in inside)
    if len(inside) == 1 and len(changed) > 1:
        where += " alone"
    verb = "flip the network" if found.flips else "do not flip the network"
    kept = (
        "" if share == 0 or found.kept is None else f", {_times(found.kept)} of the log-odds moved"
    )
    return (
        f"What this network uses of it: {where}; {percent(found.size)} of the pixels that change "
        f"{verb}: p({found.target}) is {_p(found, 'used')}{kept}."
    )


def _times(kept: float) -> str:
    # a part can do more than the whole, where the rest speaks against it
    return percent(kept) if kept <= 1 else f"{kept:.0%}".replace("%", " %")


def _rest(found: "UsedChange") -> str:
    p = f"p({found.target}) is {_p(found, 'rest')}"
    if found.size == 1:
        return "The part is the whole change; there is no rest to compare it with."
    if not found.flips:
        return f"With the rest of the change alone {p}."
    if found.rest_flips:
        return (
            f"Not needed for the flip: the rest of the change flips the network too ({p}). It would do with either, "
            "so that the part is enough but not all that it uses."
        )
    return f"Needed for the flip: the rest of the change alone does not flip the network ({p})."


def _nothing(found: "UsedChange", share: float) -> str:
    if not any(found.shares_of_change.values()):
        return "Nothing is changed, so that nothing is told of what this network uses."
    tried = "no part of the change that was tried does"
    wanted = " and flips" if share == 0 else ""
    return (
        f"The whole change does not flip the network, and {tried}{wanted}: what it uses is not in "
        "this change."
    )


def _channel(found: "UsedChange", use: ChannelUse) -> str:
    if use.state == "locked":
        return (
            f"{use.name} is locked: it cannot change, so whether the network uses it is not told."
        )
    if use.state == "put back":
        return (
            f"{use.name} was put back, since held-out images kept their class without its change; "
            "it was not tried in this image."
        )
    if use.state == "unchanged":
        return f"{use.name} is not changed, so whether the network uses it is not told."
    if use.alone is None or use.without is None or found.one_channel:
        return ""
    alone, without = write_probability(use.alone), write_probability(use.without)
    if use.plays_no_part:
        return (
            f"{use.name} plays no part that was seen: its change alone leaves p({found.target}) at "
            f"{alone}, and without it p({found.target}) is {without}."
        )
    return (
        f"{use.name}: its change alone takes p({found.target}) to {alone}; all but it to {without}."
    )


def _caveat(found: "UsedChange") -> str:
    if not found.complete:
        return (
            f"The search was stopped after {found.passes} images: smaller parts were not looked for to "
            "the end."
        )
    tried = "No region of it can be missed" if found.minimal else "Smaller parts may do"
    return (
        f"{tried} ({found.passes} images were classified). Another part may be enough as well, and "
        "nothing is told of what is not in this change."
    )
