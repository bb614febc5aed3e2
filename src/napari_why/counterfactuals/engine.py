"""The engine: from latent paths and alphas to exported pixels with their probabilities.

Everything that makes counterfactual pixels calls it: :func:`napari_why.counterfactual`, a batch of
one image; the choice of a transport, on held-out images; and the benchmark of known truth. So what
is measured is what the user gets.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.devices import at_a_time, retry_with_half, to_float64
from napari_why.core.errors import CancellationError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    never_cancelled,
)
from napari_why.core.registry import Method
from napari_why.counterfactuals.alphas import (
    FULL_DISPLACEMENT,
    Scores,
    SpecialAlphas,
    settle_on_exported,
)
from napari_why.counterfactuals.method import LatentPath, ScoresOnPath, still_channels
from napari_why.images import make_image
from napari_why.images.image import export_dtype, export_pixels, share_out_of_range
from napari_why.networks.network import DecodingNetwork

if TYPE_CHECKING:
    from napari_why.datasets import Preprocessing
    from napari_why.model import Classifier

# Values (alphas x channels x pixels) of a series decoded at a time: small images go together,
# which is quicker, and large ones one by one, which bounds memory and lets Cancel act.
VALUES_AT_A_TIME = 2**18


@dataclass(frozen=True)
class Frame:
    """One exported image on a path.

    Parameters
    ----------
    alpha : float
        Position on the path.
    image : ndarray, shape (C, H, W)
        As exported.
    probabilities : ndarray, float32, shape (classes,)
        Of exactly ``image``.
    out_of_range : float
        Share of values outside the source dtype's range before export.
    """

    alpha: float
    image: NDArray[Any]
    probabilities: NDArray[np.float32]
    out_of_range: float

    def margin(self, target: int) -> float:
        """Return log p(target) minus that of its strongest competitor."""
        p, others = self._target_and_others(target)
        return float(np.log(p) - np.log(others.max()))

    def probability(self, target: int) -> float:
        """Return p(target)."""
        return float(self.probabilities[target])

    def log_odds(self, target: int) -> float:
        """Return log(p / (1 - p)) of the target."""
        p, others = self._target_and_others(target)
        return float(np.log(p) - np.log(others.sum()))

    def _target_and_others(self, target: int) -> tuple[float, NDArray[np.float64]]:
        # a float32 softmax reaches 0, whose logarithm would end every search
        above_zero = np.maximum(self.probabilities.astype(float), np.finfo(float).tiny)
        return float(above_zero[target]), np.delete(above_zero, target)


@torch.no_grad()
def make_raw_images(
    classifier: "Classifier",
    network: DecodingNetwork,
    path: LatentPath,
    source: NDArray[np.float32],
    alphas: Sequence[float],
) -> NDArray[np.float32]:
    """Return the images at some alphas of a path in raw units: the one place that decodes them.

    Kernels differ in the last digits with the size of a batch. So images of different paths are
    never decoded together, and a single alpha gives the same pixels whoever asks for it, alone or
    among others. Batches would be quicker.

    Parameters
    ----------
    classifier : Classifier
        Its preprocessing leads back to raw units.
    network : DecodingNetwork
        That of the classifier.
    path : LatentPath
        Of one image.
    source : ndarray, float32, shape (C, H, W)
        That image, preprocessed and back in raw units: channels that are locked or put back are
        copied from it.
    alphas : sequence of float
        Decoded together.

    Returns
    -------
    ndarray, float32, shape (A, C, H, W)
    """
    decoded: NDArray[Any] = classifier.preprocessing.inverse(path.images(network, alphas))
    raw: NDArray[np.float32] = decoded.astype(np.float32)
    # here and nowhere else, so that no method, and none of another package, changes what is locked
    still = still_channels(network, path)
    raw[:, still] = source[still]
    return raw


@torch.no_grad()
def exported_probabilities(
    classifier: "Classifier", image: NDArray[Any], channels: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Classify exported pixels the way a saved and reopened file would be.

    Parameters
    ----------
    classifier : Classifier
        The classifier.
    image : ndarray, shape (C, H, W)
        On the network's grid, raw units.
    channels : sequence of str, optional
        Names along C; the classifier's by default. Of another's image it takes its own by name.

    Returns
    -------
    ndarray, float32, shape (classes,)
    """
    as_image: xr.DataArray = make_image(image, ("c", "y", "x"), channels or classifier.channels)
    logits = classifier.logits(classifier.prepare(as_image))[0]
    probabilities: NDArray[np.float32] = to_float64(logits).softmax(0).float().cpu().numpy()
    return probabilities


