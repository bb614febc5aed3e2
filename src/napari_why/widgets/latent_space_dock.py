"""The dock that shows where the network puts the images of a data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import QSignalBlocker, Signal

from napari_why.core.errors import WhyError
from napari_why.output.snippets import copy_latent_space
from napari_why.sessions import MOST_OPENED, ImageOpener, LatentSession, LatentView
from napari_why.sessions.latent_space import compute_view, project_view, search_view
from napari_why.widgets.classifier_bar import ClassifierLabel
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import RUN_KEYS, Dock
from napari_why.widgets.job import Executor, RunButton, run_in_thread
from napari_why.widgets.outlier_panel import OutlierPanel
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.output.snippet_lines import Snippet

# Those of the package, by their titles: to look into the registry takes seconds, since it imports
# torch. The projections of other packages join once a latent space has been computed.
SHIPPED = {"PCA": "pca", "UMAP": "umap"}
# What a row tells of an image, where the table has it: as much as fits beside the file's name.
COLUMNS = ("class", "prediction", "plate", "well")


class LatentSpaceDock(Dock):
    """The images of the shared data set as points in the latent space of the shared classifier.

    Clicking a point opens its image, drawing a line around several lists them and opens them, the
    path of the newest counterfactual follows the alpha slider, and images and wells that lie far
    from their class are listed. What is shown is in :attr:`session`.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.session = LatentSession(napari_viewer, host=self)
        self.scatter: Any = None
        self.classifier_label = ClassifierLabel()
        self.button = RunButton("Show the data set", self.runner)
        self.button.setToolTip(f"Encode all images of the data set and show them ({RUN_KEYS})")
        self.projection, self.color_by = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        self.tabs = QtWidgets.QTabWidget()
        self.selected = SelectedImages(self.session)
        self.outliers = OutlierPanel(self.runner)
        self.save = QtWidgets.QPushButton("Save tables and figure...")
        self._plot_place = QtWidgets.QVBoxLayout()
        # of an opened session
        self._wanted_column = ""
        self.copy_buttons = CopyButtons(self.message)
        self._lay_out()
        self._connect()
        self.show_view(None)

    def become_page(self) -> None:
        """Leave out the classifier, which the dock around this page shows."""
        super().become_page()
        self.classifier_label.hide()

    @property
    def view(self) -> LatentView | None:
        """The session's latent space, its projection and its outliers."""
        return self.session.view

    @property
    def opener(self) -> ImageOpener:
        """What opens the images of points."""
        return self.session.opener

    def _lay_out(self) -> None:
        for title, name in SHIPPED.items():
            self.projection.addItem(title, name)
        self.projection.setToolTip(
            "PCA keeps distances as far as two axes can; UMAP keeps neighbours together and takes "
            "longer. UMAP needs the extra: pip install 'napari-why[umap]'"
        )
        self.color_by.setToolTip("Any column of the data set's table, or the distance")
        form = QtWidgets.QFormLayout()
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
        self.column.addWidget(self.copy_buttons)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.button.started.connect(self.compute)
        self.projection.currentTextChanged.connect(self._project)
        self.color_by.currentTextChanged.connect(self._color)
        self.selected.asked.connect(self.open_points)
        self.outliers.asked.connect(self.session.select)
        self.outliers.again.connect(self._search)
        self.save.clicked.connect(self._ask_where_to_save)
        self.state.classifier_changed.connect(self._show_state)
        self.state.dataset_changed.connect(self._show_state)
        self.session.view_changed.connect(self.show_view)
        self.session.colouring_changed.connect(self._draw)
        self.session.selection_changed.connect(self._show_selection)
        self.session.path_changed.connect(self._show_path)
        self.session.step_changed.connect(self._mark_step)
        self.session.opener.left_out.connect(self._warn)

    def compute(self) -> None:
        """Encode the shared data set with the shared classifier, and show it."""
        session, classifier, dataset = self.session, self.state.classifier, self.state.dataset
        if classifier is None or dataset is None:
            return
        try:
            search = self.outliers.search()
        except WhyError as error:
            self.message.tell_error(error)
            return
        method = self.projection.currentData()

        def work(**listeners: Any) -> LatentView:
            from napari_why.widgets.plot import draw_once

            draw_once()  # here, beside the viewer: matplotlib looks for fonts at its first drawing
            return compute_view(classifier, dataset, method, search, **listeners)

        self.run("Latent space", work, session.show)

    def show_view(self, view: LatentView | None) -> None:
        """Show a latent space with its outliers; None: there is none any more."""
        self._show_state()
        if view is not None and self.scatter is None:
            self._make_plot()
        parts = (self.color_by, self.tabs, self.save)
        for part in (*parts, *([self.scatter] if self.scatter is not None else [])):
            part.setVisible(view is not None)
        self.copy_buttons.offer(None if view is None else lambda: copy_view(view))
        if view is None:
            return
        if self._wanted_column in self.session.columns:
            self.session.color_by = self._wanted_column
        self._wanted_column = ""
        # filling the box is no choice of the user's
        with QSignalBlocker(self.color_by):
            self.color_by.clear()
            self.color_by.addItems(self.session.columns)
            self.color_by.setCurrentText(self.session.color_by)
        self._offer_projections()
        self._show_method(view.projection.method)
        # points are rows of the table that was
        self.selected.clear()
        self.outliers.show_view(view)
        count = 0 if view.outliers is None else len(view.outliers.listed)
        self.tabs.setTabText(self.tabs.indexOf(self.outliers), f"Outliers ({count})")
        self._draw()
        if view.notes:
            self.message.tell(" ".join(view.notes), "warning")

    def open_points(self, points: list[int]) -> None:
        """Open the images of points."""
        if self.view is not None:
            self.opener.keep = self.selected.keep.isChecked()
            self.session.open(points)

    def settings(self) -> dict[str, Any]:
        """Return what is chosen, JSON types, for a saved session; the latent space is computed anew."""
        return {
            "projection": self.projection.currentData(),
            "colour by": self.color_by.currentText() or self._wanted_column,
            "keep what is open": self.selected.keep.isChecked(),
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Choose again what :meth:`settings` returned; what is not known stays."""
        if (index := self.projection.findData(values.get("projection"))) >= 0:
            with QSignalBlocker(self.projection):  # no projection is asked for by it
                self.projection.setCurrentIndex(index)
        if isinstance(ticked := values.get("keep what is open"), bool):
            self.selected.keep.setChecked(ticked)
        # columns are known once the images are encoded
        self._wanted_column = str(values.get("colour by") or "")

    def save_to(self, folder: Path) -> None:
        """Write tables, figure and report into a new folder."""
        session = self.session
        if self.view is not None:
            self.run(
                "Saving",
                lambda **_listeners: session.save(folder),
                lambda saved: self.message.tell(f"Saved in {saved}."),
            )

    def shut_down(self) -> None:
        """Stop what runs, and follow the viewer and the shared state no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self._show_state, missing_ok=True)
        self.state.dataset_changed.disconnect(self._show_state, missing_ok=True)
        self.session.close()
        if self.scatter is not None:
            self.scatter.release()

    def reopen(self) -> None:
        """Follow the shared state again; what was shown is computed anew when asked for."""
        super().reopen()
        self.state.classifier_changed.connect(self._show_state)
        self.state.dataset_changed.connect(self._show_state)
        if self.scatter is not None:
            # it follows the theme no more, and the next view makes another
            self._plot_place.removeWidget(self.scatter)
            self.scatter.deleteLater()
            self.scatter = None
        self.session.follow()
        self.session.forget()

    def _make_plot(self) -> None:
        # matplotlib takes its time to import; a dock is opened without it
        from napari_why.widgets.latent_scatter import LatentScatter

        self.scatter = LatentScatter(self.viewer)
        self.scatter.clicked.connect(lambda point: self._choose([point]))
        self.scatter.lassoed.connect(self._choose)
        self._plot_place.addWidget(self.scatter)

    def _choose(self, points: list[int]) -> None:
        self.tabs.setCurrentWidget(self.selected)
        self.session.select(points)

    def _show_selection(self, _points: list[int]) -> None:
        self.selected.show_points()

    def _show_state(self, _changed: Any = None) -> None:
        state = self.state
        self.classifier_label.show_classifier(state.classifier, state.place)
        ready = state.classifier is not None and state.dataset is not None
        self.button.set_possible(ready, "" if ready else "A classifier and a data set are needed")

    def _offer_projections(self) -> None:
        from napari_why.latent_space import PROJECTIONS

        for name, projection in PROJECTIONS.items():
            if self.projection.findData(name) < 0:
                self.projection.addItem(projection.title, name)

    def _show_method(self, method: str) -> None:
        with QSignalBlocker(self.projection):
            self.projection.setCurrentIndex(self.projection.findData(method))

    def _show_path(self, points: Any) -> None:
        if self.scatter is not None:
            self.scatter.show_path(points)

    def _mark_step(self, step: int) -> None:
        if self.scatter is not None:
            self.scatter.mark_step(step)

    def _warn(self, text: str) -> None:
        self.message.tell(text, "warning")

    def _color(self, column: str) -> None:
        if self.view is not None and column:
            self.session.color_by = column

    def _draw(self, _column: str = "") -> None:
        session = self.session
        if session.view is None:
            return
        with QSignalBlocker(self.color_by):
            self.color_by.setCurrentText(session.color_by)
        self.scatter.show_points(
            session.view.projection, session.colouring, session.view.tooltips, session.ringed
        )
        self.scatter.setToolTip("")

    def _project(self, _text: str = "") -> None:
        view, method = self.view, self.projection.currentData()
        if view is None or view.projection.method == method:
            return
        self.run(
            "Projecting",
            lambda **listeners: project_view(view, method, **listeners),
            self.session.show,
            # the box has to say what is shown, which is still the projection before
            lambda _error: self._show_method(view.projection.method),
        )

    def _search(self) -> None:
        view = self.view
        if view is None:
            return
        try:
            search = self.outliers.search()
        except WhyError as error:
            self.message.tell_error(error)
            return
        self.run("Outlier images", lambda **_: search_view(view, search), self.session.show)

    def _ask_where_to_save(self) -> None:
        name, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, "Name of a new folder", "latent_space"
        )
        if name:
            self.save_to(Path(name))


