"""What sessions that explain one image share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from napari.layers import Image, Layer
from psygnal import Signal

from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.events import Message, ignore_event
from napari_why.output.layers import to_layers
from napari_why.output.raw_layers import LayerChoice
from napari_why.sessions.image_choice import assign_layers, find_raw_layers, shown_plane
from napari_why.sessions.layers_in_viewer import LayerChange
from napari_why.sessions.results_on_show import MadeResult, results_of
from napari_why.sessions.viewer_state import state_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from xarray import DataArray

    from napari_why.model import Classifier

Result = TypeVar("Result")


class Host(Protocol):
    """Where the work of a session runs, and how its layers come into the viewer; a dock is one."""

    viewer: "ViewerModel"

    def load(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Work, anywhere, and hand the outcome to ``then`` in the viewer's thread.

        Parameters
        ----------
        work : callable
            ``() -> outcome``; touches no viewer.
        then : callable
            ``(outcome) -> None``.
        """

    def carry_out(self, change: LayerChange, then: Callable[[], None] | None = None) -> None:
        """Do the steps of a change of layers, and call ``then`` when all are done.

        Parameters
        ----------
        change : LayerChange
        then : callable, optional
            ``() -> None``.
        """


class AtOnce:
    """The host of a script or a console: everything happens here and now.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: "ViewerModel") -> None:
        self.viewer = viewer

    def load(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Work, and hand on the outcome.

        Parameters
        ----------
        work, then : callable
            As of :meth:`Host.load`.
        """
        then(work())

    def carry_out(self, change: LayerChange, then: Callable[[], None] | None = None) -> None:
        """Change the layers, then go on.

        Parameters
        ----------
        change, then
            As of :meth:`Host.carry_out`.
        """
        change.make()
        if then is not None:
            then()


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained: a classifier and the raw layers that make its image.

    A snapshot from the viewer's thread. Work in another thread goes by it, whatever is chosen in
    the viewer meanwhile.

    Parameters
    ----------
    classifier : Classifier
    layers : tuple of Image layers
        One a channel, in the classifier's order.
    plane : tuple of int
        Index on each of their axes before y and x.
    several_files : bool
        The user says that layers of different files show one field.
    choice : LayerChoice
        The same with what the layers hold now.
    """

    classifier: "Classifier"
    layers: tuple[Image, ...]
    plane: tuple[int, ...] = ()
    several_files: bool = False
    choice: LayerChoice = field(init=False)

    def __post_init__(self) -> None:
        choice = LayerChoice.of(
            self.layers,
            self.classifier.channels,
            self.plane,
            several_files=self.several_files,
        )
        object.__setattr__(self, "choice", choice)  # the class is frozen

    @cached_property
    def image(self) -> "DataArray":
        """The pixels (c, y, x) with pixel size; read once, by whoever needs them first.

        Raises
        ------
        MismatchError
            The layers do not make one image, or were given other pixels since they were chosen.
        """
        return self.choice.read()

    def layers_of(self, result: Any) -> list[Layer]:
        """Return the layers of a result, placed on the raw ones; see :func:`napari_why.to_layers`."""
        # An empty plane would mean "the raw layer has no further axis"; None means "at every index".
        return to_layers(result, list(self.layers), plane=self.plane or None)


class Finding(NamedTuple, Generic[Result]):
    """A result, what it is about, and the layers that show it."""

    result: Result
    subject: Subject
    layers: list[Layer]


class ExplanationSession(ABC, Generic[Result]):
    """One viewer, its image, and the last result that a method gave of it.

    :meth:`compute` touches no viewer and may run in another thread; :meth:`show` belongs to the
    viewer's thread; :meth:`explain` does one after the other.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel
    classifier : Classifier, optional
        By default the one that the docks of this viewer share.
    host : Host, optional
        Where work runs and how layers are added; by default here and now.

    Attributes
    ----------
    result_changed : psygnal.Signal
        Emitted with the result, before its layers are added; and with an earlier one of this session
        when that is put on show again (:class:`~napari_why.sessions.results_on_show.ResultsOnShow`).
    """

    result_changed = Signal(object)
    first_method: ClassVar[str]

    def __init__(
        self,
        viewer: "ViewerModel",
        classifier: "Classifier | None" = None,
        *,
        host: Host | None = None,
    ) -> None:
        self.viewer = viewer
        self._classifier = classifier
        self._chosen: tuple[Image, ...] | None = None
        self._several_files = False
        self._finding: Finding[Result] | None = None
        self._awaited: Finding[Result] | None = None
        self._made: MadeResult | None = None
        self._host: Host = AtOnce(viewer) if host is None else host

    @property
    def classifier(self) -> "Classifier | None":
        """The session's own classifier, else the one that the viewer's docks share."""
        return state_of(self.viewer).classifier if self._classifier is None else self._classifier

    @classifier.setter
    def classifier(self, classifier: "Classifier | None") -> None:
        self._classifier = classifier

    @property
    def finding(self) -> Finding[Result] | None:
        """The last result, or the one that was put on show since, with its subject and layers."""
        return self._finding

    @property
    def made(self) -> MadeResult | None:
        """The same as one of the results of its viewer."""
        return self._made

    @property
    def result(self) -> Result | None:
        """The last result."""
        return None if self._finding is None else self._finding.result

    def choose_layers(self, layers: Sequence[Image] | None, *, several_files: bool = False) -> None:
        """Explain these raw layers, one a channel in the classifier's order.

        None leaves the choice to :func:`assign_layers` again. ``several_files`` says that layers of
        different files show one field, which is refused otherwise.

        Parameters
        ----------
        layers : sequence of Image layers or None
        several_files : bool
            Whether layers of different files may be taken for one field.
        """
        self._chosen = None if layers is None else tuple(layers)
        self._several_files = several_files

    def subject(self) -> Subject:
        """Return what would be explained now: classifier, raw layers, and the plane that is shown.

        Raises
        ------
        ParameterError
            There is no classifier.
        MismatchError
            A channel has no layer, or its layer was removed from the viewer.
        """
        classifier = self.classifier
        if classifier is None:
            raise ParameterError(
                "classifier: found none; expected one that was trained or loaded: give it to the "
                "session, or set state_of(viewer).classifier"
            )
        channels = classifier.channels
        found = self._chosen or assign_layers(find_raw_layers(self.viewer), channels)
        if len(found) != len(channels):
            raise MismatchError(
                f"found {len(found)} layers; expected {len(channels)}, one for each channel: "
                f"{', '.join(channels)}"
            )
        layers = []
        for channel, layer in zip(channels, found, strict=True):
            if layer is None:
                raise MismatchError(
                    f"Channel {channel}: found no layer that is surely of it; expected one raw layer "
                    "a channel, called so; open an image that has it, rename the layer, or choose "
                    "layers (session.choose_layers)"
                )
            if layer not in self.viewer.layers:
                raise MismatchError(
                    f"Channel {channel}: layer {layer.name!r} is no longer in the viewer; choose "
                    "another layer"
                )
            layers.append(layer)
        plane = shown_plane(self.viewer, layers[0])
        return Subject(classifier, tuple(layers), plane, self._several_files)

    def compute(
        self,
        subject: Subject,
        target: Any = None,
        method: str | None = None,
        **options: Any,
    ) -> Finding[Result]:
        """Run a method; touches no viewer, so that it may run in another thread.

        Parameters
        ----------
        subject : Subject
            See :meth:`subject`.
        target : str or int, optional
            A class by name or index; left to the method by default.
        method : str, optional
            Name in the registry of methods.
        **options
            Those of the method, and ``on_event`` and ``cancelled`` (:mod:`napari_why.core.events`).

        Returns
        -------
        Finding
            Result, subject and layers, for :meth:`show`.
        """
        method = self.first_method if method is None else method
        for note in subject.choice.notes():
            options.get("on_event", ignore_event)(Message(note, finding=True))
        result = self._run(subject.classifier, subject.image, target, method, **options)
        return Finding(result, subject, subject.layers_of(result))

    def show(
        self, result: Result, subject: Subject | None = None, layers: list[Layer] | None = None
    ) -> None:
        """Put the layers of a result into the viewer; in the viewer's thread.

        Parameters
        ----------
        result : Attribution or Counterfactual
        subject : Subject, optional
            What it is about; by default what :meth:`subject` returns.
        layers : list of Layer, optional
            Those that ``subject.layers_of(result)`` returned; made here by default.

        Examples
        --------
        >>> session.show(*session.compute(session.subject(), "treated"))  # doctest: +SKIP
        """
        subject = self.subject() if subject is None else subject
        layers = subject.layers_of(result) if layers is None else layers
        self._forget()
        self._finding = self._awaited = finding = Finding(result, subject, layers)
        results = results_of(self.viewer)
        self._made = results.add(finding, self)
        results.changed.connect(self._shown_changed)
        self.result_changed.emit(result)
        self._host.carry_out(LayerChange(self.viewer, layers), lambda: self._go_on_with(finding))

    def explain(self, target: Any = None, method: str | None = None, **options: Any) -> Result:
        """Compute and show; see :meth:`compute` for the parameters.

        Parameters
        ----------
        target, method, **options
            As of :meth:`compute`.

        Returns
        -------
        object
            The method's result.
        """
        finding = self.compute(self.subject(), target, method, **options)
        self.show(*finding)
        return finding.result

    def close(self) -> None:
        """Follow the viewer no more. Layers and result stay; :meth:`show` follows again."""
        self._awaited = None
        results_of(self.viewer).changed.disconnect(self._shown_changed, missing_ok=True)

    @abstractmethod
    def _run(
        self,
        classifier: "Classifier",
        image: "DataArray",
        target: Any,
        method: str,
        **options: Any,
    ) -> Result:
        """Run the method of that name."""

    def _shown_changed(self, made: MadeResult | None) -> None:
        """Follow what is on show now, where it is this session's."""
        if made is None or made.owner is not self:
            self._rest()
        elif made is not self._made:
            self._take_up(made)
        elif self._awaited is None:
            self._follow(made.finding)

    def _take_up(self, made: MadeResult) -> None:
        """Go back to an earlier result."""
        self._rest()
        self._awaited = None
        self._made, self._finding = made, made.finding
        self.result_changed.emit(made.finding.result)
        self._follow(made.finding)

    def _rest(self) -> None:
        """Follow the viewer no more as long as another result is on show."""

    def _forget(self) -> None:
        """Let go of what belongs to the result before."""
        self.close()

    def _follow(self, finding: Finding[Result]) -> None:
        """Keep layers and viewer together, once all of them are there."""

    def _go_on_with(self, finding: Finding[Result]) -> None:
        # A host adds layers one by one: before the last came, another result may have been shown,
        # or the session closed.
        if finding is self._awaited:
            self._awaited = None
            if self._made is not None:
                results_of(self.viewer).gather(self._made)
            self._follow(finding)
