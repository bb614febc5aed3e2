"""How long work takes on this computer: what was measured, what that lets foresee, and in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_why.core.options import parameters_of, relative_cost

MINUTE, HOUR = 60, 3600
# Seconds: below it nobody plans for the time.
AT_ONCE = 2
# Of a training: what decides how long an epoch takes for an image, beside the network.
PER_IMAGE = ("size", "batch_size", "device", "threads", "augment")
# What is done after the training, and takes its own time.
AFTERWARDS = ("second_network", "pixel_maps", "generator", "lock")


@dataclass(frozen=True)
class MeasuredRun:
    """How long a method took with some values, from which others can be foreseen.

    Parameters
    ----------
    subject : object
        What else the time depends on, compared by identity: the classifier.
    function : callable
        With annotated parameters.
    values : mapping
    seconds : float
    """

    subject: Any
    function: Callable[..., Any]
    values: Mapping[str, Any]
    seconds: float

    def foresee(self, subject: Any, function: Callable[..., Any], values: Mapping[str, Any]) -> str:
        """Say how long a run takes; empty where this one tells nothing of it.

        It tells of runs that differ by what presets set alone, whose cost is declared.

        Parameters
        ----------
        subject, function
            As of this run; compared by identity.
        values : mapping
            Of all parameters of the function, by name.

        Returns
        -------
        str
        """
        varying = {item.name for item in parameters_of(function) if item.cost is not None}
        same = all(self.values.get(name) == values[name] for name in set(values) - varying)
        if subject is not self.subject or function is not self.function or not same:
            return ""
        times = relative_cost(function, values) / relative_cost(function, self.values)
        return f"{describe_duration(self.seconds * times)} on this computer"


def describe_duration(seconds: float) -> str:
    """Say roughly how long something takes.

    Examples
    --------
    >>> [describe_duration(seconds) for seconds in (0.4, 17, 100, 5_000)]
    ['a moment', 'about 17 seconds', 'about 2 minutes', 'about 1.4 hours']
    """
    if seconds < AT_ONCE:
        return "a moment"
    # from a minute and a half on whole minutes are near enough
    if seconds < 1.5 * MINUTE:
        return f"about {seconds:.0f} seconds"
    if seconds < HOUR:
        return f"about {seconds / MINUTE:.0f} minutes"
    return f"about {seconds / HOUR:.1f} hours"


@dataclass(frozen=True)
class MeasuredTraining:
    """How long a training took, from which others like it can be foreseen.

    Parameters
    ----------
    network : str
        Registry name.
    options : mapping
        Of the fit, by name.
    seconds_per_image : float
        Of an epoch, for each training image.
    seconds_after : float
        From the last epoch to the finished classifier.
    per_image, afterwards : tuple of str
        Options that decide how long an image takes, and what is done after the training.
    """

    network: str
    options: Mapping[str, Any]
    seconds_per_image: float
    seconds_after: float
    per_image: tuple[str, ...] = PER_IMAGE
    afterwards: tuple[str, ...] = AFTERWARDS

    def foresee(self, network: str, options: Mapping[str, Any], epochs: int, images: int) -> str:
        """Say how long another training will take; empty where this one tells nothing of it.

        Parameters
        ----------
        network : str
            Registry name.
        options : mapping
            Of the other fit.
        epochs, images : int
            How many epochs it has, none left open, and training images.

        Returns
        -------
        str

        Examples
        --------
        >>> measured = MeasuredTraining("iresnet", {"size": 64}, 0.01, 60)
        >>> measured.foresee("iresnet", {"size": 64}, epochs=24, images=500)
        'about 3 minutes on this computer'
        >>> measured.foresee("iresnet", {"size": 224}, epochs=24, images=500)
        ''
        """
        if network != self.network or not self._same(options, self.per_image):
            return ""
        training = self.seconds_per_image * images * epochs
        if self._same(options, self.afterwards):
            return f"{describe_duration(training + self.seconds_after)} on this computer"
        # what follows was measured for other settings, and nothing is said of it
        return (
            f"{describe_duration(training)} of training on this computer, then what counterfactuals "
            "need"
        )

    def _same(self, options: Mapping[str, Any], names: tuple[str, ...]) -> bool:
        return all(self.options.get(name) == options.get(name) for name in names)
