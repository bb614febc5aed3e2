"""A second network that has nothing in common with the one that is explained."""

from napari_why.classifier import Classifier
from napari_why.datasets import Dataset, Preprocessing
from napari_why.errors import DatasetError
from napari_why.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.networks import build_network
from napari_why.training import Augmentation, Examples, examples_of, train_network

SEED_OFFSET = 7919  # another seed than any classifier or second network of a classifier has
WIDTHS = "24,48,96,96"


def train_judge(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    size: int,
    seed: int = 0,
    epochs: int = 10,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Classifier:
    """Train a plain convolutional network of four layers.

    It sees the training images of the classifier but shares neither architecture nor seed with
    it, and no counterfactual method looks at it: a change that it follows is not a weakness of
    one network.

    Parameters
    ----------
    dataset : Dataset
        With a training split.
    preprocessing : Preprocessing
        Fitted on that.
    size : int
        Height and width of the prepared images.
    seed : int
        Of weights and order.
    epochs : int
        Passes over the training images.
    on_event, cancelled
        See :mod:`napari_why.events`.

    Returns
    -------
    Classifier
        Without latent statistics.
    """
    network = build_network(
        "small_cnn",
        input_channels=len(preprocessing.channels),
        classes=len(dataset.classes),
        size=size,
        seed=seed + SEED_OFFSET,
        widths=WIDTHS,
    )
    validated = bool((dataset.table["split"] == "validation").any())
    result = train_network(
        network,
        _examples(dataset, "train", preprocessing),
        _examples(dataset, "validation", preprocessing) if validated else None,
        epochs=epochs,
        learning_rate=2e-3,
        augmentation=Augmentation(),
        seed=seed + SEED_OFFSET,
        on_event=on_event,
        cancelled=cancelled,
    )
    return Classifier(result.network, preprocessing, dataset.classes)


def _examples(dataset: Dataset, split: str, preprocessing: Preprocessing) -> Examples:
    examples = examples_of(dataset.part(split), preprocessing, dataset.classes)
    if examples is None:  # only a cancelled reading gives nothing, and this one cannot be cancelled
        raise DatasetError(f"split {split!r}: found no image that could be read; expected some")
    return examples
