"""
What would have to change?
==========================

A counterfactual answers with images: step by step from the image to what it would look like in the other class, in
the raw grey levels of the file, with the probability of every class at each step. Here the truth is known: the same
cells can be rendered as the other class.
"""

import numpy as np

import napari_why as why
from napari_why.counterfactuals import verdict
from napari_why.output.figures import counterfactual_figure
from napari_why.simulation import EffectScene

classifier = why.load("shared/classifier")
scene = EffectScene(1001, "depolarisation", seed=5)
image = scene.image("healthy")

series = why.counterfactual(classifier, image, "treated", on_event=why.quiet)
for alpha, probability in zip(series.alphas, series.probabilities, strict=True):
    print(f"alpha {alpha:.1f}: p(treated) {probability[series.classes.index('treated')]:.2f}")

# %%
# What the result is worth stands in one line, what speaks against it first.

print(verdict(series).line)

# %%
# The complete change, before and after in one contrast.

figure = counterfactual_figure(series, image)

# %%
# And the truth? Correlation of the change with the true one, in the channel that truly changes.

true_change = scene.true_change("healthy", "treated").values[1]
print(f"r = {np.corrcoef(series.differences[-1][1].ravel(), true_change.ravel())[0, 1]:.2f}")
