"""Images translated by networks that were trained apart, as paths of the classifier's own network."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from torch import Tensor

from napari_why.adversarial.cycle_gan import ClassTranslators
from napari_why.adversarial.flow_matching import STEPS, ClassFlow
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.core.options import Help, Range
from napari_why.counterfactuals.method import Complete, LatentPath, counterfactual_method
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION
from napari_why.networks.network import InvertibleNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier

FIT_TRANSLATION = "train it with napari_why.fit_translation(classifier, dataset)"
FIT_FLOW = "train it with napari_why.fit_flow(classifier, dataset)"


def lacks(name: str, advice: str) -> Callable[["Classifier"], str | None]:
    """Return what says that a classifier has no translators, or no flow, between its classes.

    Parameters
    ----------
    name : str
        Of the part, as statistics keep it.
    advice : str
        How to come by it.

    Returns
    -------
    callable
        Takes a classifier, and returns a sentence, or None where it has that part.
    """

    def missing(classifier: "Classifier") -> str | None:
        statistics = classifier.latent_statistics
        if statistics is not None and name in statistics.parts:
            return None
        return f"this classifier has no {name} between its classes; {advice}"

    return missing


@counterfactual_method(
    title="Translation (CycleGAN)",
    source="Zhu et al. 2017, arXiv:1703.10593",
    caution="Translation makes images that pass for those of the class, and may add or take away what "
    "the class has nothing to do with (Cohen, Luck & Honari 2018): what it invents is no evidence.",
    missing=lacks(TRANSLATION, FIT_TRANSLATION),
)
def translation(
    network: InvertibleNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
) -> LatentPath:
    """Translate the image as a network learnt to, which had to pass for real and to lead back.

    The translation is an image; the path leads, in the latent after the first stage, from that of
    the image itself to that of its translation, and is complete there. Locked channels are none that a
    translator changes.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    statistics : LatentStatistics
        With translators.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices.

    Returns
    -------
    LatentPath
        Complete at alpha = 1.

    Raises
    ------
    UnsupportedNetworkError
        The classifier has no translators.
    ParameterError
        None for these classes, since their training was cancelled.
    """
    translators = statistics.parts.get(TRANSLATION)
    if not isinstance(translators, ClassTranslators):
        raise UnsupportedNetworkError(
            f"translation: found a classifier without translators; {FIT_TRANSLATION}"
        )
    return _path(network, translators, image, translators.translate(image, source, target))


@counterfactual_method(
    title="Flow (conditional flow matching)",
    source="Lipman et al. 2023, arXiv:2210.02747; inversion: Song, Meng & Ermon 2021, arXiv:2010.02502",
    caution="A flow makes what the same noise is in images of the other class; that this is the same "
    "specimen is an assumption, and what it invents is no evidence.",
    missing=lacks(FLOW_OF_CLASSES, FIT_FLOW),
)
def flow(
    network: InvertibleNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    integration_steps: Annotated[
        int,
        Help("steps from the image to its noise, and from there to the other class"),
        Range(1, 1000),
    ] = STEPS,
) -> LatentPath:
    """Run the flow of the image's class back to noise, and that of the target class forth from there.

    Only free channels flow, given the locked ones. The change is what the two classes' flows of the same
    noise differ by, so that detail which no flow reproduces stays.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    statistics : LatentStatistics
        With a flow.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices.
    integration_steps : int
        Of Heun's method, each way.

    Returns
    -------
    LatentPath
        Complete at alpha = 1.

    Raises
    ------
    UnsupportedNetworkError
        The classifier has no flow.
    """
    found = statistics.parts.get(FLOW_OF_CLASSES)
    if not isinstance(found, ClassFlow):
        raise UnsupportedNetworkError(f"flow: found a classifier without one; {FIT_FLOW}")
    moved = found.translate(image, source, target, integration_steps)
    return _path(network, found, image, moved)


def _path(
    network: InvertibleNetwork, made_by: ClassTranslators | ClassFlow, image: Tensor, moved: Tensor
) -> LatentPath:
    """Return the path that leads, after the first stage, from an image to what was made of it."""
    stage = network.stage_names[0]
    start = network.encode_to(image, stage)
    notes: tuple[str, ...] = ()
    if not made_by.complete:
        notes = (f"the training of this method was stopped after {made_by.epochs} epochs",)
    displacement = network.encode_to(moved, stage) - start
    return LatentPath(stage, start, displacement, rule=Complete(), notes=notes)
