"""One image, one target class, one method: the counterfactual with all that is known about it."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr

from napari_why.core.devices import limited_threads
from napari_why.core.events import Cancelled, OnEvent, Started, ignore_event, never_cancelled
from napari_why.core.options import validated
from napari_why.core.record import Record
from napari_why.counterfactuals import notes
from napari_why.counterfactuals.assembling import assembled, details, opinion_of_source
from napari_why.counterfactuals.boundary import ScoresOnPath
from napari_why.counterfactuals.convincing import (
    SpecialAlphas,
    checked_as_exported,
    special_alphas,
)
from napari_why.counterfactuals.decoder_error import decoder_error
from napari_why.counterfactuals.field_progress import FieldProgress
from napari_why.counterfactuals.making import Maker
from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.question import (
    asked,
    check_goal,
    checked_range,
    class_statistics,
    method_named,
    series_options,
    suitable_network,
)
from napari_why.counterfactuals.result import Counterfactual
from napari_why.counterfactuals.sequence import ImagesOnPath
from napari_why.images import how_read
from napari_why.model.chance import at_chance
from napari_why.model.whole_field import for_whole_field

if TYPE_CHECKING:
    from napari_why.model import Classifier


def counterfactual(
    classifier: "Classifier",
    image: xr.DataArray,
    target: str | int | None = None,
    method: str = "transport",
    *,
    steps: int = 11,
    alpha_range: tuple[float, float] | None = None,
    probability: float = 0.9,
    goal: xr.DataArray | None = None,
    source: str | int | None = None,
    whole_field: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **parameters: Any,
) -> Counterfactual:
    """Change an image, step by step, until the classifier calls it the target class.

    The image's latent is moved along the method's path and decoded by the classifier's own
    network: inverted exactly (``iresnet``), or by a decoder that was trained along (``vae``,
    ``autoencoder``), whose images differ from the source before anything is changed. Every
    probability in the result is computed on exactly the exported pixels.

    Parameters
    ----------
    classifier : Classifier
        With a network that the method is defined for.
    image : xarray.DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    target : str or int, optional
        The class to reach, by name or index; by default that of the goal,
        else the other of two classes, else the runner-up.
    method : str
        Name in :data:`napari_why.counterfactuals.METHODS`.
    steps : int
        Number of evenly spaced alphas.
    alpha_range : (float, float), optional
        First and last alpha; by default 0 to alpha1.
    probability : float
        What p(target) should reach at alpha1. Not for ``mean_shift``, whose alpha1 is published, nor
        for ``transport``, whose alpha1 is the complete change: it reports the alpha apart.
    goal : xarray.DataArray, optional
        An image to go towards, like ``image``; for methods that take one.
    source : str or int, optional
        The class that the image is known to belong to, for one that is not predicted as such; by
        default the predicted class.
    whole_field : bool
        Change the whole image in tiles instead of the crop or reduced image that the network was
        trained on; see :func:`napari_why.model.whole_field.for_whole_field`.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the images made by then are returned, at least
        the first. A whole field is told of, and cancelled, tile by tile.
    **parameters
        The method's own.

    Returns
    -------
    Counterfactual

    Raises
    ------
    UnsupportedNetworkError
        The method is not defined for the network, or the classifier has no latent statistics.
    ParameterError
        Unknown class, method or parameter; a value out of range; the image is called the target
        already.
    MismatchError
        The image does not fit; a whole field, where the training images were resized.
    CancellationError
        The work on a whole field was cancelled before there was an image.
    """
    entry = method_named(method)
    own = validated(
        series_options, {"steps": steps, "probability": probability, "whole_field": whole_field}
    )
    if own["whole_field"]:
        progress = FieldProgress(on_event, cancelled)
        classifier = for_whole_field(classifier, image, each_tile=progress.each_tile)
        on_event = progress
    network = suitable_network(classifier, entry)
    check_goal(entry, goal)
    values = validated(entry.function, parameters)
    ends = checked_range(alpha_range)
    statistics = class_statistics(classifier)
    chance = at_chance(classifier.metrics)
    on_event(Started("looking for the boundary"))
    with limited_threads(), torch.no_grad():
        question = asked(classifier, image, target, goal, source)
        context = {"goal": question.goal} if entry.takes("goal") else {}
        path = entry.function(
            network,
            statistics,
            question.prepared,
            question.source,
            question.target,
            **context,
            **values,
        )
        scores = ScoresOnPath(network, path, question.target)
        found = special_alphas(path, scores, own["probability"])
        images = ImagesOnPath(classifier, network, path, image.dtype)

        def check(special: SpecialAlphas) -> SpecialAlphas:
            return checked_as_exported(
                special,
                images,
                question.target,
                probability=own["probability"],
                # what a network at chance asks for would only be noise, enlarged
                enlarge=not path.closed_form and chance is None,
                cancelled=cancelled,
            )

        made = Maker(images, on_event, cancelled).make(found, check, ends, own["steps"])
        left_out = decoder_error(classifier, network, path, question)
    result = assembled(classifier, image, question, made)
    valid = result.valid if "alpha1" in made.special_frames else None
    sentences = (
        *notes.chance_notes(chance),
        *([entry.caution] if entry.caution else []),
        *notes.source_notes(question.called_target, result.source_class, result.target),
        *notes.second_network_notes(
            opinion_of_source(classifier, question), result.classes, result.target
        ),
        *path.notes,
        *notes.reset_notes([result.channels[index] for index in path.reset_channels]),
        *(left_out.notes(result.source_class) if left_out else []),
        *notes.statistics_notes(statistics),
        *(
            []
            if question.called_target
            else notes.boundary_notes(found, made.special, valid, result.target)
        ),
        *(
            notes.wanted_notes(found, made.special, own["probability"], result.target)
            if path.full_alpha is not None
            else []
        ),
        *_conviction_notes(result, own["probability"], path),
        *notes.range_notes(result.out_of_range, str(image.dtype)),
        *notes.distance_notes(result.distance, result.target),
    )
    return replace(
        result,
        notes=sentences,
        record=Record(
            kind="counterfactual",
            method=method,
            parameters={**own, "alpha_range": list(ends) if ends else None, **values},
            classifier=classifier.fingerprint,
            source=str(image.attrs.get("source", "")),
            details={
                **details(result, path, sentences),
                "source": None if source is None else result.source_class,
                **how_read(image),
                "goal": None if goal is None else str(goal.attrs.get("source", "")),
                "goal_read": None if goal is None else how_read(goal),
                "decoder_error": asdict(left_out) if left_out else None,
            },
        ),
    )


def _conviction_notes(result: Counterfactual, wanted: float, path: LatentPath) -> list[str]:
    if not result.valid:
        return []
    asked_for = None if path.closed_form or path.full_alpha is not None else wanted
    reached = result.special_probabilities["alpha1"][result.classes.index(result.target)]
    return notes.conviction_notes(
        result.special_alphas["alpha1"], float(reached), asked_for, result.target
    )
