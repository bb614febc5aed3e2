"""Networks that classify and can be explained; imported, this room loads torch.

Every network is one decorated function in a file of this package, put into :data:`NETWORKS` by
:func:`register_network`; networks of other programs, which are not trained here, stand in
:data:`FOREIGN`. Importing the package imports its files, so a new network needs no
further line anywhere.
"""

from importlib import import_module
from pkgutil import iter_modules

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
_FIRST = ("iresnet", "resnext50", "convolutional")

_files = dict.fromkeys([*_FIRST, *(_file.name for _file in iter_modules(__path__))])
_places = {f"{__name__}.{_name}": _place for _place, _name in enumerate(_files)}
for _module in _places:
    import_module(_module)
NETWORKS.arrange(lambda entry: _places.get(entry.builder.__module__, len(_places)))

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
