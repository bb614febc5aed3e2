"""``napari-why inspect`` and ``rerun``: what a file holds, and whether it can be made again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Verb
from napari_why.cli.long_work import LongWork
from napari_why.core.errors import ImageReadError, WhyError
from napari_why.core.record import Record, package_versions
from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray

# What a classifier's folder is known by; its name is that of napari_why.model's own description.
DESCRIPTION_FILE = "classifier.json"
# Of the records there are, those whose computation begins with one image.
KINDS = ("attribution", "counterfactual")
# Other processors and versions round differently in the last bits: of floats this share of the
# range is forgiven, which no colour map shows.
ROUNDING = 1e-4
# Of integers one grey level, for a value that lies at a rounding edge falls to either side.
GREY_LEVEL = 1.0
# A plate has thousands of files: eight show how they are called and fit on a screen.
MOST_SHOWN = 8


def inspect(
    path: Annotated[Path, typer.Argument(help="An image file or a folder.", metavar="PATH")],
    *,
    pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression with named groups (well, field, channel, z, t)."),
    ] = None,
    as_json: arguments.AsJson = False,
) -> None:
    """Show what the reader understands: files, axes, channels, pixel size, wells, notes.

    What it prints is what a report of a file that is read wrongly needs.
    """
    from napari_why.images import understand

    about = asdict(understand(path, pattern=pattern))
    if as_json:
        typer.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    for name, value in about.items():
        text = _describe(value)
        if text:
            typer.echo(f"{name.replace('_', ' '):<12} {text}")


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item:g}" for key, item in value.items())
    # The only numbers in a tuple are a shape, the only dictionaries the answers to a question.
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return " x ".join(map(str, value))
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return "; ".join(f"{choice['axes']}: {choice['words']}" for choice in value)
    if isinstance(value, tuple):
        more = f"; and {len(value) - MOST_SHOWN} more" if len(value) > MOST_SHOWN else ""
        return "; ".join(map(str, value[:MOST_SHOWN])) + more
    return str(value)


def rerun(
    file: Annotated[Path, typer.Argument(help="A result with its record.", metavar="FILE")],
    *,
    model: Annotated[
        Path | None,
        typer.Option(
            help="The classifier, or a folder to look for it in; by default the folder of FILE and "
            "this one."
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The source image, where it lies elsewhere now.")
    ] = None,
    time: arguments.Time = None,
    depth: arguments.Depth = None,
    device: arguments.Device = "auto",
) -> None:
    """Repeat an attribution or counterfactual from its record and say whether the pixels agree.

    The classifier is known by its fingerprint. Exit code 0: the pixels are the same, or differ by
    no more than rounding (one grey level, or 0.01 % of the range of floats). 1: they differ.
    """
    stored = why.read(file)
    record = find_record(file, stored)
    read_as = record.details.get("read_as") or {}
    if image:  # one file or folder stands for those that the record names
        read_as = {name: value for name, value in read_as.items() if name != "path"}
    source = image or record.source
    check_source(read_as.get("path", source), file)
    plane = record.details.get("plane") or {}
    raw = arguments.read_plane(
        Path(source),
        time=plane.get("t") if time is None else time,
        depth=plane.get("z") if depth is None else depth,
        read_as=read_as,
    )
    classifier = find_classifier(record.classifier, model, file.absolute().parent, device)
    with LongWork() as work:
        again = _repeat(record, classifier, raw, work)
    work.end_if_interrupted("nothing was compared")
    # Other versions explain a difference, and are no reason to refuse the comparison.
    changed = {
        name: f"{name} {version}, now {package_versions().get(name, 'none')}"
        for name, version in record.versions.items()
        if package_versions().get(name) != version
    }
    if changed:
        typer.echo(f"Made with other versions: {'; '.join(changed.values())}.")
    agree, sentence = compare_pixels(_take_pixels(stored), again)
    typer.echo(f"{file}: {sentence}")
    if not agree:
        raise typer.Exit(1)


def check_source(paths: "str | Path | Sequence[str]", file: Path) -> None:
    """Refuse to go on without the files that a result was made from.

    Raises
    ------
    WhyError
        Names the first that is missing.
    """
    for place in [paths] if isinstance(paths, str | Path) else paths:
        if not Path(place).exists():
            raise WhyError(
                f"{place}: found no such image, from which {file} was made; expected it where the "
                "record says; name it with --image"
            )


def find_record(file: Path, stored: "DataArray") -> Record:
    """Return the record in a file's metadata, else the one beside it.

    Raises
    ------
    ImageReadError
        There is none, or one of something that is not computed from an image.
    """
    from napari_why.images import record_path

    plain: Any = stored.attrs.get("record")
    beside = record_path(file)
    try:
        if not plain and beside.is_file():
            plain = json.loads(beside.read_text(encoding="utf-8"))
        record = Record.from_dict(plain or {"kind": "none", "method": ""})
    except (ValueError, TypeError) as error:
        raise ImageReadError(
            file, f"a record that cannot be understood ({error})", "that of a result"
        ) from error
    if record.kind not in KINDS:
        found = "no record" if record.kind == "none" else f"a record of the kind {record.kind!r}"
        raise ImageReadError(
            file, found, f"one of {' or '.join(KINDS)}, as napari-why writes with its results"
        )
    return record


def find_classifier(
    fingerprint: str, model: Path | None, beside: Path, device: str
) -> "why.Classifier":
    """Load the classifier of a fingerprint: a folder, or one found in or below some folders.

    Raises
    ------
    WhyError
        There is none of this fingerprint.
    """
    from napari_why.model.storage import find_saved

    # A result mostly lies beside its classifier, or where the command is given.
    looked_in = [model] if model else list(dict.fromkeys([beside, Path.cwd()]))
    folders = list(_find_folders(looked_in))
    found = find_saved(folders, fingerprint)
    if found is not None:
        return why.load(found, device=device)
    raise WhyError(
        f"{' and '.join(map(str, looked_in))}: found {len(folders)} other classifiers; expected the "
        f"one of the fingerprint {fingerprint[:12]}..., that the result was made with; say with "
        "--model where it is"
    )


def compare_pixels(stored: "NDArray[Any]", again: "NDArray[Any]") -> tuple[bool, str]:
    """Say whether pixels agree; rounding is forgiven, and mentioned.

    Examples
    --------
    >>> compare_pixels(np.array([0, 9], "uint16"), np.array([1, 9], "uint16"))
    (True, 'the pixels agree within rounding (largest difference 1).')
    """
    if stored.shape != again.shape or stored.dtype != again.dtype:
        return False, (
            f"the result differs: {stored.dtype} {stored.shape} in the file, {again.dtype} "
            f"{again.shape} computed again."
        )
    if np.array_equal(stored, again):
        return True, "the pixels are the same."
    # In float64, where the difference of unsigned integers does not wrap around.
    difference = np.abs(stored.astype(np.float64) - again.astype(np.float64))
    largest = float(difference.max())
    values = stored.astype(np.float64)
    floats = stored.dtype.kind == "f"
    allowed = ROUNDING * float(values.max() - values.min()) if floats else GREY_LEVEL
    if largest <= allowed:
        return True, f"the pixels agree within rounding (largest difference {largest:g})."
    share = float((difference > allowed).mean())
    return False, f"the pixels differ: {share:.1%} of them, by up to {largest:g}."


def _repeat(
    record: Record, classifier: "why.Classifier", raw: "DataArray", work: LongWork
) -> "NDArray[Any]":
    from napari_why.output.images import result_image

    listeners: dict[str, Any] = {"on_event": work.on_event, "cancelled": work.cancelled}
    target, values = record.details["target"], dict(record.parameters)
    layers = record.details.get("layers")
    if record.kind == "attribution":
        found = why.attribute(classifier, raw, record.method, target, **listeners, **values)
        names = (*found.channels, None)  # None: the map of all channels together
        return _take_layers(result_image(found, raw).values, names, layers, 0)
    goal = record.details.get("goal")
    result = why.counterfactual(
        classifier,
        raw,
        target,
        record.method,
        goal=_read_goal(goal, record.details.get("goal_read") or {}) if goal else None,
        **listeners,
        **{**values, "alpha_range": _make_pair(values.get("alpha_range"))},
    )
    # The viewer saves the images of a series or their differences; a layer's metadata says which.
    changes = layers and LayerFacts.from_metadata(layers[0]).is_difference
    series = result.differences if changes else result.images
    return _take_layers(series, result.channels, layers, 1)


def _read_goal(source: str, read: dict[str, Any]) -> "DataArray":
    plane = read.get("plane") or {}
    return arguments.read_plane(
        Path(source), time=plane.get("t"), depth=plane.get("z"), read_as=read.get("read_as")
    )


def _take_layers(
    pixels: Any, names: Sequence[str | None], layers: Any, axis: int
) -> "NDArray[Any]":
    """Return those of the channels that were saved as layers, in their order; all of a result's."""
    if not layers:
        return np.asarray(pixels)
    order = [list(names).index(LayerFacts.from_metadata(look).channel) for look in layers]
    return np.take(pixels, order, axis=axis)


def _take_pixels(stored: "DataArray") -> "NDArray[Any]":
    """Return the pixels, with an axis t for a series of one step."""
    record = stored.attrs.get("record") or {}
    series = record.get("kind") == "counterfactual" and "t" not in stored.dims
    return np.asarray(stored.expand_dims("t").values if series else stored.values)


def _find_folders(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        # One level down and no further: a home folder holds too much to be searched.
        for place in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
            if (place / DESCRIPTION_FILE).is_file():
                yield place


def _make_pair(ends: Any) -> tuple[float, float] | None:
    # JSON knows no tuple, which is what alpha_range is declared as.
    return (float(ends[0]), float(ends[1])) if ends else None


RERUN = Verb("rerun", rerun)
INSPECT = Verb("inspect", inspect)
