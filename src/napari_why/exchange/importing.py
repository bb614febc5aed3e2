"""Classifiers of other programs: ONNX files, BioImage.IO packages and state dicts, to be explained here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_why.core.devices import choose_device
from napari_why.core.errors import ModelFileError, ParameterError, UnsupportedNetworkError
from napari_why.core.foreign_files import LARGEST_TENSORS, checksum, read_regular
from napari_why.exchange.foreign_package import DESCRIPTIONS, ForeignPackage, read_package
from napari_why.exchange.graph_output import check_outputs, decide_outputs
from napari_why.exchange.interface import Interface
from napari_why.exchange.onnx_file import SIDE
from napari_why.exchange.options import ImportOptions
from napari_why.exchange.state_dict import ENDINGS, build_for_state, load_state
from napari_why.images import NO_LENGTH
from napari_why.model.classifier import Classifier, softmax
from napari_why.networks.onnx_network import (
    Layout,
    OnnxNetwork,
    onnx_network,
)
from napari_why.networks.onnx_session import check_onnx, open_onnx

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Images of noise that the outputs are looked at with, beside the steps that make them.
TRIES = 4
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
        if own.classes:
            said = _of_own_graph(own, said, str(place))
    classifier = _of_graph(package.content, said, options, place)
    _check_test(classifier, package, str(place))
    named = f"from the BioImage.IO package {package.name!r}"
    terms = f"; its licence is {package.licence}" if package.licence else "; it names no licence"
    notes = [f"{named}{terms}"]
    if package.scale:
        unknown = said.pixel_size == NO_LENGTH
        notes.append(
            f"it was made for images with pixels of {package.scale}"
            + (", with which images are not compared" if unknown else "")
        )
    return replace(classifier, notes=(*notes, *classifier.notes))


def _of_own_graph(own: Interface, said: Interface, where: str) -> Interface:
    """Return what a graph that was written here says, with the names of its package."""
    if said.outputs not in ("auto", own.outputs):
        raise ModelFileError(
            f"{where}: found steps after a graph that gives {own.outputs} itself; expected none; get the "
            "package anew"
        )
    return replace(
        own,
        classes=said.classes,
        channels=said.channels,
        layout=said.layout,
        pixel_size=said.pixel_size,
    )


def _check_test(classifier: Classifier, package: ForeignPackage, where: str) -> None:
    """Compare what the classifier gives for the package's own test with what is promised.

    What its steps after the graph make is compared, and of a package without such steps what the graph
    itself gives: whether that are logits or probabilities is told otherwise.
    """
    network = classifier.network
    if package.test_input is None or package.test_output is None:
        return
    if not isinstance(network, OnnxNetwork):
        raise TypeError(f"found {type(network).__name__}; expected the network of a package")
    prepared = [classifier.preprocessing.of_pixels(image) for image in package.test_input]
    found = network.answer(torch.stack(prepared))
    if package.after:
        # of one number a sigmoid is the softmax with a logit of 0 before it
        found = softmax(network.as_logits(found))[:, -found.shape[1] :].astype(np.float32)
    promised = package.test_output.reshape(len(package.test_output), -1)
    # relative where numbers are large, as logits may be
    off = (
        float((np.abs(found - promised) / np.maximum(np.abs(promised), 1)).max())
        if found.shape == promised.shape
        else np.inf
    )
    if not off <= TEST_TOLERANCE:
        raise ModelFileError(
            f"{where}: found that its own test gives outputs that differ by {off:.3g} from those it "
            "promises; expected the same; the package is damaged, made for another program, or was "
            "given another mean and std than its own"
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
    notes = (_origin(place, options.architecture), *said.notes)
    return Classifier(network, preprocessing, said.classes, notes=notes)


def _origin(place: Path, what: str) -> str:
    return f"made by another program ({what}, {place.name}): how it was trained is not known here"


def _of_graph(content: bytes, said: Interface, options: ImportOptions, place: Path) -> Classifier:
    where = str(place)
    session = open_onnx(content, where)
    asked = _input_shape(session, where)
    said = said.with_options(options, where)
    said = replace(said, layout=_layout(asked, said, where))
    channels_last = said.layout == "channels_last"
    sides = asked[1:3] if channels_last else asked[2:]
    fixed = _with_size(said, sides, where)
    raw = {"scale": said.std, "shift": said.mean} if said.takes_raw else {}
    side = fixed.size or SIDE

    network = onnx_network(
        content,
        input_channels=len(said.channels),
        classes=len(said.classes),
        size=(side, side),
        outputs="logits",
        output=_named_output(session, options.output, where),
        layout=said.layout,
        **raw,
    )
    shape = (TRIES, len(said.channels), side, side)
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    output, found = network.look(noise)
    if not np.isfinite(found).all():
        raise UnsupportedNetworkError(f"{where}: found outputs that are not finite for noise")
    notes = [_origin(place, f"ONNX, SHA-256 {checksum(content)[:DIGITS]}")]
    if said.outputs == "auto":
        outputs, decided = decide_outputs(check_onnx(content, where), output, found, where)
    else:
        outputs, decided = said.outputs, "as was said"
        check_outputs(outputs, found, where)
    # of the one that was looked at: another would check and compile the graph once more
    network.outputs, network.output = outputs, output
    meaning = (
        ": the score of a class is the logarithm of its probability, which other classes lower too; the "
        "difference of two scores is that of its logits"
    )
    notes.append(f"it gives {outputs}, {decided}{meaning if outputs == 'probabilities' else ''}")
    if fixed.size is not None and not options.size and not said.takes_raw:
        notes.append(
            f"images are brought to {side} x {side} pixels by resizing, since it takes no others; say "
            "sizing=crop (with size) if its own were cut out"
        )
    return Classifier(
        network,
        fixed.preprocessing(),
        said.classes,
        notes=(*notes, *said.notes),
    )


def _layout(asked: list[Any], said: Interface, where: str) -> Layout:
    """Return where the axis of channels is: as was said, or the lengths of the input tell."""
    count = len(said.channels)
    axes: dict[Layout, Any] = {"channels_first": asked[1], "channels_last": asked[3]}
    possible = [said.layout] if said.layout != "auto" else list(axes)
    # a graph mostly states the length of the one axis that cannot change
    fitting = [layout for layout in possible if axes[layout] == count]
    if len(fitting) == 1:
        return fitting[0]
    counted = [axes[layout] for layout in possible if isinstance(axes[layout], int)]
    if counted and not fitting:
        raise ParameterError(
            f"channels: found {', '.join(said.channels)} for {where}; expected "
            f"{' or '.join(map(str, counted))} names, for as many channels has its input"
        )
    if said.layout == "auto":
        raise ParameterError(
            f"layout: found an input of shape {asked} in {where}, which does not tell where its channels "
            "stand; say it (layout=channels_first or layout=channels_last)"
        )
    return said.layout


def _named_output(session: "InferenceSession", name: str, where: str) -> str:
    known = [item.name for item in session.get_outputs()]
    if name and name not in known:
        raise ParameterError(
            f"output: found {name!r} for {where}; expected one of {', '.join(known)}"
        )
    return name


def _input_shape(session: "InferenceSession", where: str) -> list[Any]:
    inputs = session.get_inputs()
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
