"""What a counterfactual method returns, images on a path between classes, and what it is worth."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.core.pictures import Axis, Picture
from napari_why.core.record import Record
from napari_why.core.registry import title_of
from napari_why.counterfactuals.engine import PathImages, Series
from napari_why.counterfactuals.method import METHODS, LatentPath
from napari_why.counterfactuals.remarks import Circumstances
from napari_why.counterfactuals.spread import Samples, Spread
from napari_why.counterfactuals.through import SecondOpinion
from napari_why.counterfactuals.verdict import verdict
from napari_why.images import make_image
from napari_why.images.image import Grid, export_pixels
from napari_why.model.classifier import pooled_latents
from napari_why.model.whole_field import WholeFieldClassifier

if TYPE_CHECKING:
    from napari_why.model import Classifier


@dataclass(frozen=True)
class Counterfactual:
    """A sequence of images that leads from the source's class to the target class.

    Parameters
    ----------
    images : ndarray, shape (A, C, H, W)
        The exported images in raw intensity units, one per alpha: dtype of the source where it
        is 16-bit, float32 where rounding would wipe the change out.
    alphas : ndarray, float64, shape (A,)
        Position on the path: 0 is the source, 1 the full displacement; evenly spaced. At least
        one, fewer than asked for when the work was cancelled.
    probabilities : ndarray, float32, shape (A, K)
        Probability of every class, computed on exactly the exported images.
    reconstruction : ndarray, float32, shape (C, H, W)
        f^-1(f(x)) in raw units; as exported, what differences are taken against. Of an approximate decoder
        decode(encode(x)), plus the details that it leaves out where these are kept.
    special_alphas : dict of str to float or None
        ``boundary`` (the target overtakes its strongest competitor: p = 0.5 with two classes),
        ``alpha0`` (the method's own guess of it, else the boundary) and ``alpha1`` (the
        counterfactual: the image that is measured and judged); None where there is none on the path.
        Methods whose alpha1 is the complete change add ``wanted``, where p(target) of the exported
        image reaches the wanted probability, if it does. alpha1 lies at the complete change or before
        it, but for the published one of ``mean_shift`` and for a multiple that was asked for; boundary
        and wanted may lie beyond, which the notes say.
    special_images : dict of str to ndarray, shape (C, H, W)
        The exported images at the special alphas, same dtype as ``images``; those that a
        cancelled run did not reach are missing.
    special_probabilities : dict of str to ndarray, shape (K,)
        Class probabilities of exactly those exported images.
    classes, channels : tuple of str
        Names along K and C: of the classifier that was asked, and of the images.
    source_class, target : str
        Predicted class of the source, and the class that was asked for.
    valid : bool
        The exported image at ``alpha1`` is predicted as the target. alpha1 is not moved to make it
        so. False when a cancelled run did not get that far.
    round_trip_error : float
        Largest ``|reconstruction - x|`` in grey levels of the source's unit.
    out_of_range : float
        Share of values of the image at ``alpha1`` outside the source dtype's range before
        export; 0 for float sources, which have no range.
    grid : Grid
        Where the pixels lie on the source image.
    record : Record
        How it was made.
    complete : bool
        False when the work was cancelled.
    notes : tuple of str
        Sentences that the user should read beside the images.
    second_probabilities : dict of str to ndarray, shape (K,), or None
        What the second network says about the exported images at the
        special alphas, by their names; None where there is no second network.
    distance : float or None
        How far the exported image at ``alpha1`` lies from the data: the share (0 to 1) of the
        target class's training images that lie closer to their class than it does. 0.5 is an
        ordinary image, 1 one that is further off than every training image; None where it is
        not known.
    circumstances : Circumstances
        What else is known, such as in what the source is unlike the training images, and whether
        the classes can be told apart: what notes and :func:`verdict` are made from.
    spread : Spread or None
        How well the change at ``alpha1`` is known, pixel by pixel; None where nobody asked or it is not
        known.
    samples : Samples or None
        Draws of what the image could be, the first of which the series leads to; None where the method
        gives one answer.
    """

    images: NDArray[Any]
    alphas: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    special_alphas: dict[str, float | None]
    special_images: dict[str, NDArray[Any]]
    special_probabilities: dict[str, NDArray[np.float32]]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    source_class: str
    target: str
    valid: bool
    round_trip_error: float
    out_of_range: float
    grid: Grid
    record: Record
    complete: bool = True
    notes: tuple[str, ...] = ()
    second_probabilities: dict[str, NDArray[np.float32]] | None = None
    distance: float | None = None
    circumstances: Circumstances = field(default_factory=Circumstances)
    spread: Spread | None = None
    samples: Samples | None = None

    @property
    def unlike(self) -> tuple[str, ...] | None:
        """In what the source is unlike the training images; None where that is not known."""
        found = self.circumstances.unlike
        return None if found is None else tuple(item.sentence for item in found)

    @property
    def differences(self) -> NDArray[np.float32]:
        """Images minus the reconstruction f^-1(f(x)) as exported, raw units, shape (A, C, H, W)."""
        # exported as they are: against pixels that are not rounded, what stays would seem to change
        before = export_pixels(self.reconstruction, self.images.dtype)
        return self.images.astype(np.float32) - before.astype(np.float32)

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record: enough to follow the series in the viewer."""
        return {
            "target": self.target,
            "classes": list(self.classes),
            "alphas": [float(alpha) for alpha in self.alphas],
            "probabilities": np.asarray(self.probabilities, dtype=float).tolist(),
            "special_alphas": dict(self.special_alphas),
            **verdict(self).facts,
        }

    @property
    def title(self) -> str:
        """Method and classes in words: "Class-to-class transport: DS to TT"."""
        return f"{title_of(self.record.method, METHODS)}: {self.source_class} to {self.target}"

    def pictures(self) -> dict[str, Picture]:
        """Return the series, draws where alpha1 is one, and, hidden, differences and spread."""
        title = self.title
        alphas = Axis("alpha", self.alphas)
        spread = {} if self.spread is None else self.spread.pictures(self.channels)
        draws = {}
        alpha1 = self.special_alphas.get("alpha1")
        if self.samples is not None and alpha1 is not None:
            # there and nowhere else on the alpha slider: draws are of the complete change
            at = Axis("alpha", np.array([alpha1]), alphas.step)
            draws["draws"] = self.samples.picture(self.channels, at)
        return {
            "series": Picture(
                compute=lambda: self.images,
                channels=self.channels,
                titles=tuple(f"{title} · {channel}" for channel in self.channels),
                role="series",
                kind="intensity",
                unit="grey levels",
                axis=alphas,
            ),
            "differences": Picture(
                compute=lambda: self.differences,
                channels=self.channels,
                titles=tuple(f"{title} · change of {channel}" for channel in self.channels),
                role="difference",
                kind="signed",
                unit="grey levels",
                axis=alphas,
                visible=False,
                in_file=False,  # two stacks along one time axis would read as one series
            ),
            **spread,
            **draws,
        }