def copy_view(view: LatentView) -> "Snippet":
    """Return how a latent space is made."""
    search = None if view.outliers is None else {"rate": view.outliers.rate}
    return copy_latent_space(view.classifier, view.dataset, view.projection.method, {}, search)


class SelectedImages(QtWidgets.QWidget):
    """The points that the session has chosen; those of the selected rows, or all, are opened.

    Attributes
    ----------
    asked : Signal(list of int)
        Points whose images are to be opened.
    keep : QCheckBox
        Whether images that are open stay.
    """

    asked = Signal(list)

    def __init__(self, session: LatentSession, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.about = PlainLabel()
        self.about.setWordWrap(True)
        self.table = Table(wide_first=True)
        self.open = QtWidgets.QPushButton("Open images")
        self.keep = QtWidgets.QCheckBox("keep what is open")
        self.keep.setToolTip("Leave the images that were opened here before in the viewer")
        self.open.setToolTip("Those of the selected rows, or all")
        layout = QtWidgets.QVBoxLayout(self)
        for widget in (self.about, self.table, self.open, self.keep):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.open.clicked.connect(self._ask)
        self.table.doubleClicked.connect(lambda _index: self._ask())
        self.clear()

    @property
    def points(self) -> list[int]:
        """The points that are listed."""
        return self._session.selection

    def clear(self) -> None:
        """Show no image."""
        self.about.setText("Click a point to open its image, or draw a line around several.")
        self.table.hide()
        self.open.setEnabled(False)

    def show_points(self) -> None:
        """List the chosen images; as many as can be seen at a time are opened at once."""
        view, points = self._session.view, self.points
        if view is None:
            return
        shown = [name for name in COLUMNS if name in view.table.columns]
        chosen = view.table.iloc[points]
        names = [Path(str(path)).name for path in chosen["path"]]
        rows = [[name, *row] for name, row in zip(names, chosen[shown].to_numpy(), strict=True)]
        self.table.show_rows(["image", *shown], rows)
        self.open.setEnabled(True)
        count = len(points)
        # opening more at once would bury the viewer; the user chooses among them
        if count <= MOST_OPENED:
            self.about.setText("1 image is selected." if count == 1 else f"{count} images.")
            self.asked.emit(points)
        else:
            self.about.setText(
                f"{count} images are within the line. Select up to {MOST_OPENED} rows and open them."
            )

    def _ask(self) -> None:
        points, rows = self.points, self.table.chosen_rows()
        chosen = [points[row] for row in rows] if rows else points
        if chosen:
            self.asked.emit(chosen)
