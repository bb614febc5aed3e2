"""What was done, as lines to be copied: a Python snippet and a shell line for each kind of work.

Only what differs from the defaults is written. Names come from files and tables of anybody: in Python
they are literals, in the shell they are quoted, in comments both.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.folders import find_shown
from napari_why.core.options import Parameter, parameters_of
from napari_why.core.record import Record

if TYPE_CHECKING:
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier

IMPORT = "import napari_why as why"
# Stands for what has no place on the disk yet; a comment says so.
MODEL, IMAGE, DATA = "model", "image.ome.tif", "data"
UNSAVED_MODEL = "the classifier is in no folder yet: save it as 'model' first"
UNSAVED_IMAGE = "the image is in no file: save its layers as image.ome.tif first"
UNSAVED_DATA = "the data set was made in memory, or is a part of one: give the folder that holds it"
# Arguments of Dataset.open and Dataset.from_plate that the shell has under the same name.
SHELL_DATA = ("label", "pattern", "plate_map", "well_pattern")


@dataclass(frozen=True)
class Snippet:
    """The same work in two languages.

    Parameters
    ----------
    python : str
        Lines that run as they are, in a script or in napari's console.
    shell : str
        One line for a POSIX shell, with comments above it where there is something to do first.
    """

    python: str
    shell: str


@dataclass
class _Lines:
    """Two snippets that grow: lines of Python, comments and words of the shell's line."""

    python: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Put a comment above both."""
        self.python.append(f"# {_plain(text)}")
        self.comments.append(f"# {_plain(text)}")

    def finish(self) -> Snippet:
        """Return both as text."""
        shell = " ".join(map(shlex.quote, ("napari-why", *self.words)))
        lines = [IMPORT, "", *self.python]
        return Snippet("\n".join(lines) + "\n", "\n".join([*self.comments, shell]) + "\n")


def copy_data(dataset: "Dataset") -> Snippet:
    """Return how a data set was opened; in the shell, how it is looked at."""
    lines = _Lines()
    location = _add_dataset(lines, dataset)
    lines.words += ["inspect", location, *_data_words(lines, dataset, of_train=False)]
    lines.python.append("print(dataset.summary())")
    return lines.finish()


def copy_training(
    dataset: "Dataset",
    network: str,
    options: Mapping[str, Any],
    network_parameters: Mapping[str, Any],
) -> Snippet:
    """Return a training.

    Parameters
    ----------
    dataset : Dataset
    network : str
    options : mapping
        Those of :class:`napari_why.fitting.FitOptions`, by name.
    network_parameters : mapping
        Those of the network's builder.
    """
    from napari_why.fitting import FitOptions
    from napari_why.networks import NETWORKS

    lines = _Lines()
    location = _add_dataset(lines, dataset)
    given = _changed(options, parameters_of(FitOptions))
    own = _changed(network_parameters, parameters_of(NETWORKS.named(network).builder))
    further = {"network_parameters": own} if own else {}
    lines.python += [
        f"classifier = why.fit({_arguments(['dataset', repr(network)], {**given, **further})})",
        f"classifier.save({MODEL!r})",
    ]
    lines.words += ["train", location, f"--network={network}", *_options({**given, **own})]
    lines.words += [*_data_words(lines, dataset), f"--out={MODEL}"]
    return lines.finish()


def copy_evaluation(
    classifier: "Classifier", dataset: "Dataset", *, nulls: bool = True, seed: int = 0
) -> Snippet:
    """Return an evaluation."""
    lines = _Lines()
    model = _add_model(lines, classifier)
    location = _add_dataset(lines, dataset)
    given = _without_defaults({"nulls": nulls, "seed": seed}, {"nulls": True, "seed": 0})
    call = _arguments(["classifier", "dataset"], given)
    lines.python += [f"found = why.evaluate({call})", 'print("\\n".join(found.sentences))']
    lines.words += ["evaluate", model, location, *_options(given), *_data_words(lines, dataset)]
    return lines.finish()


def copy_prediction(classifier: "Classifier", about: Mapping[str, Any]) -> Snippet:
    """Return the prediction of an image, whose ``attrs`` say where it is from."""
    lines = _Lines()
    model = _add_model(lines, classifier)
    path, words = _add_image(lines, str(about.get("source", "")), about)
    lines.python.append("found = classifier.predict(image)")
    lines.python.append("print(found.label, found.probabilities)")
    if about.get("plane"):
        lines.comments.append("# predict takes no plane of a stack: save the plane first")
    lines.words += ["predict", model, path, *words]
    return lines.finish()


def copy_result(classifier: "Classifier", record: Record) -> Snippet:
    """Return what a record tells of: an attribution, a counterfactual or a measurement."""
    copy = {
        "attribution": copy_attribution,
        "counterfactual": copy_counterfactual,
        "measurement": copy_measurement,
    }
    return copy[record.kind](classifier, record)


def copy_attribution(classifier: "Classifier", record: Record) -> Snippet:
    """Return an attribution by its record."""
    from napari_why.attribution import METHODS, WRAPPERS

    lines = _Lines()
    details = record.details
    model = _add_model(lines, classifier)
    path, words = _add_image(lines, record.source, details)
    given = _changed(record.parameters, METHODS.named(record.method).parameters)
    target, shell_target = _target(lines, details)
    wrapper = details.get("wrapper")
    named, of_wrapper = dict(given), {}
    if wrapper:
        own = details.get("wrapper_options") or {}
        of_wrapper = _changed(own, WRAPPERS.named(wrapper).parameters)
        named |= {"wrapper": wrapper, **({"wrapper_options": of_wrapper} if of_wrapper else {})}
    if METHODS.named(record.method).takes("references"):
        lines.say("the method compares with the training images: dataset, --references DATA")
        lines.python.append(f"dataset = why.Dataset.open({DATA!r})")
        call = _arguments(["classifier", "image", repr(record.method), target], named)
        call += ", references=dataset"
        words.append(f"--references={DATA}")
    else:
        call = _arguments(["classifier", "image", repr(record.method), target], named)
    if METHODS.named(record.method).takes("regions"):
        lines.say("regions: give the label image, regions=labels, --regions FILE")
    lines.python.append(f"result = why.attribute({call})")
    lines.words += ["attribute", model, path, f"--method={record.method}", *shell_target, *words]
    lines.words += [
        *([f"--wrapper={wrapper}"] if wrapper else []),
        *_options({**given, **of_wrapper}),
    ]
    lines.words += ["--out=map.ome.tif"]
    return lines.finish()


def copy_counterfactual(classifier: "Classifier", record: Record) -> Snippet:
    """Return a counterfactual by its record."""
    lines = _Lines()
    model = _add_model(lines, classifier)
    path, words = _add_image(lines, record.source, record.details)
    given = _add_series(lines, classifier, record)
    lines.words += ["counterfactual", model, path, f"--target={record.details['target']}"]
    lines.words += [f"--method={record.method}", *words, *_options(given), "--out=series.ome.tif"]
    return lines.finish()


def copy_measurement(classifier: "Classifier", record: Record) -> Snippet:
    """Return a measurement, with the counterfactual that it is of, by its record."""
    from napari_why.measurement import MeasurementOptions
    from napari_why.measurement.measure_dataset import FEWEST_STEPS, STEPS_OF_INFLUENCE

    lines = _Lines()
    series = Record.from_dict(record.details["counterfactual"])
    model = _add_model(lines, classifier)
    path, words = _add_image(lines, series.source, series.details)
    changed = _add_series(lines, classifier, series)
    given = _changed(record.parameters, parameters_of(MeasurementOptions))
    lines.python += [
        f"found = why.measure({_arguments(['result', 'image'], given)})",
        "print(found.verdict.line)",
    ]
    if words:
        lines.comments.append(
            "# measure takes no --axes, --channels, --time or --depth: save the image as OME-TIFF"
        )
    usual = STEPS_OF_INFLUENCE if record.method == "influence" else FEWEST_STEPS
    steps = series.parameters.get("steps", usual)
    of_series = {name: value for name, value in changed.items() if name != "steps"}
    of_series |= {} if steps == usual else {"steps": steps}
    lines.words += ["measure", model, path, f"--target={series.details['target']}"]
    lines.words += [f"--method={series.method}", *_options({**of_series, **given})]
    lines.words += ["--out=measured"]
    return lines.finish()


def copy_latent_space(
    classifier: "Classifier",
    dataset: "Dataset",
    projection: str,
    options: Mapping[str, Any],
    search: Mapping[str, Any] | None,
) -> Snippet:
    """Return a latent space, its projection and its outliers.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
    projection : str
    options : mapping
        Parameters of the projection.
    search : mapping or None
        Those of :class:`napari_why.latent_space.OutlierOptions`; None: nothing was looked for.
    """
    from napari_why.latent_space import PROJECTIONS, OutlierOptions

    lines = _Lines()
    model = _add_model(lines, classifier)
    location = _add_dataset(lines, dataset)
    of_plane = _changed(options, parameters_of(PROJECTIONS.named(projection).function))
    of_search = _changed(search or {}, parameters_of(OutlierOptions))
    lines.python.insert(0, "from napari_why.latent_space import find_outliers, project\n")
    lines.python += [
        "space = why.embed(classifier, dataset)",
        f"plane = project({_arguments(['space', repr(projection)], of_plane)})",
    ]
    if search is not None:
        lines.python.append(f"outliers = find_outliers({_arguments(['space'], of_search)})")
    lines.words += ["latent-space", model, location, f"--projection={projection}"]
    lines.words += [*_options({**of_plane, **of_search}), *_data_words(lines, dataset)]
    lines.words += ["--out=latent_space"]
    return lines.finish()


def copy_batch(
    classifier: "Classifier",
    images: "Dataset | str | Path | Sequence[str | Path]",
    out: str | Path,
    options: Mapping[str, Any],
    references: "Dataset | None" = None,
) -> Snippet:
    """Return a batch; run again, both go on where it ended.

    Parameters
    ----------
    classifier : Classifier
    images : Dataset, path of a folder or table, or sequence of image files
    out : path
    options : mapping
        As :meth:`napari_why.BatchOptions.to_flat` returns them.
    references : Dataset, optional
        Training images; written only where the attribution compares with them.
    """
    from napari_why.datasets import Dataset

    lines = _Lines()
    model = _add_model(lines, classifier)
    words: list[str] = []
    if isinstance(images, Dataset):
        places = [_add_dataset(lines, images)]
        words = [*_data_words(lines, images, of_train=False), *_channel_words(images)]
        source = "dataset"
    elif isinstance(images, str | Path):
        places = [_whole(images)]
        source = repr(places[0])
    else:
        places = [_whole(path) for path in images]
        source = repr(places)
        if not places:
            lines.say(UNSAVED_IMAGE)
            places, source = [IMAGE], repr([IMAGE])
    call = _arguments(["classifier", source, repr(_whole(out))], {**options, "resume": True})
    if references is not None and _compares(options):
        of_call, of_shell = _add_references(lines, references, images)
        call += f", references={of_call}"
        words.append(f"--references={of_shell}")
    lines.python += [f"found = why.explain_many({call})", 'print("\\n".join(found.sentences))']
    lines.words += ["explain-many", model, *places, *_options(options), *words]
    lines.words += [f"--out={_whole(out)}", "--resume"]
    return lines.finish()


@dataclass(frozen=True, kw_only=True)
class ScreenCall:
    """What a screen is asked, in words that Python and the shell share.

    Parameters
    ----------
    plates : sequence of path
    plate_map, out : path
    options : mapping
        As ``ScreenOptions.to_flat`` of :mod:`napari_why.screening` returns them.
    workers : int
        Processes; 0: one well after the other.
    device : str
    resume : bool
        Keep the wells that are done; else an earlier screen in ``out`` is replaced.
    read_as : mapping
        ``channels``, ``pattern`` and ``well_pattern``, where names alone do not tell.
    """

    plates: Sequence[str | Path]
    plate_map: str | Path
    out: str | Path
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    device: str = "cpu"
    resume: bool = True
    read_as: Mapping[str, Any] = field(default_factory=dict)

    def words(self, model: str | Path) -> list[str]:
        """Return the words that follow ``napari-why`` in the shell.

        Examples
        --------
        >>> call = ScreenCall(plates=["/p"], plate_map="/m.csv", out="/o", options={"negative": "DMSO"})
        >>> call.words("/model")[:3], call.words("/model")[-2:]
        (['screen', '/model', '/p'], ['--resume', '--negative=DMSO'])
        """
        read_as = dict(self.read_as)
        if read_as.get("channels"):
            read_as["channels"] = ",".join(read_as["channels"])
        chosen = _without_defaults(
            {"workers": self.workers, "device": self.device}, {"workers": 0, "device": "cpu"}
        )
        return [
            *("screen", _whole(model), *map(_whole, self.plates)),
            *(f"--plate-map={_whole(self.plate_map)}", f"--out={_whole(self.out)}"),
            "--resume" if self.resume else "--overwrite",
            *_options({**self.options, **chosen, **read_as}),
        ]


def copy_screen(classifier: "Classifier", call: ScreenCall) -> Snippet:
    """Return a screen; where it may resume, both go on where it ended."""
    lines = _Lines()
    place = MODEL if classifier.folder is None else _whole(classifier.folder)
    if classifier.folder is None:
        lines.say(UNSAVED_MODEL)
    plates = [_whole(folder) for folder in call.plates]
    named = {
        "plate_map": _whole(call.plate_map),
        **call.options,
        **call.read_as,
        **({} if call.device == "cpu" else {"device": call.device}),
        ("resume" if call.resume else "overwrite"): True,
    }
    positional = [repr(place), repr(plates), repr(_whole(call.out))]
    work = [
        f"found = why.screen({_arguments(positional, named)})",
        'print("\\n".join(found.sentences))',
    ]
    if call.workers:
        # processes load the script that starts them: what it does must not be done in each
        engine = f", engine=Engine(workers={call.workers}))"
        work[0] = work[0].removesuffix(")") + engine
        lines.python += ["from napari_why.screening import Engine", ""]
        lines.python += ['if __name__ == "__main__":', *(f"    {line}" for line in work)]
    else:
        lines.python += work
    lines.words += call.words(place)
    return lines.finish()


def _compares(options: Mapping[str, Any]) -> bool:
    """Tell whether the attribution of a batch compares with training images."""
    from napari_why.attribution import METHODS

    method = options.get("attribution")
    return bool(method) and METHODS.named(str(method)).takes("references")


def _add_references(lines: _Lines, references: "Dataset", images: object) -> tuple[str, str]:
    """Return the training images in Python and in the shell."""
    further = set(references.opened_as) - {"location", "split_seed"}
    if further:
        lines.comments.append(
            "# the shell opens --references by the folder or table alone, without "
            f"{' and '.join(sorted(further))}"
        )
    if references is images:
        location = references.opened_as.get("location")
        return "dataset", DATA if location is None else _whole(location)
    return "references", _add_dataset(lines, references, "references")


def _add_model(lines: _Lines, classifier: "Classifier") -> str:
    place = MODEL if classifier.folder is None else _whole(classifier.folder)
    if classifier.folder is None:
        lines.say(UNSAVED_MODEL)
    lines.python.append(f"classifier = why.load({place!r})")
    return place


def _add_dataset(lines: _Lines, dataset: "Dataset", name: str = "dataset") -> str:
    """Open the data set in Python as a variable of that name; return where it is."""
    opened = dict(dataset.opened_as)
    if "location" not in opened:
        lines.say(UNSAVED_DATA)
        lines.python.append(f"{name} = why.Dataset.open({DATA!r})")
        return DATA
    location = _whole(opened.pop("location"))
    plate_map, seed = opened.pop("plate_map", None), opened.pop("split_seed", None)
    only = opened.pop("only", None)
    positional = [repr(location), *([] if plate_map is None else [repr(_whole(plate_map))])]
    opener = "open" if plate_map is None else "from_plate"
    call = f"{name} = why.Dataset.{opener}({_arguments(positional, opened)})"
    if only is not None:
        column, values = only
        call += f".where({column!r}, {list(values)!r})"
    if seed is not None:
        # redrawn, as it was: a split that came with the table is another one
        drawn = {**_without_defaults({"seed": seed}, {"seed": 0}), "redraw": True}
        call += f".split({_arguments([], drawn)})"
    lines.python.append(call)
    return location


def _data_words(lines: _Lines, dataset: "Dataset", *, of_train: bool = True) -> list[str]:
    """Return the options by which the shell opens the same data set; what it has not, it says."""
    opened = dataset.opened_as
    words = [
        f"--{name.replace('_', '-')}={_whole(opened[name]) if name == 'plate_map' else opened[name]}"
        for name in SHELL_DATA
        if opened.get(name) is not None
    ]
    missing = [
        name
        for name in ("classes", "only", "controls", "control_column", "sheet")
        if opened.get(name)
    ]
    strict = [name for name in ("max_unreadable", "allow_leak") if opened.get(name) is not None]
    if of_train:
        words += _channel_words(dataset)
        group = opened.get("group", "auto")
        if group != "auto":
            columns = [group] if isinstance(group, str) else group
            words.append(f"--group={'none' if group is None else ','.join(columns)}")
        # one that the table has is kept by the shell too; one that was drawn is drawn again
        if opened.get("split_seed") is not None:
            words.append(f"--split-seed={opened['split_seed']}")
    if missing:
        lines.comments.append(
            f"# the shell opens all images: it has no option for {' and '.join(missing)}"
        )
    if strict:
        lines.comments.append(f"# the shell has no option for {' and '.join(strict)}")
    return words


def _channel_words(dataset: "Dataset") -> list[str]:
    channels = dataset.opened_as.get("channels")
    return [f"--channels={','.join(channels)}"] if channels else []


def _add_image(lines: _Lines, source: str, known: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Read the image in Python; return its path and the options by which the shell reads it."""
    read_as = dict(known.get("read_as") or {})
    given = read_as.pop("path", source)
    several = [given] if isinstance(given, str | Path) else list(given)
    if not several or not all(str(item) and find_shown(item).exists() for item in several):
        lines.comments.append(f"# {UNSAVED_IMAGE}")
        lines.python += [
            "# the image is in no file: in napari's console it is taken from the viewer's layers",
            "image = why.AttributionSession(viewer, classifier).subject().image",
        ]
        return IMAGE, []
    paths = [_whole(item) for item in several]
    read = repr(paths[0]) if len(paths) == 1 else repr(paths)
    lines.python.append(f"image = why.read({_arguments([read], read_as)})")
    words = []
    if read_as.get("axes"):
        words.append(f"--axes={read_as['axes']}")
    if read_as.get("channels"):
        words.append(f"--channels={','.join(read_as['channels'])}")
    if read_as.get("pattern") or len(paths) > 1:
        lines.comments.append(
            "# the shell takes one file here: save the channels as one OME-TIFF where it does not "
            "find them by their names"
        )
    chosen = known.get("plane") or {}
    if chosen:
        lines.python.insert(0, "from napari_why.images import plane\n")
        lines.python.append(f"image = plane({_arguments(['image'], chosen)})")
        names = {"t": "time", "z": "depth"}
        words += [f"--{names[axis]}={index}" for axis, index in chosen.items()]
    return paths[0], words


