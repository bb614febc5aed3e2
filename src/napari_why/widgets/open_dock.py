"""The dock that opens images and data sets."""

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QTabWidget

from napari_why.widgets.dataset_panel import DatasetPanel
from napari_why.widgets.dock import Dock
from napari_why.widgets.executors import Executor, run_in_thread
from napari_why.widgets.image_panel import ImagePanel
from napari_why.widgets.plate_panel import PlatePanel

if TYPE_CHECKING:
    from napari.components import ViewerModel


class OpenDock(Dock):
    """Open images as layers, a labelled data set to learn from, or a plate by its wells.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.images = ImagePanel(self)
        self.dataset = DatasetPanel(self)
        self.plate = PlatePanel(self)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.images, "Images")
        self.tabs.addTab(self.dataset, "Data set")
        self.tabs.addTab(self.plate, "Plate")
        self.column.addWidget(self.tabs)

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared data set no more."""
        super().shut_down()
        self.dataset.release()
        self.plate.release()
