"""A classifier as a BioImage.IO package: ONNX weights, a test image with its answer, cover, card.

The format: https://bioimage.io/spec/#/v0_5/model (version 0.5). What is written passes the test of
bioimageio.core; no other program is tried here.
"""

import keyword
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_why.core.errors import ParameterError, WhyError
from napari_why.core.optional_packages import require
from napari_why.exchange.interface import KEY, describe_interface
from napari_why.exchange.model_card import model_summary, model_title, write_card
from napari_why.exchange.onnx_file import INPUT, OUTPUT, OnnxFile, make_onnx
from napari_why.exchange.options import ExportOptions
from napari_why.images import NO_LENGTH
from napari_why.images.display import HEX_COLOURS, contrast_limits, default_colormaps
from napari_why.model.classifier import Classifier

if TYPE_CHECKING:
    from xarray import DataArray

# What nobody but the user can say, and the zoo asks for.
NEEDED = ("authors", "licence", "citation")
# The spec's alphabet of names.
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_+\- ()]+")
SHORTEST_NAME, LONGEST_NAME = 5, 64  # the spec's; of longer ones it warns
# Of a test tensor: three numbers of probabilities that agree are as many as anybody reads.
TOLERANCE = 1e-4
# Of a cover, as the zoo shows it: two to one.
COVER = (512, 256)
TAGS = ("classification", "microscopy", "fluorescence-light-microscopy", "explainable-ai", "napari")
# The spec's words for the units of pixels here: no length, no unit.
UNITS = {"um": "micrometer", NO_LENGTH.unit: None}


def write_bioimageio(
    classifier: Classifier,
    path: Path,
    options: ExportOptions,
    image: "DataArray | None" = None,
) -> OnnxFile:
    """Write a package as a zip file, and have bioimageio.core test it.

    Parameters
    ----------
    classifier : Classifier
    path : Path
        A new file.
    options : ExportOptions
        Authors, licence and citation (with a DOI or an address) are needed.
    image : DataArray, dims (c, y, x), optional
        For the test tensor and the cover; by default noise as bright as the training images.

    Returns
    -------
    OnnxFile
        The weights in it.

    Raises
    ------
    ParameterError
        Something that only the user can say is missing, or is none: a licence, a DOI.
    UnsupportedNetworkError
        See :func:`make_onnx`.
    WhyError
        The extra ``exchange`` is not installed, or bioimageio finds a fault in the package.
    """
    options.require(NEEDED, "bioimageio")
    if not options.doi and not options.url:
        options.require(("doi",), "bioimageio")
    spec = require("bioimageio.spec", "exchange", "BioImage.IO packages")
    require("bioimageio.core", "exchange", "BioImage.IO packages")
    graph = make_onnx(classifier, image, any_size=options.any_size)
    with TemporaryDirectory(prefix="napari-why-") as place:
        folder = Path(place)
        try:
            model = _describe(classifier, options, graph, folder)
            spec.save_bioimageio_package(model, output_path=path)
        except ValueError as error:  # what pydantic raises: a licence, DOI or address that is none
            said = " ".join(str(error).split())
            raise ParameterError(
                f"bioimageio: bioimageio.spec {spec.__version__} refuses the description ({said:.300}); "
                "check licence (SPDX), DOI and address"
            ) from error
    check_package(path)
    return graph


def check_package(path: Path) -> None:
    """Have bioimageio.core run the test of a package.

    Raises
    ------
    WhyError
        It does not pass; says why.
    """
    core = require("bioimageio.core", "exchange", "BioImage.IO packages")
    summary = core.test_description(path, weight_format="onnx", expected_type="model")
    if summary.status != "passed":
        found = [entry for detail in summary.details for entry in detail.errors]
        said = (
            "; ".join(entry.msg.splitlines()[0] for entry in found if entry.msg) or summary.status
        )
        raise WhyError(
            f"{path}: bioimageio.core {core.__version__} finds a fault in the package ({said:.300}); it "
            "was not written"
        )


