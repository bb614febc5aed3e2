"""Simulated two-channel 16-bit images of cells, whose true difference between classes is known."""

from napari_why.simulation.cells import CLASSES
from napari_why.simulation.effects import EFFECTS
from napari_why.simulation.scenes import EFFECT_CLASSES, Camera, EffectScene, SimulatedScene
from napari_why.simulation.simulate import simulate, simulate_to_folder
from napari_why.simulation.simulate_effect import effect_scenes, simulate_effect

__all__ = [
    "CLASSES",
    "EFFECTS",
    "EFFECT_CLASSES",
    "Camera",
    "EffectScene",
    "SimulatedScene",
    "effect_scenes",
    "simulate",
    "simulate_effect",
    "simulate_to_folder",
]
