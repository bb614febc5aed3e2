"""The steps of a fit, one method each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_why.classifier.after_training import AfterTraining
from napari_why.classifier.card import make_card
from napari_why.classifier.classifier import Classifier
from napari_why.classifier.fitting_checks import (
    FittingError,
    check_training_classes,
    nothing_trained,
    part_of,
)
from napari_why.classifier.held_out import held_out_metrics
from napari_why.classifier.image_facts import ImageFacts
from napari_why.classifier.lock_test import LockTest, can_lock, lock_test, wish
from napari_why.classifier.network_defaults import defaults_of
from napari_why.classifier.reconstruction import reconstruction_metrics
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.devices import limited_threads
from napari_why.errors import DatasetError
from napari_why.events import Cancelled, Event, Finished, Message, OnEvent
from napari_why.networks import GenerativeNetwork, Network, build_network
from napari_why.training import (
    Augmentation,
    Examples,
    TrainingError,
    TrainingResult,
    examples_of,
    train_network,
)
from napari_why.training.batches import Batches


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
        check_training_classes(dataset)
        names = tuple(self.channels or dataset.channels)
        decided = wish(self.parameters["lock"], self.network, self.network_parameters, names)
        network = self._built(dataset, decided)
        with limited_threads(self.parameters["threads"] or None):
            preprocessing = self._preprocessing(dataset)
            train = self._examples(dataset, "train", preprocessing)
            if train is None:
                raise DatasetError("split 'train': found no image; expected at least one")
            validation = self._examples(dataset, "validation", preprocessing)
            if decided is None:
                decided = self._lock_test(dataset, train, names)
                network = self._built(dataset, decided)
            try:
                facts = self._checkpoint_facts(dataset, preprocessing)
                result = self._trained(network, train, validation, facts)
            except TrainingError as error:
                if error.result is None or not error.result.best_epoch:
                    raise
                partial = self._classifier(
                    dataset, preprocessing, (train, validation), error.result, decided
                )
                raise FittingError(str(error), error.result, partial) from error
            if not result.best_epoch:
                raise nothing_trained(result)
            classifier = self._classifier(
                dataset, preprocessing, (train, validation), result, decided
            )
        cut_short = result.status == "cancelled" or bool(classifier.card["left_out"])
        self.on_event(Finished(partial=cut_short))
        return classifier

    @property
    def training_parameters(self) -> dict[str, Any]:
        """The parameters of the training, the network's own where the user gave 0."""
        own = asdict(defaults_of(self.network))
        given = {name: self.parameters[name] for name in own if self.parameters.get(name)}
        return own | given

    def _lock_test(
        self, dataset: Dataset, train: Examples, names: Sequence[str]
    ) -> LockTest | None:
        if not can_lock(self.network):
            return None
        outcome = lock_test(
            dataset.part("train"),
            train,
            names,
            seed=self.parameters["seed"],
            on_event=self._report,
            cancelled=self.cancelled,
        )
        if outcome is None:
            raise nothing_trained(None)
        return outcome

    def _built(self, dataset: Dataset, decided: LockTest | None) -> Network:
        names = tuple(self.channels or dataset.channels)
        locked = [str(names.index(name)) for name in (decided.locked if decided else ())]
        own = {"locked": ",".join(locked)} if locked else {}
        return build_network(
            self.network,
            input_channels=len(self.channels or dataset.channels),
            classes=len(dataset.classes),
            size=self.parameters["size"],
            seed=self.parameters["seed"],
            **{**self.network_parameters, **own},
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
        part = part_of(dataset, split)
        if part is None:
            return None
        examples = examples_of(
            part, preprocessing, dataset.classes, on_event=self._report, cancelled=self.cancelled
        )
        if examples is None:
            raise nothing_trained(None)
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
            loss=self.parameters["loss"],
            loss_weight=self.parameters["loss_weight"],
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
        examples: tuple[Examples, Examples | None],
        result: TrainingResult,
        decided: LockTest | None,
    ) -> Classifier:
        """Freeze, collect the statistics and measure, also after a training that was cancelled."""
        network = result.network
        network.to(result.device)
        network.freeze()
        facts = ImageFacts.measured(
            dataset.part("train"), preprocessing.channels, on_event=self._report
        )
        try:
            after = AfterTraining(
                network,
                {**self.parameters, **self.training_parameters},
                self._report,
                self.cancelled,
            )
            statistics = after.latent_statistics(examples[0], dataset.classes)
            second = after.second_network(examples)
            statistics = after.with_choices(
                statistics, second, preprocessing, examples[1], facts.dtypes[0]
            )
            metrics = {
                split: self._metrics(network, dataset, split, preprocessing)
                for split in ("validation", "test")
            }
        finally:
            network.to("cpu")
        parameters = {
            **self.parameters,
            **self.training_parameters,
            "channels": list(preprocessing.channels),
            "network_parameters": dict(self.network_parameters),
        }
        card = make_card(
            dataset, facts, result, parameters, preprocessing.notes, on_event=self._report
        )
        card |= {
            "left_out": after.left_out,
            "lock_test": decided.to_dict() if decided else None,
            "second_network": None
            if second is None
            else {
                **second.to_dict(),
                "test_accuracy": second.accuracy_on(
                    part_of(dataset, "test"), preprocessing, on_event=self._report
                ),
            },
        }
        return Classifier(
            network,
            preprocessing,
            dataset.classes,
            statistics,
            metrics,
            card,
            self.parameters["threads"] or None,
            second.network if second else None,
        )

    def _metrics(
        self, network: Network, dataset: Dataset, split: str, preprocessing: Preprocessing
    ) -> dict[str, Any] | None:
        part = part_of(dataset, split)
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
            found["reconstruction"] = reconstruction_metrics(
                network, images, preprocessing, total=len(batches), on_event=self._report
            )
        return found

    def _report(self, event: Event) -> None:
        # the tasks within a fit end with Finished; that of the fit itself comes once
        if not isinstance(event, Finished):
            self.on_event(event)
