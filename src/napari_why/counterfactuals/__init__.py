"""What would have to change for an image to be predicted as another class.

Every method is one function in one file of this package, put into :data:`METHODS` by
:func:`counterfactual_method`; it gives a path through the latent space, and
:func:`counterfactual` turns the path into images. Importing the package imports its files, so a
new method needs no further line anywhere.
"""

from importlib import import_module
from pkgutil import iter_modules

from napari_why.core.registry import Method
from napari_why.counterfactuals.change import changed_image
from napari_why.counterfactuals.generate import CounterfactualOptions, counterfactual
from napari_why.counterfactuals.method import METHODS, LatentPath, counterfactual_method
from napari_why.counterfactuals.result import Counterfactual
from napari_why.counterfactuals.verdict import Verdict, verdict

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")

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
