"""What can be trained that makes images, and one training of it: what it takes, and where it goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from weakref import finalize

from napari_why.core.torch_loading import import_torch
from napari_why.output.generation_snippets import (
    copy_generator_training,
    copy_predictor_training,
    copy_translation_training,
)
from napari_why.output.snippet_lines import Snippet

if TYPE_CHECKING:
    from napari_why.core.options import Options
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier


@dataclass(frozen=True)
class Trained:
    """One kind of network that can be trained here.

    Parameters
    ----------
    title, about : str
        For the user.
    options : type
        That declares what can be set.
    fit : callable
        ``(dataset, *, folder, resume, on_event, cancelled, **parameters)``; of what belongs to a
        classifier ``(classifier, dataset, ...)``, of channels ``(dataset, channel, ...)``.
    of : str
        What else it takes: ``classifier``, ``channel`` or nothing.
    """

    title: str
    about: str
    options: "type[Options]"
    fit: Callable[..., Any]
    of: str = ""


@dataclass(eq=False)
class Attempt:
    """One training, with all that it was started with, so that it can go on where it was stopped.

    Parameters
    ----------
    kind : Trained
    name : str
        Of the kind.
    dataset : Dataset
    channel : str
        That is predicted, by a kind that takes one.
    classifier : Classifier or None
        In use when it was started.
    parameters : mapping
        Of the fit.
    chosen : Path or None
        Where checkpoints are kept; None for a temporary folder, which goes with this object.

    Attributes
    ----------
    folder : Path
        Where checkpoints are.
    reached : object
        What it had made when it was stopped; None before.
    stopped : bool
        Whether it was cancelled, or broke off, before its end.
    """

    kind: Trained
    name: str
    dataset: "Dataset"
    channel: str
    classifier: "Classifier | None"
    parameters: Mapping[str, Any]
    chosen: Path | None = None
    folder: Path = field(init=False)
    reached: Any = field(default=None, init=False)
    stopped: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.chosen is None:
            place = mkdtemp(prefix="napari-why-")
            finalize(self, rmtree, place, ignore_errors=True)
            # one that is not there yet: a fit makes its folder itself
            self.folder = Path(place) / "checkpoints"
        else:
            self.folder = self.chosen

    @property
    def can_go_on(self) -> bool:
        """Whether it was stopped, and an epoch of it is kept."""
        return self.stopped and has_checkpoints(self.folder)

    def run(self, *, resume: bool, cancelled: Callable[[], bool], **listeners: Any) -> Any:
        """Train, from the beginning or from the last checkpoint on; called beside the viewer.

        Parameters
        ----------
        resume : bool
            Go on from the last checkpoint.
        cancelled : callable
            Asked between batches; what is trained until then is returned.
        **listeners : callable
            ``on_event``, see :mod:`napari_why.core.events`.

        Returns
        -------
        object
            What was trained: a generator, predictor or classifier, by the kind.
        """
        given: dict[str, tuple[Any, ...]] = {
            "classifier": (self.classifier, self.dataset),
            "channel": (self.dataset, self.channel),
        }
        result = self.kind.fit(
            *given.get(self.kind.of, (self.dataset,)),
            folder=self.folder,
            resume=resume,
            cancelled=cancelled,
            **listeners,
            **self.parameters,
        )
        self.stopped = bool(cancelled())
        return result

    def copy(self) -> Snippet:
        """Return it as lines to copy."""
        return copy_kind(
            self.name,
            self.dataset,
            self.parameters,
            channel=self.channel,
            classifier=self.classifier,
        )


def has_checkpoints(folder: Path) -> bool:
    """Tell whether a folder has checkpoints of a training."""
    # of torch, which is there once there is something to train
    from napari_why.training.checkpoint import holds_checkpoints

    return holds_checkpoints(folder)


def copy_kind(
    name: str,
    dataset: "Dataset",
    parameters: Mapping[str, Any],
    *,
    channel: str,
    classifier: "Classifier | None",
) -> Snippet:
    """Return a training as lines to copy.

    Parameters
    ----------
    name : {"generator", "predictor", "translation", "flow"}
    dataset : Dataset
    parameters : mapping
        Of the training, by name.
    channel : str
        The one to predict, of a predictor.
    classifier : Classifier or None
        That is to get a translation or flow.

    Returns
    -------
    Snippet

    Raises
    ------
    LookupError
        No classifier for a translation or flow.
    """
    if name == "generator":
        return copy_generator_training(dataset, parameters)
    if name == "predictor":
        return copy_predictor_training(dataset, channel, parameters)
    if classifier is None:
        raise LookupError(f"{name}: found no classifier; expected the one that it was trained for")
    return copy_translation_training(classifier, dataset, parameters, flow=name == "flow")


def import_trainings() -> tuple[dict[str, Trained], Any]:
    """Import what can be trained and its curves, and what tells why a classifier has no use for it."""
    import_torch()
    from napari_why.adversarial import CycleGanOptions, FlowOptions
    from napari_why.fitting.fit_channel_predictor import PredictorOptions, fit_channel_predictor
    from napari_why.fitting.fit_generator import GeneratorOptions, fit_generator
    from napari_why.fitting.fit_translation import fit_flow, fit_translation, needs_invertible
    from napari_why.widgets.plot import draw_once

    draw_once()
    kinds = {
        "generator": Trained(
            "Generator of new images (DCGAN)",
            "Learns to draw images of each class out of random numbers",
            GeneratorOptions,
            fit_generator,
        ),
        "predictor": Trained(
            "Channel predictor (conditional GAN)",
            "Learns what one channel looks like beside the others; what it invents is no evidence",
            PredictorOptions,
            fit_channel_predictor,
            of="channel",
        ),
        "translation": Trained(
            "Translation of the classifier (CycleGAN)",
            "Learns to turn images of one class into the other, for the page Counterfactual",
            CycleGanOptions,
            fit_translation,
            of="classifier",
        ),
        "flow": Trained(
            "Flow of the classifier",
            "Learns the way from noise to images of each class, for the page Counterfactual",
            FlowOptions,
            fit_flow,
            of="classifier",
        ),
    }
    return kinds, needs_invertible
