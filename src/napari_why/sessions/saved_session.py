"""A viewer's work kept in a file: images by reference, results beside, what was chosen and seen."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from napari.layers import Image, Layer

from napari_why.core.errors import WhyError, reason_of
from napari_why.core.folders import find_shown
from napari_why.core.record import package_versions
from napari_why.core.targets import check_target, is_own, is_own_json, refuse_sources
from napari_why.core.whole_files import write_whole
from napari_why.images import read_again, record_path
from napari_why.napari_reader import image_layers, read_layers
from napari_why.napari_writer import look_of, write_layers
from napari_why.output.layer_metadata import LayerFacts, plain_json
from napari_why.sessions.explanation import AtOnce
from napari_why.sessions.layers_in_viewer import LayerChange
from napari_why.sessions.results_on_show import results_of
from napari_why.sessions.viewer_state import state_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

FORMAT = "napari-why session"
# Counted up when an older program could not read what is written.
VERSION = 1
# Of a file, what tells that it is another one now; times are those of writing.
State = list[list[Any]]
# Hexadecimal digits that tell the results of one saving from those of the saving before.
DIGITS = 8
# How results and their records are called; earlier versions had numbers alone.
RESULT = re.compile(rf"\d{{3}}(-[0-9a-f]{{{DIGITS}}})?\.(ome\.tif|json)")
# Parts of the viewer that are kept, by napari's public names.
CAMERA = ("center", "zoom", "angles")
DIMS = ("ndisplay", "order", "point")
# What a raw layer has of its look beside what its file tells.
SHOWN = ("name", "visible", "opacity", "blending", "contrast_limits", "gamma", "colormap")


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


def save_session(
    viewer: "ViewerModel",
    path: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Save what is open in a viewer: a JSON file, and the results in a folder beside it.

    Data set, classifier and images are kept by where they are; so they have to stay there. Results,
    and raw layers that come from no file, are written as OME-TIFF with their records.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
    path : path
        Of the JSON file; results go to the folder of the same name with ``.files``.
    settings : mapping, optional
        What the forms of the pages say, by page; JSON types.
    overwrite : bool
        Replace an earlier session there.

    Returns
    -------
    tuple of str
        What could not be kept, a sentence each.

    Raises
    ------
    WhyError
        Something else is there, or nothing can be written.
    """
    target = Path(path)
    folder = files_of(target)
    sources = [LayerFacts.of(layer).origin for layer in viewer.layers]
    check_target(target, sources, overwrite=overwrite, own=is_own_json)
    refuse_sources(folder, sources)
    if folder.exists():
        _check_folder(folder)
    notes = list[str]()
    # Names that are new each time: what an earlier session of this name needs stays until this one
    # is there, and layers may still read its files.
    token = uuid4().hex[:DIGITS]
    try:
        with _in_own_colours(viewer):
            kept = _keep_all(viewer, folder, token, settings, notes)
        text = json.dumps(plain_json(kept), indent=2, allow_nan=False)
        write_whole(target, (text + "\n").encode(), own=is_own_json)
    except BaseException:
        _clear(folder, lambda name: token not in name)
        raise
    if not any(_reads_files(layer) for layer in viewer.layers):
        names = {item["file"] for item in kept["layers"] if "file" in item}
        names |= {record_path(name).name for name in names}
        _clear(folder, names.__contains__)
    return tuple(notes)


def open_session(
    viewer: "ViewerModel",
    path: str | Path,
    *,
    add_layers: Callable[[list[Layer]], None] | None = None,
) -> OpenedSession:
    """Open a saved session beside what is in the viewer.

    What is missing is told, and everything else comes back; so are files that changed since.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
    path : path
        Of the JSON file.
    add_layers : callable, optional
        Puts the layers into the viewer; one after the other by default.

    Raises
    ------
    WhyError
        The file is no session, or one of a newer version.
    """
    read = read_session(path)
    restore_choices(viewer, read)
    if add_layers is None:
        AtOnce(viewer).carry_out(LayerChange(viewer, read.layers))
    else:
        add_layers(read.layers)
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
    """

    plain: Mapping[str, Any]
    layers: list[Layer]
    dataset: Any
    classifier: Any
    notes: list[str]

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the forms said."""
        found = self.plain.get("settings")
        return found if isinstance(found, dict) else {}


def read_session(path: str | Path, *, on_event: Any = None, cancelled: Any = None) -> ReadSession:
    """Read a session; touches no viewer, so that it may run in another thread.

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
    layers = list(_read_all(place, plain.get("layers") or [], notes))
    return ReadSession(plain, layers, dataset, classifier, notes)


def restore_choices(viewer: "ViewerModel", read: ReadSession) -> None:
    """Use the data set and the classifier of a session; what is gone leaves what there is."""
    state = state_of(viewer)
    if read.dataset is not None:
        state.dataset = read.dataset
    if read.classifier is not None:
        state.use_classifier(read.classifier, read.classifier.folder)


def restore_view(viewer: "ViewerModel", plain: Mapping[str, Any]) -> None:
    """Show what was shown: camera, sliders, grid."""
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


def files_of(path: Path) -> Path:
    """Return the folder beside a session's file that holds its results."""
    return path.with_name(f"{path.stem}.files")


