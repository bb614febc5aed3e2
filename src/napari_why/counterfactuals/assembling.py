"""Put together what is known about the images of a path."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.record import Record
from napari_why.counterfactuals.class_distance import distance_from_class
from napari_why.counterfactuals.making import Made
from napari_why.counterfactuals.path import LatentPath
from napari_why.counterfactuals.question import Question
from napari_why.counterfactuals.result import Counterfactual
from napari_why.images import make_image
from napari_why.model.classifier import second_probabilities

if TYPE_CHECKING:
    from napari_why.model import Classifier


def assembled(
    classifier: "Classifier", image: xr.DataArray, question: Question, made: Made
) -> Counterfactual:
    """Return the result but for its notes and its record, which need it."""
    prepared = classifier.preprocessing.inverse(question.prepared)[0]
    last = made.special_frames.get("alpha1", made.frames[-1])
    return Counterfactual(
        images=np.stack([frame.image for frame in made.frames]),
        alphas=np.array(made.alphas),
        probabilities=np.stack([frame.probabilities for frame in made.frames]),
        reconstruction=made.reconstruction,
        special_alphas=made.special.named(),
        special_images={name: frame.image for name, frame in made.special_frames.items()},
        special_probabilities={
            name: frame.probabilities for name, frame in made.special_frames.items()
        },
        classes=tuple(classifier.classes),
        channels=tuple(classifier.channels),
        source_class=classifier.classes[question.source],
        target=classifier.classes[question.target],
        valid="alpha1" in made.special_frames
        and int(last.probabilities.argmax()) == question.target,
        round_trip_error=float(np.abs(made.reconstruction - prepared).max()),
        out_of_range=last.out_of_range,
        grid=classifier.preprocessing.grid(image),
        record=Record(kind="counterfactual", method=""),
        complete=made.complete,
        second_probabilities=_second_opinions(classifier, made),
        distance=distance_from_class(classifier, last.image, question.target)
        if "alpha1" in made.special_frames
        else None,
    )


def opinion_of_source(classifier: "Classifier", question: Question) -> int | None:
    """Return which class the second network calls the unchanged image, None without one."""
    if classifier.second_network is None:
        return None
    return int(second_probabilities(classifier.second_network, question.prepared)[0].argmax())


def _second_opinions(classifier: "Classifier", made: Made) -> dict[str, NDArray[np.float32]] | None:
    if classifier.second_network is None:
        return None
    opinions = {}
    for name, frame in made.special_frames.items():
        as_image = make_image(frame.image, ("c", "y", "x"), classifier.channels)
        opinion = classifier.second_opinion(as_image)
        if opinion is not None:
            opinions[name] = opinion.astype(np.float32)
    return opinions


def details(result: Counterfactual, path: LatentPath, sentences: tuple[str, ...]) -> dict[str, Any]:
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
        "full_alpha": path.full_alpha,
        "reset_channels": [result.channels[index] for index in path.reset_channels],
        "out_of_range": result.out_of_range,
        "distance": result.distance,
        "export_dtype": str(result.images.dtype),
        "complete": result.complete,
        "notes": list(sentences),
    }


def _plain(probabilities: dict[str, NDArray[np.float32]]) -> dict[str, list[float]]:
    return {name: values.astype(float).tolist() for name, values in probabilities.items()}
