"""Architectures of torchvision and timm, for numbers that were trained elsewhere.

They are built with random numbers and without a download; the numbers are those of a saved classifier or
of a state dict. Of each the part that makes maps and the part that reads classes from them are told
apart, as methods of layers need it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from torch import Tensor, nn

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.optional_packages import require
from napari_why.core.options import Help
from napari_why.networks.modules import Size, check_counts, height_and_width
from napari_why.networks.registry import register_foreign_network
from napari_why.networks.wrapped import WrappedNetwork

LIBRARIES = ("torchvision", "timm")


class LibraryNetwork(WrappedNetwork):
    """A model of a library, in two parts.

    Parameters
    ----------
    encoder, head : Module
        See :func:`napari_why.networks.wrap`.
    names : sequence of (str, str)
        The beginnings of the library's names of tensors, and what stands for each here; the first that
        fits counts.
    input_channels, classes : int
    library, architecture : str
    size : (int, int)
        Height and width in pixels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        names: Sequence[tuple[str, str]],
        *,
        input_channels: int,
        classes: int,
        library: str,
        architecture: str,
        size: tuple[int, int],
    ) -> None:
        # an activation in place would overwrite the map that a hook has just kept
        for module in (*encoder.modules(), *head.modules()):
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
        super().__init__(
            encoder,
            head,
            input_channels=input_channels,
            classes=classes,
            layers=(),
            name=library,
            configuration={"size": list(size), "architecture": architecture},
        )
        self._names = tuple(names)

    def rename_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict of the library's model with the names that tensors have here."""
        return {self._rename(name): value for name, value in state.items()}

    def _rename(self, name: str) -> str:
        for theirs, ours in self._names:
            if name.startswith(theirs):
                return ours + name.removeprefix(theirs)
        return name


class TimmEncoder(nn.Module):
    """The part of a timm model that makes maps; of models that keep channels last, with them moved."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._last = keeps_channels_last(model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps (N, K, h, w).

        Raises
        ------
        UnsupportedNetworkError
            Channels seem to stand last, though the model does not say so.
        """
        maps: Tensor = self.model.forward_features(x)  # type: ignore[operator]
        if self._last and maps.ndim == 4:
            maps = maps.permute(0, 3, 1, 2)
        wanted = getattr(self.model, "num_features", None)
        if maps.ndim == 4 and maps.shape[1] != wanted == maps.shape[3]:
            raise UnsupportedNetworkError(
                f"timm: found maps of shape {tuple(maps.shape)}; expected {wanted} channels, then rows "
                "and columns; wrap the parts of the model yourself (napari_why.networks.wrap)"
            )
        return maps


class TimmHead(nn.Module):
    """The part of a timm model that reads classes from maps.

    Its modules are those of the model, which stands in the encoder: held in a tuple, so that no tensor
    is listed twice.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = (model,)
        self._last = keeps_channels_last(model)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the logits (N, classes) of maps (N, K, h, w)."""
        given = maps.permute(0, 2, 3, 1) if self._last and maps.ndim == 4 else maps
        logits: Tensor = self._model[0].forward_head(given)  # type: ignore[operator]
        return logits


def keeps_channels_last(model: nn.Module) -> bool:
    """Tell whether a timm model makes maps (N, h, w, K), by its own word."""
    return str(getattr(model, "output_fmt", "NCHW")).upper().endswith("NHWC")


@register_foreign_network(
    title="timm model (timm)", source="github.com/huggingface/pytorch-image-models"
)
def timm(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    architecture: Annotated[str, Help("name of the model in timm")] = "resnet18",
) -> LibraryNetwork:
    """Build a model of timm with random numbers.

    Parameters
    ----------
    input_channels, classes : int
    size : int or (int, int)
        Height and width in pixels.
    frozen : bool
        Build it frozen.
    architecture : str

    Returns
    -------
    LibraryNetwork

    Raises
    ------
    ParameterError
        timm has no such model.
    UnsupportedNetworkError
        It makes no maps, as transformers of tokens.
    WhyError
        timm is not installed.
    """
    library = require("timm", "exchange", "models of timm")
    check_counts(input_channels, classes)
    if not library.is_model(architecture):
        near = ", ".join(library.list_models(f"*{architecture[:6]}*")[:5]) or "none is called alike"
        raise ParameterError(
            f"architecture: found {architecture!r}, which timm {library.__version__} does not have; "
            f"expected one of timm.list_models(): {near}"
        )
    model = library.create_model(
        architecture, pretrained=False, num_classes=classes, in_chans=input_channels
    )
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise UnsupportedNetworkError(
            f"timm: found that {architecture} is no classifier in two parts (forward_features, "
            "forward_head); wrap its parts yourself (napari_why.networks.wrap)"
        )
    network = LibraryNetwork(
        TimmEncoder(model),
        TimmHead(model),
        [("", "encoder.model.")],
        input_channels=input_channels,
        classes=classes,
        library="timm",
        architecture=architecture,
        size=height_and_width(size),
    )
    if frozen:
        network.freeze()
    return network


