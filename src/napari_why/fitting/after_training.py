"""What the images still teach once a network is trained.

Training images give latent statistics and a second network, validation images choose how to
transport, held-out images tell how good all of it is, and the card says how it was made.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why import networks, training
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.errors import reason_of
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Message,
    OnEvent,
    Started,
    StopRequest,
    hurried,
    ignore_event,
    never_cancelled,
)
from napari_why.core.record import package_versions
from napari_why.datasets.dataset import Dataset, image_digest
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.transport_choice import TransportChooser
from napari_why.model.classifier import Classifier, softmax
from napari_why.model.familiarity import list_seen_groups
from napari_why.model.fitted_transport import refit_transport
from napari_why.model.image_facts import ImageFacts
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.quality import count_flagged
from napari_why.networks import Network
from napari_why.training import Examples, TrainingOptions, TrainingResult
from napari_why.training.examples import Batches, derived_seed
from napari_why.training.metrics import metrics_of_kept, reconstruction_metrics
from napari_why.transport import Mass
from napari_why.transport.back_translation import RestoringNetwork

# steps of a restoring network at most: half a minute on one core
RESTORING_STEPS = 200
# images encoded at once to choose a transport: about a training batch, which fits on the device
HELD_OUT_BATCH = 16


T = TypeVar("T")


@dataclass
class LeftOut:
    """Takes the steps that follow a training, and lists those that came to nothing.

    Training takes hours and what follows takes minutes: no failure of a step may cost the network.

    Parameters
    ----------
    on_event : callable
        See :mod:`napari_why.core.events`. What is left out is told as a Message.
    stop : StopRequest
        Asked by a KeyboardInterrupt during a step, which counts as Cancel. Once it hurries, no
        further step is taken.

    Attributes
    ----------
    entries : list of str
        What is missing, and in parentheses why; without a reason where it was cancelled.
    """

    on_event: OnEvent
    stop: StopRequest
    entries: list[str] = field(default_factory=list, init=False)

    def attempt(self, what: str, step: Callable[[], T], *, always: bool = False) -> T | None:
        """Take a step and return its result; None where it fails or is not waited for.

        Parameters
        ----------
        what : str
            What the step makes, in words for the list.
        step : callable
        always : bool
            Take it in a hurry too: it is quick, and much hangs on it.

        Returns
        -------
        object or None
            What ``step`` returned.
        """
        if self.stop.hurried and not always:
            self.cancel(what)
            return None
        try:
            return step()
        except KeyboardInterrupt:
            self.stop.ask()
            self.cancel(what)
        except Exception as error:  # noqa: BLE001 - whatever it was, the network is kept
            self.fail(what, error)
        # a step that ran out of memory must not leave the next one without
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def fail(self, what: str, error: Exception) -> None:
        """List something as left out since it failed, with the reason.

        Parameters
        ----------
        what : str
            What the step was to make, in words for the list.
        error : Exception
        """
        self._add(f"{what} ({reason_of(error)})", "failed")

    def cancel(self, what: str) -> None:
        """List something as left out since the work was cancelled."""
        self._add(what, "cancelled")

    def _add(self, entry: str, how: str) -> None:
        self.entries.append(entry)
        self.on_event(Message(f"{how}: left out {entry}", finding=True))


@dataclass(frozen=True)
class AfterTraining:
    """The steps that follow the training of a network with a way back to images.

    Parameters
    ----------
    network : Network
        Trained and frozen.
    options : TrainingOptions
        None left open.
    on_event, cancelled
        See :mod:`napari_why.core.events`. What a Cancel leaves out is told, and listed in ``left_out``.
    left_out : LeftOut
        Lists it.
    """

    network: Network
    options: TrainingOptions
    on_event: OnEvent
    cancelled: Cancelled
    left_out: LeftOut

    def collect_statistics(
        self,
        train: Examples,
        classes: tuple[str, ...],
        *,
        groups: NDArray[np.int64] | None = None,
        left_out: Collection[str] = (),
        transport: bool = True,
    ) -> LatentStatistics | None:
        """Collect the latent statistics of the training images.

        After a cancelled training too, and then of all of them: counterfactuals cannot do without.
        A Cancel that comes later ends them early, and so does a second one.

        Parameters
        ----------
        train : Examples
            Training images, not augmented.
        classes : tuple of str
            In the order of the network's outputs.
        groups : ndarray of int, shape (N,), optional
            The well of each image.
        left_out : collection of str
            Names of statistics that are not wanted.
        transport : bool
            Whether to fit the transport between the classes and the maps of pixels too.

        Returns
        -------
        LatentStatistics or None
            None of a network that makes no images.
        """
        if not isinstance(self.network, networks.DecodingNetwork):
            return None
        # asked once: a Cancel that comes during the collection has another meaning
        early = self.cancelled()
        found = LatentStatistics.collect(
            self.network,
            Batches(train, self.options.batch_size),
            classes,
            seed=self.options.seed,
            groups=_of_all(groups, train),
            transport=transport and not early,
            left_out=left_out,
            on_event=self.on_event,
            cancelled=(lambda: hurried(self.cancelled)) if early else self.cancelled,
        )
        if not found.complete:
            missing = len(train.labels) - sum(found.true_counts)
            self._leave_out(f"{missing} of {len(train.labels)} images in the latent statistics")
        # the transport is fitted last, and needs the statistics whole
        if isinstance(self.network, networks.InvertibleNetwork):
            if not found.transport:
                self._leave_out("the transport between the classes")
            elif not found.pixel_maps and "pixel_maps" not in left_out:  # fitted after it
                self._leave_out("the maps of pixels between the classes")
        return found

    def train_second_network(
        self, examples: tuple[Examples, Examples | None]
    ) -> "SecondNetwork | None":
        """Train a second network on the training and validation images; None without a use for it."""
        if not isinstance(self.network, networks.DecodingNetwork):
            return None
        found = train_second_network(
            *examples,
            self.options,
            classes=self.network.classes,
            on_event=self.on_event,
            cancelled=self.cancelled,
        )
        if found is None:
            self._leave_out("the second network")
        return found

    def choose_transport(
        self,
        statistics: LatentStatistics | None,
        preprocessing: Preprocessing,
        examples: tuple[Examples, Examples | None],
        dtype: str,
        groups: Sequence[NDArray[np.int64] | None] = (None, None),
    ) -> LatentStatistics | None:
        """Let held-out images choose how each direction is transported.

        The second network is not even given, for its opinion of the results is to be independent.

        Parameters
        ----------
        statistics : LatentStatistics or None
        preprocessing : Preprocessing
        examples : tuple of Examples
            Training images, by whose features it is told how the classes look, and validation images.
        dtype : str
            Of the training images.
        groups : sequence of ndarray, int64, or None
            Group numbers of both, as ``examples``.

        Returns
        -------
        LatentStatistics or None
            With the choices, and with restoring networks where these were trained; as they came where there
            is nothing to choose, or nothing to choose by.
        """
        transport = statistics.transport if statistics else None
        train, held_out = examples
        if statistics is None or transport is None or held_out is None:
            return statistics
        if not isinstance(self.network, networks.InvertibleNetwork):
            return statistics
        if not self.cancelled():
            self.on_event(
                events.Message("choosing how to transport each class, on validation images")
            )
        in_the_making = Classifier(
            self.network,
            preprocessing,
            statistics.classes,
            statistics,
            threads=self.options.threads or None,
        )
        chooser = TransportChooser(
            in_the_making,
            dtype,
            self.on_event,
            self.cancelled,
            # as many as the training had: a short fit stays short
            restoring_steps=min(
                RESTORING_STEPS,
                self.options.epochs * len(Batches(train, self.options.batch_size)),
            ),
        )
        # in the order of the table they would come from a well or two
        seed = self.options.seed
        training, others = (Batches(part, HELD_OUT_BATCH, seed) for part in (train, held_out))
        known = [
            _of_all(numbers, part) for numbers, part in zip(groups, (train, held_out), strict=True)
        ]
        of_training, of_others = (
            None if numbers is None else numbers[batches.order()].numpy()
            for numbers, batches in zip(known, (training, others), strict=True)
        )
        chosen = chooser.choose(others, training, (of_others, of_training))
        if not chooser.complete:
            directions = sum(mass == "full" for *_, mass in transport.maps)
            lost = directions - chooser.settled
            self._leave_out(
                f"how to transport {lost} of {directions} directions"
                if lost
                else "what else there may be (networks that undo a change, draws of responding cells)"
            )
        if chooser.pixel_maps is not None:
            statistics = statistics.with_part("pixel_maps", chooser.pixel_maps)
        return statistics.with_part("transport", chosen)

    def replicate_transport(
        self,
        statistics: LatentStatistics,
        wanted: Collection[tuple[int, int, Mass]],
        train: Examples,
        groups: NDArray[np.int64] | None = None,
    ) -> LatentStatistics:
        """Fit maps of the transport anew on groups drawn with replacement.

        Parameters
        ----------
        statistics : LatentStatistics
            With a transport.
        wanted : collection of (source, target, mass)
            See :func:`list_chosen_latents`.
        train : Examples
            Training images.
        groups : ndarray, int64, shape (images,), optional
            Of the training images.

        Returns
        -------
        LatentStatistics
            With the replicates; as they came where none were made.
        """
        transport = statistics.transport
        if not isinstance(self.network, networks.InvertibleNetwork) or transport is None:
            return statistics
        refitted = refit_transport(
            self.network,
            transport,
            Batches(train, self.options.batch_size),
            wanted,
            groups=_of_all(groups, train),
            seed=self.options.seed,
            on_event=self.on_event,
            cancelled=self.cancelled,
        )
        if refitted is None:
            self._leave_out("how sure the transport is")
            return statistics
        return statistics.with_part("transport", refitted)

    def measure(
        self,
        dataset: Dataset,
        split: str,
        preprocessing: Preprocessing,
        facts: ImageFacts | None = None,
    ) -> dict[str, Any] | None:
        """Measure the network on one part of a data set; None where that has no image.

        With ``facts`` of the training images also without the images that they flag.

        Parameters
        ----------
        dataset : Dataset
            Split.
        split : str
            The part that is measured: ``validation`` or ``test``.
        preprocessing : Preprocessing
        facts : ImageFacts, optional

        Returns
        -------
        dict or None
            See :func:`held_out_metrics`; with ``reconstruction`` for a generative network.
        """
        part = part_of(dataset, split)
        if part is None:
            self.on_event(
                events.Message(f"split {split!r} has no image: nothing is measured on it")
            )
            return None
        # read as they come: held-out images are looked at once, so keeping them has no use
        examples = training.examples_of(part, preprocessing, dataset.classes, memory_share=0)
        if examples is None:
            return None
        batches = Batches(examples, self.options.batch_size)
        flags = None
        if facts is not None and facts.quality is not None and not hurried(self.cancelled):
            flags = flag_images(facts, part, preprocessing, on_event=self.on_event)
        found = held_out_metrics(
            self.network,
            batches,
            part,
            dataset.classes,
            flags=flags,
            on_event=self.on_event,
            cancelled=lambda: hurried(self.cancelled),
        )
        if not found:
            self._leave_out(f"the metrics on the {split} images")
            return None
        if isinstance(self.network, networks.GenerativeNetwork):
            images = (batch for batch, _ in batches)
            found["reconstruction"] = reconstruction_metrics(
                self.network, images, preprocessing, total=len(batches), on_event=self.on_event
            )
        return found

    def _leave_out(self, what: str) -> None:
        if self.cancelled():  # else it is not there for another reason, which was told
            self.left_out.cancel(what)


def list_chosen_latents(statistics: LatentStatistics) -> list[tuple[int, int, Mass]]:
    """Return which maps of latents were chosen, or are undone by a network that was chosen.

    None of a classifier without maps of pixels: who left these out wanted a short fit.
    """
    transport, maps = statistics.transport, statistics.pixel_maps
    wanted: set[tuple[int, int, Mass]] = set()
    if transport is None or maps is None:
        return []
    for (source, target), choice in transport.choices.items():
        if choice.kind == "latent":
            wanted.add((source, target, choice.mass))
        elif choice.kind == "back_translated":
            # how sure a network is hangs on how sure the change is that it undoes
            found = maps.find(source, target, choice.kind)
            undoes = found.undoes if isinstance(found, RestoringNetwork) else None
            if undoes is not None and undoes[0] == "latent":
                wanted.add((target, source, undoes[1]))
    return sorted(wanted)


def _of_all(groups: NDArray[np.int64] | None, train: Examples) -> Tensor | None:
    """Return the groups of images; where some could not be read nobody knows whose group is whose."""
    known = groups is not None and len(groups) == len(train.labels)
    return torch.tensor(groups) if known else None


def part_of(dataset: Dataset, split: str) -> Dataset | None:
    """Return one part of a split data set, None where it has no image.

    Parameters
    ----------
    dataset : Dataset
        Split.
    split : str
        ``train``, ``validation`` or ``test``.

    Returns
    -------
    Dataset or None
    """
    there = bool((dataset.table["split"] == split).any())
    return dataset.part(split) if there else None


def held_out_metrics(
    network: Network,
    batches: Batches,
    dataset: Dataset,
    classes: Sequence[str],
    *,
    flags: Sequence[Sequence[str]] | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> dict[str, Any]:
    """Return the metrics of a frozen network on one part of a data set.

    Parameters
    ----------
    network : Network
    batches : Batches
        The part's images, in its order.
    dataset : Dataset
        The part; its groups make the metrics per well.
    classes : sequence of str
    flags : sequence of sequence of str, optional
        For what each image is flagged by a look at it alone (:func:`flag_images`).
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    dict
        ``images``: see :func:`~napari_why.training.metrics.classification_metrics`; ``groups``:
        the same over groups with averaged probabilities, and ``by_group``: one record per group
        (both None for a data set without groups). ``without_flagged``, where flags were given: the
        same two without the images that are flagged, and ``flagged``, how many these are by class
        (:func:`~napari_why.model.quality.count_flagged`). Empty when cancelled.
    """
    on_event(events.Started("evaluating", len(batches)))
    device = next(network.parameters()).device
    logits: list[Tensor] = []
    with torch.no_grad():
        for done, (images, _) in enumerate(batches, start=1):
            if cancelled():
                return {}
            logits.append(network(images.to(device)).cpu())
            on_event(events.Advanced(done))
    # all logits together: metrics such as ROC AUC are no means over batches
    probabilities = softmax(torch.cat(logits).numpy())
    labels = batches.examples.labels.numpy()
    found: dict[str, Any] = {
        "images": training.classification_metrics(labels, probabilities, classes),
        "groups": None,
        "by_group": None,
    }
    if dataset.group_columns:
        groups = dataset.table[list(dataset.group_columns)].astype(str)
        table = training.metrics_by(labels, probabilities, classes, groups)
        found["groups"] = training.group_metrics(table, classes)
        found["by_group"] = table.to_dict("records")
    if flags is not None:
        kept = np.array([not reasons for reasons in flags])
        groups = dataset.table[list(dataset.group_columns)].astype(str)
        found["without_flagged"] = {
            "flagged": count_flagged([classes[index] for index in labels], flags),
            **metrics_of_kept(
                labels, probabilities, classes, kept, groups if len(groups.columns) else None
            ),
        }
    return found


def flag_images(
    facts: ImageFacts,
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    on_event: OnEvent = ignore_event,
) -> list[tuple[str, ...]]:
    """Return for what each image is flagged: hardly any cells, out of focus, saturated.

    Parameters
    ----------
    facts : ImageFacts
        Of the training images, which say what is usual.
    dataset : Dataset
    preprocessing : Preprocessing
        Of the classifier.
    on_event : callable
        See :mod:`napari_why.core.events`; one step an image.

    Returns
    -------
    list of tuple of str
        One an image; empty where nothing is wrong with it.
    """
    on_event(Started("looking at content and focus", len(dataset)))
    flags = []
    for row in range(len(dataset)):
        unlike = facts.unlike(dataset.image(row), preprocessing)
        flags.append(facts.quality_flags(unlike))
        on_event(Advanced(row + 1))
    return flags


# the second network is of another kind than the first, so that it does not share its weaknesses,
# and quick to train, since every fit pays for it
SECOND_NETWORK = "small_cnn"
# half of what it is given when fitted for itself, and a short patience: it never predicts
SECOND_EPOCHS, SECOND_PATIENCE = 15, 5
SMALLEST = 16  # pixels a side: small_cnn halves its maps four times
SEED_OF_ITS_OWN = 2  # any number would do, but a fixed one: a fit repeated gives the same again
MEASURED_AT_ONCE = 32  # images; what limits it is memory alone


@dataclass(frozen=True)
class SecondNetwork:
    """A trained second network.

    Parameters
    ----------
    network : Network
        Frozen, on the CPU.
    accuracy, balanced : float or None
        On the validation images, and the mean over the classes that there are images of; None where
        there are none.
    """

    network: Network
    accuracy: float | None
    balanced: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the card."""
        return {
            "network": SECOND_NETWORK,
            "validation_accuracy": self.accuracy,
            "validation_balanced_accuracy": self.balanced,
            "had_a_say_in_the_transport": False,
        }

    def accuracy_on(
        self,
        images: Dataset | None,
        preprocessing: Preprocessing,
        *,
        on_event: OnEvent = ignore_event,
    ) -> float | None:
        """Return the share of images of a data set that it gets right; None without images.

        Parameters
        ----------
        images : Dataset or None
        preprocessing : Preprocessing
            Of the classifier.
        on_event : callable
            See :mod:`napari_why.core.events`.

        Returns
        -------
        float or None
            0 to 1.
        """
        if images is None:
            return None
        examples = training.examples_of(images, preprocessing, images.classes, memory_share=0)
        found = measure_accuracy(self.network, examples, on_event)
        return None if found is None else found[0]


