"""Many images at once: predicted, explained, changed and measured, to one table and a folder."""

from napari_why.batch.explain_many import BatchResult, explain_many
from napari_why.batch.explain_one import ImageOutcome, explain_one
from napari_why.batch.options import BatchOptions
from napari_why.batch.references import ImageReference, find_references, list_references

__all__ = [
    "BatchOptions",
    "BatchResult",
    "ImageOutcome",
    "ImageReference",
    "explain_many",
    "explain_one",
    "find_references",
    "list_references",
]
