"""Any classifier, explained by the images of another: what of the two has to fit, and who says what.

The *generator* is a classifier whose network makes images: latents, statistics and transport are its
own. The one that is *asked* gives class, boundary and verdict; it is shown exported images alone, and
prepares them itself. So it may be anything that classifies. Where nobody else makes the images, a
classifier is its own generator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.counterfactuals.remarks import (
    FORM,
    OWN_NETWORK,
    SECOND_NETWORK,
    UNVERIFIED,
    Remark,
    Weight,
    join_names,
)
from napari_why.datasets.confounding import TELLING
from napari_why.images import Grid
from napari_why.model.chance import ChanceTest, judge_pair
from napari_why.model.classifier import softmax
from napari_why.model.description import UNCHECKED
from napari_why.model.familiarity import what_nearly_tells_apart, what_tells_apart
from napari_why.model.likeness import Unlikeness
from napari_why.model.whole_field import WholeFieldClassifier, for_whole_field
from napari_why.networks.iresnet import IResNet
from napari_why.networks.network import DecodingNetwork
from napari_why.networks.tiled_iresnet import EachTile

if TYPE_CHECKING:
    from napari_why.counterfactuals.result import Counterfactual
    from napari_why.model import Classifier

# Source pixels that the centres of two cut-outs may lie apart: of an odd and an even side they do.
SAME_PLACE = 1.0
# Relative: two reductions one after the other make the same scale up to rounding.
SAME_SCALE = 1e-6


@dataclass(frozen=True)
class SecondOpinion:
    """Somebody else's class probabilities of an image, and whose they are.

    Parameters
    ----------
    ask : callable
        An image (c, y, x) in raw units to its probabilities, in the order of ``classes``.
    classes : tuple of str
    name : str
        As sentences call it.
    had_a_say : bool or None
        In how images are changed, where that does not hang on the path; None where it does.
    """

    ask: Callable[[xr.DataArray], NDArray[np.float64] | None]
    classes: tuple[str, ...]
    name: str = SECOND_NETWORK
    had_a_say: bool | None = None

    def of(self, image: xr.DataArray, classes: Sequence[str]) -> NDArray[np.float32] | None:
        """Return the probabilities in the order of ``classes``; 0 of one that it does not know.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            Raw grey levels.
        classes : sequence of str
            Whose order is wanted.

        Returns
        -------
        ndarray, float32, shape (len(classes),), or None
            None where nobody can be asked.
        """
        found = self.ask(image)
        if found is None:
            return None
        known = dict(zip(self.classes, found.tolist(), strict=True))
        return np.array([known.get(name, 0.0) for name in classes], dtype=np.float32)


@dataclass(frozen=True)
class Roles:
    """Who is asked, and whose network makes the images; both may be the same classifier.

    Parameters
    ----------
    asked, generator : Classifier
    """

    asked: "Classifier"
    generator: "Classifier"

    @classmethod
    def of(cls, classifier: "Classifier", through: "Classifier | None") -> "Roles":
        """Return the roles for a classifier; ``through`` None takes its own generator, if it has one.

        Parameters
        ----------
        classifier : Classifier
            The one that is asked.
        through : Classifier or None
            Makes the images; the folder of a classifier that was saved with a generator may stand for
            that.

        Returns
        -------
        Roles
        """
        generator = classifier.generator if through is None else through
        if through is not None and not isinstance(through.network, DecodingNetwork):
            # saved with a generator, the folder of a classifier may stand for that
            generator = through.generator or through
        if generator is None or _are_same(classifier, generator):
            return cls(classifier, classifier)
        return cls(classifier, generator)

    @property
    def apart(self) -> bool:
        """Whether another classifier makes the images."""
        return self.asked is not self.generator

    def for_field(self, image: xr.DataArray, each_tile: EachTile | None = None) -> "Roles":
        """Return both ready for a whole field.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            The whole field.
        each_tile : callable, optional
            Told how many tiles are done, and how many there are; may raise to stop.

        Returns
        -------
        Roles
            Of whole-field classifiers.

        Raises
        ------
        UnsupportedNetworkError, MismatchError
            The generator makes no whole fields, or the classifier sees a part of one alone.
        """
        generator = for_whole_field(self.generator, image, each_tile=each_tile)
        if not self.apart:
            return Roles(generator, generator)
        return Roles(judge_of_field(self.asked, image, each_tile), generator)

    def check(self, image: xr.DataArray) -> None:
        """Check that the classifier can be asked about the generator's images.

        Raises
        ------
        MismatchError
            The generator lacks a channel, or its images are not what the classifier looks at.
        """
        if not self.apart:
            return
        asked, generator = self.asked, self.generator
        missing = [name for name in asked.channels if name not in generator.channels]
        if missing:
            raise MismatchError(
                f"through: found a generator of {', '.join(generator.channels)}; expected "
                f"{', '.join(missing)} too, which the classifier looks at; train one on the "
                "classifier's channels"
            )
        made, direct = (item.preprocessing.grid(image) for item in (generator, asked))
        problem = _find_misfit(made, direct, asked)
        if problem:
            source = (image.sizes["y"], image.sizes["x"])
            raise MismatchError(
                f"through: found a generator whose images show {_describe(made, source)}, and a "
                f"classifier that looks at {_describe(direct, source)}: {problem}; expected a "
                "generator of the same size and sizing (napari_why.fit(..., generator='iresnet') "
                "trains both), or one of images at the camera's pixel size with whole_field=True"
            )

    def index_of(self, name: str, what: str) -> int:
        """Return the generator's index of a class of the classifier.

        Parameters
        ----------
        name : str
            A class of the classifier that is asked.
        what : str
            What the error calls it: ``source`` or ``target``.

        Returns
        -------
        int

        Raises
        ------
        ParameterError
            It has no such class.
        """
        if name not in self.generator.classes:
            raise ParameterError(
                f"{what}: found {name}, which the classifier knows and the generator does not; "
                f"expected one of {', '.join(self.shared) or 'no class: they share none'}; choose "
                "another class, or a generator that was trained on this one"
            )
        return self.generator.classes.index(name)

    @property
    def shared(self) -> tuple[str, ...]:
        """Classes that both know, in the order of the one that is asked."""
        return tuple(name for name in self.asked.classes if name in self.generator.classes)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the fits of both left out; a classifier that was fitted with its generator names all."""
        own = self.asked.left_out
        if not self.apart:
            return own
        further = (f"of the generator: {entry}" for entry in self.generator.left_out)
        return tuple(dict.fromkeys((*own, *further)))

    def second_opinion(self) -> SecondOpinion | None:
        """Return who else is asked: the classifier's second network, the generator's, or itself.

        The generator's own network is the last choice: its latents make the images, so that its
        agreement flatters, which is said.
        """
        asked, generator = self.asked, self.generator
        if asked.second_network is not None:
            # the generator's choices were made without it
            say = False if self.apart else None
            return SecondOpinion(asked.second_opinion, tuple(asked.classes), had_a_say=say)
        if not self.apart:
            return None
        classes = tuple(generator.classes)
        if generator.second_network is not None:
            return SecondOpinion(generator.second_opinion, classes, f"generator's {SECOND_NETWORK}")

        if generator.network is asked.network:
            return None  # the same head, on images that are prepared otherwise, is no second one

        def ask(image: xr.DataArray) -> NDArray[np.float64]:
            logits = generator.logits(generator.prepare(image))[0]
            return softmax(logits.cpu().numpy())

        return SecondOpinion(ask, classes, OWN_NETWORK, had_a_say=True)


