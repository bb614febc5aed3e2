"""
Is it brightness alone?
=======================

A network that tells classes apart may have learnt no more than how bright they are. Two answers: a linear
classifier on a few numbers of each channel (mean, spread, quantiles, ...) does as well, or it does not. Beside the
true classes stand labels without meaning, which tell how high an accuracy is by chance.
"""

import matplotlib.pyplot as plt

import napari_why as why
from napari_why.simulation import simulate_effect

classifier = why.load("shared/classifier")
depolarised = simulate_effect(96, "depolarisation", size=64, seed=3, plates=2)
evaluation = why.evaluate(classifier, depolarised, on_event=why.quiet)
table = evaluation.nulls.table
columns = ["labels", "features", "accuracy", "low", "high"]
print(
    table.loc[table["by"] == "plate and well", columns].to_string(index=False, float_format="%.2f")
)

# %%
# The sentences say it in words.

print("\n".join(evaluation.sentences))

# %%
# The same question for one image: which part of the change does *this network* use? It is asked with the source
# and parts of the change pasted into it.

image = depolarised.image(0)
source = classifier.predict(image).label
target = next(name for name in classifier.classes if name != source)
series = why.counterfactual(classifier, image, target, on_event=why.quiet)
used = why.find_used_change(classifier, series, image, on_event=why.quiet)
print("\n".join(used.sentences))

# %%
figure, panels = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
for axes, mask, channel in zip(panels, used.mask, series.channels, strict=True):
    axes.imshow(mask, cmap="gray", vmin=0, vmax=1)
    axes.set_title(f"{channel}: what it uses")
    axes.set_axis_off()
