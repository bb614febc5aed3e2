"""What would have to change for an image to be predicted as another class.

Every method is one function in one file of this package, put into :data:`METHODS` by
:func:`counterfactual_method`; it gives a path through the latent space, and
:func:`counterfactual` turns the path into images. Importing the package imports its files, so a
new method needs no further line anywhere.
"""

from napari_why.core.registry import Method, import_files
from napari_why.counterfactuals.change import changed_image
from napari_why.counterfactuals.generate import CounterfactualOptions, counterfactual
from napari_why.counterfactuals.method import METHODS, LatentPath, counterfactual_method
from napari_why.counterfactuals.result import Counterfactual
from napari_why.counterfactuals.verdict import Verdict, verdict

import_files(__name__, __path__, METHODS)

__all__ = [
    "METHODS",
    "Counterfactual",
    "CounterfactualOptions",
    "LatentPath",
    "Method",
    "Verdict",
    "changed_image",
    "counterfactual",
    "counterfactual_method",
    "verdict",
]
