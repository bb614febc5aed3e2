"""What was done, as lines to be copied: a Python snippet and a shell line for each kind of work.

Of networks that make images: :mod:`napari_why.output.generation_snippets`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.options import parameters_of
from napari_why.core.record import Record
from napari_why.output.snippet_lines import (
    DATA,
    IMAGE,
    MODEL,
    UNSAVED_IMAGE,
    UNSAVED_MODEL,
    Lines,
    Snippet,
    add_dataset,
    add_image,
    add_model,
    changed_values,
    channel_words,
    data_words,
    whole_path,
    without_defaults,
    write_arguments,
    write_options,
)

if TYPE_CHECKING:
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier


def copy_data(dataset: "Dataset") -> Snippet:
    """Return how a data set was opened; in the shell, how it is looked at."""
    lines = Lines()
    location = add_dataset(lines, dataset)
    lines.words += ["inspect", location, *data_words(lines, dataset, of_train=False)]
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

    Returns
    -------
    Snippet
    """
    from napari_why.fitting import FitOptions
    from napari_why.networks import NETWORKS

    lines = Lines()
    location = add_dataset(lines, dataset)
    given = changed_values(options, parameters_of(FitOptions))
    own = changed_values(network_parameters, parameters_of(NETWORKS.named(network).builder))
    further = {"network_parameters": own} if own else {}
    lines.python += [
        f"classifier = why.fit({write_arguments(['dataset', repr(network)], {**given, **further})})",
        f"classifier.save({MODEL!r})",
    ]
    lines.words += ["train", location, f"--network={network}", *write_options({**given, **own})]
    lines.words += [*data_words(lines, dataset), f"--out={MODEL}"]
    return lines.finish()


def copy_evaluation(
    classifier: "Classifier", dataset: "Dataset", *, nulls: bool = True, seed: int = 0
) -> Snippet:
    """Return an evaluation.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
    nulls, seed
        See :func:`napari_why.evaluate`.

    Returns
    -------
    Snippet
    """
    lines = Lines()
    model = add_model(lines, classifier)
    location = add_dataset(lines, dataset)
    given = without_defaults({"nulls": nulls, "seed": seed}, {"nulls": True, "seed": 0})
    call = write_arguments(["classifier", "dataset"], given)
    lines.python += [f"found = why.evaluate({call})", 'print("\\n".join(found.sentences))']
    lines.words += ["evaluate", model, location, *write_options(given), *data_words(lines, dataset)]
    return lines.finish()


def copy_prediction(classifier: "Classifier", about: Mapping[str, Any]) -> Snippet:
    """Return the prediction of an image, whose ``attrs`` say where it is from.

    Parameters
    ----------
    classifier : Classifier
    about : mapping
        ``source``, and ``read_as`` and ``plane`` where they are known.

    Returns
    -------
    Snippet
    """
    lines = Lines()
    model = add_model(lines, classifier)
    path, words = add_image(lines, str(about.get("source", "")), about)
    lines.python.append("found = classifier.predict(image)")
    lines.python.append("print(found.label, found.probabilities)")
    if about.get("plane"):
        lines.comments.append("# predict takes no plane of a stack: save the plane first")
    lines.words += ["predict", model, path, *words]
    return lines.finish()


def copy_result(classifier: "Classifier", record: Record) -> Snippet:
    """Return what a record tells of: an attribution, a counterfactual or a measurement.

    Parameters
    ----------
    classifier : Classifier
    record : Record
        Of one of these kinds.

    Returns
    -------
    Snippet
    """
    copy = {
        "attribution": copy_attribution,
        "counterfactual": copy_counterfactual,
        "measurement": copy_measurement,
    }
    return copy[record.kind](classifier, record)


