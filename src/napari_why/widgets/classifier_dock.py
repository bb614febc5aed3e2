"""The dock that trains, evaluates, uses, saves and loads a classifier."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QTabWidget

from napari_why.core.torch_loading import load_torch_libraries
from napari_why.widgets.dataset_panel import DatasetPanel
from napari_why.widgets.dock import Dock
from napari_why.widgets.evaluate_panel import EvaluatePanel
from napari_why.widgets.executors import Executor, run_in_thread
from napari_why.widgets.explaining_dock import ClassifierLabel
from napari_why.widgets.generate_panel import GeneratePanel
from napari_why.widgets.predict_panel import PredictPanel
from napari_why.widgets.preferences import preferences
from napari_why.widgets.train_panel import TrainPanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.model import Classifier


class ClassifierDock(Dock):
    """Data, training, evaluation, prediction and generated images, a page each.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self._loaded = False
        self.classifier_label = ClassifierLabel()
        self.save_button, self.load_button = QPushButton("Save..."), QPushButton("Load...")
        self.data, self.training = DatasetPanel(self), TrainPanel(self)
        self.evaluation, self.prediction = EvaluatePanel(self), PredictPanel(self)
        self.generation = GeneratePanel(self)
        self.tabs = QTabWidget()
        pages = {
            "Data": self.data,
            "Train": self.training,
            "Evaluate": self.evaluation,
            "Predict": self.prediction,
            "Generate": self.generation,
        }
        for title, page in pages.items():
            self.tabs.addTab(page, title)
        row = QHBoxLayout()
        row.addWidget(self.classifier_label, 1)
        row.addWidget(self.load_button)
        row.addWidget(self.save_button)
        self.column.addLayout(row)
        self.column.addWidget(self.tabs)
        self.save_button.clicked.connect(self._ask_where_to_save)
        self.load_button.clicked.connect(self._ask_what_to_load)
        self.tabs.currentChanged.connect(lambda _index: self.load_catalogue())
        self.state.classifier_changed.connect(self.show_classifier)
        self.show_classifier(self.state.classifier)

    def load_catalogue(self) -> None:
        """Import what training needs, beside the viewer, the first time a page asks for it."""
        if not self._loaded:
            self._loaded = True
            self.load(import_training, lambda found: self.training.show_catalogue(*found))

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Show which classifier is in use."""
        self.classifier_label.show_classifier(classifier)
        self.save_button.setEnabled(classifier is not None)
        self.evaluation.show_classifier(classifier)
        self.prediction.show_classifier(classifier)
        self.generation.show_classifier(classifier)

    def save_to(self, path: Path) -> None:
        """Save the classifier; an existing one there is replaced, whole or not at all."""
        classifier = self.state.classifier
        if classifier is not None:
            self.run(
                "Saving",
                lambda **_: classifier.save(path, overwrite=True),
                lambda saved: self.message.tell(f"Saved as {saved}."),
            )

    def load_from(self, path: Path) -> None:
        """Load a classifier and share it with the other docks."""
        device = preferences().device

        def work(**_listeners: Any) -> "Classifier":
            load_torch_libraries()
            from napari_why.model import load

            return load(path, device=device)

        self.run("Loading", work, self._share)

    def shut_down(self) -> None:
        """Stop what runs, and follow the shared state no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)
        pages = (self.data, self.training, self.evaluation, self.prediction, self.generation)
        for page in pages:
            page.release()

    def _share(self, classifier: "Classifier") -> None:
        self.state.classifier = classifier

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the classifier", str(preferences().models / "classifier")
        )
        if name:
            self.save_to(Path(name))

    def _ask_what_to_load(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self, "Folder of a saved classifier", str(preferences().models)
        )
        if name:
            self.load_from(Path(name))


def import_training() -> tuple[Any, Any]:
    """Import what training and its curves need; seconds, the first time."""
    load_torch_libraries()
    from napari_why.fitting import fit
    from napari_why.networks import NETWORKS
    from napari_why.widgets.plot import draw_once

    draw_once()
    return NETWORKS, fit
