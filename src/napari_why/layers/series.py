"""A counterfactual as image series along an axis ``alpha``, and what changed."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_why.layers.colormaps import diverging, symmetric_limits
from napari_why.layers.placement import Axis, place
from napari_why.layers.raw import layer_of_channel

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_why.counterfactuals.result import Counterfactual


def series_layers(
    counterfactual: "Counterfactual", sources: "list[Image]", plane: tuple[int, ...] | None = None
) -> "list[Image]":
    """Return one image series a channel, and hidden above them one difference series a channel.

    Parameters
    ----------
    counterfactual : Counterfactual
    sources : list of Image layers
        The raw layers; the series of a channel looks as the raw layer of that channel does.
    plane : tuple of int, optional
        See :func:`napari_why.to_layers`.

    Returns
    -------
    list of Image layers
        Axes (alpha, y, x), or (alpha, z, y, x) on a stack: beside a stack (z, y, x) a series
        (alpha, y, x) would share one slider with z. Raw intensity units.
    """
    from napari.layers import Image

    from napari_why.images import default_colormaps
    from napari_why.measurement import verdict

    placement = place(
        counterfactual.grid,
        sources[0] if sources else None,
        plane,
        leading=(alpha_axis(counterfactual),),
    )
    identity, judged = uuid4().hex, verdict(counterfactual).line
    colormaps = default_colormaps(counterfactual.channels)
    layers = []
    for index, channel in enumerate(counterfactual.channels):
        images = counterfactual.images[:, index]
        look = _look(layer_of_channel(sources, channel, index), images, colormaps[index])
        layers.append(
            Image(
                placement.shaped(images),
                name=f"{channel}: {counterfactual.source_class} to {counterfactual.target}",
                metadata={
                    "napari_why": _metadata(counterfactual, identity, "series", channel, judged)
                },
                **look,
                **placement.options,
            )
        )
    layers[0].blending = "translucent_no_depth"
    # one scale for all channels: on one of its own, a change of no account would look strong
    limits = symmetric_limits(counterfactual.differences)
    for index, channel in enumerate(counterfactual.channels):
        layer = Image(
            placement.shaped(counterfactual.differences[:, index]),
            name=f"{channel}: change",
            colormap=diverging(),
            contrast_limits=limits,
            blending="translucent_no_depth",
            visible=False,
            metadata={
                "napari_why": _metadata(counterfactual, identity, "difference", channel, judged)
            },
            **placement.options,
        )
        layer.colorbar.visible = True
        layers.append(layer)
    return layers


def alpha_axis(counterfactual: "Counterfactual") -> Axis:
    """Return where the steps of a series lie, so that napari's slider reads alpha itself."""
    alphas = counterfactual.alphas
    step = float((alphas[-1] - alphas[0]) / (len(alphas) - 1)) if len(alphas) > 1 else 1.0
    return Axis("alpha", float(alphas[0]), step)


def _look(raw: "Image | None", images: Any, colormap: str) -> dict[str, Any]:
    if raw is None:
        from napari_why.images import contrast_limits

        return {
            "colormap": colormap,
            "contrast_limits": contrast_limits(images),
            "blending": "additive",
        }
    return {
        "colormap": raw.colormap,
        "contrast_limits": tuple(raw.contrast_limits),
        "gamma": raw.gamma,
        "blending": "additive",
    }


def _metadata(
    counterfactual: "Counterfactual", identity: str, role: str, channel: str, judged: str
) -> dict[str, Any]:
    return {
        **counterfactual.record.to_dict(),
        "id": identity,
        "role": role,
        "channel": channel,
        "target": counterfactual.target,
        "classes": list(counterfactual.classes),
        "alphas": [float(alpha) for alpha in counterfactual.alphas],
        "probabilities": np.asarray(counterfactual.probabilities, dtype=float).tolist(),
        "special_alphas": dict(counterfactual.special_alphas),
        "verdict": judged,
    }
