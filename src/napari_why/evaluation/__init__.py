"""How good a classifier is, and how far that is to be believed."""

from napari_why.evaluation.class_maps import ClassMapOptions, ClassMaps, class_maps
from napari_why.evaluation.comparison import (
    NullComparison,
    compare_with_nulls,
    feature_tables,
    intensity_features,
    position_block_labels,
    random_group_labels,
    well_position,
)
from napari_why.evaluation.evaluate import Evaluation, evaluate
from napari_why.evaluation.map_alignment import find_nuclear_channel
from napari_why.evaluation.map_statistics import ClassDifference, ClassMean, Similarity

__all__ = [
    "ClassDifference",
    "ClassMapOptions",
    "ClassMaps",
    "ClassMean",
    "Evaluation",
    "NullComparison",
    "Similarity",
    "class_maps",
    "compare_with_nulls",
    "evaluate",
    "feature_tables",
    "find_nuclear_channel",
    "intensity_features",
    "position_block_labels",
    "random_group_labels",
    "well_position",
]
