"""Fit a classifier to a labelled data set: the options, the one call, and its steps in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.devices import limited_threads
from napari_why.core.errors import (
    DatasetError,
    MismatchError,
    ParameterError,
    UnsupportedNetworkError,
)
from napari_why.core.events import Cancelled, OnEvent, StopRequest
from napari_why.core.options import Help, Label, Options, Presets, Range, Suggested, Topic, Unit
from napari_why.datasets.data_checks import CheckedData, Duplicates, check_data
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.after_training import (
    AfterTraining,
    LeftOut,
    SecondNetwork,
    find_seen_images,
    list_chosen_latents,
    make_bare_card,
    make_card,
    part_of,
)
from napari_why.fitting.lock_test import LockTest, can_lock, lock_test, read_wanted_lock
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import NETWORKS, DecodingNetwork, Network, build_network
from napari_why.training import (
    CheckpointFolder,
    Examples,
    TrainingError,
    TrainingOptions,
    TrainingResult,
    examples_of,
    train_network,
)

NO_GENERATOR = "none"
CLASSIFIER = "classifier"  # whose epochs an event is of
# of the networks in the literature (ImageNet, Otto 2022)
USUAL_SIZE = 224
# networks scale down by factors of 2, four times at most: of such a size all of them take images
SIZE_STEP = 16
IMAGES, COUNTERFACTUALS = Topic("images"), Topic("counterfactuals")


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """How images are made ready for the network.

    Parameters
    ----------
    size : int
        Height and width that the network sees, in pixels.
    sizing, intensity : str
        See :class:`~napari_why.datasets.Preprocessing`.
    """

    size: Annotated[
        int,
        Help("height and width to which images are brought for the network"),
        Range(16, 4096),
        Unit("px"),
        Label("image size"),
    ] = USUAL_SIZE
    sizing: Annotated[
        Literal["resize", "crop"],
        Help("resize whole images, or cut out their centre"),
        Label("brought to it by"),
        IMAGES,
    ] = "resize"
    intensity: Annotated[
        Literal["linear", "log1p", "asinh"],
        Help("how raw intensities are mapped before standardising; the last two tame heavy tails"),
        IMAGES,
    ] = "linear"


# the images' options stand last among the bases, so that they come first in forms and in help
@dataclass(frozen=True, kw_only=True)
class FitOptions(TrainingOptions, ImageOptions):
    """All options of :func:`napari_why.fit`.

    Parameters
    ----------
    lock : str
        Channels that counterfactuals leave alone: ``auto`` lets the lock test decide, ``none``, or
        names separated by commas.
    duplicates : str
        What becomes of pixels that stand in two splits: ``refuse`` raises an error; ``leave_out``
        leaves them out of validation and test; ``keep`` notes them.
    second_network : bool
        Whether a small second network is trained, for second opinions.
    pixel_maps : bool
        Whether maps of pixels between the classes are fitted, for ``transport`` to choose among.
    generator : str
        A network that is trained along on the same images, and makes the images of this classifier's
        counterfactuals; ``none``: its own network does, if it can. What stands here holds for both
        trainings, what is left open is each network's own; channels are locked in the generator.
    network_parameters, generator_parameters : mapping
        The network's own parameters, such as ``{"blocks": "1,1"}``; None: as the network has them.
    resume : bool
        Go on from the checkpoints in the fit's folder.
    size, sizing, intensity
        See :class:`ImageOptions`.
    epochs, ..., averaging, patience, ..., threads
        See :class:`~napari_why.training.TrainingOptions`.

    Examples
    --------
    >>> FitOptions(size=64, epochs=2).for_network("cam_net").schedule
    'one_cycle'
    """

    lock: Annotated[
        str,
        Help(
            "channels that counterfactuals leave alone: auto tests which tell next to nothing; "
            "none; names"
        ),
        Label("channels left alone"),
        COUNTERFACTUALS,
    ] = "auto"
    second_network: Annotated[
        bool,
        Help("train a small second network, asked whether it agrees with counterfactuals"),
        Presets(quick_look=False, thorough=True),
        COUNTERFACTUALS,
    ] = True
    # the two that take longest after the training, and that classifying does not need
    pixel_maps: Annotated[
        bool,
        Help("fit further ways to change images, of which transport takes what fits best; minutes"),
        Label("further ways to change"),
        Presets(quick_look=False, thorough=True),
        COUNTERFACTUALS,
    ] = True
    duplicates: Annotated[
        Duplicates,
        Help("identical pixels in two splits: an error; out of validation and test; kept"),
        Label("same image in two splits"),
        IMAGES,
    ] = "refuse"
    generator: Annotated[
        str,
        Help(
            "network that makes the images of counterfactuals for one that cannot, trained on the same "
            "images: iresnet, or none"
        ),
        Suggested((NO_GENERATOR, "iresnet")),
        COUNTERFACTUALS,
    ] = NO_GENERATOR
    # without a Help: forms and shell take a network's parameters from its builder
    network_parameters: Mapping[str, Any] | None = field(default_factory=dict)
    generator_parameters: Mapping[str, Any] | None = field(default_factory=dict)
    resume: bool = False

    def to_card(self, channels: Sequence[str]) -> dict[str, Any]:
        """Return the options as the card of a classifier has them, with the channels looked at.

        Where a training was resumed from does not matter to what came of it, and is left out.
        """
        values = self.to_dict()
        del values["resume"], values["generator_parameters"]
        if self.generator == NO_GENERATOR:
            del values["generator"]  # as cards always were
        else:
            values["generator_parameters"] = dict(self.generator_parameters or {})
        return values | {
            "channels": list(channels),
            "network_parameters": dict(self.network_parameters or {}),
        }

    def of_generator(self) -> "FitOptions":
        """Return the options by which the generator is fitted."""
        alone = replace(
            self,
            network_parameters=self.generator_parameters,
            generator=NO_GENERATOR,
            generator_parameters={},
        )
        return alone.for_network(self.generator)


class FittingError(TrainingError):
    """A fit whose training broke off; ``classifier`` is the best model so far."""

    def __init__(self, message: str, result: TrainingResult | None, classifier: Classifier) -> None:
        super().__init__(message, result)
        self.classifier = classifier


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
        :func:`~napari_why.fitting.after_training.held_out_metrics` returns it, with the entry
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
        See :mod:`napari_why.core.events`. What a Cancel leaves out is listed, as by :func:`fit`.

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


def propose_size(dataset: Dataset) -> int:
    """Return a size for the network that no image of a data set has to be blown up to.

    224 pixels, or the smaller side of the first image, down to what every network takes. It reads an
    image.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> propose_size(simulate(4, size=70))
    64
    """
    image = dataset.image(0)
    smaller = min(int(image.sizes["y"]), int(image.sizes["x"]))
    return max(SIZE_STEP, min(USUAL_SIZE, smaller // SIZE_STEP * SIZE_STEP))


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
    """The steps of :func:`fit` on a split data set; :meth:`run` takes them in order.

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
        """Train and measure; see :func:`fit`."""
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


def describe_generator(generator: Classifier) -> dict[str, Any]:
    """Return what a classifier's card tells of its generator, whose own card has all of it."""
    return {
        "network": generator.network.name,
        "fingerprint": generator.fingerprint,
        "locked": list(generator.locked_channels),
        **{
            f"{split}_balanced_accuracy": (found or {}).get("images", {}).get("balanced_accuracy")
            for split, found in generator.metrics.items()
        },
    }


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
