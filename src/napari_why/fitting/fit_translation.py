"""Add a translation between its classes to a classifier: a CycleGAN trained on its training images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_why.adversarial.cycle_gan import CycleGanOptions, fit_translators
from napari_why.core.console import shows_progress
from napari_why.core.errors import CancellationError, MismatchError, UnsupportedNetworkError
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.dataset import Dataset
from napari_why.fitting.fit_generator import identify, read_examples, training_part
from napari_why.model.classifier import Classifier
from napari_why.model.translation import TRANSLATION
from napari_why.networks.network import InvertibleNetwork
from napari_why.training import CheckpointFolder


@shows_progress
def fit_translation(
    classifier: Classifier,
    dataset: Dataset,
    options: CycleGanOptions | Mapping[str, Any] | None = None,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **changes: Any,
) -> Classifier:
    """Train translators between a classifier's classes, for the counterfactual method ``translation``.

    Network, statistics and predictions stay as they are. Channels that the network locks stay locked.
    Where another classifier makes the images of this one's counterfactuals, that one gets the
    translators.

    Parameters
    ----------
    classifier : Classifier
        With an invertible network, or with a generator that has one.
    dataset : Dataset
        The one that it was fitted to; of a split one only training images are used.
    options : CycleGanOptions or mapping, optional
        Single ones also by keyword.
    folder : str or Path, optional
        Keeps a checkpoint of the last epoch.
    resume : bool
        Go on from there.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the translators of the last finished epoch are
        kept, and say so.

    Returns
    -------
    Classifier
        A new one, with another fingerprint.

    Raises
    ------
    UnsupportedNetworkError
        No network that can be inverted.
    MismatchError
        Other classes.
    CancellationError
        Cancelled before there was an epoch.
    PlayError
        A training broke off.

    Examples
    --------
    >>> classifier = why.fit_translation(classifier, plate)  # doctest: +SKIP
    >>> why.counterfactual(classifier, image, "treated", "translation")  # doctest: +SKIP
    """
    chosen = CycleGanOptions.of(
        options if isinstance(options, CycleGanOptions) else None,
        {**({} if isinstance(options, CycleGanOptions) else options or {}), **changes},
    )
    network, statistics = classifier.network, classifier.latent_statistics
    if not isinstance(network, InvertibleNetwork) or statistics is None:
        if classifier.generator is None:
            raise UnsupportedNetworkError(
                f"translation: found a {network.name} without a generator; expected an invertible network "
                "with latent statistics: train an iresnet, or this one with generator='iresnet'"
            )
        made = fit_translation(
            classifier.generator,
            dataset,
            chosen,
            folder=folder,
            resume=resume,
            on_event=on_event,
            cancelled=cancelled,
        )
        return replace(classifier, generator=made)
    if tuple(dataset.classes) != tuple(classifier.classes):
        raise MismatchError(
            f"found a data set of {', '.join(dataset.classes)}; expected {', '.join(classifier.classes)}"
        )
    known = classifier.card.get("dataset", {}).get("fingerprint")
    if known not in (None, dataset.fingerprint):
        on_event(
            Message(
                "the translators are trained on other images, or on another split, than the classifier: "
                "held-out images of the one may be training images of the other",
                finding=True,
            )
        )
    train = training_part(dataset)
    examples = read_examples(
        train, classifier.preprocessing, classifier.classes, on_event, cancelled
    )
    translators, results = fit_translators(
        examples,
        classifier.classes,
        network.locked,
        chosen,
        checkpoints=identify(
            CheckpointFolder.of(folder, resume=resume), train, classifier.preprocessing
        ),
        on_event=on_event,
        cancelled=cancelled,
    )
    if not translators.translators:
        raise CancellationError(
            "cancelled before the first epoch was finished; nothing was trained; start it anew"
        )
    card = {
        **classifier.card,
        TRANSLATION: {
            "parameters": chosen.to_dict(),
            "training": {pair: result.to_dict() for pair, result in results.items()},
        },
    }
    return replace(
        classifier,
        latent_statistics=statistics.with_part(TRANSLATION, translators),
        card=card,
        folder=None,
    )
