"""What a counterfactual changes, in regions, and what of it the network uses."""

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QPushButton, QVBoxLayout

from napari_why.core.errors import WhyError
from napari_why.output.layer_metadata import image_name
from napari_why.output.snippets import copy_result
from napari_why.sessions import AttributionSession, CounterfactualSession, Finding
from napari_why.sessions.alpha_slider import describe_strength
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.job import RunButton
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.tables import PlainLabel, Table

if TYPE_CHECKING:
    from napari_why.counterfactuals import Counterfactual
    from napari_why.measurement import Measurement, UsedChange
    from napari_why.sessions.regions import RegionSelection

# Of grey levels, micrometres and effect sizes: smaller ones mean nothing.
SMALLEST = 0.0005
TABLE_FILTER = "CSV (*.csv);;Parquet (*.parquet)"
# Characters of a classifier's fingerprint that tell it from others, as versions of code are told.
FINGERPRINT = 8
# Which threshold rule uses which number; the others are greyed out.
RULE_OF = {"level": "fixed", "top_share": "top"}


class MeasurePanel(Panel):
    """View, threshold and smallest size; a Measure button; the regions as layer and as table.

    Hidden until there is a counterfactual. Measurement, regions and the chosen one are the
    session's; the panel has the order of the rows.
    """

    def __init__(self, dock: Dock, session: CounterfactualSession) -> None:
        super().__init__(dock)
        self.session = session
        # The region of each row, in the order of the table on the screen.
        self._regions: list[int] = []
        self._form: ParameterForm | None = None
        self.channel = QComboBox()
        self.channel.setToolTip("Which channel's change is measured; joint adds all of them")
        self.button = RunButton("Measure", dock.runner)
        self.summary = PlainLabel()
        self.summary.setWordWrap(True)
        self.table = Table()
        self.save_button = QPushButton("Save table...")
        self.copy_buttons = CopyButtons(dock.message)
        self.used_button = RunButton("What does this network use?", dock.runner)
        self.used_button.setToolTip(
            "Look for the smallest part of the change, by region and channel, that still flips the "
            "network. What differs between the classes need not be what the network uses."
        )
        self.used_label = PlainLabel()
        self.used_label.setWordWrap(True)
        self._form_place = QVBoxLayout()
        self._arrange()
        self.button.started.connect(self.measure)
        self.used_button.started.connect(self.find_used)
        self.save_button.clicked.connect(self.choose_file)
        self.table.itemSelectionChanged.connect(self._choose_region)
        session.measurement_changed.connect(self.show_measurement)
        session.region_changed.connect(self.show_region)
        session.used_changed.connect(self.show_used)
        self.save_button.hide()
        self.hide()

    def _arrange(self) -> None:
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(PlainLabel("Measure", bold=True))
        row = QFormLayout()
        row.addRow("channel", self.channel)
        self.column.addLayout(row)
        self.column.addLayout(self._form_place)
        for widget in (
            self.button,
            self.summary,
            self.table,
            self.save_button,
            self.copy_buttons,
            self.used_button,
            self.used_label,
        ):
            self.column.addWidget(widget)

    @property
    def form(self) -> ParameterForm:
        """The options of the measurement; there once a counterfactual is."""
        if self._form is None:
            raise LookupError("there is no counterfactual yet")
        return self._form

    @property
    def measurement(self) -> "Measurement | None":
        """The session's measurement."""
        return self.session.measurement

    @property
    def link(self) -> "RegionSelection | None":
        """What ties the regions to the viewer; None as long as they are not in it."""
        return self.session.regions

    def show_result(self, result: "Counterfactual") -> None:
        """Offer to measure a counterfactual."""
        # measuring imports torch; the panel is made before anybody needs that
        if self._form is None:
            self._form = self._make_form()
        chosen = self.channel.currentText()
        self.channel.clear()
        self.channel.addItems(["joint", *result.channels])
        self.channel.setCurrentIndex(max(0, self.channel.findText(chosen)))
        self.show()

    def measure(self) -> None:
        """Measure beside the viewer, then show the regions."""
        session, finding = self.session, self.session.finding
        if finding is None:
            return
        try:
            options = {**self.form.values(), "channel": self.channel.currentText()}
        except WhyError as error:
            self.dock.message.tell_error(error)
            return

        def work(**_listeners: Any) -> Finding[Any]:
            return session.compute_measurement(finding, **options)

        def show(measured: Finding[Any]) -> None:
            # from the console, another counterfactual may have been shown meanwhile
            if finding is session.finding:
                session.show_measurement(*measured)

        self.dock.run("Measuring", work, show)

    def find_used(self) -> None:
        """Look beside the viewer for the part of the change that is used, then show it."""
        session, finding = self.session, self.session.finding
        if finding is None:
            return

        def work(**listeners: Any) -> Finding[Any]:
            return session.compute_used(finding, **listeners)

        def show(used: Finding[Any]) -> None:
            if finding is session.finding:
                session.show_used(*used)

        self.dock.run("What the network uses", work, show)

    def show_used(self, found: "UsedChange | None") -> None:
        """Say what part of the change is used; None: there is another counterfactual."""
        self.used_label.setText("" if found is None else "\n".join(found.sentences))

    def show_measurement(self, found: "Measurement | None") -> None:
        """List the regions of a measurement, the largest first; None: there is none any more."""
        self._regions = []
        if found is None:
            self.summary.clear()
            self.table.show_rows([], [])
            self.save_button.hide()
            self.copy_buttons.offer(None)
            return
        self.summary.setText(f"{self._about()}{measurement_summary(found)}")
        columns, rows, self._regions = region_rows(found)
        self.table.show_rows([short for short, _ in columns], rows, [name for _, name in columns])
        self.save_button.setVisible(bool(rows))
        finding = self.session.finding
        if finding is not None:
            classifier = finding.subject.classifier
            self.copy_buttons.offer(lambda: copy_result(classifier, found.record))

    def _about(self) -> str:
        """Say which image was measured, at which strength of the change, and of which classifier."""
        finding = self.session.finding
        return "" if finding is None else f"{about_of(finding)} "

    def show_region(self, region: int) -> None:
        """Choose the row of the region that is chosen in the viewer."""
        row = self._regions.index(region) if region in self._regions else None
        if row is not None and row in self.table.chosen_rows():
            return  # selecting it anew would undo a selection of several rows
        with QSignalBlocker(self.table):
            if row is None:
                self.table.clearSelection()
            else:
                self.table.selectRow(row)

    def save(self, path: str) -> None:
        """Write the table with its record."""
        if self.measurement is None:
            return
        try:
            written = self.session.save_table(path)
        except WhyError as error:
            self.dock.message.tell_error(error)
        else:
            self.dock.message.tell(f"The table is in {written}.")

    def choose_file(self) -> None:
        """Ask where to, and write the table."""
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", "regions.csv", TABLE_FILTER)
        if name:
            self.save(name)

    def _choose_region(self) -> None:
        rows = self.table.chosen_rows()
        # showing other rows empties the selection too
        if rows and rows[0] < len(self._regions):
            self.session.choose_region(self._regions[rows[0]])

    def _make_form(self) -> ParameterForm:
        from napari_why.measurement import MeasurementOptions

        form = ParameterForm(MeasurementOptions, without=("channel",))
        self._form_place.addWidget(form)
        # the rule decides which of the numbers counts
        rule = form.editor("threshold")

        def show_what_counts() -> None:
            for name, needed in RULE_OF.items():
                form.editor(name).setEnabled(rule.value() == needed)

        rule.changed.connect(show_what_counts)
        show_what_counts()
        return form


