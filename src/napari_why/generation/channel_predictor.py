"""Predicted channels: what a stain would look like, by a network that was shown it beside others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.devices import choose_device, limited_threads
from napari_why.core.errors import MismatchError
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.core.schema import Fields, ListOf, Schema, Whole
from napari_why.datasets.preprocessing import Preprocessing, select_pixels
from napari_why.generation.saved_models import NAMES, SavedModel, portable_weights
from napari_why.images import NO_LENGTH, Grid, PixelSize, channel_names
from napari_why.images.image import export_dtype, export_pixels, how_read
from napari_why.model.schema import MOST_CHANNELS
from napari_why.networks.unet import UNet

KIND = "channels"
NETWORK: Schema = Fields(
    {
        "given": Whole(1, MOST_CHANNELS),
        "made": Whole(1, MOST_CHANNELS),
        "widths": ListOf(Whole(1, 512), fewest=2, most=10),
    }
)
# What every reader of a predicted channel needs.
INVENTED = (
    "predicted by a network from other channels, and not measured: structure that it invents is no "
    "evidence of anything in the specimen"
)


@dataclass(frozen=True, eq=False)
class PredictedChannels:
    """Channels that a network predicts for an image.

    Parameters
    ----------
    images : ndarray, shape (C, H, W)
        In raw intensity units, as it would be saved: 16-bit integers where the image has them, else float32.
    channels, given : tuple of str
        That were predicted, and from which.
    real : ndarray, float32, shape (C, H, W), or None
        The same channels where the image has them.
    grid : Grid
        Where the pixels lie on the image.
    record : Record
    pixel_size : PixelSize
        Of the image.
    """

    images: NDArray[Any]
    channels: tuple[str, ...]
    given: tuple[str, ...]
    real: NDArray[np.float32] | None
    grid: Grid
    record: Record
    pixel_size: PixelSize = NO_LENGTH

    @property
    def error(self) -> NDArray[np.float32] | None:
        """Prediction minus real channel, raw units; None where that is not known."""
        return None if self.real is None else self.images.astype(np.float32) - self.real

    @property
    def sentence(self) -> str:
        """How far the prediction is from the real channel; empty where that is not known."""
        error = self.error
        if error is None:
            return ""
        each = ", ".join(
            f"{name} {float(np.abs(plane).mean()):.3g} grey levels"
            for name, plane in zip(self.channels, error, strict=True)
        )
        return f"Mean absolute error of the prediction: {each}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences to read beside the images."""
        return (INVENTED, *filter(None, [self.sentence]))

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return {"generated": True, "notes": list(self.notes)}

    def pictures(self) -> dict[str, Picture]:
        """Return the prediction and, hidden, its error where that is known."""
        of = ", ".join(self.given)
        pictures = {
            "prediction": Picture(
                compute=lambda: self.images,
                channels=self.channels,
                titles=tuple(f"{name}: generated, predicted from {of}" for name in self.channels),
                role="prediction",
                kind="intensity",
                unit="grey levels",
            )
        }
        if self.real is not None:
            real = self.real
            pictures["error"] = Picture(
                compute=lambda: self.images.astype(np.float32) - real,
                channels=self.channels,
                titles=tuple(f"{name}: error of the generated channel" for name in self.channels),
                role="prediction error",
                kind="signed",
                unit="grey levels",
                visible=False,
                in_file=False,
            )
        return pictures


