"""The networks by name, how each is best trained, and how they are built.

This file knows no network: each registers itself, with :func:`register_network` above its builder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, Self, TypeVar

import torch

from napari_why.core.foreign_files import no_doors
from napari_why.core.options import (
    Help,
    Label,
    Options,
    Parameter,
    Presets,
    Range,
    Topic,
    parameters_of,
    validated,
)
from napari_why.core.registry import Registry
from napari_why.networks.modules import Size
from napari_why.networks.network import Network

Builder = Callable[..., Network]
BuilderType = TypeVar("BuilderType", bound=Builder)
OptimiserName = Literal["auto", "adam", "adamw", "adamax", "sgd"]
ScheduleName = Literal["auto", "step", "one_cycle"]
# torch's own: decay is part of AdamW as it was published, and of none of the others
USUAL_DECAY = {"adamw": 0.01}
OPTIMISER = Topic("optimiser")
LEARNING_RATE = Topic("learning rate")
# of these 0 says something (none of it), so that what stands for the network's own is below
SIGNED = ("weight_decay", "label_smoothing", "jitter", "averaging")
STEPS = ("step_size", "step_decay")


@dataclass(frozen=True, kw_only=True)
class TrainingSchedule(Options):
    """How long and in which steps to train; ``auto`` and 0 stand for the network's own value.

    Where 0 says something, -1 does. Declared here and not in the training room, since every network
    brings its own along.

    Parameters
    ----------
    epochs, batch_size : int
        Passes over the training images, and images a step.
    learning_rate : float
        Of the first epoch; with ``one_cycle`` the largest.
    optimiser : str
        ``auto``, ``adam``, ``adamw``, ``adamax`` or ``sgd`` (with momentum 0.9).
    step_size : int
        Epochs after which the learning rate is multiplied by ``step_decay``, again and again.
        Given, it asks for the schedule ``step``.
    step_decay : float
        At most 1; 1 keeps the learning rate as it is. Given, it asks for the schedule ``step``.
    schedule : {"auto", "step", "one_cycle"}
        ``step`` cuts the learning rate every few epochs. ``one_cycle`` raises it and lets it fall to
        almost nothing within the epochs that were asked for (Smith & Topin 2019, arXiv:1708.07120).
    weight_decay : float
        Decoupled with AdamW, an L2 penalty with the other optimisers.
    label_smoothing : float
        Share of the target that is spread over all classes (Szegedy et al. 2016); 0 for none.
    jitter : float
        Standard deviation of gain and offset, see :class:`~napari_why.training.Augmentation`.
    averaging : float
        Epochs over which the weights are averaged, see
        :class:`~napari_why.training.averaging.WeightAverage`; 0 for none.
    """

    # a quick look is a third of the usual 24 epochs, thorough twice as many
    epochs: Annotated[
        int,
        Help("passes over the training images; 0: the network's own"),
        Range(0, 10_000),
        Presets(quick_look=8, thorough=48),
    ] = 0
    batch_size: Annotated[
        int, Help("images per training step; 0: the network's own"), Range(0, 4096), OPTIMISER
    ] = 0
    learning_rate: Annotated[
        float,
        Help("size of the first training steps; 0: the network's own"),
        Range(0, 10),
        LEARNING_RATE,
    ] = 0.0
    optimiser: Annotated[
        OptimiserName,
        Help("how steps are made of gradients; auto: the network's own"),
        Label("method"),
        OPTIMISER,
    ] = "auto"
    step_size: Annotated[
        int,
        Help("epochs after which the learning rate is cut; 0: the network's own"),
        Range(0, 10_000),
        Label("cut every ... epochs"),
        LEARNING_RATE,
    ] = 0
    step_decay: Annotated[
        float,
        Help("what the learning rate is then multiplied by; 0: the network's own"),
        Range(0, 1),
        Label("multiplied by"),
        LEARNING_RATE,
    ] = 0.0
    schedule: Annotated[
        ScheduleName,
        Help(
            "how the learning rate goes: cut every few epochs (step), or up and down to almost nothing "
            "over all epochs (one_cycle); auto: the network's own"
        ),
        LEARNING_RATE,
    ] = "auto"
    weight_decay: Annotated[
        float,
        Help("how strongly weights are drawn to 0; -1: the network's own"),
        Range(-1, 10),
        OPTIMISER,
    ] = -1.0
    label_smoothing: Annotated[
        float,
        Help("share of each label that is spread over all classes; -1: the network's own"),
        Range(-1, 0.9),
        Topic("loss"),
    ] = -1.0
    jitter: Annotated[
        float,
        Help(
            "how much training images are made brighter and darker at random, as a share of the "
            "images' standard deviation; 0: not; -1: the network's own"
        ),
        Range(-1, 1),
        Label("random brightness"),
        Topic("images"),
    ] = -1.0
    averaging: Annotated[
        float,
        Help("epochs over which the weights are averaged; 0: not; -1: the network's own"),
        Range(-1, 1000),
        Label("averaged over epochs"),
        OPTIMISER,
    ] = -1.0

    @property
    def left_open(self) -> tuple[str, ...]:
        """Names of the settings that stand for the network's own values."""
        unused = STEPS if self.schedule == "one_cycle" else ()
        names = (item.name for item in fields(TrainingSchedule))
        return tuple(name for name in names if self._is_open(name) and name not in unused)

    def _is_open(self, name: str) -> bool:
        # no useful setting is "auto" or 0, or -1 where 0 is, so these say "not given" in a form too
        value = getattr(self, name)
        return bool(value < 0) if name in SIGNED else value in (0, "auto")

    def complete_with(self, own: "TrainingSchedule") -> Self:
        """Return the same with what is left open taken from a network's ``own`` schedule.

        Examples
        --------
        >>> TrainingSchedule(epochs=3).complete_with(USUAL_SCHEDULE).schedule
        'one_cycle'
        >>> TrainingSchedule(step_size=5).complete_with(USUAL_SCHEDULE).schedule
        'step'
        """
        names = (item.name for item in fields(TrainingSchedule))
        values = {name: getattr(own, name) for name in names if self._is_open(name)}
        if self.schedule == "auto" and not all(self._is_open(name) for name in STEPS):
            values["schedule"] = "step"  # whoever says how to cut the rate wants it cut
        if self.weight_decay < 0 and self.optimiser not in ("auto", own.optimiser):
            # a decay that is right for one optimiser is wrong for another
            values["weight_decay"] = USUAL_DECAY.get(self.optimiser, 0.0)
        return replace(self, **values)


