"""What the docks of one viewer share: the data set and the classifier in use."""

import inspect
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from psygnal import Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.datasets import Dataset
    from napari_why.model import Classifier


class ViewerState:
    """The data set and the classifier that the docks of one viewer use.

    Training in one dock makes the classifier available in the others, and so does the console:

    >>> from napari_why.sessions import state_of  # doctest: +SKIP
    >>> state_of(viewer).classifier = why.load("model")  # doctest: +SKIP

    Attributes
    ----------
    classifier_changed, dataset_changed : psygnal.Signal
        Emitted with the new one, or None.
    """

    classifier_changed = Signal(object)
    dataset_changed = Signal(object)

    def __init__(self) -> None:
        self._classifier: Classifier | None = None
        self._dataset: Dataset | None = None

    @property
    def classifier(self) -> "Classifier | None":
        """The classifier in use."""
        return self._classifier

    @classifier.setter
    def classifier(self, classifier: "Classifier | None") -> None:
        self._classifier = classifier
        self.classifier_changed.emit(classifier)

    @property
    def dataset(self) -> "Dataset | None":
        """The data set in use."""
        return self._dataset

    @dataset.setter
    def dataset(self, dataset: "Dataset | None") -> None:
        self._dataset = dataset
        self.dataset_changed.emit(dataset)


_states: "WeakKeyDictionary[Any, ViewerState]" = WeakKeyDictionary()


def state_of(viewer: "ViewerModel") -> ViewerState:
    """Return the state that the docks of this viewer share; each viewer has its own.

    Parameters
    ----------
    viewer : napari.Viewer or ViewerModel

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> viewer, other = ViewerModel(), ViewerModel()
    >>> state_of(viewer) is state_of(viewer), state_of(viewer) is state_of(other)
    (True, False)
    """
    model = inspect.unwrap(viewer)  # docks are given a proxy of the viewer
    return _states.setdefault(model, ViewerState())
