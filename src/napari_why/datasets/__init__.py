"""Labelled images: tables, splits grouped by well, preprocessing and simulated scenes."""

from napari_why.datasets.cells import CLASSES
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.duplicates import (
    IdenticalImages,
    identical_images,
    image_digest,
    require_no_identical_images,
)
from napari_why.datasets.opening import Unreadable
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.datasets.simulate import simulate, simulate_to_folder
from napari_why.datasets.simulated_scene import Camera, SimulatedScene
from napari_why.datasets.tables import SPLITS

__all__ = [
    "CLASSES",
    "SPLITS",
    "Camera",
    "Dataset",
    "IdenticalImages",
    "Preprocessing",
    "SimulatedScene",
    "Unreadable",
    "identical_images",
    "image_digest",
    "require_no_identical_images",
    "simulate",
    "simulate_to_folder",
]
