"""What a network uses of a change: the smallest part, by region and channel, that still flips it.

A counterfactual by ``transport`` shows *what differs between the classes*. Which part of that moved
the network is another question, and answered here by pasting parts of the change into the source,
as QuAC does (Adjavon et al. 2024, doi:10.1101/2024.11.26.625505; Eckstein et al. 2021,
arXiv:2109.13412).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual, changed_image
from napari_why.counterfactuals.change import measured_change, unchanged_image
from napari_why.counterfactuals.through import judge_of_field
from napari_why.images import make_image
from napari_why.measurement.change_units import (
    Answer,
    ChangeUnits,
    Step,
    StopSearchError,
    UnitSearch,
    answer_of,
    mix_images,
    split_change,
)
from napari_why.measurement.used_words import (
    ChannelUse,
    describe_channels,
    describe_use,
)
from napari_why.model.whole_field import for_whole_field

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.images import Grid
    from napari_why.model import Classifier

# Names of the images that were classified.
BEFORE, WHOLE, USED, REST = "before", "whole", "used", "rest"


@dataclass(frozen=True, kw_only=True)
class UsedChangeOptions(Options):
    """What is asked of the part, and how finely the change is cut.

    Parameters
    ----------
    share, tiles, blur, passes
        See the annotations; checked when the options are made.
    """

    # nine tenths: what is missing then is small beside what is there; all of it would keep every
    # unit that matters in the last digit
    share: Annotated[
        float,
        Help(
            "how much of what the whole change adds to the target's log-odds the part must add, "
            "beside flipping; 0: the flip alone"
        ),
        Range(0.0, 1.0),
    ] = 0.9
    # six: of a crop of 64 pixels a tile is a nucleus; more tiles cost as many more images
    tiles: Annotated[
        int, Help("along either axis, into which the change of each channel is cut"), Range(1, 32)
    ] = 6
    blur: Annotated[
        float,
        Help("width of the Gaussian that softens the borders of parts"),
        Range(0, 50),
        Unit("px"),
    ] = 0.0
    # two or three times what two channels and six tiles take; bounds what a whole field costs
    passes: Annotated[
        int, Help("largest number of images that the network classifies"), Range(8, 100_000)
    ] = 1500


@dataclass(frozen=True)
class UsedChange:
    """What :func:`find_used_change` found.

    Parameters
    ----------
    mask : ndarray, float32, shape (C, H, W)
        The part: weight 0 to 1 of each pixel's change; 0 where nothing changes. All 0 where no part
        does what is asked.
    before, after : ndarray, shape (C, H, W)
        The exported images without and with the whole change, raw units.
    image, rest : ndarray, shape (C, H, W)
        With the part alone, and with all but the part; exported, same dtype.
    channels, classes : tuple of str
        Names along C, and of the entries of probabilities.
    source_class, target : str
        Of the counterfactual.
    probabilities : dict of str to ndarray, float32, shape (classes,)
        Of exactly the exported images ``before``, ``whole``, ``used`` and ``rest``.
    log_odds : dict of str to float
        log(p / (1 - p)) of the target, of the same images.
    by_channel : tuple of ChannelUse
        One for each channel.
    curve : tuple of Step
        The subsets that were tried in a row, the last one the part.
    flips : bool
        The image with the part alone is predicted as the target, and the source is not.
    rest_flips : bool
        So is the image with all but the part.
    minimal : bool
        No unit of the part can be left out: each was tried.
    passes : int
        How many images were classified.
    complete : bool
        False where it was cancelled or ``passes`` did not suffice; the part is then too large.
    sentences : tuple of str
        What it all says.
    grid : Grid
    record : Record
    """

    mask: NDArray[np.float32]
    before: NDArray[Any]
    after: NDArray[Any]
    image: NDArray[Any]
    rest: NDArray[Any]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    source_class: str
    target: str
    probabilities: Mapping[str, NDArray[np.float32]]
    log_odds: Mapping[str, float]
    by_channel: tuple[ChannelUse, ...]
    curve: tuple[Step, ...]
    flips: bool
    rest_flips: bool
    minimal: bool
    passes: int
    complete: bool
    sentences: tuple[str, ...]
    grid: "Grid"
    record: Record

    @property
    def change(self) -> NDArray[np.float32]:
        """The part of the change that is used, grey levels, shape (C, H, W)."""
        return np.asarray(self.image.astype(np.float64) - self.before, dtype=np.float32)

    @property
    def size(self) -> float:
        """Share (0 to 1) of the pixels that change which belong to the part, in each channel."""
        changing = self.after != self.before
        return float(self.mask[changing].mean()) if changing.any() else 0.0

    @property
    def shares_of_change(self) -> dict[str, float]:
        """Of each channel, its share (0 to 1) of the whole absolute change, in grey levels."""
        amounts = np.abs(self.after.astype(np.float64) - self.before).sum(axis=(1, 2))
        shares = amounts / (amounts.sum() or 1.0)
        return dict(zip(self.channels, shares.tolist(), strict=True))

    @property
    def one_channel(self) -> bool:
        """Whether a single channel changes."""
        return sum(use.state == "changed" for use in self.by_channel) == 1

    @property
    def kept(self) -> float | None:
        """What the part adds to the log-odds of the target over what the whole change adds.

        None where the whole change adds nothing.
        """
        moved = self.log_odds[WHOLE] - self.log_odds[BEFORE]
        return (self.log_odds[USED] - self.log_odds[BEFORE]) / moved if moved > 0 else None

    @property
    def before_is_target(self) -> bool:
        """Whether the network predicts the target before anything is changed."""
        return self.classes[int(self.probabilities[BEFORE].argmax())] == self.target

    @property
    def whole_flips(self) -> bool:
        """Whether the image with the whole change is predicted as the target."""
        return self.classes[int(self.probabilities[WHOLE].argmax())] == self.target

    def probability(self, name: str) -> float:
        """Return p(target) of ``before``, ``whole``, ``used`` or ``rest``."""
        return float(self.probabilities[name][self.classes.index(self.target)])

    @property
    def best_trade_off(self) -> Step | None:
        """The subset tried with the least size minus probability, the optimum that QuAC takes."""
        return min(self.curve, key=lambda step: step.size - step.probability, default=None)

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences, to be read beside the pictures."""
        return self.sentences

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return {"target": self.target, "used": list(self.sentences)}

    def pictures(self) -> dict[str, Picture]:
        """Return the used part of the change and, hidden, the images with it and without it."""
        grey: dict[str, Any] = {
            "channels": self.channels,
            "kind": "intensity",
            "unit": "grey levels",
            "visible": False,
        }
        return {
            "image": Picture(
                compute=lambda: self.image,
                titles=tuple(f"{name}: used change alone" for name in self.channels),
                role="used image",
                **grey,
            ),
            "rest": Picture(
                compute=lambda: self.rest,
                titles=tuple(f"{name}: all but the used change" for name in self.channels),
                role="rest image",
                **grey,
            ),
            "change": Picture(
                compute=lambda: self.change,
                channels=self.channels,
                titles=tuple(f"{name}: used change" for name in self.channels),
                role="used change",
                kind="signed",
                unit="grey levels",
                over_raw=True,
                in_file=False,  # a file of whole grey levels has no place for negative ones
            ),
        }


