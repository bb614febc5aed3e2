"""How near changed images come to real ones, measured by features, and which differences of that are chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.counterfactuals import METHODS
from napari_why.counterfactuals.method import suitable_network
from napari_why.datasets.features import TINY, AppearanceJudge, image_features
from napari_why.images.image import export_dtype, export_pixels
from napari_why.model.classifier import Classifier
from napari_why.networks.network import InvertibleNetwork
from napari_why.simulation.planted_rendering import CameraNoise, estimate_noise
from napari_why.transport.back_translation import MissingNoise
from napari_why.transport.channel_change import FINEST
from napari_why.transport.channel_statistics import ChannelFrame
from napari_why.transport.pixel_maps import smooth

# Groups (wells) drawn anew, to see which differences of distances are chance: one in six is one standard
# error. Images of one group are alike, so that single ones drawn would call chance sure.
DRAWS, AS_NEAR = 400, 1 / 6
# Wells of which draws tell how wells differ: drawn anew they spread by sqrt((n - 1) / n) of what wells do, of
# fewer than five too little by more than an eighth, so that chance would be called sure.
FEWEST_GROUPS = 5


@dataclass(frozen=True)
class Grouped:
    """Images of one class, and which of them may be alike.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Preprocessed.
    groups : ndarray, int64, shape (N,)
        The well, or other group, of each.
    """

    images: Tensor
    groups: NDArray[np.int64]

    def first(self, count: int) -> "Grouped":
        """Return the first of them."""
        return Grouped(self.images[:count], self.groups[:count])


class Looks:
    """Exports images and describes their free channels; knows how the training images look."""

    def __init__(self, classifier: Classifier, dtype: str, training: Mapping[int, Grouped]) -> None:
        self.classifier, self.dtype = classifier, np.dtype(dtype)
        network = suitable_network(classifier, METHODS["transport"])
        self.locked = network.locked if isinstance(network, InvertibleNetwork) else ()
        self.free = [place for place in range(len(classifier.channels)) if place not in self.locked]
        self._training, self._textures = training, dict[int, NDArray[np.float64]]()

    def export(self, images: Tensor) -> NDArray[Any]:
        """Return preprocessed images (N, C, H, W) as they would be saved."""
        return export_pixels(
            self.classifier.preprocessing.inverse(images), export_dtype(self.dtype)
        )

    def describe(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Return the texture features of raw images (N, C, H, W), without the noise of single pixels."""
        pixels = torch.from_numpy(raw.astype(np.float32))
        return image_features(smooth(pixels, FINEST).numpy(), self.free)

    def relate(self, raw: NDArray[Any], frames: Sequence[ChannelFrame]) -> NDArray[np.float64]:
        """Return how the free channels of raw images (N, C, H, W) lie to the locked structures.

        Parameters
        ----------
        raw : ndarray, shape (N, C, H, W)
            As exported, grey levels.
        frames : sequence of ChannelFrame
            One a free channel.

        Returns
        -------
        ndarray, shape (N, S)
            Statistics of all of them, side by side.
        """
        prepared = self.classifier.prepare_pixels(raw).cpu()
        found: NDArray[np.float64] = torch.cat(
            [one.describe(prepared) for one in frames], 1
        ).numpy()
        return found

    def noise(self, images: Tensor) -> tuple[CameraNoise, ...]:
        """Return the camera's noise in each free channel of real preprocessed images (N, C, H, W)."""
        planes = images.float().cpu().numpy()
        return tuple(estimate_noise(list(planes[:, channel])) for channel in self.free)

    def with_noise(self, raw: NDArray[Any], wanted: Sequence[CameraNoise]) -> NDArray[Any]:
        """Return raw images with the noise that they lack against real ones as bright; the same at every call.

        Every change makes the noise larger or smaller together with the image: of one that blurs next to
        nothing is left, where a camera would have added its own. Fine structure that real images have everywhere
        is taken for noise (:func:`~napari_why.simulation.planted_rendering.estimate_noise`).

        Parameters
        ----------
        raw : ndarray, shape (N, C, H, W)
            As exported, grey levels.
        wanted : sequence of CameraNoise
            Of real images, from :meth:`noise`; one a free channel.

        Returns
        -------
        ndarray, shape (N, C, H, W)
            As exported.
        """
        prepared = self.classifier.prepare_pixels(raw).cpu().clone()
        generator = torch.Generator().manual_seed(0)
        there = self.noise(prepared)
        for channel, real, made in zip(self.free, wanted, there, strict=True):
            plane = prepared[:, channel]
            prepared[:, channel] += MissingNoise(channel, real, made).draw(plane, generator)
        return self.export(prepared)

    def frames(self, images: Tensor) -> list[ChannelFrame]:
        """Return a frame of each free channel of preprocessed images (N, C, H, W)."""
        return [ChannelFrame.of(images.cpu(), channel, self.locked) for channel in self.free]

    def known(self, label: int) -> Grouped | None:
        """Return the training images of a class."""
        return self._training.get(label)

    def judge(self, source: int, target: int) -> AppearanceJudge | None:
        """Return who tells two classes apart; None without training images of both.

        Parameters
        ----------
        source, target : int
            Class indices.

        Returns
        -------
        AppearanceJudge or None
        """
        if not {source, target} <= set(self._training):
            return None
        return AppearanceJudge(self.textures(source), self.textures(target))

    def textures(self, label: int) -> NDArray[np.float64]:
        """Return the texture features of the training images of a class; computed once."""
        if label not in self._textures:
            self._textures[label] = self.describe(self.export(self._training[label].images))
        return self._textures[label]


