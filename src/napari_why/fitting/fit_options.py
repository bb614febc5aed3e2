"""The options of a fit, declared once for form, shell, console and card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from napari_why.core.options import Help, Label, Options, Presets, Range, Suggested, Topic, Unit
from napari_why.datasets.data_checks import Duplicates
from napari_why.datasets.dataset import Dataset
from napari_why.training import TrainingOptions

NO_GENERATOR = "none"


# of the networks in the literature (ImageNet, Otto 2022)
USUAL_SIZE = 224


# networks scale down by factors of 2, four times at most: of such a size all of them take images
SIZE_STEP = 16


IMAGES, COUNTERFACTUALS = Topic("images"), Topic("counterfactuals")


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """How images are made ready for the network.

    Parameters
    ----------
    size : int
        Height and width that the network sees, in pixels.
    sizing, intensity : str
        See :class:`~napari_why.datasets.Preprocessing`.
    """

    size: Annotated[
        int,
        Help("height and width to which images are brought for the network"),
        Range(16, 4096),
        Unit("px"),
        Label("image size"),
    ] = USUAL_SIZE
    sizing: Annotated[
        Literal["resize", "crop"],
        Help("resize whole images, or cut out their centre"),
        Label("brought to it by"),
        IMAGES,
    ] = "resize"
    intensity: Annotated[
        Literal["linear", "log1p", "asinh"],
        Help("how raw intensities are mapped before standardising; the last two tame heavy tails"),
        IMAGES,
    ] = "linear"


# the images' options stand last among the bases, so that they come first in forms and in help
@dataclass(frozen=True, kw_only=True)
class FitOptions(TrainingOptions, ImageOptions):
    """All options of :func:`napari_why.fit`.

    Parameters
    ----------
    lock : str
        Channels that counterfactuals leave alone: ``auto`` lets the lock test decide, ``none``, or
        names separated by commas.
    duplicates : str
        What becomes of pixels that stand in two splits: ``refuse`` raises an error; ``leave_out``
        leaves them out of validation and test; ``keep`` notes them.
    second_network : bool
        Whether a small second network is trained, for second opinions.
    pixel_maps : bool
        Whether maps of pixels between the classes are fitted, for ``transport`` to choose among.
    generator : str
        A network that is trained along on the same images, and makes the images of this classifier's
        counterfactuals; ``none``: its own network does, if it can. What stands here holds for both
        trainings, what is left open is each network's own; channels are locked in the generator.
    network_parameters, generator_parameters : mapping
        The network's own parameters, such as ``{"blocks": "1,1"}``; None: as the network has them.
    resume : bool
        Go on from the checkpoints in the fit's folder.
    size, sizing, intensity
        See :class:`ImageOptions`.
    epochs, ..., averaging, patience, ..., threads
        See :class:`~napari_why.training.TrainingOptions`.

    Examples
    --------
    >>> FitOptions(size=64, epochs=2).for_network("cam_net").schedule
    'one_cycle'
    """

    lock: Annotated[
        str,
        Help(
            "channels that counterfactuals leave alone: auto tests which tell next to nothing; "
            "none; names"
        ),
        Label("channels left alone"),
        COUNTERFACTUALS,
    ] = "auto"
    second_network: Annotated[
        bool,
        Help("train a small second network, asked whether it agrees with counterfactuals"),
        Presets(quick_look=False, thorough=True),
        COUNTERFACTUALS,
    ] = True
    # the two that take longest after the training, and that classifying does not need
    pixel_maps: Annotated[
        bool,
        Help("fit further ways to change images, of which transport takes what fits best; minutes"),
        Label("further ways to change"),
        Presets(quick_look=False, thorough=True),
        COUNTERFACTUALS,
    ] = True
    duplicates: Annotated[
        Duplicates,
        Help("identical pixels in two splits: an error; out of validation and test; kept"),
        Label("same image in two splits"),
        IMAGES,
    ] = "refuse"
    generator: Annotated[
        str,
        Help(
            "network that makes the images of counterfactuals for one that cannot, trained on the same "
            "images: iresnet, or none"
        ),
        Suggested((NO_GENERATOR, "iresnet")),
        COUNTERFACTUALS,
    ] = NO_GENERATOR
    # without a Help: forms and shell take a network's parameters from its builder
    network_parameters: Mapping[str, Any] | None = field(default_factory=dict)
    generator_parameters: Mapping[str, Any] | None = field(default_factory=dict)
    resume: bool = False

    def to_card(self, channels: Sequence[str]) -> dict[str, Any]:
        """Return the options as the card of a classifier has them, with the channels looked at.

        Where a training was resumed from does not matter to what came of it, and is left out.
        """
        values = self.to_dict()
        del values["resume"], values["generator_parameters"]
        if self.generator == NO_GENERATOR:
            del values["generator"]  # as cards always were
        else:
            values["generator_parameters"] = dict(self.generator_parameters or {})
        return values | {
            "channels": list(channels),
            "network_parameters": dict(self.network_parameters or {}),
        }

    def of_generator(self) -> "FitOptions":
        """Return the options by which the generator is fitted."""
        alone = replace(
            self,
            network_parameters=self.generator_parameters,
            generator=NO_GENERATOR,
            generator_parameters={},
        )
        return alone.for_network(self.generator)


def propose_size(dataset: Dataset) -> int:
    """Return a size for the network that no image of a data set has to be blown up to.

    224 pixels, or the smaller side of the first image, down to what every network takes. It reads an
    image.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> propose_size(simulate(4, size=70))
    64
    """
    image = dataset.image(0)
    smaller = min(int(image.sizes["y"]), int(image.sizes["x"]))
    return max(SIZE_STEP, min(USUAL_SIZE, smaller // SIZE_STEP * SIZE_STEP))
