"""``napari-why inspect`` and ``rerun``: what a file holds, and whether it can be made again."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Verb
from napari_why.cli.long_work import LongWork, write_json
from napari_why.core.errors import DatasetError, ImageReadError, ParameterError, WhyError
from napari_why.core.events import Advanced, Finished, Started
from napari_why.core.folders import find_shown, show
from napari_why.core.record import Record, package_versions

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from xarray import DataArray

    from napari_why.attribution import Target
    from napari_why.datasets.plate_images import LeftOut
    from napari_why.images.plate_folder import PlateFolder

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
# Images that are read and shown one a line: a screen of them shows how they are understood.
MOST_IMAGES = 20
# What lists images; anything else that is no folder is taken for an image.
TABLE_SUFFIXES = {".csv", ".tsv", ".xlsx", ".xlsm"}


def inspect(
    path: Annotated[Path, typer.Argument(help="An image, a folder or a table.", metavar="PATH")],
    *,
    pattern: arguments.Pattern = None,
    plate_map: arguments.PlateMap = None,
    well_pattern: arguments.WellPattern = None,
    label: arguments.Label = None,
    all_images: Annotated[
        bool, typer.Option("--all", help="Read and show every image, not the first ones.")
    ] = False,
    as_json: arguments.AsJson = False,
) -> None:
    """Show what the reader understands: files, axes, channels, pixel size, wells, notes.

    Of a folder or table also each image: its files, class, well and what was guessed, as a data set
    would be opened. What it prints is what a report of a file that is read wrongly needs.
    """
    from napari_why.images import is_image_folder, understand

    place = find_shown(path)
    is_set = plate_map is not None or place.suffix.lower() in TABLE_SUFFIXES
    if is_set or (place.is_dir() and not is_image_folder(place)):
        most = None if all_images or as_json else MOST_IMAGES
        with LongWork() as work:
            about = describe_set(place, plate_map, label, pattern, most, work, well_pattern)
    else:
        about = asdict(understand(place, pattern=pattern))
    if as_json:
        write_json(about)
        return
    images = about.pop("images", ())
    for name, value in about.items():
        # Notes are sentences, a line each and all of them; of names the first are enough.
        for text in value if name == "notes" else [_describe(value)]:
            if text:
                typer.echo(f"{name.replace('_', ' '):<12} {' '.join(str(text).split())}")
    for row in images if all_images else images[:MOST_IMAGES]:
        typer.echo(_describe_row(row, place))
    if len(images) > MOST_IMAGES and not all_images:
        typer.echo(f"... and {len(images) - MOST_IMAGES} more images; --all shows them")


def describe_set(
    place: Path,
    plate_map: Path | None,
    label: str | None,
    pattern: str | None,
    most: int | None,
    work: LongWork,
    well_pattern: str | None = None,
) -> dict[str, Any]:
    """Say what a folder or table holds, image by image.

    Parameters
    ----------
    place : Path
        A folder, or a table of images.
    plate_map, label, pattern
        As those of ``napari-why inspect``.
    most : int or None
        Images that are read; None reads all.
    work : LongWork
        Shows the progress.
    well_pattern : str, optional
        As that of ``napari-why inspect``.

    Returns
    -------
    dict
        What :func:`napari_why.images.understand` says where file names follow a convention, then
        ``classes`` (images of each), ``left_out`` (path and reason) and ``images``, one dictionary
        each.

    Raises
    ------
    WhyError
        There is no image.
    ParameterError
        There is a pattern for wells and no plate map.
    """
    from napari_why.datasets.image_store import describe_one_channel
    from napari_why.images import understand

    if plate_map is None and well_pattern is not None:
        raise ParameterError("well_pattern: found no plate map; expected one with it (--plate-map)")
    if plate_map is not None and pattern is not None and "(?P<channel>" not in pattern:
        # So it was meant before there was an option for it.
        pattern, well_pattern = None, well_pattern or pattern
    rows, notes, left_out = _list_rows(place, plate_map, label, pattern, well_pattern)
    about: dict[str, Any] = {"path": show(place)}
    if place.is_dir():
        # A folder of images that hold all their channels follows no convention; with rows that is fine.
        with suppress(ImageReadError):
            about = asdict(understand(place, pattern=pattern))
    if not rows:
        raise WhyError(f"{place}: found no image; {'; '.join(notes) or 'expected some'}")
    work.on_event(Started("reading images", len(rows[:most])))
    for done, row in enumerate(rows[:most], start=1):
        if work.cancelled():
            break
        _read_row(row, pattern)
        work.on_event(Advanced(done))
    work.on_event(Finished(partial=work.cancelled()))
    notes += _describe_errors(rows, len(rows[:most]))
    if len({row["label"] for row in rows}) > 1 and pattern is None:
        read = [tuple(row["channels"]) for row in rows[:most] if "dtype" in row]
        notes += describe_one_channel(read)
    return {
        **about,
        "fields": len(rows),
        "wells": tuple(dict.fromkeys(row["well"] for row in rows if row["well"])),
        "classes": dict(Counter(row["label"] for row in rows if row["label"])),
        "notes": tuple(dict.fromkeys([*about.get("notes", ()), *notes])),
        "left_out": tuple(asdict(item) for item in left_out),
        "images": rows,
    }


def _describe_errors(rows: Sequence[dict[str, Any]], read: int) -> Iterator[str]:
    """Count what cannot be read; of images that were not, those that are not there."""
    for row in rows[read:]:
        absent = [name for name in row["files"] if not find_shown(name).exists()]
        if absent:
            row["error"] = f"{absent[0]}: found no such file, or a link to nothing"
    failed = [row for row in rows if "error" in row]
    if failed:
        # Of a long list the first are read; that the others are there is seen without.
        seen = "" if read == len(rows) else f" ({read} were read)"
        yield (
            f"Cannot be read: {len(failed)} of {len(rows)} images{seen}, the first: "
            f"{' '.join(failed[0]['error'].split())}."
        )


def _list_rows(
    place: Path,
    plate_map: Path | None,
    label: str | None,
    pattern: str | None,
    well_pattern: str | None,
) -> tuple[list[dict[str, Any]], list[str], "Sequence[LeftOut]"]:
    """Return the images as a data set would hold them, notes, and what is left out."""
    from napari_why.datasets import tables
    from napari_why.datasets.image_folders import ask_for_channels
    from napari_why.datasets.plate_images import match_plate
    from napari_why.images.plate_folder import scan_plate

    left_out: Sequence[LeftOut] = ()
    plate: PlateFolder | None = None
    if plate_map is not None:
        table, match = match_plate(
            place,
            plate_map,
            label=label or "treatment",
            well_pattern=well_pattern,
            pattern=pattern,
        )
        left_out, notes = match.images_without_wells, list(match.sentences)
    else:
        plate = scan_plate(place, pattern=pattern) if place.is_dir() else None
        try:
            table = tables.list_images(place, label=label or "label", pattern=pattern)
        except DatasetError as error:
            if plate is None or label:
                raise
            return _rows_of_fields(plate, {}), [f"No classes ({error})."], ()
        notes = _note_single_class(table["label"])
    # One folder is no class: plates have folders for wells, time points and the like.
    several = table["label"].nunique() > 1
    if several:
        table = _take_groups(table)
    files = tables.find_image_files(table, pattern)
    notes = [*notes, *tables.notes_of(table)]
    try:
        ask_for_channels(str(place), table, files)
    except DatasetError as error:
        notes.append(f"A data set of it is not opened before this is answered: {error}.")
    if plate is not None and (pattern or (plate.fields and not several)):
        known = {row["path"]: row for row in table.to_dict("records")} if several else {}
        return _rows_of_fields(plate, known), [*notes, *plate.notes], ()
    rows = [
        _make_row(paths, about)
        for paths, about in zip(files, table.to_dict("records"), strict=True)
    ]
    return rows, notes, left_out


def _take_groups(table: Any) -> Any:
    """Take groups from names as a data set does: of the images that can be read."""
    from napari_why.datasets.plate_images import take_groups_from_names
    from napari_why.images import can_read

    named = take_groups_from_names(table)
    if "well" in named.columns:
        return named
    # Looked into only where it matters: the files of a screen are many.
    readable = [can_read(find_shown(path)) for path in table["path"]]
    if all(readable):
        return named
    of_readable = take_groups_from_names(table[readable])
    table.attrs["notes"] = of_readable.attrs["notes"]
    for name in ("plate", "well"):
        if name in of_readable.columns and name not in table.columns:
            table[name] = of_readable[name].reindex(table.index).fillna("")
    return table


def _note_single_class(labels: Iterable[str]) -> list[str]:
    there = sorted(set(labels))
    return [f"One class only ({there[0]}): a classifier needs two."] if len(there) == 1 else []


def _make_row(files: Sequence[Path], about: Mapping[Any, Any]) -> dict[str, Any]:
    from napari_why.images.file_names import parse_names

    # In the light of each other, as they were put together.
    names = parse_names(files, one_image=len(files) > 1)
    parsed = names.get(files[0])
    given = {name: str(about.get(name) or "") for name in ("label", "plate", "well", "split")}
    return {
        "files": [show(path) for path in files],
        **given,
        "well": given["well"] or (parsed.well if parsed else ""),
        "plate": given["plate"] or (parsed.groups.get("plate", "") if parsed else ""),
        "field": parsed.groups.get("field", "") if parsed else "",
        "convention": parsed.convention if parsed else "",
        "channels": [names[path].channel for path in files if path in names],
    }


def _rows_of_fields(
    plate: "PlateFolder", listed: Mapping[str, Mapping[Any, Any]]
) -> list[dict[str, Any]]:
    """Return the fields of a folder, and its other images; ``listed`` is known of single files."""
    from napari_why.datasets.image_folders import find_images
    from napari_why.images.wells_in_names import read_wells

    rows = []
    for field in plate.fields:
        files = tuple(field.files.values())
        about = listed.get(show(files[0]), {})
        known = {"plate": field.plate, "well": field.well or about.get("well", "")}
        row = _make_row(files, {**about, **known})
        known = {"field": field.field, "convention": plate.convention}
        rows.append({**row, **known, "channels": list(field.channels)})
    alone = [(path,) for path in plate.others] if plate.fields else find_images(plate.folder)
    readings = read_wells([files[0].relative_to(plate.folder) for files in alone])
    for files, reading in zip(alone, readings, strict=True):
        # What the names may mean: several are a question.
        rows.append(
            _make_row(files, {"well": " or ".join(reading.wells), **listed.get(show(files[0]), {})})
        )
    return rows


def _read_row(row: dict[str, Any], pattern: str | None) -> None:
    """Add to a row what shows when its files are read, or why they cannot be."""
    from napari_why.images.read import decode

    if pattern is not None and not row["channels"]:
        how: dict[str, Any] = {"pattern": pattern}
    elif len(row["files"]) > max(1, len(row["channels"])):
        return  # planes of a stack: which is which, the names tell
    else:
        # Of several files the names tell the channels, those of a pattern too; one tells its own.
        how = {"channels": row["channels"] if len(row["files"]) > 1 else None}
    try:
        # not as an array: to make the first takes longer than to read most folders
        image = decode(row["files"], **how).with_intensity_notes().arrange()
    except (WhyError, OSError) as error:
        row["error"] = show(str(error))
        return
    row |= {
        "channels": list(image.channels),
        "axes": "".join(image.dims),
        "shape": list(image.data.shape),
        "dtype": str(image.data.dtype),
        "pixel_size": dict(image.attrs["pixel_size"]),
        "unit": image.attrs["unit"],
        "notes": list(image.attrs["notes"]),
    }


def _describe_row(row: Mapping[str, Any], place: Path) -> str:
    """Return an image in one line: files, what they were taken for, what was guessed."""
    from napari_why.datasets.image_store import drop_files

    names = [Path(name) for name in row["files"]]
    below = Path(show(place))
    shown = [
        str(path.relative_to(below)) if path.is_relative_to(below) else str(path) for path in names
    ]
    # The folder of the others is that of the first.
    files = " + ".join([shown[0], *(path.name for path in names[1:MOST_SHOWN])])
    if len(names) > MOST_SHOWN:
        files += f" + {len(names) - MOST_SHOWN} more"
    told = [
        f"{name} {row[name]}"
        for name in ("label", "split", "plate", "well", "field")
        if row.get(name)
    ]
    channels = ", ".join(row["channels"])
    if channels or "error" not in row:
        told.append(f"channels {channels}" if channels else "channels as the file says")
    if row["convention"]:
        told.append(f"named as {row['convention']}")
    # The files stand in front, in the order of the channels.
    told += [f"note: {note}" for note in drop_files(row.get("notes", ()), "; ".join(row["files"]))]
    if "error" in row:
        told.append(f"cannot be read: {' '.join(row['error'].split())}")
    return f"{files}: {'; '.join(told)}"


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item:g}" for key, item in value.items())
    # The only numbers in a tuple are a shape; dictionaries are answers to a question, or left out.
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return " x ".join(map(str, value))
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        value = tuple(": ".join(str(item[key]) for key in list(item)[:2]) for item in value)
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
    through: Annotated[
        Path | None,
        typer.Option(help="The generator, where MODEL was saved without it; found as MODEL is."),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="The training images, as for attribute, where the method compares with them.",
            metavar="DATA",
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="The label image, as for attribute, where regions were explained.", metavar="FILE"
        ),
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
    beside = file.absolute().parent
    classifier = find_classifier(record.classifier, model, beside, device)
    maker = find_generator(record, classifier, through, beside, device)
    # the record does not keep them: they may be many, and theirs is another file
    given = {
        "references": None if references is None else why.Dataset.open(references),
        "regions": None if regions is None else arguments.read_labels(regions),
    }
    with LongWork() as work:
        again = _repeat(record, classifier, maker, raw, given, work)
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

    Parameters
    ----------
    paths : path or sequence of path
        The files of one image.
    file : Path
        The result, for the error.

    Raises
    ------
    WhyError
        Names the first that is missing.
    """
    for place in [paths] if isinstance(paths, str | Path) else paths:
        if not find_shown(place).exists():
            raise WhyError(
                f"{place}: found no such image, from which {file} was made; expected it where the "
                "record says; name it with --image"
            )


