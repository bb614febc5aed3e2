"""How each network is trained when the user says nothing."""

from dataclasses import dataclass

from napari_why.training.settings import OptimiserName


@dataclass(frozen=True)
class NetworkDefaults:
    """Training settings of a network; see :class:`~napari_why.training.settings.Settings`."""

    optimiser: OptimiserName
    learning_rate: float
    batch_size: int
    epochs: int
    step_size: int
    step_decay: float


NETWORK_DEFAULTS = {
    # optimisers, rates and batch sizes: Otto 2022, Mäder 2024
    "iresnet": NetworkDefaults("adamax", 5e-3, 20, 40, 15, 0.2),
    "resnext50": NetworkDefaults("adam", 1e-3, 15, 10, 5, 0.1),
    "cam_net": NetworkDefaults("adam", 1e-3, 20, 30, 15, 0.2),
    # a decoder takes longer to learn than a class
    "vae": NetworkDefaults("adam", 1e-3, 20, 60, 30, 0.3),
    "autoencoder": NetworkDefaults("adam", 1e-3, 20, 60, 30, 0.3),
    "denoising_autoencoder": NetworkDefaults("adam", 1e-3, 20, 60, 30, 0.3),
}
"""A further network takes those of ``cam_net``."""


def defaults_of(network: str) -> NetworkDefaults:
    """Return the settings for a network by registry name."""
    return NETWORK_DEFAULTS.get(network, NETWORK_DEFAULTS["cam_net"])
