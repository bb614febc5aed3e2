"""A classifier as an ONNX graph: raw pixel intensities in, probabilities out, checked before it is kept."""

import copy
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_why.core.errors import UnsupportedNetworkError, WhyError
from napari_why.core.optional_packages import require
from napari_why.core.record import package_versions
from napari_why.datasets.preprocessing import bring_to_size, select_pixels
from napari_why.exchange.interface import KEY, describe_interface
from napari_why.model.classifier import Classifier, softmax
from napari_why.model.image_facts import check_image
from napari_why.networks.network import refuse_black_box
from napari_why.networks.onnx_session import open_onnx

if TYPE_CHECKING:
    from xarray import DataArray

# The opset that torch's exporter itself writes (its library of operations); others it would convert to.
OPSET = 18
# Of probabilities, between onnxruntime and torch: both compute in float32, whose sums differ in the last
# digits by the order of their terms.
TOLERANCE = 1e-5
INPUT, OUTPUT = "image", "probabilities"
BATCH = 3  # images that the batch axis is tried with; one and two are special to some kernels
SIDE = 64  # pixels, of a classifier for any size whose card tells of no image


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX graph and what was found when it was checked.

    Parameters
    ----------
    content : bytes
    opset : int
    size : (int, int) or None
        Height and width that it takes; None where it takes any.
    example : ndarray, float32, shape (1, C, H, W)
        Raw pixels that it was checked with.
    output : ndarray, float32, shape (1, K)
        The classifier's own probabilities of them.
    difference : float
        Largest difference of a probability between onnxruntime and the classifier.
    """

    content: bytes
    opset: int
    size: tuple[int, int] | None
    example: NDArray[np.float32]
    output: NDArray[np.float32]
    difference: float


class FromRawPixels(nn.Module):
    """A classifier's preprocessing, but for the size, its network and the softmax as one module.

    Parameters
    ----------
    classifier : Classifier
        Its network is copied, so that it may be explained meanwhile.
    """

    mean: Tensor
    std: Tensor
    cofactor: Tensor

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network = copy.deepcopy(classifier.network).cpu().eval()
        self.intensity = classifier.preprocessing.intensity
        for name in ("mean", "std", "cofactor"):
            values = torch.tensor(getattr(classifier.preprocessing, name), dtype=torch.float32)
            self.register_buffer(name, values[None, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """Return the probabilities (N, K) of raw pixels (N, C, H, W)."""
        if self.intensity == "log1p":
            image = image.sign() * image.abs().log1p()
        elif self.intensity == "asinh":
            image = (image / self.cofactor).asinh()
        logits: Tensor = self.network((image - self.mean) / self.std)
        return logits.softmax(1)


def make_onnx(
    classifier: Classifier, image: "DataArray | None" = None, *, any_size: bool = False
) -> OnnxFile:
    """Make an ONNX graph of a classifier and compare it with the classifier itself.

    The graph takes raw grey levels, float32, shape (N, C, H, W), channels in the classifier's order, in
    any number of images; it standardises them and gives probabilities (N, K). Bringing an image to the
    classifier's size is left to whoever calls it: kernels of resizing differ between programs.

    Parameters
    ----------
    classifier : Classifier
    image : DataArray, dims (c, y, x), optional
        To check with; by default noise as bright as the training images.
    any_size : bool
        Take any height and width, where the network allows it. Always so of a classifier that takes
        each image in its own size.

    Returns
    -------
    OnnxFile
        The graph, what it was compared on, and the largest difference of a probability.

    Raises
    ------
    UnsupportedNetworkError
        The network cannot be exported, or onnxruntime computes something else.
    MismatchError
        The image does not fit the classifier.
    WhyError
        The packages of the extra ``exchange`` are not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "exchange", "export to ONNX")
    refuse_black_box(classifier.network, "an export")
    example = example_pixels(classifier, image)
    module = FromRawPixels(classifier).eval()
    wants_any = any_size or classifier.preprocessing.size is None
    content, free = _export(module, example, any_size=wants_any)
    content = _finish(content, classifier)
    own = own_probabilities(classifier, example)
    _compare(content, module, example, own, any_size=free)
    found = _run(content, example)
    return OnnxFile(
        content,
        OPSET,
        None if free else (example.shape[2], example.shape[3]),
        example,
        own,
        float(np.abs(found - own).max()),
    )


def example_pixels(classifier: Classifier, image: "DataArray | None") -> NDArray[np.float32]:
    """Return raw pixels (1, C, H, W) at the size that the network looks at.

    Parameters
    ----------
    classifier : Classifier
    image : DataArray, dims (c, y, x), or None
        None: noise with the mean and spread of the training images, no grey level below 0.

    Returns
    -------
    ndarray, float32, shape (1, C, H, W)
        Raw grey levels.

    Raises
    ------
    MismatchError
        The image does not fit the classifier.
    """
    preprocessing = classifier.preprocessing
    if image is not None:
        plane = check_image(image, classifier.channels, preprocessing)
        pixels = select_pixels(plane, classifier.channels)
        return bring_to_size(pixels, preprocessing.size, preprocessing.fit)[None].astype(np.float32)
    height, width = _usual_size(classifier)
    shape = (1, len(classifier.channels), height, width)
    noise = np.random.default_rng(0).standard_normal(shape)
    # whole numbers, as a camera gives them
    return preprocessing.inverse(noise).clip(min=0).round().astype(np.float32)


