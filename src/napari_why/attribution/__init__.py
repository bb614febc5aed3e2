"""Where a classifier looked: signed evidence for a class, per pixel and channel.

Every method is one function in one file of this package, put into :data:`METHODS` by
:func:`attribution_method`; :func:`attribute` runs one on an image. Importing the package imports
its files, so a new method needs no further line anywhere.
"""

from napari_why.attribution.context import Given
from napari_why.attribution.explain import Attribution, ReadyMethod, attribute
from napari_why.attribution.guard import explaining
from napari_why.attribution.many import attribute_many
from napari_why.attribution.registry import (
    METHODS,
    Evidence,
    References,
    RegionValue,
    attribution_method,
)
from napari_why.attribution.targets import Contrast, EmbeddingCoordinate, Similarity, Target
from napari_why.attribution.wrapper import WRAPPERS, Wrapped, attribution_wrapper
from napari_why.core.registry import Method, import_files

# the order of menus and help: what is known best stands first, the rest by name
import_files(
    __name__,
    __path__,
    METHODS,
    WRAPPERS,
    first=(
        "class_activation_maps",
        "lrp",
        "deep_taylor",
        "input_gradients",
        "deeplift",
        "full_grad",
        "occlusion",
        "sliding_window",
        "pooled",
    ),
)

__all__ = [
    "METHODS",
    "WRAPPERS",
    "Attribution",
    "Contrast",
    "EmbeddingCoordinate",
    "Evidence",
    "Given",
    "Method",
    "ReadyMethod",
    "References",
    "RegionValue",
    "Similarity",
    "Target",
    "Wrapped",
    "attribute",
    "attribute_many",
    "attribution_method",
    "attribution_wrapper",
    "explaining",
]
