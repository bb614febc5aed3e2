"""What a fit must have, and how it says that it has nothing."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from napari_why.core.devices import limited_threads
from napari_why.core.errors import DatasetError
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
from napari_why.core.options import Help, Range, Unit, parameters_of, validated
from napari_why.core.record import package_versions
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.duplicates import image_digest
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.after_training import AfterTraining
from napari_why.fitting.held_out import held_out_metrics
from napari_why.fitting.lock_test import LockTest, can_lock, lock_test, wish
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.model.reconstruction import reconstruction_metrics
from napari_why.networks import GenerativeNetwork, Network, build_network
from napari_why.training import (
    Augmentation,
    Examples,
    TrainingError,
    TrainingResult,
    examples_of,
    train_network,
)
from napari_why.training.examples import Batches
from napari_why.training.losses import LossName
from napari_why.training.settings import OptimiserName


class FittingError(TrainingError):
    """A fit whose training broke off; ``classifier`` is the best model so far."""

    def __init__(self, message: str, result: TrainingResult | None, classifier: Classifier) -> None:
        super().__init__(message, result)
        self.classifier = classifier


def part_of(dataset: Dataset, split: str) -> Dataset | None:
    """Return one part of a split data set, None where it has no image."""
    there = bool((dataset.table["split"] == split).any())
    return dataset.part(split) if there else None


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


def nothing_trained(result: TrainingResult | None) -> TrainingError:
    """Return the error of a fit that was cancelled before there was anything."""
    return TrainingError(
        "training was cancelled before its first epoch was finished; there is no classifier", result
    )


@dataclass(frozen=True)
class NetworkDefaults:
    """Training settings of a network; see :class:`~napari_why.training.settings.Settings`."""

    optimiser: OptimiserName
    learning_rate: float
    batch_size: int
    epochs: int
    step_size: int
    step_decay: float


NETWORK_DEFAULTS = {
    # optimisers, rates and batch sizes: Otto 2022, Mäder 2024
    "iresnet": NetworkDefaults("adamax", 5e-3, 20, 40, 15, 0.2),
    "resnext50": NetworkDefaults("adam", 1e-3, 15, 10, 5, 0.1),
    "cam_net": NetworkDefaults("adam", 1e-3, 20, 30, 15, 0.2),
    # a decoder takes longer to learn than a class
    "vae": NetworkDefaults("adam", 1e-3, 20, 60, 30, 0.3),
    "autoencoder": NetworkDefaults("adam", 1e-3, 20, 60, 30, 0.3),
    "denoising_autoencoder": NetworkDefaults("adam", 1e-3, 20, 60, 30, 0.3),
}
"""A further network takes those of ``cam_net``."""


def defaults_of(network: str) -> NetworkDefaults:
    """Return the settings for a network by registry name."""
    return NETWORK_DEFAULTS.get(network, NETWORK_DEFAULTS["cam_net"])


def make_card(
    dataset: Dataset,
    facts: ImageFacts,
    result: TrainingResult,
    parameters: Mapping[str, Any],
    notes: tuple[str, ...],
    *,
    on_event: OnEvent = ignore_event,
) -> dict[str, Any]:
    """Return the card of a classifier that was trained on a split data set.

    Parameters
    ----------
    dataset : Dataset
        Split; its fingerprint, groups and the images of each split are noted.
    facts : ImageFacts
        Of the training images.
    result : TrainingResult
    parameters : mapping
        Every parameter of the fit, the network's defaults filled in.
    notes : tuple of str
        What the user should know.
    on_event : callable
        See :mod:`napari_why.core.events`; every image of the training and validation splits is read.

    Returns
    -------
    dict
        ``network``, ``dataset``, ``splits`` (paths by split), ``seen_images`` (identity of the
        pixels of every image of the training and validation splits), ``images`` (facts), ``parameters``,
        ``training`` (history, best epoch, status, device, seed), ``notes``, ``versions`` and
        ``created`` (ISO 8601, UTC).
    """
    table = dataset.table
    splits = {
        str(name): [str(path) for path in rows["path"]] for name, rows in table.groupby("split")
    }
    card = {
        "network": result.network.name,
        "dataset": {
            "fingerprint": dataset.fingerprint,
            "images": len(dataset),
            "classes": list(dataset.classes),
            "group_columns": list(dataset.group_columns),
        },
        "splits": splits,
        "seen_images": _seen_images(dataset, on_event),
        "images": facts.to_dict(),
        "parameters": dict(parameters),
        "training": {
            "history": [_finite(metrics) for metrics in result.history],
            "best_epoch": result.best_epoch,
            "status": result.status,
            "device": result.device,
            "seed": result.seed,
        },
        "notes": list(notes),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(card, allow_nan=False))
    return plain


def _seen_images(dataset: Dataset, on_event: OnEvent) -> list[str]:
    rows = np.flatnonzero(dataset.table["split"].isin(["train", "validation"]))
    on_event(Started("noting which images were seen", len(rows)))
    digests = set()
    for done, row in enumerate(rows, start=1):
        digests.add(image_digest(dataset, int(row)))
        on_event(Advanced(done))
    return sorted(digests)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    # JSON has no infinity
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


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
        return Preprocessing.from_dataset(
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


__all__ = ["FittingError", "fit"]


def fit(
    dataset: Dataset,
    network: str = "iresnet",
    *,
    size: Annotated[
        int, Help("height and width the network sees"), Range(16, 4096), Unit("px")
    ] = 224,
    sizing: Annotated[
        Literal["resize", "crop"], Help("resize whole images, or cut out their centre")
    ] = "resize",
    intensity: Annotated[
        Literal["linear", "log1p", "asinh"],
        Help("how raw intensities are mapped before standardising; the last two tame heavy tails"),
    ] = "linear",
    epochs: Annotated[
        int, Help("passes over the training images; 0: the network's own"), Range(0, 10_000)
    ] = 0,
    batch_size: Annotated[
        int, Help("images per training step; 0: the network's own"), Range(0, 4096)
    ] = 0,
    learning_rate: Annotated[
        float, Help("size of the first training steps; 0: the network's own"), Range(0, 10)
    ] = 0.0,
    step_size: Annotated[
        int,
        Help("epochs after which the learning rate is cut; 0: the network's own"),
        Range(0, 10_000),
    ] = 0,
    step_decay: Annotated[
        float,
        Help("what the learning rate is then multiplied by; 0: the network's own"),
        Range(0, 1),
    ] = 0.0,
    patience: Annotated[
        int,
        Help("stop after so many epochs without a lower validation loss; 0: never"),
        Range(0, 10_000),
    ] = 10,
    augment: Annotated[
        bool, Help("flip and turn training images at random: right angles and up to 10 degrees")
    ] = True,
    auxiliary_weight: Annotated[
        float, Help("weight of the losses of a network's further classifiers"), Range(0, 100)
    ] = 1.0,
    loss: Annotated[
        LossName,
        Help(
            "what orders the latent: nothing; images near their class's mean; normally "
            "distributed classes (invertible networks)"
        ),
    ] = "cross_entropy",
    loss_weight: Annotated[
        float, Help("weight of the class distance or likelihood"), Range(0, 1000)
    ] = 1.0,
    lock: Annotated[
        str,
        Help(
            "channels that counterfactuals leave alone: auto tests which tell nothing; none; names"
        ),
    ] = "auto",
    second_network: Annotated[
        bool, Help("train a small second network, asked whether it agrees with counterfactuals")
    ] = True,
    seed: Annotated[
        int, Help("of splits, first weights, order and augmentation"), Range(0, 2**31 - 1)
    ] = 0,
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps")] = "auto",
    threads: Annotated[int, Help("processor threads; 0: all cores but one"), Range(0, 1024)] = 0,
    channels: Sequence[str] | None = None,
    network_parameters: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Classifier:
    """Train a network on a data set and return it with all that is needed to use it.

    Splits the data set if it is not split yet; takes the statistics of the preprocessing from the
    training images; trains; keeps the epoch with the lowest validation loss; freezes the network;
    collects the latent statistics of the training images (invertible networks); and measures it
    on the test images, which nothing before has looked at.

    Parameters
    ----------
    dataset : Dataset
    network : str
        A key of :data:`napari_why.networks.NETWORKS`.
    size, ..., threads
        See the annotations, which also make the form in the dock and the options in the shell. A
        0 stands for the network's own value where it says so.
    channels : sequence of str, optional
        Channels to look at; all by default.
    network_parameters : mapping, optional
        Further parameters of the network, such as ``{"blocks": "1,1", ...}``.
    folder : str or Path, optional
        Where to keep a checkpoint after each epoch.
    resume : bool
        Go on from the checkpoints in ``folder``.
    on_event, cancelled : callables
        See :mod:`napari_why.core.events`. Several tasks follow each other, each with its own Started;
        Finished comes once, at the end.

    Returns
    -------
    Classifier
        ``metrics`` has the entries ``validation`` and ``test``, each as
        :func:`~napari_why.fitting.held_out.held_out_metrics` returns it, with the entry
        ``reconstruction`` for a generative network, or None for a split
        without images. ``card["training"]["status"]`` is ``cancelled`` for a training that was:
        the classifier then is the best model so far. ``card["left_out"]`` lists what is missing
        since the work after the training was cancelled.

    Raises
    ------
    DatasetError
        The data set cannot be split, or a class has no training image.
    ParameterError
        A parameter is out of its range, or the size does not fit the network.
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
    given = locals()
    parameters = validated(fit, {item.name: given[item.name] for item in parameters_of(fit)})
    fitting = Fitting(
        network=network,
        parameters=parameters,
        channels=channels,
        network_parameters=network_parameters or {},
        folder=None if folder is None else Path(folder),
        resume=resume,
        on_event=on_event,
        cancelled=cancelled,
    )
    return fitting.run(dataset)
