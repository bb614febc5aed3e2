"""Images that hold too little are flagged by a look at them alone; cells without a stain are not."""

import json

import numpy as np
import pytest
from scipy import ndimage

from napari_why.datasets import Dataset, Preprocessing
from napari_why.images import make_image
from napari_why.model.image_facts import ImageFacts
from napari_why.model.likeness import FEWEST_IMAGES
from napari_why.model.quality import (
    BLURRED,
    CLIPPED,
    EMPTY,
    KINDS,
    Quality,
    QualityFit,
    count_flagged,
)

SIZE = 96
CHANNELS = ("DAPI", "TMRM")
DARK, NOISE = 400.0, 8.0


def field(seed: int, cells: int = 12, *, size: int = SIZE, stain: float = 1.0) -> np.ndarray:
    """Return nuclei with granules around them, (2, size, size); ``stain`` of the granules."""
    rng = np.random.default_rng(seed)
    nuclei, granules = np.zeros((2, size, size))
    y, x = np.mgrid[:size, :size]
    for _ in range(cells):
        at = rng.uniform(8, size - 8, 2)
        far = np.hypot(y - at[0], x - at[1])
        nuclei += (far < rng.uniform(4, 6)) * rng.uniform(2000, 3500)
        spots = (rng.random((size, size)) < 0.15) & (far > 5) & (far < 11)
        granules += spots * rng.uniform(3000, 6000)
    planes = np.stack([nuclei, granules * stain])
    planes = np.stack([ndimage.gaussian_filter(plane, 0.7) for plane in planes])
    return planes + DARK + rng.normal(0, NOISE, planes.shape)


def learn(images, labels, channels=CHANNELS) -> Quality | None:
    fit = QualityFit(channels)
    for image, label in zip(images, labels, strict=True):
        fit.add(image, label)
    return fit.finish()


def kinds(quality: Quality, image: np.ndarray) -> list[str]:
    return [found.kind for found in quality.judge(image)]


# A class whose second stain is gone, as after FCCP: its cells are there.
LOST = {"healthy": 1.0, "treated": 0.0}


@pytest.fixture(scope="module")
def quality() -> Quality:
    rng = np.random.default_rng(0)
    labels = ["healthy", "treated"] * 12
    images = [
        field(seed, int(rng.integers(8, 17)), stain=LOST[label])
        for seed, label in enumerate(labels)
    ]
    found = learn(images, labels)
    assert found is not None
    return found


def blurred(image: np.ndarray) -> np.ndarray:
    smooth = np.stack([ndimage.gaussian_filter(plane, 3) for plane in image])
    return smooth + np.random.default_rng(1).normal(0, NOISE, image.shape)


def few(cells: int, stain: float) -> np.ndarray:
    """Return cells in one corner of an empty field four times as large on a side."""
    large = DARK + np.random.default_rng(2).normal(0, NOISE, (2, 4 * SIZE, 4 * SIZE))
    large[:, :SIZE, :SIZE] = field(9, cells, stain=stain)
    return large


@pytest.mark.parametrize("stain", LOST.values(), ids=LOST)
def test_usual_fields_of_either_class_are_left_alone(quality, stain) -> None:
    """Cells whose second stain is lost are cells all the same."""
    assert [kinds(quality, field(seed, stain=stain)) for seed in range(100, 120)] == [[]] * 20


SPOILT = {
    "an empty field": (EMPTY, lambda stain: field(5, 0, stain=stain)),
    "two cells": (EMPTY, lambda stain: few(2, stain)),
    "a brighter background": (EMPTY, lambda stain: field(5, 0, stain=stain) + 2500),
    "a shutter": (EMPTY, lambda stain: np.full((2, SIZE, SIZE), 2000 * (1 + stain))),
    "nothing at all": (EMPTY, lambda stain: np.zeros((2, SIZE, SIZE)) * stain),
    "out of focus": (BLURRED, lambda stain: blurred(field(6, stain=stain))),
    "saturated": (CLIPPED, lambda stain: np.minimum(field(7, stain=stain), DARK + 600)),
}