def judge_of_field(
    asked: "Classifier", image: xr.DataArray, each_tile: EachTile | None = None
) -> "Classifier":
    """Return a classifier that is asked about whole fields that another makes.

    Parameters
    ----------
    asked : Classifier
    image : DataArray, dims (c, y, x)
        The whole field.
    each_tile : callable, optional
        Told how many tiles are done, and how many there are; may raise to stop.

    Returns
    -------
    Classifier
        ``asked`` itself where it looks at all of the field as it is.

    Raises
    ------
    MismatchError
        It looks at a part of the field alone, and cannot look at all of it.
    """
    seen, whole = asked.preprocessing.grid(image), (image.sizes["y"], image.sizes["x"])
    if seen.step != (1.0, 1.0) or seen.shape == whole:
        return asked
    if not isinstance(asked.network, IResNet):
        raise MismatchError(
            f"whole field: found that {asked.network.name} looks at the central {_size(seen)} pixels "
            f"of {whole[0]} x {whole[1]}; expected a classifier of the whole image (sizing='resize'), or "
            "an iresnet; leave whole_field out"
        )
    return for_whole_field(asked, image, each_tile=each_tile)


def _are_same(first: "Classifier", second: "Classifier") -> bool:
    if first is second or first.network is second.network:
        return first is second or first.preprocessing == second.preprocessing
    # the same saved one, loaded twice; a fingerprint takes its time
    alike = first.network.name == second.network.name
    return alike and first.fingerprint == second.fingerprint


