"""A counterfactual as files: series, animation and figure."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton

from napari_why.widgets.dock import Dock, Panel
from napari_why.widgets.explained import Explained

if TYPE_CHECKING:
    from napari_why.counterfactuals import Counterfactual


class ExportPanel(Panel):
    """Three buttons that write the counterfactual; hidden until there is one."""

    def __init__(self, dock: Dock) -> None:
        super().__init__(dock)
        self._result: Counterfactual | None = None
        self._about: Explained | None = None
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.addWidget(QLabel("<b>Save</b>"))
        row = QHBoxLayout()
        for text, name, kinds, save in (
            ("Series...", "series.ome.tif", "OME-TIFF (*.ome.tif)", self.save_series),
            ("Animation...", "series.mp4", "MP4 (*.mp4);;GIF (*.gif)", self.save_animation),
            ("Figure...", "figure.png", "PNG (*.png);;SVG (*.svg)", self.save_figure),
        ):
            button = QPushButton(text)
            button.clicked.connect(self._asking(name, kinds, save))
            row.addWidget(button)
        self.column.addLayout(row)
        self.hide()

    def show_result(self, result: "Counterfactual", about: Explained | None) -> None:
        """Offer to save a counterfactual; what it is about gives the pixel size."""
        self._result, self._about = result, about
        self.setVisible(about is not None)

    def save_series(self, path: str | Path) -> None:
        """Write the series as OME-TIFF, alpha along its time axis, with its record beside it."""

        def write_it(result: "Counterfactual", about: Explained) -> Path:
            from napari_why.images import write
            from napari_why.output.images import record_with_grid, result_image

            record = record_with_grid(result.record, result.grid)
            return write(result_image(result, about.image), path, record=record, overwrite=True)

        self._save("Writing the series", write_it)

    def save_animation(self, path: str | Path) -> None:
        """Write the series as MP4 or GIF, alpha and probability written in."""

        def write_it(result: "Counterfactual", _about: Explained) -> Path:
            from napari_why.output.figures import animate_counterfactual

            return animate_counterfactual(result, path)

        self._save("Drawing the animation", write_it)

    def save_figure(self, path: str | Path) -> None:
        """Write before, after, change and probability as PNG or SVG."""

        def write_it(result: "Counterfactual", about: Explained) -> Path:
            from napari_why.output.figures import draw_counterfactual

            return draw_counterfactual(result, path, about.image)

        self._save("Drawing the figure", write_it)

    def _save(self, title: str, write_it: Callable[["Counterfactual", Explained], Path]) -> None:
        result, about = self._result, self._about
        if result is None or about is None:
            return

        def work(**_listeners: Any) -> Path:
            return write_it(result, about)

        self.dock.run(title, work, lambda path: self.dock.message.tell(f"Written: {path}"))

    def _asking(self, name: str, kinds: str, save: Callable[[str], None]) -> Callable[[], None]:
        def ask() -> None:
            path, _ = QFileDialog.getSaveFileName(self, "Save", name, kinds)
            if path:
                save(path)

        return ask