def _usual_size(classifier: Classifier) -> tuple[int, int]:
    size = classifier.preprocessing.size
    if size is not None:
        return size, size
    shapes = classifier.card.get("images", {}).get("shapes")
    return (shapes[0][0], shapes[0][1]) if shapes else (SIDE, SIDE)


def own_probabilities(classifier: Classifier, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the classifier's own probabilities (N, K) of raw pixels (N, C, H, W).

    Parameters
    ----------
    classifier : Classifier
    pixels : ndarray, float32, shape (N, C, H, W)
        Raw grey levels, at the size that the network looks at.

    Returns
    -------
    ndarray, float32, shape (N, K)
        0 to 1, summing to 1.
    """
    x = torch.stack([classifier.preprocessing.of_pixels(item) for item in pixels])
    return softmax(classifier.logits(x).cpu().numpy()).astype(np.float32)


def _export(
    module: FromRawPixels, example: NDArray[np.float32], *, any_size: bool
) -> tuple[bytes, bool]:
    """Return the graph, and whether it takes images of any size."""
    if any_size and _takes(module, widen(example)):
        try:
            return _export_graph(module, example, (0, 2, 3)), True
        except UnsupportedNetworkError:
            pass  # what the exporter cannot follow for every size: then for that size alone
    return _export_graph(module, example, (0,)), False


def widen(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images of another width than those given."""
    return np.concatenate([pixels, pixels], axis=3)


def _takes(module: FromRawPixels, pixels: NDArray[np.float32]) -> bool:
    """Tell whether a network takes images of that size; layers may hang on one."""
    try:
        _by_torch(module, pixels)
    except (RuntimeError, WhyError):  # torch's own word for shapes that do not fit
        return False
    return True


def _export_graph(
    module: FromRawPixels, example: NDArray[np.float32], free_axes: tuple[int, ...]
) -> bytes:
    dynamic = torch.export.Dim.DYNAMIC
    # two images: an axis of length 1 would be taken for one of that length alone
    images = torch.from_numpy(np.concatenate([example, example]))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the exporter, about its own insides
            program: Any = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                dynamic_shapes=(dict.fromkeys(free_axes, dynamic),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
            content: bytes = program.model_proto.SerializeToString()
    except Exception as error:  # the exporter and its parts raise classes of their own, privately
        first = next(iter(str(error).splitlines()), "")
        raise UnsupportedNetworkError(
            f"onnx: {module.network.name} cannot be exported ({type(error).__name__}: {first:.200}); "
            "expected a network of operations that torch.onnx knows"
        ) from error
    return content


def _finish(content: bytes, classifier: Classifier) -> bytes:
    """Take out what tells of this computer, and say what the numbers mean."""
    import onnx

    model = onnx.load_model_from_string(content)
    # the exporter notes at each step which line of which file it stands for
    graphs: list[Any] = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info):
            item.doc_string = ""
            del item.metadata_props[:]
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "napari-why", package_versions()["napari-why"]
    model.doc_string = (
        "Raw grey levels (N, C, H, W) to class probabilities (N, K); standardisation is inside."
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(describe_interface(classifier))
    finished: bytes = model.SerializeToString()
    return finished


def _run(content: bytes, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    session = open_onnx(content, "the exported graph")
    return np.asarray(session.run([OUTPUT], {INPUT: pixels})[0], dtype=np.float32)


def _compare(
    content: bytes,
    module: FromRawPixels,
    example: NDArray[np.float32],
    own: NDArray[np.float32],
    *,
    any_size: bool,
) -> None:
    """Compare the graph with the classifier, for one image, for several and for another size."""
    several = np.concatenate([example[..., ::-1, :], example, example[..., ::-1]])[:BATCH]
    tried = {"one image": (example, own)}
    tried["several images"] = (several, _by_torch(module, several))
    if any_size:
        wider = widen(example)
        tried["another size"] = (wider, _by_torch(module, wider))
    for what, (pixels, expected) in tried.items():
        found = _run(content, pixels)
        difference = float(np.abs(found - expected).max())
        if found.shape != expected.shape or not difference <= TOLERANCE:  # NaN is refused too
            raise UnsupportedNetworkError(
                f"onnx: for {what} onnxruntime gives probabilities that differ by {difference:.3g} "
                f"from the classifier's own; expected {TOLERANCE:g} at most; nothing was written"
            )


def _by_torch(module: FromRawPixels, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        found: Tensor = module(torch.from_numpy(np.ascontiguousarray(pixels)))
    return found.numpy()