def copy_attribution(classifier: "Classifier", record: Record) -> Snippet:
    """Return an attribution by its record.

    Parameters
    ----------
    classifier : Classifier
    record : Record
        Of an attribution.

    Returns
    -------
    Snippet
    """
    from napari_why.attribution import METHODS, WRAPPERS

    lines = Lines()
    details = record.details
    model = add_model(lines, classifier)
    path, words = add_image(lines, record.source, details)
    given = changed_values(record.parameters, METHODS.named(record.method).parameters)
    target, shell_target = _target(lines, details)
    wrapper = details.get("wrapper")
    named, of_wrapper = dict(given), {}
    if wrapper:
        own = details.get("wrapper_options") or {}
        of_wrapper = changed_values(own, WRAPPERS.named(wrapper).parameters)
        named |= {"wrapper": wrapper, **({"wrapper_options": of_wrapper} if of_wrapper else {})}
    if METHODS.named(record.method).takes("references"):
        lines.say("the method compares with the training images: dataset, --references DATA")
        lines.python.append(f"dataset = why.Dataset.open({DATA!r})")
        call = write_arguments(["classifier", "image", repr(record.method), target], named)
        call += ", references=dataset"
        words.append(f"--references={DATA}")
    else:
        call = write_arguments(["classifier", "image", repr(record.method), target], named)
    if METHODS.named(record.method).takes("regions"):
        lines.say("regions: give the label image, regions=labels, --regions FILE")
    lines.python.append(f"result = why.attribute({call})")
    lines.words += ["attribute", model, path, f"--method={record.method}", *shell_target, *words]
    lines.words += [
        *([f"--wrapper={wrapper}"] if wrapper else []),
        *write_options({**given, **of_wrapper}),
    ]
    lines.words += ["--out=map.ome.tif"]
    return lines.finish()


def copy_counterfactual(classifier: "Classifier", record: Record) -> Snippet:
    """Return a counterfactual by its record.

    Parameters
    ----------
    classifier : Classifier
    record : Record
        Of a counterfactual.

    Returns
    -------
    Snippet
    """
    lines = Lines()
    model = add_model(lines, classifier)
    path, words = add_image(lines, record.source, record.details)
    given = _add_series(lines, classifier, record)
    lines.words += ["counterfactual", model, path, f"--target={record.details['target']}"]
    lines.words += [
        f"--method={record.method}",
        *words,
        *write_options(given),
        "--out=series.ome.tif",
    ]
    return lines.finish()


