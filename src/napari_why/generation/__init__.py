"""What a network makes of its latent space, and prototypes: what it answers to most."""

from napari_why.generation.channel_predictor import (
    ChannelPredictor,
    PredictedChannels,
    load_channel_predictor,
    predict_channel,
)
from napari_why.generation.generate import interpolate, reconstruct, sample, traverse
from napari_why.generation.image_generator import ImageGenerator, load_generator
from napari_why.generation.prototype_result import Judgement, Prototype
from napari_why.generation.prototypes import PrototypeOptions, activation_maximisation
from napari_why.generation.results import GeneratedImages, Reconstruction

__all__ = [
    "ChannelPredictor",
    "GeneratedImages",
    "ImageGenerator",
    "Judgement",
    "PredictedChannels",
    "Prototype",
    "PrototypeOptions",
    "Reconstruction",
    "activation_maximisation",
    "interpolate",
    "load_channel_predictor",
    "load_generator",
    "predict_channel",
    "reconstruct",
    "sample",
    "traverse",
]
