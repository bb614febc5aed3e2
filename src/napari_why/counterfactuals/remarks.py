"""What is to be said of a counterfactual: one list, of which notes and verdict are both made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from napari_why.core.events import describe_partial
from napari_why.datasets.confounding import TELLING
from napari_why.model.chance import ChanceTest
from napari_why.model.likeness import Unlikeness
from napari_why.model.quality import EMPTY

if TYPE_CHECKING:
    from napari_why.counterfactuals.result import Counterfactual
    from napari_why.counterfactuals.through import GeneratorFacts

# From here on an image is further from its class than what training images usually are.
FAR = 0.95
# In units of the difference between the classes, of methods that know no complete change: published
# formulas go a little past it. Where the complete change is known, all beyond it was asked for.
BEYOND = 1.5
# Fewer values than this outside the range of the file's dtype are no news: real fields have as many
# saturated or black pixels before anything is changed.
NOTEWORTHY_SHARE = 0.01
# The probability that is wanted by default. Nine to one: well past undecided, and within reach of
# most classifiers.
USUALLY_WANTED = 0.9
# Kinds of unlikeness that are about the form of an image and not about what is in it.
FORM = ("pixel type", "size", "pixel size")
# A tenth: as much of an average change may be of either sign where the versions barely agree.
MUCH_UNCERTAIN = 0.1
# In the verdict's line; a note names them all.
MOST_UNLIKE = 2

# Rounding alone moves a probability by less.
PROBABILITY_TOLERANCE = 0.01
# Beyond these, rounding to whole percents would say all or nothing.
NEARLY_ALL, NEARLY_NONE = 0.995, 0.005

# Kinds of reservations that are said in more than one way, or looked for by the verdict.
UNLIKE, FORM_KIND = "unlike the training images", "of another type or size"
NOT_TOLD_APART = "not shown that the classes can be told apart"
CONFOUNDED = "something else tells the classes apart"
UNVERIFIED = "metrics under no checksum"
GOAL_UNLIKE = "goal unlike the training images"
SECOND, BARELY = "second network does not back it", "barely flips"
# Whose second opinion it is, as sentences call them; the last where another's network made the images.
SECOND_NETWORK, OWN_NETWORK = "second network", "generator's own network"
# Why it does not flip, where that was measured; what is said of these holds the probability.
UNSEEN = "the classifier does not see the complete change"
UNCERTAIN = "much of the change is of uncertain sign"
ONE_OF_MANY = "one answer of many, where only some cells respond"
UNDONE = "rounding, clipping or channels put back undid the flip"

Weight = Literal["void", "doubt", "unknown", "told"]
# The gravest first; what is known to be wrong before what is not known.
WEIGHTS: tuple[Weight, ...] = ("void", "doubt", "unknown", "told")


@dataclass(frozen=True)
class Remark:
    """One thing to be said of a counterfactual.

    Parameters
    ----------
    sentence : str
        As a note; empty where the verdict alone says it.
    short : str
        As a reservation in the verdict's line; empty for what is no reservation.
    weight : {"void", "doubt", "unknown", "told"}
        What it weighs: the series says nothing about the classes; it is to be doubted;
        something that it rests on is not known; it is only told.
    kind : str
        Of a reservation, without the numbers of this image: by it those of many images are counted.
    """

    sentence: str
    short: str = ""
    weight: Weight = "told"
    kind: str = ""


@dataclass(frozen=True)
class DecoderError:
    """What lies between an image and what the decoder makes of its latent.

    Parameters
    ----------
    by_channel : dict of str to float
        Mean |decode(encode(x)) - x| in grey levels of the source, by channel.
    reconstructed_class : str
        What the network predicts for decode(encode(x)).
    kept : bool
        What the decoder leaves out was added back to every image on the path.
    """

    by_channel: dict[str, float]
    reconstructed_class: str
    kept: bool

    def remarks(self, source_class: str) -> Iterator[Remark]:
        """Yield what the user should know; ``source_class`` is that of the image itself."""
        missed = ", ".join(f"{name} {value:.3g}" for name, value in self.by_channel.items())
        error = f"the decoder misses the unchanged image by (mean grey levels) {missed}"
        if self.kept:
            yield Remark(f"{error}; what it leaves out was added back to every image")
            return
        yield Remark(f"{error}; changes are taken against the decoder's image, not the source")
        if self.reconstructed_class != source_class:
            short = (
                "the decoder's image of the unchanged source is predicted as "
                f"{self.reconstructed_class} already"
            )
            sentence = f"{short}, not {source_class}: a flip on this path says little"
            yield Remark(sentence, short, "doubt", "decoded source of another class")


@dataclass(frozen=True)
class Circumstances:
    """What is known of a counterfactual beside its images.

    Parameters
    ----------
    unlike : tuple of Unlikeness or None
        In what the source is unlike the training images; see
        :meth:`napari_why.model.Classifier.unlike`. None where that is not known.
    chance : ChanceTest or None
        Whether held-out images show that source class and target are told apart; None where not known.
    confounded : tuple of str or None
        What source class and target never shared in the training images (plates, ...); see
        :func:`napari_why.model.familiarity.what_tells_apart`. None where that is not known.
    uneven : tuple of (str, float) or None
        What they shared unevenly, and the share of wells that is guessed right from it; see
        :func:`napari_why.model.familiarity.what_nearly_tells_apart`. None where that is not known.
    predicted_target : bool
        The classifier predicts the unchanged image as the target already.
    second_of_source : str or None
        The second network's class for the unchanged image.
    locked, put_back : tuple of str
        Channels that the network cannot change; that held-out images need not have changed.
    wanted : float
        The probability that was asked for.
    caution : str
        What goes with every result of the method.
    path : tuple of str
        What the method says of this path.
    alphas : tuple of str
        What is to be said of boundary and wanted probability.
    decoder : DecoderError or None
        What an approximate decoder makes of the unchanged image; None of an exact inverse.
    statistics_images : int or None
        Training images that class statistics saw before they were cancelled; None where they are whole.
    dtype : str
        Of the source.
    second_had_a_say : bool or None
        The second network was asked when it was chosen how to change images of this class, as in version
        0.1.0, so that its agreement flatters; None where that is not known.
    left_out : tuple of str
        What the fit of the classifier left out, with the reasons.
    steps : int or None
        How many images the series was to have; None where not known.
    unverified : bool
        An earlier version saved the classifier, so that its metrics stand under no checksum.
    goal_unlike : tuple of Unlikeness
        In what the image to go towards is unlike the training images; empty without one.
    second_name : str
        Whose second opinion it is, as sentences call it.
    through : GeneratorFacts or None
        What is known of the generator, where another classifier's network made the images.
    full_alpha : float or None
        Where the change is complete, as large as the classes differ; None where the method does not know.
    head_flips : bool or None
        Where the exported image at alpha1 is not predicted as the target: whether the network's head
        calls the latent there the target, before rounding, clipping and what is put back. None where
        the image is, or nobody asked.
    head_probability : float or None
        p(target) of that latent.
    draws : int or None
        How many versions of the change were asked for, to say how sure it is.
    partly : (float, float) or None
        Share (0 to 1) of the cells that respond in images of the target, and its standard error, where only
        some do and it was not learnt which; None where that is not shown.
    """

    unlike: tuple[Unlikeness, ...] | None = None
    chance: ChanceTest | None = None
    confounded: tuple[str, ...] | None = None
    predicted_target: bool = False
    second_of_source: str | None = None
    locked: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()
    wanted: float = USUALLY_WANTED
    caution: str = ""
    path: tuple[str, ...] = ()
    alphas: tuple[str, ...] = ()
    decoder: "DecoderError | None" = None
    statistics_images: int | None = None
    dtype: str = ""
    second_had_a_say: bool | None = None
    left_out: tuple[str, ...] = ()
    steps: int | None = None
    unverified: bool = False
    goal_unlike: tuple[Unlikeness, ...] = ()
    uneven: tuple[tuple[str, float], ...] | None = ()
    second_name: str = SECOND_NETWORK
    through: "GeneratorFacts | None" = None
    full_alpha: float | None = None
    head_flips: bool | None = None
    head_probability: float | None = None
    draws: int | None = None
    partly: tuple[float, float] | None = None

    @property
    def held(self) -> tuple[str, ...]:
        """Channels in which nothing can change."""
        return tuple(dict.fromkeys((*self.locked, *self.put_back)))


def collect_remarks(result: "Counterfactual") -> tuple[Remark, ...]:
    """Return everything there is to say of a counterfactual, the gravest first.

    Parameters
    ----------
    result : Counterfactual
        With its circumstances; of those that are not known it says so.
    """
    known = result.circumstances
    remarks = [
        *_unflipped(result),
        *_source(result),
        *(known.through.remarks(result) if known.through else ()),
        *_held_out(result),
        *_method(result),
        *_second(result),
        *_reached(result),
        *_distance(result),
        *_spread(result),
        *_one_of_many(result),
        *_channels(result),
    ]
    return tuple(sorted(remarks, key=lambda remark: WEIGHTS.index(remark.weight)))


def convincing_probability(result: "Counterfactual") -> float | None:
    """Return p(target) of the convincing image; None where there is no such image."""
    found = result.special_probabilities.get("alpha1")
    return None if found is None else float(found[result.classes.index(result.target)])


def second_class(result: "Counterfactual") -> str | None:
    """Return what the second network predicts for the convincing image; None where nobody asked."""
    found = (result.second_probabilities or {}).get("alpha1")
    return None if found is None else result.classes[int(found.argmax())]


def _unflipped(result: "Counterfactual") -> Iterator[Remark]:
    """Yield why the image at alpha1 is not predicted as the target."""
    known, target, p = result.circumstances, result.target, convincing_probability(result)
    alpha1 = result.special_alphas.get("alpha1")
    if result.valid or p is None or alpha1 is None:
        return
    change = f"the change at alpha1, {alpha1:.3g},"
    if known.full_alpha is not None:
        part = alpha1 / known.full_alpha
        change = "the complete change" if part == 1 else f"{part:.3g} times the complete change"
    left = f"p({target}) at {write_probability(p)}"
    if known.head_flips:
        of_head = (
            "" if known.head_probability is None else write_probability(known.head_probability)
        )
        text = (
            f"rounding, clipping or channels put back undid the flip: with {change} the head has "
            f"p({target}) at {of_head}, the exported image {left}"
        )
        yield Remark(text, text, "doubt", UNDONE)
    elif (
        known.head_flips is False
        and not known.predicted_target
        and known.full_alpha is not None
        and alpha1 >= known.full_alpha
    ):
        text = f"{change} towards {target} leaves {left}: this classifier does not see it"
        yield Remark(text, text, "doubt", UNSEEN)
    else:
        yield Remark(
            f"the exported image at alpha1 is not predicted as {target}: {change} has {left}"
        )


def _source(result: "Counterfactual") -> Iterator[Remark]:
    known = result.circumstances
    if known.unlike is None:
        text = "not known whether the image is like the training images"
        yield Remark("", text, "unknown", UNLIKE)
    content = []
    for found in known.unlike or ():
        if found.kind == "unknown":
            yield Remark(found.sentence, found.sentence, "unknown", UNLIKE)
        elif found.kind == EMPTY:
            # of its own: there is nothing in the image that could be unlike
            yield Remark(
                f"{found.sentence}; the series says nothing about the classes",
                found.sentence.split(";")[0],
                "void",
                EMPTY,
            )
        elif found.kind in FORM:
            yield Remark(found.sentence, found.sentence, "doubt", FORM_KIND)
        else:
            content.append(found.sentence)
    if content:
        few = ", ".join(content[:MOST_UNLIKE])
        more = f" and {len(content) - MOST_UNLIKE} more" if len(content) > MOST_UNLIKE else ""
        yield Remark(
            "the image is unlike the training images, so that the series says nothing about the "
            f"classes: {'; '.join(content)}",
            f"unlike the training images ({few}{more})",
            "void",
            UNLIKE,
        )
    for found in known.goal_unlike:
        weight: Weight = "unknown" if found.kind == "unknown" else "doubt"
        text = f"the image to go towards: {found.sentence}"
        yield Remark(text, text, weight, GOAL_UNLIKE)
    if known.predicted_target:
        yield Remark(
            f"the classifier predicts this {result.source_class} image as {result.target} before "
            "anything is changed",
            f"predicted as {result.target} before anything is changed",
            "void",
            "predicted as the target before anything is changed",
        )


def _held_out(result: "Counterfactual") -> Iterator[Remark]:
    chance = result.circumstances.chance
    names = f"{result.source_class} and {result.target}"
    if chance is None:
        text = f"not known whether {names} can be told apart"
        yield Remark("", text, "unknown", NOT_TOLD_APART)
    elif chance.says_nothing:
        sentence = f"{chance.sentence}; this counterfactual says nothing about the classes"
        kind = "classes at chance" if chance.state == "chance" else "classes below chance"
        yield Remark(sentence, chance.short, "void", kind)
    elif chance.state != "told apart":
        weight: Weight = "unknown" if chance.state == "not known" else "doubt"
        yield Remark(chance.sentence, chance.short, weight, NOT_TOLD_APART)
    if result.circumstances.unverified:
        text = "metrics stand under no checksum: saved by an earlier version"
        sentence = (
            f"the classifier's {text}, so that it is not known whether they are what was measured"
        )
        yield Remark(sentence, text, "unknown", UNVERIFIED)
    if result.circumstances.confounded is None or result.circumstances.uneven is None:
        text = f"not known whether {names} differed by more than their class when trained"
        yield Remark("", text, "unknown", CONFOUNDED)
    for things in result.circumstances.confounded or ():
        yield Remark(
            f"{names} never shared {things} in the training images: what changes may be a "
            f"difference between {things}, and neither held-out images of these nor the second "
            "network can tell",
            f"{names} have {things} of their own",
            "doubt",
            CONFOUNDED,
        )
    # What tells as many wells as the classifier does images may be all that it has learnt.
    reached = chance.accuracy if chance is not None and chance.accuracy is not None else TELLING
    for things, guess in result.circumstances.uneven or ():
        if guess >= min(TELLING, reached):
            short = f"{things} alone tell {names} in {percent(guess)}"
            yield Remark(
                f"{short} of the wells of the training images (mean over both): what changes may be a "
                f"difference between {things}, and neither held-out images of these nor the second "
                "network can tell",
                short,
                "doubt",
                CONFOUNDED,
            )


def _method(result: "Counterfactual") -> Iterator[Remark]:
    known = result.circumstances
    if known.caution:
        # up to its first stop: a line has no room for the whole
        short = known.caution.partition(":")[0].rstrip(".")
        yield Remark(known.caution, short, "doubt", "caution of the method")
    if known.decoder is not None:
        yield from known.decoder.remarks(result.source_class)
    if known.statistics_images is not None:
        count = known.statistics_images
        yield Remark(
            f"the class statistics were cancelled after {count} images",
            f"class statistics of {count} images only",
            "doubt",
            "class statistics of some images only",
        )
    if known.left_out:
        # only told: what is not known for it is a reservation of its own
        yield Remark(f"the fit of this classifier left out {'; '.join(known.left_out)}")
    for sentence in known.path:
        yield Remark(sentence)


def _second(result: "Counterfactual") -> Iterator[Remark]:
    of_source, found = result.circumstances.second_of_source, second_class(result)
    name = result.circumstances.second_name
    if of_source == result.target:
        yield Remark(
            f"the {name} calls the image {result.target} before anything is changed, "
            "so that its agreement says nothing",
            f"the {name} calls the source {result.target} already",
            "doubt",
            SECOND,
        )
    if found is None and (result.second_probabilities is None or "alpha1" in result.special_images):
        yield Remark("", "no second network", "unknown", SECOND)
    elif found is not None and found != result.target:
        yield Remark("", f"{name} disagrees (predicts {found})", "doubt", SECOND)
    elif found is not None and of_source != result.target:
        yield from _independence(name, result.circumstances.second_had_a_say)


def _independence(name: str, had_a_say: bool | None) -> Iterator[Remark]:
    """Yield what speaks against counting the second network's agreement."""
    if had_a_say is None:
        text = f"{name} agrees (not known whether it had a say in the change)"
        yield Remark("", text, "unknown", SECOND)
    elif had_a_say and name == OWN_NETWORK:
        short = f"{name} agrees, but its latents made the images"
        yield Remark(
            f"the {short}, so that its agreement flatters; a generator that was trained with a second "
            "network gives an independent opinion",
            short,
            "doubt",
            SECOND,
        )
    elif had_a_say:
        yield Remark(
            f"the {name} agrees, but it had a say in how images of this class are changed (the "
            "classifier was made by an earlier version), so that its agreement flatters; train "
            "again for an independent one",
            f"{name} agrees, but had a say in the change",
            "doubt",
            SECOND,
        )