def find_record(file: Path, stored: "DataArray") -> Record:
    """Return the record in a file's metadata, else the one beside it.

    Parameters
    ----------
    file : Path
        The result.
    stored : DataArray
        What was read from it.

    Returns
    -------
    Record

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

    Parameters
    ----------
    fingerprint : str
        64 hexadecimal digits.
    model : Path or None
        Where to look; None: in ``beside`` and the working folder.
    beside : Path
        The result's folder.
    device : str
        See :func:`napari_why.load`.

    Returns
    -------
    Classifier

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


def find_generator(
    record: Record,
    classifier: "why.Classifier",
    through: Path | None,
    beside: Path,
    device: str,
) -> "why.Classifier":
    """Return the classifier whose network made the images of a record: most often the same one.

    Parameters
    ----------
    record : Record
        Of a result.
    classifier : Classifier
        That it was made with.
    through : Path or None
        Where to look for another one; None: in ``beside`` and the working folder.
    beside : Path
        The result's folder.
    device : str
        See :func:`napari_why.load`.

    Returns
    -------
    Classifier

    Raises
    ------
    WhyError
        There is none of its fingerprint.
    """
    wanted = (record.details.get("through") or {}).get("fingerprint")
    if wanted is None:
        return classifier
    own = classifier.generator
    if own is not None and own.is_called(wanted):
        return own
    return find_classifier(wanted, through, beside, device)


def compare_pixels(stored: "NDArray[Any]", again: "NDArray[Any]") -> tuple[bool, str]:
    """Say whether pixels agree; rounding is forgiven, and mentioned.

    Parameters
    ----------
    stored, again : ndarray
        Those of the file, and those computed again.

    Returns
    -------
    agree : bool
        Same shape and dtype, and no difference above a grey level, or above rounding where they are
        floating point.
    sentence : str

    Examples
    --------
    >>> import numpy as np
    >>> compare_pixels(np.array([0, 9], "uint16"), np.array([1, 9], "uint16"))
    (True, 'the pixels agree within rounding (largest difference 1).')
    """
    import numpy as np

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
    record: Record,
    classifier: "why.Classifier",
    maker: "why.Classifier",
    raw: "DataArray",
    given: Mapping[str, Any],
    work: LongWork,
) -> "NDArray[Any]":
    import numpy as np

    from napari_why.counterfactuals.spread import count_shown, images_shown
    from napari_why.output.images import result_image
    from napari_why.output.layer_metadata import LayerFacts

    listeners: dict[str, Any] = {"on_event": work.on_event, "cancelled": work.cancelled}
    target, values = record.details["target"], dict(record.parameters)
    layers = record.details.get("layers")
    if record.kind == "attribution":
        wrapped = {
            key: record.details[key]
            for key in ("wrapper", "wrapper_options")
            if key in record.details
        }
        target = _read_target(record.details.get("target_asked") or {}) or target
        found = why.attribute(
            classifier, raw, record.method, target, **given, **wrapped, **listeners, **values
        )
        if not layers:
            return result_image(found, raw).values
        # a viewer saves more than a file holds: the maps of layers, and the error
        maps = [item for item in found.pictures().values() if item.kind == "signed"]
        names = [channel for item in maps for channel in item.channels]
        return _take_layers(np.concatenate([item.compute() for item in maps]), names, layers, 0)
    goal, count = record.details.get("goal"), count_shown(record.details)
    if count is not None:
        values["draws"] = count
    result = why.counterfactual(
        classifier,
        raw,
        target,
        record.method,
        goal=_read_goal(goal, record.details.get("goal_read") or {}) if goal else None,
        through=maker,
        **listeners,
        **{**values, "alpha_range": _make_pair(values.get("alpha_range") or _find_ends(record))},
    )
    shown = images_shown(result, record.details.get("shows", ""))
    if shown is not None:
        pixels = result_image(shown).values
        return pixels if pixels.ndim > 3 else pixels[None]  # as what is read of a file
    # The viewer saves the images of a series or their differences; a layer's metadata says which.
    changes = layers and LayerFacts.from_metadata(layers[0]).is_difference
    series = result.differences if changes else result.images
    return _take_layers(series, result.channels, layers, 1)


def _find_ends(record: Record) -> list[float] | None:
    """Return the alphas between which a series was made; None where it was stopped before the last.

    By default it ends at alpha1, which earlier versions moved until the classifier gave in.
    """
    alphas: list[float] = record.details.get("alphas") or []
    whole = record.details.get("complete") and len(alphas) > 1
    return [alphas[0], alphas[-1]] if whole else None


def _read_target(asked: dict[str, Any]) -> "Target | None":
    """Return the target that a record keeps where it is no class; None where it is one."""
    if "against" in asked:
        return why.Contrast(asked["target"], asked["against"])
    if "embedding" in asked:
        return why.EmbeddingCoordinate(asked["embedding"])
    if "similar_to" in asked:
        return why.Similarity(_read_goal(asked["similar_to"], asked))
    return None


def _read_goal(source: str, read: dict[str, Any]) -> "DataArray":
    plane = read.get("plane") or {}
    return arguments.read_plane(
        Path(source), time=plane.get("t"), depth=plane.get("z"), read_as=read.get("read_as")
    )


def _take_layers(
    pixels: Any, names: Sequence[str | None], layers: Any, axis: int
) -> "NDArray[Any]":
    """Return those of the channels that were saved as layers, in their order; all of a result's."""
    import numpy as np

    from napari_why.output.layer_metadata import LayerFacts

    if not layers:
        return np.asarray(pixels)
    order = [list(names).index(LayerFacts.from_metadata(look).channel) for look in layers]
    return np.take(pixels, order, axis=axis)


def _take_pixels(stored: "DataArray") -> "NDArray[Any]":
    """Return the pixels, with an axis t for a series of one step."""
    import numpy as np

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
