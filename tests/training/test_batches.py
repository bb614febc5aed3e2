"""Batches: every image once an epoch, in an order that depends on seed and epoch alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_why.training import Augmentation, TensorExamples
from napari_why.training.examples import Batches


def numbered(count: int) -> TensorExamples:
    labels = torch.arange(count)
    return TensorExamples(labels[:, None, None, None].float().expand(-1, 1, 4, 4), labels)


@given(count=st.integers(1, 40), size=st.integers(2, 9))
def test_every_image_comes_once_and_none_comes_alone(count, size):
    batches = list(Batches(numbered(count), size, seed=0))
    assert len(batches) == len(Batches(numbered(count), size))
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == list(range(count))
    sizes = [len(labels) for _, labels in batches]
    assert max(sizes) <= size
    assert count == 1 or min(sizes) > 1 or size == 2
    assert all(torch.equal(images[:, 0, 0, 0].long(), labels) for images, labels in batches)


def test_the_order_changes_with_the_epoch_and_repeats_with_the_seed():
    batches = Batches(numbered(30), 10, seed=1)

    def order(epoch: int) -> list[int]:
        batches.epoch = epoch
        return torch.cat([labels for _, labels in batches]).tolist()

    first, second = order(1), order(2)
    assert first != second
    assert order(1) == first


def test_without_a_seed_images_come_in_order_and_unchanged():
    batches = Batches(numbered(5), 2, augmentation=Augmentation())
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 3, 4]
