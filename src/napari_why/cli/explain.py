"""Verbs that make images: the evidence, the way to another class, what a network makes and answers to.

``napari-why attribute`` and ``counterfactual`` explain one image; ``reconstruct``, ``sample``,
``traverse`` and ``interpolate`` show what a network of images makes, ``prototype`` what it answers to most.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import napari_why as why
from napari_why.cli import arguments
from napari_why.cli.application import Further, Verb
from napari_why.cli.long_work import LongWork, tell
from napari_why.core.errors import ParameterError, reason_of
from napari_why.core.options import parameters_of
from napari_why.core.targets import save_somewhere

if TYPE_CHECKING:
    from napari_why.attribution import Attribution, Target
    from napari_why.counterfactuals import Counterfactual
    from napari_why.generation import ImageGenerator


@dataclass(frozen=True, kw_only=True)
class ExplainedScore:
    """What a map explains: a class, one rather than another, an embedding, a similarity."""

    target: Annotated[
        str | None, typer.Option(help="Class to explain; the predicted one when not given.")
    ] = None
    against: Annotated[
        str | None,
        typer.Option(help="Class to explain --target against: what speaks for the one rather."),
    ] = None
    embedding: Annotated[
        int | None,
        typer.Option(help="Explain this number of the image's embedding, from 0, and no class."),
    ] = None
    similar_to: Annotated[
        Path | None,
        typer.Option(help="Explain how alike this image is to the network, and no class."),
    ] = None

    def find(self, task: arguments.ImageTask) -> "Target | None":
        """Return the target; reads the other image.

        Raises
        ------
        ParameterError
            Several at once, or a class against which none stands.
        """
        kinds = {
            "target": self.target,
            "embedding": self.embedding,
            "similar-to": self.similar_to,
        }
        given = [f"--{name}" for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise ParameterError(f"found {' and '.join(given)}; expected one of them")
        if self.against is not None:
            if self.target is None:
                raise ParameterError(
                    f"against: found {self.against} without --target; expected the class that is "
                    "explained against it too"
                )
            return why.Contrast(self.target, self.against)
        if self.embedding is not None:
            return why.EmbeddingCoordinate(self.embedding)
        if self.similar_to is not None:
            return why.Similarity(task.read(self.similar_to))
        return self.target


def attribute(
    task: arguments.ImageTask,
    *,
    out: Annotated[Path, typer.Option(help="OME-TIFF to write; its record goes beside it.")],
    method: Annotated[str, typer.Option(help="The method; its options stand below.")] = "occlusion",
    score: ExplainedScore,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Training images, as for train, for methods that compare with them.",
            metavar="DATA",
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="Label image of cells, 0 for the background, for methods that explain by regions; "
            "the values of each stand in the record.",
            metavar="FILE",
        ),
    ] = None,
    wrapper: Annotated[
        str | None,
        typer.Option(help="What is made of the method's maps; its options stand below."),
    ] = None,
    labels_out: Annotated[
        Path | None,
        typer.Option(
            help="Label image to write too: the regions that the wrapper found.", metavar="FILE"
        ),
    ] = None,
    scored: Annotated[
        bool,
        typer.Option(
            "--score", help="Also print whether the map is true, as far as that can be measured."
        ),
    ] = False,
    preset: arguments.Preset = None,
    **parameters: Any,
) -> None:
    """Write a signed map of the evidence for a class, per channel.

    The last channel of the file is the map of all channels together. Options of another method or
    wrapper than the chosen ones are refused.
    """
    from napari_why.attribution import METHODS, WRAPPERS
    from napari_why.attribution.wrapper import split_options

    options, of_wrapper = split_options(
        METHODS.named(method), None if wrapper is None else WRAPPERS.named(wrapper), parameters
    )
    if preset is not None:
        options["preset"] = preset
    if labels_out:
        _check_different({"out": out, "labels-out": labels_out})
        arguments.check_place(
            labels_out,
            overwrite=task.overwrite,
            endings=arguments.IMAGE_ENDINGS,
            sources=(task.image, task.model, score.similar_to, regions),
        )
    target = score.find(task)
    labels = None if regions is None else arguments.read_labels(regions)
    others = None if references is None else why.Dataset.open(references)
    given: dict[str, Any] = {"references": others, "regions": labels}
    judged: list[why.Classifier] = []

    def compute(classifier: why.Classifier, raw: Any, **listeners: Any) -> "Attribution":
        judged.append(classifier)
        return why.attribute(
            classifier,
            raw,
            method,
            target,
            wrapper=wrapper,
            wrapper_options=of_wrapper,
            **given,
            **listeners,
            **options,
        )

    result, raw, work = task.run(
        compute,
        out,
        *filter(None, (score.similar_to, regions)),
    )
    if labels_out:
        _write_labels(result, raw, labels_out, overwrite=task.overwrite)
    # To a script too, as predict does: the map of an image that is nothing but noise looks like any.
    for note in result.notes:
        tell(f"{task.image}: {note}")
    # The file is written first: an interrupted map is worth having, and says that it is partial.
    work.end_if_interrupted(f"the part of the map that was done is in {out}")
    if result.completeness:
        work.say(result.completeness)
    if scored:
        _score(judged[0], result, raw, out, target=target, **given)
    work.say(f"{out}: evidence for {result.target} by {method}")


def _write_labels(result: "Attribution", raw: Any, path: Path, *, overwrite: bool) -> None:
    from napari_why.output.images import place_on_source, record_with_grid

    if result.labels is None:
        tell(f"{path}: not written, for nothing was asked for that finds regions")
        return
    # 16 bits hold 65,535 regions, more than a field has cells; other programs read them best
    pixels = result.labels[None].astype("uint16")
    image = place_on_source(pixels, ("regions",), result.grid, raw)
    record = record_with_grid(result.record, result.grid)
    why.write(image, path, record=record, overwrite=overwrite)


def _score(
    classifier: "why.Classifier", result: "Attribution", raw: Any, out: Path, **given: Any
) -> None:
    with LongWork() as work:
        found = why.score_explanation(
            classifier, raw, result, on_event=work.on_event, cancelled=work.cancelled, **given
        )
    for sentence in found.sentences:
        typer.echo(sentence)
    work.end_if_interrupted(f"the map is in {out}, its score is not complete")


def list_attribution_methods() -> Further:
    """Return the attribution methods and wrappers, and their parameters."""
    from napari_why.attribution import METHODS, WRAPPERS

    methods = Further.of_registry("method", METHODS)
    wrappers = Further.of_registry("wrapper", WRAPPERS)
    return Further({**methods.panels, **wrappers.panels}, {**methods.choices, **wrappers.choices})


def counterfactual(
    task: arguments.ImageTask,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, alpha along its time axis; record beside it.")
    ],
    target: Annotated[
        str | None, typer.Option(help="Class to reach; the other one, or the runner-up.")
    ] = None,
    method: Annotated[str, typer.Option(help="The method; its options stand below.")] = "transport",
    goal: Annotated[
        Path | None, typer.Option(help="An image to go towards, for latent_interpolation.")
    ] = None,
    through: arguments.Through = None,
    animation: Annotated[
        Path | None, typer.Option(help="Animation to write too: .gif or .mp4.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Figure of before, after, change and probability: .png or .svg."),
    ] = None,
    used: Annotated[
        Path | None,
        typer.Option(
            help="OME-TIFF to write too: the image with the part of the change that the network "
            "uses, and with all but it. What that part is, is printed."
        ),
    ] = None,
    spread: Annotated[
        Path | None,
        typer.Option(
            help="OME-TIFF to write too: how sure the change is, as standard deviation, 5 and 95 % "
            "limits, and share of the --draws that agree in its sign."
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            help="OME-TIFF to write too: all --draws of --change responding_cells, along its time axis."
        ),
    ] = None,
    **parameters: Any,
) -> None:
    """Write the series of images that leads from the predicted class to another."""
    from napari_why.core.pictures import ANIMATIONS, FIGURES
    from napari_why.measurement import UsedChangeOptions, verdict

    names = {item.name for item in parameters_of(UsedChangeOptions)}
    of_used = {name: parameters.pop(name) for name in names & set(parameters)}

    # Before the work: it may take minutes, after which a wrong ending would cost them all.
    if of_used and not used:
        raise ParameterError(
            f"found the option {', '.join(sorted(of_used))} without --used FILE, which it belongs to"
        )
    if samples and parameters.get("change") != "responding_cells":
        raise ParameterError(
            f"samples: found --change {parameters.get('change', 'auto')}, which gives one answer; expected "
            "--change responding_cells, which draws several"
        )
    _check_different({"out": out, "used": used, "spread": spread, "samples": samples})
    for path, endings in (
        (animation, ANIMATIONS),
        (figure, FIGURES),
        (used, arguments.IMAGE_ENDINGS),
        (spread, arguments.IMAGE_ENDINGS),
        (samples, arguments.IMAGE_ENDINGS),
    ):
        if path:
            arguments.check_place(
                path,
                overwrite=task.overwrite,
                endings=endings,
                sources=(task.image, task.model, goal, through),
            )
    aim = None if goal is None else task.read(goal)
    judges: list[why.Classifier] = []

    def compute(classifier: why.Classifier, raw: Any, **listeners: Any) -> "Counterfactual":
        judges.append(classifier)
        maker = None if through is None else why.load(through, device=task.device)
        return why.counterfactual(
            classifier, raw, target, method, goal=aim, through=maker, **listeners, **parameters
        )

    result, raw, work = task.run(compute, out, *filter(None, (goal, through)))
    _draw(result, raw, out, animation=animation, figure=figure)
    work.end_if_interrupted(f"the {len(result.alphas)} steps that were done are in {out}")
    # To a person at a terminal: the verdict says how far the series is to be believed.
    for note in (verdict(result).line, *result.notes):
        work.say(note)
    if spread:
        _write_spread(result, raw, spread, overwrite=task.overwrite)
    if samples:
        _write_samples(result, raw, samples, overwrite=task.overwrite)
    if used:
        _write_used(judges[0], result, raw, used, of_used, overwrite=task.overwrite)
    work.say(f"{out}: {result.source_class} to {result.target} in {len(result.alphas)} steps")


def _draw(
    result: "Counterfactual", raw: Any, series: Path, *, animation: Path | None, figure: Path | None
) -> None:
    """Draw what was asked for; a picture that cannot be drawn is told and ends nothing."""
    if animation is None and figure is None:
        return
    from napari_why.output import figures  # takes a second with all that it draws by

    pictures: dict[Path, Callable[[Path], object]] = {}
    if animation is not None:
        pictures[animation] = lambda path: figures.animate_counterfactual(result, path)
    if figure is not None:
        pictures[figure] = lambda path: figures.draw_counterfactual(result, path, raw)
    for path, draw in pictures.items():
        try:
            draw(path)
        except Exception as error:  # noqa: BLE001 - the series is there, a picture is an extra
            tell(f"{path}: could not be drawn ({reason_of(error)}); the series is in {series}")


def _check_different(places: Mapping[str, Path | None]) -> None:
    taken: dict[Path, str] = {}
    for option, place in places.items():
        if place and taken.setdefault(place.resolve(), option) != option:
            other = taken[place.resolve()]
            raise ParameterError(
                f"{option}: found {place} for --{other} too; expected another name"
            )


def _write_spread(result: "Counterfactual", raw: Any, path: Path, *, overwrite: bool) -> None:
    from napari_why.counterfactuals.spread import spread_images

    images = spread_images(result)
    if images is None:
        tell(f"{path}: not written, for how sure this change is was not measured")
    else:
        arguments.save_image(images, raw, path, overwrite=overwrite)


def _write_samples(result: "Counterfactual", raw: Any, path: Path, *, overwrite: bool) -> None:
    from napari_why.counterfactuals.spread import sample_images

    images = sample_images(result)
    if images is None:
        tell(f"{path}: not written, for there is no change at alpha1 of which it would hold draws")
    else:
        arguments.save_image(images, raw, path, overwrite=overwrite)


def _write_used(
    classifier: "why.Classifier",
    result: "Counterfactual",
    raw: Any,
    path: Path,
    options: dict[str, Any],
    *,
    overwrite: bool,
) -> None:
    with LongWork() as work:
        found = why.find_used_change(
            classifier,
            result,
            raw,
            on_event=work.on_event,
            cancelled=work.cancelled,
            **options,
        )
        # Within the work, so that whoever interrupts now does not lose it.
        arguments.save_image(found, raw, path, overwrite=overwrite)
    for sentence in found.sentences:
        typer.echo(sentence)
    work.end_if_interrupted(f"the part as far as it was narrowed down is in {path}")


def list_counterfactual_methods() -> Further:
    """Return the methods, and the parameters of the series, the used part and every method."""
    from napari_why.counterfactuals import METHODS, CounterfactualOptions
    from napari_why.measurement import UsedChangeOptions

    panels = {
        "the series": parameters_of(CounterfactualOptions),
        "the used part": parameters_of(UsedChangeOptions),
    }
    return Further.of_registry("method", METHODS, panels)


def reconstruct(
    task: arguments.ImageTask,
    *,
    out: Annotated[
        Path | None, typer.Option(help="OME-TIFF to write; its record goes beside it.")
    ] = None,
) -> None:
    """Decode an image's latent, tell the error, and write the reconstruction.

    The file holds each channel's reconstruction and then each channel's error.
    """
    result, *_ = task.run(
        # One pass through the network ends before anybody could follow or interrupt it.
        lambda classifier, raw, **_listeners: why.reconstruct(classifier, raw),
        out,
    )
    _warn(task.image, result)
    typer.echo(result.sentence)


def sample(
    model: arguments.Model,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, samples along its time axis; record beside it.")
    ],
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    **parameters: Any,
) -> None:
    """Draw new images from a classifier of the network vae, or from what train-generator saved."""
    from napari_why.output.images import result_image

    arguments.check_place(
        out, overwrite=overwrite, endings=arguments.IMAGE_ENDINGS, sources=[model]
    )
    result = why.sample(_load_maker(model, device), **parameters)
    why.write(result_image(result), out, record=result.record, overwrite=overwrite)
    for note in result.notes:
        tell(f"{out}: {note}")


def _load_maker(path: Path, device: str) -> "why.Classifier | ImageGenerator":
    """Load a classifier, or a generator where that is what is in the folder."""
    from napari_why.generation.saved_models import is_generative_model

    if is_generative_model(path):
        return why.load_generator(path, device=device)
    return why.load(path, device=device)


def traverse(
    task: arguments.ImageTask,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, values along its time axis; record beside it.")
    ],
    **parameters: Any,
) -> None:
    """Write the image as it would be with other values of one number of its latent."""
    result, *_ = task.run(
        lambda classifier, raw, **_listeners: why.traverse(classifier, raw, **parameters),
        out,
    )
    _warn(task.image, result)


def interpolate(
    task: arguments.ImageTask,
    second: Annotated[Path, typer.Argument(help="The image to end at.", metavar="SECOND")],
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, steps along its time axis; record beside it.")
    ],
    **parameters: Any,
) -> None:
    """Write the decoded images on the straight line between the latents of two images."""
    last = task.read(second)
    result, *_ = task.run(
        lambda classifier, first, **_listeners: why.interpolate(
            classifier, first, last, **parameters
        ),
        out,
        second,
    )
    _warn(out, result)


def prototype(
    model: arguments.Model,
    *,
    out: Annotated[
        Path, typer.Option(help="OME-TIFF to write, steps along its time axis; record beside it.")
    ],
    target: Annotated[
        str | None,
        typer.Option(help="Class; none with --layer, whose --unit is maximised instead."),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Real images, a folder or table as for train: to compare with, and for the priors.",
            metavar="DATA",
        ),
    ] = None,
    generator: Annotated[
        Path | None,
        typer.Option(
            help="For the prior generator: what train-generator saved, or a classifier, whose network "
            "decodes; by default MODEL's own."
        ),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="Another classifier, asked whether it believes the prototype too."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Height and width where MODEL takes any.", min=16)
    ] = None,
    device: arguments.Device = "auto",
    overwrite: arguments.Overwrite = False,
    options: arguments.DatasetOptions,
    **parameters: Any,
) -> None:
    """Write the images on the way to what a class, or a single unit, answers to most.

    What it is worth is printed: a prototype that only its own network believes is none.
    """
    from napari_why.output.images import result_image

    sources = [model, references, generator, judge, options.plate_map]
    arguments.check_place(
        out, overwrite=overwrite, endings=arguments.IMAGE_ENDINGS, sources=sources
    )
    maker = None if generator is None else _load_maker(generator, device)
    other = None if judge is None else why.load(judge, device=device)
    with LongWork() as work:
        found = why.activation_maximisation(
            why.load(model, device=device),
            target,
            options=parameters,
            references=None if references is None else options.open(references, work),
            generator=maker,
            judge=other,
            size=size,
            on_event=work.on_event,
            cancelled=work.cancelled,
        )
        # Within the work, so that whoever interrupts now does not lose it.
        image = result_image(found)
        save_somewhere(
            out, lambda place: why.write(image, place, record=found.record, overwrite=overwrite)
        )
    for note in found.notes:
        typer.echo(note)
    work.end_if_interrupted(
        f"the {len(found.steps)} images of the steps that were done are in {out}"
    )


def _list_prototype_options() -> Further:
    from napari_why.generation import PrototypeOptions

    return Further({"the ascent": parameters_of(PrototypeOptions)})


def _warn(about: Path, result: Any) -> None:
    # to a script too, as predict does: what is made of an image of nothing looks like any
    for note in result.unlike:
        tell(f"{about}: {note}")


# Of the functions that are no methods of a registry, but have annotated parameters as those have.
def _list_parameters(of: str, function: str) -> Callable[[], Further]:
    def further() -> Further:
        from napari_why.generation import generate

        return Further({of: parameters_of(getattr(generate, function))})

    return further


ATTRIBUTE = Verb("attribute", attribute, list_attribution_methods)
COUNTERFACTUAL = Verb("counterfactual", counterfactual, list_counterfactual_methods)
RECONSTRUCT = Verb("reconstruct", reconstruct)
SAMPLE = Verb("sample", sample, _list_parameters("sampling", "sample"))
TRAVERSE = Verb("traverse", traverse, _list_parameters("the traversal", "traverse"))
INTERPOLATE = Verb("interpolate", interpolate, _list_parameters("the interpolation", "interpolate"))
PROTOTYPE = Verb("prototype", prototype, _list_prototype_options)
