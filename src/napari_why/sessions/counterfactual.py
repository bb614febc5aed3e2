"""What would have to change: a counterfactual in the viewer, along its slider, and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer
from psygnal import Signal

from napari_why.core.errors import WhyError
from napari_why.output.layer_metadata import LayerFacts
from napari_why.sessions.alpha_slider import AlphaSlider
from napari_why.sessions.explanation import ExplanationSession, Finding, Host, Subject
from napari_why.sessions.layers_in_viewer import LayerChange
from napari_why.sessions.regions import RegionSelection
from napari_why.sessions.results_on_show import MadeResult

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray

    from napari_why.counterfactuals import Counterfactual
    from napari_why.measurement import Measurement, UsedChange
    from napari_why.model import Classifier


class CounterfactualSession(ExplanationSession["Counterfactual"]):
    """A series of images along alpha, tied to the viewer's slider both ways, and its measurement.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
    classifier : Classifier, optional
        By default the one that the docks of this viewer share.
    host : Host, optional
        See :class:`~napari_why.sessions.ExplanationSession`.

    Attributes
    ----------
    result_changed, alpha_changed, measurement_changed, region_changed, used_changed : psygnal.Signal
        Emitted with the Counterfactual; with the alpha that the viewer shows; with the Measurement,
        or None once there is none; with the number of the chosen region, 0 for none; with the
        UsedChange, or None once it is another counterfactual's.

    Examples
    --------
    >>> session = why.CounterfactualSession(viewer, classifier)  # doctest: +SKIP
    >>> session.explain(target="treated", steps=11)  # doctest: +SKIP
    >>> session.step(0.5)  # doctest: +SKIP
    >>> session.probabilities  # doctest: +SKIP
    {'diseased': 0.61, 'treated': 0.39}
    >>> session.measure(threshold="top", top_share=0.1).table  # doctest: +SKIP
    """

    alpha_changed = Signal(float)
    measurement_changed = Signal(object)
    region_changed = Signal(int)
    used_changed = Signal(object)
    # The package's own method; mean shift is kept as a baseline, and says so itself.
    first_method = "transport"

    def __init__(
        self,
        viewer: "ViewerModel",
        classifier: "Classifier | None" = None,
        *,
        host: Host | None = None,
    ) -> None:
        super().__init__(viewer, classifier, host=host)
        self._slider: AlphaSlider | None = None
        self._measured: Finding[Measurement] | None = None
        self._regions: RegionSelection | None = None
        self._used: Finding[UsedChange] | None = None
        self._generator: Classifier | None = None

    @property
    def generator(self) -> "Classifier | None":
        """Another classifier, whose network makes the images; None: the classifier's own generator."""
        return self._generator

    @generator.setter
    def generator(self, generator: "Classifier | None") -> None:
        self._generator = generator

    def maker_for(self, classifier: "Classifier") -> "Classifier":
        """Return the classifier whose network makes the images of a classifier's counterfactuals."""
        from napari_why.counterfactuals.through import Roles

        return Roles.of(classifier, self._generator).generator

    def _run(
        self,
        classifier: "Classifier",
        image: "DataArray",
        target: str | int | None,
        method: str,
        **options: Any,
    ) -> "Counterfactual":
        # torch takes seconds to import; a dock is opened without it
        from napari_why.counterfactuals import counterfactual

        return counterfactual(
            classifier, image, target, method, **{"through": self._generator, **options}
        )

    @property
    def slider(self) -> AlphaSlider | None:
        """What ties the series to the viewer; None as long as no series is in it."""
        return None if self._slider is None or self._slider.layer is None else self._slider

    @property
    def alpha(self) -> float | None:
        """The alpha that the viewer shows, None without a series."""
        return None if self.slider is None else self.slider.alpha

    @property
    def probabilities(self) -> dict[str, float] | None:
        """Probability of each class, 0 to 1, on exactly the image that the viewer shows."""
        return None if self.slider is None else self.slider.probabilities

    @property
    def verdict(self) -> str:
        """What the counterfactual is worth, in a line; empty without one."""
        return "" if self.finding is None else read_verdict(self.finding.layers)

    @property
    def reservations(self) -> tuple[str, ...]:
        """What speaks against believing the counterfactual, as in its verdict; empty without one."""
        layers = [] if self.finding is None else self.finding.layers
        return (LayerFacts.of(layers[0]).reservations or ()) if layers else ()

    def step(self, alpha: float) -> None:
        """Move the viewer's slider to the step nearest to an alpha; without a series to nothing."""
        if self.slider is not None:
            self.slider.go_to(alpha)

    def compute_measurement(
        self, finding: "Finding[Counterfactual]", **options: Any
    ) -> "Finding[Measurement]":
        """Measure what a counterfactual changes; touches no viewer, so that it may run in a thread.

        Parameters
        ----------
        finding : Finding
            The session's :attr:`finding`.
        **options
            See :func:`napari_why.measure`.

        Returns
        -------
        Finding of Measurement
            With layers for :meth:`show_measurement`.
        """
        from napari_why.measurement import measure

        measurement = measure(finding.result, finding.subject.image, **options)
        return Finding(measurement, finding.subject, finding.subject.layers_of(measurement))

    def show_measurement(
        self, measurement: "Measurement", subject: Subject, layers: list[Layer]
    ) -> None:
        """Put the regions into the viewer; in the viewer's thread.

        Parameters
        ----------
        measurement, subject, layers
            The fields of what :meth:`compute_measurement` returned; those of a former one make room.
        """
        self._release_regions()
        # a former measurement of the same series makes room: two sets of regions would be mixed up
        former = None if self._made is None else self._made.kept.get("measured")
        change = LayerChange(self.viewer, layers, () if former is None else former.layers)
        self._measured = found = Finding(measurement, subject, change.layers)
        self._count_in("measured", found)
        self.measurement_changed.emit(measurement)
        self._host.carry_out(change, lambda: self._follow_regions(found))

    def measure(self, **options: Any) -> "Measurement":
        """Measure the regions that the counterfactual changes, and show them.

        Raises
        ------
        WhyError
            There is no counterfactual yet, or an option is wrong; see :func:`napari_why.measure`.
        """
        measured = self.compute_measurement(self._require_finding(), **options)
        self.show_measurement(*measured)
        return measured.result

    def compute_used(
        self, finding: "Finding[Counterfactual]", **options: Any
    ) -> "Finding[UsedChange]":
        """Find the part of a change that the network uses; touches no viewer.

        Parameters
        ----------
        finding : Finding
            The session's :attr:`finding`.
        **options
            See :func:`napari_why.find_used_change`.

        Returns
        -------
        Finding of UsedChange
            With layers for :meth:`show_used`.
        """
        from napari_why.measurement import find_used_change

        subject = finding.subject
        used = find_used_change(subject.classifier, finding.result, subject.image, **options)
        return Finding(used, subject, subject.layers_of(used))

    def show_used(self, used: "UsedChange", subject: Subject, layers: list[Layer]) -> None:
        """Put the used part of the change into the viewer; in the viewer's thread.

        Parameters
        ----------
        used, subject, layers
            The fields of what :meth:`compute_used` returned.
        """
        self._used = Finding(used, subject, layers)
        self._count_in("used", self._used)
        self.used_changed.emit(used)
        self._host.carry_out(LayerChange(self.viewer, layers))

    def find_used(self, **options: Any) -> "UsedChange":
        """Find the part of the change that the network uses, and show it.

        Raises
        ------
        WhyError
            There is no counterfactual yet, or an option is wrong.
        """
        found = self.compute_used(self._require_finding(), **options)
        self.show_used(*found)
        return found.result

    @property
    def used(self) -> "UsedChange | None":
        """What was found last of this counterfactual by :meth:`find_used`."""
        return None if self._used is None else self._used.result

    @property
    def measurement(self) -> "Measurement | None":
        """The last measurement of this counterfactual; None once its regions are removed."""
        return None if self._measured is None else self._measured.result

    @property
    def regions(self) -> RegionSelection | None:
        """What ties the regions to the viewer; None as long as they are not in it."""
        return self._regions

    @property
    def region(self) -> int:
        """Number of the chosen region, a row of the measurement's table; 0 for none."""
        return 0 if self._regions is None else self._regions.region

    def choose_region(self, region: int) -> None:
        """Choose a region by its number in the measurement's table, and move the view there."""
        if self._regions is not None:
            self._regions.choose(region)

    def save_series(self, path: str | Path) -> Path:
        """Write the series as OME-TIFF, alpha along its time axis, with its record beside it."""
        from napari_why.images import write
        from napari_why.output.images import record_with_grid, result_image

        result, subject, _ = self._require_finding()
        image = result_image(result, subject.image)
        return write(
            image, path, record=record_with_grid(result.record, result.grid), overwrite=True
        )

    def save_samples(self, path: str | Path) -> Path:
        """Write the draws as OME-TIFF, along its time axis, with their record beside it.

        Raises
        ------
        WhyError
            There is no counterfactual, or it is the only answer.
        """
        from napari_why.counterfactuals.spread import sample_images
        from napari_why.images import write
        from napari_why.output.images import record_with_grid, result_image

        result, subject, _ = self._require_finding()
        found = sample_images(result)
        if found is None:
            raise WhyError("found no draws; expected some; explain with change=responding_cells")
        image = result_image(found, subject.image)
        record = record_with_grid(found.record, found.grid)
        return write(image, path, record=record, overwrite=True)

    def save_animation(self, path: str | Path) -> Path:
        """Write the series as MP4 or GIF, alpha and probability written in."""
        from napari_why.output.figures import animate_counterfactual

        return animate_counterfactual(self._require_finding().result, path)

    def save_figure(self, path: str | Path) -> Path:
        """Write before, after, change and probability as PNG or SVG."""
        from napari_why.output.figures import draw_counterfactual

        result, subject, _ = self._require_finding()
        return draw_counterfactual(result, path, subject.image)

    def save_table(self, path: str | Path) -> Path:
        """Write all columns of the measurement as CSV or Parquet, with its record.

        Raises
        ------
        WhyError
            There is no measurement, or the file cannot be written.
        """
        from napari_why.measurement import write_table

        if self.measurement is None:
            raise WhyError("found no measurement; expected one; measure the counterfactual first")
        return write_table(self.measurement.table, path, record=self.measurement.record)

    def close(self) -> None:
        """Follow the viewer no more. Layers and results stay; :meth:`show` follows again."""
        super().close()
        self._rest()

    def _require_finding(self) -> Finding["Counterfactual"]:
        if self.finding is None:
            raise WhyError("found no counterfactual; expected one; explain an image first")
        return self.finding

    def _count_in(self, name: str, found: Finding[Any]) -> None:
        """Keep what was found of the counterfactual with it, its layers too."""
        if self._made is not None:
            self._made.kept[name] = found
            self._made.take(found.layers)

    def _rest(self) -> None:
        super()._rest()
        if self._slider is not None:
            self._slider.release()
            self._slider = None
        self._release_regions()

    def _take_up(self, made: MadeResult) -> None:
        super()._take_up(made)
        self._measured, self._used = made.kept.get("measured"), made.kept.get("used")
        self.measurement_changed.emit(self.measurement)
        self.used_changed.emit(self.used)
        if self._measured is not None:
            self._follow_regions(self._measured)

    def _forget(self) -> None:
        super()._forget()
        # a table of the counterfactual before would pass for one of this
        self._forget_measurement()
        if self._used is not None:
            self._used = None
            self.used_changed.emit(None)

    def _forget_measurement(self) -> None:
        self._release_regions()
        if self._measured is not None:
            self._measured = None
            self.measurement_changed.emit(None)

    def _regions_removed(self) -> None:
        if self._made is not None:
            self._made.kept.pop("measured", None)
        self._forget_measurement()

    def _release_regions(self) -> None:
        if self._regions is not None:
            self._regions.release()
            self._regions = None

    def _follow(self, finding: Finding["Counterfactual"]) -> None:
        series = [
            layer
            for layer in finding.layers
            if isinstance(layer, Image) and LayerFacts.of(layer).is_series
        ]
        if self._slider is not None or not any(layer in self.viewer.layers for layer in series):
            return
        self._slider = AlphaSlider(
            self.viewer, series, finding.result, read_verdict(finding.layers)
        )
        self._slider.moved.connect(self.alpha_changed.emit)
        # the first step is the image as the network sees it: what the others are compared with
        self._slider.go_to(float(finding.result.alphas[0]))

    def _follow_regions(self, found: Finding["Measurement"]) -> None:
        layer = next(layer for layer in found.layers if isinstance(layer, Labels))
        # a host adds layers one by one: meanwhile they may have been removed or measured anew
        if found is self._measured and layer in self.viewer.layers and self._regions is None:
            self._regions = RegionSelection(self.viewer, layer)
            self._regions.chosen.connect(self.region_changed.emit)
            self._regions.removed.connect(self._regions_removed)


def read_verdict(layers: list[Layer]) -> str:
    """Return the verdict that the layers of a counterfactual carry.

    It was found beside the viewer, when the layers were made: finding it again takes its time.
    """
    return LayerFacts.of(layers[0]).verdict if layers else ""
