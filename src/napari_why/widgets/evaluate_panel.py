"""How good is the classifier: figures in words and plots, by well, and each image with its prediction."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from qtpy import QtWidgets

from napari_why.core.whole_files import write_table
from napari_why.output.snippets import copy_evaluation
from napari_why.sessions import ImageOpener
from napari_why.sessions.facts_under_mouse import row_of_layer, rows_by_file
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.job import RunButton
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    import pandas as pd
    from napari.layers import Layer

    from napari_why.datasets import Dataset
    from napari_why.evaluation import Evaluation
    from napari_why.model import Classifier


class EvaluatePanel(Panel):
    """An Evaluate button; the verdict in plain sentences, the plots, a table by well and one by image.

    Images that the network was trained on are kept out of the figures. A click on an image of the table
    opens it, and the image on show is marked there.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._shown: tuple[Evaluation, tuple[str, ...]] | None = None
        # the rows of the data set as the table lists them, and those of its files
        self._listed: list[int] = []
        self._rows: dict[str, int] = {}
        self.plots: Any = None
        self.nulls = QtWidgets.QCheckBox("compare with meaningless labels")
        # On, although it takes longer: an accuracy alone convinces more than it should.
        self.nulls.setChecked(True)
        self.nulls.setToolTip(
            "Could labels that mean nothing be told apart as well? Then the accuracy is no "
            "evidence of a difference between the classes. Takes longer."
        )
        self.button = RunButton("Evaluate", dock.runner)
        self.verdict = PlainLabel()
        self.verdict.setWordWrap(True)
        self._plot_place = QtWidgets.QVBoxLayout()
        self.by_group = Table()
        self.hint = PlainLabel(
            "Click an image to open it; the one on show is marked. Held-out images come first, and of those "
            "the ones that are called wrongly."
        )
        self.hint.setWordWrap(True)
        self.hint.hide()
        self.images = Table()
        self.opener = ImageOpener(dock)
        self.save_table_button = QtWidgets.QPushButton("Save table...")
        self.save_table_button.setToolTip(
            "One row an image: class, prediction, probabilities (CSV)"
        )
        self.save_figure_button = QtWidgets.QPushButton("Save figure...")
        self.save_figure_button.setToolTip("Both plots, for a page or a talk (PNG, SVG)")
        self._saving = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(self._saving)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.save_table_button)
        row.addWidget(self.save_figure_button)
        self._saving.hide()
        self.copy_buttons = CopyButtons(dock.message)
        self.column.addWidget(self.nulls)
        self.column.addWidget(self.button)
        self.column.addWidget(self.verdict)
        self.column.addWidget(self._saving)
        self.column.addWidget(self.copy_buttons)
        self.column.addLayout(self._plot_place)
        for table in (self.by_group, self.hint, self.images):
            self.column.addWidget(table)
        self.end_column()
        self.button.started.connect(self.evaluate)
        self.save_table_button.clicked.connect(self._ask_for_table)
        self.save_figure_button.clicked.connect(self._ask_for_figure)
        self.images.clicked.connect(lambda index: self.open_row(index.row()))
        self.images.activated.connect(lambda index: self.open_row(index.row()))
        self.opener.shown.connect(self._choose)
        dock.state.dataset_changed.connect(self._forget)
        dock.state.image.changed.connect(self._mark_image)
        self._offer()

    def show_classifier(self, classifier: "Classifier | None") -> None:  # noqa: ARG002
        """Forget the figures of the classifier before."""
        self._forget()

    def evaluate(self) -> None:
        """Evaluate the shared classifier on the shared data set."""
        self._evaluate(after_training=False)

    def evaluate_after_training(self) -> None:
        """Evaluate without taking away what the training said, and show an image where there is none."""
        self._evaluate(after_training=True)

    def open_row(self, row: int) -> None:
        """Open the image of a row of the table, in the contrast of the data set."""
        dataset = self.dock.state.dataset
        if dataset is not None and 0 <= row < len(self._listed):
            self.opener.open(dataset, [self._listed[row]])

    def _evaluate(self, *, after_training: bool) -> None:
        state, nulls = self.dock.state, self.nulls.isChecked()
        classifier, dataset = state.classifier, state.dataset
        if classifier is None or dataset is None:
            return

        def work(**listeners: Any) -> "Evaluation":
            from napari_why.evaluation import evaluate

            found = evaluate(classifier, dataset, nulls=nulls, **listeners)
            # what the plots are drawn by: beside the viewer, which would wait for it in a moment
            import_module("napari_why.output.evaluation_figure")
            return found

        def show(found: "Evaluation") -> None:
            if classifier is not state.classifier or dataset is not state.dataset:
                return  # another was loaded meanwhile: its name stands above this page
            self._show(found, classifier, dataset)
            self.copy_buttons.offer(lambda: copy_evaluation(classifier, dataset, nulls=nulls))
            if not after_training:
                return
            self.dock.scroll_to_top()  # it was at the curves of the training
            if not state.image.list_layers():
                self._open_first(found, dataset)

        self.dock.run("Evaluating", work, show, keep_message=after_training)

    def save_table(self, path: Path) -> None:
        """Write one row an image as CSV."""
        if self._shown is not None:
            evaluation, _ = self._shown

            def work(**_listeners: Any) -> Path:
                return write_table(evaluation.predictions, path, record=evaluation.record)

            self.dock.run("Writing the table", work, self._tell_written)

    def save_figure(self, path: Path) -> None:
        """Write both plots as PNG or SVG."""
        if self._shown is not None:
            evaluation, classes = self._shown

            def work(**_listeners: Any) -> Path:
                from napari_why.output.evaluation_figure import draw_evaluation

                return draw_evaluation(evaluation, classes, path)

            self.dock.run("Drawing the figure", work, self._tell_written)

    def release(self) -> None:
        """Follow data set, image and theme no more."""
        self.dock.state.dataset_changed.disconnect(self._forget, missing_ok=True)
        self.dock.state.image.changed.disconnect(self._mark_image, missing_ok=True)
        self.opener.release()
        if self.plots is not None:
            self.plots.release()

    def _forget(self, _dataset: Any = None) -> None:
        self._clear()
        self._offer()

    def _tell_written(self, path: Path) -> None:
        self.dock.message.tell(f"Written: {path}")

    def _ask_for_table(self) -> None:
        name, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, "Save the table", "evaluation.csv", "CSV (*.csv)"
        )
        if name:
            self.save_table(Path(name))

    def _ask_for_figure(self) -> None:
        name, _ = QtWidgets.QFileDialog.getSaveFileName(
            self, "Save the figure", "evaluation.png", "PNG (*.png);;SVG (*.svg)"
        )
        if name:
            self.save_figure(Path(name))

    def _clear(self) -> None:
        self._shown = None
        self._saving.hide()
        self.verdict.clear()
        self.copy_buttons.offer(None)
        self._listed, self._rows = [], {}
        for widget in (self.by_group, self.hint, self.images):
            widget.hide()
        # Hidden and not deleted: a canvas is made once, for making one takes longer than drawing.
        if self.plots is not None:
            self.plots.hide()

    def _offer(self) -> None:
        ready = self.dock.state.classifier is not None and self.dock.state.dataset is not None
        reason = "" if ready else "A classifier and a data set are needed"
        self.button.set_possible(ready, reason)

    def _show(self, evaluation: "Evaluation", classifier: "Classifier", dataset: "Dataset") -> None:
        self._clear()
        self.verdict.setText("\n\n".join(evaluation.sentences))
        if not evaluation.metrics:
            return
        self._shown = (evaluation, classifier.classes)
        self._saving.show()
        if self.plots is None:
            # Not at the top: matplotlib takes long, and a dock has to open at once.
            from napari_why.widgets.plot import EvaluationPlots

            self.plots = EvaluationPlots(self.dock.viewer)
            self._plot_place.addWidget(self.plots)
        self.plots.show()
        self.plots.show_evaluation(evaluation, classifier.classes)
        if evaluation.by_group is not None:
            self.by_group.show_rows(*make_group_rows(evaluation.by_group))
        self._listed = order_images(evaluation.predictions)
        self._rows = rows_by_file(dataset)
        self.images.show_rows(*make_image_rows(evaluation.predictions, self._listed))
        self.hint.show()
        self._mark_image()

    def _open_first(self, evaluation: "Evaluation", dataset: "Dataset") -> None:
        """Open the first image that counts, so that there is one to explain."""
        counted = evaluation.predictions["counted"].to_numpy().nonzero()[0]
        if len(counted):
            self.opener.open(dataset, [int(counted[0])])

    def _choose(self, layers: "list[Layer]") -> None:
        """Make the image that was opened the one in use."""
        self.dock.state.image.choose([layer for layer in layers if isinstance(layer, Image)])

    def _mark_image(self) -> None:
        """Mark the image in use in the table, as far as it is one of the data set."""
        chosen = [layer for layer in self.dock.state.image.chosen if layer is not None]
        row = row_of_layer(self._rows, chosen[0]) if chosen else None
        if row in self._listed:
            place = self._listed.index(row)
            self.images.selectRow(place)
            self.images.scrollTo(self.images.model().index(place, 0))
        else:
            self.images.clearSelection()


