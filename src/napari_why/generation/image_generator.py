"""A trained generator: images from codes, drawn at random or on the way from one to another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_why.adversarial import CodeToImage
from napari_why.core.devices import choose_device, limited_threads, to_like
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Range, validated
from napari_why.core.options import Label as FormLabel
from napari_why.core.randomness import LARGEST_SEED, Rng, choose_seed
from napari_why.core.record import Record
from napari_why.core.schema import Fields, Row, Schema, Text, Whole
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.generation.results import GeneratedImages
from napari_why.generation.saved_models import NAMES, SavedModel, portable_weights
from napari_why.images import Grid, PixelSize
from napari_why.model.schema import LONGEST_PARAMETER, MOST_CHANNELS, MOST_CLASSES, SIZE

KIND = "codes"
NETWORK: Schema = Fields(
    {
        "channels": Whole(1, MOST_CHANNELS),
        "classes": Whole(0, MOST_CLASSES),
        "size": Row((SIZE, SIZE)),
        "code_dimensions": Whole(1, 4096),
        "widths": Text(longest=LONGEST_PARAMETER),
    }
)
# Images made at a time: those of a few maps as large fit into any memory.
AT_A_TIME = 64
# What every reader of made images needs.
MADE_UP = "made up by a network: none of these images was taken by a microscope"

Label = Annotated[
    str,
    Help("class of the images, of a generator that knows classes; empty: of each in turn"),
    FormLabel("class"),
]
Seed = Annotated[int, Help("of the codes drawn"), Range(0, LARGEST_SEED)]


@dataclass(frozen=True, eq=False)
class ImageGenerator:
    """A network that makes images of codes, with the way back to raw units; no classifier.

    Made by :func:`napari_why.fit_generator` and :func:`napari_why.load_generator`.

    Parameters
    ----------
    network : CodeToImage
        In evaluation mode.
    preprocessing : Preprocessing
        Of its training images.
    classes : tuple of str
        That it makes images of on demand, in the network's order; empty where it knows none.
    card : mapping
        How it was made: data, parameters, history, and how varied its samples are; JSON types.
    threads : int or None
        Processor threads; all cores but one when None.
    """

    network: CodeToImage
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of its images."""
        return self.preprocessing.channels

    @property
    def pixel_size(self) -> PixelSize:
        """Of its images: that of the training images as they were brought to size, where they have one."""
        return PixelSize(**self.card.get("pixel_size", {}))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides about what it makes, the same once loaded again."""
        return self._to_save().fingerprint

    def to(self, device: str) -> Self:
        """Move the network to ``auto``, ``cpu``, ``cuda:N`` or ``mps`` and return the generator."""
        self.network.to(choose_device(device).name)
        return self

    def sample(
        self,
        *,
        count: Annotated[int, Help("number of images"), Range(1, 10_000)] = 16,
        seed: Seed = 0,
        label: Label = "",
        rng: Rng = None,
    ) -> GeneratedImages:
        """Make images of random codes; the same seed gives the same images.

        ``rng`` may stand in place of the seed (:mod:`napari_why.core.randomness`).

        Parameters
        ----------
        count : int
            1 to 10 000.
        seed : int
            Of the codes.
        label : str
            A class, of a generator that knows classes; empty: each in turn.
        rng : int, numpy.random.Generator or None
            In place of ``seed``.

        Returns
        -------
        GeneratedImages
            ``values`` count the images from 0.

        Raises
        ------
        ParameterError
            A class that it does not know.
        """
        given = {"count": count, "seed": choose_seed(seed, rng), "label": label}
        checked = validated(ImageGenerator.sample, given)
        drawn_as = self._classes_of(checked["count"], checked["label"])
        return self._make(
            self.draw_codes(checked["count"], checked["seed"]),
            drawn_as,
            axis="sample",
            values=np.arange(checked["count"], dtype=np.float64),
            parameters={"count": checked["count"], "label": checked["label"]},
            seed=checked["seed"],
        )

    def interpolate(
        self,
        *,
        first: Annotated[int, Help("seed of the code to begin at"), Range(0, LARGEST_SEED)] = 0,
        second: Annotated[int, Help("seed of the code to end at"), Range(0, LARGEST_SEED)] = 1,
        steps: Annotated[int, Help("number of images, both ends included"), Range(2, 1001)] = 11,
        label: Label = "",
    ) -> GeneratedImages:
        """Make the images on the way from one code to another, all of one class.

        Along the arc between the codes (White 2016, arXiv:1609.04468): on the straight line they would
        be shorter than any that were drawn in training.

        Parameters
        ----------
        first, second : int
            Seeds of the codes at both ends.
        steps : int
            Number of images, both ends included; 2 to 1001.
        label : str
            A class; empty only where the generator knows none.

        Returns
        -------
        GeneratedImages
            ``values`` run from 0 to 1.

        Raises
        ------
        ParameterError
            A class that it does not know; none where it knows several.
        """
        given = {"first": first, "second": second, "steps": steps, "label": label}
        checked = validated(ImageGenerator.interpolate, given)
        if self.classes and not checked["label"]:
            raise ParameterError(
                f"label: found none; expected one of {', '.join(self.classes)}, of which the images are"
            )
        start, end = (self.draw_codes(1, checked[name])[0] for name in ("first", "second"))
        shares = np.linspace(0, 1, checked["steps"])
        codes = torch.stack([_on_arc(start, end, float(share)) for share in shares])
        drawn_as = self._classes_of(len(codes), checked["label"])
        return self._make(
            codes, drawn_as, axis="interpolation", values=shares, parameters=checked, seed=None
        )

    def draw_codes(self, count: int, seed: int) -> Tensor:
        """Return standard normal codes (count, K), on the CPU: the same on every device.

        Parameters
        ----------
        count : int
            Number of codes.
        seed : int
            Of torch's generator on the CPU.

        Returns
        -------
        Tensor, float32, shape (count, K)
        """
        random = torch.Generator().manual_seed(seed)
        return torch.randn(count, self.network.code_dimensions, generator=random)

    def decode(self, codes: Tensor, label: str = "") -> Tensor:
        """Return preprocessed images (N, C, H, W) of codes (N, K), with a gradient where these have one.

        Parameters
        ----------
        codes : Tensor, shape (N, K)
            On the network's device.
        label : str
            Class of all images, of a generator that knows classes.

        Returns
        -------
        Tensor, shape (N, C, H, W)

        Raises
        ------
        ParameterError
            A class that it does not know; none where it knows several.
        """
        labels = None
        if self.classes:
            if label not in self.classes:
                raise ParameterError(
                    f"label: found {label!r}; expected one of {', '.join(self.classes)}"
                )
            places = torch.full((len(codes),), self.classes.index(label))
            labels = places.to(codes.device)
        images: Tensor = self.network(codes, labels)
        return images

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save as a folder of safetensors and JSON.

        Parameters
        ----------
        path : str or Path
            The folder to make.
        overwrite : bool
            Replace a saved generator or predictor that is there.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        WhyError
            There is something at ``path`` that is not to be replaced, or it cannot be written.
        """
        return self._to_save().save(path, overwrite=overwrite)

    def _to_save(self) -> SavedModel:
        return SavedModel(
            KIND,
            self.network.configuration(),
            portable_weights(self.network),
            self.preprocessing,
            {"classes": self.classes},
            self.card,
        )

    def _classes_of(self, count: int, label: str) -> tuple[str, ...]:
        if label and label not in self.classes:
            known = (
                f"one of {', '.join(self.classes)}" if self.classes else "none: it knows no classes"
            )
            raise ParameterError(f"label: found {label!r}; expected {known}")
        if label:
            return (label,) * count
        return (
            tuple(self.classes[index % len(self.classes)] for index in range(count))
            if (self.classes)
            else ()
        )

    def _make(
        self,
        codes: Tensor,
        drawn_as: tuple[str, ...],
        *,
        axis: str,
        values: NDArray[np.float64],
        parameters: Mapping[str, Any],
        seed: int | None,
    ) -> GeneratedImages:
        images = self.preprocessing.inverse(self._decode_all(codes, drawn_as)).astype(np.float32)
        return GeneratedImages(
            images=images,
            axis=axis,
            values=values,
            latents=codes.numpy(),
            # no classifier was asked
            probabilities=np.zeros((len(images), 0), dtype=np.float32),
            classes=(),
            channels=tuple(self.channels),
            grid=Grid((images.shape[-2], images.shape[-1])),
            record=Record(
                kind="generation",
                method=axis,
                parameters=dict(parameters),
                seed=seed,
                classifier=self.fingerprint,
                details={
                    "generated": True,
                    "axis": axis,
                    "values": values.tolist(),
                    "drawn_as": list(drawn_as),
                    "notes": [MADE_UP],
                },
            ),
            unlike=(MADE_UP,),
            drawn_as=drawn_as,
            pixel_size=self.pixel_size,
        )

    @torch.no_grad()
    def _decode_all(self, codes: Tensor, drawn_as: Sequence[str]) -> Tensor:
        made = []
        places = [self.classes.index(name) for name in drawn_as]
        labels = torch.tensor(places) if self.classes else None
        with limited_threads(self.threads):
            for start in range(0, len(codes), AT_A_TIME):
                part = slice(start, start + AT_A_TIME)
                chosen = None if labels is None else labels[part].to(self.device)
                like = next(self.network.parameters())
                made.append(self.network(to_like(codes[part], like), chosen).cpu())
        return torch.cat(made)


