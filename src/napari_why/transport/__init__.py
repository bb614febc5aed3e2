"""Transport between classes in a latent: conditional on locked channels, shallow, gated.

The map is fitted on positions of the latent after a network's first stage. What a position knows
are the locked channels around it, which stay as they are; what moves are its free channels, judged
together with their surroundings. Within each gate (a soft cluster of what is known) the map is the
optimal transport between Gaussians; sliced corrections follow, so that the moved positions,
given what is known, are distributed as in the target class.
"""

from napari_why.transport.back_translation import (
    RestoringNetwork,
    RestoringOptions,
    fit_restoring_network,
)
from napari_why.transport.class_maps import ClassMaps
from napari_why.transport.class_transport import ClassTransport
from napari_why.transport.coarse_to_fine import CoarseToFineMap, fit_coarse_to_fine
from napari_why.transport.features import LatentLayout
from napari_why.transport.fit import LatentCrops, TransportOptions, fit_class_transport
from napari_why.transport.maps import Choice, Mass
from napari_why.transport.responding_cells import RespondingCells, fit_responding_cells

__all__ = [
    "Choice",
    "ClassMaps",
    "ClassTransport",
    "CoarseToFineMap",
    "LatentCrops",
    "LatentLayout",
    "Mass",
    "RespondingCells",
    "RestoringNetwork",
    "RestoringOptions",
    "TransportOptions",
    "fit_class_transport",
    "fit_coarse_to_fine",
    "fit_responding_cells",
    "fit_restoring_network",
]
