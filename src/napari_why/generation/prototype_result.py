"""A prototype: the steps that led to it, who believes it, and how far it is from real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.errors import MismatchError
from napari_why.core.pictures import Axis, Picture
from napari_why.core.record import Record
from napari_why.images import NO_LENGTH, Grid, PixelSize
from napari_why.model import Classifier
from napari_why.model.appearance import Appearance
from napari_why.model.classifier import pooled_latents, second_probabilities
from napari_why.model.image_facts import ImageFacts
from napari_why.networks import Network

# Where two classes are even, and of more the likeliest is clearly so.
BELIEVED = 0.5
# Times the usual: of real images one in twenty lies farther from its nearest neighbour than this quantile.
USUAL_QUANTILE = 0.95
# A nearest neighbour, and others to learn what is usual from.
FEWEST_REFERENCES = 3
# Of the pixels: rounding and noise may leave a few below 0.
DARK_SHARE = 0.01
# The sentence that every reader of a prototype needs.
NONE = "a prototype that only its own network believes is none"


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a network that had no part in a prototype says of the first and last image.

    Parameters
    ----------
    who : str
    before, after : float
        Probability of the class, 0 to 1.
    """

    who: str
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class Judgement:
    """What speaks for and against a prototype.

    Parameters
    ----------
    subject : str
        What it is a prototype of.
    own : Opinion or None
        Of the network that it was made with; None of a single unit.
    others : tuple of Opinion
        Of other networks.
    likeness : float or None
        Distance from the training images in appearance, 1 at the limit of what passes for like them; None
        where the classifier does not know.
    nearest : float or None
        Distance of its pooled latent from that of the nearest reference image, 1 where one in twenty of
        these is as far from its own nearest; None without references.
    unlike : tuple of str
        In what it is unlike the training images.
    unit : (float, float) or None
        Of a single unit its activation, and the largest on reference images (NaN without).
    below_zero : float
        Share of its pixels below 0 grey levels, which no camera gives.
    """

    subject: str
    own: Opinion | None
    others: tuple[Opinion, ...] = ()
    likeness: float | None = None
    nearest: float | None = None
    unlike: tuple[str, ...] = ()
    unit: tuple[float, float] | None = None
    below_zero: float = 0.0

    @property
    def believed(self) -> bool | None:
        """Whether its own and every other network believe it; None where no other was asked."""
        if self.own is None or not self.others:
            return None
        return all(item.after >= BELIEVED for item in (self.own, *self.others))

    @property
    def reservations(self) -> tuple[str, ...]:
        """What speaks against it, weightiest first."""
        return (*self._of_networks(), *self._of_real_images())

    def _of_networks(self) -> list[str]:
        found = []
        if self.own is not None and self.own.after < BELIEVED:
            found.append(
                f"not even its own network takes it for {self.subject} (p {self.own.after:.2f})"
            )
        for item in self.others:
            if item.after < BELIEVED:
                found.append(
                    f"{item.who} does not take it for {self.subject} (p {item.after:.2f}): {NONE}"
                )
            elif item.before >= BELIEVED:
                found.append(
                    f"{item.who} called the image it began with so already (p {item.before:.2f}), so that "
                    "its agreement says nothing"
                )
        if self.own is not None and not self.others:
            found.append(f"no second network was asked: {NONE}")
        if self.own is None:
            found.append(
                "no other network has this unit, so that none can confirm what it stands for"
            )
        return found

    def _of_real_images(self) -> list[str]:
        found = []
        if self.likeness is not None and self.likeness > 1:
            found.append(
                f"it looks unlike the training images ({self.likeness:.1f} times the limit"
                f"{''.join(f'; {words}' for words in self.unlike)})"
            )
        if self.nearest is not None and self.nearest > 1:
            found.append(
                f"it lies {self.nearest:.2f} times as far from the nearest real image as 95 % of these do at most "
                "from theirs"
            )
        if self.below_zero >= DARK_SHARE:
            found.append(f"{self.below_zero:.0%} of its pixels are below 0, which no camera gives")
        if self.likeness is None and self.nearest is None:
            found.append(
                "not known how far it is from real images: no references, and no card that tells"
            )
        return found

    @property
    def line(self) -> str:
        """The verdict in words."""
        said = [] if self.own is None else [f"its own network p {self.own.after:.2f}"]
        said += [f"{item.who} p {item.after:.2f}" for item in self.others]
        if self.unit is not None:
            value, largest = self.unit
            beside = "" if np.isnan(largest) else f", at most {largest:.3g} on real images"
            said.append(f"activation {value:.3g}{beside}")
        if self.believed is False or (self.own is not None and self.own.after < BELIEVED):
            worth = f"no prototype of {self.subject}"
        elif self.reservations:
            worth = f"doubtful prototype of {self.subject}"
        else:
            worth = f"prototype of {self.subject}, believed by others and like real images"
        return "; ".join([f"{worth} ({', '.join(said)})", *self.reservations])


