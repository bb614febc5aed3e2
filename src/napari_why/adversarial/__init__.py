"""Networks that are trained against each other: makers of images, and what tells these from real ones."""

from napari_why.adversarial.cycle_gan import ClassTranslators, CycleGanOptions, fit_translators
from napari_why.adversarial.dcgan import DcganGame, DcganOptions
from napari_why.adversarial.flow_matching import ClassFlow, FlowOptions, fit_class_flow
from napari_why.adversarial.play import Game, PlayError, PlayOptions, PlayResult, play
from napari_why.adversarial.players import CodeToImage
from napari_why.adversarial.variety import Variety, measure_variety

__all__ = [
    "ClassFlow",
    "ClassTranslators",
    "CodeToImage",
    "CycleGanOptions",
    "DcganGame",
    "DcganOptions",
    "FlowOptions",
    "Game",
    "PlayError",
    "PlayOptions",
    "PlayResult",
    "Variety",
    "fit_class_flow",
    "fit_translators",
    "measure_variety",
    "play",
]
