"""What the docks show, as objects without Qt: for docks, console and scripts alike.

A session belongs to one viewer. It takes the image out of the raw layers, computes, puts the layers
of the result into the viewer and keeps both together: alpha and the slider, a region and its table
row, a point and its image. Whoever shows more than layers listens to its signals.
"""

from napari_why.sessions.attribution import IMAGES_GIVEN, AttributionSession, Compared
from napari_why.sessions.counterfactual import CounterfactualSession
from napari_why.sessions.explanation import (
    ExplanationSession,
    Finding,
    Host,
    Subject,
)
from napari_why.sessions.image_choice import (
    ImageChoice,
    assign_layers,
    find_raw_layers,
    shown_plane,
)
from napari_why.sessions.image_opener import MOST_OPENED, ImageOpener
from napari_why.sessions.latent_space import LatentSession, LatentView
from napari_why.sessions.layers_in_viewer import LayerChange, Pause
from napari_why.sessions.results_on_show import MadeResult, ResultsOnShow, results_of
from napari_why.sessions.viewer_state import ViewerState, state_of

__all__ = [
    "IMAGES_GIVEN",
    "MOST_OPENED",
    "AttributionSession",
    "Compared",
    "CounterfactualSession",
    "ExplanationSession",
    "Finding",
    "Host",
    "ImageChoice",
    "ImageOpener",
    "LatentSession",
    "LatentView",
    "LayerChange",
    "MadeResult",
    "Pause",
    "ResultsOnShow",
    "Subject",
    "ViewerState",
    "assign_layers",
    "find_raw_layers",
    "results_of",
    "shown_plane",
    "state_of",
]