def assemble_result(
    image: xr.DataArray, images: PathImages, series: Series, second: SecondOpinion | None
) -> Counterfactual:
    """Return the result but for its notes and its record, which need it.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)
        The source; tells the grid.
    images : PathImages
        Of the path.
    series : Series
        What was made of it.
    second : SecondOpinion or None
        Who else is asked about the exported images.

    Returns
    -------
    Counterfactual
        Its record is empty, and it has no notes.
    """
    generator, classifier = images.task.classifier, images.task.judge
    task, last = images.task, series.special_frames.get("alpha1", series.frames[-1])
    return Counterfactual(
        images=np.stack([frame.image for frame in series.frames]),
        alphas=np.array(series.alphas),
        probabilities=np.stack([frame.probabilities for frame in series.frames]),
        reconstruction=series.reconstruction,
        special_alphas=series.special.by_name(),
        special_images={name: frame.image for name, frame in series.special_frames.items()},
        special_probabilities={
            name: frame.probabilities for name, frame in series.special_frames.items()
        },
        classes=tuple(classifier.classes),
        channels=tuple(generator.channels),
        source_class=generator.classes[task.source],
        target=generator.classes[task.target],
        valid="alpha1" in series.special_frames
        and int(last.probabilities.argmax()) == task.judged_target,
        round_trip_error=float(np.abs(series.reconstruction - images.source).max()),
        out_of_range=last.out_of_range,
        grid=generator.preprocessing.grid(image),
        record=Record(kind="counterfactual", method=""),
        complete=series.complete,
        second_probabilities=_second_opinions(second, images, series),
        distance=distance_from_class(generator, last.image, task.target)
        if "alpha1" in series.special_frames
        else None,
    )