def make_group_rows(by_group: Any) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of each group's class, images and accuracy."""
    names = [name for name in ("plate", "well", "label", "images", "accuracy") if name in by_group]
    # of the table it is the class that the images were given, whatever the column is called
    header = ["class" if name == "label" else name for name in names]
    rows = [
        [
            f"{value:.0%}" if name == "accuracy" else str(value)
            for name, value in zip(names, row, strict=True)
        ]
        for row in by_group[names].to_numpy()
    ]
    return header, rows


def order_images(predictions: "pd.DataFrame") -> list[int]:
    """Return the rows of a data set: held-out images first, of those first what is called wrongly."""
    held_out = predictions["counted"].to_numpy(dtype=bool)
    right = (predictions["predicted"] == predictions["label"]).to_numpy()
    # the last key counts most
    return [int(row) for row in np.lexsort((right, ~held_out))]


def make_image_rows(
    predictions: "pd.DataFrame", rows: list[int]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of images: class, prediction, its probability, name, split, well.

    Parameters
    ----------
    predictions : DataFrame
        Of an :class:`~napari_why.evaluation.Evaluation`.
    rows : list of int
        Which, in this order.

    Returns
    -------
    (list of str, list of list of str)
    """
    further = [name for name in ("split", "plate", "well") if name in predictions]
    made = []
    for row in predictions.iloc[rows].to_dict("records"):
        said, sure = "not readable", ""
        if not row["error"]:
            said = str(row["predicted"])
            sure = f"{row[f'probability of {said}']:.2f}"
        name = Path(str(row["path"])).name
        made.append([str(row["label"]), said, sure, name, *(str(row[x]) for x in further)])
    # names of files may be wider than a dock: they come behind what is looked for
    return ["class", "called", "probability", "image", *further], made
