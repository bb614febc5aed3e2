"""A screen beside a viewer: what is done of it by now, and the fields of a well as layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from psygnal import Signal

from napari_why.core.errors import DatasetError, WhyError, reason_of
from napari_why.core.torch_loading import import_torch
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions.batch import layers_of_row
from napari_why.sessions.explanation import AtOnce, Host
from napari_why.sessions.image_opener import MOST_OPENED, ImageOpener, arrange, show_as

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.screening import ScreenPlan
    from napari_why.screening.plan import WellTask
    from napari_why.sessions.screen_state import ScreenState

# Fields by which the contrast of a screen is chosen, evenly over its wells.
SAMPLED = 9
# Between the facts of a well in one line.
COMMA = ", "


class ScreenSession:
    """What is shown of a screen: its wells as they are done, and the fields of the one that is chosen.

    Parameters
    ----------
    viewer : ViewerModel
    host : Host, optional
        Where files are read and how layers are added; here and now by default.

    Attributes
    ----------
    state_changed : psygnal.Signal
        Emitted with the :class:`~napari_why.sessions.screen_state.ScreenState`, or None.
    told : psygnal.Signal
        Emitted with a sentence for the user: of what could not be shown.

    Examples
    --------
    >>> session = ScreenSession(viewer)  # doctest: +SKIP
    >>> session.look_at("results")  # doctest: +SKIP
    >>> session.open_well("P1", "B03")  # doctest: +SKIP
    """

    state_changed = Signal(object)
    told = Signal(str)

    def __init__(self, viewer: "ViewerModel", host: Host | None = None) -> None:
        self._host = host or AtOnce(viewer)
        self._state: ScreenState | None = None
        self._folder: Path | None = None
        self._looking = self._look_again = False
        self._plan: tuple[Any, ScreenPlan, dict[str, tuple[float, float]]] | None = None
        self._opened: dict[str, tuple[str, str, str]] = {}  # plate, well and site by file
        self._notes: list[str] = []
        self.column = ""
        self.opener = ImageOpener(self._host)
        self.opener.shown.connect(self._tell_notes)

    @property
    def state(self) -> "ScreenState | None":
        """What there was at the last look."""
        return self._state

    def look_at(self, folder: str | Path) -> None:
        """Show another screen."""
        self._folder = Path(folder)
        self._take(None)
        self.refresh()

    def refresh(self) -> None:
        """Look at the folder again, for wells that came since; while one look is under way, once after it."""
        if self._folder is None:
            return
        if self._looking:
            self._look_again = True
            return
        self._looking, self._look_again = True, False
        folder, before = self._folder, self._state

        def look() -> "ScreenState":
            try:
                import_torch()
                from napari_why.sessions.screen_state import read_screen

                return read_screen(folder, before)
            except Exception:
                self._looking = False  # the host tells what went wrong, and calls nobody back
                raise

        def take(state: "ScreenState") -> None:
            self._looking = False
            if folder == self._folder:
                self._take(state)
            if self._look_again or folder != self._folder:
                self.refresh()

        self._host.load(look, take)

    def open_well(self, plate: str, well: str, sources: Mapping[str, Any] | None = None) -> None:
        """Open the fields of a well side by side, at most nine, with what the screen wrote of them.

        Parameters
        ----------
        plate, well : str
        sources : mapping, optional
            Where plates and map are, as :func:`~napari_why.screening.plan_screen` takes them; where they
            were when the screen was made by default.
        """
        state = self._state
        if state is None or self.opener.busy:
            return
        found = dict(sources or state.plan.get("sources") or {})
        self._notes = notes = []

        def make() -> list[Layer]:
            plan, contrast = self._plan_of(state, found)
            task = next((one for one in plan.wells if (one.plate, one.well) == (plate, well)), None)
            if task is None:
                raise DatasetError(
                    f"{plate} {well}: found no image of it in {COMMA.join(found['plates'])}; expected the "
                    "plates that the screen was made of"
                )
            layers, failed = layers_of_well(task, state.folder, contrast)
            notes.extend(failed)
            for item in task.fields:
                self._opened[item.reference.name] = (plate, well, item.site)
            if len(task.fields) > MOST_OPENED:
                notes.append(f"The first {MOST_OPENED} of {len(task.fields)} fields are opened.")
            return layers

        self.opener.bring(make)

    def describe_layer(self, layer: Layer) -> str:
        """Say of which well a layer shows a field, in one line; empty of any other layer."""
        known = self._opened.get(LayerFacts.of(layer).origin.partition("; ")[0])
        if known is None or self._state is None:
            return ""
        plate, well, site = known
        name, *facts = self._state.describe_well(plate, well, self.column)
        return COMMA.join([f"{name}, field {site}", *facts])

    def close(self) -> None:
        """Wait no more for what is on its way."""
        self._folder = None
        self.opener.release()

    def _tell_notes(self, _layers: Any) -> None:
        notes, self._notes = self._notes, []
        for note in notes:
            self.told.emit(note)

    def _take(self, state: "ScreenState | None") -> None:
        self._state = state
        self.state_changed.emit(state)

    def _plan_of(
        self, state: "ScreenState", sources: Mapping[str, Any]
    ) -> "tuple[ScreenPlan, dict[str, tuple[float, float]]]":
        """List the files of all wells, and choose a contrast for all: once for a screen."""
        from napari_why.screening import plan_screen

        if not sources:
            raise WhyError(
                f"{state.folder}: found no note of where its plates lie; expected their folders and the "
                "plate map in the form; give them there"
            )
        asked = (state.fingerprint, repr(sorted(sources.items())))
        if self._plan is None or self._plan[0] != asked:
            plan = plan_screen(options=state.options, **sources)
            self._plan = (asked, plan, contrast_of(plan))
        return self._plan[1], self._plan[2]


def contrast_of(plan: "ScreenPlan") -> dict[str, tuple[float, float]]:
    """Return one contrast for each channel, so that a well that is brighter than others looks brighter."""
    from napari_why.images import common_contrast

    chosen = np.unique(
        np.linspace(0, len(plan.wells) - 1, min(SAMPLED, len(plan.wells))).astype(int)
    )
    images = []
    for number in chosen:
        try:
            images.append(plan.wells[number].fields[0].reference.open())
        except (WhyError, OSError):
            continue
    return common_contrast(images)


def layers_of_well(
    task: "WellTask", folder: Path, contrast: Mapping[str, tuple[float, float]]
) -> tuple[list[Layer], list[str]]:
    """Return the layers of the first fields of a well, raw and of results, and what could not be read.

    Parameters
    ----------
    task : WellTask
        Of its fields nine at most are read.
    folder : Path
        Of the screen, which may have pictures of them.
    contrast : mapping
        Limits by channel.

    Returns
    -------
    layers : list of Layer
        In no viewer yet.
    notes : list of str
        One for each field that could not be read.

    Raises
    ------
    WhyError
        Not one of them can be read.
    """
    from napari_why.batch.explain_one import pictures_of

    images: list[list[Layer]] = []
    notes: list[str] = []
    for item in task.fields[:MOST_OPENED]:
        reference = item.reference
        try:
            layers = layers_of_row(reference, folder, pictures_of(reference.name))
        except (WhyError, OSError) as error:
            notes.append(reason_of(error))
            continue
        for layer in layers:
            if not LayerFacts.of(layer).is_result:
                show_as(layer, f"{task.plate} {task.well} field {item.site}", contrast)
        images.append(layers)
    if not images:
        raise WhyError(f"{task.name}: not one field can be read: {notes[0]}")
    _share_scale([layer for layers in images for layer in layers])
    arrange(images)
    return [layer for layers in images for layer in layers], notes


def _share_scale(layers: Sequence[Layer]) -> None:
    """Show signed results of several fields on one scale, which one colour bar tells of all."""
    alike: dict[tuple[str | None, bool], list[Image]] = {}
    for layer in layers:
        facts = LayerFacts.of(layer)
        if isinstance(layer, Image) and facts.is_result and "clipped" in facts.further:
            # of one result the channels have one scale, and all of them together another
            alike.setdefault((facts.role, facts.channel is None), []).append(layer)
    for several in alike.values():
        high = max(float(layer.contrast_limits[1]) for layer in several)
        beyond = float(np.mean([np.mean(np.abs(layer.data) > high) for layer in several]))
        known: set[str | None] = set()
        for layer in several:
            facts = LayerFacts.of(layer)
            reach = max(high, float(layer.contrast_limits_range[1]))
            layer.contrast_limits_range = (-reach, reach)
            layer.contrast_limits = (-high, high)
            told = facts.with_further(clipped=beyond).to_metadata()
            layer.metadata = {**layer.metadata, **told}
            layer.colorbar.visible = facts.channel not in known
            known.add(facts.channel)
