"""A trained network with all that is needed to use it on images."""

from napari_why.classifier.classifier import Classifier
from napari_why.classifier.fit import FittingError, fit
from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.classifier.prediction import Prediction
from napari_why.classifier.storage import load

__all__ = ["Classifier", "FittingError", "LatentStatistics", "Prediction", "fit", "load"]
