"""Labelled images: tables, splits grouped by well, and preprocessing."""

from napari_why.datasets.confounding import Association, Confounding, find_confounding
from napari_why.datasets.data_checks import (
    IdenticalImages,
    identical_images,
    require_no_identical_images,
)
from napari_why.datasets.dataset import Dataset, image_digest, typical_contrast
from napari_why.datasets.image_store import Unreadable
from napari_why.datasets.plate_images import LeftOut, PlateMatch
from napari_why.datasets.plate_map import read_plate_map
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.datasets.spellings import SPLITS
from napari_why.datasets.survey import Choices, Column, Survey

__all__ = [
    "SPLITS",
    "Association",
    "Choices",
    "Column",
    "Confounding",
    "Dataset",
    "IdenticalImages",
    "LeftOut",
    "PlateMatch",
    "Preprocessing",
    "Survey",
    "Unreadable",
    "find_confounding",
    "identical_images",
    "image_digest",
    "read_plate_map",
    "require_no_identical_images",
    "typical_contrast",
]
