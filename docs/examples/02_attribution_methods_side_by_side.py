"""
Attribution methods side by side
================================

Where did the network look? Methods ask in different ways and answer differently, so look at several. Beside each
stands how far it is to be believed on this very image: whether hiding what it shows makes the score fall more than
hiding at random does.
"""

import matplotlib.pyplot as plt
import numpy as np

import napari_why as why
from napari_why.attribution import METHODS
from napari_why.simulation import EffectScene

classifier = why.load("shared/classifier")
image = EffectScene(1000, "depolarisation", seed=5).image("treated")
prediction = classifier.predict(image)
print(prediction.label, prediction.probabilities)

# %%
# Each map is signed evidence for *treated*, in units of its own: red speaks for the class, blue against it.

names = ("occlusion", "integrated_gradients", "lrp", "cam")
maps = {
    name: why.attribute(classifier, image, name, "treated", on_event=why.quiet) for name in names
}

figure, panels = plt.subplots(1, 2 + len(maps), figsize=(13, 2.6), layout="constrained")
for axes, channel, plane in zip(panels, image.coords["c"].values, image.values, strict=False):
    axes.imshow(plane, cmap="gray")
    axes.set_title(channel)
for axes, (name, found) in zip(panels[2:], maps.items(), strict=True):
    limit = np.abs(found.joint).max()
    axes.imshow(found.joint, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_title(f"{METHODS[name].title}\n{found.unit}", fontsize=9)
for axes in panels:
    axes.set_axis_off()

# %%
# Is the map true? *No better than the image's own intensity* is no fault where the class *is* brightness, as here:
# the map then shows no more than the image does.

for found in maps.values():
    score = why.score_explanation(classifier, image, found, on_event=why.quiet)
    print(f"{found.record.method}: {score.line}")
