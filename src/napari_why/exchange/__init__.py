"""Classifiers that go to other programs, and those that come from them."""

from napari_why.exchange.export import ExportedModel, export_model
from napari_why.exchange.importing import import_model
from napari_why.exchange.options import ExportOptions, ImportOptions

__all__ = ["ExportOptions", "ExportedModel", "ImportOptions", "export_model", "import_model"]
