"""Networks that are trained against each other: makers of images, and what tells these from real ones."""

from napari_why.adversarial.cycle_gan import ClassTranslators, CycleGanOptions, fit_translators
from napari_why.adversarial.dcgan import DcganGame, DcganOptions
from napari_why.adversarial.play import Game, PlayError, PlayOptions, PlayResult, play
from napari_why.adversarial.players import CodeToImage
from napari_why.adversarial.variety import Variety, measure_variety

__all__ = [
    "ClassTranslators",
    "CodeToImage",
    "CycleGanOptions",
    "DcganGame",
    "DcganOptions",
    "Game",
    "PlayError",
    "PlayOptions",
    "PlayResult",
    "Variety",
    "fit_translators",
    "measure_variety",
    "play",
]
