"""A trained network with all that is needed to use it on images.

Importing the package imports its files, so a new latent statistic needs no further line anywhere.
"""

from napari_why.core.registry import import_files
from napari_why.model.classifier import Classifier, Prediction, load
from napari_why.model.latent_statistics import STATISTICS, LatentStatistics

import_files(__name__, __path__, STATISTICS)

__all__ = ["Classifier", "LatentStatistics", "Prediction", "load"]