def _find_misfit(made: Grid, direct: Grid, asked: "Classifier") -> str:
    """Say why a classifier cannot judge images on the generator's grid; empty where it can.

    Prepared by the classifier, such an image has to show what the source shows it: the same part, at
    the same scale, and as sharp.
    """
    # holds no memory: only its sizes are looked at
    there = xr.DataArray(np.broadcast_to(np.float32(0), made.shape), dims=("y", "x"))
    try:
        then = asked.preprocessing.grid(there)
    except MismatchError:
        return "they are too small for it"
    step = [first * second for first, second in zip(made.step, then.step, strict=True)]
    offset = [
        start + own * further
        for start, own, further in zip(made.offset, made.step, then.offset, strict=True)
    ]
    if any(abs(a - b) > SAME_SCALE * b for a, b in zip(step, direct.step, strict=True)):
        return "what it sees would have another scale"
    if then.shape != direct.shape or any(
        abs(a - b) > SAME_PLACE for a, b in zip(offset, direct.offset, strict=True)
    ):
        return "it would see another part of the image"
    if any(
        own > wanted * (1 + SAME_SCALE) for own, wanted in zip(made.step, direct.step, strict=True)
    ):
        return "enlarged again they would be blurred, as no image is that it was trained on"
    return ""


def _size(grid: Grid) -> str:
    return f"{grid.shape[0]} x {grid.shape[1]}"


def _describe(grid: Grid, source: tuple[int, int]) -> str:
    if grid.step != (1.0, 1.0):
        return f"the whole of it, reduced to {_size(grid)} pixels"
    whole = grid.shape == source
    return f"{'all' if whole else 'the centre'} of it, {_size(grid)} pixels"


