"""One pass over the images gives the same statistics as all images at once."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import LongTensor, Tensor, nn
from torch.nn import functional as F

from napari_why.core.errors import DatasetError, ModelFileError, ParameterError
from napari_why.model.class_moments import LARGEST_COVARIANCE
from napari_why.model.latent_statistics import LatentCollector, LatentStatistics
from napari_why.networks.network import InvertibleNetwork

CLASSES = ("diseased", "treated", "healthy")


class Squeezes(InvertibleNetwork):
    """Two pixel-unshuffles with a scale; class 2 is never predicted."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.name, self.input_channels, self.classes = "squeezes", 2, 3
        self.factor = factor
        self.scale = nn.Parameter(torch.tensor(1.5))

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        first = F.pixel_unshuffle(x, 2) * self.scale
        return first if stage == "stage1" else F.pixel_unshuffle(first, self.factor)

    def encode(self, x: Tensor) -> Tensor:
        return self.encode_to(x, "stage2")

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        return latent if stage == "stage2" else F.pixel_unshuffle(latent, self.factor)

    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        first = latent if stage == "stage1" else F.pixel_shuffle(latent, self.factor)
        return F.pixel_shuffle(first / self.scale, 2)

    def head(self, features: Tensor) -> Tensor:
        score = features.mean(dim=(1, 2, 3))
        return torch.stack([score, -score, torch.full_like(score, -1e9)], dim=1)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {stage: self.encode_to(x, stage) for stage in self.stage_names}

    def configuration(self) -> Mapping[str, Any]:
        return {}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("stage1", "stage2")

    @property
    def stage_names(self) -> tuple[str, ...]:
        return ("stage1", "stage2")


def frozen(factor: int = 2) -> Squeezes:
    network = Squeezes(factor)
    network.freeze()
    return network


def labelled_images(count: int, seed: int = 0, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 2, size, size, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return images + labels.reshape(-1, 1, 1, 1), labels


def batches(images: Tensor, labels: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(size), labels.split(size), strict=True))


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 13), batch=st.integers(1, 5), seed=st.integers(0, 99))
def test_streaming_equals_the_direct_computation(count: int, batch: int, seed: int) -> None:
    network = frozen()
    images, labels = labelled_images(count, seed)
    streamed = LatentStatistics.collect(
        network, batches(images, labels, batch), CLASSES, transport=False
    )

    last = network.encode(images).double()
    first = network.encode_to(images, "stage1").double()
    predicted = network(images).argmax(1)
    for label in range(3):
        mine = labels == label
        assert streamed.true_counts[label] == int(mine.sum())
        if mine.any():
            expected = last[mine].mean(0)
            torch.testing.assert_close(
                streamed.true_means[label].double(), expected, rtol=1e-6, atol=1e-6
            )
            vectors = first[mine].permute(0, 2, 3, 1).reshape(-1, 8)
            stage = streamed.stages["stage1"]
            torch.testing.assert_close(stage.means[label], vectors.mean(0))
            torch.testing.assert_close(
                stage.covariances[label], torch.cov(vectors.T, correction=0), rtol=1e-9, atol=1e-12
            )
        if (predicted == label).any():
            expected = last[predicted == label].mean(0)
            torch.testing.assert_close(
                streamed.predicted_means[label].double(), expected, rtol=1e-6, atol=1e-6
            )


def test_far_from_zero_the_covariance_keeps_its_digits() -> None:
    images, labels = labelled_images(6)
    near = LatentStatistics.collect(
        frozen(), batches(images.double(), labels, 2), CLASSES, transport=False
    )
    far = LatentStatistics.collect(
        frozen(), batches(images.double() + 1e6, labels, 2), CLASSES, transport=False
    )
    torch.testing.assert_close(
        near.stages["stage1"].covariances, far.stages["stage1"].covariances, rtol=1e-6, atol=1e-6
    )


def test_a_class_that_is_never_predicted_takes_its_true_mean_and_says_so() -> None:
    images, labels = labelled_images(12)
    statistics = LatentStatistics.collect(
        frozen(), batches(images, labels, 4), CLASSES, transport=False
    )
    assert "healthy" in statistics.never_predicted
    assert torch.equal(statistics.predicted_means[2], statistics.true_means[2])
    assert statistics.to_dict()["never_predicted"] == list(statistics.never_predicted)


