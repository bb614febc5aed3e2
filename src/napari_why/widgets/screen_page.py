"""The page for plates of compounds: a screen in a process of its own, and its plates as they fill."""

from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices

from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.events import Advanced, Event, Started
from napari_why.core.executors import Engine
from napari_why.output.snippets import ScreenCall, copy_screen
from napari_why.sessions.facts_under_mouse import MARK, FactsUnderMouse
from napari_why.sessions.screen import ScreenSession
from napari_why.sessions.screen_process import run_screen
from napari_why.widgets.classifier_bar import ClassifierBar
from napari_why.widgets.copy_buttons import CopyButtons
from napari_why.widgets.dock import Dock
from napari_why.widgets.each_image import EachImage, import_methods
from napari_why.widgets.job import Executor, JobState, RunButton, run_in_thread
from napari_why.widgets.parameter_field import narrow
from napari_why.widgets.parameter_form import ParameterForm
from napari_why.widgets.path_line import FolderLines, PathLine
from napari_why.widgets.screen_plates import ScreenPlates
from napari_why.widgets.session_buttons import form_settings, restore_form
from napari_why.widgets.settings_fold import SettingsFold
from napari_why.widgets.tables import PlainLabel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.model import Classifier
    from napari_why.screening import ScreenOptions
    from napari_why.sessions.screen_state import ScreenState

PLATE_MAPS = "Plate maps (*.csv *.tsv *.txt *.xlsx *.xls)"
# Of a class that compounds should bring cells to, where the classifier has one that is called so.
HEALTHY = "healthy"
# Seconds between two looks at what is done: a person sees a plate fill, and the disk has time for the work.
BETWEEN_LOOKS = 2.0
REPORT = "report.html"


