"""What a screen asks: which class is healthy, which wells are controls, what is done with every field."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any

from napari_why.batch import BatchOptions
from napari_why.core.errors import ParameterError
from napari_why.core.options import DETAILS, Help, Options, Range, parameters_of
from napari_why.core.randomness import LARGEST_SEED

if TYPE_CHECKING:
    from napari_why.model import Classifier

# Columns of plate maps that hold doses, in small letters, in the order in which they are looked for.
DOSE_COLUMNS = ("dose", "concentration", "conc")


@dataclass(frozen=True, kw_only=True)
class ScreenOptions(Options):
    """What a screen does and asks; all of it decides about results, and is part of the plan.

    Parameters
    ----------
    healthy, compound, dose, negative, positive, plate_wells, texture, false_discovery_rate,
    most_inactive, draws, seed
        See the annotations.
    explaining : BatchOptions
        What else is done with every field: an attribution, a counterfactual. By default nothing, and
        without pictures, which would be gigabytes.

    Examples
    --------
    >>> ScreenOptions.of_flat({"healthy": "treated", "counterfactual": "transport"}).explaining.target
    'treated'
    """

    healthy: Annotated[
        str, Help("class of the classifier that compounds are to bring the cells to")
    ] = "healthy"
    compound: Annotated[str, Help("column of the plate map that tells what is in a well")] = (
        "treatment"
    )
    dose: Annotated[
        str | None,
        Help("column of the doses; one called dose, concentration or conc when not given"),
    ] = None
    negative: Annotated[
        str | None,
        Help(
            "values of the compound column that are diseased wells without a compound (DMSO), between commas; in "
            'double quotes one that has a comma itself ("1,10-phenanthroline",DMSO)'
        ),
    ] = None
    positive: Annotated[
        str | None,
        Help(
            "values of the compound column that are wells to be reached: healthy ones; written as those of negative"
        ),
    ] = None
    plate_wells: Annotated[
        int | None,
        Help(
            "wells of a plate (96, 384, ...); of the smallest that has all wells of the map and the images when "
            "not given"
        ),
        Range(6, 1536),
    ] = None
    texture: Annotated[
        bool,
        Help(
            "measure brightness, coarseness, granules and objects of each channel too: what else a compound "
            "changes is mostly nothing that the network was taught to see"
        ),
    ] = True
    false_discovery_rate: Annotated[
        float, Help("share of the hits that may be none"), Range(0.001, 0.5)
    ] = 0.05
    most_inactive: Annotated[
        bool,
        Help(
            "most compounds do nothing: of 100 and more, what chance does is learnt from the samples beside the "
            "controls; switch it off for a library of compounds that are known to act"
        ),
    ] = True
    draws: Annotated[
        int, Help("of wells for intervals, and permutations for p"), Range(100, 1_000_000), DETAILS
    ] = 2000
    seed: Annotated[int, Help("of those"), Range(0, LARGEST_SEED), DETAILS] = 0
    explaining: BatchOptions = field(default_factory=lambda: BatchOptions(pictures=False))

    def __post_init__(self) -> None:
        super().__post_init__()
        shared = set(self.negatives) & set(self.positives)
        if shared:
            raise ParameterError(
                f"negative and positive: found {', '.join(sorted(shared))} in both; expected each value "
                "in one of them"
            )

    @property
    def negatives(self) -> tuple[str, ...]:
        """The values that mean negative control wells."""
        return _values(self.negative)

    @property
    def positives(self) -> tuple[str, ...]:
        """The values that mean positive control wells."""
        return _values(self.positive)

    @property
    def explains(self) -> bool:
        """Whether more than a prediction is made of every field."""
        return bool(self.explaining.attribution or self.explaining.counterfactual)

    def check(self, classifier: "Classifier") -> None:
        """Refuse what no field of this classifier could be asked.

        Raises
        ------
        ParameterError
            A class is unknown.
        UnsupportedNetworkError
            The attribution method is not defined for the network.
        """
        if self.healthy not in classifier.classes:
            raise ParameterError(
                f"healthy: found {self.healthy!r}; expected one of {', '.join(classifier.classes)}"
            )
        self.explaining.check(classifier)

    def dose_column(self, columns: Mapping[str, Any] | list[str]) -> str | None:
        """Return the column of a plate map that holds the doses; None where there is none.

        Raises
        ------
        ParameterError
            One was named, and is not there.
        """
        if self.dose is not None:
            if self.dose not in columns:
                raise ParameterError(
                    f"dose: found no column {self.dose!r}; expected one of {', '.join(columns)}"
                )
            return self.dose
        named = {str(name).lower(): str(name) for name in columns}
        return next((named[name] for name in DOSE_COLUMNS if name in named), None)

    @classmethod
    def of_flat(cls, values: Mapping[str, Any]) -> "ScreenOptions":
        """Return options from one list of names: its own, and those of :class:`BatchOptions`.

        A counterfactual goes towards the healthy class unless a target is named.
        """
        own = {item.name for item in parameters_of(cls)}
        known = {item.name for item in fields(cls)} - own
        mine = {name: item for name, item in values.items() if name in own | known}
        theirs = {name: item for name, item in values.items() if name not in own | known}
        if theirs.get("counterfactual") and not theirs.get("target"):
            theirs["target"] = mine.get("healthy", cls.healthy)
        if theirs:
            mine["explaining"] = BatchOptions.of_flat({"pictures": False, **theirs})
        return cls.of(None, mine)

    def to_flat(self) -> dict[str, Any]:
        """Return what differs from the defaults in one list of names; see :meth:`of_flat`."""
        flat = {
            item.name: getattr(self, item.name)
            for item in parameters_of(type(self))
            if getattr(self, item.name) != item.default
        }
        theirs = self.explaining.to_flat()
        # of a screen they are not written unless asked for, and the change leads to the healthy class
        theirs.pop("pictures", None)
        if theirs.get("target") == self.healthy:
            theirs.pop("target")
        return {**flat, **theirs, **({"pictures": True} if self.explaining.pictures else {})}


def _values(text: str | None) -> tuple[str, ...]:
    """Return values that stand between commas; in double quotes one may have commas itself.

    Raises
    ------
    ParameterError
        A quote is not closed.
    """
    try:
        rows = list(csv.reader([text or ""], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ParameterError(
            f"negative and positive: found {text} ({error}); expected values between commas, such as "
            '"1,10-phenanthroline",DMSO'
        ) from error
    return tuple(filter(None, (value.strip() for row in rows for value in row)))
