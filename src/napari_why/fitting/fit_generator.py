"""Fit a generator of images to a data set: two networks against each other, and one object out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from napari_why.adversarial import DcganGame, DcganOptions, PlayResult, play
from napari_why.core.console import shows_progress
from napari_why.core.errors import CancellationError
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    StopRequest,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import Help, Label, Range, Unit
from napari_why.core.record import package_versions
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.after_training import part_of
from napari_why.fitting.fit_options import ImageOptions
from napari_why.fitting.left_out import LeftOut
from napari_why.generation.image_generator import ImageGenerator
from napari_why.generation.sample_report import MOST, SampleReport, report_samples
from napari_why.images import PixelSize
from napari_why.model.classifier import Classifier
from napari_why.training import CheckpointFolder, Examples, examples_of


# the images' options stand last among the bases, so that they come first in forms and in help
@dataclass(frozen=True, kw_only=True)
class GeneratorOptions(DcganOptions, ImageOptions):
    """All options of :func:`napari_why.fit_generator`.

    Parameters
    ----------
    size : int
        Height and width of the images that are made, in pixels.
    sizing, intensity : str
        See :class:`~napari_why.fitting.fit_options.ImageOptions`.
    conditional, ..., few_images, epochs, ..., threads
        See :class:`~napari_why.adversarial.DcganOptions`.

    Examples
    --------
    >>> GeneratorOptions(epochs=5).size
    64
    """

    # what two players learn on a processor within the hour; larger images want more of both
    size: Annotated[
        int,
        Help("height and width of the images that are made"),
        Range(16, 4096),
        Unit("px"),
        Label("image size"),
    ] = 64


@shows_progress
def fit_generator(
    dataset: Dataset,
    options: GeneratorOptions | Mapping[str, Any] | None = None,
    *,
    channels: Sequence[str] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **changes: Any,
) -> ImageGenerator:
    """Train a DCGAN on a data set (Radford, Metz & Chintala 2016, arXiv:1511.06434).

    Only training images are used, so that what is made can be compared with images that nobody saw; where
    there is no split yet, it is the one that :func:`napari_why.fit` draws with this seed. While it trains, the
    variety of what is made is compared with that of real images; a collapse is told.

    Parameters
    ----------
    dataset : Dataset
    options : GeneratorOptions or mapping, optional
        Single ones also by keyword.
    channels : sequence of str, optional
        All by default.
    folder : str or Path, optional
        Keeps a checkpoint of the last epoch.
    resume : bool
        Go on from there; the weights become those of a training that was never interrupted.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the generator of the last finished epoch is
        returned, and its card says so.
    **changes
        Options by name; they stand above those of ``options``.

    Returns
    -------
    ImageGenerator

    Raises
    ------
    ParameterError
        An unknown option, or a value out of range.
    CancellationError
        Cancelled before there was an epoch.
    PlayError
        The training broke off; with ``folder`` it can go on from the last checkpoint.

    Examples
    --------
    >>> generator = why.fit_generator(plate, size=64, epochs=200)  # doctest: +SKIP
    >>> generator.sample(count=8, label="treated").images.shape  # doctest: +SKIP
    (8, 2, 64, 64)
    """
    chosen = GeneratorOptions.of(options, changes)
    checkpoints = CheckpointFolder.of(folder, resume=resume)
    dataset = split_as_fit(dataset, chosen.seed)
    train = dataset.part("train")
    preprocessing = Preprocessing.from_dataset(
        train,
        size=chosen.size,
        fit=chosen.sizing,
        intensity=chosen.intensity,
        channels=channels,
        on_event=on_event,
        cancelled=cancelled,
    )
    examples = read_examples(train, preprocessing, dataset.classes, on_event, cancelled)
    side = (chosen.size, chosen.size)
    game = DcganGame(chosen, len(preprocessing.channels), dataset.classes, side)
    game.watch(examples)
    result = play(
        game,
        examples,
        chosen,
        checkpoints=identify(checkpoints, train, preprocessing),
        on_event=on_event,
        cancelled=cancelled,
    )
    check_begun(result)
    classes = tuple(dataset.classes) if chosen.conditional else ()
    first = train.image(0)
    size = PixelSize.of(first).on(preprocessing.grid(first))
    generator = ImageGenerator(
        game.plain_generator(), preprocessing, classes, threads=chosen.threads or None
    )
    # held-out images are read here for the first time: one that cannot be must not cost the generator
    further, report = LeftOut(on_event, StopRequest(cancelled)), None
    if result.status == "done" and not cancelled():
        report = further.attempt(
            "distances of samples to real images",
            lambda: _report(generator, dataset, examples, on_event, cancelled),
        )
    card = describe_play(
        train,
        chosen.to_dict(),
        result,
        pixel_size=asdict(size),
        samples=None if report is None else report.to_dict(),
        left_out=further.entries,
    )
    return replace(generator, card=card)


def evaluate_generator(
    generator: ImageGenerator,
    dataset: Dataset,
    *,
    classifier: Classifier | None = None,
    counts: Sequence[int] = (),
    most: int = MOST,
    on_event: OnEvent = ignore_event,
) -> SampleReport | None:
    """Measure how far a generator's samples are from its training images, beside how far real ones are.

    Parameters
    ----------
    generator : ImageGenerator
    dataset : Dataset
        Split as the fit did where it is not split.
    classifier, counts, most
        See :func:`~napari_why.generation.sample_report.report_samples`.
    on_event : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    SampleReport or None
        None of fewer than four training images, whose halves have no covariance.

    Raises
    ------
    MismatchError
        The data set has other channels, or the classifier needs others.

    Examples
    --------
    >>> report = why.evaluate_generator(generator, plate, counts=(10, 100))  # doctest: +SKIP
    >>> report.table[["images", "compared", "distance"]]  # doctest: +SKIP
    """
    parameters, trained = (generator.card.get(name, {}) for name in ("parameters", "dataset"))
    dataset = split_as_fit(dataset, parameters.get("seed", 0))
    train = dataset.part("train")
    if trained.get("fingerprint") not in (None, train.fingerprint):
        on_event(
            Message(TRAINED_ON_OTHERS.format(what="measured", other="generator"), finding=True)
        )
    examples = read_examples(
        train, generator.preprocessing, dataset.classes, on_event, never_cancelled
    )
    return _report(
        generator,
        dataset,
        examples,
        on_event,
        never_cancelled,
        classifier=classifier,
        counts=counts,
        most=most,
    )


def _report(
    generator: ImageGenerator,
    dataset: Dataset,
    train: Examples,
    on_event: OnEvent,
    cancelled: Cancelled,
    **further: Any,
) -> SampleReport | None:
    """Compare samples with training images, beside images of the test wells, else those of validation."""
    if len(train.labels) < FEWEST_COMPARED:
        return None
    parts = (part_of(dataset, name) for name in ("test", "validation"))
    part = next((found for found in parts if found is not None), None)
    held_out = None
    if part is not None and len(part) >= FEWEST_COMPARED:
        held_out = read_examples(
            part, generator.preprocessing, dataset.classes, on_event, cancelled
        )
    report = report_samples(generator, train, held_out, dataset.classes, **further)
    for sentence in report.sentences:
        on_event(Message(sentence, finding=True))
    return report


# Images on either side: of fewer, halves have no covariance.
FEWEST_COMPARED = 4
# What is to be told where a network meets other training images than those that it, or its classifier, had.
TRAINED_ON_OTHERS = (
    "{what} on other images, or on another split, than the {other}: held-out images of the one may be "
    "training images of the other"
)


def split_as_fit(dataset: Dataset, seed: int) -> Dataset:
    """Return a data set with a split: its own, or the one that :func:`napari_why.fit` draws.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        Of the split that is drawn.

    Returns
    -------
    Dataset
    """
    return dataset if "split" in dataset.table.columns else dataset.split(seed=seed)


def read_examples(
    dataset: Dataset,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    on_event: OnEvent,
    cancelled: Cancelled,
) -> Examples:
    """Read and preprocess all images.

    Parameters
    ----------
    dataset : Dataset
        One part, at least one image.
    preprocessing : Preprocessing
        Fitted on the training part.
    classes : sequence of str
        In the order in which they are numbered.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    examples : Examples

    Raises
    ------
    CancellationError
        Cancelled meanwhile.
    """
    examples = examples_of(dataset, preprocessing, classes, on_event=on_event, cancelled=cancelled)
    if examples is None:
        raise _nothing_trained()
    return examples


def identify(
    checkpoints: CheckpointFolder | None, dataset: Dataset, preprocessing: Preprocessing
) -> CheckpointFolder | None:
    """Return checkpoints with the images and the mapping that a resumed training must share.

    Parameters
    ----------
    checkpoints : CheckpointFolder or None
    dataset : Dataset
        Of the training images.
    preprocessing : Preprocessing

    Returns
    -------
    CheckpointFolder or None
        None without checkpoints.
    """
    if checkpoints is None:
        return None
    mapping = {f"preprocessing {key}": value for key, value in preprocessing.to_dict().items()}
    return checkpoints.with_settings({"data set": dataset.fingerprint, **mapping})


def check_begun(result: PlayResult) -> None:
    """Raise CancellationError where no epoch was finished."""
    if not result.history:
        raise _nothing_trained()


def _nothing_trained() -> CancellationError:
    return CancellationError(
        "cancelled before the first epoch was finished; nothing was trained; start it anew"
    )


def describe_play(
    dataset: Dataset, parameters: Mapping[str, Any], result: PlayResult, **further: Any
) -> dict[str, Any]:
    """Return the card of what was trained on a data set, JSON types.

    Parameters
    ----------
    dataset : Dataset
        That was trained on.
    parameters : mapping
        Of the training, JSON types.
    result : PlayResult
    **further
        Further entries of the card, JSON types.

    Returns
    -------
    dict
    """
    card = {
        "dataset": {
            "fingerprint": dataset.fingerprint,
            "images": len(dataset),
            "classes": list(dataset.classes),
        },
        "parameters": dict(parameters),
        "training": result.to_dict(),
        **further,
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(card, allow_nan=False))
    return plain
