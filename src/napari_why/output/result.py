"""What layers and images to write ask of a result."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from napari_why.core.errors import ParameterError
from napari_why.core.pictures import Picture
from napari_why.core.record import Record
from napari_why.images import Grid

# Only for the error's sentence: whatever has the five parts of a result is taken, a class of
# another package too.
KNOWN_RESULTS = "Attribution, Counterfactual, Measurement, Reconstruction or GeneratedImages"


class Result(Protocol):
    """A result with pictures; attributions, counterfactuals and the others all are one.

    A new kind of result needs these five, and no line in this room.
    """

    # Properties, since results are frozen: a plain attribute would promise that it can be set.
    @property
    def grid(self) -> Grid:
        """Where the pixels of all its pictures lie on the source image."""

    @property
    def record(self) -> Record:
        """How it was made."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read beside the pictures."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its layers carry beside the record; JSON types only.

        Those that docks read are listed in
        :class:`~napari_why.output.layer_metadata.LayerFacts`.
        """

    def pictures(self) -> Mapping[str, Picture]:
        """Return its stacks of pixels by name, in the order of their layers, the last on top."""


def require_result(found: Any) -> Result:
    """Return a result as it is.

    Raises
    ------
    ParameterError
        It has no pictures.
    """
    # One method is looked for: asking for all five would compute the properties (a verdict takes
    # a pass over the pixels) only to see that they are there.
    if callable(getattr(found, "pictures", None)):
        return cast(Result, found)
    raise ParameterError(
        f"to_layers: found {type(found).__name__}; expected a result that has a picture: "
        f"{KNOWN_RESULTS}"
    )