# that of the CAM and the invertible network; one that says nothing is most likely of their kind. Rate,
# batch and epochs, smoothing and jitter: tried on 350 images of 112 pixels (docs/training.md).
# Averaging: two epochs, over which accuracies on validation images scatter a third as much. Decay:
# torch's own
USUAL_SCHEDULE = TrainingSchedule(
    epochs=24,
    batch_size=16,
    learning_rate=6e-3,
    optimiser="adamw",
    step_size=15,  # where a user asks for the schedule "step"
    step_decay=0.2,
    schedule="one_cycle",
    weight_decay=0.01,
    label_smoothing=0.05,
    jitter=0.1,
    averaging=2.0,
)


@dataclass(frozen=True)
class NetworkEntry:
    """A network that can be built by name.

    Parameters
    ----------
    title : str
        For menus.
    source : str
        Where it was published.
    builder : callable
        ``builder(*, input_channels, classes, size, frozen, **parameters)``; the parameters are
        annotated as :mod:`napari_why.core.options` says.
    training : TrainingSchedule, optional
        How it is best trained; what it leaves open is :data:`USUAL_SCHEDULE`'s.
    purpose : str
        What it is for, in a sentence for the user.
    """

    title: str
    source: str
    builder: Builder
    training: TrainingSchedule = USUAL_SCHEDULE
    purpose: str = ""

    def __post_init__(self) -> None:
        # completed here, so that whoever reads it finds no value left open
        object.__setattr__(self, "training", self.training.complete_with(USUAL_SCHEDULE))

    @property
    def name(self) -> str:
        """The builder's own name, under which :func:`register_network` puts it."""
        return self.builder.__name__

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The network's own parameters, in the order of the builder's signature."""
        return parameters_of(self.builder)

    @property
    def initial_weights(self) -> dict[str, Any]:
        """Parameters that name the weights to start from, and what stands there for none."""
        return {item.name: item.none for item in self.parameters if item.names_weights}


NETWORKS: Registry[NetworkEntry] = Registry("network", "napari_why.networks")
# What is never trained here: networks that a file of another program is loaded into. Apart from the
# others, so that no menu offers them for a training.
FOREIGN: Registry[NetworkEntry] = Registry("network", "napari_why.foreign_networks")


def find_network(name: str) -> NetworkEntry:
    """Return the network of that name, one that is trained here or one of another program.

    Raises
    ------
    ParameterError
        There is none.

    Examples
    --------
    >>> find_network("onnx").title
    'ONNX file (onnx)'
    """
    return FOREIGN[name] if name in FOREIGN else NETWORKS.named(name)


def register_network(
    *, title: str, source: str, training: TrainingSchedule = USUAL_SCHEDULE, purpose: str = ""
) -> Callable[[BuilderType], BuilderType]:
    """Put the decorated builder into :data:`NETWORKS` under its own name.

    ``NETWORKS["mine"] = NetworkEntry(title, source, builder)`` does the same under another name.

    Parameters
    ----------
    title : str
        Name for the user.
    source : str
        The paper the network comes from.
    training : TrainingSchedule, optional
        How it is best trained.
    purpose : str
        What it is for, in a sentence for the user.

    Returns
    -------
    callable
        The decorator, which returns the builder as it is.

    Examples
    --------
    >>> from napari_why.networks import NETWORKS
    >>> NETWORKS["iresnet"].training.optimiser, NETWORKS["small_cnn"].training.epochs
    ('adamw', 30)
    """

    def register(builder: BuilderType) -> BuilderType:
        NETWORKS.add(NetworkEntry(title, source, builder, training, purpose))
        return builder

    return register


def register_foreign_network(*, title: str, source: str) -> Callable[[BuilderType], BuilderType]:
    """Put the decorated builder into :data:`FOREIGN` under its own name.

    Parameters
    ----------
    title : str
        Name for the user.
    source : str
        Where such networks come from.

    Returns
    -------
    callable
        The decorator.
    """

    def register(builder: BuilderType) -> BuilderType:
        FOREIGN.add(NetworkEntry(title, source, builder))
        return builder

    return register


def build_network(
    name: str,
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    seed: int = 0,
    **parameters: Any,
) -> Network:
    """Build a network by name; ``build_network(**network.configuration())`` builds it again.

    Parameters
    ----------
    name : str
        A key of :data:`NETWORKS` or :data:`FOREIGN`.
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels.
    frozen : bool
        Build the skeleton of a frozen network, for its weights to be loaded.
    seed : int
        Of the initial weights; torch's own generator stays as it is.
    **parameters
        The builder's annotated parameters, see :func:`napari_why.core.options.parameters_of`.

    Returns
    -------
    Network
        On the CPU.

    Raises
    ------
    ParameterError
        Unknown network or parameter, a value out of range, a size that does not fit.

    Examples
    --------
    >>> network = build_network("cam_net", input_channels=2, classes=3, size=32)
    >>> network(torch.zeros(1, 2, 32, 32)).shape
    torch.Size([1, 3])
    """
    builder = find_network(name).builder
    checked = validated(builder, parameters)
    # the CPU's generator alone: networks are built there, also where they are trained elsewhere; and
    # torch.manual_seed, which seeds a GPU's too, takes a note of all callers for when there is one
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))
        return builder(
            input_channels=input_channels, classes=classes, size=size, frozen=frozen, **checked
        )


def build_skeleton(configuration: Mapping[str, Any]) -> Network:
    """Build a network for saved weights to be loaded into; no file is opened and nothing fetched.

    A parameter that names initial weights (marked :class:`~napari_why.core.options.InitialWeights`)
    gets the value that stands for none, whatever the configuration says.

    Parameters
    ----------
    configuration : mapping
        As :meth:`Network.configuration` returns it, or as a file of somebody else has it.

    Raises
    ------
    ParameterError
        See :func:`build_network`.
    """
    values = dict(configuration)
    values |= find_network(values["name"]).initial_weights
    with no_doors():
        return build_network(**values)
