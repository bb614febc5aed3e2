"""From a labelled data set to a classifier: training and all that held-out images settle after it."""

from napari_why.fitting.fit import FitOptions, FittingError, finish_fit, fit, propose_size

__all__ = ["FitOptions", "FittingError", "finish_fit", "fit", "propose_size"]