def _reached(result: "Counterfactual") -> Iterator[Remark]:
    known, reached = result.circumstances, convincing_probability(result)
    if not result.complete:
        said = describe_partial(len(result.alphas), known.steps, "steps of the series")
        if len(result.alphas) == known.steps:
            said += ", before all images at special alphas were made"
        # where there is no convincing image, the verdict's line says so in any case
        short = "the series is incomplete" if result.valid else ""
        yield Remark(said, short, "doubt", "incomplete series")
    if result.valid and reached is not None and reached < known.wanted - PROBABILITY_TOLERANCE:
        yield Remark(
            f"p({result.target}) is {reached:.2f} at alpha1; {known.wanted:g} was wanted",
            f"barely flips (p {reached:.2f}; {known.wanted:g} wanted)",
            "doubt",
            BARELY,
        )
    alpha1 = result.special_alphas.get("alpha1")
    if alpha1 is not None and alpha1 > (known.full_alpha or BEYOND):
        times = f"{alpha1 / (known.full_alpha or 1.0):.3g} times the difference between the classes"
        yield Remark(
            f"alpha1 is {times}: the image is changed by more than the classes differ",
            times,
            "doubt",
            "beyond the difference between the classes",
        )
    for sentence in known.alphas:
        yield Remark(sentence)