@pytest.mark.parametrize("stain", LOST.values(), ids=LOST)
@pytest.mark.parametrize(("kind", "spoilt"), SPOILT.values(), ids=SPOILT)
def test_what_is_wrong_is_named_in_either_class(quality, kind, spoilt, stain) -> None:
    found = quality.judge(spoilt(stain))
    assert {item.kind for item in found} == {kind}
    assert all(item.sentence.startswith(kind) for item in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: DARK + (x - DARK) * 0.25,
        lambda x: DARK + (x - DARK) * 4,
        lambda x: x + 150,
        lambda x: x * np.linspace(0.9, 1.1, SIZE),
        lambda x: x + np.random.default_rng(3).normal(0, 5 * NOISE, x.shape),
        lambda x: np.stack([x[0], ndimage.gaussian_filter(x[1], 3)]),
        lambda x: x[:, :, ::-1],
    ],
    ids=["dim", "bright", "offset", "uneven light", "noise", "granules dissolve", "mirrored"],
)
def test_another_brightness_or_effect_is_not_taken_for_too_little(quality, change) -> None:
    flags = [kinds(quality, change(field(seed))) for seed in range(200, 210)]
    assert flags == [[]] * 10


def test_the_words_give_the_numbers(quality) -> None:
    (found,) = quality.judge(few(2, 1.0))
    assert found.channels == CHANNELS
    assert "% of DAPI and" in found.sentence
    assert "stand out from the background; usual in training images that show cells:" in (
        found.sentence
    )


def test_a_field_that_cells_cover_is_not_empty(quality) -> None:
    """The darkest pixels are then those of cells."""
    assert kinds(quality, field(1, 400)) in ([], [CLIPPED])
    assert EMPTY not in kinds(quality, field(2, 150))


