"""How close counterfactuals come to a change that is known, and how much maps show of where it is."""

from napari_why.benchmark.attribution import run_attribution_benchmark
from napari_why.benchmark.attribution_data import MAP_EFFECTS, MapProtocol
from napari_why.benchmark.attribution_report import as_text as maps_as_text
from napari_why.benchmark.attribution_report import write_attribution_report
from napari_why.benchmark.data import EffectData, Protocol
from napari_why.benchmark.pictures import Shown, draw_side_by_side
from napari_why.benchmark.planted import PlantedData, PlantedProtocol, run_planted_benchmark
from napari_why.benchmark.report import as_text, summary, write_report
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import METHODS, RECIPES
from napari_why.benchmark.run import RealData, run_real_benchmark, run_truth_benchmark

__all__ = [
    "MAP_EFFECTS",
    "METHODS",
    "RECIPES",
    "EffectData",
    "MapProtocol",
    "PlantedData",
    "PlantedProtocol",
    "Protocol",
    "RealData",
    "ResultFolder",
    "Shown",
    "as_text",
    "draw_side_by_side",
    "maps_as_text",
    "run_attribution_benchmark",
    "run_planted_benchmark",
    "run_real_benchmark",
    "run_truth_benchmark",
    "summary",
    "write_attribution_report",
    "write_report",
]
