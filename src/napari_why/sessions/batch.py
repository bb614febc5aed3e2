"""A batch beside a viewer: which images its selected layers are, and the layers of one row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer

from napari_why.core.errors import MismatchError
from napari_why.core.folders import find_shown
from napari_why.napari_reader import image_layers
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.layers import to_layers
from napari_why.output.raw_layers import LayerChoice, match_layers
from napari_why.output.stored_result import read_result
from napari_why.sessions.image_choice import find_raw_layers, shown_plane

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.batch import ImageReference


def selected_references(viewer: "ViewerModel", channels: Sequence[str]) -> "list[ImageReference]":
    """Return the images that the selected raw layers are of, one for each file.

    Of layers from no file it is the image that they make, in memory. In the viewer's thread.

    Parameters
    ----------
    viewer : ViewerModel
    channels : sequence of str
        Of the classifier, one layer each.

    Returns
    -------
    list of ImageReference

    Raises
    ------
    MismatchError
        No raw layer is selected, or those of an image lack a channel.
    """
    from napari_why.batch import ImageReference

    chosen = [layer for layer in find_raw_layers(viewer) if layer in viewer.layers.selection]
    if not chosen:
        raise MismatchError(
            "found no raw image layer selected; expected some; select them in the layer list"
        )
    found = []
    for origin, layers in _by_file(chosen).items():
        first = LayerFacts.of(layers[0])
        if origin and first.read_as is None and find_shown(origin).exists():
            found.append(ImageReference(Path(origin), {"image": origin}))
            continue
        image = _choice_of(viewer, layers, channels).read()
        name = origin or layers[0].name
        found.append(ImageReference(image, {"image": name}))
    return found


def layers_of_row(image: "ImageReference", folder: Path, pictures: Sequence[str]) -> list[Layer]:
    """Return the raw layers of an image of a batch, and those of its pictures on top.

    Parameters
    ----------
    image : ImageReference
        Of the batch's row.
    folder : Path
        Of the results.
    pictures : sequence of str
        Names of its pictures below the folder; one that is gone is left out.

    Returns
    -------
    list of Layer
        From the bottom up, in no viewer yet.
    """
    opened = image.open()
    raw = [Layer.create(*data) for data in image_layers(opened)]
    name = Path(image.name.split("; ")[0]).name.partition(".")[0]
    for layer in raw:
        layer.name = _named_after(name, layer)
    results: list[Layer] = []
    for picture in pictures:
        if (folder / picture).is_file():
            made = to_layers(read_result(folder / picture), list(raw))
            for layer in made:
                # one result on show: the first, and the others a click away
                layer.visible = layer.visible and not results
                layer.name = _named_after(name, layer)
            results += made
    return [*raw, *results]


def _named_after(name: str, layer: Layer) -> str:
    # layers of an image from a file begin with its name already
    return str(layer.name) if layer.name.startswith(name) else f"{name} {layer.name}"


def _by_file(layers: Sequence[Image]) -> Mapping[str, list[Image]]:
    found: dict[str, list[Image]] = {}
    for layer in layers:
        found.setdefault(LayerFacts.of(layer).origin, []).append(layer)
    return found


def _choice_of(
    viewer: "ViewerModel", layers: Sequence[Image], channels: Sequence[str]
) -> LayerChoice:
    matched: list[Any] = match_layers(layers, channels)
    missing = [name for name, layer in zip(channels, matched, strict=True) if layer is None]
    if missing:
        names = ", ".join(repr(layer.name) for layer in layers)
        raise MismatchError(
            f"found the layers {names}; expected one that is surely of {' and '.join(missing)}; "
            "rename it as the channel, or select it too"
        )
    return LayerChoice.of(matched, channels, shown_plane(viewer, matched[0]))
