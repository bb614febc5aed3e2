"""Images unlike the training images are found and named; others are left alone. No network is trained."""

import json
import re

import numpy as np
import pytest

from napari_why.datasets import Dataset, Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.networks.registry import build_network
from napari_why.simulation import simulate
from napari_why.simulation.scenes import SimulatedScene

TOP = 65535
SIZE = 32
# what real images of other wells may give, too
SAID_OF_ANY = {"size"}


def preprocessing_of(dataset: Dataset, **changes) -> Preprocessing:
    ones = (1.0,) * len(dataset.channels)
    return Preprocessing(
        dataset.channels, **({"size": SIZE, "fit": "resize"} | changes),
        intensity="linear", mean=ones, std=ones, cofactor=ones,
    )  # fmt: skip


class Checker:
    """What a classifier knows of its training images, and how it sees them."""

    def __init__(self, training: Dataset, **changes) -> None:
        self.seen = preprocessing_of(training, **changes)
        self.facts = ImageFacts.measure(training, self.seen)

    def found(self, image) -> list:
        return [
            item for item in self.facts.unlike(image, self.seen) if item.kind not in SAID_OF_ANY
        ]

    def kinds(self, image, pixels=None) -> set[str]:
        image = image if pixels is None else image.copy(data=pixels)
        return {item.kind for item in self.found(image)}


@pytest.fixture(scope="module")
def parts() -> tuple[Dataset, Dataset]:
    """Return training scenes and scenes of other wells."""
    split = simulate(260, size=SIZE, seed=11).split(fractions=(0.5, 0.0, 0.5), seed=0)
    return split.part("train"), split.part("test")


@pytest.fixture(scope="module")
def checker(parts) -> Checker:
    return Checker(parts[0])


def test_pixels_of_unequal_sides_are_told_with_both(checker, parts) -> None:
    image = parts[0].image(0)
    (side, _) = checker.facts.pixel_size
    stretched = make_image(
        np.asarray(image),
        "cyx",
        tuple(image.c.values),
        pixel_size={"y": side, "x": 2 * side},
        unit="um",
    )
    (told,) = [item.sentence for item in checker.found(stretched) if item.kind == "pixel size"]
    assert told == f"a pixel is {side:.3g} x {2 * side:.3g} um; trained on {side:.3g} um"


def clipped(pixels) -> np.ndarray:
    return np.clip(np.round(pixels), 0, TOP).astype(np.uint16)


def noise_like(pixels, rng) -> np.ndarray:
    spread, mean = (f(pixels, axis=(1, 2), keepdims=True) for f in (np.std, np.mean))
    return clipped(mean + spread * rng.normal(size=pixels.shape))


SPOILT = {
    "swapped": [lambda x, rng: x[::-1]],
    "inverted": [lambda x, rng: TOP - x, lambda x, rng: x.max((1, 2), keepdims=True) - x],
    "noise": [
        noise_like,
        lambda x, rng: rng.integers(0, TOP, x.shape),
        lambda x, rng: rng.poisson(np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)),
        lambda x, rng: rng.permuted(x.reshape(2, -1), axis=1).reshape(x.shape),
        lambda x, rng: np.stack([x[0], rng.permuted(x[1].ravel()).reshape(x[1].shape)]),
        lambda x, rng: 900 + rng.normal(0, 3, x.shape),  # a closed shutter
    ],
    "constant": [
        lambda x, rng: np.zeros_like(x),
        lambda x, rng: np.full_like(x, 900),
        lambda x, rng: np.full_like(x, TOP),
        lambda x, rng: np.stack([x[0], np.full_like(x[1], 500)]),
    ],
}


@pytest.mark.parametrize(
    ("kind", "spoil"), [(kind, spoil) for kind, ways in SPOILT.items() for spoil in ways]
)
def test_what_is_wrong_is_found_and_named(checker, parts, kind, spoil) -> None:
    rng = np.random.default_rng(0)
    for row in (0, 7, 20, 41):
        image = parts[1].image(row)
        assert kind in checker.kinds(image, clipped(spoil(image.values.astype(np.int64), rng)))


@pytest.mark.parametrize(("factor", "words"), [(10, "about 1?[0-9] times"), (0.1, "about 0.[01]")])
def test_another_brightness_is_named_with_its_factor(checker, parts, factor, words) -> None:
    image = parts[1].image(3)
    found = checker.found(image.copy(data=(image.values * factor).astype(np.uint32)))
    said = " / ".join(item.sentence for item in found if item.kind == "brightness")
    assert re.search(words, said), said