def about_of(finding: Finding[Any]) -> str:
    """Say of which image, change and classifier a table is."""
    result, classifier = finding.result, finding.subject.classifier
    image = image_name(result.record.source) or "The image"
    alpha = getattr(result, "special_alphas", {}).get("alpha1")
    change = "" if alpha is None else f", {describe_strength(result, alpha)} (alpha {alpha:.2f})"
    network = f"{classifier.network.name} {result.record.classifier[:FINGERPRINT]}"
    return f"{image}{change}, by {network}."


class RegionValues(Panel):
    """The evidence of each region, linked to the regions in the picture both ways; hidden without.

    Parameters
    ----------
    dock : Dock
    session : AttributionSession
    """

    def __init__(self, dock: Dock, session: AttributionSession) -> None:
        super().__init__(dock)
        self.session = session
        self._regions: list[int] = []
        self.about = PlainLabel()
        self.about.setWordWrap(True)
        self.table = Table()
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(self.about)
        self.column.addWidget(self.table)
        self.table.itemSelectionChanged.connect(self._choose_region)
        session.region_changed.connect(self.show_region)
        self.hide()

    def show_result(self, finding: Finding[Any] | None) -> None:
        """List the values of the regions of a result, the strongest first."""
        values = () if finding is None else finding.result.regions
        # a table of hidden rows must not choose for the picture
        with QSignalBlocker(self.table):
            if finding is not None and values:
                ordered = sorted(
                    (item for item in values if item.label), key=lambda item: -abs(item.value)
                )
                self._regions = [item.label for item in ordered]
                rows = [
                    [str(item.label), f"{item.value:.3g}", _error_of(item.standard_error)]
                    for item in ordered
                ]
                self.table.show_rows(["region", finding.result.unit, "error"], rows)
                self.about.setText(about_of(finding))
        self.setVisible(bool(values))

    def show_region(self, region: int) -> None:
        """Choose the row of the region that is chosen in the viewer."""
        with QSignalBlocker(self.table):
            if region in self._regions:
                self.table.selectRow(self._regions.index(region))
            else:
                self.table.clearSelection()

    def _choose_region(self) -> None:
        rows = self.table.chosen_rows()
        if rows and rows[0] < len(self._regions):
            self.session.choose_region(self._regions[rows[0]])


