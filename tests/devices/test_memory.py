"""Where memory is short, half as much is done at a time, once, and said; then the error is in words."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from napari_why.attribution.occlusion import occlusion
from napari_why.core.devices import at_a_time, is_out_of_memory, retry_with_half
from napari_why.core.errors import OutOfMemoryError
from napari_why.core.events import Event, Message
from napari_why.networks import Network, wrap
from napari_why.training import (
    TensorExamples,
    TrainingError,
    TrainingOptions,
    train_network,
)

ERRORS = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
)


def failing(times: int, error: Exception) -> tuple[list[int], Callable[[], int]]:
    """Return sizes that were tried, and work that fails so often."""
    tried: list[int] = []

    def work() -> int:
        tried.append(at_a_time(64))
        if len(tried) <= times:
            raise error
        return tried[-1]

    return tried, work


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_half_is_tried_once_and_said(error: Exception) -> None:
    assert is_out_of_memory(error)
    tried, work = failing(1, error)
    heard: list[Event] = []
    assert retry_with_half(work, heard.append, "explaining") == 32
    assert tried == [64, 32]
    (said,) = heard
    assert isinstance(said, Message)
    assert said.finding
    assert "explaining: the memory did not suffice" in said.text
    assert at_a_time(64) == 64


def test_the_second_time_it_is_an_error_in_words() -> None:
    tried, work = failing(2, MemoryError())
    with pytest.raises(OutOfMemoryError, match=r"also with half as many.*smaller image"):
        retry_with_half(work, lambda event: None, "explaining")
    assert tried == [64, 32]
    assert at_a_time(64) == 64


def test_other_errors_are_not_tried_again() -> None:
    tried, work = failing(1, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        retry_with_half(work, lambda event: None, "explaining")
    assert tried == [64]


class Narrow(nn.Module):
    """Fails where more images than fit are in a batch, as a GPU does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.seen = most, []
        self.convolution = nn.Conv2d(2, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        found: Tensor = self.convolution(x)
        return found


def narrow_network(most: int) -> tuple[Network, Narrow]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = Narrow(10_000)  # while it is wrapped, which tries a batch
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    network = wrap(encoder, head, input_channels=2, classes=2)
    encoder.most = most
    return network, encoder


def train(
    most: int, heard: list[Event], batch_size: int = 16
) -> tuple[Network, Narrow, int | None]:
    network, encoder = narrow_network(most)
    encoder.seen.clear()
    generator = torch.Generator().manual_seed(0)
    images = TensorExamples(torch.randn(32, 2, 8, 8, generator=generator), torch.arange(32) % 2)
    options = TrainingOptions(
        batch_size=batch_size,
        epochs=2,
        learning_rate=1e-3,
        optimiser="adam",
        augment=False,
        averaging=0.5,
        patience=0,
        step_decay=1.0,
        auxiliary_weight=0.0,
        label_smoothing=0.0,
    )
    result = train_network(network, images, images, options, on_event=heard.append)
    return network, encoder, result.batch_size


def test_a_training_goes_on_with_half_the_batch() -> None:
    heard: list[Event] = []
    network, encoder, size = train(8, heard)
    assert size == 8
    assert encoder.seen[0] == 16
    assert set(encoder.seen[1:]) == {8}
    said = [event.text for event in heard if isinstance(event, Message) and event.finding]
    assert said == [
        "the memory of cpu did not suffice for batches of 16 images: all images of the epoch come again, "
        "after the steps taken so far, in batches of 8"
    ]
    # nothing was learnt before: the weights are those of a training with such batches
    other, _, _ = train(8, [], batch_size=8)
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_training_that_has_no_memory_for_half_of_it_says_so() -> None:
    with pytest.raises(TrainingError, match=r"memory of cpu did not suffice.*smaller batch size"):
        train(3, [])


def test_a_map_is_the_same_when_its_windows_went_half_at_a_time() -> None:
    network, encoder = narrow_network(10_000)
    network.freeze()
    x = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = occlusion(network, x, 1, window=4, stride=2, batch=12)
    encoder.most = 8
    heard: list[Event] = []
    halved = retry_with_half(
        lambda: occlusion(network, x, 1, window=4, stride=2, batch=12), heard.append, "explaining"
    )
    assert len(heard) == 1
    torch.testing.assert_close(halved.maps, whole.maps)