def copy_measurement(classifier: "Classifier", record: Record) -> Snippet:
    """Return a measurement, with the counterfactual that it is of, by its record.

    Parameters
    ----------
    classifier : Classifier
    record : Record
        Of a measurement; holds that of the counterfactual.

    Returns
    -------
    Snippet
    """
    from napari_why.measurement import MeasurementOptions
    from napari_why.measurement.measure_dataset import FEWEST_STEPS, STEPS_OF_INFLUENCE

    lines = Lines()
    series = Record.from_dict(record.details["counterfactual"])
    model = add_model(lines, classifier)
    path, words = add_image(lines, series.source, series.details)
    changed = _add_series(lines, classifier, series)
    given = changed_values(record.parameters, parameters_of(MeasurementOptions))
    lines.python += [
        f"found = why.measure({write_arguments(['result', 'image'], given)})",
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
    lines.words += [f"--method={series.method}", *write_options({**of_series, **given})]
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

    Returns
    -------
    Snippet
    """
    from napari_why.latent_space import PROJECTIONS, OutlierOptions

    lines = Lines()
    model = add_model(lines, classifier)
    location = add_dataset(lines, dataset)
    of_plane = changed_values(options, parameters_of(PROJECTIONS.named(projection).function))
    of_search = changed_values(search or {}, parameters_of(OutlierOptions))
    lines.python.insert(0, "from napari_why.latent_space import find_outliers, project\n")
    lines.python += [
        "space = why.embed(classifier, dataset)",
        f"plane = project({write_arguments(['space', repr(projection)], of_plane)})",
    ]
    if search is not None:
        lines.python.append(f"outliers = find_outliers({write_arguments(['space'], of_search)})")
    lines.words += ["latent-space", model, location, f"--projection={projection}"]
    lines.words += [*write_options({**of_plane, **of_search}), *data_words(lines, dataset)]
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

    Returns
    -------
    Snippet
    """
    from napari_why.datasets import Dataset

    lines = Lines()
    model = add_model(lines, classifier)
    words: list[str] = []
    if isinstance(images, Dataset):
        places = [add_dataset(lines, images)]
        words = [*data_words(lines, images, of_train=False), *channel_words(images)]
        source = "dataset"
    elif isinstance(images, str | Path):
        places = [whole_path(images)]
        source = repr(places[0])
    else:
        places = [whole_path(path) for path in images]
        source = repr(places)
        if not places:
            lines.say(UNSAVED_IMAGE)
            places, source = [IMAGE], repr([IMAGE])
    call = write_arguments(
        ["classifier", source, repr(whole_path(out))], {**options, "resume": True}
    )
    if references is not None and _compares(options):
        of_call, of_shell = _add_references(lines, references, images)
        call += f", references={of_call}"
        words.append(f"--references={of_shell}")
    lines.python += [f"found = why.explain_many({call})", 'print("\\n".join(found.sentences))']
    lines.words += ["explain-many", model, *places, *write_options(options), *words]
    lines.words += [f"--out={whole_path(out)}", "--resume"]
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
        chosen = without_defaults(
            {"workers": self.workers, "device": self.device}, {"workers": 0, "device": "cpu"}
        )
        return [
            *("screen", whole_path(model), *map(whole_path, self.plates)),
            *(f"--plate-map={whole_path(self.plate_map)}", f"--out={whole_path(self.out)}"),
            "--resume" if self.resume else "--overwrite",
            *write_options({**self.options, **chosen, **read_as}),
        ]


def copy_screen(classifier: "Classifier", call: ScreenCall) -> Snippet:
    """Return a screen; where it may resume, both go on where it ended.

    Parameters
    ----------
    classifier : Classifier
    call : ScreenCall
        What was called.

    Returns
    -------
    Snippet
    """
    lines = Lines()
    place = MODEL if classifier.folder is None else whole_path(classifier.folder)
    if classifier.folder is None:
        lines.say(UNSAVED_MODEL)
    plates = [whole_path(folder) for folder in call.plates]
    named = {
        "plate_map": whole_path(call.plate_map),
        **call.options,
        **call.read_as,
        **({} if call.device == "cpu" else {"device": call.device}),
        ("resume" if call.resume else "overwrite"): True,
    }
    positional = [repr(place), repr(plates), repr(whole_path(call.out))]
    work = [
        f"found = why.screen({write_arguments(positional, named)})",
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


def _add_references(lines: Lines, references: "Dataset", images: object) -> tuple[str, str]:
    """Return the training images in Python and in the shell."""
    further = set(references.opened_as) - {"location", "split_seed"}
    if further:
        lines.comments.append(
            "# the shell opens --references by the folder or table alone, without "
            f"{' and '.join(sorted(further))}"
        )
    if references is images:
        location = references.opened_as.get("location")
        return "dataset", DATA if location is None else whole_path(location)
    return "references", add_dataset(lines, references, "references")


def _add_series(lines: Lines, classifier: "Classifier", record: Record) -> dict[str, Any]:
    """Make the series in Python; return the options that differ from the defaults."""
    from napari_why.counterfactuals import METHODS, CounterfactualOptions

    known = [*parameters_of(CounterfactualOptions), *METHODS.named(record.method).parameters]
    given = changed_values(record.parameters, known)
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
    lines.python.append(f"result = why.counterfactual({write_arguments(call, named)})")
    return given


def _target(lines: Lines, details: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the target in Python and in the shell."""
    asked = details.get("target_asked") or {}
    if "against" in asked:
        first, second = str(asked["target"]), str(asked["against"])
        return f"why.Contrast({first!r}, {second!r})", [f"--target={first}", f"--against={second}"]
    if "embedding" in asked:
        number = int(asked["embedding"])
        return f"why.EmbeddingCoordinate({number})", [f"--embedding={number}"]
    if "similar_to" in asked:
        other = whole_path(asked["similar_to"]) if asked["similar_to"] else IMAGE
        if not asked["similar_to"]:
            lines.say(UNSAVED_IMAGE)
        lines.python.append(f"other = why.read({other!r})")
        return "why.Similarity(other)", [f"--similar-to={other}"]
    name = str(details["target"])
    return repr(name), [f"--target={name}"]
