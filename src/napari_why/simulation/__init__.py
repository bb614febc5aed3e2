"""Simulated two-channel 16-bit images of cells, whose true difference between classes is known."""

from napari_why.simulation.effects import CLASSES, EFFECT_CLASSES, EFFECT_PAIRS, EFFECTS
from napari_why.simulation.planted_effects import PLANTED_EFFECTS, change_image
from napari_why.simulation.planted_rendering import PlantedTile
from napari_why.simulation.planting import (
    PlantedImages,
    PlantOptions,
    plant,
    plant_to_folder,
)
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
    "PLANTED_EFFECTS",
    "Camera",
    "EffectScene",
    "PairScene",
    "PlantOptions",
    "PlantedImages",
    "PlantedTile",
    "SimulatedScene",
    "change_image",
    "effect_scenes",
    "plant",
    "plant_to_folder",
    "simulate",
    "simulate_effect",
    "simulate_to_folder",
]
