"""The dock that shows where the classifier looked."""

from typing import TYPE_CHECKING, Any

from napari_why.core.torch_loading import load_torch_libraries
from napari_why.sessions import AttributionSession
from napari_why.widgets.dock import as_sentence
from napari_why.widgets.explaining_dock import ExplainingDock
from napari_why.widgets.job import Executor, run_in_thread

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.attribution import Attribution
    from napari_why.model import Classifier


class AttributionDock(ExplainingDock):
    """Where did the classifier look: overlays of evidence for and against a class.

    Parameters
    ----------
    napari_viewer : ViewerModel
    executor : Executor, optional
        Where the work runs; a worker thread by default.
    """

    verb = "Explain"
    automatic_class = "the predicted class"

    def __init__(self, napari_viewer: "ViewerModel", executor: Executor = run_in_thread) -> None:
        super().__init__(napari_viewer, executor)
        self.finish_layout()

    def make_session(self) -> AttributionSession:
        """Return the session that this dock shows."""
        return AttributionSession(self.viewer, host=self)

    def catalogue(self) -> Any:
        """Import the attribution methods."""
        load_torch_libraries()
        from napari_why.attribution import METHODS

        return METHODS

    def offer_methods(self, classifier: "Classifier", catalogue: Any) -> None:
        """Offer the attribution methods; those unfit for the network are greyed out."""
        network = classifier.network  # not the dock's: another may be in use when a menu is opened
        self.method.set_methods(
            catalogue, lambda method: method.unsuitable(network), self.session.first_method
        )

    def show_result(self, result: "Attribution") -> None:
        """Say in words what the map shows."""
        self.result_label.setText(summary_of(result))


def summary_of(attribution: "Attribution") -> str:
    """Say in words what an attribution shows, how far it adds up, what lies in no map, what to doubt."""
    shown = (
        f"{_what_colours_mean(attribution)}, in {attribution.unit}; its score is "
        f"{attribution.score:.3g}."
    )
    doubts = map(as_sentence, attribution.notes)
    return " ".join(filter(None, [shown, attribution.completeness, *doubts]))


def _what_colours_mean(attribution: "Attribution") -> str:
    if attribution.record.details.get("joint_has_sign", True):
        return f"Evidence for {attribution.target} (red) and against it (blue)"
    return (
        f"How much the score of {attribution.target} reacts to a pixel, upwards or downwards "
        "(red; the maps of the channels show which way)"
    )
