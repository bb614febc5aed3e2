"""A trained network with all that is needed to use it on images.

Importing the package imports its files, so a new latent statistic needs no further line anywhere.
"""

from importlib import import_module
from pkgutil import iter_modules

from napari_why.model.classifier import Classifier, Prediction, load
from napari_why.model.latent_statistics import LatentStatistics

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

__all__ = ["Classifier", "LatentStatistics", "Prediction", "load"]
