"""What a network makes of its latent space: reconstructions, samples, traversals, interpolations."""

from napari_why.generation.generate import (
    GeneratedImages,
    Reconstruction,
    interpolate,
    reconstruct,
    sample,
    traverse,
)

__all__ = [
    "GeneratedImages",
    "Reconstruction",
    "interpolate",
    "reconstruct",
    "sample",
    "traverse",
]
