"""A saved session opened again: files, results, choices and the view; what is gone is named."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

from napari_why.core.errors import WhyError, reason_of
from napari_why.images import read_again
from napari_why.napari_reader import image_layers, read_layers
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions.explanation import AtOnce
from napari_why.sessions.layers_in_viewer import LayerChange
from napari_why.sessions.results_on_show import KeptResult, results_of
from napari_why.sessions.saved_session import (
    CAMERA,
    DIMS,
    FORMAT,
    SHOWN,
    VERSION,
    State,
    file_state,
    files_of,
)
from napari_why.sessions.viewer_state import state_of

if TYPE_CHECKING:
    from napari.components import ViewerModel


@dataclass(frozen=True)
class OpenedSession:
    """What came back of a session.

    Parameters
    ----------
    layers : int
        How many layers were added.
    settings : mapping
        What the forms of the pages said, by page.
    notes : tuple of str
        What is missing or changed, a sentence each.
    """

    layers: int
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def open_session(viewer: "ViewerModel", path: str | Path) -> OpenedSession:
    """Open a saved session beside what is in the viewer.

    What is missing is told, and everything else comes back; so are files that changed since.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
    path : path
        Of the JSON file.

    Returns
    -------
    OpenedSession
        Its notes say what is missing or changed.

    Raises
    ------
    WhyError
        The file is no session, or one of a newer version.
    """
    read = read_session(path)
    restore_choices(viewer, read)
    AtOnce(viewer).carry_out(LayerChange(viewer, read.layers))
    restore_results(viewer, read)
    restore_view(viewer, read.plain)
    return OpenedSession(len(read.layers), read.settings, tuple(read.notes))


@dataclass(frozen=True)
class ReadSession:
    """A session that was read, whose layers are in no viewer yet.

    Parameters
    ----------
    plain : mapping
        What the file says.
    layers : list of Layer
    dataset, classifier
        Opened; None where there was none, or it is gone.
    notes : list of str
        What is missing or changed.
    numbers : mapping of int to Layer
        What the file calls the layers.
    """

    plain: Mapping[str, Any]
    layers: list[Layer]
    dataset: Any
    classifier: Any
    notes: list[str]
    numbers: Mapping[int, Layer]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the forms said."""
        found = self.plain.get("settings")
        return found if isinstance(found, dict) else {}


def read_session(path: str | Path, *, on_event: Any = None, cancelled: Any = None) -> ReadSession:
    """Read a session; touches no viewer, so that it may run in another thread.

    Parameters
    ----------
    path : path
        Of the JSON file.
    on_event, cancelled : callable, optional
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ReadSession

    Raises
    ------
    WhyError
        See :func:`open_session`.
    """
    place = Path(path)
    plain = _read_plain(place)
    notes = list[str]()
    listeners = {"on_event": on_event, "cancelled": cancelled}
    given = {name: item for name, item in listeners.items() if item is not None}
    dataset = _attempt(
        "the data set", notes, lambda: _open_dataset(plain.get("dataset"), given, notes)
    )
    classifier = _attempt(
        "the classifier", notes, lambda: _load_classifier(plain.get("classifier"), notes)
    )
    numbered = list(_read_all(place, plain.get("layers") or [], notes))
    layers = [layer for _, layer in numbered]
    numbers = {number: layer for number, layer in numbered if isinstance(number, int)}
    return ReadSession(plain, layers, dataset, classifier, notes, numbers)


def restore_choices(viewer: "ViewerModel", read: ReadSession) -> None:
    """Use the data set and the classifier of a session; what is gone leaves what there is.

    Parameters
    ----------
    viewer : ViewerModel
    read : ReadSession
    """
    state = state_of(viewer)
    if read.dataset is not None:
        state.dataset = read.dataset
    if read.classifier is not None:
        state.use_classifier(read.classifier, read.classifier.folder)


def restore_results(viewer: "ViewerModel", read: ReadSession) -> None:
    """Tell the viewer which of its layers are one result, what each hides, and which one is on show.

    Parameters
    ----------
    viewer : ViewerModel
        The layers of the session are in it by now.
    read : ReadSession
    """
    there = [layer for layer in read.layers if layer in viewer.layers]
    kept = list(_read_results(read, there))
    # a file of an earlier version tells of none: all layers of results are one then; where one tells,
    # layers of no result stay as they were
    layers = [layer for layer in there if LayerFacts.of(layer).is_result]
    if layers and not kept and read.plain.get("results") != []:
        kept.append(KeptResult(layers, [], False, None, None, shown=True))
    results_of(viewer).bring_back(kept, there)


def _read_results(read: ReadSession, there: Sequence[Layer]) -> Iterator[KeptResult]:
    """Yield what the file says of results, as far as their layers are there."""
    told = read.plain.get("results")
    for said in told if isinstance(told, list) else ():
        # a file that anybody may edit: what fits no result is passed over
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            given = {**KeptResult._field_defaults, **said}
            fields = {name: given[name] for name in KeptResult._fields}
            for name in ("layers", "about", "covers", "seen"):
                if fields[name] is None and name in ("covers", "seen"):
                    continue
                # in the order of the file: a result is called as its first layer
                found = [read.numbers.get(int(number)) for number in dict.fromkeys(fields[name])]
                fields[name] = [one for one in found if any(one is layer for layer in there)]
            if fields["layers"]:
                yield KeptResult(**fields)