def test_taken_apart_and_put_together_it_is_the_same() -> None:
    images, labels = labelled_images(9)
    statistics = LatentStatistics.collect(frozen(), batches(images, labels, 4), CLASSES)
    again = LatentStatistics.from_parts(statistics.tensors(), statistics.to_dict())
    assert again.to_dict() == statistics.to_dict()
    assert all(
        torch.equal(tensor, again.tensors()[name]) for name, tensor in statistics.tensors().items()
    )
    assert all(tensor.is_contiguous() for tensor in statistics.tensors().values())


def test_parts_that_are_missing_or_do_not_fit_are_refused() -> None:
    images, labels = labelled_images(9)
    statistics = LatentStatistics.collect(
        frozen(), batches(images, labels, 4), CLASSES, transport=False
    )
    tensors, plain = statistics.tensors(), statistics.to_dict()
    without = {name: tensor for name, tensor in tensors.items() if name != "stage1.means"}
    with pytest.raises(ModelFileError, match=r"stage1\.means"):
        LatentStatistics.from_parts(without, plain)
    with pytest.raises(ModelFileError, match="do not fit 2 classes"):
        LatentStatistics.from_parts(tensors, {**plain, "classes": ["a", "b"]})


def test_stages_with_very_many_channels_have_no_covariance() -> None:
    images, labels = labelled_images(4, size=16)
    statistics = LatentStatistics.collect(
        frozen(factor=8), batches(images, labels, 2), CLASSES, transport=False
    )
    assert LARGEST_COVARIANCE < 8 * 8**2
    assert set(statistics.stages) == {"stage1"}


def test_cancelled_it_returns_what_it_has() -> None:
    images, labels = labelled_images(9)
    statistics = LatentStatistics.collect(
        frozen(), batches(images, labels, 3), CLASSES, cancelled=lambda: True
    )
    assert sum(statistics.true_counts) == 3
    assert not statistics.complete


def test_batches_are_taken_one_by_one() -> None:
    images, labels = labelled_images(9)

    def stream() -> Iterator[tuple[Tensor, LongTensor]]:
        for image, label in zip(images, labels, strict=True):
            yield image[None], label[None].long()

    assert (
        sum(LatentStatistics.collect(frozen(), stream(), CLASSES, transport=False).true_counts) == 9
    )


def held_bytes(collector: LatentCollector) -> int:
    """Return the memory of all tensors a collector holds, each storage counted whole and once."""
    parts = collector.collectors
    moments = [vars(item) for stage in parts["stages"].moments.values() for item in stage]
    held = [value for item in moments for value in item.values() if isinstance(value, Tensor)]
    held += [crop for crops in parts["transport"].crops.crops for crop in crops]
    held += [pooled for kept in parts["distances"].pooled.kept for pooled in kept]
    held += [value for value in vars(collector).values() if isinstance(value, Tensor)]
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in held}
    return sum(storage.nbytes() for storage in storages.values())


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_why.transport.fit.CROPS_PER_CLASS", 6)
    monkeypatch.setattr("napari_why.model.class_distances.LATENTS_PER_CLASS", 6)
    collector, held = LatentCollector(frozen(), len(CLASSES), seed=0), []
    for round_ in range(4):
        for images, labels in batches(*labelled_images(120, seed=round_), 20):
            collector.add(images, labels)
        held.append(held_bytes(collector))
    assert held[1:] == held[:1] * 3
    pooled, crops = (
        collector.collectors["distances"].pooled,
        collector.collectors["transport"].crops,
    )
    for kept in (*pooled.kept, *crops.crops):
        for item in kept:  # nothing of its batch but what was chosen
            assert item.untyped_storage().nbytes() == item.numel() * item.element_size()
    assert sum(crops.seen) == 480


def test_bad_input_is_refused_in_words() -> None:
    images, labels = labelled_images(3)
    with pytest.raises(DatasetError, match="no image"):
        LatentStatistics.collect(frozen(), [], CLASSES, transport=False)
    with pytest.raises(DatasetError, match="label 7"):
        LatentStatistics.collect(
            frozen(), [(images, torch.tensor([0, 1, 7]))], CLASSES, transport=False
        )
    with pytest.raises(ParameterError, match="freeze"):
        LatentStatistics.collect(Squeezes(), [(images, labels)], CLASSES, transport=False)
