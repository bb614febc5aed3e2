"""Logits of many images that differ from one in a small place each, at the cost of that place.

A window of an occlusion changes a few pixels, and these a few positions of the next map, and so on:
the rest of every map is that of the unchanged image, which is computed once and kept.
"""

from napari_why.attribution.incremental.folded import FoldedNetwork, Forward, fold
from napari_why.attribution.incremental.passes import IncrementalPasses
from napari_why.attribution.incremental.scores import ChangedScores, open_scores

__all__ = [
    "ChangedScores",
    "FoldedNetwork",
    "Forward",
    "IncrementalPasses",
    "fold",
    "open_scores",
]