def load_generator(path: str | Path, *, device: str = "cpu") -> ImageGenerator:
    """Load a saved generator; it makes bit for bit what it did when it was saved.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``generative_model.json`` in it.
    device : str
        Where to put the network: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.

    Returns
    -------
    ImageGenerator

    Raises
    ------
    ModelFileError
        A file is missing, truncated, altered, of a newer format, or holds what cannot be.
    """
    saved = SavedModel.load(path, KIND, NETWORK, Fields({"classes": NAMES}))
    network = saved.build(CodeToImage, path)
    classes, channels = saved.names["classes"], saved.preprocessing.channels
    saved.require(
        (network.channels, network.classes) == (len(channels), len(classes))
        and saved.preprocessing.size in (None, *network.size),
        "another number of channels or classes, or another size, in the network than named",
        path,
    )
    return ImageGenerator(network, saved.preprocessing, classes, saved.card).to(device)


def _on_arc(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Return the code that lies at a share of the arc between two; lengths go evenly along."""
    lengths = torch.lerp(first.norm(), second.norm(), share)
    ends = torch.nn.functional.normalize(torch.stack([first, second]), dim=1)
    angle = torch.arccos((ends[0] * ends[1]).sum().clamp(-1, 1))
    if float(torch.sin(angle)) < torch.finfo(first.dtype).eps:
        return torch.lerp(first, second, share)
    weights = torch.stack([torch.sin((1 - share) * angle), torch.sin(share * angle)])
    return lengths * (weights[:, None] * ends).sum(dim=0) / torch.sin(angle)
