"""What a graph cannot say of itself: names of classes and channels, size, and how grey levels go in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.schema import Fields, ListOf, Maybe, Number, Open, Text, Whole, parse_json
from napari_why.datasets.preprocessing import Fit, Intensity, Preprocessing
from napari_why.exchange.options import ImportOptions, split_names, split_numbers
from napari_why.images import NO_LENGTH, PixelSize
from napari_why.networks.onnx_network import Layout

if TYPE_CHECKING:
    import onnx

    from napari_why.model import Classifier

# In the metadata of an ONNX file and in the configuration of a BioImage.IO package.
KEY = "napari_why"
MOST = 10_000  # of classes and channels, as in saved classifiers
LARGEST_SIZE = 16384  # likewise
SCHEMA = Fields(
    {
        "classes": ListOf(Text(), fewest=2, most=MOST, unique=True),
        "channels": ListOf(Text(), fewest=1, most=MOST, unique=True),
        "size": Maybe(Whole(1, LARGEST_SIZE)),
        "fit": Text(("resize", "crop", "none")),
        "intensity": Text(("linear", "log1p", "asinh")),
        "mean": ListOf(Number(), fewest=1, most=MOST),
        "std": ListOf(Number(0, above=True), fewest=1, most=MOST),
        "outputs": Text(("logits", "probabilities")),
    },
    others=Open(),
)
Given = Literal["auto", "logits", "probabilities"]


@dataclass(frozen=True)
class Interface:
    """How a graph is used as a classifier.

    Parameters
    ----------
    classes, channels : tuple of str
        In the order of outputs and input; empty where the file names none.
    size : int or None
        Height and width that images are brought to; None: each image's own.
    fit : {"resize", "crop", "none"}
        How.
    mean, std : tuple of float
        By channel: what is subtracted from raw grey levels and what they are divided by; empty: 0 and 1.
    takes_raw : bool
        The graph standardises grey levels itself, so that they are given back to it; mean and spread
        are there all the same, since methods take them for a baseline.
    outputs : {"auto", "logits", "probabilities"}
    layout : {"auto", "channels_first", "channels_last"}
        Where the graph has its axis of channels; ``auto``: as the lengths of its input tell.
    pixel_size : PixelSize
        Of the input, where a package says so.
    """

    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    size: int | None = None
    fit: Fit = "resize"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    takes_raw: bool = False
    outputs: Given = "auto"
    layout: Layout = "auto"
    pixel_size: PixelSize = NO_LENGTH

    @classmethod
    def of_onnx(cls, model: "onnx.ModelProto", where: str) -> Self:
        """Return what an ONNX file that was written here says of itself; nothing of any other.

        Parameters
        ----------
        model : onnx.ModelProto
        where : str
            Names the file in messages.

        Returns
        -------
        Interface

        Raises
        ------
        ModelFileError
            It says what cannot be.
        """
        entries = {item.key: item.value for item in model.metadata_props}
        if KEY not in entries:
            return cls()
        plain = parse_json(entries[KEY].encode(), where)
        SCHEMA.check(plain, f"{where}:")
        if not len(plain["mean"]) == len(plain["std"]) == len(plain["channels"]):
            raise ModelFileError(
                f"{where}: found another number of means than of channels; take the original file"
            )
        # of another mapping of grey levels a mean is no grey level, and nothing is given back
        linear = plain["intensity"] == "linear"
        return cls(
            tuple(plain["classes"]),
            tuple(plain["channels"]),
            plain["size"],
            plain["fit"],
            tuple(plain["mean"]) if linear else (),
            tuple(plain["std"]) if linear else (),
            True,
            plain["outputs"],
        )

    def with_options(self, options: ImportOptions, where: str) -> Self:
        """Return the same with what the user says in place of what the file says.

        Parameters
        ----------
        options : ImportOptions
            What is empty there is taken from the file.
        where : str
            Names the file in messages.

        Returns
        -------
        Interface

        Raises
        ------
        ParameterError
            Neither names classes and channels, there are not as many numbers as channels, or what the
            user says contradicts what the file says of its graph.
        """
        classes = split_names(options.classes) or self.classes
        channels = split_names(options.channels) or self.channels
        for what, names, fewest in (("classes", classes, 2), ("channels", channels, 1)):
            _check_names(what, names, fewest, where)
        found = replace(self, classes=classes, channels=channels)
        if options.size:
            found = replace(found, size=options.size, fit=options.sizing)
        if self.takes_raw and (options.mean or options.std):
            raise ParameterError(
                f"mean, std: found {options.mean!r}, {options.std!r} for {where}; expected none, since "
                "its graph standardises grey levels itself"
            )
        if options.mean:
            found = replace(found, mean=split_numbers("mean", options.mean, len(channels)))
        if options.std:
            found = replace(found, std=split_numbers("std", options.std, len(channels)))
        _check_agreement("outputs", options.outputs, self.outputs, where)
        _check_agreement("layout", options.layout, self.layout, where)
        return replace(
            found,
            outputs=self.outputs if options.outputs == "auto" else options.outputs,
            layout=self.layout if options.layout == "auto" else options.layout,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not known of how grey levels go in; to be told with every result."""
        notes = []
        if not self.mean and not self.std and not self.takes_raw:
            notes.append(
                "grey levels go in as they are: neither the file nor its user gave a mean and a spread "
                "(mean, std)"
            )
        if not self.mean:
            notes.append(
                "the mean of its training images is not known: where a method takes it for a baseline, "
                "a grey level of 0 stands for it"
            )
        return tuple(notes)

    def preprocessing(self) -> Preprocessing:
        """Return the preprocessing of a classifier.

        Raises
        ------
        ParameterError
            A spread that is not above 0.
        """
        count = len(self.channels)
        intensity: Intensity = "linear"
        return Preprocessing(
            self.channels,
            self.size,
            "none" if self.size is None else self.fit,
            intensity,
            self.mean or (0.0,) * count,
            self.std or (1.0,) * count,
            (1.0,) * count,
            pixel_size=self.pixel_size,
        )


def _check_names(what: str, names: tuple[str, ...], fewest: int, where: str) -> None:
    if len(names) >= fewest and len(set(names)) == len(names):
        return
    one = what == "classes" and len(names) == 1
    raise ParameterError(
        f"{what}: found {', '.join(names) or 'none'} for {where}; expected the name of each once, with "
        "commas between, in the order in which the file has them"
        + ("; of a single output two: first the rest, then what the output is of" if one else "")
    )


def _check_agreement(name: str, given: str, known: str, where: str) -> None:
    if "auto" not in (given, known) and given != known:
        raise ParameterError(
            f"{name}: found {given} for {where}; expected {known}, as it says itself"
        )


def describe_interface(classifier: "Classifier") -> dict[str, Any]:
    """Return what is needed to use a graph of a classifier, and to know which it was; JSON types."""
    preprocessing = classifier.preprocessing
    plain: Mapping[str, Any] = {
        "classes": classifier.classes,
        "channels": classifier.channels,
        "size": preprocessing.size,
        "fit": preprocessing.fit,
        "intensity": preprocessing.intensity,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "outputs": "probabilities",
        "fingerprint": classifier.fingerprint,
    }
    described: dict[str, Any] = json.loads(json.dumps(plain))  # lists for tuples
    return described
