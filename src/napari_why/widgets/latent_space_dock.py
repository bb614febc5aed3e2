"""The dock that shows where the network puts the images of a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QPushButton, QTabWidget, QVBoxLayout

from napari_why.core.errors import WhyError
from napari_why.widgets.classifier_label import ClassifierLabel
from napari_why.widgets.dock import Dock
from napari_why.widgets.image_opener import ImageOpener
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.latent_view import LatentView, computed, judged, projected
from napari_why.widgets.outlier_panel import OutlierPanel
from napari_why.widgets.selected_images import SelectedImages

if TYPE_CHECKING:
    from napari.components import ViewerModel

# Those of the package, by their titles: to look into the registry takes seconds, since it imports
# torch. The projections of other packages join once a latent space has been computed.
PROJECTIONS = {"PCA": "pca", "UMAP": "umap"}
FIRST_COLUMN = "class"


class LatentSpaceDock(Dock):
    """The images of the shared data set as points in the latent space of the shared classifier.

    Clicking a point opens its image, drawing a line around several lists them and opens them, the
    path of the newest counterfactual follows the alpha slider, and images and wells that lie far
    from their class are listed.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.view: LatentView | None = None
        self.scatter: Any = None
        self.path: Any = None
        self.opener = ImageOpener(self)
        self.classifier_label = ClassifierLabel()
        self.button = RunButton("Show the data set", self.runner)
        self.projection, self.color_by = QComboBox(), QComboBox()
        self.tabs = QTabWidget()
        self.selected = SelectedImages()
        self.outliers = OutlierPanel(self.runner)
        self.save = QPushButton("Save tables and figure...")
        self._plot_place = QVBoxLayout()
        self._lay_out()
        self._connect()
        self._forget()

    def _lay_out(self) -> None:
        for title, name in PROJECTIONS.items():
            self.projection.addItem(title, name)
        self.projection.setToolTip(
            "PCA keeps distances as far as two axes can; UMAP keeps neighbours together and takes "
            "longer. UMAP needs the extra: pip install 'napari-why[umap]'"
        )
        self.color_by.setToolTip("Any column of the data set's table, or the distance")
        form = QFormLayout()
        form.addRow("projection", self.projection)
        form.addRow("colour by", self.color_by)
        self.column.addWidget(self.classifier_label)
        self.column.addWidget(self.button)
        self.column.addLayout(form)
        self.column.addLayout(self._plot_place)
        self.tabs.addTab(self.selected, "Selected")
        self.tabs.addTab(self.outliers, "Outliers")
        self.column.addWidget(self.tabs)
        self.column.addWidget(self.save)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.button.started.connect(self.compute)
        self.projection.currentTextChanged.connect(self._project)
        self.color_by.currentTextChanged.connect(self._draw)
        self.selected.asked.connect(self.open_points)
        self.outliers.asked.connect(self._list)
        self.outliers.again.connect(self._judge)
        self.save.clicked.connect(self._ask_where_to_save)
        self.state.classifier_changed.connect(self._forget)
        self.state.dataset_changed.connect(self._forget)

    def compute(self) -> None:
        """Encode the shared data set with the shared classifier, and show it."""
        classifier, dataset = self.state.classifier, self.state.dataset
        if classifier is None or dataset is None:
            return
        try:
            search = self.outliers.search()
        except WhyError as error:
            self.message.tell_error(error)
            return
        method = self.projection.currentData()

        def work(**listeners: Any) -> LatentView:
            return computed(classifier, dataset, method, search, **listeners)

        self.run("Latent space", work, self.show_view)

    def show_view(self, view: LatentView) -> None:
        """Show a latent space with its outliers; what is out of date is dropped."""
        if view.classifier is not self.state.classifier or view.dataset is not self.state.dataset:
            return
        self.view = view
        if self.scatter is None:
            self._make_plot()
        self._show_parts(True)
        self._offer_columns()
        self._offer_projections()
        self._show_method(view.projection.method)
        self.selected.clear()
        self.outliers.show_view(view)
        count = 0 if view.outliers is None else len(view.outliers.listed)
        self.tabs.setTabText(self.tabs.indexOf(self.outliers), f"Outliers ({count})")
        self._draw()
        self.path.show_in(view.classifier, view.projection)
        if view.notes:
            self.message.tell(" ".join(view.notes), "warning")

    def open_points(self, points: list[int]) -> None:
        """Open the images of points."""
        if self.view is not None:
            self.opener.keep = self.selected.keep.isChecked()
            self.opener.open(self.view.dataset, self.view.dataset_rows(points))

    def save_to(self, folder: Path) -> None:
        """Write tables, figure and report into a new folder."""
        view, column = self.view, self.color_by.currentText()
        if view is None:
            return

        def work(**_listeners: Any) -> Path:
            from napari_why.latent_space import write_latent_space

            return write_latent_space(
                folder, view.space, view.projection, view.outliers, color_by=column
            )

        self.run("Saving", work, lambda saved: self.message.tell(f"Saved in {saved}."))

    def shut_down(self) -> None:
        """Stop what runs, and follow the viewer and the shared state no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self._forget, missing_ok=True)
        self.state.dataset_changed.disconnect(self._forget, missing_ok=True)
        self.opener.release()
        if self.scatter is not None:
            self.path.release()
            self.scatter.release()

    def reopen(self) -> None:
        """Follow the shared state again; what was shown is computed anew when asked for."""
        super().reopen()
        self.state.classifier_changed.connect(self._forget)
        self.state.dataset_changed.connect(self._forget)
        if self.scatter is not None:
            self._plot_place.removeWidget(self.scatter)
            self.scatter.deleteLater()
            self.scatter = self.path = None
        self._forget()

    def _make_plot(self) -> None:
        from napari_why.widgets.latent_path import LatentPath
        from napari_why.widgets.latent_scatter import LatentScatter

        self.scatter = LatentScatter(self.viewer)
        self.scatter.clicked.connect(lambda point: self._choose([point]))
        self.scatter.lassoed.connect(self._choose)
        self.path = LatentPath(self, self.scatter)
        self._plot_place.addWidget(self.scatter)

    def _choose(self, points: list[int]) -> None:
        self.tabs.setCurrentWidget(self.selected)
        self._list(points)

    def _list(self, points: list[int]) -> None:
        if self.view is not None:
            self.selected.show_points(self.view, points)

    def _forget(self, _changed: Any = None) -> None:
        state = self.state
        self.view = None
        self.classifier_label.show_classifier(state.classifier)
        ready = state.classifier is not None and state.dataset is not None
        self.button.set_possible(ready, "" if ready else "A classifier and a data set are needed")
        self._show_parts(False)
        if self.path is not None:
            self.path.show_in(None, None)

    def _show_parts(self, shown: bool) -> None:
        parts = (self.color_by, self.tabs, self.save)
        for part in (*parts, *([self.scatter] if self.scatter is not None else [])):
            part.setVisible(shown)

    def _offer_columns(self) -> None:
        from napari_why.latent_space import columns_to_colour

        if self.view is None:
            return
        columns, before = columns_to_colour(self.view.table), self.color_by.currentText()
        self.color_by.blockSignals(True)
        self.color_by.clear()
        self.color_by.addItems(columns)
        self.color_by.setCurrentText(before if before in columns else FIRST_COLUMN)
        self.color_by.blockSignals(False)

    def _offer_projections(self) -> None:
        from napari_why.latent_space import PROJECTIONS as REGISTERED

        for name, projection in REGISTERED.items():
            if self.projection.findData(name) < 0:
                self.projection.addItem(projection.title, name)

    def _show_method(self, method: str) -> None:
        self.projection.blockSignals(True)
        self.projection.setCurrentIndex(self.projection.findData(method))
        self.projection.blockSignals(False)

    def _draw(self, _text: str = "") -> None:
        from napari_why.latent_space import colouring_of

        view, column = self.view, self.color_by.currentText()
        if view is None or not column:
            return
        ringed = None if view.outliers is None else view.table["outlier"].to_numpy(dtype=bool)
        self.scatter.show_points(
            view.projection, colouring_of(view.table, column), view.tooltips, ringed
        )
        self.scatter.setToolTip("")

    def _project(self, _text: str = "") -> None:
        view, method = self.view, self.projection.currentData()
        if view is None or view.projection.method == method:
            return
        self.run(
            "Projecting",
            lambda **_: projected(view, method),
            self.show_view,
            lambda _error: self._show_method(view.projection.method),
        )

    def _judge(self) -> None:
        view = self.view
        if view is None:
            return
        try:
            search = self.outliers.search()
        except WhyError as error:
            self.message.tell_error(error)
            return
        self.run("Outlier images", lambda **_: judged(view, search), self.show_view)

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Name of a new folder", "latent_space")
        if name:
            self.save_to(Path(name))