def file_state(paths: Iterable[str | Path]) -> State:
    """Return name, size and time of writing of files; of one that is gone nothing but the name."""
    found: State = []
    for item in paths:
        path = find_shown(item)
        try:
            about = path.stat()
            found.append([str(item), about.st_size if path.is_file() else None, about.st_mtime_ns])
        except OSError:
            found.append([str(item), None, None])
    return found


def _keep_all(
    viewer: "ViewerModel",
    folder: Path,
    token: str,
    settings: Mapping[str, Any] | None,
    notes: list[str],
) -> dict[str, Any]:
    state = state_of(viewer)
    return {
        "format": f"{FORMAT} {VERSION}",
        "versions": package_versions(),
        "dataset": _about_dataset(state.dataset, notes),
        "classifier": _about_classifier(state.classifier, notes),
        "layers": _keep_layers(viewer, folder, token, notes),
        "view": _about_view(viewer),
        "settings": plain_json(settings or {}),
    }


def _about_dataset(dataset: Any, notes: list[str]) -> dict[str, Any] | None:
    if dataset is None:
        return None
    opened = dict(dataset.opened_as)
    if "location" not in opened:
        notes.append(
            "The data set is not kept: it was made in memory, or is a part of one that cannot be opened alone."
        )
        return None
    places = {
        name: str(Path(opened[name]).absolute())
        for name in ("location", "plate_map")
        if name in opened
    }
    paths = [str(path) for path in dataset.table["path"]]
    return {"opened_as": {**opened, **places}, "files": file_state(paths)}


def _about_classifier(classifier: Any, notes: list[str]) -> dict[str, Any] | None:
    if classifier is None:
        return None
    if classifier.folder is None:
        notes.append("The classifier is not kept: save it first, then the session again.")
        return None
    return {"folder": str(classifier.folder), "fingerprint": classifier.fingerprint}


def _about_view(viewer: "ViewerModel") -> dict[str, Any]:
    return {
        "camera": {name: getattr(viewer.scene.camera, name) for name in CAMERA},
        "dims": {name: getattr(viewer.dims, name) for name in DIMS},
        "grid": viewer.canvas.grid.enabled,
    }


@contextmanager
def _in_own_colours(viewer: "ViewerModel") -> Iterator[None]:
    """Show channels in their own colours: the grey below a result would be kept as theirs."""
    results = results_of(viewer)
    grey, results.grey = results.grey, False
    try:
        yield
    finally:
        results.grey = grey


def _keep_layers(
    viewer: "ViewerModel", folder: Path, token: str, notes: list[str]
) -> list[dict[str, Any]]:
    """Return what is kept of each layer, from the bottom up; writes those that are in no file."""
    kept: list[dict[str, Any]] = []
    for number, layer in enumerate(viewer.layers):
        facts = LayerFacts.of(layer)
        if not isinstance(layer, Image) or layer.rgb:
            kind = type(layer).__name__
            notes.append(f"Layer {layer.name!r} is not kept: it is of the kind {kind}.")
            continue
        data, attributes, kind = layer.as_layer_data_tuple()
        if _is_in_a_file(facts):
            kept.append(_by_reference(facts, attributes))
            continue
        # one file a layer: napari's layers of one result may differ in shape and type
        name = f"{number + 1:03d}-{token}.ome.tif"
        pixels = data[0] if layer.multiscale else data
        plain = {**attributes, "multiscale": False}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_layers(str(folder / name), [(pixels, plain, kind)])
        except (WhyError, OSError) as error:
            notes.append(f"Layer {layer.name!r} is not kept: {reason_of(error)}")
            continue
        kept.append({"file": name})
    return kept


def _is_in_a_file(facts: LayerFacts) -> bool:
    return not facts.is_result and bool(facts.origin) and _exists(facts)


def _reads_files(layer: Layer) -> bool:
    """Tell whether a layer that is written into the folder may read its pixels from there."""
    if not isinstance(layer, Image) or _is_in_a_file(LayerFacts.of(layer)):
        return False
    levels = layer.data if layer.multiscale else [layer.data]
    return not all(isinstance(level, np.ndarray) for level in levels)


def _exists(facts: LayerFacts) -> bool:
    return all(find_shown(path).exists() for path in _paths_of(facts.origin, facts.read_as))


def _paths_of(source: str, read_as: Mapping[str, Any] | None) -> list[str]:
    given = (read_as or {}).get("path")
    if given is None:
        return source.split("; ")
    return [given] if isinstance(given, str) else [str(item) for item in given]


def _by_reference(facts: LayerFacts, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": facts.origin,
        "read_as": facts.read_as,
        "channel": facts.channel,
        "states": file_state(_paths_of(facts.origin, facts.read_as)),
        "look": look_of(attributes),
    }


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


def _read_all(place: Path, kept: Iterable[Mapping[str, Any]], notes: list[str]) -> Iterator[Layer]:
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
            yield layer


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


def _check_folder(folder: Path) -> None:
    others = [path for path in folder.iterdir() if not is_own(path)]
    if others:
        raise WhyError(
            f"{folder}: found {others[0].name}, which napari-why did not write; choose another name for "
            "the session"
        )


def _clear(folder: Path, is_kept: Callable[[str], bool]) -> None:
    """Remove results of a session but those that are kept."""
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        if RESULT.fullmatch(path.name) and not is_kept(path.name) and is_own(path):
            path.unlink(missing_ok=True)
