"""What the docks of one viewer share: the data set, the classifier and the image in use."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_why.sessions.image_choice import ImageChoice

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_why.datasets import Dataset
    from napari_why.generation.makers import GenerativeModel
    from napari_why.model import Classifier


class ViewerState:
    """The data set, the classifier and the raw layers that the docks of one viewer use.

    Training in one dock makes the classifier available in the others, and so does the console:

    >>> from napari_why.sessions import state_of  # doctest: +SKIP
    >>> state_of(viewer).classifier = why.load("model")  # doctest: +SKIP

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    classifier_changed, dataset_changed : psygnal.Signal
        Emitted with the new one, or None.
    place_changed : psygnal.Signal
        Emitted with the folder that holds the classifier in use, or None.
    makers_changed : psygnal.Signal
        Emitted when a generator or channel predictor came, or was saved.
    image : ImageChoice
        Which raw layers make the image, one for each channel of the classifier.
    """

    classifier_changed = Signal(object)
    dataset_changed = Signal(object)
    place_changed = Signal(object)
    makers_changed = Signal()

    def __init__(self, viewer: "ViewerModel") -> None:
        self._classifier: Classifier | None = None
        self._dataset: Dataset | None = None
        self._place: Path | None = None
        self._makers: dict[GenerativeModel, Path | None] = {}
        self.image = ImageChoice(viewer)

    @property
    def classifier(self) -> "Classifier | None":
        """The classifier in use."""
        return self._classifier

    @classifier.setter
    def classifier(self, classifier: "Classifier | None") -> None:
        self.use_classifier(classifier)

    def use_classifier(
        self, classifier: "Classifier | None", place: "str | Path | None" = None
    ) -> None:
        """Use a classifier, and note which folder it was loaded from, or saved in.

        Parameters
        ----------
        classifier : Classifier or None
            None: none is in use.
        place : path, optional
            Its folder; by default it is in none.
        """
        self._classifier = classifier
        self._place = None if place is None else Path(place)
        self.image.set_channels(() if classifier is None else classifier.channels)
        self.classifier_changed.emit(classifier)
        self.place_changed.emit(self._place)

    @property
    def place(self) -> Path | None:
        """The folder that holds the classifier in use; None while it is not saved."""
        return self._place

    def note_saved(self, classifier: "Classifier", place: "str | Path") -> None:
        """Note where a classifier was saved; says nothing of one that is no longer in use.

        Parameters
        ----------
        classifier : Classifier
        place : path
            Its folder.
        """
        if classifier is self._classifier:
            self._place = Path(place)
            self.place_changed.emit(self._place)

    @property
    def makers(self) -> "dict[GenerativeModel, Path | None]":
        """Generators and channel predictors that are open, each with its folder, the newest last."""
        return dict(self._makers)

    def add_maker(
        self,
        maker: "GenerativeModel",
        place: "str | Path | None" = None,
        *,
        instead_of: "GenerativeModel | None" = None,
    ) -> None:
        """Open a generator or channel predictor; one of the same folder gives way to it.

        So does ``instead_of``, what a training had made when it was stopped, unless it was saved.

        Parameters
        ----------
        maker : GenerativeModel
        place : path, optional
            Its folder; by default it is in none.
        instead_of : GenerativeModel, optional
            What gives way to it, unless it was saved.
        """
        known = None if place is None else Path(place)
        self._makers = {
            other: there
            for other, there in self._makers.items()
            if other is not maker
            and (known is None or there != known)
            and (other is not instead_of or there is not None)
        }
        self._makers[maker] = known
        self.makers_changed.emit()

    def note_maker_saved(self, maker: "GenerativeModel", place: "str | Path") -> None:
        """Note where a generator or channel predictor was saved.

        Parameters
        ----------
        maker : GenerativeModel
        place : path
            Its folder.
        """
        self._makers[maker] = Path(place)
        self.makers_changed.emit()

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
    if model not in _states:
        _states[model] = ViewerState(model)
    return _states[model]
