"""What a network makes of its latent space: reconstructions, samples, traversals, interpolations."""

from napari_why.generation.generate import interpolate, reconstruct, sample, traverse
from napari_why.generation.results import GeneratedImages, Reconstruction

__all__ = [
    "GeneratedImages",
    "Reconstruction",
    "interpolate",
    "reconstruct",
    "sample",
    "traverse",
]