def test_the_words_say_what_is_wrong(checker, parts) -> None:
    image = parts[1].image(5)
    said = checker.found(image.copy(data=image.values[::-1]))[-1]
    assert "DAPI looks like the channel TMRM" in said.sentence
    assert said.channels == ("DAPI", "TMRM")
    half = image.values.copy()
    half[1] = TOP - half[1]
    (inverted,) = [item for item in checker.found(image.copy(data=half)) if item.kind == "inverted"]
    assert inverted.channels == ("TMRM",)
    assert "intensities of channel TMRM are inverted" in inverted.sentence


def test_images_of_other_wells_are_left_alone(checker, parts) -> None:
    alarms = [bool(checker.found(parts[1].image(row))) for row in range(len(parts[1]))]
    assert len(alarms) > 100
    assert np.mean(alarms) <= 0.05


def test_training_images_are_read_once_for_all_facts(parts) -> None:
    facts = ImageFacts.measure(parts[0], preprocessing_of(parts[0]))
    assert facts.measured == len(parts[0]) == facts.likeness.images


def with_channels(dataset: Dataset, count: int) -> Dataset:
    """Return the same scenes with so many channels; those beyond two are of other scenes."""
    names = ["DAPI", "TMRM", "ER", "Golgi", "actin"][:count]
    images = []
    for row in range(len(dataset)):
        x = dataset.image(row).values.astype(float)
        other = dataset.image((row + 7) % len(dataset)).values.astype(float)
        planes = [
            x[0],
            x[1],
            np.sqrt(x[1]) * 90,
            other[1] * 4,
            other[0].max() + 0.3 * x[1] - x[0] / 2,
        ]
        images.append(make_image(clipped(planes[:count]), "cyx", names))
    table = dataset.table
    return Dataset.from_images(images, list(table["label"]), well=list(table["well"]))


@pytest.mark.parametrize("count", [1, 5])
def test_any_number_of_channels(parts, count) -> None:
    checker = Checker(with_channels(parts[0], count))
    others = with_channels(parts[1], count)
    rng = np.random.default_rng(1)
    alarms = [bool(checker.found(others.image(row))) for row in range(len(others))]
    assert np.mean(alarms) <= 0.08  # 5 %, and two standard errors of 130 images
    image = others.image(4)
    x = image.values.astype(np.int64)
    assert "noise" in checker.kinds(image, noise_like(x, rng))
    assert checker.kinds(image, clipped(TOP - x))
    assert checker.kinds(image, clipped(x.max((1, 2), keepdims=True) - x))
    if count > 1:
        order = [0, 3, 2, 1, 4]
        (said,) = [item for item in checker.found(image.copy(data=image.values[order])) if
                   item.kind == "swapped"]  # fmt: skip
        assert set(said.channels) == {"TMRM", "Golgi"}


@pytest.mark.parametrize("settings", [{"fit": "crop"}, {"size": None, "fit": "none"}])
def test_a_field_larger_than_the_training_images_is_judged_by_its_tiles(parts, settings) -> None:
    checker = Checker(parts[0], **settings)
    field = Preprocessing(**(vars(checker.seen) | {"size": None, "fit": "none"}))
    rng = np.random.default_rng(0)
    alarms = []
    for seed in range(12):
        image = SimulatedScene(seed, size=4 * SIZE).image(("diseased", "treated")[seed % 2])
        said = {item.kind for item in checker.facts.unlike(image, field)}
        assert "size" in said
        alarms.append(bool(said - {"size", "mean"}))  # scenes differ in brightness by their seed
        noise = image.copy(data=noise_like(image.values, rng))
        assert "noise" in {item.kind for item in checker.facts.unlike(noise, field)}
    assert sum(alarms) <= 2


@pytest.mark.parametrize(("count", "known"), [(8, False), (20, True)])
def test_of_few_images_it_says_that_it_cannot_tell(parts, count, known) -> None:
    few = parts[0].select(np.arange(len(parts[0])) < count)
    checker = Checker(few)
    image = parts[1].image(0)
    said = " / ".join(item.sentence for item in checker.found(image))
    assert ("not known whether" in said) == (not known)
    assert (f"of {count} images 16 with structure are needed" in said) == (not known)
    if known:
        noise = noise_like(image.values, np.random.default_rng(0))
        assert "noise" in checker.kinds(image, noise)


