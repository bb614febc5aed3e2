"""ECINN: shift the last latent by the difference of two class means."""

from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor

from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help
from napari_why.counterfactuals.method import LatentPath, Published, counterfactual_method
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import InvertibleNetwork


@counterfactual_method(
    title="Mean shift (ECINN)",
    source="Hvilshøj, Iosifidis & Assent 2021, ECINN: Efficient Counterfactuals from Invertible "
    "Neural Networks",
    caution="Mean shift is an adversarial direction of this one network, kept as a baseline: "
    "do not read its change as biology.",
)
def mean_shift(
    network: InvertibleNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    positions: Annotated[
        Literal["average", "each"],
        Help("one shift for all positions, or one for each (its pattern is sampling noise)"),
    ] = "average",
) -> LatentPath:
    """Shift the last latent along the difference of the class means.

    With p the source and q the target class, ``D`` is the mean latent of the training images
    *predicted* q minus that of those predicted p. The hyperplane between the means by *true*
    label, w = mu_q - mu_p, b = -w.(mu_p + mu_q)/2, is crossed at
    ``alpha0 = -(w.z + b) / (w.D)``; the convincing image stands at
    ``alpha1 = 4/5 + alpha0/2``. (A variant printed as "4/5 * alpha0/2" is a slip: it would stop
    at 0.4 alpha0, before the hyperplane, and ECINN's released code adds.)

    The formulas are exact where the head is linear on the last latent. A convolutional head draws its
    boundary elsewhere: the shift is then that of the last stage's latent, ``alpha0`` says where
    the hyperplane is crossed, and the boundary is searched for on the head as ever.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices p and q.
    positions : {"average", "each"}
        Whether D and w are averaged over the positions of the latent. In unregistered microscopy
        the spatial pattern of D is sampling noise. Both are 0 in locked channels. Where layers of a
        head follow the last stage, only the average is kept.

    Returns
    -------
    LatentPath
        On the last stage, with the published alphas (none where D runs along the hyperplane).

    Raises
    ------
    ParameterError
        A class without training images; a shift of each position, for an image of another size
        than the training images, or where its means are not kept.
    """
    for index in (source, target):
        if not statistics.true_counts[index]:
            raise ParameterError(
                f"mean_shift: found no training image of {statistics.classes[index]}; "
                "expected at least one of the source and of the target class"
            )
    stage, by_label, by_prediction, notes = _means(network, statistics)
    start = network.encode_to(image, stage)
    trained = by_label.shape[1:]
    if positions == "each" and start.shape[1:] != trained:
        raise ParameterError(
            f"positions: found a latent of {_size(start.shape)} positions; expected "
            f"{_size(trained)}, which class means are kept of, for a shift of each; take "
            "positions='average'"
        )
    shift = _by_position(by_prediction[target] - by_prediction[source], positions)
    low, high = (_by_position(by_label[index], positions) for index in (source, target))
    normal = high - low
    latent = to_float64(start[0].cpu())
    # Locked channels stay, and the head does not look at them.
    locked = network.locked_latent_channels(stage)
    shift[:locked], normal[:locked] = 0, 0
    # Summed over all positions, so that a shift averaged over positions needs no rule of its own.
    distance = ((latent - (low + high) / 2) * normal).sum().item()
    speed = (shift * normal).expand_as(latent).sum().item()
    missing = {statistics.classes[index] for index in (source, target)} & set(
        statistics.never_predicted
    )
    return LatentPath(
        stage,
        start,
        to_like(shift.expand_as(latent), start)[None],
        rule=Published(-distance / speed if speed else None),
        notes=(
            *notes,
            *(
                f"no training image was predicted {name}: its mean by true label stands in"
                for name in sorted(missing)
            ),
        ),
    )


def _means(
    network: InvertibleNetwork, statistics: LatentStatistics
) -> tuple[str, Tensor, Tensor, tuple[str, ...]]:
    """Return the last stage, its class means by true and by predicted label, and what to tell.

    Means are (classes, K, h, w); of a stage that layers of a head follow, (classes, K, 1, 1).

    Raises
    ------
    ParameterError
        Of that stage no means are known.
    """
    stage = network.stage_names[-1]
    if stage == network.layer_names[-1]:
        return stage, statistics.true_means, statistics.predicted_means, ()
    of_stage = statistics.stages.get(stage)
    if of_stage is None or of_stage.predicted_means is None:
        raise ParameterError(
            f"mean_shift: found no class means of {stage}, whose latent has too many channels; "
            "train with fewer stages, or with head='linear'"
        )
    # the formulas take the head for the hyperplane between the means, and this head is none
    note = (
        f"layers follow {stage}, so that the hyperplane between its class means need not be where the "
        "network decides: alpha0 and alpha1 are those of the published formulas, the boundary is the "
        "network's own"
    )
    means, predicted = of_stage.means, of_stage.predicted_means
    return stage, means[..., None, None], predicted[..., None, None], (note,)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[-2]} x {shape[-1]}"


def _by_position(mean: Tensor, positions: str) -> Tensor:
    double = to_float64(mean.cpu())
    return double.mean(dim=(1, 2), keepdim=True) if positions == "average" else double
