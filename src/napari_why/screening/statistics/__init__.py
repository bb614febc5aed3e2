"""Statistics of screens, as pure functions of numbers by well: each proven by its own tests."""

from napari_why.screening.statistics.activity import Activity, average_precision, measure_activity
from napari_why.screening.statistics.assay import (
    MEASURES,
    Separation,
    robust_ssmd,
    robust_z_prime,
    separate,
    separate_plates,
    ssmd,
)
from napari_why.screening.statistics.dose_response import DoseResponse, fit_dose_response
from napari_why.screening.statistics.empirical_null import (
    FEWEST_TESTS,
    EmpiricalNull,
    heed_samples,
)
from napari_why.screening.statistics.largest_change import Change, LargestChange
from napari_why.screening.statistics.plate_effects import (
    MedianPolish,
    PositionalShare,
    explain_by_position,
    lie_at_edge,
    median_polish,
    normalise_plates,
    plate_shape,
    rank_with_place,
    score_residuals,
    shape_of,
    share_places,
)
from napari_why.screening.statistics.scores import (
    OffTarget,
    OnTarget,
    Score,
    place_between_controls,
    plate_centres,
)

__all__ = [
    "FEWEST_TESTS",
    "MEASURES",
    "Activity",
    "Change",
    "DoseResponse",
    "EmpiricalNull",
    "LargestChange",
    "MedianPolish",
    "OffTarget",
    "OnTarget",
    "PositionalShare",
    "Score",
    "Separation",
    "average_precision",
    "explain_by_position",
    "fit_dose_response",
    "heed_samples",
    "lie_at_edge",
    "measure_activity",
    "median_polish",
    "normalise_plates",
    "place_between_controls",
    "plate_centres",
    "plate_shape",
    "rank_with_place",
    "robust_ssmd",
    "robust_z_prime",
    "score_residuals",
    "separate",
    "separate_plates",
    "shape_of",
    "share_places",
    "ssmd",
]
