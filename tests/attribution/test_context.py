"""What methods may ask for beside the image, and what happens where it is missing or does not fit."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.attribution import METHODS, Evidence, Method, References, attribute
from napari_why.attribution.context import REFERENCES_PER_CLASS, choose_references
from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.events import Started
from napari_why.datasets import Dataset
from napari_why.images import make_image


@pytest.fixture
def method():
    """Return a function that registers a method which keeps what it is given, and the list of that."""
    found: list[object] = []

    def keep(x: Tensor, given: object) -> Evidence:
        found.append(given)
        return Evidence(x[0], x[0].sum(dim=0), "logit per pixel")

    def asks_for_references(network, x, target, *, references):
        return keep(x, references)

    def asks_for_regions(network, x, target, *, regions):
        return keep(x, regions)

    def register(name: str) -> None:
        function = {"references": asks_for_references, "regions": asks_for_regions}[name]
        METHODS.add(Method("asks", "Asks", "none", function))

    yield register, found
    METHODS.pop("asks", None)


def dataset_of(count: int, split: bool = False) -> Dataset:
    rng = np.random.default_rng(0)
    images = [
        make_image(
            rng.integers(100, 4000, (2, 16, 16)).astype(np.uint16),
            ("c", "y", "x"),
            ("nuclei", "mitochondria"),
        )
        for _ in range(count)
    ]
    labels = [("diseased", "treated")[index % 2] for index in range(count)]
    dataset = Dataset.from_images(images, labels)
    if split:
        dataset.table["split"] = ["train"] * (count // 2) + ["test"] * (count - count // 2)
    return dataset


def test_references_are_training_images_of_every_class(classifier, image, method) -> None:
    register, found = method
    register("references")
    events = []
    attribute(
        classifier, image, "asks", references=dataset_of(8, split=True), on_event=events.append
    )
    (references,) = found
    assert references.images.shape == (4, 2, 16, 16)
    assert sorted(references.labels.tolist()) == [0, 0, 1, 1]
    assert any(isinstance(event, Started) and "compare" in event.task for event in events)


def test_references_are_spread_over_the_rows_of_a_class() -> None:
    rows = choose_references(dataset_of(100), ("diseased", "treated", "healthy"))
    of_first = [row for row, label in rows if label == 0]
    assert len(of_first) == REFERENCES_PER_CLASS
    assert (of_first[0], of_first[-1]) == (0, 98)


def test_given_references_are_taken_as_they_are(classifier, image, method) -> None:
    register, found = method
    register("references")
    given = References(torch.zeros(1, 2, 16, 16), torch.zeros(1, dtype=torch.int64))
    attribute(classifier, image, "asks", references=given)
    assert found == [given]


def test_regions_come_on_the_pixels_of_the_network(classifier, image, method) -> None:
    register, found = method
    register("regions")
    labels = np.zeros((32, 32), dtype=np.uint16)
    labels[4:8, 10:12] = 3
    larger = make_image(
        np.repeat(np.repeat(image.values, 2, 1), 2, 2), ("c", "y", "x"), ("nuclei", "mitochondria")
    )
    attribute(classifier, larger, "asks", regions=labels)
    expected = np.zeros((16, 16), dtype=np.int64)
    expected[2:4, 5:6] = 3
    np.testing.assert_array_equal(found[0].numpy(), expected)


@pytest.mark.parametrize("name", ["references", "regions"])
def test_what_is_missing_is_asked_for(classifier, image, method, name: str) -> None:
    register, _ = method
    register(name)
    with pytest.raises(ParameterError, match=f"{name}: found none; expected"):
        attribute(classifier, image, "asks")


@pytest.mark.parametrize(
    "labels",
    [np.zeros((16, 16), int), np.ones((8, 16), int), np.ones((16, 16)), np.ones((1, 16, 16), int)],
)
def test_regions_that_do_not_fit_are_refused(classifier, image, method, labels) -> None:
    register, _ = method
    register("regions")
    with pytest.raises(MismatchError, match="regions: found"):
        attribute(classifier, image, "asks", regions=labels)


def test_references_of_other_classes_are_refused() -> None:
    with pytest.raises(MismatchError, match="healthy, sick"):
        choose_references(dataset_of(4), ("healthy", "sick"))


@pytest.mark.parametrize("method", ["information_bottleneck", "expected_gradients"])
@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(4, 3, 16, 16), 4, r"expected images \(N, 2, H, W\)"),
        (torch.zeros(4, 2, 16, 16), 3, r"labels of shape \(3,\)"),
        (torch.full((4, 2, 16, 16), torch.nan), 4, "not finite"),
    ],
)
def test_references_that_are_no_such_images_are_refused(
    classifier, image, method: str, images, labels: int, words: str
) -> None:
    given = References(images, torch.arange(labels) % 3)
    with pytest.raises(MismatchError, match=words):
        attribute(classifier, image, method, "treated", references=given)
