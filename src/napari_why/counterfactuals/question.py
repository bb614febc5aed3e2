"""What is asked: which image is to become which class, in words the user can correct."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import xarray as xr
from torch import Tensor

from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.counterfactuals.registry import METHODS, CounterfactualMethod
from napari_why.errors import ParameterError, UnsupportedNetworkError
from napari_why.networks.network import InvertibleNetwork
from napari_why.parameters import Help, Range

if TYPE_CHECKING:
    from napari_why.classifier import Classifier


@dataclass(frozen=True)
class Question:
    """A prepared image, the class it is predicted to be and the class it is to become.

    Parameters
    ----------
    prepared : Tensor, shape (1, C, H, W)
        The preprocessed image on the network's device.
    source, target : int
        Class indices.
    """

    prepared: Tensor
    source: int
    target: int


def asked(classifier: "Classifier", image: xr.DataArray, target: str | int | None) -> Question:
    """Predict the image and settle the target class.

    Parameters
    ----------
    target : str, int or None
        Class by name or index; None for the other of two classes, else the runner-up.

    Raises
    ------
    ParameterError
        The class is unknown, or the image is predicted to be it already.
    """
    device = next(classifier.network.parameters()).device
    prepared = classifier.prepare(image).to(device)
    ranked = [int(index) for index in classifier.logits(prepared)[0].argsort(descending=True)]
    classes = classifier.classes
    aim = ranked[1] if target is None else _class_index(classes, target)
    if aim == ranked[0]:
        others = ", ".join(classes[index] for index in ranked[1:])
        raise ParameterError(
            f"target: the image is called {classes[aim]} already, so there is nothing to change; "
            f"choose {others}"
        )
    return Question(prepared, ranked[0], aim)


def _class_index(classes: Sequence[str], target: str | int) -> int:
    if isinstance(target, str) and target in classes:
        return list(classes).index(target)
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(classes):
        return target
    raise ParameterError(f"target: found {target!r}; expected one of {', '.join(classes)}")


def series_options(
    *,
    steps: Annotated[int, Help("number of images on the path"), Range(2, 1001)] = 11,
    probability: Annotated[
        float, Help("probability of the target that alpha1 is to reach"), Range(0.5, 0.999)
    ] = 0.9,
) -> dict[str, Any]:
    """Return the options that every method shares; forms and validation read this signature."""
    return {"steps": steps, "probability": probability}


def invertible(classifier: "Classifier") -> InvertibleNetwork:
    """Return the classifier's network.

    Raises
    ------
    UnsupportedNetworkError
        It has no inverse.
    """
    network = classifier.network
    if not isinstance(network, InvertibleNetwork):
        raise UnsupportedNetworkError(
            f"counterfactuals invert the network that classified, and {network.name} has no "
            "inverse; train a classifier with the network iresnet"
        )
    return network


def class_statistics(classifier: "Classifier") -> LatentStatistics:
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


def method_named(name: str) -> CounterfactualMethod:
    """Return the method of that name.

    Raises
    ------
    ParameterError
        There is none.
    """
    if name not in METHODS:
        raise ParameterError(f"method: found {name!r}; expected one of {', '.join(METHODS)}")
    return METHODS[name]


def checked_range(alpha_range: tuple[float, float] | None) -> tuple[float, float] | None:
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
