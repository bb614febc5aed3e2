"""
Train a small classifier
========================

Simulated cells, of which the treated ones have less membrane potential: their mitochondria (TMRM) are dim, and the
nuclei (DAPI) are the same. A classifier learns to tell both classes apart. Wells are never split between training
and test.
"""

import matplotlib.pyplot as plt

import napari_why as why
from napari_why.output.evaluation_figure import draw_confusion, draw_distribution
from napari_why.simulation import simulate_effect

dataset = simulate_effect(128, "depolarisation", size=64, plates=2, wells=12).split(seed=0)
print(dataset.summary())

# %%
# ``cam_net`` cannot make images, so a small invertible network, the *generator*, is trained along on the same
# images: it makes the images of counterfactuals. Its first stage has few maps, which is quick.

classifier = why.fit(
    dataset,
    "cam_net",
    size=64,
    epochs=10,
    lock="DAPI",  # counterfactuals leave it alone: nuclei are the same here; by default that is tested
    generator="iresnet",
    generator_parameters={"blocks": "1,1", "widths": "8,16", "downscaling": "2,2"},
    pixel_maps=False,
    threads=1,
    on_event=why.quiet,
)
classifier.save("shared/classifier", overwrite=True)

# %%
# What it is worth: wells that it was not trained on, beside labels that mean nothing and beside cheap features.

evaluation = why.evaluate(classifier, dataset, on_event=why.quiet)
print("\n".join(evaluation.sentences))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
draw_distribution(left, evaluation, classifier.classes)
draw_confusion(right, evaluation, classifier.classes)
