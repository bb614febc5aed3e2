"""One image, one target class, one method: the counterfactual with all that is known about it."""

import math
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from napari_why.core.console import shows_progress
from napari_why.core.devices import limited_threads
from napari_why.core.errors import CancellationError, ParameterError, UnsupportedNetworkError
from napari_why.core.events import (
    Cancelled,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import Help, Label, Options, Presets, Range, Topic, validated
from napari_why.core.record import Record
from napari_why.counterfactuals.alphas import SpecialAlphas, boundary_notes
from napari_why.counterfactuals.change import measured_change
from napari_why.counterfactuals.engine import (
    Frame,
    PathImages,
    Series,
    Task,
    exported_probabilities,
    follow_paths,
    make_series,
)
from napari_why.counterfactuals.method import (
    METHODS,
    LatentPath,
    check_goal,
    require_statistics,
    say_left_out,
    still_channels,
    suitable_network,
)
from napari_why.counterfactuals.remarks import (
    SECOND_NETWORK,
    USUALLY_WANTED,
    Circumstances,
    DecoderError,
    collect_remarks,
)
from napari_why.counterfactuals.result import Counterfactual, assemble_result, describe_result
from napari_why.counterfactuals.spread import draw_samples, measure_spread
from napari_why.counterfactuals.through import GeneratorFacts, Roles
from napari_why.images import how_read
from napari_why.model.chance import ChanceTest, judge_pair
from napari_why.model.classifier import find_class
from napari_why.model.description import UNCHECKED
from napari_why.model.familiarity import what_nearly_tells_apart, what_tells_apart
from napari_why.model.likeness import Unlikeness
from napari_why.model.whole_field import FieldProgress, WholeFieldClassifier
from napari_why.networks.network import InvertibleNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier


@dataclass(frozen=True, kw_only=True)
class CounterfactualOptions(Options):
    """What every method shares; forms, shell options and validation read these fields.

    Parameters
    ----------
    steps : int
        Number of evenly spaced alphas.
    probability : float
        What p(target) should reach. ``latent_interpolation`` puts alpha1 there, where that is before
        the complete change. Methods whose alpha1 is the complete change (``transport``,
        ``gaussian_transport``, ``latent_mean_shift``) report the alpha apart, as ``wanted``; that of
        ``mean_shift`` is published.
    whole_field : bool
        Change the whole image in tiles instead of the crop or reduced image that the network was
        trained on; see :func:`napari_why.model.whole_field.for_whole_field`.
    draws : int
        How many equally plausible versions of the change at alpha1 are made to say how sure it is;
        see :mod:`napari_why.counterfactuals.spread`. 0 makes none. Of a change that draws its images
        (``change="responding_cells"``) it is the number of draws, one at least.
    """

    # eleven images are ten steps of a tenth each
    steps: Annotated[
        int, Help("number of images on the path"), Range(2, 1001), Label("images of the series")
    ] = 11
    probability: Annotated[
        float,
        Help("probability of the target that is to be reached"),
        Range(0.5, 0.999),
        Label("wanted probability"),
        Topic("details"),
    ] = USUALLY_WANTED
    whole_field: Annotated[
        bool,
        Help("change the whole field, where the network was trained on crops of fields"),
        Topic("details"),
    ] = False
    # their deviation is known to a sixth, in less time than one image of the series takes
    draws: Annotated[
        int,
        Help("number of equally plausible versions that tell how sure the change is; 0: none"),
        Range(0, 1000),
        Label("versions"),
        Presets(0, 64),
        Topic("details"),
    ] = 16


@dataclass(frozen=True)
class Question:
    """A prepared image, the class it is predicted to be and the class it is to become.

    Parameters
    ----------
    prepared : Tensor, shape (1, C, H, W)
        The image as the generator takes it, on its network's device.
    source, target : int
        Class indices of the classifier that is asked.
    goal : Tensor or None, shape (1, C, H, W)
        A preprocessed image to go towards.
    predicted_target : bool
        The image is predicted to be the target already, although it belongs to the source class.
    notes : tuple of str
        How a number in the place of a class was understood.
    """

    prepared: Tensor
    source: int
    target: int
    goal: Tensor | None = None
    predicted_target: bool = False
    notes: tuple[str, ...] = ()


def pose_question(
    classifier: "Classifier",
    image: xr.DataArray,
    target: str | int | None,
    goal: xr.DataArray | None = None,
    source: str | int | None = None,
    generator: "Classifier | None" = None,
) -> Question:
    """Predict the image and settle the target class.

    Parameters
    ----------
    classifier : Classifier
        The one that is asked.
    image : DataArray, dims (c, y, x)
    target : str, int or None
        Class by name or index; None for that of the goal, else for the other of two classes, else
        for the runner-up.
    goal : DataArray, optional
        An image to go towards.
    source : str, int or None
        The class that the image belongs to; None for the predicted one.
    generator : Classifier, optional
        Whose network makes the images, where it is another one: the default target is then one of the
        classes that it knows.

    Returns
    -------
    Question

    Raises
    ------
    ParameterError
        The class is unknown, to either of the two; the image is predicted to be it already and ``source`` does not tell
        otherwise, or source and target are the same.
    """
    roles = Roles(classifier, generator or classifier)
    maker, apart, classes = roles.generator, roles.apart, classifier.classes
    device = next(maker.network.parameters()).device
    prepared = maker.prepare(image).to(device)
    seen = classifier.prepare(image) if apart else prepared
    ranked = [int(index) for index in classifier.logits(seen)[0].argsort(descending=True)]
    prepared_goal = None if goal is None else maker.prepare(goal).to(device)
    predicted = classes[ranked[0]]
    begun = find_class(classes, predicted if source is None else source, "source")
    start, told = begun.index, begun.notes
    if target is not None:
        found = find_class(classes, target)
        aim, told = found.index, (*told, *found.notes)
    elif prepared_goal is not None and goal is not None:
        looked_at = classifier.prepare(goal) if apart else prepared_goal
        aim = int(classifier.logits(looked_at)[0].argmax())
    else:
        roles.index_of(begun.name, "source")
        further = [index for index in ranked if index != start]
        # where the generator knows none of them, the first is refused by its name below
        aim = next((index for index in further if classes[index] in maker.classes), further[0])
    if aim == start and source is not None:
        raise ParameterError(f"target: found {classes[aim]}, the source; expected another class")
    if aim == start:
        others = ", ".join(classes[index] for index in ranked[1:])
        raise ParameterError(
            f"target: the image is predicted as {classes[aim]} already, so there is nothing to change; "
            f"choose {others}"
        )
    roles.index_of(begun.name, "source")
    roles.index_of(classes[aim], "target")
    return Question(prepared, start, aim, prepared_goal, ranked[0] == aim, told)


@shows_progress
def counterfactual(
    classifier: "Classifier",
    image: xr.DataArray,
    target: str | int | None = None,
    method: str = "transport",
    *,
    options: CounterfactualOptions | None = None,
    alpha_range: tuple[float, float] | None = None,
    goal: xr.DataArray | None = None,
    source: str | int | None = None,
    through: "Classifier | None" = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **parameters: Any,
) -> Counterfactual:
    """Change an image, step by step, by as much as the target class differs from its own.

    The change is never made larger to convince the classifier: where the complete change is not
    predicted as the target, ``valid`` is False, and notes and verdict say with which probability, and
    whether the classifier does not see the change or the export undid the flip.

    The image's latent is moved along the method's path and decoded by the classifier's own
    network: inverted exactly (``iresnet``), or by a decoder that was trained along (``vae``,
    ``autoencoder``), whose images differ from the source before anything is changed. Every
    probability in the result is computed on exactly the exported pixels.

    A classifier whose network has no way back to images (``cam_net``, ``resnext50``, a module of
    your own) is explained *through* another one, the generator: that makes the images, and the
    classifier is asked about each of them.

    Parameters
    ----------
    classifier : Classifier
        With a network that the method is defined for; any, where there is a generator.
    image : xarray.DataArray, dims (c, y, x)
        Raw intensities with the classifier's channels.
    target : str or int, optional
        The class to reach, by name or index as in :func:`~napari_why.model.classifier.find_class`;
        by default that of the goal, else the other of two classes, else the runner-up.
    method : str
        Name in :data:`napari_why.counterfactuals.METHODS`.
    options : CounterfactualOptions, optional
        How many images, which probability, whether the whole field; single ones also by keyword
        (``steps=5``).
    alpha_range : (float, float), optional
        First and last alpha; by default 0 to alpha1.
    goal : xarray.DataArray, optional
        An image to go towards, like ``image``; for methods that take one.
    source : str or int, optional
        The class that the image is known to belong to, for one that is not predicted as such; by
        default the predicted class.
    through : Classifier, optional
        The generator: with a network that the method is defined for, trained on the same kind of
        images, with all channels that the classifier looks at. Classes are matched by name. By
        default the one that was trained with the classifier
        (:attr:`~napari_why.model.Classifier.generator`), else the classifier itself.
    on_event, cancelled
        See :mod:`napari_why.core.events`. Without ``on_event`` progress is shown in the console
        (``on_event=napari_why.quiet``: nothing is).
        Cancelled, the images made by then are returned, at least
        the first. A whole field is told of, and cancelled, tile by tile.
    **parameters
        Single options by name, and the method's own parameters.

    Returns
    -------
    Counterfactual

    Raises
    ------
    UnsupportedNetworkError
        The method is not defined for the network, or the classifier has no latent statistics.
    ParameterError
        Unknown class, method or parameter; a value out of range; the image is predicted as the
        target already; the generator does not know a class.
    MismatchError
        The image does not fit; a whole field, where the training images were resized; the generator
        makes other images than the classifier looks at.
    CancellationError
        The work on a whole field was cancelled before there was an image.
    """
    entry = METHODS.named(method)
    shared = {item.name for item in fields(CounterfactualOptions)}
    own = {name: value for name, value in parameters.items() if name not in shared}
    options = CounterfactualOptions.of(
        options, {name: value for name, value in parameters.items() if name in shared}
    )
    roles = Roles.of(classifier, through)
    if options.whole_field:
        progress = FieldProgress(on_event, cancelled)
        roles = roles.for_field(image, progress.each_tile)
        on_event = progress
    classifier, generator = roles.asked, roles.generator
    network = suitable_network(generator, entry)
    check_goal(entry, goal)
    values = validated(entry.function, own)
    ends = check_range(alpha_range)
    require_statistics(generator)
    roles.check(image)
    with ExitStack() as waiting, limited_threads(), torch.no_grad():
        # in one order, whoever is asked through whom: two that wait for each other would wait for ever
        for used in sorted({classifier.network, generator.network}, key=id):
            waiting.enter_context(used.use.explained(on_event, cancelled))
        question = pose_question(classifier, image, target, goal, source, generator)
        chance = judge_direction(classifier, question, on_event)
        device = str(question.prepared.device)
        on_event(Message(f"explaining on {device}"))
        unlike = classifier.unlike(image)
        goal_unlike = () if goal is None else classifier.unlike(goal)
        on_event(Started("looking for the boundary"))
        task = Task(
            generator,
            network,
            entry,
            {**values, "goal": question.goal} if entry.takes("goal") else values,
            roles.index_of(classifier.classes[question.source], "source"),
            roles.index_of(classifier.classes[question.target], "target"),
            options.probability,
            asked=classifier if roles.apart else None,
        )
        try:
            (images,) = follow_paths(task, question.prepared, image.dtype)
        except UnsupportedNetworkError as error:
            # what is missing may be so since the fit failed at it, which says what to mend
            raise UnsupportedNetworkError(f"{error}{say_left_out(generator)}") from error
        try:
            found, searched = images.find_alphas(cancelled), True
        except CancellationError:
            # what was not looked for to its end is not missing: nothing is said of it
            found, searched = SpecialAlphas(None, None, None), False
        series = make_series(
            images, found, ends, options.steps, on_event=on_event, cancelled=cancelled
        )
        if not searched:
            series = replace(series, complete=False)
        decoder_error = _measure_decoder(task, images.path, question)
        second = roles.second_opinion()
        result = assemble_result(image, images, series, second)
        if "alpha1" in result.special_images:
            spread = measure_spread(images, options.draws, measured_change(result), cancelled)
            samples = draw_samples(images, options.draws, cancelled)
            result = replace(result, spread=spread, samples=samples)
        head_flips, head_probability = _ask_head(images, result)
        opinion = None if second is None else second.of(image, classifier.classes)
        facts = None
        if roles.apart:
            on_grid = _predict_on_grid(images)
            facts = GeneratorFacts.of(roles, image, result.source_class, result.target, on_grid)
    had_a_say = images.path.second_had_a_say
    if second is not None and second.had_a_say is not None:
        had_a_say = second.had_a_say
    circumstances = Circumstances(
        unlike=_but_for_size(unlike) if isinstance(classifier, WholeFieldClassifier) else unlike,
        chance=chance,
        confounded=what_tells_apart(classifier.card, result.source_class, result.target),
        uneven=what_nearly_tells_apart(classifier.card, result.source_class, result.target),
        predicted_target=question.predicted_target,
        second_of_source=None if opinion is None else classifier.classes[int(opinion.argmax())],
        second_had_a_say=had_a_say,
        locked=tuple(result.channels[index] for index in network.locked),
        put_back=tuple(result.channels[index] for index in images.path.put_back),
        wanted=options.probability,
        caution=entry.caution,
        path=(*question.notes, *images.path.notes),
        alphas=tuple(_notes_of_alphas(question, images, found, series, result)) if searched else (),
        full_alpha=images.path.rule.full_alpha,
        head_flips=head_flips,
        head_probability=head_probability,
        draws=options.draws,
        partly=images.path.partly,
        decoder=decoder_error,
        statistics_images=_images_of_cut_statistics(generator),
        dtype=str(image.dtype),
        left_out=roles.left_out,
        steps=options.steps,
        unverified=UNCHECKED in classifier.notes,
        goal_unlike=goal_unlike,
        second_name=SECOND_NETWORK if second is None else second.name,
        through=facts,
    )
    result = replace(result, circumstances=circumstances)
    sentences = tuple(remark.sentence or remark.short for remark in collect_remarks(result))
    result = replace(result, notes=sentences)
    record = Record(
        kind="counterfactual",
        method=method,
        parameters={**options.to_dict(), "alpha_range": list(ends) if ends else None, **values},
        classifier=classifier.fingerprint,
        source=str(image.attrs.get("source", "")),
        details={
            **describe_result(result, images.path),
            "device": device,
            "source": None if source is None else result.source_class,
            "image_notes": list(image.attrs.get("notes", ())),
            **how_read(image),
            "goal": None if goal is None else str(goal.attrs.get("source", "")),
            "goal_unlike": [found.sentence for found in goal_unlike],
            "goal_read": None if goal is None else how_read(goal),
            "decoder_error": asdict(decoder_error) if decoder_error else None,
        },
    )
    return replace(result, record=record)


def judge_direction(
    classifier: "Classifier", question: Question, on_event: OnEvent = ignore_event
) -> ChanceTest:
    """Tell whether held-out images show that source class and target are told apart.

    Unless they do, the user is told at once, before anything is changed.

    Parameters
    ----------
    classifier : Classifier
        Whose figures on held-out images are looked at.
    question : Question
        Names source class and target.
    on_event : callable
        Told one sentence, unless the classes are told apart.

    Returns
    -------
    ChanceTest
        Of this pair of classes.
    """
    names = (classifier.classes[question.source], classifier.classes[question.target])
    found = judge_pair(classifier.metrics, classifier.classes, *names)
    if found.state != "told apart":
        on_event(Message(found.sentence))
    return found


def _but_for_size(unlike: tuple[Unlikeness, ...]) -> tuple[Unlikeness, ...]:
    # a whole field always has another size than the crops that were trained on
    return tuple(found for found in unlike if found.kind != "size")


def _images_of_cut_statistics(classifier: "Classifier") -> int | None:
    statistics = require_statistics(classifier)
    return None if statistics.complete else sum(statistics.true_counts)


def _notes_of_alphas(
    question: Question,
    images: PathImages,
    found: SpecialAlphas,
    series: Series,
    result: Counterfactual,
) -> list[str]:
    rule, reached = images.path.rule, None
    if result.valid:
        reached = float(result.special_probabilities["alpha1"][question.target])
    return [
        *(
            []  # there is no boundary to speak of
            if question.predicted_target
            else boundary_notes(found, series.special, result.target, rule.full_alpha)
        ),
        *rule.notes(found, series.special, reached, images.task.probability, result.target),
    ]


def _predict_on_grid(images: PathImages) -> str:
    """Return what the classifier predicts for the unchanged image as the generator exports it."""
    judge = images.task.judge
    channels = images.task.classifier.channels
    found = exported_probabilities(judge, images.exported_source, channels)
    return judge.classes[int(found.argmax())]


def _ask_head(images: PathImages, result: Counterfactual) -> tuple[bool | None, float | None]:
    """Return whether the head calls alpha1 the target where the exported image is not, and p(target).

    It sees the latent, before rounding, clipping and what is put back: so it tells these from a
    change that the classifier does not see. Where another classifier is asked, it sees the image
    before rounding and clipping.
    """
    alpha1 = result.special_alphas["alpha1"]
    if result.valid or alpha1 is None or "alpha1" not in result.special_images:
        return None, None
    task = images.task
    with suppress(CancellationError):  # of a whole field; it is then not known
        if task.asked is not None:
            unrounded = images.decode([alpha1])[0]
            seen = exported_probabilities(task.asked, unrounded, task.classifier.channels)
            frame = Frame(alpha1, unrounded, seen, 0.0)
            target = task.judged_target
            return frame.margin(target) > 0, frame.probability(target)
        return images.scores.margin(alpha1) > 0, images.scores.probability(alpha1)
    return None, None


def check_range(alpha_range: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return first and last alpha as floats.

    Raises
    ------
    ParameterError
        They are not two finite numbers, the second larger than the first.
    """
    if alpha_range is None:
        return None
    first, last = (float(alpha) for alpha in alpha_range)
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise ParameterError(
            f"alpha_range: found {first} to {last}; expected two finite numbers, rising"
        )
    return first, last


@torch.no_grad()
def _measure_decoder(task: Task, path: LatentPath, question: Question) -> DecoderError | None:
    """Measure the decoder on the unchanged image; None for an exact inverse."""
    generator, network = task.classifier, task.network
    if isinstance(network, InvertibleNetwork):
        return None
    decoded = network.decode(path.start, path.stage)
    still = still_channels(network, path)
    decoded[:, still] = question.prepared[:, still]  # as in every image on the path
    raw, wanted = (
        generator.preprocessing.inverse(images)[0] for images in (decoded, question.prepared)
    )
    missed: Sequence[float] = np.abs(raw - wanted).mean(axis=(1, 2)).tolist()
    if task.asked is None:
        predicted = int(network(decoded)[0].argmax())
    else:
        pixels = raw.astype(np.float32)
        predicted = int(exported_probabilities(task.asked, pixels, generator.channels).argmax())
    return DecoderError(
        dict(zip(generator.channels, missed, strict=True)),
        task.judge.classes[predicted],
        kept=path.keeps_details,
    )
