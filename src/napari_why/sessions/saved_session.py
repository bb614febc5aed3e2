"""A viewer's work kept in a file: images by reference, results beside, what was chosen and seen."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from napari.layers import Image, Layer

from napari_why.core.errors import WhyError, reason_of
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.folders import find_shown
from napari_why.core.record import package_versions
from napari_why.core.targets import check_target, is_own, is_own_json, refuse_sources
from napari_why.core.whole_files import write_whole
from napari_why.images import record_path
from napari_why.napari_writer import look_of, write_layers
from napari_why.output.layer_metadata import LayerFacts, plain_json
from napari_why.sessions.results_on_show import KeptResult, results_of
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


@dataclass(frozen=True, eq=False)
class KeptLayer:
    """A layer as it was when a session was to be saved.

    Parameters
    ----------
    name, kind : str
        Of the layer, and of its class.
    facts : LayerFacts
    data : array or sequence of arrays, or None
        The layer's own, not copied; None of a kind that is not kept.
    attributes : mapping
        What makes it look the same again, as napari hands it to writers; channels in their own colours, and
        seen where they are hidden for a result alone.
    """

    name: str
    kind: str
    facts: LayerFacts
    data: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class GatheredSession:
    """What is open in a viewer, taken in the viewer's thread, to be written in any other.

    Parameters
    ----------
    dataset, classifier
        In use; None without.
    layers : tuple of KeptLayer
        From the bottom up.
    view : mapping
        Camera, sliders and grid.
    settings : mapping
        What the forms of the pages say, by page.
    results : tuple of mapping
        Of each result which layers are its own, and which it hides: the fields of
        :class:`~napari_why.sessions.results_on_show.KeptResult`, layers as numbers from the bottom, 1 first.
    """

    dataset: Any
    classifier: Any
    layers: tuple[KeptLayer, ...]
    view: Mapping[str, Any]
    settings: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...] = ()


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
    return write_session(gather_session(viewer, settings), path, overwrite=overwrite) or ()


def gather_session(
    viewer: "ViewerModel", settings: Mapping[str, Any] | None = None
) -> GatheredSession:
    """Take what is open in a viewer; quick, for no pixel is copied and no file is looked at.

    Parameters
    ----------
    viewer : ViewerModel
    settings : mapping, optional
        What the forms of the pages say, by page.

    Returns
    -------
    GatheredSession
    """
    state, results = state_of(viewer), results_of(viewer)

    def keep(layer: Layer) -> KeptLayer:
        kind, facts = type(layer).__name__, LayerFacts.of(layer)
        if not isinstance(layer, Image) or layer.rgb:
            return KeptLayer(layer.name, kind, facts)
        data, attributes, _ = layer.as_layer_data_tuple()
        # the grey below a result, and being hidden for it, would be kept as the channel's own
        own = {
            "colormap": results.own_colour(layer).model_dump(),
            "visible": results.own_visibility(layer),
        }
        return KeptLayer(layer.name, kind, facts, data, {**attributes, **own})

    return GatheredSession(
        state.dataset,
        state.classifier,
        tuple(map(keep, viewer.layers)),
        _about_view(viewer),
        settings or {},
        tuple(_in_numbers(kept, list(viewer.layers)) for kept in results.keep()),
    )


def write_session(
    gathered: GatheredSession,
    path: str | Path,
    *,
    overwrite: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> tuple[str, ...] | None:
    """Write what was gathered; touches no viewer, so that it may run in another thread.

    Parameters
    ----------
    gathered : GatheredSession
    path, overwrite
        See :func:`save_session`.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, it leaves what was there before.

    Returns
    -------
    tuple of str or None
        What could not be kept, a sentence each; None where it was cancelled.

    Raises
    ------
    WhyError
        See :func:`save_session`.
    """
    target = Path(path)
    folder = files_of(target)
    sources = [layer.facts.origin for layer in gathered.layers]
    check_target(target, sources, overwrite=overwrite, own=is_own_json)
    refuse_sources(folder, sources)
    if folder.exists():
        _check_folder(folder)
    notes = list[str]()
    # Names that are new each time: what an earlier session of this name needs stays until this one
    # is there, and layers may still read its files.
    token = uuid4().hex[:DIGITS]
    on_event(Started("saving the session", len(gathered.layers)))
    written = False
    try:
        kept: dict[str, Any] = {
            "format": f"{FORMAT} {VERSION}",
            "versions": package_versions(),
            "dataset": _about_dataset(gathered.dataset, notes),
            "classifier": _about_classifier(gathered.classifier, notes),
            "layers": _keep_layers(gathered.layers, folder, token, notes, (on_event, cancelled)),
            "results": list(gathered.results),
            "view": gathered.view,
            "settings": gathered.settings,
        }
        if not cancelled():
            text = json.dumps(plain_json(kept), indent=2, allow_nan=False)
            write_whole(target, (text + "\n").encode(), own=is_own_json)
            written = True
    finally:
        if not written:
            _clear(folder, lambda name: token not in name)
    on_event(Finished(partial=not written))
    if not written:
        return None
    if not any(_reads_files(layer) for layer in gathered.layers):
        names = {item["file"] for item in kept["layers"] if "file" in item}
        names |= {record_path(name).name for name in names}
        _clear(folder, names.__contains__)
    return tuple(notes)


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


def _in_numbers(kept: KeptResult, layers: Sequence[Layer]) -> dict[str, Any]:
    """Return a result with numbers in place of its layers; those that are in no viewer any more are left out."""
    # by identity: layers are compared as objects
    numbers = {id(layer): number for number, layer in enumerate(layers, start=1)}
    return {
        name: [numbers[id(layer)] for layer in value if id(layer) in numbers]
        if isinstance(value, list)
        else value
        for name, value in kept._asdict().items()
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


def _keep_layers(
    layers: Iterable[KeptLayer],
    folder: Path,
    token: str,
    notes: list[str],
    listeners: tuple[OnEvent, Cancelled],
) -> list[dict[str, Any]]:
    """Return what is kept of each layer, from the bottom up; writes those that are in no file."""
    kept: list[dict[str, Any]] = []
    on_event, cancelled = listeners
    for number, layer in enumerate(layers, start=1):
        if cancelled():
            break
        if layer.data is None:
            notes.append(f"Layer {layer.name!r} is not kept: it is of the kind {layer.kind}.")
        elif _is_in_a_file(layer.facts):
            kept.append({"number": number, **_by_reference(layer.facts, layer.attributes)})
        else:
            # one file a layer: napari's layers of one result may differ in shape and type
            name = f"{number:03d}-{token}.ome.tif"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                pixels = _levels(layer)[0]
                plain = {**layer.attributes, "multiscale": False}
                write_layers(str(folder / name), [(pixels, plain, "image")])
                kept.append({"number": number, "file": name})
            except (WhyError, OSError) as error:
                notes.append(f"Layer {layer.name!r} is not kept: {reason_of(error)}")
        on_event(Advanced(number))
    return kept


def _levels(layer: KeptLayer) -> Sequence[Any]:
    return list(layer.data) if layer.attributes.get("multiscale") else [layer.data]


def _is_in_a_file(facts: LayerFacts) -> bool:
    return not facts.is_result and bool(facts.origin) and _exists(facts)


def _reads_files(layer: KeptLayer) -> bool:
    """Tell whether a layer that is written into the folder may read its pixels from there."""
    if layer.data is None or _is_in_a_file(layer.facts):
        return False
    return not all(isinstance(level, np.ndarray) for level in _levels(layer))


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
