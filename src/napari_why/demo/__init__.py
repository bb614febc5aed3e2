"""The main job, end to end: from labelled images to overlays and an alpha series in napari."""

from napari_why.demo.run import run_demo

__all__ = ["run_demo"]
