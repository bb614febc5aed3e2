"""An alpha series in the viewer: its slider, the text in the corner, and finding one by its layers."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image
from psygnal import Signal

from napari_why.output.layer_metadata import LayerFacts, image_name

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_why.counterfactuals import Counterfactual

# Classes named in the corner: the target and its two strongest rivals fill one line of a narrow view.
CLASSES_IN_TEXT = 3
# Remarks of a verdict without doubts: whether it flips, who agrees, and where the change is.
REMARKS_IN_TEXT = 3
# Two lines in a small window: the picture below them is what is looked at.
LETTERS_OF_VERDICT = 120
# Pixels of the canvas that a character of napari's text takes at most on average, at its size of 10
# points; what is longer than the canvas is cut off.
LETTER_WIDTH = 9.6
# Pixels of the canvas beside the text: napari's own distance from both sides, with a letter to spare.
TEXT_MARGIN = 40
# At the end of each line: napari makes the box behind its text some 1.5 % too narrow, and a letter that
# sticks out of it cannot be read on the picture. Spaces that a line may be broken at do not count there.
PADDING = "\N{NO-BREAK SPACE}" * 3
# Characters of the shortest line that is read as one, however narrow the canvas.
SHORTEST_LINE = 24
# Of a step of the slider: beyond half of one, the series has no image there.
HALF_STEP = 0.51  # and a little for rounding


class AlphaSlider:
    """Follows the alpha slider as long as one of the series' layers is in the viewer.

    Parameters
    ----------
    viewer : ViewerModel
    layers : sequence of Image layers
        The series that :func:`napari_why.to_layers` made, all with alpha as their first axis.
    counterfactual : Counterfactual
    verdict : str, optional
        Written below alpha and probabilities.

    Attributes
    ----------
    moved : psygnal.Signal
        Emitted with the alpha whenever the viewer shows another one.
    """

    moved = Signal(float)

    def __init__(
        self,
        viewer: "ViewerModel",
        layers: Sequence[Image],
        counterfactual: "Counterfactual",
        verdict: str = "",
    ) -> None:
        self._viewer = viewer
        # weak: a series that the user removes gives its memory back although a result is shown
        self._layers = [ref(layer) for layer in layers]
        self._counterfactual = counterfactual
        self._verdict = verdict
        self._corner = corner_of(viewer)
        self._step: int | None = None
        self._released = False
        viewer.dims.events.current_step.connect(self.follow)
        viewer.canvas.events.size.connect(self.follow)  # the text is wrapped to it
        viewer.layers.events.removed.connect(self._layer_removed)
        for layer in layers:
            layer.events.visible.connect(self.follow)

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
        count = len(self._counterfactual.alphas)
        return 0 if layer is None else shown_step(self._viewer, layer, count)

    @property
    def is_seen(self) -> bool:
        """Whether the viewer shows an image of the series: its layers are visible, and it has one there."""
        layer = self.layer
        if layer is None:
            return False
        there = [held for known in self._layers if (held := known()) is not None]
        if not any(held.visible for held in there):
            return False
        place = float(layer.world_to_data(self._viewer.dims.point[-layer.ndim :])[0])
        return -HALF_STEP <= place <= len(self._counterfactual.alphas) - 1 + HALF_STEP

    @property
    def alpha(self) -> float:
        """The alpha that the viewer shows."""
        return float(self._counterfactual.alphas[self.step])

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each class on the image that the viewer shows."""
        row = self._counterfactual.probabilities[self.step]
        return {name: float(p) for name, p in zip(self._counterfactual.classes, row, strict=True)}

    def go_to(self, alpha: float) -> None:
        """Move the viewer's slider to the step nearest to an alpha."""
        layer = self.layer
        if layer is not None:
            alphas = self._counterfactual.alphas
            nearest = alphas[np.abs(alphas - alpha).argmin()]
            # alpha is the layer's first axis, and axes count from the last
            axis = self._viewer.dims.ndim - layer.ndim
            self._viewer.dims.set_point(axis, float(nearest))
            self.follow()  # napari says nothing where the slider stood there already

    def follow(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        """Show strength and probability of the step that the viewer shows; nothing where none is seen."""
        if self.layer is None:
            return
        if not self.is_seen:
            self._corner.leave(self)
            return
        step = self.step
        letters = int((self._viewer.canvas.size[1] - TEXT_MARGIN) / LETTER_WIDTH)
        self._corner.write(self, compose_text(self._counterfactual, step, self._verdict, letters))
        if step != self._step:
            self._step = step
            self.moved.emit(self.alpha)

    def release(self) -> None:
        """Follow the viewer no more and give back the text that was there before."""
        if not self._released:
            self._released = True
            self._viewer.dims.events.current_step.disconnect(self.follow)
            self._viewer.canvas.events.size.disconnect(self.follow)
            for held in self._layers:
                layer = held()
                if layer is not None:
                    layer.events.visible.disconnect(self.follow)
            self._viewer.layers.events.removed.disconnect(self._layer_removed)
            self._corner.leave(self)

    def _layer_removed(self, event: Any = None) -> None:  # noqa: ARG002 (napari sends one)
        if self.layer is None:
            self.release()


class TextCorner:
    """The text overlay of one viewer, for all who write in it.

    The newest writer's text is shown; when the last has left, what the user had there comes back.
    """

    def __init__(self, viewer: "ViewerModel") -> None:
        self._viewer = ref(viewer)
        # weak keys: a writer that was dropped without leaving must not hold the corner for ever
        self._texts: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._before: dict[str, Any] = {}
        self._written: str | None = None

    def write(self, writer: Any, text: str) -> None:
        """Set a writer's text; the first to come takes the corner at the top left.

        Parameters
        ----------
        writer : object
            Who writes; held weakly.
        text : str
            Lines; empty to say nothing.
        """
        text = "\n".join(f"{line}{PADDING}" for line in text.split("\n")) if text else text
        overlay = self._overlay
        if not self._texts and overlay is not None and overlay.text != self._written:
            self._before = {
                name: getattr(overlay, name) for name in ("text", "visible", "position")
            }
            overlay.position = "top_left"
        self._texts[writer] = text
        self._show()

    def leave(self, writer: Any) -> None:
        """Show the text of the writer before, or the user's own."""
        self._texts.pop(writer, None)
        self._show()

    def _show(self) -> None:
        overlay, texts = self._overlay, list(self._texts.values())
        if overlay is None:
            return
        if texts:
            self._written = texts[-1]
            overlay.text, overlay.visible = texts[-1], True
        elif overlay.text == self._written:  # else the user wrote something since
            self._written = None
            for name, value in self._before.items():
                setattr(overlay, name, value)

    @property
    def _overlay(self) -> Any:
        viewer = self._viewer()
        return None if viewer is None else viewer.canvas.overlays.text


_corners: "WeakKeyDictionary[Any, TextCorner]" = WeakKeyDictionary()


def corner_of(viewer: "ViewerModel") -> TextCorner:
    """Return the corner of a viewer; each viewer has one, however many sessions write in it."""
    model = inspect.unwrap(viewer)  # docks are given a proxy of the viewer
    return _corners.setdefault(model, TextCorner(model))


def compose_text(
    counterfactual: "Counterfactual", step: int, verdict: str = "", letters: int = 64
) -> str:
    """Return what the overlay says at a step, in lines of at most so many letters.

    "A02: change at 60 %: called TT (0.89), DS 0.11", and below it the verdict on the convincing image,
    the same at every step, with the strength of its change.

    Parameters
    ----------
    counterfactual : Counterfactual
    step : int
        Index of the alpha, from 0.
    verdict : str
        Empty: not said.
    letters : int
        A line has; 24 at least.

    Returns
    -------
    str
    """
    width = max(letters, SHORTEST_LINE)
    alpha, row = float(counterfactual.alphas[step]), counterfactual.probabilities[step]
    classes = counterfactual.classes
    first, *others = sorted(range(len(classes)), key=lambda index: -row[index])
    said = [f"called {classes[first]} ({row[first]:.2f})"]
    said += [f"{classes[index]} {row[index]:.2f}" for index in others[: CLASSES_IN_TEXT - 1]]
    image = image_name(counterfactual.record.source)
    strength = describe_strength(counterfactual, alpha)
    lines = [
        f"{image}: {strength}: {', '.join(said)}" if image else f"{strength}: {', '.join(said)}"
    ]
    alpha1 = counterfactual.special_alphas.get("alpha1")
    if verdict:
        where = "" if alpha1 is None else f"{describe_strength(counterfactual, alpha1)}: "
        lines.append(f"{where}{_shorten(verdict)}")
    return "\n".join(fill(line, width) for line in lines)


def _shorten(verdict: str) -> str:
    """Keep the first remarks, which are the doubts; a text over a picture must leave it to be seen."""
    remarks = verdict.split("; ")
    kept = "; ".join(remarks[:REMARKS_IN_TEXT])
    if len(kept) <= LETTERS_OF_VERDICT and len(remarks) <= REMARKS_IN_TEXT:
        return kept
    return f"{shorten(kept, LETTERS_OF_VERDICT, placeholder=' ...')} (more on the page)"


def describe_strength(counterfactual: "Counterfactual", alpha: float) -> str:
    """Say in words how far along its path a counterfactual is.

    In percent of the complete change, where the method has one; else as its alpha.

    Parameters
    ----------
    counterfactual : Counterfactual
    alpha : float
        A multiple of the path's displacement; 0 is no change.

    Returns
    -------
    str
    """
    complete = counterfactual.circumstances.full_alpha
    if alpha == 0:
        return "no change"
    if complete:
        return f"change at {100 * alpha / complete:.0f} %"
    return f"change of strength {alpha:.2f}"


@dataclass(frozen=True, eq=False)
class ShownSeries:
    """An alpha series that the viewer shows, whoever put it there, with a layer for each channel.

    Parameters
    ----------
    layers : tuple of Image layers
        In the order of the channels; alpha is their first axis.
    channels : tuple of str
    alphas : tuple of float
    target : str
        The class that it leads to.
    classifier : str
        Fingerprint of the classifier that made it.
    """

    layers: tuple[Image, ...]
    channels: tuple[str, ...]
    alphas: tuple[float, ...]
    target: str
    classifier: str

    def images(self) -> "NDArray[Any]":
        """Return the pixels, shape (A, C, H, W), raw units."""
        # Over a stack a series is (alpha, z, y, x) and says the same at every z that it has.
        planes = [
            np.asarray(layer.data[(slice(None), *(0,) * (layer.data.ndim - 3))])
            for layer in self.layers
        ]
        return np.stack(planes, axis=1)

    def step(self, viewer: "ViewerModel") -> int:
        """Return the index of the alpha that the viewer shows."""
        return shown_step(viewer, self.layers[0], len(self.alphas))


def find_newest_series(viewer: "ViewerModel", channels: Sequence[str]) -> ShownSeries | None:
    """Return the topmost counterfactual that has all the channels, one that is seen before others.

    None where there is none.

    The layers of one series carry one ``id``; a series of which a layer is missing, because it
    was removed or is still to be added, is passed over.

    Parameters
    ----------
    viewer : ViewerModel
    channels : sequence of str
        Without any there is none.

    Returns
    -------
    ShownSeries or None
    """
    found: dict[str, dict[str, Image]] = {}
    for layer in viewer.layers:
        facts = LayerFacts.of(layer)
        if isinstance(layer, Image) and facts.is_series:
            found.setdefault(str(facts.id), {})[str(facts.channel)] = layer
    # sorting keeps the order of those that are alike
    newest_first = list(reversed(found.values()))
    newest_first.sort(key=lambda layers: not any(layer.visible for layer in layers.values()))
    for layers in newest_first:
        if channels and set(channels) <= set(layers):
            first = LayerFacts.of(layers[channels[0]])
            return ShownSeries(
                tuple(layers[name] for name in channels),
                tuple(channels),
                first.alphas,
                first.target,
                first.classifier,
            )
    return None


def shown_step(viewer: "ViewerModel", layer: Image, count: int) -> int:
    """Return the index of the alpha of a series of ``count`` steps that the viewer shows.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image layer
        With the alphas on its first axis.
    count : int

    Returns
    -------
    int
        0 to ``count - 1``.
    """
    alpha = layer.world_to_data(viewer.dims.point[-layer.ndim :])[0]
    # two series of unequal length share one slider: beyond its end the shorter shows its last
    return int(np.clip(round(float(alpha)), 0, count - 1))
