"""Ties the path of the counterfactual in the viewer to the plot of the latent space."""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_why.widgets.dock import Dock
from napari_why.widgets.shown_series import ShownSeries, newest_series

if TYPE_CHECKING:
    from napari_why.latent_space import Projection
    from napari_why.model import Classifier
    from napari_why.widgets.latent_scatter import LatentScatter


class LatentPath:
    """Draws the path of the newest counterfactual, and moves its mark with the alpha slider.

    The series' images are encoded beside the viewer, once for each series and classifier.

    Parameters
    ----------
    dock : Dock
        Gives viewer, message area and the place where work runs.
    scatter : LatentScatter
    """

    def __init__(self, dock: Dock, scatter: "LatentScatter") -> None:
        self._dock, self._scatter = dock, scatter
        self._classifier: Classifier | None = None
        self._projection: Projection | None = None
        self._series: ShownSeries | None = None
        self._latents: Any = None
        self._following = False
        self._waiting = False
        self.follow()

    @property
    def series(self) -> ShownSeries | None:
        """The series whose path is drawn, or about to be."""
        return self._series

    def follow(self) -> None:
        """Keep up with the viewer's layers and its slider."""
        if not self._following:
            self._following = True
            events = self._dock.viewer.layers.events
            events.inserted.connect(self._layers_changed)
            events.removed.connect(self._layers_changed)
            self._dock.viewer.dims.events.current_step.connect(self._step_changed)

    def release(self) -> None:
        """Follow the viewer no more."""
        if self._following:
            self._following = False
            events = self._dock.viewer.layers.events
            events.inserted.disconnect(self._layers_changed)
            events.removed.disconnect(self._layers_changed)
            self._dock.viewer.dims.events.current_step.disconnect(self._step_changed)

    def show_in(self, classifier: "Classifier | None", projection: "Projection | None") -> None:
        """Draw the path into another latent space, or into none."""
        if classifier is not self._classifier:
            self._series = self._latents = None
        self._classifier, self._projection = classifier, projection
        self._draw()
        self._look()

    def _layers_changed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        # the layers of a series come one after the other: look once they are all there
        if not self._waiting:
            self._waiting = True
            QTimer.singleShot(0, self._dock, self._look)

    def _look(self) -> None:
        self._waiting = False
        if not self._following or self._classifier is None:
            return
        series = newest_series(self._dock.viewer, self._classifier.channels)
        if _same(series, self._series):
            return
        self._series, self._latents = series, None
        self._draw()
        if series is not None:
            self._encode(series, self._classifier)

    def _encode(self, series: ShownSeries, classifier: "Classifier") -> None:
        def work() -> Any:
            from napari_why.latent_space import embed_series

            return embed_series(series.images(), series.channels, classifier)

        def keep(latents: Any) -> None:
            if series is self._series:
                self._latents = latents
                self._draw()

        self._dock.load(work, keep)

    def _draw(self) -> None:
        if self._latents is None or self._projection is None or self._series is None:
            self._scatter.show_path(None)
            return
        series, projection, latents = self._series, self._projection, self._latents

        def show(points: Any) -> None:
            if series is self._series and projection is self._projection:
                self._scatter.show_path(points)
                self._step_changed()

        # UMAP takes its time to place new points
        self._dock.load(lambda: projection.project(latents), show)

    def _step_changed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        if self._series is not None and self._series.layers[0] in self._dock.viewer.layers:
            self._scatter.mark_step(self._series.step(self._dock.viewer))


def _same(one: ShownSeries | None, other: ShownSeries | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.layers == other.layers
