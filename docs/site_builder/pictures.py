"""What each method makes of one simulated image, by networks that are trained in seconds."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from skimage.filters import threshold_otsu
from skimage.measure import label
from sphinx.util import logging

import napari_why as why
from napari_why.core.errors import WhyError
from napari_why.counterfactuals import METHODS as COUNTERFACTUALS
from napari_why.output.figures import change_limit, draw_change, draw_image
from napari_why.simulation import simulate_effect

logger = logging.getLogger(__name__)

# Where the first example of the gallery leaves its classifier, trained on the same images: examples/01_*.py.
SHARED = Path(__file__).parents[1] / "examples" / "shared" / "classifier"
SIZE, IMAGES, EPOCHS = 64, 128, 10
# Enough to have pictures of what is trained apart; how good it gets is measured elsewhere.
FEW_EPOCHS = 2
# What seconds do not suffice for, said below the picture.
FAR_TOO_FEW = {
    "translation": f"{FEW_EPOCHS} epochs are far too few for a translation: it may change nothing yet. Minutes to "
    "hours are usual.",
    "flow": f"{FEW_EPOCHS} epochs are far too few for a flow. Minutes to hours are usual.",
    "latent_mean_shift": f"{EPOCHS} epochs are far too few for an autoencoder: [how a trained one "
    "decodes](../networks.md#generative-networks).",
    "latent_interpolation": f"{EPOCHS} epochs are far too few for an autoencoder: [how a trained one "
    "decodes](../networks.md#generative-networks).",
}
# A stage of few maps: quick to train, and still invertible.
SMALL = {"blocks": "1,1", "widths": "8,16", "downscaling": "2,2"}
PANEL = 1.9  # inches
# Of absolute values: one single pixel would else leave all others white.
SHOWN_QUANTILE = 0.995
# Explained and asked for.
SOURCE, TARGET = "healthy", "treated"


class MethodPictures:
    """Draws the picture of each method into a folder.

    Parameters
    ----------
    folder : Path
        Of the PNG files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def draw(self, kind: str, name: str) -> str:
        """Draw what a method makes of the image, and return the Markdown that shows it.

        Where no network here suits the method, the Markdown is the reason, and Sphinx warns.
        """
        make = {"attribution": self._attribute, "counterfactual": self._change}[kind]
        try:
            figure, words = make(name)
        except WhyError as error:
            logger.warning("no picture of %s: %s", name, error)
            return f"*No picture: {error}*"
        file = f"{kind}-{name}.png"
        figure.savefig(self.folder / file, dpi=90, metadata={"Software": None})
        caption = f"\n\n*{FAR_TOO_FEW[name]}*" if name in FAR_TOO_FEW else ""
        return f"![{words}](methods/{file}){caption}"

    @cached_property
    def dataset(self) -> Any:
        """Simulated images in which one class has less membrane potential."""
        return simulate_effect(IMAGES, size=SIZE, plates=2, wells=12).split(seed=0)

    @cached_property
    def image(self) -> Any:
        """A held-out image of the healthy class."""
        held_out = self.dataset.part("test")
        row = int(np.flatnonzero(held_out.table["label"] == SOURCE)[0])
        return held_out.image(row)

    @cached_property
    def rectified(self) -> Any:
        """A network of rectifiers with a linear head, which every attribution method takes."""
        if SHARED.exists():
            return why.load(SHARED)
        return self._fit("cam_net", generator="iresnet", generator_parameters=SMALL, lock="DAPI")

    @cached_property
    def invertible(self) -> Any:
        """Its generator, an i-ResNet, with translators and a flow between the classes."""
        fitted = self.rectified.generator
        fitted = why.fit_translation(fitted, self.dataset, epochs=FEW_EPOCHS, on_event=why.quiet)
        return why.fit_flow(fitted, self.dataset, epochs=FEW_EPOCHS, on_event=why.quiet)

    @cached_property
    def decoding(self) -> Any:
        """An autoencoder."""
        return self._fit("autoencoder")

    def _fit(self, network: str, **options: Any) -> Any:
        return why.fit(
            self.dataset,
            network,
            size=SIZE,
            epochs=EPOCHS,
            pixel_maps=False,
            threads=1,
            on_event=why.quiet,
            **options,
        )

    def _attribute(self, name: str) -> tuple[Figure, str]:
        nuclei = self.image.values[0].astype(float)
        given: dict[str, Any] = {}
        if name == "counterfactual_gradients":
            given["counterfactual"] = self._counterfactual("transport")
        found = why.attribute(
            self.rectified,
            self.image,
            name,
            TARGET,
            references=self.dataset,
            regions=label(nuclei > threshold_otsu(nuclei)).astype(np.int64),
            on_event=why.quiet,
            **given,
        )
        channels = list(self.image.coords["c"].values)
        figure = Figure(figsize=(PANEL * 5, PANEL * 1.25), layout="constrained")
        panels = figure.subplots(1, 5)
        for axes, plane, channel in zip(panels, self.image.values, channels, strict=False):
            draw_image(axes, plane, plane, channel)
        for axes, plane, words in zip(
            panels[2:], (found.joint, *found.maps), ("all channels", *channels), strict=True
        ):
            limit = float(np.quantile(np.abs(plane), SHOWN_QUANTILE)) or float(np.abs(plane).max())
            draw_change(axes, plane, limit or 1.0, words)
        return figure, f"Both channels, and the evidence for {TARGET}: together and of each"

    def _counterfactual(self, name: str) -> Any:
        classifier = self.invertible
        if COUNTERFACTUALS[name].unsuitable(classifier.network):
            classifier = self.decoding
        return why.counterfactual(classifier, self.image, TARGET, name, on_event=why.quiet)

    def _change(self, name: str) -> tuple[Figure, str]:
        found = self._counterfactual(name)
        before, after = found.images[0], found.images[-1]
        change = found.differences[-1]
        limit = change_limit(change[None])
        figure = Figure(figsize=(PANEL * 3, PANEL * 2.3), layout="constrained")
        panels = figure.subplots(2, 3)
        for row, channel in zip(panels, found.channels, strict=True):
            index = list(found.channels).index(channel)
            draw_image(row[0], before[index], before[index], f"{channel}, before")
            draw_image(row[1], after[index], before[index], "after")
            draw_change(row[2], change[index], limit, "change")
        return figure, f"{SOURCE} to {TARGET}: before, after and change of both channels"