@dataclass(frozen=True, eq=False)
class Prototype:
    """The steps of an activation maximisation.

    Parameters
    ----------
    images : ndarray, float32, shape (T, C, H, W)
        Raw intensity units, neither rounded nor clipped; the first is where it began.
    steps : ndarray, float64, shape (T,)
        Steps of ascent before each image, evenly spaced.
    values : ndarray, float64, shape (T,)
        What is maximised: score less penalty; it never falls.
    scores, penalties : ndarray, float64, shape (T,)
        The two parts; the penalty with its strength.
    probabilities : ndarray, float32, shape (T, classes)
        What the network predicts for each image.
    classes, channels : tuple of str
    judgement : Judgement
    grid : Grid
    record : Record
    complete : bool
        False when the work was cancelled; the steps so far are there.
    pixel_size : PixelSize
        Of the pixels that the grid counts in, where it is known.
    """

    images: NDArray[np.float32]
    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    penalties: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    judgement: Judgement
    grid: Grid
    record: Record
    complete: bool = True
    pixel_size: PixelSize = NO_LENGTH

    @property
    def image(self) -> NDArray[np.float32]:
        """The last image, shape (C, H, W)."""
        last: NDArray[np.float32] = self.images[-1]
        return last

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences to read beside the images: first what it is worth."""
        stopped = () if self.complete else ("incomplete: the work was stopped before it was done",)
        of_target = map(str, self.record.details.get("notes", ()))
        return (*stopped, self.judgement.line, *of_target)

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return {
            "generated": True,
            "target": self.judgement.subject,
            "verdict": self.judgement.line,
            "reservations": list(self.judgement.reservations),
            "complete": self.complete,
            "notes": list(self.notes),
        }

    def pictures(self) -> dict[str, Picture]:
        """Return the series of steps."""
        title = f"prototype of {self.judgement.subject}" + ("" if self.complete else ", incomplete")
        width = float(self.steps[1] - self.steps[0]) if len(self.steps) > 1 else 1.0
        return {
            "images": Picture(
                compute=lambda: self.images,
                channels=self.channels,
                titles=tuple(f"{channel}: {title}" for channel in self.channels),
                role="prototype",
                kind="intensity",
                unit="grey levels",
                axis=Axis("step", self.steps, width),
            )
        }


def ask_others(
    classifier: Classifier,
    judge: Classifier | None,
    ends: Tensor,
    raw: NDArray[np.float32],
    target: str,
    *,
    made_by_generator: bool,
) -> tuple[Opinion, ...]:
    """Ask everybody but the classifier's own network about the first and last image.

    Its second network; where it has none the second network of its generator, or the generator's own
    network, unless that made the images; and a judge.

    Parameters
    ----------
    classifier : Classifier
        That the prototype is of.
    judge : Classifier or None
        Asked too; takes its channels by name.
    ends : Tensor, shape (2, C, H, W)
        Preprocessed by the classifier.
    raw : ndarray, shape (2, C, H, W)
        The same in raw units, channels in the classifier's order.
    target : str
        Name of the class whose probability is told.
    made_by_generator : bool
        Whether the generator's own network made the images, so that it is not asked.

    Returns
    -------
    tuple of Opinion
        Probabilities of the first and the last image.

    Raises
    ------
    MismatchError
        The judge does not know the class.
    """

    def ask(who: str, other: Classifier, network: Network) -> Opinion:
        order = [classifier.channels.index(name) for name in other.channels]
        prepared = other.prepare_pixels(raw[:, order])
        both = second_probabilities(network, prepared)[:, other.classes.index(target)].tolist()
        return Opinion(who, *both)

    found = []
    generator = classifier.generator
    if classifier.second_network is not None:
        index = classifier.classes.index(target)
        both = second_probabilities(classifier.second_network, ends)[:, index].tolist()
        found.append(Opinion("a second network", *both))
    elif generator is not None and generator.second_network is not None:
        found.append(ask("the generator's second network", generator, generator.second_network))
    elif generator is not None and not made_by_generator:
        found.append(ask("the generator's network", generator, generator.network))
    if judge is not None:
        if target not in judge.classes:
            raise MismatchError(
                f"judge: found the classes {', '.join(judge.classes)}; expected {target} among them"
            )
        found.append(ask("the judge", judge, judge.network))
    return tuple(found)


def measure_likeness(
    classifier: Classifier, pixels: NDArray[np.float32]
) -> tuple[float | None, tuple[str, ...]]:
    """Return how far raw pixels (C, H, W) are from the training images, and in what they are unlike.

    Parameters
    ----------
    classifier : Classifier
        Its card tells how training images look.
    pixels : ndarray, float32, shape (C, H, W)
        Raw grey levels.

    Returns
    -------
    (float or None, tuple of str)
        Distance as a multiple of the cutoff, beyond 1 unlike; and sentences. (None, ()) where the
        card tells nothing.
    """
    plain = classifier.card.get("images")
    known = None if plain is None else ImageFacts.from_dict(plain).likeness
    if known is None:
        return None, ()
    whole = pixels.astype(np.float64)
    distance = known.distance(Appearance.of(whole)) / known.cutoff
    return float(distance), tuple(item.sentence for item in known.judge(whole, None))


def measure_nearest(
    classifier: Classifier, last: Tensor, references: Sequence[Tensor]
) -> float | None:
    """Return how far an image (1, C, H, W) is from the nearest reference, in what is usual among these.

    In the latents of the second network where there is one: those of the own are what was pushed.

    Parameters
    ----------
    classifier : Classifier
        Its second network gives the latents, else its own.
    last : Tensor, shape (1, C, H, W)
    references : sequence of Tensor, shape (1, C, H, W)
        Both preprocessed by the classifier.

    Returns
    -------
    float or None
        1 is usual among the references (the 0.95 quantile of their distances to the nearest other);
        None of too few references.
    """
    if len(references) < FEWEST_REFERENCES:
        return None
    network = classifier.second_network or classifier.network
    points = torch.cat([pooled_latents(network, item)[0].cpu() for item in references])
    own = pooled_latents(network, last)[0].cpu()
    among = torch.cdist(points, points)
    among.fill_diagonal_(torch.inf)
    usual = float(among.amin(dim=1).quantile(USUAL_QUANTILE))
    return float(torch.cdist(own, points).min()) / max(usual, torch.finfo(points.dtype).tiny)