@dataclass(frozen=True)
class Task:
    """Which class images are to become, and by which method.

    Parameters
    ----------
    classifier : Classifier
        Whose network makes the images, and whose statistics they are made by.
    network : DecodingNetwork
        That of the classifier.
    method : Method
        Its function makes the path of an image.
    values : mapping
        The method's own parameters, checked, and what it is given beside (a goal).
    source, target : int
        Class indices.
    probability : float
        What p(target) should reach, for methods that promise it.
    asked : Classifier, optional
        Whose probabilities, boundary and alphas they are, where it is another one; it is shown exported
        images, and its classes are matched by name.
    """

    classifier: "Classifier"
    network: DecodingNetwork
    method: Method
    values: Mapping[str, Any]
    source: int
    target: int
    probability: float
    asked: "Classifier | None" = None

    @property
    def judge(self) -> "Classifier":
        """Whose probabilities the images have."""
        return self.classifier if self.asked is None else self.asked

    @property
    def judged_target(self) -> int:
        """The judge's index of the target."""
        return self.judge.classes.index(self.classifier.classes[self.target])


def follow_paths(task: Task, prepared: Tensor, dtype: np.dtype[Any]) -> Iterator["PathImages"]:
    """Yield the path of each image of a batch; no image depends on the others.

    Parameters
    ----------
    task : Task
        What is asked for.
    prepared : Tensor, shape (N, C, H, W)
        Preprocessed images, on the network's device.
    dtype : dtype
        Of their raw pixels.

    Yields
    ------
    PathImages
        In the order of the batch.
    """
    for image in torch.split(prepared, 1):
        path: LatentPath = task.method.function(
            task.network,
            task.classifier.latent_statistics,
            image,
            task.source,
            task.target,
            **task.values,
        )
        yield PathImages(task, path, image, dtype)