def _second_opinions(
    second: SecondOpinion | None, images: PathImages, series: Series
) -> dict[str, NDArray[np.float32]] | None:
    if second is None:
        return None
    opinions = {}
    for name, frame in series.special_frames.items():
        as_image = make_image(frame.image, ("c", "y", "x"), images.task.classifier.channels)
        opinion = second.of(as_image, images.task.judge.classes)
        if opinion is not None:
            opinions[name] = opinion
    return opinions


@torch.no_grad()
def distance_from_class(classifier: "Classifier", image: NDArray[Any], target: int) -> float | None:
    """Return the share of a class's training images that lie closer to it than an image.

    Parameters
    ----------
    classifier : Classifier
    image : ndarray, shape (C, H, W)
        Raw units, on the network's grid.
    target : int
        Class index.

    Returns
    -------
    float or None
        0 to 1, by Mahalanobis distance of pooled latents; of a whole field the mean over crops of
        the training images' size. None where too few images of the class were seen in training,
        or the field is smaller than they are.
    """
    statistics = classifier.latent_statistics
    if statistics is None or statistics.distances is None:
        return None
    as_image = make_image(image, ("c", "y", "x"), classifier.channels)
    network = classifier.network
    batches: Iterable[Tensor] = [classifier.prepare(as_image)]
    if isinstance(classifier, WholeFieldClassifier):
        network, batches = classifier.trained.network, classifier.crops(as_image)
    shares = [
        statistics.distances.share_closer(latent, target)
        for batch in batches
        for latent in pooled_latents(network, batch)[0]
    ]
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None


def describe_result(result: Counterfactual, path: LatentPath) -> dict[str, Any]:
    """Return what the record tells about a result; JSON types.

    Parameters
    ----------
    result : Counterfactual
        But for its record.
    path : LatentPath
        That it was made on.

    Returns
    -------
    dict
        The record's ``details``.
    """
    known = result.circumstances
    return {
        "source_class": result.source_class,
        "target": result.target,
        "classes": list(result.classes),
        "channels": list(result.channels),
        "stage": path.stage,
        "alphas": result.alphas.tolist(),
        "probabilities": result.probabilities.astype(float).tolist(),
        "special_alphas": result.special_alphas,
        "special_probabilities": _plain(result.special_probabilities),
        "valid": result.valid,
        "round_trip_error": result.round_trip_error,
        "second_probabilities": None
        if result.second_probabilities is None
        else _plain(result.second_probabilities),
        "full_alpha": path.rule.full_alpha,
        "reset_channels": [result.channels[index] for index in path.put_back],
        "out_of_range": result.out_of_range,
        "distance": result.distance,
        "export_dtype": str(result.images.dtype),
        "complete": result.complete,
        "notes": list(result.notes),
        "locked_channels": list(known.locked),
        "unlike": None if result.unlike is None else list(result.unlike),
        "told_apart": None if known.chance is None else known.chance.to_dict(),
        "confounded": None if known.confounded is None else list(known.confounded),
        "uneven": None if known.uneven is None else [list(item) for item in known.uneven],
        "second_network_of_source": known.second_of_source,
        "second_network_had_a_say": known.second_had_a_say,
        "spread": None if result.spread is None else result.spread.facts(result.channels),
        **({} if result.samples is None else {"samples": result.samples.facts()}),
        "second_opinion": None if result.second_probabilities is None else known.second_name,
        "through": None if known.through is None else known.through.to_dict(),
        **verdict(result).facts,
    }


def _plain(probabilities: dict[str, NDArray[np.float32]]) -> dict[str, list[float]]:
    return {name: values.astype(float).tolist() for name, values in probabilities.items()}
