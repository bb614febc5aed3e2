"""Localisation: does the map lie where the class is known to change the image.

These need the truth, which is known of simulated and planted effects alone. A map may be signed:
what a metric takes of it (evidence for the class, or its magnitude) is said in each, and its chance
value is what the same values would get at random places.
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.stats import hypergeom
from skimage.filters import threshold_otsu

from napari_why.core.options import Help, Range, Unit
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    explanation_metric,
    needed,
    to_array,
)

Mask = NDArray[np.bool_]
Part = Literal["positive", "absolute"]
PART_HELP = Help("what of a signed map counts: evidence for the class, or evidence of either sign")
EMPTY_MAP = "the map has no evidence of this kind anywhere, so that none lies in the region"


def part_of_map(values: NDArray[np.float64], part: Part) -> NDArray[np.float64]:
    """Return the positive part of a signed map, or its magnitude; never negative.

    Parameters
    ----------
    values : ndarray, float64
        A signed map of any shape.
    part : {"positive", "absolute"}
        Evidence for the class, or of either sign.

    Returns
    -------
    ndarray, float64
        Of the same shape.
    """
    return np.abs(values) if part == "absolute" else np.maximum(values, 0)


def changed_pixels(case: ExplanationCase) -> Mask:
    """Return the pixels (H, W) that the class changes in any channel."""
    mask: Mask = (to_array(needed(case.truth, "truth")) != 0).any(axis=0)
    return mask


def _undefined(mask: Mask) -> MetricValue | None:
    """Return the value that there is where a region is empty or everything; None where it is neither."""
    if mask.any() and not mask.all():
        return None
    found = "everything" if mask.any() else "nothing"
    return MetricValue(np.nan, note=f"the class changes {found}: no place tells maps apart")


@explanation_metric(
    title="Relevance mass",
    better="higher",
    low=0,
    high=1,
    needs=("truth",),
    source="Arras, Osman & Samek 2022, arXiv:2003.07258",
)
def relevance_mass(
    case: ExplanationCase,
    *,
    part: Annotated[Part, PART_HELP] = "positive",
    **_context: Any,
) -> MetricValue:
    """Share of the joint map's evidence that lies on the pixels that the class changes.

    Of a signed map the plain ratio of sums leaves [0, 1], so that the positive part (or the
    magnitude) is taken. Chance: the share of the pixels that change.

    Parameters
    ----------
    case : ExplanationCase
        With the truth.
    part : {"positive", "absolute"}
        What of a signed map counts.

    Returns
    -------
    MetricValue
        NaN where the class changes nothing or every pixel.
    """
    return _mass(part_of_map(case.joint, part), changed_pixels(case))


@explanation_metric(
    title="Relevance mass by channel",
    better="higher",
    low=0,
    high=1,
    needs=("truth",),
    source="Arras, Osman & Samek 2022, arXiv:2003.07258; on pixel and channel",
)
def relevance_mass_by_channel(
    case: ExplanationCase,
    *,
    part: Annotated[Part, PART_HELP] = "positive",
    **_context: Any,
) -> MetricValue:
    """Share of the evidence that lies on the right pixels of the right channels.

    Parameters
    ----------
    case, part
        As of :func:`relevance_mass`.

    Returns
    -------
    MetricValue
        Chance: the share of pixels of channels that change.
    """
    mask: Mask = to_array(needed(case.truth, "truth")) != 0
    return _mass(part_of_map(case.maps, part), mask)


def _mass(values: NDArray[np.float64], mask: Mask) -> MetricValue:
    undefined = _undefined(mask)
    if undefined:
        return undefined
    total = values.sum()
    if total == 0:
        return MetricValue(0.0, float(mask.mean()), EMPTY_MAP)
    return MetricValue(float(values[mask].sum() / total), float(mask.mean()))


@explanation_metric(
    title="Relevance rank",
    better="higher",
    low=0,
    high=1,
    needs=("truth",),
    source="Arras, Osman & Samek 2022, arXiv:2003.07258",
)
def relevance_rank(
    case: ExplanationCase, *, part: Annotated[Part, PART_HELP] = "positive", **_context: Any
) -> MetricValue:
    """Share of the K pixels with most evidence that the class changes, where it changes K pixels.

    Pixels of equal evidence (those without any) count with the share that random ties would give.

    Parameters
    ----------
    case, part
        As of :func:`relevance_mass`.

    Returns
    -------
    MetricValue
        NaN where the class changes nothing or every pixel.
    """
    mask = changed_pixels(case)
    undefined = _undefined(mask)
    if undefined:
        return undefined
    values, count = part_of_map(case.joint, part), int(mask.sum())
    border = np.partition(values.ravel(), -count)[-count]
    above, tied = values > border, values == border
    places = count - above.sum()  # that are left for those of equal evidence
    hits = (above & mask).sum() + places * (tied & mask).sum() / tied.sum()
    note = "" if values.any() else EMPTY_MAP
    return MetricValue(float(hits / count), float(mask.mean()), note)


@explanation_metric(
    title="Pointing game",
    better="higher",
    low=0,
    high=1,
    needs=("truth",),
    source="Zhang, Bargal, Lin, Brandt, Shen & Sclaroff 2018, arXiv:1608.00507",
)
def pointing_game(
    case: ExplanationCase,
    *,
    tolerance: Annotated[
        int, Help("how far beside the region still counts as a hit"), Range(0, 1024), Unit("px")
    ] = 0,  # 15 px in the paper, of photographs; cells are smaller
    **_context: Any,
) -> MetricValue:
    """Whether the pixel with most evidence for the class is one that the class changes.

    1 or 0, and between where several pixels share the maximum. Over images its mean counts.

    Parameters
    ----------
    case : ExplanationCase
        With the truth.
    tolerance : int
        How many rows and columns beside the region still count as a hit, pixels.

    Returns
    -------
    MetricValue
        NaN where the class, with the tolerance, changes nothing or every pixel.
    """
    # a square: the neighbourhood that a tolerance in rows and columns has
    mask: Mask = maximum_filter(changed_pixels(case), size=2 * tolerance + 1)
    undefined = _undefined(mask)
    if undefined:
        return undefined
    tops = case.joint == case.joint.max()
    note = EMPTY_MAP if case.joint.max() <= 0 else ""
    return MetricValue(float(mask[tops].mean()), float(mask.mean()), note)


@explanation_metric(
    title="Intersection over union",
    better="higher",
    low=0,
    high=1,
    needs=("truth",),
    source="Jaccard 1912, of the map above Otsu's threshold (Otsu 1979)",
)
def intersection_over_union(
    case: ExplanationCase, *, part: Annotated[Part, PART_HELP] = "positive", **_context: Any
) -> MetricValue:
    """Overlap of the map above its threshold with the pixels that the class changes, over both.

    The threshold is the map's own (Otsu), since one that is chosen by the truth would tell the map
    how large the region is. Chance: that of as many pixels at random.

    Parameters
    ----------
    case, part
        As of :func:`relevance_mass`.

    Returns
    -------
    MetricValue
        NaN where the class changes nothing or every pixel.
    """
    mask = changed_pixels(case)
    undefined = _undefined(mask)
    if undefined:
        return undefined
    values = part_of_map(case.joint, part)
    if values.min() == values.max():  # nothing to set a threshold between
        return MetricValue(float(mask.mean()), float(mask.mean()), "the map is the same everywhere")
    chosen = values > threshold_otsu(values)
    found = (chosen & mask).sum() / (chosen | mask).sum()
    return MetricValue(
        float(found),
        _chance_overlap(mask.size, int(mask.sum()), int(chosen.sum())),
        details={"pixels_above_threshold": int(chosen.sum())},
    )


def _chance_overlap(pixels: int, marked: int, chosen: int) -> float:
    """Return the mean overlap over union of ``chosen`` pixels at random with ``marked`` ones."""
    common = np.arange(max(0, marked + chosen - pixels), min(marked, chosen) + 1)
    chances = hypergeom.pmf(common, pixels, marked, chosen)
    return float((chances * common / (marked + chosen - common)).sum())


@explanation_metric(
    title="Sign agreement",
    better="higher",
    low=0,
    high=1,
    needs=("truth",),
    source="this package: share of the magnitude with the true sign",
)
def sign_agreement(case: ExplanationCase, **_context: Any) -> MetricValue:
    """Share of the magnitude, on the pixels and channels that change, that has the true sign.

    Chance is counted with the signs that the map has over all its pixels: a map without negative
    values agrees everywhere with a truth that is positive everywhere, and knows nothing by it.

    Parameters
    ----------
    case : ExplanationCase
        With the truth.

    Returns
    -------
    MetricValue
        NaN where the class changes nothing.
    """
    truth, maps = to_array(needed(case.truth, "truth")), case.maps
    mask: Mask = truth != 0
    if not mask.any():
        return MetricValue(np.nan, note="the class changes nothing: there is no sign to agree with")
    size = np.abs(maps)
    if not size[mask].any():
        return MetricValue(0.0, note="the map is 0 on all that the class changes", chance=None)
    agreement = size[mask & (np.sign(maps) == np.sign(truth))].sum() / size[mask].sum()
    positive = size[maps > 0].sum() / size.sum()
    true_positive = (truth[mask] > 0).mean()
    chance = positive * true_positive + (1 - positive) * (1 - true_positive)
    return MetricValue(float(agreement), float(chance))