class PathImages:
    """The images of one path at any alphas, each made once, and the class scores along it.

    Parameters
    ----------
    task : Task
        What is asked for.
    path : LatentPath
        Of one image.
    prepared : Tensor, shape (1, C, H, W)
        That image.
    dtype : dtype
        Of its raw pixels.
    """

    def __init__(
        self, task: Task, path: LatentPath, prepared: Tensor, dtype: np.dtype[Any]
    ) -> None:
        self.task, self.path = task, path
        self.scores: Scores = (
            ScoresOnPath(task.network, path, task.target)
            if task.asked is None
            else ExportedScores(self)
        )
        raw: NDArray[Any] = task.classifier.preprocessing.inverse(prepared)[0]
        self.source: NDArray[np.float32] = raw.astype(np.float32)
        self._dtype, self._frames = np.dtype(dtype), dict[float, Frame]()

    @property
    def export(self) -> "Exporter":
        """What exports preprocessed images as those on this path are."""
        still = still_channels(self.task.network, self.path)
        preprocessing = self.task.classifier.preprocessing
        return Exporter(preprocessing, self.source, tuple(still), export_dtype(self._dtype))

    @property
    def exported_source(self) -> NDArray[Any]:
        """The source (C, H, W) as exported: what locked channels, and those put back, are."""
        return export_pixels(self.source, export_dtype(self._dtype))

    @cached_property
    def reconstruction(self) -> NDArray[np.float32]:
        """The raw image (C, H, W) at alpha 0, which differences are taken against.

        Made once: inverted again in another batch it would have other last digits, and a difference
        that is not zero where nothing has changed.
        """
        decoded: NDArray[np.float32] = self.decode([0.0])[0]
        return decoded

    def frame(self, alpha: float) -> Frame:
        """Return the image at one alpha, decoded on its own."""
        if alpha not in self._frames:
            self._make([alpha])
        return self._frames[alpha]

    def frames(
        self,
        alphas: Sequence[float],
        *,
        advanced: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> list[Frame]:
        """Return the images at ``alphas``: all, or those from the first on that were made in time.

        Parameters
        ----------
        alphas : sequence of float
            Positions on the path.
        advanced : callable
            Called for every image that is there, with its place in the series.
        cancelled : callable
            Asked before every batch but the first.

        Returns
        -------
        list of Frame
            In the order of ``alphas``; at least one unless ``alphas`` is empty.

        Raises
        ------
        CancellationError
            A whole field was cancelled while the first images were made.
        """
        there: list[Frame] = []
        size = at_a_time(VALUES_AT_A_TIME // self.source.size)
        for start in range(0, len(alphas), size):
            if there and cancelled():
                break
            batch = alphas[start : start + size]
            try:
                self._make([alpha for alpha in batch if alpha not in self._frames])
            except CancellationError:
                if not there:
                    raise
                break
            for alpha in batch:
                there.append(self._frames[alpha])
                advanced(len(there) - 1)
        return there

    def find_alphas(self, cancelled: Cancelled = never_cancelled) -> SpecialAlphas:
        """Return the special alphas on the head alone; nothing is inverted, but for another's head.

        Raises
        ------
        CancellationError
            Another's head was asked, which takes an image each time, and it was cancelled.
        """
        if isinstance(self.scores, ExportedScores):
            self.scores.cancelled = cancelled
        return self.path.rule.find(self.scores, self.task.probability)

    def settle_alphas(self, found: SpecialAlphas, cancelled: Cancelled) -> SpecialAlphas:
        """Return the special alphas as the exported images have them.

        Parameters
        ----------
        found : SpecialAlphas
            As found on the head.
        cancelled : callable
            Asked before every inversion.

        Returns
        -------
        SpecialAlphas
            See :func:`~napari_why.counterfactuals.alphas.settle_on_exported`.
        """
        return settle_on_exported(
            found,
            self,
            self.task.judged_target,
            probability=self.task.probability,
            cancelled=cancelled,
        )

    def convincing_image(self) -> Frame:
        """Return the exported image at alpha1; after one displacement where there is no alpha1.

        It is the one that :meth:`settle_alphas` leads to, without a search for the other alphas.
        """
        alpha1 = self.path.rule.find_alpha1(self.scores, self.task.probability)
        return self.frame(FULL_DISPLACEMENT if alpha1 is None else alpha1)

    def make(self, alphas: Sequence[float]) -> Iterator[Frame]:
        """Make the images at some alphas, and keep none."""
        moving = [alpha for alpha in alphas if alpha != 0]
        raw = dict(zip(moving, self.decode(moving), strict=True)) if moving else {}
        for alpha in alphas:
            pixels = raw[alpha] if alpha else self.reconstruction
            image = export_pixels(pixels, export_dtype(self._dtype))
            yield Frame(
                alpha,
                image,
                exported_probabilities(self.task.judge, image, self.task.classifier.channels),
                share_out_of_range(pixels, self._dtype),
            )

    def _make(self, alphas: Sequence[float]) -> None:
        self._frames |= {frame.alpha: frame for frame in self.make(alphas)}

    def decode(self, alphas: Sequence[float]) -> NDArray[np.float32]:
        """Return the raw images (A, C, H, W) at some alphas, before export."""
        task = self.task
        return make_raw_images(task.classifier, task.network, self.path, self.source, alphas)


@dataclass(frozen=True, eq=False)
class Exporter:
    """Exports preprocessed images of one source that no network made; called with one of them.

    Parameters
    ----------
    preprocessing : Preprocessing
    source : ndarray, float32, shape (C, H, W)
        Raw units, on the network's grid.
    still : tuple of int
        Channels whose pixels stay the source's.
    dtype : dtype
        Of exported pixels.
    """

    preprocessing: "Preprocessing"
    source: NDArray[np.float32]
    still: tuple[int, ...]
    dtype: np.dtype[Any]

    def __call__(self, prepared: Tensor) -> NDArray[Any]:
        """Return a preprocessed image (1, C, H, W) as exported (C, H, W)."""
        raw = self.preprocessing.inverse(prepared)[0].astype(np.float32)
        raw[list(self.still)] = self.source[list(self.still)]
        return export_pixels(raw, self.dtype)


class ExportedScores:
    """Class scores along a path as another classifier has them, of the exported images.

    Each alpha is decoded and classified once. Of the images only the probabilities are kept: a search
    looks at two dozen alphas, whose whole fields would fill the memory.

    Parameters
    ----------
    images : PathImages
        Of the path.
    """

    def __init__(self, images: PathImages) -> None:
        self._images, self._target = images, images.task.judged_target
        self.cancelled: Cancelled = never_cancelled
        self._known: dict[float, Frame] = {}

    def margin(self, alpha: float) -> float:
        """Return log p(target) minus that of its strongest competitor."""
        return self._at(alpha).margin(self._target)

    def log_odds(self, alpha: float) -> float:
        """Return log(p / (1 - p)) of the target."""
        return self._at(alpha).log_odds(self._target)

    def probability(self, alpha: float) -> float:
        """Return the target's probability."""
        return self._at(alpha).probability(self._target)

    def _at(self, alpha: float) -> Frame:
        if alpha not in self._known:
            if self.cancelled():
                raise CancellationError(
                    "counterfactual: found that it was cancelled while the boundary was looked for; "
                    "expected to find it; start it anew"
                )
            (frame,) = self._images.make([alpha])
            self._known[alpha] = replace(frame, image=frame.image[:0].copy())
        return self._known[alpha]


@dataclass(frozen=True)
class Series:
    """The images of one path that were asked for.

    Parameters
    ----------
    alphas : list of float
    frames : list of Frame
        One per alpha.
    special : SpecialAlphas
        As settled on exported images.
    special_frames : dict of str to Frame
        By the names of the special alphas; those that a cancelled run did not reach are missing.
    reconstruction : ndarray, float32, shape (C, H, W)
        At alpha 0, raw units.
    complete : bool
        False when the work was cancelled.
    """

    alphas: list[float]
    frames: list[Frame]
    special: SpecialAlphas
    special_frames: dict[str, Frame]
    reconstruction: NDArray[np.float32]
    complete: bool


def make_series(
    images: PathImages,
    found: SpecialAlphas,
    ends: tuple[float, float] | None,
    steps: int,
    *,
    on_event: OnEvent,
    cancelled: Cancelled,
) -> Series:
    """Settle the special alphas, since the range depends on them, then make the images.

    Parameters
    ----------
    images : PathImages
        Of the path.
    found : SpecialAlphas
        As found on the head; corrected on exported images unless cancelled.
    ends : (float, float) or None
        First and last alpha; None for 0 to alpha1.
    steps : int
        Number of alphas.
    on_event, cancelled
        See :mod:`napari_why.core.events`. A step is an image.

    Returns
    -------
    Series
        Cut short where it was cancelled.
    """
    reconstruction = images.reconstruction  # first: without it there is nothing to keep
    special, done = found, count(1)
    with suppress(CancellationError):
        if not cancelled():
            special = images.settle_alphas(found, cancelled)
    named = {name: alpha for name, alpha in special.by_name().items() if alpha is not None}
    on_event(Started("counterfactual", steps + len(named)))
    alphas: list[float] = np.linspace(*(ends or (0.0, special.end)), steps).tolist()
    with suppress(CancellationError):
        # on its own before the series takes it in, so that alpha1 has the same pixels everywhere
        if special.alpha1 in alphas and not cancelled():
            images.frame(special.alpha1)
    # what is there is not made again, nor counted
    counted: set[int] = set()

    def advanced(place: int) -> None:
        if place not in counted:
            counted.add(place)
            on_event(Advanced(next(done)))

    series = retry_with_half(
        lambda: images.frames(alphas, advanced=advanced, cancelled=cancelled),
        on_event,
        "making the images",
    )
    special_frames = {}
    for name, alpha in named.items():
        with suppress(CancellationError):
            if not cancelled():
                special_frames[name] = images.frame(alpha)
                on_event(Advanced(next(done)))
    complete = len(series) == steps and len(special_frames) == len(named)
    on_event(Finished(partial=not complete))
    return Series(alphas[: len(series)], series, special, special_frames, reconstruction, complete)
