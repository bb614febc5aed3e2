"""From a labelled data set to a classifier in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from napari_why.classifier.classifier import Classifier
from napari_why.classifier.fitting import Fitting
from napari_why.classifier.fitting_checks import FittingError
from napari_why.datasets.dataset import Dataset
from napari_why.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.parameters import Help, Range, Unit, parameters_of, validated
from napari_why.training.losses import LossName

__all__ = ["FittingError", "fit"]


def fit(
    dataset: Dataset,
    network: str = "iresnet",
    *,
    size: Annotated[
        int, Help("height and width the network sees"), Range(16, 4096), Unit("px")
    ] = 224,
    sizing: Annotated[
        Literal["resize", "crop"], Help("resize whole images, or cut out their centre")
    ] = "resize",
    intensity: Annotated[
        Literal["linear", "log1p", "asinh"],
        Help("how raw intensities are mapped before standardising; the last two tame heavy tails"),
    ] = "linear",
    epochs: Annotated[
        int, Help("passes over the training images; 0: the network's own"), Range(0, 10_000)
    ] = 0,
    batch_size: Annotated[
        int, Help("images per training step; 0: the network's own"), Range(0, 4096)
    ] = 0,
    learning_rate: Annotated[
        float, Help("size of the first training steps; 0: the network's own"), Range(0, 10)
    ] = 0.0,
    step_size: Annotated[
        int,
        Help("epochs after which the learning rate is cut; 0: the network's own"),
        Range(0, 10_000),
    ] = 0,
    step_decay: Annotated[
        float,
        Help("what the learning rate is then multiplied by; 0: the network's own"),
        Range(0, 1),
    ] = 0.0,
    patience: Annotated[
        int,
        Help("stop after so many epochs without a lower validation loss; 0: never"),
        Range(0, 10_000),
    ] = 10,
    augment: Annotated[
        bool, Help("flip and turn training images at random: right angles and up to 10 degrees")
    ] = True,
    auxiliary_weight: Annotated[
        float, Help("weight of the losses of a network's further classifiers"), Range(0, 100)
    ] = 1.0,
    loss: Annotated[
        LossName,
        Help(
            "what orders the latent: nothing; images near their class's mean; normally "
            "distributed classes (invertible networks)"
        ),
    ] = "cross_entropy",
    loss_weight: Annotated[
        float, Help("weight of the class distance or likelihood"), Range(0, 1000)
    ] = 1.0,
    lock: Annotated[
        str,
        Help(
            "channels that counterfactuals leave alone: auto tests which tell nothing; none; names"
        ),
    ] = "auto",
    second_network: Annotated[
        bool, Help("train a small second network, asked whether it agrees with counterfactuals")
    ] = True,
    seed: Annotated[
        int, Help("of splits, first weights, order and augmentation"), Range(0, 2**31 - 1)
    ] = 0,
    device: Annotated[str, Help("auto, cpu, cuda, cuda:N or mps")] = "auto",
    threads: Annotated[int, Help("processor threads; 0: all cores but one"), Range(0, 1024)] = 0,
    channels: Sequence[str] | None = None,
    network_parameters: Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Classifier:
    """Train a network on a data set and return it with all that is needed to use it.

    Splits the data set if it is not split yet; takes the statistics of the preprocessing from the
    training images; trains; keeps the epoch with the lowest validation loss; freezes the network;
    collects the latent statistics of the training images (invertible networks); and measures it
    on the test images, which nothing before has looked at.

    Parameters
    ----------
    dataset : Dataset
    network : str
        A key of :data:`napari_why.networks.NETWORKS`.
    size, ..., threads
        See the annotations, which also make the form in the dock and the options in the shell. A
        0 stands for the network's own value where it says so.
    channels : sequence of str, optional
        Channels to look at; all by default.
    network_parameters : mapping, optional
        Further parameters of the network, such as ``{"blocks": "1,1", ...}``.
    folder : str or Path, optional
        Where to keep a checkpoint after each epoch.
    resume : bool
        Go on from the checkpoints in ``folder``.
    on_event, cancelled : callables
        See :mod:`napari_why.events`. Several tasks follow each other, each with its own Started;
        Finished comes once, at the end.

    Returns
    -------
    Classifier
        ``metrics`` has the entries ``validation`` and ``test``, each as
        :func:`~napari_why.classifier.held_out.held_out_metrics` returns it, with the entry
        ``reconstruction`` for a generative network, or None for a split
        without images. ``card["training"]["status"]`` is ``cancelled`` for a training that was:
        the classifier then is the best model so far. ``card["left_out"]`` lists what is missing
        since the work after the training was cancelled.

    Raises
    ------
    DatasetError
        The data set cannot be split, or a class has no training image.
    ParameterError
        A parameter is out of its range, or the size does not fit the network.
    FittingError
        The training broke off after at least one epoch; ``error.classifier`` is the best so far.
    TrainingError
        It broke off or was cancelled before: there is no classifier.

    Examples
    --------
    >>> from napari_why.datasets import simulate
    >>> classifier = fit(simulate(24, size=32), "cam_net", size=32, epochs=1)
    >>> classifier.classes, classifier.metrics["test"]["images"]["images"]
    (('diseased', 'treated'), 4)
    """
    given = locals()
    parameters = validated(fit, {item.name: given[item.name] for item in parameters_of(fit)})
    fitting = Fitting(
        network=network,
        parameters=parameters,
        channels=channels,
        network_parameters=network_parameters or {},
        folder=None if folder is None else Path(folder),
        resume=resume,
        on_event=on_event,
        cancelled=cancelled,
    )
    return fitting.run(dataset)
