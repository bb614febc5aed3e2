"""What is done with each of many images beside its prediction: explained, changed, measured, drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy import QtWidgets

from napari_why.core.options import parameters_of
from napari_why.core.torch_loading import import_torch
from napari_why.widgets.explaining_dock import ClassChooser
from napari_why.widgets.parameter_form import MethodChooser
from napari_why.widgets.session_buttons import method_settings, restore_form, restore_method

if TYPE_CHECKING:
    from napari_why.batch import BatchOptions
    from napari_why.model import Classifier

# Methods that are chosen to start with: quick, and for every network that has them.
FIRST_ATTRIBUTION, FIRST_CHANGE = "integrated_gradients", "transport"
# Pixels by which what belongs to a tick box is indented below it.
INDENT = 18


class EachImage(QtWidgets.QWidget):
    """Tick boxes, methods and their forms for the fields of :class:`napari_why.BatchOptions`.

    Parameters
    ----------
    target : str
        What the box of the class says where the choice is left to the method.
    pictures : bool
        Whether maps and series are written as images to start with.
    """

    def __init__(self, target: str, *, pictures: bool) -> None:
        super().__init__()
        self._wanted: dict[str, Any] = {}  # of a session, until there are methods to choose from
        self.attribute = QtWidgets.QCheckBox("Explain: where the network looks")
        self.attribution, self.explained = MethodChooser(), ClassChooser("the predicted class")
        self.change = QtWidgets.QCheckBox("Change towards a class")
        self.counterfactual, self.target = MethodChooser(), ClassChooser(target)
        self.measure = QtWidgets.QCheckBox("Measure what is changed")
        self.measure.setChecked(True)
        self.pictures = QtWidgets.QCheckBox("Write maps and series as images")
        self.pictures.setChecked(pictures)
        self._explain_part = _indent(self.explained, self.attribution)
        self._change_part = _indent(self.target, self.counterfactual, self.measure)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.attribute, self._explain_part, self.change, self._change_part):
            column.addWidget(widget)
        column.addWidget(self.pictures)
        self.attribute.toggled.connect(self._explain_part.setVisible)
        self.change.toggled.connect(self._change_part.setVisible)
        self._explain_part.hide()
        self._change_part.hide()

    def set_classes(self, classes: Sequence[str]) -> None:
        """Offer the classes of a classifier."""
        for chooser in (self.explained, self.target):
            chooser.set_classes(classes)

    def offer(self, classifier: "Classifier", catalogue: tuple[Any, Any]) -> None:
        """Offer the methods that :func:`import_methods` returned, as far as they suit a classifier.

        Parameters
        ----------
        classifier : Classifier
        catalogue : (mapping, mapping)
            Attribution and counterfactual methods by name.
        """
        attributions, counterfactuals = catalogue
        network = classifier.network
        maker = classifier if classifier.generator is None else classifier.generator
        self.attribution.set_methods(
            attributions, lambda method: method.unsuitable(network), FIRST_ATTRIBUTION
        )
        self.counterfactual.set_methods(
            counterfactuals,
            lambda method: method.unsuitable(maker.network) or method.missing(maker),
            FIRST_CHANGE,
        )
        wanted, self._wanted = self._wanted, {}
        restore_method(self.attribution, wanted.get("attribution"))
        restore_method(self.counterfactual, wanted.get("counterfactual"))

    def values(self) -> dict[str, Any]:
        """Return what is asked for, as arguments of :class:`napari_why.BatchOptions`.

        Raises
        ------
        ParameterError
            A value that cannot be.
        """
        values: dict[str, Any] = {
            "measure": self.measure.isChecked(),
            "pictures": self.pictures.isChecked(),
        }
        if self.attribute.isChecked() and self.attribution.name:
            values |= {
                "attribution": self.attribution.name,
                "attribution_target": self.explained.target,
                "attribution_options": self.attribution.form.values(),
            }
        if self.change.isChecked() and self.counterfactual.name:
            values |= {
                "counterfactual": self.counterfactual.name,
                "target": self.target.target,
                "change_options": self.counterfactual.form.values(),
            }
        return values

    def settings(self) -> dict[str, Any]:
        """Return what is chosen, JSON types, for a saved session."""
        return {
            **{name: box.isChecked() for name, box in self._ticks().items()},
            "attribution": method_settings(self.attribution),
            "counterfactual": method_settings(self.counterfactual),
            "explained": self.explained.target,
            "target": self.target.target,
        }

    def restore_settings(self, values: Mapping[str, Any]) -> None:
        """Choose again what :meth:`settings` returned; what is not known stays."""
        # methods may still be on their way, beside the viewer
        self._wanted = dict(values)
        for name, box in self._ticks().items():
            if isinstance(values.get(name), bool):
                box.setChecked(values[name])
        for name, choices in (("explained", self.explained), ("target", self.target)):
            index = choices.findData(values.get(name))
            if index >= 0:
                choices.setCurrentIndex(index)
        restore_method(self.attribution, values.get("attribution"))
        restore_method(self.counterfactual, values.get("counterfactual"))

    def show_options(self, options: "BatchOptions") -> None:
        """Ask for what options ask, as far as the methods that are offered can say it."""
        for chooser in (self.attribution, self.counterfactual):
            if chooser.method is not None:  # options tell only what is no default
                usual = {item.name: item.default for item in parameters_of(chooser.method.function)}
                restore_form(chooser.form, usual)
        self.restore_settings(
            {
                "attribute": options.attribution is not None,
                "change": options.counterfactual is not None,
                "measure": options.measure,
                "pictures": options.pictures,
                "attribution": _settings_of(options.attribution, options.attribution_options),
                "counterfactual": _settings_of(options.counterfactual, options.change_options),
                "explained": options.attribution_target,
                "target": options.target,
            }
        )

    def _ticks(self) -> dict[str, QtWidgets.QCheckBox]:
        return {
            "attribute": self.attribute,
            "change": self.change,
            "measure": self.measure,
            "pictures": self.pictures,
        }


def _settings_of(method: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    return {} if method is None else {"method": method, "options": dict(options)}


def import_methods() -> tuple[Any, Any]:
    """Import the methods; seconds, the first time."""
    import_torch()
    from napari_why.attribution import METHODS as ATTRIBUTIONS
    from napari_why.counterfactuals import METHODS as COUNTERFACTUALS

    return ATTRIBUTIONS.complete(), COUNTERFACTUALS.complete()


def _indent(*widgets: QtWidgets.QWidget) -> QtWidgets.QWidget:
    part = QtWidgets.QWidget()
    column = QtWidgets.QVBoxLayout(part)
    column.setContentsMargins(INDENT, 0, 0, 0)
    for widget in widgets:
        column.addWidget(widget)
    return part
