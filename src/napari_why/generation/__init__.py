"""What a network makes of its latent space: reconstructions, samples, traversals, interpolations."""

from napari_why.generation.interpolate import interpolate
from napari_why.generation.reconstruct import reconstruct
from napari_why.generation.result import GeneratedImages, Reconstruction
from napari_why.generation.sample import sample
from napari_why.generation.traverse import traverse

__all__ = [
    "GeneratedImages",
    "Reconstruction",
    "interpolate",
    "reconstruct",
    "sample",
    "traverse",
]
