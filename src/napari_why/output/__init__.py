"""Results on their way out: layers, images to write, and figures.

:mod:`~napari_why.output.images` says what every result has. :mod:`~napari_why.output.layers` and
:mod:`~napari_why.output.images` are made from that alone; :mod:`~napari_why.output.figures` draws
counterfactuals. :mod:`~napari_why.output.layer_metadata` is what each layer carries of its result.
Only ``layers``, ``raw_layers`` and ``placement`` need napari, so nothing is imported here.
"""
