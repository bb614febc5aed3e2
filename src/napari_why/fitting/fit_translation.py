"""Add to a classifier what leads from class to class: a CycleGAN, or a flow, of its training images."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_why.adversarial import PlayResult
from napari_why.adversarial.cycle_gan import CycleGanOptions, fit_translators
from napari_why.adversarial.flow_matching import FlowOptions, fit_class_flow
from napari_why.core.console import shows_progress
from napari_why.core.errors import CancellationError, MismatchError, UnsupportedNetworkError
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
)
from napari_why.datasets.data_checks import check_data
from napari_why.datasets.dataset import Dataset
from napari_why.fitting.fit_card import describe_generator
from napari_why.fitting.fit_generator import (
    TRAINED_ON_OTHERS,
    identify,
    read_examples,
    split_as_fit,
)
from napari_why.model.classifier import Classifier
from napari_why.model.latent_statistics import Statistic
from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION
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
        The one that it was fitted to, of which only training images are used; where it is not split, it is
        split as the fit did.
    options : CycleGanOptions or mapping, optional
        Single ones also by keyword.
    folder : str or Path, optional
        Keeps a checkpoint of the last epoch.
    resume : bool
        Go on from there.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the translators of the last finished epoch are
        kept, and say so.
    **changes
        Options by name; they stand above those of ``options``.

    Returns
    -------
    Classifier
        A new one, in no folder yet; it, or its generator, has another fingerprint.

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
    >>> import napari_why as why
    >>> plate = why.simulate(24, size=32).split(seed=0)
    >>> network = {"blocks": "1,1", "widths": "4,4", "downscaling": "2,2"}
    >>> quick = {"size": 32, "lock": "none", "pixel_maps": False, "network_parameters": network}
    >>> classifier = why.fit(plate, epochs=1, on_event=why.quiet, **quick)
    >>> found = why.fit_translation(classifier, plate, epochs=1, widths="4,6", on_event=why.quiet)
    >>> why.counterfactual(found, plate.image(0), "treated", "translation", steps=3).images.shape
    (3, 2, 32, 32)
    """
    chosen = CycleGanOptions.of(options, changes)
    return _add(
        classifier,
        dataset,
        TRANSLATION,
        partial(fit_translators, options=chosen),
        chosen.to_dict(),
        CheckpointFolder.of(folder, resume=resume),
        on_event,
        cancelled,
    )


@shows_progress
def fit_flow(
    classifier: Classifier,
    dataset: Dataset,
    options: FlowOptions | Mapping[str, Any] | None = None,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **changes: Any,
) -> Classifier:
    """Train a flow from noise to the free channels of each class, for the counterfactual method ``flow``.

    As :func:`fit_translation` in every other respect (Lipman et al. 2023, arXiv:2210.02747).

    Parameters
    ----------
    classifier, dataset, folder, resume, on_event, cancelled
        As for :func:`fit_translation`.
    options : FlowOptions or mapping, optional
        Single ones also by keyword.
    **changes
        Options by name; they stand above those of ``options``.

    Returns
    -------
    Classifier
        A new one, in no folder yet; it, or its generator, has another fingerprint.

    Raises
    ------
    UnsupportedNetworkError, MismatchError, CancellationError, PlayError
        As :func:`fit_translation`.
    """
    chosen = FlowOptions.of(options, changes)
    return _add(
        classifier,
        dataset,
        FLOW_OF_CLASSES,
        partial(fit_class_flow, options=chosen),
        chosen.to_dict(),
        CheckpointFolder.of(folder, resume=resume),
        on_event,
        cancelled,
    )


def needs_invertible(classifier: Classifier) -> str | None:
    """Return why a classifier can have neither translators nor a flow, None where it can."""
    own = (
        isinstance(classifier.network, InvertibleNetwork)
        and classifier.latent_statistics is not None
    )
    if own or classifier.generator is not None:
        return None
    return (
        f"found a {classifier.network.name} without a generator; expected an invertible network "
        "with latent statistics: train an iresnet, or this one with generator='iresnet'"
    )


Fit = Callable[..., tuple[Statistic | None, dict[str, PlayResult]]]
"""``(examples, classes, locked, *, checkpoints, on_event, cancelled)``."""


def _add(
    classifier: Classifier,
    dataset: Dataset,
    name: str,
    fit: Fit,
    parameters: Mapping[str, Any],
    checkpoints: CheckpointFolder | None,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> Classifier:
    """Return the classifier with a further statistic, or with a generator that has it."""
    network, statistics = classifier.network, classifier.latent_statistics
    if not isinstance(network, InvertibleNetwork) or statistics is None:
        if reason := needs_invertible(classifier):
            raise UnsupportedNetworkError(f"{name}: {reason}")
        assert classifier.generator is not None  # noqa: S101 - else there is a reason
        made = _add(
            classifier.generator, dataset, name, fit, parameters, checkpoints, on_event, cancelled
        )
        # in no folder yet: what is saved there has no such part
        card = {**classifier.card, "generator": describe_generator(made)}
        return replace(classifier, generator=made, folder=None, card=card)
    train = _split_as_trained(classifier, dataset, on_event, cancelled).part("train")
    preprocessing = classifier.preprocessing
    examples = read_examples(train, preprocessing, classifier.classes, on_event, cancelled)
    part, results = fit(
        examples,
        classifier.classes,
        network.locked,
        checkpoints=identify(checkpoints, train, preprocessing),
        on_event=on_event,
        cancelled=cancelled,
    )
    if part is None:
        raise CancellationError(
            "cancelled before the first epoch was finished; nothing was trained; start it anew"
        )
    how = {
        "parameters": dict(parameters),
        "training": {what: result.to_dict() for what, result in results.items()},
    }
    return replace(
        classifier,
        latent_statistics=statistics.with_part(name, part),
        card={**classifier.card, name: how},
        folder=None,
    )


def _split_as_trained(
    classifier: Classifier, dataset: Dataset, on_event: OnEvent, cancelled: Cancelled
) -> Dataset:
    """Return the data set split as it was for the classifier; tell where it is another one.

    Raises
    ------
    MismatchError
        It has other classes.
    """
    if tuple(dataset.classes) != tuple(classifier.classes):
        raise MismatchError(
            f"found a data set of {', '.join(dataset.classes)}; expected {', '.join(classifier.classes)}"
        )
    card = classifier.card
    dataset = split_as_fit(dataset, card.get("parameters", {}).get("seed", 0))
    if card.get("duplicates_left_out"):
        checked = check_data(dataset, "leave_out", on_event=on_event, cancelled=cancelled)
        dataset = checked.dataset
    if card.get("dataset", {}).get("fingerprint") not in (None, dataset.fingerprint):
        on_event(
            Message(TRAINED_ON_OTHERS.format(what="trained", other="classifier"), finding=True)
        )
    return dataset