class Asker:
    """Classifies the source with parts of the change, each once, and counts.

    Parameters
    ----------
    classifier : Classifier
    before, after : ndarray, shape (C, H, W)
        Exported.
    units : ChangeUnits
    target : int
    options : UsedChangeOptions
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    channels : sequence of str
        Names along C, of which the classifier takes its own.
    """

    def __init__(
        self,
        classifier: "Classifier",
        before: NDArray[Any],
        after: NDArray[Any],
        units: ChangeUnits,
        target: int,
        options: UsedChangeOptions,
        on_event: OnEvent,
        cancelled: Cancelled,
        channels: Sequence[str],
    ) -> None:
        self._channels = channels
        self._classifier, self._units, self._target = classifier, units, target
        self._before, self._after, self._options = before, after, options
        self._on_event, self._cancelled = on_event, cancelled
        self._known: dict[frozenset[int], Answer] = {}
        self.stopped = False

    @property
    def passes(self) -> int:
        """Images classified so far."""
        return len(self._known)

    def image(self, chosen: frozenset[int]) -> NDArray[Any]:
        """Return the exported image with some units of the change."""
        return mix_images(self._before, self._after, self._units.mask(chosen, self._options.blur))

    def ask(self, chosen: frozenset[int], *, at_any_cost: bool = False) -> Answer:
        """Classify the image with some units of the change.

        Parameters
        ----------
        chosen : frozenset of int
            Units of the change; the empty set is the source.
        at_any_cost : bool
            Also when cancelled, or when no pass is left.

        Returns
        -------
        Answer

        Raises
        ------
        StopSearchError
            It is no longer allowed, and not to be had ``at_any_cost``.
        """
        if chosen not in self._known:
            # the two ends are always there: without them there is nothing to say; and one pass is
            # kept back for the rest of the change, which the sentences speak of
            spent = self._cancelled() or self.passes >= self._options.passes - 1
            if self.passes >= 2 and spent and not at_any_cost:
                self.stopped = True
                raise StopSearchError
            self._known[chosen] = self._classify(self.image(chosen))
            self._on_event(Advanced(self.passes))
        return self._known[chosen]

    def _classify(self, image: NDArray[Any]) -> Answer:
        # one by one, as a file with these pixels would be: a batch has other last digits
        named = make_image(image, ("c", "y", "x"), self._channels)
        logits = self._classifier.logits(self._classifier.prepare(named))[0].cpu().numpy()
        if not np.isfinite(logits).all():
            raise MismatchError(
                f"the network's logits: found {logits.tolist()}; expected finite numbers"
            )
        return answer_of(logits, self._target)


