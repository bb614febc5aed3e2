"""Finish a fit: make what a Cancel or a failure left out for counterfactuals."""

from dataclasses import fields, replace

from napari_why.core import events
from napari_why.core.devices import limited_threads
from napari_why.core.errors import DatasetError, MismatchError, UnsupportedNetworkError
from napari_why.core.events import Cancelled, OnEvent, StopRequest
from napari_why.datasets.data_checks import CheckedData, check_data
from napari_why.datasets.dataset import Dataset
from napari_why.fitting.after_training import AfterTraining
from napari_why.fitting.fit_options import FitOptions
from napari_why.fitting.fit_steps import Fitting
from napari_why.fitting.left_out import LeftOut
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.networks import DecodingNetwork

# what a classifier's list of things left out has that is of no counterfactual
APART = ("the metrics", "which images", "the card", "work on", "the generator", "of the generator")


def finish_fit(
    classifier: Classifier,
    dataset: Dataset,
    *,
    on_event: OnEvent = events.ignore_event,
    cancelled: Cancelled = events.never_cancelled,
) -> Classifier:
    """Make what the fit of a classifier left out for counterfactuals: after a Cancel, or a failure.

    The network stays as it is. Latent statistics and transport are made anew, with the options of the
    fit; a second network where there is none.

    Parameters
    ----------
    classifier : Classifier
        With a network that makes images.
    dataset : Dataset
        The one that it was fitted to, with the same splits.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`. What a Cancel leaves out is listed, as by :func:`napari_why.fit`.

    Returns
    -------
    Classifier

    Raises
    ------
    MismatchError
        Another data set, or other splits of it.
    UnsupportedNetworkError
        A network that makes no images, or a classifier whose card does not tell how it was fitted.
    DatasetError
        The data set has no training image.
    """
    card, network = classifier.card, classifier.network
    if not isinstance(network, DecodingNetwork) or "parameters" not in card:
        raise UnsupportedNetworkError(
            f"found a {network.name}; expected one that makes images, fitted by napari_why.fit"
        )
    checked = CheckedData(dataset)
    if card.get("duplicates_left_out"):
        checked = check_data(dataset, "leave_out", on_event=on_event, cancelled=cancelled)
    if "split" not in dataset.table.columns or (
        checked.dataset.fingerprint != card["dataset"]["fingerprint"]
    ):
        raise MismatchError(
            "found another data set, or other splits of it; expected the images that the classifier "
            "was trained on; open them again, with the same seed of the split"
        )
    known = {item.name for item in fields(FitOptions)}
    values = {name: value for name, value in card["parameters"].items() if name in known}
    if classifier.second_network is not None:
        values["second_network"] = False
    options, stop = FitOptions(**values), StopRequest(cancelled)
    steps = LeftOut(on_event, stop)
    fitting = Fitting(
        checked.dataset,
        network.name,
        options,
        classifier.channels,
        None,
        on_event,
        cancelled,
        checked,
    )
    facts = ImageFacts.from_dict(card["images"])
    with limited_threads(options.threads or None):
        train = fitting.examples("train", classifier.preprocessing)
        if train is None:
            raise DatasetError("split 'train': found no image; expected at least one")
        examples = (train, fitting.examples("validation", classifier.preprocessing))
        after = AfterTraining(network, options, fitting.report, stop, steps)
        statistics, second = fitting.prepare_counterfactuals(
            after, steps, classifier.preprocessing, facts, examples
        )
    apart = [entry for entry in classifier.left_out if entry.startswith(APART)]
    card = {**card, "left_out": [*apart, *steps.entries]}
    if second is not None:
        card["second_network"] = second.to_dict()
    on_event(events.Finished(partial=bool(steps.entries)))
    return replace(
        classifier,
        latent_statistics=statistics or classifier.latent_statistics,
        second_network=second.network if second else classifier.second_network,
        card=card,
    )
