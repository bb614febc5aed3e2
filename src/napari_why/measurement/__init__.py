"""From what a counterfactual changes to numbers: maps, regions, tables, statistics, verdicts."""

from napari_why.measurement.change_maps import (
    ChangeMap,
    change_map,
    changed_image,
    global_offset,
    influence,
)
from napari_why.measurement.measure import (
    Measurement,
    Verdict,
    measure,
    measurement_options,
    verdict,
)
from napari_why.measurement.measure_dataset import (
    DatasetMeasurement,
    MeasuredImage,
    measure_dataset,
)
from napari_why.measurement.regions import Regions, find_regions, region_table
from napari_why.measurement.statistics import compare_paired, paired_statistics
from napari_why.measurement.tables import write_table

__all__ = [
    "ChangeMap",
    "DatasetMeasurement",
    "MeasuredImage",
    "Measurement",
    "Regions",
    "Verdict",
    "change_map",
    "changed_image",
    "compare_paired",
    "find_regions",
    "global_offset",
    "influence",
    "measure",
    "measure_dataset",
    "measurement_options",
    "paired_statistics",
    "region_table",
    "verdict",
    "write_table",
]