@dataclass(frozen=True)
class Distance:
    """How far images lie from real ones.

    Parameters
    ----------
    value : float
        Mahalanobis distance between the means of features.
    drawn : ndarray, shape (DRAWS,)
        The same with groups drawn anew.
    beyond_chance : ndarray, shape (DRAWS,)
        Squared, without what is expected where nothing differs; not below 0.
    """

    value: float
    drawn: NDArray[np.float64]
    beyond_chance: NDArray[np.float64]

    def share_left(self, unchanged: "Distance") -> NDArray[np.float64]:
        """Return the share of the squared distance that a change leaves, draw by draw.

        All of it where unchanged images are no farther than chance has it.
        """
        left: NDArray[np.float64] = np.divide(
            self.beyond_chance,
            unchanged.beyond_chance,
            out=np.ones_like(self.beyond_chance),
            where=unchanged.beyond_chance > 0,
        )
        return left


class Nearness:
    """How far images lie from real ones of a class, and which differences of that are chance.

    Parameters
    ----------
    real : ndarray, shape (M, F)
        Features of real images of the class that nothing was fitted on: a change that only repeats what
        the training images happen to have in common does not come nearer to these.
    of_training : ndarray, shape (L, F)
        Features of more images of the class, which tell how its images differ.
    of_real, of_found : ndarray, int64, shape (M,), (N,)
        Groups of these, and of the images that are compared with them. A group that is in both is drawn
        for both: what it has in common then cancels out.
    """

    def __init__(
        self,
        real: NDArray[np.float64],
        of_training: NDArray[np.float64],
        of_real: NDArray[np.int64],
        of_found: NDArray[np.int64],
    ) -> None:
        from sklearn.covariance import LedoitWolf  # two seconds: most of scipy

        every = np.concatenate([real, of_training])
        self._mean, scale = real.mean(0), every.std(0)
        # a feature that never differs has no unit
        self._used = scale > TINY
        self._scale = scale[self._used]
        self._real = self._standardise(real)
        self._precision: NDArray[np.float64] | None = None
        if self._used.any() and len(every) > 1:
            # shrunk after Ledoit & Wolf 2004: there are about as many features as images
            self._precision = LedoitWolf().fit(self._standardise(every)).precision_
        fewest = min(len(np.unique(part)) for part in (of_real, of_found))
        # of few groups nobody knows how groups differ: nothing is claimed then
        self.known = fewest >= FEWEST_GROUPS
        if fewest == 1:  # all draws of it would be the same
            of_real, of_found = np.split(np.arange(len(of_real) + len(of_found)), [len(of_real)])
            fewest = min(len(of_real), len(of_found))
        # draws of n vary by (n - 1) / n of what n differ by
        self._widening = (fewest / max(1, fewest - 1)) ** 0.5
        # the same draws for every candidate: what they share then cancels out
        names, numbers = np.unique(np.concatenate([of_real, of_found]), return_inverse=True)
        draws = np.random.default_rng(0)
        counts = draws.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
        self._for_real, self._for_found = (
            _as_weights(counts[:, part]) for part in np.split(numbers, [len(of_real)])
        )

    @property
    def weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How much each real image, and each that is compared with them, counts in every draw."""
        return self._for_real, self._for_found

    def measure(self, features: NDArray[np.float64]) -> Distance | None:
        """Return how far features (N, F) are; None where real images do not differ."""
        precision = self._precision
        if precision is None:
            return None
        found = self._standardise(features)
        apart = found.mean(0)
        drawn = self._for_found @ found - self._for_real @ self._real
        drawn = apart + self._widening * (drawn - apart)
        squares = _square(drawn, precision)
        # once in the images that there are, and once more in drawing from them
        chance = float(_square(drawn - apart, precision).mean())
        return Distance(
            float(np.sqrt(_square(apart[None], precision)[0])),
            np.sqrt(squares),
            np.maximum(squares - 2 * chance, 0),
        )

    def _standardise(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        kept: NDArray[np.float64] = (features - self._mean)[:, self._used] / self._scale
        return kept


def _square(apart: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared Mahalanobis lengths (B,) of rows (B, F)."""
    squares: NDArray[np.float64] = (apart @ precision * apart).sum(1)
    return squares


def _as_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how much each image counts (DRAWS, N), rows of sum 1: by how often its group was drawn."""
    # of a draw without any of its groups a part stays as it is
    drawn = np.where(counts.sum(1, keepdims=True) > 0, counts, 1)
    weights: NDArray[np.float64] = drawn / drawn.sum(1, keepdims=True)
    return weights