def _describe(
    classifier: Classifier,
    options: ExportOptions,
    graph: OnnxFile,
    folder: Path,
) -> Any:
    """Write the files of a package into a folder, and return its description."""
    from bioimageio.spec.model import v0_5

    (folder / "README.md").write_text(write_card(classifier, options), encoding="utf-8")
    (folder / "weights.onnx").write_bytes(graph.content)
    np.save(folder / "test_input.npy", graph.example)
    np.save(folder / "test_output.npy", graph.output)
    draw_cover(graph.example[0], classifier.channels).save(folder / "cover.png")

    def file(name: str) -> Any:
        return v0_5.FileDescr(source=folder / name)

    # the names as they are: the spec's own have neither spaces nor signs
    own: dict[str, Any] = {KEY: describe_interface(classifier)}
    cited: dict[str, Any] = {"doi": options.doi} if options.doi else {"url": options.url}
    return v0_5.ModelDescr(
        name=_name(model_title(classifier, options)),
        description=model_summary(classifier, options),
        authors=[
            v0_5.Author(name=person.name, affiliation=person.affiliation or None)
            for person in options.people
        ],
        cite=[v0_5.CiteEntry(text=options.citation, **cited)],
        license=v0_5.LicenseId(options.licence),
        documentation=file("README.md"),
        covers=[file("cover.png")],
        tags=list(TAGS),
        inputs=[
            v0_5.InputTensorDescr(
                id=v0_5.TensorId(INPUT),
                description="raw grey levels; standardisation is part of the weights",
                axes=_input_axes(v0_5, classifier, graph),
                test_tensor=file("test_input.npy"),
                data=v0_5.IntervalOrRatioDataDescr(type="float32"),
            )
        ],
        outputs=[
            v0_5.OutputTensorDescr(
                id=v0_5.TensorId(OUTPUT),
                description="probability of each class",
                axes=[
                    v0_5.BatchAxis(),
                    v0_5.ChannelAxis(channel_names=identifiers(classifier.classes)),
                ],
                test_tensor=file("test_output.npy"),
                data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
            )
        ],
        weights=v0_5.WeightsDescr(
            onnx=v0_5.OnnxWeightsDescr(
                source=folder / "weights.onnx",
                opset_version=graph.opset,
            )
        ),
        config=v0_5.Config(
            bioimageio=v0_5.BioimageioConfig(
                reproducibility_tolerance=[
                    v0_5.ReproducibilityTolerance(
                        relative_tolerance=TOLERANCE, absolute_tolerance=TOLERANCE
                    )
                ]
            ),
            **own,
        ),
    )


def _input_axes(v0_5: Any, classifier: Classifier, graph: OnnxFile) -> list[Any]:
    shape = graph.example.shape[2:]
    sizes: Sequence[Any] = shape
    if graph.size is None:
        # the least that was tried; a network says nothing of what it needs
        sizes = [v0_5.ParameterizedSize(min=side, step=side) for side in shape]
    # reduced to one size, images of several sizes have pixels of several sizes: of no length, then
    pixel = classifier.pixel_size
    scales = {"y": pixel.y, "x": pixel.x}
    return [
        v0_5.BatchAxis(),
        v0_5.ChannelAxis(channel_names=identifiers(classifier.channels)),
        *(
            v0_5.SpaceInputAxis(
                id=v0_5.AxisId(name), size=size, scale=scales[name], unit=UNITS[pixel.unit]
            )
            for name, size in zip("yx", sizes, strict=True)
        ),
    ]


def identifiers(names: Sequence[str]) -> list[str]:
    """Return names that are Python identifiers, as the spec wants them, each once.

    Examples
    --------
    >>> identifiers(["DAPI", "wild type", "wild-type", "3", "class"])
    ['DAPI', 'wild_type', 'wild_type_2', '_3', 'class_']
    """
    made: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        plain = f"{plain}_" if keyword.iskeyword(plain) else plain
        chosen, number = plain, 2
        while chosen in made:
            chosen, number = f"{plain}_{number}", number + 1
        made.append(chosen)
    return made


def _name(title: str) -> str:
    plain = " ".join(NOT_IN_NAMES.sub(" ", title).split())[:LONGEST_NAME]
    return plain if len(plain) >= SHORTEST_NAME else f"{plain} model"


def draw_cover(pixels: NDArray[np.float32], channels: Sequence[str]) -> Image.Image:
    """Draw an image (C, y, x) as a cover: the sum of its channels, each in its stain's colour.

    Parameters
    ----------
    pixels : ndarray, float32, shape (C, H, W)
        Raw grey levels; each channel between its own contrast limits.
    channels : sequence of str
        Their names, which tell the colours.

    Returns
    -------
    PIL.Image.Image
        RGB, of the size of a cover; the image in its middle, as large as it fits.
    """
    colours = [HEX_COLOURS[name] for name in default_colormaps(channels)]
    total = np.zeros((*pixels.shape[1:], 3))
    for plane, colour in zip(pixels, colours, strict=True):
        low, high = contrast_limits(plane)
        shown = ((plane - low) / (high - low)).clip(0, 1)[..., None]
        total += shown * np.array(list(bytes.fromhex(colour)))
    drawn = Image.fromarray(total.clip(0, 255).astype(np.uint8))
    cover = Image.new("RGB", COVER)
    factor = min(COVER[0] / drawn.width, COVER[1] / drawn.height)
    width, height = (max(1, round(side * factor)) for side in drawn.size)
    cover.paste(drawn.resize((width, height)), ((COVER[0] - width) // 2, (COVER[1] - height) // 2))
    return cover
