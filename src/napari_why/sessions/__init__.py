"""What the docks show, as objects without Qt: for docks, console and scripts alike.

A session belongs to one viewer. It takes the image out of the raw layers, computes, puts the layers
of the result into the viewer and keeps both together: alpha and the slider, a region and its table
row, a point and its image. Whoever shows more than layers listens to its signals.

Each name is imported when it is asked for: a dock is opened without what its pages need later.
"""

from typing import TYPE_CHECKING, Any

from napari_why.core.late_imports import import_late

if TYPE_CHECKING:  # for editors and type checkers, which read no table and call no __getattr__
    from napari_why.sessions.attribution import IMAGES_GIVEN as IMAGES_GIVEN
    from napari_why.sessions.attribution import AttributionSession as AttributionSession
    from napari_why.sessions.attribution import Compared as Compared
    from napari_why.sessions.counterfactual import CounterfactualSession as CounterfactualSession
    from napari_why.sessions.explanation import ExplanationSession as ExplanationSession
    from napari_why.sessions.explanation import Finding as Finding
    from napari_why.sessions.explanation import Host as Host
    from napari_why.sessions.explanation import Subject as Subject
    from napari_why.sessions.image_choice import ImageChoice as ImageChoice
    from napari_why.sessions.image_choice import assign_layers as assign_layers
    from napari_why.sessions.image_choice import find_raw_layers as find_raw_layers
    from napari_why.sessions.image_choice import shown_plane as shown_plane
    from napari_why.sessions.image_opener import MOST_OPENED as MOST_OPENED
    from napari_why.sessions.image_opener import ImageOpener as ImageOpener
    from napari_why.sessions.latent_space import LatentSession as LatentSession
    from napari_why.sessions.latent_space import LatentView as LatentView
    from napari_why.sessions.layers_in_viewer import LayerChange as LayerChange
    from napari_why.sessions.layers_in_viewer import Pause as Pause
    from napari_why.sessions.results_on_show import MadeResult as MadeResult
    from napari_why.sessions.results_on_show import ResultsOnShow as ResultsOnShow
    from napari_why.sessions.results_on_show import results_of as results_of
    from napari_why.sessions.viewer_state import ViewerState as ViewerState
    from napari_why.sessions.viewer_state import state_of as state_of

_PUBLIC = {
    "IMAGES_GIVEN": ".attribution",
    "AttributionSession": ".attribution",
    "Compared": ".attribution",
    "CounterfactualSession": ".counterfactual",
    "ExplanationSession": ".explanation",
    "Finding": ".explanation",
    "Host": ".explanation",
    "Subject": ".explanation",
    "ImageChoice": ".image_choice",
    "assign_layers": ".image_choice",
    "find_raw_layers": ".image_choice",
    "shown_plane": ".image_choice",
    "MOST_OPENED": ".image_opener",
    "ImageOpener": ".image_opener",
    "LatentSession": ".latent_space",
    "LatentView": ".latent_space",
    "LayerChange": ".layers_in_viewer",
    "Pause": ".layers_in_viewer",
    "MadeResult": ".results_on_show",
    "ResultsOnShow": ".results_on_show",
    "results_of": ".results_on_show",
    "ViewerState": ".viewer_state",
    "state_of": ".viewer_state",
}

__all__ = [*sorted(_PUBLIC)]


if not TYPE_CHECKING:  # else type checkers would believe in every name

    def __getattr__(name: str) -> Any:
        return import_late(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return __all__