def _distance(result: "Counterfactual") -> Iterator[Remark]:
    if result.distance is not None and result.distance >= FAR:
        share = percent(result.distance)
        whom = "every training image" if result.distance == 1 else f"{share} of the training images"
        yield Remark(
            f"the image lies further from the class {result.target} than {share} of its training "
            "images",
            f"further from the data than {whom} of {result.target}",
            "doubt",
            "far from the training images of the target",
        )
    if result.out_of_range >= NOTEWORTHY_SHARE:
        dtype = result.circumstances.dtype or "the source"
        where = f"outside the range of {dtype}"
        yield Remark(
            f"{result.out_of_range:.0%} of the values at alpha1 lie {where}",
            f"{percent(result.out_of_range)} of the values {where}",
            "doubt",
            "values out of range",
        )


def _spread(result: "Counterfactual") -> Iterator[Remark]:
    """Yield how much of the change is of uncertain sign, or that this is not known."""
    if result.spread is None:
        if (
            result.samples is None
            and result.circumstances.draws
            and "alpha1" in result.special_images
        ):
            yield Remark(
                "how sure the change is was not measured: this kind of change has no versions to "
                "compare"
            )
        return
    uncertain = 1 - result.spread.sure_share
    if not uncertain:
        return
    text = f"{percent(uncertain)} of the change is of uncertain sign"
    sentence = (
        f"{text}: there, fewer than 90 % of {result.spread.draws} equally plausible versions of the "
        "change agree whether it brightens or dims"
    )
    if uncertain >= MUCH_UNCERTAIN:
        yield Remark(sentence, text, "doubt", UNCERTAIN)
    else:
        yield Remark(sentence)


