"""Where the network puts the images of a data set: what is shown of it, chosen and opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.core.torch_loading import import_torch
from napari_why.sessions.alpha_slider import ShownSeries, find_newest_series
from napari_why.sessions.explanation import AtOnce, Host
from napari_why.sessions.image_opener import ImageOpener
from napari_why.sessions.results_on_show import results_of
from napari_why.sessions.viewer_state import state_of

if TYPE_CHECKING:
    import pandas as pd
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_why.datasets import Dataset
    from napari_why.latent_space import Colouring, LatentSpace, Outliers, Projection
    from napari_why.model import Classifier

# Linear and quick; what every other projection gives way to when it cannot be had.
FIRST_PROJECTION = "pca"
FIRST_COLUMN = "class"
# What a tooltip says of an image, where the table has it: class and place, in a hand's breadth.
TOLD = ("class", "prediction", "plate", "well")


@dataclass(frozen=True, eq=False)
class LatentView:
    """A latent space, its projection and its outliers.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
        The rows of the space's table tell their rows in this.
    space : LatentSpace
    projection : Projection
    outliers : Outliers or None
        None where there are too few images to judge by.
    notes : tuple of str
        Why something is missing.
    """

    classifier: "Classifier"
    dataset: "Dataset"
    space: "LatentSpace"
    projection: "Projection"
    outliers: "Outliers | None"
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> "pd.DataFrame":
        """One row an image, with the distances where there are any."""
        return self.space.table if self.outliers is None else self.outliers.images

    @cached_property
    def tooltips(self) -> list[str]:
        """What is said of each image: file, class, prediction, plate and well."""
        shown = [name for name in TOLD if name in self.table.columns]
        return [
            "\n".join([Path(str(row["path"])).name, *(f"{name}: {row[name]}" for name in shown)])
            for row in self.table.to_dict("records")
        ]

    def dataset_rows(self, points: "list[int]") -> list[int]:
        """Return the rows in the data set of points of the space."""
        return [int(row) for row in self.space.table["image"].iloc[points]]


def compute_view(
    classifier: "Classifier",
    dataset: "Dataset",
    method: str = FIRST_PROJECTION,
    search: "Mapping[str, Any] | None" = None,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> LatentView:
    """Encode a data set, project it, and look for outliers; touches no viewer.

    A projection that cannot be had gives way to PCA, with a note: encoding takes longest.

    Parameters
    ----------
    classifier : Classifier
        Its network encodes.
    dataset : Dataset
        With the classifier's channels.
    method : str
        A projection; see :func:`napari_why.latent_space.project`.
    search : mapping, optional
        Parameters of :func:`napari_why.latent_space.find_outliers`.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    LatentView
    """
    import_torch()
    from napari_why.latent_space import embed, project

    space = embed(classifier, dataset, on_event=on_event, cancelled=cancelled)
    notes: list[str] = []
    try:
        projection = project(space, method, on_event=on_event, cancelled=cancelled)
    except WhyError as error:
        notes.append(str(error))
        projection = project(space, FIRST_PROJECTION)
    if space.unreadable:
        notes.append(f"{len(space.unreadable)} images are left out: {space.unreadable[0].reason}")
    view = LatentView(classifier, dataset, space, projection, None, tuple(notes))
    return search_view(view, search or {})


def project_view(
    view: LatentView,
    method: str,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> LatentView:
    """Project the same latents in another way; touches no viewer.

    Parameters
    ----------
    view : LatentView
    method : str
        See :func:`napari_why.latent_space.project`.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    LatentView
        A copy with the other projection.
    """
    from napari_why.latent_space import project

    found = project(view.space, method, on_event=on_event, cancelled=cancelled)
    return replace(view, projection=found)


def search_view(view: LatentView, search: "Mapping[str, Any]") -> LatentView:
    """Look for outliers; a note says why where that cannot be done; touches no viewer.

    Parameters
    ----------
    view : LatentView
    search : mapping
        Parameters of :func:`napari_why.latent_space.find_outliers`.

    Returns
    -------
    LatentView
        A copy; without outliers where they cannot be told.
    """
    from napari_why.latent_space import find_outliers

    try:
        return replace(view, outliers=find_outliers(view.space, **search))
    except DatasetError as error:
        # too few images to judge by are no reason to show none
        return replace(view, outliers=None, notes=(*view.notes, str(error)))


class LatentSession:
    """The latent space of a data set in a viewer: points, their images, and a counterfactual's path.

    The path is that of the newest counterfactual in the viewer, whoever put it there, and its step
    is the one that the viewer shows.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
    classifier : Classifier, optional
    dataset : Dataset, optional
        Both by default those that the docks of this viewer share.
    host : Host, optional
        Where work runs and how layers are added; by default here and now.

    Attributes
    ----------
    view_changed, colouring_changed, selection_changed, path_changed, step_changed : psygnal.Signal
        Emitted with the LatentView or None; the column; the points; the path, shape (A, 2), or
        None; the step on it.

    Examples
    --------
    >>> session = why.LatentSession(viewer, classifier, dataset)  # doctest: +SKIP
    >>> session.embed(projection="pca").table  # doctest: +SKIP
    >>> session.color_by = "well"  # doctest: +SKIP
    >>> session.select([0, 5])  # doctest: +SKIP
    >>> session.open()  # doctest: +SKIP
    """

    view_changed = Signal(object)
    colouring_changed = Signal(str)
    selection_changed = Signal(object)
    path_changed = Signal(object)
    step_changed = Signal(int)

    def __init__(
        self,
        viewer: "ViewerModel",
        classifier: "Classifier | None" = None,
        dataset: "Dataset | None" = None,
        *,
        host: Host | None = None,
    ) -> None:
        self.viewer = viewer
        self._classifier, self._dataset = classifier, dataset
        self._host: Host = AtOnce(viewer) if host is None else host
        self._state = state_of(viewer)
        self._view: LatentView | None = None
        self._column = FIRST_COLUMN
        self._selection: tuple[int, ...] = ()
        self._series: ShownSeries | None = None
        self._latents: NDArray[Any] | None = None
        self._path: NDArray[Any] | None = None
        self._following = False
        self.opener = ImageOpener(self._host)
        self.follow()

    @property
    def classifier(self) -> "Classifier | None":
        """The session's own classifier, else the one that the viewer's docks share."""
        return self._state.classifier if self._classifier is None else self._classifier

    @property
    def dataset(self) -> "Dataset | None":
        """The session's own data set, else the one that the viewer's docks share."""
        return self._state.dataset if self._dataset is None else self._dataset

    @property
    def view(self) -> LatentView | None:
        """What is shown; None before anything is, and after classifier or data set changed."""
        return self._view

    def embed(
        self,
        projection: str = FIRST_PROJECTION,
        *,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
        **search: Any,
    ) -> LatentView:
        """Encode the data set, project it, look for outliers, and show all that.

        :func:`compute_view` does the work without a viewer, for another thread; :meth:`show` shows.

        Parameters
        ----------
        projection : str
            See :func:`napari_why.latent_space.project`.
        on_event, cancelled
            See :mod:`napari_why.core.events`.
        **search
            Parameters of :func:`napari_why.latent_space.find_outliers`.

        Returns
        -------
        LatentView

        Raises
        ------
        WhyError
            There is no classifier or no data set, or it cannot be encoded.
        """
        classifier, dataset = self.classifier, self.dataset
        if classifier is None or dataset is None:
            raise WhyError(
                f"found {'no classifier' if classifier is None else 'no data set'}; expected both: "
                "give them to the session, or set them in state_of(viewer)"
            )
        view = compute_view(
            classifier, dataset, projection, search, on_event=on_event, cancelled=cancelled
        )
        self.show(view)
        return view

    def show(self, view: LatentView) -> None:
        """Show a view; one of another classifier or data set than now is out of date and dropped."""
        if view.classifier is not self.classifier or view.dataset is not self.dataset:
            return
        other = self._view is None or view.classifier is not self._view.classifier
        self._view, self._selection = view, ()
        if other:
            self._series = self._latents = None
        if self._column not in self.columns:
            self._column = FIRST_COLUMN
        self.view_changed.emit(view)
        self._project_path()
        self._look_for_series()

    def project(self, method: str) -> None:
        """Project the same latents in another way, and show that.

        Raises
        ------
        WhyError
            Nothing is shown yet, or the projection cannot be had.
        """
        self.show(project_view(self._require_view(), method))

    def find_outliers(self, **search: Any) -> None:
        """Look for outliers with other settings, and show that.

        Raises
        ------
        WhyError
            Nothing is shown yet, or a setting is wrong.
        """
        self.show(search_view(self._require_view(), search))

    @property
    def columns(self) -> list[str]:
        """Columns that can colour the points."""
        from napari_why.latent_space import columns_to_colour

        return [] if self._view is None else columns_to_colour(self._view.table)

    @property
    def color_by(self) -> str:
        """The column that colours the points.

        Raises
        ------
        ParameterError
            On setting a column that is none of :attr:`columns`.
        """
        return self._column

    @color_by.setter
    def color_by(self, column: str) -> None:
        if column not in self.columns:
            raise ParameterError(
                f"color_by: found {column!r}; expected one of {', '.join(self.columns) or 'none'}"
            )
        self._column = column
        self.colouring_changed.emit(column)

    @property
    def colouring(self) -> "Colouring":
        """The colour of each point, by :attr:`color_by`."""
        from napari_why.latent_space import colouring_of

        return colouring_of(self._require_view().table, self._column)

    @property
    def ringed(self) -> "NDArray[Any] | None":
        """Which points are outliers, shape (n,); None where that is not known."""
        view = self._require_view()
        return None if view.outliers is None else view.table["outlier"].to_numpy(dtype=bool)

    @property
    def selection(self) -> list[int]:
        """The points that are chosen, as rows of the view's table."""
        return list(self._selection)

    def select(self, points: Sequence[int]) -> None:
        """Choose points.

        Raises
        ------
        ParameterError
            There is no such point.
        """
        count = len(self._require_view().table)
        if any(not 0 <= point < count for point in points):
            raise ParameterError(f"points: found {list(points)}; expected numbers below {count}")
        self._selection = tuple(points)
        self.selection_changed.emit(self.selection)

    def open(self, points: Sequence[int] | None = None) -> None:
        """Open the images of points, by default of those that are chosen, beside what is shown."""
        view = self._require_view()
        self.opener.open(
            view.dataset, view.dataset_rows(self.selection if points is None else [*points])
        )

    def save(self, folder: str | Path) -> Path:
        """Write tables, figure and report into a new folder.

        Raises
        ------
        WhyError
            Nothing is shown yet, or there is something in the folder.
        """
        from napari_why.latent_space import write_latent_space

        view = self._require_view()
        return write_latent_space(
            folder, view.space, view.projection, view.outliers, color_by=self._column
        )

    @property
    def path(self) -> "NDArray[Any] | None":
        """Where the steps of the newest counterfactual lie in the projection, shape (A, 2)."""
        return self._path

    @property
    def step(self) -> int | None:
        """The step on the path that the viewer shows, None without a path."""
        series = self._series
        # napari moves its slider before it tells that a layer has gone
        if self._path is None or series is None or series.layers[0] not in self.viewer.layers:
            return None
        return series.step(self.viewer)

    def follow(self) -> None:
        """Keep up with classifier, data set, the viewer's layers and its slider."""
        if not self._following:
            self._following = True
            self._state.classifier_changed.connect(self._state_changed)
            self._state.dataset_changed.connect(self._state_changed)
            self.viewer.layers.events.inserted.connect(self._look_for_series)
            self.viewer.layers.events.removed.connect(self._look_for_series)
            results_of(self.viewer).changed.connect(self._look_for_series)
            self.viewer.dims.events.current_step.connect(self._step_changed)

    def close(self) -> None:
        """Follow the viewer no more. What is shown stays; :meth:`follow` follows again."""
        if self._following:
            self._following = False
            self._state.classifier_changed.disconnect(self._state_changed, missing_ok=True)
            self._state.dataset_changed.disconnect(self._state_changed, missing_ok=True)
            self.viewer.layers.events.inserted.disconnect(self._look_for_series)
            self.viewer.layers.events.removed.disconnect(self._look_for_series)
            results_of(self.viewer).changed.disconnect(self._look_for_series, missing_ok=True)
            self.viewer.dims.events.current_step.disconnect(self._step_changed)
        self.opener.release()

    def forget(self) -> None:
        """Show nothing any more."""
        self._view, self._selection = None, ()
        self._series = self._latents = None
        self.view_changed.emit(None)
        self._set_path(None)

    def _require_view(self) -> LatentView:
        if self._view is None:
            raise WhyError("found no latent space; expected one; embed the data set first")
        return self._view

    def _state_changed(self, _changed: Any = None) -> None:
        # what a session was given as its own does not change with what the docks share
        view = self._view
        if (
            view is None
            or view.classifier is not self.classifier
            or view.dataset is not self.dataset
        ):
            self.forget()

    def _look_for_series(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        # Called for each layer of a series; until the last is there, the series does not count.
        if not self._following or self._view is None:
            return
        classifier = self._view.classifier
        series = find_newest_series(self.viewer, classifier.channels)
        before = () if self._series is None else self._series.layers
        if before == (() if series is None else series.layers):
            return
        self._series, self._latents = series, None
        self._set_path(None)
        if series is not None:
            self._encode(series, classifier)

    def _encode(self, series: ShownSeries, classifier: "Classifier") -> None:
        """Encode the images of a series: beside the viewer, once for each series and classifier."""

        def work() -> Any:
            from napari_why.latent_space import embed_series

            return embed_series(series.images(), series.channels, classifier)

        def keep(latents: Any) -> None:
            # another series may have come while this one was encoded
            if series is self._series:
                self._latents = latents
                self._project_path()

        self._host.load(work, keep)

    def _project_path(self) -> None:
        series, latents, view = self._series, self._latents, self._view
        if series is None or latents is None or view is None:
            self._set_path(None)
            return
        projection = view.projection

        def show(points: Any) -> None:
            now = None if self._view is None else self._view.projection
            if series is self._series and projection is now:
                self._set_path(points)

        # UMAP takes its time to place new points
        self._host.load(lambda: projection.project(latents), show)

    def _set_path(self, points: "NDArray[Any] | None") -> None:
        self._path = points
        self.path_changed.emit(points)
        self._step_changed()

    def _step_changed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        step = self.step
        if step is not None:
            self.step_changed.emit(step)
