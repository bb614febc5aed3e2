"""A BioImage.IO package of somebody else: what it says, its graph and its test, and nothing else of it.

The package is read, never unpacked, and no address in it is opened. Of its description only what a
classifier is made of is looked at; steps of processing that are not known here are refused, since a
classifier without them would be another one.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ModelFileError
from napari_why.core.foreign_files import LARGEST_TENSORS, checksum
from napari_why.core.optional_packages import require
from napari_why.exchange.interface import KEY, Interface
from napari_why.exchange.package_files import Files, FolderFiles, MissingFileError, ZippedFiles
from napari_why.images import NO_LENGTH, PixelSize
from napari_why.images.formats import to_micrometres

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
# A description is some kB of text, with a card perhaps a hundred
LARGEST_DESCRIPTION = 2**22
# Types that grey levels and outputs fit into; others cut digits off
FLOAT_TYPES = ("float32", "float64")
# Steps that would need the statistics of each image
FROM_IMAGE = ("zero_mean_unit_variance", "scale_range", "scale_mean_variance")
# As images are here: rows, then columns
ROWS_AND_COLUMNS = ["y", "x"]
# The step after the graph that makes probabilities of its outputs, if there is one
After = Literal["", "softmax", "sigmoid"]


@dataclass(frozen=True)
class ForeignPackage:
    """What a package says of a classifier.

    Parameters
    ----------
    name : str
    content : bytes
        The ONNX graph.
    interface : Interface
        Mean and std of the steps before the graph; ``logits`` where the package makes probabilities of
        them after the graph.
    test_input, test_output : ndarray or None
        Raw, (1, C, H, W), and what the package promises for it, (1, K).
    licence : str
    sha256 : str
        Of the graph.
    after : {"", "softmax", "sigmoid"}
        The step after the graph.
    scale : str
        Side of a pixel of the images that it was made for, in the package's own unit; empty where it says
        none.
    """

    name: str
    content: bytes
    interface: Interface
    test_input: NDArray[np.float32] | None
    test_output: NDArray[np.float32] | None
    licence: str
    sha256: str
    after: After = ""
    scale: str = ""


def read_package(path: Path) -> ForeignPackage:
    """Read a BioImage.IO package with an ONNX classifier.

    Parameters
    ----------
    path : Path
        A zip file, a folder, or the ``rdf.yaml`` in one.

    Raises
    ------
    ModelFileError
        No package of format 0.5 with ONNX weights, a checksum that does not fit, a step of processing
        that is not known here, or an output that is no number a class.
    """
    files: Files = (
        ZippedFiles(path)
        if path.suffix.lower() == ".zip"
        else FolderFiles(path if path.is_dir() else path.parent)
    )
    plain = _read_description(files)
    reader = _Reader(plain, files)
    try:
        return reader.package()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ModelFileError(
            f"{files.where}: found a description that lacks something ({error!r:.100}); expected a "
            "BioImage.IO model of format 0.5; check it with bioimageio test"
        ) from error


def _read_description(files: Files) -> dict[str, Any]:
    yaml = require("yaml", "exchange", "BioImage.IO packages")
    for name in DESCRIPTIONS:
        try:
            content = files.read(name, LARGEST_DESCRIPTION)
        except MissingFileError:
            continue
        try:
            plain = yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise ModelFileError(f"{files.where}: found no YAML in {name}") from error
        version = str(plain.get("format_version", "")) if isinstance(plain, dict) else ""
        if not version.startswith("0.5.") or plain.get("type") != "model":
            raise ModelFileError(
                f"{files.where}: found format version {version or 'none'}; expected a model of 0.5; "
                "bring it to that with bioimageio update-format"
            )
        return dict(plain)
    raise ModelFileError(
        f"{files.where}: found none of {', '.join(DESCRIPTIONS)}; expected a BioImage.IO package"
    )


@dataclass(frozen=True)
class _Reader:
    plain: Mapping[str, Any]
    files: Files

    def package(self) -> ForeignPackage:
        plain = self.plain
        if len(plain["inputs"]) != 1 or len(plain["outputs"]) != 1:
            raise ModelFileError(
                f"{self.files.where}: found {len(plain['inputs'])} inputs and {len(plain['outputs'])} "
                "outputs; expected an image and the numbers of its classes"
            )
        asked, given = plain["inputs"][0], plain["outputs"][0]
        own = (plain.get("config") or {}).get(KEY) or {}
        axes = [_axis_name(axis) for axis in asked["axes"]]
        if axes not in (
            ["batch", "channel", *ROWS_AND_COLUMNS],
            ["batch", *ROWS_AND_COLUMNS, "channel"],
        ):
            raise ModelFileError(
                f"{self.files.where}: found an input of the axes {', '.join(axes)}; expected batch, "
                "channel, y, x or batch, y, x, channel; put a transposition into the graph"
            )
        last = axes[-1] == "channel"
        if [axis["type"] for axis in given["axes"]][:2] != ["batch", "channel"]:
            raise ModelFileError(
                f"{self.files.where}: found an output of other axes than batch and channel; expected a "
                "number for each class"
            )
        channels = _names(asked["axes"], own.get("channels"))
        mean, std = self._standardisation(asked.get("preprocessing") or (), len(channels))
        content = self._weights()
        after = self._after(given.get("postprocessing") or (), _count(given["axes"]))
        return ForeignPackage(
            str(plain.get("name", "")),
            content,
            Interface(
                _names(given["axes"], own.get("classes")),
                channels,
                self._size(asked["axes"]),
                mean=mean,
                std=std,
                outputs="logits" if after else "auto",
                layout="channels_last" if last else "channels_first",
                pixel_size=self._pixel_size(asked["axes"]),
            ),
            self._tensor(asked.get("test_tensor"), channels_last=last),
            self._tensor(given.get("test_tensor")),
            str(plain.get("license") or ""),
            checksum(content),
            after,
            _scale(asked["axes"]),
        )

    def _weights(self) -> bytes:
        weights = self.plain["weights"].get("onnx")
        if weights is None:
            raise ModelFileError(
                f"{self.files.where}: found the weights {', '.join(self.plain['weights'])}; expected "
                "onnx, the one format that is data and no program; bioimageio add-weights makes it"
            )
        if weights.get("external_data"):
            raise ModelFileError(
                f"{self.files.where}: found weights in two files; expected all in the ONNX file"
            )
        return self._checked(weights, LARGEST_TENSORS)

    def _checked(self, described: Mapping[str, Any], largest: int) -> bytes:
        content = self.files.read(str(described["source"]), largest)
        wanted = described.get("sha256")
        if wanted and checksum(content) != wanted:
            raise ModelFileError(
                f"{self.files.where}: found {described['source']} altered or cut off (its SHA-256 is "
                "another one); get the package anew"
            )
        return content

    def _tensor(
        self, described: Mapping[str, Any] | None, *, channels_last: bool = False
    ) -> NDArray[np.float32] | None:
        if not described:
            return None
        content = self._checked(described, LARGEST_TENSORS)
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        values: NDArray[np.float32] = np.asarray(loaded, dtype=np.float32)
        return np.moveaxis(values, -1, 1) if channels_last else values

    def _size(self, axes: Sequence[Mapping[str, Any]]) -> int | None:
        sides = [axis["size"] for axis in axes if axis["type"] == "space"]
        if not all(isinstance(side, int) for side in sides):
            return None
        if len(set(sides)) > 1:
            raise ModelFileError(
                f"{self.files.where}: found an input of {sides[0]} x {sides[1]} pixels; expected a "
                "square, to which images can be brought"
            )
        return int(sides[0])

    def _pixel_size(self, axes: Sequence[Mapping[str, Any]]) -> PixelSize:
        """Return how large a pixel of the input is, in um; of no length where that is not said."""
        told = {
            _axis_name(axis): to_micrometres(float(axis.get("scale", 1.0)), axis.get("unit") or "")
            for axis in axes
            if axis["type"] == "space"
        }
        sides = {name: side for name, side in told.items() if side is not None}
        return PixelSize(**sides, unit="um") if len(sides) == len(ROWS_AND_COLUMNS) else NO_LENGTH

    def _standardisation(
        self, steps: Sequence[Mapping[str, Any]], channels: int
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std per channel of linear steps, one after the other; empty without one."""
        mean, std = np.zeros(channels), np.ones(channels)
        for step in steps:
            name, values = step["id"], step.get("kwargs") or {}
            if _is_harmless(step):
                continue
            if name == "fixed_zero_mean_unit_variance":
                shift, scale = (_spread(values[key], channels) for key in ("mean", "std"))
            elif name == "scale_linear":
                gain = _spread(values.get("gain", 1.0), channels)
                shift, scale = -_spread(values.get("offset", 0.0), channels) / gain, 1 / gain
            else:
                why = (
                    "such steps take their numbers from the image itself"
                    if name in FROM_IMAGE
                    else "what it does to grey levels is no scaling"
                )
                raise ModelFileError(
                    f"{self.files.where}: found the step {_describe_step(step)} before the graph; "
                    f"expected fixed_zero_mean_unit_variance or scale_linear: {why}; put the step into "
                    "the graph"
                )
            # ((raw - mean) / std - shift) / scale
            mean, std = mean + std * shift, std * scale
        if all(map(_is_harmless, steps)):
            return (), ()
        if (std <= 0).any() or not np.isfinite([mean, std]).all():
            raise ModelFileError(
                f"{self.files.where}: found steps that divide by {std.tolist()}; expected more than 0"
            )
        return tuple(mean.tolist()), tuple(std.tolist())

    def _after(self, steps: Sequence[Mapping[str, Any]], count: int) -> After:
        """Return the step that makes probabilities of a graph's outputs."""
        further = [step for step in steps if not _is_harmless(step)]
        if not further:
            return ""
        name, values = further[0]["id"], further[0].get("kwargs") or {}
        if len(further) == 1 and name == "sigmoid" and count == 1:
            return "sigmoid"
        by_class = name == "softmax" and values.get("axis", "channel") == "channel"
        if len(further) == 1 and by_class and count > 1:
            return "softmax"
        if len(further) == 1 and name == "sigmoid":
            raise ModelFileError(
                f"{self.files.where}: found a sigmoid for each of {count} outputs, whose classes do not "
                "exclude each other; expected a softmax; export one class against the rest (one output)"
            )
        raise ModelFileError(
            f"{self.files.where}: found the steps {', '.join(map(_describe_step, further))} after the "
            f"graph of {count} outputs; expected a softmax over the axis channel, a sigmoid of one "
            "output, or none"
        )


