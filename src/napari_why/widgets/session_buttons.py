"""Buttons that save what is open, and open it again."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_why.core.errors import WhyError
from napari_why.core.torch_loading import import_torch
from napari_why.sessions import LayerChange
from napari_why.widgets.parameter_form import MethodChooser, OptionalMethodChooser, ParameterForm
from napari_why.widgets.path_line import may_write

if TYPE_CHECKING:
    from napari_why.sessions.opened_session import ReadSession

# A JSON file, whose name tells what it is for.
ENDING = ".session.json"
FILTER = f"Sessions of napari-why (*{ENDING} *.json)"


def method_settings(chooser: MethodChooser | OptionalMethodChooser) -> dict[str, Any]:
    """Return which method a form has, and its parameters, for a saved session."""
    name = chooser.box.currentData()
    form = chooser.form if name else None
    return {"method": name, "options": form_settings(form)} if form is not None else {}


def form_settings(form: ParameterForm) -> dict[str, Any]:
    """Return what a form says; nothing where one of its values cannot be."""
    try:
        return form.values()
    except WhyError:
        return {}


def restore_method(chooser: MethodChooser | OptionalMethodChooser, values: Any) -> None:
    """Choose a method and its parameters again; what it does not offer any more stays as it is.

    Parameters
    ----------
    chooser : MethodChooser or OptionalMethodChooser
    values : object
        ``method`` and ``options`` of a file; passed over where it is no mapping.
    """
    if not isinstance(values, Mapping):
        return
    index = chooser.box.findData(values.get("method"))
    if index < 0:
        return
    chooser.box.setCurrentIndex(index)
    if chooser.form is not None:
        restore_form(chooser.form, values.get("options"))


def restore_form(form: ParameterForm, values: Any) -> None:
    """Say again what :func:`form_settings` returned.

    Parameters
    ----------
    form : ParameterForm
    values : object
        Of a file; passed over where it is no mapping.
    """
    for name, value in (values if isinstance(values, Mapping) else {}).items():
        # a file that anybody may edit: what the form refuses is left as it is
        with suppress(KeyError, TypeError, ValueError, WhyError):
            form.set_value(name, value)


class SessionButtons(QWidget):
    """*Save session...* and *Open session...* of a dock.

    Parameters
    ----------
    host : Dock
        Has ``viewer``, ``run``, ``carry_out`` and ``message``; the outer dock, or any page.
    pages : callable, optional
        Returns the pages that are open, by name. Those with ``settings()`` and
        ``restore_settings(values)`` have their forms kept.
    may_open : callable, optional
        Asked before a session takes the place of what is in use.
    """

    def __init__(
        self,
        host: Any,
        pages: Callable[[], Mapping[str, Any]] | None = None,
        may_open: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__()
        self._host, self._pages, self._may_open = host, pages or dict, may_open
        # of an opened session, what it has for pages that are not made yet
        self._waiting: dict[str, Any] = {}
        self.save = QPushButton("Save session...")
        self.save.setToolTip("Keep images (by where they are), results, choices and the view")
        self.open = QPushButton("Open session...")
        self.open.setToolTip("Bring back a session that was saved")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for button in (self.save, self.open):
            row.addWidget(button)
        row.addStretch(1)
        self.save.clicked.connect(self._ask_where_to_save)
        self.open.clicked.connect(self._ask_what_to_open)

    def save_to(self, path: Path) -> None:
        """Save the session: layers are looked at here, in the viewer's thread, and written beside it."""
        # here and below: a dock is opened without what reads and writes files
        from napari_why.sessions.saved_session import gather_session, write_session

        gathered = gather_session(self._host.viewer, self._settings())

        def work(**listeners: Any) -> tuple[str, ...] | None:
            return write_session(gathered, path, overwrite=True, **listeners)

        def tell(notes: tuple[str, ...]) -> None:
            kind = "warning" if notes else "information"
            self._host.message.tell("\n".join([f"The session is saved as {path}.", *notes]), kind)

        self._host.run("Saving the session", work, tell)

    def restore_page(self, name: str, page: Any) -> None:
        """Let a page say what the session that was opened has for it, also where it is made later.

        Parameters
        ----------
        name : str
            Of the page.
        page : object
            Left as it is without ``restore_settings``.
        """
        values = self._waiting.pop(name, None)
        if isinstance(values, Mapping) and hasattr(page, "restore_settings"):
            page.restore_settings(values)

    def _settings(self) -> dict[str, Any]:
        """Return what the forms say, and what those of pages that nobody looked at would."""
        said = {
            name: page.settings()
            for name, page in self._pages().items()
            if hasattr(page, "settings")
        }
        return {**self._waiting, **said}

    def open_from(self, path: Path) -> None:
        """Open a session: files are read beside the viewer."""

        def work(**listeners: Any) -> "ReadSession":
            import_torch()
            from napari_why.sessions.opened_session import read_session

            return read_session(path, **listeners)

        self._host.run("Opening the session", work, self._show)

    def _show(self, read: "ReadSession") -> None:
        from napari_why.sessions.opened_session import (
            restore_choices,
            restore_results,
            restore_view,
        )

        viewer = self._host.viewer
        restore_choices(viewer, read)
        self._waiting = dict(read.settings)
        for name, page in self._pages().items():
            self.restore_page(name, page)

        def restore() -> None:
            restore_results(viewer, read)
            restore_view(viewer, read.plain)

        self._host.carry_out(LayerChange(viewer, list(read.layers)), restore)
        if read.notes:
            self._host.message.tell("\n".join(read.notes), "warning")
        else:
            self._host.message.tell("The session is open again.")

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the session", f"work{ENDING}", FILTER)
        if name:
            path = Path(name if name.endswith(".json") else f"{name}{ENDING}")
            if may_write(self, name, path, "session"):
                self.save_to(path)

    def _ask_what_to_open(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a session", "", FILTER)
        if name and self._may_open():
            self.open_from(Path(name))
