"""A seed means the same pixels for ever: results and benchmarks name scenes by seed and number.

The digests were taken before both simulators became one. A change of one of them changes every
figure that was measured on simulated scenes.
"""

from hashlib import sha256

import numpy as np
import pytest

from napari_why.datasets import Dataset
from napari_why.simulation import (
    CLASSES,
    EFFECTS,
    Camera,
    EffectScene,
    SimulatedScene,
    effect_scenes,
    simulate,
    simulate_effect,
)


def digest(*images: object) -> str:
    found = sha256()
    for image in images:
        found.update(np.ascontiguousarray(np.asarray(image)).tobytes())
    return found.hexdigest()[:16]


def images_of(dataset: Dataset) -> list[object]:
    return [dataset.image(row) for row in range(len(dataset))]


SCENES = {
    "healthy": "15317250fcba587e",
    "diseased": "907d68cf6fa1d63c",
    "treated": "1d10d38e46dbbd0d",
}
EFFECT_SCENES = {
    "depolarisation": "63cff919793ff273",
    "translocation": "ad5739fa1f579d58",
    "fragmentation": "9ff0d693aa303394",
    "partial_response": "bfd2bdf1894d9762",
    "both_channels": "d8784a408b0e406e",
    "nuisance": "63cff919793ff273",
    "null": "56c6c83baad6846f",
}
SETS = {
    "simulate": "b107940796c493ba",
    "simulate_effect": "8d244990b0db52d4",
    "effect_scenes": "c4532e2c06b7f2cc",
}


@pytest.mark.parametrize("label", CLASSES)
def test_scenes_of_three_classes(label: str) -> None:
    usual = SimulatedScene(3, seed=1, size=64)
    other = SimulatedScene(4, size=48, pixel_size=0.325, camera=Camera(read_noise=1.0, gain=5.0))
    assert digest(usual.image(label), other.image(label)) == SCENES[label]


@pytest.mark.parametrize("effect", EFFECTS)
def test_scenes_of_an_effect(effect: str) -> None:
    scenes = [
        EffectScene(2, effect, seed=4, size=48, strength=strength, density=(1, 5), brightness=1.3)
        for strength in (0.5, 1.0, 1.7)
    ]
    images = [scene.image(label) for scene in scenes for label in scene.classes]
    assert digest(*images) == EFFECT_SCENES[effect]


def test_sets_of_scenes() -> None:
    three = simulate(9, classes=CLASSES, size=24, seed=6, plates=2)
    nuisance = simulate_effect(12, "nuisance", size=24, seed=6)
    assert {
        "simulate": digest(*images_of(three)),
        "simulate_effect": digest(*images_of(nuisance)),
        "effect_scenes": digest(
            *(scene.image("treated") for scene in effect_scenes(5, "nuisance", size=24, seed=6))
        ),
    } == SETS
    assert three.table["well"].tolist() == [
        "E19",
        "A16",
        "P20",
        "M02",
        "G12",
        "M03",
        "H23",
        "N09",
        "M11",
    ]
    assert nuisance.table["well"].tolist() == [
        "M02",
        "A16",
        "F24",
        "F11",
        "E19",
        "G12",
        "I09",
        "G20",
        "H23",
        "C15",
        "G12",
        "J17",
    ]
    assert nuisance.table["plate"].tolist() == [
        "2",
        "1",
        "3",
        "4",
        "1",
        "2",
        "3",
        "4",
        "1",
        "2",
        "4",
        "3",
    ]
