"""Labelled images: tables, splits grouped by well, preprocessing and simulated scenes."""

from napari_why.datasets.cells import CLASSES
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.duplicates import (
    IdenticalImages,
    identical_images,
    image_digest,
    require_no_identical_images,
)
from napari_why.datasets.effect_scene import EFFECT_CLASSES, EffectScene
from napari_why.datasets.effects import EFFECTS
from napari_why.datasets.opening import Unreadable
from napari_why.datasets.plate_images import LeftOut, PlateMatch
from napari_why.datasets.plate_map import read_plate_map
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.datasets.scene import Camera
from napari_why.datasets.simulate import simulate, simulate_to_folder
from napari_why.datasets.simulate_effect import effect_scenes, simulate_effect
from napari_why.datasets.simulated_scene import SimulatedScene
from napari_why.datasets.tables import SPLITS

__all__ = [
    "CLASSES",
    "EFFECTS",
    "EFFECT_CLASSES",
    "SPLITS",
    "Camera",
    "Dataset",
    "EffectScene",
    "IdenticalImages",
    "LeftOut",
    "PlateMatch",
    "Preprocessing",
    "SimulatedScene",
    "Unreadable",
    "effect_scenes",
    "identical_images",
    "image_digest",
    "read_plate_map",
    "require_no_identical_images",
    "simulate",
    "simulate_effect",
    "simulate_to_folder",
]
