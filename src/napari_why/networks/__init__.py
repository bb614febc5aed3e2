"""Networks that classify and can be explained; imported, this room loads torch."""

from napari_why.networks.inverse import BlockInversion, Inversion, invert
from napari_why.networks.modules import ActNorm, ResidualSum, RGBComposite
from napari_why.networks.network import (
    DecodingNetwork,
    GenerativeNetwork,
    InvertibleNetwork,
    Network,
)
from napari_why.networks.registry import NETWORKS, NetworkEntry, build_network
from napari_why.networks.wrapped import WrappedNetwork, wrap

__all__ = [
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
    "WrappedNetwork",
    "build_network",
    "invert",
    "wrap",
]
