"""How the images of a transport are judged, and which of two is better."""

import math
from dataclasses import dataclass

CLEARLY = 0.05
CLEARLY_NEARER = 0.1
AGREED = 0.9


@dataclass(frozen=True)
class Scores:
    """How the exported images of one kind of change were judged.

    Parameters
    ----------
    validity : float
        Share that the network calls the target.
    agreement : float or None
        Share that the second network calls the target; None without one.
    distance : float
        Of texture features to real images of the target; NaN where there is none.
    """

    validity: float
    agreement: float | None
    distance: float

    def beats(self, other: "Scores") -> bool:
        """Whether these are better by the stated rule; not on ties."""
        if abs(self.validity - other.validity) > CLEARLY:
            return self.validity > other.validity
        own, others = self.agreement or 0.0, other.agreement or 0.0
        if abs(own - others) > CLEARLY:
            return own > others
        return self.distance < other.distance - CLEARLY_NEARER

    @property
    def convincing(self) -> bool:
        """Whether the second network agrees often enough, or there is none to ask."""
        return self.agreement is None or self.agreement >= AGREED

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON types by the names that are shown."""
        return {
            "validity": self.validity,
            "second network agrees": self.agreement,
            # NaN, where the classes' features do not differ, has no place in JSON
            "feature distance": None if math.isnan(self.distance) else self.distance,
        }
