"""Every verb refuses a network in training in words, and gives the same beside other threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from napari_why.attribution import attribute
from napari_why.core.errors import NetworkBusyError
from napari_why.counterfactuals import counterfactual
from napari_why.evaluation import class_maps, evaluate
from napari_why.generation import (
    activation_maximisation,
    interpolate,
    reconstruct,
    sample,
    traverse,
)
from napari_why.latent_space import embed
from napari_why.measurement import measure_dataset
from napari_why.model import Classifier

Verb = Callable[[Classifier, Any], Any]


def few(scenes: Any) -> Any:
    return scenes.part("test")


def other_class(classifier: Classifier, image: Any) -> str:
    label = classifier.predict(image).label
    return next(name for name in classifier.classes if name != label)


VERBS: dict[str, Verb] = {
    "predict": lambda model, scenes: model.predict(scenes.image(0)).logits,
    "predict_many": lambda model, scenes: model.predict_many(few(scenes)),
    "attribute": lambda model, scenes: attribute(model, scenes.image(1), "hires_cam").joint,
    "counterfactual": lambda model, scenes: (
        counterfactual(
            model, scenes.image(0), model.classes[1], "latent_mean_shift", source=0, steps=4
        ).images
    ),
    "measure_dataset": lambda model, scenes: (
        measure_dataset(model, few(scenes), method="latent_mean_shift", steps=4).images
    ),
    "evaluate": lambda model, scenes: evaluate(model, few(scenes), nulls=False).predictions,
    "embed": lambda model, scenes: embed(model, few(scenes)).latents,
    "class_maps": lambda model, scenes: (
        class_maps(model, few(scenes), "saliency", options={"alignment": "regions"}).regions
    ),
    "activation_maximisation": lambda model, _: (
        activation_maximisation(model, model.classes[0], steps=2, images=3).images
    ),
    "reconstruct": lambda model, scenes: reconstruct(model, scenes.image(2)).reconstruction,
    "traverse": lambda model, scenes: traverse(model, scenes.image(2), steps=3).images,
    "interpolate": lambda model, scenes: (
        interpolate(model, scenes.image(2), scenes.image(3), steps=3).images
    ),
    "sample": lambda model, _: sample(model, count=3).images,
}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_refuses_a_network_in_training(vae_classifier, scenes, verb: str) -> None:
    with (
        vae_classifier.network.use.trained(),
        pytest.raises(NetworkBusyError, match=r"is being trained.* wait until the training"),
    ):
        VERBS[verb](vae_classifier, scenes)


def test_every_verb_gives_beside_others_what_it_gives_alone(vae_classifier, scenes) -> None:
    names = sorted(VERBS)
    alone = {name: VERBS[name](vae_classifier, scenes) for name in names}
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda name: VERBS[name](vae_classifier, scenes), names * 2))
    for name, together in zip(names * 2, found, strict=True):
        one = alone[name]
        # tables have cells without a value, which equal nothing
        same = one.equals(together) if hasattr(one, "equals") else np.array_equal(one, together)
        assert same, name
