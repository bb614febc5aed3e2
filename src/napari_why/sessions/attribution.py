"""The session that shows where a classifier looked: one map, or several beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
import pandas as pd
from napari.layers import Labels, Layer
from numpy.typing import NDArray
from psygnal import Signal

from napari_why.core.errors import MismatchError, WhyError
from napari_why.core.events import Advanced, Started, ignore_event, never_cancelled
from napari_why.output.layer_metadata import LayerFacts
from napari_why.output.layers import INDEX, features_of
from napari_why.sessions.explanation import ExplanationSession, Finding, Host, Subject
from napari_why.sessions.regions import RegionSelection
from napari_why.sessions.results_on_show import results_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray

    from napari_why.attribution import Attribution, Target
    from napari_why.evaluation import ExplanationScore
    from napari_why.model import Classifier


# What a score asks for beside the map, as compute does.
IMAGES_GIVEN = ("references", "regions", "counterfactual")


class Compared(NamedTuple):
    """A method among several: its map, how much that deserves to be believed, or why there is none."""

    method: str
    finding: "Finding[Attribution] | None" = None
    score: "ExplanationScore | None" = None
    problem: WhyError | None = None


class AttributionSession(ExplanationSession["Attribution"]):
    """Overlays of evidence for and against a class, or another score.

    Attributes
    ----------
    result_changed, region_changed : psygnal.Signal
        Emitted with the Attribution; with the number of the region that is chosen, 0 for none.

    Examples
    --------
    >>> session = why.AttributionSession(viewer, classifier)  # doctest: +SKIP
    >>> attribution = session.explain(target="treated", method="occlusion")  # doctest: +SKIP
    >>> session.explain(method="region_shapley", regions=viewer.layers["cells"])  # doctest: +SKIP
    """

    region_changed = Signal(int)
    # Occlusion needs nothing but predictions, so that it runs on every network.
    first_method = "occlusion"

    def __init__(
        self,
        viewer: "ViewerModel",
        classifier: "Classifier | None" = None,
        *,
        host: Host | None = None,
    ) -> None:
        super().__init__(viewer, classifier, host=host)
        # by what is explained, and not the last one that was given: maps may be shown in any order. Weak,
        # since a removed layer gives its memory back although the result is kept.
        self._regions: WeakKeyDictionary[Subject, ref[Labels]] = WeakKeyDictionary()
        self._selection: RegionSelection | None = None

    def compute(
        self,
        subject: Subject,
        target: "Target | Path | None" = None,
        method: str | None = None,
        *,
        regions: "Labels | NDArray[Any] | None" = None,
        **options: Any,
    ) -> "Finding[Attribution]":
        """Run a method; touches no viewer, so that it may run in another thread.

        Parameters
        ----------
        subject : Subject
        target : Target or Path, optional
            What :func:`napari_why.attribute` takes; a file stands for the similarity to its image.
        method : str, optional
            Name in the registry of methods.
        regions : Labels layer or ndarray, optional
            For methods that explain by regions; of a layer the plane is taken that is explained.
        **options
            Those of the method, ``references``, and ``on_event`` and ``cancelled``.
        """
        if isinstance(regions, Labels):
            self._regions[subject] = ref(regions)
            options["regions"] = plane_of_labels(regions, subject.plane)
        elif regions is not None:
            options["regions"] = regions
        return super().compute(subject, _find_image(target), method, **options)

    def compare(
        self,
        subject: Subject,
        target: "Target | Path | None",
        methods: Sequence[str],
        given: "Mapping[str, Mapping[str, Any]] | None" = None,
        *,
        scored: bool = False,
        **listeners: Any,
    ) -> list[Compared]:
        """Run several methods on one image; touches no viewer.

        A method that cannot be run gives its error in its place, so that the others are there.
        Cancelled work gives the methods that were done.

        Parameters
        ----------
        subject, target
            See :meth:`compute`.
        methods : sequence of str
            Names in :data:`napari_why.attribution.METHODS`.
        given : mapping of str to mapping, optional
            By method what it gets beside its defaults: ``references``, ``regions``, parameters.
        scored : bool
            Also measure how much each map deserves to be believed; see :meth:`score`.
        **listeners
            ``on_event`` and ``cancelled``.

        Returns
        -------
        list of Compared
            In the order of the methods.
        """
        on_event = listeners.get("on_event", ignore_event)
        cancelled = listeners.get("cancelled", never_cancelled)
        on_event(Started("comparing methods", len(methods)))
        found: list[Compared] = []
        for done, method in enumerate(methods, start=1):
            if cancelled():
                break
            options = (given or {}).get(method, {})
            try:
                # a method's own steps would hide how many methods are done
                finding = self.compute(subject, target, method, cancelled=cancelled, **options)
                # the rest of the options, those of the method, stand in the record
                images = {name: options[name] for name in IMAGES_GIVEN if name in options}
                score = (
                    self.score(finding, target, cancelled=cancelled, **images) if scored else None
                )
                found.append(Compared(method, finding, score))
            except WhyError as error:
                found.append(Compared(method, problem=error))
            on_event(Advanced(done))
        return found

    def score(
        self,
        finding: "Finding[Attribution]",
        target: "Target | Path | None" = None,
        *,
        regions: "Labels | NDArray[Any] | None" = None,
        **given: Any,
    ) -> "ExplanationScore":
        """Measure how much a map deserves to be believed; touches no viewer.

        Parameters
        ----------
        finding : Finding
            What :meth:`compute` returned.
        target, regions
            As they were given to :meth:`compute`.
        **given
            ``references``, as there, and what :func:`napari_why.score_explanation` takes.

        Returns
        -------
        ExplanationScore
        """
        from napari_why.evaluation import score_explanation

        subject = finding.subject
        if regions is not None:
            labels = isinstance(regions, Labels)
            given["regions"] = plane_of_labels(regions, subject.plane) if labels else regions
        return score_explanation(
            subject.classifier, subject.image, finding.result, target=_find_image(target), **given
        )

    def show_score(self, finding: "Finding[Attribution]", score: "ExplanationScore") -> None:
        """Keep a score with the layers of a finding, in their metadata; in the viewer's thread.

        Parameters
        ----------
        finding : Finding
            What :meth:`compute` returned, shown.
        score : ExplanationScore
            What :meth:`score` returned of it.
        """
        made = results_of(self.viewer).of_layer(finding.layers[0]) if finding.layers else None
        if made is not None:
            made.kept["score"] = score
        for layer in finding.layers:
            facts = LayerFacts.of(layer).with_further(explanation_score=score.facts)
            layer.metadata = {**layer.metadata, **facts.to_metadata()}

    def show(
        self,
        result: "Attribution",
        subject: Subject | None = None,
        layers: list[Layer] | None = None,
    ) -> None:
        """Put the layers of a result into the viewer, and values of regions into their Labels layer.

        The layer's features get a column for the method and target, and one for its standard error;
        those of results before stay. See :meth:`ExplanationSession.show` for the parameters.
        """
        super().show(result, subject, layers)
        labels = None if self.finding is None else self._labels_of(self.finding)
        if result.regions and labels is not None:
            labels.features = with_region_values(labels.features, result)

    @property
    def regions(self) -> RegionSelection | None:
        """What ties the regions that are explained to the viewer; None without any in it."""
        return self._selection

    def choose_region(self, region: int) -> None:
        """Choose a region by its label, and move the view there."""
        if self._selection is not None:
            self._selection.choose(region)

    def _labels_of(self, finding: "Finding[Attribution]") -> Labels | None:
        """Return the layer whose regions are explained: that which was given, or the regions found."""
        given = self._regions.get(finding.subject)
        layer = None if given is None else given()
        if layer is not None:
            return layer if layer in self.viewer.layers else None
        return next((found for found in finding.layers if isinstance(found, Labels)), None)

    def _follow(self, finding: "Finding[Attribution]") -> None:
        super()._follow(finding)
        labels = self._labels_of(finding)
        if not finding.result.regions or labels is None or labels not in self.viewer.layers:
            return
        if self._selection is None:
            self._selection = RegionSelection(self.viewer, labels)
            self._selection.chosen.connect(self.region_changed.emit)

    def _rest(self) -> None:
        super()._rest()
        if self._selection is not None:
            self._selection.release()
            self._selection = None

    def close(self) -> None:
        """Follow the viewer no more. Layers and results stay; :meth:`show` follows again."""
        super().close()
        self._rest()

    def _run(
        self,
        classifier: "Classifier",
        image: "DataArray",
        target: "Target | None",
        method: str,
        **options: Any,
    ) -> "Attribution":
        # torch takes seconds to import; a dock is opened without it
        from napari_why.attribution import attribute

        return attribute(classifier, image, method, target, **options)


def with_region_values(features: pd.DataFrame, result: "Attribution") -> pd.DataFrame:
    """Return a Labels layer's features with the values of a result's regions, by their labels.

    Parameters
    ----------
    features : DataFrame
        Those of the layer; a column ``index`` says which label a row is of.
    result : Attribution
        With regions.

    Returns
    -------
    DataFrame
        With a column for the values, and one for their standard errors where there are any.
    """
    name = f"{result.method_title}: {result.target}"
    # the background's row is features_of's own; its value stands in the record
    cells = [item for item in result.regions if item.label]
    table = pd.DataFrame({"region": [item.label for item in cells], name: [i.value for i in cells]})
    errors = [item.standard_error for item in cells]
    if any(error is not None for error in errors):
        table[f"{name}, standard error"] = errors
    found = features_of(table)
    if INDEX not in features:
        return found
    kept = features.drop(columns=[column for column in found if column != INDEX], errors="ignore")
    return kept.merge(found, on=INDEX, how="outer")


def plane_of_labels(layer: Labels, plane: tuple[int, ...]) -> NDArray[Any]:
    """Return the labels (y, x) on the plane that is explained.

    Parameters
    ----------
    layer : Labels layer
    plane : tuple of int
        Index on each axis of the image before y and x.

    Returns
    -------
    ndarray of int, shape (H, W)

    Raises
    ------
    MismatchError
        The layer has further axes that the image does not have, or fewer planes.
    """
    further = layer.ndim - 2
    if further > len(plane):
        raise MismatchError(
            f"Layer {layer.name!r}: found {layer.ndim} axes; expected labels of one plane, or of the "
            "stack that is explained"
        )
    # axes are counted from the last: labels of a z stack lie on every time point
    index = plane[len(plane) - further :]
    if any(i >= length for i, length in zip(index, layer.data.shape, strict=False)):
        raise MismatchError(f"Layer {layer.name!r}: it has no plane {index}, which is explained")
    return np.asarray(layer.data[index])


def _find_image(target: "Target | Path | None") -> "Target | None":
    if not isinstance(target, Path):
        return target
    from napari_why.attribution import Similarity
    from napari_why.images import plane, read

    image = read(target)
    further = {dim: image.sizes[dim] for dim in "tz" if image.sizes.get(dim, 1) > 1}
    if further:
        raise MismatchError(f"{target}: found axes {further}; expected one plane to be alike to")
    return Similarity(plane(image))
