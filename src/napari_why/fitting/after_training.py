"""What the images still teach once a network is trained.

Training images give latent statistics and a second network, validation images choose how to
transport, and held-out images tell how good all of it is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why import networks, training
from napari_why.core import events
from napari_why.core.events import Cancelled, OnEvent, hurried
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.held_out_metrics import flag_images, held_out_metrics
from napari_why.fitting.left_out import LeftOut
from napari_why.fitting.second_network import SecondNetwork, train_second_network
from napari_why.fitting.transport_choice import TransportChooser
from napari_why.model.classifier import Classifier
from napari_why.model.fitted_transport import refit_transport
from napari_why.model.image_facts import ImageFacts
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import Network
from napari_why.training import Examples, TrainingOptions
from napari_why.training.examples import Batches
from napari_why.training.metrics import reconstruction_metrics
from napari_why.transport import Mass
from napari_why.transport.back_translation import RestoringNetwork

# steps of a restoring network at most: half a minute on one core
RESTORING_STEPS = 200


# images encoded at once to choose a transport: about a training batch, which fits on the device
HELD_OUT_BATCH = 16


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
    ) -> SecondNetwork | None:
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
            See :func:`~napari_why.fitting.held_out_metrics.held_out_metrics`; with ``reconstruction`` for a generative network.
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
