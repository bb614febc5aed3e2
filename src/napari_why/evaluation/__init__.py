"""How good a classifier is, and how far that is to be believed."""

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

__all__ = [
    "Evaluation",
    "NullComparison",
    "compare_with_nulls",
    "evaluate",
    "feature_tables",
    "intensity_features",
    "position_block_labels",
    "random_group_labels",
    "well_position",
]
