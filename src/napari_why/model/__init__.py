"""A trained network with all that is needed to use it on images."""

from napari_why.model import class_distances, class_moments, fitted_transport  # noqa: F401  registers them
from napari_why.model.classifier import Classifier, Prediction, load
from napari_why.model.latent_statistics import LatentStatistics

__all__ = ["Classifier", "LatentStatistics", "Prediction", "load"]
