"""What was found about irregular images, in plain sentences for a dock or a report."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

MANY_TIMES = 3


def irregular_sentences(
    images: pd.DataFrame,
    wells: pd.DataFrame,
    classes: pd.DataFrame,
    rate: float,
    cutoff: str,
    group_columns: Sequence[str],
) -> tuple[str, ...]:
    """Say what was found, how often chance alone would, and what it was measured against.

    Parameters are those of :class:`~napari_why.latent_space.Irregular`; ``cutoff`` is that of
    :func:`~napari_why.latent_space.find_irregular`.
    """
    return (
        _found(images, rate, cutoff),
        *_reference(classes, rate),
        *_wells(wells, rate, group_columns),
        *_not_judged(classes),
    )


def _found(images: pd.DataFrame, rate: float, cutoff: str) -> str:
    judged = int(images["distance"].notna().sum())
    irregular = int(images["irregular"].sum())
    condition = (
        "were latents normally distributed"
        if cutoff == "normal"
        else "at most, were all drawn like the validation images"
    )
    return (
        f"{irregular} of {judged} images ({_share(irregular, judged)}) lie far from their class; "
        f"about {rate * judged:.1f} would by chance ({_percent(rate)}, {condition})."
    )


def _reference(classes: pd.DataFrame, rate: float) -> Iterator[str]:
    judged = classes[classes["estimator"] != ""]
    fewest, most = int(judged["reference"].min()), int(judged["reference"].max())
    count = str(fewest) if fewest == most else f"{fewest} to {most}"
    shrunk = judged["estimator"].str.startswith("shrunk").any()
    few = "; for few images the covariance is shrunk, which finds less" if shrunk else ""
    yield (
        f"What is usual was learned from {count} images of each class{few}. A list of irregular "
        "images is for looking at, not for throwing away unseen."
    )
    others = judged["images"] - judged["reference"]
    if not others.any():
        return
    within = float(np.average(judged["reference images"], weights=judged["reference"]))
    known = judged[others > 0]
    beyond = float(np.average(known["other images"], weights=others[others > 0]))
    yield (
        f"Of the {int(judged['reference'].sum())} images it was learned from {within:.1%} are "
        f"irregular, of the {int(others.sum())} others {beyond:.1%}."
    )
    if beyond > MANY_TIMES * max(within, rate):
        yield (
            "The others lie farther out as a whole: either they differ, or the network knows its "
            "training images by heart. Compare plates, and take all images as the reference."
        )


def _wells(wells: pd.DataFrame, rate: float, group_columns: Sequence[str]) -> Iterator[str]:
    if not group_columns:
        yield "No column tells the wells, so that no well was judged."
        return
    name = group_columns[-1]
    judged = wells[wells["z"].notna()]
    if judged.empty:
        yield f"There are too few {name}s of a class to judge them."
        return
    irregular = int(judged["irregular"].sum())
    yield (
        f"{irregular} of {len(judged)} {name}s lie far from the others of their class; about "
        f"{rate * len(judged):.1f} would by chance."
    )


def _not_judged(classes: pd.DataFrame) -> Iterator[str]:
    names = classes["class"][classes["estimator"] == ""]
    if len(names):
        yield f"Too few images to judge by: {', '.join(map(str, names))}."


def _share(part: int, whole: int) -> str:
    return _percent(part / whole) if whole else "0 %"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
