"""One image, one target class, one method: the counterfactual with all that is known about it."""

from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.devices import limited_threads
from napari_why.core.errors import CancellationError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Event,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import validated
from napari_why.core.record import Record
from napari_why.counterfactuals import report
from napari_why.counterfactuals.alphas import SpecialAlphas, boundary_notes
from napari_why.counterfactuals.engine import PathImages, Series, Task, follow_paths, make_series
from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.question import (
    CounterfactualOptions,
    Question,
    check_goal,
    check_range,
    pose_question,
    require_statistics,
    suitable_network,
)
from napari_why.counterfactuals.registry import METHODS
from napari_why.counterfactuals.report import DecoderError
from napari_why.counterfactuals.result import Counterfactual
from napari_why.images import how_read, make_image
from napari_why.model.chance import at_chance
from napari_why.model.classifier import second_probabilities
from napari_why.model.whole_field import for_whole_field

if TYPE_CHECKING:
    from napari_why.model import Classifier


def counterfactual(
    classifier: "Classifier",
    image: xr.DataArray,
    target: str | int | None = None,
    method: str = "transport",
    *,
    options: CounterfactualOptions | None = None,
    alpha_range: tuple[float, float] | None = None,
    goal: xr.DataArray | None = None,
    source: str | int | None = None,
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
    options : CounterfactualOptions, optional
        How many images, which probability, whether the whole field; single ones also by keyword
        (``steps=5``).
    alpha_range : (float, float), optional
        First and last alpha; by default 0 to alpha1.
    goal : xarray.DataArray, optional
        An image to go towards, like ``image``; for methods that take one.
    source : str or int, optional
        The class that the image is known to belong to, for one that is not predicted as such; by
        default the predicted class.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the images made by then are returned, at least
        the first. A whole field is told of, and cancelled, tile by tile.
    **parameters
        Single options by name, and the method's own parameters.

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
    entry = METHODS.named(method)
    shared = {item.name for item in fields(CounterfactualOptions)}
    own = {name: value for name, value in parameters.items() if name not in shared}
    options = CounterfactualOptions.of(
        options, {name: value for name, value in parameters.items() if name in shared}
    )
    if options.whole_field:
        progress = FieldProgress(on_event, cancelled)
        classifier = for_whole_field(classifier, image, each_tile=progress.each_tile)
        on_event = progress
    network = suitable_network(classifier, entry)
    check_goal(entry, goal)
    values = validated(entry.function, own)
    ends = check_range(alpha_range)
    require_statistics(classifier)
    chance = at_chance(classifier.metrics)
    on_event(Started("looking for the boundary"))
    with limited_threads(), torch.no_grad():
        question = pose_question(classifier, image, target, goal, source)
        task = Task(
            classifier,
            network,
            entry,
            {**values, "goal": question.goal} if entry.takes("goal") else values,
            question.source,
            question.target,
            options.probability,
            enlarge=chance is None,
        )
        (images,) = follow_paths(task, question.prepared, image.dtype)
        found = images.find_alphas()
        series = make_series(
            images, found, ends, options.steps, on_event=on_event, cancelled=cancelled
        )
        decoder_error = report.measure_decoder(classifier, network, images.path, question)
    result = _assemble(classifier, image, question, images, series)
    notes = (
        *report.chance_notes(chance),
        *([entry.caution] if entry.caution else []),
        *_notes_of_images(classifier, question, images, result, decoder_error),
        *_notes_of_alphas(question, images, found, series, result),
        *report.range_notes(result.out_of_range, str(image.dtype)),
        *report.distance_notes(result.distance, result.target),
    )
    record = Record(
        kind="counterfactual",
        method=method,
        parameters={**options.to_dict(), "alpha_range": list(ends) if ends else None, **values},
        classifier=classifier.fingerprint,
        source=str(image.attrs.get("source", "")),
        details={
            **_details(result, images.path, notes),
            "source": None if source is None else result.source_class,
            **how_read(image),
            "goal": None if goal is None else str(goal.attrs.get("source", "")),
            "goal_read": None if goal is None else how_read(goal),
            "decoder_error": asdict(decoder_error) if decoder_error else None,
        },
    )
    return replace(result, notes=notes, record=record)


def _notes_of_images(
    classifier: "Classifier",
    question: Question,
    images: PathImages,
    result: Counterfactual,
    decoder_error: DecoderError | None,
) -> list[str]:
    path = images.path
    return [
        *report.source_notes(question.predicted_target, result.source_class, result.target),
        *report.second_network_notes(
            _opinion_of_source(classifier, question), result.classes, result.target
        ),
        *path.notes,
        *report.put_back_notes([result.channels[index] for index in path.put_back]),
        *(decoder_error.notes(result.source_class) if decoder_error else []),
        *report.statistics_notes(require_statistics(classifier)),
    ]


def _notes_of_alphas(
    question: Question,
    images: PathImages,
    found: SpecialAlphas,
    series: Series,
    result: Counterfactual,
) -> list[str]:
    valid = result.valid if "alpha1" in series.special_frames else None
    reached = None
    if result.valid:
        reached = float(result.special_probabilities["alpha1"][question.target])
    return [
        *(
            []  # there is no boundary to speak of
            if question.predicted_target
            else boundary_notes(found, series.special, valid, result.target)
        ),
        *images.path.rule.notes(
            found, series.special, reached, images.task.probability, result.target
        ),
    ]


def _assemble(
    classifier: "Classifier",
    image: xr.DataArray,
    question: Question,
    images: PathImages,
    series: Series,
) -> Counterfactual:
    """Return the result but for its notes and its record, which need it."""
    last = series.special_frames.get("alpha1", series.frames[-1])
    return Counterfactual(
        images=np.stack([frame.image for frame in series.frames]),
        alphas=np.array(series.alphas),
        probabilities=np.stack([frame.probabilities for frame in series.frames]),
        reconstruction=series.reconstruction,
        special_alphas=series.special.named(),
        special_images={name: frame.image for name, frame in series.special_frames.items()},
        special_probabilities={
            name: frame.probabilities for name, frame in series.special_frames.items()
        },
        classes=tuple(classifier.classes),
        channels=tuple(classifier.channels),
        source_class=classifier.classes[question.source],
        target=classifier.classes[question.target],
        valid="alpha1" in series.special_frames
        and int(last.probabilities.argmax()) == question.target,
        round_trip_error=float(np.abs(series.reconstruction - images.source).max()),
        out_of_range=last.out_of_range,
        grid=classifier.preprocessing.grid(image),
        record=Record(kind="counterfactual", method=""),
        complete=series.complete,
        second_probabilities=_second_opinions(classifier, series),
        distance=report.distance_from_class(classifier, last.image, question.target)
        if "alpha1" in series.special_frames
        else None,
    )


def _opinion_of_source(classifier: "Classifier", question: Question) -> int | None:
    """Return which class the second network predicts for the unchanged image, None without one."""
    if classifier.second_network is None:
        return None
    return int(second_probabilities(classifier.second_network, question.prepared)[0].argmax())


def _second_opinions(
    classifier: "Classifier", series: Series
) -> dict[str, NDArray[np.float32]] | None:
    if classifier.second_network is None:
        return None
    opinions = {}
    for name, frame in series.special_frames.items():
        as_image = make_image(frame.image, ("c", "y", "x"), classifier.channels)
        opinion = classifier.second_opinion(as_image)
        if opinion is not None:
            opinions[name] = opinion.astype(np.float32)
    return opinions


def _details(result: Counterfactual, path: LatentPath, notes: tuple[str, ...]) -> dict[str, Any]:
    """Return what the record tells about a result; JSON types."""
    return {
        "source_class": result.source_class,
        "target": result.target,
        "classes": list(result.classes),
        "channels": list(result.channels),
        "stage": path.stage,
        "alphas": result.alphas.tolist(),
        "probabilities": result.probabilities.astype(float).tolist(),
        "special_alphas": result.special_alphas,
        "special_probabilities": _plain(result.special_probabilities),
        "valid": result.valid,
        "round_trip_error": result.round_trip_error,
        "second_probabilities": None
        if result.second_probabilities is None
        else _plain(result.second_probabilities),
        "full_alpha": path.rule.full_alpha,
        "reset_channels": [result.channels[index] for index in path.put_back],
        "out_of_range": result.out_of_range,
        "distance": result.distance,
        "export_dtype": str(result.images.dtype),
        "complete": result.complete,
        "notes": list(notes),
    }


def _plain(probabilities: dict[str, NDArray[np.float32]]) -> dict[str, list[float]]:
    return {name: values.astype(float).tolist() for name, values in probabilities.items()}


class FieldProgress:
    """A listener that also tells which tile is done, and stops the work between tiles.

    Parameters
    ----------
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    """

    def __init__(self, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._on_event, self._cancelled = on_event, cancelled
        self._done = 0

    def __call__(self, event: Event) -> None:
        """Pass an event on, and keep in mind how many steps are done."""
        if isinstance(event, Started):
            self._done = 0
        elif isinstance(event, Advanced):
            self._done = event.done
        self._on_event(event)

    def each_tile(self, done: int, total: int) -> None:
        """Tell that a tile is done.

        Raises
        ------
        CancellationError
            The user asked to stop. Whoever has something to keep catches it.
        """
        if total > 1:
            self._on_event(Advanced(self._done, f"tile {done} of {total}"))
        if self._cancelled():
            raise CancellationError(
                "counterfactual: found that it was cancelled before there was an image of the "
                "field to keep; expected at least one; start it anew"
            )
