"""How good a classifier is, how far that is to be believed, and whether its maps are true.

Every metric of explanations is one function in one file of this package, put into :data:`METRICS`
by :func:`explanation_metric`. Importing the package imports its files, so that a new one needs no
further line.
"""

from napari_why.core.registry import import_files
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
from napari_why.evaluation.explanation_score import ExplanationScore, score_explanation
from napari_why.evaluation.explanations import (
    METRICS,
    Explain,
    ExplanationCase,
    ExplanationMetric,
    MetricValue,
    explanation_metric,
)
from napari_why.evaluation.map_alignment import find_nuclear_channel
from napari_why.evaluation.map_statistics import ClassDifference, ClassMean, MapSimilarity

# the order of help and tables: the curves stand first, the rest by name
import_files(__name__, __path__, METRICS, first=("perturbation_curves",))

__all__ = [
    "METRICS",
    "ClassDifference",
    "ClassMapOptions",
    "ClassMaps",
    "ClassMean",
    "Evaluation",
    "Explain",
    "ExplanationCase",
    "ExplanationMetric",
    "ExplanationScore",
    "MapSimilarity",
    "MetricValue",
    "NullComparison",
    "class_maps",
    "compare_with_nulls",
    "evaluate",
    "explanation_metric",
    "feature_tables",
    "find_nuclear_channel",
    "intensity_features",
    "position_block_labels",
    "random_group_labels",
    "score_explanation",
    "well_position",
]