def _axis_name(axis: Mapping[str, Any]) -> str:
    # where an axis of space has no name it is x, by the format
    return str(axis.get("id", "x") if axis["type"] == "space" else axis["type"])


def _count(axes: Sequence[Mapping[str, Any]]) -> int:
    (axis,) = [axis for axis in axes if axis["type"] == "channel"]
    return len(axis["channel_names"])


def _scale(axes: Sequence[Mapping[str, Any]]) -> str:
    """Return the side of a pixel with its unit, of rows and columns; empty where none is said."""
    found = [
        (float(axis.get("scale", 1.0)), axis["unit"])
        for axis in axes
        if axis["type"] == "space" and axis.get("unit")
    ]
    return " x ".join(f"{scale:g} {unit}" for scale, unit in found)


def _is_harmless(step: Mapping[str, Any]) -> bool:
    """Tell whether a step changes no number."""
    kind = (step.get("kwargs") or {}).get("dtype")
    return bool(step["id"] == "ensure_dtype" and kind in FLOAT_TYPES)


def _describe_step(step: Mapping[str, Any]) -> str:
    values = step.get("kwargs") or {}
    said = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"{step['id']} ({said:.100})" if said else str(step["id"])


def _spread(value: Any, channels: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (channels,))


def _names(axes: Sequence[Mapping[str, Any]], own: Any) -> tuple[str, ...]:
    """Return the names of channels; those of this package, where they are as many."""
    (axis,) = [axis for axis in axes if axis["type"] == "channel"]
    names = [str(name) for name in axis["channel_names"]]
    if isinstance(own, list) and len(own) == len(names) and all(isinstance(n, str) for n in own):
        names = own
    return tuple(names)