def test_whole_fields_and_crops_are_judged_alike(quality) -> None:
    assert kinds(quality, field(3, 12 * 4, size=2 * SIZE)) == []
    assert kinds(quality, field(3, 0, size=2 * SIZE)) == [EMPTY]
    assert kinds(quality, blurred(field(3, 12 * 4, size=2 * SIZE))) == [BLURRED]
    crops = field(4, 12)[:, : SIZE // 2]
    assert kinds(quality, crops) == []


@pytest.mark.parametrize("scale", [1 / 65535, 1e-3, 1e4])
def test_units_do_not_matter(scale) -> None:
    """Floating-point images from 0 to 1, and counts of photons."""
    labels = ["healthy", "treated"] * 12
    found = learn(
        [field(seed, stain=LOST[label]) * scale for seed, label in enumerate(labels)], labels
    )
    assert found is not None
    assert kinds(found, field(50) * scale) == []
    assert kinds(found, field(50, 0) * scale) == [EMPTY]
    assert kinds(found, blurred(field(50)) * scale) == [BLURRED]


def test_one_channel_that_a_class_has_lost_flags_nothing_of_that_class() -> None:
    """Nothing in it tells an empty field from lost cells: then the rule is silent, also on new images."""
    labels = ["healthy", "treated"] * 12
    images = [field(seed, stain=LOST[label])[1:] for seed, label in enumerate(labels)]
    found = learn(images, labels, ("TMRM",))
    assert found is not None
    assert found.training["treated"]["flagged"] == 0
    assert [kinds(found, field(seed, stain=0.0)[1:]) for seed in range(300, 306)] == [[]] * 6
    # where no class has lost it, an empty field is told
    whole = learn([field(seed)[1:] for seed in range(24)], labels, ("TMRM",))
    assert whole is not None
    assert kinds(whole, field(5, 0)[1:]) == [EMPTY]


def test_a_few_empty_training_images_are_counted_by_class() -> None:
    labels = ["healthy", "treated"] * 15
    images = [field(seed, stain=LOST[label]) for seed, label in enumerate(labels)]
    images[4], images[8] = field(90, 0), field(91, 0)
    found = learn(images, labels)
    assert found is not None
    assert found.training["healthy"] == {
        "images": 15, "flagged": 2, EMPTY: 2, BLURRED: 0, CLIPPED: 0
    }  # fmt: skip
    assert found.training["treated"]["flagged"] == 0


def test_crushed_images_have_no_noise_and_are_judged_all_the_same() -> None:
    def crushed(seed: int, cells: int = 12, *, stain: float = 1.0) -> np.ndarray:
        return np.round((field(seed, cells, stain=stain)) / 400)

    labels = ["healthy", "treated"] * 12
    found = learn([crushed(seed, stain=LOST[label]) for seed, label in enumerate(labels)], labels)
    assert found is not None
    assert [kinds(found, crushed(seed, stain=0.0)) for seed in range(400, 406)] == [[]] * 6
    assert kinds(found, crushed(7, 0)) == [EMPTY]


@pytest.mark.parametrize(
    "images",
    [
        [field(seed) for seed in range(FEWEST_IMAGES - 1)],
        [np.full((2, SIZE, SIZE), 7.0)] * FEWEST_IMAGES,
        [field(seed, 0) for seed in range(FEWEST_IMAGES)],
    ],
    ids=["too few", "constant", "noise"],
)
def test_where_there_is_nothing_usual_nothing_is_said(images) -> None:
    found = learn(images, ["a", "b"] * (len(images) // 2) + ["a"] * (len(images) % 2))
    assert found is None


def test_it_is_the_same_after_a_detour_over_json(quality) -> None:
    again = Quality.from_dict(json.loads(json.dumps(quality.to_dict(), sort_keys=True)))
    assert again == quality
    assert list(again.channels) == list(CHANNELS)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["channels"].pop("TMRM"),
        lambda plain: plain["order"].append("ER"),
        lambda plain: plain["channels"]["DAPI"].update(content=0.0),
        lambda plain: plain["channels"]["DAPI"].pop("dark"),
    ],
)
def test_what_cannot_be_is_refused(quality, change) -> None:
    plain = json.loads(json.dumps(quality.to_dict()))
    change(plain)
    with pytest.raises((ValueError, TypeError)):
        Quality.from_dict(plain)


@pytest.fixture(scope="module")
def known() -> tuple[ImageFacts, Preprocessing]:
    labels = ["healthy", "treated"] * 12
    images = [
        make_image(field(seed, stain=LOST[label]).round().astype(np.uint16), "cyx", CHANNELS)
        for seed, label in enumerate(labels)
    ]
    ones = (1.0, 1.0)
    seen = Preprocessing(
        CHANNELS, size=None, fit="none", intensity="linear", mean=ones, std=ones, cofactor=ones
    )
    return ImageFacts.measure(Dataset.from_images(images, labels), seen), seen


def as_image(pixels: np.ndarray):
    return make_image(pixels.round().astype(np.uint16), "cyx", CHANNELS)


def test_facts_say_it_first_and_once(known) -> None:
    facts, seen = known
    unlike = facts.unlike(as_image(field(5, 0)), seen)
    assert unlike[0].kind == EMPTY
    assert EMPTY in facts.quality_flags(unlike)
    clipped = facts.unlike(as_image(np.minimum(field(7), DARK + 600)), seen)
    channels = [item.channels for item in clipped if item.kind == CLIPPED]
    assert len(channels) == len(set(channels)) > 0
    assert facts.unlike(as_image(field(600)), seen) == ()


def test_facts_saved_before_say_nothing_of_it(known) -> None:
    facts, seen = known
    plain = json.loads(json.dumps(facts.to_dict()))
    assert ImageFacts.from_dict(plain).quality == facts.quality
    del plain["quality"]
    before = ImageFacts.from_dict(plain)
    unlike = before.unlike(as_image(field(5, 0)), seen)
    assert EMPTY not in {item.kind for item in unlike}
    assert before.quality_flags(unlike) == ()


def test_counts_by_class_are_of_all_reasons() -> None:
    found = count_flagged(["a", "a", "b"], [[EMPTY], [BLURRED, CLIPPED], []])
    assert found["a"] == {"images": 2, "flagged": 2, **dict.fromkeys(KINDS, 1)}
    assert found["b"] == {"images": 1, "flagged": 0, **dict.fromkeys(KINDS, 0)}
