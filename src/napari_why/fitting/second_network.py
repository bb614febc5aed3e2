"""The second network: small, of another kind, trained along for second opinions."""

from dataclasses import dataclass
from typing import Any

import torch

from napari_why import networks, training
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.networks import Network
from napari_why.training import Examples, TrainingOptions
from napari_why.training.examples import Batches, derived_seed

# the second network is of another kind than the first, so that it does not share its weaknesses,
# and quick to train, since every fit pays for it
SECOND_NETWORK = "small_cnn"


# half of what it is given when fitted for itself, and a short patience: it never predicts
SECOND_EPOCHS, SECOND_PATIENCE = 15, 5


SMALLEST = 16  # pixels a side: small_cnn halves its maps four times


SEED_OF_ITS_OWN = 2  # any number would do, but a fixed one: a fit repeated gives the same again


MEASURED_AT_ONCE = 32  # images; what limits it is memory alone


@dataclass(frozen=True)
class SecondNetwork:
    """A trained second network.

    Parameters
    ----------
    network : Network
        Frozen, on the CPU.
    accuracy, balanced : float or None
        On the validation images, and the mean over the classes that there are images of; None where
        there are none.
    """

    network: Network
    accuracy: float | None
    balanced: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the card."""
        return {
            "network": SECOND_NETWORK,
            "validation_accuracy": self.accuracy,
            "validation_balanced_accuracy": self.balanced,
            "had_a_say_in_the_transport": False,
        }

    def accuracy_on(
        self,
        images: Dataset | None,
        preprocessing: Preprocessing,
        *,
        on_event: OnEvent = ignore_event,
    ) -> float | None:
        """Return the share of images of a data set that it gets right; None without images.

        Parameters
        ----------
        images : Dataset or None
        preprocessing : Preprocessing
            Of the classifier.
        on_event : callable
            See :mod:`napari_why.core.events`.

        Returns
        -------
        float or None
            0 to 1.
        """
        if images is None:
            return None
        examples = training.examples_of(images, preprocessing, images.classes, memory_share=0)
        found = measure_accuracy(self.network, examples, on_event)
        return None if found is None else found[0]


def train_second_network(
    train: Examples,
    validation: Examples | None,
    options: TrainingOptions,
    *,
    classes: int,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> SecondNetwork | None:
    """Train a small convolutional network on the images that another was trained on.

    Parameters
    ----------
    train, validation : Examples
        Preprocessed images with class indices.
    options : TrainingOptions
        Of the first network. Its device, threads and precision are taken over; weights and order
        are drawn from a seed made of its seed.
    classes : int
        How many there are.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    SecondNetwork or None
        None when cancelled, and for images below 16 pixels.

    Raises
    ------
    TrainingError
        The training broke off.
    """
    if cancelled():
        return None
    channels, *size = train.images([0]).shape[1:]
    if min(size) < SMALLEST:
        return None
    # another start and another order: what both networks agree on is no accident of either
    own_seed = derived_seed(options.seed, SEED_OF_ITS_OWN)
    network = networks.build_network(
        SECOND_NETWORK, input_channels=channels, classes=classes, size=size, seed=own_seed
    )

    def report(event: events.Event) -> None:
        if not isinstance(event, events.Finished):
            tell(event)

    tell = events.of_network(on_event, "second network")
    on_event(events.Message("training a second network, for second opinions"))
    result = training.train_network(
        network,
        train,
        validation,
        TrainingOptions(
            epochs=SECOND_EPOCHS,
            patience=SECOND_PATIENCE,
            seed=own_seed,
            device=options.device,
            threads=options.threads,
            precision=options.precision,
            class_weights=options.class_weights,
        ),
        on_event=report,
        cancelled=cancelled,
    )
    if not result.best_epoch or result.status == "cancelled":
        return None
    result.network.freeze()
    found = measure_accuracy(result.network, validation)
    return SecondNetwork(result.network, *(found or (None, None)))


@torch.no_grad()
def measure_accuracy(
    network: Network, examples: Examples | None, on_event: OnEvent = ignore_event
) -> tuple[float, float] | None:
    """Return accuracy and balanced accuracy of a network on the CPU; None without images.

    Parameters
    ----------
    network : Network
        Frozen, on the CPU.
    examples : Examples or None
    on_event : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    (float, float) or None
        0 to 1 each.
    """
    if examples is None:
        return None
    batches = Batches(examples, MEASURED_AT_ONCE)
    on_event(events.Started("evaluating the second network", len(batches)))
    right = []
    for done, (images, labels) in enumerate(batches, start=1):
        right.append(to_float64(network(images).argmax(1) == labels))
        on_event(events.Advanced(done))
    hits, labels = torch.cat(right), examples.labels
    recalls = [hits[labels == index].mean() for index in sorted(set(labels.tolist()))]
    return float(hits.mean()), float(torch.stack(recalls).mean())
