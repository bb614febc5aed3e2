"""Several methods on one image, side by side; a click keeps one."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QListWidget, QListWidgetItem

from napari_why.core.errors import WhyError
from napari_why.sessions import Compared
from napari_why.widgets.dock import Panel, as_sentence
from napari_why.widgets.explaining_dock import ExplainingDock
from napari_why.widgets.job import RunButton
from napari_why.widgets.tables import PlainLabel, plain_tip

if TYPE_CHECKING:
    from napari_why.core.registry import Method
    from napari_why.sessions import AttributionSession
    from napari_why.widgets.plot import MapGrid

# Ticked to start with: one of each family, each done in seconds.
FIRST = ("occlusion", "saliency", "integrated_gradients", "grad_cam", "lrp")
# Pixels of the list: about six lines, then it scrolls.
LIST_HEIGHT = 130


class ComparePanel(Panel):
    """Choose methods, see their maps beside each other, click one to keep it as layers.

    Parameters
    ----------
    dock : ExplainingDock
        Its image and its class are explained.
    session : AttributionSession
    given_to : callable
        Returns what a method gets beside the image.
    keep : callable
        ``keep(compared, target, given)`` shows one of them.
    """

    def __init__(
        self,
        dock: ExplainingDock,
        session: "AttributionSession",
        given_to: "Callable[[Method], dict[str, Any]]",
        keep: Callable[[Compared, Any, dict[str, Any]], None],
    ) -> None:
        super().__init__(dock)
        self._session = session
        self._dock, self._given_to, self._keep_shown = dock, given_to, keep
        self.column.setContentsMargins(0, 8, 0, 0)
        self.column.addWidget(PlainLabel("Compare methods", bold=True))
        self.methods = QListWidget()
        self.methods.setFixedHeight(LIST_HEIGHT)
        self.column.addWidget(self.methods)
        self.scored = QCheckBox("with scores (takes longer)")
        self.column.addWidget(self.scored)
        self.button = RunButton("Compare", dock.runner)
        self.button.started.connect(self.compare)
        self.column.addWidget(self.button)
        self.grid: MapGrid | None = None
        self.hint = PlainLabel("")
        self.hint.setWordWrap(True)
        self.column.addWidget(self.hint)
        self._catalogue: Mapping[str, Method] = {}
        self._asked: tuple[Any, dict[str, dict[str, Any]]] = (None, {})

    def offer_methods(
        self, methods: "Mapping[str, Method]", unsuitable: "Callable[[Method], str | None]"
    ) -> None:
        """List the methods; those that do not suit cannot be ticked, their reason is the tooltip.

        Parameters
        ----------
        methods : mapping of str to Method
            By name.
        unsuitable : callable
            From a method to the reason why it suits not, None where it does.
        """
        ticked = self.chosen or FIRST
        self._catalogue = methods
        self.methods.clear()
        for name, method in methods.items():
            item = QListWidgetItem(method.title)
            item.setData(Qt.ItemDataRole.UserRole, name)
            reason = unsuitable(method)
            item.setToolTip(plain_tip(reason or method.summary))
            item.setCheckState(
                Qt.CheckState.Checked if name in ticked and not reason else Qt.CheckState.Unchecked
            )
            if reason:
                item.setFlags(Qt.ItemFlag.NoItemFlags)
            self.methods.addItem(item)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The ticked methods."""
        items = [self.methods.item(row) for row in range(self.methods.count())]
        return tuple(
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item.checkState() == Qt.CheckState.Checked
        )

    def tick(self, names: Sequence[str]) -> None:
        """Tick these methods and no others."""
        for row in range(self.methods.count()):
            item = self.methods.item(row)
            ticked = item.data(Qt.ItemDataRole.UserRole) in names
            item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)

    def compare(self) -> None:
        """Run the ticked methods beside the viewer, then show their maps."""
        dock, session, methods = self._dock, self._session, self.chosen
        if dock.state.classifier is None or not methods:
            dock.message.tell("Tick the methods that are to be compared.", "warning")
            return
        try:
            target = dock.target.target
            session.choose_layers(dock.layers.layers(), several_files=dock.layers.several_files)
            subject = session.subject()
        except WhyError as error:
            dock.message.tell_error(error)
            return
        given = {
            name: self._given_to(method)
            for name, method in self._catalogue.items()
            if name in methods
        }
        scored = self.scored.isChecked()

        def work(**listeners: Any) -> list[Compared]:
            return session.compare(subject, target, methods, given, scored=scored, **listeners)

        def show(found: list[Compared]) -> None:
            self._asked = (target, given)
            self.show_maps(found)

        dock.run("Comparing methods", work, show)

    def show_maps(self, found: Sequence[Compared]) -> None:
        """Show the maps, and why there is none where a method failed."""
        # matplotlib takes most of a second; a dock is opened without it
        from napari_why.widgets.plot import MapGrid

        if self.grid is not None:
            self.release()
            self.column.removeWidget(self.grid)
            self.grid.deleteLater()
        self.grid = MapGrid(self.dock.viewer, found, self._title)
        self.grid.clicked.connect(self._keep)
        self.column.insertWidget(self.column.indexOf(self.hint), self.grid)
        said = [
            "Salmon: for it; sky blue: against it. Each map has a scale of its own, whose end stands below "
            "it, and in how many random orders the score falls less. Click one to keep it as layers."
        ]
        said += [
            f"{self._title(one.method)}: {as_sentence(one.score.line)}"
            for one in found
            if one.score is not None
        ]
        said += [f"{self._title(one.method)}: {one.problem}" for one in found if one.problem]
        self.hint.setText("\n".join(said))

    def _title(self, method: str) -> str:
        return self._catalogue[method].title

    def release(self) -> None:
        """Let go of the viewer's theme."""
        if self.grid is not None:
            self.grid.release()

    def _keep(self, one: Compared) -> None:
        if one.finding is None:
            return
        target, given = self._asked
        self._keep_shown(one, target, given.get(one.method, {}))