def _add_series(lines: _Lines, classifier: "Classifier", record: Record) -> dict[str, Any]:
    """Make the series in Python; return the options that differ from the defaults."""
    from napari_why.counterfactuals import METHODS, CounterfactualOptions

    known = [*parameters_of(CounterfactualOptions), *METHODS.named(record.method).parameters]
    given = _changed(record.parameters, known)
    named = dict(given)
    ends = record.parameters.get("alpha_range")
    if ends:
        named["alpha_range"] = tuple(ends)
        lines.comments.append(
            f"# the shell ends where the change is complete: it has no option for alphas {ends[0]:g} to {ends[1]:g}"
        )
    target = str(record.details["target"])
    call = ["classifier", "image", repr(target), repr(record.method)]
    goal = record.details.get("goal")
    if goal:
        lines.say(f"the series goes towards the image {goal!r}: goal=image, --goal FILE")
    through = (record.details.get("through") or {}).get("fingerprint")
    if through and (classifier.generator is None or classifier.generator.fingerprint != through):
        lines.say("the images were made by another classifier: through=generator, --through MODEL")
    lines.python.append(f"result = why.counterfactual({_arguments(call, named)})")
    return given


def _target(lines: _Lines, details: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the target in Python and in the shell."""
    asked = details.get("target_asked") or {}
    if "against" in asked:
        first, second = str(asked["target"]), str(asked["against"])
        return f"why.Contrast({first!r}, {second!r})", [f"--target={first}", f"--against={second}"]
    if "embedding" in asked:
        number = int(asked["embedding"])
        return f"why.EmbeddingCoordinate({number})", [f"--embedding={number}"]
    if "similar_to" in asked:
        other = _whole(asked["similar_to"]) if asked["similar_to"] else IMAGE
        if not asked["similar_to"]:
            lines.say(UNSAVED_IMAGE)
        lines.python.append(f"other = why.read({other!r})")
        return "why.Similarity(other)", [f"--similar-to={other}"]
    name = str(details["target"])
    return repr(name), [f"--target={name}"]


def _changed(values: Mapping[str, Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values of parameters that differ from their defaults."""
    defaults = {item.name: item.default for item in parameters}
    return {
        name: value
        for name, value in values.items()
        if name in defaults and value != defaults[name]
    }


def _without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != defaults[name]}


def _arguments(positional: Sequence[str], named: Mapping[str, Any]) -> str:
    return ", ".join([*positional, *(f"{name}={value!r}" for name, value in named.items())])


def _options(values: Mapping[str, Any]) -> list[str]:
    """Return options of the shell; with "=", so that no value is taken for an option."""
    words = []
    for name, value in values.items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{dashed}" if value else f"--no-{dashed}")
        elif value is not None:  # None is no value that the shell could be given
            words.append(f"--{dashed}={value}")
    return words


def _whole(path: Any) -> str:
    # absolute: it runs in any folder, and none begins with a dash
    return str(find_shown(path).absolute())


def _plain(text: str) -> str:
    # a line break in a foreign name would end the comment
    return " ".join(text.split())
