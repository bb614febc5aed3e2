"""A second network, trained on its own: whether it agrees tells if a change is more than a trick."""

from dataclasses import dataclass
from typing import Any

import torch

from napari_why.core.events import (
    Advanced,
    Cancelled,
    Event,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.networks import Network, build_network
from napari_why.training import (
    Examples,
    TrainingError,
    TrainingOptions,
    examples_of,
    train_network,
)
from napari_why.training.examples import Batches, derived_seed

NETWORK = "small_cnn"
EPOCHS = 15
PATIENCE = 5
SMALLEST = 16
SEED_OF_ITS_OWN = 2


@dataclass(frozen=True)
class SecondNetwork:
    """A trained second network.

    Parameters
    ----------
    network : Network
        Frozen, on the CPU.
    accuracy : float or None
        On the validation images; None where there are none.
    """

    network: Network
    accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the card."""
        return {"network": NETWORK, "validation_accuracy": self.accuracy}

    def accuracy_on(
        self,
        images: Dataset | None,
        preprocessing: Preprocessing,
        *,
        on_event: OnEvent = ignore_event,
    ) -> float | None:
        """Return the share of images of a data set that it gets right; None without images."""
        if images is None:
            return None
        examples = examples_of(images, preprocessing, images.classes, memory_share=0)
        return _accuracy(self.network, examples, on_event)


def train_second_network(
    train: Examples,
    validation: Examples | None,
    *,
    input_channels: int,
    classes: int,
    size: int,
    seed: int,
    device: str = "auto",
    threads: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> SecondNetwork | None:
    """Train a small convolutional network on the images that another was trained on.

    Parameters
    ----------
    train, validation : Examples
        Preprocessed images with class indices.
    input_channels, classes, size : int
        Of the images.
    seed : int
        That of the first network; this one's weights and order are drawn from another.
    device, threads
        See :class:`napari_why.training.TrainingOptions`.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    SecondNetwork or None
        None when cancelled, for images below 16 pixels, or where the training broke off.
    """
    if size < SMALLEST or cancelled():
        return None
    own_seed = derived_seed(seed, SEED_OF_ITS_OWN)
    network = build_network(
        NETWORK, input_channels=input_channels, classes=classes, size=size, seed=own_seed
    )

    def report(event: Event) -> None:
        if not isinstance(event, Finished):
            on_event(event)

    on_event(Message("training a second network, for second opinions"))
    try:
        result = train_network(
            network,
            train,
            validation,
            TrainingOptions(
                epochs=EPOCHS, patience=PATIENCE, seed=own_seed, device=device, threads=threads
            ),
            on_event=report,
            cancelled=cancelled,
        )
    except TrainingError as error:
        on_event(Message(f"there is no second network: {error}"))
        return None
    if not result.best_epoch or result.status == "cancelled":
        return None
    result.network.to("cpu")
    result.network.freeze()
    return SecondNetwork(result.network, _accuracy(result.network, validation))


@torch.no_grad()
def _accuracy(
    network: Network, examples: Examples | None, on_event: OnEvent = ignore_event
) -> float | None:
    if examples is None:
        return None
    batches = Batches(examples, 32)
    on_event(Started("evaluating the second network", len(batches)))
    right = []
    for done, (images, labels) in enumerate(batches, start=1):
        right.append((network(images).argmax(1) == labels).double())
        on_event(Advanced(done))
    return float(torch.cat(right).mean())
