"""What a dock can offer to do with a network that makes images."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_why.generation.generate import reconstruct, sample, traverse
from napari_why.networks import DecodingNetwork, GenerativeNetwork, Network


@dataclass(frozen=True)
class GenerationTask:
    """One function of this room with what a form needs to know.

    Parameters
    ----------
    name, title : str
        In code, and for the user.
    source : str
        The paper.
    function : callable
        ``(classifier, image, *, ...)``, or ``(classifier, *, ...)`` where it takes no image.
    needs : callable
        Returns why a network is unsuitable, None where it is not.
    takes_image : bool
    """

    name: str
    title: str
    source: str
    function: Callable[..., Any]
    needs: Callable[[Network], str | None]
    takes_image: bool = True

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def unsuitable(self, network: Network) -> str | None:
        """Return why it cannot be done with this network, None where it can."""
        return self.needs(network)


def needs_images(network: Network) -> str | None:
    """Return why a network cannot reconstruct, None where it can."""
    if isinstance(network, DecodingNetwork):
        return None
    return f"A {network.name} makes no images; train a vae, an autoencoder or an iresnet."


def needs_latent(network: Network) -> str | None:
    """Return why a network has no latent of a few numbers, None where it has."""
    if isinstance(network, GenerativeNetwork):
        return None
    return f"A {network.name} is no generative network; train a vae or an autoencoder."


def needs_prior(network: Network) -> str | None:
    """Return why there is nothing to draw new latents from, None where there is."""
    if isinstance(network, GenerativeNetwork) and network.has_prior:
        return None
    return f"The latents of a {network.name} have no distribution to draw from; train a vae."


TASKS: dict[str, GenerationTask] = {
    task.name: task
    for task in (
        GenerationTask("reconstruct", "Reconstruct the image", "", reconstruct, needs_images),
        GenerationTask(
            "traverse",
            "Change one number of its latent",
            "Higgins et al. 2017",
            traverse,
            needs_latent,
        ),
        GenerationTask(
            "sample",
            "Draw new images",
            "Kingma & Welling 2014",
            sample,
            needs_prior,
            takes_image=False,
        ),
    )
}