class ScreenPage(Dock):
    """Plates, what is asked of them, a folder, Run; below it the plates as they fill.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default. The screen itself runs in a process of its own.

    Attributes
    ----------
    session : ScreenSession
        What is done of the screen.
    """

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.session = ScreenSession(napari_viewer, self)
        self.facts = FactsUnderMouse(napari_viewer, self.session.describe_layer)
        self.questions: ParameterForm | None = None
        self._wanted: dict[str, Any] = {}  # of a session, until there is a form
        self._run_once_saved = False
        self._looked = 0.0
        self._running: Path | None = None
        self._fill = False  # whether the form is to say what the next screen that is shown asked
        self._make_widgets()
        self._lay_out()
        self._connect()
        self.show_classifier(self.state.classifier)
        self.load(import_questions, self._make_form)

    def _make_widgets(self) -> None:
        self.bar = ClassifierBar(self)
        self.fold = SettingsFold()
        self.plates = FolderLines("Folder of a plate, or of several")
        self.plates.lines.setPlaceholderText("folders of plates, one a line")
        self.plate_map = PathLine("Plate map", PLATE_MAPS)
        self.plate_map.line.setPlaceholderText("what is in which well: CSV or Excel")
        self.healthy = QtWidgets.QComboBox()
        narrow(self.healthy)
        self.healthy.setToolTip("The class that compounds are to bring the cells to")
        self._questions = QtWidgets.QVBoxLayout()
        self.each = EachImage("the healthy class", pictures=False)
        self.engine = ParameterForm(Engine, only=("workers",))
        self.out = PathLine("Folder for the results")
        self.out.line.setPlaceholderText("a new folder, or one of an earlier screen")
        self.resume = QtWidgets.QCheckBox("Keep the wells that are done")
        # on: whoever starts a screen anew in the same folder has usually been interrupted
        self.resume.setChecked(True)
        self.resume.setToolTip(
            "Wells done with the same classifier, options and files are not done again. Off: an earlier "
            "screen in this folder is replaced."
        )
        self.button = RunButton("Run", self.runner)
        self.open = QtWidgets.QPushButton("Open")
        self.open.setToolTip("Show the screen in the folder above, finished or not")
        self.report = QtWidgets.QPushButton("Report")
        self.report.setToolTip(
            "Open the report in the browser: plates, controls, compounds, methods"
        )
        self.report.setEnabled(False)
        self.status, self.findings = PlainLabel(), PlainLabel()
        for label in (self.status, self.findings):
            label.setWordWrap(True)
        self.shown = ScreenPlates()
        self.copy_buttons = CopyButtons(self.message)

    def _lay_out(self) -> None:
        self.column.addWidget(self.bar)
        self.column.addWidget(self.fold)
        page, self.column = self.column, self.fold.column
        self.heading("Plates")
        self.column.addWidget(self.plates)
        self.column.addWidget(self.plate_map)
        self.heading("What is asked")
        rows = QtWidgets.QFormLayout()
        rows.addRow(PlainLabel("healthy"), self.healthy)
        self.column.addLayout(rows)
        self.column.addLayout(self._questions)
        self.heading("What is done with each field")
        self.column.addWidget(PlainLabel("Its class is predicted."))
        self.column.addWidget(self.each)
        self.column.addWidget(self.engine)
        self.column = page
        self.heading("Results")
        self.column.addWidget(self.out)
        self.column.addWidget(self.resume)
        row = QtWidgets.QHBoxLayout()
        for button in (self.button, self.open, self.report):
            row.addWidget(button, 1)
        self.column.addLayout(row)
        for widget in (self.status, self.shown, self.findings, self.copy_buttons):
            self.column.addWidget(widget)
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.button.started.connect(self.start)
        self.open.clicked.connect(self.open_screen)
        self.report.clicked.connect(self.open_report)
        self.shown.well_wanted.connect(self.open_well)
        self.shown.well_below.connect(self._tell_of_well)
        self.shown.column_changed.connect(self._note_column)
        self.runner.event.connect(self._look_at_progress)
        self.session.state_changed.connect(self._show_state)
        self.session.told.connect(self._warn)
        self._follow()

    def _follow(self) -> None:
        self.state.classifier_changed.connect(self.show_classifier)
        self.state.place_changed.connect(self._classifier_saved)

    def become_page(self) -> None:
        """Leave out the classifier, which the dock around this page shows."""
        super().become_page()
        self.bar.release()
        self.bar.hide()

    def show_classifier(self, classifier: "Classifier | None") -> None:
        """Offer what a classifier can do."""
        classes = classifier.classes if classifier is not None else ()
        chosen = self.healthy.currentText() or HEALTHY
        self.healthy.clear()
        self.healthy.addItems(list(classes))
        # mostly the last: classes are in the order of the alphabet, and diseased comes before healthy, treated
        self.healthy.setCurrentIndex(
            classes.index(chosen) if chosen in classes else len(classes) - 1
        )
        self.each.set_classes(classes)
        ready = classifier is not None
        self.button.set_possible(ready, "" if ready else "Train or load a classifier first")
        if classifier is not None:
            self.load(import_methods, lambda found: self._offer(classifier, found))

    def options(self) -> "ScreenOptions":
        """Return what the form asks for.

        Raises
        ------
        ParameterError
            A value that cannot be.
        """
        from napari_why.batch import BatchOptions
        from napari_why.screening import ScreenOptions

        healthy = self.healthy.currentText()
        each = self.each.values()
        if each.get("counterfactual") and each["target"] is None:
            each["target"] = healthy
        asked = {} if self.questions is None else self.questions.values()
        return ScreenOptions(healthy=healthy, explaining=BatchOptions(**each), **asked)

    def call(self) -> ScreenCall:
        """Return the screen that the form asks for.

        Raises
        ------
        ParameterError
            A value that cannot be, or a place that is not named yet.
        """
        for place, what in (
            (self.plates.paths, "No folder of a plate yet: name one below Plates."),
            (self.plate_map.path, "No plate map yet: name one below the plates."),
            (self.out.path, "No folder for the results yet: name one below Results."),
        ):
            if not place:
                raise ParameterError(what)
        classifier = self.state.classifier
        return ScreenCall(
            plates=self.plates.paths,
            plate_map=self.plate_map.path or Path(),
            out=self.out.path or Path(),
            options=self.options().to_flat(),
            workers=self.engine.values()["workers"],
            device="cpu" if classifier is None else str(classifier.device),
            resume=self.resume.isChecked(),
        )

    def start(self) -> None:
        """Run the screen in a process of its own, and follow it."""
        classifier = self.state.classifier
        if classifier is None or not self.is_free():
            return
        try:
            call = self.call()
            self._refuse_another_screen(call, classifier)
        except WhyError as error:
            self.message.tell_error(error)
            return
        place = self.state.place or classifier.folder
        if place is None:
            self.message.tell(
                "Workers load the classifier from the disk: save it first.", "warning"
            )
            # goes on once it is saved, which runs beside the viewer
            self._run_once_saved = self.bar.ask_where_to_save()
            return
        self.copy_buttons.offer(lambda: copy_screen(classifier, call))
        self._running = Path(call.out)

        def work(**listeners: Any) -> Path:
            return run_screen(place, call, **listeners)

        self.run("Screen", work, self._end, lambda _error: self.session.refresh())

    def open_screen(self) -> None:
        """Show what is in the folder, and how it was asked."""
        folder = self.out.path
        if folder is None:
            self.message.tell("Name the folder of a screen first.", "warning")
            return
        self.message.clear()
        self._fill = True
        self.session.look_at(folder)

    def open_well(self, plate: str, well: str) -> None:
        """Open the fields of a well, with what the screen wrote of them.

        Parameters
        ----------
        plate : str
        well : str
            Such as "B03".
        """
        self.message.clear()
        self.session.open_well(plate, well, self._sources())

    def open_report(self) -> None:
        """Open the report in the browser."""
        state = self.session.state
        if state is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str((state.folder / REPORT).absolute())))

    def settings(self) -> dict[str, Any]:
        """Return what the form says, JSON types, for a saved session."""
        return {
            "each": self.each.settings(),
            "plates": self.plates.lines.toPlainText(),
            "plate_map": self.plate_map.line.text(),
            "out": self.out.line.text(),
            "healthy": self.healthy.currentText(),
            "resume": self.resume.isChecked(),
            "questions": {} if self.questions is None else form_settings(self.questions),
            "engine": form_settings(self.engine),
            "column": self.shown.column,
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Say again what :meth:`settings` returned; what is not known stays."""
        self._wanted = dict(values)
        if isinstance(values.get("each"), Mapping):
            self.each.restore_settings(values["each"])
        texts = {"plate_map": self.plate_map.line, "out": self.out.line}
        for name, line in texts.items():
            if isinstance(values.get(name), str):
                line.setText(values[name])
        if isinstance(values.get("plates"), str):
            self.plates.lines.setPlainText(values["plates"])
        if isinstance(values.get("resume"), bool):
            self.resume.setChecked(values["resume"])
        index = self.healthy.findText(str(values.get("healthy", "")))
        if index >= 0:
            self.healthy.setCurrentIndex(index)
        restore_form(self.engine, values.get("engine"))
        self._restore_questions()
        self.shown.want_column(str(values.get("column", "")))

    def shut_down(self) -> None:
        """Stop what runs, and follow classifier and viewer no more."""
        super().shut_down()
        self.state.classifier_changed.disconnect(self.show_classifier, missing_ok=True)
        self.state.place_changed.disconnect(self._classifier_saved, missing_ok=True)
        self.bar.release()
        self.facts.release()
        self.session.close()

    def reopen(self) -> None:
        """Follow the shared classifier again."""
        super().reopen()
        self._follow()
        if not self.is_page:
            self.bar.follow()
        self.show_classifier(self.state.classifier)

    def _make_form(self, kind: Any) -> None:
        # the class stands in a box of its own, with the classes that there are
        self.questions = ParameterForm(kind, without=("healthy",))
        self._questions.addWidget(self.questions)
        self._restore_questions()

    def _restore_questions(self) -> None:
        if self.questions is not None:
            restore_form(self.questions, self._wanted.pop("questions", None))

    def _offer(self, classifier: "Classifier", catalogue: Any) -> None:
        if classifier is self.state.classifier:
            self.each.offer(classifier, catalogue)

    def _classifier_saved(self, place: Path | None) -> None:
        wanted, self._run_once_saved = self._run_once_saved, False
        if wanted and place is not None and self.runner.state is JobState.IDLE:
            self.start()

    def _refuse_another_screen(self, call: ScreenCall, classifier: "Classifier") -> None:
        """Refuse to go on with another classifier: every well would be done anew, unasked.

        Raises
        ------
        ParameterError
            The screen in the folder was begun with another one.
        """
        from napari_why.screening.parts import PLAN, read_plan

        folder = Path(call.out)
        if not call.resume or not (folder / PLAN).exists():
            return
        known = str(read_plan(folder)["classifier"])
        if known != classifier.fingerprint:
            raise ParameterError(
                f"{folder}: found a screen of the classifier {known[:12]}; expected "
                f"{classifier.fingerprint[:12]}, the one in use; load that one to go on, choose another "
                "folder, or untick Keep the wells that are done"
            )

    def _sources(self) -> dict[str, Any] | None:
        """Return where plates and map are by the form; None where it does not say."""
        state = self.session.state
        if state is None or not self.plates.paths or self.plate_map.path is None:
            return None
        named = {"plates": list(map(str, self.plates.paths)), "plate_map": str(self.plate_map.path)}
        return {**(state.plan.get("sources") or {}), **named}

    def _look_at_progress(self, event: Event) -> None:
        """Show what is done, now and then: the plan is there once wells are begun."""
        if isinstance(event, Started) and self._running is not None:
            self.session.look_at(self._running)
            self._looked = monotonic()
        elif isinstance(event, Advanced) and monotonic() - self._looked > BETWEEN_LOOKS:
            self.session.refresh()
            self._looked = monotonic()

    def _end(self, _folder: Path) -> None:
        self.fold.fold_after_run()
        self.session.refresh()

    def _show_state(self, state: "ScreenState | None") -> None:
        # a line above the plates, which are to be in sight, and the rest below them
        said = () if state is None else (*state.sentences, f"All of it is in {state.folder}.")
        self.status.setText("".join(said[:1]))
        self.findings.setText("\n".join(said[1:]))
        if state is not None and self._fill:
            self._fill = False
            self._fill_form(state)
        self.report.setEnabled(state is not None and (state.folder / REPORT).exists())
        self.shown.show_state(state)
        self.session.column = self.shown.column

    def _fill_form(self, state: "ScreenState") -> None:
        """Let the form say what a screen asked, so that Run goes on with it."""
        sources, options = state.plan.get("sources") or {}, state.options
        if sources:
            self.plates.show_paths(sources["plates"])
            self.plate_map.line.setText(sources["plate_map"])
        index = self.healthy.findText(options.healthy)
        if index >= 0:
            self.healthy.setCurrentIndex(index)
        if self.questions is not None:
            restore_form(self.questions, options.to_dict())
        self.each.show_options(options.explaining)
        if not state.complete and self.state.classifier is not None:
            try:
                same = self.options() == options
            except WhyError:
                same = False
            if not same:
                self._warn(
                    "The form cannot say all that this screen asked: go on in the shell, or the wells are "
                    "done anew."
                )

    def _note_column(self, column: str) -> None:
        self.session.column = column

    def _tell_of_well(self, facts: tuple[str, ...]) -> None:
        # with the mark, nothing is added about the image that the mouse was over last
        name, more = (facts[0], ", ".join(facts[1:])) if facts else ("", "")
        self.viewer.status = f"{name}{MARK}{more}" if facts else "Ready"

    def _warn(self, text: str) -> None:
        self.message.add(text, "warning")


def import_questions() -> Any:
    """Import what a screen asks; seconds, the first time."""
    from napari_why.core.torch_loading import import_torch

    import_torch()
    from napari_why.screening import ScreenOptions

    return ScreenOptions
