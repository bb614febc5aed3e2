"""Fit a predictor of channels, and say what it is worth on wells that it never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from napari_why.adversarial import PlayResult, play
from napari_why.adversarial.channel_game import ChannelGame, ChannelGameOptions
from napari_why.core.console import shows_progress
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
    of_network,
)
from napari_why.core.options import Help, Label, Range, Unit
from napari_why.datasets.data_checks import check_data
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.fitting.after_training import part_of
from napari_why.fitting.fit_generator import (
    TRAINED_ON_OTHERS,
    check_begun,
    describe_play,
    identify,
    read_examples,
    split_as_fit,
)
from napari_why.fitting.fit_options import ImageOptions
from napari_why.generation.channel_predictor import INVENTED, ChannelPredictor, channels_of
from napari_why.generation.prediction_report import (
    GAN,
    PLAIN,
    PredictionReport,
    fit_trivial_predictors,
    report_predictions,
)
from napari_why.training import CheckpointFolder, Examples


@dataclass(frozen=True, kw_only=True)
class PredictorOptions(ChannelGameOptions, ImageOptions):
    """All options of :func:`napari_why.fit_channel_predictor`.

    Parameters
    ----------
    plain : bool
        Whether a plain U-Net of the same size is trained beside it, for its report.
    size, sizing, intensity
        See :class:`~napari_why.fitting.fit_options.ImageOptions`. Trained on cut-outs (``sizing="crop"``) it
        predicts whole images, pixel by pixel.
    adversarial, ..., epochs, ..., threads
        See :class:`~napari_why.adversarial.channel_game.ChannelGameOptions`.

    Examples
    --------
    >>> PredictorOptions(adversarial=0).size
    128
    """

    size: Annotated[
        int,
        Help("height and width of the images that are trained on"),
        Range(16, 4096),
        Unit("px"),
        Label("image size"),
    ] = 128
    plain: Annotated[
        bool,
        Help("train a plain U-Net too, to compare with; takes as long again"),
        Label("compare with a plain U-Net"),
    ] = True


@shows_progress
def fit_channel_predictor(
    dataset: Dataset,
    channel: str | Sequence[str],
    options: PredictorOptions | Mapping[str, Any] | None = None,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **changes: Any,
) -> ChannelPredictor:
    """Train a network to predict a channel from the others (Isola et al. 2017, arXiv:1611.07004).

    Virtual staining: a U-Net by least absolute error that also has to pass for real. Its card holds what
    it is worth on held-out wells, beside a plain U-Net, one linear function of the given channels, and
    the mean training image. What it invents is no evidence of anything in the specimen.

    Parameters
    ----------
    dataset : Dataset
        Split by well where it is not split yet, as by :func:`napari_why.fit`.
    channel : str or sequence of str
        To be predicted; all others are given.
    options : PredictorOptions or mapping, optional
        Single ones also by keyword.
    folder : str or Path, optional
        Keeps a checkpoint of the last epoch.
    resume : bool
        Go on from there.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the network of the last finished epoch is returned,
        without a plain U-Net beside it.
    **changes
        Options by name; they stand above those of ``options``.

    Returns
    -------
    ChannelPredictor
        ``card["report"]`` is that of :class:`~napari_why.generation.prediction_report.PredictionReport`.

    Raises
    ------
    MismatchError
        There is no such channel, or no other one.
    ParameterError
        An unknown option, or a value out of range.
    CancellationError
        Cancelled before there was an epoch.
    PlayError
        The training broke off.
    """
    chosen = PredictorOptions.of(options, changes)
    dataset = _split_without_copies(dataset, chosen.seed, on_event, cancelled)
    made = channels_of(dataset.channels, channel)
    given = tuple(name for name in dataset.channels if name not in made)
    kept = CheckpointFolder.of(folder, resume=resume)
    train = dataset.part("train")
    preprocessing = Preprocessing.from_dataset(
        train,
        size=chosen.size,
        fit=chosen.sizing,
        intensity=chosen.intensity,
        channels=(*given, *made),
        on_event=on_event,
        cancelled=cancelled,
    )
    examples = read_examples(train, preprocessing, dataset.classes, on_event, cancelled)
    checkpoints = identify(kept, train, preprocessing)

    def training(name: str, adversarial: float, place: str) -> tuple[ChannelGame, PlayResult]:
        game = ChannelGame(replace(chosen, adversarial=adversarial), len(given), len(made))
        within = checkpoints and replace(checkpoints, folder=checkpoints.folder / place)
        listener = of_network(on_event, name)
        result = play(
            game,
            examples,
            game.options,
            checkpoints=within,
            on_event=listener,
            cancelled=cancelled,
        )
        return game, result

    own = GAN if chosen.adversarial else PLAIN
    game, result = training(own, chosen.adversarial, "own")
    check_begun(result)
    predictor = ChannelPredictor(
        game.generator, preprocessing, given, made, threads=chosen.threads or None
    )
    compared = {own: predictor}
    if chosen.plain and chosen.adversarial and result.status == "done" and not cancelled():
        on_event(Message("training a plain U-Net beside it, to compare with"))
        plain, how = training(PLAIN, 0.0, "plain")
        if how.status == "done":  # half trained it would make the other one look good
            compared[PLAIN] = replace(predictor, network=plain.generator)
    report = _report(predictor, compared, dataset, examples, on_event)
    card = describe_play(
        train,
        chosen.to_dict(),
        result,
        report=None if report is None else report.to_dict(),
        notes=[INVENTED],
    )
    return replace(predictor, card=card)


def evaluate_channel_predictor(
    predictor: ChannelPredictor, dataset: Dataset, *, on_event: OnEvent = ignore_event
) -> PredictionReport | None:
    """Measure a predictor on the held-out wells of a data set, beside what needs no network.

    Parameters
    ----------
    predictor : ChannelPredictor
    dataset : Dataset
        Split as the fit did where it is not split: its training images give the linear function and the mean image, its test images (those of
        validation where there are none) the report.
    on_event : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    PredictionReport or None
        None where no image is held out.
    """
    parameters, trained = (predictor.card.get(name, {}) for name in ("parameters", "dataset"))
    dataset = _split_without_copies(dataset, parameters.get("seed", 0), on_event, never_cancelled)
    train = dataset.part("train")
    if trained.get("fingerprint") not in (None, train.fingerprint):
        on_event(
            Message(TRAINED_ON_OTHERS.format(what="measured", other="predictor"), finding=True)
        )
    examples = read_examples(
        train, predictor.preprocessing, dataset.classes, on_event, never_cancelled
    )
    own = GAN if parameters.get("adversarial", 1) else PLAIN
    return _report(predictor, {own: predictor}, dataset, examples, on_event)


def _split_without_copies(
    dataset: Dataset, seed: int, on_event: OnEvent, cancelled: Cancelled
) -> Dataset:
    """Return a data set with a split, without copies of training images: a report would look good by them."""
    split = split_as_fit(dataset, seed)
    return check_data(split, "leave_out", on_event=on_event, cancelled=cancelled).dataset


def _report(
    predictor: ChannelPredictor,
    compared: Mapping[str, ChannelPredictor],
    dataset: Dataset,
    train: Examples,
    on_event: OnEvent,
) -> PredictionReport | None:
    """Measure on the test wells, else those of validation; None where none are held out."""
    split = next(
        (name for name in ("test", "validation") if part_of(dataset, name) is not None), None
    )
    if split is None:
        on_event(Message("no image is held out: nothing is known about other wells", finding=True))
        return None
    part = dataset.part(split)
    held_out = read_examples(
        part, predictor.preprocessing, dataset.classes, on_event, never_cancelled
    )
    methods = {name: item.of_prepared for name, item in compared.items()}
    trivial = fit_trivial_predictors(train, len(predictor.given))
    report = report_predictions(predictor, {**methods, **trivial}, part, held_out, split)
    for sentence in report.sentences:
        on_event(Message(sentence, finding=True))
    return report
