"""What attribution and counterfactuals ask of a network, and nothing more."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from threading import RLock
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from napari_why.core import events
from napari_why.core.errors import (
    CancellationError,
    NetworkBusyError,
    ParameterError,
    UnsupportedNetworkError,
)
from napari_why.networks.modules import check_batch, linear_weights

# seconds between two looks at whether the waiting was cancelled: not felt by a person, and next to
# no work for a processor
PATIENCE = 0.05


class NetworkUse:
    """The locks of one network, and of all that share its weights.

    Explanations of one network wait for each other, and training waits for the explanation that is
    under way. While a network is trained, whatever asks it for an answer is refused in words: its
    answer would be of a network half trained, and asking would disturb the training. Waiting holds
    nothing that a viewer needs and ends when it is cancelled; one thread may enter several times.
    """

    def __init__(self) -> None:
        # one for whole explanations, which take minutes, and one for single passes that put hooks
        # on or must meet none: a prediction waits for a pass of an explanation, not for its end
        self._turn, self._pass = RLock(), RLock()
        self._training = False

    def __deepcopy__(self, memo: Any) -> "NetworkUse":
        """Return a new one: nobody is at work with a copy yet, and locks cannot be copied."""
        return NetworkUse()

    def __reduce__(self) -> tuple[type["NetworkUse"], tuple[()]]:
        """Leave the locks out of what is pickled."""
        return NetworkUse, ()

    @contextmanager
    def explained(
        self,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> Iterator[None]:
        """Explain the network: wait until no other thread does.

        Parameters
        ----------
        on_event, cancelled
            See :mod:`napari_why.core.events`; asked while it waits.

        Raises
        ------
        NetworkBusyError
            It is being trained.
        CancellationError
            Cancelled while waiting.
        """
        self.refuse_training()
        self._take_turn(on_event, cancelled)
        try:
            self.refuse_training()  # it may have begun meanwhile
            yield
        finally:
            self._turn.release()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Make one forward pass that puts hooks on the network, or that must meet none.

        Raises
        ------
        NetworkBusyError
            The network is being trained.
        """
        with self._pass:
            self.refuse_training()
            yield

    @contextmanager
    def trained(
        self,
        on_event: events.OnEvent = events.ignore_event,
        cancelled: events.Cancelled = events.never_cancelled,
    ) -> Iterator[None]:
        """Train the network: wait for the explanation that is under way, and refuse all others.

        Parameters
        ----------
        on_event, cancelled
            See :mod:`napari_why.core.events`; asked while it waits.

        Raises
        ------
        NetworkBusyError
            It is being trained already.
        CancellationError
            Cancelled while waiting.
        """
        self.refuse_training()
        self._take_turn(on_event, cancelled)
        try:
            with self._pass:  # a pass that has begun is not to see weights change
                self.refuse_training()
                self._training = True
        finally:
            # not held for the hours of a training: who comes is to be told so, and not to wait
            self._turn.release()
        try:
            yield
        finally:
            self._training = False

    def refuse_training(self) -> None:
        """Raise NetworkBusyError where the network is being trained."""
        if self._training:
            raise NetworkBusyError(
                "the network is being trained, and what it would answer now is that of a network "
                "half trained; wait until the training has ended, or use a copy of the network "
                "(copy.deepcopy)"
            )

    def _take_turn(self, on_event: events.OnEvent, cancelled: events.Cancelled) -> None:
        if self._turn.acquire(blocking=False):
            return
        on_event(events.Message("waiting: the same network is being explained elsewhere"))
        while not self._turn.acquire(timeout=PATIENCE):
            if cancelled():
                raise CancellationError(
                    "cancelled while waiting for another explanation of the same network; nothing "
                    "was computed"
                )


