"""What is done with every image of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any

from napari_why.attribution import METHODS as ATTRIBUTIONS
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help, Options, Parameter, parameters_of, validated
from napari_why.counterfactuals import METHODS as COUNTERFACTUALS
from napari_why.counterfactuals import CounterfactualOptions
from napari_why.measurement import MeasurementOptions
from napari_why.measurement.measure_dataset import FEWEST_STEPS, STEPS_OF_INFLUENCE

if TYPE_CHECKING:
    from napari_why.model import Classifier

# What options of an attribution method, of a counterfactual and of the measurement begin with, in
# one list of them all: both kinds of methods have "steps" and "seed".
ATTRIBUTION, CHANGE, MEASURE = "attribution_", "change_", "measure_"


@dataclass(frozen=True, kw_only=True)
class BatchOptions(Options):
    """What is done with every image; its prediction is made in any case.

    Parameters
    ----------
    attribution, attribution_target, counterfactual, target, measure, pictures
        See the annotations; checked when the options are made.
    attribution_options : mapping
        Parameters of the attribution method.
    change_options : mapping
        Parameters of the counterfactual method, and those of
        :class:`~napari_why.counterfactuals.CounterfactualOptions`. By default a series has as few
        images as the measurement needs: where it begins and where it ends.
    measure_options : mapping
        Those of :class:`~napari_why.measurement.MeasurementOptions`.

    Raises
    ------
    ParameterError
        A method or parameter is unknown, or a value out of range.

    Examples
    --------
    >>> options = BatchOptions.of_flat({"attribution": "occlusion", "attribution_window": 9})
    >>> options.attribution_options
    {'window': 9}
    """

    attribution: Annotated[
        str | None, Help("method that tells where the network looks; none where not given")
    ] = None
    attribution_target: Annotated[
        str | None, Help("class that is explained; the predicted one of each image when not given")
    ] = None
    counterfactual: Annotated[
        str | None, Help("method that changes images towards a class; none where not given")
    ] = None
    target: Annotated[
        str | None,
        Help("class to change images to; the other one, or the runner-up, when not given"),
    ] = None
    measure: Annotated[bool, Help("measure what is changed, per channel and region")] = True
    pictures: Annotated[bool, Help("write the maps and series as images, with records")] = True
    attribution_options: Mapping[str, Any] = field(default_factory=dict)
    change_options: Mapping[str, Any] = field(default_factory=dict)
    measure_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        # checked now, and once, what every single image would be listed with
        self._check_belonging()
        if self.attribution is not None:
            function = ATTRIBUTIONS.named(self.attribution).function
            validated(function, self.attribution_options)
            self._keep_changes("attribution_options", parameters_of(function))
        if self.counterfactual is not None:
            shared = {item.name for item in fields(CounterfactualOptions)}
            given = self.change_options
            CounterfactualOptions.of(None, {key: given[key] for key in shared & set(given)})
            own = {key: given[key] for key in given if key not in shared}
            function = COUNTERFACTUALS.named(self.counterfactual).function
            validated(function, own)
            self._keep_changes("change_options", parameters_of(function))
        MeasurementOptions.of(None, self.measure_options)
        self._keep_changes("measure_options", parameters_of(MeasurementOptions))

    @property
    def series(self) -> dict[str, Any]:
        """The parameters of a counterfactual, with the number of its images."""
        whole = MeasurementOptions.of(None, self.measure_options).view == "influence"
        return {"steps": STEPS_OF_INFLUENCE if whole else FEWEST_STEPS, **self.change_options}

    def check(self, classifier: "Classifier") -> None:
        """Refuse what no image of this classifier could be given.

        Raises
        ------
        ParameterError
            A class is unknown.
        UnsupportedNetworkError
            The attribution method is not defined for the network.
        """
        for name in ("target", "attribution_target"):
            given = getattr(self, name)
            if given is not None and given not in classifier.classes:
                expected = ", ".join(classifier.classes)
                raise ParameterError(f"{name}: found {given!r}; expected one of {expected}")
        if self.attribution is not None:
            ATTRIBUTIONS.named(self.attribution).check(classifier.network, ATTRIBUTIONS)

    @classmethod
    def of_flat(cls, values: Mapping[str, Any]) -> "BatchOptions":
        """Return options from one list of names, in which those of a method begin with its kind.

        Parameters
        ----------
        values : mapping
            Fields by name; ``attribution_steps``, ``change_steps``, ``measure_view`` and so on.
        """
        own = {item.name for item in fields(cls)}
        chosen: dict[str, Any] = {key: item for key, item in values.items() if key in own}
        for prefix in (ATTRIBUTION, CHANGE, MEASURE):
            of_kind = {
                key.removeprefix(prefix): item
                for key, item in values.items()
                if key.startswith(prefix) and key not in own
            }
            name = f"{prefix}options"
            chosen[name] = {**chosen.get(name, {}), **of_kind}
        known = own | {key for key in values if key.startswith((ATTRIBUTION, CHANGE, MEASURE))}
        return cls.of(None, {**chosen, **{key: values[key] for key in set(values) - known}})

    def to_flat(self) -> dict[str, Any]:
        """Return what differs from the defaults in one list of names; see :meth:`of_flat`."""
        flat: dict[str, Any] = {}
        for item in parameters_of(type(self)):
            value = getattr(self, item.name)
            if value != item.default:
                flat[item.name] = value
        for prefix in (ATTRIBUTION, CHANGE, MEASURE):
            given = getattr(self, f"{prefix}options")
            flat |= {f"{prefix}{key}": value for key, value in given.items()}
        return flat

    def _keep_changes(self, name: str, parameters: Sequence[Parameter]) -> None:
        """Leave out what is the default: what does the same is the same."""
        usual = {item.name: item.default for item in parameters}
        given = getattr(self, name)
        changed = {key: item for key, item in given.items() if usual.get(key, ...) != item}
        object.__setattr__(self, name, changed)  # the class is frozen

    def _check_belonging(self) -> None:
        owners = {"attribution_options": "attribution", "change_options": "counterfactual"}
        owners |= {"attribution_target": "attribution", "target": "counterfactual"}
        for name, owner in owners.items():
            if getattr(self, name) and getattr(self, owner) is None:
                raise ParameterError(
                    f"{name}: found {getattr(self, name)!r} without {owner}, which it belongs to; "
                    f"choose the method {owner}"
                )
