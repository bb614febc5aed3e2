"""The plugin's page in napari's preferences: device, threads and the folder for models."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Preferences:
    """What the user set for all docks.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda:0`` or ``mps``.
    threads : int or None
        Processor threads for torch; None for all cores but one.
    models : Path
        Where the file dialogs for classifiers start.
    """

    device: str = "auto"
    threads: int | None = None
    models: Path = field(default_factory=Path.home)


def preferences() -> Preferences:
    """Read the preferences; the defaults where the plugin is not registered with napari."""
    from napari.settings import get_plugin_settings

    try:
        settings = get_plugin_settings("napari-why")
    except KeyError:
        return Preferences()
    folder = Path(settings.files.models).expanduser() if settings.files.models else Path.home()
    return Preferences(
        device=str(getattr(settings.compute.device, "value", settings.compute.device)),
        threads=int(settings.compute.threads) or None,
        models=folder,
    )