def train_second_network(
    train: Examples,
    validation: Examples | None,
    options: TrainingOptions,
    *,
    classes: int,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> SecondNetwork | None:
    """Train a small convolutional network on the images that another was trained on.

    Parameters
    ----------
    train, validation : Examples
        Preprocessed images with class indices.
    options : TrainingOptions
        Of the first network. Its device and threads are taken over; weights and order are drawn
        from a seed made of its seed.
    classes : int
        How many there are.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    SecondNetwork or None
        None when cancelled, and for images below 16 pixels.

    Raises
    ------
    TrainingError
        The training broke off.
    """
    if cancelled():
        return None
    channels, *size = train.images([0]).shape[1:]
    if min(size) < SMALLEST:
        return None
    # another start and another order: what both networks agree on is no accident of either
    own_seed = derived_seed(options.seed, SEED_OF_ITS_OWN)
    network = networks.build_network(
        SECOND_NETWORK, input_channels=channels, classes=classes, size=size, seed=own_seed
    )

    def report(event: events.Event) -> None:
        if not isinstance(event, events.Finished):
            tell(event)

    tell = events.of_network(on_event, "second network")
    on_event(events.Message("training a second network, for second opinions"))
    result = training.train_network(
        network,
        train,
        validation,
        TrainingOptions(
            epochs=SECOND_EPOCHS,
            patience=SECOND_PATIENCE,
            seed=own_seed,
            device=options.device,
            threads=options.threads,
            class_weights=options.class_weights,
        ),
        on_event=report,
        cancelled=cancelled,
    )
    if not result.best_epoch or result.status == "cancelled":
        return None
    result.network.freeze()
    found = measure_accuracy(result.network, validation)
    return SecondNetwork(result.network, *(found or (None, None)))


@torch.no_grad()
def measure_accuracy(
    network: Network, examples: Examples | None, on_event: OnEvent = ignore_event
) -> tuple[float, float] | None:
    """Return accuracy and balanced accuracy of a network on the CPU; None without images.

    Parameters
    ----------
    network : Network
        Frozen, on the CPU.
    examples : Examples or None
    on_event : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    (float, float) or None
        0 to 1 each.
    """
    if examples is None:
        return None
    batches = Batches(examples, MEASURED_AT_ONCE)
    on_event(events.Started("evaluating the second network", len(batches)))
    right = []
    for done, (images, labels) in enumerate(batches, start=1):
        right.append(to_float64(network(images).argmax(1) == labels))
        on_event(events.Advanced(done))
    hits, labels = torch.cat(right), examples.labels
    recalls = [hits[labels == index].mean() for index in sorted(set(labels.tolist()))]
    return float(hits.mean()), float(torch.stack(recalls).mean())


def make_card(
    dataset: Dataset,
    facts: ImageFacts,
    result: TrainingResult,
    parameters: Mapping[str, Any],
    notes: tuple[str, ...],
    seen_images: Sequence[str] | None,
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
    seen_images : sequence of str or None
        From :func:`find_seen_images`; None where they are not known.

    Returns
    -------
    dict
        ``network``, ``dataset``, ``splits`` (paths by split), ``seen_images`` (identity of the
        pixels of every image of the training and validation splits; missing where they are not
        known), ``seen_groups`` (columns and names of their groups), ``images`` (facts), ``parameters``,
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
        **({} if seen_images is None else {"seen_images": list(seen_images)}),
        "seen_groups": list_seen_groups(dataset),
        "images": facts.to_dict(),
        "parameters": dict(parameters),
        "training": _describe_training(result),
        "notes": list(notes),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # through JSON here, where what it does not know becomes text or null: a parameter of another
    # package's network that JSON cannot hold must not cost the training when that is saved
    plain: dict[str, Any] = json.loads(json.dumps(card, default=str), parse_constant=_null)
    return plain


def make_bare_card(
    facts: ImageFacts, result: TrainingResult, seen_images: Sequence[str] | None
) -> dict[str, Any]:
    """Return the least that a classifier is used by, where :func:`make_card` failed.

    Parameters
    ----------
    facts : ImageFacts
        Of the training images.
    result : TrainingResult
    seen_images : sequence of str, or None
        See :func:`find_seen_images`; None where they could not be noted.

    Returns
    -------
    dict
        JSON types.
    """
    return {
        "network": result.network.name,
        **({} if seen_images is None else {"seen_images": list(seen_images)}),
        "images": facts.to_dict(),
        "training": _describe_training(result),
    }


def _describe_training(result: TrainingResult) -> dict[str, Any]:
    return {
        "history": [_finite(metrics) for metrics in result.history],
        "best_epoch": result.best_epoch,
        "status": result.status,
        "device": result.device,
        "batch_size": result.batch_size,
        "seed": result.seed,
    }


def _null(_constant: str) -> None:
    """Stand for a number that is not finite, which JSON cannot hold."""


def find_seen_images(dataset: Dataset, on_event: OnEvent) -> list[str]:
    """Return the identity of the pixels of every image of the training and validation splits.

    Parameters
    ----------
    dataset : Dataset
        Split.
    on_event : callable
        See :mod:`napari_why.core.events`; one step an image.

    Returns
    -------
    list of str
        Sorted, each once.
    """
    rows = np.flatnonzero(dataset.table["split"].isin(["train", "validation"]))
    on_event(Started("noting which images were seen", len(rows)))
    # of pixels, not of names: the same image under another name has still been seen
    digests = set()
    for done, row in enumerate(rows, start=1):
        digests.add(image_digest(dataset, int(row)))
        on_event(Advanced(done))
    return sorted(digests)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    # JSON has no infinity
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
