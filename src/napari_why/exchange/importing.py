"""Classifiers of other programs: ONNX files, BioImage.IO packages and state dicts, to be explained here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.core.devices import choose_device
from napari_why.core.errors import ModelFileError, ParameterError, UnsupportedNetworkError
from napari_why.core.foreign_files import LARGEST_TENSORS, checksum, read_regular
from napari_why.exchange.foreign_package import DESCRIPTIONS, ForeignPackage, read_package
from napari_why.exchange.interface import Interface
from napari_why.exchange.onnx_file import SIDE
from napari_why.exchange.options import ImportOptions
from napari_why.exchange.state_dict import ENDINGS, build_for_state, load_state
from napari_why.model.classifier import Classifier, softmax
from napari_why.networks.onnx_network import (
    OnnxNetwork,
    Outputs,
    check_onnx,
    onnx_network,
    open_session,
)

# Images of noise that the outputs are looked at with: by chance alone, logits of two classes are never
# all positive with a sum of 1 in so many.
TRIES = 4
# Of float32 sums of some thousand classes.
ROUNDING = 1e-3
# The format's own default for how exactly a package's test is to be repeated.
TEST_TOLERANCE = 1e-3
AXES = 4
DIGITS = 12  # of a checksum: enough to recognise a file by


def import_model(
    path: str | Path,
    options: ImportOptions | Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
    **changes: Any,
) -> Classifier:
    """Load a classifier that another program made.

    A file is data here: of ONNX only operations that onnxruntime itself has are allowed, of torch's
    files only tensors are read (``weights_only=True``), packages are not unpacked and nothing is
    downloaded. An ONNX classifier can be asked for logits alone, so it is explained by methods that need
    no more: ``occlusion``, ``rise``, ``region_occlusion``, ``region_shapley``, and counterfactuals
    ``through=`` a generator. A state dict gives a whole network.

    Parameters
    ----------
    path : str or Path
        An ONNX file; a BioImage.IO package (zip file, folder or ``rdf.yaml``) with ONNX weights; or a
        state dict (.safetensors, .pt, .pth).
    options : ImportOptions or mapping, optional
        What the file leaves open: classes and channels of an ONNX file of somebody else, the
        architecture of a state dict.
    device : str
        Where to put a network of torch: ``auto``, ``cpu``, ``cuda:N`` or ``mps``. ONNX is computed on
        the processor.
    **changes
        Fields of the options by name.

    Returns
    -------
    Classifier
        Without a card: how it was trained is not known, and is said not to be.

    Raises
    ------
    ParameterError
        Something is left open that was not given, or does not fit the file.
    ModelFileError
        No such file, one that is altered, or that asks for more than data.
    UnsupportedNetworkError
        A graph of other inputs or outputs than an image and a number for each class.
    WhyError
        The packages of the extra ``exchange`` are not installed.
    """
    chosen = ImportOptions.of(options, changes)
    place = Path(path)
    load = _loader(place)
    return load(place, chosen).to(choose_device(device).name)


def _loader(place: Path) -> Callable[[Path, ImportOptions], Classifier]:
    ending = place.suffix.lower()
    if not place.exists():
        raise ModelFileError(f"{place}: found no such file")
    if ending == ".onnx":
        return _load_onnx
    if ending == ".zip" or place.name in DESCRIPTIONS or place.is_dir():
        return _load_package
    if ending in ENDINGS:
        return _load_state
    raise ModelFileError(
        f"{place}: found the ending {ending or 'none'!r}; expected .onnx, a BioImage.IO package (.zip, "
        f"folder, rdf.yaml) or a state dict ({', '.join(ENDINGS)})"
    )


def _load_onnx(place: Path, options: ImportOptions) -> Classifier:
    try:
        content = read_regular(place, LARGEST_TENSORS)
    except OSError as error:
        raise ModelFileError(f"{place}: found no readable file ({error.strerror})") from error
    said = Interface.of_onnx(check_onnx(content, str(place)), str(place))
    return _of_graph(content, said, options, place)


def _load_package(place: Path, options: ImportOptions) -> Classifier:
    package = read_package(place)
    said = package.interface
    if not said.mean:  # nothing is done before the graph: what a graph of our own says holds
        own = Interface.of_onnx(check_onnx(package.content, str(place)), str(place))
        said = (
            said if not own.classes else replace(own, classes=said.classes, channels=said.channels)
        )
    classifier = _of_graph(package.content, said, options, place)
    _check_test(classifier, package, str(place))
    named = f"from the BioImage.IO package {package.name!r}"
    terms = f"; its licence is {package.licence}" if package.licence else "; it names no licence"
    return replace(classifier, notes=(f"{named}{terms}", *classifier.notes))


def _check_test(classifier: Classifier, package: ForeignPackage, where: str) -> None:
    """Compare what the classifier gives for the package's own test with what is promised."""
    if package.test_input is None or package.test_output is None:
        return
    prepared = [classifier.preprocessing.of_pixels(image) for image in package.test_input]
    logits = classifier.logits(torch.stack(prepared)).cpu().numpy()
    promised = package.test_output.reshape(len(package.test_output), -1)
    # one that makes probabilities after the graph promises these, and one that gives logits those
    found: tuple[NDArray[Any], ...] = (softmax(logits), logits)
    if promised.shape[1] == 1:
        found = (found[0][:, 1:], logits[:, 1:])
    off = min(
        float(np.abs(values - promised).max()) if values.shape == promised.shape else np.inf
        for values in found
    )
    if not off <= TEST_TOLERANCE:
        raise ModelFileError(
            f"{where}: found that its own test gives outputs that differ by {off:.3g} from those it "
            "promises; expected the same; the package is damaged, or made for another program"
        )


