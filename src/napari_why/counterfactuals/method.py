"""What a counterfactual method is: a function that gives a path, with a rule for its alphas."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
import xarray as xr
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.registry import Method, Needs, Registry
from napari_why.counterfactuals.alphas import (
    FULL_DISPLACEMENT,
    Scores,
    SpecialAlphas,
    alpha_for_probability,
    boundary,
    boundary_ahead,
    convincing_alpha,
    ecinn_alpha1,
    wanted_notes,
)
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import (
    DecodingNetwork,
    GenerativeNetwork,
    InvertibleNetwork,
    Network,
)
from napari_why.transport.responding_cells import CellSamples

if TYPE_CHECKING:
    from napari_why.model import Classifier


class AlphaRule(ABC):
    """How a method finds the alphas of its path; one for each way that methods know.

    alpha1, whose image is the answer, is never moved once it was found: a change is as large as the
    classes differ, not as large as it takes to convince the classifier.
    """

    @property
    def full_alpha(self) -> float | None:
        """Where the change is complete, as large as the classes differ; None where nobody knows."""
        return None

    @abstractmethod
    def find_alpha1(self, scores: Scores, probability: float) -> float | None:
        """Return the alpha of the answer on the head alone, None where there is none.

        Parameters
        ----------
        scores : Scores
            Class scores on the path.
        probability : float
            What p(target) should reach there, for rules that promise it.

        Returns
        -------
        float or None
        """

    @abstractmethod
    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return all special alphas on the head alone; nothing is inverted.

        Parameters
        ----------
        scores : Scores
            Class scores on the path.
        probability : float
            What p(target) should reach, for rules that promise it.

        Returns
        -------
        SpecialAlphas
            As found on the head.
        """

    def notes(
        self,
        found: SpecialAlphas,
        final: SpecialAlphas,
        reached: float | None,
        probability: float,
        target: str,
    ) -> list[str]:
        """Return what is to be said about the alphas that this rule found.

        Parameters
        ----------
        found, final : SpecialAlphas
            On the head, and as corrected on exported images.
        reached : float or None
            p(target) of the exported image at alpha1; None where that is no valid one.
        probability : float
            What was wanted.
        target : str
            Name of the target class.

        Returns
        -------
        list of str
            Sentences for the user; none by default.
        """
        del found, final, reached, probability, target  # only for rules that promise something
        return []


@dataclass(frozen=True)
class Convincing(AlphaRule):
    """Go past the boundary until the head is convinced, at most as far as the change is complete.

    For methods that trade the image for something else on their way, so that less is better once the
    head is convinced.

    Parameters
    ----------
    complete : float
        Where the change is complete; by default after the whole displacement.
    """

    complete: float = FULL_DISPLACEMENT

    @property
    def full_alpha(self) -> float:
        """Where the change is complete."""
        return self.complete

    def find_alpha1(self, scores: Scores, probability: float) -> float:
        """See :func:`convincing_alpha`; the complete change where the boundary is not before it."""
        crossing = None if scores.margin(0.0) > 0 else boundary(scores, maximum=self.complete)
        if crossing is None:
            return self.complete
        return convincing_alpha(scores, crossing, probability, self.complete)

    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return the boundary, which stands for alpha0 too, and the convincing alpha."""
        crossing = boundary_ahead(scores)
        return SpecialAlphas(crossing, crossing, self.find_alpha1(scores, probability))


@dataclass(frozen=True)
class Published(AlphaRule):
    """ECINN's formulas: ``alpha0`` from the hyperplane between the means, alpha1 = 4/5 + alpha0/2.

    Parameters
    ----------
    alpha0 : float or None
        Where the formula expects the boundary; None where the path runs along it.
    """

    alpha0: float | None

    def find_alpha1(self, scores: Scores, probability: float) -> float | None:
        """Return :func:`ecinn_alpha1`; the head is not asked."""
        del scores, probability
        return None if self.alpha0 is None else ecinn_alpha1(self.alpha0)

    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return the formulas' alphas beside the boundary that the head has."""
        return SpecialAlphas(
            boundary_ahead(scores), self.alpha0, self.find_alpha1(scores, probability)
        )


