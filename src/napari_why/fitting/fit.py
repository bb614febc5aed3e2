"""Fit a classifier to a labelled data set: the one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.devices import check_precision, choose_device, limited_threads
from napari_why.core.errors import DatasetError
from napari_why.core.events import Cancelled, OnEvent
from napari_why.datasets.data_checks import check_data
from napari_why.datasets.dataset import Dataset
from napari_why.fitting.fit_options import NO_GENERATOR, FitOptions
from napari_why.fitting.fit_steps import Fitting
from napari_why.fitting.lock_test import can_lock
from napari_why.model.classifier import Classifier
from napari_why.networks import NETWORKS
from napari_why.training import CheckpointFolder


@shows_progress
def fit(
    dataset: Dataset,
    network: str = "iresnet",
    options: FitOptions | None = None,
    *,
    channels: Sequence[str] | None = None,
    folder: str | Path | None = None,
    on_event: OnEvent = events.ignore_event,
    cancelled: Cancelled = events.never_cancelled,
    **changes: Any,
) -> Classifier:
    """Train a network on a data set and return it with all that is needed to use it.

    Splits the data set if it is not split yet; takes the statistics of the preprocessing from the
    training images; trains; keeps the epoch with the lowest validation loss; freezes the network;
    collects the latent statistics of the training images (invertible networks); and measures it
    on the test images, which had no part in the training nor in any choice. (They were compared with the
    others pixel by pixel before, and what else tells the class was looked for in all images.)

    Parameters
    ----------
    dataset : Dataset
    network : str
        A key of :data:`napari_why.networks.NETWORKS`.
    options : FitOptions, optional
        How to fit; what they leave open is the network's own.
    channels : sequence of str, optional
        Channels to look at; all by default.
    folder : str or Path, optional
        Where to keep a checkpoint after each epoch.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`. Without ``on_event`` progress is shown in the console
        (``on_event=napari_why.quiet``: nothing is).
        Several tasks follow each other, each with its own Started;
        Finished comes once, at the end.
    **changes
        Options by name, such as ``epochs=20``, ``network_parameters={"blocks": "1,1"}`` or
        ``resume=True``; they stand above those of ``options``.

    Returns
    -------
    Classifier
        ``metrics`` has the entries ``validation`` and ``test``, each as
        :func:`~napari_why.fitting.held_out_metrics.held_out_metrics` returns it, with the entry
        ``reconstruction`` for a generative network, or None for a split
        without images. ``card["training"]["status"]`` is ``cancelled`` for a training that was:
        the classifier then is the best model so far. ``card["left_out"]`` lists what is missing
        since the work after the training was cancelled or failed, then with the reason: no failure
        after the training costs the network; nor does one of the generator, which is then missing. A
        KeyboardInterrupt counts as cancelled once an epoch
        is finished; a second one leaves out all that follows the training. ``card["confounding"]``
        and ``card["notes"]`` say what else than the class tells the class, and what leaked.

    Raises
    ------
    DatasetError
        The data set cannot be split, or a class has no training image.
    LeakError
        The same pixels stand in two splits, under whatever names, and ``duplicates`` allows none.
    ParameterError
        An unknown option or one out of its range, or a size that does not fit the network.
    FittingError
        The training broke off after at least one epoch; ``error.classifier`` is the best so far.
    TrainingError
        It broke off or was cancelled before: there is no classifier.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> classifier = fit(simulate(24, size=32), "cam_net", size=32, epochs=1)
    >>> classifier.classes, classifier.metrics["test"]["images"]["images"]
    (('diseased', 'treated'), 4)
    """
    chosen = FitOptions.of(options, changes)
    # a split that is there is the user's, and may be that of another classifier to compare with
    if "split" not in dataset.table.columns:
        dataset = dataset.split(seed=chosen.seed)
    check_training_classes(dataset)
    # what cannot be is refused here, before any work
    NETWORKS.named(network)
    generating = chosen.generator != NO_GENERATOR
    own = chosen.for_network(network)
    check_precision(own.precision, choose_device(own.device).name)
    if generating:
        NETWORKS.named(chosen.generator)
        if not can_lock(network):
            own = replace(own, lock="auto")  # the generator's
    checkpoints = CheckpointFolder.of(folder, resume=chosen.resume)
    checked = check_data(dataset, chosen.duplicates, on_event=on_event, cancelled=cancelled)
    fitting = Fitting(
        checked.dataset,
        network,
        own,
        tuple(channels or dataset.channels),
        checkpoints,
        on_event,
        cancelled,
        checked,
    )
    # around all of it: reading, the lock test and measuring keep a viewer waiting as training does
    with limited_threads(chosen.threads or None):
        if generating:
            within = None if folder is None else Path(folder) / "generator"
            maker = replace(
                fitting,
                network=chosen.generator,
                options=chosen.of_generator(),
                role="generator",
                checkpoints=CheckpointFolder.of(
                    within, resume=chosen.resume and within is not None
                ),
            )
            maker.check_generator()
        prepared = fitting.prepare()
        classifier = fitting.run(prepared)
        if generating:
            classifier = maker.generate_for(classifier, prepared)
    cut_short = classifier.card["training"]["status"] == "cancelled" or classifier.card["left_out"]
    on_event(events.Finished(partial=bool(cut_short)))
    return classifier


def check_training_classes(dataset: Dataset) -> None:
    """Raise DatasetError where a class has no training image."""
    train = dataset.part("train")
    counts = np.bincount(train.labels, minlength=len(dataset.classes))
    missing = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    if missing:
        raise DatasetError(
            f"split 'train': found no image of {', '.join(missing)}; "
            "expected images of every class; split anew or add images"
        )
