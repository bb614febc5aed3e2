"""Sentences about the alphas of a path, and the words that notes and verdict share."""

from collections.abc import Sequence

from napari_why.counterfactuals.alphas import LARGEST_ALPHA, SpecialAlphas

# Rounding alone moves a probability by less.
PROBABILITY_TOLERANCE = 0.01
# Beyond these, rounding to whole percents would say all or nothing.
NEARLY_ALL, NEARLY_NONE = 0.995, 0.005


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


def join_names(names: Sequence[str]) -> str:
    """Return names as they stand in a sentence.

    Examples
    --------
    >>> join_names(["DAPI"]), join_names(["DAPI", "TMRM", "Actin"])
    ('DAPI', 'DAPI, TMRM and Actin')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def percent(share: float) -> str:
    """Write a share; never 100 % or 0 % for what is not all or nothing.

    Examples
    --------
    >>> percent(0.918), percent(0.9999), percent(1.0), percent(0.001)
    ('92 %', 'more than 99 %', '100 %', 'less than 1 %')
    """
    if NEARLY_ALL <= share < 1:
        return "more than 99 %"
    if 0 < share < NEARLY_NONE:
        return "less than 1 %"
    return f"{share:.0%}".replace("%", " %")


def write_probability(p: float) -> str:
    """Write a probability with two digits; never 0 or 1.

    Examples
    --------
    >>> write_probability(0.973), write_probability(0.9999), write_probability(1e-9)
    ('0.97', 'more than 0.99', 'less than 0.01')
    """
    if p >= NEARLY_ALL:
        return "more than 0.99"
    return "less than 0.01" if p < NEARLY_NONE else f"{p:.2f}"
