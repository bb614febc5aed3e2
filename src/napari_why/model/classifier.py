"""A trained network with its preprocessing: what it predicts, saves and loads."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.devices import choose_device, limited_threads, to_float64
from napari_why.core.errors import NetworkBusyError, ParameterError, WhyError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.folders import show
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.images import (
    PixelSize,
    Source,
    describe_grouping,
    group_sources,
    make_image,
    name_source,
    read,
)
from napari_why.model.chance import note_of_rival
from napari_why.model.image_facts import ImageFacts, check_image, compare_with_made_for
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.likeness import Unlikeness
from napari_why.model.storage import (
    SavedParts,
    fingerprints,
    load_folder,
    name_tensors,
    save_folder,
)
from napari_why.networks.network import DecodingNetwork, Network, refuse_black_box
from napari_why.training.metrics import probability_columns


@dataclass(frozen=True)
class Prediction:
    """The predicted class of one image.

    Parameters
    ----------
    label : str
        The class with the highest probability.
    probabilities : dict of str to float
        Probability (0 to 1, summing to 1) of every class: the softmax of the logits.
    logits : ndarray, float32, shape (K,)
        The network's outputs, in the order of the classes.
    source : str
        File or layer the image is from.
    notes : tuple of str
        What to keep in mind: the image is much brighter than those trained on, and the like; last,
        that held-out images show this class and the second most probable one at chance, or below.
    unlike : tuple of str
        In what the image is unlike them (:class:`~napari_why.model.likeness.Unlikeness`): the kinds,
        in the order of the notes.
    quality : tuple of str
        Those of them that say whether the image holds enough at all: ``hardly any cells``, ``out of
        focus``, ``saturated``. By the image alone, not by what is predicted.
    """

    label: str
    probabilities: dict[str, float]
    logits: NDArray[np.float32]
    source: str
    notes: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    quality: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassChoice:
    """A class that was asked for by name or by number, and what has to be told about it.

    Parameters
    ----------
    index : int
        Place among the network's outputs.
    name : str
    notes : tuple of str
        How a number was understood, where it can be understood in two ways.
    """

    index: int
    name: str
    notes: tuple[str, ...] = ()


def find_class(classes: Sequence[str], given: str | int, what: str = "target") -> ClassChoice:
    """Find a class by its name, or by an integer: the class of that name, else of that index.

    A text is always a name. An integer is the class that is called so ("1", "01", "1.0"), for
    classes are called by the values of a table's column; only where none is, it is an index.

    Parameters
    ----------
    classes : sequence of str
        In the order of the network's outputs.
    given : str or int
    what : str
        What messages call it.

    Returns
    -------
    ClassChoice
        Index and name, with a note where an integer can be meant in two ways.

    Raises
    ------
    ParameterError
        There is no such class, or two are called by that number.

    Examples
    --------
    >>> find_class(("diseased", "treated"), 1).name, find_class(("1", "2"), 1).name
    ('treated', '1')
    """
    if isinstance(given, str) and given in classes:
        return ClassChoice([*classes].index(given), given)
    # True is an int in Python, and no class; NumPy's integers are Integral too
    if not isinstance(given, Integral) or isinstance(given, bool):
        raise ParameterError(f"{what}: found {given!r}; expected one of {', '.join(classes)}")
    number = int(given)
    called = [index for index, name in enumerate(classes) if _number_in(name) == number]
    if str(number) in classes:
        called = [[*classes].index(str(number))]  # "1" and not "01" beside it
    if len(called) > 1:
        raise ParameterError(
            f"{what}: found {number}, which {' and '.join(repr(classes[i]) for i in called)} may "
            "mean; give the name as text"
        )
    inside = 0 <= number < len(classes)
    if called:
        (index,) = called
        twofold = inside and index != number
        told = (
            f"{what} {number} was taken as the class of that name, {classes[index]!r}, and not as "
            f"the index of {classes[number]!r}"
            if twofold
            else ""
        )
        return ClassChoice(index, classes[index], (told,) if told else ())
    if not inside:
        raise ParameterError(
            f"{what}: found {number}; expected one of {', '.join(classes)}, or an index from 0 to "
            f"{len(classes) - 1}"
        )
    numbered = any(_number_in(name) is not None for name in classes)
    told = (
        f"{what} {number} is no class's name and was taken as an index: of class "
        f"{classes[number]!r}"
    )
    return ClassChoice(number, classes[number], (told,) if numbered else ())


def _number_in(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the probabilities of logits along the last axis, computed in float64.

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0], dtype=np.float32)).tolist()
    [0.5, 0.5]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Classifier:
    """A frozen network, its preprocessing, and what is known about both.

    Made by :func:`napari_why.fit` and :func:`napari_why.load`.

    Parameters
    ----------
    network : Network
        Frozen here if it is not yet.
    preprocessing : Preprocessing
        Fitted on the training images.
    classes : tuple of str
        In the order of the network's outputs.
    latent_statistics : LatentStatistics or None
        Of the training images, for counterfactuals; None for a network that cannot be inverted.
    metrics : mapping
        How it did on images it was not trained on; see :func:`napari_why.fit`.
    card : mapping
        How it was made: network, data, splits, parameters, history, versions; JSON types.
    threads : int or None
        Processor threads for predictions; all cores but one when None.
    second_network : Network or None
        A small network trained on its own, asked whether it agrees; it does not predict.
    notes : tuple of str
        What is to be kept in mind of the whole classifier: that an earlier version saved parts of it
        without a checksum, say.
    generator : Classifier or None
        Another one, trained on the same images, whose network makes the images of this one's
        counterfactuals; saved and loaded with it. It decides about no prediction and has a fingerprint
        of its own.
    folder : Path or None
        Where it was loaded from, or saved to last.
    """

    network: Network
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    latent_statistics: LatentStatistics | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    second_network: Network | None = None
    notes: tuple[str, ...] = ()
    generator: "Classifier | None" = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        expected = (len(self.channels), len(self.classes))
        found = (self.network.input_channels, self.network.classes)
        if found != expected:
            raise WhyError(
                f"found a network of {found[0]} channels and {found[1]} classes; "
                f"expected {expected[0]} and {expected[1]}"
            )
        for network in (self.network, self.second_network):
            if network is not None and not network.frozen:
                network.freeze()

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels that the network looks at, in its order."""
        return self.preprocessing.channels

    @property
    def locked_channels(self) -> tuple[str, ...]:
        """Names of the channels that counterfactuals cannot change."""
        locked = self.network.locked if isinstance(self.network, DecodingNetwork) else ()
        return tuple(self.channels[index] for index in locked)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What the fit did not get to, each with the reason where it failed; empty if not known."""
        return tuple(map(str, self.card.get("left_out") or ()))

    @property
    def configuration(self) -> dict[str, Any]:
        """What, beside the weights, decides about predictions; JSON types."""
        return {
            "network": dict(self.network.configuration()),
            "preprocessing": self.preprocessing.to_dict(),
            "classes": list(self.classes),
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides about a result, the same once loaded again.

        Weights, preprocessing, classes, latent statistics with the choices of the transport, second
        network, metrics, and what the card knows of the training images; not how the training went
        and when. Computed each time. See :func:`~.storage.fingerprints`.
        """
        return self._fingerprints()[0]

    @property
    def former_fingerprint(self) -> str:
        """The fingerprint that version 0.1.0 gave: of network, preprocessing and classes alone."""
        return self._fingerprints()[1]

    def is_called(self, fingerprint: str) -> bool:
        """Tell whether a record's fingerprint is this classifier's, also one of an old record."""
        return fingerprint in self._fingerprints()

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        network = self.network  # of an ONNX file the bytes alone, which are no parameter
        return next(chain(network.parameters(), network.buffers())).device

    def to(self, device: str) -> "Classifier":
        """Move the network to ``auto``, ``cpu``, ``cuda:N`` or ``mps`` and return the classifier."""
        for network in (self.network, self.second_network):
            if network is not None:
                network.to(choose_device(device).name)
        if self.generator is not None:
            self.generator.to(device)
        return self

    def check(self, image: xr.DataArray) -> tuple[str, ...]:
        """Return notes on what is unlike the training images, empty when nothing is.

        Raises
        ------
        MismatchError
            The image cannot be classified; lists everything that does not fit.
        """
        return tuple(found.sentence for found in self.unlike(image))

    def unlike(self, image: xr.DataArray) -> tuple[Unlikeness, ...]:
        """Return in what an image is unlike the training images, each with its kind and channels.

        A classifier without a card knows nothing of its training images, and says so; the size of a pixel
        is compared with what its maker says that it was made for.

        Raises
        ------
        MismatchError
            See :meth:`check`.
        """
        plane = check_image(image, self.channels, self.preprocessing)
        if not self.card:
            sentence = (
                "not known whether the image is like the training images: no card tells of them"
            )
            made_for = compare_with_made_for(plane, self.preprocessing)
            return (*made_for, Unlikeness("unknown", sentence))
        return self._facts.unlike(plane, self.preprocessing)

    def flag_quality(self, unlike: Sequence[Unlikeness]) -> tuple[str, ...]:
        """Return which of what :meth:`unlike` found say that an image holds too little to judge."""
        return self._facts.quality_flags(unlike) if self.card else ()

    @property
    def judges_quality(self) -> bool:
        """Whether it was learnt what content and focus are usual; not by earlier versions."""
        return bool(self.card) and self._facts.quality is not None

    @property
    def pixel_size(self) -> PixelSize:
        """Of the images as the network sees them, where its training images, or its maker, tell one."""
        if not self.card:
            return self.preprocessing.pixel_size
        return self._facts.pixel_size_of_prepared(self.preprocessing)

    @cached_property
    def _facts(self) -> ImageFacts:
        return ImageFacts.from_dict(self.card["images"])

    def prepare(self, image: xr.DataArray) -> Tensor:
        """Return the preprocessed image, float32, shape (1, C, H, W), on the network's device.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            Raw intensities; channels are found by name, in any order. Axes t and z may have
            length 1; of a longer one take a plane first.

        Raises
        ------
        MismatchError
            See :meth:`check`.
        """
        plane = check_image(image, self.channels, self.preprocessing)
        return self.preprocessing(plane)[None].to(self.device)

    def prepare_pixels(self, images: NDArray[Any]) -> Tensor:
        """Return the preprocessed images (N, C, h, w) of raw pixels, as files with them would be.

        Parameters
        ----------
        images : ndarray, shape (N, C, H, W)
            Raw intensities, channels in the classifier's order.

        Raises
        ------
        MismatchError
            See :meth:`check`.
        """
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        # of images of one shape and type the first stands for all, but for values that are no numbers
        for index in {0, int(np.argmin(finite))}:
            named = make_image(images[index], "cyx", self.channels)
            check_image(named, self.channels, self.preprocessing)
        prepared = torch.stack([self.preprocessing.of_pixels(image) for image in images])
        return prepared.to(self.device)

    def logits(self, batch: Tensor) -> Tensor:
        """Return the logits (N, K) of a preprocessed batch (N, C, H, W), without a gradient.

        Raises
        ------
        NetworkBusyError
            The network is being trained.
        """
        with torch.no_grad(), limited_threads(self.threads), self.network.use.passing():
            logits: Tensor = self.network(batch.to(self.device))
        return logits

    def second_opinion(self, image: xr.DataArray) -> NDArray[np.float64] | None:
        """Return the second network's class probabilities (K,) of an image, None without one.

        Raises
        ------
        MismatchError
            See :meth:`check`.
        """
        if self.second_network is None:
            return None
        with limited_threads(self.threads):
            probabilities = second_probabilities(self.second_network, self.prepare(image))
        return np.asarray(probabilities[0].numpy())

    def predict(self, image: xr.DataArray | str | Path) -> Prediction:
        """Classify one image, or the image in a file.

        Raises
        ------
        MismatchError
            See :meth:`check`.
        ImageReadError
            The file cannot be read.
        """
        image = _open(image)
        unlike = self.unlike(image)
        logits = self.logits(self.prepare(image))[0].cpu().numpy()
        probabilities = softmax(logits)
        named = dict(zip(self.classes, probabilities.tolist(), strict=True))
        index = int(probabilities.argmax())
        label = self.classes[index]
        of_pair = note_of_rival(self.metrics, self.classes, logits, index)
        return Prediction(
            label,
            named,
            logits,
            str(image.attrs.get("source", "")),
            # What the reader guessed decides what the network saw.
            (*image.attrs.get("notes", ()), *(found.sentence for found in unlike), *of_pair),
            tuple(found.kind for found in unlike),
            self.flag_quality(unlike),
        )

    def predict_many(
        self,
        images: Dataset | Sequence[Source],
        *,
        read_as: Mapping[str, Any] | None = None,
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> pd.DataFrame:
        """Classify images one after the other; one that cannot be is listed with the reason.

        Files of one channel each of one field, told by their names, are one image, which is said
        as a message. ``read_as`` are further arguments of :func:`napari_why.images.read` for paths.

        Parameters
        ----------
        images : Dataset or sequence
            Paths, tuples of paths of one image, or images with dims (c, y, x).
        read_as : mapping, optional
            Arguments of :func:`napari_why.images.read`.
        on_event, cancelled
            See :mod:`napari_why.core.events`; one step an image.

        Returns
        -------
        DataFrame
            One row per image, those done by then when cancelled: the columns of a data set's
            table (``path``, ``label``, ...) or ``source``; ``predicted``; ``probability of NAME``
            for every class; ``notes``; ``unlike``, the kinds of what they say; ``quality``, those of them
            that tell of content, focus and saturation; and ``error``, empty
            where the image was classified. ``attrs`` say ``complete``, how many ``images`` there
            were, and in ``notes`` which files were taken together; ``source`` names all of an image.

        Raises
        ------
        NetworkBusyError
            The network is being trained.
        """
        images, taken = join_sources(images, on_event, read_as)
        names = probability_columns(self.classes)
        rows: list[dict[str, Any]] = []
        on_event(Started("predicting", len(images)))
        for done, (about, open_image) in enumerate(describe_images(images, read_as), start=1):
            if cancelled():
                break
            row = {**about, "predicted": None, **dict.fromkeys(names, np.nan)}
            notes, unlike, quality, error = "", "", "", ""
            try:
                found = self.predict(open_image())
            except NetworkBusyError:
                raise  # of no image in particular
            except WhyError as problem:
                error = str(problem)
            else:
                row["predicted"] = found.label
                row |= dict(zip(names, found.probabilities.values(), strict=True))
                notes, unlike, quality = map("; ".join, (found.notes, found.unlike, found.quality))
            judged = {"notes": notes, "unlike": unlike, "quality": quality, "error": error}
            rows.append({**row, **judged})
            on_event(Advanced(done))
        on_event(Finished(partial=len(rows) < len(images)))
        table = pd.DataFrame(rows)
        table.attrs |= {"complete": len(rows) == len(images), "images": len(images), "notes": taken}
        return table

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save as a folder of safetensors and JSON; see :func:`~.storage.save_folder`.

        Parameters
        ----------
        path : str or Path
            Of the folder.
        overwrite : bool
            Replace a classifier that lies there.

        Returns
        -------
        Path
            Of the folder, which :attr:`folder` tells from now on.
        """
        made_by = None if self.generator is None else self.generator._to_save()
        saved = save_folder(path, *self._to_save(), overwrite=overwrite, generator=made_by)
        object.__setattr__(self, "folder", Path(path).absolute())  # the class is frozen
        return saved

    def _to_save(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        fingerprint, former = self._fingerprints()
        description = {
            **self._description(),
            "fingerprint": fingerprint,
            "former_fingerprint": former,
            "notes": list(self.notes),
        }
        return description, self._tensors()

    def _description(self) -> dict[str, Any]:
        statistics, second = self.latent_statistics, self.second_network
        return {
            **self.configuration,
            "latent_statistics": statistics.to_dict() if statistics else None,
            "second_network": dict(second.configuration()) if second else None,
            "metrics": dict(self.metrics),
            "card": dict(self.card),
        }

    def _tensors(self) -> dict[str, Tensor]:
        return name_tensors(self.network, self.second_network, self.latent_statistics)

    def _fingerprints(self) -> tuple[str, str]:
        return fingerprints(self._description(), self._tensors())


def load(path: str | Path, *, device: str = "cpu") -> Classifier:
    """Load a saved classifier; it predicts bit for bit what it did when it was saved.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``classifier.json`` in it.
    device : str
        Where to put the network: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.

    Returns
    -------
    Classifier

    Raises
    ------
    ModelFileError
        A file is missing, truncated, altered, of a newer format, or holds what cannot be.

    Warns
    -----
    UserWarning
        With each of :attr:`Classifier.notes`.
    """
    saved = load_folder(path)
    for note in saved.description.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    place = Path(path).absolute()
    folder = place.parent if place.is_file() else place
    return replace(_classifier_of(saved), folder=folder).to(choose_device(device).name)


def _classifier_of(saved: SavedParts) -> Classifier:
    return Classifier(
        saved.network,
        saved.description.preprocessing,
        saved.description.classes,
        saved.latent_statistics,
        saved.description.metrics,
        saved.description.card,
        second_network=saved.second_network,
        notes=saved.description.notes,
        generator=None if saved.generator is None else _classifier_of(saved.generator),
    )


def join_sources(
    images: Dataset | Sequence[Source],
    on_event: OnEvent = ignore_event,
    read_as: Mapping[str, Any] | None = None,
) -> tuple[Dataset | Sequence[Source], list[str]]:
    """Put files of one channel each together, and say what was taken; a data set has done so.

    Parameters
    ----------
    images : Dataset or sequence
        Paths, tuples of paths, or images.
    on_event : callable
        See :mod:`napari_why.core.events`.
    read_as : mapping, optional
        Its ``pattern`` says how names tell channels; by default they are compared.

    Returns
    -------
    images : Dataset or sequence
        With a tuple of files in place of files that are one image.
    taken : list of str
        Sentences, which ``on_event`` is told too.
    """
    if isinstance(images, Dataset):
        return images, []
    pattern = (read_as or {}).get("pattern")
    several = group_sources(images, pattern)
    joined = [tuple(map(Path, item)) for item in several if isinstance(item, tuple)]
    taken = describe_grouping(joined, pattern)
    for sentence in taken:
        on_event(Message(sentence, finding=True))
    return several, taken


def describe_images(
    images: Dataset | Iterable[Source],
    read_as: Mapping[str, Any] | None = None,
) -> Iterator[tuple[dict[str, Any], Callable[[], xr.DataArray]]]:
    """Yield what is known of each image and a function that reads it when its turn comes.

    The one way in for work on many images: nothing is read before its turn, and no plane is chosen
    of a stack, which :meth:`Classifier.check` then refuses.

    ``read_as`` are further arguments of :func:`napari_why.images.read` for paths.

    Parameters
    ----------
    images : Dataset or iterable
        Paths, tuples of paths of one image, or images with dims (c, y, x).
    read_as : mapping, optional
        Arguments of :func:`napari_why.images.read`.

    Yields
    ------
    known : dict
        The row of a data set's table, or ``source``.
    read : callable
        Returns the image, dims (c, y, x); raises what reading it does.
    """
    if isinstance(images, Dataset):
        for index, row in enumerate(images.table.to_dict("records")):
            yield {str(key): value for key, value in row.items()}, partial(images.image, index)
        return
    for image in images:
        yield {"source": show(name_source(image))}, partial(_open, image, **(read_as or {}))


def _open(image: Source, **read_as: Any) -> xr.DataArray:
    return image if isinstance(image, xr.DataArray) else read(image, **read_as)


@torch.no_grad()
def pooled_latents(network: Network, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pooled latents and the logits of a preprocessed batch, encoded once for both.

    Parameters
    ----------
    network : Network
    batch : Tensor, shape (N, C, H, W)
        Preprocessed; moved to the network's device.

    Returns
    -------
    latents : Tensor, shape (N, K)
        The last feature maps, averaged over their positions: one point an image, whatever its size.
    logits : Tensor, shape (N, classes)

    Raises
    ------
    UnsupportedNetworkError
        The network has no latents: it can be asked for logits alone.
    """
    refuse_black_box(network, "a latent")
    with network.use.passing():
        maps = network.encode(batch.to(next(network.parameters()).device))
        logits: Tensor = network.head(maps)
    return maps.mean(dim=(2, 3)), logits


@torch.no_grad()
def second_probabilities(network: Network, batch: Tensor) -> Tensor:
    """Return class probabilities (N, K) of a preprocessed batch (N, C, H, W), on the CPU.

    Parameters
    ----------
    network : Network
        Frozen.
    batch : Tensor, shape (N, C, H, W)
        On any device.

    Returns
    -------
    Tensor, float64, shape (N, K)
    """
    device = next(network.parameters()).device
    with network.use.passing():
        logits: Tensor = network(batch.to(device))
    return to_float64(logits).softmax(1).cpu()
