from itertools import pairwise

import numpy as np
import pytest

from napari_why.benchmark import EffectData, Protocol
from napari_why.benchmark.data import FIRST_SEEDS, SEEDS_PER_SET
from napari_why.core.errors import ParameterError
from napari_why.simulation import EFFECTS, Camera

SMALL = {"size": 16, "training": 16, "held_out": 8, "scored": 4}


def pixels_of(data: EffectData) -> set[bytes]:
    dataset = data.dataset
    trained = {dataset.image(index).to_numpy().tobytes() for index in range(len(dataset))}
    scored = {image.tobytes() for one in data.directions for image in (*one.images, *one.paired)}
    assert not trained & scored
    return trained | scored


def test_no_image_is_in_two_seeds_or_in_validation_and_test() -> None:
    found = [
        pixels_of(EffectData(Protocol(scenes, **SMALL), "depolarisation", seed))
        for scenes in ("validation", "test")
        for seed in (0, 1)
    ]
    found.append(pixels_of(EffectData(Protocol("final", **SMALL), "depolarisation", 0, final=True)))
    for index, first in enumerate(found):
        for second in found[index + 1 :]:
            assert not first & second


@pytest.mark.parametrize("seed", [0, 1, 999])
def test_final_scenes_are_refused_unless_they_are_asked_for(seed: int) -> None:
    with pytest.raises(ParameterError, match="found the final ones"):
        EffectData(Protocol("final", **SMALL), "depolarisation", seed)


@pytest.mark.parametrize("scenes", ["validation", "test", "final"])
@pytest.mark.parametrize("seed", [-1, SEEDS_PER_SET, 4000])
def test_no_seed_leads_from_one_set_into_another(scenes: str, seed: int) -> None:
    with pytest.raises(ParameterError, match=f"found {seed}, which would be a seed of other"):
        EffectData(Protocol(scenes, **SMALL), "depolarisation", seed, final=True)
    firsts = sorted(FIRST_SEEDS.values())
    assert all(after - before >= SEEDS_PER_SET for before, after in pairwise(firsts))


def test_the_test_scenes_that_were_reported_before_are_in_no_set() -> None:
    spent = range(1000, 1003)
    for first in FIRST_SEEDS.values():
        assert not set(spent) & set(range(first, first + SEEDS_PER_SET))


@pytest.mark.parametrize("effect", EFFECTS)
def test_directions_know_their_truth(effect: str) -> None:
    data = EffectData(Protocol(**SMALL), effect, 0)
    there, back = data.directions
    assert (there.name, back.name) == ("healthy to treated", "treated to healthy")
    assert there.images.shape == there.truth.shape == there.paired.shape == (4, 2, 16, 16)
    assert there.images.dtype == np.uint16
    np.testing.assert_array_equal(there.real, back.images)  # other scenes than there.images
    changed = {index for index in range(2) if there.truth[:, index].any()}
    assert changed == set(data.affected)


def test_training_scenes_are_those_of_the_training_images() -> None:
    data = EffectData(Protocol(**SMALL), "nuisance", 0)
    train = data.dataset.part("train")
    assert set(data.dataset.table["split"]) == {"train", "validation"}
    for index, scene in enumerate(data.training_scenes):
        assert scene.image(train.table["label"][index]).equals(train.image(index))


def test_numbers_and_noise_are_parameters() -> None:
    noisy = Protocol(**SMALL, strength=0.5, density=(1, 1), camera=Camera(gain=2.0, read_noise=9.0))
    there = EffectData(noisy, "depolarisation", 0).directions[0]
    plain = EffectData(Protocol(**SMALL), "depolarisation", 0).directions[0]
    assert there.truth.std() < plain.truth.std() / 4
    assert noisy.to_dict()["camera"]["gain"] == 2.0
    assert noisy.to_dict() != Protocol(**SMALL).to_dict()
