"""Sanity checks beside random weights: does the map hang on the class and what tells it, on nothing else.

Compared with the maps of the other classes and of a network for which the place does not matter; and
how much of it lies where nothing tells the class, on an empty area or in a suppressor channel.
"""

from typing import Any

import numpy as np
import torch

from napari_why.core.errors import CancellationError, WhyError
from napari_why.evaluation.explanations import (
    ExplanationCase,
    MetricValue,
    explain_all,
    explanation_metric,
    needed,
    to_array,
)
from napari_why.evaluation.localisation import changed_pixels, part_of_map
from napari_why.evaluation.map_similarity import rank_correlation


@explanation_metric(
    title="Target sensitivity",
    better="lower",
    low=-1,
    high=1,
    needs=("explain",),
    source="Sixt, Granz & Landgraf 2020, arXiv:1912.09818 (random logit)",
)
def target_sensitivity(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Spearman's correlation of the map with those of the other classes, on average. Chance is 0.

    Of two classes -1 is right: what speaks for one speaks against the other.

    Parameters
    ----------
    case : ExplanationCase
        With the method to explain again.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        -1 to 1; NaN of a network with one output.
    """
    others = [index for index in range(case.network.classes) if index != case.target]
    if not others:
        return MetricValue(np.nan, note="there is no other class")
    jobs = ((case.network, case.x, other) for other in others)
    found = explain_all(case, jobs, len(others), **listeners)
    alike = [rank_correlation(case.joint, to_array(evidence.joint)) for evidence in found]
    return MetricValue(float(np.mean(alike)), 0.0, details={"classes": others, "rank": alike})


@explanation_metric(
    title="Model contrast",
    better="higher",
    low=-1,
    high=1,
    needs=("explain", "truth", "other_network"),
    source="Yang & Kim 2019 (BAM), arXiv:1907.09701",
)
def model_contrast(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Relevance mass on the changed pixels, less that of a network for which they do not matter.

    The same image and class index, explained for a network that was trained on the same scenes for
    another effect. Chance is 0.

    Parameters
    ----------
    case : ExplanationCase
        With the truth, the method to explain again and another network.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        -1 to 1, with both masses in its details.
    """
    mask = changed_pixels(case)
    other = needed(case.other_network, "other_network")
    (evidence,) = explain_all(case, [(other, case.x, case.target)], 1, **listeners)
    mass = []
    for values in (case.joint, to_array(evidence.joint)):
        positive = part_of_map(values, "positive")
        # no evidence at all: none of it on the region either
        mass.append(float(positive[mask].sum() / positive.sum()) if positive.any() else 0.0)
    return MetricValue(mass[0] - mass[1], 0.0, details={"own": mass[0], "other": mass[1]})


@explanation_metric(
    title="Independence of empty area",
    better="lower",
    low=0,
    high=1,
    needs=("explain", "background"),
    source="this package: relevance on an added area without cells",
)
def empty_area(case: ExplanationCase, **listeners: Any) -> MetricValue:
    """Share of the map's magnitude that lies on an area without cells, joined to the right, as large.

    Its pixels are drawn from the image's own background. Chance is one half.

    Parameters
    ----------
    case : ExplanationCase
        With the background and the method to explain again.
    **listeners
        ``on_event`` and ``cancelled``, see :mod:`napari_why.core.events`.

    Returns
    -------
    MetricValue
        0 to 1; NaN without background, and where network or method takes no wider image.
    """
    empty = needed(case.background, "background").cpu()
    places = torch.nonzero(empty.flatten())[:, 0]
    if not len(places):
        return MetricValue(np.nan, note="the background is nothing")
    height, width = case.x.shape[-2:]
    generator = torch.Generator().manual_seed(case.seed)
    # whole pixels, all channels together, so that the background's noise stays as it is
    chosen = places[torch.randint(len(places), (height * width,), generator=generator)]
    drawn = case.x.flatten(2)[..., chosen.to(case.x.device)].reshape(case.x.shape)
    larger = torch.cat([case.x, drawn], dim=-1)
    try:
        with torch.no_grad():
            case.network(larger)
        (evidence,) = explain_all(case, [(case.network, larger, case.target)], 1, **listeners)
    except CancellationError:
        raise
    except (RuntimeError, ValueError, WhyError) as error:
        return MetricValue(np.nan, note=f"the network or the method takes no wider image: {error}")
    values = to_array(evidence.joint)
    size = np.abs(values).sum()
    if not size:
        return MetricValue(np.nan, note="the map of the wider image is 0 everywhere")
    alike = rank_correlation(case.joint, values[:, :width])
    share = float(np.abs(values[:, width:]).sum() / size)
    return MetricValue(share, 0.5, details={"rank_on_the_image_itself": alike})


@explanation_metric(
    title="Independence of a suppressor channel",
    better="lower",
    low=0,
    high=1,
    needs=("suppressor",),
    source="Haufe et al. 2014, doi:10.1016/j.neuroimage.2013.10.067; Wilming et al. 2023, arXiv:2306.01464",
)
def suppressor_share(case: ExplanationCase, **_context: Any) -> MetricValue:
    """Share of the maps' magnitude in a channel that holds no class and only calibrates the others.

    A network may use such a channel to take noise out of the others, and a faithful map then shows
    it: what is measured is whether the map tells where the class is. Chance is one in C.

    Parameters
    ----------
    case : ExplanationCase
        With the suppressor.

    Returns
    -------
    MetricValue
        0 to 1; NaN of a map that is 0 everywhere.
    """
    channel = needed(case.suppressor, "suppressor")
    size = np.abs(case.maps).sum(axis=(1, 2))
    if not size.any():
        return MetricValue(np.nan, note="the map is 0 everywhere")
    return MetricValue(float(size[channel] / size.sum()), 1 / len(size))
