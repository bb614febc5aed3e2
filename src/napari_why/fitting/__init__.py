"""From a labelled data set to a classifier: training and all that held-out images settle after it."""

from napari_why.fitting.finish_fit import finish_fit
from napari_why.fitting.fit import fit
from napari_why.fitting.fit_options import FitOptions, propose_size
from napari_why.fitting.fit_steps import FittingError

__all__ = ["FitOptions", "FittingError", "finish_fit", "fit", "propose_size"]
