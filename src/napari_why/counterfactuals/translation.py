"""Unpaired translation by a CycleGAN, as a path of the classifier's own network."""

from typing import TYPE_CHECKING

from torch import Tensor

from napari_why.adversarial.cycle_gan import ClassTranslators
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.counterfactuals.method import Complete, LatentPath, counterfactual_method
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.translation import TRANSLATION
from napari_why.networks.network import InvertibleNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier

ADVICE = "train it with napari_why.fit_translation(classifier, dataset)"


def lacks_translation(classifier: "Classifier") -> str | None:
    """Say that a classifier has no translators between its classes, None where it has."""
    statistics = classifier.latent_statistics
    if statistics is not None and TRANSLATION in statistics.parts:
        return None
    return f"this classifier has no translation between its classes; {ADVICE}"


@counterfactual_method(
    title="Translation (CycleGAN)",
    source="Zhu et al. 2017, arXiv:1703.10593",
    caution="Translation makes images that pass for those of the class, and may add or take away what "
    "the class has nothing to do with (Cohen, Luck & Honari 2018): what it invents is no evidence.",
    missing=lacks_translation,
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
            f"translation: found a classifier without translators; {ADVICE}"
        )
    stage = network.stage_names[0]
    start = network.encode_to(image, stage)
    moved = network.encode_to(translators.translate(image, source, target), stage)
    notes: tuple[str, ...] = ()
    if not translators.complete:
        notes = (f"the training of the translators was stopped after {translators.epochs} epochs",)
    return LatentPath(stage, start, moved - start, rule=Complete(), notes=notes)