@torch.no_grad()
def find_used_change(
    classifier: "Classifier",
    result: Counterfactual,
    image: "DataArray | None" = None,
    options: UsedChangeOptions | None = None,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **changes: Any,
) -> UsedChange:
    """Find the smallest part of a change, by region and channel, that still flips the network.

    The change is cut into units (:func:`~napari_why.measurement.change_units.split_change`).
    First whole channels are tried, each alone and all but each; then units are ranked by what they
    add alone and what is missed without them, the shortest beginning of that order that is enough is
    taken, and units are left out of it until none can be missed. Every subset is exported as a file
    would be and classified as such. The part suffices and none of its units can be missed; it need not
    be the smallest of all such parts.

    Parameters
    ----------
    classifier : Classifier
        The one whose counterfactual it is.
    result : Counterfactual
        The convincing image is the whole change, against the image at alpha 0 as exported.
    image : DataArray, dims (c, y, x), optional
        The image that ``result`` is about; needed for whole fields.
    options : UsedChangeOptions, optional
    on_event, cancelled
        See :mod:`napari_why.core.events`. A step is an image that is classified. Cancelled, the part
        as far as it was narrowed down is returned.
    **changes
        Single options by name: ``share``, ``tiles``, ``blur``, ``passes``.

    Returns
    -------
    UsedChange

    Raises
    ------
    MismatchError
        The counterfactual is another classifier's.
    ParameterError
        An unknown option or a value out of range; a whole field without its image.

    Examples
    --------
    >>> used = why.find_used_change(classifier, result)  # doctest: +SKIP
    >>> used.sentences[1]  # doctest: +SKIP
    'This network uses TMRM alone of it: 31 % of the pixels that change take p(treated) to 0.97.'
    """
    chosen = UsedChangeOptions.of(options, changes)
    classifier = _judge_of(classifier, result, image)
    target = result.classes.index(result.target)
    after = changed_image(result)
    before = unchanged_image(result)
    # 0 where rounding and the error of the inverse are all there is
    change = measured_change(result)
    by_another = result.circumstances.through is not None
    held = result.circumstances.locked if by_another else classifier.locked_channels
    locked = [result.channels.index(name) for name in held]
    put_back = [result.channels.index(name) for name in result.circumstances.put_back]
    # what stands there is not the network's doing: the inverse's error, or a method's slip
    change[locked + put_back] = 0
    units = split_change(change, chosen.tiles)
    after = np.where(change != 0, after, before)
    asker = Asker(
        classifier, before, after, units, target, chosen, on_event, cancelled, result.channels
    )
    on_event(Started("looking for the part that is used"))
    search = UnitSearch(units, asker.ask, chosen.share, target)
    if units.count and not search.before.flips:
        search.run()
    rest = asker.ask(units.whole - search.found, at_any_cost=True)
    used = asker.ask(search.found)
    on_event(Finished(partial=asker.stopped))
    answers = {BEFORE: search.before, WHOLE: search.whole, USED: used, REST: rest}
    found = UsedChange(
        mask=np.where(change != 0, units.mask(search.found, chosen.blur), 0).astype(np.float32),
        before=before,
        after=after,
        image=asker.image(search.found),
        rest=asker.image(units.whole - search.found),
        channels=result.channels,
        classes=result.classes,
        source_class=result.source_class,
        target=result.target,
        probabilities={name: answer.probabilities for name, answer in answers.items()},
        log_odds={name: answer.log_odds for name, answer in answers.items()},
        by_channel=describe_channels(result, units, search, locked, np.abs(change)),
        curve=tuple(search.curve),
        flips=used.flips and not search.before.flips,
        rest_flips=rest.flips and not search.before.flips,
        minimal=search.minimal,
        passes=asker.passes,
        complete=not asker.stopped,
        sentences=(),
        grid=result.grid,
        record=Record(kind="used change", method=result.record.method),
    )
    found = replace(found, sentences=describe_use(found, result, chosen.share))
    return replace(found, record=_record_of(found, result, chosen))


