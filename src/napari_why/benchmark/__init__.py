"""How close counterfactuals come to a change that is known, and how far without knowing it."""

from napari_why.benchmark.data import EffectData, Protocol
from napari_why.benchmark.pictures import Shown, draw_side_by_side
from napari_why.benchmark.planted import PlantedData, PlantedProtocol, run_planted_benchmark
from napari_why.benchmark.report import as_text, summary, write_report
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import METHODS, RECIPES
from napari_why.benchmark.run import RealData, run_real_benchmark, run_truth_benchmark

__all__ = [
    "METHODS",
    "RECIPES",
    "EffectData",
    "PlantedData",
    "PlantedProtocol",
    "Protocol",
    "RealData",
    "ResultFolder",
    "Shown",
    "as_text",
    "draw_side_by_side",
    "run_planted_benchmark",
    "run_real_benchmark",
    "run_truth_benchmark",
    "summary",
    "write_report",
]
