"""Where the classifier looked: an attribution over the image in the viewer."""

from typing import TYPE_CHECKING, Any

from napari_why.sessions.explanation import ExplanationSession

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.attribution import Attribution
    from napari_why.model import Classifier


class AttributionSession(ExplanationSession["Attribution"]):
    """Overlays of evidence for and against a class.

    Examples
    --------
    >>> session = why.AttributionSession(viewer, classifier)  # doctest: +SKIP
    >>> attribution = session.explain(target="treated", method="occlusion")  # doctest: +SKIP
    """

    # Occlusion needs nothing but predictions, so that it runs on every network.
    first_method = "occlusion"

    def _run(
        self,
        classifier: "Classifier",
        image: "DataArray",
        target: str | None,
        method: str,
        **options: Any,
    ) -> "Attribution":
        # torch takes seconds to import; a dock is opened without it
        from napari_why.attribution import attribute

        return attribute(classifier, image, method, target, **options)