@dataclass(frozen=True)
class GeneratorFacts:
    """What is to be known of the classifier whose network made the images of another's.

    Parameters
    ----------
    network, fingerprint, asked : str
        Its network and fingerprint; the network of the classifier that was asked.
    on_grid : str
        What the classifier predicts for the unchanged image on the generator's grid.
    unlike : tuple of Unlikeness
        In what the source is unlike the generator's training images.
    chance : ChanceTest
        Whether held-out images show that the generator's own network tells the classes apart.
    confounded : tuple of str
        What source class and target never shared, or unevenly, in the generator's training images.
    locked_seen : tuple of str
        Channels that it locks and that the classifier looks at.
    not_looked_at : tuple of str
        Channels that it may change and that the classifier does not look at.
    unverified : bool
        An earlier version saved it, so that its statistics stand under no checksum.
    """

    network: str
    fingerprint: str
    asked: str
    on_grid: str
    unlike: tuple[Unlikeness, ...]
    chance: ChanceTest
    confounded: tuple[str, ...] = ()
    locked_seen: tuple[str, ...] = ()
    not_looked_at: tuple[str, ...] = ()
    unverified: bool = False

    @classmethod
    def of(
        cls, roles: Roles, image: xr.DataArray, source: str, target: str, on_grid: str
    ) -> "GeneratorFacts":
        """Look at the generator.

        Parameters
        ----------
        roles : Roles
        image : DataArray, dims (c, y, x)
            The source.
        source, target : str
            Names of classes.
        on_grid : str
            See the class.

        Returns
        -------
        GeneratorFacts
        """
        asked, generator = roles.asked, roles.generator
        near = what_nearly_tells_apart(generator.card, source, target) or ()
        apart = what_tells_apart(generator.card, source, target) or ()
        chance = judge_pair(generator.metrics, generator.classes, source, target)
        reached = min(TELLING, TELLING if chance.accuracy is None else chance.accuracy)
        locked = generator.locked_channels
        free = [name for name in generator.channels if name not in locked]
        return cls(
            generator.network.name,
            generator.fingerprint,
            asked.network.name,
            on_grid,
            # a whole field always has another size than the crops that were trained on
            tuple(
                found
                for found in generator.unlike(image)
                if found.kind != "size" or not isinstance(generator, WholeFieldClassifier)
            ),
            chance,
            (*apart, *(things for things, guess in near if guess >= reached)),
            tuple(name for name in locked if name in asked.channels),
            tuple(name for name in free if name not in asked.channels),
            UNCHECKED in generator.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the record."""
        return {
            "network": self.network,
            "fingerprint": self.fingerprint,
            "on_grid": self.on_grid,
            "unlike": [found.sentence for found in self.unlike],
            "told_apart": self.chance.to_dict(),
            "confounded": list(self.confounded),
        }

    def remarks(self, result: "Counterfactual") -> Iterator[Remark]:
        """Yield what the user should know."""
        yield Remark(
            f"the images are made by the generator ({self.network}), whose training images class "
            "statistics, transport and the distance from the class are of; probabilities, boundary "
            f"and validity are those of the classifier that was asked ({self.asked})"
        )
        if self.on_grid != result.source_class:
            short = f"on the generator's pixels the unchanged image is predicted as {self.on_grid}"
            sentence = f"{short}, not {result.source_class}: the change is not all that moves it"
            weight: Weight = "void" if self.on_grid == result.target else "doubt"
            yield Remark(sentence, short, weight, "predicted otherwise on the generator's pixels")
        yield from self._remarks_of_training(result)
        if self.locked_seen and not result.valid and result.complete:
            verb = "is" if len(self.locked_seen) == 1 else "are"
            short = f"{join_names(self.locked_seen)} {verb} locked by the generator"
            yield Remark(
                f"{short}, and the classifier may look there: what it needs for {result.target} may be "
                "what could not change; train a generator with lock='none'",
                f"{short}, where the classifier may look",
                "doubt",
                "locked channels that the classifier may look at",
            )
        if self.not_looked_at:
            yield Remark(
                f"the classifier does not look at {join_names(self.not_looked_at)}: what changes there "
                "is the generator's, and no reason of the classifier"
            )

    def _remarks_of_training(self, result: "Counterfactual") -> Iterator[Remark]:
        unlike = "unlike the generator's training images"
        content = [found.sentence for found in self.unlike if found.kind not in ("unknown", *FORM)]
        told = {found.sentence for found in result.circumstances.unlike or ()}
        if content:
            text = f"{unlike}: {'; '.join(content)}"
            yield Remark(f"the image is {text}", f"{unlike} ({content[0]})", "doubt", unlike)
        for found in self.unlike:
            if found.kind in FORM and found.sentence not in told:
                text = f"for the generator: {found.sentence}"
                yield Remark(text, text, "doubt", unlike)
            elif found.kind == "unknown":
                text = f"not known whether the image is {unlike.replace('unlike', 'like')}"
                yield Remark(text, text, "unknown", unlike)
        if self.unverified:
            text = "the generator stands under no checksum: saved by an earlier version"
            yield Remark(text, text, "unknown", UNVERIFIED)
        if self.chance.state != "told apart":
            yield Remark(f"of the generator's own network: {self.chance.sentence}")
        names = f"{result.source_class} and {result.target}"
        known = result.circumstances
        of_asked = {*(known.confounded or ()), *(things for things, _ in known.uneven or ())}
        for things in self.confounded:
            if things not in of_asked:
                text = f"{names} differed by {things} in the generator's training images"
                yield Remark(
                    f"{text}: what changes may be a difference between {things}",
                    text,
                    "doubt",
                    "something else tells the generator's classes apart",
                )
