"""What made images, and what was trained to make them, as lines to be copied."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_why.core.options import parameters_of
from napari_why.core.record import Record
from napari_why.output.snippet_lines import (
    IMAGE,
    UNSAVED_IMAGE,
    Lines,
    Snippet,
    add_dataset,
    add_image,
    add_model,
    changed_values,
    data_words,
    whole_path,
    write_arguments,
    write_options,
)

if TYPE_CHECKING:
    from napari_why.datasets import Dataset
    from napari_why.generation.makers import Maker
    from napari_why.model import Classifier

# Stand for what has no place on the disk yet, and for what is made.
SECOND, MADE, TRANSLATING = "second.ome.tif", "generated.ome.tif", "translating"
UNSAVED_SECOND = f"the second image is in no file: save its layers as {SECOND} first"


def copy_generation(maker: "Maker", record: Record, folder: str | Path | None = None) -> Snippet:
    """Return what made images, by its record.

    Parameters
    ----------
    maker : Classifier, ImageGenerator or ChannelPredictor
    record : Record
        Of a :class:`~napari_why.generation.GeneratedImages`, a reconstruction or predicted channels.
    folder : path, optional
        Where a generator or predictor is saved; a classifier knows its own.

    Returns
    -------
    Snippet
    """
    from napari_why.model import Classifier

    lines = Lines()
    if isinstance(maker, Classifier):
        model = add_model(lines, maker)
        add = {
            "reconstruction": _add_reconstruction,
            "latent": _add_traversal,
            "sample": _add_samples,
            "interpolation": _add_interpolation,
        }[record.method]
        add(lines, model, "classifier", record)
    else:
        name = "predictor" if record.method == "channel_prediction" else "generator"
        model = _add_generative(lines, name, folder)
        add = {
            "channel_prediction": _add_predicted_channel,
            "sample": _add_samples,
            "interpolation": _add_way_of_codes,
        }[record.method]
        add(lines, model, name, record)
    lines.words.append(f"--out={MADE}")
    return lines.finish()


def _add_generative(lines: Lines, name: str, folder: str | Path | None) -> str:
    if folder is None:
        lines.say(f"the {name} is in no folder yet: save it as {name!r} first")
    place = name if folder is None else whole_path(folder)
    load = "load_generator" if name == "generator" else "load_channel_predictor"
    lines.python.append(f"{name} = why.{load}({place!r})")
    return place


def _add_reconstruction(lines: Lines, model: str, name: str, record: Record) -> None:
    path, words = add_image(lines, record.source, record.details)
    lines.python += [f"result = why.reconstruct({name}, image)", "print(result.sentence)"]
    lines.words += ["reconstruct", model, path, *words]


def _add_traversal(lines: Lines, model: str, name: str, record: Record) -> None:
    from napari_why.generation import traverse

    path, words = add_image(lines, record.source, record.details)
    given = changed_values(record.parameters, parameters_of(traverse))
    named = dict(given)
    if values := record.parameters.get("values"):
        named["values"] = list(values)
        lines.comments.append("# the shell has no option for values: its range is the usual one")
    lines.python.append(f"result = why.traverse({write_arguments([name, 'image'], named)})")
    lines.words += ["traverse", model, path, *words, *write_options(given)]


def _add_samples(lines: Lines, model: str, name: str, record: Record) -> None:
    from napari_why.generation import sample

    given = changed_values({**record.parameters, "seed": record.seed}, parameters_of(sample))
    lines.python.append(f"result = why.sample({write_arguments([name], given)})")
    lines.words += ["sample", model, *write_options(given)]


def _add_interpolation(lines: Lines, model: str, name: str, record: Record) -> None:
    from napari_why.generation import interpolate

    read = record.details.get("goal_read") or {}
    path, words = add_image(lines, record.source, record.details)
    second, further = add_image(
        lines, str(record.details.get("goal", "")), read, "second", (SECOND, UNSAVED_SECOND)
    )
    if further != words:
        lines.comments.append("# the shell reads both images alike: save the second as OME-TIFF")
    given = changed_values(record.parameters, parameters_of(interpolate))
    call = write_arguments([name, "image", "second"], given)
    lines.python.append(f"result = why.interpolate({call})")
    lines.words += ["interpolate", model, path, second, *words, *write_options(given)]


def _add_way_of_codes(lines: Lines, model: str, name: str, record: Record) -> None:
    from napari_why.generation import ImageGenerator

    given = changed_values(record.parameters, parameters_of(ImageGenerator.interpolate))
    lines.python.append(f"result = {name}.interpolate({write_arguments([], given)})")
    lines.words += ["interpolate-codes", model, *write_options(given)]


def _add_predicted_channel(lines: Lines, model: str, name: str, record: Record) -> None:
    path, words = add_image(lines, record.source, record.details, unsaved=(IMAGE, UNSAVED_IMAGE))
    lines.python.append(f"result = why.predict_channel({name}, image)")
    lines.words += ["predict-channel", model, path, *words]


def copy_generator_training(dataset: "Dataset", options: Mapping[str, Any]) -> Snippet:
    """Return the training of a generator; ``options`` are those of its ``GeneratorOptions``.

    Parameters
    ----------
    dataset : Dataset
    options : mapping
        By name; only those that differ from the defaults are written.

    Returns
    -------
    Snippet
    """
    from napari_why.fitting.fit_generator import GeneratorOptions

    lines = Lines()
    location = add_dataset(lines, dataset)
    given = changed_values(options, parameters_of(GeneratorOptions))
    lines.python += [
        f"generator = why.fit_generator({write_arguments(['dataset'], given)})",
        "generator.save('generator')",
    ]
    lines.words += ["train-generator", location, *write_options(given), *data_words(lines, dataset)]
    lines.words.append("--out=generator")
    return lines.finish()


def copy_predictor_training(
    dataset: "Dataset", channel: str, options: Mapping[str, Any]
) -> Snippet:
    """Return the training of a predictor of a channel, by its ``PredictorOptions``.

    Parameters
    ----------
    dataset : Dataset
    channel : str
        The one to predict.
    options : mapping
        By name; only those that differ from the defaults are written.

    Returns
    -------
    Snippet
    """
    from napari_why.fitting.fit_channel_predictor import PredictorOptions

    lines = Lines()
    location = add_dataset(lines, dataset)
    given = changed_values(options, parameters_of(PredictorOptions))
    call = write_arguments(["dataset", repr(channel)], given)
    lines.python += [
        f"predictor = why.fit_channel_predictor({call})",
        "predictor.save('predictor')",
    ]
    lines.words += ["train-predictor", location, f"--channel={channel}", *write_options(given)]
    lines.words += [*data_words(lines, dataset), "--out=predictor"]
    return lines.finish()


def copy_translation_training(
    classifier: "Classifier", dataset: "Dataset", options: Mapping[str, Any], *, flow: bool
) -> Snippet:
    """Return the training of a classifier's translators, or of its flow, by their options.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
    options : mapping
        By name; only those that differ from the defaults are written.
    flow : bool
        Whether a flow was trained; else translators.

    Returns
    -------
    Snippet
    """
    from napari_why.adversarial import CycleGanOptions, FlowOptions

    lines = Lines()
    model = add_model(lines, classifier)
    location = add_dataset(lines, dataset)
    given = changed_values(options, parameters_of(FlowOptions if flow else CycleGanOptions))
    function, verb = (
        ("fit_flow", "train-flow") if flow else ("fit_translation", "train-translation")
    )
    lines.python += [
        f"classifier = why.{function}({write_arguments(['classifier', 'dataset'], given)})",
        f"classifier.save({TRANSLATING!r})",
    ]
    lines.words += [verb, model, location, *write_options(given), *data_words(lines, dataset)]
    lines.words.append(f"--out={TRANSLATING}")
    return lines.finish()
