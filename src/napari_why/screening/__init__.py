"""Plates at a time: every field of a screen predicted and explained, and what compounds do to cells."""

from napari_why.core.executors import Engine
from napari_why.screening.analysis import ScreenAnalysis, analyse_screen
from napari_why.screening.exchange import to_anndata, write_plate_tables
from napari_why.screening.hits import is_hit
from napari_why.screening.merge import ScreenResult, merge
from napari_why.screening.options import ScreenOptions
from napari_why.screening.plan import ScreenPlan, Shard, plan_screen
from napari_why.screening.screen import screen

__all__ = [
    "Engine",
    "ScreenAnalysis",
    "ScreenOptions",
    "ScreenPlan",
    "ScreenResult",
    "Shard",
    "analyse_screen",
    "is_hit",
    "merge",
    "plan_screen",
    "screen",
    "to_anndata",
    "write_plate_tables",
]