@dataclass(frozen=True, eq=False)
class ChannelPredictor:
    """A network that predicts channels from others, with the way from raw units and back.

    Made by :func:`napari_why.fit_channel_predictor` and :func:`napari_why.load_channel_predictor`.

    Parameters
    ----------
    network : UNet
        In evaluation mode.
    preprocessing : Preprocessing
        Of the training images: channels that are given first, then those that are made.
    given, made : tuple of str
        Names of channels.
    card : mapping
        How it was made, and its errors on images that were held out; JSON types.
    threads : int or None
        Processor threads; all cores but one when None.
    """

    network: UNet
    preprocessing: Preprocessing
    given: tuple[str, ...]
    made: tuple[str, ...]
    card: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides about a prediction, the same once loaded again."""
        return self._to_save().fingerprint

    def to(self, device: str) -> Self:
        """Move the network to ``auto``, ``cpu``, ``cuda:N`` or ``mps`` and return the predictor."""
        self.network.to(choose_device(device).name)
        return self

    @torch.no_grad()
    def of_prepared(self, given: Tensor) -> Tensor:
        """Return standardised channels (N, made, H, W) of standardised ones (N, given, H, W)."""
        with limited_threads(self.threads):
            made: Tensor = self.network(given.to(self.device)).cpu()
        return made

    def predict(self, image: xr.DataArray) -> PredictedChannels:
        """Predict channels of an image.

        One that was trained on cut-outs predicts whole images, pixel by pixel; one that was trained on
        images brought to a size predicts at that size.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            Raw intensities; channels are found by name.

        Raises
        ------
        MismatchError
            A channel that is needed is missing.
        """
        there = channel_names(image)
        missing = [name for name in self.given if name not in there]
        if missing:
            raise MismatchError(
                f"found an image with the channels {', '.join(there)}; expected {', '.join(missing)} too, "
                "of which the prediction is made; name the image's channels accordingly when opening it"
            )
        whole = self.preprocessing
        if whole.fit == "crop":
            whole = replace(whole, size=None, fit="none")
        prepared = whole.of_channels(self.given)(image)[None]
        raw = whole.of_channels(self.made).inverse(self.of_prepared(prepared))[0]
        real = None
        if set(self.made) <= set(there):
            standing = whole.of_channels(self.made)
            real = standing.inverse(standing.of_pixels(select_pixels(image, self.made)))
        return PredictedChannels(
            images=export_pixels(raw.astype(np.float32), export_dtype(image.dtype)),
            channels=self.made,
            given=self.given,
            real=None if real is None else real.astype(np.float32),
            grid=whole.grid(image),
            record=Record(
                kind="generation",
                method="channel_prediction",
                parameters={},
                classifier=self.fingerprint,
                source=str(image.attrs.get("source", "")),
                details={
                    "generated": True,
                    "given": list(self.given),
                    "made": list(self.made),
                    "notes": [INVENTED],
                    **how_read(image),
                },
            ),
            pixel_size=PixelSize.of(image),
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Save as a folder of safetensors and JSON.

        Parameters
        ----------
        path : str or Path
            The folder to make.
        overwrite : bool
            Replace a saved predictor or generator that is there.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        WhyError
            There is something at ``path`` that is not to be replaced, or it cannot be written.
        """
        return self._to_save().save(path, overwrite=overwrite)

    def _to_save(self) -> SavedModel:
        return SavedModel(
            KIND,
            {
                "given": len(self.given),
                "made": len(self.made),
                "widths": list(self.network.widths),
            },
            portable_weights(self.network),
            self.preprocessing,
            {"given": self.given, "made": self.made},
            self.card,
        )


def load_channel_predictor(path: str | Path, *, device: str = "cpu") -> ChannelPredictor:
    """Load a saved predictor; it predicts bit for bit what it did when it was saved.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``generative_model.json`` in it.
    device : str
        Where to put the network: ``auto``, ``cpu``, ``cuda:N`` or ``mps``.

    Returns
    -------
    ChannelPredictor

    Raises
    ------
    ModelFileError
        A file is missing, truncated, altered, of a newer format, or holds what cannot be.
    """
    saved = SavedModel.load(path, KIND, NETWORK, Fields({"given": NAMES, "made": NAMES}))
    given, made = saved.names["given"], saved.names["made"]
    saved.require(
        (*given, *made) == saved.preprocessing.channels
        and (len(given), len(made)) == (saved.network["given"], saved.network["made"]),
        "other channels in the network or the preprocessing than named",
        path,
    )
    network = saved.build(_build, path)
    return ChannelPredictor(network, saved.preprocessing, given, made, saved.card).to(device)


def _build(configuration: Mapping[str, Any]) -> UNet:
    return UNet(configuration["given"], configuration["widths"], outputs=configuration["made"])


def predict_channel(predictor: ChannelPredictor, image: xr.DataArray) -> PredictedChannels:
    """Predict a channel of an image from its others, in raw units.

    See :meth:`ChannelPredictor.predict`.

    Parameters
    ----------
    predictor : ChannelPredictor
    image : DataArray, dims (c, y, x)
        Raw grey levels; has the channels that the predictor is given.

    Returns
    -------
    PredictedChannels
        Raw grey levels.

    Examples
    --------
    >>> predictor = why.fit_channel_predictor(plate, "TMRM")  # doctest: +SKIP
    >>> why.predict_channel(predictor, image).images.dtype  # doctest: +SKIP
    dtype('uint16')
    """
    return predictor.predict(image)


def channels_of(channels: Sequence[str], made: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the channels to make, which have to be there, some others beside them.

    Parameters
    ----------
    channels : sequence of str
        All that there are.
    made : str or sequence of str
        One name or several.

    Returns
    -------
    tuple of str
        ``made``, as names.

    Raises
    ------
    MismatchError
        There is no such channel, or none that is given.
    """
    names = (made,) if isinstance(made, str) else tuple(made)
    unknown = [name for name in names if name not in channels]
    if unknown or not names:
        raise MismatchError(
            f"channel: found {', '.join(unknown) or 'none'}; expected some of {', '.join(channels)}"
        )
    if set(names) >= set(channels):
        raise MismatchError(
            f"channel: found all of {', '.join(channels)}; expected one to be left, from which the others "
            "are predicted"
        )
    return names
