"""Images and wells far from their class, and how they are spread over plates and cell lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari_why.sessions import LatentView
    from napari_why.widgets.job import JobRunner

# What a row tells of an image, where the table has it: as much as fits beside the file's name.
COLUMNS = ("class", "nearest class", "plate", "well")
# Offered first: what was grown or stained together goes wrong together; the class comes last.
FIRST_SHARES = ("cell_line", "cell line", "line", "plate", "class")


class OutlierPanel(QWidget):
    """The verdict in words, outlying wells and images, shares by a column, and the settings.

    Parameters
    ----------
    runner : JobRunner
        The runner of the dock.

    Attributes
    ----------
    asked : Signal(list of int)
        Points whose images are to be opened.
    again : Signal()
        Look again, with other settings.
    """

    asked = Signal(list)
    again = Signal()

    def __init__(self, runner: "JobRunner", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view: LatentView | None = None
        self._points: list[int] = []
        self._wells: list[list[int]] = []
        self.form: ParameterForm | None = None
        self.verdict = PlainLabel()
        self.verdict.setWordWrap(True)
        self.wells, self.images, self.shares = Table(), Table(wide_first=True), Table()
        self.wells_title = PlainLabel(bold=True)
        self.images_title = PlainLabel("Outlier images", bold=True)
        self.by = QComboBox()
        self.by.setToolTip("Count outliers by the values of this column")
        self.button = RunButton("Look again", runner)
        self._form_place = QVBoxLayout()
        self._lay_out()
        self.button.started.connect(self.again)
        self.by.currentTextChanged.connect(self._show_shares)
        self.images.doubleClicked.connect(
            lambda index: self.asked.emit([self._points[index.row()]])
        )
        self.wells.doubleClicked.connect(lambda index: self.asked.emit(self._wells[index.row()]))

    def _lay_out(self) -> None:
        hint = PlainLabel("Double-click a row to open its images.")
        choice = QFormLayout()
        choice.addRow("share by", self.by)
        layout = QVBoxLayout(self)
        for widget in (self.verdict, self.wells_title, self.wells, self.images_title, self.images):
            layout.addWidget(widget)
        layout.addWidget(hint)
        layout.addLayout(choice)
        layout.addWidget(self.shares)
        layout.addLayout(self._form_place)
        layout.addWidget(self.button)
        layout.addStretch(1)

    def search(self) -> dict[str, Any]:
        """Return the parameters of the search, none before the form is there.

        Raises
        ------
        ParameterError
            A value that cannot be.
        """
        return self.form.values() if self.form is not None else {}

    def show_view(self, view: "LatentView") -> None:
        """List the outliers in a latent space."""
        self._view = view
        if self.form is None:
            from napari_why.latent_space import OutlierOptions

            self.form = ParameterForm(OutlierOptions)
            self._form_place.addWidget(self.form)
        found = view.outliers
        self.verdict.setText("\n\n".join(found.sentences if found else view.notes))
        tables = (self.wells, self.images, self.shares)
        # each comes back with its rows: an empty table would look like a fault
        for widget in (*tables, self.wells_title, self.images_title):
            widget.hide()
        if found is None:
            return
        self._show_wells(view)
        listed = found.listed
        self._points = [int(point) for point in listed.index]
        shown = [name for name in COLUMNS if name in listed.columns]
        names = [Path(str(path)).name for path in listed["path"]]
        times = [f"{value:.2f}" for value in listed["relative distance"]]
        rows = [
            [name, *row, far]
            for name, row, far in zip(names, listed[shown].to_numpy(), times, strict=True)
        ]
        self.images.show_rows(
            ["image", *shown, "distance"],
            rows,
            ["", *("" for _ in shown), "Robust Mahalanobis distance, in units of the cutoff"],
        )
        self.images_title.setVisible(bool(rows))
        self._offer_columns(view)

    def _show_wells(self, view: "LatentView") -> None:
        found, groups = view.outliers, view.space.group_columns
        if found is None or found.listed_wells.empty:
            return
        columns, wells = ["class", *groups], found.listed_wells
        # the furthest image of a well first: of many only the first few are opened
        images = found.images.sort_values("relative distance", ascending=False)
        self._wells = [
            [int(point) for point in images.index[(images[columns] == row[columns]).all(axis=1)]]
            for _, row in wells.iterrows()
        ]
        rows = [
            [*(row[name] for name in columns), row["images"], f"{row['z']:.1f}"]
            for row in wells.to_dict("records")
        ]
        self.wells_title.setText(f"Outlier {groups[-1]}s")
        self.wells_title.show()
        self.wells.show_rows(
            [*columns, "images", "z"],
            rows,
            ["", *("" for _ in groups), "", "Robust z of its images' median distance"],
        )

    def _offer_columns(self, view: "LatentView") -> None:
        from napari_why.latent_space import columns_to_share

        if view.outliers is None:
            return
        columns = columns_to_share(view.outliers)
        before = self.by.currentText()
        wished = [name for name in (before, *FIRST_SHARES) if name in columns]
        self.by.blockSignals(True)
        self.by.clear()
        self.by.addItems(columns)
        if wished:
            self.by.setCurrentText(wished[0])
        self.by.blockSignals(False)
        self._show_shares()

    def _show_shares(self, _text: str = "") -> None:
        column = self.by.currentText()
        if self._view is None or self._view.outliers is None or not column:
            return
        shares = self._view.outliers.shares(column)
        rows = [
            [
                row[column],
                row["images"],
                row["outliers"],
                f"{row['share']:.1%}",
                f"{row['by chance']:.1f}",
            ]
            for row in shares.to_dict("records")
        ]
        self.shares.show_rows([column, "images", "outliers", "share", "by chance"], rows)