@dataclass(frozen=True)
class Complete(AlphaRule):
    """The method knows where its change is complete, whatever the head says there.

    Parameters
    ----------
    alpha : float
        That alpha: 1 is the whole displacement.
    asked : float
        The multiple of the complete change that the user asked for; 1 unless somebody did.
    """

    alpha: float = FULL_DISPLACEMENT
    asked: float = 1.0

    @property
    def full_alpha(self) -> float:
        """Where the change is complete, however much of it was asked for."""
        return self.alpha

    def find_alpha1(self, scores: Scores, probability: float) -> float:
        """Return the complete change, or the multiple that was asked for; the head is not asked."""
        del scores, probability
        return self.asked * self.alpha

    def find(self, scores: Scores, probability: float) -> SpecialAlphas:
        """Return the complete change, and apart from it where the wanted probability is reached."""
        crossing = boundary_ahead(scores)
        wanted = None
        if crossing is not None:
            wanted = alpha_for_probability(scores, probability, start=max(crossing, 0.0))
        return SpecialAlphas(crossing, crossing, self.find_alpha1(scores, probability), wanted)

    def notes(
        self,
        found: SpecialAlphas,
        final: SpecialAlphas,
        reached: float | None,
        probability: float,
        target: str,
    ) -> list[str]:
        """Say where the complete change has not the wanted probability."""
        del reached
        return wanted_notes(found, final, probability, target, self.alpha)


@dataclass(frozen=True)
class Versions:
    """Equally plausible versions of a complete change.

    Parameters
    ----------
    make : callable
        Given a number, yields that many preprocessed images (1, C, H, W) at most, changed.
    widening : float
        How many times as far as these versions lie apart their change is from the truth, which may be
        of another kind; measured on known changes.
    left : float
        Share of the squared change, as large as it is around a pixel, that it may be wrong by though all
        versions agree; measured on held-out images. 0 where nobody knows.
    """

    make: Callable[[int], Iterable[Tensor]]
    widening: float = 1.0
    left: float = 0.0