def replaced(dataset: Dataset, change) -> Dataset:
    images = [dataset.image(row) for row in range(len(dataset))]
    changed = [image.copy(data=change(row, image.values)) for row, image in enumerate(images)]
    table = dataset.table
    return Dataset.from_images(changed, list(table["label"]), well=list(table["well"]))


def test_constant_and_saturated_training_images_do_not_blind_it(parts) -> None:
    def spoil(row, pixels):
        if row % 20 == 0:
            return np.full_like(pixels, 700)
        return np.full_like(pixels, TOP) if row % 20 == 1 else pixels

    checker = Checker(replaced(parts[0], spoil))
    rng = np.random.default_rng(0)
    for row in (0, 7, 20):
        image = parts[1].image(row)
        assert "noise" in checker.kinds(image, noise_like(image.values, rng))
        assert "inverted" in checker.kinds(image, TOP - image.values)
        assert "swapped" in checker.kinds(image, image.values[::-1])
    alarms = [bool(checker.found(parts[1].image(row))) for row in range(len(parts[1]))]
    assert np.mean(alarms) <= 0.05


def test_a_channel_that_never_held_anything(parts) -> None:
    def blank(row, pixels):
        return np.stack([pixels[0], np.full_like(pixels[1], 7)])

    checker = Checker(replaced(parts[0], blank))
    image = parts[1].image(2)
    assert checker.kinds(image, blank(0, image.values)) <= {"constant"}
    said = [item.sentence for item in checker.found(image)]
    assert "channel TMRM has structure; in most training images it has none" in said


def test_floating_point_numbers_with_values_below_zero(parts) -> None:
    def scaled(row, pixels):
        return (pixels / 1000.0 - 0.9).astype(np.float32)

    checker = Checker(replaced(parts[0], scaled))
    image = parts[1].image(1)
    plain = image.copy(data=scaled(0, image.values))
    assert checker.kinds(plain) == set()
    assert "inverted" in checker.kinds(plain, 1.7 - plain.values)
    assert "swapped" in checker.kinds(plain, plain.values[::-1])


def test_it_survives_json_and_says_the_same(checker, parts) -> None:
    again = ImageFacts.from_dict(json.loads(json.dumps(checker.facts.to_dict(), allow_nan=False)))
    rng = np.random.default_rng(0)
    for row in range(5):
        image = parts[1].image(row)
        for pixels in (image.values, image.values[::-1], noise_like(image.values, rng)):
            changed = image.copy(data=pixels)
            expected = checker.facts.unlike(changed, checker.seen)
            assert again.unlike(changed, checker.seen) == expected


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("covariance", [1.0]),
        ("centre", [0.0]),
        ("spread", 0),
        ("cutoff", float("nan")),
        ("scale", -1.0),
        ("varying", [1, 1]),
        ("swap_limits", []),
        ("tile", [0, 4]),
        ("channels", ["DAPI"]),
    ],
)
def test_what_cannot_be_is_refused(checker, entry, value) -> None:
    plain = checker.facts.to_dict()
    if value == 0:
        value = [0.0] * len(plain["likeness"][entry])
    plain["likeness"][entry] = value
    with pytest.raises(ValueError, match=r"likeness|broadcast|shape"):
        ImageFacts.from_dict(plain)


def test_a_classifier_checks_by_it_and_says_what_an_old_one_does_not_know(checker, parts) -> None:
    network = build_network("cam_net", input_channels=2, classes=2, size=SIZE)
    card = {"images": json.loads(json.dumps(checker.facts.to_dict()))}
    new = Classifier(network, checker.seen, ("a", "b"), card=card)
    image = parts[1].image(0)
    noise = image.copy(data=noise_like(image.values, np.random.default_rng(0)))
    assert new.check(image) == new.predict(image).notes == ()
    assert new.check(noise) == tuple(item.sentence for item in new.unlike(noise))
    assert "as in noise" in " ".join(new.predict(noise).notes)
    assert "as in noise" in new.predict_many([noise])["notes"][0]
    for entry in ("likeness", "measured"):
        del card["images"][entry]
    old = Classifier(network, checker.seen, ("a", "b"), card=card)
    (note,) = old.check(image)
    assert note.startswith("not known whether")
    assert "saved before that was measured" in note
