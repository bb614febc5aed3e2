"""Verbs of networks that make images: ``train-generator``, ``train-translation``, ``train-flow``, ``train-predictor``.

``predict-channel`` and ``interpolate-codes`` use what they train; ``sample`` and ``prototype`` take a
generator too (:mod:`napari_why.cli.explain`).
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import LongWork, tell
from napari_why.core.errors import ParameterError
from napari_why.core.options import parameters_of
from napari_why.core.targets import reserve, save_somewhere, try_target

Checkpoints = Annotated[
    Path | None, typer.Option(help="Folder to keep a checkpoint of the last epoch in.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]


class Trained(Protocol):
    """What a training gives."""

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save it as a folder.

        Parameters
        ----------
        path : path
            Of the folder.
        overwrite : bool
            Replace one that was saved there.

        Returns
        -------
        Path
            The folder.
        """


def _train(
    fit: Callable[..., Trained],
    data: Path,
    out: Path,
    *,
    further: tuple[Path | None, ...],
    checkpoints: Path | None,
    resume: bool,
    overwrite: bool,
    preset: str | None,
    options: arguments.DatasetOptions,
    parameters: dict[str, Any],
) -> LongWork:
    """Open a data set, train on it and save what came of it; ``fit(dataset, ...)`` does the work."""
    if resume and checkpoints is None:
        raise ParameterError("resume: found no checkpoints; say where they are with --checkpoints")
    arguments.check_place(out, overwrite=overwrite, sources=(data, options.plate_map, *further))
    reserve_also: Any = nullcontext if checkpoints is None else reserve
    if checkpoints is not None:
        try_target(checkpoints)
    chosen: dict[str, Any] = {} if preset is None else {"preset": preset}
    with LongWork() as work, reserve(out), reserve_also(checkpoints):
        found = fit(
            options.open(data, work),
            folder=checkpoints,
            resume=resume,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **chosen,
            **parameters,
        )
        # Within the work, so that whoever interrupts now does not lose what was trained.
        save_somewhere(out, partial(found.save, overwrite=overwrite))
    work.end_if_interrupted(f"what was trained until the last epoch is saved as {out}")
    return work


