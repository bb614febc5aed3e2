"""Networks that classify and can be explained; imported, this room loads torch.

Every network is one decorated function in a file of this package, put into :data:`NETWORKS` by
:func:`register_network`; networks of other programs, which are not trained here, stand in
:data:`FOREIGN`. Importing the package imports its files, so a new network needs no
further line anywhere.
"""

from napari_why.core.registry import import_files
from napari_why.networks.inverse import BlockInversion, Inversion, invert
from napari_why.networks.modules import ActNorm, ResidualSum, RGBComposite
from napari_why.networks.network import (
    DecodingNetwork,
    GenerativeNetwork,
    InvertibleNetwork,
    Network,
    SequentialNetwork,
    TrainingPass,
)
from napari_why.networks.registry import (
    FOREIGN,
    NETWORKS,
    NetworkEntry,
    TrainingSchedule,
    build_network,
    build_skeleton,
    find_network,
    register_foreign_network,
    register_network,
)
from napari_why.networks.wrapped import WrappedNetwork, wrap

# the order of menus and help: what this program is made for stands first, the rest by name
import_files(__name__, __path__, NETWORKS, FOREIGN, first=("iresnet", "resnext50", "convolutional"))

__all__ = [
    "FOREIGN",
    "NETWORKS",
    "ActNorm",
    "BlockInversion",
    "DecodingNetwork",
    "GenerativeNetwork",
    "Inversion",
    "InvertibleNetwork",
    "Network",
    "NetworkEntry",
    "RGBComposite",
    "ResidualSum",
    "SequentialNetwork",
    "TrainingPass",
    "TrainingSchedule",
    "WrappedNetwork",
    "build_network",
    "build_skeleton",
    "find_network",
    "invert",
    "register_foreign_network",
    "register_network",
    "wrap",
]