def _load_state(place: Path, options: ImportOptions) -> Classifier:
    said = Interface().with_options(options, str(place))
    preprocessing = said.preprocessing()
    network = build_for_state(
        load_state(place),
        options,
        channels=len(said.channels),
        classes=len(said.classes),
        size=said.size or SIDE,
        where=str(place),
    )
    network.freeze()
    note = _origin(place, options.architecture)
    return Classifier(network, preprocessing, said.classes, notes=(note,))


def _origin(place: Path, what: str) -> str:
    return f"made by another program ({what}, {place.name}): how it was trained is not known here"


def _of_graph(content: bytes, said: Interface, options: ImportOptions, place: Path) -> Classifier:
    where = str(place)
    asked = _input_shape(content, where)
    said = said.with_options(options, where)
    channels_last = asked[1] != len(said.channels) and asked[3] == len(said.channels)
    counted = asked[3] if channels_last else asked[1]
    if isinstance(counted, int) and counted != len(said.channels):
        raise ParameterError(
            f"channels: found {', '.join(said.channels)} for {where}; expected {counted} names, for as "
            "many channels has its input"
        )
    said = _with_size(said, asked[1:3] if channels_last else asked[2:], where)
    raw = {"scale": said.std, "shift": said.mean} if said.takes_raw else {}
    side = said.size or SIDE

    def make(outputs: Outputs) -> OnnxNetwork:
        return onnx_network(
            content,
            input_channels=len(said.channels),
            classes=len(said.classes),
            size=(side, side),
            outputs=outputs,
            **raw,
        )

    shape = (TRIES, len(said.channels), side, side)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = make("logits").run(noise)
    if not np.isfinite(found).all():
        raise UnsupportedNetworkError(f"{where}: found outputs that are not finite for noise")
    outputs = _guess_outputs(found) if said.outputs == "auto" else said.outputs
    notes = [_origin(place, f"ONNX, SHA-256 {checksum(content)[:DIGITS]}")]
    if outputs == "probabilities":
        notes.append(
            "it gives probabilities: the score of a class is the logarithm of its probability, which "
            "other classes lower too; the difference of two scores is that of its logits"
        )
    if not said.mean:
        notes.append(
            "the mean of its training images is not known: where a method takes it for a baseline, a "
            "grey level of 0 stands for it"
        )
    return Classifier(make(outputs), said.preprocessing(), said.classes, notes=tuple(notes))


def _input_shape(content: bytes, where: str) -> list[Any]:
    inputs = open_session(content, where).get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != AXES:
        raise UnsupportedNetworkError(
            f"{where}: found {len(inputs)} inputs, first of shape {inputs[0].shape if inputs else 'none'}; "
            "expected one image: (N, C, H, W) or (N, H, W, C)"
        )
    return list(inputs[0].shape)


def _with_size(said: Interface, sides: list[Any], where: str) -> Interface:
    """Return the interface with the size of a graph that takes images of one size alone."""
    fixed = {side for side in sides if isinstance(side, int)}
    if len(fixed) > 1:
        raise UnsupportedNetworkError(
            f"{where}: found an input of {sides[0]} x {sides[1]} pixels; expected a square, to which "
            "images can be brought"
        )
    if fixed and said.size is not None and said.size not in fixed:
        raise ParameterError(
            f"size: found {said.size} for {where}; expected {fixed.pop()}, which it was made for"
        )
    return replace(said, size=fixed.pop()) if fixed else said


def _guess_outputs(found: NDArray[np.float32]) -> Outputs:
    """Tell by what a graph gives for noise whether that are probabilities."""
    between = bool(((found >= 0) & (found <= 1)).all())
    alone = found.shape[1] == 1
    sums = alone or bool(np.abs(found.sum(axis=1) - 1).max() <= ROUNDING)
    return "probabilities" if between and sums else "logits"
