"""Conditional transport of one class's shallow latents onto another's."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from torch import Tensor

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.options import DETAILS, Help, Label, Range, ShownWith
from napari_why.core.randomness import LARGEST_SEED
from napari_why.counterfactuals.method import (
    Complete,
    LatentPath,
    Versions,
    counterfactual_method,
    say_left_out,
)
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import InvertibleNetwork
from napari_why.transport.back_translation import RestoringNetwork
from napari_why.transport.maps import (
    BY_DRAWS_FOR,
    LEFT_AT_MOST,
    LEFT_BY_WAY_BACK,
    NEARER,
    ONLY_SOME_CELLS,
    PART_RESPONDED,
    SHOWN_BY_CELLS,
    ChangeKind,
    Choice,
    Mass,
    PixelKind,
)
from napari_why.transport.parametric_map import MOST_MISFIT, ParametricMap
from napari_why.transport.pixel_maps import GreyLevelCurve, PixelMap
from napari_why.transport.responding_cells import CellSamples, RespondingCells

if TYPE_CHECKING:
    from napari_why.model import Classifier


def lacks_transport(classifier: "Classifier") -> str | None:
    """Say that a classifier has no transport between its classes, None where it has."""
    statistics = classifier.latent_statistics
    if statistics is not None and statistics.transport is not None:
        return None
    return (
        f"this classifier has no fitted transport{say_left_out(classifier)}; the page Train can fit it "
        "now, from the images it was trained on"
    )


@counterfactual_method(
    title="Class-to-class transport",
    source="conditional optimal transport: Dowson & Landau 1982; sliced: Pitié et al. 2007",
    missing=lacks_transport,
)
def transport(
    network: InvertibleNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    responders: Annotated[
        Literal["auto", "all", "some"],
        Help(
            "which cells respond: change every place (all), or only places that the target class "
            "cannot explain (some); auto: what did better on held-out images"
        ),
        DETAILS,
    ] = "auto",
    change: Annotated[
        Literal["auto", ChangeKind],
        Help("what makes the change; auto: what came nearest to real images of the target"),
    ] = "auto",
    overshoot: Annotated[
        float,
        Help("multiple of the complete change; above 1 it is larger than the classes differ"),
        Range(0.0, 3.0),
        Label("strength at the end"),
        DETAILS,
    ] = 1.0,
    seed: Annotated[
        int,
        Help("number that the draws of responding cells start from"),
        Range(0, LARGEST_SEED),
        Label("seed of the draws"),
        ShownWith("change", ("auto", "responding_cells")),
        DETAILS,
    ] = 0,
) -> LatentPath:
    """Change every place of the image as that place would look in the other class.

    The latent after the first stage is moved, position by position, given what the locked
    channels show around it: ``z + alpha w (T(z, c) - z)``. T is the transport between the two
    classes (:mod:`napari_why.transport`). Where only some cells respond, w is the excess
    mass, the share of places like this that the target class does not explain; else w = 1.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices.
    responders : str
        Of a change in the latent: ``auto`` takes what did better on held-out images, ``all`` changes
        every place, ``some`` only the excess mass.
    change : str
        ``latent`` moves latents as above. The others change pixels, and the latent of the changed
        image is where the path leads: ``curve`` by one curve of grey levels per channel,
        ``parametric`` by few numbers (:mod:`napari_why.transport.parametric_map`), ``coarse_to_fine``
        scale by scale, ``back_translated`` by a network that learnt to undo the way back.
        ``responding_cells`` draws which cells respond, and changes these alone: the path leads to the first
        of several draws (:class:`~napari_why.counterfactuals.spread.Samples`). ``auto`` takes what
        came nearest to real images of the target among held-out images, a plain one where it
        comes as near (see :mod:`napari_why.fitting.change_judge`), and never draws.
    overshoot : float
        Multiple of the complete change at which alpha1 is put, for who wants to see more, or less,
        than the classes differ. 0, as in older records, is 1. An overshoot that an older version
        saved with the classifier, chosen to look like the target, is not applied; a note names it.
    seed : int
        Of draws; the same seed draws the same for the same image.

    Returns
    -------
    LatentPath
        Complete at alpha = 1; the boundary is found on the head.

    Raises
    ------
    UnsupportedNetworkError
        The classifier has no transport, or no maps of pixels.
    ParameterError
        A class without training images, a change that this classifier has no map for, or a multiple of
        drawn responses.
    """
    fitted = statistics.transport
    if fitted is None:
        raise UnsupportedNetworkError(
            "transport: found a classifier without fitted transport (of a cancelled fit, or with more "
            "than 32 channels after the first stage); fit it now (napari_why.fitting.finish_fit), "
            "train it again, or take the method gaussian_transport"
        )
    choice = fitted.choice(source, target)
    kind = choice.kind if change == "auto" else change
    if change == "auto" and responders != "auto":
        kind = "latent"  # which alone asks where a change takes place
    mass = {"auto": choice.mass, "all": "full", "some": "excess"}[responders]
    start = network.encode_to(image, fitted.stage)
    samples: CellSamples | None = None
    if kind == "latent":
        displacement = fitted.displacement(
            start, source, target, "excess" if mass == "excess" else "full"
        )
        names = statistics.classes[source], statistics.classes[target]
        notes = _notes(*names, mass, choice if (change, responders) == ("auto", "auto") else None)
    else:
        found = _map_of_pixels(statistics, source, target, kind)
        if isinstance(found, RespondingCells):
            if overshoot not in (0.0, 1.0):
                raise ParameterError(
                    f"overshoot: found {overshoot:g} with change=responding_cells, whose cells respond or do "
                    "not; expected 1"
                )
            samples = found.sample(image, seed)
        moved = found(image) if samples is None else samples.draw(0)
        displacement = network.encode_to(moved, fitted.stage) - start
        names = statistics.classes[source], statistics.classes[target]
        notes = _notes_of_map(*names, found, choice if change == "auto" else None)
        if samples is not None:
            notes = (*notes, *_notes_of_draws(names[1], choice))
    # what is put back, and what is left, was measured on the change that was chosen, and on no other
    as_chosen = kind == choice.kind and (mass == choice.mass or kind != "latent")
    versions: Versions | None = None
    # of a multiple they would be versions of something else
    if samples is None and overshoot in (0.0, 1.0):
        made_of: Mass = "excess" if mass == "excess" else "full"
        make = partial(_versions, network, statistics, (source, target), kind, made_of, image)
        versions = _calibrated(make, kind, choice if as_chosen else None)
    return LatentPath(
        fitted.stage,
        start,
        displacement,
        rule=Complete(asked=overshoot or 1.0),
        put_back=choice.reset_channels if as_chosen else (),
        notes=(*notes, *_notes_of_saved(choice.overshoot, overshoot or 1.0)),
        second_had_a_say=choice.second_had_a_say if as_chosen else False,
        versions=versions,
        samples=samples,
        partly=_share_of_cells(statistics, source, target, choice, drawn=samples is not None),
    )


def _share_of_cells(
    statistics: LatentStatistics, source: int, target: int, choice: Choice, *, drawn: bool
) -> tuple[float, float] | None:
    """Return which share of the cells responds, and its error, where only some are shown to."""
    maps = statistics.pixel_maps
    if maps is None or "responding_cells" not in maps.kinds(source, target):
        return None
    found = maps.find(source, target, "responding_cells")
    # who asks for draws is told of what they are made, shown or not
    if not isinstance(found, RespondingCells) or not (drawn or _only_some_cells(choice)):
        return None
    return found.share, found.error


def _only_some_cells(choice: Choice) -> bool | None:
    """Tell whether the cells of draws are surely more like real ones than those of any one change.

    None where nothing was held out to measure that by, or measuring was cancelled or failed.
    """
    told: bool | None = (choice.scores or {}).get(ONLY_SOME_CELLS)
    return told


def _notes_of_draws(target: str, choice: Choice) -> tuple[str, ...]:
    """Say of draws where it was not shown that there is more than one answer, or not even measured."""
    shown = _only_some_cells(choice)
    if shown:
        return ()
    if shown is None:
        return (
            f"it was not measured whether only some cells of {target} respond: with no held-out images, or "
            "too few, draws were not compared with any one change",
        )
    return (
        f"held-out images do not show that only some cells of {target} respond: the cells of draws "
        "are not surely more like real ones than those of any one change",
    )


def _map_of_pixels(statistics: LatentStatistics, source: int, target: int, kind: str) -> PixelMap:
    maps, known = statistics.pixel_maps, _pixel_kind(kind)
    if maps is None or known is None:
        raise UnsupportedNetworkError(
            f"transport: found a classifier without maps of pixels (of an earlier version, or of a "
            f"cancelled fit), which a change by {kind} needs; train it again, or leave change at auto"
        )
    return maps.find(source, target, known)


# So much wider, limits held the truth in about 90 % of the changed pixels, in the mean over both directions of
# changes known by planting or simulation, scenes="validation": dimming, redistribution around nuclei, blur and
# swelling in real fields for changes in few numbers; dimming, swelling and translocation for maps from coarse to
# fine; dimming for curves; depolarisation, translocation and partial response for latents; all but redistribution
# and partial response for networks. Unwidened it was about 70, 78, 82, 68 and 71 %.
WIDENING: Mapping[str, float] = {
    "parametric": 1.7,
    "curve": 1.4,
    "coarse_to_fine": 1.7,
    "latent": 2.5,
    "back_translated": 1.8,
}


# All of what a change leaves, which stands for what no version shows. Of classes that hardly differ it is a ratio of
# two small numbers, which draws take beyond any bound, and limits that hold no change at all, and one twice as large,
# say already that nothing is known.
MOST_LEFT = 1.0


def _calibrated(
    make: Callable[[int], Iterator[Tensor]], kind: str, choice: Choice | None
) -> Versions:
    """Return versions with how far the truth may be from them.

    By the usual error of its kind and by what the change leaves of the difference between the classes, as measured
    when it was chosen; by the first alone where that is not known (another change than the chosen one, an older
    classifier). What is left is next to nothing where features see no difference, and then tells of no pixel.
    """
    left: float | None = None if choice is None else (choice.scores or {}).get(LEFT_AT_MOST)
    return Versions(make, WIDENING[kind], 0.0 if left is None else min(left, MOST_LEFT))


def _pixel_kind(kind: str) -> PixelKind | None:
    return next((known for known in get_args(PixelKind) if known == kind), None)


def _versions(
    network: InvertibleNetwork,
    statistics: LatentStatistics,
    direction: tuple[int, int],
    kind: str,
    mass: Mass,
    image: Tensor,
    count: int,
) -> Iterator[Tensor]:
    """Yield at most so many versions of the changed image (1, C, H, W); none where none are known."""
    maps, known, fitted = statistics.pixel_maps, _pixel_kind(kind), statistics.transport
    if kind == "latent" and fitted is not None:
        start = network.encode_to(image, fitted.stage)
        for displacement in fitted.versions(start, *direction, mass, count):
            yield LatentPath(fitted.stage, start, displacement).complete_image(network)
    elif maps is not None and known is not None:
        found = maps.find(*direction, known)
        if not isinstance(found, RestoringNetwork):
            for version in maps.draws(*direction, known, count):
                yield version(image)
        elif found.undoes is not None:
            # what is known of the way back is what is known of it
            moved_back = _versions(
                network, statistics, direction[::-1], *found.undoes, found(image), count
            )
            yield from found.versions(image, moved_back)


def _notes_of_map(
    source: str, target: str, found: PixelMap, choice: Choice | None
) -> tuple[str, ...]:
    """Say what kind of change it is, and what was shown of it where it was chosen (else None)."""
    if isinstance(found, ParametricMap) and not any(change.terms for change in found.changes):
        if found.misfit > MOST_MISFIT:  # not by chance, and by nothing that few numbers can tell
            return (
                "nothing is changed: no change in few numbers was found that makes images of "
                f"{source} more like those of {target}",
            )
        return (
            f"nothing is changed: the training images do not show what differs between {source} and "
            f"{target} by more than images of a class differ among themselves",
        )
    doubt = (
        *_notes_of_fit(source, target, found),
        *_notes_of_way_back(source, target, found, choice),
        *_notes_of_choice(source, target, choice),
    )
    if doubt or choice is None or not isinstance(found, GreyLevelCurve):
        return doubt
    if not _is_shown(choice):  # not known is no reason to claim anything
        return ()
    return (
        f"brightness alone tells {source} and {target} apart, as far as held-out "
        "images show: no other change came nearer to real images than one curve of grey levels per "
        "channel, which this is",
    )


def _notes_of_fit(source: str, target: str, found: PixelMap) -> tuple[str, ...]:
    """Say where a change in few numbers cannot be all that happened."""
    if not isinstance(found, ParametricMap) or found.describes_the_difference:
        return ()
    return (
        f"few numbers do not describe all that differs between {source} and {target}: fitted, they leave "
        f"{found.misfit:.1f} times what chance would",
    )


def _notes(source: str, target: str, mass: str, choice: Choice | None) -> tuple[str, ...]:
    doubt = _notes_of_choice(source, target, choice)
    if mass == "full":
        return doubt
    return (
        *doubt,
        f"only places that {target} images do not explain were changed: "
        f"not all of a {source} image responds",
    )


def _is_shown(choice: Choice) -> bool | None:
    """Tell whether held-out images came surely nearer to real ones; None where that is not known."""
    told: bool | None = (choice.scores or {}).get(NEARER)
    return told


def _notes_of_choice(source: str, target: str, choice: Choice | None) -> tuple[str, ...]:
    if choice is None or _is_shown(choice) is not False:
        return ()
    return (
        f"held-out images do not show that this change brings {source} images nearer to real "
        f"{target} ones than leaving them as they are",
    )


def _note_of_draws_undone(source: str, target: str, why: str) -> str:
    """Say what speaks for a change that was learnt by undoing draws of responding cells."""
    part = f"only a part of the {source} cells seems to differ from {target} ones: "
    shown = {
        PART_RESPONDED: f"{part}from {target} to {source} drawn cells come nearer to real ones than any one change",
        SHOWN_BY_CELLS: f"{part}held-out cells are more like real ones after this change than after any other that "
        "was tried and changes all cells",
    }
    told = shown.get(why, "held-out images came nearest to real ones by this change")
    return f"{told}; it was learnt by undoing draws of responding cells, and how sure it is, is not known"


def _notes_of_way_back(
    source: str, target: str, found: PixelMap, choice: Choice | None
) -> tuple[str, ...]:
    """Say why a change is one that was learnt by undoing another, where that was the reason."""
    if choice is None or not isinstance(found, RestoringNetwork):
        return ()
    scores = choice.scores or {}
    # earlier versions knew one reason, and noted that it was one
    why = scores.get(BY_DRAWS_FOR) or (PART_RESPONDED if scores.get(PART_RESPONDED) else None)
    if why is not None:
        return (_note_of_draws_undone(source, target, why),)
    left = scores.get(LEFT_BY_WAY_BACK)
    if left is None:
        return ()
    return (
        f"this change was learnt by undoing the one from {target} to {source}, which on held-out images "
        f"leaves {min(left, 1):.0%} of the squared distance between the classes",
    )


def _notes_of_saved(saved: float, asked: float) -> tuple[str, ...]:
    """Say what an older version would have done with its saved overshoot."""
    if saved in (1.0, asked):
        return ()
    return (
        f"an older version saved an overshoot of {saved:g} with this classifier, which is not applied: "
        f"a change is as large as the classes differ; overshoot={saved:g} gives what it gave",
    )