@register_foreign_network(title="torchvision model (torchvision)", source="pytorch.org/vision")
def torchvision(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    architecture: Annotated[str, Help("name of the model in torchvision")] = "resnet18",
) -> LibraryNetwork:
    """Build a classifier of torchvision with random numbers.

    Parameters
    ----------
    input_channels, classes : int
        Of other than three channels the first convolution is made anew.
    size : int or (int, int)
        Height and width in pixels.
    frozen : bool
        Build it frozen.
    architecture : str

    Returns
    -------
    LibraryNetwork

    Raises
    ------
    ParameterError
        torchvision has no such classifier.
    UnsupportedNetworkError
        It cannot be told apart into maps and head.
    """
    from torchvision import models  # brings torch's compiler, a third of a verb's time to begin

    check_counts(input_channels, classes)
    if architecture not in models.list_models(module=models):
        near = ", ".join(
            name for name in models.list_models(module=models) if name[:6] == architecture[:6]
        )
        raise ParameterError(
            f"architecture: found {architecture!r}, which torchvision does not have as a classifier; "
            f"expected one of torchvision.models.list_models(): {near or 'none is called alike'}"
        )
    model = models.get_model(architecture, weights=None, num_classes=classes)
    encoder, head, names = _split(model, architecture)
    _set_input_channels(encoder, input_channels, architecture)
    network = LibraryNetwork(
        encoder,
        head,
        names,
        input_channels=input_channels,
        classes=classes,
        library="torchvision",
        architecture=architecture,
        size=height_and_width(size),
    )
    if frozen:
        network.freeze()
    return network


def _split(
    model: nn.Module, architecture: str
) -> tuple[nn.Module, nn.Module, list[tuple[str, str]]]:
    """Return the part that makes maps, the head, and how names of tensors become those of the parts."""
    parts = dict(model.named_children())
    if {"layer4", "avgpool", "fc"} <= set(parts):  # ResNet, ResNeXt, Wide ResNet
        names = [name for name in parts if name not in ("avgpool", "fc")]
        encoder = nn.Sequential()
        for name in names:
            encoder.add_module(name, parts[name])
        head = _head(avgpool=parts["avgpool"], flatten=nn.Flatten(1), fc=parts["fc"])
        return encoder, head, [("fc.", "classifier.fc."), ("", "encoder.")]
    if {"features", "classifier"} == set(parts) and architecture.startswith("densenet"):
        encoder = nn.Sequential()
        encoder.add_module("features", parts["features"])
        encoder.add_module("relu", nn.ReLU())  # a function in torchvision's own pass
        head = _head(
            pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(1), linear=parts["classifier"]
        )
        return encoder, head, [("classifier.", "classifier.linear."), ("", "encoder.")]
    pools = {"avgpool", "features", "classifier"} == set(parts)
    if pools or (
        set(parts) == {"features", "classifier"} and architecture.startswith("mobilenet_v2")
    ):
        pool = parts["avgpool"] if pools else nn.AdaptiveAvgPool2d(1)
        # ConvNeXt normalises channels before it flattens, and does both itself
        flatten = nn.Identity() if architecture.startswith("convnext") else nn.Flatten(1)
        head = _head(pool=pool, flatten=flatten, layers=parts["classifier"])
        return (
            parts["features"],
            head,
            [("classifier.", "classifier.layers."), ("features.", "encoder.")],
        )
    raise UnsupportedNetworkError(
        f"torchvision: found {architecture}, whose parts ({', '.join(parts)}) are not known here; expected "
        "a ResNet, ResNeXt, DenseNet, VGG, AlexNet, MobileNet, EfficientNet or ConvNeXt; wrap its parts "
        "yourself (napari_why.networks.wrap)"
    )


def _head(**parts: nn.Module) -> nn.Sequential:
    head = nn.Sequential()
    for name, part in parts.items():
        head.add_module(name, part)
    return head


def _set_input_channels(encoder: nn.Module, channels: int, architecture: str) -> None:
    """Make the first convolution anew for another number of channels than three."""
    name, first = next(
        (name, part) for name, part in encoder.named_modules() if isinstance(part, nn.Conv2d)
    )
    if first.in_channels == channels:
        return
    if first.groups != 1:
        raise UnsupportedNetworkError(
            f"torchvision: found that {architecture} begins with a convolution in groups; expected one "
            "over all channels"
        )
    settings: dict[str, Any] = {
        key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")
    }
    made = nn.Conv2d(channels, first.out_channels, **settings, bias=first.bias is not None)
    holder, _, last = name.rpartition(".")
    setattr(encoder.get_submodule(holder), last, made)