def _one_of_many(result: "Counterfactual") -> Iterator[Remark]:
    """Yield that others would be as good an answer, where only some cells respond."""
    partly, samples = result.circumstances.partly, result.samples
    if partly is None:
        return
    share, error = partly
    some = f"about {percent(share)} (± {percent(error)}) of the cells"
    if samples is None:
        yield Remark(
            f"{some} of {result.target} images look as if they had responded, and which of them would respond "
            "was not learnt: this is one answer of many; change=responding_cells draws others",
            f"one answer of many: {some} respond, not known which",
            "doubt",
            ONE_OF_MANY,
        )
        return
    reached = samples.reached
    p = f"p({result.target}) {reached.mean():.2f} in the mean, {reached.min():.2f} to {reached.max():.2f}"
    yield Remark(
        f"this is the first of {len(samples)} draws: {some} respond in each, the share that was estimated, and "
        f"which of them would respond was not learnt, so that it was drawn. Of all draws, {p}; {samples.flips} of "
        f"{len(samples)} are predicted as {result.target}",
        f"one of {len(samples)} draws ({p})",
        "doubt",
        ONE_OF_MANY,
    )


def _channels(result: "Counterfactual") -> Iterator[Remark]:
    known = result.circumstances
    free = [name for name in result.channels if name not in known.held]
    if known.locked:
        verb, pronoun = ("is", "it stays") if len(known.locked) == 1 else ("are", "they stay")
        yield Remark(
            f"{join_names(known.locked)} {verb} locked: {pronoun} that of the source whatever the "
            f"method, so that all change is in {join_names(free)} by construction"
            if free
            else f"{join_names(known.locked)} {verb} locked, so that nothing can change"
        )
    back = [name for name in known.put_back if name not in known.locked]
    if back:
        verb = "was" if len(back) == 1 else "were"
        yield Remark(
            f"{join_names(back)} {verb} put back to the source: held-out images kept their class "
            "without that change"
        )


def join_names(names: Sequence[str]) -> str:
    """Return names as they stand in a sentence.

    Examples
    --------
    >>> join_names(["DAPI"]), join_names(["DAPI", "TMRM", "Actin"])
    ('DAPI', 'DAPI, TMRM and Actin')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def percent(share: float) -> str:
    """Write a share; never 100 % or 0 % for what is not all or nothing.

    Examples
    --------
    >>> percent(0.918), percent(0.9999), percent(1.0), percent(0.001)
    ('92 %', 'more than 99 %', '100 %', 'less than 1 %')
    """
    if NEARLY_ALL <= share < 1:
        return "more than 99 %"
    if 0 < share < NEARLY_NONE:
        return "less than 1 %"
    return f"{share:.0%}".replace("%", " %")


def write_probability(p: float) -> str:
    """Write a probability with two digits; never 0 or 1.

    Examples
    --------
    >>> write_probability(0.973), write_probability(0.9999), write_probability(1e-9)
    ('0.97', 'more than 0.99', 'less than 0.01')
    """
    if p >= NEARLY_ALL:
        return "more than 0.99"
    return "less than 0.01" if p < NEARLY_NONE else f"{p:.2f}"
