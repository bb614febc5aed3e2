"""A user's own torch modules as a network that can be explained."""

from collections.abc import Mapping, Sequence
from functools import partial
from threading import get_ident
from typing import Any

from torch import Tensor, nn

from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.networks.module_trial import ModulePair, Trial
from napari_why.networks.modules import height_and_width, linear_weights
from napari_why.networks.network import Network


class WrappedNetwork(Network):
    """An encoder module and a head module of the user; see :func:`wrap`."""

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        *,
        input_channels: int,
        classes: int,
        layers: Sequence[str],
        name: str,
        configuration: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.name, self.input_channels, self.classes = name, input_channels, classes
        self.encoder, self.classifier = encoder, head
        self._layers = tuple(layers)
        self._configuration = dict(configuration)
        # an object, since what a network holds may not be exchanged while it is explained
        self._trial = Trial(name)

    def try_out(self, size: tuple[int, int] | None) -> None:
        """Try the modules out once, at the given size (height, width) or at one that they take.

        Raises
        ------
        UnsupportedNetworkError
            What would make explanations false; see :func:`wrap`.
        """
        if self._trial.done:
            return
        known = self.input_channels, self.classes, self._layers
        self._trial.run(ModulePair(self.encoder, self.classifier, *known), size)

    def encode(self, x: Tensor) -> Tensor:
        """Return the encoder's maps."""
        if not self.training and x.ndim == 4:
            self.try_out((x.shape[-2], x.shape[-1]))
        maps: Tensor = self.encoder(x)
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            found = getattr(maps, "shape", type(maps).__name__)
            raise UnsupportedNetworkError(
                f"{self.name}: found an encoder output of shape {found}; expected "
                "feature maps (N, K, h, w); leave pooling and flattening to the head"
            )
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of a batch (N, C, H, W)."""
        logits = super().forward(x)
        if not self.training:  # what got its shape in this pass could not be tried before
            self.try_out((x.shape[-2], x.shape[-1]))
        return logits

    def head(self, features: Tensor) -> Tensor:
        """Return the head's logits."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the named submodules, then the encoder's as ``encoder``."""
        seen: dict[str, Tensor] = {}
        mine = get_ident()

        def keep(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if get_ident() == mine:  # another thread may use the modules meanwhile
                seen[name] = output

        # hooks and not a second pass, so that all maps stand in one graph
        handles = [
            self.encoder.get_submodule(name).register_forward_hook(partial(keep, name))
            for name in self._layers
        ]
        try:
            last = self.encode(x)
        finally:
            for handle in handles:
                handle.remove()
        return {name: seen[name] for name in self._layers} | {"encoder": last}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Return the named submodules, then ``encoder``."""
        return (*self._layers, "encoder")

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``, once a builder is registered."""
        return {
            "name": self.name,
            "input_channels": self.input_channels,
            "classes": self.classes,
            **self._configuration,
        } | ({"frozen": True} if self.frozen else {})

    @property
    def linear_head_weights(self) -> Tensor | None:
        """Weights of a head that is pooling, flattening and one linear layer, else None."""
        return linear_weights(self.classifier)


def wrap(
    encoder: nn.Module,
    head: nn.Module,
    *,
    input_channels: int,
    classes: int,
    layers: Sequence[str] = (),
    name: str = "wrapped",
    **configuration: Any,
) -> WrappedNetwork:
    """Make a network that can be explained of an encoder and a head.

    In-place activations of both are switched to ordinary ones, which changes no output. Then copies
    are tried out on noise, and what would make explanations false is refused: outputs that are
    no logits, changes in place, logits that are random, that hang on the other images of a batch or
    whose gradient is cut off. They are tried at ``size`` if it is given, else at a size that they
    take; where none is found, or parameters get their shape with the first image only, when they
    are first used in evaluation mode.

    Activations and sums may be modules or plain functions (``x += y`` too) and be used several times:
    methods that follow every step see them all, and name what they have no rule for.

    Parameters
    ----------
    encoder : Module
        (N, C, H, W) to feature maps (N, K, h, w).
    head : Module
        Feature maps to logits (N, classes).
    input_channels, classes : int
        As the modules have them.
    layers : sequence of str
        Submodules of the encoder whose maps are offered as layers, first to last.
    name : str
        Under which a builder is (or will be) registered in ``NETWORKS``; needed for saving only.
    **configuration
        The builder's further keyword arguments (``size`` and JSON values); needed for saving only.

    Returns
    -------
    WrappedNetwork

    Raises
    ------
    ParameterError
        A name in ``layers`` that is no submodule of the encoder.
    UnsupportedNetworkError
        Modules that cannot be explained, with all that was found.

    Examples
    --------
    >>> encoder = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU())
    >>> head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    >>> wrap(encoder, head, input_channels=2, classes=2, layers=["0"]).layer_names
    ('0', 'encoder')
    """
    for name_of, given in (("encoder", encoder), ("head", head)):
        if not isinstance(given, nn.Module):
            raise ParameterError(
                f"{name_of}: found {given!r:.80}; expected a torch module; an ONNX file is "
                "imported (napari_why.import_model), or made a torch module of first (with a converter "
                "such as onnx2torch)"
            )
    known = dict(encoder.named_modules())
    unknown = [layer for layer in layers if layer not in known or layer in ("", "encoder")]
    if unknown:
        raise ParameterError(
            f"layers: found {', '.join(map(repr, unknown))}; expected names of submodules: "
            f"{', '.join(filter(None, known)) or 'none'}"
        )
    # an activation in place would overwrite the map that a hook has just kept
    for module in (*encoder.modules(), *head.modules()):
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    network = WrappedNetwork(
        encoder,
        head,
        input_channels=input_channels,
        classes=classes,
        layers=layers,
        name=name,
        configuration=configuration,
    )
    size = configuration.get("size")
    network.try_out(None if size is None else height_and_width(size))
    return network
