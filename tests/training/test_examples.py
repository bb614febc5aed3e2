"""Images come from memory where they fit and from their files where not: the same either way."""

import pytest
import torch

from napari_why.core.errors import MismatchError
from napari_why.core.events import Advanced, Event, Message, Started
from napari_why.datasets import Preprocessing
from napari_why.simulation import simulate
from napari_why.training import TensorExamples, examples_of
from napari_why.training.examples import DatasetExamples, storage_dtype


@pytest.fixture(scope="module")
def scenes():
    return simulate(8, size=16)


def test_from_memory_and_from_files(scenes):
    preprocessing = Preprocessing.from_dataset(scenes, size=16)
    events: list[Event] = []
    kept = examples_of(scenes, preprocessing, scenes.classes, on_event=events.append)
    assert isinstance(kept, TensorExamples)
    assert events == [Started("reading images", 8), *[Advanced(n + 1) for n in range(8)]]
    read = examples_of(
        scenes, preprocessing, scenes.classes, memory_share=0.0, on_event=events.append
    )
    assert isinstance(read, DatasetExamples)
    assert isinstance(events[-1], Message)
    assert torch.equal(kept.images([5, 2]), read.images([5, 2]))
    assert torch.equal(kept.images([5])[0], preprocessing(scenes.image(5)))
    assert [scenes.classes[index] for index in kept.labels] == scenes.table["label"].tolist()
    assert torch.equal(kept.labels, read.labels)


def test_half_precision_when_only_that_fits(scenes, monkeypatch):
    class Memory:
        available = 8 * 2 * 16 * 16 * 3  # between 2 and 4 bytes a value

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    assert storage_dtype(8 * 2 * 16 * 16, 1.0) is torch.float16
    assert storage_dtype(8 * 2 * 16 * 16, 0.5) is None
    preprocessing = Preprocessing.from_dataset(scenes, size=16)
    kept = examples_of(scenes, preprocessing, scenes.classes, memory_share=1.0)
    assert kept is not None
    images = kept.images(range(8))
    assert images.dtype is torch.float32
    exact = preprocessing(scenes.image(3))
    assert torch.allclose(images[3], exact, rtol=2**-11, atol=1e-6)


def test_cancelling_gives_nothing(scenes):
    preprocessing = Preprocessing.from_dataset(scenes, size=16)
    assert examples_of(scenes, preprocessing, scenes.classes, cancelled=lambda: True) is None


def test_a_label_that_is_no_class_is_named(scenes):
    preprocessing = Preprocessing.from_dataset(scenes, size=16)
    with pytest.raises(MismatchError, match="labelled treated"):
        examples_of(scenes, preprocessing, ("diseased", "healthy"))