def train_generator(
    data: arguments.Data,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the generator.", metavar="GENERATOR")],
    checkpoints: Checkpoints = None,
    resume: Resume = False,
    preset: arguments.Preset = None,
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Train a generator of new images (DCGAN) on a data set and save it.

    How varied its images are is compared with real ones while it trains, and a collapse is told. Ctrl-C
    keeps the last finished epoch.
    """
    work = _train(
        why.fit_generator,
        data,
        out,
        further=(),
        checkpoints=checkpoints,
        resume=resume,
        overwrite=overwrite,
        preset=preset,
        options=options,
        parameters=parameters,
    )
    work.say(f"{out}: draw images with napari-why sample")


def train_translation(
    model: arguments.Model,
    data: arguments.Data,
    *,
    out: Annotated[
        Path, typer.Option(help="Folder for the classifier with its translation.", metavar="MODEL")
    ],
    checkpoints: Checkpoints = None,
    resume: Resume = False,
    preset: arguments.Preset = None,
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Train translators between a classifier's classes (CycleGAN), and save it with them.

    DATA is what it was trained on. Then napari-why counterfactual --method translation uses them.
    """
    _train(
        partial(why.fit_translation, why.load(model)),
        data,
        out,
        further=(model,),
        checkpoints=checkpoints,
        resume=resume,
        overwrite=overwrite,
        preset=preset,
        options=options,
        parameters=parameters,
    )


def train_flow(
    model: arguments.Model,
    data: arguments.Data,
    *,
    out: Annotated[
        Path, typer.Option(help="Folder for the classifier with its flow.", metavar="MODEL")
    ],
    checkpoints: Checkpoints = None,
    resume: Resume = False,
    preset: arguments.Preset = None,
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Train a flow from noise to images of each class of a classifier, and save it with that.

    DATA is what it was trained on. Then napari-why counterfactual --method flow uses it.
    """
    _train(
        partial(why.fit_flow, why.load(model)),
        data,
        out,
        further=(model,),
        checkpoints=checkpoints,
        resume=resume,
        overwrite=overwrite,
        preset=preset,
        options=options,
        parameters=parameters,
    )


def train_predictor(
    data: arguments.Data,
    *,
    channel: Annotated[
        str, typer.Option(help="Channel to predict from the others; several with commas between.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the predictor.", metavar="PREDICTOR")],
    checkpoints: Checkpoints = None,
    resume: Resume = False,
    preset: arguments.Preset = None,
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Train a predictor of a channel from the others (conditional GAN) and save it.

    Says what it is worth on held-out wells, beside a plain U-Net, one linear function of the given channels,
    and the mean image.
    """

    def fit(dataset: "why.Dataset", **settings: Any) -> Trained:
        return why.fit_channel_predictor(dataset, arguments.split_names(channel), **settings)

    _train(
        fit,
        data,
        out,
        further=(),
        checkpoints=checkpoints,
        resume=resume,
        overwrite=overwrite,
        preset=preset,
        options=options,
        parameters=parameters,
    )


def predict_channel(
    predictor: Annotated[
        Path, typer.Argument(help="What train-predictor saved.", metavar="PREDICTOR")
    ],
    image: arguments.ImageFile,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, in raw units; its record goes beside it.")
    ],
    time: arguments.Time = None,
    depth: arguments.Depth = None,
    axes: arguments.Axes = None,
    channels: arguments.Channels = None,
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
) -> None:
    """Write channels as a network predicts them from those of an image, 16 bit where the image has 16."""
    arguments.check_place(
        out, overwrite=overwrite, endings=arguments.IMAGE_ENDINGS, sources=(predictor, image)
    )
    read_as = arguments.make_read_arguments(axes, channels)
    raw = arguments.read_plane(image, time=time, depth=depth, read_as=read_as)
    found = why.predict_channel(why.load_channel_predictor(predictor, device=device), raw)
    arguments.save_image(found, raw, out, overwrite=overwrite)
    # to a script too: a file like any other image's
    for note in found.notes:
        tell(f"{out}: {note}")


def interpolate_codes(
    generator: Annotated[
        Path, typer.Argument(help="What train-generator saved.", metavar="GENERATOR")
    ],
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, steps along its time axis; record beside it.")
    ],
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    **parameters: Any,
) -> None:
    """Write the images that a generator makes on the way from one code to another."""
    from napari_why.output.images import result_image

    arguments.check_place(
        out, overwrite=overwrite, endings=arguments.IMAGE_ENDINGS, sources=[generator]
    )
    found = why.load_generator(generator, device=device).interpolate(**parameters)
    why.write(result_image(found), out, record=found.record, overwrite=overwrite)
    for note in found.notes:
        tell(f"{out}: {note}")


def _list_generator_options() -> Further:
    from napari_why.fitting.fit_generator import GeneratorOptions

    return Further({"the training": parameters_of(GeneratorOptions)})


def _list_translation_options() -> Further:
    from napari_why.adversarial import CycleGanOptions

    return Further({"the training": parameters_of(CycleGanOptions)})


def _list_flow_options() -> Further:
    from napari_why.adversarial import FlowOptions

    return Further({"the training": parameters_of(FlowOptions)})


def _list_predictor_options() -> Further:
    from napari_why.fitting.fit_channel_predictor import PredictorOptions

    return Further({"the training": parameters_of(PredictorOptions)})


def _list_interpolation_options() -> Further:
    from napari_why.generation import ImageGenerator

    return Further({"the interpolation": parameters_of(ImageGenerator.interpolate)})


TRAIN_GENERATOR = Verb("train-generator", train_generator, _list_generator_options)
TRAIN_TRANSLATION = Verb("train-translation", train_translation, _list_translation_options)
TRAIN_FLOW = Verb("train-flow", train_flow, _list_flow_options)
TRAIN_PREDICTOR = Verb("train-predictor", train_predictor, _list_predictor_options)
PREDICT_CHANNEL = Verb("predict-channel", predict_channel)
INTERPOLATE_CODES = Verb("interpolate-codes", interpolate_codes, _list_interpolation_options)
