"""Transport between classes in a latent: conditional on locked channels, shallow, gated.

The map is fitted on positions of the latent after a network's first stage. What a position knows
are the locked channels around it, which stay as they are; what moves are its free channels, judged
together with their surroundings. Within each gate (a soft cluster of what is known) the map is the
optimal transport between Gaussians; sliced corrections follow, so that the moved positions,
given what is known, are distributed as in the target class.
"""

from napari_why.transport.class_maps import ClassMaps
from napari_why.transport.class_transport import ClassTransport
from napari_why.transport.features import LatentLayout
from napari_why.transport.fit import LatentCrops, TransportOptions, fit_class_transport
from napari_why.transport.maps import Choice, Mass

__all__ = [
    "Choice",
    "ClassMaps",
    "ClassTransport",
    "LatentCrops",
    "LatentLayout",
    "Mass",
    "TransportOptions",
    "fit_class_transport",
]
