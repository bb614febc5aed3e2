"""Buttons that save what is open, and open it again."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_why.core.errors import WhyError
from napari_why.core.torch_loading import import_torch
from napari_why.sessions.saved_session import (
    ReadSession,
    read_session,
    restore_choices,
    restore_view,
    save_session,
)
from napari_why.widgets.parameter_form import MethodChooser

# A JSON file, whose name tells what it is for.
ENDING = ".session.json"
FILTER = f"Sessions of napari-why (*{ENDING} *.json)"


def method_settings(chooser: MethodChooser) -> dict[str, Any]:
    """Return which method a form has, and its parameters, for a saved session."""
    if not chooser.name:
        return {}
    try:
        options = chooser.form.values()
    except WhyError:  # a value in the form that cannot be
        options = {}
    return {"method": chooser.name, "options": options}


def restore_method(chooser: MethodChooser, values: Any) -> None:
    """Choose a method and its parameters again; what it does not offer any more stays as it is."""
    if not isinstance(values, Mapping):
        return
    index = chooser.box.findData(values.get("method"))
    if index < 0:
        return
    chooser.box.setCurrentIndex(index)
    options = values.get("options")
    for name, value in (options if isinstance(options, Mapping) else {}).items():
        # a file that anybody may edit: what the form refuses is left as it is
        with suppress(KeyError, TypeError, ValueError, WhyError):
            chooser.form.set_value(name, value)


class SessionButtons(QWidget):
    """*Save session...* and *Open session...* of a dock.

    Parameters
    ----------
    host : Dock
        Has ``viewer``, ``run``, ``add_layers`` and ``message``; the outer dock, or any page.
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
        """Save the session; in the viewer's thread, which alone may look at layers."""
        settings = {
            name: page.settings()
            for name, page in self._pages().items()
            if hasattr(page, "settings")
        }
        try:
            notes = save_session(self._host.viewer, path, settings=settings, overwrite=True)
        except (WhyError, OSError) as error:
            self._host.message.tell_error(error)
            return
        kind = "warning" if notes else "information"
        self._host.message.tell("\n".join([f"The session is saved as {path}.", *notes]), kind)

    def open_from(self, path: Path) -> None:
        """Open a session: files are read beside the viewer."""

        def work(**listeners: Any) -> ReadSession:
            import_torch()
            return read_session(path, **listeners)

        self._host.run("Opening the session", work, self._show)

    def _show(self, read: ReadSession) -> None:
        viewer = self._host.viewer
        restore_choices(viewer, read)
        pages = self._pages()
        for name, values in read.settings.items():
            if name in pages and hasattr(pages[name], "restore_settings"):
                pages[name].restore_settings(values)
        self._host.add_layers(list(read.layers), lambda: restore_view(viewer, read.plain))
        if read.notes:
            self._host.message.tell("\n".join(read.notes), "warning")
        else:
            self._host.message.tell("The session is open again.")

    def _ask_where_to_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the session", f"work{ENDING}", FILTER)
        if name:
            self.save_to(Path(name if name.endswith(".json") else f"{name}{ENDING}"))

    def _ask_what_to_open(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a session", "", FILTER)
        if name and self._may_open():
            self.open_from(Path(name))
