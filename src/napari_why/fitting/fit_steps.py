"""The steps of a fit in order: from a split data set to a trained and measured classifier."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from napari_why.core import events
from napari_why.core.errors import DatasetError, ParameterError
from napari_why.core.events import Cancelled, OnEvent, StopRequest
from napari_why.datasets.data_checks import CheckedData
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.after_training import AfterTraining, list_chosen_latents, part_of
from napari_why.fitting.fit_card import (
    describe_generator,
    find_seen_images,
    make_bare_card,
    make_card,
)
from napari_why.fitting.fit_options import FitOptions
from napari_why.fitting.left_out import LeftOut
from napari_why.fitting.lock_test import LockTest, can_lock, lock_test, read_wanted_lock
from napari_why.fitting.second_network import SecondNetwork
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import DecodingNetwork, Network, build_network
from napari_why.training import (
    CheckpointFolder,
    Examples,
    TrainingError,
    TrainingResult,
    examples_of,
    train_network,
)

CLASSIFIER = "classifier"  # whose epochs an event is of


class FittingError(TrainingError):
    """A fit whose training broke off; ``classifier`` is the best model so far."""

    def __init__(self, message: str, result: TrainingResult | None, classifier: Classifier) -> None:
        super().__init__(message, result)
        self.classifier = classifier


@dataclass(frozen=True)
class Prepared:
    """A data set made ready for training.

    Parameters
    ----------
    preprocessing : Preprocessing
        Fitted on the training images.
    facts : ImageFacts
        Of the training images.
    train : Examples
    validation : Examples or None
        None where there are no such images.
    """

    preprocessing: Preprocessing
    facts: ImageFacts
    train: Examples
    validation: Examples | None


@dataclass(frozen=True)
class Fitting:
    """The steps of :func:`napari_why.fit` on a split data set; :meth:`run` takes them in order.

    Parameters
    ----------
    dataset : Dataset
        Split.
    network : str
        Registry name.
    options : FitOptions
        None left open.
    channels : tuple of str
        In the network's order.
    checkpoints : CheckpointFolder or None
        Where to keep a checkpoint after each epoch.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    checked : CheckedData
        What was found about the data.
    role : str
        What the network is trained for, told with each epoch.
    """

    dataset: Dataset
    network: str
    options: FitOptions
    channels: tuple[str, ...]
    checkpoints: CheckpointFolder | None
    on_event: OnEvent
    cancelled: Cancelled
    checked: CheckedData
    role: str = CLASSIFIER

    def decide_lock(self) -> LockTest | None:
        """Return what the user decided of channels to lock; None where the test is to."""
        options = self.options
        return read_wanted_lock(
            options.lock, self.network, options.network_parameters or {}, self.channels
        )

    def check_generator(self) -> None:
        """Check that the network makes images, before any work.

        Raises
        ------
        ParameterError
            It makes none, or a parameter does not fit.
        """
        network = self.build(self.decide_lock())
        if not isinstance(network, DecodingNetwork):
            raise ParameterError(
                f"generator: found {self.network}, which makes no images; expected a network that does, "
                "such as iresnet"
            )

    def prepare(self) -> Prepared:
        """Measure and read the images."""
        options = self.options
        # built before anything is read: parameters that do not fit are refused at once
        self.build(self.decide_lock())
        preprocessing = Preprocessing.from_dataset(
            self.dataset,
            size=options.size,
            fit=options.sizing,
            intensity=options.intensity,
            channels=self.channels,
            on_event=self.report,
            cancelled=self.cancelled,
        )
        # of the training images alone: what a later image is compared with; before the training,
        # after which no image needs to be there any more for the classifier to be usable
        facts = ImageFacts.measure(self.dataset.part("train"), preprocessing, on_event=self.report)
        train = self.examples("train", preprocessing)
        if train is None:
            raise DatasetError("split 'train': found no image; expected at least one")
        return Prepared(preprocessing, facts, train, self.examples("validation", preprocessing))

    def generate_for(self, classifier: Classifier, prepared: Prepared) -> Classifier:
        """Return a classifier with a generator trained on its images; without where that fails.

        Parameters
        ----------
        classifier : Classifier
            Just fitted, whose card the outcome is noted on.
        prepared : Prepared
            The images that it was trained on.

        Returns
        -------
        Classifier
        """
        steps = LeftOut(self.report, StopRequest(self.cancelled))
        what = f"the generator ({self.network})"
        if classifier.card["training"]["status"] == "cancelled" or self.cancelled():
            steps.cancel(what)
            made = None
        else:
            self.report(events.Message("training the generator, for counterfactuals"))
            made = steps.attempt(what, partial(self.run, prepared))
            if made is not None and made.card["training"]["status"] == "cancelled":
                # half trained it would make images that nobody asked for
                steps.cancel(what)
                made = None
        missing = [f"of the generator: {entry}" for entry in (made.left_out if made else ())]
        card = {
            **classifier.card,
            "left_out": [*classifier.card["left_out"], *steps.entries, *missing],
            "generator": None if made is None else describe_generator(made),
        }
        return replace(classifier, card=card, generator=made)

    def run(self, prepared: Prepared) -> Classifier:
        """Train and measure; see :func:`napari_why.fit`."""
        options, decided = self.options, self.decide_lock()
        network = self.build(decided)
        preprocessing, facts = prepared.preprocessing, prepared.facts
        train, validation = prepared.train, prepared.validation
        if decided is None and can_lock(self.network):
            decided = self.test_lock(train)
            network = self.build(decided)
        try:
            result = train_network(
                network,
                train,
                validation,
                options,
                checkpoints=self.identify_checkpoints(preprocessing),
                on_event=self.report,
                cancelled=self.cancelled,
            )
        except TrainingError as error:
            # hours of training are kept; the error carries the classifier to whoever can save it
            if error.result is None or not error.result.best_epoch:
                raise
            best = self.finish(preprocessing, facts, (train, validation), error.result, decided)
            raise FittingError(str(error), error.result, best) from error
        if not result.best_epoch:
            raise nothing_trained_error(result)
        return self.finish(preprocessing, facts, (train, validation), result, decided)

    def build(self, decided: LockTest | None) -> Network:
        """Build the network, with the channels locked that were decided on."""
        parameters = dict(self.options.network_parameters or {})
        if decided is not None and decided.locked:
            # names become places here: a network knows channels by index alone
            places = (str(self.channels.index(name)) for name in decided.locked)
            parameters["locked"] = ",".join(places)
        return build_network(
            self.network,
            input_channels=len(self.channels),
            classes=len(self.dataset.classes),
            size=self.options.size,
            seed=self.options.seed,
            **parameters,
        )

    def examples(self, split: str, preprocessing: Preprocessing) -> Examples | None:
        """Read and preprocess one part of the data set; None where it has no image.

        Parameters
        ----------
        split : str
            ``train``, ``validation`` or ``test``.
        preprocessing : Preprocessing
            Fitted on the training images.

        Returns
        -------
        Examples or None

        Raises
        ------
        TrainingError
            Cancelled meanwhile.
        """
        part = part_of(self.dataset, split)
        if part is None:
            return None
        examples = examples_of(
            part,
            preprocessing,
            self.dataset.classes,
            on_event=self.report,
            cancelled=self.cancelled,
        )
        if examples is None:
            raise nothing_trained_error(None)
        return examples

    def test_lock(self, train: Examples) -> LockTest:
        """Let the training images decide which channels counterfactuals leave alone."""
        outcome = lock_test(
            self.dataset.part("train"),
            train,
            self.channels,
            seed=self.options.seed,
            on_event=self.report,
            cancelled=self.cancelled,
        )
        if outcome is None:
            raise nothing_trained_error(None)
        return outcome

    def identify_checkpoints(self, preprocessing: Preprocessing) -> CheckpointFolder | None:
        """Return the checkpoints, with the images and mapping that a resumed training must share."""
        if self.checkpoints is None:
            return None
        mapping = preprocessing.to_dict()
        facts = {f"preprocessing {key}": value for key, value in mapping.items()}
        return self.checkpoints.with_settings({"data set": self.dataset.fingerprint, **facts})

    def finish(
        self,
        preprocessing: Preprocessing,
        facts: ImageFacts,
        examples: tuple[Examples, Examples | None],
        result: TrainingResult,
        decided: LockTest | None,
    ) -> Classifier:
        """Freeze, collect the statistics and measure, also after a training that was cancelled.

        Whatever of it fails is left out; the network and the card are there in any case.

        Parameters
        ----------
        preprocessing : Preprocessing
        facts : ImageFacts
            Of the training images.
        examples : tuple of Examples
            Training images, and validation images or None.
        result : TrainingResult
        decided : LockTest or None
            Which channels are locked; None where none can be.

        Returns
        -------
        Classifier
        """
        network = result.network
        network.freeze()
        stop = StopRequest(self.cancelled)
        if result.status == "cancelled" and not stop():
            stop.ask()  # by a KeyboardInterrupt, which nobody else remembers
        steps = LeftOut(self.report, stop)
        after = AfterTraining(network, self.options, self.report, stop, steps)
        try:
            # training leaves it on the CPU, and what follows is long; one that does not fit there
            # any more does all of it where it is
            if not stop.hurried:
                steps.attempt(f"work on {result.device}", partial(move, network, result.device))
            statistics = second = None
            if isinstance(network, DecodingNetwork):
                statistics, second = self.prepare_counterfactuals(
                    after, steps, preprocessing, facts, examples
                )
            metrics = {
                split: self.attempt_metrics(after, steps, split, preprocessing, facts)
                for split in ("validation", "test")
            }
        finally:
            network.to("cpu")  # a classifier is used where there may be no GPU
        seen = steps.attempt(
            "which images were seen in training",
            partial(find_seen_images, self.dataset, self.report),
            always=True,
        )
        describe = partial(
            make_card,
            self.dataset,
            facts,
            result,
            self.options.to_card(preprocessing.channels),
            (*self.checked.notes, *preprocessing.notes),
            seen,
        )
        card = steps.attempt("the card of how it was made", describe, always=True)
        if card is None:
            card = make_bare_card(facts, result, seen)
        card |= self.checked.to_card()
        card["lock_test"] = decided.to_dict() if decided else None
        card["second_network"] = second.to_dict() if second else None
        if second:
            test = part_of(self.dataset, "test")
            card["second_network"]["test_accuracy"] = test and steps.attempt(
                "the accuracy of the second network on the test images",
                partial(second.accuracy_on, test, preprocessing, on_event=self.report),
            )
        card["left_out"] = steps.entries
        return Classifier(
            network,
            preprocessing,
            self.dataset.classes,
            statistics,
            metrics,
            card,
            self.options.threads or None,
            second.network if second else None,
        )

    def prepare_counterfactuals(
        self,
        after: AfterTraining,
        steps: LeftOut,
        preprocessing: Preprocessing,
        facts: ImageFacts,
        examples: tuple[Examples, Examples | None],
    ) -> tuple[LatentStatistics | None, SecondNetwork | None]:
        """Return what counterfactuals need beside the network, each where it could be made.

        Parameters
        ----------
        after : AfterTraining
            Makes them.
        steps : LeftOut
            Takes the steps, and lists what comes to nothing.
        preprocessing : Preprocessing
        facts : ImageFacts
            Of the training images.
        examples : tuple of Examples
            Training images, and validation images or None.

        Returns
        -------
        statistics : LatentStatistics or None
        second : SecondNetwork or None
            None too where the options ask for none.
        """

        def collect() -> LatentStatistics | None:
            collect_statistics = partial(
                after.collect_statistics,
                examples[0],
                self.dataset.classes,
                groups=self.dataset.part("train").groups,
                left_out=() if self.options.pixel_maps else ("pixel_maps",),
            )
            try:
                return collect_statistics()
            except Exception as error:  # noqa: BLE001 - whatever it was, the means may be there
                # without what asks for most time and memory: other methods do without the transport
                found = collect_statistics(transport=False)
                steps.fail("the transport between the classes", error)
                return found

        statistics = steps.attempt("the latent statistics", collect)
        second = None
        if self.options.second_network:
            second = steps.attempt(
                "the second network", partial(after.train_second_network, examples)
            )
        if statistics is None or statistics.transport is None:
            return statistics, second
        chosen = steps.attempt(
            "how to transport each direction",
            partial(
                after.choose_transport,
                statistics,
                preprocessing,
                examples,
                facts.dtypes[0],
                tuple(
                    None if part is None else part.groups
                    for part in (part_of(self.dataset, name) for name in ("train", "validation"))
                ),
            ),
        )
        statistics = chosen or statistics
        if wanted := list_chosen_latents(statistics):
            groups = self.dataset.part("train").groups
            refitted = steps.attempt(
                "how sure the transport is",
                partial(after.replicate_transport, statistics, wanted, examples[0], groups),
            )
            statistics = refitted or statistics
        return statistics, second

    def attempt_metrics(
        self,
        after: AfterTraining,
        steps: LeftOut,
        split: str,
        preprocessing: Preprocessing,
        facts: ImageFacts,
    ) -> dict[str, Any] | None:
        """Measure the network on a split; None where that has no image or it comes to nothing.

        Parameters
        ----------
        after : AfterTraining
            Measures them.
        steps : LeftOut
            Takes the step, and lists it where it comes to nothing.
        split : str
            ``validation`` or ``test``.
        preprocessing : Preprocessing
        facts : ImageFacts
            Of the training images.

        Returns
        -------
        dict or None
            See :meth:`AfterTraining.measure`.
        """
        measure = partial(after.measure, self.dataset, split, preprocessing, facts)
        if part_of(self.dataset, split) is None:
            return measure()  # which says so
        return steps.attempt(f"the metrics on the {split} images", measure)

    def report(self, event: events.Event) -> None:
        """Pass an event on; the tasks within a fit end with Finished, that of the fit comes once."""
        if isinstance(event, events.Finished):
            return
        listener = self.on_event
        if isinstance(event, events.EpochFinished) and (
            # the classifier's second network is simply the second network
            not event.network or self.role != CLASSIFIER
        ):
            listener = events.of_network(listener, self.role)
        listener(event)


def move(network: Network, device: str) -> None:
    """Move a network to a device; where it does not fit, none of it stays there.

    Parameters
    ----------
    network : Network
        Changed in place; back on the CPU where an error leaves here.
    device : str
        As torch names it.
    """
    try:
        network.to(device)
    except Exception:
        network.to("cpu")
        raise


def nothing_trained_error(result: TrainingResult | None) -> TrainingError:
    """Return the error of a fit that was cancelled before there was anything."""
    return TrainingError(
        "training was cancelled before its first epoch was finished; there is no classifier", result
    )