def restore_view(viewer: "ViewerModel", plain: Mapping[str, Any]) -> None:
    """Show what was shown: camera, sliders, grid.

    Parameters
    ----------
    viewer : ViewerModel
    plain : mapping
        What the session's file says; what is missing or refused stays as it is.
    """
    view = plain.get("view") or {}
    # a file that anybody may edit: what napari refuses is left as it is
    parts = (("dims", DIMS, viewer.dims), ("camera", CAMERA, viewer.scene.camera))
    for part, names, model in parts:
        for name in names:
            value = (view.get(part) or {}).get(name)
            if value is None:
                continue
            with suppress(ValueError, TypeError):
                # sliders of another number of axes would be others: there are other layers too
                if name in ("order", "point") and len(value) != viewer.dims.ndim:
                    continue
                setattr(model, name, tuple(value) if isinstance(value, list) else value)
    with suppress(ValueError, TypeError):
        viewer.canvas.grid.enabled = bool(view.get("grid", False))


def _read_plain(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        name, _, version = str(plain["format"]).rpartition(" ")
        number = int(version)
    except OSError as error:
        raise WhyError(f"{path}: cannot be read ({error.strerror}); expected a session") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WhyError(f"{path}: found something else; expected a session of napari-why") from error
    if name != FORMAT:
        raise WhyError(f"{path}: found {name!r}; expected a session of napari-why")
    if number > VERSION:
        raise WhyError(
            f"{path}: found a session of a newer version ({number}); expected {VERSION} at most; update "
            "napari-why"
        )
    return dict(plain)


def _read_all(
    place: Path, kept: Iterable[Mapping[str, Any]], notes: list[str]
) -> Iterator[tuple[int | None, Layer]]:
    """Yield each layer that could be read, with its number; earlier versions gave none."""
    images: dict[str, Any] = {}
    for item in kept:
        what = str(item.get("source") or item.get("file"))

        def read(item: Mapping[str, Any] = item) -> Layer:
            if "file" in item:
                # a name and no path: nothing outside the folder is opened for a result
                (data,) = read_layers(files_of(place) / Path(str(item["file"])).name)
                return Layer.create(*data)
            return _read_reference(item, images)

        layer = _attempt(what, notes, read)
        if layer is not None:
            _tell_changes(item.get("states") or [], notes)
            yield item.get("number"), layer


def _read_reference(item: Mapping[str, Any], images: dict[str, Any]) -> Layer:
    key = json.dumps([item["source"], item.get("read_as")], sort_keys=True)
    if key not in images:
        images[key] = image_layers(read_again(item["source"], item.get("read_as")))
    found = [data for data in images[key] if _channel_of(data) == item["channel"]]
    if not found:
        raise WhyError(f"{item['source']}: found no channel {item['channel']!r} any more")
    data, keywords, kind = found[0]
    look = {
        name: value for name, value in item["look"].items() if name in keywords or name in SHOWN
    }
    fitting = {
        name: tuple(value) if isinstance(value, list) else value for name, value in look.items()
    }
    return Layer.create(data, {**keywords, **fitting}, kind)


def _channel_of(data: Any) -> str | None:
    return LayerFacts.from_metadata(data[1]["metadata"]).channel


def _tell_changes(states: State, notes: list[str]) -> None:
    now = file_state([state[0] for state in states])
    changed = [then[0] for then, new in zip(states, now, strict=True) if then != new and new[2]]
    told = [f"{name} changed since the session was saved." for name in changed]
    notes += [note for note in told if note not in notes]


def _open_dataset(about: Any, given: Mapping[str, Any], notes: list[str]) -> Any:
    if not about:
        return None
    from napari_why.datasets import Dataset

    opened = dict(about["opened_as"])
    location, plate_map = opened.pop("location"), opened.pop("plate_map", None)
    seed, only = opened.pop("split_seed", None), opened.pop("only", None)
    dataset = (
        Dataset.open(location, **opened, **given)
        if plate_map is None
        else Dataset.from_plate(location, plate_map, **opened, **given)
    )
    then = {state[0]: state for state in about["files"]}
    now = {state[0]: state for state in file_state(then)}
    gone = [name for name, state in now.items() if state[2] is None]
    changed = [name for name, state in now.items() if state[2] is not None and state != then[name]]
    for names, words in ((gone, "are gone"), (changed, "changed since the session was saved")):
        if names:
            notes.append(f"{len(names)} images of the data set {words}; first: {names[0]}")
    if only is not None:
        dataset = dataset.where(*only)
    # redrawn, as it was: a split that came with the table is another one
    return dataset if seed is None else dataset.split(seed=seed, redraw=True)


def _load_classifier(about: Any, notes: list[str]) -> Any:
    if not about:
        return None
    from napari_why.model import load

    classifier = load(about["folder"])
    if not classifier.is_called(about["fingerprint"]):
        notes.append(
            f"{about['folder']} holds another classifier than when the session was saved: results that "
            "are shown were made with the former one."
        )
    return classifier


def _attempt(what: str, notes: list[str], work: Callable[[], Any]) -> Any:
    """Return what comes of it; where nothing does, a note says why, and the rest goes on."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - one part that is gone must not cost the others
        notes.append(f"Not restored: {what}: {reason_of(error)}")
        return None
