"""What makes images: a classifier's own network, a generator or a channel predictor; what each can do."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from napari_why.adversarial import Variety
from napari_why.core.errors import ModelFileError
from napari_why.core.registry import Method
from napari_why.generation import channel_predictor, image_generator
from napari_why.generation.channel_predictor import (
    ChannelPredictor,
    load_channel_predictor,
    predict_channel,
)
from napari_why.generation.generate import TASKS
from napari_why.generation.image_generator import ImageGenerator, load_generator
from napari_why.generation.saved_models import read_kind
from napari_why.model import Classifier

GenerativeModel: TypeAlias = ImageGenerator | ChannelPredictor
Maker: TypeAlias = Classifier | GenerativeModel

_OF_GENERATOR = {
    method.name: method
    for method in (
        Method("sample", "Draw new images", "Radford et al. 2016", ImageGenerator.sample),
        Method(
            "interpolate_codes",
            "Go from one code to another",
            "White 2016",
            ImageGenerator.interpolate,
        ),
    )
}
_OF_PREDICTOR = {
    "predict_channel": Method(
        "predict_channel", "Predict a channel of the image", "Isola et al. 2017", predict_channel
    )
}


def tasks_of(maker: Maker) -> Mapping[str, Method]:
    """Return what can be asked of a maker of images, by name.

    Each is called as ``function(maker, *images, **parameters)``, and may be unsuitable for the maker's
    network, with a reason (:meth:`~napari_why.core.registry.Method.unsuitable`).
    """
    if isinstance(maker, ImageGenerator):
        return _OF_GENERATOR
    return _OF_PREDICTOR if isinstance(maker, ChannelPredictor) else TASKS


def count_images(task: Method) -> int:
    """Return how many images a task is given beside its maker: none, one or two.

    Examples
    --------
    >>> [count_images(TASKS[name]) for name in ("sample", "traverse", "interpolate")]
    [0, 1, 2]
    """
    kinds = [item.kind for item in inspect.signature(task.function).parameters.values()]
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) - 1  # all but the maker


def list_classes(maker: Maker, task: Method) -> tuple[str, ...]:
    """Return the classes that may be asked for; ``""``, each in turn, stands first where it may be.

    Empty where no class can be asked for: of a classifier, and of a generator that knows none.

    Parameters
    ----------
    maker : Classifier, ImageGenerator or ChannelPredictor
    task : Method
        One of :func:`tasks_of`.

    Returns
    -------
    tuple of str
    """
    if not isinstance(maker, ImageGenerator) or not maker.classes:
        return ()
    # a way from one code to another is one of a single class
    return maker.classes if task.name == "interpolate_codes" else ("", *maker.classes)


def describe_maker(maker: Maker) -> str:
    """Say what a maker makes, of what and how long it was trained, and whether it collapsed."""
    if isinstance(maker, Classifier):
        return f"The network of the classifier in use ({maker.network.name})."
    training = maker.card.get("training", {})
    history = training.get("history", ())
    epochs = "1 epoch" if len(history) == 1 else f"{len(history)} epochs"
    stopped = ", when it was stopped" if training.get("status") == "cancelled" else ""
    trained = f"; trained for {epochs}{stopped}" if history else ""
    if isinstance(maker, ChannelPredictor):
        return f"Predicts {' and '.join(maker.made)} from {', '.join(maker.given)}{trained}."
    height, width = maker.network.size
    of = f" of {' and '.join(maker.classes)}" if maker.classes else ""
    sentences = [f"Draws images{of} ({', '.join(maker.channels)}; {height} x {width} px){trained}."]
    looks = [look for look in map(Variety.from_metrics, history) if look is not None]
    if looks:  # whoever loads it later should know too
        sentences += [f"{said[:1].upper()}{said[1:]}." for said in looks[-1].sentences]
    return " ".join(sentences)


def load_generative_model(path: str | Path, *, device: str = "cpu") -> GenerativeModel:
    """Load a saved generator or channel predictor, whichever it is.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``generative_model.json`` in it.
    device : str
        Where to put the network: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.

    Returns
    -------
    ImageGenerator or ChannelPredictor

    Raises
    ------
    ModelFileError
        It is neither; says what was found there.
    """
    kind = read_kind(path)
    if kind == image_generator.KIND:
        return load_generator(path, device=device)
    if kind == channel_predictor.KIND:
        return load_channel_predictor(path, device=device)
    raise ModelFileError(
        f"{path}: found a model that makes images of {kind!r:.60}; expected one of "
        f"{image_generator.KIND} or {channel_predictor.KIND}; update napari-why"
    )
