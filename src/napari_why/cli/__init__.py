"""The same verbs for the shell: ``napari-why train``, ``predict``, ``attribute`` and so on."""

from napari_why.cli.application import main

__all__ = ["main"]