def _judge_of(
    classifier: "Classifier", result: Counterfactual, image: "DataArray | None"
) -> "Classifier":
    """Return the classifier as it judged the images of a result."""
    if result.record.parameters.get("whole_field"):
        if image is None:
            raise ParameterError(
                "image: found none; expected the field, since the counterfactual is of a whole field"
            )
        by_another = result.circumstances.through is not None
        as_judge = judge_of_field if by_another else for_whole_field
        classifier = as_judge(classifier, image)
    made_by = result.record.classifier
    if made_by and not classifier.is_called(made_by):
        raise MismatchError(
            f"classifier: found {classifier.fingerprint[:12]}...; expected {made_by[:12]}..., the "
            "one that the counterfactual was made with"
        )
    return classifier


def _record_of(found: UsedChange, result: Counterfactual, options: UsedChangeOptions) -> Record:
    details = {
        # whole, so that the part alone tells how its counterfactual was made
        "counterfactual": result.record.to_dict(),
        "target": found.target,
        "classes": list(found.classes),
        "channels": list(found.channels),
        "probabilities": {
            name: values.astype(float).tolist() for name, values in found.probabilities.items()
        },
        "log_odds": dict(found.log_odds),
        "by_channel": [asdict(use) for use in found.by_channel],
        "curve": [
            {"size": step.size, "probability": step.probability, "flips": step.flips}
            for step in found.curve
        ],
        "size": found.size,
        "flips": found.flips,
        "rest_flips": found.rest_flips,
        "minimal": found.minimal,
        "passes": found.passes,
        "complete": found.complete,
        "notes": list(found.sentences),
    }
    return Record(
        kind="used change",
        method=result.record.method,
        parameters=options.to_dict(),
        classifier=result.record.classifier,
        source=result.record.source,
        details=details,
    )