@dataclass(frozen=True)
class LatentPath:
    """The latents ``start + alpha * displacement``; alpha = 0 is that of the image itself.

    Parameters
    ----------
    stage : str
        The stage after which the latents are taken.
    start : Tensor, shape (1, K, h, w)
        Latent of the image.
    displacement : Tensor, shape (1, K, h, w)
        What alpha = 1 adds to it.
    rule : AlphaRule
        How the method finds alpha1. By default at the whole displacement at the latest.
    put_back : tuple of int
        Input channels whose pixels stay the source's at every alpha. Those that the network locks
        stay so without being named here, whatever the method.
    notes : tuple of str
        Sentences that the user should read beside the images.
    second_had_a_say : bool or None
        The second network was asked how this path should be, so that its opinion of the images is no
        independent one; None where that is not known.
    versions : Versions or None
        Of the complete change; None where there are none.
    samples : CellSamples or None
        Draws of what the image could be, of which this path leads to the first; None where there is one
        answer only.
    partly : (float, float) or None
        Share (0 to 1) of the cells that respond in the target class and its standard error, where held-out
        images show that only some do: which of them would respond was not learnt. None where that is not so.
    """

    stage: str
    start: Tensor
    displacement: Tensor
    rule: AlphaRule = field(default_factory=Convincing)
    put_back: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    second_had_a_say: bool | None = False
    versions: Versions | None = None
    samples: CellSamples | None = None
    partly: tuple[float, float] | None = None

    keeps_details = False  # whether the images hold more of the source than its latent does

    def at(self, alphas: Sequence[float]) -> Tensor:
        """Return the latents (A, K, h, w) at ``alphas``."""
        steps = torch.tensor(alphas, dtype=self.start.dtype, device=self.start.device)
        return self.start + steps.reshape(-1, 1, 1, 1) * self.displacement

    def images(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the preprocessed images (A, C, H, W) at ``alphas``.

        Parameters
        ----------
        network : DecodingNetwork
            That the latents are of.
        alphas : sequence of float
            Positions on the path, decoded together.

        Returns
        -------
        Tensor, shape (A, C, H, W)
        """
        return network.decode(self.at(alphas), self.stage)

    def complete_image(self, network: DecodingNetwork) -> Tensor:
        """Return the preprocessed image (1, C, H, W) after the whole displacement.

        For versions of a change, which are exported as images of the path are; an answer comes from the
        engine alone.
        """
        return self.images(network, [FULL_DISPLACEMENT])

    def logits(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the logits (A, classes) of the images at ``alphas``.

        An exact inverse need not be run for that: the latent is that of the image.

        Parameters
        ----------
        network : DecodingNetwork
            That the latents are of.
        alphas : sequence of float
            Positions on the path.

        Returns
        -------
        Tensor, shape (A, classes)
        """
        if isinstance(network, InvertibleNetwork):
            return network.head(network.encode_from(self.at(alphas), self.stage))
        logits: Tensor = network(self.images(network, alphas))
        return logits


def still_channels(network: DecodingNetwork, path: LatentPath) -> list[int]:
    """Return the input channels whose pixels stay the source's: locked, or put back by the path.

    Parameters
    ----------
    network : DecodingNetwork
        Its locked channels stay.
    path : LatentPath
        Its ``put_back`` stay.

    Returns
    -------
    list of int
        Indices, rising.
    """
    return sorted({*network.locked, *path.put_back})


class ScoresOnPath:
    """Class scores of the latents on a path; each alpha is computed once.

    Parameters
    ----------
    network : DecodingNetwork
        Frozen.
    path : LatentPath
        The path.
    target : int
        Index of the target class.
    """

    def __init__(self, network: DecodingNetwork, path: LatentPath, target: int) -> None:
        self.target = target
        self._network, self._path = network, path
        self._known: dict[float, Tensor] = {}

    @torch.no_grad()
    def logits(self, alpha: float) -> Tensor:
        """Return the logits (classes,) in float64."""
        if alpha not in self._known:
            found = self._path.logits(self._network, [alpha])[0]
            self._known[alpha] = to_float64(found.cpu())
        return self._known[alpha]

    def probability(self, alpha: float) -> float:
        """Return the target's probability."""
        return self.logits(alpha).softmax(0)[self.target].item()

    def margin(self, alpha: float) -> float:
        """Return the target's logit minus the largest of the others'."""
        return (self.logits(alpha)[self.target] - self._others(alpha).max()).item()

    def log_odds(self, alpha: float) -> float:
        """Return log(p / (1 - p)) of the target; falls and rises evenly where p saturates."""
        return (self.logits(alpha)[self.target] - self._others(alpha).logsumexp(0)).item()

    def _others(self, alpha: float) -> Tensor:
        logits = self.logits(alpha)
        return logits[torch.arange(len(logits)) != self.target]


def stage_named(network: DecodingNetwork, stage: str) -> str:
    """Return a stage's name; ``first`` and ``last`` stand for the ends of the encoder.

    Parameters
    ----------
    network : DecodingNetwork
    stage : str
        A name, ``first`` or ``last``.

    Returns
    -------
    str

    Raises
    ------
    ParameterError
        The network has no such stage.
    """
    names = network.stage_names
    ends = {"first": names[0], "last": names[-1]}
    found = ends.get(stage, stage)
    if found not in names:
        known = ", ".join(("first", "last", *names))
        raise ParameterError(f"stage: found {stage!r}; expected one of {known}")
    return found


class PathFunction(Protocol):
    """What a method is: the path that leads one image from a class towards another."""

    def __call__(
        self,
        network: DecodingNetwork,
        statistics: LatentStatistics,
        image: Tensor,
        source: int,
        target: int,
        **parameters: Any,
    ) -> LatentPath:
        """Return the path of ``image`` (1, C, H, W) from class ``source`` to ``target``."""


METHODS: Registry[Method] = Registry("method", "napari_why.counterfactuals")


def needs_inverse(network: Network) -> str | None:
    """Return why a network cannot be inverted exactly, None where it can."""
    if isinstance(network, InvertibleNetwork):
        return None
    return (
        f"it inverts the network that classified, and {network.name} has no inverse; "
        "train a classifier with the network iresnet, or explain this one through such a classifier "
        "(through=, or napari_why.fit(..., generator='iresnet'))"
    )


def needs_decoder(network: Network) -> str | None:
    """Return why a network has no approximate decoder, None where it has one."""
    if isinstance(network, GenerativeNetwork):
        return None
    return (
        f"it moves an image through the latent space of a generative network, and {network.name} "
        "is none; train a classifier with the network vae, autoencoder or denoising_autoencoder"
    )


def lacks_statistics(classifier: "Classifier") -> str | None:
    """Say that a classifier has no latent statistics, None where it has."""
    if classifier.latent_statistics is not None:
        return None
    return (
        f"this classifier has no latent statistics of the training images{say_left_out(classifier)}"
    )


def counterfactual_method(
    *,
    title: str,
    source: str,
    caution: str = "",
    needs: Needs = needs_inverse,
    missing: Needs = lacks_statistics,
) -> Callable[[Callable[..., LatentPath]], Callable[..., LatentPath]]:
    """Put a function into :data:`METHODS` under its own name.

    Parameters
    ----------
    title : str
        Name shown to the user.
    source : str
        Citation.
    caution : str, optional
        A sentence that goes with every result of this method.
    needs : callable, optional
        ``(network) -> reason or None``: why a network is unsuitable.
    missing : callable, optional
        ``(classifier) -> reason or None``: what of a classifier is not there.

    Returns
    -------
    callable
        A decorator that returns the function itself.
    """

    def register(function: Callable[..., LatentPath]) -> Callable[..., LatentPath]:
        METHODS.add(Method(function.__name__, title, source, function, needs, caution, missing))
        return function

    return register


def suitable_network(classifier: "Classifier", method: Method) -> DecodingNetwork:
    """Return the classifier's network.

    Parameters
    ----------
    classifier : Classifier
    method : Method
        Says what it needs of a network.

    Returns
    -------
    DecodingNetwork

    Raises
    ------
    UnsupportedNetworkError
        The method is not defined for it, or it makes no images.
    """
    method.check(classifier.network, METHODS)
    if not isinstance(classifier.network, DecodingNetwork):
        raise UnsupportedNetworkError(
            f"{method.name}: found the network {classifier.network.name}, which makes no images; "
            "expected one that can decode, such as iresnet or vae"
        )
    return classifier.network


def say_left_out(classifier: "Classifier") -> str:
    """Return what the classifier's fit left out, to stand within a sentence; empty for nothing."""
    left_out = classifier.left_out
    return f" (its fit left out {'; '.join(left_out)})" if left_out else ""


def require_statistics(classifier: "Classifier") -> LatentStatistics:
    """Return the classifier's latent statistics.

    Raises
    ------
    UnsupportedNetworkError
        It has none.
    """
    if classifier.latent_statistics is None:
        raise UnsupportedNetworkError(
            "counterfactuals need the latent statistics of the training images, and this "
            f"classifier was made without them{say_left_out(classifier)}; train it with "
            "napari_why.fit"
        )
    return classifier.latent_statistics


def check_goal(method: Method, goal: xr.DataArray | None) -> None:
    """Raise ParameterError where there is an image to go towards and the method has no use for it.

    Parameters
    ----------
    method : Method
        Takes a goal if its function has such a parameter.
    goal : DataArray or None
        Only looked at for being there.

    Raises
    ------
    ParameterError
        A goal, and a method that takes none.
    """
    if goal is not None and not method.takes("goal"):
        able = ", ".join(name for name, other in METHODS.items() if other.takes("goal"))
        raise ParameterError(f"goal: {method.name} goes towards no image; expected one of {able}")