@dataclass(frozen=True)
class TrainingPass:
    """A forward pass in training, with what only the network itself can tell about it.

    Parameters
    ----------
    maps : mapping of str to Tensor
        As ``feature_maps`` returns them.
    penalties : mapping of str to Tensor
        What training adds to the loss, by name: scalars with a gradient, already weighted. Unlike
        ``training_losses`` they say nothing about how well an image is dealt with, and the best
        epoch is chosen without them.
    log_determinant : callable or None
        ``(generator) -> Tensor of shape (N,)``: log|det| in nats of the encoder's Jacobian at each
        image, with a gradient, drawing from a generator on the CPU where it is an estimate. None
        of a network that is not invertible.
    """

    maps: Mapping[str, Tensor]
    penalties: Mapping[str, Tensor] = field(default_factory=dict)
    log_determinant: Callable[[torch.Generator], Tensor] | None = None


class Network(nn.Module, ABC):
    """An encoder with a head: ``forward(x) = head(encode(x))``.

    Input is a preprocessed batch (N, C, H, W) with the channels of the user's images; output are
    logits (N, classes). Subclasses use no in-place operation, one module instance per activation
    and a module (:class:`napari_why.networks.modules.ResidualSum`) for every residual sum, so
    that hooks see all of them.

    Attributes
    ----------
    name : str
        Registry name.
    input_channels, classes : int
        Size of the input's channel axis and of the output.
    frozen : bool
        Whether :meth:`freeze` was called.
    channels_last : bool
        Whether :meth:`lay_out` puts the weights' channels of a position side by side, for training and
        when it is frozen. On a processor most networks are quicker so; no weight changes by it. A network
        whose modules look at how maps lie in memory (``view``) may not work with it.
    black_box : bool
        Whether it can be asked for logits alone: it has neither gradients nor maps of layers, and its
        ``encode`` gives the image itself.
    use : NetworkUse
        Who is at work with it; networks that share weights share it.
    """

    name: str
    input_channels: int
    classes: int
    frozen: bool = False
    black_box: bool = False
    channels_last: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.use = NetworkUse()

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return the last feature maps (N, K, h, w) of a batch (N, C, H, W)."""

    @abstractmethod
    def head(self, features: Tensor) -> Tensor:
        """Return the logits (N, classes) of last feature maps (N, K, h, w)."""

    @abstractmethod
    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return feature maps (N, K, h, w) by layer name, from the first layer to the last.

        All stand in one autograd graph and the last entry equals ``encode(x)``, so that
        ``head(maps[last])`` gives logits with a gradient with respect to every map.
        """

    @abstractmethod
    def configuration(self) -> Mapping[str, Any]:
        """Return the JSON keyword arguments that rebuild this network with ``build_network``."""

    @property
    @abstractmethod
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers that ``feature_maps`` returns, first to last."""

    @property
    def located_layer(self) -> str:
        """Name of the last layer whose maps tell positions apart; what layer methods explain."""
        return self.layer_names[-1]

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, K) where the head is linear on globally averaged maps, else None."""
        return None

    def layer_weights(self) -> dict[str, Tensor]:
        """Return the weights (classes, K) of linear classifiers on averaged maps, by layer name.

        The head's for the last layer, where it is linear; those of a network with further ones
        (``auxiliary_logits``) for their layers. Class activation maps exist for these layers.
        """
        weights = self.linear_head_weights
        return {} if weights is None else {self.layer_names[-1]: weights}

    def auxiliary_logits(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return logits (N, classes) of further classifiers on ``feature_maps``, by layer name.

        The training loop adds the loss of each to that of the head. Most networks have none.
        """
        del maps
        return {}

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what training minimises beside the classification, by name; mostly nothing.

        The training loop adds these to the loss of the logits. In evaluation mode they are what
        the best epoch is chosen by too, and must not depend on chance. Where a training computes in
        bfloat16, what layers return is in it, and is taken to float32 before it is summed up
        (:func:`napari_why.core.devices.at_least_float32`).

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)
            A batch, augmented in training mode.
        maps : mapping of str to Tensor
            ``feature_maps(x)``, so that nothing is computed twice.

        Returns
        -------
        dict of str to Tensor
            Scalars with a gradient, already weighted, each a mean over the batch.
        """
        del x, maps
        return {}

    def training_pass(self, x: Tensor) -> TrainingPass:
        """Return ``feature_maps(x)`` and, where the network has any, penalties on this pass."""
        return TrainingPass(self.feature_maps(x))

    def settle(self) -> None:
        """Bring what is estimated from the weights up to date after they were exchanged.

        Training calls it on the average of weights; most networks estimate nothing.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of a batch (N, C, H, W)."""
        return self.head(self.encode(x))

    def freeze(self) -> None:
        """Make the network ready to be explained: evaluation mode, no gradients for weights.

        The weights keep their values, and may get another layout in memory (:attr:`channels_last`);
        normalisations stay what they are, since methods look at them. What asks for many passes folds
        them (:func:`napari_why.attribution.incremental.fold`).

        Raises
        ------
        NetworkBusyError
            It is being trained.
        """
        self.use.refuse_training()
        self.eval()
        # evidence is a gradient of the input; those of weights would take memory for nothing
        self.requires_grad_(False)
        self.lay_out()
        self.frozen = True

    def lay_out(self) -> None:
        """Lay the weights out as :attr:`channels_last` says; their values stay."""
        if self.channels_last:
            # cast: torch declares this form of ``to`` for tensors alone
            nn.Module.to(self, memory_format=torch.channels_last)


def refuse_black_box(network: Network, what: str) -> None:
    """Raise UnsupportedNetworkError where a network can be asked for logits alone.

    Parameters
    ----------
    network : Network
    what : str
        What was asked for: ``"an embedding"``.

    Raises
    ------
    UnsupportedNetworkError
        It can.
    """
    if network.black_box:
        raise UnsupportedNetworkError(
            f"{network.name}: found a network that can be asked for logits alone; expected one with "
            f"maps of its layers, which {what} is made of; make a torch module of it and wrap that "
            "(napari_why.networks.wrap)"
        )


class SequentialNetwork(Network):
    """A chain of named layers and a head in ``classifier``: what most classifiers are.

    Parameters
    ----------
    configuration : mapping
        The arguments of ``build_network``; ``input_channels`` and ``classes`` are read from it.
    """

    classifier: nn.Module

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.input_channels = int(configuration["input_channels"])
        self.classes = int(configuration["classes"])
        self._configuration = dict(configuration)

    @property
    @abstractmethod
    def chain(self) -> nn.Sequential:
        """The encoder; each network names it differently, and so do its saved weights."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the maps of the last layer."""
        check_batch(self.name, x, self.input_channels)
        maps: Tensor = self.chain(x)
        return maps

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of maps of the last layer."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of every layer."""
        check_batch(self.name, x, self.input_channels)
        maps = {}
        for name, layer in self.chain.named_children():
            maps[name] = x = layer(x)
        return maps

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers of the chain."""
        return tuple(name for name, _ in self.chain.named_children())

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``; ``frozen`` once frozen."""
        return self._configuration | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights (classes, K) of a head that is pooling and one linear layer, else None."""
        return linear_weights(self.classifier)


class DecodingNetwork(Network):
    """A network with a way back from latents to images.

    The encoder is a chain of stages; the latent after any of them can be changed, classified
    (``head(encode_from(z, stage))``) and made an image (``decode(z, stage)``).

    Attributes
    ----------
    locked : tuple of int
        Indices of the input channels that no counterfactual may change.
    """

    locked: tuple[int, ...] = ()

    @property
    @abstractmethod
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages, first to last; all are layer names too."""

    @abstractmethod
    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        """Return the latent (N, K, h, w) after ``stage`` of a batch (N, C, H, W).

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)
            Preprocessed.
        stage : str
            One of ``stage_names``.

        Returns
        -------
        Tensor, shape (N, K, h, w)
        """

    @abstractmethod
    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        """Return the last feature maps of a latent that was taken after ``stage``.

        Parameters
        ----------
        latent : Tensor, shape (N, K, h, w)
        stage : str
            The stage it was taken after.

        Returns
        -------
        Tensor, shape (N, K', h', w')
            What ``head`` takes.
        """

    @abstractmethod
    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the batch (N, C, H, W) of a latent taken after ``stage`` (None: the last).

        Parameters
        ----------
        latent : Tensor, shape (N, K, h, w)
        stage : str, optional
            The stage it was taken after.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            Preprocessed, like the images that are encoded.
        """

    def last_latent(self, x: Tensor) -> Tensor:
        """Return the latent after the last stage, which ``decode`` takes.

        Not always what ``encode`` returns: a head may have layers with maps of its own.
        """
        return self.encode_to(x, self.stage_names[-1])


class InvertibleNetwork(DecodingNetwork):
    """A network whose encoder can be run backwards: ``decode(encode_to(x, stage), stage)`` is x.

    Attributes
    ----------
    locked : tuple of int
        Indices of the input channels that pass through unchanged and condition the others. In
        every latent they come first, pixel-unshuffled, bit for bit.
    """

    def locked_latent_channels(self, stage: str | None = None) -> int:
        """Return how many leading channels of the latent after ``stage`` (None: last) are locked."""
        del stage
        return 0


LATENT = "latent"  # the one stage of generative networks, also in the files of classifiers


class GenerativeNetwork(DecodingNetwork):
    """A network that learns to give its input back from a latent of few numbers, and classifies it.

    The latent is the last feature map (N, K, 1, 1) and the only stage; the head is linear on it.
    ``decode(encode(x))`` is close to x at best: what the latent has no room for is lost.
    Subclasses say in ``training_losses`` what is minimised beside the classification.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels of the images that it decodes.
    latent_dimensions : int
        K.
    has_prior : bool
        Whether training drew the latents of all images to a standard normal distribution, so that
        a latent drawn from it stands for an image.
    """

    size: tuple[int, int]
    latent_dimensions: int
    has_prior: bool = False

    @abstractmethod
    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the images (N, C, H, W) of latents (N, K, 1, 1)."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        """``latent`` alone."""
        return (LATENT,)

    @property
    def located_layer(self) -> str:
        """The layer before the latent, which has but one position."""
        return self.layer_names[-2]

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        """Return the latent (N, K, 1, 1)."""
        self.check_stage(stage)
        return self.encode(x)

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        """Return the latent itself."""
        self.check_stage(stage)
        return latent

    def prior_latents(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latents (count, K, 1, 1) from the standard normal distribution, on the CPU.

        Parameters
        ----------
        count : int
            How many.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        Tensor, shape (count, K, 1, 1)

        Raises
        ------
        UnsupportedNetworkError
            Training gave the latents no distribution.
        """
        if not self.has_prior:
            raise UnsupportedNetworkError(
                f"{self.name}: its latents have no distribution to draw from; "
                "train a classifier with the network vae"
            )
        # on the CPU: the same seed then gives the same images on every device
        return torch.randn(count, self.latent_dimensions, 1, 1, generator=generator)

    def check_stage(self, stage: str | None) -> None:
        """Raise ParameterError unless ``stage`` is the latent (or None: the last)."""
        if stage not in (None, LATENT):
            raise ParameterError(f"stage: found {stage!r}; expected {LATENT}")


def fingerprint_of(weights: Mapping[str, Tensor], configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of all weights and of the configuration.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Their order does not matter; names, types, shapes and every bit do.
    configuration : mapping
        JSON types.

    Returns
    -------
    str
        64 characters.

    Examples
    --------
    >>> one = fingerprint_of({"w": torch.zeros(2)}, {"classes": ["a", "b"]})
    >>> one == fingerprint_of({"w": torch.zeros(2)}, {"classes": ["a", "c"]})
    False
    """
    digest = sha256(json.dumps(configuration, sort_keys=True, allow_nan=False).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
