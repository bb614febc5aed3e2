"""What a counterfactual changes, in regions: a form, a Labels layer and a table."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
)

from napari_why.core.errors import WhyError
from napari_why.output.layers import to_layers
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.explained import Explained
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.region_link import RegionLink
from napari_why.widgets.region_rows import measurement_summary, region_rows
from napari_why.widgets.tables import Table

if TYPE_CHECKING:
    from napari_why.counterfactuals import Counterfactual
    from napari_why.measurement import Measurement

TABLE_FILTER = "CSV (*.csv);;Parquet (*.parquet)"
RULE_OF = {"level": "fixed", "top_share": "top"}


class MeasurePanel(Panel):
    """View, threshold and smallest size; a Measure button; the regions as layer and as table.

    Hidden until there is a counterfactual.
    """

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._result: Counterfactual | None = None
        self._about: Explained | None = None
        self._form: ParameterForm | None = None
        self.measurement: Measurement | None = None
        self.link: RegionLink | None = None
        self.channel = QComboBox()
        self.channel.setToolTip("Which channel's change is measured; joint adds all of them")
        self.button = RunButton("Measure", dock.runner)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.table = Table()
        self.save_button = QPushButton("Save table...")
        self._form_place = QVBoxLayout()
        self._arrange()
        self.button.started.connect(self.measure)
        self.save_button.clicked.connect(self.choose_file)
        self.save_button.hide()
        self.hide()

    def _arrange(self) -> None:
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(QLabel("<b>Measure</b>"))
        row = QFormLayout()
        row.addRow("channel", self.channel)
        self.column.addLayout(row)
        self.column.addLayout(self._form_place)
        for widget in (self.button, self.summary, self.table, self.save_button):
            self.column.addWidget(widget)

    @property
    def form(self) -> ParameterForm:
        """The options of the measurement; there once a counterfactual is."""
        if self._form is None:
            raise LookupError("there is no counterfactual yet")
        return self._form

    def show_result(self, result: "Counterfactual", about: Explained | None) -> None:
        """Offer to measure a counterfactual; without what it is about there is no place for it."""
        self._forget()
        self._result, self._about = result, about
        if about is None:
            self.hide()
            return
        if self._form is None:
            self._form = self._made_form()
        chosen = self.channel.currentText()
        self.channel.clear()
        self.channel.addItems(["joint", *result.channels])
        self.channel.setCurrentIndex(max(0, self.channel.findText(chosen)))
        self.show()

    def measure(self) -> None:
        """Measure beside the viewer, then show the regions."""
        result, about = self._result, self._about
        if result is None or about is None:
            return
        try:
            options = {**self.form.values(), "channel": self.channel.currentText()}
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**_listeners: Any) -> Any:
            from napari_why.measurement import measure

            found = measure(result, about.image, **options)
            return found, to_layers(found, about.layers, plane=about.plane)

        self.dock.run("Measuring", work, lambda made: self._show(*made))

    def save(self, path: str) -> None:
        """Write the table with its record."""
        from napari_why.measurement import write_table

        if self.measurement is None:
            return
        try:
            written = write_table(self.measurement.table, path, record=self.measurement.record)
        except WhyError as error:
            self.dock.message.tell_error(error)
        else:
            self.dock.message.tell(f"The table is in {written}.")

    def choose_file(self) -> None:
        """Ask where to, and write the table."""
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", "regions.csv", TABLE_FILTER)
        if name:
            self.save(name)

    def release(self) -> None:
        """Follow the layer no more."""
        if self.link is not None:
            self.link.release()
            self.link = None

    def _made_form(self) -> ParameterForm:
        from napari_why.measurement import MeasurementOptions

        form = ParameterForm(MeasurementOptions, without=("channel",))
        self._form_place.addWidget(form)
        rule = form.editor("threshold")

        def show_what_counts() -> None:
            for name, needed in RULE_OF.items():
                form.editor(name).setEnabled(rule.value() == needed)

        rule.changed.connect(show_what_counts)
        show_what_counts()
        return form

    def _show(self, found: "Measurement", layers: list[Any]) -> None:
        self._forget()
        self.measurement = found
        self.summary.setText(measurement_summary(found))
        columns, rows, regions = region_rows(found)
        self.table.show_rows([short for short, _ in columns], rows, [name for _, name in columns])
        self.save_button.setVisible(bool(rows))
        self.dock.add_layers(layers, lambda: self._tie(layers[-1], regions))

    def _tie(self, layer: Any, regions: list[int]) -> None:
        if layer in self.dock.viewer.layers:
            self.link = RegionLink(self.dock.viewer, layer, self.table, regions)

    def _forget(self) -> None:
        self.release()
        self.measurement = None
        self.summary.clear()
        self.table.show_rows([], [])
        self.save_button.hide()
