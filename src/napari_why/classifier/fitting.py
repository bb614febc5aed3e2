"""The steps of a fit, one method each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_why.classifier.card import make_card
from napari_why.classifier.classifier import Classifier
from napari_why.classifier.held_out import held_out_metrics
from napari_why.classifier.image_facts import ImageFacts
from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.classifier.network_defaults import defaults_of
from napari_why.classifier.reconstruction import reconstruction_metrics
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.devices import limited_threads
from napari_why.errors import DatasetError
from napari_why.events import Cancelled, Event, Finished, Message, OnEvent
from napari_why.networks import DecodingNetwork, GenerativeNetwork, Network, build_network
from napari_why.training import (
    Augmentation,
    Examples,
    TrainingError,
    TrainingResult,
    examples_of,
    train_network,
)
from napari_why.training.batches import Batches


class FittingError(TrainingError):
    """A fit whose training broke off; ``classifier`` is the best model so far."""

    def __init__(self, message: str, result: TrainingResult | None, classifier: Classifier) -> None:
        super().__init__(message, result)
        self.classifier = classifier


@dataclass(frozen=True)
class Fitting:
    """What :func:`napari_why.fit` was asked for; :meth:`run` does it."""

    network: str
    parameters: Mapping[str, Any]
    channels: Sequence[str] | None
    network_parameters: Mapping[str, Any]
    folder: Path | None
    resume: bool
    on_event: OnEvent
    cancelled: Cancelled

    def run(self, dataset: Dataset) -> Classifier:
        """Train and measure; see :func:`napari_why.fit`."""
        if "split" not in dataset.table.columns:
            dataset = dataset.split(seed=self.parameters["seed"])
        _check_training_classes(dataset)
        network = self._built(dataset)
        with limited_threads(self.parameters["threads"] or None):
            preprocessing = self._preprocessing(dataset)
            train = self._examples(dataset, "train", preprocessing)
            if train is None:
                raise DatasetError("split 'train': found no image; expected at least one")
            validation = self._examples(dataset, "validation", preprocessing)
            try:
                facts = self._checkpoint_facts(dataset, preprocessing)
                result = self._trained(network, train, validation, facts)
            except TrainingError as error:
                if error.result is None or not error.result.best_epoch:
                    raise
                partial = self._classifier(dataset, preprocessing, train, error.result)
                raise FittingError(str(error), error.result, partial) from error
            if not result.best_epoch:
                raise _nothing_trained(result)
            classifier = self._classifier(dataset, preprocessing, train, result)
        self.on_event(Finished(partial=result.status == "cancelled"))
        return classifier

    @property
    def training_parameters(self) -> dict[str, Any]:
        """The parameters of the training, the network's own where the user gave 0."""
        own = asdict(defaults_of(self.network))
        given = {name: self.parameters[name] for name in own if self.parameters.get(name)}
        return own | given

    def _built(self, dataset: Dataset) -> Network:
        return build_network(
            self.network,
            input_channels=len(self.channels or dataset.channels),
            classes=len(dataset.classes),
            size=self.parameters["size"],
            seed=self.parameters["seed"],
            **self.network_parameters,
        )

    def _preprocessing(self, dataset: Dataset) -> Preprocessing:
        return Preprocessing.fitted(
            dataset,
            size=self.parameters["size"],
            fit=self.parameters["sizing"],
            intensity=self.parameters["intensity"],
            channels=self.channels,
            on_event=self._report,
            cancelled=self.cancelled,
        )

    def _examples(
        self, dataset: Dataset, split: str, preprocessing: Preprocessing
    ) -> Examples | None:
        part = _part(dataset, split)
        if part is None:
            return None
        examples = examples_of(
            part, preprocessing, dataset.classes, on_event=self._report, cancelled=self.cancelled
        )
        if examples is None:
            raise _nothing_trained(None)
        return examples

    def _checkpoint_facts(self, dataset: Dataset, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return what a resumed training must share beside its settings: images and mapping."""
        if self.folder is None:
            return {}
        return {
            "data set": dataset.fingerprint,
            **{f"preprocessing {key}": value for key, value in preprocessing.to_dict().items()},
        }

    def _trained(
        self,
        network: Network,
        train: Examples,
        validation: Examples | None,
        checkpoint_facts: Mapping[str, Any],
    ) -> TrainingResult:
        return train_network(
            network,
            train,
            validation,
            **self.training_parameters,
            patience=self.parameters["patience"],
            auxiliary_weight=self.parameters["auxiliary_weight"],
            augmentation=Augmentation() if self.parameters["augment"] else None,
            seed=self.parameters["seed"],
            device=self.parameters["device"],
            threads=self.parameters["threads"] or None,
            checkpoint_folder=self.folder,
            checkpoint_facts=checkpoint_facts,
            resume=self.resume,
            on_event=self._report,
            cancelled=self.cancelled,
        )

    def _classifier(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        train: Examples,
        result: TrainingResult,
    ) -> Classifier:
        """Freeze, collect the statistics and measure, also after a training that was cancelled."""
        network = result.network
        network.to(result.device)
        network.freeze()
        try:
            statistics = self._latent_statistics(network, train, dataset.classes)
            metrics = {
                split: self._metrics(network, dataset, split, preprocessing)
                for split in ("validation", "test")
            }
        finally:
            network.to("cpu")
        facts = ImageFacts.measured(dataset.part("train"), preprocessing.channels)
        parameters = {
            **self.parameters,
            **self.training_parameters,
            "channels": list(preprocessing.channels),
            "network_parameters": dict(self.network_parameters),
        }
        card = make_card(dataset, facts, result, parameters, preprocessing.notes)
        return Classifier(
            network,
            preprocessing,
            dataset.classes,
            statistics,
            metrics,
            card,
            self.parameters["threads"] or None,
        )

    def _latent_statistics(
        self, network: Network, train: Examples, classes: tuple[str, ...]
    ) -> LatentStatistics | None:
        if not isinstance(network, DecodingNetwork):
            return None
        batches = Batches(train, self.training_parameters["batch_size"])
        return LatentStatistics.fitted(
            network, batches, classes, seed=self.parameters["seed"], on_event=self._report
        )

    def _metrics(
        self, network: Network, dataset: Dataset, split: str, preprocessing: Preprocessing
    ) -> dict[str, Any] | None:
        part = _part(dataset, split)
        if part is None:
            self._report(Message(f"split {split!r} has no image: nothing is measured on it"))
            return None
        examples = examples_of(part, preprocessing, dataset.classes, memory_share=0)
        if examples is None:
            return None
        batches = Batches(examples, self.training_parameters["batch_size"])
        found = held_out_metrics(network, batches, part, dataset.classes, on_event=self._report)
        if isinstance(network, GenerativeNetwork):
            images = (batch for batch, _ in batches)
            found["reconstruction"] = reconstruction_metrics(network, images, preprocessing)
        return found

    def _report(self, event: Event) -> None:
        # the tasks within a fit end with Finished; that of the fit itself comes once
        if not isinstance(event, Finished):
            self.on_event(event)


def _part(dataset: Dataset, split: str) -> Dataset | None:
    there = bool((dataset.table["split"] == split).any())
    return dataset.part(split) if there else None


def _check_training_classes(dataset: Dataset) -> None:
    train = dataset.part("train")
    counts = np.bincount(train.labels, minlength=len(dataset.classes))
    missing = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    if missing:
        raise DatasetError(
            f"split 'train': found no image of {', '.join(missing)}; "
            "expected images of every class; split anew or add images"
        )


def _nothing_trained(result: TrainingResult | None) -> TrainingError:
    return TrainingError(
        "training was cancelled before its first epoch was finished; there is no classifier", result
    )
