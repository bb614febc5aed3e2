"""Simulated two-channel 16-bit images of cells, whose true difference between classes is known."""

from napari_why.simulation.effects import CLASSES, EFFECT_CLASSES, EFFECT_PAIRS, EFFECTS
from napari_why.simulation.scenes import Camera, EffectScene, PairScene, SimulatedScene
from napari_why.simulation.simulate import (
    effect_scenes,
    simulate,
    simulate_effect,
    simulate_to_folder,
)

__all__ = [
    "CLASSES",
    "EFFECTS",
    "EFFECT_CLASSES",
    "EFFECT_PAIRS",
    "Camera",
    "EffectScene",
    "PairScene",
    "SimulatedScene",
    "effect_scenes",
    "simulate",
    "simulate_effect",
    "simulate_to_folder",
]
