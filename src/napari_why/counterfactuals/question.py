"""What is asked: which image is to become which class, in words the user can correct."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import xarray as xr
from torch import Tensor

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.options import Help, Options, Range
from napari_why.core.registry import Method
from napari_why.counterfactuals.registry import METHODS
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import DecodingNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier


@dataclass(frozen=True)
class Question:
    """A prepared image, the class it is predicted to be and the class it is to become.

    Parameters
    ----------
    prepared : Tensor, shape (1, C, H, W)
        The preprocessed image on the network's device.
    source, target : int
        Class indices.
    goal : Tensor or None, shape (1, C, H, W)
        A preprocessed image to go towards.
    predicted_target : bool
        The image is predicted to be the target already, although it belongs to the source class.
    """

    prepared: Tensor
    source: int
    target: int
    goal: Tensor | None = None
    predicted_target: bool = False


def pose_question(
    classifier: "Classifier",
    image: xr.DataArray,
    target: str | int | None,
    goal: xr.DataArray | None = None,
    source: str | int | None = None,
) -> Question:
    """Predict the image and settle the target class.

    Parameters
    ----------
    target : str, int or None
        Class by name or index; None for that of the goal, else for the other of two classes, else
        for the runner-up.
    goal : DataArray, optional
        An image to go towards.
    source : str, int or None
        The class that the image belongs to; None for the predicted one.

    Raises
    ------
    ParameterError
        The class is unknown, the image is predicted to be it already and ``source`` does not tell
        otherwise, or source and target are the same.
    """
    device = next(classifier.network.parameters()).device
    prepared = classifier.prepare(image).to(device)
    ranked = [int(index) for index in classifier.logits(prepared)[0].argsort(descending=True)]
    classes = classifier.classes
    prepared_goal = None if goal is None else classifier.prepare(goal).to(device)
    if target is None and prepared_goal is not None:
        target = int(classifier.logits(prepared_goal)[0].argmax())
    start = ranked[0] if source is None else class_index("source", classes, source)
    others_first = [index for index in ranked if index != start]
    aim = others_first[0] if target is None else class_index("target", classes, target)
    if aim == start and source is not None:
        raise ParameterError(f"target: found {classes[aim]}, the source; expected another class")
    if aim == start:
        others = ", ".join(classes[index] for index in ranked[1:])
        raise ParameterError(
            f"target: the image is called {classes[aim]} already, so there is nothing to change; "
            f"choose {others}"
        )
    return Question(prepared, start, aim, prepared_goal, predicted_target=ranked[0] == aim)


def class_index(what: str, classes: Sequence[str], name: str | int) -> int:
    """Return the index of a class given by name or index.

    Raises
    ------
    ParameterError
        There is no such class; the message begins with ``what``.
    """
    if isinstance(name, str) and name in classes:
        return list(classes).index(name)
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(classes):
        return name
    raise ParameterError(f"{what}: found {name!r}; expected one of {', '.join(classes)}")


@dataclass(frozen=True, kw_only=True)
class CounterfactualOptions(Options):
    """What every method shares; forms, shell options and validation read these fields.

    Parameters
    ----------
    steps : int
        Number of evenly spaced alphas.
    probability : float
        What p(target) should reach at alpha1. Not for ``mean_shift``, whose alpha1 is published,
        nor for ``transport``, whose alpha1 is the complete change: it reports the alpha apart.
    whole_field : bool
        Change the whole image in tiles instead of the crop or reduced image that the network was
        trained on; see :func:`napari_why.model.whole_field.for_whole_field`.
    """

    # eleven images are ten steps of a tenth each
    steps: Annotated[int, Help("number of images on the path"), Range(2, 1001)] = 11
    # nine to one: well past undecided, and within reach of most classifiers
    probability: Annotated[
        float, Help("probability of the target that alpha1 is to reach"), Range(0.5, 0.999)
    ] = 0.9
    whole_field: Annotated[
        bool, Help("change the whole field, where the network was trained on crops of fields")
    ] = False


def suitable_network(classifier: "Classifier", method: Method) -> DecodingNetwork:
    """Return the classifier's network.

    Raises
    ------
    UnsupportedNetworkError
        The method is not defined for it.
    """
    method.check(classifier.network, METHODS)
    if not isinstance(classifier.network, DecodingNetwork):
        raise UnsupportedNetworkError(
            f"{method.name}: found the network {classifier.network.name}, which makes no images; "
            "expected one that can decode, such as iresnet or vae"
        )
    return classifier.network


def require_statistics(classifier: "Classifier") -> LatentStatistics:
    """Return the classifier's latent statistics.

    Raises
    ------
    UnsupportedNetworkError
        It has none.
    """
    if classifier.latent_statistics is None:
        raise UnsupportedNetworkError(
            "counterfactuals need the latent statistics of the training images, and this "
            "classifier was made without them; train it with napari_why.fit"
        )
    return classifier.latent_statistics


def check_goal(method: Method, goal: xr.DataArray | None) -> None:
    """Raise ParameterError where there is an image to go towards and the method has no use for it."""
    if goal is not None and not method.takes("goal"):
        able = ", ".join(name for name, other in METHODS.items() if other.takes("goal"))
        raise ParameterError(f"goal: {method.name} goes towards no image; expected one of {able}")


def check_range(alpha_range: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return first and last alpha as floats.

    Raises
    ------
    ParameterError
        They are not two finite numbers, the second larger than the first.
    """
    if alpha_range is None:
        return None
    first, last = (float(alpha) for alpha in alpha_range)
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise ParameterError(
            f"alpha_range: found {first} to {last}; expected two finite numbers, rising"
        )
    return first, last
