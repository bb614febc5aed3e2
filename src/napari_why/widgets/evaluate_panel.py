"""How good the classifier is, and how far that is to be believed."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout

from napari_why.widgets.dock import Dock
from napari_why.widgets.panel import Panel
from napari_why.widgets.run_button import RunButton
from napari_why.widgets.tables import Table

if TYPE_CHECKING:
    from napari_why.evaluation import Evaluation
    from napari_why.model import Classifier


class EvaluatePanel(Panel):
    """An Evaluate button; the verdict in plain sentences, the plots and a table by well.

    Images that the network was trained on are kept out of the figures.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self.plots: Any = None
        self.nulls = QCheckBox("compare with meaningless labels")
        self.nulls.setChecked(True)
        self.nulls.setToolTip(
            "Could labels that mean nothing be told apart as well? Then the accuracy is no "
            "evidence of a difference between the classes. Takes longer."
        )
        self.button = RunButton("Evaluate", dock.runner)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self._plot_place = QVBoxLayout()
        self.by_group = Table()
        self.column.addWidget(self.nulls)
        self.column.addWidget(self.button)
        self.column.addWidget(self.verdict)
        self.column.addLayout(self._plot_place)
        self.column.addWidget(self.by_group)
        self.end_column()
        self.button.asked.connect(self.evaluate)
        dock.state.dataset_changed.connect(self._forget)
        self._offer()

    def show_classifier(self, classifier: "Classifier | None") -> None:  # noqa: ARG002
        """Forget the figures of the classifier before."""
        self._forget()

    def evaluate(self) -> None:
        """Evaluate the shared classifier on the shared data set."""
        state, nulls = self.dock.state, self.nulls.isChecked()
        classifier, dataset = state.classifier, state.dataset
        if classifier is None or dataset is None:
            return

        def work(**listeners: Any) -> "Evaluation":
            from napari_why.evaluation import evaluate

            return evaluate(classifier, dataset, nulls=nulls, **listeners)

        self.dock.run("Evaluating", work, lambda found: self._show(found, classifier))

    def release(self) -> None:
        """Follow data set and theme no more."""
        self.dock.state.dataset_changed.disconnect(self._forget, missing_ok=True)
        if self.plots is not None:
            self.plots.release()

    def _forget(self, _dataset: Any = None) -> None:
        self._clear()
        self._offer()

    def _clear(self) -> None:
        self.verdict.clear()
        self.by_group.hide()
        if self.plots is not None:
            self.plots.hide()

    def _offer(self) -> None:
        ready = self.dock.state.classifier is not None and self.dock.state.dataset is not None
        reason = "" if ready else "A classifier and a data set are needed"
        self.button.set_possible(ready, reason)

    def _show(self, evaluation: "Evaluation", classifier: "Classifier") -> None:
        self._clear()
        self.verdict.setText("\n\n".join(evaluation.sentences))
        if not evaluation.metrics:
            return
        if self.plots is None:
            from napari_why.widgets.evaluation_plots import EvaluationPlots

            self.plots = EvaluationPlots(self.dock.viewer)
            self._plot_place.addWidget(self.plots)
        self.plots.show()
        self.plots.show_evaluation(evaluation, classifier.classes)
        if evaluation.by_group is not None:
            self.by_group.show_rows(*group_rows(evaluation.by_group))


def group_rows(by_group: Any) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of each group's class, images and accuracy."""
    names = [name for name in ("plate", "well", "label", "images", "accuracy") if name in by_group]
    rows = [
        [
            f"{value:.0%}" if name == "accuracy" else str(value)
            for name, value in zip(names, row, strict=True)
        ]
        for row in by_group[names].to_numpy()
    ]
    return names, rows
