"""Ties an alpha series to the viewer's slider, its text overlay and a curve."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Image

from napari_why.output.layer_metadata import LayerFacts

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.counterfactuals.result import Counterfactual


class SeriesLink:
    """Follows the alpha slider as long as one of the series' layers is in the viewer.

    Parameters
    ----------
    viewer : ViewerModel
    layers : sequence of Image layers
        The series that :func:`napari_why.to_layers` made, all with alpha as their first axis.
    counterfactual : Counterfactual
    on_alpha : callable
        Called with the alpha whenever the viewer shows another one.
    """

    def __init__(
        self,
        viewer: "ViewerModel",
        layers: Sequence[Image],
        counterfactual: "Counterfactual",
        on_alpha: Callable[[float], None],
    ) -> None:
        self._viewer = viewer
        self._layers = [ref(layer) for layer in layers]
        self._alphas = counterfactual.alphas
        verdict = LayerFacts.of(layers[0]).verdict if layers else ""
        self._texts = overlay_texts(counterfactual, verdict)
        self._on_alpha = on_alpha
        text = viewer.canvas.overlays.text
        self._before = {name: getattr(text, name) for name in ("text", "visible", "position")}
        text.position = "top_left"
        viewer.dims.events.current_step.connect(self.follow)
        viewer.layers.events.removed.connect(self._removed)

    @property
    def layer(self) -> Image | None:
        """A layer of the series that is still in the viewer, None when all are gone."""
        for held in self._layers:
            layer = held()
            if layer is not None and layer in self._viewer.layers:
                return layer
        return None

    @property
    def step(self) -> int:
        """Index of the alpha that the viewer shows."""
        layer = self.layer
        if layer is None:
            return 0
        alpha = layer.world_to_data(self._viewer.dims.point[-layer.ndim :])[0]
        return int(np.clip(round(float(alpha)), 0, len(self._alphas) - 1))

    def go_to(self, alpha: float) -> None:
        """Move the viewer's slider to the step nearest to an alpha."""
        layer = self.layer
        if layer is not None:
            nearest = self._alphas[np.abs(self._alphas - alpha).argmin()]
            self._viewer.dims.set_point(self._viewer.dims.ndim - layer.ndim, float(nearest))
            self.follow()

    def follow(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        """Show alpha and probability of the step that the viewer shows."""
        if self.layer is None:
            return
        step = self.step
        text = self._viewer.canvas.overlays.text
        text.text = self._texts[step]
        text.visible = True
        self._on_alpha(float(self._alphas[step]))

    def release(self) -> None:
        """Follow the viewer no more and give back the text that was there before."""
        self._viewer.dims.events.current_step.disconnect(self.follow)
        self._viewer.layers.events.removed.disconnect(self._removed)
        text = self._viewer.canvas.overlays.text
        if text.text in self._texts:
            for name, value in self._before.items():
                setattr(text, name, value)

    def _removed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        if self.layer is None:
            self.release()


def overlay_texts(counterfactual: "Counterfactual", verdict: str = "") -> list[str]:
    """Return what the overlay says at each step.

    "alpha 0.40   TT 0.73   DS 0.27", and below it the verdict on the convincing image, the same
    at every step, with its alpha.
    """
    target = counterfactual.classes.index(counterfactual.target)
    order = [target, *(i for i in range(len(counterfactual.classes)) if i != target)]
    alpha1 = counterfactual.special_alphas.get("alpha1")
    where = "" if alpha1 is None else f"at alpha {alpha1:.2f}: "
    below = f"\n{where}{verdict}" if verdict else ""
    return [
        "   ".join(
            [f"alpha {alpha:.2f}"]
            + [f"{counterfactual.classes[index]} {row[index]:.2f}" for index in order[:3]]
        )
        + below
        for alpha, row in zip(counterfactual.alphas, counterfactual.probabilities, strict=True)
    ]
