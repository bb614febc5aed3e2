"""
A confounded plate
==================

One class on one plate, the other class on another: whatever a classifier of such images sees may be the plate. No
figure on the images can tell; the table can, and it is said wherever a figure is shown.
"""

import napari_why as why
from napari_why.datasets import Dataset
from napari_why.simulation import simulate_effect

mixed = simulate_effect(64, "depolarisation", size=64, plates=2)
print("both classes on both plates:", mixed.confounding.sentences or "nothing to be said")

# %%
# The same images, with a plate of its own for each class.

images = [mixed.image(row) for row in range(len(mixed))]
labels = mixed.table["label"]
plates = labels.map({"healthy": "P1", "treated": "P2"})
apart = Dataset.from_images(images, labels, plate=plates, well=mixed.table["well"])
print("\n".join(apart.confounding.sentences))

# %%
# An accuracy measured on them says nothing, however high it is. ``evaluate`` says that first.

evaluation = why.evaluate(why.load("shared/classifier"), apart, nulls=False, on_event=why.quiet)
print("\n".join(evaluation.sentences))

# %%
# What each factor tells of the class: *level* says how grave it is.

columns = ["factor", "level", "values", "guess", "chance", "p"]
print(apart.confounding.table[columns].to_string(index=False, float_format="%.2f"))
