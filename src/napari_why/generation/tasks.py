"""What a dock can offer to do with a network that makes images."""

from napari_why.core.registry import Method, Registry
from napari_why.generation.generate import reconstruct, sample, traverse
from napari_why.networks import DecodingNetwork, GenerativeNetwork, Network


def needs_images(network: Network) -> str | None:
    """Return why a network cannot reconstruct, None where it can."""
    if isinstance(network, DecodingNetwork):
        return None
    return f"A {network.name} makes no images; train a vae, an autoencoder or an iresnet."


def needs_latent(network: Network) -> str | None:
    """Return why a network has no latent of a few numbers, None where it has."""
    # an invertible network decodes too, but its latent has as many numbers as the image
    if isinstance(network, GenerativeNetwork):
        return None
    return f"A {network.name} is no generative network; train a vae or an autoencoder."


def needs_prior(network: Network) -> str | None:
    """Return why there is nothing to draw new latents from, None where there is."""
    if isinstance(network, GenerativeNetwork) and network.has_prior:
        return None
    return f"The latents of a {network.name} have no distribution to draw from; train a vae."


# ``(classifier, image, *, ...)``, or ``(classifier, *, ...)`` where it takes no image. Interpolation
# is not among them: it takes a second image, which the form has no place for.
TASKS: Registry[Method] = Registry("task", "napari_why.generation")
TASKS.add(Method("reconstruct", "Reconstruct the image", "", reconstruct, needs_images))
TASKS.add(
    Method(
        "traverse", "Change one number of its latent", "Higgins et al. 2017", traverse, needs_latent
    )
)
TASKS.add(Method("sample", "Draw new images", "Kingma & Welling 2014", sample, needs_prior))
