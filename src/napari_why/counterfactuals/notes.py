"""What has to be said beside a counterfactual, in sentences."""

from collections.abc import Sequence

from napari_why.core.events import describe_partial
from napari_why.counterfactuals.alphas import LARGEST_ALPHA, SpecialAlphas
from napari_why.model.latent_statistics import LatentStatistics

# Fewer values than this outside the range of the file's dtype are no news: real fields have as many
# saturated or black pixels before anything is changed.
NOTEWORTHY_SHARE = 0.01
# Of a hundred training images of a class one lies as far off by definition.
FAR_SHARE = 0.99
# Two full displacements: twice as far as the classes lie apart.
FAR_ALPHA = 2.0
# Rounding alone moves a probability by less.
PROBABILITY_TOLERANCE = 0.01


def boundary_notes(
    found: SpecialAlphas, final: SpecialAlphas, valid: bool | None, target: str
) -> list[str]:
    """Return what there is to say about the boundary and about alpha1.

    Parameters
    ----------
    found, final : SpecialAlphas
        As found on the head, and as corrected on exported images.
    valid : bool or None
        The exported image at alpha1 is predicted as the target; None where there is no such
        image, since the method gives no alpha1 or the work was cancelled before.
    target : str
        Name of the target class.
    """
    if found.boundary is None:
        return [f"no image on this path up to alpha {LARGEST_ALPHA:g} is predicted as {target}"]
    if valid is False:
        return [f"the exported image at alpha1 is not predicted as {target}"]
    moved = [
        ("the boundary", found.boundary, final.boundary),
        ("the wanted probability", found.wanted, final.wanted),
    ]
    sentences = []
    if found.alpha1 is not None and found.alpha1 < found.boundary and final.alpha1 != found.alpha1:
        # the head is not convinced there either: the export is not to blame
        sentences.append(
            f"the complete change, alpha {found.alpha1:.3g}, is not predicted as {target}: "
            f"it was enlarged to alpha {final.alpha1:.3g}"
        )
    else:
        moved.insert(1, ("alpha1", found.alpha1, final.alpha1))
    return sentences + [
        f"rounding, clipping or channels put back moved {name} of the exported images "
        f"from alpha {before:.3g} to {after:.3g}"
        for name, before, after in moved
        if before is not None and after is not None and before != after
    ]


def wanted_notes(
    found: SpecialAlphas, final: SpecialAlphas, wanted: float, target: str
) -> list[str]:
    """Return a sentence when there is a boundary, but no image with the wanted probability."""
    if final.boundary is None or final.wanted is not None:
        return []
    if found.wanted is None:
        return [
            f"p({target}) reaches {wanted:g} nowhere on this path up to alpha {LARGEST_ALPHA:g}"
        ]
    return [
        f"no exported image up to alpha {LARGEST_ALPHA:g} reaches p({target}) = {wanted:g}: "
        "rounding, clipping or channels put back keep it below"
    ]


def conviction_notes(
    alpha1: float | None, reached: float, wanted: float | None, target: str
) -> list[str]:
    """Return sentences about an alpha1 that does not convince, or lies far out.

    Parameters
    ----------
    alpha1 : float or None
        Position of the convincing image.
    reached : float
        p(target) of that image, as exported.
    wanted : float or None
        What was asked for; None for a method whose alpha1 is published.
    target : str
        Name of the target class.
    """
    sentences = []
    if wanted is not None and reached < wanted - PROBABILITY_TOLERANCE:
        sentences.append(f"p({target}) is {reached:.2f} at alpha1; {wanted:g} was wanted")
    if alpha1 is not None and alpha1 > FAR_ALPHA:
        sentences.append(
            f"alpha1 is {alpha1:.3g} times the difference between the classes: "
            f"the image lies beyond the training images of {target}"
        )
    return sentences


def put_back_notes(channels: Sequence[str]) -> list[str]:
    """Return a sentence about channels that were put back to the source's.

    Without it their stillness would be taken for something that the network found.
    """
    if not channels:
        return []
    verb = "was" if len(channels) == 1 else "were"
    return [
        f"{' and '.join(channels)} {verb} put back to the source: "
        "held-out images kept their class without that change"
    ]


def range_notes(share: float, dtype: str) -> list[str]:
    """Return a sentence when many values of alpha1 lie outside the source's dtype."""
    if share < NOTEWORTHY_SHARE:
        return []
    return [f"{share:.0%} of the values at alpha1 lie outside the range of {dtype}"]


def chance_notes(chance: str | None) -> list[str]:
    """Return a sentence when the classifier is no better than chance."""
    return (
        [] if chance is None else [f"{chance}; this counterfactual says nothing about the classes"]
    )


def left_out_notes(left_out: Sequence[str]) -> list[str]:
    """Return a sentence on what the classifier's fit left out: no figure of it stands behind this."""
    return [f"the fit of this classifier left out {'; '.join(left_out)}"] if left_out else []


def partial_notes(complete: bool, made: int, wanted: int) -> list[str]:
    """Return a sentence when the series was cancelled: it ends before the convincing image."""
    return [] if complete else [describe_partial(made, wanted, "steps of the series")]


def second_network_notes(opinion: int | None, classes: tuple[str, ...], target: str) -> list[str]:
    """Return a sentence when the second network calls the unchanged image the target already."""
    if opinion is None or classes[opinion] != target:
        return []
    return [
        f"the second network calls the image {target} before anything is changed, "
        "so that its agreement says nothing"
    ]


def source_notes(predicted_target: bool, source: str, target: str) -> list[str]:
    """Return a sentence when the image is predicted as the target before anything is changed."""
    if not predicted_target:
        return []
    return [f"the classifier predicts this {source} image as {target} before anything is changed"]


def distance_notes(distance: float | None, target: str) -> list[str]:
    """Return a sentence when the image lies further from its class than the training images."""
    if distance is None or distance < FAR_SHARE:
        return []
    return [
        f"the image lies further from the class {target} than {distance:.0%} of its training images"
    ]


def statistics_notes(statistics: LatentStatistics) -> list[str]:
    """Return a sentence when the class statistics saw only some of the training images."""
    if statistics.complete:
        return []
    count = sum(statistics.true_counts)
    return [f"the class statistics were cancelled after {count} images"]
