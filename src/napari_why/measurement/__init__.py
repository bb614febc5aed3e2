"""From what a counterfactual changes to numbers: maps, regions, tables, statistics, verdicts."""

from napari_why.core.whole_files import write_table
from napari_why.counterfactuals import Verdict, changed_image, verdict
from napari_why.measurement.change_maps import ChangeMap, change_map
from napari_why.measurement.measure import Measurement, MeasurementOptions, measure
from napari_why.measurement.measure_dataset import (
    DatasetMeasurement,
    MeasuredImage,
    measure_dataset,
)
from napari_why.measurement.regions import Regions, find_regions, region_table
from napari_why.measurement.statistics import compare_paired, paired_statistics
from napari_why.measurement.used_change import UsedChange, UsedChangeOptions, find_used_change

__all__ = [
    "ChangeMap",
    "DatasetMeasurement",
    "MeasuredImage",
    "Measurement",
    "MeasurementOptions",
    "Regions",
    "UsedChange",
    "UsedChangeOptions",
    "Verdict",
    "change_map",
    "changed_image",
    "compare_paired",
    "find_regions",
    "find_used_change",
    "measure",
    "measure_dataset",
    "paired_statistics",
    "region_table",
    "verdict",
    "write_table",
]