def _error_of(error: float | None) -> str:
    return "" if error is None else f"{error:.2g}"


def region_rows(found: "Measurement") -> tuple[list[tuple[str, str]], list[list[str]], list[int]]:
    """Return headers with their tooltips, rows, and the label of each row, largest region first.

    Of a joint map the changes of all channels; of a channel's map the change and effect size of
    that channel. The file that is saved has all columns.
    """
    from napari_why.measurement.regions import (
        AREA_MICROMETRES,
        AREA_PIXELS,
        REGION,
        column,
        effect_column,
    )

    table = found.table
    # without a pixel size there are no micrometres, and a made-up unit would be believed
    known = AREA_MICROMETRES in table
    area = AREA_MICROMETRES if known else AREA_PIXELS
    shown = [(REGION, REGION), ("area µm²" if known else "area px", area)]
    # a dock is narrow: the effect size takes the place of the channels that were not measured
    one = found.channel in found.map.channels
    channels = (found.channel,) if one else found.map.channels
    shown += [(f"Δ {channel}", column("mean", "change", channel)) for channel in channels]
    if one:
        shown.append(("d", effect_column(found.channel)))
    ordered = table.sort_values(area, ascending=False, kind="stable")
    rows = [
        [str(int(values[0])), *(format_short(value) for value in values[1:])]
        for values in ordered[[name for _, name in shown]].to_numpy()
    ]
    return shown, rows, [int(region) for region in ordered[REGION]]


def measurement_summary(found: "Measurement") -> str:
    """Say how many regions there are, above which value, and what each channel changes at large."""
    count = found.regions.count
    regions = "No region" if not count else f"{count} region{'s' if count > 1 else ''}"
    offsets = ", ".join(
        f"{name} {format_short(offset, '+')}"
        for name, offset in zip(found.map.channels, found.map.offset, strict=True)
    )
    return (
        f"{regions} from {format_short(found.regions.threshold)} on. Global change of each "
        f"channel, in grey levels: {offsets}."
    )


def format_short(value: float, sign: str = "") -> str:
    """Write a number for a narrow column: three digits, but never as a power of ten.

    Parameters
    ----------
    value : float
        NaN is written as nothing.
    sign : str
        ``+`` writes one before positive numbers too.

    Returns
    -------
    str

    Examples
    --------
    >>> format_short(0.12345), format_short(-12345.6), format_short(2, "+"), format_short(5.58e-06)
    ('0.123', '-12346', '+2', '≈0')
    """
    if math.isnan(value):
        return ""
    if abs(value) < SMALLEST:
        return "0" if value == 0 else "≈0"
    # from four digits on .3g would write 1.23e+03
    return f"{value:{sign}.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"
